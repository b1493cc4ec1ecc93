"""The shells of the fault simulation: run/ files, the sweep, the main process, the guardian's and the kill switch's own."""

from __future__ import annotations

from collections.abc import Callable

from exchange.coinbase.fences import Beat, Fences
from simulation.fuzz.venue import Fate, FuzzVenue, Request
from simulation.process import Process
from simulation.stage import VirtualStage
from simulation.store import KillStore
from trading.machine import Instant
from trading.messages.control import (
    AlertPeople,
    BeatSeen,
    EngageKillFile,
    FenceWritten,
    HandOver,
    KillRun,
    Leave,
    ListOurs,
    OursListed,
    ReadBeat,
    StopSweep,
    StopTree,
    SweepOrdered,
    SweepReport,
    TreeStopped,
    WriteBeat,
    WriteFence,
)
from trading.values import is_ours

SWEEP_PAUSE_S = 1.0
SWEEP_CONFIRM_S = 5.0
SWEEP_EVERY_S = 10.0
ROUND_TRIP_S = 0.04


class Files:
    """run/ of one data dir: what the lanes read directly before a POST."""

    def __init__(self, kill: KillStore) -> None:
        self.kill = kill
        self.beat: Beat | None = None
        self.guardian_run = 0
        self.drain_run = 0
        self.handed_over = 0

    def fences(self) -> Fences:
        killed = self.kill.engaged
        return Fences(
            killed=killed, kill_cause="fuzz" if killed else "", guardian_run=self.guardian_run,
            drain_run=self.drain_run, beat=self.beat,
        )  # fmt: skip


class Sweep:
    """`sweep.py` in simulated time: list what is ours, cancel it, until twice empty >= 5 s apart, then every 10 s."""

    def __init__(
        self, stage: VirtualStage, venue: FuzzVenue, process: Process, fates: Callable[[str, object], Fate]
    ) -> None:
        self.stage, self.venue, self.process, self.fates = stage, venue, process, fates
        self.until_boot_s = 0.0
        self.running = False
        self.canceled: dict[str, None] = {}
        self.passes = 0
        self.empty_since: float | None = None

    def order(self, order: SweepOrdered) -> None:
        self.until_boot_s = max(self.until_boot_s, order.until_boot_s)
        self.passes, self.empty_since = 0, None
        if not self.running:
            self.running = True
            self._pass()

    def stop(self) -> None:
        self.until_boot_s = 0.0

    def _pass(self) -> None:
        """A thread of its process: dies with it, stands still with it."""
        if not self.process.alive or self.stage.boot_s > self.until_boot_s:
            self.running = False
            return
        if self.process.stopped:
            self.stage.after(0.1, self._pass)
            return
        self._log("query", ())
        fate = self.fates("sweep", None)
        if not self.venue.answers or fate.partial or fate.lose_reply or fate.no_connection or fate.refuse_before:
            self.venue.last_failure_boot_s = self.stage.boot_s
            self._report(clean=False, listed=0, error="no answer")
            self.stage.after(2.0, self._pass)
            return
        self.stage.after(ROUND_TRIP_S, self._listed)

    def _listed(self) -> None:
        if not self.process.alive:
            self.running = False
            return
        found: dict[str, None] = {}
        for statuses in (("OPEN",), ("PENDING",)):
            for order in self.venue.listed(statuses, None, None):
                if is_ours(order.client_order_id, self.venue.tag):
                    found[order.venue_order_id] = None
        self.passes += 1
        ids = tuple(found)
        if ids:
            self.empty_since = None
            self.canceled.update(found)
            self._log("cancel", ids)
            self.stage.after(ROUND_TRIP_S, lambda: self._cancel(ids))
        now = self.stage.boot_s
        clean = False
        if not ids:
            clean = self.empty_since is not None and now - self.empty_since >= SWEEP_CONFIRM_S
            self.empty_since = now if self.empty_since is None else self.empty_since
        self._report(clean=clean, listed=len(ids))
        pause = SWEEP_PAUSE_S if ids else SWEEP_EVERY_S if clean else SWEEP_CONFIRM_S
        self.stage.after(pause, self._pass)

    def _cancel(self, ids: tuple[str, ...]) -> None:
        if self.venue.answers:
            self.venue.cancel(ids)

    def _report(self, *, clean: bool, listed: int, error: str = "") -> None:
        report = SweepReport(clean=clean, canceled=tuple(self.canceled), listed=listed, passes=self.passes, error=error)
        self.stage.answer(self.process, report)

    def _log(self, what: str, ids: tuple[str, ...]) -> None:
        request = Request(
            at_boot_s=self.stage.boot_s, by="sweep:" + self.process.role, incarnation=self.process.incarnation,
            what=what, fate=Fate(), venue_order_ids=ids,
        )  # fmt: skip
        self.venue.requests.append(request)
        for hear in self.venue.left:
            hear(request)


class Sweeping:
    """A shell that can sweep: one sweep per process."""

    def __init__(
        self, stage: VirtualStage, venue: FuzzVenue, files: Files, fates: Callable[[str, object], Fate]
    ) -> None:
        self.stage, self.venue, self.files, self.fates = stage, venue, files, fates
        self.sweeps: dict[int, Sweep] = {}
        self.alerts: list[AlertPeople] = []

    def sweep_of(self, process: Process) -> Sweep:
        return self.sweeps.setdefault(id(process), Sweep(self.stage, self.venue, process, self.fates))

    def carry_out(self, process: Process, request: object, now: Instant) -> None:
        match request:
            case SweepOrdered():
                self.sweep_of(process).order(request)
            case StopSweep():
                self.sweep_of(process).stop()
            case WriteFence():
                if request.fence == "guardian":
                    self.files.guardian_run = max(self.files.guardian_run, request.run_number)
                else:
                    self.files.drain_run = request.run_number
                self.stage.answer(
                    process, FenceWritten(fence=request.fence, run_number=request.run_number), now.boot_s + 0.001
                )
            case AlertPeople():
                self.alerts.append(request)
            case _:
                self.other(process, request, now)

    def other(self, process: Process, request: object, now: Instant) -> None:
        raise TypeError(f"at {now.boot_s}: {process.role} asked its shell for {request!r}")


class MainShell(Sweeping):
    """run.py: beat, fence, listing, the ordered stop, the end."""

    def __init__(
        self, stage: VirtualStage, venue: FuzzVenue, files: Files, fates: Callable[[str, object], Fate]
    ) -> None:
        super().__init__(stage, venue, files, fates)
        self.left: list[tuple[float, int, Leave]] = []
        self.on_leave: Callable[[Process, Leave], None] | None = None

    def other(self, process: Process, request: object, now: Instant) -> None:
        match request:
            case WriteBeat():
                self.files.beat = Beat(request.run_number, request.state, request.boot_s)
            case ListOurs():
                self._list(process, request, now)
            case StopTree():
                self.stage.restarting = False
                self.stage.after(0.2, lambda: self._stop_tree(process))
            case EngageKillFile():
                self.files.kill.touch_file(request.cause)
            case HandOver():
                self.files.handed_over = request.run_number
            case Leave():
                self.left.append((now.boot_s, process.incarnation[0], request))
                if self.on_leave is not None:
                    self.on_leave(process, request)
            case _:
                super().other(process, request, now)

    def _list(self, process: Process, request: ListOurs, now: Instant) -> None:
        fate = self.fates("sweep", None)
        if not self.venue.answers or fate.lose_reply or fate.no_connection:
            answer = OursListed(complete=False, error="no answer")
            self.stage.answer(process, answer, max(now.boot_s, request.deadline_boot_s))
            return

        def listed() -> None:
            found = [o for s in (("OPEN",), ("PENDING",)) for o in self.venue.listed(s, None, None)]
            ours = tuple(o.client_order_id for o in found if is_ours(o.client_order_id, self.venue.tag))
            self.stage.answer(process, OursListed(complete=True, orders=ours))

        self.stage.after(ROUND_TRIP_S, listed)

    def _stop_tree(self, process: Process) -> None:
        if process.alive:
            self.stage.kill("root", reason="ordered stop")
            self.stage.answer(process, TreeStopped())


class GuardianShell(Sweeping):
    def __init__(
        self,
        stage: VirtualStage,
        venue: FuzzVenue,
        files: Files,
        fates: Callable[[str, object], Fate],
        kill_run: Callable[[int], None],
    ) -> None:
        super().__init__(stage, venue, files, fates)
        self.kill_run = kill_run

    def other(self, process: Process, request: object, now: Instant) -> None:
        match request:
            case ReadBeat():
                beat = self.files.beat
                seen = BeatSeen(run_number=0, state="", boot_s=0.0)
                if beat is not None:
                    handed = self.files.handed_over == beat.run
                    seen = BeatSeen(run_number=beat.run, state=beat.state, boot_s=beat.boot_s, handed_over=handed)
                self.stage.answer(process, seen, now.boot_s + 0.001)
            case KillRun():
                self.kill_run(request.run_number)
            case Leave():
                self.stage.specs[process.role].restart = False
                self.stage.end(process, "went home")
            case _:
                super().other(process, request, now)
