"""Many schedules on several processes: seeds in, counts out. A worker plays; the parent counts, and stops at a failure."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import define, field, frozen

from simulation.fuzz import explore
from simulation.fuzz.directed import DIRECTED
from simulation.fuzz.play import Played, play
from simulation.fuzz.schedule import Schedule, long, short
from trading.protections import Protections

Progress = Callable[["Tally"], None]


@frozen(kw_only=True)
class Failure:
    """The first violation of one schedule."""

    schedule: Schedule
    invariant: str
    text: str


@define(kw_only=True)
class Tally:
    """schedules per mode; deliveries: machine messages; needed: schedules until the first failure."""

    schedules: Counter[str] = field(factory=Counter)
    deliveries: int = 0
    checks: int = 0
    faults: int = 0
    orders: int = 0
    fills: int = 0
    posts: int = 0
    elapsed_s: float = 0.0
    coverage: Counter[tuple[str, str, str, str]] = field(factory=Counter)
    failures: list[Failure] = field(factory=list)
    needed: int | None = None

    @property
    def total(self) -> int:
        return sum(self.schedules.values())

    def add(self, part: Tally) -> None:
        self.schedules += part.schedules
        self.deliveries += part.deliveries
        self.checks += part.checks
        self.faults += part.faults
        self.orders += part.orders
        self.fills += part.fills
        self.posts += part.posts
        self.coverage += part.coverage
        if part.failures and self.needed is None:
            self.needed = self.total
        self.failures += part.failures

    def count(self, played: Played) -> None:
        self.schedules[played.schedule.mode] += 1
        self.deliveries += played.deliveries
        self.checks += played.checks
        self.faults += played.faults
        self.orders += played.orders
        self.fills += played.fills
        self.posts += played.posts
        self.coverage += played.coverage
        if played.first is not None:
            violation = played.first
            self.failures.append(Failure(schedule=played.schedule, invariant=violation.invariant, text=str(violation)))


ended = threading.Event()
"""Set by Ctrl-C or SIGTERM: what has been played is reported, nothing more is begun."""


def _as_a_worker() -> None:
    """The parent hears Ctrl-C and ends its workers by SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _work(job: tuple[list[Schedule], Protections, bool]) -> Tally:
    schedules, protections, stop = job
    tally = Tally()
    for schedule in schedules:
        tally.count(play(schedule, protections))
        if stop and tally.failures:
            break
    return tally


def _seeds(job: tuple[str, int, int, Protections, bool]) -> Tally:
    mode, first, last, protections, stop = job
    make = long if mode == "L" else short
    return _work(([make(seed) for seed in range(first, last)], protections, stop))


def seeds(
    mode: str, first: int, count: int, protections: Protections, *, jobs: int = 2, stop: bool = True,
    for_s: float | None = None, progress: Progress | None = None,
) -> Tally:  # fmt: skip
    """Modes R and L over `count` seeds from `first`. for_s: begin no new batch after so long."""
    size = 1 if mode == "L" else 20
    batches = ((mode, at, min(at + size, first + count), protections, stop) for at in range(first, first + count, size))
    return _run(_seeds, batches, jobs=jobs, stop=stop, for_s=for_s, progress=progress)


def traps(
    protections: Protections, names: tuple[str, ...] = (), *, jobs: int = 2, stop: bool = True,
    for_s: float | None = None, progress: Progress | None = None,
) -> Tally:  # fmt: skip
    """Mode D: the directed schedules of `names`, or of every protection."""
    batches = ((DIRECTED[name], protections, stop) for name in names or tuple(DIRECTED) if name in DIRECTED)
    return _run(_work, batches, jobs=jobs, stop=stop, for_s=for_s, progress=progress)


def exhaustive(
    protections: Protections, *, every: bool, pairs: bool, jobs: int = 2, stop: bool = True,
    for_s: float | None = None, progress: Progress | None = None,
) -> Tally:  # fmt: skip
    """Mode E: both lives, every single crash; with `pairs` also two of them."""

    def batches() -> Iterator[tuple[list[Schedule], Protections, bool]]:
        batch: list[Schedule] = []
        for life in (explore.ENTRY, explore.EXIT):
            for schedule in explore.pairs(life) if pairs else explore.singles(life, every=every):
                batch.append(schedule)
                if len(batch) == 20:
                    yield batch, protections, stop
                    batch = []
        yield batch, protections, stop

    return _run(_work, batches(), jobs=jobs, stop=stop, for_s=for_s, progress=progress)


def _run(
    work: Callable[[Any], Tally],
    jobs_in: Iterable[object],
    *,
    jobs: int,
    stop: bool,
    for_s: float | None,
    progress: Progress | None,
) -> Tally:
    tally = Tally()
    started = time.monotonic()

    def limited() -> Iterator[object]:
        for job in jobs_in:
            if ended.is_set() or (for_s is not None and time.monotonic() - started > for_s):
                return
            yield job

    def take(part: Tally) -> bool:
        tally.add(part)
        tally.elapsed_s = time.monotonic() - started
        if progress is not None:
            progress(tally)
        return ended.is_set() or (stop and bool(tally.failures))

    if jobs <= 1:
        for job in limited():
            if take(work(job)):
                break
    else:
        with multiprocessing.get_context("fork").Pool(jobs, _as_a_worker) as pool:
            for part in pool.imap(work, limited()):
                if take(part):
                    pool.terminate()
                    break
    tally.elapsed_s = time.monotonic() - started
    return tally
