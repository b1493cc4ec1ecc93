"""What the predecessor left thin or false (domain.md section 20), as far as it concerns decisions: tests that would have caught it."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.decisions.build import (
    BOOT0,
    T0,
    D,
    RiskWorld,
    at,
    bar,
    book,
    cooldown,
    entry_order,
    notes,
    position,
    proposal,
    quote,
    said,
    sends,
)
from tests.decisions.test_symbol import rise, symbol
from trading.candles import Candles
from trading.data_guards import BAR_MISALIGNED, BarGuard, DataGuardSettings
from trading.exits import ExitsMachine
from trading.exits_settings import ExitsSettings
from trading.machine import Woke
from trading.messages.book import Counters
from trading.messages.control import KillSnapshot
from trading.messages.decisions import Approved, ExitOrder, Proposal, Verdict
from trading.money import day_start_s, realised_of, week_start_s
from trading.risk_settings import CapSettings
from trading.strategies.interface import MarketView, TriggerSettings
from trading.values import utc_seconds


def code_of(answer) -> str:
    assert isinstance(answer, Verdict)
    return answer.code


def test_seed_2_staleness_volatility_and_a_small_universe_are_breakers_and_not_only_read():
    from trading.health_monitor import HealthMonitorSettings, breaker_rules

    codes = {rule.code for rule in breaker_rules(HealthMonitorSettings())}
    assert {
        "data_staleness",
        "realised_volatility",
        "empty_universe",
        "api_health",
        "feed_flaps",
        "exchange_status",
        "volatility_crash",
    } <= codes


def test_seed_3_a_kill_denies_what_already_waits_and_not_once_a_minute():
    w = RiskWorld()
    w.hear(leave_out="universe")
    assert w.judge() is None
    w.kill = KillSnapshot(n=2, engaged=True, cause="drill")
    w.say(w.kill, at(0.01))
    assert code_of(said(w.say(w.universe, at(0.02)))) == "kill_switch"


def test_seed_4_a_stop_out_cools_the_symbol_in_the_one_store_that_everybody_reads():
    w = RiskWorld()
    w.book = book(cooldowns=(cooldown(kind="stop", left_s=7200.0),))
    w.hear()
    answer = w.judge()
    assert code_of(answer) == "per_symbol_cooldown"
    assert ("kind", "stop") in answer.values
    machine = symbol()
    machine.handle(book(product_id="BTC-USD", cooldowns=(cooldown(kind="stop", left_s=7200.0),)), at())
    assert sends(rise(machine), Proposal) == []


def test_seed_4_a_cooldown_is_over_at_its_time_and_not_before():
    for left_s, wanted in ((0.001, Verdict), (0.0, Approved)):
        w = RiskWorld()
        w.book = book(cooldowns=(cooldown(left_s=left_s),))
        w.hear()
        assert isinstance(w.judge(), wanted)


def test_seed_7_the_week_begins_on_monday_and_resets():
    sunday = utc_seconds("2025-10-12T23:59:59Z")
    monday = utc_seconds("2025-10-13T00:00:01Z")
    assert week_start_s(sunday) == utc_seconds("2025-10-06T00:00:00Z")
    assert week_start_s(monday) == utc_seconds("2025-10-13T00:00:00Z")
    assert day_start_s(monday) == utc_seconds("2025-10-13T00:00:00Z")
    closes = ((sunday - 10, D(-50)),)
    assert realised_of(closes, sunday).week_usd == D(-50)
    assert realised_of(closes, monday).week_usd == 0
    assert realised_of(closes, monday).rolling_usd == D(-50), "the rolling window still remembers"
    assert realised_of(closes, monday + 7 * 86400).rolling_usd == 0


def test_seed_7_only_realised_results_of_fills_stop_the_day():
    w = RiskWorld()
    w.book = book(positions=(position("ETH-USD", "3", price="200"),))  # a paper loss of 300 USD
    w.hear()
    answer = w.judge()
    assert isinstance(answer, Approved) or answer.code not in ("daily_stop", "weekly_stop")


def test_seed_8_a_proposals_id_follows_from_the_decision_and_from_no_clock():
    """The predecessor hashed the minute: two sides of a minute's boundary were two orders."""
    before = symbol()
    after = symbol()
    first = sends(rise(before), Proposal)[0]
    second = sends(rise(after), Proposal)[0]
    assert first.proposal_id == second.proposal_id
    shifted = symbol()
    third = sends(rise(shifted, seconds=9.0), Proposal)[0]
    assert third.proposal_id != first.proposal_id, "another quote is another decision"


def test_seed_10_nothing_is_requoted_while_its_order_lives():
    machine = symbol()
    one = sends(rise(machine), Proposal)[0]
    machine.handle(Verdict(proposal_id=one.proposal_id, product_id="BTC-USD", admitted=True, code="admitted"), at(7))
    alive = entry_order(proposal_id=one.proposal_id, plan_id=one.plan_id)
    for step in range(8, 60):
        effects = machine.handle(book(step, product_id="BTC-USD", orders=(alive,)), at(step))
        assert sends(effects, Proposal) == []


def test_seed_11_no_decision_before_every_seen_fill_is_booked():
    w = RiskWorld()
    w.book = book(unbooked=(("bh-x", 0.4),))
    w.hear()
    assert w.judge() is None
    w.book = book(2)
    assert isinstance(said(w.say(evolve(w.book, taken_boot_s=BOOT0 + 1), at(1))), Approved)


@pytest.mark.parametrize("field", ["exchange_s", "received_boot_s"])
def test_seed_21_either_age_alone_makes_a_quote_stale(field):
    w = RiskWorld()
    w.hear()
    old = quote(100, at())
    setattr(old, field, getattr(old, field) - 5.1)
    w.machine.on_quote(old, at())
    assert code_of(w.judge()) == "quote_stale"


def test_seed_23_a_bar_that_starts_between_its_windows_is_refused():
    guard = BarGuard(300, DataGuardSettings())
    assert guard.admit(bar(100, 300_000)) == ""
    assert guard.admit(bar(100, 300_301)) == BAR_MISALIGNED


def test_seed_23_an_hour_is_made_of_its_own_twelve_bars_and_closes_with_the_last():
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    candles = Candles(view, DataGuardSettings())
    start = int(T0)
    masks = [candles.add(bar(100 + n, start + n * 300, open_=100 + n)) for n in range(13)]
    assert masks[:11] == [2] * 11
    assert masks[11] == 2 | 4
    assert view.signal.last_start_s == start
    assert view.signal.open == 100
    assert view.signal.close == 111
    assert view.signal.volume == 120.0


def test_seed_s1_a_move_is_signed_and_measured_over_true_fifteen_minutes():
    """The predecessor took the largest of four hourly returns and lost its sign."""
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    candles = Candles(view, DataGuardSettings())
    closes = [100, 100, 100, 100, 99, 98, 97]
    for n, close in enumerate(closes):
        candles.add(bar(close, T0 + n * 300, open_=close))
    view.price = view.move.close
    assert view.change_15m_pct == pytest.approx((97 / 100 - 1) * 100)
    view.price = 96.0
    assert view.change_15m_pct == pytest.approx(-4.0)


def test_seed_dd1_the_high_water_mark_starts_at_the_first_reconciled_nav():
    w = RiskWorld()
    w.book = book(cash="255")
    w.hear()
    w.say(Woke("tick"), at(0.5))
    w.hear(at(0.6))
    answer = w.judge(proposal(now=at(0.6)), at(0.6))
    assert isinstance(answer, Approved), answer


def test_seed_pacing_counts_come_from_the_book_and_survive_a_restart():
    counters = Counters(entry_times_s=tuple((T0 - 100 - n, "ETH-USD") for n in range(5)))
    for me in ((1, 1), (1, 2)):
        w = RiskWorld(me=me)
        w.book = book(counters=counters)
        w.hear()
        assert code_of(w.judge()) == "trades_per_hour"


def test_seed_26_a_cold_start_enters_nothing_before_the_book_is_known_and_arms_every_exit_from_its_first_snapshot():
    w = RiskWorld()
    w.hear(leave_out="oms")
    assert w.judge() is None, "held: nobody knows what is open"
    machine = ExitsMachine(settings=ExitsSettings(), me=(7, 1), caps=CapSettings())
    machine.recover({}, at())
    effects = list(machine.handle(book(positions=(position("BTC-USD"), position("ETH-USD"))), at(0.1)))
    armed = [note["product_id"] for note in notes(effects) if note["code"] == "exit_armed"]
    assert armed == ["BTC-USD", "ETH-USD"]
    machine.handle(KillSnapshot(n=1, engaged=False), at(0.1))
    effects = []
    for step, price in enumerate((98, 95, 93.5)):
        now = at(0.2 + step / 10)
        effects += machine.on_quote(quote(price, now, product_id="ETH-USD"), now)
    assert sends(effects, ExitOrder)[0].reason == "stop"
