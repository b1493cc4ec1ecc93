"""The guardian: fires when the bot no longer beats, only cancels, never fires because the machine slept (protocol section 6)."""

from __future__ import annotations

import pytest

from simulation.stage import VirtualStage
from trading.guardian import GuardianMachine, GuardianSettings
from trading.messages.control import (
    AlertPeople,
    BeatSeen,
    FenceWritten,
    KillRun,
    Leave,
    ReadBeat,
    StopSweep,
    SweepOrdered,
    SweepReport,
    WriteFence,
)


class GuardianShell:
    """run/beat as a variable; a venue that lists nothing after a sweep."""

    def __init__(self, stage: VirtualStage) -> None:
        self.stage = stage
        self.beat = BeatSeen(run_number=0, state="", boot_s=0.0)
        self.asked: list[tuple[float, object]] = []
        self.fence_error = ""
        self.network = True
        self.sweep_error = ""
        self.listed = 0

    def carry_out(self, process, request, now):
        if isinstance(request, ReadBeat):
            self.stage.answer(process, self.beat, now.boot_s + 0.01)
            return
        self.asked.append((now.boot_s, request))
        if isinstance(request, WriteFence):
            answer = FenceWritten(fence=request.fence, run_number=request.run_number, error=self.fence_error)
            self.stage.answer(process, answer, now.boot_s + 0.01)
        if isinstance(request, SweepOrdered) and self.sweep_error:
            for at in range(1, 9):
                failed = SweepReport(clean=False, canceled=(), listed=self.listed, passes=at, error=self.sweep_error)
                self.stage.answer(process, failed, now.boot_s + at)
        elif isinstance(request, SweepOrdered) and self.network:
            self.stage.answer(process, SweepReport(clean=True, canceled=("a",), listed=0, passes=2), now.boot_s + 6)

    def of(self, kind):
        return [(at, r) for at, r in self.asked if isinstance(r, kind)]


class World:
    def __init__(self, stays: bool = True, run_number: int = 0) -> None:
        self.stage = VirtualStage()
        self.shell = GuardianShell(self.stage)
        settings = GuardianSettings(stays=stays)
        self.stage.add(
            "guardian", lambda me: GuardianMachine(settings=settings, me=me, run_number=run_number), shell=self.shell
        )
        self.stage.run_for(0.1)

    def beats(self, seconds: int, state: str = "ready", run: int = 7) -> None:
        for _ in range(seconds):
            self.shell.beat = BeatSeen(run_number=run, state=state, boot_s=self.stage.boot_s)
            self.stage.run_for(1.0)

    @property
    def fired(self) -> bool:
        return bool(self.shell.of(WriteFence))


def test_while_ready_beats_come_nothing_happens():
    w = World()
    w.beats(120)
    assert w.shell.asked == []


def test_it_fires_after_thirty_seconds_without_a_ready_beat_fence_first_then_sweep():
    w = World()
    w.beats(5)
    w.stage.run_for(28)
    assert not w.fired
    w.stage.run_for(4)
    kinds = [type(r) for _, r in w.shell.asked]
    assert kinds[:2] == [WriteFence, SweepOrdered]
    assert w.shell.of(WriteFence)[0][1].run_number == 7
    assert w.shell.of(AlertPeople)


@pytest.mark.parametrize("state", ["starting", "parked", "draining"])
def test_a_start_that_crash_loops_does_not_renew_the_beat(state):
    w = World()
    w.beats(5)
    w.beats(32, state)
    assert w.fired


def test_a_start_that_crash_loops_under_new_run_numbers_does_not_renew_it_either():
    w = World()
    w.beats(5)
    for run in range(8, 40):
        w.beats(1, "starting", run)
    assert w.shell.of(WriteFence)[0][1].run_number == 7


def test_a_25_ms_restart_is_invisible_to_it():
    w = World()
    w.beats(10)
    w.beats(2, "starting")
    w.beats(60)
    assert w.shell.asked == []


def test_a_machine_that_slept_does_not_fire_it():
    w = World()
    w.beats(5)
    process = w.stage.processes["guardian"]
    w.stage.stop("guardian")
    w.stage._heap = [e for e in w.stage._heap if e[2] != 0]  # nobody finds it hung: it is the machine that sleeps
    w.stage.run_for(600)
    w.shell.beat = BeatSeen(run_number=7, state="ready", boot_s=w.stage.boot_s)
    w.stage.resume(process)
    w.beats(60)
    assert w.shell.asked == []


def test_run_py_is_killed_only_after_sixty_seconds_without_any_beat_that_moved():
    w = World()
    w.beats(5)
    w.beats(80, "starting")
    assert not w.shell.of(KillRun)
    at = w.stage.boot_s
    w.stage.run_for(58)
    assert not w.shell.of(KillRun)
    w.stage.run_for(5)
    [(killed, request)] = w.shell.of(KillRun)
    assert request.run_number == 7 and killed - at >= 59


def test_a_stopped_beat_sends_it_home_and_a_program_of_its_own_rests():
    w = World(stays=False)
    w.beats(5)
    w.beats(1, "stopped")
    assert [r.exit_code for _, r in w.shell.of(Leave)] == [0]
    w = World()
    w.beats(5)
    w.beats(1, "stopped")
    w.stage.run_for(300)
    assert w.shell.asked == []
    w.beats(3, "starting", 8)
    w.stage.run_for(40)
    assert w.shell.of(WriteFence)[0][1].run_number == 8


def test_the_next_run_already_trades_while_the_old_guardian_sweeps():
    w = World()
    w.beats(5)
    w.stage.run_for(35)
    assert w.fired
    w.beats(1, "starting", 8)
    assert not w.shell.of(StopSweep)
    w.beats(2, "ready", 8)
    assert len(w.shell.of(StopSweep)) == 1
    w.beats(60, "ready", 8)
    assert len(w.shell.of(WriteFence)) == 1


def test_a_run_that_hands_over_is_taken_over_at_once():
    w = World()
    w.beats(5)
    w.shell.beat = BeatSeen(run_number=7, state="draining", boot_s=w.stage.boot_s, handed_over=True)
    w.stage.run_for(1.5)
    assert w.fired


def test_a_fence_that_cannot_be_written_is_written_again_each_second_and_the_sweep_goes_on():
    w = World()
    w.shell.fence_error = "No space left on device"
    w.beats(5)
    w.stage.run_for(40)
    assert len(w.shell.of(WriteFence)) >= 8 and w.shell.of(SweepOrdered)
    w.shell.fence_error = ""
    w.stage.run_for(2)
    n = len(w.shell.of(WriteFence))
    w.stage.run_for(20)
    assert len(w.shell.of(WriteFence)) == n


def test_without_network_it_keeps_trying_for_ever():
    w = World()
    w.shell.network = False
    w.beats(5)
    w.stage.run_for(1000)
    assert len(w.shell.of(SweepOrdered)) > 50
    w.shell.network = True
    w.stage.run_for(60)
    n = len(w.shell.of(SweepOrdered))
    w.stage.run_for(200)
    assert len(w.shell.of(SweepOrdered)) == n


@pytest.mark.parametrize("listed", [0, 2])
def test_a_guardian_that_cannot_cancel_says_so_once_a_firing_and_why(listed):
    """Its key was revoked, or may look and not trade: "our orders are being canceled" was the last word that people heard."""
    world = World()
    world.beats(5)
    world.shell.sweep_error = "http_401: Unauthorized"
    world.shell.listed = listed
    world.stage.run_for(200)
    told = [request for _, request in world.shell.of(AlertPeople) if "cannot cancel" in request.title]
    assert [one.level for one in told] == ["critical"]
    assert "http_401" in told[0].text
    world.shell.sweep_error = ""
    world.stage.run_for(100)
    assert [r for _, r in world.shell.of(AlertPeople)][-1].title == "The guardian's sweep is clean"
