"""Bars of every granularity: the market's path before the venue started, what was really printed since.

The store holds one-minute bars of live prints per product; asked for more, it merges them with the path's bars. A venue
that was down finds its own minutes in the journal and the path's in between.
"""

from __future__ import annotations

import math

from attrs import define, field

from exchange.simulator.market import Bar, Market
from exchange.simulator.synthetic import merge

GRANULARITIES_S = {
    "ONE_MINUTE": 60,
    "FIVE_MINUTE": 300,
    "FIFTEEN_MINUTE": 900,
    "THIRTY_MINUTE": 1800,
    "ONE_HOUR": 3600,
    "TWO_HOUR": 7200,
    "FOUR_HOUR": 14_400,
    "SIX_HOUR": 21_600,
    "ONE_DAY": 86_400,
}
CANDLES_MAX = 350


@define
class LiveBar:
    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    def bar(self) -> Bar:
        return Bar(self.start_s, self.open, self.high, self.low, self.close, self.volume)


@define
class Candles:
    market: Market
    live: dict[str, dict[int, LiveBar]] = field(factory=dict)
    """By product, by minute since 1970."""
    dirty: set[tuple[str, int]] = field(factory=set)
    opened: dict[str, int] = field(factory=dict)
    """The first minute of this run, by product: the path's part of it is put in front of the first print."""

    def trade(self, product_id: str, price: float, size: float, at_s: float) -> None:
        minute = int(at_s // 60)
        bars = self.live.setdefault(product_id, {})
        bar = bars.get(minute)
        if bar is None:
            bar = bars[minute] = LiveBar(minute * 60, price, price, price, price, 0.0)
            if product_id not in self.opened:
                self.opened[product_id] = minute
                self._join(bar, product_id, minute, at_s)
        bar.high = max(bar.high, price)
        bar.low = min(bar.low, price)
        bar.close = price
        bar.volume += size
        self.dirty.add((product_id, minute))

    def _join(self, bar: LiveBar, product_id: str, minute: int, at_s: float) -> None:
        """The minute in which the venue starts begins with the path's open."""
        path = self.market.minute_bars(product_id, minute, minute)
        if path:
            bar.open = path[0].open
            bar.high, bar.low = max(bar.high, bar.open), min(bar.low, bar.open)
            bar.volume = path[0].volume * (at_s - bar.start_s) / 60.0

    def bars(self, product_id: str, granularity_s: int, start_s: float, end_s: float, now_s: float) -> list[Bar]:
        """Bars that start in [start, end] and have begun by now, oldest first."""
        first = math.ceil(start_s / granularity_s) * granularity_s
        last = min(int(end_s // granularity_s) * granularity_s, int(now_s // granularity_s) * granularity_s)
        if last < first:
            return []
        until_s = min(last + granularity_s, int(now_s) + 1)
        by_bucket: dict[int, list[Bar]] = {}
        for bar in self._pieces(product_id, first, until_s, now_s, granularity_s):
            by_bucket.setdefault(bar.start_s // granularity_s * granularity_s, []).append(bar)
        return [merge(pieces, bucket) for bucket, pieces in sorted(by_bucket.items())]

    def _pieces(self, product_id: str, first_s: int, until_s: int, now_s: float, granularity_s: int) -> list[Bar]:
        """Minutes (or, far from live ones, hours) that cover [first, until)."""
        live = self.live.get(product_id, {})
        first_live = min(live) * 60 if live else until_s
        found: list[Bar] = []
        at = first_s
        if granularity_s >= 3600:
            hours_end = min(first_live, until_s, int(now_s)) // 3600 * 3600
            if hours_end > at:
                found.extend(self.market.hour_bars(product_id, at // 3600, hours_end // 3600 - 1))
                at = hours_end
        path_minutes = self.market.minute_bars(product_id, at // 60, (until_s - 1) // 60)
        seen = {bar.start_s // 60: bar for bar in path_minutes}
        for minute in range(at // 60, (until_s - 1) // 60 + 1):
            mine = live.get(minute)
            if mine is not None:
                found.append(mine.bar())
            elif minute in seen and (minute + 1) * 60 <= now_s:
                # The minute that runs has no path bar: its future is nobody's business.
                found.append(seen[minute])
        return found

    def day(self, product_id: str, now_s: float) -> tuple[float, float, float, float]:
        """Of the last 24 hours: (open, high, low, volume)."""
        first = int(now_s) - 86_400
        hour = (first // 3600 + 1) * 3600
        pieces = self.bars(product_id, 60, first, hour - 60, now_s) + self.bars(product_id, 3600, hour, now_s, now_s)
        if not pieces:
            return (0.0, 0.0, 0.0, 0.0)
        bar = merge(pieces, first)
        return (bar.open, bar.high, bar.low, bar.volume)
