"""The kill switch: engaged survives everything, re-armed by a person with a name and a cause only (I6)."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from exchange.coinbase.fences import KILL_FILE, kill_file_id
from simulation.stage import VirtualStage
from simulation.store import NO_SPACE, KillStore
from tests.stage.test_the_seam import listener, mail
from trading.kill_switch import KillSwitchMachine, KillSwitchSettings
from trading.messages.control import (
    Breaker,
    CommandDone,
    Condition,
    Engage,
    HealthSnapshot,
    KillSnapshot,
    Pause,
    Rearm,
    Resume,
    StopSweep,
    SweepOrdered,
    SweepReport,
)


class SweepShell:
    def __init__(self, stage: VirtualStage) -> None:
        self.stage, self.orders, self.stops, self.silent = stage, [], [], False

    def carry_out(self, process, request, now):
        if isinstance(request, StopSweep):
            self.stops.append(request)
        else:
            self.orders.append((now.boot_s, request))
            if not self.silent:
                report = SweepReport(clean=True, canceled=("o1",), listed=0, passes=2)
                self.stage.answer(process, report, now.boot_s + 6.0)


class World:
    def __init__(self) -> None:
        self.stage = VirtualStage()
        self.store = KillStore()
        self.shell = SweepShell(self.stage)
        self.risk, self.gateway, self.operator = (listener(self.stage, r) for r in ("risk", "gateway", "operator"))
        self.alerts = listener(self.stage, "alerts")
        self.stage.run_for(0.1)
        settings = KillSwitchSettings()
        self.stage.add(
            "kill_switch", lambda me: KillSwitchMachine(settings=settings, me=me), store=self.store, shell=self.shell
        )
        self.stage.run_for(0.1)

    def tell(self, command: Any, wait_s: float = 0.1) -> None:
        self.stage.post("kill_switch", command)
        self.stage.run_for(wait_s)

    @property
    def last(self) -> KillSnapshot:
        return [m for m in mail(self.risk) if isinstance(m, KillSnapshot)][-1]

    @property
    def answers(self) -> list[CommandDone]:
        return [m for m in mail(self.operator) if isinstance(m, CommandDone)]


ENGAGE = Engage(command_id="c1", name="ada", cause="drill", source="ctl")


def test_engaging_saves_both_files_orders_the_sweep_and_tells_everyone_at_once():
    w = World()
    w.tell(ENGAGE, 0.01)
    assert w.store.rows("kill")["file"]["live"] and w.store.rows("kill")["record"]["engaged"]
    assert w.last.engaged and w.last.by == "ada" and w.last.cause == "drill"
    assert any(isinstance(m, KillSnapshot) and m.engaged for m in mail(w.gateway))
    [(at, order)] = w.shell.orders
    assert isinstance(order, SweepOrdered) and order.until_boot_s - at == 240.0
    assert w.answers[-1].ok


def test_risk_hears_the_latch_every_half_second():
    w = World()
    before = len(mail(w.risk))
    w.stage.run_for(10.0)
    assert len(mail(w.risk)) - before == 20


@pytest.mark.parametrize("file_kept", [True, False])
def test_engaged_survives_kill_9_with_the_file_deleted_or_not(file_kept):
    w = World()
    w.tell(ENGAGE)
    w.stage.kill("kill_switch")
    if not file_kept:
        w.store.delete_file()
    w.stage.run_for(0.2)
    assert w.last.engaged
    assert w.store.rows("kill")["file"]["live"]
    assert len(w.shell.orders) == 2  # the sweep died with the process, so it is ordered again


def test_a_lost_record_and_a_file_that_someone_touched_mean_engaged():
    w = World()
    w.stage.kill("kill_switch")
    w.store.lose()
    w.store.touch_file()
    w.stage.run_for(0.2)
    assert w.last.engaged and w.last.cause == "file KILL_SWITCH"


@pytest.mark.parametrize(("name", "cause"), [("", "because"), ("ada", " ")])
def test_a_rearm_without_name_or_cause_is_refused_in_one_sentence(name, cause):
    w = World()
    w.tell(ENGAGE)
    w.tell(Rearm(command_id="r1", name=name, cause=cause))
    assert w.last.engaged and not w.answers[-1].ok and "needs a name and a cause" in w.answers[-1].text
    w.tell(Rearm(command_id="r1", name="ada", cause="checked"))
    assert not w.last.engaged and not w.store.engaged
    assert w.shell.stops


def test_a_repeated_command_is_not_a_second_command_also_across_a_restart():
    w = World()
    w.tell(ENGAGE)
    w.tell(Rearm(command_id="r1", name="ada", cause="checked"))
    w.stage.kill("kill_switch")
    w.stage.run_for(0.2)
    w.tell(ENGAGE)
    assert not w.last.engaged
    w.tell(Engage(command_id="c2", name="bob", cause="again", source="ctl"))
    w.tell(Rearm(command_id="r1", name="ada", cause="checked"))
    assert w.last.engaged and w.last.by == "bob"


def test_a_kill_file_that_is_put_back_after_a_rearm_is_a_new_kill(tmp_path):
    """Kept elsewhere and moved (or copied with its times) into place, it has the inode and the mtime of the first time."""
    w = World()
    file, kept = tmp_path / KILL_FILE, tmp_path / "kept"
    kept.touch()
    for _ in range(2):
        kept.rename(file)
        w.tell(Engage(command_id=kill_file_id(file.stat()), name="file", cause="drill", source="file"))
        assert w.last.engaged
        file.rename(kept)
        w.tell(Rearm(command_id=f"r{len(w.shell.orders)}", name="ada", cause="drill is over"))
        assert not w.last.engaged
    assert len(w.shell.orders) == 2, "each kill sweeps"


def test_one_full_file_is_enough_to_engage_and_not_enough_to_rearm():
    w = World()
    w.store.record_fails = NO_SPACE
    w.tell(ENGAGE)
    assert w.last.engaged and w.store.engaged
    w.tell(Rearm(command_id="r1", name="ada", cause="checked"), 3.0)
    assert w.store.engaged
    assert any(isinstance(m, Condition) and m.fingerprint == "store:kill_switch" for m in mail(w.alerts))
    assert w.last.engaged, "nothing is told that is not saved"
    w.store.record_fails = None
    w.stage.run_for(1.5)
    assert not w.store.engaged and not w.last.engaged


def test_with_both_files_full_it_retries_each_second_and_never_parks():
    w = World()
    w.store.record_fails = w.store.file_fails = NO_SPACE
    w.tell(ENGAGE, 3.5)
    assert not w.store.engaged
    w.store.file_fails = None
    w.stage.run_for(1.0)
    assert w.store.engaged and w.last.engaged


def test_pause_is_durable_and_is_not_a_kill():
    w = World()
    w.tell(Pause(command_id="p1", name="ada", cause="lunch"))
    w.stage.kill("kill_switch")
    w.stage.run_for(0.2)
    assert w.last.paused and not w.last.engaged and w.last.pause_cause == "lunch"
    assert not w.shell.orders
    w.tell(Resume(command_id="p2", name="ada", cause="back"))
    assert not w.last.paused


def test_a_resume_with_nothing_paused_says_so_and_changes_nothing():
    w = World()
    before = w.last
    w.tell(Resume(command_id="p1", name="ada", cause="back"))
    assert w.answers[-1] == CommandDone(command_id="p1", ok=True, text="nothing was paused; nothing was changed")
    assert evolve(w.last, n=before.n) == before


def test_a_breaker_that_wants_a_kill_engages_and_a_rearm_holds_while_the_wish_stands():
    w = World()
    wish = HealthSnapshot(n=1, breakers=(Breaker(code="clock", open=True, measured=True),), kill_wanted=True)
    w.tell(wish)
    assert w.last.engaged and w.last.cause == "breaker: clock"
    w.tell(Rearm(command_id="r1", name="ada", cause="clock is fine"))
    w.tell(wish)
    assert not w.last.engaged
    w.tell(HealthSnapshot(n=2, breakers=(), kill_wanted=False))
    w.tell(wish)
    assert w.last.engaged


def test_a_sweep_that_does_not_report_is_ordered_again():
    w = World()
    w.shell.silent = True
    w.tell(ENGAGE)
    w.stage.run_for(40.0)
    assert len(w.shell.orders) == 3
    conditions = [m for m in mail(w.alerts) if isinstance(m, Condition) and m.fingerprint == "kill_switch"]
    assert len(conditions) >= 4 and "has not reported" in conditions[-1].text


def test_a_pause_does_not_remove_the_file_that_somebody_has_just_made():
    """Found by the fault simulation: the file was there, the role not told of it yet, and a pause came in between."""
    w = World()
    w.store.touch_file("by hand")
    w.tell(Pause(command_id="p1", name="ada", cause="lunch"))
    assert w.store.engaged
    w.stage.kill("kill_switch")
    w.stage.run_for(0.2)
    assert w.last.engaged and w.last.paused
