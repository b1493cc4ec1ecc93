"""Faults that are counted, not timed: what becomes of the n-th request, frame, handle or mail, of all or of one kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from simulation.fuzz.schedule import Item
from simulation.fuzz.venue import ORDINARY, Fate
from simulation.process import Crash, Process
from trading.machine import Effect, Save, Send


class Fates:
    """Armed from a schedule's items; nothing is counted before `counting`. tell: a line of the story."""

    def __init__(self, tell: Callable[[str], None], coverage: Counter[tuple[str, str, str, str]]) -> None:
        self._tell = tell
        self._coverage = coverage
        self.counting = False
        self._n: Counter[tuple[str, ...]] = Counter()
        self._requests: dict[tuple[str, int], Fate] = {}
        self._frames: dict[tuple[str, int], str] = {}
        self._crashes: dict[tuple[str, int], Crash] = {}
        self._crashes_on: dict[tuple[str, str, int], Crash] = {}
        self._mails: dict[int, str] = {}
        self._mails_of: dict[tuple[str, int], str] = {}

    def arm(self, item: Item) -> bool:
        """False for an item that is not of these."""
        args: tuple[object, ...] = item.args
        match item.what, args:
            case "fate", (str(kind), int(nth), Fate() as fate):
                self._requests[kind, nth] = fate
            case "frame", (str(host), int(nth), str(what)):
                self._frames[host, nth] = what
            case "crash", (str(role), int(nth), bool(committed), int(delivered)):
                self._crashes[role, nth] = Crash(committed, delivered)
            case "crash_on", (str(role), str(kind), int(nth), bool(committed), int(delivered)):
                self._crashes_on[role, kind, nth] = Crash(committed, delivered)
            case "mail", (int(nth), str(what)):
                self._mails[nth] = what
            case "mail_of", (str(kind), int(nth), str(what)):
                self._mails_of[kind, nth] = what
            case _:
                return False
        return True

    def clear(self) -> None:
        for armed in (self._requests, self._frames, self._crashes, self._crashes_on, self._mails, self._mails_of):
            armed.clear()

    @property
    def of_mails(self) -> bool:
        """Whether any mail has a fate."""
        return bool(self._mails or self._mails_of)

    def handled(self, role: str) -> int:
        """How many handles with effects `role` has had since counting began."""
        return self._n["handle", role]

    def _count(self, *kind: str) -> int:
        self._n[kind] += 1
        return self._n[kind]

    def of_request(self, kind: str, request: object) -> Fate:  # noqa: ARG002
        if not self.counting:
            return ORDINARY
        nth = self._count(kind)
        fate = self._requests.get((kind, nth), ORDINARY)
        if fate is not ORDINARY:
            self._tell(f"{kind} {nth}: {fate}")
            self._coverage["gateway", kind, "wire", type(fate).__name__ + ":" + str(fate).split("=")[0]] += 1
        return fate

    def of_frame(self, host: str) -> str:
        """One of `feeds.FRAME_FATES`, or nothing."""
        if not self.counting or not self._frames:
            return ""
        nth = self._count(host, "frame")
        fate = self._frames.get((host, nth), "")
        if fate:
            self._tell(f"{host} frame {nth}: {fate}")
            self._coverage[f"{host}_feed", "frame", "wire", fate] += 1
        return fate

    def of_handle(self, process: Process, message: object, effects: tuple[Effect, ...]) -> Crash | None:
        """Where this handle dies; one without rows and mail has nothing to tear apart and is not counted."""
        for effect in effects:
            if type(effect) is Save or type(effect) is Send:
                break
        else:
            return None
        role = process.role
        nth = self._count("handle", role)
        crash = self._crashes.get((role, nth))
        if self._crashes_on:
            kind = type(message).__name__
            crash = crash or self._crashes_on.get((role, kind, self._count("handle", role, kind)))
        if crash is not None:
            kind = type(message).__name__
            point = f"committed, {crash.delivered} sent" if crash.committed else "before commit"
            self._tell(f"crash {role} at handle {nth} ({kind}): {point}")
            self._coverage[role, kind, "after" if crash.committed else "before", "crash"] += 1
        return crash

    def of_mail(self, process: Process, role: str, message: object) -> str:
        """lose, twice or delay; or nothing."""
        what = self._mails.get(self._count("mail"), "")
        kind = type(message).__name__
        if self._mails_of:
            what = what or self._mails_of.get((kind, self._count("mail", kind)), "")
        if what:
            self._tell(f"mail {process.role} -> {role} {kind}: {what}")
            self._coverage[process.role, kind, "mail", what] += 1
        return what
