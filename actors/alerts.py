"""alerts' shell: what the machine decides to tell goes to the channels (apprise, in a thread) and to the log; what is new in
the book is looked up in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from loguru import logger

from actors.bridge import Bridge
from actors.machine_actor import MachineActor
from actors.notes import PEOPLE
from actors.ports import Thinker
from telemetry.newsroom import Newsroom
from telemetry.notify import Notifier, alert_urls, news_urls
from trading.alerts import AlertsMachine, AlertsSettings, SendAlert
from trading.messages.control import Condition
from trading.news import LookForNews, SendNews

LAST_WORDS_S = 1.0
WORDS = {"alerts": ("critical", "an alert"), "news": ("warning", "a piece of news")}
"""What it is when a channel does not take it."""


class AlertsActor(MachineActor):
    store_file: ClassVar[str | None] = "alerts.sqlite"
    _notifiers: Mapping[str, Notifier] = MappingProxyType({})

    def make_machine(self) -> Thinker:
        settings = self.plan.section("alerts", AlertsSettings)
        return AlertsMachine(settings=settings, me=self.incarnation, news=bool(news_urls()))

    def started(self) -> None:
        self._results = Bridge()
        self.watch(self._results, self._heard_back)
        self._found = Bridge()
        self.watch(self._found, self._give_found)
        channels = {"alerts": alert_urls(), "news": news_urls()}
        self._notifiers = {name: self._notifier(name, urls) for name, urls in channels.items()}
        self._newsroom = Newsroom(self.plan.data_dir, self._found.put)
        if channels["news"]:
            self._newsroom.start()

    def _notifier(self, name: str, urls: tuple[str, ...]) -> Notifier:
        notifier = Notifier(urls, lambda title, sent: self._results.put((name, title, sent)))
        notifier.start()
        return notifier

    def _heard_back(self) -> None:
        """A channel that fails cannot tell so itself: status, page and log do, until it takes one again."""
        for name, title, sent in self._results.drain():
            level, word = WORDS[name]
            text = f"{word} ({title}) did not reach every channel: look with `run.py alert-test`"
            if not sent:
                logger.error(text)
            condition = Condition(fingerprint=f"{name}:undelivered", level=level, active=not sent, text=text)
            for role in PEOPLE:
                self.people.told(role, condition)
                self.tell(role, condition)

    def _give_found(self) -> None:
        for found in self._found.drain():
            self.give(found)

    def io(self, request: object) -> None:
        match request:
            case SendAlert():
                bound = logger.bind(fingerprint=request.fingerprint, level=request.level)
                bound.warning(f"{request.title}: {request.text}")
                self._notifiers["alerts"].send(request.level, request.title, request.text)
            case SendNews():
                logger.info(f"{request.title}: {request.text}")
                self._notifiers["news"].send("info", f"Bulkhead: {request.title}", request.text)
            case LookForNews():
                self._newsroom.look(request)
            case _:
                super().io(request)

    def terminate(self, reason: str) -> None:
        super().terminate(reason)
        for notifier in self._notifiers.values():
            notifier.stop(LAST_WORDS_S)
