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

import secrets
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import jwt
import requests
from attrs import define, field, frozen

from exchange.coinbase import wire, wire_pages
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.feed_words import Happening
from exchange.coinbase.jwt import ApiKey, private_key
from exchange.coinbase.transport import API, Guard, Reply, VenueSession, boot_s
from exchange.coinbase.user_socket import UserSocket
from trading.messages.orders import BestBidAsk, OrderBody, OrderStyle, OrderUpdate, OutcomeKind, VenueOrder, VenueStatus
from trading.product import Product
from trading.values import Side, account_tag, ceil_to_increment, client_order_id, floor_to_increment, utc_text

THROUGH_BPS = 50
"""How far through the touch the IOC limits stand: surely marketable, and a bound on what a bad book could cost."""
AWAY_FRACTION = Decimal("0.8")
"""Resting test orders stand 20 % below the bid: far from a fill, near enough not to be refused as absurd."""
STEP_S_MAX = 30.0
WAIT_FACTOR = 1.5
END_TIMES_S = (1, 2, 5, 10)


@frozen(kw_only=True)
class Answer:
    """One question and what the venue did. text: the finding, in words."""

    question: str
    text: str


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


class _StopError(Exception):
    """The round trip cannot go on; the text says why."""


class _Trader:
    def __init__(self, endpoints: Endpoints, key: ApiKey, venue_clock: Callable[[], float]) -> None:
        self.endpoints, self.key, self.venue_clock = endpoints, key, venue_clock
        self.session = VenueSession(endpoints, key)
        self.guard = Guard()
        self.made: list[str] = []
        self.unsure: list[str] = []
        self.updates: list[tuple[float, OrderUpdate]] = []
        self.tag = ""

    def close(self) -> None:
        self.guard.close()
        self.session.close()

    def hear(self, happenings: list[Happening]) -> None:
        now = boot_s()
        self.updates += [(now, happening) for happening in happenings if isinstance(happening, OrderUpdate)]

    def send(
        self, method: str, path: str, params: dict[str, Any] | None = None, body: dict[str, Any] | None = None
    ) -> Reply:
        deadline = boot_s() + 10.0
        self.guard.watch(self.session, deadline)
        reply = self.session.send(method, path, params=params, body=body, deadline_boot_s=deadline)
        self.guard.forget(self.session)
        return reply

    def get(self, path: str, read: Callable[[bytes], Any], params: dict[str, Any] | None = None) -> Any:
        reply = self.send("GET", path, params)
        if reply.status != 200:
            raise _StopError(f"GET {path}: {reply.error or f'HTTP {reply.status}'}")
        try:
            return read(reply.content)
        except wire.Unreadable as error:
            raise _StopError(f"GET {path}: unreadable: {error}") from None

    def place(self, body: OrderBody, order_id: str | None = None) -> tuple[wire.Verdict, Reply, str]:
        """One POST. What may live afterwards is remembered for the cleaning up."""
        name = order_id or client_order_id(self.tag, f"smoke-{uuid.uuid4()}")
        return (*self.post(wire.order_request(name, body), name), name)

    def post(self, request: dict[str, Any], name: str) -> tuple[wire.Verdict, Reply]:
        reply = self.send("POST", "/orders", body=request)
        if reply.status is None:
            verdict = wire.Verdict(OutcomeKind.UNKNOWN if reply.began else OutcomeKind.NOT_SENT, reason=reply.error)
        else:
            verdict = wire.placed(reply.status, reply.content, name)
        if verdict.venue_order_id:
            self.made.append(verdict.venue_order_id)
        elif verdict.kind is OutcomeKind.UNKNOWN:
            self.unsure.append(name)
        return verdict, reply

    def order(self, venue_order_id: str) -> VenueOrder | None:
        reply = self.send("GET", f"/orders/historical/{venue_order_id}")
        try:
            return wire_pages.single_order(reply.content) if reply.status == 200 else None
        except wire.Unreadable:
            return None

    def balance(self, currency: str) -> Decimal:
        page = self.get("/accounts", wire_pages.account_page, {"limit": 250})
        return sum((row.available + row.hold for row in page.items if row.currency == currency), Decimal(0))

    def cancel(self, venue_order_ids: list[str]) -> str:
        reply = self.send("POST", "/orders/batch_cancel", body={"order_ids": venue_order_ids})
        if reply.status != 200:
            return reply.error or f"HTTP {reply.status}"
        try:
            results = wire.canceled(reply.content, venue_order_ids)
        except wire.Unreadable as error:
            return f"unreadable: {error}"
        return "; ".join(reason for _, accepted, reason in results if not accepted)

    def clear(self) -> list[str]:
        """Cancel and look until nothing of ours rests; what is not proved over is returned in words."""
        deadline = time.monotonic() + STEP_S_MAX
        for name in self.unsure:
            page = self.send("GET", "/orders/historical/batch", {"limit": 100})
            try:
                listed = wire_pages.order_page(page.content).items if page.status == 200 else ()
            except wire.Unreadable:
                listed = ()
            self.made += [order.venue_order_id for order in listed if order.client_order_id == name]
        resting = list(dict.fromkeys(self.made))
        while resting and time.monotonic() < deadline:
            resting = [
                name
                for name in resting
                if (order := self.order(name)) is None or not VenueStatus(order.status).terminal
            ]
            if resting:
                self.cancel(resting)
                time.sleep(0.3)
        return [f"order {name} is not proved over; look at it in Coinbase's app" for name in resting]


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
    trader = _Trader(endpoints, key, venue_clock)
    feed = UserSocket(endpoints, key, trader.hear, venue_clock=venue_clock)
    feed.start()
    try:
        trader.tag = account_tag(trader.get("/key_permissions", wire_pages.account).portfolio_uuid)
        if not _until(lambda: feed.session is not None and "user" in feed.session.acknowledged, 10.0):
            told("the user feed is not acknowledged; its steps will be missing")
        _round_trip(trader, product, trip, told)
        for question in (_expired_token, _end_times, _repeated_id, _other_key):
            for answer in question(trader, product, second_key):
                trip.answers.append(answer)
                told(f"{answer.question}: {answer.text}")
    except _StopError as stop:
        trip.error = str(stop)
    finally:
        trip.left = trader.clear()
        feed.stop()
        trader.close()
    return trip


def _until(look: Callable[[], Any], limit_s: float, every_s: float = 0.02) -> Any:
    deadline = time.monotonic() + limit_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            return None
        time.sleep(every_s)
    return seen


def _touch(trader: _Trader, product: Product) -> BestBidAsk:
    rows = trader.get("/best_bid_ask", wire_pages.best_bid_ask, {"product_ids": [product.product_id]})
    if not rows:
        raise _StopError(f"no best bid and ask of {product.product_id}")
    found: BestBidAsk = rows[0]
    return found


def _smallest(product: Product, price: Decimal) -> Decimal:
    """The smallest size that stays above the quote minimum after a fall of 5 % (so that it can be sold back)."""
    wanted = max(product.base_size_min, product.quote_size_min * Decimal("1.05") / price)
    return ceil_to_increment(wanted, product.base_increment)


def _round_trip(trader: _Trader, product: Product, trip: RoundTrip, told: Callable[[str], None]) -> None:
    base, quote = product.base_currency, product.quote_currency
    money_before, coins_before = trader.balance(quote), trader.balance(base)
    touch = _touch(trader, product)
    limit = ceil_to_increment(touch.ask * (1 + Decimal(THROUGH_BPS) / 10_000), product.price_increment)
    bought = _one_way(trader, product, trip, "buy", Side.BUY, _smallest(product, touch.ask), limit, coins_before, told)
    got = bought.filled_size
    sellable = floor_to_increment(min(got, trader.balance(base)), product.base_increment)
    if sellable < product.base_size_min:
        raise _StopError(f"bought {got} {base}, which is too little to sell back")
    touch = _touch(trader, product)
    limit = floor_to_increment(touch.bid * (1 - Decimal(THROUGH_BPS) / 10_000), product.price_increment)
    _one_way(trader, product, trip, "sell", Side.SELL, sellable, limit, coins_before + sellable, told)
    trip.cost_usd = money_before - trader.balance(quote)
    settled = [value for name, value in trip.steps_s.items() if value is not None and not name.endswith("accepted")]
    trip.post_trade_reconcile_wait_s = round(max(settled) * WAIT_FACTOR, 1) if settled else None


def _one_way(
    trader: _Trader,
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
        raise _StopError(f"the {name} was not accepted: {verdict.kind.value} {verdict.reason} {verdict.detail}".strip())
    order_id = verdict.venue_order_id
    step("accepted", reply.answered_boot_s)

    def on_feed() -> float | None:
        return next(
            (at for at, u in trader.updates if u.venue_order_id == order_id and u.status == VenueStatus.FILLED), None
        )

    def booked() -> Decimal:
        page = trader.get("/orders/historical/fills", wire_pages.fill_page, {"order_ids": [order_id]})
        return sum((fill.base_size for fill in page.items), Decimal(0))

    def in_fills() -> float | None:
        order = trader.order(order_id)
        ended = order is not None and VenueStatus(order.status).terminal
        return boot_s() if order is not None and ended and booked() == order.filled_size else None

    def in_balance() -> float | None:
        held = trader.balance(product.base_currency)
        return boot_s() if (held > coins_before if side is Side.BUY else held < coins_before) else None

    step("fill in REST", _until(in_fills, STEP_S_MAX, 0.1))
    step("balance", _until(in_balance, STEP_S_MAX, 0.1))
    step("fill on the feed", _until(on_feed, 5.0))
    order = trader.order(order_id)
    if order is None or not order.filled_size:
        raise _StopError(f"the {name} was accepted and not filled: {order.status if order else 'it is not listed'}")
    moved = abs(trader.balance(product.base_currency) - coins_before)
    agrees = booked() == order.filled_size == moved
    text = "yes" if agrees else f"no: fills {booked()}, order {order.filled_size}, balance {moved}"
    trip.answers.append(Answer(question=f"{name}: do fills, order and balance tell one position", text=text))
    return order


# the questions


def _resting(trader: _Trader, product: Product, end_time_s: int | None) -> OrderBody:
    price = floor_to_increment(_touch(trader, product).bid * AWAY_FRACTION, product.price_increment)
    style = OrderStyle.LIMIT_GTC if end_time_s is None else OrderStyle.LIMIT_GTD
    size = _smallest(product, price)
    return OrderBody(
        product_id=product.product_id,
        side=Side.BUY,
        style=style,
        base_size=size,
        limit_price=price,
        post_only=True,
        end_time_s=end_time_s,
    )


def _expired_token(trader: _Trader, _product: Product, _second: ApiKey | None) -> list[Answer]:
    """A harmless GET with a token of ours whose `exp` has passed: is it taken, and how long after?"""
    host, path = trader.endpoints.rest, f"{API}/key_permissions"
    secret, algorithm = private_key(trader.key.secret)
    taken: dict[int, int | str] = {}
    with requests.Session() as session:
        session.trust_env = False
        for ago_s in (1, 10, 60):
            expires = int(trader.venue_clock()) - ago_s
            claims = {
                "sub": trader.key.name,
                "iss": "cdp",
                "nbf": expires - 120,
                "exp": expires,
                "uri": f"GET {host}{path}",
            }
            headers = {"kid": trader.key.name, "nonce": secrets.token_hex()}
            token = jwt.encode(claims, secret, algorithm=algorithm, headers=headers)
            try:
                answer = session.get(
                    f"https://{host}{path}",
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=10,
                    verify=trader.endpoints.ca_file or True,
                    allow_redirects=False,
                )
                taken[ago_s] = answer.status_code
            except requests.RequestException as error:
                taken[ago_s] = type(error).__name__
    told = ", ".join(f"{ago_s} s after: {status}" for ago_s, status in taken.items())
    return [Answer(question="is a token's exp enforced on arrival", text=f"HTTP status {told}")]


def _end_times(trader: _Trader, product: Product, _second: ApiKey | None) -> list[Answer]:
    """Good-till-date orders far from the market with ever longer lives: the first that is taken, and when it really ends."""
    refused = []
    answers = []
    for life_s in END_TIMES_S:
        end_s = int(trader.venue_clock()) + life_s
        verdict, _, _ = trader.place(_resting(trader, product, end_s))
        if verdict.venue_order_id is None:
            refused.append(f"{life_s} s: {verdict.reason}")
            continue
        order_id = verdict.venue_order_id

        def over(order_id: str = order_id) -> str | None:
            order = trader.order(order_id)
            return order.status if order is not None and VenueStatus(order.status).terminal else None

        status = _until(over, life_s + 15.0, 0.1)
        late_s = trader.venue_clock() - end_s
        text = f"{life_s} s is taken; it ended as {status}, seen {late_s:+.1f} s from its end_time"
        answers.append(Answer(question="the shortest end_time", text="; ".join([*refused, text])))
        break
    else:
        answers.append(Answer(question="the shortest end_time", text="none taken: " + "; ".join(refused)))
    body = _resting(trader, product, int(trader.venue_clock()) + 60)
    name = client_order_id(trader.tag, f"smoke-{uuid.uuid4()}")
    request = wire.order_request(name, body)
    wanted = utc_text(float(body.end_time_s or 0) + 0.5)
    request["order_configuration"]["limit_limit_gtd"]["end_time"] = wanted
    verdict, _ = trader.post(request, name)
    order = trader.order(verdict.venue_order_id) if verdict.venue_order_id else None
    if order is None:
        text = f"an end_time with half a second: {verdict.kind.value} {verdict.reason}"
    else:
        kept = order.end_time_s is not None and abs(order.end_time_s - (float(body.end_time_s or 0) + 0.5)) < 0.01
        text = f"half a second is taken and {'kept' if kept else f'told as {order.end_time_s}'}"
        trader.cancel([order.venue_order_id])
    answers.append(Answer(question="the granularity of end_time", text=text))
    return answers


def _repeated_id(trader: _Trader, product: Product, _second: ApiKey | None) -> list[Answer]:
    """The same id twice, both far from the market; also how long a new order stays out of the listing."""
    body = _resting(trader, product, int(trader.venue_clock()) + 120)
    verdict, reply, name = trader.place(body)
    if verdict.venue_order_id is None:
        return [Answer(question="a repeated client_order_id", text=f"the first was not accepted: {verdict.reason}")]
    first = verdict.venue_order_id

    def listed() -> bool:
        params = {"order_status": ["OPEN"], "product_ids": [product.product_id], "limit": 100}
        return any(
            order.venue_order_id == first
            for order in trader.get("/orders/historical/batch", wire_pages.order_page, params).items
        )

    seen = _until(listed, STEP_S_MAX, 0.05)
    lag = (
        f"listed as OPEN {boot_s() - reply.answered_boot_s:.2f} s after it was accepted"
        if seen
        else "not listed in 30 s"
    )
    again, _, _ = trader.place(body, name)
    if again.venue_order_id is None:
        text = f"refused: {again.reason or again.kind.value}"
    else:
        text = "answered with the existing order" if again.venue_order_id == first else "A SECOND ORDER was made"
    trader.cancel([one for one in (first, again.venue_order_id) if one])
    return [
        Answer(question="the lag of the listing", text=lag),
        Answer(question="a repeated client_order_id", text=text),
    ]


def _other_key(trader: _Trader, product: Product, second: ApiKey | None) -> list[Answer]:
    question = "may another key cancel this key's order"
    if second is None:
        return [Answer(question=question, text="not asked: no second key")]
    verdict, _, _ = trader.place(_resting(trader, product, int(trader.venue_clock()) + 120))
    if verdict.venue_order_id is None:
        return [Answer(question=question, text=f"the order was not accepted: {verdict.reason}")]
    other = _Trader(trader.endpoints, second, trader.venue_clock)
    try:
        refused = other.cancel([verdict.venue_order_id])
    finally:
        other.close()
    order_id = verdict.venue_order_id
    gone = _until(
        lambda: (order := trader.order(order_id)) is not None and VenueStatus(order.status).terminal, 10.0, 0.1
    )
    return [
        Answer(
            question=question,
            text="yes" if gone and not refused else f"no: {refused or 'accepted, but the order rests on'}",
        )
    ]
