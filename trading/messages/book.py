"""The book as its only writer (oms) tells it: one snapshot, idempotent, the latest wins."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from trading.light import light
from trading.messages.decisions import BookVersion
from trading.values import Purpose, Side


class Recovery(StrEnum):
    RECOVERING = "recovering"  # nothing is known yet: HALTED
    ORDERS_KNOWN = "orders_known"  # orders and fills agree with the venue: exits work
    RECONCILED = "reconciled"  # balances too


@light(kw_only=True)
class BookOrder:
    """One intent that is not proved terminal (or ended within the last minute, `ended` set, so that re-quotes see why).

    worst_usd: notional at max(limit, mark when admitted) of what is not yet seen filled, with taker fee; entries only.
    """

    intent_id: str
    client_order_id: str
    proposal_id: str
    plan_id: str
    product_id: str
    side: Side
    purpose: Purpose
    strategy: str
    status: str
    base_size: Decimal
    limit_price: Decimal
    filled_size: Decimal
    worst_usd: Decimal
    saved_s: float
    position_id: str | None = None
    venue_order_id: str | None = None
    unknown_since_boot_s: float | None = None
    ended: str | None = None
    ended_by_ttl: bool = False
    requote: int = 0
    plan_expires_boot_s: float | None = None
    post_only: bool = False
    cancel_after_s: float | None = None


@light(kw_only=True)
class BookPosition:
    """One position that the bot opened or a person adopted. Sizes in base units; prices in quote units.

    seen_size >= booked_size while fills are seen but not booked. exit_n: number of exit intents so far (ids survive
    restarts). exits_open_size: leaves of open and unknown exits. leaving: why it is being left until it is flat.
    crash_tightened: its stop was brought nearer for the crash that is on.
    """

    position_id: str
    product_id: str
    strategy: str
    seen_size: Decimal
    booked_size: Decimal
    average_price: Decimal
    cost_usd: Decimal
    fees_usd: Decimal
    opened_s: float
    stop_price: Decimal
    target_price: Decimal
    trailing_pct: Decimal | None
    peak_price: Decimal
    hold_until_s: float
    exit_n: int
    exits_open_size: Decimal
    unknown_exits: int = 0
    adopted_by: str | None = None
    last_exit_ended: str | None = None
    dust: bool = False
    leaving: str = ""
    crash_tightened: bool = False


@light(kw_only=True)
class Cooldown:
    """(until, reason) of one product. kind: fill, win, loss, stop, failed, ban."""

    product_id: str
    kind: str
    until_s: float
    reason: str
    by: str = ""


@light(kw_only=True)
class Counters:
    """What risk counts with, all from booked fills and admitted intents, venue time.

    entry_times_s: admissions (re-quotes exempt) of the last 24 h, (venue seconds, product). realised: (venue seconds,
    net PnL in USD) of each closing fill of the last 8 days. loss_streak: losing closes in a row; its last time.
    """

    entry_times_s: tuple[tuple[float, str], ...] = ()
    realised: tuple[tuple[float, Decimal], ...] = ()
    loss_streak: int = 0
    last_loss_s: float | None = None
    rejects_s: tuple[float, ...] = ()


@light(kw_only=True)
class Foreign:
    """Holdings of others: balance - what we booked, derived again at every reconcile. Never touched."""

    currency: str
    size: Decimal


@light(kw_only=True)
class BookSnapshot:
    """oms -> risk (full, 2 s lease), exits, console; symbols get the slice of their product.

    unbooked: (client_order_id, age s) of fills seen but not booked. admitted_recently: proposal ids of the last 60 s.
    balances_complete_boot_s: when the last complete balance pass was answered. flows_usd: deposits - withdrawals so far, of
    coins as well; adopted_usd: what persons gave to the bot of coins that were in the account.
    Both since the book was begun; begun_by names it, for a new one counts from zero.
    quote_unconfirmed_usd: <= 0, in quote_total_usd already: what one pass misses and no second one has judged yet.
    """

    version: BookVersion
    recovery: Recovery
    writable: bool
    draining: bool
    orders: tuple[BookOrder, ...]
    positions: tuple[BookPosition, ...]
    cooldowns: tuple[Cooldown, ...]
    counters: Counters
    quote_available_usd: Decimal
    quote_total_usd: Decimal
    foreign: tuple[Foreign, ...]
    unbooked: tuple[tuple[str, float], ...]
    admitted_recently: tuple[str, ...]
    flows_usd: Decimal
    realised_today_usd: Decimal
    realised_week_usd: Decimal
    balances_complete_boot_s: float | None
    unknown_products: tuple[str, ...]
    drift_usd: Decimal
    drift_count: int
    taken_boot_s: float
    cooldowns_complete: bool = True
    quote_unconfirmed_usd: Decimal = Decimal(0)
    adopted_usd: Decimal = Decimal(0)
    begun_by: str = ""
    product_id: str | None = None
