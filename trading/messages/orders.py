"""Between oms, gateway and user feed: the life of an order on its way to the venue and back (protocol sections 2 to 4)."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from trading.light import light
from trading.machine import Incarnation
from trading.values import Purpose, Side


class OrderStyle(StrEnum):
    """The venue's configurations; `wire.py` alone knows Coinbase's names for them. The bot itself uses the first two:
    the gateway refuses what may rest without an end_time, and people's tools use the others.
    """

    LIMIT_GTD = "limit_gtd"
    LIMIT_IOC = "limit_ioc"
    LIMIT_FOK = "limit_fok"
    LIMIT_GTC = "limit_gtc"
    MARKET_IOC = "market_ioc"


@light(kw_only=True)
class OrderBody:
    """What will be posted, complete: it carries its own death (`end_time_s`, venue seconds, whole) unless it is an IOC."""

    product_id: str
    side: Side
    style: OrderStyle
    base_size: Decimal
    limit_price: Decimal
    post_only: bool = False
    end_time_s: int | None = None


@light(kw_only=True)
class Hello:
    """oms -> gateway: who asks; nothing is admitted before the answer."""

    oms_incarnation: Incarnation


@light(kw_only=True)
class HelloAck:
    """gateway -> oms: the incarnation that new intents are bound to."""

    oms_incarnation: Incarnation
    gateway_incarnation: Incarnation


@light(kw_only=True)
class Withdraw:
    """oms -> gateway: (client_order_id, gateway incarnation it was bound to) of each SUBMITTED intent; never posted afterwards."""

    oms_incarnation: Incarnation
    orders: tuple[tuple[str, Incarnation], ...]


@light(kw_only=True)
class PlaceOrder:
    """oms -> gateway, a command repeated each second until an Outcome arrives; posted at most once, ever."""

    client_order_id: str
    purpose: Purpose
    body: OrderBody
    gateway_incarnation: Incarnation
    approval_id: str
    send_by_boot_s: float
    quote_received_boot_s: float | None = None


class OutcomeKind(StrEnum):
    NOT_SENT = "not_sent"  # no byte of this id ever left or will
    REJECTED = "rejected"  # the venue refused its only POST
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"  # anything may have happened
    NOT_MINE = "not_mine"  # bound to another gateway incarnation
    IN_FLIGHT = "in_flight"  # answer to Withdraw only: a POST is under way, its Outcome follows


@light(kw_only=True)
class OrderOutcome:
    """gateway -> oms. reason: the venue's or the gateway's code ("late", "fenced:kill", "INSUFFICIENT_FUND", ...)."""

    client_order_id: str
    kind: OutcomeKind
    gateway_incarnation: Incarnation
    venue_order_id: str | None = None
    reason: str = ""
    detail: str = ""
    sent_boot_s: float | None = None
    answered_boot_s: float | None = None


@light(kw_only=True)
class CancelOrders:
    """oms -> gateway: repeated until each is terminal; purpose-free, never fenced, budget with a reserve."""

    cancel_id: str
    venue_order_ids: tuple[str, ...]


@light(kw_only=True)
class CancelsAnswered:
    """gateway -> oms. results: (venue_order_id, accepted, reason). Accepted is not canceled. complete False: nothing is known."""

    cancel_id: str
    results: tuple[tuple[str, bool, str], ...]
    complete: bool


class QueryKind(StrEnum):
    ORDERS = (
        "orders"  # three listings of `product_id` (None: all): open; pending and queued; all others since `since_s`
    )
    ORDER = "order"  # one order by venue_order_id
    FILLS = "fills"  # by venue_order_ids, or all since `since_s`
    BALANCES = "balances"  # every account page
    BEST_BID_ASK = "best_bid_ask"  # product_ids
    PRODUCTS = "products"  # metadata of product_ids (() for all)
    FEES = "fees"
    ACCOUNT = "account"  # key permissions and portfolio
    CLOCK = "clock"  # server time
    CANDLES = "candles"  # product_id, bar_s, since_s .. until_s


@light(kw_only=True)
class Query:
    """To the gateway, from oms, catalog, exits. `reply_to`: the role that gets the Page."""

    query_id: str
    reply_to: str
    kind: QueryKind
    product_id: str | None = None
    product_ids: tuple[str, ...] = ()
    venue_order_ids: tuple[str, ...] = ()
    since_s: float | None = None
    until_s: float | None = None
    bar_s: int | None = None


@light(kw_only=True)
class VenueOrder:
    """One order as the venue lists it, in FIX words; `status` is a `VenueStatus` value."""

    venue_order_id: str
    client_order_id: str
    product_id: str
    side: Side
    status: str
    base_size: Decimal | None
    limit_price: Decimal | None
    filled_size: Decimal
    average_price: Decimal
    filled_value_usd: Decimal
    fees_usd: Decimal
    created_s: float | None
    end_time_s: float | None = None
    post_only: bool = False
    pending_cancel: bool = False
    reject_reason: str = ""


class VenueStatus(StrEnum):
    """The venue's order states in our words: rank rises along a life, so that an older snapshot never undoes a newer."""

    PENDING = "pending"  # PENDING, QUEUED
    OPEN = "open"
    PENDING_CANCEL = "pending_cancel"  # CANCEL_QUEUED
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"  # FAILED
    UNKNOWN = "unknown"  # a word we do not know: existence, nothing more

    @property
    def rank(self) -> int:
        return _RANK[self]

    @property
    def terminal(self) -> bool:
        return _RANK[self] == 9


_RANK = {
    VenueStatus.UNKNOWN: 0,
    VenueStatus.PENDING: 1,
    VenueStatus.OPEN: 2,
    VenueStatus.PENDING_CANCEL: 3,
    VenueStatus.FILLED: 9,
    VenueStatus.CANCELED: 9,
    VenueStatus.EXPIRED: 9,
    VenueStatus.REJECTED: 9,
}


@light(kw_only=True)
class VenueFill:
    """One booked trade of ours, base sizes always (size_in_quote is solved in wire.py). kind: FILL, REVERSAL, CORRECTION, SYNTHETIC."""

    entry_id: str
    trade_id: str
    venue_order_id: str
    product_id: str
    side: Side
    price: Decimal
    base_size: Decimal
    fee_usd: Decimal
    liquidity: str
    trade_time_s: float
    kind: str = "FILL"


@light(kw_only=True)
class OddFill:
    """A fill that cannot be read, of an order that can be named: it is others' business, or one order's, not all orders'."""

    venue_order_id: str
    why: str


@light(kw_only=True)
class Balance:
    """One currency: available excludes hold."""

    currency: str
    available: Decimal
    hold: Decimal


@light(kw_only=True)
class BestBidAsk:
    product_id: str
    bid: Decimal
    ask: Decimal
    exchange_s: float


@light(kw_only=True)
class Fees:
    maker_rate: Decimal
    taker_rate: Decimal
    tier: str


@light(kw_only=True)
class Account:
    portfolio_uuid: str
    can_view: bool
    can_trade: bool
    can_transfer: bool


@light(kw_only=True)
class Candle:
    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float


PageItem = VenueOrder | VenueFill | OddFill | Balance | BestBidAsk | Fees | Account | Candle | float | object


@light(kw_only=True)
class Page:
    """gateway -> whoever asked. complete False means no answer at all: a partial listing proves nothing.

    items: VenueOrder, VenueFill, OddFill, Balance, BestBidAsk, Product, Fees, Account, Candle, or the server time (float, seconds UTC).
    """

    query_id: str
    kind: QueryKind
    complete: bool
    items: tuple[PageItem, ...] = ()
    error: str = ""
    asked_boot_s: float = 0.0
    answered_boot_s: float = 0.0


@light(kw_only=True)
class OrderUpdate:
    """user_feed -> oms, a cumulative snapshot of one order (no trade ids: fills are read by REST)."""

    venue_order_id: str
    client_order_id: str
    product_id: str
    side: Side
    status: str
    cumulative_size: Decimal
    average_price: Decimal
    fees_usd: Decimal
    exchange_s: float
    received_boot_s: float
    epoch: int = 0


@light(kw_only=True)
class FeedReset:
    """user_feed -> oms: a new connection (or the loss of one): what happened in between must be asked."""

    epoch: int
    connected: bool


@light(kw_only=True)
class Call:
    """A machine -> its own shell (`io`): one request to be carried out on a worker of `lane` (cancel, order, query).

    The gateway's requests are PlaceOrder, CancelOrders and Query; their outcomes OrderOutcome, CancelsAnswered and Page.
    """

    call_id: str
    lane: str
    request: object
    deadline_boot_s: float


@light(kw_only=True)
class Called:
    """The shell -> its machine: what came back. A Call without an answer past its deadline comes back Unknown, always.

    requests: HTTP requests made (pages and retries too); errors: how many of them failed (no answer, 5xx, unreadable);
    throttled: how many were answered 429. latency_s: of the last request that was answered. limit_remaining and
    limit_reset_s: the venue's x-ratelimit headers, when it sent them.
    """

    call_id: str
    outcome: object
    requests: int = 1
    throttled: int = 0
    retry_after_s: float | None = None
    errors: int = 0
    latency_s: float | None = None
    limit_remaining: int | None = None
    limit_reset_s: float | None = None


@light(kw_only=True)
class HourlyCount:
    """The gateway -> its shell, to be kept in a file: requests of the running hour (hour: boot seconds // 3600)."""

    hour: int
    requests: int


@light(kw_only=True)
class RestartWanted:
    """The gateway -> its shell: a worker is stuck (not back 5 s after its deadline). The shell says so and exits with 70."""

    reason: str
