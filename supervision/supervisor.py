"""The supervisor's process: it carries out what the core decides, and tells the tree about itself.

It has one thread and never waits: it forks, sends, kills by pid and returns to its loop. Upwards it reports rows of its subtree,
downwards it passes the directory on. Only root announces, and only main's word and root's own end reach outside.
"""

# ruff: noqa: PTH108 -- plain paths: this runs at every burial

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Hashable
from typing import Any

from attrs import frozen

from supervision.announcer import Announcer
from supervision.core import Core
from supervision.messages import (
    Answered,
    AreYouThere,
    Call,
    Incarnation,
    Init,
    Known,
    Leaving,
    Ping,
    Pong,
    ProcessEnded,
    Ready,
    Relay,
    RootBorn,
    RootReady,
    SetDraining,
    StopChild,
    WantedChildren,
)
from supervision.pulse import Pulses
from supervision.records import Answer, AskStop, Began, Changed, Exit, Finish, Kill, Refuse, Start, State, Wake
from supervision.relations import Body, Relations, Settings
from supervision.spec import ChildSpec, SupervisorSpec, actor_class
from supervision.unix_base import leave
from supervision.unix_wire import address_at, path_of
from supervision.words import Words, clear_below, leave_words, take_words

REPORT_EVERY_S = 1.0
CALLS_MAX = 1000


class Supervisor(Relations):
    """Hosts one `Core`. `args` is its `SupervisorSpec`."""

    # ---- life ---------------------------------------------------------------------------------------------------------------

    def _own_begin(self, message: Init) -> None:
        self.settings: Settings = message.settings
        self.spec: SupervisorSpec = message.args
        self.core = Core(self.child_id, self.spec)
        self._begin_relations()
        self.by_pid: dict[int, Body] = {}
        self.by_path: dict[str, Body] = {}
        self.pulses = Pulses({})
        self.last_counter = 0
        self.is_root = self.child_id == "root"
        self.announcer = Announcer(self) if self.is_root else None
        if self.is_root:
            self.directory.merge([Known("root", self.incarnation, self._own_transport.my_path)])
            self._own_transport.inbound.urgent_paths.add(path_of(self.settings.main))
            self._own_transport.post(self.settings.main, RootBorn(os.getpid()))
        self.wake_in("report", REPORT_EVERY_S)
        self._do(self.core.begin(time.monotonic()))

    def terminate(self, reason: str) -> None:
        """Not used: a supervisor ends by `Finish`."""

    def _own_end(self, word: str) -> None:
        self._do(self.core.stop(time.monotonic(), word))

    def _finish(self, word: str, text: str) -> None:
        self._flush_rows()
        leave_words(
            self._own_transport.my_path, Words(word if word != "start_failed" else "failed", text, self._own_was_ready)
        )
        self._own_transport.flush(0.2)
        leave(0)

    # ---- what the core decides ------------------------------------------------------------------------------------------------

    def _do(self, actions: list[Any]) -> None:
        for action in actions:  # first, so that rows are told before an answer about them
            if isinstance(action, Changed):
                self.dirty[action.child_id] = None
        for action in actions:
            match action:
                case Start(child_id, spec):
                    self._start(child_id, spec)
                case AskStop(child_id) if child_id in self.bodies:
                    body = self.bodies[child_id]
                    self.pulses.end(child_id)
                    self._own_transport.post(address_at(body.path), StopChild(body.incarnation))
                case Kill(child_id, why) if child_id in self.bodies:
                    self._kill(self.bodies[child_id], why)
                case AskStop() | Kill():
                    pass  # its fork has failed, which the core is about to hear
                case Wake(key, at_s):
                    if at_s is None:
                        self.wake_cancel(("core", key))
                    else:
                        self.wake_in(("core", key), max(0.0, at_s - time.monotonic()))
                case Answer(request, value):
                    self._answer(request, Answered(request[1], value))
                case Refuse(request, word, detail):
                    self._answer(request, Answered(request[1], None, word, detail))
                case Began():
                    self._began()
                case Finish(word, text):
                    self._finish(word, text)

    def _began(self) -> None:
        self._flush_rows()
        self._own_was_ready = True
        if self.announcer is not None:
            self.announcer.announce()  # who stands behind `start` finds everybody introduced
            self._own_transport.post(self.settings.main, RootReady(os.getpid()))
        else:
            self._own_transport.post(self._own_supervisor, Ready(self.incarnation))

    def _start(self, child_id: str, spec: ChildSpec) -> None:
        self.last_counter = max(self.last_counter + 1, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        incarnation = (self.settings.run_number, self.last_counter)
        nested = isinstance(spec.start, SupervisorSpec)
        letter = Init(
            child_id=child_id,
            incarnation=incarnation,
            supervisor_id=self.child_id,
            supervisor=self.myAddress,
            args=spec.start if nested else spec.args,
            directory=self.directory,  # the fork is the copy
            hears="all" if nested else spec.hears,
            lock_path=self._lock_path(child_id),
            lock_limit_s=spec.start_limit_s,
            settings=self.settings,
        )
        now_s = time.monotonic()
        try:
            pid, path = self._myRef.fork_actor(Supervisor if nested else actor_class(spec.start), child_id, letter)
        except (
            OSError
        ) as problem:  # no process, descriptor or memory left: as a start that failed, told after this handler
            self._own_transport.deliver(StartRefusedBySystem(child_id, f"cannot fork: {problem}"))
            return
        body = self.bodies[child_id] = self.by_pid[pid] = self.by_path[path] = Body(
            child_id, pid, path, incarnation, now_s
        )
        self.core.forked(child_id, pid)
        if not nested:
            self.wake_in(("start limit", child_id), spec.start_limit_s)
        self.directory.merge([Known(child_id, incarnation, body.path, self.spec.dynamic)])

    def _lock_path(self, child_id: str) -> str:
        return f"{self.settings.lock_folder}/{child_id.replace(':', '_')}.lock"

    def _kill(self, body: Body, why: str) -> None:
        body.killed = body.killed or why
        os.kill(body.pid, signal.SIGKILL)  # it is our child and not buried yet, so the pid is still its own

    # ---- what happens to children ------------------------------------------------------------------------------------------------

    def receiveMsg_Ready(self, message: Ready, sender: Any) -> None:  # noqa: N802
        body = self.by_path.get(path_of(sender))
        if body is not None and body.incarnation == message.incarnation:
            self._is_ready(body)

    def _is_ready(self, body: Body) -> None:
        self.wake_cancel(("start limit", body.child_id))
        child = self.core.children.get(body.child_id)
        if child is not None and child.state is State.STARTING:
            self.pulses.begin(
                body.child_id, child.spec.hang_deadline_s or self.settings.hang_deadline_s, time.monotonic()
            )
            self._plan_tick()
        self._do(self.core.ready(body.child_id, time.monotonic()))

    def receiveMsg_Leaving(self, message: Leaving, sender: Any) -> None:  # noqa: N802
        body = self.by_path.get(path_of(sender))
        if body is not None and body.incarnation == message.incarnation:
            self.pulses.end(body.child_id)
            child = self.core.children.get(body.child_id)
            if child is not None and isinstance(child.spec.shutdown, int):
                self.wake_in(("leaving", body.child_id), child.spec.shutdown / 1000)

    def receiveMsg_Pong(self, message: Pong, sender: Any) -> None:  # noqa: N802
        body = self.by_path.get(path_of(sender))
        if body is not None and body.incarnation == message.incarnation:
            self.pulses.answered(body.child_id)
            body.mailbox_age_s, body.rss_bytes, body.dropped = message.mailbox_age_s, message.rss_bytes, message.dropped

    def receiveMsg_StartRefusedBySystem(self, message: StartRefusedBySystem, _sender: Any) -> None:  # noqa: N802
        self._do(self.core.exited(message.child_id, Exit("abnormal", message.text), time.monotonic(), random.random()))

    def receiveMsg_ProcessEnded(self, message: ProcessEnded, _sender: Any) -> None:  # noqa: N802
        body = self.by_pid.pop(message.pid, None)
        if body is None:
            return
        self.by_path.pop(body.path, None)
        del self.bodies[body.child_id]
        self.pulses.end(body.child_id)
        for timer in ("start limit", "leaving"):
            self.wake_cancel((timer, body.child_id))
        self._own_transport.deadAddress(None, address_at(body.path))
        words = take_words(body.path)
        child = self.core.children.get(body.child_id)
        if child is not None and child.anonymous:
            with contextlib.suppress(OSError):  # its id never comes again
                os.unlink(self._lock_path(body.child_id))
        if child is not None and isinstance(child.spec.start, SupervisorSpec):
            clear_below(body.path)
        if words is not None and words.word == "ignore" and not body.killed:
            self._do(self.core.ignored(body.child_id, time.monotonic()))
            return
        if words is not None and words.ready:
            self._is_ready(body)
            self.pulses.end(body.child_id)
        self._drop_subtree(body.child_id)
        self._do(
            self.core.exited(
                body.child_id, how_it_ended(message.status, words, body.killed), time.monotonic(), random.random()
            )
        )

    def woke(self, key: Hashable) -> None:
        now_s = time.monotonic()
        match key:
            case ("core", inner):
                self._do(self.core.woke(inner, now_s))
            case "tick":
                self._tick(now_s)
            case "post some":
                self._post_some()
            case "report":
                self._report_all()
                self.wake_in("report", REPORT_EVERY_S)
            case "announce" if self.announcer is not None:
                self.announcer.announce()
            case "inform" if self.announcer is not None:
                self.announcer.inform()
            case ("start limit", str(child_id)):
                if (body := self.bodies.get(child_id)) is not None:
                    limit_s = self.core.children[child_id].spec.start_limit_s
                    self._kill(body, f"not ready within its start limit of {limit_s} s")
            case ("leaving", str(child_id)):
                if (body := self.bodies.get(child_id)) is not None:
                    self._kill(body, "terminate() did not end within its shutdown limit")

    def _plan_tick(self) -> None:
        if (
            self.pulses.planned_s < time.monotonic()
            or self.pulses.interval_s < self.pulses.planned_s - time.monotonic()
        ):
            self.pulses.planned_s = time.monotonic() + self.pulses.interval_s
            self.wake_in("tick", self.pulses.interval_s)

    def _tick(self, now_s: float) -> None:
        due, late = self.pulses.tick(now_s)
        for child_id in due:
            body = self.bodies[child_id]
            self._own_transport.post(address_at(body.path), Ping(body.incarnation, now_s))
        for child_id in late:
            deadline_s = self.pulses.of[child_id].deadline_s
            self.pulses.end(child_id)
            self._kill(self.bodies[child_id], f"hung: no answer to a ping for {deadline_s} s")
            self.dirty[child_id] = None
        if self.pulses.of:
            self.wake_in("tick", self.pulses.interval_s)

    # ---- administration -------------------------------------------------------------------------------------------------------------

    def receiveMsg_Call(self, message: Call, sender: Any) -> None:  # noqa: N802
        reply_to = message.reply_to or sender
        if message.supervisor_id == self.child_id:
            via = sender if message.reply_to is not None else None
            taken = {
                entry.id: entry
                for entry in self.directory
                if entry.path is not None and entry.id not in self.core.children
            }
            request = (reply_to, message.request, via)
            self._do(self.core.call(request, message.question, time.monotonic(), taken))
            return
        row = self.rows.get(message.supervisor_id)
        if not self.is_root or row is None or row.path is None or row.type != "supervisor" or row.state != "running":
            detail = f"{message.supervisor_id} is not a running supervisor of this tree"
            self._own_transport.post(reply_to, Answered(message.request, None, "noproc", detail))
            return
        while len(self.calls) > CALLS_MAX:  # nobody waits that long for so many
            del self.calls[next(iter(self.calls))]
        self.calls[path_of(reply_to), message.request] = (reply_to, row.id, row.incarnation)
        onward = Call(message.request, message.supervisor_id, message.question, reply_to)
        self._own_transport.post(address_at(row.path), onward)

    def _answer(self, request: tuple[Any, int, Any], answered: Answered) -> None:
        reply_to, _number, via = request
        if via is None:
            self._own_transport.post(reply_to, answered)
        else:
            self._flush_rows()
            self._own_transport.post(self._own_supervisor, Relay(reply_to, answered))

    def receiveMsg_Relay(self, message: Relay, _sender: Any) -> None:  # noqa: N802
        if not self.is_root:
            self._own_transport.post(self._own_supervisor, message)
        elif self.calls.pop((path_of(message.reply_to), message.answer.request), None) is not None:
            self._own_transport.post(message.reply_to, message.answer)

    def receiveMsg_AreYouThere(self, message: AreYouThere, sender: Any) -> None:  # noqa: N802
        self._own_transport.post(sender, message)

    def receiveMsg_SetDraining(self, message: SetDraining, _sender: Any) -> None:  # noqa: N802
        self._to_supervisors(message)
        self._do(self.core.drain(message.on, time.monotonic()))

    def receive_from(self, _sender_id: str, sender_incarnation: Incarnation, body: Any) -> None:
        if isinstance(body, WantedChildren):
            self._do(self.core.wanted((sender_incarnation, body.version), body, time.monotonic()))


@frozen
class StartRefusedBySystem:
    """To ourselves: the fork failed."""

    child_id: str
    text: str


def how_it_ended(status: int, words: Words | None, killed: str) -> Exit:
    """The exit reason, from what the kernel and the dead say. Only words make an end orderly, whatever the exit code."""
    if killed:
        return Exit("abnormal", f"killed: {killed}")
    if words is not None and words.word in ("normal", "shutdown"):
        return Exit(words.word, words.text)
    if words is not None:
        return Exit("abnormal", words.text.strip())
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return Exit("abnormal", f"killed by signal {number} ({name})")
    return Exit("abnormal", f"exit code {os.waitstatus_to_exitcode(status)} without leave()")
