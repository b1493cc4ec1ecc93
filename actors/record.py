"""What main keeps of a run for people: the record in `runs.sqlite`, counts for the last line, the tree in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from loguru import logger

from state.behind import Behind
from state.store import Store, StoreError
from supervision import TreeSnapshot
from trading.machine import Rows, Save, Table
from trading.messages.control import Noted

RECORD_S = 2.5
"""Longer than SQLite waits for a lock."""


class RunRecord:
    """The record of runs is for people: a store that is locked, full or slow holds up neither a start, nor the beat, nor a stop.

    Only its thread touches the store; who forks calls `finish` first, since a child would inherit SQLite's locks as they are.
    """

    def __init__(self, path: Path, tables: Sequence[Table], *, begin_anew: bool = False) -> None:
        self._open = partial(Store, path, tables, begin_anew=begin_anew)
        self._store: Store | None = None
        self._rows: Rows = {}
        self._acted_s = 0.0
        self._behind = Behind()
        self._behind.do(self._read)
        self.finish()

    def live_rows(self) -> Rows:
        return self._rows

    def acted_s(self) -> float:
        return self._acted_s

    def commit(self, saves: Iterable[Save], acted_s: float | None = None) -> None:
        self._behind.do(partial(self._save, tuple(saves), acted_s))

    def probe(self) -> None: ...

    def finish(self) -> None:
        """What was committed until now is on the disk, or is not within RECORD_S."""
        self._behind.finish(RECORD_S)

    def close(self) -> None:
        self._behind.do(self._close)
        self.finish()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _read(self) -> None:
        try:
            self._store = self._open()
            self._rows, self._acted_s = self._store.live_rows(), self._store.acted_s()
        except StoreError as error:
            logger.error(f"the record of earlier runs cannot be read: {error}")

    def _save(self, saves: tuple[Save, ...], acted_s: float | None) -> None:
        try:
            self._store = self._store or self._open()
            self._store.commit(saves, acted_s)
        except StoreError as error:
            logger.error(f"the record of this run is not complete: {error}")


def count(counts: Counter[str], noted: Noted) -> None:
    """Entries that risk admitted, exits that were ordered, denials, fills."""
    code = noted.values.get("code")
    counts["fills"] += noted.kind == "fill"
    counts["entries"] += code == "admitted"
    counts["exits"] += code == "exit"
    counts["denied"] += bool(noted.values.get("denied"))


def tree_lines(snapshot: TreeSnapshot) -> list[str]:
    return [
        f"{row.id:<20} {row.state:<10} pid {row.pid or '-':<8} restarts {row.restarts}  mailbox {row.mailbox_age_s:.3f} s"
        for row in snapshot.children
    ]
