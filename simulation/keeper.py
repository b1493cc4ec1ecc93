"""The supervisors' own thinking on the virtual stage: `supervision.core` decides, the stage forks and kills.

    stage.keep("trading", SupervisorSpec(...))     before the role is started; its children's roles are added with start=False

A supervisor is ready for its own parent when all its children are up, as live. A death reaches it after `NOTICED_S`.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import TYPE_CHECKING

from simulation.process import Process, State
from supervision.core import Core
from supervision.records import Action, AskStop, Began, Exit, Finish, Kill, Start, Wake
from supervision.spec import SupervisorSpec

if TYPE_CHECKING:
    from simulation.stage import VirtualStage

NOTICED_S = 0.01
STOP_TAKES_S = 0.02


class Keeper:
    """One supervisor: a new core for each life of its process."""

    def __init__(self, stage: VirtualStage, role: str, spec: SupervisorSpec, seed: int) -> None:
        self.stage = stage
        self.role = role
        self.spec = spec
        self.process: Process | None = None
        self.gave_up = ""
        self._core: Core | None = None
        self._timers: dict[Hashable, int] = {}
        self._generation = 0
        self._chance = random.Random(f"keeper:{role}:{seed}")

    def begin(self, process: Process) -> None:
        """The supervisor's process is up: start everything, left to right."""
        self.process = process
        self._core = Core(self.role, self.spec)
        self._timers = {}
        self.gave_up = ""
        self._do(self._core.begin(self.stage.boot_s))

    def ready(self, child: str) -> None:
        if self._lives():
            assert self._core is not None
            self._do(self._core.ready(child, self.stage.boot_s))

    def exited(self, process: Process) -> None:
        """A child is dead; the supervisor hears of it a little later, unless it has died itself."""
        if not self._lives():
            return
        keeper = self.process

        def noticed() -> None:
            if self.process is keeper and self._lives():
                assert self._core is not None
                how = Exit("killed", process.reason)
                self._do(self._core.exited(process.role, how, self.stage.boot_s, self._chance.random()))

        self.stage.after(NOTICED_S, noticed)

    def _lives(self) -> bool:
        return self.process is not None and self.process.state is State.RUNNING

    def _do(self, actions: list[Action]) -> None:
        stage = self.stage
        for action in actions:
            if isinstance(action, Start):
                if action.child_id in stage.specs:
                    stage.fork(action.child_id)
            elif isinstance(action, AskStop):
                child = stage.processes.get(action.child_id)
                if child is not None:
                    stage.after(STOP_TAKES_S, lambda child=child: stage.end(child, "ordered stop"))  # type: ignore[misc]
            elif isinstance(action, Kill):
                stage.kill(action.child_id, reason=action.why)
            elif isinstance(action, Wake):
                self._wake(action.key, action.at_s)
            elif isinstance(action, Began):
                if self.process is not None:
                    stage.tell_ready(self.process)
            elif isinstance(action, Finish) and self.process is not None:
                self.gave_up = f"{action.word}: {action.text}"
                stage.end(self.process, f"gave up: {self.gave_up}")
                return

    def _wake(self, key: Hashable, at_s: float | None) -> None:
        self._generation += 1
        generation = self._generation
        if at_s is None:
            self._timers.pop(key, None)
            return
        self._timers[key] = generation
        keeper = self.process

        def due() -> None:
            if self._timers.get(key) == generation and self.process is keeper and self._lives():
                del self._timers[key]
                assert self._core is not None
                self._do(self._core.woke(key, self.stage.boot_s))

        self.stage.at(at_s, due)
