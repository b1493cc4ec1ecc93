"""Coinbase Advanced Trade's REST API for spot: every path, what it asks the engine, and how the answer is written.

A handler takes the running venue and the `Ask` and returns what becomes JSON. How requests come in, are limited,
authenticated, logged and disturbed is the gate's business. To add an endpoint, add a row to `ROUTES`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from attrs import define

from exchange.simulator import listing
from exchange.simulator.candles import CANDLES_MAX, GRANULARITIES_S
from exchange.simulator.editing import must_be_body
from exchange.simulator.keys import ApiKey
from exchange.simulator.products import Product, product_json
from exchange.simulator.running import Running
from exchange.simulator.words import ONE, BadRequestError, NotFoundError, number, parse_time, plain, rfc3339, rounded

PREFIX = "/api/v3/brokerage"


@define
class Ask:
    """One request: query parameters as lists, the JSON body (None without), the path's parts, the key that signed it."""

    query: dict[str, list[str]]
    body: Any
    parts: dict[str, str]
    key: ApiKey | None


Handler = Callable[[Running, Ask], Any]


def time_answer(venue: Running, _: Ask) -> Any:
    now_s = venue.now()
    return {"iso": rfc3339(now_s, 0), "epochSeconds": str(int(now_s)), "epochMillis": str(int(now_s * 1000))}


def key_permissions(venue: Running, ask: Ask) -> Any:
    assert ask.key is not None  # a private path
    return {
        "can_view": True,
        "can_trade": ask.key.can_trade,
        "can_transfer": ask.key.can_transfer,
        "portfolio_uuid": venue.venue.portfolio_uuid,
        "portfolio_type": "DEFAULT",
    }


def portfolios(venue: Running, ask: Ask) -> Any:
    wanted = listing.one(ask.query, "portfolio_type")
    row = {"name": "Default", "uuid": venue.venue.portfolio_uuid, "type": "DEFAULT", "deleted": False}
    return {"portfolios": [row] if wanted in ("", "DEFAULT", "UNDEFINED") else []}


def accounts(venue: Running, ask: Ask) -> Any:
    limit = listing.limit_of(ask.query, 49, listing.ACCOUNTS_LIMIT_MAX)
    return venue.venue.accounts(limit, listing.one(ask.query, "cursor"))


def account(venue: Running, ask: Ask) -> Any:
    return venue.venue.account(ask.parts["id"])


# --- products and market data --------------------------------------------------------------------------------------


def _product(venue: Running, product_id: str) -> Product:
    product = venue.venue.products.get(product_id)
    if product is None:
        raise NotFoundError(f"product {product_id} was not found")
    return product


def products(venue: Running, ask: Ask) -> Any:
    wanted = listing.many(ask.query, "product_ids")
    kind = listing.one(ask.query, "product_type")
    rows = [
        product
        for product in venue.venue.products.values()
        if (not wanted or product.product_id in wanted) and kind in ("", "SPOT", "UNKNOWN_PRODUCT_TYPE")
    ]
    offset_text = listing.one(ask.query, "offset", "0")
    if not offset_text.isdigit():
        raise BadRequestError(f"offset {offset_text!r} is not a number")
    offset = int(offset_text)
    limit = listing.limit_of(ask.query, 10_000, 10_000)
    page = rows[offset : offset + limit]
    return {
        "products": [product_json(product, venue.stats(product.product_id)) for product in page],
        "num_products": len(page),
        "pagination": None,
    }


def product(venue: Running, ask: Ask) -> Any:
    found = _product(venue, ask.parts["id"])
    return product_json(found, venue.stats(found.product_id))


def product_book(venue: Running, ask: Ask) -> Any:
    found = _product(venue, listing.one(ask.query, "product_id"))
    book = venue.venue.book(found.product_id)
    limit = listing.limit_of(ask.query, 50_000, 50_000)
    step = listing.one(ask.query, "aggregation_price_increment")
    try:
        coarse = number(step, "aggregation_price_increment") if step else None
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    if coarse is not None and coarse <= 0:
        raise BadRequestError(f"aggregation_price_increment {step} is not positive")
    sides = {}
    for name, side in (("bids", "BUY"), ("asks", "SELL")):
        levels = book.merged(side)
        if coarse is not None:
            levels = _aggregate(levels, coarse, up=side == "SELL")
        sides[name] = [{"price": plain(price), "size": plain(size)} for price, size in levels[:limit]]
    answer: dict[str, Any] = {
        "pricebook": {"product_id": found.product_id, **sides, "time": rfc3339(book.quoted_s)},
        "last": "",
        "mid_market": "",
        "spread_bps": "",
        "spread_absolute": "",
    }
    last = venue.last_price(found.product_id)
    answer["last"] = plain(last) if last is not None else ""
    bid, ask_ = book.best("BUY"), book.best("SELL")
    if bid and ask_:
        mid = (bid[0] + ask_[0]) / 2
        answer["mid_market"] = plain(mid)
        answer["spread_absolute"] = plain(ask_[0] - bid[0])
        answer["spread_bps"] = rounded((ask_[0] - bid[0]) / mid * 10_000, 12)
    return answer


def _aggregate(levels: list[tuple[Decimal, Decimal]], step: Decimal, *, up: bool) -> list[tuple[Decimal, Decimal]]:
    """Levels in steps of the wanted size: bids fall to the lower step, asks rise to the higher."""
    found: dict[Decimal, Decimal] = {}
    for price, size in levels:
        at = price // step * step
        if up and at < price:
            at += step
        found[at] = found.get(at, Decimal(0)) + size
    return list(found.items())


def best_bid_ask(venue: Running, ask: Ask) -> Any:
    wanted = listing.many(ask.query, "product_ids")
    rows = []
    for found in venue.venue.products.values():
        if wanted and found.product_id not in wanted:
            continue
        book = venue.venue.book(found.product_id)
        row: dict[str, Any] = {"product_id": found.product_id}
        for name, side in (("bids", "BUY"), ("asks", "SELL")):
            best = book.best(side)
            row[name] = [{"price": plain(best[0]), "size": plain(best[1])}] if best else []
        row["time"] = rfc3339(book.quoted_s)
        rows.append(row)
    return {"pricebooks": rows}


def candles(venue: Running, ask: Ask) -> Any:
    found = _product(venue, ask.parts["id"])
    granularity = listing.one(ask.query, "granularity")
    if granularity not in GRANULARITIES_S:
        raise BadRequestError(f"granularity {granularity!r} is not one of {', '.join(GRANULARITIES_S)}")
    length = GRANULARITIES_S[granularity]
    times = []
    for name in ("start", "end"):
        text = listing.one(ask.query, name)
        try:
            times.append(float(text) if text.replace(".", "", 1).isdigit() else parse_time(text))
        except ValueError:
            raise BadRequestError(f"{name} {text!r} is not a number of unix seconds") from None
    if (times[1] - times[0]) / length > CANDLES_MAX:
        raise BadRequestError(f"number of candles requested should be less than {CANDLES_MAX}")
    limit = listing.limit_of(ask.query, CANDLES_MAX, CANDLES_MAX)
    digits = max(0, -int(found.price_increment.normalize().as_tuple().exponent))
    bars = venue.candles.bars(found.book_id, length, times[0], times[1], venue.now())
    return {
        "candles": [
            {
                "start": str(bar.start_s),
                "low": _text(bar.low, digits),
                "high": _text(bar.high, digits),
                "open": _text(bar.open, digits),
                "close": _text(bar.close, digits),
                "volume": _text(bar.volume, 8),
            }
            for bar in reversed(bars[-limit:])
        ]
    }


def _text(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def market_trades(venue: Running, ask: Ask) -> Any:
    found = _product(venue, ask.parts["id"])
    limit = listing.limit_of(ask.query, 100, 1000)
    times: list[float | None] = []
    for name in ("start", "end"):
        text = listing.one(ask.query, name)
        times.append(float(text) if text.replace(".", "", 1).isdigit() else None)
    start, end = times
    rows = []
    for trade in reversed(venue.trades[found.book_id]):
        at_s = parse_time(trade["time"]) if start is not None or end is not None else 0.0
        if (start is None or at_s >= start) and (end is None or at_s <= end):
            rows.append({**trade, "product_id": found.product_id, "bid": "", "ask": "", "exchange": "coinbase"})
            if len(rows) == limit:
                break
    book = venue.venue.book(found.product_id)
    bid, ask_ = book.best("BUY"), book.best("SELL")
    return {
        "trades": rows,
        "best_bid": plain(bid[0]) if bid else "",
        "best_ask": plain(ask_[0]) if ask_ else "",
    }


# --- fees ----------------------------------------------------------------------------------------------------------


def transaction_summary(venue: Running, _: Ask) -> Any:
    engine = venue.venue
    tier, following = engine.tier(venue.now())
    volume = float(round(engine.volume_usd(venue.now()), 2))
    fees = float(round(sum(engine.wallets.fees.values(), Decimal(0)), 2))
    balance = Decimal(0)
    for wallet in engine.wallets.by_currency.values():
        price = ONE if wallet.currency in ("USD", "USDC") else None
        if price is None and f"{wallet.currency}-USD" in engine.products:
            price = venue.last_price(f"{wallet.currency}-USD")
        balance += wallet.total * (price or Decimal(0))
    upto = plain(following.from_usd) if following else ""
    kinds = ["VOLUME_TYPE_SPOT", "VOLUME_TYPE_US_DERIVATIVES"]
    return {
        "total_volume": volume,
        "total_fees": fees,
        "fee_tier": {
            "pricing_tier": tier.name,
            "usd_from": "",
            "usd_to": "",
            "taker_fee_rate": plain(tier.taker),
            "maker_fee_rate": plain(tier.maker),
            "aop_from": "0",
            "aop_to": "1000000",
            "perps_vol_from": "",
            "perps_vol_to": "",
            "futures_vol_from": "",
            "futures_vol_to": "",
            "volume_types_and_range": [{"volume_types": kinds, "vol_from": plain(tier.from_usd), "vol_to": upto}],
        },
        "margin_rate": None,
        "goods_and_services_tax": None,
        "advanced_trade_only_volume": volume,
        "advanced_trade_only_fees": fees,
        "coinbase_pro_volume": 0,
        "coinbase_pro_fees": 0,
        "total_balance": rounded(balance, 2),
        "has_promo_fee": False,
        "volume_breakdown": [
            {"volume_type": kinds[0], "volume": volume},
            {"volume_type": kinds[1], "volume": 0},
        ],
        "has_cost_plus_commission": False,
    }


# --- orders --------------------------------------------------------------------------------------------------------


def create_order(venue: Running, ask: Ask) -> Any:
    body = must_be_body(ask.body)
    return venue.act(lambda now_s: venue.venue.create_order(body, now_s))


def preview_order(venue: Running, ask: Ask) -> Any:
    body = must_be_body(ask.body)
    return venue.act(lambda now_s: venue.venue.preview(body, now_s))


def edit_order(venue: Running, ask: Ask) -> Any:
    body = must_be_body(ask.body)
    return venue.act(lambda now_s: venue.venue.edit(body, now_s))


def edit_preview(venue: Running, ask: Ask) -> Any:
    body = must_be_body(ask.body)
    return venue.act(lambda now_s: venue.venue.edit_preview(body, now_s))


def batch_cancel(venue: Running, ask: Ask) -> Any:
    ids = must_be_body(ask.body).get("order_ids")
    if not isinstance(ids, list) or not ids or not all(isinstance(name, str) for name in ids):
        raise BadRequestError("order_ids must be a list of order ids")
    return venue.act(lambda now_s: venue.venue.cancel(ids, now_s))


def list_orders(venue: Running, ask: Ask) -> Any:
    return venue.act(lambda now_s: venue.venue.list_orders(ask.query, now_s))


def list_fills(venue: Running, ask: Ask) -> Any:
    return venue.act(lambda now_s: venue.venue.fills(ask.query, now_s))


def get_order(venue: Running, ask: Ask) -> Any:
    return venue.act(lambda _: venue.venue.order(ask.parts["id"]))


PUBLIC, VIEW, TRADE = "public", "view", "trade"

ROUTES: tuple[tuple[str, str, str, Handler], ...] = (
    # method, path after the prefix, who may ask, handler
    ("GET", "/time", PUBLIC, time_answer),
    ("GET", "/key_permissions", VIEW, key_permissions),
    ("GET", "/portfolios", VIEW, portfolios),
    ("GET", "/accounts", VIEW, accounts),
    ("GET", "/accounts/{id}", VIEW, account),
    ("GET", "/products", VIEW, products),
    ("GET", "/products/{id}", VIEW, product),
    ("GET", "/products/{id}/candles", VIEW, candles),
    ("GET", "/products/{id}/ticker", VIEW, market_trades),
    ("GET", "/product_book", VIEW, product_book),
    ("GET", "/best_bid_ask", VIEW, best_bid_ask),
    ("GET", "/market/products", PUBLIC, products),
    ("GET", "/market/products/{id}", PUBLIC, product),
    ("GET", "/market/products/{id}/candles", PUBLIC, candles),
    ("GET", "/market/products/{id}/ticker", PUBLIC, market_trades),
    ("GET", "/market/product_book", PUBLIC, product_book),
    ("GET", "/transaction_summary", VIEW, transaction_summary),
    ("POST", "/orders", TRADE, create_order),
    ("POST", "/orders/preview", VIEW, preview_order),
    ("POST", "/orders/edit", TRADE, edit_order),
    ("POST", "/orders/edit_preview", VIEW, edit_preview),
    ("POST", "/orders/batch_cancel", TRADE, batch_cancel),
    ("GET", "/orders/historical/batch", VIEW, list_orders),
    ("GET", "/orders/historical/fills", VIEW, list_fills),
    ("GET", "/orders/historical/{id}", VIEW, get_order),
)
