"""How messages travel between processes: one Unix stream per direction and pair, in a 0700 folder.

It takes the place of Thespian's TCP transport underneath Thespian's own actor manager and admin, because that one listens to
everybody, unpickles anything, builds a selector anew per message and lets one stopped receiver mute a sender for all others.

- A connection begins with a token: a keyed hash of both addresses under the run's key, which exists in memory only and reaches
  children through the fork. Nothing is unpickled before the token was right; another user is refused by the kernel's word.
- Each peer has a lane: what the kernel does not take at once waits there, LANE_MESSAGES_MAX at most, then the oldest is dropped
  and counted. No peer costs another anything.
- A process reads READ_BYTES per connection and turn, so the mailbox is the kernel's buffers: bounded, and fair between senders.
- There is no acknowledgement: written means handed to the kernel, and a message can die with its receiver. Order per pair holds,
  nothing comes twice, an address is never used again.

Here is the loop and what Thespian calls; `unix_wire` has addresses and frames, `unix_lanes` sends, `unix_inbound` receives.
"""

# ruff: noqa: PTH108 -- plain paths: this runs in every fork

from __future__ import annotations

import contextlib
import heapq
import os
import select
import socket
import time
from collections import deque
from datetime import timedelta
from itertools import count
from typing import Any, Final

from thespian.actors import WakeupMessage, WatchMessage
from thespian.system.transport import (
    ReceiveEnvelope,
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    Thespian__UpdateWork,
    TransmitOnly,
)

from supervision.unix_inbound import Inbound, Letters
from supervision.unix_lanes import Lanes
from supervision.unix_wire import Endpoint, UnixAddress, address_at, framed, path_of

INBOX_MESSAGES_MAX: Final = 100_000
"""What others send is bounded by READ_BYTES already; this bounds what a process sends to itself."""
URGENT_EVERY_NS: Final = 5_000_000
"""While a backlog is worked off, the parent (pings, stop) is listened to this often."""


class UnixTransport:
    """Thespian's transport interface over Unix sockets. Used from one thread, except `interrupt_wait`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.myAddress = address_at(endpoint.path)
        self.my_path = endpoint.path
        self._poll = select.epoll()
        self._listener = endpoint.listener
        self._poll.register(self._listener, select.EPOLLIN)
        self._bell, self._bell_far = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_far.setblocking(False)
        self._poll.register(self._bell, select.EPOLLIN)
        self._inbox: Letters = deque()
        self._urgent: Letters = deque()
        self.lanes = Lanes(self._poll, endpoint)
        self.inbound = Inbound(self._poll, endpoint, self._inbox, self._urgent)
        self._wakeups: list[tuple[float, int, timedelta, Any]] = []
        self._numbers = count()
        self._watched: list[Any] = []
        self._watched_fds: list[int] = []
        self._aborting: bool | None = None
        self._turned_ns = 0
        self.on_bell: Any = None
        """Called after a signal, when what the dead had sent is in the inbox."""
        self._overflowed = 0
        """Messages to itself that found the inbox full."""
        self.oldest_ns = 0
        """The longest wait of a message in the mailbox since `take_mailbox_age_s`."""
        self.closed = False
        if endpoint.letter is not None:
            self._urgent.append((time.monotonic_ns(), ReceiveEnvelope(endpoint.parent, endpoint.letter)))
            endpoint.letter = None

    @property
    def dropped(self) -> int:
        """Messages given up because their receiver did not read."""
        return self.lanes.dropped + self._overflowed

    # ---- sending ----------------------------------------------------------------------------------------------------

    def post(self, address: Any, message: object) -> bool:
        """Hand a message over; False when nobody lives there. What cannot be pickled raises here, in the sender."""
        path = path_of(address)
        if path == self.my_path:
            return self.deliver(message)
        return self.post_frame(path, framed(message))

    def post_frame(self, path: str, frame: bytes) -> bool:
        """As `post`, for what is pickled already: a broadcast pickles once."""
        return self.lanes.post_frame(path, frame)

    def flush(self, limit_s: float) -> None:
        """Give what waits a last chance, at most `limit_s`."""
        deadline = time.monotonic() + limit_s
        while self.lanes.waiting() and (left := deadline - time.monotonic()) > 0:
            self._turn(min(left, 0.05), reading=False)

    def take_mailbox_age_s(self) -> float:
        oldest, self.oldest_ns = self.oldest_ns, 0
        return oldest / 1e9

    # ---- the loop ---------------------------------------------------------------------------------------------------

    def run(self, handler: Any, maximumDuration: timedelta | None = None) -> Any:  # noqa: N803 -- Thespian's name
        """Receive and send until the handler says no, the time is over or `abort_run`; Thespian's results."""
        until = None if maximumDuration is None else time.monotonic() + maximumDuration.total_seconds()
        transmit_only = handler is TransmitOnly or isinstance(handler, TransmitOnly)
        self._aborting = None
        looked = False
        while True:
            if transmit_only:
                if not self.lanes.waiting():
                    return 0
            else:
                for _ in range(
                    len(self._urgent) + len(self._inbox)
                ):  # what a handler sends to itself waits for the next turn
                    stamp_ns, envelope = (self._urgent or self._inbox).popleft()
                    if handler is None:
                        return envelope
                    now_ns = time.monotonic_ns()
                    self.oldest_ns = max(self.oldest_ns, now_ns - stamp_ns)
                    result = Thespian__Run_HandlerResult(handler(envelope))
                    if not result:
                        return result
                    if self._inbox and now_ns - self._turned_ns > URGENT_EVERY_NS:
                        self._turn(0, urgent_only=True)
            if self._aborting is not None and not (self._aborting and self.lanes.waiting()):
                return Thespian__Run_Terminated()
            now = time.monotonic()
            if not transmit_only and self._wake_due(now):
                continue
            if until is not None and now >= until and looked:  # even with no time at all, what is there is taken
                return self.lanes.waiting() if transmit_only else Thespian__Run_Expired()
            ends = [end for end in (until, self._wakeups[0][0] if self._wakeups else None) if end is not None]
            timeout = max(0.0, min(ends) - now) if ends else None
            if self._inbox or self._urgent:
                timeout = 0.0
            if self.inbound.unproved:
                timeout = 1.0 if timeout is None else min(timeout, 1.0)
            self._turn(timeout, reading=not transmit_only)
            looked = True

    def _turn(self, timeout: float | None, *, reading: bool = True, urgent_only: bool = False) -> None:
        """Look once what the kernel has for us. With `urgent_only` others than the parent wait: the backlog goes first."""
        rang = False
        ready = []
        for fd, mask in self._poll.poll(timeout):
            if (incoming := self.inbound.by_fd.get(fd)) is not None:
                if reading and (incoming.urgent or not urgent_only or incoming.sender is None):
                    self.inbound.read(incoming)
            elif (lane := self.lanes.by_fd.get(fd)) is not None:
                if mask & (select.EPOLLHUP | select.EPOLLERR):
                    self.lanes.end(lane)
                else:
                    self.lanes.flush(lane)
            elif fd == self._listener.fileno():
                if reading:
                    self.inbound.accept()
            elif urgent_only:
                pass
            elif fd == self._bell.fileno():
                with contextlib.suppress(BlockingIOError):
                    while self._bell.recv(4096):
                        pass
                rang = True
            elif fd in self._watched_fds:
                ready.append(fd)
        if ready and reading:
            self._inbox.append((time.monotonic_ns(), ReceiveEnvelope(self.myAddress, WatchMessage(ready))))
        self._turned_ns = time.monotonic_ns()
        if rang and self.on_bell is not None:
            self.on_bell()  # last: what a dead child had sent must be read before its death is told
        while self.lanes.ended:
            self.deliver(self.lanes.ended.pop())  # after what the peer had still said
        if self.inbound.unproved:
            self.inbound.drop_the_silent()

    def deliver(self, message: object) -> bool:
        """Put a message of our own process into the inbox; False, and counted, when an actor floods itself."""
        if len(self._inbox) >= INBOX_MESSAGES_MAX:
            self._overflowed += 1
            return False
        self._inbox.append((time.monotonic_ns(), ReceiveEnvelope(self.myAddress, message)))
        return True

    def bell_fd(self) -> int:
        """For `signal.set_wakeup_fd`."""
        return self._bell_far.fileno()

    # ---- what Thespian calls ----------------------------------------------------------------------------------------

    def scheduleTransmit(self, addressManager: Any, intent: Any, has_exclusive_flag: bool = False) -> None:  # noqa: ARG002, N802, N803
        """Thespian's own sends (admin, exit requests). Local addresses raise as Thespian expects."""
        address, message = intent.targetAddr, intent.message
        if addressManager is not None:
            address, message = addressManager.prepMessageSend(address, message)
            if address is None:
                from thespian.system.addressManager import CannotPickleAddress

                raise CannotPickleAddress(intent.targetAddr)
        if isinstance(message, Thespian__UpdateWork):
            intent.tx_done(SendStatus.Sent)
            return
        intent.tx_done(SendStatus.Sent if self.post(address, message) else SendStatus.DeadTarget)

    def addWakeup(self, timePeriod: timedelta, payload: Any) -> None:  # noqa: N802, N803
        due = time.monotonic() + timePeriod.total_seconds()
        heapq.heappush(self._wakeups, (due, next(self._numbers), timePeriod, payload))

    def _wake_due(self, now: float) -> bool:
        woke = False
        while self._wakeups and self._wakeups[0][0] <= now:
            due, _number, period, payload = heapq.heappop(self._wakeups)
            stamp_ns = time.monotonic_ns() - int(max(0.0, now - due) * 1e9)
            self._urgent.append((stamp_ns, ReceiveEnvelope(self.myAddress, WakeupMessage(period, payload))))
            woke = True
        return woke

    def set_watch(self, filenos: list[int]) -> None:
        """Descriptors whose readiness is a `WatchMessage`. The same list object again changes nothing."""
        if filenos is self._watched or (not filenos and not self._watched_fds):
            return
        for fd in self._watched_fds:
            with contextlib.suppress(OSError, ValueError):
                self._poll.unregister(fd)
        self._watched = filenos
        self._watched_fds = []
        for fd in filenos:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile: nothing to watch
                self._poll.register(fd, select.EPOLLIN)
                self._watched_fds.append(fd)

    def interrupt_wait(self, signal_shutdown: bool = False, check_children: bool = False) -> None:  # noqa: ARG002
        with contextlib.suppress(OSError):
            self._bell_far.send(b"!")

    def abort_run(self, drain: bool = False) -> None:
        self._aborting = drain

    def close(self) -> None:
        """Close everything and take our address out of the folder."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(OSError):
            os.unlink(self.my_path)
        for sock in (self._listener, self._bell, self._bell_far):
            sock.close()
        self.inbound.close()
        self.lanes.close()
        self._poll.close()

    def forget(self) -> None:
        """In a forked child: let go of the parent's sockets without touching what its descriptors mean there."""
        for sock in (self._listener, self._bell, self._bell_far):
            sock.detach()
        self.inbound.detach()
        self.lanes.detach()
        self._poll.close()

    def setAddressManager(self, addressManager: Any) -> None:  # noqa: N802, N803
        self._address_manager = addressManager

    def deadAddress(self, addressManager: Any, childAddr: Any) -> None:  # noqa: ARG002, N802, N803
        details = getattr(childAddr, "addressDetails", None)
        if isinstance(details, UnixAddress) and (lane := self.lanes.by_path.get(details.path)) is not None:
            self.lanes.end(lane)

    def enableRXPauseFlowControl(self, enable: bool = True) -> None:  # noqa: N802
        """The kernel's buffers are our flow control."""

    def connectEndpoint(self, endPoint: Any) -> None:  # noqa: N802, N803
        """A child's socket exists before the child does."""

    def childResetFileNumList(self) -> list[int]:  # noqa: N802
        return []

    def lostRemote(self, rmtaddr: Any) -> None:  # noqa: N802
        """There are no remote systems."""

    def _updateStatusResponse(self, response: Any) -> None:  # noqa: N802
        """Thespian's status report; the tree has its own snapshot."""
