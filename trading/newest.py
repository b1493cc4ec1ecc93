"""The latest snapshot wins, and which one is the latest is told by its owner: (incarnation, number), law 2 of DESIGN.

An owner that died may still have mail under way when its successor speaks. What is older than what is known is ignored, and
renews no lease; what is equal passes, since a repeat is what keeps a lease alive.
"""

from __future__ import annotations

from typing import Any

from trading.machine import Incarnation
from trading.messages.book import BookSnapshot


def rank(snapshot: Any) -> tuple[Incarnation, int]:
    if isinstance(snapshot, BookSnapshot):
        return snapshot.version
    return snapshot.incarnation, snapshot.n


class Newest:
    """The highest rank that was heard of each kind of snapshot."""

    __slots__ = ("_ranks",)

    def __init__(self) -> None:
        self._ranks: dict[type, tuple[Incarnation, int]] = {}

    def outdated(self, snapshot: object) -> bool:
        """Whether a newer one of its kind is known; else it is the newest from now on."""
        mine, kind = rank(snapshot), type(snapshot)
        known = self._ranks.get(kind)
        if known is not None and mine < known:
            return True
        self._ranks[kind] = mine
        return False
