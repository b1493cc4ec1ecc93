"""The candles of one symbol on their way into its `MarketView`: guarded, aggregated upwards, each once.

The feed may deliver any lengths: a native bar and one built from shorter bars are the same bar, and whichever comes
first is taken. History that arrives after bars were built from live ones replaces them, since it is longer.
"""

from __future__ import annotations

from collections import Counter

from trading.bars import CLOSED, LATE, Aggregator, Series
from trading.data_guards import BarGuard, DataGuardSettings
from trading.messages.market import Bar
from trading.strategies.interface import MarketView

FINE, MOVE, SIGNAL = 1, 2, 4
"""Bits of what `add` reports: which series closed a bar."""

Steps = tuple[tuple[int, int, Series, Aggregator | None, "Steps"], ...]
"""A bar's way up: (bit, bar_s, series, made, the steps above), plain tuples since they are unpacked at every bar. made: builds
the series' bars of such that are `bar_s` long; None when they come as they are.
"""


class Candles:
    """`add(bar)` returns a mask of the series that took a new closed bar; 0 when none did (`refused` says why)."""

    __slots__ = ("_levels", "_limits", "_ways", "refusals", "refused", "view")

    def __init__(self, view: MarketView, limits: DataGuardSettings) -> None:
        self.view = view
        self._limits = limits
        self._ways: dict[int, tuple[BarGuard, Steps]] = {}
        self.refused = ""
        self.refusals: Counter[str] = Counter()
        self._levels: tuple[tuple[int, int, Series, Aggregator], ...] = (
            (FINE, view.fine.bar_s, view.fine, Aggregator(view.fine.bar_s)),
            (MOVE, view.move.bar_s, view.move, Aggregator(view.move.bar_s)),
            (SIGNAL, view.signal.bar_s, view.signal, Aggregator(view.signal.bar_s)),
        )

    def add(self, bar: Bar) -> int:
        bar_s = bar.bar_s
        way = self._ways.get(bar_s)
        if way is None:
            way = self._first(bar)
        guard, steps = way
        self.refused = code = guard.admit(bar)
        if code:
            self.refusals[code] += 1
            return 0
        if guard.released:
            mask = 0
            for held in guard.released:
                mask |= _feed(steps, held.start_s, held.open, held.high, held.low, held.close, held.volume)
            guard.released = ()
            return mask
        return _feed(steps, bar.start_s, bar.open, bar.high, bar.low, bar.close, bar.volume)

    def gaps(self) -> int:
        return sum(guard.gaps for guard, _ in self._ways.values())

    def _first(self, bar: Bar) -> tuple[BarGuard, Steps]:
        """A length that was not delivered before: its way up, and whether its history replaces what was built."""
        bar_s = bar.bar_s
        way = self._ways[bar_s] = BarGuard(bar_s, self._limits), self._steps(bar_s, self._levels)
        if bar.backfill:
            for _, length, series, _ in self._levels:
                if length == bar_s and series.count and bar.start_s <= series.last_start_s:
                    series.restart()
        return way

    def _steps(self, bar_s: int, levels: tuple[tuple[int, int, Series, Aggregator], ...]) -> Steps:
        """The way of bars of length `bar_s` through `levels`; a level whose length is no multiple of theirs is passed by."""
        for at, (bit, length, series, made) in enumerate(levels):
            if length % bar_s == 0:
                above = self._steps(length, levels[at + 1 :])
                return ((bit, bar_s, series, None if length == bar_s else made, above), *above)
        return ()


def _feed(steps: Steps, start_s: int, open_: float, high: float, low: float, close: float, volume: float) -> int:
    """One bar up its steps; a duplicate goes no further, so nothing counts twice."""
    mask = 0
    for bit, bar_s, series, made, above in steps:
        if made is not None:
            closed = made.push(start_s, start_s + bar_s, open_, high, low, close, volume)
            if not closed:
                return mask
            if closed & LATE and series.update(*made.left):
                mask |= bit | _feed(above, *made.left)
            if not closed & CLOSED:
                return mask
            start_s, open_, high, low, close, volume = (
                made.start_s,
                made.open,
                made.high,
                made.low,
                made.close,
                made.volume,
            )
        if not series.update(start_s, open_, high, low, close, volume):
            return mask
        mask |= bit
    return mask
