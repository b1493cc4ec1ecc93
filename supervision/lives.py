"""The state of a supervisor and the elementary steps of single children. Pure; `Administration` and `Core` build on it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from supervision.intensity import History
from supervision.messages import Question
from supervision.records import (
    Action,
    Answer,
    AskStop,
    Changed,
    Child,
    Exit,
    Finish,
    Kill,
    Refuse,
    Round,
    Start,
    State,
    Wake,
)
from supervision.spec import SupervisorSpec


class Lives:
    """What a supervisor knows. Steps add to the actions of the event that is being handled."""

    def __init__(self, supervisor_id: str, spec: SupervisorSpec) -> None:
        self.id = supervisor_id
        self.spec = spec
        self.children: dict[str, Child] = {}
        """In order of start."""
        if not spec.dynamic:
            self.children = {child.id: Child(child) for child in spec.children}
        self.history: History = ()
        self.round: Round | None = None
        self.finished = False
        self.draining = False
        self._chance = 0.0
        self._now = 0.0
        self._actions: list[Action] = []
        self._queued: list[tuple[Any, Question, Mapping[str, Any]]] = []
        self._deaths: list[tuple[str, Exit]] = []
        self._numbers = 0
        self._wanted: Mapping[str, Any] | None = None
        self._wanted_stamp: Any = None

    def _start(self, child: Child, *, restarting: bool = False) -> None:
        child.state, child.restarting, child.pid = State.STARTING, restarting, None
        self._wake(("restart", child.spec.id), None)
        self._actions.append(Start(child.spec.id, child.spec))
        self._changed(child)

    def _ask_stop(self, child: Child) -> None:
        child_id = child.spec.id
        if child.state is State.STARTING and not isinstance(child.spec.start, SupervisorSpec):
            # It serves no mail yet, so it cannot obey; and a call about a starting child is answered at once. (A supervisor
            # serves from its first instant, and ends its own children in order.)
            child.state = State.STOPPING
            self._actions.append(Kill(child_id, "stopped while starting"))
            return
        child.state = State.STOPPING
        if child.spec.shutdown == "brutal_kill":
            self._actions.append(Kill(child_id, "brutal_kill"))
            return
        self._actions.append(AskStop(child_id))
        if isinstance(child.spec.shutdown, int):
            self._wake(("stop", child_id), self._now + child.spec.shutdown / 1000)

    def _halt(self, child: Child) -> None:
        """It has no process and shall get none by itself."""
        self._wake(("restart", child.spec.id), None)
        self._wake(("retry", child.spec.id), None)
        child.state = State.DOWN

    def _remove(self, child: Child) -> None:
        self._wake(("restart", child.spec.id), None)
        self._wake(("retry", child.spec.id), None)
        self.children.pop(child.spec.id, None)
        for request in child.starters:
            self._refuse(request, "start_failed", f"{child.spec.id}: {child.reason}")
        child.starters.clear()

    def _refuse_starters(self, child: Child, text: str) -> None:
        for request in child.starters:
            self._refuse(request, "start_failed", text)
        child.starters.clear()

    def _wake(self, key: Hashable, at_s: float | None) -> None:
        self._actions.append(Wake(key, at_s))

    def _changed(self, child: Child) -> None:
        self._actions.append(Changed(child.spec.id))

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        actions.sort(key=lambda action: isinstance(action, Finish))  # nothing comes after the end
        return actions

    def _refuse(self, request: Any, word: str, detail: Any) -> None:
        self._actions.append(Refuse(request, word, detail))

    def _answer(self, requests: list[Any], value: Any) -> None:
        self._actions.extend(Answer(request, value) for request in requests)
        requests.clear()

    def _advance(self) -> None:
        """Do the next step of the round, if one is on; see `Core`."""
        raise NotImplementedError
