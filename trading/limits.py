"""From settings and NAV to the numbers that a verdict rests on (`CapNumbers`): what oms will assert again."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from trading.caps import TOTAL_KEY, UNTIERED
from trading.messages.decisions import CapNumbers
from trading.rules.case import Case
from trading.strategies.registry import StrategySettings
from trading.tiers import Groups
from trading.values import ZERO


def cap_numbers(case: Case, marks: Mapping[str, Decimal], groups: Groups, fee_rate: Decimal) -> CapNumbers:
    """The five caps of the candidate, every mark and group that the book's exposure needs. Percent of NAV to USD.

    A theme without a cap in the configuration gets none here, and `check_caps` denies with cap_missing.
    """
    settings, proposal, book = case.settings.caps, case.proposal, case.book
    assert case.nav_usd is not None
    assert case.entry is not None
    assert case.tier is not None
    nav = case.nav_usd
    theme = groups.theme(proposal.product_id)
    pct = {
        ("symbol", proposal.product_id): min(settings.per_asset_pct, case.tier.position_pct_max),
        ("tier", case.entry.tier): case.tier.alloc_pct,
        ("strategy", proposal.strategy): case.strategies.get(
            proposal.strategy, StrategySettings(budget_pct=ZERO)
        ).budget_pct,
        ("total", TOTAL_KEY): settings.total_pct,
    }
    if theme in settings.theme_pct:
        pct["theme", theme] = settings.theme_pct[theme]
    involved = {proposal.product_id, *(one.product_id for one in book.positions)}
    involved.update(one.product_id for one in book.orders)
    if settings.count_foreign:
        involved.update(f"{one.currency}-USD" for one in book.foreign)
    return CapNumbers(
        nav_usd=nav,
        caps_usd=tuple((scope, key, nav * limit / 100) for (scope, key), limit in pct.items()),
        marks=tuple(sorted((name, marks[name]) for name in involved if name in marks)),
        groups=tuple(sorted((name, groups.theme(name), groups.tier(name) or UNTIERED) for name in involved)),
        fee_rate=fee_rate,
        positions_max=min(
            settings.positions_max, settings.positions_by_regime.get(case.universe.regime, settings.positions_max)
        ),
        counted_foreign=settings.count_foreign,
    )
