"""Pages of orders, fills and accounts: Coinbase's filters, limits and cursors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from exchange.simulator.accounts import Wallet
from exchange.simulator.fills import Fill, fill_json
from exchange.simulator.orders import Order, order_json
from exchange.simulator.words import BadRequestError, NotFoundError, parse_time, plain, rfc3339

if TYPE_CHECKING:
    from exchange.simulator.matching import Venue

T = TypeVar("T")

ORDERS_LIMIT = 1000
FILLS_LIMIT = 100
ACCOUNTS_LIMIT_MAX = 250
FIAT = frozenset({"USD", "EUR", "GBP", "SGD", "CAD", "AUD", "JPY", "CHF"})
STATUSES = frozenset(
    [
        "PENDING",
        "OPEN",
        "FILLED",
        "CANCELLED",
        "EXPIRED",
        "FAILED",
        "UNKNOWN_ORDER_STATUS",
        "QUEUED",
        "CANCEL_QUEUED",
        "EDIT_QUEUED",
    ]
)
Filters = Mapping[str, Sequence[str]]


def many(filters: Filters, name: str) -> set[str]:
    """All values of a repeated parameter, comma-separated ones split, empty ones ignored."""
    return {part for value in filters.get(name, ()) for part in value.split(",") if part}


def one(filters: Filters, name: str, default: str = "") -> str:
    values = filters.get(name, ())
    return values[-1] if values else default


def limit_of(filters: Filters, default: int, most: int) -> int:
    text = one(filters, "limit")
    if not text:
        return default
    if not text.isdigit() or int(text) < 1:
        raise BadRequestError(f"limit {text!r} is not a positive number")
    return min(int(text), most)


def time_of(filters: Filters, name: str) -> float | None:
    text = one(filters, name)
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise BadRequestError(f"{name} {text!r} is not RFC 3339") from None


def make_cursor(word: str) -> str:
    return base64.urlsafe_b64encode(word.encode()).decode().rstrip("=")


def read_cursor(cursor: str, kind: str) -> int | None:
    """The number a cursor of this kind stands for; None for an empty one."""
    if not cursor:
        return None
    try:
        word = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        name, _, value = word.partition(":")
        if name == kind:
            return int(value)
    except (binascii.Error, ValueError):
        pass
    raise BadRequestError(f"cursor {cursor!r} is not one of ours")


def page(rows: Iterable[T], kind: str, cursor: str, limit: int, key: Callable[[T], int]) -> tuple[list[T], str]:
    """Rows come newest first; the cursor names the last one told, so that new rows in between shift nothing."""
    after = read_cursor(cursor, kind)
    found: list[T] = []
    for row in rows:
        if after is not None and key(row) >= after:
            continue
        if len(found) == limit:
            return found, make_cursor(f"{kind}:{key(found[-1])}")
        found.append(row)
    return found, ""


def sorted_page(rows: list[T], kind: str, cursor: str, limit: int) -> tuple[list[T], str]:
    """Other orders than newest first page by position ("unstable pagination", as Coinbase warns)."""
    start = read_cursor(cursor, kind) or 0
    more = start + limit < len(rows)
    return rows[start : start + limit], make_cursor(f"{kind}:{start + limit}") if more else ""


def orders_page(venue: Venue, filters: Filters, now_s: float) -> dict[str, Any]:
    statuses = many(filters, "order_status")
    if unknown := statuses - STATUSES:
        raise BadRequestError(f"unknown order_status {', '.join(sorted(unknown))}")
    if "OPEN" in statuses and len(statuses) > 1:
        raise BadRequestError("order_status OPEN cannot be combined with other statuses")
    rows = [order for order in _candidates(venue, filters, statuses) if _wanted(venue, order, filters, statuses, now_s)]
    limit = limit_of(filters, ORDERS_LIMIT, ORDERS_LIMIT)
    sort, cursor = one(filters, "sort_by"), one(filters, "cursor")
    if sort == "LIMIT_PRICE":
        rows.sort(key=lambda order: -(order.limit_price or 0))
    elif sort == "LAST_FILL_TIME":
        rows.sort(key=lambda order: -(order.last_fill_s or 0.0))
    elif sort == "LAST_UPDATE_TIME":
        rows.sort(key=lambda order: -order.updated_s)
    if sort in ("LIMIT_PRICE", "LAST_FILL_TIME", "LAST_UPDATE_TIME"):
        found, following = sorted_page(rows, "orders-by", cursor, limit)
    else:
        found, following = page(rows, "orders", cursor, limit, lambda order: order.number)
    return {
        "orders": [order_json(order, venue.user_id, venue.portfolio_uuid) for order in found],
        "sequence": "0",
        "has_next": bool(following),
        "cursor": following,
        "proof_token_required": False,
    }


def _candidates(venue: Venue, filters: Filters, statuses: set[str]) -> list[Order]:
    """Newest first, from the smallest set that holds all answers."""
    ids = many(filters, "order_ids")
    if ids:
        return sorted((venue.orders[i] for i in ids if i in venue.orders), key=lambda order: -order.number)
    if statuses and statuses <= {"OPEN", "PENDING", "QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED"}:
        return sorted(venue.open_orders.values(), key=lambda order: -order.number)
    return list(reversed(venue.orders.values()))


def _wanted(venue: Venue, order: Order, filters: Filters, statuses: set[str], now_s: float) -> bool:
    if now_s < order.created_s + venue.settings.listing_lag_s or (statuses and order.status not in statuses):
        return False
    for name, value in (
        ("product_ids", order.product.product_id),
        ("product_id", order.product.product_id),
        ("order_types", order.kind),
        ("order_type", order.kind),
        ("time_in_forces", order.time_in_force),
        ("order_side", order.side),
        ("client_order_ids", order.client_order_id),
    ):
        wanted = many(filters, name)
        if wanted and value not in wanted and not (name == "order_side" and wanted == {"UNKNOWN_ORDER_SIDE"}):
            return False
    product_type = one(filters, "product_type")
    if product_type not in ("", "SPOT", "UNKNOWN_PRODUCT_TYPE"):
        return False
    source = one(filters, "order_placement_source", "RETAIL_ADVANCED")
    if source not in ("", "UNKNOWN_PLACEMENT_SOURCE", order.placement_source):
        return False
    assets = many(filters, "asset_filters")
    if assets and not assets & {order.product.base, order.product.quote}:
        return False
    if statuses == {"OPEN"}:
        return True  # dates are ignored for OPEN
    start, end = time_of(filters, "start_date"), time_of(filters, "end_date")
    return (start is None or order.created_s >= start) and (end is None or order.created_s < end)


def fills_page(venue: Venue, filters: Filters, now_s: float) -> dict[str, Any]:
    order_ids = many(filters, "order_ids") | many(filters, "order_id")
    trade_ids, products = many(filters, "trade_ids"), many(filters, "product_ids") | many(filters, "product_id")
    start, end = time_of(filters, "start_sequence_timestamp"), time_of(filters, "end_sequence_timestamp")

    def wanted(fill: Fill) -> bool:
        return (
            now_s >= fill.listed_s
            and (not order_ids or fill.order_id in order_ids)
            and (not trade_ids or fill.trade_id in trade_ids)
            and (not products or fill.product_id in products)
            and (start is None or fill.at_s >= start)
            and (end is None or fill.at_s <= end)
        )

    if order_ids:
        source = [fill for order_id in order_ids for fill in venue.fills_by_order.get(order_id, ())]
        source.sort(key=lambda fill: -fill.number)
    else:
        source = list(reversed(venue.fill_list))
    limit, cursor = limit_of(filters, FILLS_LIMIT, ORDERS_LIMIT), one(filters, "cursor")
    if one(filters, "sort_by") == "PRICE":
        rows = sorted((fill for fill in source if wanted(fill)), key=lambda fill: -fill.price)
        found, following = sorted_page(rows, "fills-by", cursor, limit)
    else:
        found, following = page(filter(wanted, source), "fills", cursor, limit, lambda fill: fill.number)
    return {"fills": [fill_json(fill, venue.user_id, venue.portfolio_uuid) for fill in found], "cursor": following}


def account_uuid(venue: Venue, currency: str) -> str:
    import uuid

    return str(uuid.uuid5(venue.namespace, f"account:{currency}"))


def account_json(venue: Venue, wallet: Wallet) -> dict[str, Any]:
    currency = wallet.currency
    fiat = currency in FIAT
    return {
        "uuid": account_uuid(venue, currency),
        "name": f"Cash ({currency})" if currency == "USD" else f"{currency} Wallet",
        "currency": currency,
        "available_balance": {"value": plain(wallet.available), "currency": currency},
        "default": not fiat,
        "active": True,
        "created_at": rfc3339(wallet.created_s, 3),
        "updated_at": rfc3339(wallet.updated_s),
        "deleted_at": None,
        "type": "ACCOUNT_TYPE_FIAT" if fiat else "ACCOUNT_TYPE_CRYPTO",
        "ready": True,
        "hold": {"value": plain(wallet.hold), "currency": currency},
        "retail_portfolio_id": venue.portfolio_uuid,
        "platform": "ACCOUNT_PLATFORM_CONSUMER",
    }


def accounts_page(venue: Venue, limit: int, cursor: str) -> dict[str, Any]:
    wallets = sorted(venue.wallets.by_currency.values(), key=lambda wallet: wallet.currency)
    found, following = sorted_page(wallets, "accounts", cursor, max(1, min(limit, ACCOUNTS_LIMIT_MAX)))
    return {
        "accounts": [account_json(venue, wallet) for wallet in found],
        "has_next": bool(following),
        "cursor": following,
        "size": len(found),
    }


def account_answer(venue: Venue, wanted: str) -> dict[str, Any]:
    for wallet in venue.wallets.by_currency.values():
        if account_uuid(venue, wallet.currency) == wanted:
            return {"account": account_json(venue, wallet)}
    raise NotFoundError(f"account {wanted} was not found")
