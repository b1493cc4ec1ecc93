"""What a role says while its store takes no writes: to main each second, to people as a Condition each 10 s."""

from __future__ import annotations

from collections.abc import Callable

from loguru import logger

from actors.notes import PEOPLE
from actors.words import StoreParked
from trading.machine import Incarnation, Instant
from trading.messages.control import Condition

CONDITION_S = 10.0


class Parking:
    def __init__(self, role: str, incarnation: Incarnation, tell: Callable[[str, object], None]) -> None:
        self._role, self._incarnation, self._tell = role, incarnation, tell
        self._said_boot_s = -CONDITION_S

    def say(self, now: Instant, reason: str) -> None:
        self._tell("main", StoreParked(role=self._role, incarnation=self._incarnation, parked=True, reason=reason))
        if now.boot_s - self._said_boot_s >= CONDITION_S:
            self._said_boot_s = now.boot_s
            self._condition(active=True, text=f"the store of {self._role} does not take writes: {reason}")

    def over(self) -> None:
        self._condition(active=False, text=f"the store of {self._role} takes writes again")
        self._tell("main", StoreParked(role=self._role, incarnation=self._incarnation, parked=False))

    def _condition(self, *, active: bool, text: str) -> None:
        logger.error(text)
        condition = Condition(fingerprint=f"store:{self._role}", level="critical", active=active, text=text)
        for role in ("alerts", *PEOPLE):
            self._tell(role, condition)
