"""When an owner's snapshot goes to whom (protocol section 9), decided in one place.

Risk hears its owners every 0.5 s and on change, since a lease of 2 s hangs on it; others hear changes, and a jittered
repeat every 10 s, since any message may be lost; people (operator, console) hear changes at most every 2 s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from attrs import evolve, field, frozen

from trading.machine import Effect, Instant, Send, Wake
from trading.messages.control import Condition

FAST_S = 0.5
SLOW_S = 10.0
PEOPLE_S = 2.0
PEOPLE = ("operator", "console")
WAKE_KEY = "publish"


JITTER_PCT_MAX = 50.0


@frozen(kw_only=True)
class Jitter:
    """By how much periodic wakes move, so that no two roles and no two bots march in step; a run repeats itself.

    seed: of the bot (`bot.seed` and the account's tag). pct: at most, either way (`bot.jitter_pct`). paces: the half-second
    ticks move too; not in a backtest, which skips bars and must find each machine's tick in step.
    """

    seed: str = ""
    pct: float = field(default=10.0)
    paces: bool = False

    @pct.validator
    def _check_pct(self, _: object, pct: float) -> None:
        if not 0.0 <= pct <= JITTER_PCT_MAX:
            raise ValueError(f"a jitter of {pct:g} % is not between 0 and {JITTER_PCT_MAX:g}")

    def __call__(self, key: str, n: int) -> float:
        """A factor around 1, a function of its arguments and the seed alone."""
        digest = hashlib.blake2b(f"{self.seed}{key}:{n}".encode(), digest_size=4).digest()
        share = self.pct / 100.0
        return 1.0 - share + 2.0 * share * int.from_bytes(digest, "big") / 0xFFFFFFFF


jitter = Jitter()


class Pace:
    """A periodic wake: every `every_s` real seconds, each time jittered."""

    __slots__ = ("_jitter", "_n", "every_s", "key", "name")

    def __init__(self, jitter: Jitter, name: str, key: str, every_s: float) -> None:
        self._jitter = jitter
        self.name, self.key, self.every_s = name, key, every_s
        self._n = 0

    def wake(self, now: Instant, every_s: float | None = None) -> Wake:
        self._n += 1
        wait_s = self.every_s if every_s is None else every_s
        factor = self._jitter(f"{self.name}:{self.key}", self._n) if self._jitter.paces else 1.0
        return Wake(self.key, now.boot_s + wait_s * factor)


class Publisher:
    """Keeps the times; the machine makes the snapshot and calls `effects` whenever it changed or `WAKE_KEY` woke it."""

    __slots__ = ("_fast", "_fast_at", "_jitter", "_n", "_people_at", "_people_owed", "_slow_at", "name")

    def __init__(self, name: str, fast: tuple[str, ...] = (), jitter: Jitter = jitter) -> None:
        self.name = name
        self._jitter = jitter
        self._fast = fast
        self._fast_at = 0.0
        self._slow_at = 0.0
        self._people_at = 0.0
        self._people_owed = False
        self._n = 0

    def effects(
        self,
        message: object,
        *,
        changed: bool,
        now: Instant,
        slow: Iterable[str] = (),
        people: object | None = None,
        news: bool = False,
    ) -> list[Effect]:
        """Sends that are due now, and the Wake for the next. `people`: another message for operator and console.

        news: something moved that only people look at (NAV): they hear it within 2 s, others do not.
        """
        boot_s = now.boot_s
        out: list[Effect] = []
        if changed or boot_s >= self._fast_at:
            out += [Send(role, message) for role in self._fast]
            self._fast_at = boot_s + FAST_S
        if changed or boot_s >= self._slow_at:
            out += [Send(role, message) for role in slow]
            self._n += 1
            self._slow_at = boot_s + SLOW_S * self._jitter(self.name, self._n)
            self._people_owed = True
        self._people_owed |= news
        if self._people_owed and boot_s >= self._people_at:
            out += [Send(role, message if people is None else people) for role in PEOPLE]
            self._people_owed = False
            self._people_at = boot_s + PEOPLE_S
        out.append(Wake(WAKE_KEY, self._next(boot_s)))
        return out

    def _next(self, boot_s: float) -> float:
        times = [self._slow_at]
        if self._fast:
            times.append(self._fast_at)
        if self._people_owed:
            times.append(self._people_at)
        return max(boot_s, min(times))


class ConditionBoard:
    """Conditions of one machine: sent on change of level, repeated every 10 s while they stand, once when gone."""

    __slots__ = ("_at", "_standing")

    def __init__(self) -> None:
        self._standing: dict[str, Condition] = {}
        self._at: dict[str, float] = {}

    def stand(self, condition: Condition, now: Instant) -> list[Effect]:
        before = self._standing.get(condition.fingerprint)
        self._standing[condition.fingerprint] = condition
        repeated = before is not None and before.level == condition.level
        if repeated and now.boot_s < self._at[condition.fingerprint] + SLOW_S:
            return []
        self._at[condition.fingerprint] = now.boot_s
        return _tell(condition)

    def gone(self, fingerprint: str) -> list[Effect]:
        before = self._standing.pop(fingerprint, None)
        self._at.pop(fingerprint, None)
        return [] if before is None else _tell(evolve(before, active=False))

    def repeat(self, now: Instant) -> list[Effect]:
        """Those that stand and were last told 10 s ago; for machines that do not call `stand` each time they look."""
        out: list[Effect] = []
        for condition in list(self._standing.values()):
            out += self.stand(condition, now)
        return out

    def standing(self) -> tuple[str, ...]:
        return tuple(self._standing)


def _tell(condition: Condition) -> list[Effect]:
    return [Send(role, condition) for role in ("alerts", *PEOPLE)]
