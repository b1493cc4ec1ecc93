"""`run.py ctl`, the questions: what the running bot knows, shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import typer
from rich.console import Group

from cli.ctl import AsJson, DataDir, Role, Symbol, ask
from cli.errors import UsageError
from cli.places import bot_of, running_data_dir
from cli.tables import cell, readable, show, table_of
from telemetry.figures import percent, seconds, usd
from telemetry.view import decision_text, regime_text

READINGS = (
    ("balance", "Cash, foreign holdings, flows."),
    ("config", "The effective configuration and its hash."),
)
"""Questions without a table of their own: (name, help)."""


def register(app: typer.Typer) -> None:
    for command in (
        status,
        tree,
        symbols,
        orders,
        positions,
        why,
        pid,
        breakers,
        latency,
        exposure,
        decisions,
        conditions,
    ):
        app.command(command.__name__)(command)
    for name, help_text in READINGS:
        app.command(name, help=help_text)(reading(name))


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Trading state, its causes, NAV, PnL and what stands. Also which run it is, and where its page is."""
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
    """The supervision tree, and how each process last ended."""
    answer = ask(data_dir, "tree")
    rows = [child_row(child, depth) for child, depth in indented(answer["children"])]
    columns = (
        ("role", "role", 0),
        ("state", "state", 0),
        ("pid", "pid", 0),
        ("restarts", "restarts", 1),
        ("mailbox ms", "mailbox_ms", 3),
        ("MB", "rss_mb", 4),
        ("up", "up", 2),
        ("incarnation", "incarnation", 5),
        ("last end", "last_end", 0),
    )
    running = sum(row["state"] == "running" for row in rows)
    count = f"{running} of {len(rows)} processes run"
    show(answer, as_json, Group(table_of(rows, columns, "no process is known yet"), count))


def indented(children: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Each child after its supervisor, with its depth; one whose supervisor is not told stands at the top."""
    names = {child["role"] for child in children}

    def below(above: str | None, depth: int) -> Iterator[tuple[Mapping[str, Any], int]]:
        for child in children:
            supervisor = child["supervisor"] if child["supervisor"] != child["role"] else ""
            if (supervisor if supervisor in names else None) == above:
                yield child, depth
                yield from below(child["role"], depth + 1)

    return below(None, 0)


def child_row(child: Mapping[str, Any], depth: int) -> dict[str, Any]:
    number, began_ns = child["incarnation"] or (None, 0)
    return {
        "role": "  " * depth + child["role"],
        "state": child["state"] if child["state"] == "running" else child["state"].upper(),
        "pid": child["pid"],
        "restarts": child["restarts"],
        "mailbox_ms": None if child["mailbox_age_s"] is None else round(child["mailbox_age_s"] * 1000),
        "rss_mb": round(child["rss_bytes"] / 1e6) if child["rss_bytes"] else None,
        "up": seconds(child["uptime_s"]),
        "incarnation": None if number is None else f"{number}.{began_ns / 1e9:.3f}",
        "last_end": last_line(str(child["reason"] or "")),
    }


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def symbols(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Each symbol: quote, spread, tier, eligible or not, verdict."""
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


def why(symbol: Symbol, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Why SYMBOL was traded, or was not: its last decisions. Each with what was measured."""
    from trading.values import canonical_symbol

    try:
        name = canonical_symbol(symbol)
    except ValueError as error:
        raise UsageError(str(error)) from error
    answer = ask(data_dir, "why", {"symbol": name})
    columns = (("at", "at", 0), ("role", "role", 1), ("code", "code", 0), ("measured", "measured", 0))
    show(answer, as_json, table_of(measured(answer["decisions"]), columns, f"{name}: {undecided(answer)}"))


def undecided(answer: Mapping[str, Any]) -> str:
    """Why there is no decision about a product."""
    if answer.get("eligible") is None:
        return "the universe has not judged it yet"
    return "eligible; nothing has triggered yet" if answer["eligible"] else f"ineligible: {answer['reason']}"


def decisions(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The newest decisions of all symbols."""
    answer = ask(data_dir, "decisions")
    columns = (
        ("at", "at", 0),
        ("role", "role", 1),
        ("symbol", "product_id", 0),
        ("code", "code", 0),
        ("measured", "measured", 0),
    )
    show(answer, as_json, table_of(measured(answer["decisions"]), columns, "no decision yet"))


def measured(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "measured": decision_text(row)} for row in found]


def conditions(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """What stands now and wants a person; ctl ack takes its name."""
    answer = ask(data_dir, "conditions")
    columns = (("level", "level", 0), ("alert", "fingerprint", 0), ("what", "text", 0))
    show(answer, as_json, table_of(answer["conditions"], columns, "nothing stands"))


def exposure(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """USD at worst case, by symbol."""
    answer = ask(data_dir, "exposure")
    nav, caps = answer.get("nav_usd"), answer.get("caps")
    rows = [
        {"product_id": product_id, **row, "share": share(nav, row["position_usd"], row["entries_usd"])}
        for product_id, row in answer["by_product"].items()
    ]
    columns = (
        ("symbol", "product_id", 0),
        ("positions USD", "position_usd", 0),
        ("open and unknown entries USD", "entries_usd", 0),
        ("% of NAV", "share", 0),
    )
    total = f"in all {usd(answer['total_usd'])}, {share(nav, answer['total_usd'])} % of NAV"
    allowed = (
        f"caps: {caps['total_pct']} % in all, {caps['per_asset_pct']} % a symbol, {caps['positions_max']} positions"
        if caps
        else ""
    )
    show(answer, as_json, Group(table_of(rows, columns, "no position, no entry"), f"{total}   {allowed}".rstrip()))


def share(nav_usd: str | None, *parts_usd: str) -> str:
    """Percent of the net asset value, as in 0.53."""
    return f"{sum(map(float, parts_usd)) / float(nav_usd) * 100:.2f}" if nav_usd and float(nav_usd) else "-"


def pid(role: Role, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The process id of ROLE. As in kill -9 $(python3 run.py ctl pid oms)."""
    answer = ask(data_dir, "pid", {"role": role})
    show(answer, as_json, str(answer["pid"]))


def breakers(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Circuit breakers and money latches, with what was measured."""
    answer = ask(data_dir, "breakers")
    rows = [
        {
            "code": row["code"],
            "state": ("OPEN" if row["open"] else "closed") if row["measured"] else "not measured",
            **limits(row["values"]),
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


def limits(values: Mapping[str, Any]) -> dict[str, Any]:
    """A breaker's values with the side on which it opens and closes: one that opens low closes higher."""
    if "opens_at" not in values or "closes_at" not in values:
        return dict(values)
    opens, closes = str(values["opens_at"]), str(values["closes_at"])
    low = float(opens) < float(closes)
    signs = ("≤", "≥") if low else ("≥", "≤")
    return {**values, "opens_at": f"{signs[0]} {opens}", "closes_at": f"{signs[1]} {closes}"}


def latency(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """How long each stage of an order's life took. Over the newest orders."""
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
