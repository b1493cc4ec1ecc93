"""The bell that says "look again": who shall wake when a slot or a bar changed.

A *bell* is a Unix datagram socket, `<run>/bells/<role>.sock`, beside a text file of the products its owner wants. The
writer rings without ever blocking: a missing, full or dead receiver costs a few microseconds and nothing else. What
rings is not data: a queue of datagrams would keep the *oldest* quotes when it is full; the slot keeps the newest.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

ANY_PRODUCT = "*"
_RESCAN_S = 0.05


class _Folder:
    """Addresses of sockets in a folder whose own path may be longer than the 107 bytes a Unix address has room for."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def address(self, name: str) -> str:
        plain = str(self.path / name)
        return plain if len(os.fsencode(plain)) <= 100 else f"/proc/self/fd/{self._descriptor}/{name}"

    def close(self) -> None:
        os.close(self._descriptor)


class Bell:
    """A role's ear: `fileno()` for the watch, `drain()` when it wakes, `want()` when its products change."""

    def __init__(self, folder: Path, role: str, products: Iterable[str] = (ANY_PRODUCT,)) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_:.-]{1,60}", role):
            raise ValueError(f"{role!r} cannot name a bell in {folder}: letters, digits, and _ : . - only, at most 60")
        self._folder, self.role = _Folder(folder), role
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.want(products)
        (folder / f"{role}.sock").unlink(missing_ok=True)  # a predecessor's; binding needs the name free
        self.socket.bind(self._folder.address(f"{role}.sock"))

    def want(self, products: Iterable[str]) -> None:
        """Ring for these products only (`*`: for any). Taken up by the writer within 50 ms."""
        path = self._folder.path / f"{self.role}.wants"
        fresh = path.with_suffix(".new")
        fresh.write_text("\n".join(products))
        fresh.replace(path)

    def fileno(self) -> int:
        return self.socket.fileno()

    def drain(self) -> int:
        """Take all rings that wait; their number says nothing but "at least once"."""
        count = 0
        try:
            while True:
                self.socket.recv(16)
                count += 1
        except BlockingIOError:
            return count

    def close(self) -> None:
        self.socket.close()
        for suffix in (".sock", ".wants"):
            (self._folder.path / f"{self.role}{suffix}").unlink(missing_ok=True)
        self._folder.close()


class BellRinger:
    """The writer's side: one non-blocking datagram to each bell that wants one of the products."""

    def __init__(self, folder: Path) -> None:
        self._folder = _Folder(folder)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._wants: dict[str, list[str]] = {}
        self._dead: set[str] = set()
        self._changed_ns = -1
        self._look_again_s = 0.0
        self.rung = self.full = self.refused = 0

    def ring(self, product_ids: Sequence[str]) -> int:
        """Returns how many bells took the ring. Full queues need none (their owner will wake anyway); dead ones are skipped."""
        now_s = time.monotonic()
        if now_s >= self._look_again_s:
            self._look_again_s = now_s + _RESCAN_S
            self._rescan()
        targets = {target for product_id in product_ids for target in self._wants.get(product_id, ())}
        targets.update(self._wants.get(ANY_PRODUCT, ()))
        rung = 0
        for target in targets - self._dead if self._dead else targets:
            try:
                self._socket.sendto(b"!", target)
                rung += 1
            except BlockingIOError:
                self.full += 1
            except OSError:
                # Dead or gone. Its file stays, since a successor may be binding that name right now; a new name or
                # want changes the folder's time and brings it back.
                self.refused += 1
                self._dead.add(target)
        self.rung += rung
        return rung

    def _rescan(self) -> None:
        try:
            changed_ns = self._folder.path.stat().st_mtime_ns
            if changed_ns == self._changed_ns:
                return
            wants: dict[str, list[str]] = {}
            for path in self._folder.path.glob("*.wants"):
                for product_id in path.read_text().split():
                    wants.setdefault(product_id, []).append(self._folder.address(f"{path.stem}.sock"))
            # A change within the clock tick of this scan would go unseen: then look once more.
            self._changed_ns = changed_ns if time.time_ns() - changed_ns > 20_000_000 else -1
            self._wants, self._dead = wants, set()
        except OSError:
            return  # a file vanished between listing and reading; the next look sees the new folder

    def close(self) -> None:
        self._socket.close()
        self._folder.close()
