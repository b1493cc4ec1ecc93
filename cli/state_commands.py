"""`run.py db`, `audit`, `export`: what is on disk, checked, copied, shown."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import FAILED, OK, FailedError, UsageError
from cli.places import meant_data_dir
from cli.tables import readable

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The bot's data dir; default: of the one that runs.")]
Env = Annotated[str | None, typer.Option(help="staging or production.")]
Market = Annotated[str | None, typer.Option(help="As given to run.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]

db_app = typer.Typer(help="The stores: check, back up, migrate.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit logs, each a chain of hashes.", no_args_is_help=True)
export_app = typer.Typer(help="The record as files for other programs.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(db_app, name="db")
    app.add_typer(audit_app, name="audit")
    app.add_typer(export_app, name="export")


def existing(data_dir: Path | None, env: str | None, market: str | None) -> Path:
    folder = meant_data_dir(data_dir, env, market)
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such data dir; name the bot's with --data-dir")
    return folder


@db_app.command("check")
def db_check(data_dir: DataDir = None, env: Env = None, market: Market = None, as_json: AsJson = False) -> None:
    """SQLite's own integrity check of every store. Safe while the bot runs. Exit 1 when one is damaged or has lost its rows."""
    from state.db import check, store_files

    files = store_files(existing(data_dir, env, market))
    if not files:
        raise UsageError(f"{existing(data_dir, env, market)}: it holds no store yet; a bot makes them when it starts")
    findings = [check(path) for path in files]
    for finding in findings:
        record = {
            "path": str(finding.path),
            "problems": list(finding.problems),
            "rows": finding.rows,
            "size_bytes": finding.size_bytes,
            "pending": list(finding.pending),
        }
        rows = ", ".join(f"{name} {count:,}" for name, count in finding.rows.items() if count)
        size = "; ".join(part for part in (f"{finding.size_bytes / 1e6:.1f} MB", rows) if part)
        text = f"{finding.path.name}: {'; '.join(finding.problems) or 'whole'} ({size})"
        print(json.dumps(record) if as_json else text)
    raise typer.Exit(FAILED if any(finding.problems for finding in findings) else OK)


@db_app.command("backup")
def db_backup(target: Path, data_dir: DataDir = None, env: Env = None, market: Market = None) -> None:
    """A consistent copy of every store into TARGET. Also while the bot runs."""
    from state.db import backup
    from state.store import StoreError

    folder = existing(data_dir, env, market)
    try:
        copies = backup(folder, target)
    except OSError as error:
        raise FailedError(f"the backup is not complete: {error.filename or target}: {error.strerror}") from error
    except StoreError as error:
        raise FailedError(f"the backup is not complete: {error}") from error
    print("\n".join(str(path) for path in copies) or "there is no store to copy yet")


@db_app.command("migrate")
def db_migrate(data_dir: DataDir = None, env: Env = None, market: Market = None) -> None:
    """Apply pending migrations (a start of the bot does the same)."""
    from state.db import migrate_store, store_files
    from state.store import StoreError, lost_sentence

    for path in store_files(existing(data_dir, env, market)):
        if not path.exists():
            raise FailedError(lost_sentence(path))
        try:
            done = migrate_store(path)
        except StoreError as error:
            raise FailedError(str(error)) from error
        print(f"{path.name}: {', '.join(done) if done else 'nothing pending'}")


@audit_app.command("verify")
def audit_verify(data_dir: DataDir = None, env: Env = None, market: Market = None, as_json: AsJson = False) -> None:
    """Every line against its predecessor's hash. Exit 1 names the first that does not fit."""
    from state.audit import AuditError, verify

    try:
        counts = verify(existing(data_dir, env, market) / "audit")
    except AuditError as error:
        raise FailedError(str(error)) from error
    print(
        json.dumps(counts)
        if as_json
        else "\n".join(f"{name}: {count:,} lines, unbroken" for name, count in counts.items()) or "no audit log yet"
    )


@audit_app.command("show")
def audit_show(
    role: Annotated[str, typer.Argument(metavar="ROLE")],
    last: Annotated[int, typer.Option(min=1, help="How many of the newest lines.")] = 20,
    data_dir: DataDir = None,
    env: Env = None,
    market: Market = None,
    as_json: AsJson = False,
) -> None:
    """The newest audit lines of ROLE. As in oms, risk, exits, kill_switch, symbol:BTC-USD, main."""
    from state.audit import AuditError, read

    folder = existing(data_dir, env, market) / "audit"
    path = folder / f"{role.replace(':', '_')}.jsonl"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in folder.glob("*.jsonl"))) or "none"
        raise UsageError(f"{role!r} has no audit log here; there are: {names}")
    try:
        lines: list[dict[str, Any]] = list(read(path))[-last:]
    except AuditError as error:
        raise FailedError(str(error)) from error
    for line in lines:
        print(
            json.dumps(line)
            if as_json
            else readable({key: value for key, value in line.items() if key not in ("prev", "hash")}).replace(
                "\n", "  "
            )
        )


@export_app.command("fills")
def export_fills(
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output (the only form so far).")] = True,
    data_dir: DataDir = None,
    env: Env = None,
    market: Market = None,
) -> None:
    """Every booked fill, oldest first. With time, size, price, fee and position: for taxes and for other programs."""
    del as_csv
    from cli.ctl_book import told
    from state.book import fills

    rows = told(fills, existing(data_dir, env, market))
    columns = (
        "product_id",
        "side",
        "base_size",
        "price",
        "fee_usd",
        "liquidity",
        "venue_order_id",
        "client_order_id",
        "position_id",
        "trade_id",
    )
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(("time_utc", *columns))
    for row in sorted(rows, key=lambda row: (row["at_s"], row["trade_id"])):
        out.writerow((datetime.fromtimestamp(row["at_s"], UTC).isoformat(), *(row[name] for name in columns)))
