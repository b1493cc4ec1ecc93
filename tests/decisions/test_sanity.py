"""Configuration sanity: all contradictions at once, each with its key and its numbers."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.decisions.build import D
from trading.costs import CostSettings
from trading.exits_settings import ExitsSettings
from trading.health_monitor import HealthMonitorSettings
from trading.oms_settings import OmsSettings, OutcomeCooldowns
from trading.risk_settings import CapSettings, PacingSettings, RiskSettings, StopSettings
from trading.sanity import ERROR, WARNING, Composed, findings
from trading.sizing import SizingSettings
from trading.strategies.interface import TriggerSettings
from trading.strategies.registry import StrategySettings, collect
from trading.symbol_settings import ConvictionSettings, EntrySettings, SymbolSettings
from trading.tiers import default_themes, default_tiers
from trading.universe_settings import RegimeSettings, UniverseSettings


def composed(**changes) -> Composed:
    made = Composed(
        symbol=SymbolSettings(),
        universe=UniverseSettings(),
        risk=RiskSettings(),
        exits=ExitsSettings(),
        oms=OmsSettings(),
        health_monitor=HealthMonitorSettings(),
        costs=CostSettings(),
        strategies=collect(),
    )
    return evolve(made, **changes)


def errors(config: Composed) -> list[str]:
    return [one.key for one in findings(config) if one.level == ERROR]


def test_what_is_shipped_contradicts_nothing():
    assert errors(composed()) == []


T1 = default_tiers()["T1"]


def tiers(**changes):
    return UniverseSettings(tiers=default_tiers() | {"T1": evolve(T1, **changes)})


@pytest.mark.parametrize(
    ("section", "value", "key", "numbers"),
    [
        (
            "risk",
            RiskSettings(caps=CapSettings(per_asset_pct=D(30))),
            "risk.caps.per_asset_pct",
            "30 % is above risk.caps.total_pct 25 %",
        ),
        (
            "risk",
            RiskSettings(caps=CapSettings(theme_pct=CapSettings().theme_pct | {"DEFI": D(3)})),
            "risk.caps.theme_pct.DEFI",
            "3 % is below",
        ),
        (
            "risk",
            RiskSettings(stops=StopSettings(daily_stop_pct=D(-8))),
            "risk.stops.daily_stop_pct",
            "-8 % is not tighter",
        ),
        (
            "risk",
            RiskSettings(stops=StopSettings(weekly_stop_pct=D(7))),
            "risk.stops.weekly_stop_pct",
            "7 % is not negative",
        ),
        (
            "risk",
            RiskSettings(pacing=PacingSettings(new_trades_per_hour_max=6)),
            "risk.pacing.new_trades_per_hour_max",
            "6 is not between 1 and trades_per_hour_max 5",
        ),
        (
            "risk",
            RiskSettings(pacing=PacingSettings(symbol_spacing_s=10.0)),
            "risk.pacing.symbol_spacing_s",
            "10 s is below spacing_s 90 s",
        ),
        ("risk", RiskSettings(pacing=PacingSettings(allow_pyramiding=True)), "symbol.pyramiding", "disagree"),
        ("risk", RiskSettings(lease_s=10.0), "risk.lease_s", "silence must mean no"),
        ("risk", RiskSettings(sizing=SizingSettings(order_usd_min=D("0.5"))), "exits.dust_usd", "1 USD is above"),
        ("oms", OmsSettings(cooldowns=OutcomeCooldowns(stop_s=60.0)), "oms.cooldowns", "stop 60 s"),
        ("oms", OmsSettings(fee_rate=D("0.004")), "oms.fee_rate", "0.004"),
        (
            "risk",
            RiskSettings(sizing=SizingSettings(depth_multiple=D(0))),
            "risk.sizing.depth_multiple",
            "0 is not above 0",
        ),
        (
            "risk",
            RiskSettings(sizing=SizingSettings(volatility_floor_pct=D(0))),
            "risk.sizing.volatility_floor_pct",
            "0",
        ),
        (
            "risk",
            RiskSettings(sizing=SizingSettings(volatility_reference_pct=D(-1))),
            "risk.sizing.volatility_reference_pct",
            "-1",
        ),
        ("risk", RiskSettings(sizing=SizingSettings(risk_per_trade_pct=D(0))), "risk.sizing.risk_per_trade_pct", "0"),
        ("costs", CostSettings(maker_rate=D("0.007")), "costs.maker_rate", "0.007 is above costs.taker_rate 0.006"),
        ("exits", ExitsSettings(outlier_pct=0.0), "exits.outlier_pct", "0 is not above 0"),
        ("exits", ExitsSettings(feed_alive_s_max=0.0), "exits.feed_alive_s_max", "0 is not above 0"),
        ("exits", ExitsSettings(rest_age_s_max=-5.0), "exits.rest_age_s_max", "-5 is not above 0"),
        ("exits", ExitsSettings(tolerance_bps=D(600)), "exits.tolerance_bps", "600"),
        ("exits", ExitsSettings(outlier_confirmations=1), "exits.outlier_confirmations", "one bad tick"),
        ("symbol", SymbolSettings(entry=EntrySettings(style="both")), "symbol.entry.style", "'both'"),
        ("symbol", SymbolSettings(entry=EntrySettings(valid_s=5.0)), "symbol.entry.valid_s", "5 s"),
        (
            "symbol",
            SymbolSettings(entry=EntrySettings(style="marketable", marketable_tolerance_bps=99.0)),
            "symbol.entry.marketable_tolerance_bps",
            "60 bps",
        ),
        ("symbol", SymbolSettings(bar_s=(60, 250, 3600)), "symbol.bar_s", "60, 250, 3600"),
        (
            "symbol",
            SymbolSettings(strategies={"price_mvoe": StrategySettings(enabled=True)}),
            "symbol.strategies.price_mvoe",
            "there is no strategy",
        ),
        (
            "symbol",
            SymbolSettings(strategies={"price_move": StrategySettings(enabled=True, stop_pct=D(15))}),
            "symbol.strategies.price_move",
            "stop 15 %, target 12 %",
        ),
        (
            "symbol",
            SymbolSettings(strategies={"price_move": StrategySettings(enabled=True, trailing_pct=D(7))}),
            "symbol.strategies.price_move",
            "trailing stop 7 %",
        ),
        ("universe", tiers(base_pct=D(5)), "universe.tiers.T1.base_pct", "5 % is above its position_pct_max 4 %"),
        (
            "universe",
            tiers(products=("BTC-USD", "ETH/USD", "SOL-USD")),
            "universe.tiers.T1.products",
            "ETH/USD is written ETH-USD",
        ),
        (
            "universe",
            tiers(products=("BTC-USD", "DOGE-USD")),
            "universe.tiers.T2.products",
            "DOGE-USD stands in tier T1 too",
        ),
        ("universe", tiers(products=("BTC-USD", "USDT-USD")), "universe.tiers.T1.products", "universe.never"),
        (
            "universe",
            UniverseSettings(themes=default_themes() | {"AI": ("FET-USD",)}),
            "universe.themes.AI",
            "has no cap",
        ),
        ("universe", UniverseSettings(themes={}), "risk.caps.theme_pct.LAYER1", "no products"),
        ("universe", UniverseSettings(flags={"BTC-USD": "rumour"}), "universe.flags.BTC-USD", "recent_exploit"),
        (
            "universe",
            UniverseSettings(regime=RegimeSettings(multiplier={"bull": 1.2, "chop": 0.8, "bear": 0.5, "crash": 0.1})),
            "universe.regime.multiplier.crash",
            "must be 0",
        ),
        ("universe", UniverseSettings(volume_leave_share=1.1), "universe.volume_leave_share", "no hysteresis"),
        (
            "health_monitor",
            HealthMonitorSettings(error_pct=(5.0, 25.0)),
            "health_monitor",
            "api_errors opens at 5 and closes at 25",
        ),
        ("health_monitor", HealthMonitorSettings(off=("api",)), "health_monitor.off", "there is no breaker api"),
    ],
)
def test_each_contradiction_is_found_with_its_key_and_numbers(section, value, key, numbers):
    found = [one for one in findings(composed(**{section: value})) if one.level == ERROR]
    assert key in [one.key for one in found], found
    assert any(numbers in one.text for one in found if one.key == key), found


def test_products_beyond_the_most_that_run_are_named_and_not_dropped_in_silence():
    found = [one for one in findings(composed(universe=UniverseSettings(products_max=13))) if one.level == ERROR]
    assert [(one.key, one.text) for one in found] == [
        ("universe.products_max", "13 products run, the tiers hold 14: HBAR-USD would never be traded")
    ]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"universe": UniverseSettings(regime=RegimeSettings(volume_floor_factor={"bearish": 1.2}))}, "universe.regime.volume_floor_factor.bearish"),
        ({"symbol": SymbolSettings(regime_denies={"panic": ()})}, "symbol.regime_denies.panic"),
        ({"symbol": SymbolSettings(triggers=TriggerSettings(atr_ratio_min={"Chop": 1.0}))}, "symbol.triggers.atr_ratio_min.Chop"),
        ({"symbol": SymbolSettings(triggers=TriggerSettings(threshold_factor={"bul": 1.0}))}, "symbol.triggers.threshold_factor.bul"),
        ({"symbol": SymbolSettings(conviction=ConvictionSettings(regime_confidence={"": 0.1}))}, "symbol.conviction.regime_confidence."),
    ],
)  # fmt: skip
def test_a_regime_that_does_not_exist_is_found_wherever_it_is_named(changes, key):
    assert errors(composed(**changes)) == [key]


@pytest.mark.parametrize(
    "name", ["review_s", "temporary_ban_hours", "quote_age_s_max", "ineligible_grace", "eligible_grace"]
)
def test_a_universe_without_grace_or_time_is_found(name):
    assert errors(composed(universe=UniverseSettings(**{name: 0}))) == [f"universe.{name}"]


def test_all_problems_are_told_at_once():
    config = composed(
        risk=RiskSettings(caps=CapSettings(per_asset_pct=D(30)), stops=StopSettings(daily_stop_pct=D(1)), lease_s=9.0),
        exits=ExitsSettings(valid_s=9.0),
    )
    assert {"risk.caps.per_asset_pct", "risk.stops.daily_stop_pct", "risk.lease_s", "exits.valid_s"} <= set(
        errors(config)
    )


def test_a_warning_is_no_error():
    found = findings(composed())
    assert [one.key for one in found if one.level == WARNING] == ["risk.caps.positions_max"]
