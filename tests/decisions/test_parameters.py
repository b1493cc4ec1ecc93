"""The predecessor's numbers (domain.md sections 3 to 13) stand as defaults; where one differs, ADR 11 or section 21 says why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.decisions.build import D
from tests.decisions.test_sanity import composed
from trading.strategies import momentum, price_move
from trading.strategies.registry import collect

NUMBERS: dict[str, Any] = {
    # 3.2, 21: risk
    "risk.caps.total_pct": D(25),
    "risk.caps.per_asset_pct": D(4),
    "risk.caps.theme_pct": {"LAYER1": D(10), "LAYER2": D(6), "DEFI": D(5), "MEME": D(4), "OTHER": D(6)},
    "risk.caps.positions_max": 8,
    "risk.caps.positions_by_regime": {"bull": 5, "chop": 3, "bear": 2, "crash": 0},
    "risk.caps.count_foreign": False,
    "risk.stops.daily_stop_pct": D(-3),
    "risk.stops.weekly_stop_pct": D(-7),
    "risk.stops.rolling_7d_stop_pct": D(-7),
    "risk.stops.drawdown_pct_max": D(10),
    "risk.stops.loss_streak_max": 3,
    "risk.stops.loss_pause_s": 3600.0,
    "risk.pacing.trades_per_day_max": 120,
    "risk.pacing.trades_per_hour_max": 5,
    "risk.pacing.new_trades_per_hour_max": 3,
    "risk.pacing.spacing_s": 90.0,
    "risk.pacing.symbol_spacing_s": 900.0,
    "risk.pacing.pyramid_spacing_s": 600.0,
    "risk.pacing.adds_per_asset_per_day_max": 1,
    "oms.cooldowns.fill_s": 1_800.0,
    "oms.cooldowns.win_s": 600.0,
    "oms.cooldowns.loss_s": 3_600.0,
    "oms.cooldowns.stop_s": 7_200.0,
    "oms.cooldowns.failed_s": 300.0,
    # 10: sizing
    "risk.sizing.risk_per_trade_pct": D(1),
    "risk.sizing.volatility_reference_pct": D(50),
    "risk.sizing.volatility_floor_pct": D(10),
    "risk.sizing.order_usd_min": D(5),
    "risk.sizing.order_usd_max": D(10_000),
    "risk.sizing.depth_multiple": D(10),
    "risk.fee_rate_fallback": D("0.006"),
    "risk.spread_bps_max": 80.0,
    "symbol.entry.wild_move_60m_pct": 8.0,
    "symbol.entry.wild_size_factor": 0.5,
    # 5: universe, 9: regime
    "universe.temporary_ban_hours": 168.0,
    "universe.ineligible_grace": 5,
    "universe.eligible_grace": 2,
    "universe.volume_leave_share": 0.95,
    "universe.eligible_min": 2,
    "universe.products_max": 30,
    "universe.quote_age_s_max": 60.0,
    "universe.regime.crash_return_pct": -10.0,
    "universe.regime.crash_volatility_pct": 100.0,
    "universe.regime.bull_return_pct": 10.0,
    "universe.regime.bull_volatility_pct": 60.0,
    "universe.regime.bear_return_pct": -5.0,
    "universe.regime.multiplier": {"bull": 1.2, "chop": 0.8, "bear": 0.5, "crash": 0.0},
    "universe.regime.volume_floor_factor": {"bull": 0.9, "chop": 1.0, "bear": 1.2, "crash": 1.2},
    # 3.3, 3.4, 6 to 8: triggers and conviction
    "symbol.triggers.move_15m_pct": 1.5,
    "symbol.triggers.move_60m_pct": 3.0,
    "symbol.triggers.dip_pct": 2.5,
    "symbol.triggers.volume_spike_ratio": 1.9,
    "symbol.triggers.volume_spike_change_pct": 2.0,
    "symbol.triggers.breakout_share": 0.995,
    "symbol.triggers.momentum_return_pct": 2.0,
    "symbol.triggers.momentum_dip_pct": 3.0,
    "symbol.triggers.reversal_recovery_pct": 5.0,
    "symbol.triggers.reversal_low_share": 1.10,
    "symbol.triggers.reversal_bounce_pct": 0.6,
    "symbol.triggers.reversal_confirmations_min": 3,
    "symbol.triggers.trend_slope_pct_per_h": 0.05,
    "symbol.triggers.mean_reversion_z": -1.2,
    "symbol.triggers.mean_reversion_stop_atr": 1.2,
    "symbol.triggers.mean_reversion_target_atr": 1.8,
    "symbol.triggers.atr_ratio_min": {"bull": 1.2, "chop": 1.05, "bear": 1.2, "crash": 1.2},
    "symbol.triggers.score_min": 0.2,
    "symbol.triggers.threshold_factor": {"bull": 0.8, "chop": 1.0, "bear": 1.2, "crash": 1.5},
    "symbol.triggers.momentum_factor": {"bull": 0.75, "chop": 1.0, "bear": 1.25, "crash": 1.5},
    "symbol.triggers.breakout_factor": {"bull": 0.9, "chop": 1.0, "bear": 1.1, "crash": 1.3},
    "symbol.triggers.fallback_after_bars": 0,
    "symbol.triggers.fallback_relax": 0.3,
    "symbol.conviction.base": 0.0,
    "symbol.conviction.strength": 0.5,
    "symbol.conviction.confidence": 0.3,
    "symbol.conviction.boost_above_vwap": 0.04,
    "symbol.conviction.boost_higher_low": 0.04,
    "symbol.conviction.boost_rsi_cross_50": 0.03,
    "symbol.conviction.boost_bounce": 0.04,
    "symbol.conviction.boost_t1": 0.02,
    "symbol.conviction.propose_min": 0.30,
    "symbol.conviction.regime_confidence": {"bull": 0.05, "chop": -0.10},
    "symbol.regime_denies": {
        "bull": ("mean_reversion",),
        "chop": ("momentum",),
        "bear": ("momentum", "mean_reversion", "breakout"),
    },
    # 3.4, 7, 21: data
    "symbol.guards.quote_age_decision_s": 5.0,
    "symbol.guards.bar_outlier_pct": 10.0,
    "symbol.guards.bar_age_s_max": 90.0,
    "symbol.guards.bar_age_ratio_max": 1.5,
    # 12, 13, 14
    "symbol.entry.ttl_s": 20.0,
    "symbol.entry.requotes_max": 1,
    "symbol.entry.price_decay": D("0.7"),
    "exits.tolerance_bps": D(100),
    "exits.dust_usd": D(1),
    "exits.upkeep.trim_tolerance_pct": D("0.25"),
    "exits.upkeep.trim_buffer_pct": D(10),
    "exits.upkeep.trim_orders_max": 5,
    "exits.upkeep.purge_orders_max": 2,
    "exits.upkeep.value_usd_min": D(5),
    # 3.4: breakers, (opens at, closes at)
    "health_monitor.api_errors_in_a_row": (3.0, 0.0),
    "health_monitor.throttled_hold_s": 60.0,
    "health_monitor.rejects_600s": (3.0, 1.0),
    "health_monitor.volatility_pct": (150.0, 120.0),
}

TIERS = {
    # products, alloc, base, position, spread, volume in millions, depth, slippage
    "T1": (3, 40, "3", 4, 20, 10, 50_000, 60),
    "T2": (11, 20, "2", 3, 35, 5, 25_000, 95),
    "T3": (0, 10, "0.7", 2, 60, 2, 10_000, 120),
}

RULES = {
    # stop %, target %, hold h, size factor, confidence factor (section 8)
    "price_move": ("6", "12", 48, 1.0, 1.0),
    "volume_spike": ("8", "15", 72, 1.0, 1.0),
    "breakout": ("6", "20", 120, 1.2, 1.0),
    "reversal": ("12", "25", 48, 0.8, 0.8),
    "momentum": ("8", "15", 72, 1.0, 1.0),
}


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_of_the_predecessor_stands(path):
    value: Any = composed()
    for name in path.split("."):
        value = getattr(value, name)
    assert value == NUMBERS[path]


@pytest.mark.parametrize("name", TIERS)
def test_the_tiers_stand(name):
    tier = composed().universe.tiers[name]
    products, alloc, base, most, spread, volume, depth, slippage = TIERS[name]
    assert len(tier.products) == products
    assert (tier.alloc_pct, tier.base_pct, tier.position_pct_max) == (D(alloc), D(base), D(most))
    assert (tier.spread_bps_max, tier.volume_24h_usd_min, tier.depth_usd_min, tier.slippage_bps_max) == (
        spread,
        volume * 1e6,
        depth,
        slippage,
    )


def test_the_rule_table_stands():
    rules = {one.name: one.rule for one in collect()}
    for name, (stop, target, hours, size, confidence) in RULES.items():
        rule = rules[name]
        assert (rule.stop_pct, rule.target_pct, rule.hold_hours) == (D(stop), D(target), hours), name
        assert (rule.size_factor, rule.confidence_factor) == (size, confidence), name
    for dip, (stop, target, hours, size, confidence) in {
        price_move.DIP: ("10", "20", 24, 0.7, 1.0),
        momentum.DIP: ("10", "18", 48, 0.85, 0.9),
    }.items():
        assert (dip.stop_pct, dip.target_pct, dip.hold_hours) == (D(stop), D(target), hours)
        assert (dip.size_factor, dip.confidence_factor) == (size, confidence)


def test_one_strategy_acts_out_of_the_box_and_every_other_is_off():
    strategies = composed().symbol.strategies
    assert [name for name, one in strategies.items() if one.enabled] == ["price_move"]
    assert set(strategies) == {one.name for one in collect()}
