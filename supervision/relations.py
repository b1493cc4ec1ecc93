"""What a supervisor knows of its subtree, and tells: rows upwards, the directory downwards, where somebody is to who asks root."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from supervision.actor import SupervisedActor
from supervision.messages import (
    Announced,
    ChildRow,
    Found,
    GiveSnapshot,
    Incarnation,
    Report,
    Snapshot,
    Where,
)
from supervision.records import State
from supervision.spec import SupervisorSpec
from supervision.unix_wire import address_at, framed

if TYPE_CHECKING:
    from supervision.announcer import Announcer
    from supervision.core import Core

SEEKERS_MAX = 100
PORTION = 12
PORTION_EVERY_S = 0.001


@frozen
class Settings:
    """What `supervision.start` was told, for every supervisor."""

    folder: str
    lock_folder: str
    hang_deadline_s: float
    run_number: int
    listeners: tuple[str, ...]
    main: Any
    """Main's address."""


@define
class Body:
    """The process that a child id has now."""

    child_id: str
    pid: int
    path: str
    incarnation: Incarnation
    born_s: float
    killed: str = ""
    """Why we killed it."""
    mailbox_age_s: float = 0.0
    rss_bytes: int = 0
    dropped: int = 0


class Relations(SupervisedActor):
    """The half of a supervisor that keeps its place in the tree. `Supervisor` is the other."""

    core: Core
    spec: SupervisorSpec
    settings: Settings
    announcer: Announcer | None
    """Root's voice; None in every other."""

    def _begin_relations(self) -> None:
        self.bodies: dict[str, Body] = {}
        self.dirty: dict[str, None] = {}
        """Children about whom something is new."""
        self.rows: dict[str, ChildRow] = {}
        """The whole subtree, as last reported."""
        self.outbox: deque[tuple[str, bytes]] = deque()
        self.seekers: dict[str, list[tuple[Any, int]]] = {}
        """Root: who waits to learn where a child is that is being started."""
        self.calls: dict[tuple[str, int], tuple[Any, str, Incarnation | None]] = {}
        """Root: calls passed on to nested supervisors: who asked, whom, in which life."""

    def _own_handled(self) -> None:
        if self.dirty:
            self._flush_rows()

    def row(self, child_id: str) -> ChildRow:
        child, body, now_s = self.core.children[child_id], self.bodies.get(child_id), time.monotonic()
        # A process that waits for a disk that stalls ends by SIGKILL only when the disk is back; until then nobody serves.
        dying = body is not None and bool(body.killed) and child.state is State.UP
        state = str(child.state)
        if dying:
            state = "restarting"
        elif child.state is State.STOPPING:
            state = "running"
        elif child.state is State.STARTING and child.restarting:
            state = "restarting"
        return ChildRow(
            id=child_id,
            supervisor=self.child_id,
            type=str(child.spec.type),
            state=state,
            pid=child.pid,
            incarnation=body.incarnation if body else None,
            restarts=self.core.restarts_of(child, now_s),
            mailbox_age_s=body.mailbox_age_s if body else 0.0,
            rss_bytes=body.rss_bytes if body else 0,
            dropped=body.dropped if body else 0,
            uptime_s=now_s - body.born_s if body else 0.0,
            reason=body.killed if body and dying else child.reason,
            dynamic=self.spec.dynamic,
            path=body.path if body and child.state is not State.STARTING and not dying else None,
        )

    def _flush_rows(self) -> None:
        dirty, self.dirty = list(self.dirty), {}
        rows = tuple(self.row(child_id) for child_id in dirty if child_id in self.core.children)
        gone = tuple(child_id for child_id in dirty if child_id not in self.core.children)
        if rows or gone:
            self._report(Report(rows, gone))

    def _report_all(self) -> None:
        self._report(Report(tuple(self.row(child_id) for child_id in self.core.children), news=False))
        if self.announcer is not None:
            self.announcer.every_second()

    def receiveMsg_Report(self, message: Report, _sender: Any) -> None:  # noqa: N802
        self._report(message)

    def _report(self, report: Report) -> None:
        """Remember rows of the subtree and pass them on; root announces what is new in them."""
        for child_id in report.gone:
            self.rows.pop(child_id, None)
        for row in report.rows:
            self.rows[row.id] = row
        if self.announcer is not None:
            if self.seekers:
                self._tell_seekers(report)
            self.announcer.reported(report)
        else:
            self._own_transport.post(self._own_supervisor, report)

    def _drop_subtree(self, supervisor_id: str) -> None:
        """A nested supervisor is dead, so everybody below it is."""
        below, found = {supervisor_id}, True
        while found:
            more = {row.id for row in self.rows.values() if row.supervisor in below} - below
            found = bool(more)
            below |= more
        if gone := tuple(below - {supervisor_id}):
            self._report(Report((), gone))

    def _own_on_announced(self, message: Announced, sender: Any) -> None:
        super()._own_on_announced(message, sender)
        self.pass_on(message)

    def pass_on(self, message: Announced) -> None:
        """Tell our children; those who hear of static ones only get less."""
        frames: dict[str, bytes] = {}
        for child_id, body in self.bodies.items():
            hears = "all" if body.child_id not in self.core.children else self._hears(child_id)
            if hears == "none":
                continue
            if hears not in frames:
                entries = (
                    message.entries
                    if hears == "all"
                    else tuple(entry for entry in message.entries if not entry.dynamic)
                )
                frames[hears] = (
                    framed(Announced(message.version, message.complete, entries))
                    if entries or message.complete
                    else b""
                )
            if frames[hears]:
                self.outbox.append((body.path, frames[hears]))
        self._post_some()

    def _post_some(self) -> None:
        """Announcements leave in portions: whoever hears one wakes up, and a child that is just starting needs a processor too."""
        for _ in range(min(PORTION, len(self.outbox))):
            self._own_transport.post_frame(*self.outbox.popleft())
        if self.outbox:
            self.wake_in("post some", PORTION_EVERY_S)

    def _hears(self, child_id: str) -> str:
        spec = self.core.children[child_id].spec
        return "all" if isinstance(spec.start, SupervisorSpec) else spec.hears

    def _to_supervisors(self, message: Any) -> None:
        for child_id, body in self.bodies.items():
            if child_id in self.core.children and isinstance(self.core.children[child_id].spec.start, SupervisorSpec):
                self._own_transport.post(address_at(body.path), message)

    # ---- where somebody is -----------------------------------------------------------------------------------------------------------

    def receiveMsg_Where(self, message: Where, sender: Any) -> None:  # noqa: N802
        if message.child == "root":
            self._own_transport.post(sender, Found(message.request, "running", "root", self._own_transport.my_path))
            return
        if isinstance(message.child, str):
            row = self.rows.get(message.child)
        else:
            row = next((row for row in self.rows.values() if row.pid == message.child), None)
        if row is None or message.supervisor_id not in (None, row.supervisor):
            self._own_transport.post(sender, Found(message.request, None))
        elif not self._tell_seeker(row, sender, message.request):
            if message.wait:
                seekers = self.seekers.setdefault(row.id, [])
                seekers.append((sender, message.request))
                del seekers[:-SEEKERS_MAX]
            else:
                self._own_transport.post(sender, Found(message.request, row.state, row.id))

    def _tell_seeker(self, row: ChildRow, seeker: Any, request: int) -> bool:
        """Where a child is, once that is clear: it runs, or it is down and stays so. False while it is being started."""
        if row.state in ("starting", "restarting") or (row.state == "running" and row.path is None):
            return False
        path = row.path if row.state == "running" else None
        self._own_transport.post(seeker, Found(request, row.state, row.id, path))
        return True

    def _tell_seekers(self, report: Report) -> None:
        for child_id in report.gone:
            for seeker, request in self.seekers.pop(child_id, ()):
                self._own_transport.post(seeker, Found(request, None))
        for row in report.rows:
            if row.id in self.seekers:
                self.seekers[row.id] = [each for each in self.seekers[row.id] if not self._tell_seeker(row, *each)]
                if not self.seekers[row.id]:
                    del self.seekers[row.id]

    def receiveMsg_GiveSnapshot(self, message: GiveSnapshot, sender: Any) -> None:  # noqa: N802
        assert self.announcer is not None
        self._own_transport.post(sender, Snapshot(message.request, self.announcer.snapshot()))
