"""One bot on real processes, seen from outside: its lines, its operator, the venue's back door, and /proc."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from actors.plan import venue_line
from telemetry.client import NobodyThereError, OperatorClient
from tests.support import eventually

ROOT = Path(__file__).parents[2]
QUICK = (
    "risk.pacing.spacing_s=0.0",
    "risk.pacing.symbol_spacing_s=0.0",
    "risk.pacing.new_trades_per_hour_max=100",
    "risk.pacing.trades_per_hour_max=100",
)
"""Nothing but pace and size of the universe differs from a user's run."""
LIVE = ("OPEN", "PENDING", "QUEUED", "CANCEL_QUEUED")


class Bot:
    """`start` returns at once. Everything it left is ended by `clean_up`, by pid."""

    def __init__(self, data_dir: Path, *sets: str, **options: Any) -> None:
        self.data_dir = data_dir
        self.client = OperatorClient(data_dir)
        self.sets, self.options = (*QUICK, *sets), options
        self.runs = 0
        self.process: subprocess.Popen[bytes] | None = None

    # ---- life --------------------------------------------------------------------------------------------------------

    def start(self, *args: str, env: dict[str, str] | None = None) -> Bot:
        self.runs += 1
        command = [sys.executable, str(ROOT / "tests/live/launch.py"), "--data-dir", str(self.data_dir), *args]
        for key, value in self.options.items():
            command += [f"--{key}", str(value)]
        for text in self.sets:
            command += ["--set", text]
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.out = self.data_dir / f"out.{self.runs}"
        with self.out.open("wb") as out, (self.data_dir / f"err.{self.runs}").open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=err, start_new_session=True, env={**os.environ, **(env or {})}
            )
        self.started_s = time.monotonic()
        return self

    def ready(self, patience_s: float = 20.0) -> Bot:
        """Until the operator answers and the book agrees with the venue."""

        def look() -> Any:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self.tail()}")
            return self.status()

        eventually(look, lambda status: status and status["recovery"] == "reconciled", patience_s, 0.05)
        return self

    def send(self, number: int, *, group: bool = False) -> None:
        assert self.process is not None
        (os.killpg if group else os.kill)(self.process.pid, number)

    def wait(self, patience_s: float = 15.0) -> int:
        assert self.process is not None
        return self.process.wait(patience_s)

    def stop(self, number: int = signal.SIGTERM, *, group: bool = False) -> int:
        self.send(number, group=group)
        return self.wait()

    def kill_everything(self) -> None:
        """SIGKILL main, tree, guardian and venue at once."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        eventually(self.processes, lambda pids: not pids, 5.0)
        if self.process is not None:
            self.process.wait(5.0)

    def clean_up(self) -> None:
        self.kill_everything()

    # ---- sight -------------------------------------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """Every living process whose command line names this data dir."""
        found = {}
        mark = str(self.data_dir).encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                line = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark in line and state not in "ZX":
                found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines() if line.startswith("{")]

    def summary(self) -> dict[str, Any]:
        return self.lines()[-1]

    def tail(self) -> str:
        err = self.data_dir / f"err.{self.runs}"
        return "\n".join([*self.out.read_text().splitlines()[-8:], *err.read_text().splitlines()[-20:]])

    def ask(self, command: str, timeout_s: float = 5.0, **args: str) -> dict[str, Any]:
        return self.client.ask(command, args, timeout_s=timeout_s)

    def status(self) -> dict[str, Any] | None:
        try:
            return self.ask("status", timeout_s=1.0)
        except NobodyThereError:
            return None

    def pid(self, role: str) -> int:
        return int(self.ask("pid", role=role)["pid"])

    # ---- the judge ---------------------------------------------------------------------------------------------------

    def _back_door(self, path: str, body: Any = None) -> Any:
        line = venue_line(self.data_dir)
        context = ssl.create_default_context(cafile=line["ca"])
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(line["back_door"] + path, data=data)
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return json.loads(answer.read())

    def state(self) -> dict[str, Any]:
        return self._back_door("state")

    def orders(self) -> list[dict[str, Any]]:
        return list(self.state()["orders"])

    def resting(self) -> list[dict[str, Any]]:
        return [order for order in self.orders() if order["status"] in LIVE]

    def rise(self, product_id: str, percent: float = 6.0, over_s: float = 3.0) -> None:
        """A rise on heavy volume, which the entry rule takes for a chance; a steep one leaves the bid resting behind."""
        points = [[over_s, percent], [over_s + 600.0, percent]]
        self._back_door("market", {"kind": "path", "product_id": product_id, "points": points, "volume_x": 800.0})

    def faults(self, *faults: dict[str, Any]) -> None:
        self._back_door("faults", {"seed": 1, "faults": list(faults)})
