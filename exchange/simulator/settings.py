"""How the venue behaves where Coinbase's behaviour varies, and the events that the engine tells."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from attrs import define

from exchange.simulator.fills import Fill


@define(kw_only=True)
class Settings:
    """How the venue behaves where Coinbase's behaviour varies; a fault plan may change each while it runs."""

    pending_s: float = 0.0
    """How long an accepted order is PENDING before it meets the book."""
    cancel_s: float = 0.0
    """How long an accepted cancel stays CANCEL_QUEUED; a fill may win in between."""
    settle_s: float = 0.5
    """How much later than its trade a fill is listed."""
    listing_lag_s: float = 0.0
    """How much later than its acceptance an order is listed."""
    duplicate_answer: str = "existing"
    """A known client_order_id is answered with the "existing" order, or with "reject" (DUPLICATE_CLIENT_ORDER_ID)."""
    dedupe_before_validation: bool = True
    client_id_retention_s: float | None = None
    """How long a client_order_id is remembered; None for ever, 0 not at all."""
    forget_refusals: bool = True
    """A refused id may be used again; else the refusal is repeated."""
    match_size_max: Decimal | None = None
    """No single match is larger than this (partial fills on demand)."""
    open_orders_max: int | None = None
    fail_reason: str = ""
    """Accepted orders end FAILED with this reject_reason instead of meeting the book."""


@define(frozen=True)
class OrderChanged:
    order: dict[str, Any]
    """The order as the user channel tells it, at this moment."""
    at_s: float


@define(frozen=True)
class Filled:
    fill: Fill
    maker_side: str
    at_s: float


Event = OrderChanged | Filled
