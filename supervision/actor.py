"""The actor that can be supervised: starts once, fails once and loudly, answers pings, knows its peers by id.

Subclass it, give it hooks and `receiveMsg_X(self, message, sender)` methods; the class is named in a `ChildSpec`. An exception
anywhere ends the process (exit code 70, traceback in its last words): a message is never handled twice, and no half-changed
state lives on.
"""

# ruff: noqa: PTH123 -- plain paths: this runs in every fork

from __future__ import annotations

import fcntl
import os
import sys
import time
import traceback
from collections.abc import Callable, Hashable, Mapping
from datetime import timedelta
from typing import Any, ClassVar

from thespian.actors import (
    ActorExitRequest,
    ActorTypeDispatcher,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from supervision.directory import Directory
from supervision.messages import (
    Announced,
    Answered,
    Call,
    Envelope,
    Ignore,
    Incarnation,
    Init,
    Leaving,
    Ping,
    Pong,
    Question,
    Ready,
    StopChild,
    WantedChildren,
)
from supervision.timers import Timers
from supervision.unix_base import EXIT_FAILED, leave
from supervision.unix_transport import UnixTransport
from supervision.unix_wire import address_at, framed
from supervision.words import Words, leave_words

DRAIN_S = 0.5
"""How long an ending process waits for slow receivers to take its last messages."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_OUR_TIMER = "supervision: timer"


class SupervisedActor(ActorTypeDispatcher):  # type: ignore[misc]
    """One child. Hooks: `init`, `terminate`, `receive_from`, `woke`, `peer_restarted`, `log_failure`."""

    child_id: str = ""
    supervisor_id: str = ""
    incarnation: Incarnation = (0, 0)
    args: Any = None
    undelivered: int = 0
    """Messages that `tell` could not send."""
    stale: int = 0
    """Messages dropped because an older incarnation had sent them."""
    directory: Directory
    _own_timers: Timers
    _own_callbacks: dict[int, Callable[[], object]]

    # ---- hooks ------------------------------------------------------------------------------------------------------

    def init(self, args: Any) -> Ignore | None:
        """Once per life, before anything else. Return None, or `Ignore()` when there is nothing to do; raise to refuse."""

    def terminate(self, reason: str) -> None:
        """Last thing of a stop ("shutdown") and of `leave` (its word). Not called after an exception."""

    def receive_from(self, sender_id: str, sender_incarnation: Incarnation, body: Any) -> None:
        """A message that a peer has sent with `tell`. Never from an incarnation older than the newest known."""

    def woke(self, key: Hashable) -> None:
        """A timer of `wake_in` is due; never early."""

    def peer_restarted(self, child_id: str, incarnation: Incarnation) -> None:
        """The directory shows a new incarnation of a peer (or a peer that was not there before)."""

    def administered(self, answer: Answered) -> None:
        """A supervisor's answer to `administer`: `.value`, or OTP's `.word` of refusal and `.detail`."""

    def log_failure(self, text: str) -> None:
        """The process is about to end with exit code 70; `text` is the traceback. May not send."""
        print(f"{self.child_id or type(self).__name__} {self.incarnation}: {text}", file=sys.stderr, flush=True)

    # ---- what an actor can do ----------------------------------------------------------------------------------------

    def tell(self, child_id: str, message: Any) -> bool:
        """Send to the newest known incarnation of `child_id`. False, and counted, when it is unknown or gone."""
        envelope = Envelope(self.child_id, self.incarnation, message)
        if child_id == self.child_id:
            return self._own_transport.deliver(envelope)
        path = self.directory.path(child_id)
        if path is None or not self._own_transport.post_frame(path, framed(envelope)):
            self.undelivered += 1
            return False
        return True

    def wanted_children(self, supervisor_id: str, version: int, children: Mapping[str, Any]) -> bool:
        """Tell a dynamic supervisor which children (id -> args) it should have. The newest version wins; repeat it freely."""
        return self.tell(supervisor_id, WantedChildren(version, dict(children)))

    def administer(self, supervisor_id: str, question: Question) -> int:
        """Ask a supervisor (`RestartChild(id)`, `WhichChildren()`, ...). The answer comes to `administered`, with this number."""
        self._own_requests += 1
        path = self.directory.path(supervisor_id)
        if path is None or not self._own_transport.post(
            address_at(path), Call(self._own_requests, supervisor_id, question)
        ):
            detail = f"{supervisor_id} is not a running supervisor of this tree"
            self._own_transport.deliver(Answered(self._own_requests, None, "noproc", detail))
        return self._own_requests

    def leave(self, word: str = "normal") -> None:
        """End after this handler: `terminate(word)`, then exit. The word is the exit reason: "normal" or "shutdown"."""
        if word not in ("normal", "shutdown"):
            raise ValueError(f"leave({word!r}): the word is normal or shutdown; raise for an abnormal end")
        self._own_leaving = word

    def wake_in(self, key: Hashable, seconds: float) -> None:
        """Call `woke(key)` once, not before `seconds` have passed. Setting a key again replaces it."""
        self._own_timers.set(key, time.monotonic() + seconds)
        self._own_arm()

    def wake_cancel(self, key: Hashable) -> None:
        self._own_timers.cancel(key)

    def watch(self, source: Any, callback: Callable[[], object]) -> None:
        """Call `callback()` whenever `source` (a descriptor or something with `fileno()`) is readable."""
        self._own_callbacks[source if isinstance(source, int) else source.fileno()] = callback
        self._own_watching()

    def unwatch(self, source: Any) -> None:
        """Before closing it."""
        self._own_callbacks.pop(source if isinstance(source, int) else source.fileno(), None)
        self._own_watching()

    # ---- the machinery ------------------------------------------------------------------------------------------------

    _own_requests: int = 0
    _own_leaving: str | None = None
    _own_was_ready: bool = False
    _own_armed_s: float | None = None
    _own_result: ThespianWatch | None = None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> SupervisedActor:
        self: SupervisedActor = super().__new__(
            cls
        )  # here, so that a subclass may write an `__init__` without calling ours
        self._own_timers = Timers()
        self._own_callbacks = {}
        self.directory = Directory()
        return self

    @property
    def _own_transport(self) -> UnixTransport:
        transport: UnixTransport = self._myRef.transport
        return transport

    def receiveMessage(self, message: Any, sender: Any) -> ThespianWatch | None:  # noqa: N802
        """Thespian's entry. Nothing may escape from here: Thespian would run the handler again."""
        try:
            handler = self._own_handlers.get(type(message))
            if handler is not None:
                getattr(self, handler)(message, sender)
            else:
                super().receiveMessage(message, sender)
            self._own_handled()
            if self._own_leaving is not None:
                self._own_leave_now(self._own_leaving)
        except BaseException:  # the one place that catches everything
            self._own_fail(traceback.format_exc(limit=-20))
        return self._own_result

    _own_handlers: ClassVar[dict[type, str]] = {
        Init: "_own_on_init",
        Ping: "_own_on_ping",
        StopChild: "_own_on_stop",
        ActorExitRequest: "_own_on_exit_request",
        Announced: "_own_on_announced",
        Answered: "_own_on_answered",
        Envelope: "_own_on_envelope",
        WakeupMessage: "_own_on_wakeup",
        WatchMessage: "_own_on_watch",
        PoisonMessage: "_own_on_poison",
    }

    def _own_handled(self) -> None:
        """After each message."""

    def _own_on_init(self, message: Init, _sender: Any) -> None:
        self.child_id, self.incarnation, self.args = message.child_id, message.incarnation, message.args
        self.supervisor_id, self._own_supervisor = message.supervisor_id, message.supervisor
        self.directory = message.directory.heard_by(message.hears, message.child_id)
        self._own_take_lock(message.lock_path, message.lock_limit_s)
        self._own_begin(message)

    def _own_take_lock(self, path: str, limit_s: float) -> None:
        """One live process per id: wait for an older life of ours to be gone. The descriptor is kept for life.

        A POSIX lock: the kernel takes it back with the process, stopped or not, and no fork inherits it.
        """
        self._own_lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline, pause_s = time.monotonic() + limit_s, 0.0002
        while True:
            try:
                fcntl.lockf(self._own_lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path} is held by another process for more than {limit_s} s") from None
                time.sleep(pause_s)
                pause_s = min(0.005, pause_s * 2)
            else:
                return

    def _own_begin(self, message: Init) -> None:
        answer = self.init(message.args)
        if isinstance(answer, Ignore):
            self._own_say("ignore", "")
            leave(0)
        if answer is not None:
            raise TypeError(f"{type(self).__name__}.init returned {answer!r}; it may return None or Ignore()")
        self._own_ready()

    def _own_ready(self) -> None:
        self._own_was_ready = True
        self._own_transport.post(self._own_supervisor, Ready(self.incarnation))

    def _own_on_ping(self, message: Ping, sender: Any) -> None:
        if message.incarnation == self.incarnation:
            with open("/proc/self/statm", "rb") as file:
                rss_bytes = int(file.read().split()[1]) * PAGE_BYTES
            age_s = self._own_transport.take_mailbox_age_s()
            dropped = self._own_transport.dropped
            self._own_transport.post(sender, Pong(message.incarnation, message.sent_s, age_s, rss_bytes, dropped))

    def _own_on_stop(self, message: StopChild, _sender: Any) -> None:
        if message.incarnation == self.incarnation:
            self._own_end("shutdown")

    def _own_on_exit_request(self, _message: ActorExitRequest, _sender: Any) -> None:
        self._own_end("shutdown")

    def _own_on_announced(self, message: Announced, _sender: Any) -> None:
        for entry in self.directory.merge(message.entries, complete=message.complete):
            if entry.path is not None and entry.id != self.child_id:
                self.peer_restarted(entry.id, entry.incarnation)

    def _own_on_answered(self, message: Answered, _sender: Any) -> None:
        self.administered(message)

    def _own_on_envelope(self, message: Envelope, _sender: Any) -> None:
        if self.directory.is_current(message.sender_id, message.sender_incarnation):
            self.receive_from(message.sender_id, message.sender_incarnation, message.body)
        else:
            self.stale += 1

    def _own_on_wakeup(self, message: WakeupMessage, sender: Any) -> None:
        if message.payload != _OUR_TIMER:
            super().receiveMessage(message, sender)
            return
        now_s = time.monotonic()
        if self._own_armed_s is not None and now_s >= self._own_armed_s:
            self._own_armed_s = None
        for key in self._own_timers.due(now_s):
            self.woke(key)
            if self._own_leaving is not None:
                return
        self._own_arm()

    def _own_arm(self) -> None:
        next_s = self._own_timers.next_s()
        if next_s is not None and (self._own_armed_s is None or next_s < self._own_armed_s):
            self._own_armed_s = next_s
            self.wakeupAfter(timedelta(seconds=max(0.0, next_s - time.monotonic())), _OUR_TIMER)

    def _own_on_watch(self, message: WatchMessage, _sender: Any) -> None:
        for fd in message.ready:
            if (callback := self._own_callbacks.get(fd)) is not None and self._own_leaving is None:
                callback()

    def _own_watching(self) -> None:
        # A new list each time: the transport takes an unchanged one as "nothing new".
        self._own_result = ThespianWatch(list(self._own_callbacks)) if self._own_callbacks else None

    def _own_on_poison(self, message: PoisonMessage, _sender: Any) -> None:
        raise RuntimeError(f"unsendable or refused: {message.details}")

    # ---- ends -----------------------------------------------------------------------------------------------------------

    def _own_say(self, word: str, text: str) -> None:
        leave_words(self._own_transport.my_path, Words(word, text, self._own_was_ready))

    def _own_leave_now(self, word: str) -> None:
        self._own_transport.post(self._own_supervisor, Leaving(self.incarnation))
        self._own_end(word)

    def _own_end(self, word: str) -> None:
        self.terminate(word)
        self._own_say(word, "")
        self._own_transport.flush(DRAIN_S)
        leave(0)

    def _own_fail(self, text: str) -> None:
        self._own_say("failed", text)
        try:
            self.log_failure(text)
        except BaseException:  # a closed terminal, a full disk, a bug in the hook: the process ends all the same
            leave(EXIT_FAILED)
        leave(EXIT_FAILED)


def address_of(path: str) -> Any:
    """The Thespian address of a directory entry, for `self.send`."""
    return address_at(path)
