"""`run.py ctl fills|trades|digest`: what the book on the disk says was traded. It is only read, and needs no running bot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Group, RenderableType

from cli.ctl import AsJson, DataDir
from cli.errors import FailedError, UsageError
from cli.places import bot_of, running_data_dir
from cli.tables import show, table_of
from telemetry.figures import percent, seconds, usd
from trading.values import utc_text

T = TypeVar("T")
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.", metavar="N")]

FILL_TEXTS = (
    "product_id",
    "side",
    "base_size",
    "price",
    "fee_usd",
    "realised_usd",
    "liquidity",
    "kind",
    "purpose",
    "strategy",
    "reason",
    "client_order_id",
    "venue_order_id",
    "position_id",
    "trade_id",
)


def register(app: typer.Typer) -> None:
    for command in (fills, trades, digest):
        app.command(command.__name__)(command)


def fills(data_dir: DataDir = None, limit: Limit = 20, as_json: AsJson = False) -> None:
    """The newest booked fills, with fees and realised PnL. At the exchange's time; also without a running bot."""
    from state.book import fills as booked

    folder = running_data_dir(data_dir)
    found = [
        {"at": utc_text(row["at_s"]), **{key: row[key] for key in FILL_TEXTS}} for row in told(booked, folder, limit)
    ]
    rows = [{**row, "why": because(row)} for row in found]
    columns = (
        ("at", "at", 0),
        ("symbol", "product_id", 0),
        ("side", "side", 0),
        ("size", "base_size", 0),
        ("price", "price", 0),
        ("fee USD", "fee_usd", 1),
        ("realised USD", "realised_usd", 0),
        ("client order id", "client_order_id", 2),
        ("why", "why", 0),
    )
    say({"fills": found}, folder, as_json, table_of(rows, columns, "no fill is booked yet"))


def because(fill: Mapping[str, Any]) -> str:
    """Why an order was placed; what no order of ours did carries its kind."""
    purpose, reason = fill["purpose"], fill["reason"]
    if purpose is None:
        return str(fill["kind"]).lower()
    return f"{purpose} {fill['strategy']}".rstrip() if purpose == "entry" else f"{purpose} {reason}".rstrip()


def trades(data_dir: DataDir = None, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Closed positions, newest first, and what they came to in all. Also without a running bot."""
    from state.book import books
    from telemetry.trades import closed_in, sums, trade_row

    folder = running_data_dir(data_dir)
    book = told(books, folder)
    found = closed_in(book)[::-1]
    total = sums(found)
    rows = [trade_row(trade) for trade in found[:limit]]
    columns = (
        ("opened", "opened_at", 6),
        ("closed", "closed_at", 0),
        ("symbol", "product_id", 0),
        ("strategy", "strategy", 5),
        ("size", "base_size", 3),
        ("entry", "entry_price", 1),
        ("exit", "exit_price", 1),
        ("fees USD", "fees_usd", 4),
        ("PnL USD", "pnl_usd", 0),
        ("PnL %", "pnl_pct", 0),
        ("held", "held", 2),
        ("exit reason", "exit_reason", 0),
    )
    shown = [{**row, "held": seconds(row["held_s"])} for row in rows]
    text = Group(table_of(shown, columns, "no position is closed yet"), sums_line(total, len(rows)))
    say({"trades": rows, "sums": total}, folder, as_json, text if rows else "no position is closed yet")


def digest(
    day: Annotated[
        str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="Which day, UTC; default: today so far.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """A day in a few lines, as channels of news get it. Also without a running bot."""
    from actors.clock import Clock
    from state.book import traded_since
    from telemetry.news import digest as digest_of
    from telemetry.news import standing
    from telemetry.newsroom import status_of
    from trading.money import day_start_s

    folder = running_data_dir(data_dir)
    # The venue's day: a replayed market has days of its own.
    today_s = day_start_s(Clock(folder / "run").now().venue_s)
    day_s = today_s if day is None else parsed_day(day)
    if day_s > today_s:
        raise UsageError(f"--day {day} has not begun: today is {utc_text(today_s)[:10]} (UTC)")
    over = day_s < today_s
    stands = () if over or not bot_of(folder)["pid"] else standing(status_of(folder))
    found = digest_of(told(traded_since, folder, day_s), day_s, stands, over=over)
    answer = {"day": utc_text(day_s)[:10], "title": found.title, "text": found.text}
    say(answer, folder, as_json, f"{found.title}\n{found.text}")


def parsed_day(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise UsageError(f"--day {text!r} is no day; write it as in 2026-11-30") from error


def sums_line(total: Mapping[str, Any], shown: int) -> str:
    count = total["trades"]
    rest = f"; the newest {shown} are shown" if shown < count else ""
    share = f" ({percent(str(100 * total['won'] / count))})" if count else ""
    return (
        f"trades {count}   won {total['won']}{share}   realised {usd(total['realised_usd'], sign=True)}"
        f"   fees {usd(total['fees_usd'])}{rest}"
    )


def told(question: Callable[..., T], folder: Path, *args: Any) -> T:
    """What the book answers; one that is not there or cannot be read is a sentence."""
    from state.book import NoBookError
    from state.store import StoreError

    try:
        return question(folder, *args)
    except NoBookError as error:
        raise UsageError(str(error)) from error
    except StoreError as error:
        raise FailedError(str(error)) from error


def say(answer: Mapping[str, Any], folder: Path, as_json: bool, text: RenderableType) -> None:
    """The answer, and that nobody adds to it where no bot runs."""
    pid = bot_of(folder)["pid"]
    note = "" if pid else f"\nno bot runs on {folder}; this is what its book says"
    show({**answer, "data_dir": str(folder), "bot_pid": pid}, as_json, Group(text, note.strip()) if note else text)
