"""The drift check: is our venue clock the venue's? Pure. Each reading of the server's time becomes an anchor or a doubt.

A reading is the server's time in the middle of a round trip, so it is wrong by at most half of it. Within
`drift_s_max` (plus that half) our clock is right, and is set to the reading. Beyond it no durable deadline may be
judged (`trusted` false), until `agreeing_min` readings in a row tell the same offset: then the venue's clock has
jumped, or ours has, and the venue's counts.
"""

from __future__ import annotations

from attrs import define, frozen

from trading.machine import Instant
from trading.messages.control import ClockAnchored


@frozen(kw_only=True)
class ClockSettings:
    """Real seconds; they scale with the speed of a simulated venue. round_trip_s_max: a slower reading tells nothing."""

    drift_s_max: float = 0.15
    round_trip_s_max: float = 2.0
    agreeing_min: int = 3


@define
class ClockCheck:
    """drift_s, round_trip_s: of the newest usable reading, for people and health_monitor; drift in venue seconds."""

    settings: ClockSettings
    drift_s: float | None = None
    round_trip_s: float | None = None
    read_boot_s: float | None = None
    doubted: list[float] | None = None

    def read(self, server_s: float, asked_boot_s: float, answered_boot_s: float, now: Instant) -> ClockAnchored | None:
        """The anchor to write, or None when the reading tells nothing."""
        round_trip_s = answered_boot_s - asked_boot_s
        if not 0.0 <= round_trip_s <= self.settings.round_trip_s_max:
            return None
        middle_boot_s = (asked_boot_s + answered_boot_s) / 2.0
        expected_s = now.venue_at(middle_boot_s)
        drift_s = server_s - expected_s
        first = self.read_boot_s is None and not now.trusted
        self.drift_s, self.round_trip_s, self.read_boot_s = drift_s, round_trip_s, answered_boot_s
        tolerance_s = (self.settings.drift_s_max + round_trip_s / 2.0) * now.speed
        believed = ClockAnchored(venue_s=server_s, boot_s=middle_boot_s, speed=now.speed, trusted=True, drift_s=drift_s)
        if first or abs(drift_s) <= tolerance_s:
            self.doubted = None
            return believed
        self.doubted = [*(self.doubted or []), drift_s][-self.settings.agreeing_min :]
        if len(self.doubted) == self.settings.agreeing_min and max(self.doubted) - min(self.doubted) <= tolerance_s:
            self.doubted = None
            return believed
        return ClockAnchored(venue_s=expected_s, boot_s=middle_boot_s, speed=now.speed, trusted=False, drift_s=drift_s)
