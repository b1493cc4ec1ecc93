"""A machine's Note on its way to people: the role's log and audit chain, and `Noted` to operator and console."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from loguru import logger

from actors.plan import RunPlan
from state.audit import AuditLog
from telemetry.read_model import jsonable
from trading.machine import Instant, Note
from trading.messages.control import Condition, Noted
from trading.values import utc_text

AUDITED = frozenset({"decision", "order", "fill", "recovery", "command", "alert", "kill", "reconcile"})
PEOPLE = ("operator", "console")
REPEATS = frozenset({"standing"})
"""Kinds that repeat what was recorded when it changed: for those who look on, neither for the log nor for the audit chain."""


class People:
    """Notes may be lost: a full disk costs lines, never a role (`lost` counts them)."""

    def __init__(self, plan: RunPlan, role: str, tell: Callable[[str, object], object]) -> None:
        self._plan, self._role, self._tell = plan, role, tell
        self._audit: AuditLog | None = None
        self._last: dict[tuple[str, type, str], object] = {}
        self.lost = 0

    def note(self, note: Note, now: Instant) -> None:
        values = jsonable(note.values)
        if note.kind not in REPEATS:
            text = str(values.get("text") or values.get("code") or note.kind)
            bound = {"at": utc_text(now.venue_s), "config_hash": self._plan.config_hash, "values": values}
            logger.bind(kind=note.kind, **bound).info(text)
        if note.kind in AUDITED:
            self._record(note.kind, values, now)
        noted = Noted(
            at_s=now.venue_s, role=self._role, kind=note.kind, values=values, config_hash=self._plan.config_hash
        )
        for role in PEOPLE if note.kind in REPEATS else (*PEOPLE, "main"):
            if role != self._role:
                self._tell(role, noted)

    def told(self, role: str, message: object) -> None:
        """Remember the newest snapshot of each kind that went to `role`."""
        self._last[role, type(message), getattr(message, "fingerprint", "")] = message

    def again(self, role: str) -> None:
        """`role` has just started: tell it at once what it would else wait up to 10 s for."""
        for (reader, _, _), message in self._last.items():
            if reader == role and not (isinstance(message, Condition) and not message.active):
                self._tell(role, message)

    def _record(self, kind: str, values: object, now: Instant) -> None:
        try:
            if self._audit is None:
                self._audit = AuditLog(self._plan.data_dir / "audit" / f"{self._role.replace(':', '_')}.jsonl")
            record = {"kind": kind, "values": values, "config_hash": self._plan.config_hash}
            self._audit.append(utc_text(now.venue_s), record)
        except OSError:
            if self._audit is not None:
                with suppress(OSError):  # a network disk tells a lost write at the close, once more
                    self._audit.close()
            self._audit = None  # opened anew at the next note, which cuts what is torn
            self.lost += 1
