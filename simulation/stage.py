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

from collections.abc import Callable
from typing import Any

from simulation.carrier import Carrier
from simulation.keeper import Keeper
from simulation.process import Process, RestartPolicy, Shell, Spec, State
from simulation.store import MemoryStore
from supervision.spec import SupervisorSpec
from trading.machine import Incarnation, Machine, PeerRestarted
from trading.messages.control import ChildState, Condition, TreeState
from trading.messages.market import Bar


class VirtualStage(Carrier):
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
        super().__init__(
            seed=seed,
            venue_s=venue_s,
            boot_s=boot_s,
            speed=speed,
            latency_s=latency_s,
            trace=trace,
            bars_kept=bars_kept,
        )
        self.run_number = run_number
        self.policy = policy or RestartPolicy()
        self.restarting = True
        self.role_lock = True
        self.specs: dict[str, Spec] = {}
        self.lingering: list[Process] = []
        self.keepers: dict[str, Keeper] = {}
        self._seed = seed
        self._counter = 0

    # -- processes ----------------------------------------------------------------------------------------------

    def add(
        self,
        role: str,
        factory: Callable[[Incarnation], Any],
        *,
        parent: str | None = None,
        shell: Shell | None = None,
        bell: bool = True,
        restart: bool = True,
        store: MemoryStore | None = None,
        start: bool = True,
    ) -> None:
        """Declare a role and start it (now, in order of `add`). bell: its machine is called when a slot changes; without,
        changed slots wait for the next handle. restart: bring it back when it dies.
        """
        if role in self.specs:
            raise ValueError(f"role {role!r} stands on this stage already")
        if parent is not None and parent not in self.specs:
            raise ValueError(f"parent {parent!r} of {role!r} is not on this stage; add it first")
        self.specs[role] = Spec(role, factory, parent, shell, bell, restart, store or MemoryStore(role))
        if start:
            self.start(role)

    def keep(self, role: str, spec: SupervisorSpec) -> None:
        """`role` is a supervisor: its children (roles added with start=False and parent=role) live by its core's word."""
        self.keepers[role] = Keeper(self, role, spec, self._seed)

    def fork(self, role: str) -> None:
        """A supervisor's core starts a child."""
        old = self.processes.get(role)
        if old is None or not old.alive:
            self._fork(self.specs[role])

    def tell_ready(self, process: Process) -> None:
        """Its supervisor hears that it is ready (or parked, which lets an ordered start go on)."""
        parent = self.specs[process.role].parent
        keeper = self.keepers.get(parent) if parent else None
        if keeper is not None:
            keeper.ready(process.role)

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
                self.tell_ready(process)
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
        rows = process.store.live_rows()
        if self._guard(process, lambda _, now: process.machine.recover(rows, now), "recover", now):
            if not parked:
                self._publish(process)
            for kept in self.bars.values():
                process.bars.extend(_history(bar) for bar in kept if bar.product_id in process.products)
            for product_id in process.products:
                if product_id in self.slots:
                    process.dirty[product_id] = None
            self._drain_mailbox(process)  # mail that came between fork and Ready
            keeper = self.keepers.get(process.role)
            if keeper is not None:
                keeper.begin(process)
                return
            self.tell_ready(process)
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
                if peer.state is State.RUNNING:  # also at first sight, as live: what was sent before found nobody
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
                for old in self.lingering:
                    if old.role == child.role:
                        self.end(old, f"died with {process.role}")
        if self.lingering:
            self.lingering = [old for old in self.lingering if old.alive]
        spec.deaths += 1
        keeper = self.keepers.get(spec.parent) if spec.parent else None
        if keeper is not None:
            if spec.restart and self.restarting and self.processes.get(process.role) is process:
                keeper.exited(process)
            return
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


def _history(bar: Bar) -> Bar:
    return Bar(
        bar.product_id, bar.bar_s, bar.start_s, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.number, True
    )
