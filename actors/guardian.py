"""The guardian's shell: hosts `trading/guardian.py` on one thread; it only ever cancels (protocol section 6).

The bot whose disk stalls beats no more, and just then the guardian must act on the same disk: what it writes is written
behind its thread (logs are anyway), and what it reads is small and was read a second ago.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from functools import partial

from attrs import evolve
from loguru import logger

from actors.clock import Clock
from actors.guarding import recall, simulated_venue_gone
from actors.host import MachineHost
from actors.plan import RunPlan, venue_line
from actors.ports import NoStore
from actors.processes import started_ticks
from actors.requests import HANDED_OVER
from actors.sweeping import Sweeping
from exchange.coinbase import fences
from exchange.coinbase.jwt import ApiKey
from state.behind import Behind
from telemetry.notify import Notifier, alert_urls
from trading.guardian import GuardianMachine, GuardianSettings
from trading.machine import Instant, Note
from trading.messages.control import (
    AlertPeople,
    BeatSeen,
    FenceWritten,
    KillRun,
    Leave,
    ReadBeat,
    StopSweep,
    SweepOrdered,
    WriteFence,
)

LAST_WORDS_S = 3.0
KEY_NAME_ENV, KEY_SECRET_ENV = "BULKHEAD_GUARDIAN_API_KEY", "BULKHEAD_GUARDIAN_API_SECRET"


class Guardian:
    """The machine's shell; everything on one thread but the sweep, what people are told and what is written: a dead network
    or disk must hold up nothing else.
    """

    def __init__(self, plan: RunPlan, run_number: int, *, stays: bool) -> None:
        self.plan, self.run = plan, plan.run_folder
        self.exit_code: int | None = None
        self._sweeping = Sweeping(plan, self._own_key())
        self._inbox: deque[object] = deque()
        self._disk = Behind()
        self._notifier = Notifier(alert_urls())
        self._notifier.start()
        self._stays = stays
        settings = evolve(plan.section("guardian", GuardianSettings), stays=stays)
        machine = GuardianMachine(settings=settings, me=(run_number, 0), run_number=run_number)
        self._host = MachineHost(machine, NoStore(), Clock(self.run), send=self._send, note=self._note)
        self._host.recover()

    def _own_key(self) -> ApiKey | None:
        """Its own when it has one: a key that is lost with the bot cancels nothing."""
        name, secret = os.environ.get(KEY_NAME_ENV, ""), os.environ.get(KEY_SECRET_ENV, "")
        if self.plan.venue is not None:
            line = venue_line(self.plan.data_dir)
            name, secret = str(line.get("guardian_api_key", "")), str(line.get("guardian_api_secret", ""))
        return ApiKey(name, secret) if name and secret else None

    def step(self) -> None:
        reports = self._sweeping.bridge.drain()
        if not self._stays and any(report.error for report in reports) and simulated_venue_gone(self.plan.data_dir):
            logger.warning("the simulated venue is gone with its bot: nothing can rest or fill; the guardian goes home")
            self.exit_code = 0
            return
        self._inbox.extend(reports)
        while self._inbox:
            self._host.handle(self._inbox.popleft())
        self._host.wake_due()

    def close(self) -> None:
        """What people are being told, and what is being written, gets a moment."""
        self._notifier.stop(LAST_WORDS_S)
        self._disk.finish(LAST_WORDS_S)

    def _note(self, note: Note, _now: Instant) -> None:
        logger.bind(kind=note.kind, values=dict(note.values)).warning(str(note.values.get("text", note.kind)))

    def _send(self, role: str, request: object) -> None:
        match request:
            case ReadBeat():
                self._inbox.append(self._beat())
            case WriteFence():
                self._disk.do(partial(self._write_fence, request))
            case SweepOrdered():
                self._sweeping.order(request)
            case StopSweep():
                self._sweeping.stop()
            case KillRun():
                self._kill_run(request.run_number)
            case AlertPeople():
                logger.bind(level=request.level).error(f"{request.title}: {request.text}")
                self._notifier.send(request.level, request.title, request.text)
            case Leave():
                self.exit_code = request.exit_code
            case _:
                logger.error(f"the guardian cannot carry out {request!r} for {role}")

    def _beat(self) -> BeatSeen:
        beat = fences.read_beat(self.run)
        if beat is None:
            return BeatSeen(run_number=0, state="", boot_s=0.0)
        try:
            handed_over = int((self.run / HANDED_OVER).read_text()) == beat.run
        except (OSError, ValueError):
            handed_over = False
        return BeatSeen(run_number=beat.run, state=beat.state, boot_s=beat.boot_s, handed_over=handed_over)

    def _write_fence(self, request: WriteFence) -> None:
        error = ""
        try:
            fences.write_guardian_fence(self.run, request.run_number)
        except OSError as problem:
            error = str(problem)
        self._inbox.append(FenceWritten(fence=request.fence, run_number=request.run_number, error=error))

    def _kill_run(self, run_number: int) -> None:
        """Only the very process: pid, start time and run number must agree with what it left behind."""
        known = recall(self.plan.data_dir)
        if known is not None and known[0].run_number == run_number and started_ticks(known[1]) == known[2]:
            os.kill(known[1], signal.SIGKILL)
