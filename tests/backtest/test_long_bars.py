"""What candles cannot tell is said, not guessed: an hour is no proxy for fifteen minutes, a day none for an hour."""

from __future__ import annotations

import pytest

from config.schema import load_config
from simulation.backtest.engine import Backtest
from simulation.backtest.fitness import warnings
from simulation.backtest.report import summary
from tests.backtest.markets import jumping
from trading.bars import FineSeries, MoveSeries
from trading.costs import CostSettings, TierCosts, cost_problems

CONFIG = load_config("staging").config


@pytest.mark.parametrize("series", [FineSeries, MoveSeries])
@pytest.mark.parametrize(
    ("bar_s", "known"),
    [(60, (True, True)), (300, (True, True)), (600, (False, True)), (3_600, (False, True)), (7_200, (False, False))],
)
def test_a_price_of_fifteen_or_sixty_minutes_ago_is_known_only_by_bars_that_end_there(series, bar_s, known) -> None:
    made = series(bar_s)
    for number in range(100):
        made.update(number * bar_s, 100.0, 101.0, 99.0, 100.0 + number, 5.0)
    assert (made.price_15m_ago > 0.0, made.price_60m_ago > 0.0) == known
    if known[1]:
        assert made.price_60m_ago == 100.0 + 99 - 3_600 // bar_s


def test_a_rise_that_only_hours_show_is_not_called_one_of_fifteen_minutes() -> None:
    def run_of(bar_s: int):
        data = jumping(bar_s, 40 * 3_600, 3.0)
        return Backtest(data, config=CONFIG, costs=CONFIG.costs, seed=1, config_hash="cafe", facts={}).run()

    assert any(decision["code"] == "proposed" for decision in run_of(60).decisions)
    hours = run_of(3_600)
    assert not any(decision["code"] == "proposed" for decision in hours.decisions)
    assert any("do not tell the last 15 minutes" in note for note in summary(hours)["warnings"])


def test_bars_of_a_day_say_that_nobody_can_tell_the_regime() -> None:
    assert warnings(("BTC-USD", "SOL-USD", "ETH-USD"), CONFIG, 60) == []
    assert any("the regime stays chop" in note for note in warnings(("BTC-USD", "SOL-USD", "ETH-USD"), CONFIG, 86_400))


def test_costs_that_no_venue_could_have_are_named_each_with_its_bounds() -> None:
    assert cost_problems(CostSettings()) == []
    wild = {"T1": TierCosts(half_spread_bps=20_000.0, slippage_bps=-1.0, depth_usd=0.0)}
    found = dict(cost_problems(CostSettings(latency_s=-1.0, tiers=wild)))
    assert set(found) == {
        "latency_s",
        *(f"tiers.T1.{name}" for name in ("half_spread_bps", "slippage_bps", "depth_usd")),
    }
    assert found["latency_s"] == "-1 is not between 0 and 10"
