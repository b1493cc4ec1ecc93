"""Booking: REST fills become facts, once each."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from trading.ledger import UNDOING, Fill
from trading.messages.orders import VenueFill, VenueStatus
from trading.oms_desk import Desk
from trading.oms_measure import note_booked
from trading.oms_orders import sight
from trading.oms_positions import cool, judge_position
from trading.oms_rowless import sold_without_row
from trading.orders import Sighting
from trading.reconcile import new_fills
from trading.values import ZERO, Purpose, plain


def book_listed(d: Desk, items: Iterable[object]) -> int:
    """Book the fills of ours among `items` that are new; how many there were."""
    fills = [item for item in items if isinstance(item, VenueFill)]
    owners = {
        fill.venue_order_id: order for fill in fills if (order := d.book.find(None, fill.venue_order_id)) is not None
    }
    known = d.book.fills if d.protections.dedupe else {}
    found = new_fills(known, owners, fills)
    booked = [_book(d, owner.intent.client_order_id, fill) for owner, fill in found]
    intents = [owner.intent for owner, _ in found]
    for product_id in dict.fromkeys(i.product_id for i in intents if i.external or i.product_id in d.rowless):
        sold_without_row(d, product_id, booked)
    return len(found)


def _book(d: Desk, client_order_id: str, told: VenueFill) -> Fill:
    order = d.book.orders[client_order_id]
    intent = order.intent
    key = f"{told.entry_id}:{told.trade_id}"
    if key in d.book.fills:  # simulation only: dedupe is out
        key = f"{key}:{len(d.book.fills)}"
    booked = order.booked_size + (ZERO if told.kind in UNDOING else told.base_size)
    task = d.task(client_order_id)
    seen_since = task.fills_since
    order = evolve(order, booked_size=booked)
    if order.unbooked_size == ZERO:
        order = evolve(order, booked_boot_s=d.now.boot_s)
    d.book.put(order)
    # A fill that no update told first is news of the order, too.
    order = sight(
        d,
        order,
        Sighting(
            venue_order_id=told.venue_order_id,
            status=VenueStatus.UNKNOWN,
            filled_size=max(booked, order.seen_size),
            average_price=told.price,
        ),
    )
    fill = Fill(
        key=key,
        entry_id=told.entry_id,
        trade_id=told.trade_id,
        venue_order_id=told.venue_order_id,
        client_order_id=client_order_id,
        position_id=d.book.position_of(intent),
        product_id=told.product_id,
        side=told.side,
        price=told.price,
        base_size=told.base_size,
        fee_usd=told.fee_usd,
        liquidity=told.liquidity,
        kind=told.kind,
        at_s=told.trade_time_s,
    )
    d.book.book_fill(fill)
    d.marks[told.product_id] = told.price
    d.note(
        "fill",
        client_order_id=client_order_id,
        product_id=told.product_id,
        side=str(told.side),
        base_size=plain(told.base_size),
        price=plain(told.price),
        fee_usd=plain(told.fee_usd),
        liquidity=told.liquidity,
        kind=told.kind,
        position_id=fill.position_id,
    )
    if order.unbooked_size == ZERO:
        d.gone(f"unbooked:{client_order_id}")
        note_booked(d, order, seen_since)
    if fill.position_id is not None:
        if intent.purpose is Purpose.ENTRY:
            cool(d, told.product_id, "fill", told.trade_time_s + d.settings.cooldowns.fill_s, "an entry filled")
        judge_position(d, fill.position_id, intent.reason if intent.purpose is Purpose.EXIT else "")
    return fill
