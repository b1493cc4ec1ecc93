"""Only main handles signals: a flag, looked at by its loop. SIGUSR1 asks for the tree in words."""

from __future__ import annotations

import signal
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """`wanted`: the name of the first signal that asks for an end, "" before."""

    def __init__(self) -> None:
        self.wanted = ""
        self.show_tree = False
        for number in STOPPING:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._show)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.wanted = self.wanted or signal.Signals(number).name

    def _show(self, _number: int, _frame: FrameType | None) -> None:
        self.show_tree = True
