"""Where a backtest's bars come from: a folder of candle CSVs, or a seeded generated market. Streams in order of bar end.

The reader is the simulated venue's own (`exchange.simulator.recorded`), so that a file which plays live is a file which
backtests, with the same sentences for what is wrong in it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from exchange.simulator.market import Bar as Candle
from exchange.simulator.recorded import RecordingError, read_folder
from exchange.simulator.synthetic import SyntheticMarket
from trading.messages.market import Bar

GENERATED = ("BTC-USD", "ETH-USD", "SOL-USD")
GENERATED_DAYS = 14
GENERATED_START_S = 1_760_054_400  # 2025-10-10, a Friday, 00:00 UTC
DAY_S = 86_400


@frozen(kw_only=True)
class Dataset:
    """name: for the report. series: product -> its candles in order; bar_s: product -> their length in seconds."""

    name: str
    series: Mapping[str, list[Candle]]
    bar_s: Mapping[str, int]

    @property
    def bars(self) -> int:
        return sum(len(candles) for candles in self.series.values())

    @property
    def start_s(self) -> int:
        return min(candles[0].start_s for candles in self.series.values())

    @property
    def end_s(self) -> int:
        return max(candles[-1].start_s + self.bar_s[product] for product, candles in self.series.items())

    def between(self, from_s: float | None, to_s: float | None) -> Dataset:
        """Only the candles inside [from, to). Raises RecordingError when nothing is left."""
        series = {
            product: [
                c
                for c in candles
                if (from_s is None or c.start_s >= from_s) and (to_s is None or c.start_s + self.bar_s[product] <= to_s)
            ]
            for product, candles in self.series.items()
        }
        series = {product: candles for product, candles in series.items() if candles}
        if not series:
            raise RecordingError(f"{self.name}: no candle lies inside the chosen time")
        return Dataset(name=self.name, series=series, bar_s={product: self.bar_s[product] for product in series})

    def stream(self) -> Iterator[Bar]:
        """All bars by (end, product); each product's numbered from 1."""
        if len(self.series) == 1:
            ((product, candles),) = self.series.items()
            return _bars(product, self.bar_s[product], candles)
        lanes = [_bars(product, self.bar_s[product], self.series[product]) for product in sorted(self.series)]
        return heapq.merge(*lanes, key=_by_end)


def _by_end(bar: Bar) -> tuple[int, str]:
    return bar.start_s + bar.bar_s, bar.product_id


def _bars(product: str, bar_s: int, candles: list[Candle]) -> Iterator[Bar]:
    for number, c in enumerate(candles, 1):
        yield Bar(product, bar_s, c.start_s, c.open, c.high, c.low, c.close, c.volume, number)


def recorded(folder: Path) -> Dataset:
    """Every product of a folder of CSVs. Raises RecordingError with one sentence."""
    found = read_folder(folder)
    return Dataset(
        name=folder.name,
        series={product: series.bars for product, series in found.items()},
        bar_s={product: series.bar_s for product, series in found.items()},
    )


def generated(
    seed: int, products: tuple[str, ...] = GENERATED, days: int = GENERATED_DAYS, start_s: int = GENERATED_START_S
) -> Dataset:
    """One-minute candles of the simulated venue's synthetic market: the same seed, the same candles."""
    market = SyntheticMarket(seed, products)
    first = start_s // 60
    return Dataset(
        name=f"generated, seed {seed}",
        series={product: market.minute_bars(product, first, first + days * 1440 - 1) for product in products},
        bar_s=dict.fromkeys(products, 60),
    )
