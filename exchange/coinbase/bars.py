"""Closed bars from trades: minutes from the market_trades channel, wider bars from minutes, holes from REST. Pure.

1. A minute is complete when the connection stood, without a gap, from before its start until after its end (plus a grace
   for the last batch of trades). A complete minute with trades is a bar; without trades it is nothing, as at the venue,
   which lists no candle for it.
2. A minute that is not complete is a *hole*: `wanted` asks for its candles; later bars of that product wait, so that
   bars come in order of time. When no answer came for `patience_s`, the hole is told as a `BarGap`, and time goes on.
3. A wider bar closes when all its minutes are settled. With a gap inside it is a gap itself, unless the candles channel
   has shown that bucket closed.
4. At the start every series asks for its history first. A bar told more than `late_s` after its end is `backfill`: it
   warms indicators and decides nothing.
5. Candles are believed only closed, aligned and consistent; a refusal has a code (`refusal`).

Times are venue seconds. Numbers are given by `exchange.bar_cache.BarWriter`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from math import isfinite

from attrs import define, field, frozen

from exchange.coinbase.feed_words import CandleSeen, Trade
from trading.messages.market import Bar
from trading.messages.orders import Candle

MINUTE_S = 60
WIDTHS_S = (60, 300, 900, 3600)
CANDLES_PER_REQUEST = 300
"""Coinbase takes 350 now and fewer than 300 on older servers; 300 buckets asked by start and end are answered by both."""


@frozen
class BarGap:
    """The bars of [start_s, end_s) are not known and will not come."""

    product_id: str
    bar_s: int
    start_s: int
    end_s: int


@frozen
class Backfill:
    """Candles wanted: buckets that start in [start_s, end_s), at most `CANDLES_PER_REQUEST` of them."""

    product_id: str
    bar_s: int
    start_s: int
    end_s: int


def refusal(candle: Candle | CandleSeen, bar_s: int, venue_s: float | None = None) -> str | None:
    """Why this candle is not believed: `bar_misaligned`, `bar_not_finite`, `bar_inconsistent`, `bar_open`; None when it is."""
    if candle.start_s % bar_s != 0:
        return "bar_misaligned"
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    if not all(map(isfinite, numbers)):
        return "bar_not_finite"
    low, high = candle.low, candle.high
    if not (0.0 < low <= candle.open <= high and low <= candle.close <= high and candle.volume >= 0.0):
        return "bar_inconsistent"
    if venue_s is not None and candle.start_s + bar_s > venue_s:
        return "bar_open"
    return None


@define
class _Open:
    """One minute in the making, or settled."""

    start_s: int
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    volume: float = 0.0
    trades: set[str] = field(factory=set)


@define
class _Minute:
    """One closed minute in line to be told. bar None: no trades. waiting: a hole whose candles are asked for; traded: we saw
    some of its trades, so an answer without its candle is not the whole answer yet.
    """

    start_s: int
    bar: Bar | None = None
    waiting: bool = False
    traded: bool = False


@define
class _Asked:
    request: Backfill
    since_s: float
    history: bool = False
    sent_s: float | None = None


class _ProductBars:
    def __init__(self, product_id: str) -> None:
        self.product_id = product_id
        self.known_since_s: float | None = None  # trades are complete from here on; None while not connected
        self.open: dict[int, _Open] = {}
        self.next_minute_s = 0  # the next minute to be closed
        self.settled_s = 0  # all minutes before this are told (or known to be gaps)
        self.line: deque[_Minute] = deque()  # closed, in order, not told yet
        self.minutes: deque[Bar] = deque(maxlen=130)
        self.gaps: deque[int] = deque(maxlen=130)
        self.next_wide_s: dict[int, int] = {}
        self.asked: list[_Asked] = []
        self.history: dict[int, list[Bar]] = {}  # width -> answered so far, while its history is not complete
        self.candles: dict[int, CandleSeen] = {}


class BarBuilder:
    """All products of one feed. Calls: `start`, then `known`/`lost`/`trade`/`candle_seen` as they come, `clock` each
    heartbeat, and `wanted`/`answered` around REST.

    Venue seconds, to be multiplied by a simulated venue's speed: grace_s: how long after its end a minute waits for the
    last batch of trades (250 ms real). rest_delay_s: how long after a bucket's end its candle is asked for (answers are
    cached for about a second). patience_s: how long a hole or a history may stay unanswered. late_s: see rule 4.
    """

    def __init__(
        self,
        *,
        widths_s: Sequence[int] = WIDTHS_S,
        history_bars: int = 300,
        grace_s: float = 1.5,
        rest_delay_s: float = 3.0,
        patience_s: float = 60.0,
        late_s: float = 90.0,
    ) -> None:
        if MINUTE_S not in widths_s or any(width % MINUTE_S for width in widths_s):
            raise ValueError(f"bar widths {tuple(widths_s)} must contain 60 and be multiples of it (seconds)")
        self.widths_s = tuple(sorted(widths_s))
        self._wide = tuple(sorted(width for width in widths_s if width != MINUTE_S))
        self._history_bars, self._grace_s, self._rest_delay_s = history_bars, grace_s, rest_delay_s
        self._patience_s, self._late_s = patience_s, late_s
        self._products: dict[str, _ProductBars] = {}
        self.venue_s = 0.0
        self.counts: Counter[str] = Counter()

    def start(self, product_id: str, venue_s: float) -> None:
        """Begin (or begin again) with a product: its history is asked for first. What the cache has already, it leaves out."""
        bars = self._products[product_id] = _ProductBars(product_id)
        self.venue_s = max(self.venue_s, venue_s)
        for width in (MINUTE_S, *self._wide):
            end_s = int(venue_s) // width * width
            for at in range(end_s - self._history_bars * width, end_s, CANDLES_PER_REQUEST * width):
                request = Backfill(product_id, width, at, min(at + CANDLES_PER_REQUEST * width, end_s))
                bars.asked.append(_Asked(request, self.venue_s, history=True))
                bars.history[width] = []
            if width == MINUTE_S:
                bars.next_minute_s = bars.settled_s = end_s
            else:
                bars.next_wide_s[width] = end_s

    def stop(self, product_id: str) -> None:
        self._products.pop(product_id, None)

    @property
    def products(self) -> tuple[str, ...]:
        return tuple(self._products)

    def known(self, product_ids: Iterable[str], venue_s: float) -> None:
        """The venue confirmed the trades of these products: they are complete from `venue_s` on (unless they were already)."""
        for product_id in product_ids:
            bars = self._products.get(product_id)
            if bars is not None and bars.known_since_s is None:
                bars.known_since_s = venue_s

    def lost(self) -> None:
        """A gap or a disconnect: what is open now will never be complete from trades alone."""
        for bars in self._products.values():
            bars.known_since_s = None

    def trade(self, trade: Trade) -> None:
        bars = self._products.get(trade.product_id)
        if bars is None or trade.snapshot:
            return  # told on subscribing: that minute is a hole anyway
        start_s = int(trade.time_s) // MINUTE_S * MINUTE_S
        if start_s < bars.next_minute_s:
            self.counts["trades_late"] += 1
            return
        if start_s > self.venue_s + 5 * MINUTE_S:
            self.counts["trades_in_the_future"] += 1
            return
        price, size = float(trade.price), float(trade.size)
        minute = bars.open.get(start_s)
        if minute is None:
            minute = bars.open[start_s] = _Open(start_s, price, price, price, price)
        elif trade.trade_id in minute.trades:
            self.counts["trades_repeated"] += 1
            return
        minute.trades.add(trade.trade_id)
        minute.high, minute.low, minute.close = max(minute.high, price), min(minute.low, price), price
        minute.volume += size

    def candle_seen(self, candle: CandleSeen) -> None:
        """The candles channel's 5-minute buckets: a second source for a bucket that has a hole."""
        bars = self._products.get(candle.product_id)
        code = refusal(candle, 300)
        if code is not None:
            self.counts[code] += 1
        elif bars is not None:
            bars.candles[candle.start_s] = candle
            while len(bars.candles) > 8:
                del bars.candles[min(bars.candles)]

    def clock(self, venue_s: float) -> list[Bar | BarGap]:
        """Time has come to `venue_s`: the bars that closed, in order of time, and what is lost for good."""
        self.venue_s = max(self.venue_s, venue_s)
        out: list[Bar | BarGap] = []
        for bars in list(self._products.values()):
            minutes = int(self.venue_s - bars.next_minute_s) // MINUTE_S
            if minutes > 2 * CANDLES_PER_REQUEST:
                # A suspended machine or a leaping simulated clock: cheaper and truer to begin again than to mend.
                end_s = int(self.venue_s) // MINUTE_S * MINUTE_S - self._history_bars * MINUTE_S
                out.append(BarGap(bars.product_id, MINUTE_S, bars.settled_s, max(bars.settled_s, end_s)))
                self.start(bars.product_id, self.venue_s)
                continue
            self._close_minutes(bars)
            self._give_up(bars, out)
            self._tell(bars, out)
        return out

    def wanted(self) -> list[Backfill]:
        """What to ask over REST now; repeated each quarter of `patience_s` until answered."""
        out = []
        for bars in self._products.values():
            for asked in bars.asked:
                if asked.request.end_s + self._rest_delay_s > self.venue_s:
                    continue
                if asked.sent_s is None or self.venue_s - asked.sent_s > self._patience_s / 4:
                    asked.sent_s = self.venue_s
                    out.append(asked.request)
        return out

    def answered(self, request: Backfill, candles: Iterable[Candle]) -> list[Bar | BarGap]:
        """The complete answer to one request: buckets that it does not list had no trades. Partial answers must not come here."""
        bars = self._products.get(request.product_id)
        asked = next((one for one in bars.asked if one.request == request), None) if bars is not None else None
        if bars is None or asked is None:
            return []  # given up already, or answered twice
        bars.asked.remove(asked)
        found: dict[int, Candle] = {}
        for candle in candles:
            code = refusal(candle, request.bar_s, self.venue_s)
            if code is not None:
                self.counts[code] += 1
            elif request.start_s <= candle.start_s < request.end_s:
                found[candle.start_s] = candle
        out: list[Bar | BarGap] = []
        if asked.history:
            bars.history[request.bar_s] += [self._bar(bars, request.bar_s, candle) for candle in found.values()]
            self._history_told(bars, request.bar_s, out)
        else:
            missing = []
            for minute in bars.line:
                if minute.waiting and request.start_s <= minute.start_s < request.end_s:
                    candle_found = found.get(minute.start_s)
                    if candle_found is None and minute.traded:
                        missing.append(minute.start_s)
                        continue
                    minute.waiting = False
                    minute.bar = None if candle_found is None else self._bar(bars, MINUTE_S, candle_found)
            for start_s in missing:
                again = Backfill(request.product_id, MINUTE_S, start_s, start_s + MINUTE_S)
                bars.asked.append(_Asked(again, asked.since_s, sent_s=self.venue_s))
        self._tell(bars, out)
        return out

    # inside

    def _history_told(self, bars: _ProductBars, width: int, out: list[Bar | BarGap]) -> None:
        """Once all requests of a width are answered or given up, its history goes out in order of time."""
        if width not in bars.history or any(one.history and one.request.bar_s == width for one in bars.asked):
            return
        told = sorted(bars.history.pop(width), key=lambda bar: bar.start_s)
        if width == MINUTE_S:
            bars.minutes.extend(told)
        out += told

    def _bar(self, bars: _ProductBars, bar_s: int, source: Candle | CandleSeen | _Open) -> Bar:
        values = (source.open, source.high, source.low, source.close, source.volume)
        return Bar(bars.product_id, bar_s, source.start_s, *values, 0, self._late(source.start_s + bar_s))

    def _late(self, end_s: int) -> bool:
        return self.venue_s - end_s > self._late_s

    def _close_minutes(self, bars: _ProductBars) -> None:
        start_s = bars.next_minute_s
        hole_from_s: int | None = None
        while start_s + MINUTE_S + self._grace_s <= self.venue_s:
            minute = bars.open.pop(start_s, None)
            if bars.known_since_s is not None and bars.known_since_s <= start_s:
                bars.line.append(_Minute(start_s, None if minute is None else self._bar(bars, MINUTE_S, minute)))
                self._ask(bars, hole_from_s, start_s)
                hole_from_s = None
            else:
                bars.line.append(_Minute(start_s, waiting=True, traded=minute is not None))
                hole_from_s = start_s if hole_from_s is None else hole_from_s
            start_s += MINUTE_S
        self._ask(bars, hole_from_s, start_s)
        bars.next_minute_s = start_s

    def _ask(self, bars: _ProductBars, from_s: int | None, end_s: int) -> None:
        if from_s is None:
            return
        for at in range(from_s, end_s, CANDLES_PER_REQUEST * MINUTE_S):
            request = Backfill(bars.product_id, MINUTE_S, at, min(at + CANDLES_PER_REQUEST * MINUTE_S, end_s))
            bars.asked.append(_Asked(request, self.venue_s))

    def _give_up(self, bars: _ProductBars, out: list[Bar | BarGap]) -> None:
        for asked in [one for one in bars.asked if self.venue_s - one.since_s > self._patience_s]:
            bars.asked.remove(asked)
            request = asked.request
            self.counts["holes_given_up"] += 1
            out.append(BarGap(request.product_id, request.bar_s, request.start_s, request.end_s))
            if request.bar_s == MINUTE_S:
                bars.gaps.extend(range(request.start_s, request.end_s, MINUTE_S))
            if asked.history:
                self._history_told(bars, request.bar_s, out)
                continue
            for minute in bars.line:
                if request.start_s <= minute.start_s < request.end_s:
                    minute.waiting = False

    def _tell(self, bars: _ProductBars, out: list[Bar | BarGap]) -> None:
        if MINUTE_S in bars.history:
            return
        while bars.line and not bars.line[0].waiting:
            minute = bars.line.popleft()
            bars.settled_s = minute.start_s + MINUTE_S
            if minute.bar is not None:
                minute.bar.backfill = self._late(bars.settled_s)
                bars.minutes.append(minute.bar)
                out.append(minute.bar)
            self._tell_wide(bars, out)
        self._tell_wide(bars, out)

    def _tell_wide(self, bars: _ProductBars, out: list[Bar | BarGap]) -> None:
        for width in self._wide:
            if width in bars.history:
                continue
            while (start_s := bars.next_wide_s[width]) + width <= bars.settled_s:
                bars.next_wide_s[width] = start_s + width
                wide = self._wide_bar(bars, width, start_s)
                if wide is not None:
                    out.append(wide)

    def _wide_bar(self, bars: _ProductBars, width: int, start_s: int) -> Bar | BarGap | None:
        end_s = start_s + width
        if any(start_s <= gap_s < end_s for gap_s in bars.gaps):
            seen = bars.candles.get(start_s) if width == 300 else None
            if seen is not None and any(later >= end_s for later in bars.candles):
                return self._bar(bars, width, seen)
            return BarGap(bars.product_id, width, start_s, end_s)
        parts = [bar for bar in bars.minutes if start_s <= bar.start_s < end_s]
        if not parts:
            return None
        high, low = max(bar.high for bar in parts), min(bar.low for bar in parts)
        volume = sum(bar.volume for bar in parts)
        late = self._late(end_s)
        return Bar(bars.product_id, width, start_s, parts[0].open, high, low, parts[-1].close, volume, 0, late)
