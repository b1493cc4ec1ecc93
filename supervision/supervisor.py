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
from collections import deque
from collections.abc import Hashable
from typing import Any

from attrs import define, frozen

from supervision.actor import SupervisedActor
from supervision.announcer import Announcer
from supervision.core import Core
from supervision.messages import (
    Announced,
    Answered,
    AreYouThere,
    Call,
    ChildRow,
    Found,
    GiveSnapshot,
    Incarnation,
    Init,
    Known,
    Leaving,
    Ping,
    Pong,
    ProcessEnded,
    Ready,
    Relay,
    Report,
    RootBorn,
    RootReady,
    SetDraining,
    Snapshot,
    StopChild,
    WantedChildren,
    Where,
)
from supervision.pulse import Pulses
from supervision.records import Answer, AskStop, Began, Changed, Exit, Finish, Kill, Refuse, Start, State, Wake
from supervision.spec import ChildSpec, SupervisorSpec, actor_class
from supervision.unix_base import leave
from supervision.unix_transport import address_at, framed, path_of
from supervision.words import Words, clear_below, leave_words, take_words

REPORT_EVERY_S = 1.0
CALLS_MAX = 1000
SEEKERS_MAX = 100
PORTION = 12
PORTION_EVERY_S = 0.001


@frozen
class Settings:
    """What `supervision.start` was told, for every supervisor."""

    folder: str
    lock_folder: str
    hang_deadline_s: float
    run_number: int
    listeners: tuple[str, ...]
    main: Any
    """Main's address."""


@define
class Body:
    """The process that a child id has now."""

    child_id: str
    pid: int
    path: str
    incarnation: Incarnation
    born_s: float
    killed: str = ""
    """Why we killed it."""
    mailbox_age_s: float = 0.0
    rss_bytes: int = 0
    dropped: int = 0


class Supervisor(SupervisedActor):
    """Hosts one `Core`. `args` is its `SupervisorSpec`."""

    core: Core

    # ---- life ---------------------------------------------------------------------------------------------------------------

    def _own_begin(self, message: Init) -> None:
        self.settings: Settings = message.settings
        self.spec: SupervisorSpec = message.args
        self.core = Core(self.child_id, self.spec)
        self.bodies: dict[str, Body] = {}
        self.by_pid: dict[int, Body] = {}
        self.by_path: dict[str, Body] = {}
        self.pulses = Pulses({})
        self.last_counter = 0
        self.dirty: dict[str, None] = {}
        self.rows: dict[str, ChildRow] = {}
        """The whole subtree, as last reported."""
        self.outbox: deque[tuple[str, bytes]] = deque()
        self.is_root = self.child_id == "root"
        self.announcer = Announcer(self) if self.is_root else None
        self.calls: dict[tuple[str, int], tuple[Any, str, Incarnation | None]] = {}
        """Root: calls passed on to nested supervisors: who asked, whom, in which life."""
        if self.is_root:
            self.directory.merge([Known("root", self.incarnation, self._own_transport.my_path)])
            self._own_transport.urgent_paths.add(path_of(self.settings.main))
            self._own_transport.post(self.settings.main, RootBorn(os.getpid()))
        self.seekers: dict[str, list[tuple[Any, int]]] = {}
        """Root: who waits to learn where a child is that is being started."""
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

    def receiveMsg_Where(self, message: Where, sender: Any) -> None:  # noqa: N802
        if message.child == "root":
            self._own_transport.post(sender, Found(message.request, "running", "root", self._own_transport.my_path))
            return
        if isinstance(message.child, str):
            row = self.rows.get(message.child)
        else:
            row = next((row for row in self.rows.values() if row.pid == message.child), None)
        if row is None or message.supervisor_id not in (None, row.supervisor):
            self._own_transport.post(sender, Found(message.request, None))
        elif not self._tell_seeker(row, sender, message.request):
            if message.wait:
                seekers = self.seekers.setdefault(row.id, [])
                seekers.append((sender, message.request))
                del seekers[:-SEEKERS_MAX]
            else:
                self._own_transport.post(sender, Found(message.request, row.state, row.id))

    def _tell_seeker(self, row: ChildRow, seeker: Any, request: int) -> bool:
        """Where a child is, once that is clear: it runs, or it is down and stays so. False while it is being started."""
        if row.state in ("starting", "restarting") or (row.state == "running" and row.path is None):
            return False
        path = row.path if row.state == "running" else None
        self._own_transport.post(seeker, Found(request, row.state, row.id, path))
        return True

    def _tell_seekers(self, report: Report) -> None:
        for child_id in report.gone:
            for seeker, request in self.seekers.pop(child_id, ()):
                self._own_transport.post(seeker, Found(request, None))
        for row in report.rows:
            if row.id in self.seekers:
                self.seekers[row.id] = [each for each in self.seekers[row.id] if not self._tell_seeker(row, *each)]
                if not self.seekers[row.id]:
                    del self.seekers[row.id]

    def receiveMsg_GiveSnapshot(self, message: GiveSnapshot, sender: Any) -> None:  # noqa: N802
        assert self.announcer is not None
        self._own_transport.post(sender, Snapshot(message.request, self.announcer.snapshot()))

    def receiveMsg_AreYouThere(self, message: AreYouThere, sender: Any) -> None:  # noqa: N802
        self._own_transport.post(sender, message)

    def receiveMsg_SetDraining(self, message: SetDraining, _sender: Any) -> None:  # noqa: N802
        self._to_supervisors(message)
        self._do(self.core.drain(message.on, time.monotonic()))

    def receive_from(self, _sender_id: str, sender_incarnation: Incarnation, body: Any) -> None:
        if isinstance(body, WantedChildren):
            self._do(self.core.wanted((sender_incarnation, body.version), body, time.monotonic()))

    # ---- what the tree knows about itself ---------------------------------------------------------------------------------------------

    def _own_handled(self) -> None:
        if self.dirty:
            self._flush_rows()

    def row(self, child_id: str) -> ChildRow:
        child, body, now_s = self.core.children[child_id], self.bodies.get(child_id), time.monotonic()
        state = str(child.state)
        if child.state is State.STOPPING:
            state = "running"
        elif child.state is State.STARTING and child.restarting:
            state = "restarting"
        return ChildRow(
            id=child_id,
            supervisor=self.child_id,
            type=str(child.spec.type),
            state=state,
            pid=child.pid,
            incarnation=body.incarnation if body else None,
            restarts=self.core.restarts_of(child, now_s),
            mailbox_age_s=body.mailbox_age_s if body else 0.0,
            rss_bytes=body.rss_bytes if body else 0,
            dropped=body.dropped if body else 0,
            uptime_s=now_s - body.born_s if body else 0.0,
            reason=child.reason,
            dynamic=self.spec.dynamic,
            path=body.path if body and child.state is not State.STARTING else None,
        )

    def _flush_rows(self) -> None:
        dirty, self.dirty = list(self.dirty), {}
        rows = tuple(self.row(child_id) for child_id in dirty if child_id in self.core.children)
        gone = tuple(child_id for child_id in dirty if child_id not in self.core.children)
        if rows or gone:
            self._report(Report(rows, gone))

    def _report_all(self) -> None:
        self._report(Report(tuple(self.row(child_id) for child_id in self.core.children), news=False))
        if self.announcer is not None:
            self.announcer.every_second()

    def receiveMsg_Report(self, message: Report, _sender: Any) -> None:  # noqa: N802
        self._report(message)

    def _report(self, report: Report) -> None:
        """Remember rows of the subtree and pass them on; root announces what is new in them."""
        for child_id in report.gone:
            self.rows.pop(child_id, None)
        for row in report.rows:
            self.rows[row.id] = row
        if self.announcer is not None:
            if self.seekers:
                self._tell_seekers(report)
            self.announcer.reported(report)
        else:
            self._own_transport.post(self._own_supervisor, report)

    def _drop_subtree(self, supervisor_id: str) -> None:
        """A nested supervisor is dead, so everybody below it is."""
        below, found = {supervisor_id}, True
        while found:
            more = {row.id for row in self.rows.values() if row.supervisor in below} - below
            found = bool(more)
            below |= more
        if gone := tuple(below - {supervisor_id}):
            self._report(Report((), gone))

    def _own_on_announced(self, message: Announced, sender: Any) -> None:
        super()._own_on_announced(message, sender)
        self.pass_on(message)

    def pass_on(self, message: Announced) -> None:
        """Tell our children; those who hear of static ones only get less."""
        frames: dict[str, bytes] = {}
        for child_id, body in self.bodies.items():
            hears = "all" if body.child_id not in self.core.children else self._hears(child_id)
            if hears == "none":
                continue
            if hears not in frames:
                entries = (
                    message.entries
                    if hears == "all"
                    else tuple(entry for entry in message.entries if not entry.dynamic)
                )
                frames[hears] = (
                    framed(Announced(message.version, message.complete, entries))
                    if entries or message.complete
                    else b""
                )
            if frames[hears]:
                self.outbox.append((body.path, frames[hears]))
        self._post_some()

    def _post_some(self) -> None:
        """Announcements leave in portions: whoever hears one wakes up, and a child that is just starting needs a processor too."""
        for _ in range(min(PORTION, len(self.outbox))):
            self._own_transport.post_frame(*self.outbox.popleft())
        if self.outbox:
            self.wake_in("post some", PORTION_EVERY_S)

    def _hears(self, child_id: str) -> str:
        spec = self.core.children[child_id].spec
        return "all" if isinstance(spec.start, SupervisorSpec) else spec.hears

    def _to_supervisors(self, message: Any) -> None:
        for child_id, body in self.bodies.items():
            if child_id in self.core.children and isinstance(self.core.children[child_id].spec.start, SupervisorSpec):
                self._own_transport.post(address_at(body.path), message)


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
