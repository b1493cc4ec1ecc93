"""main's side of the guardian: what a run leaves in `run/` for processes that must know it without its help; its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from loguru import logger

from actors.plan import EmbeddedVenue, RunPlan
from actors.processes import ROOT, VENUE_PID, Watched, named_pid, started_ticks
from exchange.coinbase.endpoints import Endpoints
from state.files import write_durably
from trading.guardian import GuardianSettings

MAIN = "main.json"
GOES_HOME_S = 0.5
STILL_LOOKS = 15
"""Seconds: it loops ten times in each."""


def remember(plan: RunPlan) -> None:
    """Who runs, for guardian, panic and `ctl kill`: never a secret."""
    said: dict[str, Any] = {
        "pid": os.getpid(),
        "started": started_ticks(os.getpid()),
        "run": plan.run_number,
        "tag": plan.tag,
        "env": plan.env,
        "mode": plan.mode,
        "market": plan.market,
        "embedded": None if plan.venue is None else list(plan.venue.options),
        "guardian": asdict(plan.section("guardian", GuardianSettings)),
        "endpoints": None if plan.endpoints is None else asdict(plan.endpoints),
    }
    write_durably(plan.run_folder / MAIN, json.dumps(said).encode())


@frozen
class _Sections:
    """The part of a configuration that the guardian's process needs."""

    guardian: GuardianSettings


def recall(data_dir: Path) -> tuple[RunPlan, int, int] | None:
    """(the plan as far as others need it, main's pid, its start time) of the last run; None when nothing has run here."""
    try:
        said = json.loads((data_dir / "run" / MAIN).read_text())
        plan = RunPlan(
            data_dir=data_dir,
            env=said["env"],
            mode=said["mode"],
            market=said["market"],
            tag=said["tag"],
            run_number=said["run"],
            config=_Sections(GuardianSettings(**said["guardian"])),
            venue=None if said["embedded"] is None else EmbeddedVenue(options=tuple(said["embedded"])),
            endpoints=None if said["endpoints"] is None else Endpoints(**said["endpoints"]),
        )
        return plan, int(said["pid"]), int(said["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def began_anew(before: tuple[RunPlan, int, int], last: tuple[RunPlan, int, int]) -> bool:
    """The data dir was cleared away, or is of another account or venue: numbers, keys and addresses of before say nothing now.

    Both as `recall` tells them: a number that another process has had was given twice.
    """

    def whose(plan: RunPlan) -> tuple[object, ...]:
        return plan.tag, plan.endpoints, plan.venue is None

    (old, *old_main), (new, *new_main) = before, last
    again = new.run_number == old.run_number and new_main != old_main
    return again or new.run_number < old.run_number or whose(new) != whose(old)


def simulated_venue_gone(data_dir: Path) -> bool:
    """The last run traded on a simulated venue of its own; neither that lives any more nor main, which would bring it back."""
    known = recall(data_dir)
    if known is None or known[0].venue is None or started_ticks(known[1]) == known[2]:
        return False
    return named_pid(data_dir / VENUE_PID) is None


class GuardianProcess:
    """In a session of its own; it outlives main on purpose. `tend` brings it back, `finish` waits until it went home."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._errors = plan.data_dir / "logs" / "guardian.err"
        self._done = False
        self._start()

    def _start(self) -> None:
        plan = self._plan
        command = [sys.executable, "-m", "actors.guardian_main", "--data-dir", str(plan.data_dir)]
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, "--run", str(plan.run_number)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        self._watched = Watched(self._process.pid)

    def tend(self) -> None:
        """Each second."""
        code = self._process.poll()
        if code is None and self._watched.still() >= STILL_LOOKS:
            logger.error(f"the guardian (pid {self._process.pid}) stands still; it is killed and started again")
            self._process.kill()
        if code is None or self._done:
            return
        self._done = code == 0  # it went home, or another one guards already
        if not self._done:
            self._start()

    def finish(self) -> None:
        """After a clean exit: the stopped beat sends it home within a second; nobody waits for that."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(GOES_HOME_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # who waits for a disk ends when that is back
                self._process.wait(GOES_HOME_S)
