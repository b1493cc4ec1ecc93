"""UNKNOWN: when to ask, and when to believe the answer (protocol section 3).

A POST is a placement, never a question; the question is a listing. Every body carries its own death: what may rest has
an `end_time` that the venue enforces on arrival, an IOC dies with the JWT of its only request. Only after that horizon,
with room for clocks and listing lag, do two complete absent asks prove that there is nothing.
"""

from __future__ import annotations

import math

from attrs import define, field, frozen

from trading.machine import Instant
from trading.orders import Intent

ASK_AT_S = (0.3, 1.0, 3.0, 10.0)
ASK_EVERY_S = 10.0
ASK_PATIENCE_S = 25.0
LISTED_SINCE_S = 60.0
TELL_AFTER_S = 30.0


@frozen(kw_only=True)
class SettleSettings:
    """Seconds of real time; what [UNV] marks in protocol.md can be set here once `smoke --order` has measured it.

    end_time_margin_s: how much longer than its time to live an order may rest. ioc_horizon_s: from send_by to the death of
    the last request of an IOC (its JWT lives 120 s). horizon_margin_s: after end_time. lag_s: longest listing lag.
    absent_apart_s, absent_needed: complete absent asks that prove absence.
    """

    end_time_margin_s: float = 30.0
    ioc_horizon_s: float = 180.0
    horizon_margin_s: float = 5.0
    lag_s: float = 30.0
    absent_apart_s: float = 5.0
    absent_needed: int = 2

    @property
    def last_word_s(self) -> float:
        """How long after its POST an order may still show up for the first time."""
        return self.ioc_horizon_s + self.lag_s


def end_time_s(send_by_venue_s: float, ttl_s: float, speed: float, settings: SettleSettings) -> int:
    """Good-till-date of whatever may rest: venue(send_by) + max(time to live + 30 s, 2 s x speed), up to the second."""
    return math.ceil(send_by_venue_s + max(ttl_s + settings.end_time_margin_s, 2.0 * speed))


def dead(intent: Intent, now: Instant, settings: SettleSettings, extra_s: float = 0.0) -> bool:
    """Whether horizon + `extra_s` has passed: no request of this intent can have an effect any more.

    end_time is judged on venue time, which must be trusted; margins are real seconds. An IOC is judged on the boot clock.
    """
    if intent.end_time_s is None:
        return now.boot_s >= intent.horizon_boot_s + extra_s
    return now.over(intent.end_time_s + (settings.horizon_margin_s + extra_s) * now.speed)


def dead_at_boot_s(intent: Intent, now: Instant, settings: SettleSettings, extra_s: float = 0.0) -> float:
    """When `dead` can become true, on the boot clock."""
    if intent.end_time_s is None:
        return intent.horizon_boot_s + extra_s
    return now.boot_at(intent.end_time_s + (settings.horizon_margin_s + extra_s) * now.speed)


def after_reboot(horizon_boot_s: float, saved_boot_s: float, now: Instant) -> float:
    """The horizon of an IOC when this boot clock started later than the one it was saved by: it starts anew.

    A boot clock that is behind the time of saving proves a reboot. One that is ahead may be of another boot too, but
    then more real time has passed than it shows, so the saved horizon still is late enough.
    """
    if now.boot_s >= saved_boot_s:
        return horizon_boot_s
    return now.boot_s + (horizon_boot_s - saved_boot_s)


def ask_at(since_boot_s: float, asked: int) -> float:
    """When the ask number `asked` (from 0) is due: 0.3, 1, 3, 10 s after `since`, then every 10 s."""
    if asked < len(ASK_AT_S):
        return since_boot_s + ASK_AT_S[asked]
    return since_boot_s + ASK_AT_S[-1] + ASK_EVERY_S * (asked - len(ASK_AT_S) + 1)


def doubled_s(first_s: float, tries: int, most_s: float) -> float:
    """first_s, twice, four times ..., at most most_s; for ever: a venue may be silent for days."""
    return min(most_s, first_s * 2.0 ** min(tries - 1, 30))


@define
class Inquiry:
    """The asking about one order, in memory: begun anew by each incarnation.

    absent: when complete asks, made after horizon + lag, showed it absent. answered_boot_s: the last complete answer.
    """

    kind: str
    since_boot_s: float
    asked: int = 0
    query_id: str | None = None
    asked_boot_s: float = 0.0
    answered_boot_s: float | None = None
    absent: list[float] = field(factory=list)
    absent_after_death_boot_s: float | None = None

    def due_boot_s(self) -> float:
        """When to ask next; while an ask is out, when to give it up."""
        if self.query_id is not None:
            return self.asked_boot_s + ASK_PATIENCE_S
        return ask_at(self.since_boot_s, self.asked)

    def ask(self, query_id: str, now: Instant) -> None:
        """A new ask is out. Asks that were missed while one was out are not caught up with."""
        self.query_id = query_id
        self.asked_boot_s = now.boot_s
        self.asked += 1
        while ask_at(self.since_boot_s, self.asked) <= now.boot_s:
            self.asked += 1

    def answered(self, intent: Intent, *, absent: bool, now: Instant, settings: SettleSettings) -> None:
        """A complete answer came. Absence counts only from an ask that was *made* after the horizon and the listing lag."""
        self.query_id = None
        self.answered_boot_s = now.boot_s
        if not absent:
            self.absent.clear()
            return
        waited_s = now.boot_s - self.asked_boot_s
        if self.absent_after_death_boot_s is None and dead(intent, now, settings, extra_s=waited_s):
            self.absent_after_death_boot_s = now.boot_s
        if dead(intent, now, settings, extra_s=settings.lag_s + waited_s):
            self.absent.append(self.asked_boot_s)

    def void(self) -> None:
        """A partial or failed page, or none: no answer at all."""
        self.query_id = None

    def proved_absent(self, settings: SettleSettings) -> bool:
        """Two complete absent asks, at least 5 s apart, both after horizon + 30 s."""
        return (
            len(self.absent) >= settings.absent_needed and self.absent[-1] - self.absent[0] >= settings.absent_apart_s
        )
