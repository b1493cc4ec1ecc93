"""The virtual stage: the same machines as live, in one thread, in simulated time, with deaths at every instant.

A heap of (boot time, arrival, ...) holds all mail, timers and outside events. Machines live in *processes*: a death
loses mailbox and timers and takes children along; the store, and I/O in flight, outlive it. A replacement is not ready
before the old process of its role is dead. Mail is addressed to the incarnation that the sender's copy of the
directory names, so mail to a dead one is lost, and a receiver drops mail of an incarnation older than it knows.

Determinism: one seeded `random`, no wall clock, no set is iterated. Market data takes no heap entry: `put_quote` and
`put_bar` call the subscribed machines at once.

    stage = VirtualStage(seed=7)
    stage.add("oms", lambda me: OmsMachine(settings=..., me=me))
    stage.run_for(10.0)
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from simulation.process import Crash, Process, RestartPolicy, Shell, Spec, State
from simulation.store import FactConflictError, MemoryStore
from simulation.trace import effect_text, text_of
from trading.machine import Effect, Effects, Incarnation, Instant, Machine, Note, PeerRestarted, Save, Send, Wake, Woke
from trading.messages.control import ChildState, Condition, Drain, Drained, TreeState
from trading.messages.market import Bar, Quote

CALL, MAIL, WOKE = 0, 1, 2

Call = Callable[[], None]
Boundary = Callable[[Process, object, tuple[Effect, ...]], Crash | None]
MailFate = Callable[[Process, str, object], tuple[float, ...]]


class Observer(Protocol):
    """Hears what happened, after it happened; checkers and reports are observers."""

    def committed(self, process: Process, message: object, saves: list[Save], now: Instant) -> None: ...
    def sent(self, process: Process, role: str, message: object, now: Instant) -> None: ...
    def noted(self, process: Process, note: Note, now: Instant) -> None: ...
    def life(self, process: Process, what: str, now: Instant) -> None: ...


class VirtualStage:
    """Hosts machines. All times are boot seconds unless the name says venue.

    boundary: asked at each handle with its effects; a `Crash` ends the process there. mail_fate: delays of each copy
    of one Send ((): lost; two: duplicated). failed: a machine raised; without it the error propagates.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        run_number: int = 1,
        venue_s: float = 1_760_000_000.0,
        boot_s: float = 1000.0,
        speed: float = 1.0,
        latency_s: float = 0.0005,
        policy: RestartPolicy | None = None,
        trace: bool = False,
        bars_kept: int = 0,
    ) -> None:
        self.random = random.Random(seed)
        self.run_number = run_number
        self.latency_s = latency_s
        self.policy = policy or RestartPolicy()
        self.speed = speed
        self.boot_s = boot_s
        self.trusted = True
        self.distrusted: dict[str, bool] = {}
        self.restarting = True
        self.trace: list[str] | None = [] if trace else None
        self.counts: Counter[str] = Counter()
        self.deliveries = 0
        self.observers: list[Observer] = []
        self.boundary: Boundary | None = None
        self.mail_fate: MailFate | None = None
        self.failed: Callable[[Process, object, Exception], None] | None = None
        self.specs: dict[str, Spec] = {}
        self.processes: dict[str, Process] = {}
        self.lingering: list[Process] = []
        self.slots: dict[str, Quote] = {}
        self.bars: dict[str, deque[Bar]] = {}
        self.role_lock = True
        self._bars_kept = bars_kept
        self._readers: dict[str, list[Process]] = {}
        self._venue_0_s = venue_s - boot_s * speed
        self._heap: list[tuple[float, int, int, Process | None, object, object]] = []
        self._arrival = 0
        self._counter = 0
        self._now: Instant | None = None

    # -- time ---------------------------------------------------------------------------------------------------

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

    # -- processes ----------------------------------------------------------------------------------------------

    def add(
        self,
        role: str,
        factory: Callable[[Incarnation], Machine],
        *,
        parent: str | None = None,
        shell: Shell | None = None,
        bell: bool = True,
        restart: bool = True,
        start: bool = True,
    ) -> None:
        """Declare a role and start it (now, in order of `add`). bell: its machine is called when a slot changes; without,
        changed slots wait for the next handle. restart: bring it back when it dies.
        """
        if role in self.specs:
            raise ValueError(f"role {role!r} stands on this stage already")
        if parent is not None and parent not in self.specs:
            raise ValueError(f"parent {parent!r} of {role!r} is not on this stage; add it first")
        self.specs[role] = Spec(role, factory, parent, shell, bell, restart, MemoryStore(role))
        if start:
            self.start(role)

    def remove(self, role: str) -> None:
        """End a role for good (a symbol that the universe dropped); its store is kept."""
        spec = self.specs[role]
        spec.restart = False
        self.kill(role, reason="removed")

    def store(self, role: str) -> MemoryStore:
        return self.specs[role].store

    def machine(self, role: str) -> Machine | None:
        """The machine that runs now, for oracles and tests."""
        process = self.processes.get(role)
        return process.machine if process is not None and process.state is State.RUNNING else None

    def start(self, role: str) -> None:
        """Start a role that has no living process (or replace one that is stopped: see `replace`)."""
        spec = self.specs[role]
        spec.starting = False
        parent = self.processes.get(spec.parent) if spec.parent else None
        if spec.parent and (parent is None or parent.state is not State.RUNNING):
            return  # the parent starts its children when it is up
        old = self.processes.get(role)
        if old is not None and old.alive:
            return
        self._fork(spec)

    def replace(self, role: str) -> None:
        """Start another process of a role whose old one may still live (stopped): it waits for the role lock."""
        old = self.processes.get(role)
        if old is not None and old.alive:
            self.lingering.append(old)
        self._fork(self.specs[role])

    def _fork(self, spec: Spec) -> None:
        counter = max(self._counter + 1, int(self.boot_s * 1e9))
        self._counter = counter
        me = (self.run_number, counter)
        machine = spec.factory(me)
        process = Process(spec.role, me, machine, spec.store, spec.shell, spec.bell, self)
        process.started_boot_s = self.boot_s
        process.on_quote, process.on_bar = machine.on_quote, machine.on_bar
        spec.store.open(machine.tables)
        self.processes[spec.role] = process
        self._life(process, "start")
        self.after(self.policy.start_s, lambda: self._try_ready(process))

    def _try_ready(self, process: Process) -> None:
        if process.state not in (State.LOCKED, State.PARKED):
            return
        if self.role_lock and any(old.role == process.role and old.alive for old in self.lingering):
            self.after(0.05, lambda: self._try_ready(process))
            return
        if process.stopped:
            self.after(0.05, lambda: self._try_ready(process))
            return
        try:
            process.store.probe()
        except OSError as error:
            if process.state is State.LOCKED:
                process.state = State.PARKED
                self._life(process, "parked")
                self._publish(process)
            self._condition(process, True, f"the store of {process.role} does not take writes: {error}")
            self.after(self.policy.probe_s, lambda: self._try_ready(process))
            return
        parked = process.state is State.PARKED
        process.state = State.RUNNING
        process.view = {
            role: peer for role, peer in self.processes.items() if peer.state in (State.RUNNING, State.PARKED)
        }
        if parked:
            self._condition(process, False, f"the store of {process.role} takes writes again")
        now = self.now_of(process)
        self._life(process, "ready")
        if self._guard(process, "recover", lambda: process.machine.recover(process.store.live_rows(), now), now):
            if not parked:
                self._publish(process)
            for kept in self.bars.values():
                process.bars.extend(_history(bar) for bar in kept if bar.product_id in process.products)
            for product_id in process.products:
                if product_id in self.slots:
                    process.dirty[product_id] = None
            self._drain_mailbox(process)  # mail that came between fork and Ready
            for spec in self.specs.values():
                if spec.parent == process.role:
                    self.start(spec.role)

    def _condition(self, process: Process, active: bool, text: str) -> None:
        condition = Condition(fingerprint=f"store:{process.role}", level="critical", active=active, text=text)
        process.view = dict(self.processes)
        self._send(process, "alerts", condition)

    def _publish(self, process: Process) -> None:
        """The directory names the new incarnation: every peer hears of it a little later."""

        def heard() -> None:
            if not process.alive:
                return
            for peer in list(self.processes.values()):
                if peer is process or not peer.alive:
                    continue
                known = peer.view.get(process.role)
                if known is process or (known is not None and known.incarnation > process.incarnation):
                    continue
                peer.view[process.role] = process
                if known is not None and peer.state is State.RUNNING:
                    self._arrive(peer, PeerRestarted(process.role, process.incarnation), None)

        process.view[process.role] = process
        self.after(self.policy.directory_s, heard)

    def kill(self, role: str, *, reason: str = "kill -9") -> None:
        """SIGKILL the current process of `role` and what it forked; nothing it had in memory survives."""
        process = self.processes.get(role)
        if process is not None:
            self.end(process, reason)

    def end(self, process: Process, reason: str) -> None:
        if not process.alive:
            return
        if process.state is State.RUNNING and self.boot_s - process.started_boot_s > self.policy.calm_s:
            self.specs[process.role].deaths = 0
        process.state = State.DEAD
        process.reason = reason
        process.mailbox.clear()
        process.timers.clear()
        self._unsubscribe(process)
        self._life(process, f"dead ({reason})")
        spec = self.specs[process.role]
        for child in self.specs.values():
            if child.parent == process.role:
                self.kill(child.role, reason=f"died with {process.role}")
        if self.lingering:
            self.lingering = [old for old in self.lingering if old.alive]
        spec.deaths += 1
        if spec.restart and self.restarting and not spec.starting and self.processes.get(process.role) is process:
            spec.starting = True
            self.after(self.policy.delay_s(spec.deaths), lambda: self._restart(spec))

    def _restart(self, spec: Spec) -> None:
        spec.starting = False
        if self.restarting and spec.restart:
            self.start(spec.role)

    def stop(self, role: str) -> None:
        """SIGSTOP: takes mail, does nothing. A supervisor kills it after `policy.hang_s`."""
        process = self.processes.get(role)
        if process is None or not process.alive or process.stopped:
            return
        process.stopped = True
        self._life(process, "stopped")
        if self.policy.hang_s is not None:
            self.after(self.policy.hang_s, lambda: self._hung(process))

    def _hung(self, process: Process) -> None:
        if process.alive and process.stopped:
            self.end(process, "hung: no answer to pings")

    def cont(self, role: str) -> None:
        """SIGCONT the newest process of `role`."""
        process = self.processes.get(role)
        if process is not None:
            self.resume(process)

    def resume(self, process: Process) -> None:
        """SIGCONT: what waited is handled now, in order."""
        if not process.alive or not process.stopped:
            return
        process.stopped = False
        self._life(process, "continued")
        self._drain_mailbox(process)

    def tree_state(self) -> TreeState:
        """What root would report now, for the conductor and the health monitor."""
        children = []
        for spec in self.specs.values():
            process = self.processes.get(spec.role)
            state = "down" if process is None or not process.alive else process.state.value
            if process is not None and process.alive and process.stopped:
                state = "hung"
            children.append(
                ChildState(
                    role=spec.role, supervisor=spec.parent or "root", state="ready" if state == "running" else state, pid=None,
                    incarnation=process.incarnation if process else None, restarts=spec.deaths, mailbox_age_s=0.0,
                    rss_bytes=None, uptime_s=self.boot_s - process.started_boot_s if process else None,
                )
            )  # fmt: skip
        return TreeState(children=tuple(children), taken_boot_s=self.boot_s, root_alive=True)

    # -- mail, timers, market -----------------------------------------------------------------------------------

    def post(self, role: str, message: object, delay_s: float = 0.0) -> None:
        """Mail from outside (operator, test) to whatever process the role has when it arrives."""

        def arrive() -> None:
            process = self.processes.get(role)
            if process is None or not process.alive:
                self.counts["mail to nobody"] += 1
            else:
                self._arrive(process, message, None)

        self.after(delay_s, arrive)

    def _arrive(self, process: Process, message: object, sender: object) -> None:
        if not process.alive:
            self.counts["mail to the dead"] += 1
            return
        if process.state is State.PARKED and not process.stopped:
            self.counts["mail to the parked"] += 1
            if isinstance(message, Drain):
                self._send(process, "main", Drained(run_number=message.run_number, role=process.role, clean=False))
            return
        if process.stopped or process.state is not State.RUNNING:
            process.mailbox.append(message)
            return
        if isinstance(sender, Process):
            known = process.view.get(sender.role)
            if known is not None and known.incarnation > sender.incarnation:
                self.counts["mail of an old incarnation"] += 1
                return
        if process.dirty or process.bars:
            self._market(process)
            if not process.alive:
                self.counts["mail to the dead"] += 1
                return
        self.deliveries += 1
        now = self.now_of(process) if self.distrusted else self.now
        self._guard(process, message, lambda: process.machine.handle(message, now), now)

    def _ring(self, process: Process, key: str, generation: int) -> None:
        if _stale(process, key, generation):
            return
        if process.stopped:
            process.mailbox.append(Woke(key, generation))
            return
        if process.dirty or process.bars:
            self._market(process)
            if _stale(process, key, generation):  # what the quote did may have set the timer anew
                return
        del process.timers[key]
        self.deliveries += 1
        now = self.now_of(process) if self.distrusted else self.now
        woke = Woke(key, generation)
        self._guard(process, woke, lambda: process.machine.handle(woke, now), now)

    def _drain_mailbox(self, process: Process) -> None:
        while process.mailbox and process.works:
            message = process.mailbox.popleft()
            if isinstance(message, Woke):
                self._ring(process, message.key, message.generation)
            else:
                self._arrive(process, message, None)
        if process.works and process.bell:
            self._market(process)

    def put_quote(self, quote: Quote) -> None:
        """The feed wrote a slot: machines with a bell hear it now, the others before their next handle."""
        self.slots[quote.product_id] = quote
        readers = self._readers.get(quote.product_id)
        if not readers:
            return
        now = self.now
        for process in tuple(readers):
            if process.bell and not process.stopped and not process.dirty and not self.distrusted:
                try:
                    effects = process.on_quote(quote, now)
                except Exception as error:
                    self._raised(process, quote, error)
                    continue
                if effects:
                    self._carry_out(process, quote, effects, now)
            else:
                process.dirty[quote.product_id] = None
                if process.bell and not process.stopped:
                    self._market(process)

    def put_bar(self, bar: Bar) -> None:
        """A closed bar, numbered by the feed; a stopped process gets it when it goes on."""
        if self._bars_kept:
            kept = self.bars.get(bar.product_id)
            if kept is None:
                kept = self.bars[bar.product_id] = deque(maxlen=self._bars_kept)
            kept.append(bar)
        readers = self._readers.get(bar.product_id)
        if not readers:
            return
        now = self.now
        for process in tuple(readers):
            if process.stopped or process.bars or self.distrusted:
                process.bars.append(bar)
                if not process.stopped:
                    self._market(process)
                continue
            try:
                effects = process.on_bar(bar, now)
            except Exception as error:
                self._raised(process, bar, error)
                continue
            if effects:
                self._carry_out(process, bar, effects, now)

    def _market(self, process: Process) -> None:
        """Bars that waited, in order; then each declared slot that changed, in product order."""
        now = self.now_of(process)
        while process.bars and process.works:
            bar = process.bars.popleft()
            self._guard(process, bar, lambda bar=bar: process.machine.on_bar(bar, now), now)  # type: ignore[misc]
        for product_id in sorted(process.dirty):
            if not process.works:
                return
            process.dirty.pop(product_id, None)
            quote = self.slots[product_id]
            self._guard(process, quote, lambda quote=quote: process.machine.on_quote(quote, now), now)  # type: ignore[misc]

    def _subscribe(self, process: Process) -> None:
        wanted = process.machine.products()
        if wanted is process.products or wanted == process.products:
            return
        self._unsubscribe(process)
        fresh = [product_id for product_id in wanted if product_id not in process.products]
        process.products = tuple(wanted)
        for product_id in process.products:
            self._readers.setdefault(product_id, []).append(process)
        for product_id in fresh:
            if product_id in self.slots:
                process.dirty[product_id] = None

    def _unsubscribe(self, process: Process) -> None:
        for product_id in process.products:
            readers = self._readers.get(product_id, [])
            if process in readers:
                readers.remove(process)

    # -- effects ------------------------------------------------------------------------------------------------

    def _guard(self, process: Process, message: object, call: Callable[[], Effects], now: Instant) -> bool:
        """Run one call of a machine and carry out its effects; False when the process died of it."""
        try:
            effects = call()
        except Exception as error:
            self._raised(process, message, error)
            return False
        self._carry_out(process, message, effects, now)
        return process.alive

    def _raised(self, process: Process, message: object, error: Exception) -> None:
        if self.failed is None:
            raise error
        self.failed(process, message, error)
        self.end(process, f"raised {error!r}")

    def _carry_out(self, process: Process, message: object, effects: Effects, now: Instant) -> None:
        done = effects if isinstance(effects, tuple) else tuple(effects)
        if self.trace is not None:
            self._write(process, message, done)
        crash = self.boundary(process, message, done) if self.boundary is not None else None
        if crash is not None and not crash.committed:
            self.end(process, "crashed before the commit")
            return
        if done:
            saves: list[Save] = []
            sends: list[Send] = []
            wakes: list[Wake] = []
            for effect in done:
                kind = type(effect)
                if kind is Save:
                    saves.append(effect)  # type: ignore[arg-type]
                elif kind is Send:
                    sends.append(effect)  # type: ignore[arg-type]
                elif kind is Wake:
                    wakes.append(effect)  # type: ignore[arg-type]
                elif kind is Note:
                    for observer in self.observers:
                        observer.noted(process, effect, now)  # type: ignore[arg-type]
                else:
                    raise TypeError(f"{process.role} returned {effect!r}, which is none of Save, Send, Wake, Note")
            if saves:
                try:
                    process.store.commit(saves)
                except (OSError, FactConflictError) as error:
                    if isinstance(error, FactConflictError) and self.failed is not None:
                        self.failed(process, message, error)
                    elif isinstance(error, FactConflictError):
                        raise
                    self.end(process, f"commit failed: {error}")
                    return
                for observer in self.observers:
                    observer.committed(process, message, saves, now)
            if crash is not None:
                sends = crash.lets_out(sends)
            for send in sends:
                self._send(process, send.role, send.message)
            if crash is None:
                for wake in wakes:
                    self._wake(process, wake)
        if crash is not None:
            self.end(process, "crashed after the commit")
            return
        if process.state is State.RUNNING:
            self._subscribe(process)

    def _send(self, process: Process, role: str, message: object) -> None:
        now = self.now
        for observer in self.observers:
            observer.sent(process, role, message, now)
        if role == "io":
            if process.shell is None:
                self.counts["io without a shell"] += 1
            else:
                process.shell.carry_out(process, message, now)
            return
        if role == "slots":
            self.put_quote(message)  # type: ignore[arg-type]
            return
        if role == "bars":
            self.put_bar(message)  # type: ignore[arg-type]
            return
        receiver = process.view.get(role)
        if receiver is None:
            self.counts["unknown role"] += 1
            return
        for delay_s in (self.latency_s,) if self.mail_fate is None else self.mail_fate(process, role, message):
            at = max(self.boot_s + delay_s, process.arrivals.get(role, 0.0))
            process.arrivals[role] = at
            self._push(at, MAIL, receiver, message, process)

    def _wake(self, process: Process, wake: Wake) -> None:
        if wake.at_boot_s is None:
            process.timers.pop(wake.key, None)
            return
        process.generation += 1
        process.timers[wake.key] = (process.generation, wake.at_boot_s)
        self._push(wake.at_boot_s, WOKE, process, wake.key, process.generation)

    # -- trace --------------------------------------------------------------------------------------------------

    def _write(self, process: Process, message: object, effects: tuple[Effect, ...]) -> None:
        assert self.trace is not None
        head = f"{self.boot_s:.6f} {process.role}"
        self.trace.append(f"{head} <- {text_of(message)}")
        self.trace.extend(f"{head}    {effect_text(effect)}" for effect in effects)

    def _life(self, process: Process, what: str) -> None:
        self.counts[what.split(" ", maxsplit=1)[0]] += 1
        if self.trace is not None:
            self.trace.append(f"{self.boot_s:.6f} {process.role} == {what}")
        for observer in self.observers:
            observer.life(process, what, self.now)


def _stale(process: Process, key: str, generation: int) -> bool:
    timer = process.timers.get(key)
    return timer is None or timer[0] != generation or not process.alive


def _history(bar: Bar) -> Bar:
    return Bar(
        bar.product_id, bar.bar_s, bar.start_s, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.number, True
    )
