"""When a position is left and how (domain.md section 13): pure functions on a position, a price and the time.

Priority: stop, then target, then maximum hold. Stop and trailing are judged by the believed mid (a bid that a thin book
lost for an instant stops nobody out), a target by the bid, since that is what a sale gets.
"""

from __future__ import annotations

from decimal import Decimal

from trading.denied import measured
from trading.exits_settings import ExitsSettings
from trading.light import light
from trading.machine import Instant
from trading.messages.book import BookPosition, BookSnapshot
from trading.messages.decisions import Values
from trading.product import Allows, Product, allowance
from trading.values import ZERO, ceil_to_increment, floor_to_increment

STICKY = frozenset({"stop", "trailing_stop", "max_hold", "operator", "trim", "purge_ineligible"})
"""Reasons that stand until the position is flat, whatever the price does next; a target may be missed again."""


@light(kw_only=True)
class Price:
    """What an exit decides on. source: feed or rest; exchange_s and received_boot_s tell its age."""

    bid: Decimal
    ask: Decimal
    exchange_s: float
    received_boot_s: float
    source: str = "feed"

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2


def price_reason(position: BookPosition, stop: Decimal, price: Price) -> tuple[str, Values] | None:
    """Stop or target, with what was measured; `stop` is the tightest that anybody knows."""
    mid = price.mid
    if stop > ZERO and mid <= stop:
        trailing = position.trailing_pct is not None and stop > position.average_price
        return "trailing_stop" if trailing else "stop", measured(
            price=mid, stop_price=stop, entry=position.average_price
        )
    if position.target_price > ZERO and price.bid >= position.target_price:
        return "target", measured(bid=price.bid, target_price=position.target_price, entry=position.average_price)
    return None


def hold_over(position: BookPosition, now: Instant) -> tuple[str, Values] | None:
    """The maximum hold has no deciding quote and needs none (protocol section 2)."""
    if position.hold_until_s > 0.0 and now.over(position.hold_until_s):
        return "max_hold", measured(
            held_s=round(now.venue_s - position.opened_s), over_by_s=round(now.venue_s - position.hold_until_s)
        )
    return None


def trailed_stop(position: BookPosition, peak: Decimal) -> Decimal:
    """Peak x (1 - trailing %), or zero without a trailing stop."""
    return ZERO if position.trailing_pct is None else peak * (1 - position.trailing_pct / 100)


def crash_stop(stop: Decimal, mid: Decimal, settings: ExitsSettings) -> Decimal:
    """In a crash the distance to the stop shrinks, to `crash_stop_pct_min` of the price at the least."""
    if stop >= mid:
        return stop
    nearer = mid - (mid - stop) * settings.crash_stop_factor
    return max(stop, min(nearer, mid * (1 - settings.crash_stop_pct_min / 100)))


def exit_style(
    product: Product | None, position: BookPosition, book: BookSnapshot, mid: Decimal | None, dust_usd: Decimal
) -> str:
    """How an exit goes: "ioc", or "gtd" where others hold the same coin (protocol section 3 rule 7), "post_only", or "" when none goes."""
    allows = allowance(product).exit
    if allows is Allows.NO:
        return ""
    if allows is Allows.POST_ONLY:
        return "post_only"
    base = position.product_id.rsplit("-", 1)[0]
    for holding in book.foreign:
        if holding.currency == base and holding.size > ZERO and (mid is None or holding.size * mid > dust_usd):
            return "gtd"
    return "ioc"


def exit_limit(price: Price, style: str, tries: int, product: Product | None, settings: ExitsSettings) -> Decimal:
    """A sale's limit: bid x (1 - tolerance x (1 + tries)), down to the increment; post-only rests at the ask."""
    increment = product.price_increment if product is not None else _tick_of(price.bid)
    if style == "post_only":
        return ceil_to_increment(price.ask, increment)
    tolerance = min(settings.tolerance_bps * (1 + tries), settings.tolerance_bps_max)
    return max(increment, floor_to_increment(price.bid * (1 - tolerance / 10_000), increment))


def _tick_of(price: Decimal) -> Decimal:
    """Without metadata: the last digit that the venue itself used."""
    exponent = price.as_tuple().exponent
    return Decimal(1).scaleb(exponent) if isinstance(exponent, int) else Decimal("0.01")


def wait_after(ended: str | None, failures: int, settings: ExitsSettings) -> float:
    """Seconds until the next try: none after a canceled or partly filled IOC, 1, 2, 4 ... 10 after NotSent or Rejected."""
    word = (ended or "").lower()
    if not any(part in word for part in ("not_sent", "not_placed", "reject", "refused", "denied")):
        return 0.0
    return settings.wait_s[min(failures, len(settings.wait_s) - 1)]
