"""The actor around a machine: mail in, effects out, and what the store's state demands of the process (protocol section 8).

A shell is a subclass: `make_machine`, and what its machine asks of `io`. While the store takes no writes the machine is not
started: the actor is ready all the same, answers pings and Drain, says so each second. A later failed commit ends the process.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

from loguru import logger

from actors.clock import Clock, boot_s
from actors.held import Held
from actors.host import MachineHost
from actors.market import MarketReader
from actors.notes import PEOPLE, People
from actors.parking import Parking
from actors.plan import RunPlan
from actors.ports import NoStore, StorePort, Thinker
from actors.told import told
from actors.words import tree_state
from state.store import Store, StoreError
from supervision.actor import SupervisedActor
from supervision.messages import TreeSnapshot
from telemetry import log
from trading.machine import Incarnation, Instant, Note
from trading.messages.control import Drain, Drained

_MACHINE, _PROBE, PROBE_S = "machine's timers", "probe the store", 1.0


class MachineActor(SupervisedActor):
    """Class attributes say what the role needs. store_file: None for machines that save nothing."""

    store_file: ClassVar[str | None] = None
    synchronous: ClassVar[str] = "FULL"
    wants_quotes: ClassVar[bool] = False
    wants_bars: ClassVar[bool] = False
    bell: ClassVar[bool] = False
    host: MachineHost | None = None
    plan: RunPlan

    def make_machine(self) -> Thinker:
        raise NotImplementedError

    def make_store(self, machine: Thinker) -> StorePort:
        if self.store_file is None:
            return NoStore()
        path, anew = self.plan.data_dir / self.store_file, self.plan.adopt_from_venue
        return Store(path, machine.tables, synchronous=self.synchronous, begin_anew=anew)

    def started(self) -> None:
        """After `recover`: threads, watches. Not called while the store is parked."""

    def io(self, request: object) -> None:
        """Carry out what the machine sent to `io`; answers go to `self.give(answer)`."""
        raise TypeError(f"{self.child_id} has no shell for {request!r}")

    def route(self, role: str, message: object) -> None:
        """Where a Send goes; shells with ports of their own override it."""
        if role == "io":
            self.io(message)
            return
        if role in PEOPLE:
            self.people.told(role, message)
        if not self.tell(role, message):
            self._held.put(role, message, boot_s())

    def init(self, args: RunPlan) -> None:
        self.plan = args
        self._held = Held()
        log.set_up(args.data_dir / "logs", self.child_id)
        self.clock = Clock(args.run_folder)
        self.people = People(args, self.child_id, self.tell)
        self._parking = Parking(self.child_id, self.incarnation, self.route)
        self._start()

    def _start(self) -> None:
        machine = told(self.make_machine(), self.plan, self.incarnation)
        try:
            store = self.make_store(machine)
            store.probe()
            market = None
            if self.wants_quotes or self.wants_bars or self.bell:
                market = MarketReader(self.plan.run_folder, self.child_id, wants_bars=self.wants_bars, bell=self.bell)
        except (StoreError, OSError) as error:
            self._parking.say(self.clock.now(), str(error))
            self.wake_in(_PROBE, PROBE_S)
            return
        if market is not None and market.bell is not None:
            self.watch(market.bell, lambda: self._rung(market))
        self.host = MachineHost(machine, store, self.clock, send=self.route, note=self.note, market=market)
        self.host.recover()
        self.started()
        self._arm_wakes()

    def give(self, message: object) -> None:
        """A message to the machine, whoever it is from; lost while parked."""
        if self.host is not None:
            self.host.handle(message)
            self._arm_wakes()
        elif isinstance(message, Drain):
            self.tell("main", Drained(run_number=message.run_number, role=self.child_id, clean=False))

    def receive_from(self, sender_id: str, sender_incarnation: Incarnation, body: Any) -> None:  # noqa: ARG002
        self.give(self.in_words(body))

    def in_words(self, body: Any) -> Any:
        """Supervision's words in those of `trading/messages`."""
        return tree_state(body) if isinstance(body, TreeSnapshot) else body

    def peer_restarted(self, child_id: str, incarnation: Incarnation) -> None:
        self.people.again(child_id)
        for message in self._held.take(child_id, boot_s()):
            self.tell(child_id, message)
        if self.host is not None:
            self.host.peer_restarted(child_id, incarnation)
            self._arm_wakes()

    def woke(self, key: Hashable) -> None:
        if key == _MACHINE and self.host is not None:
            self.host.wake_due()
            self._arm_wakes()
        elif key == _PROBE:
            self._start()
            if self.host is not None:
                self._parking.over()

    def _rung(self, market: MarketReader) -> None:
        market.rung()
        if self.host is not None:
            self.host.look_at_market()
            self._arm_wakes()

    def _arm_wakes(self) -> None:
        if self.host is not None and (due := self.host.next_wake_boot_s()) is not None:
            self.wake_in(_MACHINE, max(0.0, due - self.clock.now().boot_s))

    def terminate(self, reason: str) -> None:  # noqa: ARG002
        if self.host is not None:
            self.host.store.close()  # folds the write-ahead log into the file that people copy

    def note(self, note: Note, now: Instant) -> None:
        self.people.note(note, now)

    def log_failure(self, text: str) -> None:
        logger.bind(incarnation=self.incarnation).error(text)
        log.finish()
