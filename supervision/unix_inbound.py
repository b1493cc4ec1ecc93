"""Receiving: connections are accepted, prove who they are, and only then anything of theirs is unpickled."""

from __future__ import annotations

import hmac
import os
import pickle
import select
import socket
import struct
import time
from collections import deque
from typing import Any, Final

from thespian.system.transport import ReceiveEnvelope

from supervision.unix_wire import (
    FRAME,
    FRAME_BYTES_MAX,
    HELLO,
    PATH_BYTES_MAX,
    Endpoint,
    address_at,
    path_of,
    token_for,
)

READ_BYTES: Final = 16 << 10
UNPROVED_MAX: Final = 64
UNPROVED_S: Final = 5.0
"""Long enough for a peer that loses its processor between connecting and saying hello."""
CREDENTIALS: Final = struct.Struct("3i")

Letters = deque[tuple[int, Any]]
"""(CLOCK_MONOTONIC in ns when it was handed over, Thespian's envelope)."""


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


class Inbound:
    """All accepted connections of one process. What they say goes to `inbox`, or to `urgent` when the parent says it."""

    def __init__(self, poll: select.epoll, endpoint: Endpoint, inbox: Letters, urgent: Letters) -> None:
        self._poll = poll
        self._endpoint = endpoint
        self._inbox, self._urgent = inbox, urgent
        self.urgent_paths = {path_of(endpoint.parent)} if endpoint.parent is not None else set()
        """Whose messages go first: the supervisor's, and main's at root."""
        self.by_fd: dict[int, Incoming] = {}
        self.unproved: dict[int, Incoming] = {}
        self.refused_connections = 0
        self.unreadable = 0

    def accept(self) -> None:
        for _ in range(UNPROVED_MAX):
            try:
                sock, _address = self._endpoint.listener.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors: those who have said nothing go first
                if not self.unproved:
                    time.sleep(0.001)
                    return
                self.drop(next(iter(self.unproved.values())))
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
            self.by_fd[incoming.fd] = self.unproved[incoming.fd] = incoming
            self._poll.register(incoming.fd, select.EPOLLIN)
            self.read(incoming)  # a peer of ours has said hello before we could accept
            if len(self.unproved) > UNPROVED_MAX:
                self.drop(next(iter(self.unproved.values())))

    def drop(self, incoming: Incoming) -> None:
        if incoming.sender is None:
            self.refused_connections += 1
        self.by_fd.pop(incoming.fd, None)
        self.unproved.pop(incoming.fd, None)
        incoming.socket.close()

    def read(self, incoming: Incoming) -> None:
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
            self.drop(incoming)
            return
        buffer += data
        if incoming.sender is None and not self._prove(incoming):
            return
        at, end = 0, len(buffer)
        letters = self._urgent if incoming.urgent else self._inbox
        while end - at >= FRAME.size:
            length, stamp_ns = FRAME.unpack_from(buffer, at)
            if length > FRAME_BYTES_MAX:
                self.drop(incoming)
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
            self.drop(incoming)
            return False
        if len(buffer) < HELLO.size + length:
            return False
        sender = bytes(buffer[HELLO.size : HELLO.size + length]).decode(errors="replace")
        if not hmac.compare_digest(token, token_for(self._endpoint.key, self._endpoint.path, sender)):
            self.drop(incoming)
            return False
        incoming.sender = address_at(sender)
        incoming.urgent = sender in self.urgent_paths
        del self.unproved[incoming.fd]
        del buffer[: HELLO.size + length]
        return True

    def drop_the_silent(self) -> None:
        """Connections that have not said who they are for `UNPROVED_S`."""
        edge = time.monotonic() - UNPROVED_S
        for incoming in [each for each in self.unproved.values() if each.born_s < edge]:
            self.read(incoming)  # perhaps it has spoken while we were busy
            if incoming.fd in self.unproved:
                self.drop(incoming)

    def close(self) -> None:
        for incoming in self.by_fd.values():
            incoming.socket.close()
        self.by_fd.clear()
        self.unproved.clear()

    def detach(self) -> None:
        """In a forked child: these are the parent's."""
        for incoming in self.by_fd.values():
            incoming.socket.detach()
