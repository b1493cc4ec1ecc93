"""Administrative questions, with OTP's answers. Pure: the half of the core that people talk to.

Questions, terminate and delete are answered whatever else is going on; a start waits while a round (a group restart, the start of
the whole) is on, unless it is about a child that the answer is clear for.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from supervision.lives import Lives
from supervision.messages import (
    ChildInfo,
    CountChildren,
    Counts,
    DeleteChild,
    GetChildspec,
    Question,
    RestartChild,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from supervision.records import ALIVE, Action, Answer, Child, Kind, State
from supervision.spec import ChildSpec, Restart, SupervisorSpec, check_child, ids_in, named


class Administration(Lives):
    """`call` and its answers."""

    def call(
        self, request: Any, question: Question, now_s: float, taken: Mapping[str, Any] | None = None
    ) -> list[Action]:
        """An administrative question. `taken`: ids in use elsewhere in the tree."""
        self._now = now_s
        match question:
            case WhichChildren():
                self._actions.append(Answer(request, self._which()))
            case CountChildren():
                self._actions.append(Answer(request, self._count()))
            case GetChildspec(key):
                if (child := self._find(key)) is None:
                    self._refuse(request, "not_found", key)
                else:
                    told = child.reason if child.state in (State.PARKED, State.WAITING, State.DOWN) else ""
                    self._actions.append(Answer(request, evolve(child.spec, reason=told)))
            case _ if self.round is not None and self.round.kind is Kind.SHUTDOWN:
                self._refuse(request, "noproc", f"{self.id} is ending")
            case TerminateChild(key):
                self._terminate(request, key)
            case DeleteChild(key):
                self._delete(request, key)
            case RestartChild(key):
                self._restart(request, key, question, taken or {})
            case StartChild():
                self._start_child(request, question, taken or {})
        return self._taken()

    # ---- administration ---------------------------------------------------------------------------------------------------

    def _find(self, key: Any) -> Child | None:
        if isinstance(key, str):
            return self.children.get(key)
        if isinstance(key, int) and self.spec.dynamic:
            return next((child for child in self.children.values() if child.pid == key), None)
        return None

    def _which(self) -> list[ChildInfo]:
        rows = []
        for child in reversed(self.children.values()):
            seen: int | str | None = child.pid
            if child.state is State.WAITING or (child.state is State.STARTING and child.restarting):
                seen = "restarting"
            elif child.state is State.PARKED:
                seen = "parked"
            rows.append(ChildInfo(None if child.anonymous else child.spec.id, seen, str(child.spec.type)))
        return rows

    def _count(self) -> Counts:
        children = self.children.values()
        active = sum(
            1 for child in children if child.state in ALIVE and not (child.state is State.STARTING and child.restarting)
        )
        supervisors = sum(1 for child in children if child.spec.type == "supervisor")
        specs = 1 if self.spec.dynamic else len(children)
        return Counts(specs, active, supervisors, len(children) - supervisors)

    def _start_child(self, request: Any, question: StartChild, taken: Mapping[str, Any]) -> None:
        try:
            given = pickle.loads(question.pickled)  # noqa: S301 -- arrives over this run's own sockets only
            spec = self._dynamic_spec(given, question.child_id) if self.spec.dynamic else given
            check_child(spec, f"{self.id}: child", self.spec)
        except Exception as problem:  # a class that cannot be imported here, or a spec that is wrong
            self._refuse(request, "bad_spec", f"{problem}")
            return
        known = self.children.get(spec.id)
        if known is not None:
            word = "already_started" if known.state in ALIVE else "already_present"
            self._refuse(request, word, known.pid if known.pid is not None else spec.id)
            return
        if self.round is not None:
            self._queued.append((request, question, taken))
            return
        inner = (spec.id, *(ids_in(spec.start) if isinstance(spec.start, SupervisorSpec) else ()))
        for child_id in inner:
            if child_id in taken or (child_id != spec.id and child_id in self.children):
                self._refuse(
                    request, "already_started", f"{child_id}: ids are unique in a tree, and it lives elsewhere"
                )
                return
        anonymous = self.spec.dynamic and question.child_id is None
        child = self.children[spec.id] = Child(spec, anonymous=anonymous, stored=False, starters=[request])
        self._start(child)

    def _dynamic_spec(self, args: Any, child_id: str | None) -> ChildSpec:
        if child_id is None:
            self._numbers += 1
            child_id = f"{self.id}#{self._numbers}"
        return named(self.spec.children[0], child_id, args)

    def _restart(self, request: Any, key: Any, question: Question, taken: Mapping[str, Any]) -> None:
        child = self._at_rest(request, key)
        if child is None:
            return
        if self.round is not None and child.spec.id in self.round.starts:
            self._refuse(request, "restarting", key)
        elif self.round is not None:
            self._queued.append((request, question, taken))
        else:
            child.history, child.failures, child.falls_back_to = (), 0, child.state
            child.starters.append(request)
            self._wake(("retry", child.spec.id), None)
            self._start(child)

    def _delete(self, request: Any, key: Any) -> None:
        child = self._at_rest(request, key)
        if child is not None:
            self._halt(child)
            self._remove(child)
            self._changed(child)
            self._actions.append(Answer(request, None))

    def _at_rest(self, request: Any, key: Any) -> Child | None:
        """The child when it neither lives nor is about to; otherwise None, and the refusal is on its way."""
        child = self._find(key)
        if child is None:
            self._refuse(request, "not_found", key)
        elif child.state is State.WAITING or (child.state is State.STARTING and child.restarting):
            self._refuse(request, "restarting", key)
        elif child.state in ALIVE:
            self._refuse(request, "running", child.pid)
        else:
            return child
        return None

    def _terminate(self, request: Any, key: Any) -> None:
        child = self._find(key)
        if child is None:
            self._refuse(request, "not_found", key)
            return
        if self.round is not None and child.spec.id in self.round.starts:
            self.round.starts.remove(child.spec.id)
        if child.state in ALIVE:
            child.stoppers.append(request)
            if child.state is not State.STOPPING:
                self._ask_stop(child)
            return
        self._halt(child)
        if self.spec.dynamic or child.spec.restart == Restart.TEMPORARY:
            self._remove(child)
        self._changed(child)
        self._actions.append(Answer(request, None))
        if self.round is not None:
            self._advance()
