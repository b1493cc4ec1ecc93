"""Venue time on this host: an anchor plus speed x boot clock since; it never goes back (DESIGN section 7).

The anchor is a small file, `run/anchor.json`, written by who has asked the venue (catalog's shell), or by main from the
contract line of a simulated venue, and looked at by every process. `trusted` is false before the first anchor, after a
reboot, while the drift check fails, and while venue time is below what was acted on before.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from attrs import asdict, frozen

from state.files import write_atomically
from trading.machine import Instant

ANCHOR = "anchor.json"
LOOK_S = 0.25
BACK_S_MAX = 0.5
"""Real seconds that a new anchor may set venue time back before the clock counts as untrusted until it has caught up."""


def boot_s() -> float:
    """CLOCK_BOOTTIME in seconds: real time, suspended hours included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@frozen(kw_only=True)
class Anchor:
    """Venue time was `venue_s` when the boot clock read `boot_s`. drift_s: measured minus expected at that moment."""

    venue_s: float
    boot_s: float
    speed: float = 1.0
    trusted: bool = True
    drift_s: float = 0.0
    boot_id: str = ""


def write_anchor(run_folder: Path, anchor: Anchor) -> None:
    write_atomically(run_folder / ANCHOR, json.dumps(asdict(anchor)).encode())


def read_anchor(run_folder: Path) -> Anchor | None:
    """None when there is none, or it is of another boot, or it cannot be read."""
    try:
        anchor = Anchor(**json.loads((run_folder / ANCHOR).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return anchor if anchor.boot_id == boot_id() else None


class Clock:
    """One process's view. not_before_s: the highest venue time that a store of this role has acted on."""

    def __init__(self, run_folder: Path, not_before_s: float = 0.0) -> None:
        self._run_folder = run_folder
        self._not_before_s = not_before_s
        self._highest_s = 0.0
        self._looked_s = 0.0
        self._stamp = -1
        self._anchor: Anchor | None = None

    def expect(self, not_before_s: float) -> None:
        self._not_before_s = max(self._not_before_s, not_before_s)

    @property
    def anchor(self) -> Anchor | None:
        return self._anchor

    def now(self) -> Instant:
        boot = boot_s()
        if boot - self._looked_s >= LOOK_S:
            self._looked_s = boot
            self._look()
        anchor = self._anchor
        if anchor is None:
            # Better than nothing for people's eyes; no deadline is ever judged by it.
            return Instant(max(self._highest_s, time.time()), False, boot)
        venue = anchor.venue_s + anchor.speed * (boot - anchor.boot_s)
        back_s = max(self._highest_s, self._not_before_s) - venue
        trusted = anchor.trusted and back_s <= BACK_S_MAX * anchor.speed
        venue = max(venue, self._highest_s)
        self._highest_s = venue
        return Instant(venue, trusted, boot, anchor.speed)

    def _look(self) -> None:
        try:
            stamp = (self._run_folder / ANCHOR).stat().st_mtime_ns
        except OSError:
            return
        if stamp != self._stamp:
            self._stamp = stamp
            found = read_anchor(self._run_folder)
            if found is not None:
                if self._anchor is None:
                    self._highest_s = 0.0  # until now it was the host's own time
                self._anchor = found
