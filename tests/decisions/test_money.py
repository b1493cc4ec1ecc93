"""Losses: a flow-neutral high-water mark, latches that only tighten, and rows that survive."""

from __future__ import annotations

from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decisions.build import (
    T0,
    D,
    RiskWorld,
    at,
    book,
    catalog_of,
    position,
    proposal,
    quote,
    rows_of,
    saves,
    sends,
)
from trading.machine import Woke
from trading.messages.book import Counters, Foreign
from trading.messages.control import CommandDone, Condition, LatchSnapshot, Rearm
from trading.messages.decisions import Verdict
from trading.money import HighWater, Realised, loss_pct, realised_of, wanted_latches
from trading.risk_settings import CapSettings, RiskSettings, StopSettings
from trading.values import utc_seconds

usd = st.decimals(min_value=1, max_value=1_000_000, places=2)


def test_a_quiet_products_mark_lives_as_long_as_its_connection():
    w = RiskWorld()
    w.book = book(positions=(position("DOGE-USD", "20"),))
    w.hear()
    for seconds, alive, nav in ((100.0, True, D(12_000)), (161.0, False, None)):
        now = at(seconds)
        w.machine.on_quote(quote(100, now, product_id="DOGE-USD", age_s=seconds, alive=alive), now)
        w.machine._money.value(w.book, now)
        assert w.machine._money.nav_usd == nav


@settings(deadline=None)
@given(
    nav=usd,
    peak=st.decimals(min_value=1, max_value=3, places=3),
    flow=st.decimals(min_value=D("-0.99"), max_value=5, places=2),
)
def test_the_drawdown_is_the_same_before_and_after_any_flow(nav, peak, flow):
    water = HighWater(usd=nav * peak)
    before = water.drawdown_pct(nav)
    moved = nav * flow
    water.update(nav + moved, moved, may_rise=True)
    after = water.drawdown_pct(nav + moved)
    assert abs(after - before) < Decimal("0.0001")


def test_a_half_booked_fill_sets_no_mark():
    water = HighWater(usd=D(100))
    water.update(D(200), D(0), may_rise=False)
    assert water.usd == D(100)


def test_pnl_is_of_what_there_was_before_it():
    assert loss_pct(D(-30), D(970)) == D(-3)


def test_a_window_holds_its_first_second():
    midnight, monday = utc_seconds("2025-10-10T00:00:00Z"), utc_seconds("2025-10-06T00:00:00Z")
    closes = [(midnight, D(-1)), (midnight - 1, D(-2)), (monday, D(-4)), (monday - 1, D(-8))]
    found = realised_of(closes, midnight + 60)
    assert (found.day_usd, found.week_usd, found.rolling_usd) == (D(-1), D(-7), D(-15))
    later = realised_of(closes, monday + 7 * 86_400)
    assert (later.week_usd, later.rolling_usd) == (D(0), D(-7)), "Monday ends the ISO week, not the last seven days"


@pytest.mark.parametrize(
    ("day", "drawdown", "codes"),
    [
        (D("-29.99"), D("9.99"), []),
        (D(-30), D(0), ["daily_stop"]),
        (D(0), D(10), ["max_drawdown"]),
    ],
)
def test_a_loss_that_reaches_its_limit_latches(day, drawdown, codes):
    realised = Realised(day_usd=day, week_usd=day, rolling_usd=day)
    found = wanted_latches(realised, 1000 + day, drawdown, D(1000), T0, StopSettings())
    assert [latch.code for latch in found] == codes


def test_a_rolling_stop_that_still_holds_leaves_no_gap_at_the_end_of_its_day():
    w = RiskWorld()
    w.book = book(counters=Counters(realised=((T0 - 5 * 86_400, D(-900)),)))
    w.hear()
    assert w.judge().code == "rolling_stop"
    w.catalog = catalog_of(w.names, at(86_400.0))
    w.hear(at(86_400.0))
    assert w.judge(proposal(proposal_id="p2", now=at(86_400.0)), at(86_400.0)).code == "rolling_stop"


def test_a_fill_that_is_not_booked_yet_is_no_drawdown():
    w = RiskWorld()
    w.hear()
    w.book = book(2, cash="8000", unbooked=(("bh-x", 0.5),))
    w.hear(at(1))
    assert saves(w.effects, "risk_latches") == []
    w.book = book(3, cash="8000")
    w.hear(at(2))
    assert [save.key for save in saves(w.effects, "risk_latches")] == ["max_drawdown"]


def drawn_down() -> RiskWorld:
    w = RiskWorld()
    w.book = book(positions=(position("DOGE-USD", "50"),), cash="5000")
    w.hear()
    w.prices["DOGE-USD"] = 76.0
    for step in (1, 2, 3):
        w.quotes(at(step / 10))
    w.hear(at(0.5))
    w.say(Woke("tick"), at(0.6))
    return w


def test_a_drawdown_latches_is_told_and_denies():
    w = drawn_down()
    assert [save.key for save in saves(w.effects, "risk_latches")] == ["max_drawdown"]
    told = [one for one in sends(w.effects, Condition, "alerts") if one.fingerprint == "risk:max_drawdown"]
    assert told[0].level == "critical"
    assert isinstance(w.judge(now=at(0.6)), Verdict)
    snapshot = sends(w.effects, LatchSnapshot, "oms")[-1]
    assert [latch.code for latch in snapshot.latches] == ["max_drawdown"]
    assert snapshot.drawdown_pct >= D(10)


def test_a_latch_survives_a_restart_and_a_recovery_of_the_price():
    w = drawn_down()
    again = RiskWorld(rows=rows_of(w.effects), me=(1, 2))
    again.book = w.book
    again.hear()
    answer = again.judge()
    assert isinstance(answer, Verdict)
    assert answer.code == "max_drawdown"


def test_only_a_person_with_a_name_and_a_cause_clears_a_drawdown_latch():
    w = drawn_down()
    effects = w.say(Rearm(command_id="c", name="", cause=""), at(0.7))
    assert not sends(effects, CommandDone)[0].ok
    effects = w.say(Rearm(command_id="c2", name="ann", cause="seen, accepted"), at(0.7))
    assert sends(effects, CommandDone)[0].ok
    row = saves(effects, "risk_latches")[0].row
    assert row["live"] is False
    assert "ann" in row["cleared_by"]
    w.hear(at(0.8))
    w.say(Woke("tick"), at(1.0))
    answer = w.judge(proposal(now=at(1.0)), at(1.0))
    assert answer.code == "strategy_cap", "what denies now is the large position, no longer the latch"


def test_a_daily_stop_ends_at_midnight_and_not_before_and_not_on_an_untrusted_clock():
    w = RiskWorld()
    w.book = book(counters=Counters(realised=((T0 - 60, D(-400)),)))
    w.hear()
    assert w.judge().code == "daily_stop"
    w.book = book(2)
    w.hear(at(1))
    assert w.judge(proposal(proposal_id="p2", now=at(1)), at(1)).code == "daily_stop", (
        "it does not loosen within its day"
    )
    midnight = 86_400 - (T0 % 86_400)
    w.say(Woke("tick"), at(midnight + 1, trusted=False))
    assert [save for save in saves(w.effects, "risk_latches") if save.row["live"] is False] == []
    w.say(Woke("tick"), at(midnight + 1))
    gone = [save for save in saves(w.effects, "risk_latches") if save.row["live"] is False]
    assert [save.key for save in gone] == ["daily_stop"]
    assert sends(w.effects, LatchSnapshot, "oms")[-1].latches == (), "told at once, not with the next repeat"


@pytest.mark.parametrize(
    ("turn", "lost", "window"),
    [("2025-10-10T00:00:00Z", D(-400), "daily_stop"), ("2025-10-13T00:00:00Z", D(-800), "weekly_stop")],
    ids=["a daily stop at midnight", "a weekly stop on Monday"],
)
def test_a_stop_does_not_renew_itself_from_a_book_of_before_its_reset(turn, lost, window):
    turn_s = utc_seconds(turn) - T0
    sums = {"realised_today_usd": lost, "realised_week_usd": lost}
    w = RiskWorld()
    w.book = book(counters=Counters(realised=((T0 + turn_s - 7200, lost),)), **sums)
    w.hear(at(turn_s - 0.3))
    assert window in [latch.code for latch in w.machine._money.latches]
    w.say(Woke("tick"), at(turn_s + 0.1))  # the newest book is still the one of before the turn
    assert window not in [latch.code for latch in w.machine._money.latches]


def test_a_bad_tick_makes_no_high_water_mark_and_no_drawdown():
    w = RiskWorld()
    w.book = book(positions=(position("DOGE-USD", "50"),), cash="5000")
    w.hear()
    w.machine.on_quote(quote(200, at(0.1), product_id="DOGE-USD"), at(0.1))
    w.say(Woke("tick"), at(0.2))
    w.machine.on_quote(quote(100, at(0.3), product_id="DOGE-USD"), at(0.3))
    w.say(Woke("tick"), at(0.4))
    assert sends(w.effects, LatchSnapshot)[-1].high_water_usd in (None, D(10000))
    assert saves(w.effects, "risk_latches") == []


def test_a_withdrawal_is_no_loss_and_a_deposit_no_gain():
    w = RiskWorld()
    w.hear()
    w.book = book(2, cash="1000", flows_usd=D(-9000))
    w.hear(at(0.2))
    w.say(Woke("tick"), at(0.5))
    assert saves(w.effects, "risk_latches") == []
    w.book = book(3, cash="50000", flows_usd=D(40000))
    w.hear(at(0.6))
    w.book = book(4, cash="49000", flows_usd=D(40000))
    w.hear(at(0.7))
    w.say(Woke("tick"), at(1.0))
    assert saves(w.effects, "risk_latches") == [], "2 % below the mark that the deposit moved"
    w.book = book(5, cash="44000", flows_usd=D(40000))
    w.hear(at(1.2))
    assert [save.key for save in saves(w.effects, "risk_latches")] == ["max_drawdown"]


@pytest.mark.parametrize("flows", ["5000", "-5000"], ids=["deposits", "withdrawals"])
def test_a_book_that_was_begun_anew_counts_flows_anew_and_changes_no_drawdown(flows):
    """The lost one had seen them, the mark had them in it: as many dollars seemed to have left, or to have come."""
    row = {"high_water_usd": "10000", "flows_usd": flows, "saved_s": T0, "set_by": "", "book": "1:1"}
    w = RiskWorld(rows={"risk_water": {"water": row}})
    w.book = book(cash="9500", begun_by="2:1")
    w.hear()
    money = w.machine._money
    assert (money._water.usd, money._drawdown, money.latches) == (10_000, 5, ())
    w.book = book(2, cash="4750", begun_by="2:1", flows_usd=D(-4750))
    w.hear(at(0.2))
    assert (money._water.usd, money._drawdown) == (5_000, 5)
    assert saves(w.effects, "risk_water")[-1].row["book"] == "2:1"


@pytest.mark.parametrize("count_foreign", [False, True])
def test_an_adoption_is_a_deposit_only_where_foreign_coins_did_not_count_before(count_foreign):
    w = RiskWorld(settings=RiskSettings(caps=CapSettings(count_foreign=count_foreign)))
    coins = Foreign(currency="DOGE", size=D(20))
    w.book = book(cash="8000", foreign=(coins,))
    w.hear()
    assert w.machine._money.nav_usd == (10_000 if count_foreign else 8_000)
    w.book = book(2, cash="8000", positions=(position("DOGE-USD", "20"),), adopted_usd=D(2000))
    w.hear(at(0.2))
    money = w.machine._money
    assert (money.nav_usd, money._water.usd, money._drawdown) == (10_000, 10_000, 0)


@pytest.mark.parametrize("before", [False, True])
def test_flows_that_are_counted_otherwise_since_a_restart_are_no_flow(before):
    """`count_foreign` was set or unset: all that was ever adopted seemed to leave or to come."""
    held = {"positions": (position("DOGE-USD", "20"),), "adopted_usd": D(2000), "begun_by": "1:1"}
    first = RiskWorld(settings=RiskSettings(caps=CapSettings(count_foreign=before)))
    first.book = book(cash="8000", **held)
    first.hear()
    [*_, save] = saves(first.effects, "risk_water")
    after = RiskWorld(
        settings=RiskSettings(caps=CapSettings(count_foreign=not before)), rows={"risk_water": {"water": save.row}}
    )
    after.book = book(cash="7500", **held)
    after.hear()
    money = after.machine._money
    assert (money.nav_usd, money._water.usd, money._drawdown) == (9_500, 10_000, 5)


def test_a_fall_in_price_is_a_drawdown_even_while_a_withdrawal_is_not_sure_yet():
    w = RiskWorld()
    w.book = book(positions=(position("DOGE-USD", "50"),), cash="5000")
    w.hear()
    w.book = evolve(w.book, quote_total_usd=D(4500), quote_unconfirmed_usd=D(-500))
    w.prices["DOGE-USD"] = 90.0
    for step in (1, 2, 3):
        w.quotes(at(step / 10))
    w.hear(at(0.5))
    assert w.machine._money.latches == (), "500 USD at the market, and 500 on their way"
    w.prices["DOGE-USD"] = 76.0
    for step in (6, 7, 8):
        w.quotes(at(step / 10))
    w.hear(at(1.0))
    assert [latch.code for latch in w.machine._money.latches] == ["max_drawdown"]


def test_a_loss_is_latched_on_a_trusted_clock_and_a_re_arming_of_the_drawdown_leaves_it():
    """By an untrusted one it may be of another day."""
    w = RiskWorld()
    w.book = book(counters=Counters(realised=((T0, D(-400)),)))
    w.hear(at(1, trusted=False))
    assert w.machine._money.latches == ()
    w.hear(at(2))
    assert [latch.code for latch in w.machine._money.latches] == ["daily_stop"]
    w.say(Rearm(command_id="r", name="ann", cause="I saw it"), at(3))
    assert [latch.code for latch in w.machine._money.latches] == ["daily_stop"]


@pytest.mark.parametrize("bid", ["100.02", "100.01", "0"], ids=["crossed", "locked", "no bid"])
def test_a_broken_book_sets_no_mark(bid):
    w = RiskWorld()
    w.hear()
    w.machine.on_quote(evolve(quote("100", at(1)), ask=D("100.01"), bid=D(bid)), at(1))
    assert w.machine._money.marks["BTC-USD"] == 100


def test_what_is_not_held_any_more_needs_no_price():
    w = RiskWorld()
    w.book = book(positions=(position("XLM-USD", "0"),))
    w.hear()
    assert w.machine._money.nav_usd == 10_000


def test_each_change_of_a_latch_is_a_newer_snapshot():
    """Whoever knows a newer one leaves an older one aside."""
    w = RiskWorld()
    w.hear()
    w.book = book(2, cash="8900")
    w.hear(at(1))
    told = sends(w.effects, LatchSnapshot, "oms")
    assert [len(one.latches) for one in told][-1] == 1
    assert told[-1].n > told[0].n


def test_a_dead_zone_ends_when_nav_has_grown():
    w = RiskWorld()
    told = {}
    for n, cash in enumerate(("100", "105", "10000"), 1):
        w.book = book(n, cash=cash)
        w.hear(at(n))
        found = sends(w.say(Woke("tick"), at(n + 0.1)), Condition, "alerts")
        told[cash] = {one.active for one in found if one.fingerprint.startswith("risk:dead_zone")}
    assert told == {"100": {True}, "105": set(), "10000": {False}}


def test_the_mark_is_saved_when_it_matters_and_not_each_tick():
    w = RiskWorld()
    for step in range(50):
        w.book = book(step, cash=str(10_000 + step))
        w.hear(at(step / 50))
    assert 2 <= len(saves(w.effects, "risk_water")) <= 8


def test_nav_needs_a_living_mark_for_everything_that_is_held():
    w = RiskWorld()
    w.book = book(positions=(position("DOGE-USD"),))
    w.hear()
    now = at(61)
    for name in ("BTC-USD",):
        w.machine.on_quote(quote(100, now, product_id=name), now)
    for message in (
        w.kill,
        w.health,
        w.universe,
        evolve(w.catalog, fetched_boot_s=now.boot_s),
        evolve(w.book, taken_boot_s=now.boot_s),
    ):
        w.say(message, now)
    answer = w.judge(proposal(now=now), now)
    assert answer.code == "data_unavailable"


@pytest.mark.parametrize("cash", ["100", "40"])
def test_a_dead_zone_is_told_with_its_numbers(cash):
    w = RiskWorld()
    w.book = book(cash=cash)
    w.hear()
    w.say(Woke("tick"), at(0.5))
    told = [one for one in sends(w.effects, Condition, "alerts") if one.fingerprint.startswith("risk:dead_zone")]
    assert told
    assert "least order is 5.03 USD" in told[0].text


def test_people_hear_a_moving_nav_within_two_seconds_and_oms_only_what_concerns_it():
    w = RiskWorld()
    told: list[float] = []
    for step in range(1, 41):
        now = at(step / 2)
        w.book = book(step, cash=str(10_000 + step))
        w.hear(now)
        before = len(w.effects)
        w.say(Woke("tick"), now)
        told += [step / 2 for _ in sends(w.effects[before:], LatchSnapshot, "console")]
        w.say(Woke("publish"), now)
    assert 9 <= len(told) <= 11
    assert len(sends(w.effects, LatchSnapshot, "oms")) <= 4
