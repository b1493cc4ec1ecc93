"""The life of one order, as a table, in the words of FIX.

Rule 1: every legal change of `OrderStatus` is a cell of `TRANSITIONS`; `next_status` is the only reader.
Rule 2: nothing here knows Coinbase or actors. `orders.observe` turns what the venue shows into events that the table
        takes, so that old, repeated and reordered reports never get here.
Rule 3: existence is never taken back. What says "not there" (OrderNotSent, OrderUnknown, OrderAbsent) moves only what
        was not proved to exist; what says "there" moves even NOT_PLACED and REJECTED.

A pair missing from the table is a bug or a lie from outside: `next_status` raises, the process ends, its supervisor
starts it again from its rows, and reconciliation asks the venue. The table also draws docs/order_states.md
(`python -m trading.order_states`) and feeds the exhaustive test.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from attrs import frozen

from trading.values import ZERO


class OrderStatus(StrEnum):
    INITIALIZED = "initialized"
    DENIED = "denied"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    NOT_PLACED = "not_placed"

    @property
    def terminal(self) -> bool:
        """Proved to be over: releases the reservation. Late fills may still come and are booked."""
        return self in TERMINAL

    @property
    def resting(self) -> bool:
        """Proved to be at the venue and, as far as we know, working."""
        return self in RESTING


S = OrderStatus
TERMINAL = frozenset({S.DENIED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED, S.NOT_PLACED})
RESTING = frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.PENDING_CANCEL})


@frozen(kw_only=True)
class OrderEvent:
    """Something that happened to an order. at_s: venue seconds; reason: the code of whoever caused it."""

    at_s: float
    reason: str = ""


@frozen(kw_only=True)
class OrderDenied(OrderEvent):
    """Refused by our own rules before anything was saved to be sent."""


@frozen(kw_only=True)
class OrderSubmitted(OrderEvent):
    """Saved *before* the request leaves, so that a crash in between is a question, not a gap."""


@frozen(kw_only=True)
class OrderNotSent(OrderEvent):
    """No byte of it ever left, or will."""


@frozen(kw_only=True)
class OrderUnknown(OrderEvent):
    """Anything may have happened: to be asked, never to be assumed."""


@frozen(kw_only=True)
class OrderAbsent(OrderEvent):
    """Proved absent by protocol section 3 rule 4, or settled by a person's name."""


@frozen(kw_only=True)
class VenueEvent(OrderEvent):
    """Anything the venue said about an order that it has; proves existence. filled_size: cumulative base units."""

    venue_order_id: str | None = None
    filled_size: Decimal = ZERO
    average_price: Decimal = ZERO


@frozen(kw_only=True)
class OrderRejected(VenueEvent):
    """Refused by the venue: its only POST was answered so, or it is listed as failed."""


@frozen(kw_only=True)
class OrderAccepted(VenueEvent):
    """The venue has it."""


@frozen(kw_only=True)
class OrderPartiallyFilled(VenueEvent):
    """Its cumulative filled size rose, and something is left."""


@frozen(kw_only=True)
class OrderFilled(VenueEvent):
    """Nothing is left."""


@frozen(kw_only=True)
class OrderPendingCancel(VenueEvent):
    """A cancel was asked, by us or by another hand; it is repeated until the order is over."""


@frozen(kw_only=True)
class OrderCanceled(VenueEvent):
    """Over, with what was filled."""


@frozen(kw_only=True)
class OrderExpired(VenueEvent):
    """Over by its own end_time, with what was filled."""


EVENT_TYPES: tuple[type[OrderEvent], ...] = (
    OrderDenied,
    OrderSubmitted,
    OrderNotSent,
    OrderUnknown,
    OrderAbsent,
    OrderRejected,
    OrderAccepted,
    OrderPartiallyFilled,
    OrderFilled,
    OrderPendingCancel,
    OrderCanceled,
    OrderExpired,
)

_Cells = Mapping[type[OrderEvent], OrderStatus]
_FILLS: _Cells = {OrderPartiallyFilled: S.PARTIALLY_FILLED, OrderFilled: S.FILLED}
_ENDS: _Cells = {OrderCanceled: S.CANCELED, OrderExpired: S.EXPIRED}
_EXISTS: _Cells = {OrderAccepted: S.ACCEPTED, OrderPendingCancel: S.PENDING_CANCEL, **_FILLS, **_ENDS}

TRANSITIONS: Mapping[OrderStatus, _Cells] = {
    S.INITIALIZED: {OrderDenied: S.DENIED, OrderSubmitted: S.SUBMITTED},
    S.SUBMITTED: {
        OrderNotSent: S.NOT_PLACED,
        OrderRejected: S.REJECTED,
        OrderUnknown: S.UNKNOWN,
        # A person who knows more than we do may settle it while its outcome is still awaited.
        OrderAbsent: S.NOT_PLACED,
        **_EXISTS,
    },
    S.UNKNOWN: {OrderRejected: S.REJECTED, OrderAbsent: S.NOT_PLACED, **_EXISTS},
    # OrderRejected here: the venue took it in (PENDING) and failed it afterwards.
    S.ACCEPTED: {OrderRejected: S.REJECTED, OrderPendingCancel: S.PENDING_CANCEL, **_FILLS, **_ENDS},
    S.PARTIALLY_FILLED: {OrderPendingCancel: S.PENDING_CANCEL, **_FILLS, **_ENDS},
    # A refused cancel leaves it here: the cancel is repeated until the order is over.
    S.PENDING_CANCEL: {
        OrderRejected: S.REJECTED,
        OrderPartiallyFilled: S.PENDING_CANCEL,
        OrderFilled: S.FILLED,
        **_ENDS,
    },
    # Late fills: the venue matched before our cancel arrived and told us in the wrong order.
    S.CANCELED: {OrderPartiallyFilled: S.CANCELED, OrderFilled: S.FILLED},
    S.EXPIRED: {OrderPartiallyFilled: S.EXPIRED, OrderFilled: S.FILLED},
    # "Not there" was believed and the venue shows it after all: booked, cancelled, alerted.
    S.NOT_PLACED: {**_EXISTS},
    S.REJECTED: {**_EXISTS},
    S.FILLED: {},
    S.DENIED: {},
}


class IllegalTransitionError(ValueError):
    """An event that this status does not take."""


def next_status(status: OrderStatus, kind: type[OrderEvent], what: str = "an order") -> OrderStatus:
    """The status after an event of `kind`. Raises IllegalTransitionError with a sentence that names what would be legal."""
    cells = TRANSITIONS[status]
    found = cells.get(kind)
    if found is None:
        allowed = ", ".join(cell.__name__ for cell in cells) or "nothing: the order is over"
        raise IllegalTransitionError(f"{what} is {status.name} and cannot have {kind.__name__}; it allows {allowed}")
    return found


WORDS: Mapping[OrderStatus, tuple[str, str, str]] = {
    # status                 FIX 39 OrdStatus     Coinbase                       the predecessor bot
    S.INITIALIZED: ("-", "-", "NEW"),
    S.DENIED: ("-", "-", "REJECTED"),
    S.SUBMITTED: ("A PendingNew", "-", "missing (NEW)"),
    S.UNKNOWN: ("-", "-", "missing (FAILED)"),
    S.ACCEPTED: ("0 New", "PENDING, QUEUED, OPEN", "OPEN"),
    S.PARTIALLY_FILLED: ("1 PartiallyFilled", "OPEN with filled_size", "PARTIAL_FILL"),
    S.PENDING_CANCEL: ("6 PendingCancel", "CANCEL_QUEUED, pending_cancel", "missing (OPEN)"),
    S.FILLED: ("2 Filled", "FILLED", "FILLED"),
    S.CANCELED: ("4 Canceled", "CANCELLED", "CANCELED"),
    S.EXPIRED: ("C Expired", "EXPIRED", "EXPIRED"),
    S.REJECTED: ("8 Rejected", "FAILED, success: false", "REJECTED"),
    S.NOT_PLACED: ("-", "-", "FAILED"),
}
"""status -> (FIX 39, Coinbase, predecessor)."""

TIMERS: Mapping[OrderStatus, str] = {
    S.INITIALIZED: "lives inside one handle; a waiting exit at most 1 s, then it is saved or denied",
    S.SUBMITTED: "PlaceOrder (after a restart: Withdraw) each second until an Outcome",
    S.UNKNOWN: "ask at 0.3, 1, 3, 10 s, then each 10 s; a person is told at 30 s",
    S.ACCEPTED: "cancel at time to live; an IOC asked as UNKNOWN is; anything resting asked at end_time + 5 s",
    S.PARTIALLY_FILLED: "as ACCEPTED; fills asked until booked = seen",
    S.PENDING_CANCEL: "cancel and ask again after 1, 2, 4 ... 10 s; a person is told at 30 s",
}
"""Every status that is not terminal has a timer, and this is what it does."""


def mermaid() -> str:
    """The table as a Mermaid state diagram, one arrow per (from, to) with its events."""
    lines = ["stateDiagram-v2", "    [*] --> INITIALIZED"]
    for status, cells in TRANSITIONS.items():
        arrows: dict[OrderStatus, list[str]] = {}
        for kind, after in cells.items():
            arrows.setdefault(after, []).append(kind.__name__.removeprefix("Order"))
        lines += [f"    {status.name} --> {after.name}: {', '.join(kinds)}" for after, kinds in arrows.items()]
    lines += [f"    {status.name} --> [*]" for status in OrderStatus if status.terminal]
    return "\n".join(lines)


def document() -> str:
    """docs/order_states.md, whole: diagram, words and timers, all from the tables of this module."""
    rows = [
        f"| {status.name} | {fix} | {coinbase} | {before} | {TIMERS.get(status, 'none: over')} |"
        for status, (fix, coinbase, before) in WORDS.items()
    ]
    return "\n".join(
        [
            "# The life of an order",
            "",
            "Drawn from the table in `trading/order_states.py` by `python -m trading.order_states`; a test holds them equal.",
            "",
            "```mermaid",
            mermaid(),
            "```",
            "",
            "| status | FIX 39 | Coinbase | predecessor | timer |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    print(document(), end="")
