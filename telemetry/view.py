"""The live view: one picture of the bot, drawn from what the operator answers. It only listens.

`draw` is pure: a picture (the operator's answer to `picture`) in, rich renderables out; the README's image is made of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

Picture = Mapping[str, Any]

STATE_STYLES = {"ACTIVE": "bold green", "REDUCING": "bold yellow", "HALTED": "bold red", "DRAINING": "bold magenta"}
CHILD_STYLES = {
    "running": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "stopped": "dim",
    "parked": "bold red",
}
BREAK_IT = "now break it:  kill -9 $(python3 run.py ctl pid oms)"


@define
class Local:
    """What main itself knows and the operator cannot: its own events, and how the operator is doing."""

    scenario: str = ""
    data_dir: str = ""
    started_s: float = 0.0
    events: deque[tuple[float, str, str]] = field(factory=lambda: deque(maxlen=200))
    restarts: deque[str] = field(factory=lambda: deque(maxlen=6))
    operator: str = "starting"


def draw(picture: Picture | None, local: Local, height: int = 40) -> RenderableType:
    """The whole screen. `picture` None: the operator has not answered yet, and the screen says so."""
    layout = Layout()
    layout.split_column(
        Layout(header(picture, local), size=4, name="head"),
        Layout(name="middle", size=11),
        Layout(name="book", size=8),
        Layout(decisions(picture, rows=max(3, height - 31)), ratio=1, name="decisions"),
        Layout(recovery(picture, local), size=6, name="recovery"),
    )
    layout["middle"].split_row(Layout(tree(picture), ratio=5), Layout(symbols(picture), ratio=6))
    layout["book"].split_row(Layout(positions(picture), ratio=4), Layout(orders(picture), ratio=3))
    return layout


def header(picture: Picture | None, local: Local) -> RenderableType:
    if picture is None:
        return Panel(Text(f"Bulkhead is starting ({local.operator})", style="bold"), subtitle=local.data_dir)
    status = picture["status"]
    state = str(status["trading_state"])
    line = Text()
    line.append(f" {state} ", style=f"reverse {STATE_STYLES.get(state, 'bold')}")
    if status["causes"]:
        line.append(f" because {', '.join(status['causes'])}", style="yellow")
    line.append(f"   NAV {usd(status['nav_usd'])}", style="bold")
    line.append(
        f"   today {usd(status['realised_today_usd'], sign=True)}   week {usd(status['realised_week_usd'], sign=True)}"
    )
    line.append(f"   drawdown {percent(status['drawdown_pct'])}   cash {usd(status['quote_total_usd'])}")
    second = Text(
        f"{status['env']} · {str(status['mode']).upper()} · market: {status['market']}"
        + (f" · scenario: {local.scenario}" if local.scenario else "")
        + f" · regime {status['regime'] or 'unknown'} · config {status['config_hash']}",
        style="dim",
    )
    return Panel(Group(line, second), title="Bulkhead", title_align="left", padding=(0, 1))


def tree(picture: Picture | None) -> RenderableType:
    """One line a supervisor, its children beside it: name, pid, restarts. `ctl tree` tells the rest."""
    table = Table(expand=True, box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    children = picture["tree"] if picture else []
    names = {child["role"] for child in children}
    supervisors = {child["supervisor"] for child in children}
    for top in (child for child in children if child["supervisor"] not in names):
        below = [child for child in children if child["supervisor"] == top["role"] and child["role"] not in supervisors]
        line = Text()
        for child in below or [top]:
            line.append_text(child_text(child))
        table.add_row(Text(str(top["role"]), style=CHILD_STYLES.get(str(top["state"]), "")), line)
    running = sum(child["state"] == "running" for child in children)
    return Panel(table, title=f"tree: {running} of {len(children)} processes run", title_align="left", padding=(0, 1))


def child_text(child: Mapping[str, Any]) -> Text:
    """`oms 2640 ↻1`, in the colour of its state; a state other than running is said."""
    state = str(child["state"])
    text = Text(f"{str(child['role']).removeprefix('symbol:')} ", style=CHILD_STYLES.get(state, ""))
    text.append(f"{child['pid'] or '-'}", style="dim")
    if child["restarts"]:
        text.append(f" ↻{child['restarts']}", style="bold yellow")
    if state != "running":
        text.append(f" {state}", style="bold red")
    return text.append("   ")


def symbols(picture: Picture | None) -> RenderableType:
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    table.add_column("symbol", no_wrap=True)
    for name in ("bid", "ask", "spread", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last verdict", ratio=1, no_wrap=True)
    rows = [row for row in picture["symbols"] if row["bid"] is not None or row["eligible"]] if picture else []
    for row in rows:
        age = row["quote_age_s"]
        last = row["last"]
        verdict = f"{last.get('code', '')}" if last else (row["reason"] or "watching")
        table.add_row(
            row["product_id"],
            row["bid"] or "-",
            row["ask"] or "-",
            f"{row['spread_bps']:.1f} bps" if row["spread_bps"] is not None else "-",
            Text(f"{age:.1f} s", style="red" if age > 5 else "green") if age is not None else Text("none", style="red"),
            verdict,
        )
    silent = len(picture["symbols"]) - len(rows) if picture else 0
    title = f"symbols{f' (and {silent} that this venue does not quote)' if silent else ''}"
    return Panel(table, title=title, title_align="left", padding=(0, 1))


def positions(picture: Picture | None) -> RenderableType:
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    table.add_column("position", no_wrap=True)
    for name in ("size", "entry", "stop", "target", "now", "PnL"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = picture["status"]["positions"] if picture else []
    for row in rows:
        pnl = row["unrealised_usd"]
        table.add_row(
            row["product_id"] + (" dust" if row["dust"] else ""),
            brief(row["size"]),
            brief(row["average_price"]),
            Text(brief(row["stop_price"]), style="red"),
            Text(brief(row["target_price"]), style="green"),
            brief(row["bid"]),
            Text(usd(pnl, sign=True), style="red" if str(pnl).startswith("-") else "green"),
        )
    body: RenderableType = table if rows else Text("none", style="dim")
    return Panel(body, title="positions, each with its exit armed", title_align="left", padding=(0, 1))


def orders(picture: Picture | None) -> RenderableType:
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    for name in ("order", "side", "why", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("filled", "price"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = picture["status"]["orders"] if picture else []
    for row in rows[-6:]:
        style = "bold red" if row["status"] == "UNKNOWN" else ""
        table.add_row(
            row["product_id"],
            row["side"],
            row["purpose"],
            Text(row["status"].lower(), style=style),
            f"{brief(row['filled_size'])}/{brief(row['base_size'])}",
            brief(row["limit_price"]),
        )
    body: RenderableType = table if rows else Text("none", style="dim")
    return Panel(body, title=f"open orders ({len(rows)})", title_align="left", padding=(0, 1))


def decisions(picture: Picture | None, rows: int) -> RenderableType:
    table = Table(expand=True, box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for record in (picture["decisions"] if picture else [])[-rows:]:
        table.add_row(
            Text(str(record["at"])[11:19], style="dim"),
            str(record.get("product_id", "")),
            Text(str(record.get("code", "")), style="bold"),
            decision_text(record),
        )
    return Panel(table, title="decisions, with what was measured", title_align="left", padding=(0, 1))


def recovery(picture: Picture | None, local: Local) -> RenderableType:
    conditions = picture["status"]["conditions"] if picture else []
    lines = [
        Text(f"{c['level']}: {c['text']}", style="bold red" if c["level"] == "critical" else "yellow")
        for c in conditions[:2]
    ]
    lines += [Text(text, style="cyan") for text in list(local.restarts)[-3:]]
    if local.operator != "up":
        lines.append(Text(f"the operator is {local.operator}; the picture is the last one it gave", style="yellow"))
    while len(lines) < 3 and picture is not None:
        lines.append(Text(""))
    lines = lines[:3]
    lines.append(Text(f"{BREAK_IT}        Ctrl-C ends it cleanly", style="bold white on blue"))
    return Panel(Group(*lines), title="crashes and what recovery did", title_align="left", padding=(0, 1))


def decision_text(record: Mapping[str, Any]) -> str:
    """The measured values and the sentence of a decision, on one line; the values first, since a narrow screen cuts the end."""
    values = record.get("values") or {}
    pairs = values.items() if isinstance(values, Mapping) else values
    shown = "  ".join(f"{name}={value}" for name, value in pairs)
    return "  ".join(part for part in (shown, str(record.get("text", ""))) if part)


def usd(text: str | None, *, sign: bool = False) -> str:
    if text is None:
        return "-"
    return f"{float(text):{'+' if sign else ''},.2f} USD"


def percent(text: str | None) -> str:
    return "-" if text is None else f"{float(text):.2f} %"


def short(text: str | None) -> str:
    """At most 8 decimals shown, trailing zeros cut."""
    if text is None:
        return "-"
    whole, dot, fraction = text.partition(".")
    fraction = fraction[:8].rstrip("0")
    return f"{whole}.{fraction}" if dot and fraction else whole


def brief(text: str | None) -> str:
    """At most 7 significant digits, for columns that are narrow; `ctl` shows all of them."""
    if text is None:
        return "-"
    return (
        short(text)
        if len(short(text)) <= 8
        else short(f"{float(text):.7g}" if abs(float(text)) >= 1e-4 else short(text))
    )


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 100:
        return f"{value:.0f} s"
    if value < 6_000:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def clock_text(epoch_s: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(epoch_s))
