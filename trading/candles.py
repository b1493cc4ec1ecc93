"""The candles of one symbol on their way into its `MarketView`: guarded, aggregated upwards, each once.

The feed may deliver any lengths: a native bar and one built from shorter bars are the same bar, and whichever comes
first is taken. History that arrives after bars were built from live ones replaces them, since it is longer.
"""

from __future__ import annotations

from collections import Counter

from trading.bars import Aggregator, Series
from trading.data_guards import OUTLIER, BarGuard, DataGuardSettings
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
        self._native: set[int] = set()
        self.refused = ""
        self.refusals: Counter[str] = Counter()
        self._levels: tuple[tuple[int, int, Series, Aggregator], ...] = (
            (FINE, view.fine.bar_s, view.fine, Aggregator(view.fine.bar_s)),
            (MOVE, view.move.bar_s, view.move, Aggregator(view.move.bar_s)),
            (SIGNAL, view.signal.bar_s, view.signal, Aggregator(view.signal.bar_s)),
        )

    def add(self, bar: Bar) -> int:
        guard = self._guards.get(bar.bar_s)
        if guard is None:
            guard = self._guards[bar.bar_s] = BarGuard(bar.bar_s, self._limits)
        code = guard.admit(bar)
        if code:
            self.refused = code
            self.refusals[code] += 1
            return 0
        self.refused = ""
        if guard.released:
            mask = 0
            for held in guard.released:
                mask |= self._take(held)
            guard.released = ()
            return mask
        return self._take(bar)

    def gaps(self) -> int:
        return sum(guard.gaps for guard in self._guards.values())

    def suspicious(self) -> bool:
        return self.refused == OUTLIER

    def _take(self, bar: Bar) -> int:
        bar_s = bar.bar_s
        if bar.backfill and bar_s not in self._native:
            for _, length, series, _ in self._levels:
                if length == bar_s and series.count and bar.start_s <= series.last_start_s:
                    series.restart()
        self._native.add(bar_s)
        return self._feed(0, bar_s, bar.start_s, bar.open, bar.high, bar.low, bar.close, bar.volume)

    def _feed(
        self, at: int, bar_s: int, start_s: int, open_: float, high: float, low: float, close: float, volume: float
    ) -> int:
        """One bar of length `bar_s` into level `at` and upwards; a duplicate goes no further, so nothing counts twice."""
        if at == len(self._levels):
            return 0
        bit, length, series, aggregator = self._levels[at]
        if length == bar_s:
            if not series.update(start_s, open_, high, low, close, volume):
                return 0
            return bit | self._feed(at + 1, bar_s, start_s, open_, high, low, close, volume)
        if length < bar_s or length % bar_s:
            return self._feed(at + 1, bar_s, start_s, open_, high, low, close, volume)
        mask = self._closed(at) if aggregator.late(start_s) else 0
        if aggregator.add(start_s, start_s + bar_s, open_, high, low, close, volume):
            mask |= self._closed(at)
        return mask

    def _closed(self, at: int) -> int:
        bit, length, series, made = self._levels[at]
        if not series.update(made.start_s, made.open, made.high, made.low, made.close, made.volume):
            return 0
        return bit | self._feed(at + 1, length, made.start_s, made.open, made.high, made.low, made.close, made.volume)
