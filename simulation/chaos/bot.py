"""One bot on real processes, as the nemesis sees it: start, signals by pid, the operator, the back door, the files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from simulation.chaos.judge import Book
from telemetry.client import NobodyThereError, OperatorClient, RefusedError

ROOT = Path(__file__).resolve().parents[2]
PACE = (
    "risk.pacing.spacing_s=0.0",
    "risk.pacing.symbol_spacing_s=0.0",
    "risk.pacing.new_trades_per_hour_max=1000",
    "risk.pacing.trades_per_hour_max=1000",
    "risk.pacing.trades_per_day_max=5000",
    "oms.cooldowns.fill_s=3.0",
    "oms.cooldowns.win_s=3.0",
    "oms.cooldowns.loss_s=3.0",
    "oms.cooldowns.stop_s=3.0",
    "oms.cooldowns.failed_s=1.0",
    "risk.stops.loss_streak_max=100000",
    "risk.stops.daily_stop_pct=-60",
    "risk.stops.weekly_stop_pct=-70",
    "risk.stops.rolling_7d_stop_pct=-70",
    "risk.stops.drawdown_pct_max=80",
    "risk.caps.positions_max=14",
    "risk.caps.positions_by_regime={bull: 14, chop: 14, bear: 14, crash: 0}",
    "symbol.pyramiding=true",
    "risk.pacing.allow_pyramiding=true",
    "risk.pacing.pyramid_spacing_s=0",
    "risk.pacing.adds_per_asset_per_day_max=10000",
    "symbol.strategies.price_move.enabled=false",
    "symbol.strategies.restless.enabled=true",
    "symbol.strategies.restless.budget_pct=60",
    "symbol.entry.ttl_s=2.0",
    "symbol.entry.retry_after_denial_s=0.5",
)
"""Paces wide open and a strategy that always asks: so much must happen in a short time that something can go wrong."""
CALM = "health_monitor.off=[restart_storm]"
"""Somebody who kills a role each few seconds would otherwise see no order for the next ten minutes."""
STRATEGY = '''"""Asks for an entry at every quote and leaves soon: so that orders flow in a chaos run, never for money."""

from decimal import Decimal

from trading.strategies.interface import MarketView, Rule, Signal, strategy


@strategy("restless", on="quote", rule=Rule(stop_pct=Decimal("0.3"), target_pct=Decimal("0.4"), hold_hours=0.004), needs_atr=False)
def restless(view: MarketView) -> Signal | None:
    """Always."""
    return Signal(strength=0.9, confidence=0.9, change_pct=3.0, reason="it asks at every quote")
'''


def processes_naming(folder: Path) -> dict[int, list[str]]:
    """The command line of every living process that names this folder in it, except the asking one."""
    mark, found = str(folder).encode(), {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark in line and state not in "ZX":
            found[int(entry.name)] = line.decode(errors="replace").split("\0")
    return found


class ChaosBot:
    """All processes are found by the data dir in their command line and ended by pid."""

    def __init__(self, data_dir: Path, sets: Sequence[str] = (*PACE, CALM)) -> None:
        self.data_dir = data_dir
        self.sets = tuple(sets)
        self.client = OperatorClient(data_dir)
        self.process: subprocess.Popen[bytes] | None = None
        self.runs = 0

    def start(self) -> None:
        self.runs += 1
        strategies = self.data_dir / "strategies"
        strategies.mkdir(parents=True, exist_ok=True)
        (strategies / "restless.py").write_text(STRATEGY)
        command = [
            sys.executable,
            str(ROOT / "run.py"),
            "run",
            "--json",
            "--data-dir",
            str(self.data_dir),
            "--strategies",
            str(strategies),
        ]
        for text in self.sets:
            command += ["--set", text]
        out = (self.data_dir / f"chaos.{self.runs}.out").open("wb")
        with out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def last_words(self) -> str:
        """The last lines that run.py wrote."""
        lines = (self.data_dir / f"chaos.{self.runs}.out").read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-3:])[:500]

    def terminate(self) -> tuple[int, float]:
        """SIGTERM to run.py: (exit code, seconds it took)."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return code, time.monotonic() - began

    def processes(self, without: Sequence[str] = ()) -> dict[int, str]:
        """Living processes that name this data dir, but those whose command line holds a word of `without`."""
        found = {}
        for pid, words in processes_naming(self.data_dir).items():
            text = " ".join(words)
            # "chaos" is the nemesis itself, and whatever wraps it
            if "chaos" not in words and not any(word in text for word in without):
                found[pid] = text
        return found

    def end_everything(self) -> None:
        for pid in self.processes():
            kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes(), 5.0)

    # -- sight ------------------------------------------------------------------------------------------------------

    def ask(self, command: str, **args: str) -> dict[str, Any] | None:
        """None while no operator answers."""
        try:
            return self.client.ask(command, args, timeout_s=2.0)
        except (NobodyThereError, RefusedError):
            return None

    def tree(self) -> list[dict[str, Any]]:
        answer = self.ask("tree")
        return list(answer["children"]) if answer else []

    def tag(self) -> str:
        return str(json.loads((self.data_dir / "run" / "account").read_text())["tag"])

    def back_door(
        self, path: str, body: Mapping[str, Any] | None = None, *, method: str | None = None
    ) -> dict[str, Any] | None:
        """None while the venue is down. method: POST with a body, else GET."""
        try:
            line = json.loads((self.data_dir / "run" / "venue.json").read_text())
            context = ssl.create_default_context(cafile=line["ca"])
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(line["back_door"] + path, data=data, method=method)  # noqa: S310 -- our own https address
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:  # noqa: S310
                found = json.loads(answer.read())
        except (OSError, ValueError, KeyError, urllib.error.URLError):
            return None
        return found if isinstance(found, dict) else None

    def book(self) -> Book | None:
        """The book on disk, read only; None before it exists."""
        path = self.data_dir / "bulkhead.db"
        if not path.is_file():
            return None
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
        try:
            intents = dict(db.execute("select client_order_id, saved_s from intents").fetchall())
            statuses = dict(db.execute("select client_order_id, status from orders").fetchall())
            fills = db.execute("select venue_order_id, trade_id, product_id, side, base_size from fills").fetchall()
        except sqlite3.OperationalError:
            return None  # oms is making its tables at this moment; one that stays unreadable fails the last comparison
        finally:
            db.close()
        held: dict[str, Decimal] = {}
        for _, _, product, side, size in fills:
            held[product] = held.get(product, Decimal(0)) + Decimal(size) * (1 if side == "BUY" else -1)
        return Book(
            intents=intents,
            statuses={key: str(value).upper() for key, value in statuses.items()},
            fills=[(order, trade) for order, trade, *_ in fills],
            held=held,
        )


def kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_until(look: Callable[[], object], patience_s: float, every_s: float = 0.05) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if look():
            return True
        time.sleep(every_s)
    return bool(look())
