"""What main keeps of a run for people: the record in `runs.sqlite`, counts for the last line, the tree in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from loguru import logger

from state.store import Store, StoreError
from supervision import TreeSnapshot
from trading.machine import Save
from trading.messages.control import Noted


class RunRecord(Store):
    """The record of runs is for people: a disk that takes no writes must not hold up a stop."""

    def commit(self, saves: Iterable[Save], acted_s: float | None = None) -> None:
        try:
            super().commit(saves, acted_s)
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
