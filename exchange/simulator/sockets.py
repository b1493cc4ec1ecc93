"""The WebSocket hosts: connections, subscriptions, and what each is told when.

One sequence number per connection counts every frame of every channel, acknowledgements included. The market host's frames
have no client_id, the user host's an empty one; both serve the user channel. A subscription is answered by its snapshot
first, then by the acknowledgement with the cumulative map, as recorded from Coinbase. Frames are queued per connection and
written by its own task, so that a slow client delays nobody; one that falls too far behind is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from decimal import Decimal
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from attrs import define, field

from exchange.simulator import frames
from exchange.simulator.candles import Candles
from exchange.simulator.clock import boot_s
from exchange.simulator.faults import SOCKET_KINDS
from exchange.simulator.gate import faulty_status
from exchange.simulator.keys import UnauthorizedError
from exchange.simulator.running import Running
from exchange.simulator.words import rfc3339

SUBSCRIBE_WITHIN_S = 5.0
IDLE_CLOSE_S = 75.0
QUEUE_MAX = 20_000
CLOSE_WAIT_S = 0.4
EMPTY_EVERY, ORPHAN_EVERY = 7, 23
"""Updates without a change and deletes of levels never told are routine at Coinbase: every so many updates, one."""
ORPHAN_AT = Decimal("0.5")
USER_BATCH = 50
TRADES_SNAPSHOT = 60
CHANNELS = ("ticker", "ticker_batch", "level2", "market_trades", "candles", "heartbeats", "status", "user")
USER_HOST_CHANNELS = ("user", "heartbeats", "futures_balance_summary")
NAME_IN_FRAMES = {"level2": "l2_data"}


@define(eq=False)
class Connection:
    running: Running
    socket: web.WebSocketResponse
    host: str
    queue: asyncio.Queue[str | None] = field(factory=asyncio.Queue)
    sequence: int = 0
    subscriptions: dict[str, set[str]] = field(factory=dict)
    last_sent_s: float = field(factory=boot_s)
    kept_back: str | None = None
    closing: bool = False
    subscribed: bool = False
    """It once was; the rule of five seconds is over."""
    closer: asyncio.Task[None] | None = None

    def wants(self, channel: str, product_id: str) -> bool:
        wanted = self.subscriptions.get(channel)
        return wanted is not None and product_id in wanted

    def send(self, channel: str, events: str) -> None:
        """Queue one frame: number it, and let the faults of this host and channel have their way."""
        if self.closing:
            return
        name = NAME_IN_FRAMES.get(channel, channel)
        copies, broken, swap = 1, False, False
        for rule in self.running.faults.socket(self.host, channel, boot_s()):
            kind = rule.kind
            self.running.faults.note(rule, self.running.now(), boot_s(), f"{self.host} {channel} #{self.sequence}")
            if kind == "silence":
                return
            if kind == "gap":
                self.sequence += 1
                return
            if kind == "disconnect":
                self.abort(int(rule.spec.get("code", 1006)))
                return
            if kind == "duplicate":
                copies += 1
            elif kind == "reorder":
                swap = True
            elif kind == "garbage":
                broken = True
            elif kind == "bad_tick":
                events = bad_tick(events, float(rule.spec.get("factor", 1.1)))
        client = '"client_id":"",' if self.host == "user" else ""
        text = (
            f'{{"channel":"{name}",{client}"timestamp":"{rfc3339(self.running.now(), 9)}",'
            f'"sequence_num":{self.sequence},"events":{events}}}'
        )
        self.sequence += 1
        if broken:
            text = text[: len(text) // 2]
        if swap and self.kept_back is None:
            self.kept_back = text
            return
        for _ in range(copies):
            self.put(text)
        if self.kept_back is not None:
            self.put(self.kept_back)
            self.kept_back = None

    def put(self, text: str) -> None:
        self.last_sent_s = boot_s()
        self.queue.put_nowait(text)
        if self.queue.qsize() > QUEUE_MAX:
            self.abort(1006)

    def error(self, message: str) -> None:
        self.put(json.dumps({"type": "error", "message": message}))

    def abort(self, code: int) -> None:
        """End the connection: 1006 without a word, others with a close frame."""
        if self.closing:
            return
        self.closing = True
        if code == WSCloseCode.ABNORMAL_CLOSURE:
            self._cut()
        else:
            self.closer = asyncio.create_task(self._goodbye(code))

    async def _goodbye(self, code: int) -> None:
        """A close frame, then time for the client's; the listening task sees it and ends the connection."""
        writer = self.socket._writer
        with contextlib.suppress(ConnectionError, RuntimeError):
            if writer is not None:
                await writer.close(code)
        await asyncio.sleep(CLOSE_WAIT_S)
        self._cut()

    def _cut(self) -> None:
        writer = self.socket._writer
        if writer is not None and writer.transport is not None:
            writer.transport.abort()

    async def write(self) -> None:
        """The connection's own task: queue to wire."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            while (text := await self.queue.get()) is not None:
                await self.socket.send_str(text)


def bad_tick(events: str, factor: float) -> str:
    """The same events with every price multiplied: a tick that never was."""
    found = json.loads(events)
    for event in found:
        for row in [*event.get("tickers", ()), *event.get("trades", ())]:
            for name in ("price", "best_bid", "best_ask"):
                if row.get(name):
                    row[name] = f"{float(row[name]) * factor:.8f}".rstrip("0").rstrip(".")
    return json.dumps(found, separators=(",", ":"))


class Hub:
    """All connections of both hosts, and the beat by which channels are told."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.connections: set[Connection] = set()
        self._shown: dict[str, frames.Shown] = {}
        self._trades: dict[str, list[dict[str, str]]] = {}
        self._level2_count = 0
        self._beat = dict.fromkeys(("trades", "second", "batch"), 0.0)
        running.listener = self

    # --- what the venue tells us ---------------------------------------------------------------------------------------

    def traded(self, product_id: str, trades: list[dict[str, str]]) -> None:
        if self._anybody("market_trades", product_id):
            self._trades.setdefault(product_id, []).extend(trades)
        if self._anybody("ticker", product_id):
            text = self._ticker(product_id, "update", batch=False)
            for connection in self._listening("ticker", product_id):
                connection.send("ticker", text)

    def order_changed(self, order: dict[str, Any]) -> None:
        text = frames.user([order], "update")
        for connection in self._listening("user", order["product_id"]):
            connection.send("user", text)

    def products_changed(self) -> None:
        for connection in list(self.connections):
            if "status" in connection.subscriptions:
                connection.send("status", frames.status(list(self.running.venue.products.values()), "update"))

    def _anybody(self, channel: str, product_id: str) -> bool:
        return any(connection.wants(channel, product_id) for connection in self.connections)

    def _listening(self, channel: str, product_id: str) -> list[Connection]:
        return [connection for connection in self.connections if connection.wants(channel, product_id)]

    def _ticker(self, product_id: str, kind: str, *, batch: bool) -> str:
        running = self.running
        return frames.ticker(product_id, running.venue.book(product_id), running.stats(product_id), kind, batch=batch)

    # --- the beat ------------------------------------------------------------------------------------------------------

    def pulse(self) -> None:
        """After every pulse of the venue: level2 at once, trades each 250 ms, candles and heartbeats each second."""
        self._tell_level2()
        now = boot_s()
        if now - self._beat["trades"] >= 0.25:
            self._beat["trades"] = now
            self._tell_trades()
        if now - self._beat["second"] >= 1.0:
            self._beat["second"] = now
            self._each_second(now)
        if now - self._beat["batch"] >= 5.0:
            self._beat["batch"] = now
            for product_id in self.running.street_ids:
                for connection in self._listening("ticker_batch", product_id):
                    connection.send("ticker_batch", self._ticker(product_id, "update", batch=True))

    def _tell_level2(self) -> None:
        for product_id in list(self._shown):
            listening = self._listening("level2", product_id)
            if not listening:
                del self._shown[product_id]
                continue
            before, now = self._shown[product_id], frames.shown(self.running.venue.book(product_id))
            self._shown[product_id] = now
            self._level2_count += 1
            orphan = min(now[0]) * ORPHAN_AT if now[0] and self._level2_count % ORPHAN_EVERY == 0 else None
            text = frames.level2_update(product_id, before, now, self.running.now(), orphan)
            empty = f'[{{"type":"update","product_id":"{product_id}","updates":[]}}]'
            for connection in listening:
                connection.send("level2", text)
                if self._level2_count % EMPTY_EVERY == 0:
                    connection.send("level2", empty)

    def _tell_trades(self) -> None:
        pending, self._trades = self._trades, {}
        for product_id, rows in pending.items():
            text = frames.trades(list(reversed(rows)), "update")
            for connection in self._listening("market_trades", product_id):
                connection.send("market_trades", text)

    def _each_second(self, now: float) -> None:
        running = self.running
        uptime = now - running.started_boot_s
        five_minutes = {
            product_id: self._candles(product_id, 1)
            for product_id in running.street_ids
            if self._anybody("candles", product_id)
        }
        for connection in list(self.connections):
            if "heartbeats" in connection.subscriptions:
                text = frames.heartbeat(running.now(), uptime, user_host=connection.host == "user")
                connection.send("heartbeats", text)
            for product_id, rows in five_minutes.items():
                if connection.wants("candles", product_id) and rows:
                    connection.send("candles", frames.candles(rows, "update"))
            if now - connection.last_sent_s > IDLE_CLOSE_S:
                connection.abort(WSCloseCode.OK)

    def _candles(self, product_id: str, count: int) -> list[dict[str, str]]:
        """The newest five-minute candles, newest first."""
        running = self.running
        now_s = running.now()
        store: Candles = running.candles
        bars = store.bars(product_id, 300, now_s - 300 * count, now_s, now_s)
        digits = -int(running.venue.products[product_id].price_increment.normalize().as_tuple().exponent)
        return [
            {
                "start": str(bar.start_s),
                "high": f"{bar.high:.{max(0, digits)}f}",
                "low": f"{bar.low:.{max(0, digits)}f}",
                "open": f"{bar.open:.{max(0, digits)}f}",
                "close": f"{bar.close:.{max(0, digits)}f}",
                "volume": f"{bar.volume:.8f}",
                "product_id": product_id,
            }
            for bar in reversed(bars)
        ]

    # --- connections ---------------------------------------------------------------------------------------------------

    async def serve(self, request: web.Request, host: str) -> web.StreamResponse:
        """One connection, from handshake to close."""
        running = self.running
        refused = running.faults.request("GET", f"/ws_{host}", "", boot_s())
        if any(rule.kind in ("offline", "drop_request") for rule in refused):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)
        if (failing := next((rule for rule in refused if rule.kind == "status"), None)) is not None:
            return faulty_status(failing)
        arrivals = running.limits.bucket(f"sockets:{request.remote}", running.limits.connections_per_s)
        if not arrivals.take(boot_s()):
            return web.Response(status=429, text="Too many requests\n")
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = Connection(running, socket, host)
        self.connections.add(connection)
        writer = asyncio.ensure_future(connection.write())
        try:
            await self._listen(connection)
        finally:
            self.connections.discard(connection)
            connection.closing = True
            if connection.closer is not None:
                connection.closer.cancel()
            connection.queue.put_nowait(None)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return socket

    async def _listen(self, connection: Connection) -> None:
        deadline = boot_s() + SUBSCRIBE_WITHIN_S
        while True:
            patience = None if connection.subscribed or connection.closing else max(0.0, deadline - boot_s())
            try:
                message = await asyncio.wait_for(connection.socket.receive(), patience)
            except TimeoutError:
                await connection.socket.close(code=WSCloseCode.OK)
                return
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return
            if message.type == WSMsgType.TEXT and not connection.closing:
                self._told(connection, message.data)

    def _told(self, connection: Connection, text: str) -> None:
        try:
            asked = json.loads(text)
        except ValueError:
            asked = None
        if not isinstance(asked, dict) or asked.get("type") not in ("subscribe", "unsubscribe"):
            connection.error("failure to subscribe")
            return
        channel = str(asked.get("channel"))
        ids = asked.get("product_ids") or []
        known = CHANNELS if connection.host == "market" else USER_HOST_CHANNELS
        if channel not in known:
            # Coinbase answers an unknown channel with the words of a failed login.
            connection.error("authentication failure")
            return
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            connection.error("failure to subscribe")
            return
        if channel == "user" or asked.get("jwt"):
            try:
                self.running.doorman.check(str(asked.get("jwt") or ""), None)
            except UnauthorizedError:
                connection.error("authentication failure")
                return
        if asked["type"] == "subscribe":
            self._subscribe(connection, channel, ids)
        else:
            self._unsubscribe(connection, channel, ids)

    def _wanted(self, channel: str, ids: list[str]) -> list[str] | None:
        """The products a subscription means; market channels speak of BTC-USDC as BTC-USD. None: one is unknown."""
        products = self.running.venue.products
        if any(name not in products for name in ids):
            return None
        if channel in ("heartbeats", "status", "futures_balance_summary"):
            return []
        if channel == "user":
            return ids or list(products)
        return list(dict.fromkeys(products[name].book_id for name in ids)) or list(self.running.street_ids)

    def _subscribe(self, connection: Connection, channel: str, ids: list[str]) -> None:
        wanted = self._wanted(channel, ids)
        if wanted is None:
            connection.error("failure to subscribe")
            return
        connection.subscribed = True
        have = connection.subscriptions.setdefault(channel, set())
        fresh = [name for name in wanted if name not in have]
        have.update(fresh)
        self._snapshots(connection, channel, fresh)
        self._acknowledge(connection)

    def _snapshots(self, connection: Connection, channel: str, fresh: list[str]) -> None:
        running = self.running
        if channel == "level2":
            for name in fresh:
                if name not in self._shown:
                    self._shown[name] = frames.shown(running.venue.book(name))
                connection.send(channel, frames.level2_snapshot(name, self._shown[name], running.now()))
        elif channel in ("ticker", "ticker_batch"):
            for name in fresh:
                connection.send(channel, self._ticker(name, "snapshot", batch=channel == "ticker_batch"))
        elif channel == "market_trades":
            for name in fresh:
                rows = list(running.trades[name])[-TRADES_SNAPSHOT:]
                connection.send(channel, frames.trades(list(reversed(rows)), "snapshot"))
        elif channel == "candles":
            for name in fresh:
                connection.send(channel, frames.candles(self._candles(name, 100), "snapshot"))
        elif channel == "status":
            connection.send(channel, frames.status(list(running.venue.products.values()), "snapshot"))
        elif channel == "user":
            orders = [order for order in running.venue.user_orders() if connection.wants("user", order["product_id"])]
            # A batch with fewer than 50 orders ends the snapshot.
            for start in range(0, len(orders) + 1, USER_BATCH):
                connection.send(channel, frames.user(orders[start : start + USER_BATCH], "snapshot"))

    def _unsubscribe(self, connection: Connection, channel: str, ids: list[str]) -> None:
        have = connection.subscriptions.get(channel)
        if have is not None:
            have.difference_update(ids)
            if not ids or not have:
                del connection.subscriptions[channel]
        self._acknowledge(connection)

    def _acknowledge(self, connection: Connection) -> None:
        told: dict[str, list[str]] = {}
        for channel, names in connection.subscriptions.items():
            if channel == "user":
                told[channel] = [self.running.venue.user_id]
            else:
                told[channel] = sorted(names) or [channel]
        connection.send("subscriptions", json.dumps([{"subscriptions": told}], separators=(",", ":")))

    async def close(self) -> None:
        for connection in list(self.connections):
            connection.abort(WSCloseCode.GOING_AWAY)
        deadline = boot_s() + CLOSE_WAIT_S
        while self.connections and boot_s() < deadline:  # noqa: ASYNC110 -- connections leave by themselves
            await asyncio.sleep(0.005)


__all__ = ["SOCKET_KINDS", "Connection", "Hub"]
