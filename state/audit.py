"""Each role's own audit log: JSON lines in a hash chain, so that a line that was changed or taken away shows.

A line is {"n", "at", "record", "prev", "hash"}; hash = sha256 over prev and the canonical JSON of the rest. On opening, a torn
tail (a process was killed while writing) is cut before anything is appended; otherwise the next line would be
merged into it and lost. The file is for proof, not for recovery: no machine ever reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

GENESIS = "0" * 64
_TAIL_BYTES = 1 << 20


class AuditError(Exception):
    """The chain is broken; the sentence names file and line."""


def _digest(prev: str, body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((prev + text).encode()).hexdigest()


class AuditLog:
    """Appends. Lines reach the kernel at once (they survive kill -9) and the disk with `sync`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self.cut_bytes = 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._n, self._prev = self._cut_and_find_end()
        except OSError:
            os.close(self._descriptor)
            raise

    def _cut_and_find_end(self) -> tuple[int, str]:
        size = os.fstat(self._descriptor).st_size
        start = max(0, size - _TAIL_BYTES)
        tail = os.pread(self._descriptor, size - start, start)
        end = len(tail)
        while end > 0:
            line_start = tail.rfind(b"\n", 0, end - 1) + 1
            line = _parsed(tail[line_start:end])
            if line is not None:
                break
            end = line_start
        else:
            line = None
        if start + end < size:
            self.cut_bytes = size - start - end
            os.ftruncate(self._descriptor, start + end)
            os.fsync(self._descriptor)
        return (line["n"], line["hash"]) if line else (0, GENESIS)

    def append(self, at: str, record: Mapping[str, Any]) -> None:
        """One line. Raises OSError when it cannot be written; then the next opening cuts what is torn."""
        self._n += 1
        body = {"n": self._n, "at": at, "record": record, "prev": self._prev}
        self._prev = _digest(self._prev, body)
        line = json.dumps({**body, "hash": self._prev}, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
        view = memoryview(line.encode() + b"\n")
        while view:  # a disk that is nearly full takes a part of it, and says so only to the next write
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The line when it is whole and its hash is its own."""
    if not line.endswith(b"\n"):
        return None
    try:
        parsed = json.loads(line)
        body = {key: parsed[key] for key in ("n", "at", "record", "prev")}
        return parsed if _digest(parsed["prev"], body) == parsed["hash"] else None
    except (ValueError, KeyError, TypeError):
        return None


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Every line, verified against its predecessor. Raises AuditError at the first that does not fit."""
    prev, count = GENESIS, 0
    with path.open("rb") as file:
        for line in file:
            count += 1
            parsed = _parsed(line)
            if parsed is None:
                raise AuditError(f"{path} line {count} is torn or was changed: its hash does not fit what it says")
            if parsed["prev"] != prev or parsed["n"] != count:
                raise AuditError(
                    f"{path} line {count} does not follow the line before it: lines were taken out or moved"
                )
            prev = parsed["hash"]
            yield parsed


def verify(folder: Path) -> dict[str, int]:
    """How many lines each file has: name -> number of lines, of every audit log in `folder`. Raises AuditError."""
    return {path.name: sum(1 for _ in read(path)) for path in sorted(folder.glob("*.jsonl"))}
