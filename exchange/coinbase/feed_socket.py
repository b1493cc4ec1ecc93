"""A feed's thread: one asyncio loop, one WebSocket at a time, verified TLS, reconnects for ever; nothing raises out of it.

The connection's brain is `FeedSession`; this shell opens, subscribes at once (the venue waits 5 s), hands over frames
with their receive time, carries out `Reconnect` and `Resubscribe`, and waits between connections with full-jitter
backoff. What happens goes to a sink, called on this thread; `FeedMailbox` is the sink for actors: it keeps the newest
quote of each product, everything else in order, and writes one byte into a socket pair so that a watch wakes.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
from attrs import frozen

from exchange.coinbase.feed_session import FeedSession
from exchange.coinbase.feed_words import Connected, Disconnected, Happening, Overflowed, Reconnect, Resubscribe
from exchange.slots import boot_s
from trading.messages.market import Quote

Sink = Callable[[list[Happening]], None]
RawSink = Callable[[str, float, int], None]

FRAME_BYTES_MAX = 32 << 20
"""A BTC-USD snapshot is about 5 MB; a frame above this is an attack or a mistake, and closes the connection."""
BACKOFF_S_BASE, BACKOFF_S_MAX = 0.5, 30.0
SETTLED_S = 30.0
"""A connection that lived this long was a good one: the next wait starts from the base again."""
FAILED_MAX = 3
_TICK_S = 0.5
_MESSAGES_PER_S = 6
"""The venue takes 8 unauthenticated messages per second and address."""


def full_jitter_s(attempt: int, draw: float, base_s: float = BACKOFF_S_BASE, cap_s: float = BACKOFF_S_MAX) -> float:
    """Seconds to wait before connection number `attempt` (0: the first repetition); draw is uniform in [0, 1).

    Full jitter (M. Brooker, "Exponential Backoff And Jitter", 2015): draw * min(cap, base * 2^attempt).
    """
    return draw * min(cap_s, base_s * 2.0 ** min(attempt, 30))


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Certificates and host names are always verified: against `ca_file` alone when given, else the system's authorities."""
    return ssl.create_default_context(cafile=ca_file)


@frozen(kw_only=True)
class FeedHealth:
    """What a feed measures of itself. Ages in real seconds, None before the first. drift_s is not here: it takes the host's
    venue clock (`Heartbeat.venue_s` against it).
    """

    connected: bool
    epoch: int
    reconnects: int
    frame_age_s: float | None
    connected_s: float | None
    venue_s: float
    books_known: int
    products: int
    counts: dict[str, int]
    reason: str = ""


class FeedMailbox:
    """Thread-safe, bounded, conflating: `put` from the feed's thread, `drain` from the actor's when `fileno()` is readable."""

    def __init__(self, limit: int = 100_000) -> None:
        self._lock = threading.Lock()
        self._quotes: dict[str, Quote] = {}
        self._others: deque[Happening] = deque()
        self._limit, self._dropped, self._rung = limit, 0, False
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def fileno(self) -> int:
        return self._near.fileno()

    def put(self, happenings: list[Happening]) -> None:
        with self._lock:
            for happening in happenings:
                if type(happening) is Quote:
                    self._quotes[happening.product_id] = happening
                else:
                    self._others.append(happening)
            if len(self._others) > self._limit:
                self._dropped += len(self._others)
                self._others.clear()
            ring, self._rung = not self._rung, True
        if ring:
            self._wake()

    def _wake(self) -> None:
        try:
            self._far.send(b"!")
        except OSError:
            return  # closed, or already full of bells

    def drain(self) -> list[Happening]:
        """Everything that happened since, in order; then the newest quote of each product that moved."""
        with suppress(OSError):  # called without a ring, or closed
            self._near.recv(64)
        with self._lock:
            out: list[Happening] = [Overflowed(self._dropped)] if self._dropped else []
            out += self._others
            out += self._quotes.values()
            self._others.clear()
            self._quotes.clear()
            self._dropped, self._rung = 0, False
        return out

    def close(self) -> None:
        self._near.close()
        self._far.close()


class FeedSocket:
    """Base of both feeds. `start()`, `stop()`, `set_products()`, `health()` from any thread; the sink runs on the feed's.

    token: makes the JWT for one subscribe message, or None for public channels. raw_sink: gets each raw frame with its
    receive time and connection number before anything is made of it (recording). fallback_url: another host with the same
    channels, tried when the first fails again and again.
    """

    def __init__(
        self,
        *,
        url: str,
        ca_file: str | None,
        make_session: Callable[[tuple[str, ...], float, int], FeedSession],
        products: Sequence[str],
        sink: Sink,
        token: Callable[[], str] | None = None,
        raw_sink: RawSink | None = None,
        first_epoch: int = 1,
        fallback_url: str | None = None,
        name: str = "feed",
        seed: int | None = None,
    ) -> None:
        self._url, self._ca_file, self._make_session = url, ca_file, make_session
        self._fallback_url = fallback_url
        self._products = tuple(products)
        self._sink, self._token, self._raw_sink = sink, token, raw_sink
        self._epoch = first_epoch - 1
        self._random = random.Random(seed)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._stop_async: asyncio.Event | None = None
        self._session: FeedSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._connected_boot_s: float | None = None
        self._reason = "not started"
        self._reconnects = 0
        self.counts: Counter[str] = Counter()
        """Over all connections: frames, malformed, gaps, silences, repeated, ... and sink_errors."""

    # from any thread

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float = 3.0) -> bool:
        """Close the connection and end the thread; True when it has ended."""
        self._stopping.set()
        loop, event = self._loop, self._stop_async
        if loop is not None and event is not None and not loop.is_closed():
            with suppress(RuntimeError):  # the loop closed in between: then it has ended
                loop.call_soon_threadsafe(event.set)
        if self._thread.is_alive():
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def set_products(self, products: Sequence[str]) -> None:
        """Subscribe what is new and unsubscribe what is gone, on the living connection."""
        self._products = tuple(products)
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with suppress(RuntimeError):  # stopping
                asyncio.run_coroutine_threadsafe(self._change_products(), loop)

    def reconnect(self, reason: str) -> None:
        """Wanted from outside (an operator, a drill): close this connection; the loop opens the next."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._close(reason), loop)

    def health(self) -> FeedHealth:
        session, now_boot_s = self._session, boot_s()
        connected_boot_s = self._connected_boot_s
        counts = Counter(self.counts)
        if session is not None:
            counts.update(dict(session.counts))
        return FeedHealth(
            connected=connected_boot_s is not None,
            epoch=self._epoch,
            reconnects=self._reconnects,
            frame_age_s=None if session is None else now_boot_s - session.alive_boot_s,
            connected_s=None if connected_boot_s is None else now_boot_s - connected_boot_s,
            venue_s=0.0 if session is None else session.venue_s,
            books_known=0 if session is None else session.books_known,
            products=len(self._products),
            counts=dict(counts),
            reason=self._reason,
        )

    @property
    def session(self) -> FeedSession | None:
        """The newest connection's session, for reading books; None before the first connection."""
        return self._session

    # on the feed's thread

    def _tell(self, happenings: list[Happening]) -> None:
        try:
            self._sink(happenings)
        except Exception as error:
            # A reader's mistake must not end the feed for all other readers.
            self.counts["sink_errors"] += 1
            self._reason = f"the sink raised {type(error).__name__}: {error}"[:200]

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            # Nothing that we know gets here; a dead thread must at least say why (`health().reason`).
            self._reason = f"the feed's thread ended: {type(error).__name__}: {error}"[:300]
            self._connected_boot_s = None
            self._tell([Disconnected(self._epoch, self._reason, float("inf"))])

    async def _main(self) -> None:
        self._loop, self._stop_async = asyncio.get_running_loop(), asyncio.Event()
        attempt = 0
        while not self._stopping.is_set():
            self._epoch += 1
            opened_boot_s = boot_s()
            try:
                reason = await self._connection(self._epoch, self._host(attempt))
            except (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError, ValueError) as error:
                # Refused, unreachable, no valid certificate, an unusable key ...: all are "not now".
                reason = f"{type(error).__name__}: {error}"[:300]
            except Exception as error:
                # A bug of ours must not end the feed either; it is counted and shown.
                self.counts["bugs"] += 1
                reason = f"bug: {type(error).__name__}: {error}"[:300]
            self._connected_boot_s, self._socket = None, None
            if self._session is not None:
                self.counts.update(dict(self._session.counts))
                self._session.counts.clear()
            attempt = 0 if boot_s() - opened_boot_s >= SETTLED_S else attempt + 1
            retry_s = full_jitter_s(attempt, self._random.random())
            self._reason = reason
            self._tell([Disconnected(self._epoch, reason, retry_s)])
            if self._stopping.is_set():
                return
            self._reconnects += 1
            try:
                await asyncio.wait_for(self._stop_async.wait(), retry_s)
            except TimeoutError:
                continue

    def _host(self, attempt: int) -> str:
        """After FAILED_MAX short-lived connections in a row every other try goes to the fallback, if there is one."""
        if self._fallback_url is None or attempt < FAILED_MAX or (attempt - FAILED_MAX) % 2:
            return self._url
        return self._fallback_url

    async def _connection(self, epoch: int, url: str) -> str:
        """One connection from open to close; returns why it ended."""
        timeout = aiohttp.ClientTimeout(total=None, connect=10.0, sock_connect=10.0)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
            opening = http.ws_connect(
                url,
                ssl=tls_context(self._ca_file),
                max_msg_size=FRAME_BYTES_MAX,
                autoping=True,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
            async with asyncio.timeout(15.0):
                websocket = await opening
            async with websocket:
                session = self._make_session(self._products, boot_s(), epoch)
                self._session, self._socket = session, websocket
                self._connected_boot_s, self._reason = boot_s(), ""
                self._tell([Connected(epoch)])
                await self._send(websocket, session.subscriptions())
                assert self._stop_async is not None
                helpers = [
                    asyncio.create_task(self._ticks(websocket, session)),
                    asyncio.create_task(self._until_stopped(websocket)),
                ]
                try:
                    return await self._frames(websocket, session, epoch)
                finally:
                    for helper in helpers:
                        helper.cancel()
                    await asyncio.gather(*helpers, return_exceptions=True)

    async def _frames(self, websocket: aiohttp.ClientWebSocketResponse, session: FeedSession, epoch: int) -> str:
        raw_sink = self._raw_sink
        async for message in websocket:
            if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
                received_boot_s = boot_s()
                if raw_sink is not None and message.type is aiohttp.WSMsgType.TEXT:
                    try:
                        raw_sink(message.data, received_boot_s, epoch)
                    except Exception:
                        # A full disk under the recorder must not blind the bot.
                        self.counts["recorder_errors"] += 1
                happenings = session.receive(message.data, received_boot_s)
                if happenings and await self._act(websocket, happenings):
                    return session.over or "closed by us"
            elif message.type is aiohttp.WSMsgType.ERROR:
                return f"broken: {websocket.exception()!r}"[:300]
        if self._stopping.is_set():
            return "stopped"
        return session.over or f"closed by the venue with code {websocket.close_code}"

    async def _act(self, websocket: aiohttp.ClientWebSocketResponse, happenings: list[Happening]) -> bool:
        """Tell the sink, do what the session wants; True when this connection is over."""
        over = False
        self._tell(happenings)
        again: dict[str, list[str]] = {}
        for happening in happenings:
            if type(happening) is Reconnect:
                over = True
            elif type(happening) is Resubscribe:
                again.setdefault(happening.channel, []).append(happening.product_id)
        for channel, product_ids in again.items():
            if not (over or websocket.closed):
                change = {"channel": channel, "product_ids": product_ids}
                await self._send(websocket, [{"type": "unsubscribe", **change}, {"type": "subscribe", **change}])
        return over

    async def _ticks(self, websocket: aiohttp.ClientWebSocketResponse, session: FeedSession) -> None:
        while not websocket.closed:
            await asyncio.sleep(_TICK_S)
            happenings = session.tick(boot_s())
            if happenings and await self._act(websocket, happenings):
                await self._close_socket(websocket)
                return

    async def _until_stopped(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        assert self._stop_async is not None
        await self._stop_async.wait()
        await self._close_socket(websocket)

    async def _close(self, reason: str) -> None:
        session, websocket = self._session, self._socket
        if session is not None and websocket is not None:
            session.over = session.over or reason
            await self._close_socket(websocket)

    @staticmethod
    async def _close_socket(websocket: aiohttp.ClientWebSocketResponse) -> None:
        """Politely for a moment, since a hung peer never answers a close; the socket is closed in any case."""
        try:
            async with asyncio.timeout(1.5):
                await websocket.close()
        except (TimeoutError, OSError, aiohttp.ClientError):
            return

    async def _send(self, websocket: aiohttp.ClientWebSocketResponse, messages: list[dict[str, Any]]) -> None:
        for sent, message in enumerate(messages, start=1):
            if self._token is not None:
                message["jwt"] = self._token()  # a new one for each message, valid 120 s
            await websocket.send_json(message)
            if sent % _MESSAGES_PER_S == 0 and sent < len(messages):
                await asyncio.sleep(1.0)

    async def _change_products(self) -> None:
        session, websocket = self._session, self._socket
        if session is None or websocket is None or websocket.closed:
            return
        try:
            await self._send(websocket, session.change_products(self._products, boot_s()))
        except (OSError, aiohttp.ClientError):
            return  # the connection is ending; the next one subscribes the new list
