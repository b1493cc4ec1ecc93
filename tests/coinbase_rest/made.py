"""What the tests of the REST side make again and again: orders, products, machines, lanes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from exchange.coinbase.fences import Beat, Fences
from exchange.coinbase.gateway import GatewayMachine, GatewaySettings
from exchange.coinbase.lanes import Lanes
from exchange.coinbase.transport import TransportSettings, boot_s
from tests.coinbase_rest.venue import KEY_NAME, KEY_SECRET, Venue
from tests.support import eventually
from trading.machine import Instant
from trading.messages.control import CatalogSnapshot
from trading.messages.orders import Call, Called, CancelOrders, OrderBody, OrderStyle, PlaceOrder, Query, QueryKind
from trading.product import Product
from trading.values import Purpose, Side

ME = (7, 1_000)
NOW = Instant(1_790_000_000.0, True, 5_000.0)
BTC = Product(
    product_id="BTC-USD",
    base_currency="BTC",
    quote_currency="USD",
    price_increment=Decimal("0.01"),
    base_increment=Decimal("0.00000001"),
    quote_increment=Decimal("0.01"),
    base_size_min=Decimal("0.00000001"),
    base_size_max=Decimal(3400),
    quote_size_min=Decimal(1),
    quote_size_max=Decimal(150000000),
)
GTD = OrderBody(
    product_id="BTC-USD",
    side=Side.BUY,
    style=OrderStyle.LIMIT_GTD,
    base_size=Decimal("0.001"),
    limit_price=Decimal("60000.01"),
    post_only=True,
    end_time_s=1_790_000_060,
)
IOC = OrderBody(
    product_id="BTC-USD",
    side=Side.SELL,
    style=OrderStyle.LIMIT_IOC,
    base_size=Decimal("0.001"),
    limit_price=Decimal("60000.01"),
)


def later(seconds: float) -> Instant:
    return Instant(NOW.venue_s + seconds, True, NOW.boot_s + seconds)


def fences_at(now: Instant, **changes: Any) -> Fences:
    return Fences(**{"beat": Beat(ME[0], "ready", now.boot_s), **changes})


def order(
    client_order_id: str = "bh-test-1", purpose: Purpose = Purpose.ENTRY, now_boot_s: float = NOW.boot_s, **changes: Any
) -> PlaceOrder:
    body = GTD if purpose is Purpose.ENTRY else IOC
    fields: dict[str, Any] = {
        "client_order_id": client_order_id,
        "purpose": purpose,
        "body": body,
        "gateway_incarnation": ME,
        "approval_id": "approval",
        "send_by_boot_s": now_boot_s + 2.0,
        "quote_received_boot_s": now_boot_s,
        **changes,
    }
    return PlaceOrder(**fields)


def catalog(now: Instant = NOW, products: tuple[Product, ...] = (BTC,), **changes: Any) -> CatalogSnapshot:
    return CatalogSnapshot(n=1, products=products, fees=None, fetched_boot_s=now.boot_s, **changes)


def machine(
    fences: Any = None, *, settings: GatewaySettings | None = None, full: bool = True, **facts: Any
) -> GatewayMachine:
    """A recovered gateway with a catalog; full: its buckets have had time to fill."""
    made = GatewayMachine(me=ME, fences=fences or (lambda: fences_at(NOW)), settings=settings, **facts)
    made.recover({}, later(-60.0 if full else 0.0))
    made.handle(catalog(), NOW)
    return made


@contextmanager
def lanes_at(
    venue: Venue, *, settings: GatewaySettings | None = None, may_post: Any = None, **kept: Any
) -> Iterator[Lanes]:
    transport = kept.pop("transport", None) or TransportSettings(connect_s=2.0, read_s=5.0)
    lanes = Lanes(
        kept.pop("endpoints", venue.endpoints),
        kept.pop("key_name", KEY_NAME),
        kept.pop("key_secret", KEY_SECRET),
        may_post or (lambda _: None),
        settings=settings,
        transport=transport,
    )
    try:
        yield lanes
    finally:
        lanes.close()
        venue.closed.set()


def call(request: Any, deadline_s: float = 5.0, call_id: str = "c1") -> Call:
    lane = {PlaceOrder: "order", CancelOrders: "cancel", Query: "query"}[type(request)]
    return Call(call_id=call_id, lane=lane, request=request, deadline_boot_s=boot_s() + deadline_s)


def query(kind: QueryKind, **fields: Any) -> Query:
    return Query(query_id="q1", reply_to="oms", kind=kind, **fields)


def back(lanes: Lanes, wanted: int = 1, patience_s: float = 10.0) -> list[Called]:
    """What comes back, waited for."""
    found: list[Called] = []

    def look() -> list[Called]:
        found.extend(lanes.results())
        return found

    return eventually(look, lambda seen: len(seen) >= wanted, patience_s)


def done(venue: Venue, request: Any, deadline_s: float = 5.0, **kept: Any) -> Called:
    """Carry out one request at `venue` by lanes of its own."""
    with lanes_at(venue, **kept) as lanes:
        lanes.submit(call(request, deadline_s))
        return back(lanes)[0]
