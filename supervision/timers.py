"""One timer per key on a heap. Pure: setting replaces, cancelling forgets, nothing comes early."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from itertools import count


class Timers:
    """Keys and the times (any one clock, seconds) when they are due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable]] = []
        self._current: dict[Hashable, int] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._current)

    def set(self, key: Hashable, due_s: float) -> None:
        number = next(self._numbers)
        self._current[key] = number
        heapq.heappush(self._heap, (due_s, number, key))
        if len(self._heap) > 64 + 2 * len(
            self._current
        ):  # replaced ones would pile up under a key that is set for ever
            self._heap = [entry for entry in self._heap if self._current.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def cancel(self, key: Hashable) -> None:
        self._current.pop(key, None)

    def next_s(self) -> float | None:
        """When the next timer is due."""
        while self._heap and self._current.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_s: float) -> list[Hashable]:
        """Take out the keys that are due, earliest first."""
        keys = []
        while (next_s := self.next_s()) is not None and next_s <= now_s:
            key = heapq.heappop(self._heap)[2]
            del self._current[key]
            keys.append(key)
        return keys
