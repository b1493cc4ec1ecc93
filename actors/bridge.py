"""From a thread to its actor: a bounded queue and one byte into a socket pair, so that the actor's watch wakes."""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Any


class Bridge:
    """`put` from any thread, `drain` on the actor's. What is beyond `limit` is dropped, oldest first, and counted."""

    def __init__(self, limit: int = 10_000) -> None:
        self._items: deque[Any] = deque(maxlen=limit)
        self._lock = threading.Lock()
        self._rung = False
        self.dropped = 0
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def fileno(self) -> int:
        return self._near.fileno()

    def put(self, item: Any) -> None:
        with self._lock:
            self.dropped += len(self._items) == self._items.maxlen
            self._items.append(item)
            ring, self._rung = not self._rung, True
        if ring:
            with suppress(OSError):  # closed: nobody listens any more
                self._far.send(b"!")

    def drain(self) -> list[Any]:
        with suppress(OSError):
            self._near.recv(64)
        with self._lock:
            out = list(self._items)
            self._items.clear()
            self._rung = False
        return out
