"""`run.py backtest`: the live machines over recorded or generated candles, with artifacts and the tables people expect."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.errors import FailedError, UsageError
from cli.places import ROOT, made_folder


def register(app: typer.Typer) -> None:
    app.command("backtest")(backtest)


def backtest(
    data: Annotated[
        Path | None, typer.Option(help="A folder of candle CSVs; default: a generated market of 3 symbols and 14 days.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="First moment, e.g. 2025-10-01 or 2025-10-10T18:00 (UTC).", metavar="TIME"),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="End, not included.", metavar="TIME")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the artifacts go; default data/backtest/<time>.")] = None,
    seed: Annotated[int, typer.Option(help="Of the generated market and of everything that is drawn.")] = 42,
    env: Annotated[str, typer.Option(help="Whose configuration: staging or production.")] = "staging",
    config: Annotated[list[Path] | None, typer.Option(help="A further YAML layer.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="key=value")] = None,
    strategies: Annotated[Path | None, typer.Option(help="A folder with further strategy files.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON instead of tables.")] = False,
) -> None:
    """Backtest the effective configuration. The same seed gives the same bytes. Invalid results exit 1."""
    from cli.plans import load_or_explain
    from simulation.backtest.report import InvalidResultError

    loaded = load_or_explain(env, None, config or [], set_ or [], strategies)
    dataset = choose_data(data, from_, to, seed)
    facts = {"data": dataset.name, "bars": dataset.bars, "seed": seed, "config_hash": loaded.hash, "env": env}
    folder = out or ROOT / "data" / "backtest" / datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
    made_folder(folder, "--out")
    try:
        figures, took_s = play(dataset, loaded, seed, facts, folder, strategies, quiet=as_json)
    except InvalidResultError as error:
        raise FailedError(f"the result is not valid: {error}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    if as_json:
        print(json.dumps({**figures, "out": str(folder)}))
        return
    console = Console(highlight=False)
    show(console, figures)
    console.print(
        f"{dataset.bars:,} bars in {took_s:.1f} s ({dataset.bars / max(took_s, 1e-9):,.0f} bars/s); artifacts in {folder}"
    )


def choose_data(data: Path | None, from_: str | None, to: str | None, seed: int) -> Any:
    from exchange.simulator.recorded import RecordingError
    from simulation.backtest.data import generated, recorded

    try:
        dataset = generated(seed) if data is None else recorded(data)
        if from_ is not None or to is not None:
            dataset = dataset.between(moment(from_, "--from"), moment(to, "--to"))
    except RecordingError as error:
        raise UsageError(str(error).replace("--market", "--data")) from error
    return dataset


def moment(text: str | None, option: str) -> float | None:
    """UTC seconds of a date or time as people type it."""
    if text is None:
        return None
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: not a date or time; write 2025-10-10 or 2025-10-10T18:00") from error
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def play(
    dataset: Any,
    loaded: Any,
    seed: int,
    facts: Mapping[str, Any],
    folder: Path,
    strategies: Path | None,
    *,
    quiet: bool,
) -> tuple[dict[str, Any], float]:
    """(summary, seconds of wall time of the run itself), the artifacts written to `folder`."""
    from cli.plans import load_strategies
    from simulation.backtest.engine import Backtest
    from simulation.backtest.report import write

    more = load_strategies(strategies)
    test = Backtest(
        dataset,
        config=loaded.config,
        costs=loaded.config.costs,
        seed=seed,
        config_hash=loaded.hash,
        facts=facts,
        strategies=more,
    )
    began = time.monotonic()
    columns = (
        TextColumn("backtest"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=Console(file=sys.stderr), disable=quiet or not sys.stderr.isatty(), transient=True
    ) as bar:
        task = bar.add_task("bars", total=1.0, speed="")

        def tell(share: float) -> None:
            took = time.monotonic() - began
            bar.update(task, completed=share, speed=f"{share * dataset.bars / max(took, 1e-9):,.0f} bars/s")

        run = test.run(tell)
    took_s = time.monotonic() - began
    return write(run, folder), took_s


def show(console: Console, figures: Mapping[str, Any]) -> None:
    """The tables that a freqtrade user looks for."""
    per = (("per symbol", "per_symbol"), ("per exit reason", "per_exit_reason"), ("per strategy", "per_strategy"))
    for title, key in per:
        groups = figures[key]
        if groups:
            table = Table(title=title, title_justify="left", box=None, header_style="bold")
            table.add_column("")
            for heading in ("trades", "PnL USD", "fees USD", "hit rate", "average %", "average hold"):
                table.add_column(heading, justify="right")
            for name, row in groups.items():
                rate = "-" if row["hit_rate"] is None else f"{row['hit_rate'] * 100:.1f} %"
                hold = f"{row['average_hold_s'] / 3600:.1f} h"
                table.add_row(
                    name,
                    str(row["trades"]),
                    f"{float(row['pnl_usd']):,.2f}",
                    f"{float(row['fees_usd']):,.2f}",
                    rate,
                    f"{row['average_pct']:.2f}",
                    hold,
                )
            console.print(table)
    show_open(console, figures["open_positions"])
    table = Table(title="summary", title_justify="left", box=None, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for label, text in rows_of(figures):
        table.add_row(label, text)
    console.print(table)
    if figures["rejects"]:
        table = Table(
            title="why not: denials and no-trade verdicts (on change)",
            title_justify="left",
            box=None,
            header_style="bold",
        )
        table.add_column("code")
        table.add_column("count", justify="right")
        for code, count in list(figures["rejects"].items())[:15]:
            table.add_row(code, f"{count:,}")
        console.print(table)
    for warning in figures["warnings"]:
        console.print(f"note: {warning}", style="yellow")


def show_open(console: Console, holdings: Sequence[Mapping[str, Any]]) -> None:
    """What the end of the data left open: in the return, in no trade."""
    if not holdings:
        return
    table = Table(title="still open at the end", title_justify="left", box=None, header_style="bold")
    table.add_column("")
    for heading in ("since", "size", "entry", "mark", "PnL USD"):
        table.add_column(heading, justify="right")
    for row in holdings:
        prices = (f"{float(row[key]):,.6g}" for key in ("base_size", "entry_price", "mark_price"))
        table.add_row(row["product_id"], row["opened_s"][:16], *prices, f"{float(row['pnl_usd']):,.2f}")
    console.print(table)


def rows_of(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    def percent(key: str) -> str:
        return "-" if figures[key] is None else f"{figures[key] * 100:.2f} %"

    def number(key: str) -> str:
        return "-" if figures[key] is None else f"{figures[key]:,.2f}"

    return [
        ("data", str(figures["data"])),
        ("from", str(figures["start"])),
        ("to", str(figures["end"])),
        ("start equity", f"{float(figures['start_equity_usd']):,.2f} USD"),
        ("end equity", f"{float(figures['end_equity_usd']):,.2f} USD"),
        ("return", percent("return")),
        ("trades", str(figures["trades"])),
        ("still open", str(len(figures["open_positions"]))),
        ("hit rate", percent("hit_rate")),
        ("profit factor", number("profit_factor")),
        (
            "expectancy",
            "-" if figures["expectancy_usd"] is None else f"{float(figures['expectancy_usd']):,.2f} USD a trade",
        ),
        (
            "max drawdown",
            percent("max_drawdown") + (f" at {figures['max_drawdown_at']}" if figures["max_drawdown_at"] else ""),
        ),
        ("Sharpe / Sortino", f"{number('sharpe')} / {number('sortino')}{too_few_days(figures['daily_returns'])}"),
        ("fees", f"{float(figures['fees_usd']):,.2f} USD"),
        ("turnover", f"{number('turnover')} x mean equity"),
        ("time with a position", percent("exposure_time")),
        ("orders / fills", f"{figures['orders']} / {figures['fills']}"),
        ("configuration", str(figures["config_hash"])),
    ]


def too_few_days(days: int) -> str:
    from simulation.backtest.report import RATIO_DAYS_MIN

    return "" if days >= RATIO_DAYS_MIN else f" ({days} daily returns, at least {RATIO_DAYS_MIN} are needed)"
