"""JSON <-> our words for everything that is asked: orders, fills, accounts, products, prices, fees, key, clock, candles.

Each parser takes one answer's text and gives (items, next cursor) or the item; `Unreadable` means "no answer", never
"nothing there". A listing with one row of ours that cannot be read is no listing: absence must be proved. Rows that are
certainly not ours (another client_order_id) may be odd, and are left out instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Generic, TypeVar

from attrs import frozen

from exchange.coinbase.wire import (
    Unreadable,
    flag,
    listed,
    number,
    read_json,
    required_number,
    required_text,
    rows,
    seconds,
    side,
    status_word,
    text,
)
from trading.messages.orders import (
    Account,
    Balance,
    BestBidAsk,
    Candle,
    Fees,
    OddFill,
    VenueFill,
    VenueOrder,
    VenueStatus,
)
from trading.product import Product
from trading.values import OURS, ZERO

Item = TypeVar("Item")

SIZE_STEP = Decimal("1e-16")
"""To which base sizes solved from quote sizes are rounded: finer than any base_increment."""


@frozen
class Listing(Generic[Item]):
    """One page. cursor: "" when it is the last."""

    items: tuple[Item, ...]
    cursor: str = ""


# ---- orders and fills ----


def order_page(content: str | bytes) -> Listing[VenueOrder]:
    """`GET /orders/historical/batch`."""
    answer = read_json(content)
    found = []
    for row in rows(answer, "orders"):
        if not isinstance(row.get("client_order_id"), str):
            raise Unreadable("an order without client_order_id text: it may be ours")
        try:
            found.append(order_of(row))
        except Unreadable:
            if row["client_order_id"].startswith(OURS):
                raise
    return Listing(tuple(found), _next_cursor(answer))


@frozen
class OrderIds:
    """What a cancel needs of a listed order. odd: what is wrong with a row (or the page) that may hide an order of ours."""

    venue_order_id: str = ""
    client_order_id: str = ""
    over: bool = False
    odd: str = ""


def ids_page(content: str | bytes) -> Listing[OrderIds]:
    """`GET /orders/historical/batch` for who cancels: one field that changed its form must not hold up every cancel."""
    answer = read_json(content)
    found = [_ids_of(row) for row in listed(answer, "orders")]
    try:
        return Listing(tuple(found), _next_cursor(answer))
    except Unreadable as unreadable:
        return Listing((*found, OrderIds(odd=str(unreadable))))


def _ids_of(row: object) -> OrderIds:
    if not isinstance(row, dict):
        return OrderIds(odd=f"an order that is {type(row).__name__}, not an object: it may be ours")
    client_order_id = row.get("client_order_id")
    if not isinstance(client_order_id, str):
        return OrderIds(odd="an order without client_order_id text: it may be ours")
    try:
        venue_order_id = required_text(row, "order_id")
    except Unreadable as unreadable:
        odd = f"{client_order_id}: {unreadable}" if client_order_id.startswith(OURS) else ""
        return OrderIds(client_order_id=client_order_id, odd=odd)
    return OrderIds(venue_order_id, client_order_id, over=VenueStatus(status_word(row.get("status"))).terminal)


def single_order(content: str | bytes) -> VenueOrder:
    """`GET /orders/historical/{order_id}`."""
    row = read_json(content).get("order")
    if not isinstance(row, dict):
        raise Unreadable("order is missing")
    return order_of(row)


def order_of(row: Mapping[str, Any]) -> VenueOrder:
    status = status_word(row.get("status"))
    base_size, limit_price, end_time_s, post_only = _configuration(row)
    filled_size = number(row, "filled_size")
    if filled_size is None:
        if status == VenueStatus.FILLED:
            raise Unreadable("filled_size of a FILLED order is missing")
        filled_size = ZERO
    if filled_size < ZERO:
        raise Unreadable(f"filled_size is {filled_size}")
    pending_cancel = flag(row, "pending_cancel", default=False)
    if pending_cancel and status == VenueStatus.OPEN:
        status = VenueStatus.PENDING_CANCEL.value
    reject = text(row, "reject_reason")
    return VenueOrder(
        venue_order_id=required_text(row, "order_id"),
        client_order_id=text(row, "client_order_id"),
        product_id=required_text(row, "product_id"),
        side=side(row),
        status=status,
        base_size=base_size,
        limit_price=limit_price,
        filled_size=filled_size,
        average_price=_estimate(row, "average_filled_price"),
        filled_value_usd=_estimate(row, "filled_value"),
        fees_usd=_estimate(row, "total_fees"),
        created_s=seconds(row, "created_time"),
        end_time_s=end_time_s,
        post_only=post_only,
        pending_cancel=pending_cancel,
        reject_reason="" if reject == "REJECT_REASON_UNSPECIFIED" else reject,
    )


def _estimate(row: Mapping[str, Any], name: str) -> Decimal:
    """What nothing is booked by: unreadable is as good as absent, and no reason to know nothing of any order."""
    try:
        return number(row, name) or ZERO
    except Unreadable:
        return ZERO


def _configuration(row: Mapping[str, Any]) -> tuple[Decimal | None, Decimal | None, float | None, bool]:
    """(base size or None for quote-sized, limit price, end time, post-only) of whatever configuration the order has."""
    outer = row.get("order_configuration")
    fields: Mapping[str, Any] = {}
    if isinstance(outer, dict):
        fields = next((value for value in outer.values() if isinstance(value, dict)), {})
    base_size = None if flag(row, "size_in_quote", default=False) else number(fields, "base_size")
    return (
        base_size,
        number(fields, "limit_price"),
        seconds(fields, "end_time"),
        flag(fields, "post_only", default=False),
    )


def fill_page(content: str | bytes) -> Listing[VenueFill | OddFill]:
    """`GET /orders/historical/fills`: pages until the cursor is empty; there is no has_next. A row that cannot be read is odd by
    the order it names, which may be the owner's own; one that names none may be ours.
    """
    answer = read_json(content)
    found: list[VenueFill | OddFill] = []
    for row in rows(answer, "fills"):
        try:
            found.append(fill_of(row))
        except Unreadable as unreadable:
            found.append(OddFill(venue_order_id=required_text(row, "order_id"), why=str(unreadable)))
    return Listing(tuple(found), text(answer, "cursor"))


def fill_of(row: Mapping[str, Any]) -> VenueFill:
    price, size = required_number(row, "price"), required_number(row, "size")
    if price <= ZERO:
        raise Unreadable(f"price of a fill is {price}")
    if flag(row, "size_in_quote", default=False):
        size = (size / price).quantize(SIZE_STEP, rounding=ROUND_HALF_EVEN).normalize() + ZERO
    trade_time_s = seconds(row, "trade_time")
    if trade_time_s is None:
        raise Unreadable("trade_time of a fill is missing")
    return VenueFill(
        entry_id=required_text(row, "entry_id"),
        trade_id=required_text(row, "trade_id"),
        venue_order_id=required_text(row, "order_id"),
        product_id=required_text(row, "product_id"),
        side=side(row),
        price=price,
        base_size=size,
        fee_usd=number(row, "commission") or ZERO,
        liquidity=text(row, "liquidity_indicator"),
        trade_time_s=trade_time_s,
        kind=text(row, "trade_type") or "FILL",
    )


def _next_cursor(answer: Mapping[str, Any]) -> str:
    """The cursor when there is more. `has_next` without a cursor cannot be followed, so the listing is not complete."""
    if not flag(answer, "has_next", default=False):
        return ""
    return required_text(answer, "cursor")


# ---- money ----


def account_page(content: str | bytes) -> Listing[Balance]:
    """`GET /accounts`: spot money only (platform CONSUMER, no vault). Several rows of a currency are summed by the caller."""
    answer = read_json(content)
    found = []
    for row in rows(answer, "accounts"):
        if text(row, "platform") not in ("", "ACCOUNT_PLATFORM_CONSUMER") or "VAULT" in text(row, "type"):
            continue
        available, hold = row.get("available_balance"), row.get("hold")
        if not isinstance(available, dict) or not isinstance(hold, dict | None):
            raise Unreadable("available_balance or hold of an account is not an object")
        found.append(
            Balance(
                currency=required_text(row, "currency"),
                available=required_number(available, "value"),
                hold=(number(hold, "value") or ZERO) if hold else ZERO,
            )
        )
    return Listing(tuple(found), _next_cursor(answer))


def summed(balances: tuple[Balance, ...]) -> tuple[Balance, ...]:
    """One Balance a currency."""
    by_currency: dict[str, Balance] = {}
    for balance in balances:
        known = by_currency.get(balance.currency)
        by_currency[balance.currency] = (
            balance
            if known is None
            else Balance(
                currency=balance.currency,
                available=known.available + balance.available,
                hold=known.hold + balance.hold,
            )
        )
    return tuple(by_currency.values())


def fees(content: str | bytes) -> Fees:
    """`GET /transaction_summary`. Rates are fractions; beyond 10 % nothing is believed."""
    tier = read_json(content).get("fee_tier")
    if not isinstance(tier, dict):
        raise Unreadable("fee_tier is missing")
    maker, taker = required_number(tier, "maker_fee_rate"), required_number(tier, "taker_fee_rate")
    if not (Decimal("-0.01") <= maker <= Decimal("0.1") and ZERO <= taker <= Decimal("0.1")):
        raise Unreadable(f"fee rates {maker} and {taker} are no fractions")
    return Fees(maker_rate=maker, taker_rate=taker, tier=text(tier, "pricing_tier"))


def account(content: str | bytes) -> Account:
    """`GET /key_permissions`. What the key may do must be said; silence about `can_transfer` is no answer."""
    answer = read_json(content)
    return Account(
        portfolio_uuid=required_text(answer, "portfolio_uuid"),
        can_view=flag(answer, "can_view"),
        can_trade=flag(answer, "can_trade"),
        can_transfer=flag(answer, "can_transfer"),
    )


# ---- market ----


def product_page(content: str | bytes) -> tuple[Listing[Product], int, int | None]:
    """`GET /products` or `/market/products`: (products, rows in this answer, rows there are in all). Odd rows are left out:
    a product without metadata takes no entry.
    """
    answer = read_json(content)
    listed = rows(answer, "products")
    found = []
    for row in listed:
        try:
            found.append(product_of(row))
        except Unreadable:
            continue
    total = answer.get("num_products")
    return Listing(tuple(found)), len(listed), total if isinstance(total, int) and not isinstance(total, bool) else None


def product(content: str | bytes) -> Product:
    """`GET /products/{id}`."""
    return product_of(read_json(content))


def product_of(row: Mapping[str, Any]) -> Product:
    quote_volume = number(row, "approximate_quote_24h_volume")
    return Product(
        product_id=required_text(row, "product_id"),
        base_currency=required_text(row, "base_currency_id"),
        quote_currency=required_text(row, "quote_currency_id"),
        price_increment=_positive(row, "price_increment"),
        base_increment=_positive(row, "base_increment"),
        quote_increment=_positive(row, "quote_increment"),
        base_size_min=_positive(row, "base_min_size"),
        base_size_max=_positive(row, "base_max_size"),
        quote_size_min=_positive(row, "quote_min_size"),
        quote_size_max=_positive(row, "quote_max_size"),
        status=text(row, "status"),
        trading_disabled=flag(row, "trading_disabled"),
        is_disabled=flag(row, "is_disabled"),
        cancel_only=flag(row, "cancel_only"),
        limit_only=flag(row, "limit_only"),
        post_only=flag(row, "post_only"),
        auction_mode=flag(row, "auction_mode"),
        view_only=flag(row, "view_only", default=False),
        alias=text(row, "alias"),
        volume_24h_quote_usd=None if quote_volume is None else float(quote_volume),
        new_at_s=seconds(row, "new_at"),
    )


def _positive(row: Mapping[str, Any], name: str) -> Decimal:
    found = required_number(row, name)
    if found <= ZERO:
        raise Unreadable(f"{name} is {found}")
    return found


def best_bid_ask(content: str | bytes) -> tuple[BestBidAsk, ...]:
    """`GET /best_bid_ask`. A product with an empty, crossed or undated book is left out: no quote is better than a wrong one."""
    found = []
    for row in rows(read_json(content), "pricebooks"):
        try:
            bids, asks = rows(row, "bids"), rows(row, "asks")
            exchange_s = seconds(row, "time")
            if not bids or not asks or exchange_s is None:
                continue
            bid, ask = required_number(bids[0], "price"), required_number(asks[0], "price")
            product_id = required_text(row, "product_id")
        except Unreadable:
            continue
        if ZERO < bid < ask:
            found.append(BestBidAsk(product_id=product_id, bid=bid, ask=ask, exchange_s=exchange_s))
    return tuple(found)


def server_time_s(content: str | bytes) -> float:
    """`GET /time`: seconds since 1970, to the millisecond where the venue says it."""
    answer = read_json(content)
    millis = number(answer, "epochMillis")
    if millis is not None:
        found = float(millis) / 1000.0
    else:
        iso = seconds(answer, "iso")
        if iso is None:
            raise Unreadable("epochMillis and iso are missing")
        found = iso
    if not 1e9 <= found <= 1e10:
        raise Unreadable(f"server time {found} lies outside this century")
    return found


def candles(content: str | bytes) -> tuple[Candle, ...]:
    """`GET .../candles`, ascending. A candle whose numbers contradict each other is left out, as a bucket without trades is."""
    found: dict[int, Candle] = {}
    for row in rows(read_json(content), "candles"):
        try:
            start = required_number(row, "start")
            low, high, open_, close = (float(required_number(row, name)) for name in ("low", "high", "open", "close"))
            volume = float(required_number(row, "volume"))
        except Unreadable:
            continue
        if start == int(start) and 0.0 < low <= min(open_, close) <= max(open_, close) <= high and volume >= 0.0:
            if not math.isfinite(high + volume):
                continue
            found[int(start)] = Candle(start_s=int(start), open=open_, high=high, low=low, close=close, volume=volume)
    return tuple(found[start] for start in sorted(found))
