"""Addresses of the venue's name, in time: the one thing below us that knows no timeout at all."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

RESOLVED_S = 60.0
"""How long an answer is fresh. An older one still serves while a new one cannot be had."""
KNOWN_WAIT_S = 1.0
"""So long an older one waits for a new one: most calls have 5 s in all, and a dead name server takes longer."""


class Resolver:
    """Addresses of a host, at most `timeout_s` late: `getaddrinfo` runs in a daemon thread, and old answers outlive failures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], tuple[float, list[Any]]] = {}
        self._pending: dict[tuple[str, int], threading.Event] = {}

    def addresses(self, host: str, port: int, timeout_s: float) -> list[Any]:
        """`getaddrinfo` rows. Raises OSError when there are none in time."""
        try:
            ipaddress.ip_address(host.strip("[]"))
            return socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except ValueError:
            pass
        key = (host, port)
        with self._lock:
            at, rows = self._known.get(key, (-RESOLVED_S, []))
            if rows and time.monotonic() - at < RESOLVED_S:
                return rows
            done = self._pending.get(key)
            if done is None:
                done = self._pending[key] = threading.Event()
                threading.Thread(target=self._resolve, args=(key, done), name="resolver", daemon=True).start()
        done.wait(min(timeout_s / 4.0, KNOWN_WAIT_S) if rows else timeout_s)
        with self._lock:
            rows = self._known.get(key, (0.0, []))[1]
        if not rows:
            raise OSError(f"no address for {host} within {timeout_s:.1f} s")
        return rows

    def _resolve(self, key: tuple[str, int], done: threading.Event) -> None:
        try:
            rows = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
        except OSError:
            rows = []
        with self._lock:
            if rows:
                self._known[key] = (time.monotonic(), rows)
            self._pending.pop(key, None)
        done.set()
