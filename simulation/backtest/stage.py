"""The virtual stage of a backtest: venue and real time jump together over what nobody could notice.

Only paces that cost time and decide nothing are changed: how often snapshots are repeated.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil
from typing import Any

from attrs import define, field

from simulation.clockwork import WOKE
from simulation.process import Process
from simulation.stage import VirtualStage
from trading.machine import QuietMachine, Wake
from trading.messages.market import Quote

CALM_S = 1e8
"""How often snapshots are repeated here, instead of each half second: practically never."""
NEVER_S = CALM_S / 2
PACE_S = 5.0
"""A timer set no further ahead than this is a pace: a jump of time moves it along instead of ringing it once a bar."""
TICK_S = 0.5
"""What every machine's pace is a multiple of, so that a jump leaves each in step with itself."""
CALM_AFTER_S = 4.0
CALM = frozenset(
    {
        ("universe", "publish"), ("universe", "review"), ("universe", "measure"), ("kill_switch", "publish"), ("risk", "publish"), ("gateway", "measure"),
    }
)  # fmt: skip
"""Timers (role, key) that only repeat what was said, for mail that is lost or a lease that has no end here, and the
universe's looks, which come with each renewal of what they look at."""


@define
class Lane:
    """Who hears of one product: read once, until somebody subscribes or leaves.

    bells: processes called at each quote; lazy: the dirty slots of those that look before their next handle.
    """

    bells: list[Process] = field(factory=list)
    outer: list[Process] = field(factory=list)
    lazy: list[dict[str, None]] = field(factory=list)
    bars: list[Process] = field(factory=list)


class BacktestStage(VirtualStage):
    """The virtual stage with one more thing: venue time may jump while nothing is in flight. Nobody is stopped here.

    Market data reaches the same machines in the same order as by `put_quote` and `put_bar`, without asking each time who
    they are.
    """

    def __init__(self, *, seed: int, venue_s: float, latency_s: float) -> None:
        super().__init__(seed=seed, venue_s=venue_s, latency_s=latency_s)
        self._lanes: dict[str, Lane] = {}
        self._calm_from = self.boot_s + CALM_AFTER_S
        self._aside: list[Any] = []

    def skip_to(self, venue_s: float) -> None:
        """Both clocks jump to venue time `venue_s`, so that every age and pause in real seconds passes as it does live.

        Paces (a tick each half second) stand aside and go on, in step with themselves, when time runs again; longer timers
        that are over ring late, at the jump's end.
        """
        before = self.boot_s
        jump_s = (venue_s - self.now.venue_s) / self.speed
        if jump_s <= 0.0:
            return
        heap, near = self._heap, before + PACE_S
        while heap and heap[0][0] <= near:
            self._aside.append(heappop(heap))
        self.boot_s = before + jump_s
        self._now = None

    def mail_within(self, seconds: float) -> bool:
        """Whether something is on its way that arrives so soon, or a longer timer came due in a jump; paces do not count."""
        heap, until = self._heap, self.boot_s + seconds
        if not heap or heap[0][0] > until:
            return False
        if heap[0][0] <= self.boot_s:
            return True
        return any(entry[0] <= until and entry[2] != WOKE for entry in heap)

    def run_until(self, boot_s: float) -> None:
        for entry in self._aside:
            # As often as it would have rung in between, and then the first time that is still to come.
            missed = max(0, ceil((self.boot_s - entry[0]) / TICK_S))
            heappush(self._heap, (entry[0] + missed * TICK_S, *entry[1:]))
        self._aside.clear()
        super().run_until(boot_s)

    def _wake(self, process: Process, wake: Wake) -> None:
        """A timer that is never to ring takes no place in the heap."""
        at = wake.at_boot_s
        calm = self.boot_s > self._calm_from and (process.role, wake.key) in CALM
        super()._wake(process, Wake(wake.key, None) if calm or (at is not None and at > NEVER_S) else wake)

    def _subscribe(self, process: Process) -> None:
        if process.machine.products() != process.products:
            self._lanes.clear()
            super()._subscribe(process)

    def _unsubscribe(self, process: Process) -> None:
        self._lanes.clear()
        super()._unsubscribe(process)

    def _market(self, process: Process) -> None:
        """The slots that changed, in product order, before a handle; bars never wait here."""
        now, slots = self.now, self.slots
        for product_id in sorted(process.dirty):
            if process.dirty.pop(product_id, 0) is None:
                quote = slots[product_id]
                if effects := process.on_quote(quote, now):
                    self._carry_out(process, quote, effects, now)

    def _lane(self, product_id: str) -> Lane:
        lane = self._lanes[product_id] = Lane()
        for process in self._readers.get(product_id, ()):
            if not process.bell:
                lane.lazy.append(process.dirty)
            else:
                lane.bells.append(process)
                if not process.role.startswith("symbol:"):
                    lane.outer.append(process)
            if getattr(type(process.machine), "on_bar", None) is not QuietMachine.on_bar:
                lane.bars.append(process)
        return lane

    def show(self, quote: Quote, *, symbols: bool = True) -> None:
        """A quote to everybody who is subscribed; without `symbols` to all but them."""
        product_id = quote.product_id
        self.slots[product_id] = quote
        lane = self._lanes.get(product_id) or self._lane(product_id)
        for dirty in lane.lazy:
            dirty[product_id] = None
        now = self._now or self.now
        for process in lane.bells if symbols else lane.outer:
            if process.dirty:
                process.dirty[product_id] = None
                self._market(process)
                continue
            effects = process.on_quote(quote, now)
            if effects:
                self._carry_out(process, quote, effects, now)
