"""Fees before they are known, and sizes that stay above the venue's minimum after them.

Fees here are *estimates* for decisions; what is booked comes from the venue's fills. A rate is a fraction (0.006 = 60 bps)
of the traded value in quote currency, as Coinbase charges spot; rounding always names its direction. Source of the
formulas: net = gross x (1 - rate) for what a buyer's quote amount buys, gross = net / (1 - rate) for its inverse.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from trading.product import Product
from trading.values import ZERO, ceil_to_increment, floor_to_increment

CENT = Decimal("0.01")


def rate_to_assume(configured_rate: Decimal, account_rate: Decimal | None) -> Decimal:
    """The larger of what we were told and what the account's tier says: an estimate must never be too low."""
    return configured_rate if account_rate is None else max(configured_rate, account_rate)


def estimate_fee(notional_usd: Decimal, rate: Decimal) -> Decimal:
    """The fee in quote units for `notional_usd`, rounded up to the cent: an estimate errs to our cost. Raises ValueError."""
    _check(rate)
    if notional_usd < ZERO:
        raise ValueError(f"a notional of {notional_usd} is negative; a fee is charged on what was traded")
    return (notional_usd * rate).quantize(CENT, rounding=ROUND_CEILING)


def size_after_fees(gross: Decimal, rate: Decimal, increment: Decimal) -> Decimal:
    """What is left of `gross` (base or quote units) after the fee, rounded down to `increment`."""
    _check(rate)
    return floor_to_increment(gross * (1 - rate), increment)


def size_to_achieve_net(net: Decimal, rate: Decimal, increment: Decimal) -> Decimal:
    """The smallest multiple of `increment` that leaves at least `net` after the fee; both in the same units."""
    _check(rate)
    return ceil_to_increment(net / (1 - rate), increment)


def min_gross_size(product: Product, price: Decimal, rate: Decimal) -> Decimal:
    """The smallest order size in base units that the venue takes and that is still sellable after the fee.

    Held against both minima: base_size_min, and quote_size_min at `price`; each must survive the fee. Rounded up to the
    base increment, so that rounding cannot fall below the minimum again. Raises ValueError for a price of zero or less.
    """
    if price <= ZERO:
        raise ValueError(f"{product.product_id}: a price of {price} values nothing")
    by_base = size_to_achieve_net(product.base_size_min, rate, product.base_increment)
    by_quote = size_to_achieve_net(product.quote_size_min / price, rate, product.base_increment)
    return max(by_base, by_quote, product.base_increment)


def sellable_size(product: Product, size: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """`size` rounded down to what the venue takes as a sell at `price`, or zero when it is dust.

    Dust: below base_size_min, or worth less than quote_size_min after the fee.
    """
    rounded = min(floor_to_increment(size, product.base_increment), product.base_size_max)
    if rounded <= ZERO or rounded < product.base_size_min:
        return ZERO
    if rounded * price * (1 - rate) < product.quote_size_min:
        return ZERO
    return rounded


def _check(rate: Decimal) -> None:
    if not ZERO <= rate < 1:
        raise ValueError(f"a fee rate of {rate} is not a fraction of at least 0 and below 1 (60 bps is 0.006)")
