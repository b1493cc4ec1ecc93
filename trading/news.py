"""What people hear of trades without asking: each purchase, each closed position, each day that is over, told once.

Nothing here stands or escalates: who wants alarms reads alerts. The shell looks at the book on the disk and finds the
texts; this machine knows what was told before. It saves before it sends, so that a crash costs one piece of news and
never repeats one. History that is older than the first look is not told.
"""

from __future__ import annotations

from attrs import frozen

from trading.machine import Effect, Effects, Instant, Rows, Save, Send, Table
from trading.money import DAY_S, day_start_s
from trading.values import utc_text

LOOK_S = 5.0
BACK_S = 14 * DAY_S
"""How long after it happened a trade may come to the book and is still news."""
KEPT_S = 2 * BACK_S
DAY_SETTLES_S = 60.0
"""Real seconds after midnight UTC until a day is told: its last fills may still be on their way into the book."""
NEWS_TABLE = Table("news", columns={"at_s": "real"})
_SINCE = "since"


@frozen(kw_only=True)
class LookForNews:
    """Machine -> shell (`io`): what was traded since. day_s: a day's begin whose digest is wanted too, None when none is."""

    since_s: float
    day_s: float | None = None


@frozen(kw_only=True)
class NewsItem:
    """key: names what happened, for ever the same. at_s: when it happened, venue time."""

    key: str
    at_s: float
    title: str
    text: str


@frozen(kw_only=True)
class NewsFound:
    """Shell -> machine: in order of time."""

    items: tuple[NewsItem, ...]


@frozen(kw_only=True)
class SendNews:
    """Machine -> shell (`io`): one text for every channel of news."""

    title: str
    text: str


def digest_key(day_s: float) -> str:
    return f"digest:{utc_text(day_s)[:10]}"


class News:
    """A part of the alerts machine. Without a channel (`wanted` false) it looks at nothing."""

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.since_s: float | None = None
        self.told: dict[str, float] = {}
        self._next_boot_s = 0.0

    def recover(self, rows: Rows) -> None:
        self.told = {key: float(row["at_s"] or 0.0) for key, row in rows.get(NEWS_TABLE.name, {}).items()}
        self.since_s = self.told.pop(_SINCE, None)

    def look(self, now: Instant) -> Effects:
        if not self.wanted or not now.trusted or now.boot_s < self._next_boot_s:
            return ()
        self._next_boot_s = now.boot_s + LOOK_S
        effects: list[Effect] = []
        if self.since_s is None:
            self.since_s = now.venue_s
            effects.append(Save(NEWS_TABLE.name, _SINCE, {"at_s": now.venue_s}))
        old = [key for key, at_s in self.told.items() if at_s < now.venue_s - KEPT_S]
        effects += [Save(NEWS_TABLE.name, key, {"at_s": self.told.pop(key), "live": False}) for key in old]
        today_s = day_start_s(now.venue_s)
        over = now.venue_s >= today_s + DAY_SETTLES_S * now.speed and self.since_s < today_s
        day_s = today_s - DAY_S if over and digest_key(today_s - DAY_S) not in self.told else None
        effects.append(Send("io", LookForNews(since_s=self._from_s(now), day_s=day_s)))
        return effects

    def _from_s(self, now: Instant) -> float:
        """What is older is history, or was forgotten: the sale of an old position brings its purchase along."""
        return max(now.venue_s if self.since_s is None else self.since_s, now.venue_s - BACK_S - DAY_S)

    def found(self, message: NewsFound, now: Instant) -> Effects:
        """Told and remembered, once each."""
        effects: list[Effect] = []
        from_s = self._from_s(now)
        for item in message.items:
            if item.key in self.told or item.at_s < from_s:
                continue
            self.told[item.key] = item.at_s
            effects.append(Save(NEWS_TABLE.name, item.key, {"at_s": item.at_s}))
            effects.append(Send("io", SendNews(title=item.title, text=item.text)))
        return effects
