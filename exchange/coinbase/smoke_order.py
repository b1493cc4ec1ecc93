"""One real round trip at the smallest size, and the questions about Coinbase that only an order can answer.

    buy (limit IOC, a little through the ask) → accepted → filled on the user feed → fill in REST → balance; then sell it back

From the slowest step follows the `post_trade_reconcile_wait_s` that this account needs. The questions are those that
docs mark unverified: is a token's `exp` enforced on arrival; what is the shortest `end_time` and is it kept to the
second; may one key cancel another key's order; what does a repeated client_order_id get; how late does a listing show.

It costs two fees and a spread, a few cents at the smallest size. At Coinbase itself it asks first (`confirm`), with the
sentence that must be typed back. Whatever happens, every order that it made is cancelled and looked at before it returns,
and what could not be cleared is told in `left`. Ids carry the account's prefix, so guardian and panic know them as ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

from attrs import define, field

from exchange.coinbase import wire_pages
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.smoke_questions import Answer, end_times, expired_token, other_key, repeated_id
from exchange.coinbase.smoke_trader import STEP_S_MAX, StopError, Trader, smallest, touch_of, until
from exchange.coinbase.transport import boot_s
from exchange.coinbase.user_socket import UserSocket
from trading.messages.orders import OrderBody, OrderStyle, OutcomeKind, VenueFill, VenueOrder, VenueStatus
from trading.product import Product
from trading.values import Side, account_tag, ceil_to_increment, floor_to_increment

THROUGH_BPS = 50
"""How far through the touch the IOC limits stand: surely marketable, and a bound on what a bad book could cost."""
WAIT_FACTOR = 1.5


@define(kw_only=True)
class RoundTrip:
    """Seconds (real) since each order was sent; None for what did not come. cost_usd: what the round trip cost, with fees."""

    product_id: str
    steps_s: dict[str, float | None] = field(factory=dict)
    cost_usd: Decimal | None = None
    post_trade_reconcile_wait_s: float | None = None
    answers: list[Answer] = field(factory=list)
    left: list[str] = field(factory=list)
    error: str = ""

    @property
    def ok(self) -> bool:
        return not self.error and not self.left


def smoke_order(
    endpoints: Endpoints,
    key: ApiKey,
    product: Product,
    *,
    second_key: ApiKey | None = None,
    venue_clock: Callable[[], float] = time.time,
    confirm: Callable[[str], bool] = lambda _sentence: False,
    told: Callable[[str], None] = lambda _line: None,
) -> RoundTrip:
    """The round trip and the questions, about 20 s. confirm gets the sentence to be typed; it is only asked at Coinbase
    itself, and without a yes nothing is sent. Nothing raises: `error` and `left` tell.
    """
    trip = RoundTrip(product_id=product.product_id)
    if endpoints.is_coinbase and not confirm(f"I pay for one real round trip in {product.product_id}"):
        trip.error = "not confirmed: nothing was sent"
        return trip
    trader = Trader(endpoints, key, venue_clock)
    feed = UserSocket(endpoints, key, trader.hear, venue_clock=venue_clock)
    feed.start()
    try:
        trader.tag = account_tag(trader.get("/key_permissions", wire_pages.account).portfolio_uuid)
        if not until(lambda: feed.session is not None and "user" in feed.session.acknowledged, 10.0):
            told("the user feed is not acknowledged; its steps will be missing")
        _round_trip(trader, product, trip, told)
        for question in (expired_token, end_times, repeated_id, other_key):
            for answer in question(trader, product, second_key):
                trip.answers.append(answer)
                told(f"{answer.question}: {answer.text}")
    except StopError as stop:
        trip.error = str(stop)
    finally:
        trip.left = trader.clear()
        feed.stop()
        trader.close()
    return trip


def _round_trip(trader: Trader, product: Product, trip: RoundTrip, told: Callable[[str], None]) -> None:
    base, quote = product.base_currency, product.quote_currency
    money_before, coins_before = trader.balance(quote), trader.balance(base)
    touch = touch_of(trader, product)
    limit = ceil_to_increment(touch.ask * (1 + Decimal(THROUGH_BPS) / 10_000), product.price_increment)
    bought = _one_way(trader, product, trip, "buy", Side.BUY, smallest(product, touch.ask), limit, coins_before, told)
    got = bought.filled_size
    sellable = floor_to_increment(min(got, trader.balance(base)), product.base_increment)
    if sellable < product.base_size_min:
        raise StopError(f"bought {got} {base}, which is too little to sell back")
    touch = touch_of(trader, product)
    limit = floor_to_increment(touch.bid * (1 - Decimal(THROUGH_BPS) / 10_000), product.price_increment)
    _one_way(trader, product, trip, "sell", Side.SELL, sellable, limit, coins_before + sellable, told)
    trip.cost_usd = money_before - trader.balance(quote)
    settled = [value for name, value in trip.steps_s.items() if value is not None and not name.endswith("accepted")]
    trip.post_trade_reconcile_wait_s = round(max(settled) * WAIT_FACTOR, 1) if settled else None


def _one_way(
    trader: Trader,
    product: Product,
    trip: RoundTrip,
    name: str,
    side: Side,
    size: Decimal,
    limit: Decimal,
    coins_before: Decimal,
    told: Callable[[str], None],
) -> VenueOrder:
    """One IOC order, timed through all its stations."""
    body = OrderBody(
        product_id=product.product_id, side=side, style=OrderStyle.LIMIT_IOC, base_size=size, limit_price=limit
    )
    begin = boot_s()

    def step(label: str, at_boot_s: float | None) -> None:
        trip.steps_s[f"{name}: {label}"] = None if at_boot_s is None else round(at_boot_s - begin, 3)
        told(f"{name}: {label} " + ("did not come" if at_boot_s is None else f"after {at_boot_s - begin:.3f} s"))

    verdict, reply, _ = trader.place(body)
    if verdict.kind is not OutcomeKind.ACCEPTED or verdict.venue_order_id is None:
        raise StopError(f"the {name} was not accepted: {verdict.kind.value} {verdict.reason} {verdict.detail}".strip())
    order_id = verdict.venue_order_id
    step("accepted", reply.answered_boot_s)

    def on_feed() -> float | None:
        return next(
            (at for at, u in trader.updates if u.venue_order_id == order_id and u.status == VenueStatus.FILLED), None
        )

    def booked() -> Decimal:
        page = trader.get("/orders/historical/fills", wire_pages.fill_page, {"order_ids": [order_id]})
        return sum((fill.base_size for fill in page.items if isinstance(fill, VenueFill)), Decimal(0))

    def in_fills() -> float | None:
        order = trader.order(order_id)
        ended = order is not None and VenueStatus(order.status).terminal
        return boot_s() if order is not None and ended and booked() == order.filled_size else None

    def in_balance() -> float | None:
        held = trader.balance(product.base_currency)
        return boot_s() if (held > coins_before if side is Side.BUY else held < coins_before) else None

    step("fill in REST", until(in_fills, STEP_S_MAX, 0.1))
    step("balance", until(in_balance, STEP_S_MAX, 0.1))
    step("fill on the feed", until(on_feed, 5.0))
    order = trader.order(order_id)
    if order is None or not order.filled_size:
        raise StopError(f"the {name} was accepted and not filled: {order.status if order else 'it is not listed'}")
    moved = abs(trader.balance(product.base_currency) - coins_before)
    agrees = booked() == order.filled_size == moved
    text = "yes" if agrees else f"no: fills {booked()}, order {order.filled_size}, balance {moved}"
    trip.answers.append(Answer(question=f"{name}: do fills, order and balance tell one position", text=text))
    return order
