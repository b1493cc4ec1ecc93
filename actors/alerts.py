"""alerts' shell: what the machine decides to tell goes to the configured channels (apprise, in a thread) and to the log."""

from __future__ import annotations

from typing import ClassVar

from loguru import logger

from actors.machine_actor import MachineActor
from actors.ports import Thinker
from telemetry.notify import Notifier, alert_urls
from trading.alerts import AlertsMachine, AlertsSettings, SendAlert

LAST_WORDS_S = 1.0


class AlertsActor(MachineActor):
    store_file: ClassVar[str | None] = "alerts.sqlite"
    _notifier: Notifier | None = None

    def make_machine(self) -> Thinker:
        return AlertsMachine(settings=self.plan.section("alerts", AlertsSettings), me=self.incarnation)

    def started(self) -> None:
        if self._notifier is None:
            self._notifier = Notifier(alert_urls())
            self._notifier.start()

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
