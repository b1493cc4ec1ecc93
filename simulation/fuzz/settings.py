"""The machines' settings in the fault simulation: paces wide open, caps tight, cooldowns short, so that much happens soon."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from attrs import frozen

from trading.data_guards import DataGuardSettings
from trading.exits_settings import ExitsSettings
from trading.health_monitor import HealthMonitorSettings
from trading.oms_settings import OmsSettings, OutcomeCooldowns
from trading.protections import Protections
from trading.risk_settings import CapSettings, PacingSettings, RiskSettings
from trading.strategies.registry import StrategySettings
from trading.tiers import TierSettings, default_themes, default_tiers

MARKET_FEED = ("market_feed_down", "data_staleness", "feed_flaps", "clock_drift")
"""Breakers of a role that is not there while the world puts the quotes into the slots itself."""


@frozen(kw_only=True)
class MachineSettings:
    oms: OmsSettings
    exits: ExitsSettings
    health: HealthMonitorSettings
    risk: RiskSettings
    tiers: Mapping[str, TierSettings]
    themes: Mapping[str, tuple[str, ...]]
    strategies: Mapping[str, StrategySettings]
    guards: DataGuardSettings


def machine_settings(protections: Protections, *, market_feed: bool = False) -> MachineSettings:
    """Caps: 4 % a product, 6 % the theme of all of them: two entries of 3 % fill both, so that a third must be denied.

    lease and quote_age are numbers of risk's settings: taken out, they are very large.
    """
    caps = CapSettings(
        total_pct=Decimal(8),
        per_asset_pct=Decimal(4),
        theme_pct={"LAYER1": Decimal(6), "MEME": Decimal(2), "OTHER": Decimal(6)},
    )
    pacing = PacingSettings(
        trades_per_day_max=100_000, trades_per_hour_max=100_000, new_trades_per_hour_max=100_000, spacing_s=0.0,
        symbol_spacing_s=0.0, allow_pyramiding=True, pyramid_spacing_s=0.0, adds_per_asset_per_day_max=100_000,
    )  # fmt: skip
    cooldowns = OutcomeCooldowns(fill_s=6.0, win_s=4.0, loss_s=15.0, stop_s=30.0, failed_s=3.0)
    return MachineSettings(
        oms=OmsSettings(cooldowns=cooldowns, snapshot_every_s=1.2),
        exits=ExitsSettings(),
        health=HealthMonitorSettings(hold_s=1.0, throttled_hold_s=2.0, off=() if market_feed else MARKET_FEED),
        risk=RiskSettings(
            caps=caps,
            pacing=pacing,
            lease_s=2.0 if protections.lease else 1e9,
            quote_age_s_max=5.0 if protections.quote_age else 1e9,
        ),
        tiers=default_tiers(),
        themes=default_themes(),
        strategies={"price_move": StrategySettings(enabled=True, budget_pct=Decimal(15))},
        guards=DataGuardSettings()
        if protections.quote_age
        else DataGuardSettings(quote_age_decision_s=1e9, feed_alive_age_s_max=1e9),
    )
