"""`run.py ctl`, the questions: what the running bot knows, shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer
from rich.tree import Tree

from cli.ctl import AsJson, DataDir, ask
from cli.errors import UsageError
from cli.places import bot_of, running_data_dir
from cli.tables import cell, readable, show, table_of
from telemetry.view import decision_text, percent, regime_text, seconds, usd

READINGS = (
    ("balance", "Cash, foreign holdings, flows."),
    ("exposure", "USD at worst case, by symbol."),
    ("config", "The effective configuration and its hash."),
    ("decisions", "The newest decisions of all symbols."),
    ("conditions", "What stands now and wants a person."),
)
"""Questions without a table of their own: (name, help)."""


def register(app: typer.Typer) -> None:
    for command in (status, tree, symbols, orders, positions, why, pid, breakers, latency):
        app.command(command.__name__)(command)
    for name, help_text in READINGS:
        app.command(name, help=help_text)(reading(name))


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Trading state with its causes, NAV, PnL, positions, orders, latches; which run it is, and where its page is."""
    folder = running_data_dir(data_dir)
    answer = {**ask(folder, "status"), "bot": bot_of(folder)}
    show(answer, as_json, "\n".join(status_lines(answer)))


def status_lines(answer: Mapping[str, Any]) -> list[str]:
    """Short parts, so that a terminal of 80 columns folds none of them."""
    bot = answer["bot"]
    kept = f"pid {bot['pid']}   up {seconds(bot['uptime_s'])}" if bot["pid"] else "its main process is gone"
    return [
        f"{answer['trading_state']}" + (f" because {', '.join(answer['causes'])}" if answer["causes"] else ""),
        f"{answer['env']} · {answer['mode']} · market {answer['market']} · regime {regime_text(answer)}",
        f"run {bot['run'] or 'unknown'}   {kept}   config {answer['config_hash']}",
        f"page {bot['page'] or 'none'}",
        f"NAV {usd(answer['nav_usd'])}   cash {usd(answer['quote_total_usd'])}   drawdown {percent(answer['drawdown_pct'])}",
        f"realised today {usd(answer['realised_today_usd'], sign=True)}   week {usd(answer['realised_week_usd'], sign=True)}",
        f"positions {len(answer['positions'])}   open orders {len(answer['orders'])}   cooldowns {len(answer['cooldowns'])}"
        f"   latches {len(answer['latches'])}   breakers open {len(answer['breakers_open'])}",
        *(f"{item['level']}: {item['text']}" for item in answer["conditions"]),
    ]


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


def symbols(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Each symbol: quote with age, spread, tier, eligibility and the last verdict."""
    answer = ask(data_dir, "symbols")
    rows = [{**row, "verdict": (row["last"] or {}).get("code")} for row in answer["symbols"]]
    columns = (
        ("symbol", "product_id", 0),
        ("bid", "bid", 0),
        ("ask", "ask", 2),
        ("spread bps", "spread_bps", 1),
        ("age s", "quote_age_s", 0),
        ("tier", "tier", 4),
        ("theme", "theme", 5),
        ("eligible", "eligible", 3),
        ("reason", "reason", 0),
        ("last verdict", "verdict", 0),
    )
    show(answer, as_json, table_of(rows, columns, "no symbols yet"))


def orders(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Open and unknown orders."""
    answer = ask(data_dir, "orders")
    columns = (
        ("client order id", "client_order_id", 0),
        ("symbol", "product_id", 0),
        ("side", "side", 1),
        ("why", "purpose", 5),
        ("status", "status", 0),
        ("size", "base_size", 2),
        ("filled", "filled_size", 4),
        ("limit", "limit_price", 3),
        ("since", "saved_at", 6),
    )
    show(answer, as_json, table_of(answer["orders"], columns, "no open orders"))


def positions(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Positions with their armed exits."""
    answer = ask(data_dir, "positions")
    columns = (
        ("symbol", "product_id", 0),
        ("size", "size", 0),
        ("entry", "average_price", 0),
        ("stop", "stop_price", 0),
        ("target", "target_price", 0),
        ("hold until", "hold_until", 1),
        ("now", "bid", 0),
        ("PnL USD", "unrealised_usd", 0),
        ("strategy", "strategy", 2),
    )
    show(answer, as_json, table_of(answer["positions"], columns, "no positions"))


def why(symbol: str, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The last decisions about SYMBOL: why it traded, and why not, with what was measured."""
    from trading.values import canonical_symbol

    try:
        name = canonical_symbol(symbol)
    except ValueError as error:
        raise UsageError(str(error)) from error
    answer = ask(data_dir, "why", {"symbol": name})
    rows = [{**row, "measured": decision_text(row)} for row in answer["decisions"]]
    columns = (("at", "at", 0), ("role", "role", 1), ("code", "code", 0), ("measured", "measured", 0))
    show(answer, as_json, table_of(rows, columns, f"{name}: no decision yet"))


def pid(role: str, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The process id of a role: kill -9 $(python3 run.py ctl pid oms)."""
    answer = ask(data_dir, "pid", {"role": role})
    show(answer, as_json, str(answer["pid"]))


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
        ("breaker", "code", 0),
        ("state", "state", 0),
        ("value", "value", 0),
        ("opens at", "opens_at", 1),
        ("closes at", "closes_at", 2),
        ("hold s", "hold_s", 3),
        ("reading", "reading", 0),
    )
    show(answer, as_json, table_of(rows, columns, "nothing measured yet"))


def latency(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """How long each stage of an order's life took, over the newest orders."""
    answer = ask(data_dir, "latency")
    columns = (
        ("stage", "stage", 0),
        ("orders", "orders", 0),
        ("p50 ms", "p50_ms", 0),
        ("p95 ms", "p95_ms", 0),
        ("max ms", "max_ms", 0),
    )
    show(answer, as_json, table_of(answer["latency"], columns, "no order has been through yet"))


def reading(name: str) -> Callable[..., None]:
    def command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
        answer = ask(data_dir, name)
        show(answer, as_json, readable(answer))

    return command
