"""How answers are shown: tables and indented lines for people, one JSON object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from telemetry.view import short

PIPE_COLUMNS = 180


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
