"""Volume that has not become a bar yet: the rise of the venue's rolling 24-hour volume over the last one to two minutes.

What leaves the rolling window at its far end makes the rise a little too small, which is the careful side.
"""

from __future__ import annotations

WINDOW_S = 60.0


class FormingVolume:
    """`ratio(...)`: volume since the window's start over what that time usually brings."""

    __slots__ = ("_base", "_last", "_next")

    def __init__(self) -> None:
        self._last = -1.0
        self._base: tuple[float, float] | None = None
        self._next: tuple[float, float] = (0.0, 0.0)

    def changed(self, volume_24h: float) -> bool:
        return volume_24h != self._last

    def ratio(self, volume_24h: float, exchange_s: float, expected_15m: float) -> float:
        """expected_15m: usual volume of 15 minutes, 0.0 when unknown. A window shorter than a minute counts as one."""
        self._last = volume_24h
        if self._base is None:
            self._base = self._next = (exchange_s, volume_24h)
            return 0.0
        if exchange_s - self._next[0] >= WINDOW_S:
            self._base, self._next = self._next, (exchange_s, volume_24h)
        since_s, base = self._base
        if expected_15m <= 0.0 or volume_24h <= base:
            return 0.0
        elapsed_s = max(WINDOW_S, exchange_s - since_s)
        return (volume_24h - base) / (expected_15m * elapsed_s / 900.0)
