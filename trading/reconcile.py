"""Ours against the venue's, three ways: orders, fills, balances. Pure: two views in, what closes the gap out.

Only complete pages come here (a partial one is no answer). Nothing is ever corrected silently: every difference that
was found has a sentence and a value, and the caller books it as an event, a flow or an external reduction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from attrs import frozen

from trading.messages.orders import Balance, VenueFill, VenueOrder
from trading.order_states import VenueEvent
from trading.orders import Order, observe, sighting_of, venue_status
from trading.values import ZERO, is_ours


@frozen(kw_only=True)
class OrdersGap:
    """What a complete listing told. news: orders that moved, with the events; adopt: ours without a row, live at the venue
    or filled; over: ids of ours without a row that ended without a fill; ask: ours that exist and rest but were not listed, to
    be asked by id (a listing may lag).
    """

    news: tuple[tuple[Order, tuple[VenueEvent, ...], VenueOrder], ...] = ()
    adopt: tuple[VenueOrder, ...] = ()
    over: tuple[str, ...] = ()
    ask: tuple[Order, ...] = ()


def compare_orders(ours: Mapping[str, Order], listed: Iterable[VenueOrder], tag: str, at_s: float) -> OrdersGap:
    """ours: client_order_id -> order, every one that is known (over ones too). Others' orders are not looked at."""
    news: list[tuple[Order, tuple[VenueEvent, ...], VenueOrder]] = []
    adopt: list[VenueOrder] = []
    over: list[str] = []
    shown: set[str] = set()
    for item in listed:
        if not is_ours(item.client_order_id, tag):
            continue
        shown.add(item.client_order_id)
        order = ours.get(item.client_order_id)
        if order is None:
            # A finished order without a fill, from before a lost store, has nothing to account for; its id is used up.
            if not venue_status(item.status).terminal or item.filled_size > ZERO:
                adopt.append(item)
            else:
                over.append(item.client_order_id)
            continue
        events = observe(order, sighting_of(item), at_s)
        if events or order.venue_order_id is None:
            news.append((order, events, item))
    missing = tuple(
        order
        for key, order in ours.items()
        if order.status.resting and order.venue_order_id is not None and key not in shown
    )
    return OrdersGap(news=tuple(news), adopt=tuple(adopt), over=tuple(over), ask=missing)


def fill_key(fill: VenueFill) -> str:
    """Booked once by entry id and trade id: a trade id alone is unique only among plain fills."""
    return f"{fill.entry_id}:{fill.trade_id}"


def new_fills(
    known: Mapping[str, object], owners: Mapping[str, Order], listed: Iterable[VenueFill]
) -> tuple[tuple[Order, VenueFill], ...]:
    """Fills of ours that are not booked yet, each once, with their orders. owners: venue_order_id -> order."""
    found: dict[str, tuple[Order, VenueFill]] = {}
    for fill in listed:
        key = fill_key(fill)
        owner = owners.get(fill.venue_order_id)
        if owner is not None and key not in known:
            found[key] = (owner, fill)
    return tuple(found.values())


@frozen(kw_only=True)
class BalancesGap:
    """foreign: currency -> balance - what we booked, where positive. short: currency -> (we booked, the account shows),
    where the account holds less. quote_total, quote_available: of the quote currency, alias included.
    quote_diff: total - what cash of booked fills and known flows explains; None without a baseline.
    """

    foreign: Mapping[str, Decimal]
    short: Mapping[str, tuple[Decimal, Decimal]]
    quote_total: Decimal
    quote_available: Decimal
    quote_diff: Decimal | None


QUOTES = ("USD", "USDC")


def totals(balances: Iterable[Balance]) -> dict[str, Decimal]:
    """Currency -> available + hold. A currency without a row is zero (protocol section 3 rule 6)."""
    found: dict[str, Decimal] = {}
    for balance in balances:
        found[balance.currency] = found.get(balance.currency, ZERO) + balance.available + balance.hold
    return found


def compare_balances(
    balances: Iterable[Balance], booked: Mapping[str, Decimal], expected_quote: Decimal | None
) -> BalancesGap:
    """booked: base currency -> size that our positions hold by booked fills. expected_quote: None at the first pass ever."""
    rows = tuple(balances)
    held = totals(rows)
    quote_total = sum((held.get(currency, ZERO) for currency in QUOTES), ZERO)
    quote_available = sum((b.available for b in rows if b.currency in QUOTES), ZERO)
    foreign: dict[str, Decimal] = {}
    short: dict[str, tuple[Decimal, Decimal]] = {}
    for currency in sorted({*held, *booked} - set(QUOTES)):
        ours, shows = booked.get(currency, ZERO), held.get(currency, ZERO)
        if shows > ours:
            foreign[currency] = shows - ours
        elif shows < ours:
            short[currency] = (ours, shows)
    return BalancesGap(
        foreign=foreign,
        short=short,
        quote_total=quote_total,
        quote_available=quote_available,
        quote_diff=None if expected_quote is None else quote_total - expected_quote,
    )
