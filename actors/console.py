"""console's shell: the page, `/healthz` and `/metrics` on loopback, in a thread that alone touches the read model."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

from actors.machine_actor import MachineActor
from actors.ports import Thinker
from actors.reading import quotes_of, read_model
from telemetry.page import make_app, serve
from trading.machine import Effects, Incarnation, Instant, QuietMachine, Rows


class ListeningMachine(QuietMachine):
    """Console decides nothing: whatever it hears goes to the read model."""

    role = "console"

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return ()

    def handle(self, message: object, now: Instant) -> Effects:  # noqa: ARG002
        return ()


class ConsoleActor(MachineActor):
    _loop: asyncio.AbstractEventLoop | None = None

    def make_machine(self) -> Thinker:
        return ListeningMachine()

    def started(self) -> None:
        if self.plan.page_port is None:
            return
        self.model = read_model(self.plan, quotes_of(self.plan))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, name="console-http", daemon=True).start()

    def receive_from(self, sender_id: str, sender_incarnation: Incarnation, body: Any) -> None:  # noqa: ARG002
        self._fold(sender_id, self.in_words(body))

    def _fold(self, role: str, message: object) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(partial(self.model.fold, role, message))

    def _serve(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        app = make_app(self.model, self.plan.data_dir)
        self._loop.run_until_complete(serve(app, self.plan.data_dir, self.plan.page_port or 0))
        self._loop.run_forever()
