"""The supervisor's thinking: OTP's `supervisor.erl` as a pure machine. Events and the time in, actions out.

No process, clock, socket or chance in here. The shell (supervisor.py) carries actions out and reports what happened. The one
difference to OTP is that nothing blocks: where OTP sits in a start or a stop, this machine remembers what it waits for, and
answers questions, stops and calls about the very child meanwhile.

A group restart, the start of the whole and the end of the whole are a *round*: first stops, one after the other in reverse
order, then starts, one after the other in order. There is at most one round. Restarts of single children (one_for_one and
dynamic children) need none.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from supervision.administration import Administration
from supervision.intensity import add_restart, inside
from supervision.messages import WantedChildren
from supervision.records import (
    ALIVE,
    Action,
    Began,
    Child,
    Exit,
    Finish,
    Kill,
    Kind,
    Refuse,
    Round,
    State,
)
from supervision.spec import AutoShutdown, Restart, Strategy, named


class Core(Administration):
    """One supervisor. Every event returns the actions it causes."""

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

    # ---- one child ------------------------------------------------------------------------------------------------------------

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
