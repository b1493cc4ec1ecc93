"""Who hears what when: snapshots, conditions, verdicts. Nothing is told in a flood, nothing that stands is forgotten."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decisions.build import BOOT0, at, notes, sends
from trading.code_log import CodeLog
from trading.machine import Send, Wake
from trading.messages.control import Condition
from trading.publish import ConditionBoard, Publisher, jitter


def condition(name: str = "x", level: str = "warning") -> Condition:
    return Condition(fingerprint=name, level=level, active=True, text="it stands")


def test_a_condition_is_told_on_change_repeated_every_ten_seconds_and_once_when_gone():
    board = ConditionBoard()
    told = []
    for step in range(250):
        now = at(step / 10)
        found = board.stand(condition(), now)
        told += [(step / 10, one.active) for one in sends(found, Condition, "alerts")]
    assert told == [(0.0, True), (10.0, True), (20.0, True)]
    assert [one.level for one in sends(board.stand(condition(level="critical"), at(21)), Condition, "alerts")] == [
        "critical"
    ]
    assert [one.active for one in sends(board.gone("x"), Condition, "alerts")] == [False]
    assert board.gone("x") == []


def test_a_standing_condition_is_repeated_for_machines_that_do_not_look_again():
    board = ConditionBoard()
    board.stand(condition(), at())
    assert board.repeat(at(9)) == []
    assert len(sends(board.repeat(at(10)), Condition, "alerts")) == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), min_size=1, max_size=60))
def test_a_wake_is_always_set_and_never_later_than_the_lease_needs(steps):
    publisher = Publisher("risk", fast=("risk",))
    boot = 0.0
    for step, changed in steps:
        boot += step
        effects = publisher.effects("snapshot", changed=changed, now=at(boot), slow=("oms",))
        wakes = [one for one in effects if isinstance(one, Wake)]
        assert len(wakes) == 1
        assert boot + BOOT0 <= wakes[0].at_boot_s <= boot + BOOT0 + 0.5
        if changed:
            assert [one.role for one in effects if isinstance(one, Send)][:2] == ["risk", "oms"]


def test_jitter_is_a_function_of_its_arguments_within_ten_percent():
    values = {jitter("risk", n) for n in range(200)}
    assert all(0.9 <= one <= 1.1 for one in values)
    assert len(values) > 150
    assert jitter("risk", 1) == jitter("risk", 1)
    assert jitter("risk", 1) != jitter("oms", 1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0.0, 2.0)), max_size=200))
def test_every_evaluation_is_counted_and_few_are_recorded(steps):
    log = CodeLog("BTC-USD")
    boot = 0.0
    records = []
    for code, step in steps:
        boot += step
        records += [(boot, note["code"]) for note in notes(log.no_trade(code, at(boot)))]
    assert sum(log.counts().values()) == len(steps)
    for code in ("a", "b", "c"):
        times = [when for when, name in records if name == code]
        assert all(later - earlier >= 29.999 for earlier, later in itertools.pairwise(times))
