"""One order: how it is read from Coinbase's JSON, what it holds, and how Coinbase shows it.

`read_order` turns a create body into an `Order` or refuses it in Coinbase's words; it looks only at the body and the
product. What depends on the book or the wallets (post-only, funds, liquidity) is judged in `matching`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from exchange.simulator.products import Product
from exchange.simulator.words import (
    NEVER,
    ONE,
    ZERO,
    BadRequestError,
    number,
    parse_time,
    plain,
    rfc3339,
    rounded,
)

if TYPE_CHECKING:
    from exchange.simulator.book import Group

TERMINAL = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
GTC, GTD, IOC, FOK = "GOOD_UNTIL_CANCELLED", "GOOD_UNTIL_DATE_TIME", "IMMEDIATE_OR_CANCEL", "FILL_OR_KILL"

KINDS = {
    # key in order_configuration: (order_type, time_in_force)
    "market_market_ioc": ("MARKET", IOC),
    "sor_limit_ioc": ("LIMIT", IOC),
    "limit_limit_gtc": ("LIMIT", GTC),
    "limit_limit_gtd": ("LIMIT", GTD),
    "limit_limit_fok": ("LIMIT", FOK),
    "stop_limit_stop_limit_gtc": ("STOP_LIMIT", GTC),
    "stop_limit_stop_limit_gtd": ("STOP_LIMIT", GTD),
    "trigger_bracket_gtc": ("BRACKET", GTC),
    "trigger_bracket_gtd": ("BRACKET", GTD),
}
END_TIME_LONGEST_S = 90 * 86_400.0
BRACKET_STOP_SLACK = Decimal("0.05")
"""A bracket's stop leg fires a limit 5 % worse than its stop price."""


@frozen
class RefusedError(Exception):
    """A refusal in Coinbase's words. `preview`: the reason is one of the PREVIEW_ enumeration, else of NewOrderFailureReason."""

    reason: str
    message: str
    preview: bool = False

    def as_json(self) -> dict[str, Any]:
        named = f"PREVIEW_{self.reason}"
        return {
            "error": self.reason if not self.preview else named.removeprefix("PREVIEW_"),
            "message": self.message,
            "error_details": "",
            "preview_failure_reason": named if self.preview else "UNKNOWN_PREVIEW_FAILURE_REASON",
            "new_order_failure_reason": "UNKNOWN_FAILURE_REASON" if self.preview else self.reason,
        }


@define(eq=False, kw_only=True)
class Order:
    """A living or finished order. Money and sizes are Decimal, times venue seconds."""

    order_id: str
    number: int
    client_order_id: str
    product: Product
    side: str
    config: dict[str, dict[str, Any]]
    kind: str
    time_in_force: str
    base_size: Decimal | None
    quote_size: Decimal | None
    limit_price: Decimal | None
    post_only: bool
    end_time_s: float | None
    stop_price: Decimal | None = None
    stop_up: bool = False
    created_s: float
    maker_rate: Decimal = ZERO
    taker_rate: Decimal = ZERO
    status: str = "PENDING"
    pending_cancel: bool = False
    triggered: bool = False
    filled_size: Decimal = ZERO
    filled_value: Decimal = ZERO
    fees: Decimal = ZERO
    fill_count: int = 0
    hold: Decimal = ZERO
    last_fill_s: float | None = None
    updated_s: float = 0.0
    reject_reason: str = "REJECT_REASON_UNSPECIFIED"
    reject_message: str = ""
    cancel_message: str = ""
    placement_source: str = "RETAIL_ADVANCED"
    edits: list[dict[str, str]] = field(factory=list)
    resting_at: Decimal | None = None
    """The price it rests at, None while it does not rest."""
    group: Group | None = None

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_buy(self) -> bool:
        return self.side == "BUY"

    @property
    def leaves(self) -> Decimal:
        """Base still to be filled; 0 for orders sized in quote, which never rest."""
        return self.base_size - self.filled_size if self.base_size is not None else ZERO

    @property
    def hold_currency(self) -> str:
        return self.product.quote if self.is_buy else self.product.base

    def hold_wanted(self) -> Decimal:
        """What its leaves still need: a sell its base, a buy its limit value and the fee it may cost."""
        if self.terminal:
            return ZERO
        if not self.is_buy:
            return self.leaves
        if self.quote_size is not None:
            return self.quote_size - self.filled_value - self.fees
        if self.limit_price is None:
            return ZERO  # a market buy by base size pays at once from what is available
        rate = self.maker_rate if self.post_only else max(self.maker_rate, self.taker_rate)
        highest = self.limit_price
        if self.kind == "BRACKET" and self.stop_price is not None:
            highest = max(highest, self.stop_price * (ONE + BRACKET_STOP_SLACK))
        return self.leaves * highest * (ONE + rate)


def read_order(body: dict[str, Any], products: dict[str, Product], now_s: float) -> Order:
    """The order a create (or preview) body asks for; ids, number and fee rates are the caller's to set.

    Raises BadRequestError for what is no order at all, RefusedError for what Coinbase refuses with HTTP 200.
    """
    config = body.get("order_configuration")
    if not isinstance(config, dict) or len(config) != 1:
        raise BadRequestError("order_configuration must hold exactly one kind of order")
    key, fields = next(iter(config.items()))
    if not isinstance(fields, dict):
        raise BadRequestError(f"order_configuration.{key} must be an object")
    product = products.get(str(body.get("product_id", "")))
    if product is None:
        raise RefusedError("INVALID_PRODUCT_ID", f"product {body.get('product_id')!r} is not known")
    side = body.get("side")
    if side not in ("BUY", "SELL"):
        raise RefusedError("INVALID_SIDE", f"side {side!r} is neither BUY nor SELL")
    if key not in KINDS or body.get("attached_order_configuration"):
        raise RefusedError("UNSUPPORTED_ORDER_CONFIGURATION", f"{key} is not supported for {product.product_id}")
    kind, time_in_force = KINDS[key]
    _market_state(product, kind, time_in_force, post_only=fields.get("post_only") is True)
    base, quote = _sizes(fields, kind, side)
    price = _price(fields, "limit_price", product) if kind != "MARKET" else None
    stop = None
    if kind == "STOP_LIMIT":
        stop = _price(fields, "stop_price", product)
    elif kind == "BRACKET":
        stop = _price(fields, "stop_trigger_price", product)
    _check_size(product, base, quote, price)
    up = fields.get("stop_direction") == "STOP_DIRECTION_STOP_UP" if kind == "STOP_LIMIT" else side == "BUY"
    return Order(
        order_id="",
        number=0,
        client_order_id=str(body.get("client_order_id", "")),
        product=product,
        side=side,
        config={key: dict(fields)},
        kind=kind,
        time_in_force=time_in_force,
        base_size=base,
        quote_size=quote,
        limit_price=price,
        post_only=fields.get("post_only") is True,
        end_time_s=_end_time(fields, now_s) if time_in_force == GTD else None,
        stop_price=stop,
        stop_up=up,
        created_s=now_s,
        updated_s=now_s,
    )


def _market_state(product: Product, kind: str, time_in_force: str, *, post_only: bool) -> None:
    if product.closed:
        raise RefusedError("TRADING_DISABLED", f"trading is disabled for {product.product_id}", preview=True)
    taking = kind == "MARKET" or time_in_force in (IOC, FOK)
    for flagged, state in (
        (product.cancel_only, "cancel only"),
        (product.auction_mode, "in auction"),
        (product.limit_only and kind == "MARKET", "limit only"),
        (product.post_only and (taking or not post_only), "post only"),
    ):
        if flagged:
            raise RefusedError("NOT_ALLOWED_BY_MARKET_STATE", f"{product.product_id} is {state}", preview=True)


def _sizes(fields: dict[str, Any], kind: str, side: str) -> tuple[Decimal | None, Decimal | None]:
    base, quote = fields.get("base_size"), fields.get("quote_size")
    given = [name for name, value in (("base_size", base), ("quote_size", quote)) if value not in (None, "")]
    if len(given) != 1 or (given == ["quote_size"] and (side == "SELL" or kind != "MARKET")):
        raise RefusedError("UNSUPPORTED_ORDER_CONFIGURATION", "one size: base_size, or quote_size of a market buy")
    try:
        size = number(fields[given[0]], given[0])
    except ValueError as error:
        raise RefusedError("NON_NUMERIC_ORDER_SIZE", str(error), preview=True) from None
    return (size, None) if given == ["base_size"] else (None, size)


def _price(fields: dict[str, Any], name: str, product: Product) -> Decimal:
    if name not in fields:
        raise BadRequestError(f"{name} is required")
    try:
        price = number(fields[name], name)
    except ValueError as error:
        raise RefusedError("INVALID_LIMIT_PRICE", str(error)) from None
    if price <= 0:
        raise RefusedError("INVALID_LIMIT_PRICE", f"{name} {fields[name]} is not positive")
    if price % product.price_increment:
        raise RefusedError(
            "INVALID_PRICE_PRECISION",
            f"{name} {fields[name]} is no multiple of {product.price_increment:f}",
            preview=True,
        )
    return price


def _check_size(product: Product, base: Decimal | None, quote: Decimal | None, price: Decimal | None) -> None:
    if quote is not None:
        if quote % product.quote_increment:
            raise RefusedError(
                "INVALID_QUOTE_SIZE_PRECISION", f"quote_size {quote:f} has too many decimals", preview=True
            )
        notional: Decimal | None = quote
    else:
        assert base is not None  # _sizes gives exactly one
        if base % product.base_increment:
            raise RefusedError(
                "INVALID_SIZE_PRECISION",
                f"base_size {base:f} is no multiple of {product.base_increment:f}",
                preview=True,
            )
        if base < product.base_min_size or base <= 0:
            raise RefusedError("INVALID_BASE_SIZE_TOO_SMALL", f"base_size {base:f} is too small", preview=True)
        if base > product.base_max_size:
            raise RefusedError("INVALID_BASE_SIZE_TOO_LARGE", f"base_size {base:f} is too large", preview=True)
        notional = base * price if price is not None else None
    check_notional(product, notional)


def check_notional(product: Product, notional: Decimal | None) -> None:
    """Minimum and maximum value; None (a market order before the book is seen) passes."""
    if notional is None:
        return
    if notional < product.quote_min_size:
        raise RefusedError(
            "INVALID_QUOTE_SIZE_TOO_SMALL", f"value {notional:f} is below {product.quote_min_size:f}", preview=True
        )
    if notional > product.quote_max_size:
        raise RefusedError(
            "INVALID_QUOTE_SIZE_TOO_LARGE", f"value {notional:f} is above {product.quote_max_size:f}", preview=True
        )


def _end_time(fields: dict[str, Any], now_s: float) -> float:
    if not fields.get("end_time"):
        raise RefusedError("GTD_ORDERS_MUST_HAVE_END_TIME", "end_time is required")
    try:
        end = parse_time(fields["end_time"])
    except ValueError:
        raise BadRequestError(f"end_time {fields['end_time']!r} is not RFC 3339") from None
    if end <= now_s:
        raise RefusedError("END_TIME_IS_IN_THE_PAST", f"end_time {fields['end_time']} is past")
    if end > now_s + END_TIME_LONGEST_S:
        raise RefusedError("END_TIME_TOO_FAR_IN_FUTURE", f"end_time {fields['end_time']} is too far ahead")
    return end


# --- as Coinbase shows it ----------------------------------------------------------------------------------------------


def trigger_status(order: Order) -> str:
    if order.kind not in ("STOP_LIMIT", "BRACKET"):
        return "INVALID_ORDER_TYPE"
    return "STOP_TRIGGERED" if order.triggered else "STOP_PENDING"


def average_price(order: Order) -> str:
    return rounded(order.filled_value / order.filled_size, 16) if order.filled_size else "0"


def completion(order: Order) -> str:
    if order.status == "FILLED":
        return "100"
    if order.quote_size is not None:
        share = (order.filled_value + order.fees) / order.quote_size
    else:
        share = order.filled_size / order.base_size if order.base_size else ZERO
    return rounded(share * 100, 2)


def value_after_fees(order: Order) -> Decimal:
    return order.filled_value + order.fees if order.is_buy else order.filled_value - order.fees


def order_json(order: Order, user_id: str, portfolio: str) -> dict[str, Any]:
    """The order as historical/batch and historical/{id} list it."""
    return {
        "order_id": order.order_id,
        "product_id": order.product.product_id,
        "user_id": user_id,
        "order_configuration": order.config,
        "side": order.side,
        "client_order_id": order.client_order_id,
        "status": order.status,
        "time_in_force": order.time_in_force,
        "created_time": rfc3339(order.created_s),
        "completion_percentage": completion(order),
        "filled_size": plain(order.filled_size),
        "average_filled_price": average_price(order),
        "fee": "",
        "number_of_fills": str(order.fill_count),
        "filled_value": plain(order.filled_value),
        "pending_cancel": order.pending_cancel,
        "size_in_quote": order.quote_size is not None,
        "total_fees": plain(order.fees),
        "size_inclusive_of_fees": order.quote_size is not None,
        "total_value_after_fees": plain(value_after_fees(order)),
        "trigger_status": trigger_status(order),
        "order_type": order.kind,
        "reject_reason": order.reject_reason,
        "settled": order.status == "FILLED",
        "product_type": "SPOT",
        "reject_message": order.reject_message,
        "cancel_message": order.cancel_message,
        "order_placement_source": order.placement_source,
        "outstanding_hold_amount": plain(order.hold),
        "is_liquidation": False,
        "last_fill_time": rfc3339(order.last_fill_s) if order.last_fill_s is not None else None,
        "edit_history": [dict(edit) for edit in order.edits],
        "leverage": "",
        "margin_type": "UNKNOWN_MARGIN_TYPE",
        "retail_portfolio_id": portfolio,
        "originating_order_id": "",
        "attached_order_id": "",
        "attached_order_configuration": None,
        "current_pending_replace": None,
        "commission_detail_total": None,
        "workable_size": "",
        "workable_size_completion_pct": "",
        "last_update_time": rfc3339(order.updated_s),
    }


def user_json(order: Order, portfolio: str) -> dict[str, Any]:
    """The order as the user channel tells it: cumulative, numbers and booleans as text."""
    leaves = ZERO if order.terminal else order.leaves
    if order.quote_size is not None and not order.terminal:
        leaves = order.quote_size - order.filled_value - order.fees
    return {
        "avg_price": average_price(order),
        "cancel_reason": order.cancel_message,
        "client_order_id": order.client_order_id,
        "completion_percentage": completion(order),
        "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE",
        "cumulative_quantity": plain(order.filled_size),
        "filled_value": plain(order.filled_value),
        "leaves_quantity": plain(leaves),
        "limit_price": plain(order.limit_price) if order.limit_price is not None else "",
        "number_of_fills": str(order.fill_count),
        "order_id": order.order_id,
        "order_side": order.side,
        "order_type": order.kind.replace("_", " ").title(),
        "outstanding_hold_amount": plain(order.hold),
        "post_only": "true" if order.post_only else "false",
        "product_id": order.product.product_id,
        "product_type": "SPOT",
        "reject_reason": "" if order.reject_reason == "REJECT_REASON_UNSPECIFIED" else order.reject_reason,
        "retail_portfolio_id": portfolio,
        "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
        "status": order.status,
        "stop_price": plain(order.stop_price) if order.stop_price is not None else "",
        "time_in_force": order.time_in_force,
        "total_fees": plain(order.fees),
        "total_value_after_fees": plain(value_after_fees(order)),
        "trigger_status": trigger_status(order),
        "creation_time": rfc3339(order.created_s),
        "end_time": rfc3339(order.end_time_s) if order.end_time_s is not None else NEVER,
        "start_time": NEVER,
    }
