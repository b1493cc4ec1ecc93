"""Strategies: each fires on its formula and not beside it; a new one is one file; what is not named is off."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.decisions.build import T0, D, at, bar, book, catalog_of, quote, sends, universe_of
from tests.decisions.test_symbol import last_code
from trading.candles import Candles
from trading.conviction import boosts_of, conviction_of
from trading.data_guards import DataGuardSettings
from trading.messages.decisions import Proposal
from trading.strategies import interface
from trading.strategies.breakout import breakout
from trading.strategies.interface import MarketView, Rule, Signal, TriggerSettings, strategy
from trading.strategies.mean_reversion import mean_reversion
from trading.strategies.momentum import momentum
from trading.strategies.price_move import price_move
from trading.strategies.registry import StrategySettings, collect, default_strategies, enabled
from trading.strategies.reversal import confirmations, reversal
from trading.strategies.volume_spike import volume_spike
from trading.symbol import SymbolMachine
from trading.symbol_settings import ConvictionSettings, SymbolSettings

HOUR = 3600


def hours(closes, volumes=None, *, regime="chop", triggers=None) -> MarketView:
    view = MarketView("BTC-USD", triggers or TriggerSettings(), (60, 300, 3600))
    view.set_regime(regime, relaxed=False)
    before = closes[0]
    for n, close in enumerate(closes):
        volume = 10.0 if volumes is None else volumes[n]
        view.signal.update(n * HOUR, before, max(before, close) * 1.001, min(before, close) * 0.999, close, volume)
        before = close
    view.price = closes[-1]
    return view


FLAT = [100.0 + 0.1 * (n % 3) for n in range(40)]


def test_volume_spike_needs_volume_and_a_rise():
    spike = [*[10.0] * 40, 30.0]
    found = volume_spike.evaluate(hours([*FLAT, 103.0], spike))
    assert found.strength == pytest.approx(2 / 3)
    assert found.confidence == pytest.approx(0.75)
    assert volume_spike.evaluate(hours([*FLAT, 101.0], spike)) is None
    assert volume_spike.evaluate(hours([*FLAT, 97.0], spike)) is None
    assert volume_spike.evaluate(hours([*FLAT, 103.0], [*[10.0] * 40, 18.0])) is None
    assert volume_spike.evaluate(hours([*FLAT, 103.0], [*[10.0] * 40, 20.0], regime="bear")) is None, (
        "bear asks for more"
    )


def test_breakout_is_against_the_high_before_this_hour():
    assert breakout.evaluate(hours([*FLAT, 101.0])) is not None
    assert breakout.evaluate(hours([*FLAT, 99.0])) is None
    assert breakout.evaluate(hours([*FLAT, 101.0], [*[10.0] * 40, 5.0])) is None, "without volume"
    assert breakout.evaluate(hours(FLAT[:10])) is None, "too little data"


def test_momentum_is_signed_and_steady():
    rising = [100.0 * 1.002**n for n in range(40)]
    found = momentum.evaluate(hours(rising))
    assert found.change_pct == pytest.approx((1.002**24 - 1) * 100)
    assert found.confidence == 1.0
    assert found.rule is None
    falling = momentum.evaluate(hours([100.0 * 0.998**n for n in range(40)]))
    assert falling.rule.stop_pct == D(10)
    assert momentum.evaluate(hours(rising, regime="bear")) is None, "in a bear market only dips pass"
    assert momentum.evaluate(hours(FLAT)) is None


@pytest.mark.parametrize(("fall_pct", "fires"), [(2.5, False), (2.9, False), (3.1, True)])
def test_a_dip_of_the_day_is_bought_from_three_per_cent(fall_pct, fires):
    steady = [100.0 * (1 - fall_pct / 100) ** (n / 24) for n in range(40)]
    assert (momentum.evaluate(hours(steady)) is not None) is fires


@pytest.mark.parametrize(("close", "fires"), [(99.9, False), (100.0, False), (100.1, True), (99.75, False)])
def test_a_breakout_just_under_the_high_needs_a_rising_hour(close, fires):
    """The high is 100.3, 0.995 of it 99.8; the hour before closed at 100.0."""
    assert (breakout.evaluate(hours([*FLAT, close])) is not None) is fires


@pytest.mark.parametrize(
    ("regime", "return_pct", "fires"),
    [("bull", 1.6, True), ("chop", 1.6, False), ("chop", 2.1, True), ("bear", 2.4, False)],
)
def test_momentum_has_a_regime_factor_of_its_own(regime, return_pct, fires):
    steady = [100.0 * (1 + return_pct / 100) ** (n / 24) for n in range(40)]
    assert (momentum.evaluate(hours(steady, regime=regime)) is not None) is fires


def test_a_bear_market_asks_a_breakout_for_more_volume_and_a_bull_market_for_less():
    def breaks(volume: float, regime: str) -> bool:
        return breakout.evaluate(hours([*FLAT, 101.0], [*[10.0] * 40, volume], regime=regime)) is not None

    assert [breaks(9.5, name) for name in ("bull", "chop", "bear")] == [True, False, False]
    assert [breaks(10.5, name) for name in ("bull", "chop", "bear")] == [True, True, False]


@pytest.mark.parametrize(
    ("regime", "atr_ratio", "asked"),
    [("chop", 1.06, True), ("chop", 1.04, False), ("bear", 1.19, False), ("bear", 1.21, True)],
)
def test_hourly_triggers_rest_in_a_market_that_is_quiet_for_its_regime(regime, atr_ratio, asked):
    settings = SymbolSettings(strategies={"volume_spike": StrategySettings(enabled=True)})
    machine = SymbolMachine(product_id="BTC-USD", settings=settings, me=(1, 1), strategies=collect())
    machine.view.signal = hours([*FLAT, 103.0], [*[10.0] * 40, 40.0]).signal
    machine.view.signal.atr_ratio = atr_ratio
    machine.view.set_regime(regime, relaxed=False)
    assert bool(machine._hourly(None)) is asked


def test_a_signal_is_believed_more_in_a_bull_market_and_less_in_chop():
    signal = Signal(strength=0.6, confidence=0.7, change_pct=1.0, reason="")
    found = {
        name: conviction_of(signal, 1.0, 0.0, ConvictionSettings(), regime=name) for name in ("bull", "chop", "bear")
    }
    assert found == pytest.approx({"bull": 0.525, "chop": 0.48, "bear": 0.51})


def test_only_the_first_tier_is_believed_more_for_being_it():
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    settings = ConvictionSettings()
    found = {}
    for view.tier in ("T1", "T2", "T3"):
        found[view.tier] = boosts_of(view, settings)
    assert found == {"T1": 0.02, "T2": 0.0, "T3": 0.0}


def test_mean_reversion_needs_distance_and_a_quiet_regime():
    closes = [*[100.0 + 0.5 * (n % 2) for n in range(40)], 97.0]
    found = mean_reversion.evaluate(hours(closes))
    assert found.rule.target_pct / found.rule.stop_pct == pytest.approx(D("1.5"), rel=D("0.01"))
    assert mean_reversion.evaluate(hours(closes, regime="bear")) is None
    assert mean_reversion.evaluate(hours(FLAT)) is None
    assert mean_reversion.tiers == ("T1",)


def reversal_view(close: float = 94.0) -> MarketView:
    closes = [*[100.0] * 20, 96.0, 92.0, 90.0, 89.0, 88.0, 89.0, 91.0, 92.0, close]
    view = hours(closes)
    price = 94.0
    for n in range(60):
        dip = 3.0 * max(0.0, 1.0 - abs(n - 20) / 10) + 2.0 * max(0.0, 1.0 - abs(n - 40) / 8)
        level = 90.0 + n / 20 - dip
        view.move.update(n * 300, level, level + 0.1, level - 0.1, level, 10.0)
    view.move.update(60 * 300, price, price, price - 0.2, price, 20.0)
    return view


def test_a_reversal_needs_three_of_its_four_signs():
    view = reversal_view()
    assert set(confirmations(view)) >= {"above_vwap", "higher_low", "bounce"}
    assert reversal.evaluate(view) is not None
    view.set_regime("crash", relaxed=False)
    assert reversal.evaluate(view) is None
    young = reversal_view()
    young.move.restart()
    for n in range(47):
        young.move.update(n * 300, 90.0, 90.1, 89.9, 90.0, 10.0)
    young.move.update(47 * 300, 94.0, 94.0, 93.8, 94.0, 20.0)
    assert confirmations(young), "48 bars are four hours"
    young.move.count = 47
    assert confirmations(young) == ()
    bare = reversal_view()
    bare.move.restart()
    assert reversal.evaluate(bare) is None, "no five-minute bars, no confirmation"


def test_a_rising_trend_makes_a_reversal_believed_more():
    found = {}
    for slope in (-10.0, 10.0):
        view = reversal_view()
        view.triggers = TriggerSettings(trend_slope_pct_per_h=slope)
        found[slope] = reversal.evaluate(view).confidence
    assert found[-10.0] - found[10.0] == pytest.approx(0.1)


def test_the_hour_is_measured_by_five_minute_bars_while_the_minutes_do_not_reach_back():
    """After a start there may be twenty minutes of minutes, and days of five-minute bars."""
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    for n in range(288):
        view.move.update(n * 300, 100.0, 100.0, 100.0, 100.0, 10.0)
    end_s = 288 * 300
    for n in range(20):
        view.fine.update(end_s - (20 - n) * 60, 103.0, 103.0, 103.0, 103.0, 6.0)
    view.price = 103.2
    found = price_move.evaluate(view)
    assert found is not None and found.change_pct == pytest.approx(3.2)


@pytest.mark.parametrize(("close", "fires"), [(92.2, False), (92.4, True), (96.6, True), (96.8, False)])
def test_a_reversal_has_left_its_low_by_five_per_cent_and_not_by_ten(close, fires):
    """The low of the day is 87.912: 1.05 of it is 92.31, 1.10 of it 96.70."""
    assert (reversal.evaluate(reversal_view(close)) is not None) is fires


def test_two_signs_of_four_confirm_no_reversal():
    view = reversal_view()
    signs = confirmations(view)
    assert len(signs) == 3
    view.move.pivots = ()
    assert set(confirmations(view)) == set(signs) - {"higher_low"}
    assert reversal.evaluate(view) is None


def moved(change_15m: float, change_60m: float, ratio: float = 3.0, *, regime: str = "chop") -> Signal | None:
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    view.set_regime(regime, relaxed=False)
    for n in range(300):
        view.move.update(n * 300, 100, 100, 100, 100, 10.0)
    view.move.price_15m_ago = 100 / (1 + change_15m / 100)
    view.move.price_60m_ago = 100 / (1 + change_60m / 100)
    view.price = 100.0
    view.forming_volume_ratio = ratio
    return price_move.evaluate(view)


@pytest.mark.parametrize(
    ("short", "long", "wanted"),
    [
        (1.51, 3.01, (0.8, 0.85)),
        (1.6, 0.0, (0.6, 0.7)),
        (0.0, 3.1, (0.7, 0.75)),
        (1.4, 2.9, None),
        (-2.0, 3.5, None),
        (-2.4, 0.0, None),
        (-2.6, 0.0, (0.6, 0.7)),
        (-2.6, -3.5, (0.8, 0.85)),
    ],
)
def test_price_move_follows_its_table(short, long, wanted):
    found = moved(short, long)
    assert (found and (found.strength, found.confidence)) == wanted
    if wanted and short < 0:
        assert found.rule.stop_pct == D(10)
        assert found.change_pct < 0


def test_price_move_needs_volume_and_follows_the_regime():
    assert moved(2.0, 0.0, 1.4) is None
    assert moved(1.25, 0.0, regime="bull") is not None
    assert moved(1.7, 0.0, regime="bear") is None


def test_the_fallback_relaxes_thresholds_only_when_configured():
    view = MarketView("BTC-USD", TriggerSettings(fallback_after_bars=24), (60, 300, 3600))
    assert view.threshold_factor == 1.0
    view.set_regime("chop", relaxed=True)
    assert view.threshold_factor == pytest.approx(0.7)
    assert TriggerSettings().fallback_after_bars == 0


# -- the registry and the plug-in ------------------------------------------------------------------------------


def test_only_price_move_acts_out_of_the_box_and_what_is_not_named_is_off():
    names = [one.name for one in enabled(collect(), default_strategies())]
    assert names == ["price_move"]
    assert [one.name for one in collect()] == [
        "price_move",
        "volume_spike",
        "breakout",
        "momentum",
        "reversal",
        "mean_reversion",
    ]
    assert enabled(collect(), {}) == ()


def example() -> str:
    """The documented example, as it stands in the docstring of the interface."""
    text = interface.__doc__ or ""
    lines = [line[4:] for line in text.split("\n") if line.startswith("    ") or not line.strip()]
    code = "\n".join(lines).strip().replace("'''", '"""')
    assert len([line for line in code.split("\n") if line.strip()]) <= 10
    return code


def load(code: str, name: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, name, "exec"), module.__dict__)
    return module


def test_the_documented_example_of_ten_lines_runs_and_proposes():
    module = load(example(), "example_strategy")
    strategies = collect([module])
    assert strategies[-1].name == "gap_up"
    settings = SymbolSettings(
        strategies={"gap_up": StrategySettings(enabled=True)}, triggers=TriggerSettings(atr_ratio_min={})
    )
    machine = SymbolMachine(product_id="BTC-USD", settings=settings, me=(1, 1), strategies=strategies)
    start = int(T0) // HOUR * HOUR
    for n in range(60, 0, -1):
        machine.on_bar(bar(100 + 0.01 * (n % 2), start - n * HOUR, bar_s=HOUR, backfill=True), at())
    machine.handle(universe_of(("BTC-USD",)), at())
    machine.handle(catalog_of(("BTC-USD",), at()), at())
    machine.handle(book(product_id="BTC-USD"), at())
    now = at(HOUR)
    machine.on_quote(quote(103.2, now), now)
    machine._outliers.believe(103.0)
    machine.on_quote(quote(103.2, now), now)
    for n in range(12):
        machine.view.move.update(start + n * 300, 103, 103.5, 102.5, 103.2, 1.0)
    effects = list(machine.on_bar(bar(103.2, start, open_=102.5, bar_s=HOUR, volume=30), now))
    found = sends(effects, Proposal)
    assert found, last_code(machine)
    assert found[0].strategy == "gap_up"
    assert found[0].plan.stop_pct == D(5)


def test_a_second_strategy_of_the_same_name_is_told():
    again = load(example().replace("gap_up", "breakout"), "mine")
    with pytest.raises(ValueError, match="two strategies are named 'breakout'"):
        collect([again])
    with pytest.raises(ValueError, match="holds no strategy"):
        collect([ModuleType("empty")])


@pytest.mark.parametrize(
    ("name", "on", "rule", "text"),
    [
        ("x", "minute", Rule(stop_pct=D(1), target_pct=D(2), hold_hours=1), "wants to be asked on 'minute'"),
        ("a b", "move", Rule(stop_pct=D(1), target_pct=D(2), hold_hours=1), "is no identifier"),
        ("x", "move", Rule(stop_pct=D(3), target_pct=D(2), hold_hours=1), "below the target"),
        ("x", "move", Rule(stop_pct=D("NaN"), target_pct=D(2), hold_hours=1), "stop NaN %"),
        ("x", "move", Rule(stop_pct=1, target_pct=2, hold_hours=1, size_factor=float("inf")), "size factor inf"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused_with_a_sentence(name, on, rule, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        strategy(name, on=on, rule=rule)


def test_percentages_of_a_rule_are_decimals_however_they_are_written():
    """A float met NAV in risk, which died of it at each repeat of the proposal."""
    rule = Rule(stop_pct=5.5, target_pct=11, hold_hours=24, trailing_pct="2.5")
    assert (rule.stop_pct, rule.target_pct, rule.trailing_pct) == (D("5.5"), D(11), D("2.5"))
    assert {type(value) for value in (rule.stop_pct, rule.target_pct, rule.trailing_pct)} == {D}


def test_strategies_are_pure():
    """No import beyond trading, attrs and the standard library's harmless part; no clock, no randomness."""
    folder = Path(interface.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text()
        assert not re.search(
            r"^\s*(import|from) (time|random|asyncio|socket|threading|requests)\b", text, re.MULTILINE
        ), path


def test_candles_feed_the_view_that_strategies_read():
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    feed = Candles(view, DataGuardSettings())
    for n in range(24):
        feed.add(bar(100 + n / 100, T0 + n * 300))
    assert view.move.count == 24
    assert view.signal.count == 2
