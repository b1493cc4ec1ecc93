"""Where a backtest's bars come from: a folder of candle CSVs, or a seeded generated market. Streams in order of bar end.

CSVs are read by the simulated venue's own reader (`exchange.simulator.recorded`), so that a file which plays live is a
file which backtests, with the same sentences for what is wrong in it. Candles lie in columns of machine numbers (48 bytes
each); a `Bar` exists only while it is played.
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, repeat
from pathlib import Path
from typing import overload

from attrs import field, frozen

from exchange.simulator.market import Bar as Candle
from exchange.simulator.recorded import RecordingError, bar_length_s, candle_files, read_csv
from exchange.simulator.synthetic import SyntheticMarket
from trading.messages.market import Bar

GENERATED = ("BTC-USD", "ETH-USD", "SOL-USD")
GENERATED_DAYS = 14
GENERATED_START_S = 1_760_054_400  # 2025-10-10, a Friday, 00:00 UTC
DAY_S = 86_400
BAR_LENGTHS_S = (1, 5, 10, 15, 30, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, DAY_S)
NEVER_S = 1 << 62


class Columns(Sequence[Candle]):
    """One product's candles, oldest first, as six columns; reads like a list of candles."""

    __slots__ = ("close", "high", "low", "open", "start_s", "volume")

    def __init__(self, candles: Iterable[Candle] = ()) -> None:
        self.start_s = array("q")
        self.open, self.high, self.low = array("d"), array("d"), array("d")
        self.close, self.volume = array("d"), array("d")
        self.extend(candles)

    def extend(self, candles: Iterable[Candle]) -> None:
        for c in candles:
            self.append(c.start_s, c.open, c.high, c.low, c.close, c.volume)

    def append(self, start_s: int, open_: float, high: float, low: float, close: float, volume: float) -> None:
        self.start_s.append(start_s)
        self.open.append(open_)
        self.high.append(high)
        self.low.append(low)
        self.close.append(close)
        self.volume.append(volume)

    def rows(self) -> Iterator[tuple[int, float, float, float, float, float]]:
        return zip(self.start_s, self.open, self.high, self.low, self.close, self.volume, strict=True)

    def cut(self, first: int, end: int) -> Columns:
        """The candles number `first` to `end` (not included)."""
        part = Columns()
        for name in Columns.__slots__:
            setattr(part, name, getattr(self, name)[first:end])
        return part

    def __len__(self) -> int:
        return len(self.start_s)

    @overload
    def __getitem__(self, at: int) -> Candle: ...
    @overload
    def __getitem__(self, at: slice) -> Columns: ...
    def __getitem__(self, at: int | slice) -> Candle | Columns:
        if isinstance(at, slice):
            first, end, step = at.indices(len(self))
            if step != 1:
                raise ValueError(f"candles are cut in one piece; a step of {step} is not supported")
            return self.cut(first, end)
        return Candle(
            self.start_s[at], self.open[at], self.high[at], self.low[at], self.close[at], self.volume[at]
        )  # fmt: skip

    def __iter__(self) -> Iterator[Candle]:
        return itertools.starmap(Candle, self.rows())


def _in_columns(series: Mapping[str, Iterable[Candle]]) -> dict[str, Columns]:
    return {name: one if isinstance(one, Columns) else Columns(one) for name, one in series.items()}


@frozen(kw_only=True)
class Dataset:
    """name: for the report. series: product -> its candles in order; bar_s: product -> their length in seconds."""

    name: str
    series: Mapping[str, Columns] = field(converter=_in_columns)
    bar_s: Mapping[str, int]

    @property
    def bars(self) -> int:
        return sum(len(candles) for candles in self.series.values())

    @property
    def start_s(self) -> int:
        return min(candles.start_s[0] for candles in self.series.values())

    @property
    def end_s(self) -> int:
        return max(candles.start_s[-1] + self.bar_s[product] for product, candles in self.series.items())

    def between(self, from_s: float | None, to_s: float | None) -> Dataset:
        """Only the candles inside [from, to). Raises RecordingError when nothing is left."""
        series = {}
        for product, candles in self.series.items():
            starts = candles.start_s
            first = 0 if from_s is None else bisect_left(starts, from_s)
            # The first start whose candle would end after `to`.
            end = len(starts) if to_s is None else bisect_left(starts, int(to_s) - self.bar_s[product] + 1)
            if first < end:
                series[product] = candles.cut(first, end)
        if not series:
            raise RecordingError(f"{self.name}: no candle lies inside the chosen time")
        return Dataset(name=self.name, series=series, bar_s={product: self.bar_s[product] for product in series})

    def stream(self, products: Iterable[str] | None = None) -> Iterator[Bar]:
        """All bars (of these products) by (end, product); each product's numbered from 1."""
        return itertools.chain.from_iterable(self.groups(products))

    def groups(self, products: Iterable[str] | None = None) -> Iterator[list[Bar]]:
        """The bars that end at the same moment, in product order, together; oldest first."""
        names = sorted(self.series if products is None else products)
        lanes = [_bars(name, self.bar_s[name], self.series[name]) for name in names]
        heads = [next(lane, None) for lane in lanes]
        ends = [NEVER_S if head is None else head.start_s + head.bar_s for head in heads]
        numbers = range(len(lanes))
        while ends:
            end_s = min(ends)
            if end_s == NEVER_S:
                return
            group = []
            for at in numbers:
                if ends[at] == end_s:
                    group.append(heads[at])
                    heads[at] = head = next(lanes[at], None)
                    ends[at] = NEVER_S if head is None else head.start_s + head.bar_s
            yield group  # type: ignore[misc]


def _bars(product: str, bar_s: int, candles: Columns) -> Iterator[Bar]:
    c = candles
    return map(Bar, repeat(product), repeat(bar_s), c.start_s, c.open, c.high, c.low, c.close, c.volume, count(1))


def recorded(folder: Path) -> Dataset:
    """Every product of a folder of CSVs, one file in memory at a time. Raises RecordingError with one sentence."""
    series: dict[str, Columns] = {}
    lengths: dict[str, int] = {}
    for path, product in candle_files(folder, "--data"):
        read = Columns(read_csv(path)[0])
        bar_s = bar_length_s(path, read.start_s, BAR_LENGTHS_S)
        if lengths.setdefault(product, bar_s) != bar_s:
            raise RecordingError(f"{path}: bars of {bar_s} s, but another file of {product} has {lengths[product]} s")
        series[product] = _joined(series[product], read) if product in series else read
    return Dataset(name=folder.name, series=series, bar_s=lengths)


def _joined(before: Columns, later: Columns) -> Columns:
    """Two files of a product in time order; where they overlap the later file counts."""
    if before.start_s[-1] < later.start_s[0]:
        for name in Columns.__slots__:
            getattr(before, name).extend(getattr(later, name))
        return before
    rows = {row[0]: row for row in (*before.rows(), *later.rows())}
    joined = Columns()
    for start_s in sorted(rows):
        joined.append(*rows[start_s])
    return joined


def generated(
    seed: int, products: tuple[str, ...] = GENERATED, days: int = GENERATED_DAYS, start_s: int = GENERATED_START_S
) -> Dataset:
    """One-minute candles of the simulated venue's synthetic market: the same seed, the same candles."""
    market = SyntheticMarket(seed, products)
    first = start_s // 60
    series = {product: Columns() for product in products}
    for day in range(days):  # day by day, so that no more than one day of candles is ever made of objects
        begin = first + day * 1440
        for product, columns in series.items():
            columns.extend(market.minute_bars(product, begin, begin + 1439))
    return Dataset(name=f"generated, seed {seed}", series=series, bar_s=dict.fromkeys(products, 60))
