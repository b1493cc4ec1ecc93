"""A symbol's last verdict, its counts and its records: a thousand quotes a second must not write a million rows.

Every evaluation is counted under its code. A record is written when the code changes, at most once a second, and each
code at most every 30 s, since two verdicts that take turns are one piece of news. What stands is told again every 10 s to
whoever looks on, with its counts and never to a file (`standing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from trading.machine import Effects, Instant, Note
from trading.messages.decisions import Values

SPACING_S = 1.0
SAME_CODE_S = 30.0


class CodeLog:
    """code, values: the last verdict. same: how often it came again; the hot path only adds to it."""

    __slots__ = ("_counts", "_noted_at", "_told_at", "code", "product_id", "same", "values")

    def __init__(self, product_id: str) -> None:
        self.product_id = product_id
        self.code = ""
        self.same = 0
        self.values: Values = ()
        self._counts: Counter[str] = Counter()
        self._noted_at = -1e18
        self._told_at: dict[str, float] = {}

    def no_trade(self, code: str, now: Instant, values: Values | Callable[[], Values] = ()) -> Effects:
        """values: or what measures them, asked only when the code is another one than before."""
        if code == self.code:
            self.same += 1
            return ()
        self._flush()
        self._counts[code] += 1
        if now.boot_s < self._noted_at + SPACING_S:
            return ()
        self.code = code
        self.values = values() if callable(values) else values
        if now.boot_s < self._told_at.get(code, -1e18) + SAME_CODE_S:
            return ()
        self._told_at[code] = self._noted_at = now.boot_s
        record = {
            "product_id": self.product_id,
            "code": code,
            "text": "",
            "values": dict(self.values),
            "seen": self._counts[code],
        }
        return (Note("decision", record),)

    def became(self, code: str, now: Instant) -> None:
        """A verdict that somebody else records: a proposal, or risk's answer."""
        self._flush()
        self.code = code
        self.values = ()
        self._counts[code] += 1
        self._noted_at = now.boot_s

    def standing(self, values: Values) -> Effects:
        """The verdict that stands, for people only."""
        if not self.code:
            return ()
        counts = self.counts()
        record = {
            "product_id": self.product_id,
            "code": self.code,
            "text": "",
            "values": dict(values),
            "seen": counts[self.code],
            "counts": counts,
        }
        return (Note("standing", record),)

    def counts(self) -> dict[str, int]:
        self._flush()
        return dict(self._counts)

    def _flush(self) -> None:
        if self.same:
            self._counts[self.code] += self.same
            self.same = 0
