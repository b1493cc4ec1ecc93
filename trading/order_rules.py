"""An order that violates its product cannot be built: directed rounding, minima and maxima, in one place.

Rounding never makes an order worse than asked: sizes round down, a buy's limit down, a sell's limit up. A size may rise
to the product's minimum only as far as the caller allows (`size_max`). Two minima exist: `base_size_min` (often 1e-8,
useless) and `quote_size_min`, the effective one, which is measured after fee so that what was bought can be sold again.

Used twice on purpose: whoever makes an order builds it here, and the gateway refuses it again by `violation`.
"""

from __future__ import annotations

from decimal import Decimal

from trading.denied import Denied, denied
from trading.messages.orders import OrderBody, OrderStyle
from trading.product import Product
from trading.values import ZERO, Side, ceil_to_increment, floor_to_increment, is_multiple, plain

RESTING = frozenset({OrderStyle.LIMIT_GTD, OrderStyle.LIMIT_GTC})
LIMITS = frozenset({OrderStyle.LIMIT_GTD, OrderStyle.LIMIT_IOC, OrderStyle.LIMIT_GTC, OrderStyle.LIMIT_FOK})


def round_price(product: Product, side: Side, price: Decimal) -> Decimal:
    """A buy never pays more than asked, a sell never gets less. `price_increment`, never `quote_increment` (they differ)."""
    if side is Side.BUY:
        return floor_to_increment(price, product.price_increment)
    return ceil_to_increment(price, product.price_increment)


def round_size(product: Product, size: Decimal) -> Decimal:
    return floor_to_increment(size, product.base_increment)


def size_for_spend(product: Product, spend_usd: Decimal, price: Decimal, fee_rate: Decimal) -> Decimal:
    """The largest base size whose cost with fee at `price` is at most `spend_usd`; zero when nothing fits."""
    if price <= ZERO or spend_usd <= ZERO:
        return ZERO
    return round_size(product, spend_usd / ((1 + fee_rate) * price))


def most_at_once(product: Product, size: Decimal, price: Decimal) -> Decimal:
    """`size`, or as much of it as one order may have at `price`: what is held may be more (adopted, or risen in price)."""
    if price <= ZERO:
        return ZERO
    for most in (product.base_size_max, product.quote_size_max / price):
        size = min(size, most) if most > ZERO else size
    return round_size(product, size)


def size_min(product: Product, price: Decimal, fee_rate: Decimal = ZERO) -> Decimal:
    """The smallest base size the product takes at `price`, with `quote_size_min` still met after fee."""
    if price <= ZERO:
        return product.base_size_max
    by_quote = product.quote_size_min / (price * (1 - fee_rate))
    return ceil_to_increment(max(by_quote, product.base_size_min, product.base_increment), product.base_increment)


def build_body(
    product: Product,
    side: Side,
    size: Decimal,
    price: Decimal,
    *,
    style: OrderStyle = OrderStyle.LIMIT_GTD,
    post_only: bool = False,
    end_time_s: int | None = None,
    fee_rate: Decimal = ZERO,
    size_max: Decimal | None = None,
) -> OrderBody | Denied:
    """A body that satisfies `product`, or why there is none, measured.

    size, size_max in base units; price in quote units; fee_rate as a fraction (0.006). size_max: how far the size may
    rise to reach the product's minimum (None: not at all).
    """
    if not (size.is_finite() and price.is_finite()) or size <= ZERO or price <= ZERO:
        return denied("non_positive_request", base_size=size, limit_price=price)
    limit_price = round_price(product, side, price)
    if limit_price <= ZERO:
        return denied("non_positive_request", limit_price=price, price_increment=product.price_increment)
    base_size = round_size(product, size)
    least = size_min(product, limit_price, fee_rate)
    if base_size < least:
        if size_max is None or least > size_max:
            return denied(
                "position_size_too_small",
                base_size=plain(base_size),
                base_size_min=plain(least),
                quote_size_min=plain(product.quote_size_min),
                limit_price=plain(limit_price),
            )
        base_size = least
    body = OrderBody(
        product_id=product.product_id,
        side=side,
        style=style,
        base_size=base_size,
        limit_price=limit_price,
        post_only=post_only,
        end_time_s=end_time_s,
    )
    reason = violation(product, body)
    return body if not reason else denied(reason, base_size=plain(base_size), limit_price=plain(limit_price))


def violation(product: Product, body: OrderBody) -> str:
    """A code when `body` does not satisfy `product`, else "". The gateway's last look, which trusts nobody's arithmetic."""
    size, price = body.base_size, body.limit_price
    if body.product_id != product.product_id:
        return "other_product"
    if not (size.is_finite() and price.is_finite()) or size <= ZERO or price <= ZERO:
        return "non_positive_request"
    if product.price_increment <= ZERO or product.base_increment <= ZERO:
        return "product_without_increments"
    notional = size * price
    if size < product.base_size_min or notional < product.quote_size_min:
        return "position_size_too_small"
    if (product.base_size_max > ZERO and size > product.base_size_max) or (
        product.quote_size_max > ZERO and notional > product.quote_size_max
    ):
        return "position_size_too_large"
    if not is_multiple(price, product.price_increment):
        return "price_increment"
    if not is_multiple(size, product.base_increment):
        return "base_increment"
    if body.post_only and body.style not in RESTING:
        return "post_only_must_rest"
    return "" if body.style is not OrderStyle.LIMIT_GTD or body.end_time_s is not None else "end_time_missing"
