"""The conductor: beat, drain, final listing, exit code (protocol section 7, I4)."""

from __future__ import annotations

from typing import Any

import pytest

from simulation.stage import VirtualStage
from tests.stage.test_the_seam import listener, mail
from trading.conductor import DRAINERS, ConductorMachine, ConductorSettings
from trading.machine import Send
from trading.messages.control import (
    AlertPeople,
    ChildState,
    CommandDone,
    Drain,
    Drained,
    EngageKillFile,
    FenceSeen,
    FenceWritten,
    HandOver,
    Leave,
    ListOurs,
    OperatorOrder,
    OursListed,
    RootEnded,
    StopAsked,
    StopTree,
    SweepOrdered,
    SweepReport,
    TreeState,
    TreeStopped,
    WriteBeat,
    WriteFence,
)

SUPERVISORS = ("safety", "venue", "trading", "feeds", "symbols", "ops")


def tree(boot_s: float, **states: str) -> TreeState:
    roles = {**dict.fromkeys((*SUPERVISORS, "gateway", "oms"), "running"), **states}
    children = tuple(
        ChildState(role=r, supervisor="root", state=s, pid=1, incarnation=(1, 1), restarts=0, mailbox_age_s=0.0, rss_bytes=1, uptime_s=1.0)
        for r, s in roles.items()
    )  # fmt: skip
    return TreeState(children=children, taken_boot_s=boot_s)


class MainShell:
    def __init__(self, stage: VirtualStage) -> None:
        self.stage = stage
        self.asked: list[tuple[float, Any]] = []
        self.beats: list[WriteBeat] = []
        self.fence_error = ""
        self.listing: OursListed | None = OursListed(complete=True)
        self.stop_takes_s = 0.3
        self.sweeps_clean = True

    def carry_out(self, process, request, now):
        answer, delay = None, 0.05
        if isinstance(request, WriteBeat):
            self.beats.append(request)
            return
        self.asked.append((now.boot_s, request))
        if isinstance(request, WriteFence):
            answer = FenceWritten(fence=request.fence, run_number=request.run_number, error=self.fence_error)
        elif isinstance(request, ListOurs):
            answer = self.listing
        elif isinstance(request, StopTree):
            answer, delay = TreeStopped(), self.stop_takes_s
        elif isinstance(request, SweepOrdered) and self.sweeps_clean:
            answer, delay = SweepReport(clean=True, canceled=("x",), listed=0, passes=2), 1.5
        if answer is not None:
            self.stage.answer(process, answer, now.boot_s + delay)

    def of(self, kind):
        return [r for _, r in self.asked if isinstance(r, kind)]

    def at(self, kind):
        return next((at for at, r in self.asked if isinstance(r, kind)), None)


class World:
    def __init__(self, answers: dict[str, Any] | None = None, **settings: Any) -> None:
        self.stage = VirtualStage()
        self.shell = MainShell(self.stage)
        self.seen: dict[str, list[Any]] = {}
        clean = {role: Drained(run_number=1, role=role, clean=True) for role in DRAINERS}
        self.answers = {**clean, **(answers or {})}
        for role in DRAINERS:
            self.seen[role] = listener(self.stage, role, self._answering(role))
        self.stage.add(
            "main",
            lambda me: ConductorMachine(settings=ConductorSettings(**settings), me=me),
            shell=self.shell,
            restart=False,
        )
        self.stage.run_for(0.5)

    def _answering(self, role):
        def script(message, now):
            if isinstance(message, Drain) and self.answers[role] is not None:
                return (Send("main", self.answers[role]),)
            return ()

        return script

    def tell(self, message: Any, wait_s: float) -> None:
        self.stage.post("main", message)
        self.stage.run_for(wait_s)

    def trees(self, seconds: int, **states: str) -> None:
        for _ in range(seconds):
            self.tell(tree(self.stage.boot_s, **states), 1.0)

    @property
    def leave(self) -> Leave | None:
        return next(iter(self.shell.of(Leave)), None)


def test_the_beat_is_ready_only_while_every_supervisor_gateway_and_oms_answer():
    w = World()
    assert {b.state for b in w.shell.beats} == {"starting"}
    w.trees(3)
    assert w.shell.beats[-1].state == "ready"
    w.trees(2, oms="restarting")
    assert w.shell.beats[-1].state == "starting"
    w.trees(2, feeds="starting")
    assert w.shell.beats[-1].state == "starting"
    w.trees(2, oms="parked")
    assert w.shell.beats[-1].state == "parked"
    w.trees(2)
    assert w.shell.beats[-1].state == "ready"
    w.stage.run_for(10)
    assert w.shell.beats[-1].state == "starting", "a tree that nobody has heard of for seconds is not ready"
    assert len(w.shell.beats) >= 20


def test_a_clean_stop_fences_first_then_drains_lists_and_exits_0():
    w = World()
    w.trees(2)
    asked = w.stage.boot_s
    w.tell(StopAsked(reason="SIGTERM"), 3.0)
    kinds = [type(r) for _, r in w.shell.asked]
    assert kinds == [WriteFence, StopTree, ListOurs, Leave]
    assert w.leave.exit_code == 0 and not w.leave.live_possible
    assert w.shell.beats[-1].state == "stopped"
    assert w.shell.at(Leave) - asked < 3.0
    assert all(any(isinstance(m, Drain) for m in mail(seen)) for seen in w.seen.values())


@pytest.mark.parametrize("asked_before", [False, True], ids=["first", "a-stop-is-under-way"])
def test_a_failure_of_main_is_a_clean_stop_that_exits_1_and_tells_people(asked_before):
    w = World()
    w.trees(2)
    if asked_before:
        w.tell(StopAsked(reason="SIGTERM"), 0.0)
    w.tell(StopAsked(reason="main failed: KeyError('x')", failed=True), 3.0)
    assert (w.leave.exit_code, w.leave.live_possible) == (1, False)
    assert w.leave.reason == "main failed: KeyError('x')"
    (alert,) = [request for _, request in w.shell.asked if isinstance(request, AlertPeople)]
    assert "main failed: KeyError('x')" in alert.text
    assert "The venue lists no order of ours" in alert.text
    assert all(any(isinstance(m, Drain) for m in mail(seen)) for seen in w.seen.values())


@pytest.mark.parametrize(
    "oms",
    [
        None,
        Drained(run_number=1, role="oms", clean=False),
        Drained(run_number=1, role="oms", clean=True, unknown=("u",)),
    ],
)
def test_an_oms_that_is_silent_or_not_clean_means_sweep_from_second_seven_exit_1_an_alert_and_the_guardian(oms):
    w = World({"oms": oms})
    asked = w.stage.boot_s
    w.tell(StopAsked(reason="SIGINT"), 12.0)
    assert 6.9 <= w.shell.at(SweepOrdered) - asked <= 7.1
    assert w.shell.at(Leave) - asked <= 10.0
    assert w.leave.exit_code == 1 and w.leave.live_possible
    assert w.shell.of(AlertPeople) and w.shell.of(HandOver)
    assert w.shell.beats[-1].state == "draining"
    assert w.stage.store("main").rows("runs")["1"]["live_possible"]


@pytest.mark.parametrize(
    "listing", [None, OursListed(complete=False, error="timeout"), OursListed(complete=True, orders=("bh-x",))]
)
def test_a_venue_that_does_not_answer_or_lists_ours_means_exit_1_within_ten_seconds(listing):
    w = World()
    w.shell.listing = listing
    asked = w.stage.boot_s
    w.tell(StopAsked(reason="SIGTERM"), 12.0)
    assert w.leave.exit_code == 1
    assert w.shell.at(Leave) - asked <= 10.0
    if listing is not None and listing.orders:
        assert w.leave.listed == ("bh-x",) and w.shell.of(SweepOrdered)


def test_a_role_that_is_restarted_while_draining_is_told_again_and_its_old_answer_counts_no_more():
    w = World({"risk": None})
    w.tell(StopAsked(reason="SIGTERM"), 1.0)
    w.answers["oms"] = None
    w.stage.kill("oms")
    w.stage.run_for(1.0)
    w.answers["risk"] = Drained(run_number=1, role="risk", clean=True)
    w.stage.run_for(1.0)
    assert w.leave is None
    w.answers["oms"] = Drained(run_number=1, role="oms", clean=True)
    w.stage.run_for(2.0)
    assert w.leave.exit_code == 0


def test_a_fence_that_cannot_be_written_does_not_hold_up_the_cancels():
    w = World()
    w.shell.fence_error = "No space left on device"
    w.tell(StopAsked(reason="SIGTERM"), 5.0)
    assert any(isinstance(m, Drain) for m in mail(w.seen["oms"]))
    assert w.leave.exit_code == 1 and "fence" in w.leave.reason


def test_a_run_that_sees_its_own_guardians_fence_drains_and_exits_1():
    w = World()
    w.tell(FenceSeen(fence="guardian", run_number=0), 5.0)
    assert w.leave is None
    w.tell(FenceSeen(fence="guardian", run_number=1), 5.0)
    assert w.leave.exit_code == 1 and "guardian" in w.leave.reason


@pytest.mark.parametrize("how", ["message", "tree"])
def test_when_root_ends_the_venue_is_swept_and_the_exit_is_1_and_giving_up_engages_the_kill(how):
    w = World()
    w.trees(2)
    if how == "message":
        w.tell(RootEnded(reason="4 restarts in 600 s", gave_up=True), 5.0)
    else:
        w.tell(TreeState(children=(), taken_boot_s=w.stage.boot_s, root_alive=False), 5.0)
    kill = [EngageKillFile] if how == "message" else []
    assert [type(r) for _, r in w.shell.asked][: len(kill) + 2] == [*kill, SweepOrdered, StopTree]
    assert w.leave.exit_code == 1


@pytest.mark.parametrize("after_s", [0.2, 4.5, 6.5])
def test_root_that_dies_while_a_stop_is_under_way_does_not_make_the_stop_longer(after_s):
    w = World({"oms": None})
    w.shell.sweeps_clean = False
    w.shell.stop_takes_s = 30.0
    asked = w.stage.boot_s
    w.tell(StopAsked(reason="SIGTERM"), after_s)
    w.tell(RootEnded(reason="killed", gave_up=False), 9.9 - after_s)
    assert w.leave is not None and w.leave.exit_code == 1
    assert w.shell.at(SweepOrdered) < asked + after_s + 0.1
    assert w.shell.of(StopTree)[0].kill_at_boot_s <= asked + ConductorSettings().stop_s


@pytest.mark.parametrize("again", [False, True])
def test_a_stop_asked_for_while_the_venue_is_swept_for_a_dead_root_ends_in_the_time_of_a_stop(again):
    w = World({"oms": None})
    w.shell.sweeps_clean = False
    w.shell.stop_takes_s = 60.0
    w.tell(RootEnded(reason="killed", gave_up=False), 2.0)
    w.tell(StopAsked(reason="SIGTERM"), 5.0)
    if again:  # impatience changes nothing
        w.tell(StopAsked(reason="SIGTERM"), 0.1)
    w.stage.run_for(9.9 - 5.0)
    assert w.leave is not None and w.leave.exit_code == 1
    assert w.shell.of(SweepOrdered)[-1].until_boot_s <= w.stage.boot_s


def flattens(w):
    return [m for m in mail(w.seen["oms"]) if isinstance(m, OperatorOrder)]


def test_flatten_on_exit_comes_before_the_fence_and_is_asked_again_until_nothing_is_left():
    w = World(flatten_on_exit=True)
    w.tell(StopAsked(reason="SIGTERM"), 1.2)
    assert [order.verb for order in flattens(w)] == ["flatten"] * 3 and not w.shell.of(WriteFence)
    assert len({order.command_id for order in flattens(w)}) == 3, "each asks for what those before have not sold"
    w.tell(CommandDone(command_id=flattens(w)[-1].command_id, ok=True, text=""), 3.0)
    assert w.leave.exit_code == 0 and len(flattens(w)) == 3


def test_a_flatten_on_exit_that_is_never_over_does_not_hold_up_the_stop():
    w = World(flatten_on_exit=True)
    asked = w.stage.boot_s
    w.tell(StopAsked(reason="SIGTERM"), 9.0)
    assert asked + 2.9 < w.shell.at(WriteFence) < asked + 3.1
    assert w.leave.exit_code == 0


def test_stop_asked_twice_changes_nothing():
    w = World()
    w.tell(StopAsked(reason="SIGTERM"), 0.01)
    w.tell(StopAsked(reason="SIGINT"), 4.0)
    assert len(w.shell.of(Leave)) == 1 and w.leave.reason == "SIGTERM"
