"""Edit, edit preview and preview: questions about an order that change it at most in price and size."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from exchange.simulator.orders import GTC, Order, RefusedError, check_notional, read_order
from exchange.simulator.words import ONE, ZERO, BadRequestError, number, plain, rfc3339, rounded

if TYPE_CHECKING:
    from exchange.simulator.matching import Venue

EDITS_KEPT = 5


def _failure(edit_reason: str, preview_reason: str = "UNKNOWN_PREVIEW_FAILURE_REASON") -> dict[str, Any]:
    return {
        "success": False,
        "errors": [{"edit_failure_reason": edit_reason, "preview_failure_reason": preview_reason}],
    }


def _judge(venue: Venue, body: dict[str, Any]) -> tuple[Order, Decimal, Decimal] | dict[str, Any]:
    """The order with its new price and size, or Coinbase's refusal."""
    order = venue.orders.get(str(body.get("order_id", "")))
    if order is None:
        return _failure("ORDER_NOT_FOUND")
    if order.pending_cancel:
        return _failure("CANNOT_EDIT_ORDER_PENDING_CANCEL")
    if order.status != "OPEN":
        return _failure("ONLY_OPEN_ORDERS_CAN_BE_EDITED")
    if order.kind != "LIMIT" or order.time_in_force != GTC:
        return _failure("ONLY_LIMIT_ORDER_EDITS_SUPPORTED")
    assert order.limit_price is not None  # limit orders have a price and a base size
    assert order.base_size is not None
    try:
        price = number(body.get("price", "0") or "0", "price")
        size = number(body.get("size", "0") or "0", "size")
    except ValueError:
        return _failure("INVALID_EDITED_PRICE")
    product = order.product
    if price <= 0 or price % product.price_increment:
        return _failure("INVALID_EDITED_PRICE", "PREVIEW_INVALID_PRICE_PRECISION")
    # Docs ask for both fields; an omitted size is read as 0 and refused.
    if size <= 0 or size % product.base_increment or size > product.base_max_size:
        return _failure("INVALID_EDITED_SIZE", "PREVIEW_INVALID_SIZE_PRECISION")
    if size <= order.filled_size:
        return _failure("CANNOT_EDIT_TO_BELOW_FILLED_SIZE")
    if (price, size) == (order.limit_price, order.base_size):
        return _failure("EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST")
    try:
        check_notional(product, price * size)
    except RefusedError as refusal:
        return _failure("INVALID_EDITED_SIZE", f"PREVIEW_{refusal.reason}")
    best = venue.books[product.book_id].best("SELL" if order.is_buy else "BUY")
    if order.post_only and best is not None and (price >= best[0] if order.is_buy else price <= best[0]):
        return _failure("INVALID_EDITED_PRICE", "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY")
    before = order.limit_price, order.base_size
    order.limit_price, order.base_size = price, size
    more = order.hold_wanted() - order.hold
    order.limit_price, order.base_size = before
    if more > venue.wallets.available(order.hold_currency):
        return _failure("COMMANDER_REJECTED_EDIT_ORDER", "PREVIEW_INSUFFICIENT_FUND")
    return order, price, size


def edit_order(venue: Venue, body: dict[str, Any], now_s: float) -> dict[str, Any]:
    """Price and size at once. A smaller size at the same price keeps its place in the queue; all else loses it."""
    judged = _judge(venue, body)
    if isinstance(judged, dict):
        return judged
    order, price, size = judged
    book = venue.books[order.product.book_id]
    same_place = price == order.limit_price and order.base_size is not None and size < order.base_size
    if same_place and order.resting_at is not None and order.base_size is not None:
        book.own(order.side).levels[order.resting_at].size -= order.base_size - size
    else:
        venue.unrest(order)
    order.limit_price, order.base_size = price, size
    key = next(iter(order.config))
    order.config = {key: {**order.config[key], "limit_price": plain(price), "base_size": plain(size)}}
    edit = {"price": plain(price), "size": plain(size), "replace_accept_timestamp": rfc3339(now_s)}
    order.edits = [*order.edits, edit][-EDITS_KEPT:]
    venue.rehold(order, now_s)
    venue.touch(order, now_s)
    if not same_place:
        venue.work(order, now_s)
    return {"success": True, "errors": []}


def edit_preview(venue: Venue, body: dict[str, Any]) -> dict[str, Any]:
    judged = _judge(venue, body)
    if isinstance(judged, dict):
        return {"errors": judged["errors"], **_cost(ZERO, ZERO, ZERO, "", "", "0")}
    order, price, size = judged
    fee = price * size * (order.maker_rate if order.post_only else order.taker_rate)
    bid, ask = _touch(venue, order.product.book_id)
    return {"errors": [], **_cost(price * size, fee, size, bid, ask, plain(price))}


def preview_order(venue: Venue, body: dict[str, Any], now_s: float) -> dict[str, Any]:
    try:
        order = read_order({**body, "client_order_id": "preview"}, venue.products, now_s)
        errs: list[str] = []
    except RefusedError as refusal:
        return _preview([f"PREVIEW_{refusal.reason}"], ZERO, ZERO, ZERO, "", "", "0")
    book = venue.books[order.product.book_id]
    try:
        venue.admit(order, now_s)
    except RefusedError as refusal:
        errs.append(f"PREVIEW_{refusal.reason}")
    if order.quote_size is not None:
        value = order.quote_size / (ONE + order.taker_rate)
    elif order.limit_price is not None and order.base_size is not None:
        value = order.base_size * order.limit_price
    else:
        value = venue.walk_value(book, order.side, order.base_size or ZERO)
    fee = value * (order.maker_rate if order.post_only else order.taker_rate)
    best = book.best("SELL" if order.is_buy else "BUY")
    price = order.limit_price or (best[0] if best else ZERO)
    base = order.base_size if order.base_size is not None else (value / price if price else ZERO)
    bid, ask = _touch(venue, order.product.book_id)
    total = value + fee if order.is_buy else value - fee
    return _preview(errs, total, fee, base, bid, ask, rounded(price, 8), value)


def _touch(venue: Venue, book_id: str) -> tuple[str, str]:
    bid, ask = venue.books[book_id].best("BUY"), venue.books[book_id].best("SELL")
    return plain(bid[0]) if bid else "", plain(ask[0]) if ask else ""


def _cost(total: Decimal, fee: Decimal, base: Decimal, bid: str, ask: str, price: str) -> dict[str, str]:
    return {
        "slippage": "0",
        "order_total": rounded(total, 8),
        "commission_total": rounded(fee, 8),
        "quote_size": rounded(total, 8),
        "base_size": rounded(base, 8),
        "best_bid": bid,
        "best_ask": ask,
        "average_filled_price": price,
    }


def _preview(
    errs: list[str], total: Decimal, fee: Decimal, base: Decimal, bid: str, ask: str, price: str, value: Decimal = ZERO
) -> dict[str, Any]:
    return {
        "order_total": rounded(total, 8),
        "commission_total": rounded(fee, 8),
        "errs": errs,
        "warning": [],
        "quote_size": rounded(value, 8),
        "base_size": rounded(base, 8),
        "best_bid": bid,
        "best_ask": ask,
        "is_max": False,
        "order_margin_total": "0",
        "leverage": "0",
        "long_leverage": "0",
        "short_leverage": "0",
        "slippage": "0",
        # An id that names the question: the same preview of the same order has the same id.
        "preview_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{errs}{total}{base}{price}")),
        "current_liquidation_buffer": "",
        "projected_liquidation_buffer": "",
        "max_leverage": "",
        "pnl_configuration": {},
        "est_average_filled_price": price,
        "commission_detail_total": {"total_commission": rounded(fee, 8)},
    }


def must_be_body(body: object) -> dict[str, Any]:
    """A JSON object, or BadRequestError."""
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    return body
