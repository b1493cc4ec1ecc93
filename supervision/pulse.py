"""When a child counts as hung: a plain deadline on pings, with the supervisor's own stalls taken out. Pure.

`tick` is called every `interval_s`. A tick that comes late tells that this process itself stood still (stopped, starved, the
machine suspended): every waiting deadline is moved by the lateness, so that a pause of the whole machine kills nobody.
"""

from __future__ import annotations

from attrs import define

STALL_TOLERATED_S = 0.05


@define
class Pulse:
    """One child's heartbeat."""

    deadline_s: float
    asked_s: float | None = None
    """When the unanswered ping left, moved by our stalls; None: nothing is owed."""
    next_s: float = 0.0

    @property
    def every_s(self) -> float:
        """A quarter of the deadline, so that three pings may be slow before one is late."""
        return min(2.5, max(0.05, self.deadline_s / 4))


@define
class Pulses:
    """The heartbeats of all children of one supervisor."""

    of: dict[str, Pulse]
    ticked_s: float | None = None
    planned_s: float = 0.0

    @property
    def interval_s(self) -> float:
        return min((pulse.every_s for pulse in self.of.values()), default=2.5)

    def begin(self, child_id: str, deadline_s: float, now_s: float) -> None:
        self.of[child_id] = Pulse(deadline_s, None, now_s)

    def end(self, child_id: str) -> None:
        self.of.pop(child_id, None)

    def answered(self, child_id: str) -> None:
        if (pulse := self.of.get(child_id)) is not None:
            pulse.asked_s = None

    def tick(self, now_s: float) -> tuple[list[str], list[str]]:
        """Whom to ping now, and who is late beyond its deadline."""
        stall_s = 0.0
        if self.ticked_s is not None and now_s - self.planned_s > STALL_TOLERATED_S:
            stall_s = now_s - self.planned_s
        due, late = [], []
        for child_id, pulse in self.of.items():
            if pulse.asked_s is not None:
                pulse.asked_s += stall_s
                if now_s - pulse.asked_s > pulse.deadline_s:
                    late.append(child_id)
            elif now_s >= pulse.next_s:
                pulse.asked_s = now_s
                pulse.next_s = now_s + pulse.every_s
                due.append(child_id)
        self.ticked_s = now_s
        self.planned_s = now_s + self.interval_s
        return due, late
