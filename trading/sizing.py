"""How much: from NAV, tier, conviction, volatility and every room that is left, to a base size or a code.

Pure, in Decimals, and monotone: raising any limit never shrinks the size (a property test holds it there). Formulas:
domain.md section 10, with two changes. Its line 3 raised small sizes to 0.5 % of NAV whatever the caps said; here only
`bump_to_min` may raise a size, to the least that the venue takes, and never past a limit. Its risk parity never acted,
since a 1 % risk at an 8 % stop is 12.5 % of NAV, four times any tier's size at any volatility; so the factor of its line 1,
50 / volatility, shrinks the tier's size too (never raises it), and `risk_per_trade_pct` is a limit beside it (ADR 11).
"""

from __future__ import annotations

from decimal import Decimal

from attrs import frozen

from trading.denied import Denied, denied
from trading.product import Product
from trading.values import ZERO, ceil_to_increment, floor_to_increment


@frozen(kw_only=True)
class SizingSettings:
    """risk_per_trade_pct: NAV lost when the stop is hit, at volatility 50. order_usd_min/max: of one order, before fee.

    volatility_reference_pct: annualised; at twice of it sizes are half, below it whole. depth_multiple: the book must hold that many times the
    order within 20 bps. bump_to_min: a wish below the venue's minimum is raised to it, if every limit takes that.
    """

    risk_per_trade_pct: Decimal = Decimal(1)
    volatility_reference_pct: Decimal = Decimal(50)
    volatility_floor_pct: Decimal = Decimal(10)
    order_usd_min: Decimal = Decimal(5)
    order_usd_max: Decimal = Decimal(10_000)
    depth_multiple: Decimal = Decimal(10)
    bump_to_min: bool = True


@frozen(kw_only=True)
class SizingInputs:
    """Everything that a size depends on. room_usd: least room in any cap, for the worst case with fee.

    mark: newest believed mid; the worst case prices at max(limit, mark). notional_usd_max: the proposal's own limit.
    """

    nav_usd: Decimal
    base_pct: Decimal
    size_factor: Decimal
    multiplier: Decimal
    conviction: Decimal
    stop_pct: Decimal
    volatility_pct: Decimal
    notional_usd_max: Decimal
    room_usd: Decimal
    available_usd: Decimal
    depth_usd: Decimal
    limit_price: Decimal
    mark: Decimal
    fee_rate: Decimal
    product: Product


@frozen(kw_only=True)
class Sized:
    """binding: the limit that made the size what it is."""

    base_size: Decimal
    notional_usd: Decimal
    binding: str


def wish_usd(inputs: SizingInputs, settings: SizingSettings) -> tuple[Decimal, str]:
    """The size that tier, conviction, regime and risk per trade ask for, before any room."""
    calm = settings.volatility_reference_pct / max(inputs.volatility_pct, settings.volatility_floor_pct)
    tier_usd = inputs.nav_usd * inputs.base_pct / 100 * inputs.size_factor * inputs.multiplier * inputs.conviction
    tier_usd *= min(Decimal(1), calm)
    risk_usd = inputs.nav_usd * settings.risk_per_trade_pct / inputs.stop_pct * calm
    if risk_usd < tier_usd:
        return risk_usd, "risk_per_trade"
    return tier_usd, "tier_base" if calm >= 1 else "volatility"


def least_usd(product: Product, fee_rate: Decimal, limit_price: Decimal, settings: SizingSettings) -> Decimal:
    """The least notional that still passes every minimum after fee: net / (1 - fee), rounded up a tick (domain.md 12)."""
    net = max(settings.order_usd_min, product.quote_size_min, product.base_size_min * limit_price)
    return ceil_to_increment(net / (1 - fee_rate), Decimal("0.01"))


def least_size(product: Product, fee_rate: Decimal, limit_price: Decimal, settings: SizingSettings) -> Decimal:
    """The least base size that is worth `least_usd` at its limit."""
    return ceil_to_increment(least_usd(product, fee_rate, limit_price, settings) / limit_price, product.base_increment)


def size(inputs: SizingInputs, settings: SizingSettings) -> Sized | Denied:
    """The largest base size within every limit, or the code of what leaves none."""
    wish, wish_name = wish_usd(inputs, settings)
    if wish <= ZERO:
        return denied("non_positive_request", nav_usd=inputs.nav_usd, multiplier=inputs.multiplier)
    increment, limit = inputs.product.base_increment, inputs.limit_price
    least = least_usd(inputs.product, inputs.fee_rate, limit, settings)
    needed = least_size(inputs.product, inputs.fee_rate, limit, settings)
    wish_base = floor_to_increment(wish / limit, increment)
    if wish_base < needed:
        if not settings.bump_to_min:
            return denied("position_size_too_small", wish_usd=wish, least_usd=least, bound_by=wish_name)
        wish_base, wish_name = needed, "bumped_to_min"
    bases = {
        "order_usd_max": settings.order_usd_max / limit,
        "proposal": inputs.notional_usd_max / limit,
        "caps": max(ZERO, inputs.room_usd) / (max(limit, inputs.mark) * (1 + inputs.fee_rate)),
        "available_balance": max(ZERO, inputs.available_usd) / (limit * (1 + inputs.fee_rate)),
        "depth": inputs.depth_usd / settings.depth_multiple / limit,
        "base_size_max": inputs.product.base_size_max,
        "quote_size_max": inputs.product.quote_size_max / limit,
    }
    bases = {name: floor_to_increment(value, increment) for name, value in bases.items()}
    bases[wish_name] = wish_base
    binding = min(bases, key=bases.__getitem__)
    base = bases[binding]
    if base < needed:
        return denied(
            "no_capacity" if base <= ZERO else "below_min_after_caps",
            bound_by=binding,
            size_usd=base * limit,
            least_usd=least,
            wish_usd=wish,
            room_usd=max(ZERO, inputs.room_usd),
            available_usd=inputs.available_usd,
        )
    return Sized(base_size=base, notional_usd=base * limit, binding=binding)
