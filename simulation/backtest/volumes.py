"""24-hour quote volumes as they were known: of bars that had closed, first after an hour, then renewed each two hours."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from operator import mul

from attrs import frozen

from simulation.backtest.data import DAY_S, Columns, Dataset

FIRST_S, RENEWED_S = 3_600.0, 7_200.0


@frozen(kw_only=True)
class Volumes:
    """For the catalog: product -> quote volume of the last 24 h, USD; a product without an hour of bars is left out."""

    usd: Mapping[str, float]


class RollingVolumes:
    """Sums of the closed bars of the last 24 h. A shorter past is scaled up to a day, from one hour on."""

    def __init__(self, dataset: Dataset, products: tuple[str, ...]) -> None:
        self._columns = {name: dataset.series[name] for name in products}
        self._bar_s = dataset.bar_s
        self._windows = dict.fromkeys(products, (0, 0, 0.0))

    def at(self, now_s: float) -> Volumes:
        """What was known at `now_s`; asked in order of time, so that each bar is added once and taken away once."""
        found = {}
        for name, candles in self._columns.items():
            first, end, usd = self._windows[name]
            closed = bisect_right(candles.start_s, now_s - self._bar_s[name])
            oldest = bisect_left(candles.start_s, now_s - DAY_S)
            usd += _usd(candles, end, closed) - _usd(candles, first, oldest)
            self._windows[name] = oldest, closed, usd
            covered_s = min(DAY_S, now_s - candles.start_s[0])
            if covered_s >= FIRST_S:
                found[name] = max(0.0, usd) * DAY_S / covered_s
        return Volumes(usd=found)


def _usd(candles: Columns, first: int, end: int) -> float:
    return float(sum(map(mul, candles.close[first:end], candles.volume[first:end])))
