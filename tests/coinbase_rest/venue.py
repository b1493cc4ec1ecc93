"""A TLS server on loopback that answers exactly as badly as a test wants: raw bytes, one thread a connection.

    with Venue(lambda request, answer: answer.json({"success": True, ...})) as venue:
        Lanes(venue.endpoints, ...)

`venue.requests` keeps what arrived, complete requests only; `venue.received` all bytes after TLS.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
from attrs import define, field, frozen
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exchange.coinbase.endpoints import Endpoints

_CA = trustme.CA()
_CERT = _CA.issue_cert("localhost", "127.0.0.1")
OTHER_CA = trustme.CA()


def new_secret() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()


KEY_NAME = "organizations/0/apiKeys/test"
KEY_SECRET = new_secret()


@frozen
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    connection: int
    at_s: float

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


@define
class Answer:
    """How to answer one request; `raw` for everything that a good server would not do."""

    sock: Any
    venue: Any

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def text(self, status: int, body: str | bytes, headers: dict[str, str] | None = None, reason: str = "X") -> None:
        content = body.encode() if isinstance(body, str) else body
        lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + content)

    def json(self, found: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.text(status, json.dumps(found), {"Content-Type": "application/json", **(headers or {})})

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def silence(self) -> None:
        self.venue.closed.wait(60)


Handler = Callable[[Request, Answer], None]


@define(eq=False)
class Venue:
    handler: Handler
    ca_cert: trustme.CA = _CA
    cert: trustme.LeafCert = _CERT
    tls: bool = True
    greet: Callable[[socket.socket], None] | None = None
    connected: Callable[[], object] | None = None
    requests: list[Request] = field(factory=list)
    received: bytearray = field(factory=bytearray)
    connections: int = 0
    closed: threading.Event = field(factory=threading.Event)
    listener: socket.socket = field(init=False)
    ca_file: str = field(init=False)

    def __enter__(self) -> Venue:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.cert.configure_cert(self._context)
        self._temporary = self.ca_cert.cert_pem.tempfile()
        self.ca_file = self._temporary.__enter__()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self.listener.close()
        self._temporary.__exit__(None, None, None)

    _context: Any = None
    _temporary: Any = None

    @property
    def endpoints(self) -> Endpoints:
        host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        return Endpoints(rest=host, ws_market=f"wss://{host}", ws_user=f"wss://{host}", ca_file=self.ca_file)

    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self.connected is not None:
                self.connected()
            if self.greet is not None:
                self.greet(sock)
                return
            secure = self._context.wrap_socket(sock, server_side=True) if self.tls else sock
            pending = b""
            while True:
                while b"\r\n\r\n" not in pending:
                    more = secure.recv(65536)
                    if not more:
                        return
                    self.received += more
                    pending += more
                head, _, pending = pending.partition(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
                length = int(headers.get("content-length", 0))
                while len(pending) < length:
                    more = secure.recv(65536)
                    if not more:
                        return
                    self.received += more
                    pending += more
                body, pending = pending[:length], pending[length:]
                method, target, _ = first.split(" ")
                url = urlsplit(target)
                request = Request(method, url.path, parse_qs(url.query), headers, body, number, time.monotonic())
                self.requests.append(request)
                self.handler(request, Answer(secure, self))
        except (OSError, ValueError):
            return


def accepted(request: Request, order_id: str = "venue-1") -> dict[str, Any]:
    """The answer that Coinbase gives to a good order."""
    body = request.json
    return {
        "success": True,
        "success_response": {
            "order_id": order_id,
            "product_id": body["product_id"],
            "side": body["side"],
            "client_order_id": body["client_order_id"],
            "attached_order_id": "",
        },
        "order_configuration": body["order_configuration"],
    }


def refused(reason: str, **fields: str) -> dict[str, Any]:
    return {
        "success": False,
        "error_response": {
            "error": reason,
            "message": "no",
            "error_details": "",
            "preview_failure_reason": "UNKNOWN_PREVIEW_FAILURE_REASON",
            "new_order_failure_reason": "UNKNOWN_FAILURE_REASON",
            **fields,
        },
        "order_configuration": {},
    }
