"""Circuit breakers as state: a reading, two thresholds and a time, so that none flaps faster than its hysteresis.

A breaker opens on the reading that reaches `opens_at`, and closes only after every reading for `hold_s` real seconds was
beyond `closes_at` on the good side. Before its first reading, and when its source falls silent, it is unmeasured, which
denies at risk: silence means no. The table `breaker_rules` in health_monitor.py says which readings matter.
"""

from __future__ import annotations

from attrs import define, frozen

from trading.denied import measured
from trading.messages.control import Breaker


@frozen(kw_only=True)
class BreakerRule:
    """code: what risk denies with. source, reading: whose number. above: it is bad when high (else when low).

    required: without a reading the breaker is unmeasured; else a missing reading is fine (no order was sent yet).
    scaled: the reading is in venue seconds and is divided by the speed. level: of the condition people see.
    """

    code: str
    source: str
    reading: str
    opens_at: float
    closes_at: float
    hold_s: float = 30.0
    above: bool = True
    required: bool = True
    scaled: bool = False
    level: str = "warning"
    text: str = ""


@define
class BreakerState:
    """One breaker's memory. good_since: since when readings have been good while it is open."""

    rule: BreakerRule
    open: bool = False
    measured: bool = False
    value: float | None = None
    since_boot_s: float | None = None
    good_since: float | None = None
    _shown: Breaker | None = None
    _shown_of: tuple[object, ...] = ()

    def read(self, value: float | None, boot_s: float, *, speed: float = 1.0) -> bool:
        """Take in a reading (None: the source lives and has none). True when the breaker changed."""
        rule = self.rule
        if value is None:
            if rule.required:
                return self.silent()
            changed = not self.measured
            self.measured = True
            self.value = None
            # No news is good news for an optional reading, but an open breaker keeps its hold.
            return self._good(boot_s) or changed
        if rule.scaled:
            value /= speed
        before = (self.open, self.measured)
        self.measured = True
        self.value = value
        bad = value >= rule.opens_at if rule.above else value <= rule.opens_at
        good = value <= rule.closes_at if rule.above else value >= rule.closes_at
        if bad:
            self.good_since = None
            if not self.open:
                self.open = True
                self.since_boot_s = boot_s
        elif good:
            self._good(boot_s)
        else:
            self.good_since = None
        return before != (self.open, self.measured)

    def _good(self, boot_s: float) -> bool:
        if not self.open:
            return False
        if self.good_since is None:
            self.good_since = boot_s
        if boot_s - self.good_since < self.rule.hold_s:
            return False
        self.open = False
        self.since_boot_s = boot_s
        self.good_since = None
        return True

    def silent(self) -> bool:
        """The source told nothing for too long: unmeasured; an open breaker stays open beneath."""
        changed = self.measured
        self.measured = False
        self.good_since = None
        return changed

    def snapshot(self) -> Breaker:
        """What others are told. Made anew only when something in it changed: its texts cost more than the breaker."""
        state = (self.open, self.measured, self.value, self.since_boot_s)
        if self._shown is None or state != self._shown_of:
            self._shown, self._shown_of = self._breaker(), state
        return self._shown

    def _breaker(self) -> Breaker:
        rule = self.rule
        reason = rule.text if self.open else ""
        if not self.measured:
            reason = f"{rule.source} has told no {rule.reading}"
        return Breaker(
            code=rule.code,
            open=self.open or not self.measured,
            measured=self.measured,
            reason=reason,
            values=measured(
                reading=f"{rule.source}.{rule.reading}",
                value="none" if self.value is None else round(self.value, 4),
                opens_at=rule.opens_at,
                closes_at=rule.closes_at,
                hold_s=rule.hold_s,
            ),
            since_boot_s=self.since_boot_s,
        )
