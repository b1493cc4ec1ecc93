"""The page, `/healthz`, `/metrics` and `/api/picture`: read only, on loopback, for one person and one scraper."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from state.book import NoBookError, newest_books
from state.files import write_atomically
from state.store import StoreError
from telemetry.client import PAGE_FILE, page_of
from telemetry.metrics import exposition
from telemetry.read_model import ReadModel
from telemetry.trades import closed_in, told

HTML = Path(__file__).with_name("page.html")
TRADES_MAX, TRADES_SHOWN = 500, 10
LOOPBACK = "127.0.0.1"
LOCAL_HOSTS = (LOOPBACK, "localhost", "[::1]")
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'"


def make_app(model: ReadModel, data_dir: Path) -> web.Application:
    """The console's application. Nothing it serves can change anything."""

    async def page(_: web.Request) -> web.StreamResponse:
        text = await asyncio.to_thread(HTML.read_text, encoding="utf-8")
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def picture(_: web.Request) -> web.StreamResponse:
        return web.json_response({**model.picture({}), "breakers": model.breakers(), "exposure": model.exposure()})

    async def trades(_: web.Request) -> web.StreamResponse:
        return web.json_response(await asyncio.to_thread(closed_trades, data_dir))

    async def healthz(_: web.Request) -> web.StreamResponse:
        """200 while the bot may trade or is only reducing, 503 otherwise; the body says why."""
        state, causes = model.state()
        body = {"trading_state": state, "causes": list(causes)}
        return web.json_response(body, status=200 if state in ("ACTIVE", "REDUCING") else 503)

    async def metrics(_: web.Request) -> web.StreamResponse:
        return web.Response(
            body=exposition(model), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    app = web.Application(middlewares=[only_local_names])
    app.add_routes(
        [
            web.get("/", page),
            web.get("/api/picture", picture),
            web.get("/api/trades", trades),
            web.get("/healthz", healthz),
            web.get("/metrics", metrics),
        ]
    )
    return app


def closed_trades(data_dir: Path) -> dict[str, Any]:
    """What the book says of the positions that were closed last; nothing where there is none, or it cannot be read now."""
    try:
        book = newest_books(data_dir, TRADES_MAX)
    except (NoBookError, StoreError):
        return told((), 0)
    return told(closed_in(book), TRADES_SHOWN)


@web.middleware
async def only_local_names(request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
    """A foreign name in Host is a web page that wants to read the account through the owner's browser."""
    host = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
    if host not in LOCAL_HOSTS:
        return web.Response(status=403, text=f"{host} is not a name of this machine's loopback\n")
    response: web.StreamResponse = await handler(request)
    return response


async def serve(app: web.Application, data_dir: Path, wanted: int) -> web.AppRunner:
    """Serve on port `wanted` (0: any free one, after a restart the same as before), and tell in PAGE_FILE where.

    A port that cannot be had costs the page nothing but its address: a free one is used, with a note that says why.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    before = page_of(data_dir) or {"port": 0}
    note = ""
    for port in dict.fromkeys((wanted or int(before["port"]), 0)):
        try:
            await web.TCPSite(runner, LOOPBACK, port).start()
            break
        except OSError as error:
            if wanted:
                why = os.strerror(error.errno) if error.errno else str(error)  # asyncio's text repeats the address
                note = f"port {wanted} cannot be used: {why}"
    got = _port(runner)
    body = {"url": f"http://{LOOPBACK}:{got}/", "port": got, "note": note}
    write_atomically(data_dir / PAGE_FILE, json.dumps(body).encode())
    return runner


def _port(runner: web.AppRunner) -> int:
    addresses: Callable[[], list[Any]] = lambda: runner.addresses  # noqa: E731 -- aiohttp calls it Any
    return int(addresses()[0][1])
