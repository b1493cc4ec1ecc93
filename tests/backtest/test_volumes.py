"""A product is eligible by the volume that was known: 24 hours of closed bars, and a market too small is closed as live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve

from exchange.simulator.market import Bar as Candle
from simulation.backtest.data import Columns, Dataset
from simulation.backtest.report import Run, summary
from simulation.backtest.volumes import RollingVolumes
from tests.backtest.markets import T0_S, jumping
from tests.backtest.test_backtest import backtest
from trading.values import utc_text

HOUR_S = 3_600
THIN_USD = 1.5e7
"""A little over the floor of tier T1: half of it is too little."""


def flat(hours: int, usd_an_hour: float, start_s: int = 0) -> Dataset:
    candles = [Candle(start_s + n * 60, 100.0, 100.0, 100.0, 100.0, usd_an_hour / 6_000) for n in range(hours * 60)]
    return Dataset(name="flat", series={"BTC-USD": candles}, bar_s={"BTC-USD": 60})


def test_volume_is_of_closed_bars_scaled_to_a_day_from_an_hour_on() -> None:
    volumes = RollingVolumes(flat(48, 1e6), ("BTC-USD",))
    assert volumes.at(HOUR_S - 1).usd == {}
    assert volumes.at(HOUR_S).usd == {"BTC-USD": pytest.approx(24e6)}
    assert volumes.at(30 * HOUR_S + 59).usd == {"BTC-USD": pytest.approx(24e6, rel=0.001)}
    assert volumes.at(58 * HOUR_S).usd == {"BTC-USD": pytest.approx((24 - 10) * 1e6)}, "the data ended ten hours ago"
    assert volumes.at(90 * HOUR_S).usd == {"BTC-USD": pytest.approx(0.0, abs=1.0)}


def decided(run: Run, until_s: float) -> list[Mapping[str, Any]]:
    return [d for d in run.decisions if str(d["at"]) < utc_text(until_s)]


def after(dataset: Dataset, cut_s: float, volume_factor: float) -> Dataset:
    """The same market with another volume from `cut_s` on."""
    series = {
        product: Columns(
            evolve(c, volume=c.volume * (volume_factor if c.start_s >= cut_s else 1.0)) for c in candles
        )
        for product, candles in dataset.series.items()
    }  # fmt: skip
    return Dataset(name=dataset.name, series=series, bar_s=dataset.bar_s)


@pytest.fixture(scope="module")
def thin() -> tuple[Dataset, Run]:
    dataset = jumping(60, 6 * HOUR_S, 1.0, day_usd=THIN_USD)
    return dataset, backtest(dataset).run()


def test_the_afternoon_of_the_first_day_decides_nothing_in_its_morning(thin) -> None:
    dataset, run = thin
    noon_s = T0_S + 12 * HOUR_S
    other = backtest(after(dataset, noon_s, 0.0001)).run()
    assert decided(run, noon_s) == decided(other, noon_s)
    assert any(d["code"] == "admitted" for d in decided(run, noon_s)), "the market of this test leads to an entry"


def test_before_the_first_hour_of_bars_nothing_is_eligible(thin) -> None:
    _, run = thin
    eligible = [d["at"] for d in run.decisions if d["code"] == "eligible"]
    assert len(eligible) == 3
    assert min(eligible) >= utc_text(T0_S + HOUR_S)


def test_products_whose_volume_is_gone_leave_and_the_market_that_is_left_is_too_small() -> None:
    """The first day was fine: only a volume that rolls on can tell."""
    late = jumping(60, 44 * HOUR_S, 2.0, day_usd=THIN_USD)
    assert any(d["code"] == "admitted" for d in backtest(late).run().decisions)
    run = backtest(after(late, T0_S + 26 * HOUR_S, 0.0001)).run()
    left = {d["product_id"] for d in run.decisions if d["code"] == "ineligible:volume_low"}
    assert {"BTC-USD", "ETH-USD"} <= left
    assert not any(d["code"] == "admitted" for d in run.decisions)


@pytest.mark.parametrize(("products", "closed"), [(("BTC-USD", "SOL-USD"), True), (("SOL-USD",), False)])
def test_a_market_with_too_few_eligible_products_is_closed_unless_it_never_had_them(products, closed: bool) -> None:
    """BTC-USD is traded too little to be eligible, as if live one product were left of many."""

    def bend(_after_s: int, candle: Candle) -> Candle:
        return candle

    dataset = jumping(60, 6 * HOUR_S, 0.5, bend, products)
    if closed:
        lame = Columns(evolve(c, volume=c.volume / 1_000) for c in dataset.series["BTC-USD"])
        dataset = Dataset(name="lame", series={**dataset.series, "BTC-USD": lame}, bar_s=dataset.bar_s)
    run = backtest(dataset).run()
    denied = {d["code"] for d in run.decisions if d.get("denied")}
    admitted = [d for d in run.decisions if d["code"] == "admitted"]
    assert ("empty_universe" in denied, not admitted) == (closed, closed)
    said = " ".join(summary(run)["warnings"])
    assert ("empty_universe" in said, "BTC-USD" in said) == (not closed, not closed)
