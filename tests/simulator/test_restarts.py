"""A venue that is started again and again: when its market opens anew, and where prices then stand."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace

import pytest

from exchange.simulator import assembly
from exchange.simulator.scenarios import SCENARIOS
from exchange.simulator.server import parser
from exchange.simulator.synthetic import SyntheticMarket

NOW = 1_795_500_000.0
PLAIN = SyntheticMarket(1)
HIGHEST_PCT = 18.0


@pytest.fixture
def start(tmp_path, monkeypatch):
    """`start(at_s, for_s)`: a clean run of the venue from then on; (the scenario it names, its market)."""

    def run(at_s, for_s, stopped="yes"):
        monkeypatch.setattr(assembly, "time", SimpleNamespace(time=lambda: at_s))
        found = assembly.assemble(parser().parse_args(["--data-dir", str(tmp_path), "--products", "SOL-USD,DOGE-USD"]))
        found.running.journal.set_meta(venue_s=repr(at_s + for_s), stopped=stopped)
        found.running.journal.close()
        os.close(found.lock)
        return found.scenario, found.running.market

    return run


def percent_off(market, at_s, product="SOL-USD"):
    return (market.mid(product, at_s) / PLAIN.mid(product, at_s) - 1) * 100


@pytest.mark.parametrize("every_s", [60.0, 360.0])
def test_a_bot_started_again_and_again_never_carries_a_price_further_from_its_path_than_one_opening(start, every_s):
    openings, farthest = 0, 0.0
    for n in range(11):
        at_s = NOW + n * every_s
        scenario, market = start(at_s, 40.0)
        openings += scenario == "opening"
        farthest = max(farthest, *(percent_off(market, at_s + after) for after in range(0, int(every_s), 10)))
    assert openings == math.ceil(11 / math.ceil(608 / every_s))
    assert 15.0 < farthest < HIGHEST_PCT
    assert percent_off(market, at_s + 620) == pytest.approx(0.0, abs=1e-9)


def test_a_market_that_was_stopped_in_its_opening_goes_on_without_a_jump(start):
    _, before = start(NOW, 20.0)
    scenario, after = start(NOW + 30, 20.0)
    assert scenario == ""
    assert after.mid("SOL-USD", NOW + 30) == before.mid("SOL-USD", NOW + 30)


def test_a_market_that_was_stopped_before_its_rise_opens_anew_and_only_once(start):
    start(NOW, 5.0)
    scenario, market = start(NOW + 12, 20.0)
    assert scenario == "opening"
    assert len(market.moves()) == len(SCENARIOS["opening"])
    assert percent_off(market, NOW + 12 + 7.9) == pytest.approx(0.0, abs=1e-9)
    assert percent_off(market, NOW + 12 + 8.1) == pytest.approx(3.0, abs=0.1)


def test_a_market_that_was_killed_keeps_an_opening_that_has_not_begun(start):
    start(NOW, 5.0, stopped="no")
    scenario, market = start(NOW + 6, 20.0)
    assert scenario == ""
    assert percent_off(market, NOW + 8.1) == pytest.approx(3.0, abs=0.1)
