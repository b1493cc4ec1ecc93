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
"""

# ruff: noqa: PTH108, PTH119 -- plain paths: this runs in every fork

from __future__ import annotations

import contextlib
import errno
import hashlib
import heapq
import hmac
import os
import pickle
import select
import socket
import struct
import time
from collections import deque
from datetime import timedelta
from itertools import count
from typing import Any, Final

from thespian.actors import ActorAddress, WakeupMessage, WatchMessage
from thespian.system.transport import (
    ReceiveEnvelope,
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    Thespian__UpdateWork,
    TransmitOnly,
)

FRAME_BYTES_MAX: Final = 8 << 20
LANE_MESSAGES_MAX: Final = 64
INBOX_MESSAGES_MAX: Final = 100_000
"""What others send is bounded by READ_BYTES already; this bounds what a process sends to itself."""
LANE_BYTES_MAX: Final = 2 * FRAME_BYTES_MAX
READ_BYTES: Final = 16 << 10
UNPROVED_MAX: Final = 64
UNPROVED_S: Final = 5.0
"""Long enough for a peer that loses its processor between connecting and saying hello."""
URGENT_EVERY_NS: Final = 5_000_000
"""While a backlog is worked off, the parent (pings, stop) is listened to this often."""
PATH_BYTES_MAX: Final = 107
"""sun_path of Linux without its final zero."""
TOKEN_BYTES: Final = 16
HELLO: Final = struct.Struct(f"<{TOKEN_BYTES}sH")
FRAME: Final = struct.Struct("<IQ")
"""Length of the pickle; CLOCK_MONOTONIC in ns when it was handed over, which makes the age of a mailbox visible."""
CREDENTIALS: Final = struct.Struct("3i")


class UnixAddress:
    """A socket's path. Unlike a port it is never used again."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnixAddress) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __str__(self) -> str:
        return f"(U|{os.path.basename(self.path)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return UnixAddress, (self.path,)


def address_at(path: str) -> Any:
    return ActorAddress(UnixAddress(path))


def path_of(address: Any) -> str:
    path: str = address.addressDetails.path
    return path


def listen_at(path: str) -> socket.socket:
    """A listening socket; made by the parent before the fork, so that mail for a child is taken from its first instant."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(path)
    listener.listen(4096)
    return listener


def listens_at(path: str) -> bool:
    """Whether a process still holds the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        return probe.connect_ex(path) in (0, errno.EAGAIN)


def token_for(key: bytes, receiver: str, sender: str) -> bytes:
    return hashlib.blake2b(f"{receiver}\0{sender}".encode(), key=key, digest_size=TOKEN_BYTES).digest()


def framed(message: object) -> bytes:
    """One message as bytes.

    :raises ValueError: it is larger than FRAME_BYTES_MAX.
    """
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(
            f"message {type(message).__name__} has {len(body)} bytes, more than {FRAME_BYTES_MAX}: send less, or a path"
        )
    return FRAME.pack(len(body), time.monotonic_ns()) + body


class Incoming:
    """One accepted connection."""

    __slots__ = ("born_s", "buffer", "fd", "sender", "socket", "urgent")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.buffer = bytearray()
        self.sender: Any = None
        """The peer's address, once its token was right."""
        self.urgent = False
        self.born_s = time.monotonic()


class Lane:
    """What waits for one peer."""

    __slots__ = ("bytes", "fd", "offset", "path", "queue", "socket", "writing")

    def __init__(self, path: str, sock: socket.socket) -> None:
        self.path = path
        self.socket = sock
        self.fd = sock.fileno()
        self.queue: deque[bytes] = deque()
        self.offset = 0
        """How much of the first entry is written already."""
        self.bytes = 0
        self.writing = False
        """The kernel's buffer is full; epoll tells when it is not."""


class LaneEnded:
    """A peer has ended. `unread`: before it had read all we sent; the kernel tells by ECONNRESET."""

    def __init__(self, path: str, unread: bool) -> None:
        self.path = path
        self.unread = unread


class Endpoint:
    """What a process needs to speak: its own socket and the run's key. `letter` is its first message."""

    def __init__(
        self, path: str, listener: socket.socket, folder: str, key: bytes, parent: Any, letter: Any = None
    ) -> None:
        self.path = path
        self.listener = listener
        self.folder = folder
        self.key = key
        self.parent = parent
        self.letter = letter


class UnixTransport:
    """Thespian's transport interface over Unix sockets. Used from one thread, except `interrupt_wait`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.myAddress = address_at(endpoint.path)
        self.my_path = endpoint.path
        self.urgent_paths = {path_of(endpoint.parent)} if endpoint.parent is not None else set()
        """Whose messages go first: the supervisor's, and main's at root."""
        self._poll = select.epoll()
        self._listener = endpoint.listener
        self._poll.register(self._listener, select.EPOLLIN)
        self._bell, self._bell_far = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_far.setblocking(False)
        self._poll.register(self._bell, select.EPOLLIN)
        self._incoming: dict[int, Incoming] = {}
        self._unproved: dict[int, Incoming] = {}
        self._lanes: dict[str, Lane] = {}
        self._lane_by_fd: dict[int, Lane] = {}
        self._inbox: deque[tuple[int, Any]] = deque()
        self._urgent: deque[tuple[int, Any]] = deque()
        self._wakeups: list[tuple[float, int, timedelta, Any]] = []
        self._numbers = count()
        self._watched: list[Any] = []
        self._watched_fds: list[int] = []
        self._aborting: bool | None = None
        self._turned_ns = 0
        self.on_bell: Any = None
        """Called after a signal, when what the dead had sent is in the inbox."""
        self.dropped = 0
        """Messages given up because their receiver did not read."""
        self.undeliverable = 0
        """Messages to addresses where nobody lives any more, and what was waiting in such a lane."""
        self.refused_connections = 0
        self.unreadable = 0
        self.oldest_ns = 0
        """The longest wait of a message in the mailbox since `take_mailbox_age_s`."""
        self.closed = False
        self.tells_lane_ends = False
        """Put a `LaneEnded` into the inbox when a peer has ended."""
        self._ended: list[LaneEnded] = []
        if endpoint.letter is not None:
            self._urgent.append((time.monotonic_ns(), ReceiveEnvelope(endpoint.parent, endpoint.letter)))
            endpoint.letter = None

    # ---- sending ----------------------------------------------------------------------------------------------------

    def post(self, address: Any, message: object) -> bool:
        """Hand a message over; False when nobody lives there. What cannot be pickled raises here, in the sender."""
        path = path_of(address)
        if path == self.my_path:
            return self.deliver(message)
        return self.post_frame(path, framed(message))

    def post_frame(self, path: str, frame: bytes) -> bool:
        """As `post`, for what is pickled already: a broadcast pickles once."""
        lane = self._lanes.get(path)
        if lane is None:
            lane = self._connect(path)
            if lane is None:
                self.undeliverable += 1
                return False
        queue = lane.queue
        while queue and (len(queue) >= LANE_MESSAGES_MAX or lane.bytes + len(frame) > LANE_BYTES_MAX):
            # The oldest goes: of snapshots the newest counts, and commands are repeated.
            at = 1 if lane.offset else 0
            if at >= len(queue):
                break
            lane.bytes -= len(queue[at])
            del queue[at]
            self.dropped += 1
        queue.append(frame)
        lane.bytes += len(frame)
        return lane.writing or self._flush(lane)

    def _connect(self, path: str) -> Lane | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(path)
        except OSError:  # gone, refused, or 4096 others are waiting there already
            sock.close()
            return None
        lane = Lane(path, sock)
        hello = (
            HELLO.pack(token_for(self.endpoint.key, path, self.my_path), len(self.my_path.encode()))
            + self.my_path.encode()
        )
        lane.queue.append(hello)
        lane.bytes = len(hello)
        self._lanes[path] = self._lane_by_fd[lane.fd] = lane
        self._poll.register(lane.fd, 0)  # the end of the peer is always told
        return lane

    def _flush(self, lane: Lane) -> bool:
        queue = lane.queue
        while queue:
            data = queue[0]
            try:
                if lane.offset:
                    sent = lane.socket.send(memoryview(data)[lane.offset :], socket.MSG_NOSIGNAL)
                    whole = len(data) - lane.offset
                elif len(queue) > 1:
                    batch = list(queue)[:16]
                    sent = lane.socket.sendmsg(batch, (), socket.MSG_NOSIGNAL)
                    while queue and sent >= len(queue[0]):
                        sent -= len(queue[0])
                        lane.bytes -= len(queue.popleft())
                    lane.offset = sent
                    continue
                else:
                    sent = lane.socket.send(data, socket.MSG_NOSIGNAL)
                    whole = len(data)
            except BlockingIOError:
                if not lane.writing:
                    lane.writing = True
                    self._poll.modify(lane.fd, select.EPOLLOUT)
                return True
            except OSError:
                self._close_lane(lane)
                return False
            if sent == whole:
                lane.bytes -= len(data)
                lane.offset = 0
                queue.popleft()
            else:
                lane.offset += sent
        if lane.writing:
            lane.writing = False
            self._poll.modify(lane.fd, 0)
        return True

    def _close_lane(self, lane: Lane) -> None:
        self.undeliverable += len(lane.queue)
        if self.tells_lane_ends:
            unread = lane.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
            self._ended.append(LaneEnded(lane.path, unread))
        self._lanes.pop(lane.path, None)
        self._lane_by_fd.pop(lane.fd, None)
        lane.socket.close()  # epoll forgets it with the last descriptor

    def waiting(self) -> int:
        """Messages that the kernel has not taken yet."""
        return sum(len(lane.queue) for lane in self._lanes.values() if lane.queue)

    def flush(self, limit_s: float) -> None:
        """Give what waits a last chance, at most `limit_s`."""
        deadline = time.monotonic() + limit_s
        while self.waiting() and (left := deadline - time.monotonic()) > 0:
            self._turn(min(left, 0.05), reading=False)

    # ---- receiving --------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(UNPROVED_MAX):
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors: those who have said nothing go first
                if not self._unproved:
                    time.sleep(0.001)
                    return
                self._drop_incoming(next(iter(self._unproved.values())))
                continue
            sock.setblocking(False)
            _pid, uid, _gid = CREDENTIALS.unpack(
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
            )
            if uid != os.geteuid():
                self.refused_connections += 1
                sock.close()
                continue
            incoming = Incoming(sock)
            self._incoming[incoming.fd] = self._unproved[incoming.fd] = incoming
            self._poll.register(incoming.fd, select.EPOLLIN)
            self._read(incoming)  # a peer of ours has said hello before we could accept
            if len(self._unproved) > UNPROVED_MAX:
                self._drop_incoming(next(iter(self._unproved.values())))

    def _drop_incoming(self, incoming: Incoming) -> None:
        if incoming.sender is None:
            self.refused_connections += 1
        self._incoming.pop(incoming.fd, None)
        self._unproved.pop(incoming.fd, None)
        incoming.socket.close()

    def _read(self, incoming: Incoming) -> None:
        buffer = incoming.buffer
        size = READ_BYTES
        if len(buffer) >= FRAME.size and incoming.sender is not None:  # the rest of a large one may be taken at a gulp
            size = max(size, min(1 << 20, FRAME.unpack_from(buffer)[0] + FRAME.size - len(buffer)))
        try:
            data = incoming.socket.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop_incoming(incoming)
            return
        buffer += data
        if incoming.sender is None and not self._prove(incoming):
            return
        at, end = 0, len(buffer)
        letters = self._urgent if incoming.urgent else self._inbox
        while end - at >= FRAME.size:
            length, stamp_ns = FRAME.unpack_from(buffer, at)
            if length > FRAME_BYTES_MAX:
                self._drop_incoming(incoming)
                return
            if end - at < FRAME.size + length:
                break
            body = bytes(buffer[at + FRAME.size : at + FRAME.size + length])
            at += FRAME.size + length
            try:
                message = pickle.loads(body)  # noqa: S301 -- only after the token: it comes from this run
            except Exception:  # a class that this process cannot import
                self.unreadable += 1
                continue
            letters.append((stamp_ns, ReceiveEnvelope(incoming.sender, message)))
        if at:
            del buffer[:at]

    def _prove(self, incoming: Incoming) -> bool:
        buffer = incoming.buffer
        if len(buffer) < HELLO.size:
            return False
        token, length = HELLO.unpack_from(buffer)
        if length > PATH_BYTES_MAX:
            self._drop_incoming(incoming)
            return False
        if len(buffer) < HELLO.size + length:
            return False
        sender = bytes(buffer[HELLO.size : HELLO.size + length]).decode(errors="replace")
        if not hmac.compare_digest(token, token_for(self.endpoint.key, self.my_path, sender)):
            self._drop_incoming(incoming)
            return False
        incoming.sender = address_at(sender)
        incoming.urgent = sender in self.urgent_paths
        del self._unproved[incoming.fd]
        del buffer[: HELLO.size + length]
        return True

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
                if not self.waiting():
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
            if self._aborting is not None and not (self._aborting and self.waiting()):
                return Thespian__Run_Terminated()
            now = time.monotonic()
            if not transmit_only and self._wake_due(now):
                continue
            if until is not None and now >= until and looked:  # even with no time at all, what is there is taken
                return self.waiting() if transmit_only else Thespian__Run_Expired()
            ends = [end for end in (until, self._wakeups[0][0] if self._wakeups else None) if end is not None]
            timeout = max(0.0, min(ends) - now) if ends else None
            if self._inbox or self._urgent:
                timeout = 0.0
            if self._unproved:
                timeout = 1.0 if timeout is None else min(timeout, 1.0)
            self._turn(timeout, reading=not transmit_only)
            looked = True

    def _turn(self, timeout: float | None, *, reading: bool = True, urgent_only: bool = False) -> None:
        """Look once what the kernel has for us. With `urgent_only` others than the parent wait: the backlog goes first."""
        rang = False
        ready = []
        for fd, mask in self._poll.poll(timeout):
            if (incoming := self._incoming.get(fd)) is not None:
                if reading and (incoming.urgent or not urgent_only or incoming.sender is None):
                    self._read(incoming)
            elif (lane := self._lane_by_fd.get(fd)) is not None:
                if mask & (select.EPOLLHUP | select.EPOLLERR):
                    self._close_lane(lane)
                else:
                    self._flush(lane)
            elif fd == self._listener.fileno():
                if reading:
                    self._accept()
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
        while self._ended:
            self.deliver(self._ended.pop())  # after what the peer had still said
        if self._unproved:
            edge = time.monotonic() - UNPROVED_S
            for incoming in [each for each in self._unproved.values() if each.born_s < edge]:
                self._read(incoming)  # perhaps it has spoken while we were busy
                if incoming.fd in self._unproved:
                    self._drop_incoming(incoming)

    def deliver(self, message: object) -> bool:
        """Put a message of our own process into the inbox; False, and counted, when an actor floods itself."""
        if len(self._inbox) >= INBOX_MESSAGES_MAX:
            self.dropped += 1
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
        for sock in (self._listener, self._bell, self._bell_far, *(i.socket for i in self._incoming.values())):
            sock.close()
        for lane in self._lanes.values():
            lane.socket.close()
        self._incoming.clear()
        self._unproved.clear()
        self._lanes.clear()
        self._lane_by_fd.clear()
        self._poll.close()

    def forget(self) -> None:
        """In a forked child: let go of the parent's sockets without touching what its descriptors mean there."""
        for sock in (self._listener, self._bell, self._bell_far, *(i.socket for i in self._incoming.values())):
            sock.detach()
        for lane in self._lanes.values():
            lane.socket.detach()
        self._poll.close()

    def setAddressManager(self, addressManager: Any) -> None:  # noqa: N802, N803
        self._address_manager = addressManager

    def deadAddress(self, addressManager: Any, childAddr: Any) -> None:  # noqa: ARG002, N802, N803
        details = getattr(childAddr, "addressDetails", None)
        if isinstance(details, UnixAddress) and (lane := self._lanes.get(details.path)) is not None:
            self._close_lane(lane)

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
