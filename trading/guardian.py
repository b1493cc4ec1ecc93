"""The guardian: a process of its own that cancels what rests when the bot no longer beats (protocol section 6).

It belongs to the run whose beat it watched. Each second it asks its shell (`io`) `ReadBeat` and hears `BeatSeen`; it
counts its own loops that came on time, so that a machine that slept does not fire it:

    30 on-time loops without a *ready* beat   -> the fence (entries of runs <= its run, never cleared), then the sweep
    60 on-time loops without a beat that moved, whatever its state, and only after that -> KillRun
    a beat `stopped` of its run               -> it goes home;  handed_over -> it fires at once

The sweep (`SweepOrdered` -> `SweepReport`; the shell obeys Retry-After and keeps trying without network) goes on until
it has been twice empty and `sweep_s` are over, or until the first ready beat of a later run. It only ever cancels.
Other requests: `WriteFence("guardian")` -> `FenceWritten`, repeated each second until durable; `StopSweep`;
`AlertPeople`; `Leave`. Nothing is saved: the fence is a file, and a new guardian counts anew.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from trading.machine import Effect, Effects, Incarnation, Instant, Note, QuietMachine, Rows, Send, Wake, Woke
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
from trading.protections import Protections


@frozen(kw_only=True)
class GuardianSettings:
    """Loops are seconds on an awake machine. stays: adopt the next run (own supervisord program) or go home (child of run.py)."""

    loop_s: float = 1.0
    late_s: float = 1.0
    fire_loops: int = 30
    kill_loops: int = 60
    sweep_s: float = 240.0
    sweep_patience_s: float = 15.0
    failures_told: int = 2
    stays: bool = True


class GuardianMachine(QuietMachine):
    """run_number: the run it is started for; 0: the first run whose beat it sees."""

    role: ClassVar[str] = "guardian"

    def __init__(
        self,
        *,
        settings: GuardianSettings,
        me: Incarnation,
        run_number: int = 0,
        protections: Protections | None = None,
    ) -> None:
        self._protections = protections or Protections()
        self.settings = settings
        self.me = me
        self.run_number = run_number
        self.fired = ""
        self.fenced = False
        self.silent_loops = 0  # without a ready beat
        self.still_loops = 0  # without a beat that moved
        self.sweep: SweepReport | None = None
        self.failures = 0  # passes since it fired that met an error and canceled nothing
        self._sweep_until_boot_s = 0.0
        self._heard_boot_s = 0.0
        self._loop_due_boot_s = 0.0
        self._beat: BeatSeen | None = None
        self.resting = False
        self._killed = False
        self._gone = False

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return self._loop(now)

    def handle(self, message: object, now: Instant) -> Effects:
        if self._gone:
            return ()
        match message:
            case BeatSeen():
                return self._see(message, now)
            case FenceWritten(fence="guardian", error="") if message.run_number >= self.run_number:
                self.fenced = True
            case SweepReport():
                self._heard_boot_s = now.boot_s
                return self._swept(message)
            case Woke(key="loop"):
                return self._woke(now)
        return ()

    # -- the loop -----------------------------------------------------------------------------------------------

    def _loop(self, now: Instant) -> Effects:
        self._loop_due_boot_s = now.boot_s + self.settings.loop_s
        return (Send("io", ReadBeat()), Wake("loop", self._loop_due_boot_s))

    def _woke(self, now: Instant) -> Effects:
        on_time = now.boot_s - self._loop_due_boot_s <= self.settings.late_s
        if on_time and self.run_number and not self.resting:
            self.silent_loops += 1
            self.still_loops += 1
        out: list[Effect] = list(self._loop(now))
        if not self._protections.guardian:
            return out
        if not self.fired and self.silent_loops >= self.settings.fire_loops:
            out += self._fire(f"no ready beat of run {self.run_number} for {self.silent_loops} s", now)
        elif self.fired:
            out += self._keep_going(now)
        if self.still_loops >= self.settings.kill_loops and self.fired and not self._killed:
            self._killed = True
            text = f"Run {self.run_number} has not moved its beat for {self.still_loops} s; its process gets SIGKILL."
            out += [Send("io", KillRun(run_number=self.run_number)), self._alert("The guardian kills run.py", text)]
        return out

    def _see(self, beat: BeatSeen, now: Instant) -> Effects:
        if not beat.run_number:
            return ()
        if not self.run_number:
            self.run_number = beat.run_number
        before, self._beat = self._beat, beat
        moved = before is None or (before.run_number, before.boot_s) != (beat.run_number, beat.boot_s)
        if beat.run_number < self.run_number:
            return ()
        if beat.run_number > self.run_number:
            return self._see_later_run(beat, now, moved=moved)
        if self.resting:
            return ()
        if moved:
            self.still_loops = 0
        if beat.state == "stopped":
            return self._go_home(f"run {self.run_number} stopped in good order")
        if beat.handed_over and not self.fired:
            return self._fire(f"run {self.run_number} handed over: orders of ours may be live", now)
        if beat.state == "ready" and moved and not self.fired:
            self.silent_loops = 0
        return ()

    def _see_later_run(self, beat: BeatSeen, now: Instant, *, moved: bool) -> Effects:
        if self.resting:
            self._guard(beat.run_number)
            return self._see(beat, now)
        if beat.handed_over and not self.fired:
            self.run_number = beat.run_number
            return self._fire(f"run {beat.run_number} handed over: orders of ours may be live", now)
        if beat.state != "ready" or not moved:
            return ()  # a start that crash-loops renews nothing
        stop: Effects = (Send("io", StopSweep(reason=f"run {beat.run_number} is ready")),) if self.fired else ()
        if not self.settings.stays:
            return (*stop, *self._go_home(f"run {beat.run_number} is ready and has a guardian of its own"))
        self._guard(beat.run_number)
        return (*stop, Note("decision", {"code": "guards", "text": f"guarding run {beat.run_number}", "values": {}}))

    def _go_home(self, reason: str) -> Effects:
        """A child of run.py leaves; a program of its own rests until the beat of a later run."""
        if self.settings.stays:
            self._guard(self.run_number, resting=True)
            return (Note("decision", {"code": "guardian_rests", "text": reason, "values": {}}),)
        self._gone = True
        return (Send("io", Leave(exit_code=0, reason=reason)), Wake("loop", None))

    def _guard(self, run_number: int, *, resting: bool = False) -> None:
        self.run_number = run_number
        self.resting = resting
        self.fired = ""
        self.fenced = self._killed = False
        self.silent_loops = self.still_loops = 0
        self.sweep = None

    # -- firing -------------------------------------------------------------------------------------------------

    def _fire(self, reason: str, now: Instant) -> list[Effect]:
        self.fired = reason
        self.sweep = None
        self.failures = 0
        self._sweep_until_boot_s = now.boot_s + self.settings.sweep_s
        text = (
            f"{reason}. Entries of runs up to {self.run_number} are closed, our orders at the venue are being canceled."
        )
        return [
            Note("decision", {"code": "guardian_fired", "text": reason, "values": {"run": str(self.run_number)}}),
            self._write_fence(),
            *self._order_sweep(now),
            self._alert("The guardian has fired", text),
        ]

    def _write_fence(self) -> Send:
        return Send("io", WriteFence(fence="guardian", run_number=self.run_number))

    def _order_sweep(self, now: Instant) -> list[Effect]:
        self._heard_boot_s = now.boot_s
        # Not clean yet means not over, however long the network is away.
        self._sweep_until_boot_s = max(self._sweep_until_boot_s, now.boot_s + self.settings.sweep_patience_s)
        return [Send("io", SweepOrdered(reason=self.fired, until_boot_s=self._sweep_until_boot_s))]

    def _keep_going(self, now: Instant) -> list[Effect]:
        out: list[Effect] = [] if self.fenced else [self._write_fence()]
        over = now.boot_s >= self._sweep_until_boot_s
        clean = self.sweep is not None and self.sweep.clean
        silent = now.boot_s - self._heard_boot_s >= self.settings.sweep_patience_s
        if (silent and not over) or (over and not clean):
            out += self._order_sweep(now)
        elif over and clean and self.fenced and not self.settings.stays:
            out += self._go_home("swept, and nothing in flight lives longer")
        return out

    def _swept(self, report: SweepReport) -> Effects:
        before, self.sweep = self.sweep, report
        canceled_before = len(before.canceled) if before is not None else 0
        if report.error and len(report.canceled) <= canceled_before:
            self.failures += 1
            if self.failures == self.settings.failures_told:
                text = f"{report.error}. It goes on trying; use run.py panic, or cancel at the venue."
                return (self._alert("The guardian cannot cancel our orders", text),)
            return ()
        if not report.clean or (before is not None and before.clean):
            return ()
        text = f"The venue lists none of our orders; {len(report.canceled)} canceled in {report.passes} passes."
        return (self._alert("The guardian's sweep is clean", text, level="warning"),)

    def _alert(self, title: str, text: str, level: str = "critical") -> Send:
        return Send("io", AlertPeople(level=level, title=title, text=text))
