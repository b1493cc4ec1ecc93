"""`run.py ctl`: asks the running bot and tells it what a person wants. Everything goes through the operator's socket."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from cli.errors import FailedError, UsageError
from cli.places import running_data_dir
from telemetry.client import NobodyThereError, OperatorClient, RefusedError
from telemetry.view import decision_text, percent, seconds, short, usd

app = typer.Typer(help="Ask or steer the running bot.", no_args_is_help=True, add_completion=False)

PIPE_COLUMNS = 180
DRILL_S_MAX = 30.0

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The bot's data dir; default: the one that runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
Name = Annotated[str | None, typer.Option("--name", help="Who orders this; default: the login name.")]
Cause = Annotated[str | None, typer.Option("--cause", help="Why; it is kept with the order.")]


def ask(
    data_dir: Path | None, command: str, args: Mapping[str, str] | None = None, timeout_s: float = 10.0
) -> dict[str, Any]:
    """One question; the bot's refusal or absence becomes exit 1 with its sentence."""
    try:
        return OperatorClient(running_data_dir(data_dir)).ask(command, args, timeout_s)
    except (NobodyThereError, RefusedError) as error:
        raise FailedError(str(error)) from error


def show(answer: Mapping[str, Any], as_json: bool, text: object) -> None:
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        # A pipe has no width of its own; 80 columns would fold every table.
        Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(text)


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]], empty: str) -> Table | str:
    """A table of `columns` (heading, key) or the sentence for none."""
    if not rows:
        return empty
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, _ in columns:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(cell(row.get(key)) for _, key in columns))
    return table


def cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(str(item) for item in value) or "-"
        case dict():
            return "  ".join(f"{key}={cell(item)}" for key, item in value.items())
        case str():
            return short(value) if value.replace(".", "", 1).lstrip("-").isdigit() else value
    return str(value)


@app.command()
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Trading state with its causes, NAV, PnL, positions, orders, latches."""
    answer = ask(data_dir, "status")
    lines = [
        f"{answer['trading_state']}" + (f" because {', '.join(answer['causes'])}" if answer["causes"] else ""),
        f"{answer['env']} · {answer['mode']} · market {answer['market']} · regime {answer['regime'] or 'unknown'} · config {answer['config_hash']}",
        f"NAV {usd(answer['nav_usd'])}   cash {usd(answer['quote_total_usd'])}   today {usd(answer['realised_today_usd'], sign=True)}"
        f"   week {usd(answer['realised_week_usd'], sign=True)}   drawdown {percent(answer['drawdown_pct'])}",
        f"positions {len(answer['positions'])}   open orders {len(answer['orders'])}   cooldowns {len(answer['cooldowns'])}"
        f"   latches {len(answer['latches'])}   breakers open {len(answer['breakers_open'])}",
    ]
    lines += [f"{item['level']}: {item['text']}" for item in answer["conditions"]]
    show(answer, as_json, "\n".join(lines))


@app.command()
def tree(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The supervision tree: state, pid, incarnation, restarts, mailbox age, memory, uptime."""
    answer = ask(data_dir, "tree")
    children = answer["children"]
    names = {child["role"] for child in children}
    picture = Tree("bulkhead")
    nodes = {"": picture}
    pending = list(children)
    while pending:
        placed = [
            c
            for c in pending
            if c["supervisor"] not in names or c["supervisor"] in nodes or c["supervisor"] == c["role"]
        ]
        if not placed:
            break
        for child in placed:
            above = nodes.get(child["supervisor"], picture) if child["supervisor"] != child["role"] else picture
            nodes[child["role"]] = above.add(child_line(child))
            pending.remove(child)
    show(answer, as_json, picture)


def child_line(child: Mapping[str, Any]) -> str:
    colour = {"running": "green", "parked": "bold red"}.get(child["state"], "yellow")
    parts = [f"[bold]{child['role']}[/bold]", f"[{colour}]{child['state']}[/{colour}]"]
    if child["pid"]:
        parts.append(f"pid {child['pid']}")
    if child["incarnation"]:
        parts.append(f"incarnation {child['incarnation'][0]}.{child['incarnation'][1] / 1e9:.3f}")
    parts.append(f"{child['restarts']} restarts in window")
    if child["mailbox_age_s"] is not None:
        parts.append(f"mailbox {child['mailbox_age_s'] * 1000:.0f} ms")
    if child["rss_bytes"]:
        parts.append(f"{child['rss_bytes'] / 1e6:.0f} MB")
    parts.append(f"up {seconds(child['uptime_s'])}")
    if child["reason"]:
        parts.append(f"[dim]{str(child['reason']).strip().splitlines()[-1][:80]}[/dim]")
    return "  ".join(parts)


@app.command()
def symbols(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Each symbol: quote with age, spread, tier, eligibility and the last verdict."""
    answer = ask(data_dir, "symbols")
    rows = [{**row, "verdict": (row["last"] or {}).get("code")} for row in answer["symbols"]]
    columns = (
        ("symbol", "product_id"),
        ("bid", "bid"),
        ("ask", "ask"),
        ("spread bps", "spread_bps"),
        ("age s", "quote_age_s"),
        ("tier", "tier"),
        ("theme", "theme"),
        ("eligible", "eligible"),
        ("reason", "reason"),
        ("last verdict", "verdict"),
    )
    show(answer, as_json, table_of(rows, columns, "no symbols yet"))


@app.command()
def orders(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Open and unknown orders."""
    answer = ask(data_dir, "orders")
    columns = (
        ("client order id", "client_order_id"),
        ("symbol", "product_id"),
        ("side", "side"),
        ("why", "purpose"),
        ("status", "status"),
        ("size", "base_size"),
        ("filled", "filled_size"),
        ("limit", "limit_price"),
        ("since", "saved_at"),
    )
    show(answer, as_json, table_of(answer["orders"], columns, "no open orders"))


@app.command()
def positions(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Positions with their armed exits."""
    answer = ask(data_dir, "positions")
    columns = (
        ("symbol", "product_id"),
        ("size", "size"),
        ("entry", "average_price"),
        ("stop", "stop_price"),
        ("target", "target_price"),
        ("hold until", "hold_until"),
        ("now", "bid"),
        ("PnL USD", "unrealised_usd"),
        ("strategy", "strategy"),
    )
    show(answer, as_json, table_of(answer["positions"], columns, "no positions"))


@app.command()
def fills(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The newest booked fills."""
    answer = ask(data_dir, "fills")
    columns = (
        ("at", "at"),
        ("symbol", "product_id"),
        ("side", "side"),
        ("size", "base_size"),
        ("price", "price"),
        ("fee USD", "fee_usd"),
    )
    show(answer, as_json, table_of(answer["fills"], columns, "no fills yet"))


@app.command()
def why(symbol: str, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The last decisions about SYMBOL: why it traded, and why not, with what was measured."""
    from trading.values import canonical_symbol

    try:
        name = canonical_symbol(symbol)
    except ValueError as error:
        raise UsageError(str(error)) from error
    answer = ask(data_dir, "why", {"symbol": name})
    rows = [{**row, "measured": decision_text(row)} for row in answer["decisions"]]
    columns = (("at", "at"), ("role", "role"), ("code", "code"), ("measured", "measured"))
    show(answer, as_json, table_of(rows, columns, f"{name}: no decision yet"))


@app.command()
def pid(role: str, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The process id of a role: kill -9 $(python3 run.py ctl pid oms)."""
    answer = ask(data_dir, "pid", {"role": role})
    show(answer, as_json, str(answer["pid"]))


@app.command()
def breakers(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Circuit breakers and money latches, with what was measured."""
    answer = ask(data_dir, "breakers")
    rows = [
        {
            "code": row["code"],
            "state": ("OPEN" if row["open"] else "closed") if row["measured"] else "not measured",
            **row["values"],
        }
        for row in answer["breakers"]
    ]
    rows += [{"code": row["code"], "state": "LATCHED", "reading": cell(row["values"])} for row in answer["latches"]]
    columns = (
        ("breaker", "code"),
        ("state", "state"),
        ("reading", "reading"),
        ("value", "value"),
        ("opens at", "opens_at"),
        ("closes at", "closes_at"),
        ("hold s", "hold_s"),
    )
    show(answer, as_json, table_of(rows, columns, "nothing measured yet"))


@app.command()
def latency(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """How long each stage of an order's life took, over the newest orders."""
    answer = ask(data_dir, "latency")
    columns = (
        ("stage", "stage"),
        ("orders", "orders"),
        ("p50 ms", "p50_ms"),
        ("p95 ms", "p95_ms"),
        ("max ms", "max_ms"),
    )
    show(answer, as_json, table_of(answer["latency"], columns, "no order has been through yet"))


def _reading(name: str, help_text: str) -> None:
    def command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
        answer = ask(data_dir, name)
        show(answer, as_json, readable(answer))

    command.__doc__ = help_text
    app.command(name)(command)


def readable(answer: Any, indent: str = "") -> str:
    """Any answer as indented lines, for the commands without a table of their own."""
    if isinstance(answer, Mapping):
        lines = []
        for key, value in answer.items():
            if isinstance(value, Mapping | list) and value:
                lines += [f"{indent}{key}:", readable(value, indent + "  ")]
            else:
                lines.append(f"{indent}{key}: {cell(value)}")
        return "\n".join(lines)
    if isinstance(answer, list):
        return "\n".join(f"{indent}{cell(item)}" for item in answer)
    return f"{indent}{cell(answer)}"


for _name, _help in (
    ("balance", "Cash, foreign holdings, flows."),
    ("exposure", "USD at worst case, by symbol."),
    ("config", "The effective configuration and its hash."),
    ("decisions", "The newest decisions of all symbols."),
    ("conditions", "What stands now and wants a person."),
):
    _reading(_name, _help)


def order(
    data_dir: Path | None, command: str, args: Mapping[str, str], name: str | None, cause: str | None, as_json: bool
) -> None:
    """A command with a name and a cause; it is acknowledged when its owner saved it."""
    who = name or getpass.getuser()
    answer = ask(data_dir, command, {**args, "name": who, "cause": cause or "ctl"}, timeout_s=15.0)
    show(answer, as_json, str(answer.get("text", "done")))


@app.command()
def pause(data_dir: DataDir = None, name: Name = None, cause: Cause = None, as_json: AsJson = False) -> None:
    """No new entries until resume; exits and cancels go on. Survives restarts."""
    order(data_dir, "pause", {}, name, cause, as_json)


@app.command()
def resume(data_dir: DataDir = None, name: Name = None, cause: Cause = None, as_json: AsJson = False) -> None:
    """End a pause."""
    order(data_dir, "resume", {}, name, cause, as_json)


@app.command()
def kill(reason: str, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Engage the kill switch: no order leaves, all are cancelled; only rearm ends it. Works without a running bot."""
    try:
        order(data_dir, "kill", {}, name, reason, as_json)
    except FailedError as error:
        from cli.panic import engage_and_sweep, say

        say(as_json, {"bot": str(error)}, f"{error}; engaging the kill switch without it")
        code = engage_and_sweep(running_data_dir(data_dir), name or getpass.getuser(), reason, as_json)
        raise typer.Exit(code) from None


@app.command()
def rearm(name: str, cause: str, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Disengage the kill switch, by NAME for CAUSE; both are kept."""
    order(data_dir, "rearm", {}, name, cause, as_json)


@app.command()
def cancel(
    which: Annotated[str, typer.Argument(metavar="ID|all")],
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Cancel one order by its id, or all of them."""
    order(data_dir, "cancel", {"id": which}, name, None, as_json)


@app.command()
def stop(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Stop the bot in order: orders cancelled, state flushed."""
    order(data_dir, "stop", {}, None, None, as_json)


@app.command()
def settle(
    order_id: Annotated[str, typer.Argument(metavar="ID")],
    cause: str,
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Declare an UNKNOWN order not placed, by name: only after looking at Coinbase yourself."""
    order(data_dir, "settle", {"id": order_id}, name, cause, as_json)


@app.command("exit")
def exit_(
    symbol: str, data_dir: DataDir = None, name: Name = None, cause: Cause = None, as_json: AsJson = False
) -> None:
    """Leave the position of SYMBOL by the ordinary exit."""
    order(data_dir, "exit", {"symbol": symbol}, name, cause, as_json)


@app.command()
def flatten(cause: str, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Sell every position of the bot now (IOC); allowed under a kill."""
    order(data_dir, "flatten", {}, name, cause, as_json)


@app.command()
def adopt(
    symbol: str, size: str, cause: str, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False
) -> None:
    """Give the bot SIZE of a holding that it did not buy; from then on it guards and sells it."""
    order(data_dir, "adopt", {"symbol": symbol, "size": size}, name, cause, as_json)


@app.command()
def ban(
    symbol: str, flag: str, data_dir: DataDir = None, name: Name = None, cause: Cause = None, as_json: AsJson = False
) -> None:
    """Exclude SYMBOL for a red flag: recent_exploit, regulatory_action, delisting_rumors, team_rug."""
    order(data_dir, "ban", {"symbol": symbol, "flag": flag}, name, cause or flag, as_json)


@app.command()
def unban(symbol: str, cause: str, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Lift a ban."""
    order(data_dir, "unban", {"symbol": symbol}, name, cause, as_json)


@app.command()
def restart(role: str, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Restart a role, or bring a parked one back."""
    order(data_dir, "restart", {"role": role}, name, None, as_json)


@app.command()
def reload(data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Read the configuration files again; what cannot change while running is named."""
    order(data_dir, "reload", {}, name, None, as_json)


@app.command()
def ack(alert: str, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Acknowledge an alert: it stops escalating."""
    order(data_dir, "ack", {"alert": alert}, name, None, as_json)


@app.command()
def drill(
    rounds: Annotated[int, typer.Option(help="How often.")] = 1,
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Engage the kill switch, wait until nothing of ours rests, re-arm, and measure it. Never on real money."""
    who = name or getpass.getuser()
    facts = ask(data_dir, "status")
    if facts["mode"] == "live":
        raise UsageError("a drill cancels every open order; on real money engage the switch by hand: ctl kill REASON")
    rows = [one_drill(data_dir, who) for _ in range(rounds)]
    worst = {key: max(row[key] for row in rows) for key in rows[0]}
    text = (
        f"{rounds} drill{'s' if rounds > 1 else ''}, worst: saved and confirmed after {worst['engaged_s'] * 1000:.0f} ms, "
        f"HALTED seen after {worst['halted_s'] * 1000:.0f} ms, nothing rests after {worst['canceled_s'] * 1000:.0f} ms; re-armed"
    )
    show({"rounds": rows, "worst": worst}, as_json, text)


def one_drill(data_dir: Path | None, who: str) -> dict[str, float]:
    """Seconds from the command until it is saved, seen as HALTED, and nothing of ours is open."""
    began = time.monotonic()
    ask(data_dir, "kill", {"name": who, "cause": "drill"}, timeout_s=15.0)
    engaged_s = time.monotonic() - began
    seen: dict[str, float] = {}
    while len(seen) < 2 and time.monotonic() - began < DRILL_S_MAX:
        status = ask(data_dir, "status")
        after = time.monotonic() - began
        if status["trading_state"] in ("HALTED", "DRAINING"):
            seen.setdefault("halted_s", after)
        if not status["orders"]:
            seen.setdefault("canceled_s", after)
        time.sleep(0.02)
    if len(seen) < 2:
        raise FailedError(
            f"the drill is not over after {DRILL_S_MAX:.0f} s; the kill switch stays engaged: look at ctl status"
        )
    ask(data_dir, "rearm", {"name": who, "cause": "drill over"}, timeout_s=15.0)
    return {"engaged_s": engaged_s, **seen}
