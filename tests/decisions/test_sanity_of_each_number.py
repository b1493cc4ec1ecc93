"""Each number of the configuration that a rule of `sanity.py` looks at, wrong by itself: one row a rule."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.decisions.build import D
from tests.decisions.test_sanity import composed
from trading.data_guards import DataGuardSettings
from trading.exits_settings import ExitsSettings, UpkeepSettings
from trading.health_monitor import HealthMonitorSettings
from trading.oms_settings import OmsSettings, OutcomeCooldowns
from trading.risk_settings import CapSettings, PacingSettings, RiskSettings, StopSettings
from trading.sanity import ERROR, WARNING, findings
from trading.sizing import SizingSettings
from trading.strategies.registry import StrategySettings
from trading.symbol_settings import ConvictionSettings, EntrySettings, SymbolSettings
from trading.universe_settings import RegimeSettings, UniverseSettings

REGIME = RegimeSettings()


def caps(**changes) -> dict:
    return {"risk": RiskSettings(caps=CapSettings(**changes))}


def stops(**changes) -> dict:
    return {"risk": RiskSettings(stops=StopSettings(**changes))}


def pacing(**changes) -> dict:
    return {"risk": RiskSettings(pacing=PacingSettings(**changes))}


def regime(**changes) -> dict:
    return {"universe": UniverseSettings(regime=RegimeSettings(**changes))}


def entry(**changes) -> dict:
    return {"symbol": SymbolSettings(entry=EntrySettings(**changes))}


def guards(**changes) -> dict:
    return {"symbol": SymbolSettings(guards=DataGuardSettings(**changes))}


def strategies(**changes) -> dict:
    return {"symbol": SymbolSettings(strategies={"price_move": StrategySettings(**changes)})}


def without(table: dict, key: str) -> dict:
    return {name: value for name, value in table.items() if name != key}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (caps(total_pct=D(0)), "risk.caps.total_pct"),
        (caps(total_pct=D(101)), "risk.caps.total_pct"),
        (caps(positions_max=0), "risk.caps.positions_max"),
        (caps(theme_pct=CapSettings().theme_pct | {"MEME": D(26)}), "risk.caps.theme_pct.MEME"),
        (caps(theme_pct=without(CapSettings().theme_pct, "OTHER")), "risk.caps.theme_pct"),
        (caps(positions_by_regime=CapSettings().positions_by_regime | {"crash": 1}), "risk.caps.positions_by_regime.crash"),
        (caps(positions_by_regime=without(CapSettings().positions_by_regime, "bear")), "risk.caps.positions_by_regime"),
        (regime(multiplier=without(REGIME.multiplier, "bear")), "universe.regime.multiplier"),
        (regime(multiplier=REGIME.multiplier | {"bull": 2.1}), "universe.regime.multiplier.bull"),
        (regime(hold_bars=0), "universe.regime.hold_bars"),
        (regime(crash_fall_60m_pct=5.0), "universe.regime.crash_fall_60m_pct"),
        (regime(crash_hold_s=-1.0), "universe.regime.crash_fall_60m_pct"),
        (regime(bear_return_pct=-11.0), "universe.regime"),
        ({"universe": UniverseSettings(eligible_min=15)}, "universe.eligible_min"),
        (stops(drawdown_pct_max=D(100)), "risk.stops.drawdown_pct_max"),
        (stops(loss_streak_max=0), "risk.stops.loss_streak_max"),
        (stops(loss_pause_s=0.0), "risk.stops.loss_streak_max"),
        (stops(rolling_7d_stop_pct=D(-2)), "risk.stops.daily_stop_pct"),
        (pacing(trades_per_day_max=4), "risk.pacing.trades_per_hour_max"),
        ({"oms": OmsSettings(cooldowns=OutcomeCooldowns(fill_s=60.0))}, "oms.cooldowns.fill_s"),
        ({"risk": RiskSettings(sizing=SizingSettings(order_usd_max=D(4)))}, "risk.sizing.order_usd_min"),
        (entry(notional_usd_max=D(4)), "risk.sizing.order_usd_min"),
        (entry(fee_rate=D("0.004")), "symbol.entry.fee_rate"),
        ({"risk": RiskSettings(fee_rate_fallback=D("0.6"))}, "risk.fee_rate_fallback"),
        (entry(price_decay=D(0)), "symbol.entry.price_decay"),
        (entry(ttl_s=0.0), "symbol.entry.ttl_s"),
        (entry(requotes_max=-1), "symbol.entry.ttl_s"),
        (entry(chase_bps_max=-1.0), "symbol.entry.chase_bps_max"),
        ({"symbol": SymbolSettings(conviction=ConvictionSettings(propose_min=0.81))}, "symbol.conviction.propose_min"),
        (strategies(enabled=True, budget_pct=D(0)), "symbol.strategies.price_move.budget_pct"),
        ({"symbol": SymbolSettings(regime_denies={"bull": ("mean_revision",)})}, "symbol.regime_denies.bull"),
        (guards(outlier_confirmations=1), "symbol.guards.outlier_confirmations"),
        (guards(bar_outlier_pct=0.0), "symbol.guards.quote_outlier_pct"),
        (guards(quote_age_decision_s=6.0), "symbol.guards.quote_age_decision_s"),
        ({"universe": UniverseSettings(depth_leave_share=1.1)}, "universe.depth_leave_share"),
        ({"universe": UniverseSettings(spread_leave_share=0.9)}, "universe.spread_leave_share"),
        ({"exits": ExitsSettings(valid_s=2.5)}, "exits.valid_s"),
        ({"exits": ExitsSettings(wait_s=(2.0, 1.0))}, "exits.wait_s"),
        ({"exits": ExitsSettings(wait_s=(1.0, 11.0))}, "exits.wait_s"),
        ({"exits": ExitsSettings(crash_stop_factor=D("1.1"))}, "exits.crash_stop_factor"),
        ({"exits": ExitsSettings(upkeep=UpkeepSettings(trim_buffer_pct=D(100)))}, "exits.upkeep.trim_buffer_pct"),
        ({"health_monitor": HealthMonitorSettings(hold_s=0.5)}, "health_monitor.hold_s"),
        ({"health_monitor": HealthMonitorSettings(kill_on=("api",))}, "health_monitor.kill_on"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_a_wrong_number_is_an_error_at_its_own_key(changes, key):
    assert key in [one.key for one in findings(composed(**changes)) if one.level == ERROR]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (pacing(trades_per_day_max=121), "risk.pacing.trades_per_day_max"),
        (strategies(enabled=True, budget_pct=D(26)), "symbol.strategies.price_move.budget_pct"),
        (strategies(enabled=False), "symbol.strategies"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_only_has_no_effect_is_a_warning(changes, key):
    found = {one.key: one.level for one in findings(composed(**changes))}
    assert found[key] == WARNING


@pytest.mark.parametrize("name", ["spread_bps_max", "slippage_bps_max", "alloc_pct", "position_pct_max"])
def test_a_tiers_limits_stay_within_those_above_them(name):
    tier = UniverseSettings().tiers["T2"]
    beyond = {"spread_bps_max": 1001.0, "slippage_bps_max": 501.0, "alloc_pct": D(2), "position_pct_max": D(5)}[name]
    tiers = UniverseSettings().tiers | {"T2": evolve(tier, **{name: beyond})}
    keys = [one.key for one in findings(composed(universe=UniverseSettings(tiers=tiers))) if one.level == ERROR]
    key = "position_pct_max" if name == "alloc_pct" else name
    assert keys == [f"universe.tiers.T2.{key}"]
