"""Simulated time: two clocks and a heap of what will happen, in the order of (boot time, arrival)."""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush

from simulation.process import Process
from trading.machine import Instant

CALL, MAIL, WOKE = 0, 1, 2

Call = Callable[[], None]


class Clockwork:
    """The time part of the stage. All times are boot seconds unless the name says venue."""

    def __init__(self, *, seed: int, venue_s: float, boot_s: float, speed: float) -> None:
        self.random = random.Random(seed)
        self.speed = speed
        self.boot_s = boot_s
        self.trusted = True
        self.distrusted: dict[str, bool] = {}
        self._venue_0_s = venue_s - boot_s * speed
        self._heap: list[tuple[float, int, int, Process | None, object, object]] = []
        self._arrival = 0
        self._now: Instant | None = None

    def _arrive(self, process: Process, message: object, sender: object) -> None:
        raise NotImplementedError

    def _ring(self, process: Process, key: str, generation: int) -> None:
        raise NotImplementedError

    @property
    def now(self) -> Instant:
        now = self._now
        if now is None:
            venue_s = self._venue_0_s + self.boot_s * self.speed
            now = self._now = Instant(venue_s, self.trusted, self.boot_s, self.speed)
        return now

    def now_of(self, process: Process) -> Instant:
        """The instant as `process` sees it: a role in `distrusted` has no trusted clock."""
        now = self.now
        if self.distrusted and self.distrusted.get(process.role):
            return Instant(now.venue_s, False, now.boot_s, now.speed)
        return now

    def trust(self, trusted: bool) -> None:
        """Every process's clock passes (or fails) the drift check from now on."""
        self.trusted = trusted
        self._now = None

    def at(self, boot_s: float, call: Call) -> None:
        """An outside event: happens whatever dies in between."""
        self._push(boot_s, CALL, None, call, None)

    def after(self, delay_s: float, call: Call) -> None:
        self._push(self.boot_s + delay_s, CALL, None, call, None)

    def answer(self, process: Process, message: object, boot_s: float | None = None) -> None:
        """A shell's answer to the incarnation that asked; lost when that is dead by then."""
        self._push(self.boot_s if boot_s is None else boot_s, MAIL, process, message, None)

    def _push(self, at: float, code: int, process: Process | None, a: object, b: object) -> None:
        self._arrival += 1
        heappush(self._heap, (max(self.boot_s, at), self._arrival, code, process, a, b))

    def next_at(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def step(self) -> bool:
        """Let the next event happen; False when there is none."""
        if not self._heap:
            return False
        at, _, code, process, a, b = heappop(self._heap)
        if at > self.boot_s:
            self.boot_s = at
            self._now = None
        if code == CALL:
            a()  # type: ignore[operator]
        elif code == MAIL:
            assert process is not None
            self._arrive(process, a, b)
        else:
            assert process is not None
            self._ring(process, a, b)  # type: ignore[arg-type]
        return True

    def run_until(self, boot_s: float) -> None:
        """Everything that is due up to and at `boot_s`; the clock then stands there."""
        heap = self._heap
        while heap and heap[0][0] <= boot_s:
            self.step()
        if boot_s > self.boot_s:
            self.boot_s = boot_s
            self._now = None

    def run_until_venue(self, venue_s: float) -> None:
        self.run_until((venue_s - self._venue_0_s) / self.speed)

    def run_for(self, seconds: float) -> None:
        self.run_until(self.boot_s + seconds)
