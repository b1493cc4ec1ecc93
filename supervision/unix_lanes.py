"""Sending: one lane per peer; what the kernel does not take at once waits there, and no peer costs another anything."""

from __future__ import annotations

import errno
import select
import socket
from collections import deque
from typing import Final

from supervision.unix_wire import FRAME_BYTES_MAX, HELLO, Endpoint, token_for

LANE_MESSAGES_MAX: Final = 64
LANE_BYTES_MAX: Final = 2 * FRAME_BYTES_MAX


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


class Lanes:
    """All lanes of one process. tells_ends: keep a `LaneEnded` in `ended` when a peer has ended."""

    def __init__(self, poll: select.epoll, endpoint: Endpoint) -> None:
        self._poll = poll
        self._endpoint = endpoint
        self.by_path: dict[str, Lane] = {}
        self.by_fd: dict[int, Lane] = {}
        self.dropped = 0
        """Messages given up because their receiver did not read."""
        self.undeliverable = 0
        """Messages to addresses where nobody lives any more, and what was waiting in such a lane."""
        self.tells_ends = False
        self.ended: list[LaneEnded] = []

    def post_frame(self, path: str, frame: bytes) -> bool:
        """Hand a framed message over; False when nobody lives at `path`."""
        lane = self.by_path.get(path)
        if lane is None:
            lane = self.connect(path)
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
        return lane.writing or self.flush(lane)

    def connect(self, path: str) -> Lane | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(path)
        except OSError:  # gone, refused, or 4096 others are waiting there already
            sock.close()
            return None
        lane = Lane(path, sock)
        hello = (
            HELLO.pack(token_for(self._endpoint.key, path, self._endpoint.path), len(self._endpoint.path.encode()))
            + self._endpoint.path.encode()
        )
        lane.queue.append(hello)
        lane.bytes = len(hello)
        self.by_path[path] = self.by_fd[lane.fd] = lane
        self._poll.register(lane.fd, 0)  # the end of the peer is always told
        return lane

    def flush(self, lane: Lane) -> bool:
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
                self.end(lane)
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

    def end(self, lane: Lane) -> None:
        self.undeliverable += len(lane.queue)
        if self.tells_ends:
            unread = lane.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
            self.ended.append(LaneEnded(lane.path, unread))
        self.by_path.pop(lane.path, None)
        self.by_fd.pop(lane.fd, None)
        lane.socket.close()  # epoll forgets it with the last descriptor

    def waiting(self) -> int:
        """Messages that the kernel has not taken yet."""
        return sum(len(lane.queue) for lane in self.by_path.values() if lane.queue)

    def close(self) -> None:
        for lane in self.by_path.values():
            lane.socket.close()
        self.by_path.clear()
        self.by_fd.clear()

    def detach(self) -> None:
        """In a forked child: these are the parent's."""
        for lane in self.by_path.values():
            lane.socket.detach()
