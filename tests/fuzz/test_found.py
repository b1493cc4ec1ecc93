"""What the fault simulation has found, each as the smallest scenario that showed it."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest

from exchange.coinbase.gateway_stats import LONG_WINDOW_S, TrafficStats
from simulation.fuzz import campaign, schedule
from simulation.fuzz.directed import BTC
from simulation.fuzz.schedule import Item, Schedule
from simulation.fuzz.settings import machine_settings
from simulation.fuzz.world import World
from trading.machine import Instant, Send
from trading.messages.decisions import EntryPolicy, ExitPlan, Proposal, Verdict
from trading.messages.orders import Called
from trading.protections import Protections
from trading.risk import EMPTY_BOOK, RiskMachine


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


def test_a_denial_of_risk_does_not_stand_against_the_book():
    """oms was stopped with the approval in its mailbox, risk was replaced and denied; then oms admitted after all."""
    s = machine_settings(Protections())
    risk = RiskMachine(
        settings=s.risk, me=(1, 1), tiers=s.tiers, themes=s.themes, strategies=s.strategies, guards=s.guards
    )
    proposal = Proposal(
        proposal_id="p", product_id=BTC, strategy="price_move", trigger="t", reason="r", values=(), conviction=1.0,
        notional_usd=Decimal(100), limit_price=Decimal(1), post_only=True, plan=ExitPlan(stop_pct=Decimal(8), target_pct=Decimal(6)),
        policy=EntryPolicy(), quote_exchange_s=0.0, quote_received_boot_s=0.0, decided_boot_s=0.0, valid_until_boot_s=2.0, plan_id="p",
    )  # fmt: skip

    def verdicts(effects):
        return [e.message.admitted for e in effects if isinstance(e, Send) and isinstance(e.message, Verdict)]

    list(risk.recover({}, Instant(1000.0, True, 0.0)))
    assert verdicts(risk.handle(proposal, Instant(1003.0, True, 3.0))) == [False]
    book = attrs.evolve(EMPTY_BOOK, version=((1, 2), 1), admitted_recently=("p",), taken_boot_s=3.0)
    list(risk.handle(book, Instant(1003.1, True, 3.1)))
    assert verdicts(risk.handle(proposal, Instant(1003.2, True, 3.2))) == [True]


@pytest.mark.parametrize(
    "seed",
    [
        2006860,
        3108251,
        3148578,
        5001971,
        5017963,
        6055898,
        8125383,
        8034572,
        8103416,
        9185396,
        9227216,
        8108385,
        9025122,
    ],
)
def test_a_lost_store_and_a_listing_that_lags_leave_no_order_uncounted(seed):
    """The new oms knew of nothing and the venue listed nothing yet: the run ended as clean with orders resting, or an entry was
    admitted beside one that had just filled; in the later seeds the gateway, which could have told, had died as well."""
    tally = campaign.seeds("R", seed, 1, Protections(), jobs=1)
    assert tally.total == 1
    assert [f.text for f in tally.failures] == []


@pytest.mark.parametrize("seed", [6007153, 6156052])
def test_a_fill_that_died_in_the_mailbox_of_oms_counts_as_seen_only_when_the_venue_lists_it(seed):
    """The venue listed with a lag of 10 and 29 s; the checker of I16 called a fill seen whose update oms never took in."""
    tally = campaign.seeds("R", seed, 1, Protections(), jobs=1)
    assert [f.text for f in tally.failures] == []


@pytest.mark.parametrize("seed", [9044057, 15101126])
def test_a_run_whose_root_dies_about_a_stop_is_gone_in_time(seed):
    """Root was killed 4.5 s after the stop was asked, an order of unknown fate was on the wire: main left after 10.3 s; or 0.8 s
    before it: main went on sweeping for its half minute."""
    tally = campaign.seeds("R", seed, 1, Protections(), jobs=1)
    assert [f.text for f in tally.failures] == []


def test_an_approval_that_a_new_risk_repeats_with_a_smaller_size_is_still_one():
    """oms stood still, risk was replaced and approved again at a lower price, then oms admitted the first: the checker of I14."""
    tally = campaign.seeds("R", 17059093, 1, Protections(), jobs=1)
    assert [f.text for f in tally.failures] == []


def test_a_fill_of_the_last_moment_need_not_be_booked_yet():
    """A position left by its maximum hold, 0.2 s before the end of the schedule: the checker of I8."""
    tally = campaign.seeds("R", 18044660, 1, Protections(), jobs=1)
    assert [f.text for f in tally.failures] == []


def test_a_run_that_dies_before_it_has_adopted_anything_leaves_nobodys_coins_behind():
    """kill_switch could not start, so root gave up before oms was there; the next run took the data dir for new."""
    tally = campaign.seeds("R", 12061913, 1, Protections(), jobs=1)
    assert [f.text for f in tally.failures] == []


def test_an_older_copy_of_the_book_that_is_put_back_sells_no_coins_of_others(monkeypatch):
    """Its positions were sold after it was made: the next stop sold the owner's coins in their place (55 of 200 schedules)."""
    monkeypatch.setattr(schedule, "PUT_BACKS", 1.0)
    tally = campaign.seeds("R", 80000000, 20, Protections(), jobs=1)
    assert tally.total == 20
    assert [f.text for f in tally.failures] == []
