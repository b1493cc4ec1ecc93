"""`run.py chaos`: real processes, real kills, against the simulated venue; every claim judged by its ledger.

The nemesis draws from its seed: whom to kill (roles, supervisors, root, run.py, everything), whom to stop for a while,
what the venue does wrong, when to move the market, when to stop and start the bot in order. After each blow the bot must
be reconciled again within a deadline; at the end it is stopped by SIGTERM, started once more, and the books must be equal.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import define, field

from simulation.chaos.bot import ChaosBot, kill, wait_until
from simulation.chaos.judge import Book, exposure_usd, judge_always, judge_caps, judge_settled, judge_stopped, resting

ROLES = (
    "oms",
    "gateway",
    "risk",
    "exits",
    "kill_switch",
    "health_monitor",
    "universe",
    "catalog",
    "market_feed",
    "user_feed",
    "alerts",
    "operator",
    "console",
)
SUPERVISORS = ("safety", "venue", "trading", "feeds", "symbols", "ops")
PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD", "AVAX-USD")
BLOWS = (
    ("kill_role", 12),
    ("kill_two", 4),
    ("stop_role", 3),
    ("kill_supervisor", 2),
    ("kill_root", 1),
    ("kill_main", 1),
    ("kill_everything", 1),
    ("fault", 8),
    ("restart", 1),
)
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "drop_reply", "method": "POST", "path": "/orders", "count": 1},
    {"kind": "hold", "method": "POST", "path": "/orders", "seconds": 20, "count": 1},
    {"kind": "status", "method": "POST", "path": "/orders", "status": 502, "effect": True, "count": 1},
    {"kind": "status", "method": "POST", "path": "/orders", "status": 503, "effect": False, "count": 1},
    {"kind": "status", "status": 429, "for_s": 2.0, "retry_after_s": 1},
    {"kind": "drop_request", "chance": 0.3, "for_s": 2.0},
    {"kind": "truncate", "path": "/orders/historical", "count": 2},
    {"kind": "html", "path": "/accounts", "count": 1},
    {"kind": "disconnect", "code": 1006, "count": 2},
    {"kind": "silence", "for_s": 3.0, "count": 1},
    {"kind": "duplicate", "chance": 0.3, "for_s": 4.0},
    {"kind": "reorder", "chance": 0.3, "for_s": 4.0},
    {"kind": "gap", "count": 1},
    {"kind": "setting", "name": "listing_lag_s", "value": 3.0, "for_s": 10.0},
    {"kind": "setting", "name": "settle_s", "value": 3.0, "for_s": 10.0},
)
RECOVERY_S = 30.0
RESTART_LIMIT_S = 40.0


@define
class Chaos:
    """One run. `tell(text)` hears each step. `violations` are sentences that begin with the invariant."""

    data_dir: Path
    seed: int
    seconds: float
    tell: Callable[[str], None]
    blows: Counter[str] = field(factory=Counter)
    violations: list[str] = field(factory=list)
    recoveries_s: list[float] = field(factory=list)
    checks: int = 0
    orders: int = 0
    fills: int = 0
    exposure_usd_max: Decimal = Decimal(0)
    bot: ChaosBot = field(init=False)
    rng: random.Random = field(init=False)
    known: set[str] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.bot = ChaosBot(self.data_dir)
        self.rng = random.Random(self.seed)

    def run(self) -> None:
        self.tell(f"seed {self.seed}, {self.seconds:.0f} s, {self.data_dir}")
        try:
            if not self._begun():
                return
            deadline = time.monotonic() + self.seconds
            while time.monotonic() < deadline and not self.violations:
                self._stir_the_market()
                self._watch(self.rng.uniform(1.0, 3.5))
                blow = self.rng.choices([name for name, _ in BLOWS], [weight for _, weight in BLOWS])[0]
                self._strike(blow)
            self._finish()
        finally:
            self.bot.end_everything()

    def _begun(self) -> bool:
        """The first start; False with a violation that says why it came to nothing."""
        self.bot.start()
        if wait_until(lambda: not self.bot.alive() or self._recovered(1.0), RESTART_LIMIT_S) and self.bot.alive():
            return True
        ended = "" if self.bot.alive() else f"; it has ended: {self.bot.last_words()}"
        self.violations.append(
            f"I18 the bot was not reconciled within {RESTART_LIMIT_S:.0f} s of its first start{ended}"
        )
        return False

    # -- the nemesis --------------------------------------------------------------------------------------------------

    def _stir_the_market(self) -> None:
        """A rise on heavy volume, or a fall: something to enter on, or to leave by."""
        product = self.rng.choice(PRODUCTS)
        percent = self.rng.choice((3.0, 4.0, 6.0, -5.0, -9.0, 14.0))
        points = [[self.rng.choice((0.2, 2.0)), percent], [60.0, percent * 0.5], [120.0, 0.0]]
        self.bot.back_door("market", {"kind": "path", "product_id": product, "points": points, "volume_x": 600.0})

    def _strike(self, blow: str) -> None:
        self.blows[blow] += 1
        getattr(self, f"_{blow}")()
        began = time.monotonic()
        limit = RESTART_LIMIT_S if blow in ("kill_root", "kill_main", "kill_everything", "restart") else RECOVERY_S
        if not self._recovered(limit):
            status = self.bot.ask("status") or {}
            self.violations.append(
                f"I18 not reconciled {limit:.0f} s after {blow}: {status.get('trading_state')} {status.get('causes')}"
            )
        self.recoveries_s.append(time.monotonic() - began)

    def _pid_of(self, role: str) -> int | None:
        return next((row["pid"] for row in self.bot.tree() if row["role"] == role), None)

    def _kill_role(self) -> None:
        self._kill(self.rng.choice((*ROLES, *(f"symbol:{product}" for product in PRODUCTS))))

    def _kill_two(self) -> None:
        for role in self.rng.sample(("oms", "gateway", "risk", "exits", "user_feed", "market_feed"), 2):
            self._kill(role)

    def _kill(self, role: str) -> None:
        pid = self._pid_of(role)
        self.tell(f"kill -9 {role} ({pid})")
        if pid is not None:
            kill(pid, signal.SIGKILL)

    def _stop_role(self) -> None:
        role = self.rng.choice(("oms", "gateway", "risk", "exits", "user_feed"))
        pid = self._pid_of(role)
        self.tell(f"SIGSTOP {role} ({pid})")
        if pid is not None and kill(pid, signal.SIGSTOP):
            self._watch(self.rng.uniform(0.5, 4.0))
            kill(pid, signal.SIGCONT)

    def _kill_supervisor(self) -> None:
        self._kill(self.rng.choice(SUPERVISORS))

    def _kill_root(self) -> None:
        """Root's death ends the run by design: main sweeps, exits 1, and is started again as supervisord would."""
        safety = self._pid_of("safety")
        if safety is None:
            return
        root = int(Path(f"/proc/{safety}/stat").read_text().rpartition(")")[2].split()[1])
        self.tell(f"kill -9 root ({root})")
        kill(root, signal.SIGKILL)
        self._start_again()

    def _kill_main(self) -> None:
        assert self.bot.process is not None
        self.tell(f"kill -9 run.py ({self.bot.process.pid})")
        kill(self.bot.process.pid, signal.SIGKILL)
        self._start_again()

    def _kill_everything(self) -> None:
        self.tell("kill -9 of everything but the venue")
        for pid in self.bot.processes(without=("exchange.simulator",)):
            kill(pid, signal.SIGKILL)
        self._start_again()

    def _restart(self) -> None:
        self.tell("SIGTERM and a new start")
        self._stop_in_order()
        self.bot.start()

    def _start_again(self) -> None:
        """As a process supervisor would: when run.py is gone. Its tree must be gone within 2 s of that (I17)."""
        assert self.bot.process is not None
        if not wait_until(lambda: not self.bot.alive(), 40.0):
            self.violations.append("I17 run.py lives 40 s after its tree was killed")
            return
        spared = ("exchange.simulator", "guardian_main")
        if not wait_until(lambda: not self.bot.processes(without=spared), 2.0):
            self.violations += [
                f"I17 {pid} outlives its supervisor: {text[:80]}"
                for pid, text in self.bot.processes(without=spared).items()
            ]
        self.bot.start()

    def _fault(self) -> None:
        fault = self.rng.choice(FAULTS)
        self.tell(f"venue: {fault}")
        self.bot.back_door("faults", {"seed": self.rng.randrange(1 << 30), "faults": [fault]})
        self._stir_the_market()
        self._watch(self.rng.uniform(1.0, 4.0))

    # -- the judge ------------------------------------------------------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        """Judge again and again for so long."""
        deadline = time.monotonic() + seconds
        while True:
            self._check()
            if time.monotonic() >= deadline:
                return
            time.sleep(0.3)

    def _check(self) -> None:
        ledger = self.bot.back_door("state?requests_since=1000000000")
        if ledger is None:
            return
        book = self.bot.book()  # read after the ledger: whatever arrived there was saved before
        if book is not None:
            self.known |= set(book.intents)
        self.checks += 1
        tag = self.bot.tag()
        found = judge_always(ledger, book, tag, self.known) + judge_caps(ledger, tag)
        self.violations += [violation for violation in found if violation not in self.violations]
        usd = exposure_usd(ledger, tag)
        self.exposure_usd_max = max(self.exposure_usd_max, max(usd.values(), default=Decimal(0)))

    def _recovered(self, patience_s: float) -> bool:
        def look() -> bool:
            self._check_safely()
            status = self.bot.ask("status")
            return bool(status) and status is not None and status["recovery"] == "reconciled"

        return wait_until(look, patience_s, 0.2)

    def _check_safely(self) -> None:
        if (self.data_dir / "run" / "account").is_file():
            self._check()

    def _stop_in_order(self) -> None:
        if not self.bot.alive():
            return
        code, took_s = self.bot.terminate()
        gone = wait_until(lambda: not self.bot.processes(without=("exchange.simulator", "guardian_main")), 2.0)
        left = {} if gone else self.bot.processes(without=("exchange.simulator", "guardian_main"))
        ledger = self.bot.back_door("state?requests_since=1000000000")
        self.tell(f"stopped: exit {code} in {took_s:.1f} s")
        if ledger is not None:
            self.violations += judge_stopped(ledger, self.bot.tag(), code, left, took_s)

    def _finish(self) -> None:
        """Heal, settle, compare; then stop in order."""
        self.tell("the faults stop")
        self.bot.back_door("faults", method="DELETE")
        if not self.bot.alive():
            self.bot.start()
        if not self._recovered(RESTART_LIMIT_S):
            self.violations.append("I18 not reconciled after the faults stopped")
        self.bot.ask("pause", name="chaos", cause="to compare the books")
        settled: list[str] = ["never compared"]

        def equal() -> bool:
            ledger, book = self.bot.back_door("state?requests_since=1000000000"), self.bot.book()
            if ledger is None or book is None:
                return False
            self.orders, self.fills = len(ledger["orders"]), len(ledger["fills"])
            settled[:] = judge_settled(ledger, book, self.bot.tag())
            return not settled and not resting(ledger, self.bot.tag()) and self._at_rest(book)

        if not wait_until(equal, 90.0, 0.5):
            self.violations += settled or ["I5 an order of ours still rests 90 s after a pause"]
        self._stop_in_order()

    def _at_rest(self, book: Book) -> bool:  # noqa: ARG002
        """What else must be over before the last stop. An order of unknown fate may take minutes, and a stop says so."""
        return True

    def report(self) -> dict[str, Any]:
        slowest = max(self.recoveries_s, default=0.0)
        return {
            "seed": self.seed,
            "seconds": self.seconds,
            "blows": dict(self.blows),
            "checks": self.checks,
            "orders": self.orders,
            "fills": self.fills,
            "exposure_usd_max": f"{self.exposure_usd_max:.2f}",
            "slowest_recovery_s": round(slowest, 2),
            "violations": self.violations,
        }
