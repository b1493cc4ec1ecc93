"""A real TLS WebSocket server whose every connection follows a script; it remembers what it was sent."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trustme
from aiohttp import WSMsgType, web

from exchange.coinbase.endpoints import Endpoints

STAMP = "2026-06-14T05:35:45.435813533Z"


def stamp(second: float = 0.0) -> str:
    return f"2026-06-14T05:{35 + int(second) // 60:02d}:{int(second) % 60:02d}.{int(second * 1e6) % 1_000_000:06d}Z"


class Frames:
    """Builds frames in Coinbase's shape with one sequence over all channels."""

    def __init__(self) -> None:
        self.sequence = 0

    def frame(self, channel: str, events: list[Any], at: str = STAMP, **more: Any) -> str:
        text = json.dumps(
            {"channel": channel, "timestamp": at, "sequence_num": self.sequence, "events": events, **more}
        )
        self.sequence += 1
        return text

    def heartbeat(self, at: str = STAMP) -> str:
        return self.frame("heartbeats", [{"current_time": "x", "heartbeat_counter": "7"}], at)

    def ticker(
        self, bid: str = "100.1", ask: str = "100.2", product: str = "BTC-USD", at: str = STAMP, last: str = "100.15"
    ) -> str:
        row = {
            "type": "ticker",
            "product_id": product,
            "price": last,
            "volume_24_h": "3974.98",
            "best_bid": bid,
            "best_ask": ask,
            "best_bid_quantity": "1.5",
            "best_ask_quantity": "2.5",
        }
        return self.frame("ticker", [{"type": "update", "tickers": [row]}], at)

    def level2(self, kind: str, rows: list[tuple[str, str, str]], product: str = "BTC-USD", at: str = STAMP) -> str:
        updates = [
            {"side": side, "event_time": at, "price_level": price, "new_quantity": size} for side, price, size in rows
        ]
        return self.frame("l2_data", [{"type": kind, "product_id": product, "updates": updates}], at)

    def acknowledged(self, channels: dict[str, list[str]]) -> str:
        return self.frame("subscriptions", [{"subscriptions": channels}])

    def trades(
        self, rows: list[tuple[str, str, str]], kind: str = "update", product: str = "BTC-USD", at: str = STAMP
    ) -> str:
        trades = [
            {"product_id": product, "trade_id": str(900 + n), "price": price, "size": size, "time": time, "side": "BUY"}
            for n, (time, price, size) in enumerate(rows)
        ]
        return self.frame("market_trades", [{"type": kind, "trades": trades}], at)


class Connection:
    def __init__(self, number: int, socket: web.WebSocketResponse, heard: list[dict[str, Any]]) -> None:
        self.number, self.socket, self.heard, self.frames = number, socket, heard, Frames()

    async def say(self, *texts: str) -> None:
        for text in texts:
            await self.socket.send_str(text)

    async def beat(self, times: int = 1_000_000, every_s: float = 0.1) -> None:
        for _ in range(times):
            await self.say(self.frames.heartbeat())
            await asyncio.sleep(every_s)


Script = Callable[[Connection], Awaitable[None]]


class ScriptedVenue:
    """`connections` lists what each connection said, in order; the script ends a connection by returning."""

    def __init__(self, folder: Path, script: Script) -> None:
        self.script = script
        self.connections: list[list[dict[str, Any]]] = []
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self._context)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def __enter__(self) -> ScriptedVenue:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(
            rest=f"127.0.0.1:{self.port}",
            ws_market=f"wss://127.0.0.1:{self.port}/",
            ws_user=f"wss://127.0.0.1:{self.port}/",
            ca_file=str(self.ca_file),
            status_url=f"https://127.0.0.1:{self.port}/api/v2/summary.json",
        )

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application()
        app.router.add_get("/", self._connection)
        app.router.add_get("/api/v2/summary.json", self._summary)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    summary: tuple[int, str] = (200, "{}")

    async def _summary(self, _: web.Request) -> web.Response:
        return web.Response(status=self.summary[0], text=self.summary[1], content_type="application/json")

    async def _connection(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        heard: list[dict[str, Any]] = []
        self.connections.append(heard)

        async def listen() -> None:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    heard.append(json.loads(message.data))  # noqa: PERF401 -- seen while it grows

        listening = asyncio.create_task(listen())
        try:
            await self.script(Connection(len(self.connections), socket, heard))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            listening.cancel()
        await socket.close()
        return socket
