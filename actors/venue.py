"""The embedded simulated venue as main sees it: a process of its own session, restarted when it dies, stopped last.

It keeps its ledger, clock, account, keys and port below `<data-dir>/venue/`. One that still serves the same ledger (main was
killed, the venue was not) is used again: it watches the instance lock and leaves by itself when that is free for
`LEFT_ALONE_S`: longer than a guardian's sweep, which would otherwise lose its venue and never come out clean.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.clock import Anchor, boot_id, write_anchor
from actors.plan import VENUE_LINE, RunPlan
from actors.processes import ROOT, VENUE_PID, named_pid, private, started_ticks
from actors.starting import UNSAFE, USAGE, StartRefused
from state.files import write_atomically
from state.locks import INSTANCE_LOCK

START_S_MAX = 30.0
STOP_S_MAX = 1.0
LEFT_ALONE_S = 330.0


class VenueProcess:
    """`start` returns at once, `wait_ready` when the contract line is there; `tend` each second from main's loop."""

    def __init__(self, plan: RunPlan, tell: Callable[[str, str], None]) -> None:
        self._plan, self._tell = plan, tell
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._output = plan.run_folder / "venue.out"
        self._errors = plan.data_dir / "logs" / "venue.err"
        self._ready = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return self._pid

    def start(self) -> None:
        self._ready = False
        if self._adopt():
            return
        plan = self._plan
        assert plan.venue is not None
        self._errors.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", plan.venue.module, "--json", "--data-dir", str(plan.venue_folder)]
        command += ["--watch-lock", str(plan.data_dir / INSTANCE_LOCK), "--watch-free-s", f"{LEFT_ALONE_S:g}"]
        command += plan.venue.options
        with open(self._output, "wb", opener=private) as out, self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True
            )
        self._pid = self._process.pid
        write_atomically(self._pid_file, f"{self._pid} {started_ticks(self._pid)}".encode())

    @property
    def _pid_file(self) -> Path:
        return self._plan.data_dir / VENUE_PID

    def _adopt(self) -> bool:
        """Use the one that an earlier main has left, if it lives; `--fresh` ends it instead."""
        pid = named_pid(self._pid_file)
        if pid is None:
            return False
        if self._plan.fresh:
            os.kill(pid, signal.SIGKILL)
            return False
        self._pid = pid
        return True

    def wait_ready(self, limit_s: float = START_S_MAX) -> dict[str, Any]:
        """The contract line; clock anchor and line are written for everybody. Raises StartRefused, with its last words."""
        deadline = time.monotonic() + limit_s
        while (line := self._line()) is None:
            if not self._alive():
                code = USAGE if self._process is not None and self._process.returncode == USAGE else UNSAFE
                raise StartRefused(f"the simulated venue ended while starting: {self._last_words()}", code)
            if time.monotonic() > deadline:
                sentence = f"the simulated venue was not ready after {limit_s:.0f} s; see {self._errors}"
                raise StartRefused(sentence, UNSAFE)
            time.sleep(0.02)
        self._publish(line)
        return line

    def _line(self) -> dict[str, Any] | None:
        try:
            text = self._output.read_text()
        except OSError:
            return None
        for row in text.splitlines(keepends=True):
            if row.startswith("{") and row.endswith("\n"):
                found = json.loads(row)
                return found if isinstance(found, dict) else None
        return None

    def _publish(self, line: dict[str, Any]) -> None:
        self._ready = True
        write_atomically(self._plan.data_dir / VENUE_LINE, json.dumps(line).encode())
        anchor = Anchor(
            venue_s=float(line["t0"]), boot_s=float(line["boot_s"]), speed=float(line["speed"]), boot_id=boot_id()
        )
        write_anchor(self._plan.run_folder, anchor)

    def tend(self) -> None:
        """Bring it back when it died, and publish its line when it is ready again."""
        if self._alive():
            if not self._ready and (line := self._line()) is not None:
                self._publish(line)
                self._tell("venue", f"the simulated venue is back (pid {self._pid}), same ledger")
            return
        self.restarts += 1
        self._pid_file.unlink(missing_ok=True)
        self._tell("venue", f"the simulated venue died and is started again ({self._last_words()})")
        self.start()

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self._pid is not None and started_ticks(self._pid) != 0

    def _last_words(self) -> str:
        try:
            lines = self._errors.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:300] if lines else "without a word"

    def stop(self) -> None:
        """Ordered, then by force; after a clean exit only: otherwise the guardian still needs it."""
        if self._pid is None or not self._alive():
            return
        os.kill(self._pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        while self._alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._alive():
            os.kill(self._pid, signal.SIGKILL)
            while self._alive() and time.monotonic() < deadline + STOP_S_MAX:
                time.sleep(0.01)
        self._pid_file.unlink(missing_ok=True)
