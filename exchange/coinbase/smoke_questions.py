"""What only an order can answer about the venue; each function asks one thing and returns what it saw, in words."""

from __future__ import annotations

import secrets
import uuid
from decimal import Decimal

import jwt
import requests
from attrs import frozen

from exchange.coinbase import wire, wire_pages
from exchange.coinbase.jwt import ApiKey, private_key
from exchange.coinbase.smoke_trader import STEP_S_MAX, Trader, smallest, touch_of, until
from exchange.coinbase.transport import API, boot_s
from trading.messages.orders import OrderBody, OrderStyle, VenueStatus
from trading.product import Product
from trading.values import Side, client_order_id, floor_to_increment, utc_text

AWAY_FRACTION = Decimal("0.8")
"""Resting test orders stand 20 % below the bid: far from a fill, near enough not to be refused as absurd."""
END_TIMES_S = (1, 2, 5, 10)


@frozen(kw_only=True)
class Answer:
    """One question and what the venue did. text: the finding, in words."""

    question: str
    text: str


def _resting(trader: Trader, product: Product, end_time_s: int | None) -> OrderBody:
    price = floor_to_increment(touch_of(trader, product).bid * AWAY_FRACTION, product.price_increment)
    style = OrderStyle.LIMIT_GTC if end_time_s is None else OrderStyle.LIMIT_GTD
    size = smallest(product, price)
    return OrderBody(
        product_id=product.product_id,
        side=Side.BUY,
        style=style,
        base_size=size,
        limit_price=price,
        post_only=True,
        end_time_s=end_time_s,
    )


def expired_token(trader: Trader, _product: Product, _second: ApiKey | None) -> list[Answer]:
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


def end_times(trader: Trader, product: Product, _second: ApiKey | None) -> list[Answer]:
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

        status = until(over, life_s + 15.0, 0.1)
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


def repeated_id(trader: Trader, product: Product, _second: ApiKey | None) -> list[Answer]:
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

    seen = until(listed, STEP_S_MAX, 0.05)
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


def other_key(trader: Trader, product: Product, second: ApiKey | None) -> list[Answer]:
    question = "may another key cancel this key's order"
    if second is None:
        return [Answer(question=question, text="not asked: no second key")]
    verdict, _, _ = trader.place(_resting(trader, product, int(trader.venue_clock()) + 120))
    if verdict.venue_order_id is None:
        return [Answer(question=question, text=f"the order was not accepted: {verdict.reason}")]
    other = Trader(trader.endpoints, second, trader.venue_clock)
    try:
        refused = other.cancel([verdict.venue_order_id])
    finally:
        other.close()
    order_id = verdict.venue_order_id
    gone = until(
        lambda: (order := trader.order(order_id)) is not None and VenueStatus(order.status).terminal, 10.0, 0.1
    )
    return [
        Answer(
            question=question,
            text="yes" if gone and not refused else f"no: {refused or 'accepted, but the order rests on'}",
        )
    ]
