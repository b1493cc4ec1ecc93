"""alerts' shell: what the machine decides to tell goes to the configured channels (apprise, in a thread) and to the log."""

from __future__ import annotations

from typing import ClassVar

from loguru import logger

from actors.bridge import Bridge
from actors.machine_actor import MachineActor
from actors.notes import PEOPLE
from actors.ports import Thinker
from telemetry.notify import Notifier, alert_urls
from trading.alerts import AlertsMachine, AlertsSettings, SendAlert
from trading.messages.control import Condition

LAST_WORDS_S = 1.0


class AlertsActor(MachineActor):
    store_file: ClassVar[str | None] = "alerts.sqlite"
    _notifier: Notifier | None = None

    def make_machine(self) -> Thinker:
        return AlertsMachine(settings=self.plan.section("alerts", AlertsSettings), me=self.incarnation)

    def started(self) -> None:
        if self._notifier is None:
            self._results = Bridge()
            self.watch(self._results, self._heard_back)
            self._notifier = Notifier(alert_urls(), lambda title, sent: self._results.put((title, sent)))
            self._notifier.start()

    def _heard_back(self) -> None:
        """A channel that fails cannot tell so itself: status, page and log do, until it takes an alert again."""
        for title, sent in self._results.drain():
            text = f"an alert ({title}) did not reach every channel: look with `run.py alert-test`"
            if not sent:
                logger.error(text)
            condition = Condition(fingerprint="alerts:undelivered", level="critical", active=not sent, text=text)
            for role in PEOPLE:
                self.people.told(role, condition)
                self.tell(role, condition)

    def io(self, request: object) -> None:
        if not isinstance(request, SendAlert):
            super().io(request)
            return
        logger.bind(fingerprint=request.fingerprint, level=request.level).warning(f"{request.title}: {request.text}")
        if self._notifier is not None:
            self._notifier.send(request.level, request.title, request.text)

    def terminate(self, reason: str) -> None:
        super().terminate(reason)
        if self._notifier is not None:
            self._notifier.stop(LAST_WORDS_S)
