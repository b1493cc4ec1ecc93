"""Between two bar ends the market walks straight lines, and exits see them as they would live: no fall is one bad tick."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from exchange.simulator.market import Bar as Candle
from simulation.backtest.path import POINTS_MAX, points, price_at
from tests.backtest.markets import jumping
from tests.backtest.test_backtest import LOADED, backtest
from trading.messages.market import Bar

STOP = 0.94
HOUR_S = 3_600


def wick(candle: Candle) -> Candle:
    """Ten percent down, up to the target, and back: the pessimistic path stops first."""
    return Candle(
        candle.start_s, candle.open, candle.open * 1.14, candle.open * 0.9, candle.close, candle.volume * 20
    )  # fmt: skip


def dip(candle: Candle) -> Candle:
    return Candle(candle.start_s, candle.open, candle.high, candle.open * 0.9, candle.close, candle.volume * 20)


def fall(candle: Candle) -> Candle:
    return Candle(
        candle.start_s, candle.open, candle.high, candle.open * 0.895, candle.open * 0.9, candle.volume * 20
    )  # fmt: skip


@pytest.mark.parametrize("shape", [wick, dip, fall])
@pytest.mark.parametrize("bar_s", [60, 300, 900])
def test_a_low_beyond_the_stop_stops_in_its_bar_between_the_stop_and_the_low(bar_s: int, shape) -> None:
    """A step is half a percent here; slippage, and what exits allow an order, is at most three percent."""
    at_s = 4 * HOUR_S
    test = backtest(jumping(bar_s, 26 * HOUR_S, 1.5, lambda after_s, c: shape(c) if after_s == at_s else c))
    (trade,) = (t for t in test.run().trades if t.product_id == "SOL-USD")
    (bar,) = (c for c in test.dataset.series["SOL-USD"] if c.low < c.open * 0.95)
    assert trade.exit_reason == "stop"
    assert bar.start_s < trade.closed_s < bar.start_s + bar_s
    stop = float(trade.entry_price) * STOP
    assert max(bar.low, stop * 0.97) <= float(trade.exit_price) <= stop


def test_the_steps_of_a_walked_line_stay_well_inside_what_exits_would_doubt() -> None:
    doubted = LOADED.config.exits.outlier_pct / 100
    bar = Bar("BTC-USD", 60, 0, 100.0, 110.0, 70.0, 105.0, 1.0)
    prices = [bar.open, *(price_at(bar, at_s, held=True) for at_s in points(bar, held=True, step_share=doubted / 10))]
    assert {70.0, 110.0} <= {round(price, 9) for price in prices}
    assert max(abs(after / before - 1) for before, after in pairwise(prices)) < doubted / 5
    assert len(points(bar, held=True, step_share=0.0)) == 3 * POINTS_MAX, "no step at all is no endless walk"


def test_each_line_of_a_flat_bar_is_looked_at_thrice_so_that_a_gap_before_it_is_confirmed() -> None:
    bar = Bar("BTC-USD", 60, 0, 100.0, 100.0, 100.0, 100.0, 1.0)
    assert points(bar, held=True, step_share=0.005) == pytest.approx([60 * n / 9 for n in range(1, 10)])


def test_the_floats_of_a_quote_are_exactly_those_of_its_decimals() -> None:
    drawn = random.Random(7)
    world = backtest(jumping(60, 60, 1)).world
    for name in world.sim:
        for _ in range(500):
            world.quote(name, 10 ** drawn.uniform(-3, 5))
            quote = world.stage.slots[name]
            assert (quote.bid_f, quote.ask_f) == (float(quote.bid), float(quote.ask))
            assert quote.bid < quote.ask


def test_what_is_bought_inside_a_bar_is_watched_for_the_rest_of_it() -> None:
    """The bar's corners alone are two bad ticks to exits: the dip after the purchase was over before they believed it."""

    def bend(after_s: int, candle: Candle) -> Candle:
        return dip_and_back(candle) if after_s == 900 else candle

    test = backtest(jumping(900, 26 * HOUR_S, 1.5, bend))
    (trade,) = (t for t in test.run().trades if t.product_id == "SOL-USD")
    (bar,) = (c for c in test.dataset.series["SOL-USD"] if c.low < c.open * 0.95)
    assert bar.start_s <= trade.opened_s < trade.closed_s < bar.start_s + 900
    assert trade.exit_reason == "stop"


def dip_and_back(candle: Candle) -> Candle:
    return Candle(
        candle.start_s, candle.open, candle.open * 1.002, candle.open * 0.9, candle.open * 1.001, candle.volume * 20
    )


@pytest.mark.parametrize(("high", "looked_at"), [(102.4, False), (102.6, True)])
def test_a_bar_that_is_half_as_wide_as_what_exits_doubt_is_walked_though_it_touches_nothing(high, looked_at) -> None:
    """Skipped to its close it would be one tick that jumps."""
    test = backtest(jumping(60, 26 * HOUR_S, 0.1))
    test.recorder.watched = {"SOL-USD": [(90.0, 110.0, float("inf"))]}
    assert test._touched([Bar("SOL-USD", 60, 0, 100.0, high, 100.0, 100.0, 1.0)]) is looked_at
    assert not test._touched([Bar("BTC-USD", 60, 0, 100.0, 150.0, 100.0, 100.0, 1.0)]), "nothing of it is held"
