"""The order manager end to end: intents a second against the simulated venue, what a save costs, recovery with 990 open orders.

    python -m bench.oms.bench [--orders N] [--in-flight W] [--folder DIR]

The real machines of oms and gateway, the real store (SQLite, synchronous=FULL) in DIR, the real lanes with Coinbase's SDK over TLS,
and the simulated venue as a process of its own. Machines stand in one process and call each other, so mailboxes are left out
(bench/supervision has them: 0.03 ms a round trip). An intent is: approval → intent saved → sent → acknowledged → saved.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from bench.simulator.bench_venue import open_the_throttle, start
from exchange.coinbase.budgets import BudgetSettings, Rate
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.fences import Beat, Fences
from exchange.coinbase.gateway import GatewayMachine, GatewaySettings
from exchange.coinbase.lanes import Lanes
from exchange.coinbase.transport import boot_s
from state.store import Store
from tests.coinbase_rest.made import catalog
from tests.oms.host import GATEWAY, Host, approval
from trading.machine import Instant, Save, Send, Woke
from trading.messages.book import Recovery
from trading.messages.control import KillSnapshot
from trading.messages.orders import OrderOutcome, OutcomeKind, PlaceOrder
from trading.oms import OmsMachine

ROOT = Path(__file__).resolve().parents[2]
FREE = Rate(per_s=1e9, burst=1e9)
WIDE = GatewaySettings(
    budgets=BudgetSettings(private=FREE, orders=FREE, cancels=FREE, requests_per_h_max=10**9),
    workers_order=4,
)
PRICE, SIZE = "100", "0.02"
"""A bid of 2 USD far below the market: it rests, and a thousand of them fit the account."""


class Timed:
    """A store that keeps how long each commit took."""

    def __init__(self, path: Path) -> None:
        self.inner = Store(path, OmsMachine.tables)
        self.took_ms: list[float] = []

    def commit(self, saves: Any) -> None:
        rows = list(saves)
        if not rows:
            return
        began = time.perf_counter()
        self.inner.commit(rows)
        self.took_ms.append((time.perf_counter() - began) * 1e3)

    def live_rows(self) -> Any:
        return self.inner.live_rows()


class Live(Host):
    """The host of the tests on real clocks, with the real store, its sends to the gateway on a queue."""

    def __init__(self, path: Path, tag: str) -> None:
        self.path = path
        super().__init__(boot_s=boot_s(), tag=tag)

    def start(self) -> None:
        self.store: Any = Timed(self.path)
        self.began = time.perf_counter()
        super().start()
        self.recovered_s = time.perf_counter() - self.began

    @property
    def now(self) -> Instant:
        self.boot_s = boot_s()
        return Instant(time.time(), True, self.boot_s)


class Wired:
    """oms, gateway and lanes, wired to each other; `pump` moves what there is to move."""

    def __init__(self, path: Path, line: dict[str, Any], tag: str) -> None:
        self.oms = Live(path, tag)
        self.gateway = GatewayMachine(me=GATEWAY, fences=self._fences, settings=WIDE)
        self.lanes = Lanes(
            Endpoints.simulated(line),
            line["api_key"],
            line["api_secret"],
            lambda order: self.gateway.refusal_at_the_wire(order, boot_s()),
            settings=WIDE,
        )
        self.seen = 0
        self.outcomes: list[OrderOutcome] = []
        self.to_gateway: deque[object] = deque()
        self.carry(self.gateway.recover({}, self.now))
        self.carry(self.gateway.handle(catalog(self.now), self.now))
        self.carry(self.gateway.handle(KillSnapshot(n=1, engaged=False), self.now))
        self.oms.tell(KillSnapshot(n=1, engaged=False))

    @property
    def now(self) -> Instant:
        return self.oms.now

    def _fences(self) -> Fences:
        return Fences(beat=Beat(GATEWAY[0], "ready", boot_s()))

    def carry(self, effects: Any) -> None:
        """The gateway's effects: calls to the lanes, answers to oms."""
        for effect in effects:
            if not isinstance(effect, Send):
                continue
            if effect.role == "io" and hasattr(effect.message, "call_id"):
                self.lanes.submit(effect.message)
            elif effect.role == "oms":
                if isinstance(effect.message, OrderOutcome):
                    self.outcomes.append(effect.message)
                self.oms.tell(effect.message)

    def pump(self, wait_s: float = 0.0) -> None:
        oms = self.oms
        for key in [key for key, at in oms.timers.items() if at <= boot_s()]:
            del oms.timers[key]
            oms._handle(Woke(key))
        while self.seen < len(oms.sent):
            send = oms.sent[self.seen]
            self.seen += 1
            if send.role == "gateway":
                self.carry(self.gateway.handle(send.message, self.now))
        if wait_s:
            select.select([self.lanes.fileno()], [], [], wait_s)
        for called in self.lanes.results():
            self.carry(self.gateway.handle(called, self.now))

    def until(self, done: Any, patience_s: float = 60.0) -> float:
        began = time.perf_counter()
        while not done():
            if time.perf_counter() - began > patience_s:
                raise TimeoutError(f"not done after {patience_s:.0f} s: oms is {self.oms.machine.desk.recovery}")
            self.pump(0.01)
        return time.perf_counter() - began

    def reconciled(self) -> bool:
        return self.oms.machine.desk.recovery is Recovery.RECONCILED


def intents(wired: Wired, first: int, count: int, in_flight: int) -> tuple[float, list[float]]:
    """(intents a second, milliseconds from approval to the saved acknowledgement, ascending)."""
    oms, sent_s, took_ms = wired.oms, {}, []
    known, n = len(wired.outcomes), 0
    began = time.perf_counter()
    while len(took_ms) < count:
        while n < count and len(sent_s) < in_flight:
            started = time.perf_counter()
            version = oms.machine.desk.version
            approved = approval(oms, n=first + n, size=SIZE, price=PRICE, ttl_s=3_000.0, version=version)
            before = len(oms.sent)
            oms.tell(approved)
            place = next((s.message for s in oms.sent[before:] if isinstance(s.message, PlaceOrder)), None)
            assert place is not None, f"not admitted: {oms.sent[before:]}"
            sent_s[place.client_order_id] = started
            n += 1
            wired.pump()
        wired.pump(0.05)
        for outcome in wired.outcomes[known:]:
            assert outcome.kind is OutcomeKind.ACCEPTED, outcome
            took_ms.append((time.perf_counter() - sent_s.pop(outcome.client_order_id)) * 1e3)
        known = len(wired.outcomes)
        if len(oms.sent) > 5_000:  # what the host remembers for tests is of no use here
            oms.sent.clear()
            wired.seen = 0
    return count / (time.perf_counter() - began), sorted(took_ms)


def quantiles(values: list[float], unit: str = "ms") -> str:
    found = sorted(values)
    return f"{found[len(found) // 2]:.2f} / {found[min(len(found) - 1, int(len(found) * 0.99))]:.2f} {unit} p50/p99"


def row(name: str, value: str) -> None:
    print(f"| {name} | {value} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=990, help="Fewer than 1,000: there Coinbase cuts the listing.")
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="Where the store lives: the disk that is measured.")
    said = parser.parse_args()
    process, line, _ = start()
    folder = tempfile.TemporaryDirectory(dir=said.folder)
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}\n\n| what | cost |\n|---|---|")
    try:
        open_the_throttle(line)
        _measure(said, line, Path(folder.name) / "bulkhead.db")
    finally:
        process.terminate()
        process.wait(10)
        folder.cleanup()


def _measure(said: argparse.Namespace, line: dict[str, Any], path: Path) -> None:
    wired = Wired(path, line, "bnch")
    wired.until(wired.reconciled)
    intents(wired, 0, 20, 1)  # connections are made, caches filled
    wired.oms.store.took_ms.clear()
    one_by_one = said.orders // 2
    speed, took = intents(wired, 20, one_by_one, 1)
    row("intents a second, one at a time", f"{speed:.0f}/s; approval to saved acknowledgement {quantiles(took)}")
    speed, took = intents(wired, 20 + one_by_one, said.orders - 20 - one_by_one, said.in_flight)
    row(f"intents a second, {said.in_flight} in flight", f"{speed:.0f}/s; {quantiles(took)}")
    row("one save (a transaction of one handle, synced to disk)", quantiles(wired.oms.store.took_ms))
    row("the same rows with synchronous=OFF", quantiles(_without_sync(path)))
    orders = len(wired.oms.machine.desk.book.orders)
    times = []
    for _ in range(5):
        wired.oms.store.inner.close()
        wired.oms.sent.clear()
        wired.seen = 0
        wired.oms.start()
        known = wired.oms.recovered_s * 1e3
        took_s = wired.until(wired.reconciled)
        times.append((known, took_s * 1e3))
    recovered, reconciled = zip(*times, strict=True)
    row(
        f"recovery: store opened, checked, {orders:,} open orders read and known",
        f"{statistics.median(recovered):.0f} ms",
    )
    row(
        f"reconcile: {orders:,} open orders, fills, balances asked over REST and compared",
        f"{statistics.median(reconciled):.0f} ms more",
    )
    wired.lanes.close()


def _without_sync(path: Path, count: int = 300) -> list[float]:
    """One intent's row saved again and again into a store that does not wait for the disk."""
    source = Store(path, OmsMachine.tables)
    rows = source.live_rows()
    source.close()
    key, intent = next(iter(rows["intents"].items()))
    order = rows["orders"][key] if key in rows["orders"] else next(iter(rows["orders"].values()))
    store = Store(path.with_name("unsynced.db"), OmsMachine.tables, synchronous="OFF")
    took = []
    for n in range(count):
        changed = {
            **intent,
            "intent_id": f"{key}-{n}",
            "client_order_id": f"c{n}",
            "proposal_id": f"p{n}",
            "approval_id": f"a{n}",
        }
        saves = [Save("intents", f"{key}-{n}", changed), Save("orders", f"{key}-{n}", order)]
        began = time.perf_counter()
        store.commit(saves)
        took.append((time.perf_counter() - began) * 1e3)
    store.close()
    return took


if __name__ == "__main__":
    main()
