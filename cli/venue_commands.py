"""`run.py smoke`, `download`, `record`: looking at the venue without trading on it."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actors.guarding import simulated_venue_gone
from actors.plan import KEY_NAME_ENV, KEY_SECRET_ENV, venue_line
from cli.backtest_commands import moment
from cli.errors import FAILED, OK, UsageError
from cli.places import ROOT, made_folder, running_data_dir
from cli.tables import PIPE_COLUMNS
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.jwt import ApiKey
from trading.values import canonical_symbol, plain

Where = Annotated[
    str, typer.Option("--venue", help="coinbase, or bot: the simulated venue of a running bot.", metavar="coinbase|bot")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="With --venue bot: whose; default: of the one that runs.")
]


def register(app: typer.Typer) -> None:
    app.command("smoke")(smoke)
    app.command("download")(download)
    app.command("record")(record)


def venue_of(where: str, data_dir: Path | None) -> tuple[Endpoints, ApiKey | None, dict[str, Any]]:
    """(endpoints, key or None, the simulated venue's contract line or {})."""
    if where == "coinbase":
        name, secret = os.environ.get(KEY_NAME_ENV, ""), os.environ.get(KEY_SECRET_ENV, "")
        return Endpoints.coinbase(), ApiKey(name, secret) if name and secret else None, {}
    if where != "bot":
        raise UsageError(f"--venue {where}: it is coinbase or bot")
    folder = running_data_dir(data_dir)
    if simulated_venue_gone(folder):
        raise UsageError(f"--venue bot: no bot runs in {folder}, so its simulated venue is gone; start the bot first")
    try:
        line = venue_line(folder)
    except (OSError, ValueError) as error:
        raise UsageError(f"--venue bot: no bot with a simulated venue runs in {folder}; start it first") from error
    return Endpoints.simulated(line), ApiKey(str(line["api_key"]), str(line["api_secret"])), line


def clock_of(line: dict[str, Any]) -> Any:
    """Venue time by the contract line; this computer's clock for Coinbase."""
    if not line:
        return time.time
    t0, boot, speed = float(line["t0"]), float(line["boot_s"]), float(line["speed"])
    return lambda: t0 + (time.clock_gettime(time.CLOCK_BOOTTIME) - boot) * speed


def smoke(
    venue: Where = "coinbase",
    data_dir: DataDir = None,
    mode: Annotated[str, typer.Option(help="paper or live: what would stop trading differs.")] = "paper",
    order: Annotated[
        bool,
        typer.Option(
            "--order", help="Also one round trip at minimum size (real money at Coinbase, after a typed confirmation)."
        ),
    ] = False,
    product: Annotated[str, typer.Option(help="The product of the walk and of the round trip.")] = "BTC-USD",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Walk every endpoint and both feeds, read-only. Latencies, drift, permissions, fees, settle times, what stops trading."""
    from exchange.coinbase.smoke import Check
    from exchange.coinbase.smoke import smoke as walk
    from exchange.coinbase.smoke_order import smoke_order

    if mode not in ("paper", "live"):
        raise UsageError(f"--mode {mode}: it is paper or live")
    name = symbol(product)
    endpoints, key, line = venue_of(venue, data_dir)
    console = Console(highlight=False, stderr=as_json, width=None if sys.stdout.isatty() else PIPE_COLUMNS)

    def told(check: Check) -> None:
        mark = {True: "[green]ok[/green]  ", False: "[red]FAIL[/red]", None: "[dim]skip[/dim]"}[check.ok]
        latency = f"{check.latency_ms:7.1f} ms" if check.latency_ms is not None else " " * 10
        console.print(f"{mark} {latency}  {check.area:<8} {check.name:<28} {check.text}")

    report = walk(
        endpoints,
        key,
        mode=mode,
        products=(name,),
        venue_clock=clock_of(line),
        speed=float(line.get("speed", 1.0)),
        told=told,
    )
    if order and key is None:
        raise UsageError(f"--order wants a key: set {KEY_NAME_ENV} and {KEY_SECRET_ENV}")
    if order and key is not None and name in report.products:
        report.order = smoke_order(
            endpoints,
            key,
            report.products[name],
            venue_clock=clock_of(line),
            confirm=confirm,
            told=lambda text: console.print(f"      {text}"),
        )
    if as_json:
        print(json.dumps(report.to_dict()))
    else:
        show_smoke(console, report)
    bad_order = report.order is not None and not report.order.ok
    raise typer.Exit(FAILED if not report.ok or bad_order else OK)


def confirm(sentence: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("--order at Coinbase wants a typed confirmation: run it in a terminal")
    return bool(typer.prompt(f'real money: type "{sentence}" to go on', default="", show_default=False) == sentence)


def show_smoke(console: Console, report: Any) -> None:
    drift = "-" if report.drift_s is None else f"{report.drift_s * 1000:+.0f} ms"
    latency = "-" if report.latency_ms_p50 is None else f"{report.latency_ms_p50:.0f} ms"
    console.print(f"{report.venue}: clock drift {drift}, median latency {latency}")
    if report.account is not None:
        console.print(
            f"key: view {report.account.can_view}, trade {report.account.can_trade}, transfer {report.account.can_transfer}; account tag {report.account_tag}"
        )
    if report.fees is not None:
        console.print(
            f"fees: maker {plain(report.fees.maker_rate * 100)} %, taker {plain(report.fees.taker_rate * 100)} % ({report.fees.tier})"
        )
    if report.settle_s:
        worst = max(report.settle_s)
        console.print(
            f"fills were listed {min(report.settle_s):.2f} to {worst:.2f} s after their trade (last {len(report.settle_s)})"
        )
    if report.order is not None:
        table = Table(title="round trip", title_justify="left", box=None)
        table.add_column("step")
        table.add_column("after", justify="right")
        for step, after in report.order.steps_s.items():
            table.add_row(step, "-" if after is None else f"{after:.3f} s")
        console.print(table)
        if report.order.post_trade_reconcile_wait_s is not None:
            console.print(f"oms.post_trade_reconcile_wait_s: {report.order.post_trade_reconcile_wait_s:.2f}")
        for text in ([report.order.error] if report.order.error else []) + [
            f"LEFT at the venue: {left}" for left in report.order.left
        ]:
            console.print(f"[red]{text}[/red]")
    for stopper in report.stoppers:
        console.print(f"[red]would stop trading:[/red] {stopper}")
    if not report.stoppers:
        console.print("[green]nothing would stop trading[/green]")


def download(
    products: Annotated[list[str], typer.Argument(help="For example BTC-USD SOL-USD.", metavar="PRODUCT...")],
    from_: Annotated[str, typer.Option("--from", help="First moment (UTC), e.g. 2025-10-01.", metavar="TIME")],
    to: Annotated[str | None, typer.Option("--to", help="End; default: now.", metavar="TIME")] = None,
    bar: Annotated[str, typer.Option(help="1m, 5m, 15m, 30m, 1h, 2h, 4h, 6h or 1d.")] = "5m",
    out: Annotated[Path | None, typer.Option(help="Folder of the CSV files; default data/candles.")] = None,
    venue: Where = "coinbase",
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Candles into CSV files that backtest and --market read. Interrupted? Run it again, it goes on."""
    from exchange.coinbase.download import BAR_NAMES, download_shown

    seconds = {name: length for length, name in BAR_NAMES.items()}
    if bar not in seconds:
        raise UsageError(f"--bar {bar}: it is one of {', '.join(seconds)}")
    endpoints, _, _ = venue_of(venue, data_dir)
    start, end = moment(from_, "--from"), moment(to, "--to")
    assert start is not None
    if end is not None and start >= end:
        raise UsageError(f"--from {from_} is not before --to {to}: there is nothing to download")
    folder = made_folder(out or ROOT / "data" / "candles", "--out")
    try:
        reports = download_shown(
            endpoints,
            [symbol(name) for name in products],
            seconds[bar],
            int(start),
            None if end is None else int(end),
            folder,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    for report in reports:
        missing = sum(until - since for since, until in report.gaps) // seconds[bar]
        record = {
            "product_id": report.product_id,
            "path": str(report.path),
            "rows": report.rows,
            "fetched": report.fetched,
            "missing_bars": missing,
            "error": report.error,
        }
        span = f"{stamp(report.first_s)} to {stamp(report.last_s)}" if report.first_s is not None else "nothing"
        print(
            json.dumps(record)
            if as_json
            else f"{report.path}: {report.rows:,} candles, {span}, {missing:,} missing in {len(report.gaps)} gaps{'; ' + report.error if report.error else ''}"
        )
    raise typer.Exit(FAILED if any(report.error for report in reports) else OK)


def stamp(epoch_s: int | None) -> str:
    return "-" if epoch_s is None else datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M")


def record(
    products: Annotated[list[str], typer.Argument(help="For example BTC-USD.", metavar="PRODUCT...")],
    for_: Annotated[
        float | None, typer.Option("--for", min=0.0, help="Seconds; default: until Ctrl-C.", metavar="SECONDS")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the recording; default data/recordings/<time>.")] = None,
    venue: Where = "coinbase",
    data_dir: DataDir = None,
) -> None:
    """Record the raw frames of the market feed. They are kept with their receive times, compressed, for replay."""
    from exchange.coinbase.feed_records import record as take

    endpoints, _, _ = venue_of(venue, data_dir)
    folder = out or ROOT / "data" / "recordings" / datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
    made_folder(folder, "--out")
    stop = threading.Event()

    def told(frames: int, size: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{frames:,} frames, {size / 1e6:.1f} MB", end="", file=sys.stderr, flush=True)

    try:
        done = take(endpoints, [symbol(name) for name in products], folder, for_, stop=stop, told=told)
    except KeyboardInterrupt:
        stop.set()
        print(f"\nkept in {folder}")
        return
    print(
        f"\n{done.frames:,} frames, {done.written_bytes / 1e6:.1f} MB in {done.folder}; {done.reconnects} reconnects {done.reason}".rstrip()
    )
    if done.frames == 0:
        raise typer.Exit(FAILED)


def symbol(text: str) -> str:
    try:
        return canonical_symbol(text)
    except ValueError as error:
        raise UsageError(str(error)) from error
