"""Tiers and themes: one table that universe, risk and sizing share (domain.md sections 3.3 and 5; contradictions settled here).

The predecessor kept volume floors, spreads and depth floors twice, with different numbers; here each stands once (ADR 11
says which). Percentages are percent numbers of NAV.
"""

from __future__ import annotations

from decimal import Decimal

from attrs import field, frozen

from trading.caps import OTHER


@frozen(kw_only=True)
class TierSettings:
    """One tier. products: who is in it; a product in no tier is not traded.

    alloc_pct: the most all positions and open entries of the tier may be worth. base_pct: size before factors.
    position_pct_max: one product. spread_bps_max, volume_24h_usd_min (quote volume), depth_usd_min (within 20 bps of
    mid, each side), listed_days_min: eligibility. slippage_bps_max: how far a limit may lie above the ask, and what half the
    spread and the taker fee may cost together.
    """

    products: tuple[str, ...] = ()
    alloc_pct: Decimal
    base_pct: Decimal
    position_pct_max: Decimal
    spread_bps_max: float
    volume_24h_usd_min: float
    depth_usd_min: float
    slippage_bps_max: float
    listed_days_min: float = 30.0


def default_tiers() -> dict[str, TierSettings]:
    return {
        "T1": TierSettings(
            products=("BTC-USD", "ETH-USD", "SOL-USD"),
            alloc_pct=Decimal(40),
            base_pct=Decimal(3),
            position_pct_max=Decimal(4),
            spread_bps_max=20.0,
            volume_24h_usd_min=10_000_000.0,
            depth_usd_min=50_000.0,
            slippage_bps_max=60.0,
        ),
        "T2": TierSettings(
            products=(
                "DOGE-USD", "XRP-USD", "ADA-USD", "AVAX-USD", "DOT-USD", "LINK-USD",
                "UNI-USD", "ATOM-USD", "ALGO-USD", "XLM-USD", "HBAR-USD",
            ),
            alloc_pct=Decimal(20),
            base_pct=Decimal(2),
            position_pct_max=Decimal(3),
            spread_bps_max=35.0,
            volume_24h_usd_min=5_000_000.0,
            depth_usd_min=25_000.0,
            slippage_bps_max=95.0,
        ),
        "T3": TierSettings(
            products=(),
            alloc_pct=Decimal(10),
            base_pct=Decimal("0.7"),
            position_pct_max=Decimal(2),
            spread_bps_max=60.0,
            volume_24h_usd_min=2_000_000.0,
            depth_usd_min=10_000.0,
            slippage_bps_max=120.0,
        ),
    }  # fmt: skip


def default_themes() -> dict[str, tuple[str, ...]]:
    """Theme -> products. A product belongs to at most one theme (`sanity.py` checks it)."""
    return {
        "LAYER1": ("BTC-USD", "ETH-USD", "SOL-USD", "AVAX-USD", "DOT-USD", "ATOM-USD"),
        "LAYER2": ("OP-USD", "ARB-USD"),
        "DEFI": ("UNI-USD", "LINK-USD", "AAVE-USD", "SUSHI-USD"),
        "MEME": ("DOGE-USD", "SHIB-USD", "PEPE-USD"),
    }


@frozen(kw_only=True)
class Groups:
    """product -> tier and theme, made once from the two tables."""

    tier_of: dict[str, str] = field(factory=dict)
    theme_of: dict[str, str] = field(factory=dict)

    def tier(self, product_id: str) -> str | None:
        return self.tier_of.get(product_id)

    def theme(self, product_id: str) -> str:
        return self.theme_of.get(product_id, OTHER)


def groups_of(tiers: dict[str, TierSettings], themes: dict[str, tuple[str, ...]]) -> Groups:
    return Groups(
        tier_of={product: name for name, tier in tiers.items() for product in tier.products},
        theme_of={product: name for name, products in themes.items() for product in products},
    )
