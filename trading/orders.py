"""One order, folded from its events: the intent that was saved before anything left, and what became of it.

`Intent` never changes: it is the decision, the body that may be posted at most once, and its binding to one gateway
incarnation. `Order` changes by `apply(order, event)` only. What the venue shows (a listing, an update of the user
channel, an answer) is a `Sighting`; `observe` turns it into the events that are news, in an order that the table takes.
Any sightings, repeated and in any order, end in the same order: statuses only move up a life, cumulative sizes only grow.
"""

from __future__ import annotations

from decimal import Decimal

from attrs import evolve

from trading.light import light
from trading.machine import Incarnation
from trading.messages.orders import OrderStyle, VenueOrder, VenueStatus
from trading.order_states import (
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderNotSent,
    OrderPartiallyFilled,
    OrderPendingCancel,
    OrderRejected,
    OrderStatus,
    VenueEvent,
    next_status,
)
from trading.values import ZERO, Purpose, Side


@light(kw_only=True)
class Intent:
    """A decision to have one order. Sizes in base units, prices in quote units, `_s` venue seconds, `_boot_s` boot clock.

    position_id: the position an exit or flatten reduces; an entry opens the position of its own intent_id.
    external: an order of ours that the venue showed and no row explained. worst_usd: what an entry reserves.
    coin_total_before: what the account held of the coin when an exit was made, by the last complete balance page and what was
    bought and sold since. coin_alone: that page had none of others worth more than dust.
    horizon_boot_s: for an IOC, when no request of it can live any more (send_by + 180 s); others die at end_time_s.
    """

    intent_id: str
    client_order_id: str
    purpose: Purpose
    product_id: str
    side: Side
    style: OrderStyle
    base_size: Decimal
    limit_price: Decimal
    post_only: bool
    end_time_s: int | None
    approval_id: str
    gateway_incarnation: Incarnation
    saved_s: float
    saved_boot_s: float
    send_by_boot_s: float
    horizon_boot_s: float
    cancel_after_s: float | None = None
    proposal_id: str | None = None
    plan_id: str = ""
    strategy: str = ""
    trigger: str = ""
    reason: str = ""
    config_hash: str = ""
    position_id: str | None = None
    requote: int = 0
    replaces: str | None = None
    plan_expires_boot_s: float | None = None
    worst_usd: Decimal = ZERO
    stop_pct: Decimal | None = None
    target_pct: Decimal | None = None
    trailing_pct: Decimal | None = None
    hold_s_max: float | None = None
    external: bool = False
    by: str = ""
    coin_total_before: Decimal | None = None
    coin_alone: bool = False
    quote_received_boot_s: float | None = None
    decided_boot_s: float | None = None
    approved_boot_s: float | None = None

    @property
    def rests(self) -> bool:
        return self.style is not OrderStyle.LIMIT_IOC


@light(kw_only=True)
class Order:
    """What became of an intent. seen_size: cumulative, as the venue said; booked_size: sum of its booked fills.

    cancel_reason: why we want it gone ("ttl", "kill", "drain", ...), kept until it is over. existed: the venue showed it.
    """

    intent: Intent
    status: OrderStatus = OrderStatus.SUBMITTED
    venue_order_id: str | None = None
    existed: bool = False
    seen_size: Decimal = ZERO
    seen_price: Decimal = ZERO
    booked_size: Decimal = ZERO
    cancel_reason: str = ""
    reason: str = ""
    unknown_since_boot_s: float | None = None
    updated_s: float = 0.0
    ended_s: float | None = None
    sent_boot_s: float | None = None
    acked_boot_s: float | None = None
    first_fill_boot_s: float | None = None
    booked_boot_s: float | None = None

    @property
    def leaves_size(self) -> Decimal:
        """What may still fill: nothing once it is over."""
        if self.status.terminal:
            return ZERO
        return max(ZERO, self.intent.base_size - self.seen_size)

    @property
    def unbooked_size(self) -> Decimal:
        """Seen at the venue and not booked yet."""
        return max(ZERO, self.seen_size - self.booked_size)

    @property
    def unknown(self) -> bool:
        return self.status is OrderStatus.UNKNOWN

    @property
    def ended_by_ttl(self) -> bool:
        """Ended by its own time to live, or refused because it would have crossed: its proposer may propose again."""
        if not self.status.terminal or self.seen_size > ZERO:
            return False
        if self.status is OrderStatus.EXPIRED:
            return True
        if self.status is OrderStatus.CANCELED:
            return self.cancel_reason == "ttl"
        return self.status is OrderStatus.REJECTED and "POST_ONLY" in self.reason.upper()

    @property
    def refused(self) -> bool:
        """The venue said no, and not only because it would have crossed."""
        return self.status is OrderStatus.REJECTED and not self.ended_by_ttl


@light(kw_only=True)
class Sighting:
    """What the venue showed of an order at one moment."""

    venue_order_id: str | None
    status: VenueStatus
    filled_size: Decimal
    average_price: Decimal = ZERO
    reason: str = ""


def sighting_of(listed: VenueOrder) -> Sighting:
    """A listed order as a sighting; `pending_cancel` on an open one is a cancel on its way."""
    status = venue_status(listed.status)
    if listed.pending_cancel and not status.terminal:
        status = VenueStatus.PENDING_CANCEL
    return Sighting(
        venue_order_id=listed.venue_order_id or None,
        status=status,
        filled_size=listed.filled_size,
        average_price=listed.average_price,
        reason=listed.reject_reason,
    )


def venue_status(word: str) -> VenueStatus:
    """A status word; one that we do not know proves existence and nothing more."""
    try:
        return VenueStatus(word)
    except ValueError:
        return VenueStatus.UNKNOWN


def apply(order: Order, event: OrderEvent, boot_s: float) -> Order:
    """The order after `event`. Raises IllegalTransitionError for what the table does not allow."""
    status = next_status(order.status, type(event), f"order {order.intent.client_order_id}")
    changed = evolve(order, status=status, updated_s=event.at_s, reason=event.reason or order.reason)
    if isinstance(event, VenueEvent):
        changed = _shown(changed, event, boot_s)
    if status is OrderStatus.UNKNOWN:
        changed = evolve(changed, unknown_since_boot_s=boot_s)
    elif order.unknown:
        changed = evolve(changed, unknown_since_boot_s=None)
    if status.terminal and order.ended_s is None:
        changed = evolve(changed, ended_s=event.at_s)
    elif not status.terminal and order.ended_s is not None:
        changed = evolve(changed, ended_s=None)
    return changed


def _shown(order: Order, event: VenueEvent, boot_s: float) -> Order:
    seen = max(order.seen_size, event.filled_size)
    rose = seen > order.seen_size
    return evolve(
        order,
        existed=order.existed or event.venue_order_id is not None or not isinstance(event, OrderRejected),
        venue_order_id=order.venue_order_id or event.venue_order_id,
        seen_size=seen,
        seen_price=event.average_price if rose and event.average_price > ZERO else order.seen_price,
        first_fill_boot_s=boot_s if rose and order.first_fill_boot_s is None else order.first_fill_boot_s,
    )


_ENDS: dict[VenueStatus, type[VenueEvent]] = {
    VenueStatus.CANCELED: OrderCanceled,
    VenueStatus.EXPIRED: OrderExpired,
    VenueStatus.REJECTED: OrderRejected,
}
_UNPROVED = (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.NOT_PLACED, OrderStatus.REJECTED)


def observe(order: Order, seen: Sighting, at_s: float) -> tuple[VenueEvent, ...]:
    """The events by which `seen` is news to `order`, in an order that the table takes; () when it is not.

    An end at the venue that comes with fills we did not know yields the fill first. FILLED means all of it, whatever the
    size beside it says. A sighting that is older than what we know (its rank or its size is lower) yields nothing.
    """
    size = order.intent.base_size
    filled = max(order.seen_size, seen.filled_size)
    if seen.status is VenueStatus.FILLED:
        filled = max(filled, size)
    status = order.status
    over = status in (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.DENIED)

    def event(kind: type[VenueEvent], reason: str = "") -> VenueEvent:
        return kind(
            at_s=at_s,
            reason=reason,
            venue_order_id=seen.venue_order_id,
            filled_size=filled,
            average_price=seen.average_price,
        )

    found: list[VenueEvent] = []
    news = filled > order.seen_size
    complete = seen.status is VenueStatus.FILLED or ZERO < size <= filled
    if complete and status is not OrderStatus.FILLED:
        return (event(OrderFilled),)
    if news and status is not OrderStatus.FILLED:
        found.append(event(OrderPartiallyFilled))
    if seen.status.terminal:
        kind = _ENDS.get(seen.status)
        if seen.status is VenueStatus.REJECTED and (filled > ZERO or status is OrderStatus.PARTIALLY_FILLED):
            kind = OrderCanceled  # it failed after it had filled: over, with what it has
        already = over or (status is OrderStatus.REJECTED and not found and seen.status is VenueStatus.REJECTED)
        if kind is OrderRejected and status is OrderStatus.NOT_PLACED:
            already = True  # both say that nothing came of it
        if kind is not None and not already:
            found.append(event(kind, seen.reason))
    elif status in _UNPROVED and not found:
        found.append(event(OrderAccepted))
        status = OrderStatus.ACCEPTED
    if seen.status is VenueStatus.PENDING_CANCEL and not over and order.status is not OrderStatus.PENDING_CANCEL:
        found.append(event(OrderPendingCancel))
    return tuple(found)


@light(kw_only=True)
class Answer:
    """What an Outcome of the gateway means for an order: an event, or nothing and perhaps a word to a person."""

    event: OrderEvent | None = None
    alert: str = ""
    forget: bool = False


def not_there(order: Order, kind: type[OrderEvent], reason: str, at_s: float, *, existence: bool = True) -> Answer:
    """NotSent, Rejected, Unknown or NotMine for `order`: existence is never taken back.

    NotSent and Unknown move only SUBMITTED; Rejected moves SUBMITTED and UNKNOWN. After proof of existence they change
    nothing and alert. existence=False (simulation only) believes them always.
    """
    movable = {OrderStatus.SUBMITTED, OrderStatus.UNKNOWN} if kind is OrderRejected else {OrderStatus.SUBMITTED}
    if order.status in movable:
        return Answer(event=kind(at_s=at_s, reason=reason))
    if not existence and order.status in (OrderStatus.UNKNOWN, OrderStatus.ACCEPTED):
        return Answer(forget=True)
    if order.existed and kind in (OrderNotSent, OrderRejected):
        return Answer(
            alert=f"{kind.__name__} ({reason}) came for {order.intent.client_order_id}, which the venue had shown"
        )
    return Answer()
