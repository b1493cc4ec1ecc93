"""What is learned of each order: outcomes, updates, listings; and what follows from it."""

from __future__ import annotations

from decimal import Decimal

from attrs import evolve

from trading.machine import NO_INCARNATION
from trading.messages.orders import (
    OrderOutcome,
    OrderStyle,
    OrderUpdate,
    OutcomeKind,
    VenueOrder,
    VenueStatus,
)
from trading.oms_desk import ROLE, Desk
from trading.oms_measure import note_sent, settle_wait_s
from trading.oms_rows import CooldownRow
from trading.order_states import (
    OrderEvent,
    OrderNotSent,
    OrderRejected,
    OrderStatus,
    OrderUnknown,
)
from trading.orders import Intent, Order, Sighting, apply, not_there, observe, sighting_of, venue_status
from trading.values import ZERO, Purpose, Side, is_ours, plain

SOON_S = 0.05
TOLD_S = 600.0
"""How long a condition stands that reports something that happened, not a level."""


# -- what we learn ---------------------------------------------------------------------------------------------------


def learn(d: Desk, order: Order, event: OrderEvent) -> Order:
    """`order` after `event`, in the book, with everything that follows from it."""
    after = apply(order, event, d.now.boot_s)
    d.book.put(after)
    intent = after.intent
    key = intent.client_order_id
    if order.status is OrderStatus.SUBMITTED:
        d.gone(f"unanswered:{key}")
    if after.status is not order.status:
        d.note(
            "order",
            client_order_id=key,
            product_id=intent.product_id,
            **{"from": str(order.status), "to": str(after.status)},
            reason=event.reason,
        )
    if order.status in (OrderStatus.NOT_PLACED, OrderStatus.REJECTED) and after.status is not order.status:
        d.stand(
            f"existed:{key}",
            "critical",
            f"{intent.product_id}: order {key} was believed {order.status} and the venue shows it after all; it is booked and cancelled",
            for_s=TOLD_S,
        )
        after = want_cancel(d, after, "late")
    if after.status.terminal and not order.status.terminal:
        _ended(d, after)
    return after


def _ended(d: Desk, order: Order) -> None:
    intent = order.intent
    key = intent.client_order_id
    for name in ("unknown", "cancel_stuck", "external"):
        d.gone(f"{name}:{key}")
    d.tasks.pop(key, None)
    refused = order.refused
    lost = order.status is OrderStatus.NOT_PLACED and order.reason == "absent"
    if intent.purpose is Purpose.ENTRY and not intent.external and (refused or lost):
        seconds = d.settings.cooldowns.failed_s
        now_s = d.now.venue_s
        d.book.put_cooldown(
            CooldownRow(
                product_id=intent.product_id,
                kind="failed",
                until_s=now_s + seconds,
                reason=f"entry {order.status}: {order.reason}",
                by=ROLE,
                since_s=now_s,
            )
        )
    if refused and intent.side is Side.SELL and "INSUFFICIENT" in order.reason.upper():
        d.ask_pass()


def note_submitted(d: Desk, intent: Intent) -> None:
    """An intent was saved and its order goes out."""
    d.note(
        "order",
        client_order_id=intent.client_order_id,
        product_id=intent.product_id,
        purpose=str(intent.purpose),
        side=str(intent.side),
        base_size=plain(intent.base_size),
        limit_price=plain(intent.limit_price),
        post_only=intent.post_only,
        **{"from": "initialized", "to": "submitted"},
        reason=intent.reason,
    )


def sight(d: Desk, order: Order, seen: Sighting) -> Order:
    """The venue showed `order`; only what is news changes anything."""
    key = order.intent.client_order_id
    for event in observe(order, seen, d.now.venue_s):
        order = learn(d, order, event)
    if seen.venue_order_id and order.venue_order_id is None:
        order = evolve(order, venue_order_id=seen.venue_order_id, existed=True)
        d.book.put(order)
    if order.unbooked_size > ZERO:
        task = d.task(key)
        if task.fills_since is None:
            task.fills_since = d.now.boot_s
            task.fills_at = d.now.boot_s + settle_wait_s(d)
    _judge_late(d, order)
    return order


def _judge_late(d: Desk, order: Order) -> None:
    """What is accepted while it must not be is cancelled at once."""
    intent = order.intent
    if not order.status.resting or order.cancel_reason:
        return
    why = unwanted(d, intent)
    if why:
        want_cancel(d, order, why)


def unwanted(d: Desk, intent: Intent) -> str:
    """Why an order like this must not rest now; "" when it may. Our own recovery is no reason: what rests is adopted."""
    if intent.external:
        return "external"
    if d.drain_run is not None:
        return "drain"
    if d.killed and intent.purpose is not Purpose.FLATTEN:
        return "kill"
    if intent.purpose is Purpose.ENTRY and d.protections.leaving_active:
        _, codes = d.state()
        others = [code for code in codes if code not in ("recovering", "balances_not_reconciled")]
        if others:
            return f"not_active:{others[0]}"
    return ""


def outcome(d: Desk, message: OrderOutcome) -> None:
    """The gateway's answer to PlaceOrder or Withdraw."""
    order = d.book.orders.get(message.client_order_id)
    if order is None:
        return  # of a lost book: a listing will show it
    d.task(message.client_order_id).withdraw_answered = True
    if message.sent_boot_s is not None and order.sent_boot_s is None:
        order = evolve(order, sent_boot_s=message.sent_boot_s, acked_boot_s=message.answered_boot_s)
        d.book.put(order)
        note_sent(d, order)
    kind = message.kind
    if kind is OutcomeKind.REJECTED and "DUPLICATE" in message.reason.upper():
        kind = OutcomeKind.UNKNOWN  # we post once: somebody already did, so it may well live
    match kind:
        case OutcomeKind.IN_FLIGHT:
            return
        case OutcomeKind.ACCEPTED:
            sight(
                d, order, Sighting(venue_order_id=message.venue_order_id, status=VenueStatus.PENDING, filled_size=ZERO)
            )
        case OutcomeKind.NOT_SENT:
            _not_there(d, order, OrderNotSent, message.reason)
        case OutcomeKind.REJECTED:
            _not_there(d, order, OrderRejected, message.reason)
        case OutcomeKind.UNKNOWN | OutcomeKind.NOT_MINE:
            _not_there(d, order, OrderUnknown, message.reason or str(kind))
            if order.intent.side is Side.SELL:
                d.ask_pass()  # what the account holds now decides whether the next exit may go


def _not_there(d: Desk, order: Order, kind: type[OrderEvent], reason: str) -> None:
    answer = not_there(order, kind, reason, d.now.venue_s, existence=d.protections.existence)
    if answer.event is not None:
        learn(d, order, answer.event)
    elif answer.forget:
        d.book.put(evolve(order, status=OrderStatus.NOT_PLACED, ended_s=d.now.venue_s))
    elif answer.alert:
        d.stand(f"contradiction:{order.intent.client_order_id}", "critical", answer.alert, for_s=TOLD_S)


def update(d: Desk, message: OrderUpdate) -> None:
    """A cumulative snapshot of the user channel."""
    order = d.book.find(message.client_order_id, message.venue_order_id)
    seen = Sighting(
        venue_order_id=message.venue_order_id or None,
        status=venue_status(message.status),
        filled_size=message.cumulative_size if d.protections.seen else ZERO,
        average_price=message.average_price,
    )
    if order is None:
        if not is_ours(message.client_order_id, d.tag):
            return
        if seen.status.terminal and message.cumulative_size == ZERO:
            return
        order = adopt(
            d,
            client_order_id=message.client_order_id,
            product_id=message.product_id,
            side=message.side,
            base_size=ZERO,
            limit_price=message.average_price,
        )
    sight(d, order, seen)


def listed(d: Desk, item: VenueOrder) -> Order | None:
    """An order in a listing or an answer by id; None when it is not ours."""
    order = d.book.find(item.client_order_id, item.venue_order_id)
    if order is None:
        if not is_ours(item.client_order_id, d.tag):
            return None
        if venue_status(item.status).terminal and item.filled_size == ZERO:
            return None
        order = adopt(
            d,
            client_order_id=item.client_order_id,
            product_id=item.product_id,
            side=item.side,
            base_size=item.base_size or ZERO,
            limit_price=item.limit_price or ZERO,
        )
    return sight(d, order, sighting_of(item))


def adopt(
    d: Desk, *, client_order_id: str, product_id: str, side: Side, base_size: Decimal, limit_price: Decimal
) -> Order:
    """Ours by its name, without a row: a row is made, it is cancelled, a person is told; its fills stay foreign."""
    intent = Intent(
        intent_id=f"external:{client_order_id}",
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY if side is Side.BUY else Purpose.EXIT,
        product_id=product_id,
        side=side,
        style=OrderStyle.LIMIT_GTD,
        base_size=base_size,
        limit_price=limit_price,
        post_only=False,
        end_time_s=None,
        approval_id=f"external:{client_order_id}",
        gateway_incarnation=NO_INCARNATION,
        saved_s=d.now.venue_s,
        saved_boot_s=d.now.boot_s,
        send_by_boot_s=d.now.boot_s,
        horizon_boot_s=d.now.boot_s,
        reason="adopted: the venue showed it and no row explained it",
        external=True,
    )
    order = Order(intent=intent, status=OrderStatus.UNKNOWN, existed=True, updated_s=d.now.venue_s)
    d.book.add(order)
    if side is Side.SELL:  # of the coins that an exit of this book sells, too
        for other in d.book.open_orders():
            sells = other.intent.side is Side.SELL and other.intent.product_id == product_id
            if sells and not other.intent.external:
                want_cancel(d, other, "external")
    d.book.put_cooldown(
        CooldownRow(
            product_id=product_id,
            kind="stop",
            until_s=d.now.venue_s + d.settings.cooldowns.stop_s,
            reason="an order of ours has lost its record, so that a stop-out may have, too",
            by=ROLE,
            since_s=d.now.venue_s,
        )
    )
    d.stand(
        f"external:{client_order_id}",
        "critical",
        f"{product_id}: order {client_order_id} is ours by its name and has no intent row (a lost store?); it is being cancelled",
    )
    return order


# -- what we want ----------------------------------------------------------------------------------------------------


def want_cancel(d: Desk, order: Order, reason: str) -> Order:
    """From now on a cancel is asked, and repeated, until the order is over. Without a venue_order_id: as soon as it has one."""
    if order.status.terminal or order.cancel_reason:
        return order
    order = evolve(order, cancel_reason=reason)
    d.book.put(order)
    return order
