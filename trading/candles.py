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


class Candles:
    """`add(bar)` returns a mask of the series that took a new closed bar; 0 when none did (`refused` says why)."""

    __slots__ = ("_guards", "_levels", "_limits", "_native", "refusals", "refused", "view")

    def __init__(self, view: MarketView, limits: DataGuardSettings) -> None:
        self.view = view
        self._limits = limits
        self._guards: dict[int, BarGuard] = {}
        self._native: dict[int, int] = {}
        self.refused = ""
        self.refusals: Counter[str] = Counter()
        self._levels: tuple[tuple[int, int, Series, Aggregator], ...] = (
            (FINE, view.fine.bar_s, view.fine, Aggregator(view.fine.bar_s)),
            (MOVE, view.move.bar_s, view.move, Aggregator(view.move.bar_s)),
            (SIGNAL, view.signal.bar_s, view.signal, Aggregator(view.signal.bar_s)),
        )

    def add(self, bar: Bar) -> int:
        bar_s = bar.bar_s
        guard = self._guards.get(bar_s)
        if guard is None:
            guard = self._first(bar)
        self.refused = code = guard.admit(bar)
        if code:
            self.refusals[code] += 1
            return 0
        at = self._native[bar_s]
        if guard.released:
            mask = 0
            for held in guard.released:
                mask |= self._feed(at, bar_s, held.start_s, held.open, held.high, held.low, held.close, held.volume)
            guard.released = ()
            return mask
        return self._feed(at, bar_s, bar.start_s, bar.open, bar.high, bar.low, bar.close, bar.volume)

    def gaps(self) -> int:
        return sum(guard.gaps for guard in self._guards.values())

    def _first(self, bar: Bar) -> BarGuard:
        """A length that was not delivered before: where it enters, and whether its history replaces what was built."""
        bar_s = bar.bar_s
        guard = self._guards[bar_s] = BarGuard(bar_s, self._limits)
        self._native[bar_s] = next(
            (at for at, level in enumerate(self._levels) if level[1] >= bar_s and level[1] % bar_s == 0),
            len(self._levels),
        )
        if bar.backfill:
            for _, length, series, _ in self._levels:
                if length == bar_s and series.count and bar.start_s <= series.last_start_s:
                    series.restart()
        return guard

    def _feed(
        self, at: int, bar_s: int, start_s: int, open_: float, high: float, low: float, close: float, volume: float
    ) -> int:
        """One bar of length `bar_s` into level `at` and upwards; a duplicate goes no further, so nothing counts twice."""
        mask = 0
        levels = self._levels
        while at < 3:
            bit, length, series, made = levels[at]
            if length != bar_s:
                if length % bar_s:
                    at += 1
                    continue
                closed = made.push(start_s, start_s + bar_s, open_, high, low, close, volume)
                if not closed:
                    return mask
                if closed & LATE and series.update(*made.left):
                    mask |= bit | self._feed(at + 1, length, *made.left)
                if not closed & CLOSED:
                    return mask
                bar_s = length
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
            at += 1
        return mask
