"""2025-10-10 through the whole bot: machines, simulated venue, orders and fills, on the recorded five-minute candles.

The hour before the crash is bent so that the bot buys; the crash itself is as recorded, only scaled.
"""

from __future__ import annotations

import pytest

from simulation.backtest.data import Columns, Dataset, recorded
from simulation.backtest.engine import Backtest
from tests.backtest.test_backtest import LOADED
from tests.support import shared_data
from trading.values import utc_seconds, utc_text

RISE_S = int(utc_seconds("2025-10-10T19:00:00Z"))
CRASH_S = int(utc_seconds("2025-10-10T20:40:00Z"))
PRODUCT = "BTC-USD"


def bent() -> Dataset:
    data = recorded(shared_data("ohlcv_5m")).between(
        utc_seconds("2025-10-07T00:00:00Z"), utc_seconds("2025-10-12T00:00:00Z")
    )
    columns, factor = Columns(), 1.0
    for c in data.series[PRODUCT]:
        before = factor
        heavy = RISE_S <= c.start_s < RISE_S + 1_200
        factor *= 1.006 if heavy else 1.0
        columns.append(
            c.start_s,
            c.open * before,
            c.high * factor,
            c.low * before,
            c.close * factor,
            c.volume * (40 if heavy else 1),
        )
    return Dataset(name="crash", series={PRODUCT: columns}, bar_s={PRODUCT: 300})


def backtest(dataset: Dataset) -> Backtest:
    config = LOADED.config
    return Backtest(dataset, config=config, costs=config.costs, seed=1, config_hash="cafe", facts={})


@pytest.fixture(scope="module")
def crash():
    test = backtest(bent())
    return test, test.run()


def test_the_real_crash_stops_the_position_out_within_the_bar_that_broke_the_stop(crash) -> None:
    test, run = crash
    (trade,) = [t for t in run.trades if t.opened_s < CRASH_S]
    assert trade.exit_reason == "stop"
    left = next(d for d in run.decisions if d.get("code") == "exit")
    armed = next(d for d in run.decisions if d.get("code") == "exit_armed")
    stop = float(armed["values"]["stop_price"])
    assert float(left["values"]["stop_price"]) >= stop, "a stop is only ever tightened"
    bars = [c for c in test.dataset.series[PRODUCT] if c.start_s + 300 > trade.opened_s]
    broke = next(c for c in bars if c.low <= stop)
    assert broke.start_s <= trade.closed_s <= broke.start_s + 300
    tolerance = float(LOADED.config.exits.tolerance_bps_max) / 1e4
    assert broke.low * (1 - tolerance) <= float(trade.exit_price) <= float(left["values"]["stop_price"])


def test_nothing_is_entered_while_the_regime_is_crash(crash) -> None:
    _, run = crash
    regime, seen = "", set()
    for decision in run.decisions:
        if decision.get("code") == "regime":
            regime = str(decision["text"]).rpartition(" ")[2]
            seen.add(regime)
        assert not (decision.get("code") == "admitted" and regime == "crash"), decision
    assert "crash" in seen


def test_one_snapshot_ten_percent_down_fires_nothing_in_the_whole_bot(crash) -> None:
    """At the venue's own speed: the quote is there once, the next one is back where the market is."""
    _, before = crash
    test = backtest(bent())
    world, told = test.world, []
    heard = world.quote
    (trade,) = [t for t in before.trades if t.opened_s < CRASH_S]

    def quote(name: str, mid: float, *, symbols: bool = True) -> None:
        at_s = world.stage.now.venue_s
        if not told and trade.opened_s + 600 < at_s < CRASH_S:
            told.append(at_s)
            heard(name, mid * 0.9, symbols=True)
            world.stage.run_for(0.6)
        heard(name, mid, symbols=symbols)

    world.quote = quote  # type: ignore[method-assign]
    test._touched = lambda bars: True  # type: ignore[method-assign]  # walk every bar with a position, so that there is a place for it
    run = test.run()
    assert told
    exits = [d for d in run.decisions if d.get("code") == "exit" and d["at"] < utc_text(CRASH_S)]
    assert not exits
    (after,) = [t for t in run.trades if t.opened_s < CRASH_S]
    assert after.exit_reason == "stop"
    assert after.closed_s >= CRASH_S
