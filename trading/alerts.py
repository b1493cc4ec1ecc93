"""What reaches a person, and how often: one alert per standing condition, deduplicated, escalated until somebody cares.

A `Condition` is a level that its owner repeats while it stands. An alert is sent when a condition begins, again (one
severity higher) when it still stands unacknowledged after `escalate_s`, then every `repeat_s`, and once when it is over:
when it stayed away for `dedupe_s`, so that a flapping condition is one alert.
A condition whose owner fell silent is not over: only its owner's word ends it. When it is told again after `anew_s` it
counts as new, and so does one that grew worse: who acknowledged the old one has not heard of this one.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import define, evolve, frozen

from trading.machine import (
    NO_INCARNATION,
    Effect,
    Effects,
    Incarnation,
    Instant,
    Note,
    QuietMachine,
    Row,
    Rows,
    Save,
    Send,
    Table,
    Wake,
    Woke,
)
from trading.messages.control import CommandDone, Condition
from trading.news import NEWS_TABLE, News, NewsFound
from trading.operator import AlertAcknowledged

LEVELS = ("info", "warning", "critical")


@frozen(kw_only=True)
class AlertsSettings:
    """Timings of the alert matrix: sent within 5 s, deduplicated 60 s, escalated after 120 s. Real seconds.

    settle_s: how long a condition below critical must stand before it is told: a start passes through several. anew_s: longer
    than any owner waits before it repeats a condition that stands.
    """

    level_min: str = "warning"
    settle_s: float = 3.0
    dedupe_s: float = 60.0
    escalate_s: float = 120.0
    repeat_s: float = 900.0
    anew_s: float = 600.0


@frozen(kw_only=True)
class SendAlert:
    """Machine -> shell (`io`): one text for every configured channel."""

    fingerprint: str
    level: str
    title: str
    text: str


@define
class _Standing:
    fingerprint: str
    level: str
    text: str
    began_s: float
    sent_s: float | None
    escalated: bool
    acknowledged_by: str
    over_since_boot_s: float | None = None
    since_boot_s: float = 0.0
    heard_boot_s: float = 0.0
    heard_of: bool = False


class AlertsMachine(QuietMachine):
    role: ClassVar[str] = "alerts"
    tables = (
        Table(
            "alerts",
            columns={
                "level": "text",
                "text": "text",
                "began_s": "real",
                "sent_s": "real",
                "escalated": "integer",
                "acknowledged_by": "text",
            },
        ),
        NEWS_TABLE,
    )

    def __init__(
        self, *, settings: AlertsSettings | None = None, me: Incarnation = NO_INCARNATION, news: bool = False
    ) -> None:
        self.settings = settings or AlertsSettings()
        self.me = me
        self.news = News(wanted=news)
        self.standing: dict[str, _Standing] = {}

    def recover(self, rows: Rows, now: Instant) -> Effects:
        for fingerprint, row in rows.get("alerts", {}).items():
            self.standing[fingerprint] = _Standing(
                fingerprint,
                str(row["level"]),
                str(row["text"]),
                float(row["began_s"] or 0.0),
                float(row["sent_s"]) if row["sent_s"] is not None else None,
                bool(row["escalated"]),
                str(row["acknowledged_by"] or ""),
                heard_boot_s=now.boot_s,
            )
        self.news.recover(rows)
        return [Wake("look", now.boot_s + 1.0)]

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Condition():
                return self._condition(message, now)
            case AlertAcknowledged():
                return self._acknowledged(message)
            case NewsFound():
                return self.news.found(message, now)
            case Woke(key="look"):
                return [*self._look(now), *self.news.look(now), Wake("look", now.boot_s + 1.0)]
        return ()

    def _condition(self, condition: Condition, now: Instant) -> Effects:
        known = self.standing.get(condition.fingerprint)
        if not condition.active:
            if known is not None and known.over_since_boot_s is None:
                known.over_since_boot_s = now.boot_s  # it may come back at once: over only when it stays away
            return ()
        anew = known is None or now.boot_s - known.heard_boot_s >= self.settings.anew_s
        if known is not None and not anew:
            known.over_since_boot_s, known.heard_boot_s = None, now.boot_s
            if LEVELS.index(condition.level) <= LEVELS.index(known.level):
                return ()
            self.standing[condition.fingerprint] = evolve(
                known, level=condition.level, text=condition.text, sent_s=None, acknowledged_by=""
            )
        else:
            self.standing[condition.fingerprint] = _Standing(
                condition.fingerprint,
                condition.level,
                condition.text,
                now.venue_s,
                None,
                False,
                "",
                since_boot_s=now.boot_s,
                heard_boot_s=now.boot_s,
                heard_of=known is not None and (known.heard_of or known.sent_s is not None),
            )
        return self._look(now)

    def _look(self, now: Instant) -> Effects:
        effects: list[Effect] = []
        for fingerprint, alert in list(self.standing.items()):
            if alert.sent_s is None and alert.level != "critical":
                if alert.over_since_boot_s is not None:
                    del self.standing[fingerprint]  # it came and went before anybody had to hear of it
                    if alert.heard_of:
                        effects.append(Save("alerts", fingerprint, {**_row(alert), "live": False}))
                        effects += self._send(alert, "info", "over")
                    continue
                if now.boot_s - alert.since_boot_s < self.settings.settle_s:
                    continue
            if alert.over_since_boot_s is not None and now.boot_s - alert.over_since_boot_s >= self.settings.dedupe_s:
                del self.standing[fingerprint]
                effects.append(Save("alerts", fingerprint, {**_row(alert), "live": False}))
                if alert.sent_s is not None:
                    effects += self._send(alert, "info", "over")
                continue
            level = self._due(alert, now)
            if level is not None and LEVELS.index(level) >= LEVELS.index(self.settings.level_min):
                alert.escalated = alert.escalated or alert.sent_s is not None
                alert.sent_s = now.venue_s
                effects.append(Save("alerts", fingerprint, _row(alert)))
                effects += self._send(alert, level, "still standing" if alert.escalated else "")
        return effects

    def _due(self, alert: _Standing, now: Instant) -> str | None:
        """The level to send now, or None. Ages are venue time, since they must survive restarts."""
        if alert.acknowledged_by:
            return None
        if alert.sent_s is None:
            return alert.level
        age_s = (now.venue_s - alert.sent_s) / now.speed
        if not alert.escalated and age_s >= self.settings.escalate_s:
            return LEVELS[min(LEVELS.index(alert.level) + 1, 2)]
        if alert.escalated and age_s >= self.settings.repeat_s:
            return LEVELS[min(LEVELS.index(alert.level) + 1, 2)]
        return None

    def _send(self, alert: _Standing, level: str, word: str) -> Effects:
        title = f"Bulkhead {level}{': ' + word if word else ''}"
        return [
            Send("io", SendAlert(fingerprint=alert.fingerprint, level=level, title=title, text=alert.text)),
            Note(
                "alert",
                {
                    "fingerprint": alert.fingerprint,
                    "level": level,
                    "text": f"{word + ': ' if word else ''}{alert.text}",
                },
            ),
        ]

    def _acknowledged(self, ack: AlertAcknowledged) -> Effects:
        matching = [f for f in self.standing if f == ack.fingerprint or f.startswith(ack.fingerprint)]
        if not matching:
            known = ", ".join(sorted(self.standing)) or "none stands"
            text = f"no alert is named {ack.fingerprint!r}; there are: {known}"
            return [Send("operator", CommandDone(command_id=ack.command_id, ok=False, text=text, misworded=True))]
        effects: list[Effect] = []
        for fingerprint in matching:
            self.standing[fingerprint].acknowledged_by = ack.name
            effects.append(Save("alerts", fingerprint, _row(self.standing[fingerprint])))
        text = f"{ack.name} has {', '.join(matching)}; it escalates no further"
        return [*effects, Send("operator", CommandDone(command_id=ack.command_id, ok=True, text=text))]


def _row(alert: _Standing) -> Row:
    return {
        "level": alert.level,
        "text": alert.text,
        "began_s": alert.began_s,
        "sent_s": alert.sent_s,
        "escalated": alert.escalated,
        "acknowledged_by": alert.acknowledged_by,
    }
