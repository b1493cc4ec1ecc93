"""market_feed's shell: the market socket's thread writes slots, bars and rings; this process only relays what else it tells.

Candles for the holes between bars are asked of the gateway, so that one budget counts all requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any

from actors.bridge import Bridge
from actors.feeding import FeedActor, market_readings
from actors.market import BARS, BELLS, SLOTS
from exchange.bar_cache import BarWriter
from exchange.coinbase.bar_desk import BarDesk
from exchange.coinbase.bars import Backfill, BarBuilder, BarGap
from exchange.coinbase.feed_words import Disconnected, Gap, Happening, Heartbeat, ProductStatus
from exchange.coinbase.market_socket import MarketPublisher, MarketSocket
from exchange.slots import BellRinger, SlotWriter
from trading.machine import Incarnation
from trading.messages.control import ProductStatusSeen, ProductsWanted
from trading.messages.market import Bar
from trading.messages.orders import Candle, Page, Query, QueryKind

FETCH_S_MAX = 25.0


class MarketFeedActor(FeedActor):
    def started(self) -> None:
        plan, run = self.plan, self.plan.run_folder
        speed = plan.speed
        self._fetching: dict[str, Future[Sequence[Candle] | None]] = {}
        self._numbers = count(1)
        self._questions = Bridge()
        self.watch(self._questions, self._ask)
        self._ringer = BellRinger(run / BELLS)
        # Grace and patience are real seconds; the builder counts venue seconds.
        builder = BarBuilder(grace_s=1.5 * speed, patience_s=60.0 * speed, late_s=90.0 * max(1.0, speed))
        self._desk = BarDesk(builder, BarWriter(run / BARS), self._fetch, self._told)
        self._publisher = MarketPublisher(SlotWriter(run / SLOTS, self.incarnation), self._ringer, self._rest)
        self._products: tuple[str, ...] = ()
        self._socket = MarketSocket(plan.where(), (), self._publisher.take)
        self._set_products(plan.products)
        self.begin(self._socket)

    # on the feed's thread

    def _rest(self, happenings: list[Happening]) -> None:
        self._desk.take(happenings)
        for happening in happenings:
            if isinstance(happening, Heartbeat | ProductStatus | Gap | Disconnected):
                self.happened.put(happening)

    def _told(self, bars: list[Bar], gaps: list[BarGap]) -> None:
        self._ringer.ring(list(dict.fromkeys([*(b.product_id for b in bars), *(g.product_id for g in gaps)])))

    # on the desk's thread

    def _fetch(self, request: Backfill) -> Sequence[Candle] | None:
        future: Future[Sequence[Candle] | None] = Future()
        self._questions.put((request, future))
        return future.result(FETCH_S_MAX)

    # on the actor's thread

    def _ask(self) -> None:
        for request, future in self._questions.drain():
            query_id = f"candles:{self.incarnation[1]}:{next(self._numbers)}"
            self._fetching = {key: open_ for key, open_ in self._fetching.items() if not open_.done()}
            self._fetching[query_id] = future
            query = Query(
                query_id=query_id,
                reply_to=self.child_id,
                kind=QueryKind.CANDLES,
                product_id=request.product_id,
                bar_s=request.bar_s,
                since_s=request.start_s,
                until_s=request.end_s,
            )
            if not self.tell("gateway", query):
                future.set_result(None)

    def receive_from(self, sender_id: str, sender_incarnation: Incarnation, body: Any) -> None:  # noqa: ARG002
        match body:
            case Page(query_id=query_id):
                future = self._fetching.pop(query_id, None)
                if future is not None and not future.done():
                    future.set_result(
                        [item for item in body.items if isinstance(item, Candle)] if body.complete else None
                    )
            case ProductsWanted(products=products):
                self._set_products(products)

    def _set_products(self, products: tuple[str, ...]) -> None:
        products = self.plan.listed(products)
        if products != self._products:
            self._products = products
            self._socket.set_products(products)
            self._desk.set_products(products)

    def take(self, happening: Happening) -> None:
        if isinstance(happening, ProductStatus):
            row = (happening.product_id, happening.status, happening.message)
            self.tell("catalog", ProductStatusSeen(products=(row,)))
        elif isinstance(happening, Heartbeat):
            self.measure_drift(happening)

    def readings(self) -> tuple[tuple[str, float], ...]:
        return market_readings(self._socket.health(), self._publisher.quotes, self._ringer, self.drift_s)
