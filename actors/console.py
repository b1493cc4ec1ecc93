"""console's shell: the page, `/healthz` and `/metrics` on loopback, in a thread that alone touches the read model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from actors.machine_actor import MachineActor
from actors.ports import Thinker
from actors.reading import quotes_of, read_model
from state.files import write_atomically
from telemetry.client import PAGE_FILE
from telemetry.page import make_app
from trading.machine import Effects, Incarnation, Instant, QuietMachine, Rows
from trading.messages.control import Condition


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
        self._loop.run_until_complete(self._start_page())
        self._loop.run_forever()

    async def _start_page(self) -> None:
        """A chosen port that is taken costs the page and nothing else: it is said, and a free one is used."""
        runner = web.AppRunner(make_app(self.model), access_log=None)
        await runner.setup()
        wanted = self.plan.page_port or 0
        site = web.TCPSite(runner, "127.0.0.1", wanted)
        try:
            await site.start()
        except OSError as error:
            text = f"the page's port {wanted} is taken ({error.strerror}); a free one is used, see {PAGE_FILE}"
            self.model.fold("console", Condition(fingerprint="console:port", level="warning", active=True, text=text))
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
        port = _port(runner)
        body = json.dumps({"url": f"http://127.0.0.1:{port}/", "port": port}).encode()
        write_atomically(self.plan.data_dir / PAGE_FILE, body)


def _port(runner: web.AppRunner) -> int:
    addresses: Callable[[], list[Any]] = lambda: runner.addresses  # noqa: E731 -- aiohttp calls it Any
    return int(addresses()[0][1])
