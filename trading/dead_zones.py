"""Tiers in which no size can pass at today's NAV: the predecessor idled at 255 USD that way (domain.md section 17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from attrs import frozen

from trading.caps import OTHER
from trading.messages.control import Condition
from trading.risk_settings import RiskSettings
from trading.strategies.registry import StrategySettings
from trading.tiers import TierSettings
from trading.values import ZERO


@frozen(kw_only=True)
class DeadZone:
    """A tier in which no size passes all limits at this NAV. largest_usd: what the tightest cap leaves, before fee."""

    tier: str
    bound_by: str
    largest_usd: Decimal
    least_usd: Decimal

    def sentence(self, nav_usd: Decimal) -> str:
        return (
            f"tier {self.tier} can trade nothing at a NAV of {nav_usd:.2f} USD: {self.bound_by} allows {self.largest_usd:.2f} USD, "
            f"the least order is {self.least_usd:.2f} USD"
        )

    def condition(self, nav_usd: Decimal) -> Condition:
        values = {
            "largest_usd": str(self.largest_usd),
            "least_usd": str(self.least_usd),
            "bound_by": self.bound_by,
        }
        return Condition(
            fingerprint=f"risk:dead_zone:{self.tier}",
            level="warning",
            active=True,
            text=self.sentence(nav_usd),
            values=values,
        )


def dead_zones(
    nav_usd: Decimal,
    risk: RiskSettings,
    tiers: Mapping[str, TierSettings],
    strategies: Mapping[str, StrategySettings],
    themes: Mapping[str, Sequence[str]],
    *,
    propose_min: float = 0.30,
    multiplier: float = 1.0,
) -> tuple[DeadZone, ...]:
    """Tiers with products in which every size fails at today's NAV, even with an empty book and full conviction.

    Without `bump_to_min` the weakest proposal counts (tier base x minimum conviction), as domain.md section 17 wants.
    """
    fee = risk.fee_rate_fallback
    least = risk.sizing.order_usd_min / (1 - fee)
    budgets = [one.budget_pct for one in strategies.values() if one.enabled] or [ZERO]
    zones = []
    for name, tier in tiers.items():
        if not tier.products:
            continue
        theme_of = {product: theme for theme, products in themes.items() for product in products}
        theme_pct = max(
            (risk.caps.theme_pct.get(theme_of.get(one, OTHER), ZERO) for one in tier.products), default=ZERO
        )
        limits = {
            "risk.caps.per_asset_pct": risk.caps.per_asset_pct,
            f"universe.tiers.{name}.position_pct_max": tier.position_pct_max,
            f"universe.tiers.{name}.alloc_pct": tier.alloc_pct,
            "risk.caps.theme_pct": theme_pct,
            "risk.caps.total_pct": risk.caps.total_pct,
            "the strategies' budgets": max(budgets),
        }
        usd = {key: nav_usd * pct / 100 / (1 + fee) for key, pct in limits.items()}
        if not risk.sizing.bump_to_min:
            weakest = Decimal(f"{propose_min * multiplier:.8f}")
            usd[f"universe.tiers.{name}.base_pct x the least conviction"] = nav_usd * tier.base_pct / 100 * weakest
        tightest = min(usd, key=usd.__getitem__)
        if usd[tightest] < least:
            zones.append(DeadZone(tier=name, bound_by=tightest, largest_usd=usd[tightest], least_usd=least))
    return tuple(zones)
