"""Breakers: open on a reading, close after a time, unmeasured until measured; each reading has its row."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decisions.build import ME, at, catalog_of, sends
from trading.breakers import BreakerRule, BreakerState
from trading.health_monitor import HealthMonitorMachine, HealthMonitorSettings, breaker_rules
from trading.machine import Woke
from trading.messages.control import ChildState, Condition, Engage, HealthSnapshot, Measured, TreeState

GOOD = {
    "gateway": {
        "errors_in_a_row": 0.0,
        "error_pct_60s": 0.0,
        "requests_60s": 50.0,
        "throttled_60s": 0.0,
        "rejects_600s": 0.0,
        "budget_hour_used_pct": 1.0,
    },
    "market_feed": {"connected": 1.0, "frame_age_s": 0.1, "drift_s": 0.01, "reconnects": 0.0},
    "user_feed": {"connected": 1.0, "frame_age_s": 0.1},
    "oms": {"drift_usd": 0.0},
    "universe": {"crash": 0.0, "volatility_pct": 50.0, "eligible_missing": 0.0},
}


def tell(machine, source, seconds, *, inc=(1, 1), speed=1.0, **readings):
    merged = tuple((GOOD[source] | readings).items())
    return list(
        machine.handle(Measured(source=source, n=1, readings=merged, incarnation=inc), at(seconds, speed=speed))
    )


def monitor(settings: HealthMonitorSettings | None = None, *, told: bool = True) -> HealthMonitorMachine:
    machine = HealthMonitorMachine(settings=settings or HealthMonitorSettings(), me=ME)
    machine.recover({}, at())
    if told:
        for source in GOOD:
            tell(machine, source, 0.1)
    return machine


def state(machine, code):
    return next(one for one in machine._snapshot().breakers if one.code == code)


def test_breakers_start_unmeasured_which_is_open():
    machine = monitor(told=False)
    assert state(machine, "api_health").open
    assert not state(machine, "api_health").measured
    assert "has told no" in state(machine, "api_health").reason


def test_good_readings_close_everything_at_once():
    machine = monitor()
    assert [one.code for one in machine._snapshot().breakers if one.open] == []
    assert all(one.measured for one in machine._snapshot().breakers)


@pytest.mark.parametrize(
    ("source", "readings", "code"),
    [
        ("gateway", {"errors_in_a_row": 3.0}, "api_health"),
        ("gateway", {"error_pct_60s": 30.0}, "api_errors"),
        ("gateway", {"throttled_60s": 3.0}, "rate_limit_cooldown"),
        ("gateway", {"budget_hour_used_pct": 91.0}, "rate_budget"),
        ("gateway", {"rejects_600s": 3.0}, "rejection_burst"),
        ("gateway", {"order_p95_s": 2.5}, "latency_budget"),
        ("market_feed", {"connected": 0.0}, "market_feed_down"),
        ("market_feed", {"frame_age_s": 11.0}, "data_staleness"),
        ("market_feed", {"drift_s": -1.5}, "clock_drift"),
        ("user_feed", {"connected": 0.0}, "user_feed_down"),
        ("user_feed", {"frame_age_s": 25.0}, "user_feed_stale"),
        ("oms", {"drift_usd": 6.0}, "reconcile_drift"),
        ("oms", {"reconcile_age_s": 181.0}, "reconcile_stale"),
        ("universe", {"crash": 1.0}, "volatility_crash"),
        ("universe", {"volatility_pct": 160.0}, "realised_volatility"),
        ("universe", {"eligible_missing": 1.0}, "empty_universe"),
    ],
)
def test_each_reading_opens_its_breaker_tells_risk_at_once_and_people_when_it_stays_open(source, readings, code):
    machine = monitor()
    effects = tell(machine, source, 1, **readings)
    assert state(machine, code).open
    assert dict(state(machine, code).values)["opens_at"]
    snapshot = sends(effects, HealthSnapshot, "risk")
    assert snapshot
    assert next(one for one in snapshot[-1].breakers if one.code == code).open
    assert not sends(effects, Condition, "alerts")
    effects = [*effects, *machine.handle(Woke("tick"), at(2.5)), *machine.handle(Woke("tick"), at(3))]
    told = [one for one in sends(effects, Condition, "alerts") if one.fingerprint == f"breaker:{code}"]
    assert len(told) == 1
    assert "no entries" in told[0].text
    others = [one.code for one in machine._snapshot().breakers if one.open and one.code != code]
    assert others == []


def test_a_few_failed_requests_are_no_error_rate():
    machine = monitor()
    tell(machine, "gateway", 1, error_pct_60s=50.0, requests_60s=4.0)
    assert not state(machine, "api_errors").open


def test_a_breaker_closes_only_after_its_hold_and_starts_anew_on_a_relapse():
    machine = monitor()
    tell(machine, "gateway", 1, errors_in_a_row=3.0)
    for second in range(2, 20):
        tell(machine, "gateway", second)
    assert sends(machine.handle(Woke("tick"), at(19.5)), Condition, "alerts")
    tell(machine, "gateway", 20, errors_in_a_row=1.0)
    for second in range(21, 51):
        tell(machine, "gateway", second)
        assert state(machine, "api_health").open, second
    effects = tell(machine, "gateway", 51)
    assert not state(machine, "api_health").open
    assert [one.active for one in sends(effects, Condition, "alerts")] == [False]


def test_a_silent_source_is_unmeasured_again():
    machine = monitor()
    machine.handle(Woke("tick"), at(4))
    assert state(machine, "data_staleness").measured
    machine.handle(Woke("tick"), at(5.2))
    assert not state(machine, "data_staleness").measured
    assert state(machine, "data_staleness").open


def test_silence_is_no_time_in_which_an_open_breaker_was_well():
    machine = monitor()
    tell(machine, "gateway", 1, errors_in_a_row=3.0)
    for second in range(2, 20):
        tell(machine, "gateway", second)
    for second in range(20, 40):
        machine.handle(Woke("tick"), at(second))
    for second in range(40, 70):
        tell(machine, "gateway", second)
        assert state(machine, "api_health").open, second
    tell(machine, "gateway", 70)
    assert not state(machine, "api_health").open


def test_an_older_incarnation_is_not_believed():
    machine = monitor()
    tell(machine, "gateway", 1, inc=(1, 5))
    tell(machine, "gateway", 2, inc=(1, 4), errors_in_a_row=9.0)
    assert not state(machine, "api_health").open


def test_drift_is_real_time_at_sixty_fold_speed():
    machine = monitor()
    tell(machine, "market_feed", 1, speed=60.0, drift_s=30.0)
    assert not state(machine, "clock_drift").open


def test_flapping_feeds_open_a_breaker_across_restarts_of_the_feed():
    machine = monitor()
    for second, reconnects, inc in ((1, 2.0, (1, 1)), (60, 4.0, (1, 1)), (120, 1.0, (1, 2)), (180, 3.0, (1, 2))):
        tell(machine, "market_feed", second, inc=inc, reconnects=reconnects)
    assert state(machine, "feed_flaps").open


def test_reconnects_of_ten_minutes_ago_are_forgotten():
    machine = monitor()
    for second, reconnects in ((1, 4.0), (602, 8.0)):
        tell(machine, "market_feed", second, reconnects=reconnects)
        assert not state(machine, "feed_flaps").open
    tell(machine, "market_feed", 603, reconnects=10.0)
    assert state(machine, "feed_flaps").open, "six within ten minutes"


def test_exchange_status_comes_from_the_catalog():
    machine = monitor()
    machine.handle(evolve(catalog_of((), at()), entries_closed=True, exchange_reason="maintenance"), at(1))
    assert state(machine, "exchange_status").open


def child(role: str, state_: str = "running", **changes) -> ChildState:
    made = ChildState(
        role=role,
        supervisor="trading",
        state=state_,
        pid=1,
        incarnation=ME,
        restarts=0,
        mailbox_age_s=0.1,
        rss_bytes=1,
        uptime_s=1.0,
    )
    return evolve(made, **changes)


@pytest.mark.parametrize(
    ("bad", "opens"),
    [(child("oms", "fatal"), True), (child("exits", mailbox_age_s=11.0), True), (child("console", "fatal"), False)],
)
def test_a_core_role_that_is_down_or_deaf_opens_supervision(bad, opens):
    machine = monitor()
    machine.handle(TreeState(children=(child("gateway"), bad), taken_boot_s=0.0), at(1))
    assert not state(machine, "supervision").open, "it may still be starting"
    machine.handle(TreeState(children=(child("gateway"), bad), taken_boot_s=0.0), at(11))
    assert state(machine, "supervision").open is opens


def lives(machine: HealthMonitorMachine, role: str, seconds, window_s: float = 60.0) -> list[bool]:
    """The tree once a second for 200 s, while `role` is restarted at `seconds`; whether the breaker was open."""
    found = []
    for second in range(200):
        counter = 1 + sum(1 for at_s in seconds if at_s <= second)
        in_window = sum(1 for at_s in seconds if second - window_s < at_s <= second)
        row = child(role, incarnation=(1, counter), restarts=in_window)
        machine.handle(TreeState(children=(row,), taken_boot_s=0.0), at(second))
        found.append(state(machine, "restart_storm").open)
    return found


def test_restarts_that_leave_their_supervisors_window_are_no_new_ones():
    """The tree tells how many lie in the window: three that left it one by one counted as six, and closed entries for ten minutes."""
    assert not any(lives(monitor(), "oms", (20, 30, 40)))
    opened = lives(monitor(), "oms", (20, 30, 40, 50, 150))
    assert opened.index(True) == 150


def test_a_symbol_that_dies_again_and_again_closes_entries_of_no_other():
    assert not any(lives(monitor(), "symbol:DOGE-USD", range(10, 200, 10)))


def test_a_breaker_configured_to_kill_engages_the_kill_switch_once():
    machine = monitor(HealthMonitorSettings(kill_on=("rejection_burst",)))
    effects = tell(machine, "gateway", 1, rejects_600s=5.0)
    effects += tell(machine, "gateway", 2, rejects_600s=6.0)
    engaged = sends(effects, Engage, "kill_switch")
    assert len(engaged) == 1
    assert engaged[0].source == "breaker"
    assert machine._snapshot().kill_wanted


def test_a_breaker_that_opens_again_engages_the_kill_switch_again():
    """A person re-armed in between; the same command twice would be taken for a repeat."""
    machine = monitor(HealthMonitorSettings(kill_on=("rejection_burst",), hold_s=1.0))
    engaged = []
    for second, rejects in ((1, 5.0), (2, 0.0), (3, 0.0), (4, 0.0), (5, 5.0)):
        engaged += sends(tell(machine, "gateway", second, rejects_600s=rejects), Engage, "kill_switch")
    assert len({one.command_id for one in engaged}) == 2


def test_a_breaker_may_be_off():
    codes = {rule.code for rule in breaker_rules(HealthMonitorSettings(off=("user_feed_down", "user_feed_stale")))}
    assert "user_feed_down" not in codes
    assert "data_staleness" in codes


# -- hysteresis ------------------------------------------------------------------------------------------------


def flips(readings: list[tuple[float, float | None]], rule: BreakerRule) -> list[tuple[float, bool]]:
    one = BreakerState(rule)
    found = []
    boot = 0.0
    was = False
    for step, value in readings:
        boot += step
        if value is None:
            one.silent()
        else:
            one.read(value, boot)
        if one.open is not was:
            was = one.open
            found.append((boot, was))
    return found


def check_hysteresis(readings, rule):
    found = flips(readings, rule)
    for (opened, is_open), (closed, _) in itertools.pairwise(found):
        if is_open:
            assert closed - opened >= rule.hold_s
    total = sum(step for step, _ in readings)
    assert sum(1 for _, is_open in found if is_open) <= total / rule.hold_s + 1


steps = st.lists(st.tuples(st.floats(0.01, 5.0), st.one_of(st.none(), st.floats(0, 10))), min_size=1, max_size=300)


@settings(deadline=None)
@given(steps, st.floats(1, 60), st.booleans())
def test_no_breaker_flaps_faster_than_its_hysteresis(readings, hold_s, above):
    opens, closes = (6.0, 2.0) if above else (2.0, 6.0)
    check_hysteresis(
        readings,
        BreakerRule(code="x", source="s", reading="r", opens_at=opens, closes_at=closes, hold_s=hold_s, above=above),
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=20_000, deadline=None)
@given(steps, st.floats(1, 60), st.booleans())
def test_hysteresis_full_counts(readings, hold_s, above):
    opens, closes = (6.0, 2.0) if above else (2.0, 6.0)
    check_hysteresis(
        readings,
        BreakerRule(code="x", source="s", reading="r", opens_at=opens, closes_at=closes, hold_s=hold_s, above=above),
    )


def test_between_the_two_thresholds_nothing_changes():
    rule = BreakerRule(code="x", source="s", reading="r", opens_at=6.0, closes_at=2.0, hold_s=10.0)
    one = BreakerState(rule)
    one.read(7.0, 0.0)
    for second in range(1, 100):
        one.read(4.0, float(second))
    assert one.open
