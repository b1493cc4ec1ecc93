"""The venue's own certificate authority, the API keys it knows, and the check of a request's JWT.

A token is believed when its `kid` is a known key and the signature fits (ES256 or EdDSA), `iss` is cdp or
coinbase-cloud, now lies within nbf..exp, it lives no longer than 120 s, and, on REST, its `uri` names this method, this Host
and this path. Its times are real time (the client's clock), never venue time. The audience is not checked.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
import trustme
from attrs import asdict, define, field, frozen
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

ISSUERS = frozenset({"cdp", "coinbase-cloud"})
LIFE_S_MAX = 120
VERIFIED_MAX = 4096


@frozen(kw_only=True)
class ApiKey:
    name: str
    secret: str
    """PEM of a P-256 key, or base64 of an Ed25519 seed with its public half: what Coinbase hands out."""
    algorithm: str
    can_trade: bool = True
    can_transfer: bool = False


def write_private(path: Path, text: bytes) -> None:
    """Write for the owner only, atomically."""
    temporary = path.with_name(path.name + ".tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    temporary.rename(path)


def server_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A TLS context signed by the folder's CA (made on first use, its key 0600), and the CA's certificate file."""
    cert, private = folder / "ca.pem", folder / "ca.key"
    if cert.exists() and private.exists():
        authority = trustme.CA.from_pem(cert.read_bytes(), private.read_bytes())
    else:
        authority = trustme.CA()
        write_private(private, authority.private_key_pem.bytes())
        write_private(cert, authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Session tickets arrive after the handshake; a client that reads and writes in two threads (websockets.sync) may hang
    # on them: 4 of 29 connections measured with tickets, 0 of 60 without.
    context.num_tickets = 0
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context, cert


def _new_name(organization: str) -> str:
    return f"organizations/{organization}/apiKeys/{uuid.uuid4()}"


def _new_es256(organization: str, **rights: bool) -> ApiKey:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return ApiKey(name=_new_name(organization), secret=pem.decode(), algorithm="ES256", **rights)


def _new_ed25519(organization: str) -> ApiKey:
    key = ed25519.Ed25519PrivateKey.generate()
    secret = base64.b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()
    return ApiKey(name=_new_name(organization), secret=secret, algorithm="EdDSA")


def load_keys(folder: Path) -> list[ApiKey]:
    """The account's keys, made on first use: the bot's, the guardian's, an Ed25519 one, one that may transfer, one view-only."""
    path = folder / "api_keys.json"
    if path.exists():
        return [ApiKey(**row) for row in json.loads(path.read_text())]
    organization = str(uuid.uuid4())
    keys = [
        _new_es256(organization),
        _new_es256(organization),
        _new_ed25519(organization),
        _new_es256(organization, can_transfer=True),
        _new_es256(organization, can_trade=False),
    ]
    write_private(path, json.dumps([asdict(key) for key in keys]).encode())
    return keys


def public_key(key: ApiKey) -> Any:
    if key.algorithm == "ES256":
        private = serialization.load_pem_private_key(key.secret.encode(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        return private.public_key()
    return ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(key.secret)[:32]).public_key()


class UnauthorizedError(Exception):
    """401; the text is for the venue's log, the client is told nothing."""


@define
class Doorman:
    keys: dict[str, ApiKey]
    _public: dict[str, Any] = field(factory=dict)
    _verified: dict[str, tuple[ApiKey, dict[str, Any]]] = field(factory=dict)

    def check(self, token: str, uri: str | None) -> ApiKey:
        """The key that signed the token. `uri`: "GET host:port/path" on REST, None on a socket. Raises UnauthorizedError."""
        known = self._verified.get(token)
        if known is None:
            known = self._verify(token)
            if len(self._verified) > VERIFIED_MAX:
                self._verified.clear()
            self._verified[token] = known
        key, claims = known
        now_s = time.time()
        not_before, expires = claims.get("nbf"), claims.get("exp")
        if not isinstance(not_before, int | float) or not isinstance(expires, int | float):
            raise UnauthorizedError("nbf or exp is missing")
        if now_s < not_before:
            raise UnauthorizedError(f"nbf {not_before} is ahead of the server's clock {now_s:.0f}")
        if now_s >= expires:
            raise UnauthorizedError(f"expired {now_s - expires:.0f} s ago")
        if expires - not_before > LIFE_S_MAX:
            raise UnauthorizedError(f"lives longer than {LIFE_S_MAX} s")
        if claims.get("iss") not in ISSUERS:
            raise UnauthorizedError(f"issuer {claims.get('iss')!r}")
        if claims.get("sub") not in (None, key.name):
            raise UnauthorizedError(f"subject {claims.get('sub')!r} is not the key {key.name}")
        if uri is not None and claims.get("uri") != uri:
            raise UnauthorizedError(f"uri {claims.get('uri')!r} instead of {uri!r}")
        return key

    def _verify(self, token: str) -> tuple[ApiKey, dict[str, Any]]:
        try:
            header = jwt.get_unverified_header(token)
            key = self.keys.get(str(header.get("kid")))
            if key is None:
                raise UnauthorizedError(f"key id {header.get('kid')!r} is unknown")
            if key.name not in self._public:
                self._public[key.name] = public_key(key)
            claims = jwt.decode(
                token,
                self._public[key.name],
                algorithms=[key.algorithm],
                options={"verify_exp": False, "verify_nbf": False, "verify_aud": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise UnauthorizedError(str(error)) from None
        return key, claims
