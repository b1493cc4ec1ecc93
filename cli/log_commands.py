"""`run.py logs`: what every role logged, merged by time, for who has to find out what happened. Needs no running bot."""

from __future__ import annotations

import heapq
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.ctl import DataDir
from cli.errors import UsageError
from cli.places import running_data_dir
from cli.tables import cell
from trading.values import utc_text

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
BESIDE = ("tree.err", "guardian.err", "venue.err")
"""What is no log of a role: what a process printed as it died."""

Line = Mapping[str, Any]


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    data_dir: DataDir = None,
    role: Annotated[str | None, typer.Option(help="Of this role alone, as in oms or symbol:BTC-USD.")] = None,
    since: Annotated[str | None, typer.Option(help="How far back, as in 90s, 30m, 8h, 2d.")] = None,
    level: Annotated[str, typer.Option(help=f"At least: {', '.join(LEVELS)}.")] = "info",
    last: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of text.")] = False,
) -> None:
    """What all roles logged, merged by time. Newest last, tracebacks below their line; also without a running bot."""
    if level not in LEVELS:
        raise UsageError(f"--level {level}: is no level; one of {', '.join(LEVELS)}")
    from_s = time.time() - duration_s(since) if since is not None else 0.0
    folder = running_data_dir(data_dir) / "logs"
    files = log_files(folder, role)
    wanted = (
        line for file in files for line in read(file) if line["severity"] >= LEVELS[level] and line["at_s"] >= from_s
    )
    for line in sorted(heapq.nlargest(last, wanted, key=moment), key=moment):
        print(json.dumps({"at": utc_text(line["at_s"]), **line}) if as_json else text_of(line))
    for name in BESIDE:
        path = folder / name
        if not as_json and role is None and path.is_file() and path.stat().st_size:
            print(f"see also {path} ({path.stat().st_size:,} bytes): what a process printed as it died")


def moment(line: Line) -> float:
    return float(line["at_s"])


def duration_s(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None:
        raise UsageError(f"--since {text}: is not a duration such as 90s, 30m, 8h or 2d")
    return float(found[1]) * UNITS_S[found[2]]


def log_files(folder: Path, role: str | None) -> list[Path]:
    """The files that are written now; older ones lie beside them, compressed."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise UsageError(f"{folder} holds no log; no bot has run there")
    if role is None:
        return files
    path = folder / f"{role.replace(':', '_')}.jsonl"
    if path not in files:
        raise UsageError(f"--role {role}: has no log here; there are: {', '.join(file.stem for file in files)}")
    return [path]


def read(file: Path) -> Iterator[Line]:
    """Each line of a role's log; one that a full disk or a kill has cut short is left out."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        for text in stream:
            try:
                record = json.loads(text)["record"]
                extra = record["extra"]
                yield {
                    "at_s": record["time"]["timestamp"],
                    "level": record["level"]["name"].lower(),
                    "severity": record["level"]["no"],
                    "role": extra["role"],
                    "kind": extra.get("kind", ""),
                    "text": record["message"],
                    "values": dict(extra.get("values") or {}),
                    "traceback": extra.get("traceback", ""),
                }
            except (ValueError, KeyError, TypeError):
                continue


def text_of(line: Line) -> str:
    """A line for people: UTC, role, level where it is not info, what it is about, values, and the traceback below."""
    values = {**line["values"], **(line["values"].get("values") or {})}
    about = [str(values.pop(key)) for key in ("product_id", "code") if values.get(key)]
    text = "" if line["text"] in (line["kind"], *about) else str(line["text"])
    shown = [
        f"{key}={cell(value)}" for key, value in values.items() if key not in ("text", "values", "product_id", "code")
    ]
    head = "  ".join(part for part in (str(line["kind"]), *about, text, *shown) if part)
    level = "" if line["level"] == "info" else f"{line['level'].upper()} "
    below = "".join(f"\n    {row}" for row in str(line["traceback"]).splitlines())
    return f"{utc_text(line['at_s'])[5:19].replace('T', ' ')}Z  {line['role']:<16}  {level}{head}{below}"
