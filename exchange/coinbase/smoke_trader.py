"""One account as smoke_order uses it: single questions and orders, and a memory of everything that may have to be cleared."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from exchange.coinbase import wire, wire_pages
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.feed_words import Happening
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.transport import Guard, Reply, VenueSession, boot_s
from trading.messages.orders import BestBidAsk, OrderBody, OrderUpdate, OutcomeKind, VenueOrder, VenueStatus
from trading.product import Product
from trading.values import ceil_to_increment, client_order_id

STEP_S_MAX = 30.0


class StopError(Exception):
    """The round trip cannot go on; the text says why."""


class Trader:
    def __init__(self, endpoints: Endpoints, key: ApiKey, venue_clock: Callable[[], float]) -> None:
        self.endpoints, self.key, self.venue_clock = endpoints, key, venue_clock
        self.session = VenueSession(endpoints, key)
        self.guard = Guard()
        self.made: list[str] = []
        self.unsure: list[str] = []
        self.updates: list[tuple[float, OrderUpdate]] = []
        self.tag = ""

    def close(self) -> None:
        self.guard.close()
        self.session.close()

    def hear(self, happenings: list[Happening]) -> None:
        now = boot_s()
        self.updates += [(now, happening) for happening in happenings if isinstance(happening, OrderUpdate)]

    def send(
        self, method: str, path: str, params: dict[str, Any] | None = None, body: dict[str, Any] | None = None
    ) -> Reply:
        deadline = boot_s() + 10.0
        self.guard.watch(self.session, deadline)
        reply = self.session.send(method, path, params=params, body=body, deadline_boot_s=deadline)
        self.guard.forget(self.session)
        return reply

    def get(self, path: str, read: Callable[[bytes], Any], params: dict[str, Any] | None = None) -> Any:
        reply = self.send("GET", path, params)
        if reply.status != 200:
            raise StopError(f"GET {path}: {reply.error or f'HTTP {reply.status}'}")
        try:
            return read(reply.content)
        except wire.Unreadable as error:
            raise StopError(f"GET {path}: unreadable: {error}") from None

    def place(self, body: OrderBody, order_id: str | None = None) -> tuple[wire.Verdict, Reply, str]:
        """One POST. What may live afterwards is remembered for the cleaning up."""
        name = order_id or client_order_id(self.tag, f"smoke-{uuid.uuid4()}")
        return (*self.post(wire.order_request(name, body), name), name)

    def post(self, request: dict[str, Any], name: str) -> tuple[wire.Verdict, Reply]:
        reply = self.send("POST", "/orders", body=request)
        if reply.status is None:
            verdict = wire.Verdict(OutcomeKind.UNKNOWN if reply.began else OutcomeKind.NOT_SENT, reason=reply.error)
        else:
            verdict = wire.placed(reply.status, reply.content, name)
        if verdict.venue_order_id:
            self.made.append(verdict.venue_order_id)
        elif verdict.kind is OutcomeKind.UNKNOWN:
            self.unsure.append(name)
        return verdict, reply

    def order(self, venue_order_id: str) -> VenueOrder | None:
        reply = self.send("GET", f"/orders/historical/{venue_order_id}")
        try:
            return wire_pages.single_order(reply.content) if reply.status == 200 else None
        except wire.Unreadable:
            return None

    def balance(self, currency: str) -> Decimal:
        page = self.get("/accounts", wire_pages.account_page, {"limit": 250})
        return sum((row.available + row.hold for row in page.items if row.currency == currency), Decimal(0))

    def cancel(self, venue_order_ids: list[str]) -> str:
        reply = self.send("POST", "/orders/batch_cancel", body={"order_ids": venue_order_ids})
        if reply.status != 200:
            return reply.error or f"HTTP {reply.status}"
        try:
            results = wire.canceled(reply.content, venue_order_ids)
        except wire.Unreadable as error:
            return f"unreadable: {error}"
        return "; ".join(reason for _, accepted, reason in results if not accepted)

    def clear(self) -> list[str]:
        """Cancel and look until nothing of ours rests; what is not proved over is returned in words."""
        deadline = time.monotonic() + STEP_S_MAX
        for name in self.unsure:
            page = self.send("GET", "/orders/historical/batch", {"limit": 100})
            try:
                listed = wire_pages.order_page(page.content).items if page.status == 200 else ()
            except wire.Unreadable:
                listed = ()
            self.made += [order.venue_order_id for order in listed if order.client_order_id == name]
        resting = list(dict.fromkeys(self.made))
        while resting and time.monotonic() < deadline:
            resting = [
                name
                for name in resting
                if (order := self.order(name)) is None or not VenueStatus(order.status).terminal
            ]
            if resting:
                self.cancel(resting)
                time.sleep(0.3)
        return [f"order {name} is not proved over; look at it in Coinbase's app" for name in resting]


def until(look: Callable[[], Any], limit_s: float, every_s: float = 0.02) -> Any:
    deadline = time.monotonic() + limit_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            return None
        time.sleep(every_s)
    return seen


def touch_of(trader: Trader, product: Product) -> BestBidAsk:
    rows = trader.get("/best_bid_ask", wire_pages.best_bid_ask, {"product_ids": [product.product_id]})
    if not rows:
        raise StopError(f"no best bid and ask of {product.product_id}")
    found: BestBidAsk = rows[0]
    return found


def smallest(product: Product, price: Decimal) -> Decimal:
    """The smallest size that stays above the quote minimum after a fall of 5 % (so that it can be sold back)."""
    wanted = max(product.base_size_min, product.quote_size_min * Decimal("1.05") / price)
    return ceil_to_increment(wanted, product.base_increment)
