"""Who hears what when: snapshots, conditions, verdicts. Nothing is told in a flood, nothing that stands is forgotten."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.kill_switch import KillSwitchActor
from actors.plan import RunPlan
from actors.thinkers import ExitsActor, HealthMonitorActor, OmsActor, RiskActor, SymbolActor, UniverseActor
from config.schema import BotSettings, Config
from tests.decisions.build import BOOT0, ME, at, notes, sends
from trading.code_log import CodeLog
from trading.data_guards import DataGuardSettings
from trading.exits import ExitsMachine
from trading.exits_settings import ExitsSettings
from trading.health_monitor import HealthMonitorMachine, HealthMonitorSettings
from trading.machine import Send, Wake, Woke
from trading.messages.control import Condition
from trading.publish import ConditionBoard, Jitter, Publisher, jitter
from trading.risk import RiskMachine
from trading.risk_settings import CapSettings, RiskSettings

MACHINES = (
    lambda jitter: HealthMonitorMachine(settings=HealthMonitorSettings(), me=ME, jitter=jitter),
    lambda jitter: ExitsMachine(settings=ExitsSettings(), me=ME, caps=CapSettings(), jitter=jitter),
    lambda jitter: RiskMachine(
        settings=RiskSettings(), me=ME, tiers={}, themes={}, strategies={}, guards=DataGuardSettings(), jitter=jitter
    ),
)


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


def test_the_jitter_is_the_bots_own_and_as_wide_as_it_says():
    wide, other = Jitter(seed="a:1:", pct=50.0), Jitter(seed="a:2:", pct=50.0)
    drawn = [wide("risk", n) for n in range(300)]
    assert 0.5 <= min(drawn) < 0.55
    assert 1.45 < max(drawn) <= 1.5
    assert drawn != [other("risk", n) for n in range(300)]
    assert {Jitter(pct=0.0)("risk", n) for n in range(9)} == {1.0}
    for pct in (-1.0, 50.5):
        with pytest.raises(ValueError, match="between 0 and 50"):
            Jitter(pct=pct)


@pytest.mark.parametrize("make", MACHINES, ids=lambda make: make(jitter).role)
def test_every_half_second_is_jittered_where_the_bot_lives_and_exact_in_a_backtest(make):
    def gaps(jitter_: Jitter) -> set[float]:
        machine, now, found = make(jitter_), at(), set()
        wakes = {one.key: one for one in machine.recover({}, now) if isinstance(one, Wake)}
        for _ in range(20):
            before, now = now, at(wakes["tick"].at_boot_s - BOOT0)
            found.add(round(now.boot_s - before.boot_s, 6))
            wakes = {one.key: one for one in machine.handle(Woke("tick"), now) if isinstance(one, Wake)}
        return found

    assert gaps(jitter) == {0.5}
    moved = gaps(Jitter(seed="a:1:", pct=20.0, paces=True))
    assert len(moved) > 10
    assert all(0.4 <= gap <= 0.6 for gap in moved)


def test_the_jitter_of_the_configuration_reaches_every_machine(tmp_path):
    config = Config(bot=BotSettings(seed=7, jitter_pct=25.0))
    plan = RunPlan(data_dir=tmp_path, env="staging", mode="paper", config=config, tag="abcd")
    assert plan.jitter() == Jitter(seed="abcd:7:", pct=25.0, paces=True)
    for actor in (HealthMonitorActor, OmsActor, ExitsActor, RiskActor, UniverseActor, SymbolActor, KillSwitchActor):
        shell = SimpleNamespace(plan=plan, incarnation=ME, child_id="symbol:BTC-USD")
        machine = actor.make_machine(shell)
        held = machine.desk if actor is OmsActor else machine
        owners = [held, *vars(held).values()]
        found = [getattr(one, name) for one in owners for name in ("jitter", "_jitter") if hasattr(one, name)]
        assert found, actor
        assert set(found) == {plan.jitter()}, actor


def test_two_verdicts_within_a_second_are_one_record_and_the_second_comes_when_it_still_stands():
    log = CodeLog("BTC-USD")
    recorded = [
        [note["code"] for note in notes(log.no_trade(code, at(second)))]
        for code, second in (("a", 0.0), ("b", 0.5), ("b", 0.9), ("b", 1.0))
    ]
    assert recorded == [["a"], [], [], ["b"]]
    assert log.counts() == {"a": 1, "b": 3}


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
