"""Bars on the live stage: what the market socket tells goes in, numbered bars in the cache come out, holes are fetched.

The builder runs on the feed's thread alone; candles are fetched on a thread of the desk's own, one request at a time,
and their answers wait for the next heartbeat.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from exchange.bar_cache import BarWriter
from exchange.coinbase.bars import Backfill, BarBuilder, BarGap
from exchange.coinbase.feed_words import (
    Acknowledged,
    CandleSeen,
    Disconnected,
    Gap,
    Happening,
    Heartbeat,
    Malformed,
    Trade,
)
from trading.messages.market import Bar
from trading.messages.orders import Candle

FetchCandles = Callable[[Backfill], Sequence[Candle] | None]
"""All candles of the request, or None when they could not be had now. May raise; may take seconds."""


class BarDesk:
    """A sink: give it what the market socket tells. `told` gets each batch of new bars (numbered) and gaps, on the feed's thread."""

    def __init__(
        self,
        builder: BarBuilder,
        writer: BarWriter,
        fetch: FetchCandles,
        told: Callable[[list[Bar], list[BarGap]], None] = lambda _bars, _gaps: None,
    ) -> None:
        self.builder, self._writer, self._fetch, self._told = builder, writer, fetch, told
        self._products: tuple[str, ...] = ()
        self._asked: queue.SimpleQueue[Backfill | None] = queue.SimpleQueue()
        self._answers: deque[tuple[Backfill, Sequence[Candle]]] = deque()
        self._trades_of: frozenset[str] = frozenset()
        self.fetch_errors = 0
        self._thread = threading.Thread(target=self._fetch_all, name="bar-backfill", daemon=True)
        self._thread.start()

    def set_products(self, products: Iterable[str]) -> None:
        """Taken up at the next heartbeat, since only then the venue's time is known."""
        self._products = tuple(products)

    def take(self, happenings: list[Happening]) -> None:
        builder = self.builder
        for happening in happenings:
            match happening:
                case Trade():
                    builder.trade(happening)
                case Heartbeat(venue_s=venue_s):
                    self._beat(venue_s)
                case CandleSeen():
                    builder.candle_seen(happening)
                case Acknowledged(channels=channels):
                    self._trades_of = frozenset(channels.get("market_trades", ()))
                case Gap() | Disconnected():
                    self._trades_of = frozenset()
                    builder.lost()
                case Malformed(reason=reason) if reason.startswith("market_trades"):
                    builder.lost()  # some of this minute's trades: it is a hole, and its candle is asked for
                case _:
                    pass

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join(3.0)
        self._writer.close()

    def _beat(self, venue_s: float) -> None:
        builder, wanted = self.builder, self._products
        for product_id in builder.products:
            if product_id not in wanted:
                builder.stop(product_id)
        for product_id in wanted:
            if product_id not in builder.products:
                self._forget_the_future(product_id, venue_s)
                builder.start(product_id, venue_s)
        builder.known(self._trades_of, venue_s)
        out: list[Bar | BarGap] = []
        while self._answers:
            out += builder.answered(*self._answers.popleft())
        out += builder.clock(venue_s)
        for request in builder.wanted():
            self._asked.put(request)
        if out:
            bars = self._writer.append(item for item in out if isinstance(item, Bar))
            self._told(bars, [item for item in out if isinstance(item, BarGap)])

    def _forget_the_future(self, product_id: str, venue_s: float) -> None:
        """Another venue's clock, or this one's before it was set back: bars that have not happened yet are not kept."""
        for width in self.builder.widths_s:
            last = self._writer.last(product_id, width)
            if last is not None and last.start_s + width > venue_s + width:
                self._writer.forget(product_id, width)

    def _fetch_all(self) -> None:
        while (request := self._asked.get()) is not None:
            try:
                candles = self._fetch(request)
            except Exception:
                # No network, a bug in the callable: the request is repeated by the builder until its patience ends.
                self.fetch_errors += 1
                continue
            if candles is not None:
                self._answers.append((request, candles))
