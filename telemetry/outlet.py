"""A terminal that was stopped (Ctrl-S) or a pipe whose reader hangs never holds up who writes to it.

Writers hand over whole texts; a thread of the outlet's own gives them to the descriptor, one after the other.
"""

from __future__ import annotations

import errno
import io
import os
import select
import threading
from typing import TextIO

KEPT_BYTES = 1_000_000
"""Some ten thousand lines: what is offered beyond them is refused until the reader reads again."""

FULL = (errno.ENOSPC, errno.EDQUOT)


class Outlet(io.TextIOBase):
    """A text stream on a descriptor. No call blocks for longer than it was asked to, and none raises."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._waiting: list[bytes] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._broken = False
        self.waiting_bytes = 0
        """Handed over, and not yet taken by the reader."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a plain attribute
        return "utf-8"

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def offer(self, text: str) -> bool:
        """Whether `text` was taken: False while the reader is a million bytes behind. It appears whole and in order."""
        data = text.encode(errors="backslashreplace")
        with self._changed:
            if self._broken:
                return True
            if self.waiting_bytes and self.waiting_bytes + len(data) > KEPT_BYTES:
                return False
            self._waiting.append(data)
            self.waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return True

    def write(self, text: str) -> int:
        self.offer(text)
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread writes as fast as the reader reads."""

    def drain(self, limit_s: float) -> bool:
        """Wait until everything is written; False when the reader did not take it within `limit_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.waiting_bytes, limit_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = b"".join(self._waiting)
                self._waiting.clear()
            while data:
                taken = self._write(data)
                data = data[taken:]
                with self._changed:
                    self.waiting_bytes -= taken
                    self._changed.notify_all()

    def _write(self, data: bytes) -> int:
        """How much of it is done with."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:  # another program made the shared terminal non-blocking
            select.select([], [self._fd], [])
            return 0
        except OSError as error:  # a closed pipe, a terminal that is gone: nobody's problem; a disk has room again
            self._broken = error.errno not in FULL
            return len(data)


def outlet_on(stream: TextIO | None) -> Outlet:
    """The outlet for a standard stream; into nothing when the program was started without it."""
    try:
        return Outlet(stream.fileno())  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        return Outlet(os.open(os.devnull, os.O_WRONLY))
