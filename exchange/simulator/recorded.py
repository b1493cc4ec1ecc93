"""Recorded candles as the venue's market: any folder of CSVs (`ts,open,high,low,close,volume`), played at any speed.

A file's name starts with its product (`BTC-USD_5m_2025.csv`); the bar length is what the rows are apart. Several files of
a product are joined. Within a bar the price walks open, low, high, close when it rose, open, high, low, close when it
fell, each third in a straight line, so that a played bar has exactly the recorded prices. Where bars are missing the
market is silent, as the venue was. What cannot be read is one sentence with file and line (`RecordingError`).
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from attrs import define, field

from exchange.simulator.book import Levels
from exchange.simulator.market import Bar, Bends, Move, Tick, mix
from exchange.simulator.products import Product, make_product
from exchange.simulator.street import Street, Style
from exchange.simulator.synthetic import CHARACTERS, OTHER, merge

HEADER = ["ts", "open", "high", "low", "close", "volume"]
NAME = re.compile(r"^([A-Z0-9]+-[A-Z0-9]+)(?:[_.]|$)")
HISTORY_S = 8 * 86_400
BAR_LENGTHS_S = (60, 300, 900, 1800, 3600, 7200, 14400, 21600, 86400)
EVENT_LEAD_S = 3600.0


class RecordingError(Exception):
    """The recording cannot be played; the text is one sentence for people."""


@define
class Series:
    """One product's bars in time order."""

    product_id: str
    bar_s: int
    bars: list[Bar]
    starts: list[int] = field(factory=list)
    digits: int = 2
    """Decimals of its prices, for products whose real increment is not known here."""

    def at(self, at_s: float) -> Bar | None:
        """The bar that holds this second, None in a hole."""
        index = bisect.bisect_right(self.starts, at_s) - 1
        if index < 0 or at_s >= self.starts[index] + self.bar_s:
            return None
        return self.bars[index]

    def between(self, first_s: int, last_s: int) -> list[Bar]:
        """Bars that start in [first, last]."""
        return self.bars[bisect.bisect_left(self.starts, first_s) : bisect.bisect_right(self.starts, last_s)]


def read_csv(path: Path) -> tuple[list[Bar], int]:
    """Rows of one file and the most decimals of its closes. Raises RecordingError."""

    def bad(line: int, why: str) -> RecordingError:
        return RecordingError(f"{path}, line {line}: {why}; a recording has the columns {','.join(HEADER)}")

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from None
    if not lines or [name.strip().lower() for name in lines[0].split(",")][:6] != HEADER:
        raise bad(1, f"the header is {lines[0][:60]!r}" if lines else "the file is empty")
    bars: list[Bar] = []
    digits = 0
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        fields = line.split(",")
        if len(fields) < 6:
            raise bad(number, f"{len(fields)} fields instead of 6")
        try:
            start = int(fields[0])
            opened, high, low, close, volume = map(float, fields[1:6])
        except ValueError:
            raise bad(number, f"{line[:60]!r} holds something that is not a number") from None
        if not all(map(math.isfinite, (opened, high, low, close, volume))):
            raise bad(number, f"{line[:60]!r} holds something that is not a number")
        if not 0 < low <= min(opened, close) <= max(opened, close) <= high or volume < 0:
            raise bad(number, "prices or volume contradict each other (low <= open, close <= high; volume >= 0)")
        if bars and start <= bars[-1].start_s:
            raise bad(number, f"time {start} does not come after {bars[-1].start_s}")
        bars.append(Bar(start, opened, high, low, close, volume))
        if number < 400:
            digits = max(digits, len(fields[4].partition(".")[2]))
    if not bars:
        raise bad(1, "there are no rows")
    return bars, digits


def candle_files(folder: Path, option: str) -> Iterator[tuple[Path, str]]:
    """Each candle CSV of a folder with its product, in order of name. Raises RecordingError, which names the option."""
    if not folder.is_dir():
        raise RecordingError(f"{option} {folder}: no such folder")
    found = False
    for path in sorted(folder.glob("*.csv")):
        named = NAME.match(path.name)
        if named is None:
            raise RecordingError(f"{path}: the name does not start with a product such as BTC-USD_")
        if path.stem.endswith("_quote"):
            continue  # bid/ask snapshots stand beside their trades
        found = True
        yield path, named.group(1)
    if not found:
        raise RecordingError(f"{option} {folder}: there is no CSV file in it")


def bar_length_s(path: Path, starts_s: Iterable[int], supported_s: Sequence[int]) -> int:
    """What the rows of a file are apart, seconds; 300 for a single row. Raises RecordingError for one not supported."""
    bar_s = min((later - before for before, later in itertools.pairwise(starts_s)), default=300)
    if bar_s not in supported_s:
        raise RecordingError(f"{path}, line 3: bars of {bar_s} s are not supported ({supported_s} are)")
    return bar_s


def read_folder(folder: Path) -> dict[str, Series]:
    """All recordings of a folder by product. Raises RecordingError."""
    found: dict[str, Series] = {}
    for path, product_id in candle_files(folder, "--market"):
        bars, digits = read_csv(path)
        bar_s = bar_length_s(path, (bar.start_s for bar in bars), BAR_LENGTHS_S)
        series = found.setdefault(product_id, Series(product_id, bar_s, []))
        if series.bar_s != bar_s:
            raise RecordingError(f"{path}: bars of {bar_s} s, but another file of {product_id} has {series.bar_s} s")
        series.bars.extend(bars)
        series.digits = max(series.digits, digits)
    for series in found.values():
        by_start = {bar.start_s: bar for bar in series.bars}
        series.bars = [by_start[start] for start in sorted(by_start)]
        series.starts = [bar.start_s for bar in series.bars]
    return found


def eventful_start(recordings: dict[str, Series]) -> float:
    """Where to begin unless asked: an hour before the sharpest hour's fall, with up to 8 days of history before it."""
    worst, start = 0.0, None
    for series in recordings.values():
        bars, span = series.bars, max(1, 3600 // series.bar_s)
        history = min(HISTORY_S, (series.starts[-1] - series.starts[0]) // 2)
        for index in range(span, len(bars)):
            if bars[index].start_s - bars[index - span].start_s > 2 * EVENT_LEAD_S:
                continue  # a hole is not a fall
            fall = bars[index].low / bars[index - span].open - 1
            begin = bars[index].start_s - 2 * EVENT_LEAD_S
            if fall < worst and begin >= series.starts[0] + history:
                worst, start = fall, begin
    if start is None:
        first = min(recordings.values(), key=lambda series: series.starts[0])
        start = first.starts[0] + min(HISTORY_S, (first.starts[-1] - first.starts[0]) // 2)
    return float(start // 60 * 60)


class RecordedMarket:
    def __init__(self, folder: Path, start_s: float | None = None, *, step_s: float = 0.125, seed: int = 1) -> None:
        """`start_s`: venue time of the beginning (None: `eventful_start`). Raises RecordingError."""
        self.name = str(folder)
        self.step_s = step_s
        everything = read_folder(folder)
        self.start_s = eventful_start(everything) if start_s is None else start_s
        # A product without a bar in the week before the start is not listed yet.
        self._series = {
            name: series
            for name, series in everything.items()
            if series.between(int(self.start_s) - HISTORY_S, int(self.start_s) + 3600)
        }
        if not self._series:
            spans = ", ".join(f"{s.product_id} {_day(s.starts[0])}..{_day(s.starts[-1])}" for s in everything.values())
            raise RecordingError(f"--from {_day(int(self.start_s))}: no recording has bars there ({spans})")
        self.end_s = max(series.starts[-1] + series.bar_s for series in self._series.values())
        self._bends = {name: Bends() for name in self._series}
        self._products: dict[str, Product] = {}
        self._streets: dict[str, Street] = {}
        for name, series in self._series.items():
            product = make_product(name, Decimal(1).scaleb(-series.digits))
            base = (series.at(self.start_s) or series.bars[0]).open
            character = CHARACTERS.get(name, OTHER)
            number = mix(int.from_bytes(name.encode()[:8], "big"), 1)
            style = Style(
                seed=mix(seed, number, 23),
                level_usd=character.level_usd,
                level_bps=character.level_bps,
                spread_more=character.spread_more,
                prints_per_s=min(character.prints_per_s, 1.0 / step_s * 2),
            )
            self._products[name] = product
            self._streets[name] = Street(product, style, base)

    def products(self) -> list[Product]:
        return list(self._products.values())

    def moves(self) -> list[Move]:
        return [move for bends in self._bends.values() for move in bends.moves]

    def add_move(self, move: Move) -> None:
        self._bends[move.product_id].moves.append(move)

    def mid(self, product_id: str, at_s: float) -> float | None:
        bar = self._series[product_id].at(at_s)
        if bar is None:
            return None
        return walk(bar, (at_s - bar.start_s) / self._series[product_id].bar_s) * math.exp(
            self._bends[product_id].offset(at_s)
        )

    def tick(self, product_id: str, step: int) -> Tick | None:
        at_s = step * self.step_s
        mid = self.mid(product_id, at_s)
        if mid is None:
            return None
        before = self.mid(product_id, at_s - self.step_s)
        series = self._series[product_id]
        bar = series.at(at_s)
        volume = bar.volume / series.bar_s if bar else 0.0
        return self._streets[product_id].tick(
            mid, mid if before is None else before, step, self.step_s, volume, self._bends[product_id]
        )

    def depth(self, product_id: str, step: int, tick: Tick) -> tuple[Levels, Levels]:
        return self._streets[product_id].depth(tick, step * self.step_s, self._bends[product_id])

    def deepen(self, product_id: str, levels: int, tick: Tick) -> None:
        self._streets[product_id].deepen(levels, tick)

    def minute_bars(self, product_id: str, first_minute: int, last_minute: int) -> list[Bar]:
        series = self._series[product_id]
        found: list[Bar] = []
        first_s, last_s = first_minute * 60, last_minute * 60
        for bar in series.between(first_s - series.bar_s + 60, last_s):
            for minute in range(series.bar_s // 60):
                start = bar.start_s + minute * 60
                if first_s <= start <= last_s:
                    found.append(self._bent(product_id, part_of(bar, series.bar_s, minute * 60, 60)))
        return found

    def hour_bars(self, product_id: str, first_hour: int, last_hour: int) -> list[Bar]:
        series = self._series[product_id]
        if series.bar_s > 3600:
            return self._hours_of_long_bars(series, first_hour, last_hour)
        by_hour: dict[int, list[Bar]] = {}
        for bar in series.between(first_hour * 3600, last_hour * 3600 + 3599):
            by_hour.setdefault(bar.start_s // 3600, []).append(self._bent(product_id, bar))
        return [merge(bars, hour * 3600) for hour, bars in by_hour.items()]

    def _hours_of_long_bars(self, series: Series, first_hour: int, last_hour: int) -> list[Bar]:
        return [
            self._bent(series.product_id, part_of(bar, series.bar_s, after, 3600))
            for bar in series.between(first_hour * 3600 - series.bar_s + 3600, last_hour * 3600)
            for after in range(0, series.bar_s, 3600)
            if first_hour * 3600 <= bar.start_s + after <= last_hour * 3600
        ]

    def _bent(self, product_id: str, bar: Bar) -> Bar:
        bends = self._bends[product_id]
        if not bends.moves:
            return bar
        by = math.exp(bends.offset(bar.start_s))
        return Bar(bar.start_s, bar.open * by, bar.high * by, bar.low * by, bar.close * by, bar.volume)


def corners(bar: Bar) -> tuple[float, float, float, float]:
    return (
        (bar.open, bar.low, bar.high, bar.close) if bar.close >= bar.open else (bar.open, bar.high, bar.low, bar.close)
    )


def walk(bar: Bar, share: float) -> float:
    """The price within a bar, `share` of its length after its start."""
    points = corners(bar)
    leg = min(int(share * 3), 2)
    return points[leg] + (points[leg + 1] - points[leg]) * (share * 3 - leg)


def part_of(bar: Bar, bar_s: int, after_s: int, length_s: int) -> Bar:
    """The part of a bar's walk as a bar of its own; parts merge back into exactly the whole."""
    if length_s >= bar_s:
        return bar
    first, last = after_s / bar_s, (after_s + length_s) / bar_s
    prices = [walk(bar, first), walk(bar, last)]
    prices += [corner for n, corner in enumerate(corners(bar)) if first <= n / 3 <= last]
    opened, closed = prices[0], prices[1]
    return Bar(bar.start_s + after_s, opened, max(prices), min(prices), closed, bar.volume * length_s / bar_s)


def _day(at_s: float) -> str:
    from exchange.simulator.words import rfc3339

    return rfc3339(float(at_s), 0)[:10]
