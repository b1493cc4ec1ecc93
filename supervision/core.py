"""The supervisor's thinking: OTP's `supervisor.erl` as a pure machine. Events and the time in, actions out.

No process, clock, socket or chance in here. The shell (supervisor.py) carries actions out and reports what happened. The one
difference to OTP is that nothing blocks: where OTP sits in a start or a stop, this machine remembers what it waits for, and
answers questions, stops and calls about the very child meanwhile.

A group restart, the start of the whole and the end of the whole are a *round*: first stops, one after the other in reverse
order, then starts, one after the other in order. There is at most one round. Restarts of single children (one_for_one and
dynamic children) need none.
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Mapping
from enum import Enum, StrEnum
from typing import Any

from attrs import Factory, define, evolve, frozen

from supervision.intensity import History, add_restart, inside
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
    WantedChildren,
    WhichChildren,
)
from supervision.spec import AutoShutdown, ChildSpec, Restart, Strategy, SupervisorSpec, check_child, ids_in, named

# ---- what the shell must do ----------------------------------------------------------------------------------------


@frozen
class Start:
    """Fork it; report `ready`, `ignored` or `exited`."""

    child_id: str
    spec: ChildSpec


@frozen
class AskStop:
    """Tell it to end in good order; report `exited`."""

    child_id: str


@frozen
class Kill:
    """SIGKILL by pid; report `exited`."""

    child_id: str
    why: str


@frozen
class Wake:
    """Call `woke(key)` at `at_s`; None cancels."""

    key: Hashable
    at_s: float | None


@frozen
class Answer:
    request: Any
    value: Any


@frozen
class Refuse:
    request: Any
    word: str
    detail: Any = None


@frozen
class Began:
    """Every child is up."""


@frozen
class Finish:
    """Every child is gone: end with this exit word. "start_failed" when the start of the whole failed."""

    word: str
    text: str


@frozen
class Changed:
    """Something about this child is new."""

    child_id: str


Action = Start | AskStop | Kill | Wake | Answer | Refuse | Began | Finish | Changed


@frozen
class Exit:
    """How a child ended. Only the words normal and shutdown are not abnormal."""

    word: str
    text: str = ""


class State(StrEnum):
    DOWN = "stopped"
    STARTING = "starting"
    UP = "running"
    STOPPING = "stopping"
    WAITING = "restarting"
    """Due to be restarted: in its backoff, or its group is not stopped yet."""
    PARKED = "parked"


ALIVE = frozenset({State.STARTING, State.UP, State.STOPPING})


@define
class Child:
    spec: ChildSpec
    state: State = State.DOWN
    pid: int | None = None
    anonymous: bool = False
    """A dynamic child without a name: addressed by its pid."""
    stored: bool = True
    """False while its first `start_child` is not over: a refused start leaves nothing."""
    restarting: bool = False
    """This start is a restart, not one that somebody asked for."""
    wished: bool = False
    """Somebody wants it (`WantedChildren`) without waiting for an answer: a first start that fails is tried again."""
    falls_back_to: State = State.DOWN
    """What it is again when a start that somebody asked for fails."""
    history: History = ()
    failures: int = 0
    since_s: float = 0.0
    """When it last became ready."""
    reason: str = ""
    starters: list[Any] = Factory(list)
    stoppers: list[Any] = Factory(list)


class Kind(Enum):
    BOOT = "boot"
    RESTART = "restart"
    SHUTDOWN = "shutdown"


@define
class Round:
    kind: Kind
    stops: list[str]
    starts: list[str]
    not_before_s: float = 0.0
    word: str = "shutdown"
    text: str = ""


class Core:
    """One supervisor. Every event returns the actions it causes."""

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

    # ---- events ---------------------------------------------------------------------------------------------------------

    def begin(self, now_s: float) -> list[Action]:
        """Start every child, left to right."""
        self._now = now_s
        self.round = Round(Kind.BOOT, [], list(self.children))
        self._advance()
        return self._taken()

    def forked(self, child_id: str, pid: int) -> None:
        """Its process exists."""
        self.children[child_id].pid = pid

    def ready(self, child_id: str, now_s: float) -> list[Action]:
        self._now = now_s
        child = self.children.get(child_id)
        if child is None or child.state is not State.STARTING:
            return self._taken()
        child.state, child.stored, child.restarting, child.since_s = State.UP, True, False, now_s
        self._answer(child.starters, child.pid)
        self._changed(child)
        self._pass_round(child)
        return self._taken()

    def ignored(self, child_id: str, now_s: float) -> list[Action]:
        """`init` said Ignore and the process has ended: kept without one, unless temporary or dynamic."""
        self._now = now_s
        child = self.children.get(child_id)
        if child is None or child.state is not State.STARTING:
            return self.exited(child_id, Exit("normal"), now_s, 0.0)
        child.state, child.pid, child.stored, child.restarting = State.DOWN, None, True, False
        child.reason = "ignore"
        self._answer(child.starters, None)
        if self.spec.dynamic or child.spec.restart == Restart.TEMPORARY:
            self._remove(child)
        self._changed(child)
        self._pass_round(child)
        return self._taken()

    def exited(self, child_id: str, how: Exit, now_s: float, chance: float) -> list[Action]:
        """Its process is dead and buried. `chance` is uniform in [0, 1), for the jitter of a backoff."""
        self._now, self._chance = now_s, chance
        child = self.children.get(child_id)
        if child is None or child.state not in ALIVE:
            return self._taken()
        if self.round is not None and self.round.kind is Kind.BOOT and child.state is State.UP:
            self._deaths.append((child_id, how))  # as in OTP: first everybody starts, then the dead are looked after
            return self._taken()
        was, child.pid = child.state, None
        child.reason = how.text or how.word
        self._wake(("stop", child_id), None)
        if was is State.STOPPING:
            self._stopped(child)
        elif was is State.STARTING:
            self._start_failed(child, how)
        else:
            self._died(child, how)
        self._changed(child)
        return self._taken()

    def woke(self, key: Hashable, now_s: float) -> list[Action]:
        """A timer of ours is due. One that no longer means anything does nothing."""
        self._now = now_s
        match key:
            case ("stop", str(child_id)):
                if (child := self.children.get(child_id)) is not None and child.state is State.STOPPING:
                    self._actions.append(Kill(child_id, "did not end within its shutdown limit"))
            case ("restart", str(child_id)):
                if (child := self.children.get(child_id)) is not None and child.state is State.WAITING:
                    self._start(child, restarting=True)
            case ("retry", str(child_id)):
                if (child := self.children.get(child_id)) is not None and child.state is State.PARKED:
                    self._start(child, restarting=True)
            case "round":
                self._advance()
        return self._taken()

    def stop(self, now_s: float, word: str = "shutdown", text: str = "") -> list[Action]:
        """End the whole: every child in reverse order, dynamic ones together. Pre-empts everything."""
        self._now = now_s
        if self.round is not None and self.round.kind is Kind.SHUTDOWN:
            return self._taken()
        for child_id, how in self._deaths:
            child = self.children[child_id]
            child.state, child.pid, child.reason = State.DOWN, None, how.text
        self._deaths.clear()
        for request, _question, _taken in self._queued:
            self._actions.append(Refuse(request, "noproc", f"{self.id} is ending"))
        self._queued.clear()
        for child in self.children.values():
            if child.state in (State.WAITING, State.PARKED):
                self._halt(child)
        alive = [child_id for child_id, child in reversed(self.children.items()) if child.state in ALIVE]
        self.round = Round(Kind.SHUTDOWN, alive, [], word=word, text=text)
        if self.spec.dynamic:
            for child_id in alive:
                self._ask_stop(self.children[child_id])
        self._advance()
        return self._taken()

    def drain(self, on: bool, now_s: float) -> list[Action]:
        """While draining nobody waits in a backoff."""
        self._now, self.draining = now_s, on
        if on:
            if self.round is not None and self.round.kind is Kind.RESTART and self.round.not_before_s > now_s:
                self.round.not_before_s = now_s
                self._advance()
            for child in list(self.children.values()):
                if child.state is State.WAITING and self.round is None:
                    self._start(child, restarting=True)
        return self._taken()

    def wanted(self, stamp: Any, message: WantedChildren, now_s: float) -> list[Action]:
        """The children that somebody wants. Stamps order snapshots; an older one is ignored."""
        self._now = now_s
        if not self.spec.dynamic or (self._wanted_stamp is not None and stamp < self._wanted_stamp):
            return self._taken()
        self._wanted_stamp, self._wanted = stamp, message.children
        self._fit_wanted()
        return self._taken()

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
        child = self._find(key)
        if child is None:
            self._refuse(request, "not_found", key)
        elif child.state is State.WAITING or (child.state is State.STARTING and child.restarting):
            self._refuse(request, "restarting", key)
        elif child.state in ALIVE:
            self._refuse(request, "running", child.pid)
        elif self.round is not None and child.spec.id in self.round.starts:
            self._refuse(request, "restarting", key)
        elif self.round is not None:
            self._queued.append((request, question, taken))
        else:
            child.history, child.failures, child.falls_back_to = (), 0, child.state
            child.starters.append(request)
            self._wake(("retry", child.spec.id), None)
            self._start(child)

    def _delete(self, request: Any, key: Any) -> None:
        child = self._find(key)
        if child is None:
            self._refuse(request, "not_found", key)
        elif child.state is State.WAITING or (child.state is State.STARTING and child.restarting):
            self._refuse(request, "restarting", key)
        elif child.state in ALIVE:
            self._refuse(request, "running", child.pid)
        else:
            self._halt(child)
            self._remove(child)
            self._changed(child)
            self._actions.append(Answer(request, None))

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

    def _refuse(self, request: Any, word: str, detail: Any) -> None:
        self._actions.append(Refuse(request, word, detail))

    def _answer(self, requests: list[Any], value: Any) -> None:
        self._actions.extend(Answer(request, value) for request in requests)
        requests.clear()

    # ---- one child ------------------------------------------------------------------------------------------------------------

    def _start(self, child: Child, *, restarting: bool = False) -> None:
        child.state, child.restarting, child.pid = State.STARTING, restarting, None
        self._wake(("restart", child.spec.id), None)
        self._actions.append(Start(child.spec.id, child.spec))
        self._changed(child)

    def _ask_stop(self, child: Child) -> None:
        child_id = child.spec.id
        if child.state is State.STARTING:
            # It serves no mail yet, so it cannot obey; and a call about a starting child is answered at once.
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

    def _stopped(self, child: Child) -> None:
        """It is dead because we wanted it."""
        child.state = State.DOWN
        for request in child.starters:
            self._refuse(request, "start_failed", f"{child.spec.id}: stopped while starting")
        child.starters.clear()
        self._answer(child.stoppers, None)
        if self.spec.dynamic or child.spec.restart == Restart.TEMPORARY or not child.stored:
            self._remove(child)
        self._fit_wanted()
        self._advance()

    def _start_failed(self, child: Child, how: Exit) -> None:
        """It died before it was ready."""
        text = f"{child.spec.id}: {how.text or how.word}"
        kind = self.round.kind if self.round is not None else None
        if kind is Kind.SHUTDOWN:
            child.state = State.DOWN
            self._refuse_starters(child, text)
            self._advance()
        elif kind is Kind.BOOT:
            child.state = State.DOWN
            self.stop_into("start_failed", text)
        elif child.restarting or child.wished:
            self._again(child)
        elif child.stored:  # restart_child: it stays what it was
            child.state = child.falls_back_to
            self._refuse_starters(child, text)
            if child.state is State.PARKED:
                self._plan_retry(child)
            self._advance()
        else:
            self._refuse_starters(child, text)
            self._remove(child)
            self._advance()

    def _refuse_starters(self, child: Child, text: str) -> None:
        for request in child.starters:
            self._refuse(request, "start_failed", text)
        child.starters.clear()

    def _died(self, child: Child, how: Exit) -> None:
        """It ended by itself."""
        if self.round is not None and self.round.kind is Kind.SHUTDOWN:
            child.state = State.DOWN
            self._advance()
            return
        abnormal = how.word not in ("normal", "shutdown")
        restart = child.spec.restart
        if restart == Restart.PERMANENT or (restart == Restart.TRANSIENT and abnormal):
            self._again(child)
            return
        child.state = State.DOWN
        if self.spec.dynamic or restart == Restart.TEMPORARY:
            self._remove(child)
        if child.spec.significant and self._was_the_last_that_matters():
            self.stop_into("shutdown", f"{child.spec.id} was significant and has ended: auto_shutdown")
            return
        self._advance()

    def _was_the_last_that_matters(self) -> bool:
        if self.spec.auto_shutdown == AutoShutdown.ANY_SIGNIFICANT:
            return True
        left = (child for child in self.children.values() if child.spec.significant)
        return self.spec.auto_shutdown == AutoShutdown.ALL_SIGNIFICANT and not any(
            child.state in ALIVE or child.state is State.WAITING for child in left
        )

    def _again(self, child: Child) -> None:
        """A restart is due: count it, then start, wait, park or give up."""
        child.restarting = True
        old = child.history
        child.history, within = add_restart(old, self._now, self.spec.intensity, self.spec.period_s)
        if self.spec.parks:
            if not within:
                child.state, child.history = State.PARKED, old
                self._plan_retry(child)
                self._advance()
                return
        else:
            self.history, within = add_restart(self.history, self._now, self.spec.intensity, self.spec.period_s)
            if not within:
                child.state = State.DOWN
                self.stop_into(
                    "shutdown",
                    f"reached_max_restart_intensity: more than {self.spec.intensity} restarts in {self.spec.period_s} s;"
                    f" the last was {child.spec.id}: {child.reason}",
                )
                return
        delay_s = self._delay_s(child)
        child.state = State.WAITING
        if self.spec.strategy in (Strategy.ONE_FOR_ONE, Strategy.SIMPLE_ONE_FOR_ONE):
            if delay_s > 0:
                self._wake(("restart", child.spec.id), self._now + delay_s)
            else:
                self._start(child, restarting=True)
        else:
            self._regroup(child, delay_s)

    def _delay_s(self, child: Child) -> float:
        backoff = self.spec.backoff
        if backoff is None or self.draining:
            return 0.0
        if child.since_s and self._now - child.since_s >= backoff.reset_s:
            child.failures = 0
        child.since_s = 0.0
        delay_s = backoff.delay_s(child.failures, self._chance)
        child.failures += 1
        return delay_s

    def _plan_retry(self, child: Child) -> None:
        if self.spec.retry_parked_s is not None:
            self._wake(("retry", child.spec.id), self._now + self.spec.retry_parked_s)

    # ---- rounds -----------------------------------------------------------------------------------------------------------------

    def stop_into(self, word: str, text: str) -> None:
        """`stop` from within an event."""
        before, self._actions = self._actions, []
        self._actions = before + self.stop(self._now, word, text)

    def _regroup(self, cause: Child, delay_s: float) -> None:
        """Stop and start again whom the strategy names; joins a round that is already on."""
        order = list(self.children)
        first = 0 if self.spec.strategy == Strategy.ONE_FOR_ALL else order.index(cause.spec.id)
        if self.round is not None:
            first = min(
                [first, *(order.index(child_id) for child_id in self.round.starts if child_id in self.children)]
            )
        members = order[first:]
        self.round = Round(
            Kind.RESTART,
            [child_id for child_id in reversed(members) if self.children[child_id].state in ALIVE],
            members,
            self._now + delay_s,
        )
        self._advance()

    def _pass_round(self, child: Child) -> None:
        if self.round is not None and child.spec.id in self.round.starts:
            self.round.starts.remove(child.spec.id)
        self._advance()

    def _advance(self) -> None:
        """Do the next step of the round, or see that it is over."""
        turn = self.round
        if turn is None:
            return
        while turn.stops:
            child = self.children.get(turn.stops[0])
            if child is not None and child.state in ALIVE:
                if child.state is not State.STOPPING:
                    self._ask_stop(child)
                return
            turn.stops.pop(0)
        if turn.kind is Kind.SHUTDOWN:
            if not self.finished and not any(child.state in ALIVE for child in self.children.values()):
                self.finished = True
                self._actions.append(Finish(turn.word, turn.text))
            return
        if self._now < turn.not_before_s:
            self._wake("round", turn.not_before_s)
            return
        while turn.starts:
            child = self.children.get(turn.starts[0])
            if child is not None and child.state in (State.STARTING, State.STOPPING):
                return
            if child is not None and child.state is not State.UP:
                self._start(child, restarting=turn.kind is Kind.RESTART)
                return
            turn.starts.pop(0)
        self.round = None
        if turn.kind is Kind.BOOT:
            self._actions.append(Began())
        self._after_round()

    def _after_round(self) -> None:
        deaths, self._deaths = self._deaths, []
        for child_id, how in deaths:
            self._actions.extend(self._nested(lambda c=child_id, h=how: self.exited(c, h, self._now, self._chance)))
        queued, self._queued = self._queued, []
        for request, question, taken in queued:
            self._actions.extend(self._nested(lambda r=request, q=question, t=taken: self.call(r, q, self._now, t)))

    def _nested(self, event: Any) -> list[Action]:
        """Run one event inside another, its actions apart."""
        before, self._actions = self._actions, []
        caused: list[Action] = event()
        self._actions = before
        return caused

    # ---- wanted children ------------------------------------------------------------------------------------------------------------

    def _fit_wanted(self) -> None:
        if self._wanted is None or self.round is not None:
            return
        for child in list(self.children.values()):
            if child.anonymous or child.spec.id in self._wanted or child.state is State.STOPPING:
                continue
            if child.state in ALIVE:
                self._ask_stop(child)
            else:
                self._halt(child)
                self._remove(child)
            self._changed(child)
        for child_id, args in self._wanted.items():
            child_or_none = self.children.get(child_id)
            if child_or_none is None:
                child = self.children[child_id] = Child(named(self.spec.children[0], child_id, args), wished=True)
                self._start(child)
            else:
                child_or_none.spec = named(self.spec.children[0], child_id, args)  # for its next life

    # ---- small things -----------------------------------------------------------------------------------------------------------------

    def restarts_of(self, child: Child, now_s: float) -> int:
        return inside(child.history, now_s, self.spec.period_s)

    def _wake(self, key: Hashable, at_s: float | None) -> None:
        self._actions.append(Wake(key, at_s))

    def _changed(self, child: Child) -> None:
        self._actions.append(Changed(child.spec.id))

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions
