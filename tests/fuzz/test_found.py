"""What the fault simulation has found, each as the smallest scenario that showed it."""

from __future__ import annotations

import pytest

from exchange.coinbase.gateway_stats import LONG_WINDOW_S, TrafficStats
from simulation.fuzz.directed import BTC
from simulation.fuzz.schedule import Item, Schedule
from simulation.fuzz.world import World
from trading.messages.orders import Called


def test_one_slow_order_does_not_close_entries_for_as_long_as_no_other_may_be_sent():
    """Its latency opened `latency_budget`; no order could leave to bring the quantile down again, for ever."""
    stats = TrafficStats(0.0)
    stats.called(("order",), Called(call_id="order-1", outcome=None, errors=1), 10.0, 10.0)
    assert dict(stats.readings(11.0))["order_p95_s"] == 10.0
    assert "order_p95_s" not in dict(stats.readings(10.0 + LONG_WINDOW_S + 1.0))


@pytest.mark.parametrize("kill_s", [0.1, 0.5005])
def test_a_new_oms_agrees_with_the_venue_within_half_a_second_of_its_start(kill_s):
    """The gateway answered the Hello before the directory told it of the new oms: the answer went to the dead one, and
    recovery waited a whole second for the next Hello."""
    world = World(Schedule(seed=3, mode="D", items=(Item(kill_s, "kill", ("oms",)),), products=(BTC,)))
    world.warm_up()
    world.stage.run_for(kill_s + 0.02)
    assert not world.reconciled()
    world.stage.run_for(0.5)
    assert world.reconciled()
