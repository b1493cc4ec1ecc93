"""What the virtual stage keeps of one process: its machine, mailbox, timers, view of the directory; and how it may die."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

from attrs import define, field, frozen

from simulation.store import MemoryStore
from trading.machine import Incarnation, Instant, Machine, Send


class State(Enum):
    LOCKED = "locked"  # started, but the old process of its role still holds the role lock
    PARKED = "parked"  # its store's probe fails: answers pings and Drain, runs no machine (protocol section 8)
    RUNNING = "running"
    DEAD = "dead"


@frozen
class Crash:
    """Where a handle dies: before its commit, or after it with `delivered` Sends let out per receiver.

    delivered: receiver -> how many of the Sends to it left (missing: none); an int counts in list order over all.
    """

    committed: bool
    delivered: int | Mapping[str, int] = 0

    def lets_out(self, sends: Sequence[Send]) -> list[Send]:
        if isinstance(self.delivered, int):
            return list(sends[: self.delivered])
        left = dict(self.delivered)
        out = []
        for send in sends:
            if left.get(send.role, 0) > 0:
                left[send.role] -= 1
                out.append(send)
        return out


BEFORE_COMMIT = Crash(committed=False)


@frozen(kw_only=True)
class RestartPolicy:
    """The stage's small supervisor: the first restart at once, then `backoff_s` doubling to `backoff_s_max`.

    calm_s of life forgets earlier deaths. start_s: from fork to Ready. hang_s: a stopped process is killed after it
    (None: never). directory_s: until peers hear of a new incarnation. probe_s: how often a parked process tries its store.
    """

    backoff_s: float = 0.1
    backoff_s_max: float = 1.0
    calm_s: float = 60.0
    start_s: float = 0.02
    hang_s: float | None = 3.0
    directory_s: float = 0.005
    probe_s: float = 1.0

    def delay_s(self, deaths: int) -> float:
        """Pause before the restart that follows the `deaths`-th death in a row."""
        return 0.0 if deaths <= 1 else min(self.backoff_s_max, self.backoff_s * float(2 ** (deaths - 2)))


class Shell(Protocol):
    """Carries out what a machine sends to `io`, and answers through `process.stage.answer(process, message, at)`.

    What it has set in motion outside (`stage.at`) goes on when the process dies; answers to a dead process are lost.
    """

    def carry_out(self, process: Process, request: object, now: Instant) -> None: ...


@define(eq=False)
class Spec:
    """How to make a role's process, again and again."""

    role: str
    factory: Callable[[Incarnation], Any]
    parent: str | None
    shell: Shell | None
    bell: bool
    restart: bool
    store: MemoryStore
    deaths: int = 0
    starting: bool = False


@define(eq=False)
class Process:
    """One life of a role."""

    role: str
    incarnation: Incarnation
    machine: Machine
    store: MemoryStore
    shell: Shell | None
    bell: bool
    stage: Any
    state: State = State.LOCKED
    stopped: bool = False
    blocked: bool = False
    started_boot_s: float = 0.0
    view: dict[str, Process] = field(factory=dict, repr=False)
    mailbox: deque[object] = field(factory=deque, repr=False)
    timers: dict[str, tuple[int, float]] = field(factory=dict, repr=False)
    generation: int = 0
    arrivals: dict[str, float] = field(factory=dict, repr=False)
    products: tuple[str, ...] = ()
    dirty: dict[str, None] = field(factory=dict, repr=False)
    bars: deque[Any] = field(factory=deque, repr=False)
    on_quote: Callable[[Any, Instant], Any] = field(default=None, repr=False)
    on_bar: Callable[[Any, Instant], Any] = field(default=None, repr=False)
    reason: str = ""

    @property
    def alive(self) -> bool:
        return self.state is not State.DEAD

    @property
    def works(self) -> bool:
        """Runs its machine now (not parked, locked, stopped or dead)."""
        return self.state is State.RUNNING and not self.stopped and not self.blocked

    def __str__(self) -> str:
        return f"{self.role}#{self.incarnation[0]}.{self.incarnation[1]}"
