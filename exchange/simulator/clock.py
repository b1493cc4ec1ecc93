"""Venue time: server time at an anchor + speed x boot clock since. It never goes back."""

from __future__ import annotations

import time
from typing import Any

from attrs import define


def boot_s() -> float:
    """Seconds since boot, suspended time included: the one clock of this host that never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@define
class VenueClock:
    t0_s: float
    """Venue time (seconds since 1970) at the anchor."""
    boot0_s: float
    speed: float = 1.0

    def now(self) -> float:
        return self.t0_s + (boot_s() - self.boot0_s) * self.speed

    def change(self, *, advance_s: float = 0.0, speed: float | None = None) -> None:
        """Jump ahead and/or change the speed from now on; a new anchor. Raises ValueError for going back."""
        if advance_s < 0:
            raise ValueError(f"advance_s {advance_s}: venue time never goes back")
        if speed is not None and speed <= 0:
            raise ValueError(f"speed {speed}: must be above 0")
        boot = boot_s()
        self.t0_s += (boot - self.boot0_s) * self.speed + advance_s
        self.boot0_s = boot
        if speed is not None:
            self.speed = speed

    def as_json(self) -> dict[str, Any]:
        return {"now": self.now(), "t0": self.t0_s, "boot_s": self.boot0_s, "speed": self.speed}
