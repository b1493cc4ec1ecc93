"""One worker's way to the venue: the unmodified SDK on a session of ours, which knows whether a byte has left.

The SDK signs and sends (by the venue's clock where this computer's is refused: `VenueClock`); this file owns what happens
below it, since the difference between "not sent" and "unknown" is made there:

- `began` is set directly before the first byte of a request, after connection and TLS handshake stand. `gate` is asked at
  that very point: what it refuses was certainly not sent.
- SO_LINGER(1, 0): closing throws away what the kernel has not delivered, so that a killed process's unsent bytes do not
  arrive. TCP_USER_TIMEOUT 5 s: unacknowledged bytes give up. No proxies, no `.netrc`, no retries below us.
- The SDK's timeouts are per read, so a venue that sends a byte a second would hold a worker for ever: `cut` (called by
  another thread at the total deadline) shuts the socket down, whatever the worker does on it. Name resolution, which
  has no timeout at all, happens in a thread of its own.
- A connection that was idle for long may be dead without knowing: it is not used again.
- The answer is taken from the response hook, before requests follows a redirect (which would post an order a second
  time) and before the SDK parses it (which would log bodies and stumble over nulls).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import requests
import urllib3
from attrs import frozen
from coinbase.rest import RESTClient
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import NewConnectionError

from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.jwt import ApiKey, rest_token
from exchange.coinbase.may_post import Refusal
from exchange.coinbase.resolver import Resolver
from exchange.coinbase.wire import scrubbed, shortened

API = "/api/v3/brokerage"
RETRY_AFTER_S_MAX = 60.0
"""A longer wish is granted a minute at a time: a proxy's day, or a date under a wrong clock, must not hold back exits and cancels."""
ANSWER_BYTES_MAX = 32 * 1024 * 1024


def boot_s() -> float:
    """CLOCK_BOOTTIME in seconds: runs on while the machine sleeps, as everybody's deadlines do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@frozen(kw_only=True)
class TransportSettings:
    """Real seconds. read_s: per read (the total deadline is the caller's). idle_s_max: an older connection is not reused."""

    connect_s: float = 5.0
    read_s: float = 10.0
    idle_s_max: float = 20.0
    user_timeout_s: float = 5.0


@frozen(kw_only=True)
class Reply:
    """What came of one request. status None: no complete answer. began False: no byte of it left, nor will.

    framed: the body's end was marked by the venue, not by the end of the connection. error: a short code, then text.
    """

    status: int | None = None
    content: bytes = b""
    began: bool = False
    framed: bool = False
    refusal: Refusal | None = None
    error: str = ""
    sent_boot_s: float | None = None
    answered_boot_s: float = 0.0
    retry_after_s: float | None = None
    limit_remaining: int | None = None
    limit_reset_s: float | None = None

    @property
    def latency_s(self) -> float | None:
        return None if self.sent_boot_s is None else self.answered_boot_s - self.sent_boot_s


class _NotSent(Exception):  # noqa: N818
    def __init__(self, error: str, refusal: Refusal | None = None) -> None:
        super().__init__(error)
        self.error, self.refusal = error, refusal


class _Answered(Exception):  # noqa: N818
    """Carries the complete answer out past the SDK."""

    def __init__(self, response: requests.Response, content: bytes) -> None:
        super().__init__("answered")
        self.response, self.content = response, content


class _Wire:
    """What the connection and the session tell each other about the request under way. One per session."""

    def __init__(self, settings: TransportSettings, resolver: Resolver) -> None:
        self.settings = settings
        self.resolver = resolver
        self.lock = threading.Lock()
        self.held: socket.socket | None = None
        self.begin(0.0, None)

    def begin(self, deadline_boot_s: float, gate: Callable[[], Refusal | None] | None) -> None:
        with self.lock:
            self.deadline_boot_s = deadline_boot_s
            self.gate = gate
            self.began = False
            self.was_cut = False
            self.sent_boot_s: float | None = None

    def left_s(self) -> float:
        return self.deadline_boot_s - boot_s()

    def hold(self, sock: socket.socket) -> None:
        """Keep a second handle: TLS takes the first away from us, and shutting down works on either."""
        duplicate = sock.dup()
        with self.lock:
            self.held, old = duplicate, self.held
            if self.was_cut:
                duplicate.shutdown(socket.SHUT_RDWR)
        if old is not None:
            old.close()

    def release(self) -> None:
        with self.lock:
            self.held, old = None, self.held
        if old is not None:
            old.close()

    def cut(self) -> None:
        with self.lock:
            self.was_cut = True
            if self.held is not None:
                # An error means: not connected yet (hold refuses it then), or already gone.
                with contextlib.suppress(OSError):
                    self.held.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """The last instant at which "not sent" can be said. Raises _NotSent."""
        if self.was_cut or self.left_s() <= 0.0:
            raise _NotSent("deadline before it was sent")
        refusal: Refusal | None = None
        if self.gate is not None:
            refusal = self.gate()
        if refusal is not None:
            raise _NotSent("refused", refusal)
        self.began = True
        self.sent_boot_s = boot_s()


class _Connection(HTTPSConnection):
    wire: ClassVar[_Wire]
    used_s = 0.0

    def _new_conn(self) -> socket.socket:
        wire = self.wire
        last: OSError = OSError("no time left to connect")
        try:
            rows = wire.resolver.addresses(self.host, self.port, max(0.0, min(wire.settings.connect_s, wire.left_s())))
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        for family, kind, protocol, _, address in rows:
            timeout_s = min(wire.settings.connect_s, wire.left_s())
            if timeout_s <= 0.0 or wire.was_cut:
                break
            sock = socket.socket(family, kind, protocol)
            try:
                for option in _socket_options(wire.settings):
                    sock.setsockopt(*option)
                sock.settimeout(timeout_s)
                sock.connect(address)
                wire.hold(sock)
            except OSError as error:
                sock.close()
                last = error
                continue
            return sock
        raise NewConnectionError(self, f"cannot connect: {last}") from last

    @property
    def is_connected(self) -> bool:
        if time.monotonic() - self.used_s > self.wire.settings.idle_s_max:
            return False
        return super().is_connected

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.wire.leave()
        self.used_s = time.monotonic()
        super().request(*args, **kwargs)

    def close(self) -> None:
        super().close()
        self.wire.release()


def _socket_options(settings: TransportSettings) -> list[tuple[int, int, int | bytes]]:
    options: list[tuple[int, int, int | bytes]] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    ]
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings.user_timeout_s * 1000)))
    return options


class _Adapter(HTTPAdapter):
    def __init__(self, wire: _Wire) -> None:
        self._connection = type("LaneConnection", (_Connection,), {"wire": wire})
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        pool = type("LanePool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": self._connection})
        self.poolmanager.pool_classes_by_scheme = {"https": pool}


class VenueClock:
    """A lower bound of the venue's clock, by the Date of its newest answer; shared by the sessions of a process.

    The SDK signs by this computer's clock, and with one that is ahead (or two minutes behind) the venue takes no order, no
    cancel and no listing. Its refusal carries the right time: from then on that is signed by, until it is refused itself.
    """

    def __init__(self) -> None:
        self._heard: tuple[float, float] | None = None
        self._in_use = False

    def now_s(self) -> float | None:
        """Seconds UTC to sign by; None: by this computer's clock."""
        heard = self._heard
        return heard[0] + (boot_s() - heard[1]) if self._in_use and heard is not None else None

    def answered(self, date: str | None, answered_boot_s: float, *, signed_by_it: bool, refused: bool) -> None:
        try:
            self._heard = (parsedate_to_datetime(date or "").timestamp(), answered_boot_s)
        except (ValueError, TypeError, OverflowError):  # a proxy may write anything there
            self._heard = None
        if refused and signed_by_it == self._in_use:  # else another session of ours has learned it before
            self._in_use = not signed_by_it


class _Client(RESTClient):  # type: ignore[misc]
    """The SDK, which signs by `clock` while that is in use."""

    clock: VenueClock
    signed_by_clock = False

    def set_headers(self, method: str, path: str) -> dict[str, str]:
        venue_s = self.clock.now_s()
        self.signed_by_clock = venue_s is not None
        headers: dict[str, str] = super().set_headers(method, path)
        if self.is_authenticated and venue_s is not None:
            key = ApiKey(self.api_key, self.api_secret)
            headers["Authorization"] = f"Bearer {rest_token(key, venue_s, f'{method} {self.base_url}{path}')}"
        return headers


class VenueSession:
    """One connection at a time, for one thread; `cut` alone may be called from another. Raises nothing from `send`."""

    def __init__(
        self,
        endpoints: Endpoints,
        key: ApiKey | None,
        *,
        settings: TransportSettings | None = None,
        resolver: Resolver | None = None,
        clock: VenueClock | None = None,
    ) -> None:
        settings = settings or TransportSettings()
        self._wire = _Wire(settings, resolver or Resolver())
        self._secrets = (key.secret, key.secret.replace("\\n", "\n")) if key else ()
        self._key = key
        silence_sdk()
        self._client = _Client(
            api_key=key.name if key else None,
            api_secret=key.secret if key else None,
            base_url=endpoints.rest,
            timeout=(settings.connect_s, settings.read_s),
        )
        self._client.clock = clock or VenueClock()
        session = requests.Session()
        session.trust_env = False
        session.verify = endpoints.ca_file or True
        session.adapters.clear()
        session.mount("https://", _Adapter(self._wire))
        session.hooks["response"].append(self._take_answer)
        self._client.session = session

    def __repr__(self) -> str:
        return f"VenueSession({self._client.base_url})"

    def send(
        self,
        method: str,
        path: str,
        *,
        deadline_boot_s: float,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        gate: Callable[[], Refusal | None] | None = None,
    ) -> Reply:
        """One request below `/api/v3/brokerage`, at most one. gate: asked directly before the first byte."""
        wire = self._wire
        wire.begin(deadline_boot_s, gate)
        error = "no_answer"
        try:
            if method == "GET":
                self._client.get(API + path, params=dict(params or {}), public=self._key is None)
            else:
                self._client.post(API + path, data=dict(body or {}))
        except _Answered as answered:
            if not wire.was_cut:
                return self._reply(answered)
            error = "deadline: the answer was cut off"
        except _NotSent as refused:
            return Reply(refusal=refused.refusal, error=refused.error, answered_boot_s=boot_s())
        except Exception as failure:  # whatever the SDK, requests, urllib3 or ssl raise: it must not end a worker
            error = "deadline" if wire.was_cut else self._sentence(failure)
        return Reply(began=wire.began, error=error, sent_boot_s=wire.sent_boot_s, answered_boot_s=boot_s())

    def cut(self) -> None:
        """From another thread: end what is under way, now."""
        self._wire.cut()

    def close(self) -> None:
        self._client.session.close()

    def _sentence(self, failure: Exception) -> str:
        """The kind of a failure, and its text without secrets or object addresses."""
        if not isinstance(failure, requests.RequestException | OSError | urllib3.exceptions.HTTPError):
            # Keys that cannot sign end up here, and what the SDK raises then may quote them.
            return type(failure).__name__
        return f"{type(failure).__name__}: {shortened(scrubbed(str(failure), self._secrets))}"

    def _take_answer(self, response: requests.Response, *_: Any, **__: Any) -> None:
        content = bytearray()
        for chunk in response.iter_content(65_536):
            content += chunk
            if len(content) > ANSWER_BYTES_MAX:
                response.close()
                raise requests.RequestException(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        raise _Answered(response, bytes(content))

    def _reply(self, answered: _Answered) -> Reply:
        headers = answered.response.headers
        answered_boot_s, status = boot_s(), answered.response.status_code
        refused = status == requests.codes.unauthorized
        self._client.clock.answered(
            headers.get("date"), answered_boot_s, signed_by_it=self._client.signed_by_clock, refused=refused
        )
        remaining = _seconds(headers.get("x-ratelimit-remaining"))
        return Reply(
            status=status,
            content=scrubbed_bytes(answered.content, self._secrets),
            began=True,
            framed="content-length" in headers or headers.get("transfer-encoding", "").lower() == "chunked",
            sent_boot_s=self._wire.sent_boot_s,
            answered_boot_s=answered_boot_s,
            retry_after_s=_retry_after_s(headers.get("retry-after")),
            limit_remaining=None if remaining is None else int(remaining),
            limit_reset_s=_seconds(headers.get("x-ratelimit-reset")),
        )


class Guard:
    """Knows which session must be cut when. One thread, asleep while nothing is under way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[VenueSession, float] = {}
        self._closed = False
        threading.Thread(target=self._run, name="guard", daemon=True).start()

    def watch(self, session: VenueSession, deadline_boot_s: float) -> None:
        with self._changed:
            self._watched[session] = deadline_boot_s
            self._changed.notify()

    def forget(self, session: VenueSession) -> None:
        with self._changed:
            self._watched.pop(session, None)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now_boot_s = boot_s()
                for session, deadline in list(self._watched.items()):
                    if now_boot_s >= deadline:
                        del self._watched[session]
                        session.cut()
                soonest = min(self._watched.values(), default=None)
                # At most a second at a time: the boot clock runs on while the machine sleeps, a wait does not.
                self._changed.wait(None if soonest is None else min(1.0, max(0.001, soonest - boot_s())))


def silence_sdk() -> None:
    """The SDK logs the bodies of refusals to stderr by a handler of its own; what is worth telling, we tell."""
    logging.getLogger("coinbase.RESTClient").disabled = True


def scrubbed_bytes(content: bytes, secrets: tuple[str, ...]) -> bytes:
    """A venue never sends our secrets; a broken proxy that echoes the request may."""
    for secret in secrets:
        content = content.replace(secret.encode(), b"<hidden>")
    return content


def _seconds(header: str | None) -> float | None:
    try:
        found = float(header) if header else None
    except ValueError:
        return None
    return found if found is not None and 0.0 <= found < 1e6 else None


def _retry_after_s(header: str | None) -> float | None:
    """Seconds, or an HTTP date (judged by this computer's clock: the header speaks of real time); at most RETRY_AFTER_S_MAX."""
    found = _seconds(header)
    if found is None and header:
        try:
            found = max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return None
    return None if found is None else min(found, RETRY_AFTER_S_MAX)
