"""The venue of the fault simulation: the pure matching engine, reached over a network that loses, holds and lies.

One `Wire` stands for everything between a gateway's worker and the matching engine. Each request has a `Fate`, given
by the schedule or ordinary by default:

    no_connection      nothing leaves: NotSent
    refuse_before      429 or 5xx before any effect             error_after      5xx after the effect
    hold_s             arrives so much later (to 180 s), whether or not the sender still lives
    lose_reply         the answer never comes                   late_reply_s     it comes after the deadline
    partial            a page is missing: the listing is no answer

`end_time` and the JWT's `exp` (120 s after sending) are enforced on arrival, as the protocol counts on. Listing lag,
dedupe, retention, PENDING and settle time are the engine's `Settings`. The three listings of one ask are taken at three
moments. Times are venue seconds inside the engine; holds, deadlines and the JWT are real seconds (the stage's boot clock).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from attrs import evolve, field, frozen

from exchange.coinbase.wire import order_request
from exchange.simulator.accounts import FeeTier
from exchange.simulator.execution import Filled, OrderChanged, Settings
from exchange.simulator.fills import Fill
from exchange.simulator.matching import Venue
from exchange.simulator.orders import Order, average_price
from exchange.simulator.products import Product as SimProduct
from exchange.simulator.words import BadRequestError
from simulation.stage import VirtualStage
from trading.messages.orders import (
    Balance,
    BestBidAsk,
    Fees,
    OrderOutcome,
    OrderStyle,
    OutcomeKind,
    PageItem,
    PlaceOrder,
    Query,
    QueryKind,
    VenueFill,
    VenueOrder,
    VenueStatus,
)
from trading.values import Side, is_ours

JWT_S = 120.0
_STATUS = {
    "PENDING": VenueStatus.PENDING,
    "CANCEL_QUEUED": VenueStatus.PENDING_CANCEL,
    "OPEN": VenueStatus.OPEN,
    "FILLED": VenueStatus.FILLED,
    "CANCELLED": VenueStatus.CANCELED,
    "EXPIRED": VenueStatus.EXPIRED,
    "FAILED": VenueStatus.REJECTED,
}
OPEN_ONLY = ("OPEN",)
PENDING_ONLY = ("PENDING",)


@frozen(kw_only=True)
class Fate:
    """What happens to one request. Zeros and False: it is answered after `there_s + back_s`."""

    no_connection: bool = False
    refuse_before: int = 0  # HTTP status
    error_after: bool = False
    hold_s: float = 0.0
    lose_reply: bool = False
    late_reply_s: float = 0.0
    partial: bool = False

    def __str__(self) -> str:
        names = [f"{k}={v}" for k, v in self._shown()]
        return ", ".join(names) or "ordinary"

    def _shown(self) -> Iterable[tuple[str, object]]:
        for name in (
            "no_connection",
            "refuse_before",
            "error_after",
            "hold_s",
            "lose_reply",
            "late_reply_s",
            "partial",
        ):
            value = getattr(self, name)
            if value:
                yield name, value


ORDINARY = Fate()


@frozen(kw_only=True)
class WireSettings:
    """there_s, back_s: half a round trip each way, real seconds; between_listings_s: pause between pages of one ask."""

    think_s: float = 0.0005
    there_s: float = 0.02
    back_s: float = 0.02
    between_listings_s: float = 0.01
    engine: Settings = field(factory=Settings)


@frozen(kw_only=True)
class Request:
    """One line of the venue's request log, written when the bytes leave the host. by: role of the sender."""

    at_boot_s: float
    by: str
    incarnation: tuple[int, int]
    what: str  # post, cancel, query, sweep
    fate: Fate
    order: PlaceOrder | None = None
    venue_order_ids: tuple[str, ...] = ()


class FuzzVenue:
    """The engine with the oracle's views: `orders`, `ours`, `fills`; and what the world hears of it."""

    def __init__(
        self, stage: VirtualStage, products: Iterable[SimProduct], usd: Decimal, tag: str, settings: WireSettings
    ) -> None:
        self.stage = stage
        self.tag = tag
        self.settings = settings
        tier = FeeTier(name="fuzz", from_usd=Decimal(0), maker=Decimal("0.004"), taker=Decimal("0.006"))
        self.engine = Venue(products, {"USD": usd}, (tier,), settings=settings.engine, now_s=stage.now.venue_s)
        self.requests: list[Request] = []
        self.left: list[Callable[[Request], None]] = []
        self.arrived: list[Callable[[Order, PlaceOrder], None]] = []
        self.changed: list[Callable[[OrderChanged], None]] = []
        self.filled: list[Callable[[Filled], None]] = []
        self.answered: list[Callable[[QueryKind], None]] = []
        self.in_flight: dict[str, float] = {}  # client order id -> when its request will arrive, boot clock
        self.taken: dict[str, Decimal] = {}  # base units of a product that another hand sold or withdrew
        self.will_place: dict[float, None] = {}  # arrivals whose request will be processed
        self.answers = True  # False: a black hole
        self.last_failure_boot_s = 0.0  # when a question was last not answered
        self.listed_at_boot_s: dict[str, float] = {}

    # -- oracle -------------------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return self.stage.now.venue_s

    def orders(self) -> Iterable[Order]:
        return self.engine.orders.values()

    def ours_open(self) -> list[Order]:
        return [o for o in self.engine.open_orders.values() if is_ours(o.client_order_id, self.tag)]

    def by_client_id(self, client_order_id: str) -> list[Order]:
        return [o for o in self.engine.orders.values() if o.client_order_id == client_order_id]

    def held_by_fills(self, product_id: str, counts: Callable[[str], bool] | None = None) -> Decimal:
        """Base units bought minus sold by orders of ours (those that `counts` takes), minus what other hands took."""
        total = -self.taken.get(product_id, Decimal(0))
        for fill in self.engine.fill_list:
            if fill.product_id != product_id:
                continue
            coid = self.engine.orders[fill.order_id].client_order_id
            if is_ours(coid, self.tag) and (counts is None or counts(coid)):
                total += fill.size if fill.side == "BUY" else -fill.size
        return total

    # -- time and market ----------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let what is due happen and tell it."""
        self.engine.advance(self.now_s)
        self.drain()

    def drain(self) -> None:
        for event in self.engine.events():
            for hear in self.filled if isinstance(event, Filled) else self.changed:
                hear(event)  # type: ignore[arg-type]
        if self.engine._due:
            due = self.engine._due[0][0]
            at = self.stage.now.boot_at(due)
            self.stage.at(at, self.settle) if at > self.stage.boot_s else None

    def quote(self, product_id: str, bid: Decimal, ask: Decimal, size: Decimal = Decimal(1000)) -> None:
        self.engine.market_quote(product_id, bid, ask, size, size, self.now_s)
        self.drain()

    def trade(self, product_id: str, price: Decimal, size: Decimal, side: str) -> None:
        self.engine.market_trade(product_id, price, size, side, self.now_s)
        self.drain()

    # -- requests that arrive -----------------------------------------------------------------------------------

    def place(self, order: PlaceOrder, minted_boot_s: float) -> OrderOutcome:
        """The request arrives now. What the answer would say, if it comes."""

        def outcome(kind: OutcomeKind, reason: str = "", venue_order_id: str | None = None) -> OrderOutcome:
            return OrderOutcome(
                client_order_id=order.client_order_id, kind=kind, gateway_incarnation=order.gateway_incarnation,
                venue_order_id=venue_order_id, reason=reason, sent_boot_s=minted_boot_s,
            )  # fmt: skip

        if self.stage.boot_s > minted_boot_s + JWT_S:
            return outcome(OutcomeKind.REJECTED, "http_401")
        known = len(self.engine.orders)
        body = order.body
        if body.style is OrderStyle.LIMIT_GTD and body.end_time_s is None:  # without the protection gtd only
            body = evolve(body, style=OrderStyle.LIMIT_GTC)
        try:
            answer = self.engine.create_order(order_request(order.client_order_id, body), self.now_s)
        except BadRequestError:
            return outcome(OutcomeKind.REJECTED, "http_400")
        self.drain()
        if answer["success"]:
            venue_order_id = answer["success_response"]["order_id"]
            if len(self.engine.orders) > known:
                for hear in self.arrived:
                    hear(self.engine.orders[venue_order_id], order)
            return outcome(OutcomeKind.ACCEPTED, venue_order_id=venue_order_id)
        reason = answer["error_response"]["error"]
        kind = OutcomeKind.UNKNOWN if "DUPLICATE" in reason else OutcomeKind.REJECTED
        return outcome(kind, reason)

    def cancel(self, venue_order_ids: tuple[str, ...]) -> tuple[tuple[str, bool, str], ...]:
        answer = self.engine.cancel(venue_order_ids, self.now_s)
        self.drain()
        return tuple(
            (row["order_id"], bool(row["success"]), "" if row["success"] else row["failure_reason"])
            for row in answer["results"]
        )

    # -- questions ----------------------------------------------------------------------------------------------

    def listed(
        self, statuses: tuple[str, ...] | None, product_id: str | None, since_s: float | None
    ) -> list[VenueOrder]:
        """One listing as Coinbase gives it: PENDING is hidden from OPEN; None: everything that is neither."""
        self.engine.advance(self.now_s)
        self.drain()
        now_s, lag = self.now_s, self.engine.settings.listing_lag_s
        found = []
        for order in self.engine.orders.values():
            if now_s < order.created_s + lag or (product_id is not None and order.product.product_id != product_id):
                continue
            if statuses is not None:
                if order.status not in statuses:
                    continue
            elif order.status in ("OPEN", "PENDING") or (since_s is not None and order.created_s < since_s):
                continue
            self.listed_at_boot_s.setdefault(order.order_id, self.stage.boot_s)
            found.append(words_of(order))
        return found

    def page(self, query: Query) -> tuple[PageItem, ...]:
        """Everything but ORDERS, at one moment."""
        self.engine.advance(self.now_s)
        self.drain()
        match query.kind:
            case QueryKind.ORDER:
                wanted = (self.engine.orders.get(venue_order_id) for venue_order_id in query.venue_order_ids)
                return tuple(words_of(order) for order in wanted if order is not None)
            case QueryKind.FILLS:
                ids = frozenset(query.venue_order_ids)
                return tuple(
                    fill_of(fill)
                    for fill in self.engine.fill_list
                    if fill.listed_s <= self.now_s
                    and (not ids or fill.order_id in ids)
                    and (query.since_s is None or fill.at_s >= query.since_s)
                )
            case QueryKind.BALANCES:
                wallets = self.engine.wallets.by_currency
                return tuple(Balance(currency=c, available=w.available, hold=w.hold) for c, w in wallets.items())
            case QueryKind.BEST_BID_ASK:
                books = ((p, self.engine.book(p)) for p in query.product_ids)
                return tuple(
                    BestBidAsk(product_id=p, bid=b.bid, ask=b.ask, exchange_s=self.now_s)
                    for p, b in books
                    if b.bid is not None and b.ask is not None
                )
            case QueryKind.FEES:
                return (Fees(maker_rate=Decimal("0.004"), taker_rate=Decimal("0.006"), tier="fuzz"),)
            case QueryKind.CLOCK:
                return (self.now_s,)
            case _:
                return ()


def words_of(order: Order) -> VenueOrder:
    """As `wire_pages.order_of` reads the engine's JSON (a test holds the two together)."""
    status = _STATUS[order.status]
    if order.pending_cancel and status is VenueStatus.OPEN:
        status = VenueStatus.PENDING_CANCEL
    return VenueOrder(
        venue_order_id=order.order_id,
        client_order_id=order.client_order_id,
        product_id=order.product.product_id,
        side=Side(order.side),
        status=status.value,
        base_size=order.base_size,
        limit_price=order.limit_price,
        filled_size=order.filled_size,
        average_price=Decimal(average_price(order)),
        filled_value_usd=order.filled_value,
        fees_usd=order.fees,
        created_s=order.created_s,
        end_time_s=order.end_time_s,
        post_only=order.post_only,
        pending_cancel=order.pending_cancel,
        reject_reason="" if order.reject_reason == "REJECT_REASON_UNSPECIFIED" else order.reject_reason,
    )


def fill_of(fill: Fill) -> VenueFill:
    return VenueFill(
        entry_id=fill.entry_id,
        trade_id=fill.trade_id,
        venue_order_id=fill.order_id,
        product_id=fill.product_id,
        side=Side(fill.side),
        price=fill.price,
        base_size=fill.size,
        fee_usd=fill.commission,
        liquidity=fill.liquidity,
        trade_time_s=fill.at_s,
    )
