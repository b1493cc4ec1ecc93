"""One bot on real processes, seen from outside: its lines, its operator, the venue's back door, and /proc."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from actors.plan import venue_line
from simulation.chaos.bot import processes_naming
from telemetry.client import NobodyThereError, OperatorClient
from tests.support import eventually

ROOT = Path(__file__).parents[2]
QUICK = (
    "symbol.entry.ttl_s=3.0",
    "risk.pacing.spacing_s=0.0",
    "risk.pacing.symbol_spacing_s=0.0",
    "risk.pacing.new_trades_per_hour_max=100",
    "risk.pacing.trades_per_hour_max=100",
)
"""Nothing but pace and size of the universe differs from a user's run."""
RESTING = ("symbol.entry.ttl_s=20.0", "symbol.entry.ioc_fallback=false", "oms.cooldowns.fill_s=1.0")
"""For tests that need an order that rests."""
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

    def start(self, *args: str, env: dict[str, str] | None = None, prints_to: int | None = None) -> Bot:
        """`prints_to`: a descriptor for both its streams instead of files, which then stay empty."""
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
                command,
                cwd=ROOT,
                stdout=out if prints_to is None else prints_to,
                stderr=err if prints_to is None else prints_to,
                start_new_session=True,
                env={**os.environ, **(env or {})},
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
        return {pid: " ".join(words) for pid, words in processes_naming(self.data_dir).items()}

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

    # ---- what tests ask again and again ---------------------------------------------------------------------------------

    def tree(self) -> list[dict[str, Any]]:
        try:
            return list(self.ask("tree", timeout_s=1.0)["children"])
        except NobodyThereError:
            return []

    def row(self, role: str) -> dict[str, Any] | None:
        return next((row for row in self.tree() if row["role"] == role), None)

    def root_pid(self) -> int:
        row = self.row("safety")
        assert row is not None
        return int(Path(f"/proc/{row['pid']}/stat").read_text().rpartition(")")[2].split()[1])

    def settled(self) -> dict[str, Any]:
        """The status once nothing is on its way any more."""

        def quiet(status: dict[str, Any] | None) -> bool:
            return bool(
                status
                and status["recovery"] == "reconciled"
                and not status["unbooked"]
                and not status["orders"]
                and status["nav_usd"] is not None
                and all(position["exit"] is not None for position in status["positions"])
            )

        status = eventually(self.status, quiet, 40.0, 0.1)
        assert status is not None
        return status

    def knows(self, order: dict[str, Any]) -> bool:
        """The book has this order of the venue."""
        return any(mine["client_order_id"] == order["client_order_id"] for mine in self.ask("orders")["orders"])

    def intents(self) -> dict[str, float]:
        """client_order_id -> when its row was committed (venue seconds), read from the book itself."""
        with sqlite3.connect(f"file:{self.data_dir / 'bulkhead.db'}?mode=ro", uri=True) as db:
            return dict(db.execute("SELECT client_order_id, saved_s FROM intents"))

    def ledger(self) -> list[dict[str, Any]]:
        """Every order ever, from the venue's own ledger: also when the venue is gone."""
        with sqlite3.connect(f"file:{self.data_dir / 'venue' / 'ledger.sqlite'}?mode=ro", uri=True) as db:
            return [json.loads(row[0]) for row in db.execute("SELECT row FROM orders")]

    @staticmethod
    def slack() -> float:
        """How much slower than two idle cores this machine is right now: others may be working here too."""
        return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def trade_everywhere(bot: Bot, *, wait: bool = True) -> None:
    """Chances in three products; with `wait`, until the venue has got an order."""
    known = len(bot.orders())
    for product_id in ("BTC-USD", "ETH-USD", "SOL-USD"):
        bot.rise(product_id)
    if wait:
        eventually(bot.orders, lambda orders: len(orders) > known, 15.0)


def rest_something(bot: Bot) -> list[dict[str, Any]]:
    """Until the venue has a resting order of ours: steep rises leave the bid behind."""
    for _ in range(5):
        trade_everywhere(bot, wait=False)
        try:
            return eventually(bot.resting, patience_s=6.0)
        except AssertionError:
            continue  # all were hit: rise once more
    raise AssertionError("nothing rested after five rises")


def hold_something(bot: Bot) -> None:
    """Until the book has a position: a short rise that stands still afterwards, so that resting bids are hit."""
    for _ in range(6):
        for product_id in ("BTC-USD", "ETH-USD", "SOL-USD"):
            bot.rise(product_id, percent=2.5, over_s=1.5)
        try:
            eventually(bot.status, lambda status: status and status["positions"], 6.0, 0.1)
        except AssertionError:
            continue  # the bids were not hit: rise once more
        return
    raise AssertionError("no position after six rises")


def assert_orders_are_accounted_for(bot: Bot) -> None:
    """I1 and I2 by the venue's ledger: each order of ours has its intent, committed before, and no intent has two orders."""
    orders, intents = bot.orders(), bot.intents()
    ids = [order["client_order_id"] for order in orders]
    assert len(ids) == len(set(ids)), "an intent has two orders"
    for order in orders:
        assert order["client_order_id"] in intents, f"{order['client_order_id']} has no intent"
