"""`run.py chaos --storm N`: N orders through lost, late and refused answers, while oms, gateway, risk and user_feed are killed.

The venue answers a part of all requests with 429, 5xx before or after the effect, too late or not at all. At the end the books
must be equal.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulation.chaos.bot import PACE, ChaosBot, kill
from simulation.chaos.judge import OVER, Book, ours
from simulation.chaos.run import Chaos

VICTIMS = {"oms": 5, "gateway": 5, "risk": 5, "user_feed": 1}
"""With weights: feeds are parked after five deaths in five minutes, and without user_feed nothing is entered."""
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 429, "retry_after_s": 1, "chance": 0.02},
    {"kind": "status", "method": "POST", "path": "/orders", "status": 502, "effect": True, "chance": 0.05},
    {"kind": "status", "method": "POST", "path": "/orders", "status": 503, "effect": False, "chance": 0.03},
    {"kind": "status", "method": "GET", "status": 500, "effect": False, "chance": 0.03},
    {"kind": "drop_reply", "method": "POST", "path": "/orders", "chance": 0.05},
    {"kind": "drop_request", "method": "POST", "path": "/orders", "chance": 0.02},
    {"kind": "hold", "method": "POST", "path": "/orders", "seconds": 8, "chance": 0.03},
    {"kind": "delay", "method": "POST", "path": "/orders", "seconds": 6, "chance": 0.03},
    {"kind": "truncate", "path": "/orders/historical", "chance": 0.02},
)
HELD_S_MAX = 8.0
SETS = (
    *PACE,
    "health_monitor.off=[api_health,api_errors,rate_limit_cooldown,rejection_burst,latency_budget,restart_storm]",
    # The venue holds no request for longer than HELD_S_MAX and lists at once: horizons that bar a product for seconds will do.
    f"oms.settle.ioc_horizon_s={HELD_S_MAX + 4}",
    "oms.settle.end_time_margin_s=6",
    "oms.settle.lag_s=2",
    "oms.settle.absent_apart_s=1",
)
"""The breakers are off that would rightly stop all entries in such weather."""
STRIKE_S = (4.0, 9.0)


class Storm(Chaos):
    """orders_wanted: at the venue, of ours. seconds: the most it may take."""

    def __init__(
        self, data_dir: Path, seed: int, seconds: float, tell: Callable[[str], None], *, orders_wanted: int
    ) -> None:
        super().__init__(data_dir, seed, seconds, tell)
        self.orders_wanted = orders_wanted
        self.bot = ChaosBot(data_dir, SETS)

    def run(self) -> None:
        self.tell(f"seed {self.seed}, {self.orders_wanted} orders in at most {self.seconds:.0f} s, {self.data_dir}")
        try:
            if not self._begun():
                return
            plan = {"seed": self.rng.randrange(1 << 30), "faults": list(FAULTS)}
            self.bot.back_door("faults", plan)
            deadline = time.monotonic() + self.seconds
            while (sent := self._sent()) < self.orders_wanted and not self.violations:
                if time.monotonic() > deadline:
                    self.violations.append(
                        f"I18 only {sent} of {self.orders_wanted} orders reached the venue in {self.seconds:.0f} s"
                    )
                    break
                role = self.rng.choices(list(VICTIMS), list(VICTIMS.values()))[0]
                self.blows[f"kill {role}"] += 1
                self.tell(f"{sent} orders; kill -9 {role}")
                pid = self._pid_of(role)
                if pid is not None:
                    kill(pid, signal.SIGKILL)
                self._watch(self.rng.uniform(*STRIKE_S))
            self._finish()
        finally:
            self.bot.end_everything()

    def _at_rest(self, book: Book) -> bool:
        """Every order's fate is known: the horizons are short here."""
        return all(status in OVER for status in book.statuses.values())

    def _sent(self) -> int:
        ledger = self.bot.back_door("state?requests_since=1000000000")
        return 0 if ledger is None else len(ours(ledger, self.bot.tag()))
