"""operator's shell: HTTP on the Unix socket `run/operator.sock` (0600) in a thread of its own; everything else on the actor's.

Reads are answered from the read model, orders go to the machine and are answered when their owner has saved them.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from aiohttp import web

from actors.bridge import Bridge
from actors.machine_actor import MachineActor
from actors.ports import Thinker
from actors.reading import quotes_of, read_model
from telemetry.client import SOCKET_NAME
from telemetry.read_model import NotNowError, jsonable
from trading.machine import Incarnation, Instant, Note
from trading.messages.control import Noted
from trading.operator import Asked, OperatorMachine, Replied

ANSWER_S = 12.0


class OperatorActor(MachineActor):
    def make_machine(self) -> Thinker:
        return OperatorMachine(me=self.incarnation)

    def started(self) -> None:
        self.model = read_model(self.plan, quotes_of(self.plan))
        self._waiting: dict[str, Future[dict[str, Any]]] = {}
        self._asked = 0
        self._bridge = Bridge()
        self.watch(self._bridge, self._take_questions)
        path = self.plan.data_dir / SOCKET_NAME
        threading.Thread(target=serve, args=(path, self._bridge), name="operator-http", daemon=True).start()

    def receive_from(self, sender_id: str, sender_incarnation: Incarnation, body: Any) -> None:
        self.model.fold(sender_id, self.in_words(body))
        super().receive_from(sender_id, sender_incarnation, body)

    def note(self, note: Note, now: Instant) -> None:
        super().note(note, now)
        noted = Noted(
            at_s=now.venue_s, role=self.child_id, kind=note.kind, values=note.values, config_hash=self.plan.config_hash
        )
        self.model.fold(self.child_id, noted)

    def _take_questions(self) -> None:
        for command, args, future in self._bridge.drain():
            try:
                answer = {"ok": True, "data": jsonable(self.model.answer(command, args))}
            except KeyError as error:
                if error.args != (command,):
                    raise
                self._order(command, args, future)
                continue
            except NotNowError as error:
                answer = {"ok": False, "error": str(error), "code": 1}
            except ValueError as error:
                answer = {"ok": False, "error": str(error), "code": 2}
            future.set_result(answer)

    def _order(self, command: str, args: dict[str, str], future: Future[dict[str, Any]]) -> None:
        self._asked += 1
        request_id = str(self._asked)
        self._waiting[request_id] = future
        self.give(Asked(request_id=request_id, command=command, args=tuple(sorted(args.items()))))

    def io(self, request: object) -> None:
        if not isinstance(request, Replied):
            super().io(request)
            return
        future = self._waiting.pop(request.request_id, None)
        if future is not None and not future.done():
            said: dict[str, Any] = (
                {"data": {"text": request.text}}
                if request.ok
                else {"error": request.text, "code": 2 if request.misworded else 1}
            )
            future.set_result({"ok": request.ok, **said})


def serve(path: Path, bridge: Bridge) -> None:
    """The thread: one aiohttp server on a Unix socket that only its owner may open."""
    path.unlink(missing_ok=True)
    asyncio.run(_serve(path, bridge))


async def _serve(path: Path, bridge: Bridge) -> None:
    app = web.Application(client_max_size=65_536)
    app.router.add_post("/ctl/{command}", lambda request: _answer(request, bridge))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.umask(0o177)  # the socket is born 0600: there is no moment in which others may connect
    await web.UnixSite(runner, f"/proc/self/fd/{folder}/{path.name}").start()
    await asyncio.Event().wait()


async def _answer(request: web.Request, bridge: Bridge) -> web.StreamResponse:
    command = request.match_info["command"]
    try:
        args = json.loads(await request.text() or "{}")
        if not isinstance(args, dict) or not all(isinstance(value, str) for value in args.values()):
            raise ValueError("arguments are a JSON object of texts")
    except ValueError as error:
        return web.json_response({"ok": False, "error": f"unreadable request: {error}", "code": 2})
    future: Future[dict[str, Any]] = Future()
    bridge.put((command, args, future))
    try:
        return web.json_response(await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_S))
    except TimeoutError:
        return web.json_response({"ok": False, "error": f"no answer to {command} within {ANSWER_S:.0f} s", "code": 1})
