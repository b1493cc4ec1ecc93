"""The conductor's shell: main's side of the tree, of the files in `run/`, of listing, sweep and alerts.

Used from main's thread alone. What a request answers is handed to the machine after the handle that asked for it.
"""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress

from attrs import evolve
from loguru import logger

from actors.administering import administer
from actors.clock import Clock
from actors.host import MachineHost
from actors.near import NearTree
from actors.notes import People
from actors.plan import RunPlan
from actors.record import RunRecord, count, tree_lines
from actors.requests import Requests
from actors.views import View
from actors.words import StoreParked, tree_state
from exchange.coinbase import fences
from supervision import SupervisorError, Tree
from trading.conductor import DRAINERS, ConductorMachine, ConductorSettings
from trading.machine import Incarnation, Instant, Note
from trading.messages.control import CommandDone, Drained, FenceSeen, Leave, Noted, RootEnded, StopAsked, TreeState
from trading.operator import ReloadRequested, RestartRequested, StopRequested


class Conducting:
    """`tree` None: not started yet, or stopped. `leave`: what the conductor ended with; main's loop then ends."""

    def __init__(self, plan: RunPlan, view: View) -> None:
        self.plan, self.view = plan, view
        self.tree: Tree | None = None
        self._near: NearTree | None = None
        self.leave: Leave | None = None
        self.counts: Counter[str] = Counter()
        self.left_pids: tuple[int, ...] = ()
        self._inbox: deque[object] = deque()
        self._parked: dict[str, Incarnation] = {}
        self._lives: dict[str, Incarnation] = {}
        self._told_root = False
        settings = plan.section("conductor", ConductorSettings)
        settings = evolve(settings, flatten_on_exit=settings.flatten_on_exit or plan.flatten_on_exit)
        machine = ConductorMachine(settings=settings, me=(plan.run_number, 0))
        self.record = RunRecord(plan.data_dir / "runs.sqlite", machine.tables, begin_anew=plan.adopt_from_venue)
        self.clock = Clock(plan.run_folder)
        self._people = People(plan, "main", self._tell)
        self.requests = Requests(self)
        self._host = MachineHost(machine, self.record, self.clock, send=self._send, note=self._note)
        self._host.recover()

    def give(self, message: object) -> None:
        self._inbox.append(message)

    def attach(self, tree: Tree) -> None:
        self.tree, self._near = tree, NearTree(tree)
        self._near.picture()

    def stop(self, reason: str) -> None:
        self.view.event("stopping", f"stopping in order: {reason}")
        self.give(StopAsked(reason=reason))

    def step(self) -> None:
        if self.tree is not None:
            for sender, body in self.tree.messages():
                self._hear(sender, body)
        self._inbox.extend(self.requests.answers())
        while self._inbox:
            self._host.handle(self._inbox.popleft())
        self._host.wake_due()

    def look(self, *, show: bool) -> None:
        """Each second: the tree, and the guardian's fence. show: print the tree too (SIGUSR1)."""
        fence = fences.read_fences(self.plan.run_folder).guardian_run
        if fence:
            self.give(FenceSeen(fence="guardian", run_number=fence))
        if self.tree is None or self._near is None:
            return
        if not self.tree.alive():
            self._root_gone(self.tree)
            return
        if (snapshot := self._near.picture()) is None:
            return  # the picture grows old, and the beat says so
        state = tree_state(snapshot, parked=frozenset(self._parked))
        self._compare(state)
        self.give(state)
        self.view.tick(state.children)
        for line in tree_lines(snapshot) if show else ():
            self.view.event("tree", line)

    def _root_gone(self, tree: Tree) -> None:
        if self._told_root:
            return
        self._told_root = True
        with suppress(SupervisorError, TimeoutError):
            tree.snapshot(0.1)  # it refuses, and learns root's last words from that
        reason = tree.reason or "root ended without a word"
        gave_up = "intensity" in reason
        self.view.event("root", f"root has ended: {reason.splitlines()[-1]}")
        self.give(RootEnded(reason=reason.splitlines()[-1], gave_up=gave_up))

    def _compare(self, state: TreeState) -> None:
        for child in state.children:
            if child.incarnation is None or child.state != "running":
                continue
            if self._parked.get(child.role, child.incarnation) < child.incarnation:
                del self._parked[child.role]  # a new life says for itself whether it is parked
            before = self._lives.get(child.role)
            self._lives[child.role] = child.incarnation
            if before is not None and before < child.incarnation and child.role in DRAINERS:
                self._host.peer_restarted(child.role, child.incarnation)

    def _hear(self, sender: str, body: object) -> None:
        match body:
            case StoreParked():
                if body.parked:
                    self._parked[body.role] = body.incarnation
                else:
                    self._parked.pop(body.role, None)
            case StopRequested():
                self.stop(f"ctl stop by {body.name}")
            case RestartRequested() | ReloadRequested():
                if self.tree is not None:
                    self._tell("operator", administer(self.tree, body))
            case Noted():
                count(self.counts, body)
            case Drained() | CommandDone():
                self.give(body)
            case _:
                logger.warning(f"{type(body).__name__} of {sender} is of no use here")

    def _tell(self, role: str, message: object) -> bool:
        return self.tree is not None and self._near is not None and self._near.tell(role, message)

    def _send(self, role: str, message: object) -> None:
        if role != "io":
            self._tell(role, message)
        elif isinstance(message, Leave):
            self.leave = message
        else:
            self.requests.carry_out(message)

    def _note(self, note: Note, now: Instant) -> None:
        self._people.note(note, now)
        if text := note.values.get("text"):
            self.view.event(note.kind, str(text), dict(note.values))
