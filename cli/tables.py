"""How answers are shown: tables and indented lines for people, one JSON object for programs.

A table fits its terminal: columns are left out by rank until the rest fits, and what was left out is named. Only the last column
is folded, all of them where even rank 0 does not fit. A pipe gets every column.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from telemetry.figures import short

PIPE_COLUMNS = 10_000
"""A pipe has no width of its own: nothing in it is folded."""
GAP = 2
LAST_COLUMNS_MIN = 28
"""A last column that is longer than its place is folded, but not below this width."""
_MOMENT = re.compile(r"\d{4}-(\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?Z")

Column = tuple[str, str, int]
"""Heading, key, rank: 0 is always shown, the highest rank goes first where the terminal is too narrow."""


def terminal_width() -> int | None:
    """Columns of the terminal; None where the answer goes into a pipe or a file, which have no width."""
    return Console().width if sys.stdout.isatty() else None


def show(answer: Mapping[str, Any], as_json: bool, text: RenderableType) -> None:
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    width = terminal_width()
    console = Console(highlight=False, width=width or PIPE_COLUMNS)
    if width is not None:
        console.print(text)
        return
    with console.capture() as captured:
        console.print(text)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], empty: str) -> RenderableType:
    """A table of `columns` for the terminal, or the sentence for no rows."""
    return table(rows, columns, terminal_width()) if rows else Text(empty)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], width: int | None) -> RenderableType:
    """The table in `width` columns; None is as wide as it takes."""
    cells = {
        key: [cell(row.get(key)) if width is None else at_terminal(cell(row.get(key))) for row in rows]
        for _, key, _ in columns
    }
    widths = {key: max(cell_len(heading), *map(cell_len, cells[key])) for heading, key, _ in columns}
    kept = fitting(columns, widths, width)
    fits = width is None or _needed(kept, widths) <= width
    found = Table(box=None, header_style="bold", pad_edge=False)
    for heading, key, _ in kept[:-1]:
        found.add_column(
            heading, no_wrap=fits, overflow="fold", justify="right" if all(map(is_number, cells[key])) else "left"
        )
    found.add_column(kept[-1][0], overflow="fold")
    for row in zip(*(cells[key] for _, key, _ in kept), strict=True):
        found.add_row(*map(Text, row))
    gone = ", ".join(heading for heading, key, _ in columns if key not in {one for _, one, _ in kept})
    if not gone:
        return found
    return Group(found, Text(f"left out at {width} columns: {gone} (a pipe shows all)", style="dim"))


def fitting(columns: Sequence[Column], widths: Mapping[str, int], width: int | None) -> list[Column]:
    """Those of `columns` that stand in `width` beside each other, the last one folded if need be."""
    kept = list(columns)
    while width is not None and _needed(kept, widths) > width:
        least = max(kept, key=lambda column: column[2])
        if least[2] == 0:
            break
        kept.remove(least)
    return kept


def _needed(columns: Sequence[Column], widths: Mapping[str, int]) -> int:
    *others, last = (widths[key] for _, key, _ in columns)
    return sum(others) + GAP * len(others) + min(last, LAST_COLUMNS_MIN)


def is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d,]*\.?\d*|none", text) is not None


def at_terminal(text: str) -> str:
    """A time as a person reads it in a row: month, day and second; anything else as it is."""
    found = _MOMENT.fullmatch(text)
    return f"{found[1]} {found[2]}" if found else text


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
