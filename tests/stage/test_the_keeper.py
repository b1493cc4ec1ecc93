"""The supervisors' own core runs the virtual stage's tree: order, backoff, intensity, escalation, parking."""

from __future__ import annotations

from simulation.process import State
from simulation.stage import VirtualStage
from supervision.backoff import Backoff
from supervision.spec import ChildSpec, Strategy, SupervisorSpec
from tests.stage.machines import Scripted

BACKOFF = Backoff(min_s=0.1, max_s=1.0, first_at_once=True)


def tree(strategy=Strategy.ONE_FOR_ONE, intensity=3, on_exhausted="escalate") -> tuple[VirtualStage, list[str]]:
    stage = VirtualStage()
    started: list[str] = []

    def make(role):
        def factory(me):
            started.append(role)
            return Scripted(me, lambda message, now: (), [])

        return factory

    group = SupervisorSpec(
        strategy, (ChildSpec("a"), ChildSpec("b"), ChildSpec("c")), intensity, 60, backoff=BACKOFF,
        on_exhausted=on_exhausted, retry_parked_s=60.0 if on_exhausted == "park" else None,
    )  # fmt: skip
    root = SupervisorSpec(Strategy.ONE_FOR_ONE, (ChildSpec("group", group),), 2, 600, backoff=BACKOFF)
    stage.add("root", make("root"), start=False, restart=False)
    stage.keep("root", root)
    stage.add("group", make("group"), parent="root", start=False)
    stage.keep("group", group)
    for role in "abc":
        stage.add(role, make(role), parent="group", start=False)
    stage.start("root")
    stage.run_for(1.0)
    return stage, started


def test_children_start_in_order_each_when_the_one_before_is_ready():
    stage, started = tree()
    assert started == ["root", "group", "a", "b", "c"]
    at = [stage.processes[role].started_boot_s for role in "abc"]
    assert at == sorted(at) and len(set(at)) == 3


def test_one_for_one_restarts_the_dead_alone_and_rest_for_one_those_after_it():
    stage, started = tree()
    stage.kill("b")
    stage.run_for(1.0)
    assert started[5:] == ["b"]
    stage, started = tree(Strategy.REST_FOR_ONE)
    stage.kill("b")
    stage.run_for(1.0)
    assert started[5:] == ["b", "c"]


def test_more_deaths_than_the_intensity_take_the_supervisor_along_and_at_last_root_gives_up():
    stage, _ = tree(intensity=3)
    first = stage.processes["group"]
    for _ in range(4):
        stage.kill("a")
        stage.run_for(3.0)
    assert not first.alive and stage.processes["group"].state is State.RUNNING
    for _ in range(8):
        stage.kill("a")
        stage.run_for(3.0)
    assert not stage.processes["root"].alive and stage.keepers["root"].gave_up
    assert not any(process.alive for process in stage.processes.values())


def test_a_parked_child_takes_nobody_along_and_is_tried_again():
    stage, _ = tree(intensity=3, on_exhausted="park")
    for _ in range(4):
        stage.kill("a")
        stage.run_for(3.0)
    assert not stage.processes["a"].alive and stage.processes["b"].works and stage.processes["group"].works
    stage.run_for(70.0)
    assert stage.processes["a"].works
