"""What the conductor asks of the world: files at once, the tree on main's thread, everything with the network in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from loguru import logger

from actors.bridge import Bridge
from actors.clock import boot_s
from actors.processes import started_ticks, tree_pids
from actors.sweeping import Sweeping, list_ours
from exchange.coinbase import fences
from state.files import write_durably
from telemetry.notify import alert_urls, notify_now
from trading.messages.control import (
    AlertPeople,
    EngageKillFile,
    FenceWritten,
    HandOver,
    ListOurs,
    StopTree,
    SweepOrdered,
    TreeStopped,
    WriteBeat,
    WriteFence,
)

if TYPE_CHECKING:
    from actors.conducting import Conducting

HANDED_OVER = "handed_over"
ALERT_S_MAX = 3.0
DEAF_STOP_S = 0.3


class Requests:
    """`carry_out` never raises; what is answered waits for `answers`."""

    def __init__(self, conducting: Conducting) -> None:
        self._c = conducting
        self._run = conducting.plan.run_folder
        self._done = Bridge()
        self._sweeping: Sweeping | None = None
        self._stop: StopTree | None = None
        self._alerts: list[threading.Thread] = []

    def answers(self) -> Iterable[object]:
        if self._stop is not None:
            request, self._stop = self._stop, None
            self._stop_tree(request)
        found = self._done.drain()
        return found if self._sweeping is None else [*found, *self._sweeping.bridge.drain()]

    def carry_out(self, request: object) -> None:
        try:
            self._carry_out(request)
        except OSError as error:
            logger.error(f"{type(request).__name__} failed: {error}")

    def _carry_out(self, request: object) -> None:
        match request:
            case WriteBeat():
                fences.write_beat(self._run, fences.Beat(request.run_number, request.state, request.boot_s))
            case WriteFence():
                self._write_fence(request)
            case StopTree():
                self._stop = request  # last: it blocks, and listing and sweep shall run beside it
            case ListOurs():
                plan = self._c.plan
                self._in_thread("list", lambda: self._done.put(list_ours(plan, request.deadline_boot_s)))
            case SweepOrdered():
                self._sweeping = self._sweeping or Sweeping(self._c.plan)
                self._sweeping.order(request)
            case EngageKillFile():
                fences.engage_kill_file(self._run, cause=request.cause, name="main", source="root")
            case AlertPeople():
                self._alert(request)
            case HandOver():
                write_durably(self._run / HANDED_OVER, str(request.run_number).encode())
            case _:
                raise TypeError(f"main cannot carry out {request!r}")

    def _write_fence(self, request: WriteFence) -> None:
        error = ""
        try:
            fences.write_drain_fence(self._run, request.run_number)
        except OSError as problem:
            error = str(problem)
        self._done.put(FenceWritten(fence=request.fence, run_number=request.run_number, error=error))

    def _stop_tree(self, request: StopTree) -> None:
        tree, self._c.tree = self._c.tree, None
        left: tuple[int, ...] = ()
        if tree is not None:
            pids = tree_pids(tree.admin_pid)
            # A root that hangs stops nobody in order: what lives below it is killed at once; its drain is done, or late.
            hangs = not tree.root_alive(DEAF_STOP_S)
            tree.stop(DEAF_STOP_S if hangs else max(0.1, request.kill_at_boot_s - boot_s()))
            left = tuple(pid for pid, ticks in pids if started_ticks(pid) == ticks)
        self._c.left_pids = left
        self._done.put(TreeStopped(left_pids=left))

    def _alert(self, request: AlertPeople) -> None:
        logger.bind(level=request.level).error(f"{request.title}: {request.text}")
        self._c.view.event("alert", f"{request.title}: {request.text}")
        if urls := alert_urls():
            self._alerts.append(
                self._in_thread("alert", lambda: notify_now(urls, request.level, request.title, request.text))
            )

    def finish(self) -> None:
        """Alerts that are under way get a moment."""
        deadline = time.monotonic() + ALERT_S_MAX
        for thread in self._alerts:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _in_thread(self, name: str, call: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=call, name=name, daemon=True)
        thread.start()
        return thread
