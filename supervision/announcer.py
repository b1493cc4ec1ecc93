"""Root's voice: the directory downwards, snapshots to whoever listens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from supervision.messages import Announced, Answered, ChildRow, Envelope, Known, Report, TreeSnapshot
from supervision.unix_wire import framed

if TYPE_CHECKING:
    from supervision.relations import Relations

EVERY_S = 0.1
EVERY_S_PER_CHILD = 0.0025
BURST = 5
"""Changes are told at once while they are rare; a storm of them is told together, every EVERY_S after a burst of BURST. In a
large tree more rarely: an announcement wakes everybody, and shall not keep a processor busy."""
COMPLETE_EVERY_S = 10.0


class Announcer:
    """Knows what has been told and what has not."""

    def __init__(self, root: Relations) -> None:
        self.root = root
        self.version = 0
        self.snapshots = 0
        self.free_s = self.informed_s = 0.0
        self.complete_s = time.monotonic()
        self.told: dict[str, Known] = {}
        self.untold: dict[str, Known] = {}
        self.inform_planned = False

    def reported(self, report: Report) -> None:
        """Rows of the tree are new, or told again."""
        entries = [entry for row in report.rows if (entry := self._entry(row)) is not None]
        for child_id in report.gone:
            known = self.root.directory.get(child_id)
            if known is not None and known.path is not None:
                entries.append(Known(child_id, known.incarnation, None, known.dynamic))
            self.told.pop(child_id, None)
            self._lost(child_id)
        for row in report.rows:
            if row.type == "supervisor" and row.state != "running":
                self._lost(row.id)
        news = [entry for entry in entries if self.told.get(entry.id) != entry]
        if news:
            self.root.directory.merge(news)
            if not self.untold:
                self.root.wake_in("announce", self._pause_s())
            for entry in news:
                self.untold[entry.id] = entry
                if entry.path is not None:
                    self.told[entry.id] = entry
                else:
                    self.told.pop(entry.id, None)
        if report.news and self.root.settings.listeners and not self.inform_planned:
            self.inform_planned = True
            self.root.wake_in("inform", max(0.0, self.informed_s + EVERY_S - time.monotonic()))

    def _entry(self, row: ChildRow) -> Known | None:
        """What a row means for the directory. A child that is being restarted keeps its old entry until it is back."""
        if row.path is not None and row.incarnation is not None:
            return Known(row.id, row.incarnation, row.path, row.dynamic)
        known = self.root.directory.get(row.id)
        if row.state in ("stopped", "parked") and known is not None and known.path is not None:
            return Known(row.id, known.incarnation, None, row.dynamic)
        return None

    def _lost(self, supervisor_id: str) -> None:
        """Calls that were on their way to a supervisor that is no more are answered."""
        for key, (reply_to, asked_id, _incarnation) in list(self.root.calls.items()):
            if asked_id == supervisor_id:
                del self.root.calls[key]
                detail = f"{supervisor_id} ended before it answered"
                self.root._own_transport.post(reply_to, Answered(key[1], None, "noproc", detail))

    def _pause_s(self) -> float:
        """How long the next announcement must wait: a bucket of BURST, refilled every EVERY_S."""
        return max(0.0, self.free_s - (BURST - 1) * self._every_s() - time.monotonic())

    def _every_s(self) -> float:
        return max(EVERY_S, len(self.told) * EVERY_S_PER_CHILD)

    def announce(self) -> None:
        """Tell what is new."""
        if self.untold:
            self.free_s = max(self.free_s, time.monotonic()) + self._every_s()
            entries = tuple(self.untold.values())
            self.untold.clear()
            self._tell(complete=False, entries=entries)

    def every_second(self) -> None:
        now_s = time.monotonic()
        if now_s - self.complete_s >= COMPLETE_EVERY_S:
            self.complete_s = now_s
            self._tell(complete=True, entries=tuple(entry for entry in self.root.directory if entry.path is not None))
        if self.root.settings.listeners:
            self.inform()

    def _tell(self, *, complete: bool, entries: tuple[Known, ...]) -> None:
        self.version += 1
        self.root.pass_on(Announced(self.version, complete, entries))

    def snapshot(self) -> TreeSnapshot:
        self.snapshots += 1
        rows = {**self.root.rows, **{child_id: self.root.row(child_id) for child_id in self.root.core.children}}
        return TreeSnapshot(self.snapshots, time.clock_gettime(time.CLOCK_BOOTTIME), tuple(in_order("root", rows)))

    def inform(self) -> None:
        """Send a snapshot to the listeners."""
        self.inform_planned = False
        self.informed_s = time.monotonic()
        frame = framed(Envelope("root", self.root.incarnation, self.snapshot()))
        for listener in self.root.settings.listeners:
            if (path := self.root.directory.path(listener)) is not None:
                self.root._own_transport.post_frame(path, frame)


def in_order(supervisor_id: str, rows: dict[str, ChildRow]) -> list[ChildRow]:
    """Rows below a supervisor, each supervisor followed by its children."""
    by_supervisor: dict[str, list[ChildRow]] = {}
    for row in rows.values():
        by_supervisor.setdefault(row.supervisor, []).append(row)

    def below(parent: str) -> list[ChildRow]:
        found = []
        for row in by_supervisor.get(parent, ()):
            found.append(row)
            if row.type == "supervisor":
                found.extend(below(row.id))
        return found

    return below(supervisor_id)
