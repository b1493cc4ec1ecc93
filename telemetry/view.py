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

from telemetry.figures import brief, percent, usd

Picture = Mapping[str, Any]

STATE_STYLES = {"ACTIVE": "bold green", "REDUCING": "bold yellow", "HALTED": "bold red", "DRAINING": "bold magenta"}
CHILD_STYLES = {
    "running": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "stopped": "dim",
    "parked": "bold red",
}
PANELS_WIDTH_MIN, PANELS_HEIGHT_MIN = 110, 32
"""Below either the view has no frames and shows the most important lines only."""


@define
class Local:
    """What main itself knows and the operator cannot: its own events, and how the operator is doing."""

    scenario: str = ""
    data_dir: str = ""
    started_s: float = 0.0
    events: deque[tuple[float, str, str]] = field(factory=lambda: deque(maxlen=200))
    restarts: deque[str] = field(factory=lambda: deque(maxlen=6))
    operator: str = "starting"
    stopping: str = ""
    named: str = ""
    """What `ctl` must be told to find this bot, as in " --data-dir /tmp/x"; empty where it finds it by itself."""


def draw(picture: Picture | None, local: Local, height: int = 40, width: int = 120) -> RenderableType:
    """The whole screen. `picture` None: the operator has not answered yet, and the screen says so."""
    if width < PANELS_WIDTH_MIN or height < PANELS_HEIGHT_MIN:
        return header(None, local) if picture is None else draw_small(picture, local, height)
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


def draw_small(picture: Picture, local: Local, height: int) -> RenderableType:
    """The same without frames, one line each, the most important first: what does not fit is left out, nothing is folded."""
    status = picture["status"]
    held, working = status["positions"], status["orders"]
    top: list[RenderableType] = [state_text(status), money_text(status), facts_text(status, local)]
    top += told_lines(picture, local, conditions=2, restarts=1)
    bottom: list[RenderableType] = [
        processes_text(picture),
        hint_text(picture, local),
    ]
    top = top[: max(1, height - len(bottom))]
    room = max(0, height - len(top) - len(bottom))
    sections = (
        (f"positions ({len(held)}), cash {usd(status['quote_total_usd'])}", positions_table, len(held), 4, 1),
        (f"open orders ({len(working)})", orders_table, len(working), 3, 1),
        ("symbols", symbols_table, len(quoted(picture)), 6, 1),
        ("decisions", decisions_table, len(picture["decisions"]), height, 0),
    )
    middle: list[RenderableType] = []
    for title, table_of_rows, count, most, headings in sections:
        rows = min(count, most, room - 1 - headings)
        if rows > 0:
            middle += [Text(title, style="bold dim"), table_of_rows(picture, rows)]
            room -= 1 + headings + rows
        elif room > 0:
            middle.append(Text(title if count else f"{title}: none", style="dim"))
            room -= 1
    lines = [*top, *middle, *[Text("")] * room, *bottom]
    for line in lines:
        if isinstance(line, Text):
            line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines[:height])


def header(picture: Picture | None, local: Local) -> RenderableType:
    if picture is None:
        return Panel(Text(f"Bulkhead is starting ({local.operator})", style="bold"), subtitle=local.data_dir)
    status = picture["status"]
    line = state_text(status)
    line.append_text(money_text(status))
    line.append(f"   cash {usd(status['quote_total_usd'])}")
    return Panel(Group(line, facts_text(status, local)), title="Bulkhead", title_align="left", padding=(0, 1))


def state_text(status: Mapping[str, Any]) -> Text:
    state = str(status["trading_state"])
    line = Text()
    line.append(f" {state} ", style=f"reverse {STATE_STYLES.get(state, 'bold')}")
    if status["causes"]:
        line.append(f" because {', '.join(status['causes'])}", style="yellow")
    return line.append("   ")


def money_text(status: Mapping[str, Any]) -> Text:
    line = Text(f"NAV {usd(status['nav_usd'])}", style="bold")
    line.append(
        f"   today {usd(status['realised_today_usd'], sign=True)}   week {usd(status['realised_week_usd'], sign=True)}"
        f"   drawdown {percent(status['drawdown_pct'])}",
        style="not bold",
    )
    return line


def facts_text(status: Mapping[str, Any], local: Local) -> Text:
    scenario = f" · scenario: {local.scenario}" if local.scenario else ""
    text = f"{status['env']} · {str(status['mode']).upper()} · market: {status['market']}{scenario}"
    text = f"{text} · config {status['config_hash']} · regime {regime_text(status)}"
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


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


def processes_text(picture: Picture) -> Text:
    """One line: how many run, and which do not or were restarted."""
    children = picture["tree"]
    running = sum(child["state"] == "running" for child in children)
    line = Text(f"{running} of {len(children)} processes run   ", style="" if running == len(children) else "bold red")
    for child in children:
        if child["state"] != "running" or child["restarts"]:
            line.append_text(child_text(child))
    return line


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
    rows = quoted(picture) if picture else []
    silent = len(picture["symbols"]) - len(rows) if picture else 0
    title = f"symbols{f' (and {silent} that this venue does not quote)' if silent else ''}"
    return Panel(symbols_table(picture, len(rows)), title=title, title_align="left", padding=(0, 1))


def quoted(picture: Picture) -> list[Mapping[str, Any]]:
    return [row for row in picture["symbols"] if row["bid"] is not None or row["eligible"]]


def symbols_table(picture: Picture | None, most: int) -> Table:
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    table.add_column("symbol", no_wrap=True)
    for name in ("bid", "ask", "spread", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last verdict", ratio=1, no_wrap=True)
    for row in quoted(picture)[:most] if picture else ():
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
    return table


def positions(picture: Picture | None) -> RenderableType:
    count = len(picture["status"]["positions"]) if picture else 0
    body: RenderableType = positions_table(picture, count) if count else Text("none", style="dim")
    return Panel(body, title="positions, each with its exit armed", title_align="left", padding=(0, 1))


def positions_table(picture: Picture | None, most: int) -> Table:
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    table.add_column("position", no_wrap=True)
    for name in ("size", "entry", "stop", "target", "now", "PnL"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in picture["status"]["positions"][:most] if picture else ():
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
    return table


def orders(picture: Picture | None) -> RenderableType:
    count = len(picture["status"]["orders"]) if picture else 0
    body: RenderableType = orders_table(picture, 6) if count else Text("none", style="dim")
    return Panel(body, title=f"open orders ({count})", title_align="left", padding=(0, 1))


def orders_table(picture: Picture | None, most: int) -> Table:
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    for name in ("order", "side", "why", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("filled", "price"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in picture["status"]["orders"][-most:] if picture else ():
        style = "bold red" if row["status"] == "UNKNOWN" else ""
        table.add_row(
            row["product_id"],
            row["side"],
            row["purpose"],
            Text(row["status"].lower(), style=style),
            f"{brief(row['filled_size'])}/{brief(row['base_size'])}",
            brief(row["limit_price"]),
        )
    return table


def decisions(picture: Picture | None, rows: int) -> RenderableType:
    table = decisions_table(picture, rows)
    return Panel(table, title="decisions, with what was measured", title_align="left", padding=(0, 1))


def decisions_table(picture: Picture | None, most: int) -> Table:
    table = Table(expand=True, box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for record in (picture["decisions"] if picture else [])[-most:]:
        table.add_row(
            Text(str(record["at"])[11:19], style="dim"),
            str(record.get("product_id", "")),
            Text(f"{record.get('code', '')}{times_text(record)}", style="bold"),
            decision_text(record),
        )
    return table


def times_text(record: Mapping[str, Any]) -> str:
    times = record.get("times", 1)
    return f" ×{times}" if times > 1 else ""


def recovery(picture: Picture | None, local: Local) -> RenderableType:
    lines = told_lines(picture, local, conditions=2, restarts=3)
    while len(lines) < 3 and picture is not None:
        lines.append(Text(""))
    lines = lines[:3]
    lines.append(hint_text(picture, local))
    return Panel(Group(*lines), title="crashes and what recovery did", title_align="left", padding=(0, 1))


def hint_text(picture: Picture | None, local: Local) -> Text:
    """What to type in a second terminal. With real money nobody is asked to break anything."""
    live = picture is not None and picture["status"]["mode"] == "live"
    words = f"ask it:  python3 run.py ctl status{local.named}"
    if not live:
        words = f"now break it:  kill -9 $(python3 run.py ctl pid oms{local.named})"
    return Text(f"{words}   Ctrl-C ends it", style="bold white on blue")


def told_lines(picture: Picture | None, local: Local, *, conditions: int, restarts: int) -> list[Text]:
    """What wants a person, what was restarted last, and whether the picture is an old one."""
    found = [Text(local.stopping, style="bold magenta")] if local.stopping else []
    found += [
        Text(f"{c['level']}: {c['text']}", style="bold red" if c["level"] == "critical" else "yellow")
        for c in (picture["status"]["conditions"] if picture else [])[:conditions]
    ]
    found += [Text(text, style="cyan") for text in list(local.restarts)[-restarts:]]
    if local.operator != "up" and not local.stopping:
        found.append(Text(f"the operator is {local.operator}; the picture is the last one it gave", style="yellow"))
    return found


def decision_text(record: Mapping[str, Any]) -> str:
    """The measured values and the sentence of a decision, on one line: a narrow screen cuts the end, so ids stand there."""
    values = record.get("values") or {}
    pairs = [(name, f"{name}={value}") for name, value in (values.items() if isinstance(values, Mapping) else values)]
    shown = [pair for name, pair in pairs if not name.endswith("_id")]
    ids = [pair for name, pair in pairs if name.endswith("_id")]
    return "  ".join(part for part in (*shown, str(record.get("text", "")), *ids) if part)


def regime_text(status: Mapping[str, Any]) -> str:
    """The market's regime with what was measured, as in bear (return_7d_pct=-6.3  volatility_pct=58.4)."""
    if not status["regime"]:
        return "unknown"
    values = "  ".join(f"{name}={value}" for name, value in status.get("regime_values", {}).items())
    return f"{status['regime']} ({values})" if values else str(status["regime"])


def clock_text(epoch_s: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(epoch_s))
