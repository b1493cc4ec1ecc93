"""Waiting before a restart, each time longer. OTP has nothing alike: a spec must ask for it.

The formula is Akka's `BackoffSupervisor`: `min(max_s, min_s * 2^n) * (1 + chance * jitter)`, where n counts failures since
the last quiet spell of `(min_s + max_s) / 2`.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class Backoff:
    """How long a failed child waits: `min_s` doubling to `max_s`, stretched at random by up to `jitter` (0.2 = 20 %)."""

    min_s: float
    max_s: float
    jitter: float = 0.2
    first_at_once: bool = False
    """The first restart after a quiet spell does not wait; the second waits `min_s`."""

    @property
    def reset_s(self) -> float:
        """A child that ran this long without failing starts again at the shortest wait."""
        return (self.min_s + self.max_s) / 2

    def delay_s(self, failures: int, chance: float) -> float:
        """The wait after `failures` earlier failures (0 for the first); `chance` is uniform in [0, 1)."""
        if self.first_at_once:
            if failures == 0:
                return 0.0
            failures -= 1
        doubled = self.min_s * 2.0 ** min(failures, 64)
        return min(self.max_s, doubled) * (1 + chance * self.jitter)
