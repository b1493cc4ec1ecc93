"""Upkeep of what the bot owns (domain.md section 14): trim above a cap, leave what is no longer eligible, ignore dust.

Only positions of the book are looked at, and those are the bot's own or adopted by a person: nothing foreign can be sold
from here. Trims bypass cooldowns, never budgets: they become ordinary exits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from attrs import frozen

from trading.caps import held_size
from trading.denied import measured
from trading.exits_settings import UpkeepSettings
from trading.messages.book import BookPosition, BookSnapshot
from trading.messages.decisions import Values
from trading.risk_settings import CapSettings
from trading.values import ZERO


@frozen(kw_only=True)
class Reduction:
    """Sell `size` of a position. reason: trim or purge_ineligible."""

    position_id: str
    size: Decimal
    reason: str
    values: Values


def _worth(position: BookPosition, marks: Mapping[str, Decimal]) -> Decimal:
    mark = marks.get(position.product_id)
    return ZERO if mark is None or position.dust else held_size(position) * mark


def _profit_share(position: BookPosition, marks: Mapping[str, Decimal]) -> Decimal:
    if position.average_price <= ZERO:
        return ZERO
    return marks[position.product_id] / position.average_price - 1


def trims(
    book: BookSnapshot, marks: Mapping[str, Decimal], nav_usd: Decimal, caps: CapSettings, settings: UpkeepSettings
) -> tuple[Reduction, ...]:
    """What must be sold so that each asset, and all together, are back below their caps; the worst position first.

    Positions on their way out already count as sold. Nothing is trimmed without a mark for everything that is held.
    """
    positions = [one for one in book.positions if not one.dust and held_size(one) > ZERO]
    if nav_usd <= ZERO or any(one.product_id not in marks for one in positions):
        return ()
    keep = 1 - settings.trim_buffer_pct / 100
    tolerance_usd = nav_usd * settings.trim_tolerance_pct / 100
    leaving = {one.position_id: one.exits_open_size * marks[one.product_id] for one in positions}
    worth = {one.position_id: max(ZERO, _worth(one, marks) - leaving[one.position_id]) for one in positions}
    sell: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    why: dict[str, Values] = {}
    worst_first = sorted(positions, key=lambda one: (_profit_share(one, marks), one.position_id))

    def reduce(group: list[BookPosition], cap_usd: Decimal, name: str) -> None:
        now_usd = sum((worth[one.position_id] - sell[one.position_id] for one in group), ZERO)
        if now_usd <= cap_usd + tolerance_usd:
            return
        over = now_usd - cap_usd * keep
        for one in group:
            left = worth[one.position_id] - sell[one.position_id]
            part = min(left, over)
            if part < settings.value_usd_min:
                continue
            sell[one.position_id] += part
            over -= part
            why[one.position_id] = measured(cap=name, worth_usd=now_usd, cap_usd=cap_usd, nav_usd=nav_usd)
            if over <= ZERO:
                return

    by_product: defaultdict[str, list[BookPosition]] = defaultdict(list)
    for one in worst_first:
        by_product[one.product_id].append(one)
    for product_id, group in by_product.items():
        reduce(group, nav_usd * caps.per_asset_pct / 100, f"asset {product_id}")
    reduce(worst_first, nav_usd * caps.total_pct / 100, "total")
    out = [
        Reduction(
            position_id=one.position_id,
            size=min(held_size(one) - one.exits_open_size, sell[one.position_id] / marks[one.product_id]),
            reason="trim",
            values=why[one.position_id],
        )
        for one in worst_first
        if sell[one.position_id] > ZERO
    ]
    return tuple(out[: settings.trim_orders_max])


def purges(
    book: BookSnapshot,
    marks: Mapping[str, Decimal],
    ineligible_for_s: Mapping[str, tuple[float, str]],
    settings: UpkeepSettings,
) -> tuple[Reduction, ...]:
    """Positions of products that stay ineligible. ineligible_for_s: product -> (seconds, reason)."""
    out = []
    for one in book.positions:
        since = ineligible_for_s.get(one.product_id)
        if since is None or since[0] < settings.purge_after_s or one.exits_open_size > ZERO:
            continue
        worth = _worth(one, marks)
        if worth < settings.value_usd_min:
            continue
        out.append(
            Reduction(
                position_id=one.position_id,
                size=held_size(one),
                reason="purge_ineligible",
                values=measured(ineligible_s=round(since[0]), because=since[1], worth_usd=worth),
            )
        )
    return tuple(out[: settings.purge_orders_max])
