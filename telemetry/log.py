"""Logs for people: loguru to a rotated JSON file per role and, on request, short lines on stderr. Secrets are cut out.

A thread writes the file: neither a disk that stalls nor the compressing of a full file (more than a second) holds up who logs.
The journal of record is the database and the audit chain; a lost log line loses nothing.
"""

from __future__ import annotations

import atexit
import copy
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from state.behind import Behind

if TYPE_CHECKING:
    from loguru import Record

SECRET_ENV = (
    "COINBASE_API_KEY",
    "COINBASE_API_SECRET",
    "BULKHEAD_GUARDIAN_API_KEY",
    "BULKHEAD_GUARDIAN_API_SECRET",
    "BULKHEAD_ALERT_URLS",
    "BULKHEAD_NEWS_URLS",
)
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+|Bearer\s+\S+",
    re.DOTALL,
)
HIDDEN = "[hidden]"
FILE_BYTES = 20_000_000
_behind: list[Behind] = []


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` without key material: known values (of the environment and given), PEM blocks, tokens."""
    for value in (*secrets, *(os.environ.get(name, "") for name in SECRET_ENV)):
        if len(value) >= 6:
            text = text.replace(value, HIDDEN).replace(value.replace("\n", "\\n"), HIDDEN)
    return _SHAPES.sub(HIDDEN, text)


def set_up(folder: Path | None, role: str, *, stderr: bool = False, secrets: tuple[str, ...] = ()) -> None:
    """Route this process's logs to `folder`/<role>.jsonl (20 MB, 10 kept, compressed, 90 days). A full disk loses lines, never a role."""
    logger.remove()

    def clean(record: Record) -> None:
        record["message"] = redact(record["message"], secrets)
        if record["exception"] is not None:
            record["extra"]["traceback"] = redact(_traceback(record["exception"]), secrets)
            record["exception"] = None

    logger.configure(patcher=clean, extra={"role": role})
    if folder is not None:
        _add_file(folder / f"{role.replace(':', '_')}.jsonl", role)
    if stderr:
        logger.add(
            sys.stderr,
            format="{time:HH:mm:ss} {level:<7} {extra[role]}  {message}",
            diagnose=False,
            backtrace=False,
            catch=True,
        )


def _add_file(path: Path, role: str) -> None:
    # loguru's way to a second logger: it has the file alone, and writes lines as they are.
    files = copy.deepcopy(logger)
    files.configure(patcher=lambda _: None)
    lines, behind = _Lines(files.opt(raw=True).info, path, role), Behind()
    _behind[:] = [behind]

    def begin() -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.add(path, format="{message}", rotation=FILE_BYTES, retention="90 days", compression="gz", catch=False)
        except OSError as error:
            print(f"logs of {role} cannot be written to {path.parent}: {error}", file=sys.stderr)

    behind.do(begin)

    def sink(line: str) -> None:
        behind.do(partial(lines.write, str(line)))

    logger.add(
        sink,
        serialize=True,
        catch=True,
        diagnose=False,  # it would print the values of variables, keys among them
        backtrace=False,
    )


class _Lines:
    """A disk that takes no lines is told once, and once when it takes them again; loguru would print a traceback for each."""

    def __init__(self, write: Callable[[str], object], path: Path, role: str) -> None:
        self._write, self._path, self._role = write, path, role
        self._lost = 0

    def write(self, line: str) -> None:
        try:
            self._write(line)
        except OSError as error:
            if not self._lost:
                self._say(f"cannot be written ({error.strerror}); what is logged until it can is lost")
            self._lost += 1
            return
        if self._lost:
            self._say(f"is written again; {self._lost} lines were lost")
            self._lost = 0

    def _say(self, what: str) -> None:
        print(f"{self._role}: the log {self._path} {what}", file=sys.stderr)


def finish(limit_s: float = 0.1) -> None:
    """Give the lines that wait a moment, before a process ends by `os._exit`."""
    for behind in _behind:
        behind.finish(limit_s)


atexit.register(finish, 1.0)


def _traceback(exception: Any) -> str:
    import traceback

    kind, value, trace = exception
    return "".join(traceback.format_exception(kind, value, trace, limit=20))
