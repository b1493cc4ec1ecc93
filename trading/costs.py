"""What trading costs when no venue tells: the cost model of backtests (section `costs` of the configuration).

Prices that a strategy sees are mid -/+ half a spread by tier, and what rests is filled when they come to it; prices that a
taker gets are worse by `slippage_bps` times the impact of its size, 1 + 0.2 x log10(notional / 10,000), at least 1 and at
most `impact_max` (domain.md section 15). At one moment no more than `depth_usd` is filled; the rest of an order goes on or
ends, as its style says.
"""

from __future__ import annotations

import math
from decimal import Decimal

from attrs import field, frozen


@frozen(kw_only=True)
class TierCosts:
    """half_spread_bps: of the quote that is seen; slippage_bps: beyond it, for a taker; depth_usd: within 20 bps, each side."""

    half_spread_bps: float
    slippage_bps: float
    depth_usd: float


def default_tier_costs() -> dict[str, TierCosts]:
    return {
        "T1": TierCosts(half_spread_bps=1.0, slippage_bps=10.0, depth_usd=500_000.0),
        "T2": TierCosts(half_spread_bps=4.0, slippage_bps=25.0, depth_usd=100_000.0),
        "T3": TierCosts(half_spread_bps=12.0, slippage_bps=50.0, depth_usd=30_000.0),
    }


@frozen(kw_only=True)
class CostSettings:
    """maker_rate, taker_rate: fees as fractions. latency_s: half a round trip to the venue, real seconds."""

    start_cash_usd: Decimal = Decimal(10_000)
    maker_rate: Decimal = Decimal("0.004")
    taker_rate: Decimal = Decimal("0.006")
    tiers: dict[str, TierCosts] = field(factory=default_tier_costs)
    impact_max: float = 1.2
    latency_s: float = 0.05

    def of(self, tier: str) -> TierCosts:
        """The costs of a tier; a tier without a row costs what the dearest row costs."""
        found = self.tiers.get(tier)
        return found if found is not None else max(self.tiers.values(), key=lambda row: row.slippage_bps)

    def slippage_bps(self, tier: str, notional_usd: float) -> float:
        """Slippage of one taker order of `notional_usd`, in bps of the touch."""
        impact = 1.0 + 0.2 * math.log10(max(notional_usd, 1.0) / 10_000.0)
        return self.of(tier).slippage_bps * min(max(impact, 1.0), self.impact_max)


def cost_problems(costs: CostSettings) -> list[tuple[str, str]]:
    """(key below `costs`, sentence) for each number that no venue could have."""
    bounds = [
        ("start_cash_usd", float(costs.start_cash_usd), 1.0, 1e12),
        ("maker_rate", float(costs.maker_rate), -0.01, 0.05),
        ("taker_rate", float(costs.taker_rate), 0.0, 0.05),
        ("impact_max", costs.impact_max, 1.0, 100.0),
        ("latency_s", costs.latency_s, 0.0, 10.0),
    ]
    for tier, row in costs.tiers.items():
        bounds += [
            (f"tiers.{tier}.half_spread_bps", row.half_spread_bps, 0.0, 1_000.0),
            (f"tiers.{tier}.slippage_bps", row.slippage_bps, 0.0, 1_000.0),
            (f"tiers.{tier}.depth_usd", row.depth_usd, 1.0, 1e12),
        ]
    return [
        (key, f"{value:g} is not between {low:g} and {high:g}")
        for key, value, low, high in bounds
        if not low <= value <= high
    ]
