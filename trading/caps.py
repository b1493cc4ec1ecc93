"""Exposure at worst case against its caps: one function, used by risk to judge and by oms to assert (invariant I3).

Worst case (domain.md sections 11 and 21): a position counts with max(seen, booked) at its mark; an entry that is not
proved terminal (open, partly filled, UNKNOWN) counts with what is not yet seen filled, at max(limit, mark), with fee,
and never less than when it was admitted. Exits in flight free nothing. Holdings that the bot did not open count when
`counted_foreign` says so. What cannot be valued is denied, never taken as nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from attrs import frozen

from trading.denied import Denied, denied
from trading.messages.book import BookOrder, BookPosition, BookSnapshot
from trading.messages.decisions import CapNumbers
from trading.values import ZERO, Purpose

OTHER = "OTHER"
UNTIERED = "T3"
TOTAL_KEY = ""

CODES: dict[str, str] = {
    "symbol": "position_size_with_pending",
    "theme": "theme_cap",
    "tier": "tier_cap",
    "strategy": "strategy_cap",
    "total": "exposure_cap",
}
"""scope -> reject code, in the order in which they are judged. Every scope must have a limit: a missing one denies."""


@frozen(kw_only=True)
class Exposures:
    """USD at worst case. by: (scope, key) -> USD; open_products: products that count as an open position.

    unvalued: what stands in the book but has no price; any entry here makes `check_caps` deny.
    """

    by: Mapping[tuple[str, str], Decimal]
    open_products: frozenset[str]
    unvalued: tuple[str, ...] = ()

    def usd(self, scope: str, key: str = TOTAL_KEY) -> Decimal:
        return self.by.get((scope, key), ZERO)


def worst_usd(base_size: Decimal, limit_price: Decimal, mark: Decimal | None, fee_rate: Decimal) -> Decimal:
    """Size x max(limit, mark) x (1 + fee): what an entry can cost or be worth, whichever is more."""
    price = limit_price if mark is None else max(limit_price, mark)
    return base_size * price * (1 + fee_rate)


def counts_as_entry(order: BookOrder) -> bool:
    """An entry that may still bring exposure: everything not proved terminal."""
    return order.purpose is Purpose.ENTRY and order.ended is None


def held_size(position: BookPosition) -> Decimal:
    """Fills that were seen count before they are booked, and booked ones also when a feed forgot them."""
    return max(position.seen_size, position.booked_size)


def exposures(book: BookSnapshot, caps: CapNumbers) -> Exposures:
    """Everything the book holds or may come to hold, per scope, at the marks of `caps`."""
    marks = dict(caps.marks)
    groups = {product_id: (theme, tier) for product_id, theme, tier in caps.groups}
    by: defaultdict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
    open_products: set[str] = set()
    unvalued: list[str] = []

    def add(product_id: str, strategy: str | None, usd: Decimal) -> None:
        theme, tier = groups.get(product_id, (OTHER, UNTIERED))
        by["symbol", product_id] += usd
        by["theme", theme] += usd
        by["tier", tier] += usd
        by["total", TOTAL_KEY] += usd
        if strategy is not None:
            by["strategy", strategy] += usd

    for position in book.positions:
        size = held_size(position)
        if size <= ZERO:
            continue
        mark = marks.get(position.product_id)
        if mark is None:
            # Dust is below every minimum by definition: it must not close all trading for want of a price.
            if position.dust:
                continue
            unvalued.append(position.product_id)
            mark = position.average_price
        add(position.product_id, position.strategy, size * mark)
        if not position.dust:
            open_products.add(position.product_id)
    for order in book.orders:
        if not counts_as_entry(order):
            continue
        leaves = max(ZERO, order.base_size - order.filled_size)
        now_usd = worst_usd(leaves, order.limit_price, marks.get(order.product_id), caps.fee_rate)
        add(order.product_id, order.strategy, max(order.worst_usd, now_usd))
        open_products.add(order.product_id)
    if caps.counted_foreign:
        for holding in book.foreign:
            if holding.size <= ZERO:
                continue
            product_id = f"{holding.currency}-USD"
            mark = marks.get(product_id)
            if mark is None:
                unvalued.append(product_id)
                continue
            add(product_id, None, holding.size * mark)
    return Exposures(by=dict(by), open_products=frozenset(open_products), unvalued=tuple(unvalued))


def check_caps(
    book: BookSnapshot,
    candidate_product: str,
    candidate_strategy: str,
    candidate_worst_usd: Decimal,
    caps: CapNumbers,
    *,
    standing: Exposures | None = None,
) -> Denied | None:
    """None when the candidate fits every cap on top of `book`; exactly at a limit is fine.

    candidate_worst_usd: `worst_usd(...)` of the candidate at caps.fee_rate. standing: `exposures(book, caps)` when the
    caller already has it. Re-quotes are no exception: their predecessor has ended and counts no more.
    """
    standing = exposures(book, caps) if standing is None else standing
    if standing.unvalued:
        return denied("data_unavailable", what="mark", products=" ".join(standing.unvalued))
    if candidate_worst_usd <= ZERO:
        return denied("non_positive_request", candidate_usd=candidate_worst_usd)
    if candidate_product not in standing.open_products and len(standing.open_products) >= caps.positions_max:
        return denied("max_open_positions", open=len(standing.open_products), limit=caps.positions_max)
    limits = {(scope, key): limit for scope, key, limit in caps.caps_usd}
    for (scope, key), code in _scopes(candidate_product, candidate_strategy, caps):
        limit = limits.get((scope, key))
        if limit is None:
            return denied("cap_missing", scope=scope, key=key)
        current = standing.usd(scope, key)
        if current + candidate_worst_usd > limit:
            return denied(
                code,
                scope=scope,
                key=key or "account",
                current_usd=current,
                candidate_usd=candidate_worst_usd,
                limit_usd=limit,
            )
    return None


def room_usd(
    product_id: str, strategy: str, caps: CapNumbers, standing: Exposures
) -> tuple[Decimal, tuple[tuple[str, Decimal], ...]]:
    """(the least room left in any cap, room per scope): what a candidate's worst case may be at most. Never negative."""
    limits = {(scope, key): limit for scope, key, limit in caps.caps_usd}
    rooms = tuple(
        (scope, max(ZERO, limits.get((scope, key), ZERO) - standing.usd(scope, key)))
        for (scope, key), _ in _scopes(product_id, strategy, caps)
    )
    return min(room for _, room in rooms), rooms


def _scopes(product_id: str, strategy: str, caps: CapNumbers) -> tuple[tuple[tuple[str, str], str], ...]:
    theme, tier = next(((t, r) for p, t, r in caps.groups if p == product_id), (OTHER, UNTIERED))
    keys = {"symbol": product_id, "theme": theme, "tier": tier, "strategy": strategy, "total": TOTAL_KEY}
    return tuple(((scope, keys[scope]), code) for scope, code in CODES.items())
