"""Longer pieces of talk that several tests of oms share."""

from __future__ import annotations

from tests.oms.host import (
    D,
    Host,
    approval,
    fill,
    listing,
    outcome,
    page_of,
)
from trading.messages.control import (
    KillSnapshot,
)
from trading.messages.orders import (
    Balance,
    OrderStyle,
    OutcomeKind,
    PlaceOrder,
    Query,
    QueryKind,
    VenueFill,
    VenueOrder,
)

USD = Balance(currency="USD", available=D(10_000), hold=D(0))


def unknown_entry(host: Host, **kwargs: object) -> PlaceOrder:
    place = host.admit(approval(host, **kwargs))  # type: ignore[arg-type]
    host.tell(outcome(place, OutcomeKind.UNKNOWN, reason="timeout"))
    return place


def answer_asks(host: Host, *items: object, complete: bool = True, seconds: float) -> None:
    """Let time pass and answer every listing of a product with `items`."""
    end = host.boot_s + seconds
    while host.boot_s < end:
        for query in host.queries(QueryKind.ORDERS):
            if query.query_id in host.machine.desk.queries and query.product_id is not None:
                host.tell(page_of(query, *items, complete=complete, now=host.boot_s))
        host.run(min(0.25, end - host.boot_s))


def quiet_venue(host: Host, *balances: Balance):
    """Answers passes with nothing new."""

    def answer(send):
        message = send.message
        if getattr(message, "kind", None) in (
            QueryKind.ORDERS,
            QueryKind.FILLS,
            QueryKind.ORDER,
            QueryKind.BALANCES,
        ) and hasattr(message, "reply_to"):
            held = balances or (
                Balance(currency="USD", available=D("9899.5"), hold=D(0)),
                Balance(currency="BTC", available=D(1), hold=D(0)),
            )
            return [page_of(message, *(held if message.kind is QueryKind.BALANCES else ()), now=host.boot_s)]
        return []

    return answer


def telling_venue(host: Host, orders: tuple, fills: tuple, balances: tuple):
    """Answers each question with the same listing of its kind."""
    told = {QueryKind.ORDERS: orders, QueryKind.FILLS: fills, QueryKind.BALANCES: balances}

    def answer(send):
        message = send.message
        return [page_of(message, *told[message.kind], now=host.boot_s)] if isinstance(message, Query) else []

    return answer


def two_entries(host: Host) -> PlaceOrder:
    """A second entry of the held product rests, long after the first one's cooldown."""
    host.run(2000.0, answer=quiet_venue(host))
    return host.accepted_entry("v2", n=2)


def two_positions(host: Host) -> None:
    """A second position of the same coin, long after the first one's cooldown."""
    host.run(2000.0, answer=quiet_venue(host))
    host.bought("1", "90", "v2", n=2)
    assert len(host.book.positions) == 2


def body_of(product: str):
    from trading.messages.orders import OrderBody
    from trading.values import Side

    return OrderBody(product_id=product, side=Side.BUY, style=OrderStyle.LIMIT_GTD, base_size=D(1), limit_price=D(100))


def lost_store(**kwargs: object) -> tuple[Host, tuple[VenueOrder, ...], tuple[VenueFill, ...]]:
    """A life with one position in BTC, then a new store; what the venue still shows of it."""
    old = Host().active()
    place = old.bought("1", "100")
    shown = (listing(place, "v1", "filled", "1"),)
    made = (fill(place, "v1", "e1v1", "1", "100"),)
    host = Host(lost_book=True, adopt=bool(kwargs.get("adopt")))
    host.tell(KillSnapshot(n=1, engaged=False))
    host.greet()
    return host, shown, made


HELD = (Balance(currency="USD", available=D("9899.5"), hold=D(0)), Balance(currency="BTC", available=D(1), hold=D(0)))
