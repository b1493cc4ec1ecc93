"""What writes to a disk, behind whoever must not wait for one: a write to a disk that stalls has no deadline, and no signal ends it."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable

WAITING_MAX = 10_000


class Behind:
    """Calls that are carried out one after the other in a thread. `do` never blocks; what a stalled disk leaves no room for is dropped."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], object]] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
        self._thread.start()

    def do(self, call: Callable[[], object]) -> bool:
        """Whether `call` will be carried out. What it raises goes to stderr."""
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            return False
        return True

    def finish(self, limit_s: float) -> bool:
        """Wait until what was asked for until now is done; False when it is not within `limit_s`."""
        done = threading.Event()
        return self.do(done.set) and done.wait(limit_s)

    def _run(self) -> None:
        while True:
            call = self._waiting.get()
            try:
                call()
            except Exception:  # a bug there must not cost what comes after it
                traceback.print_exc()
