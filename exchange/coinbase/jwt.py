"""Tokens with the same header and claims as the SDK's `build_ws_jwt` and `build_rest_jwt`, on the venue's clock.

Ours takes the time as an argument, since a computer clock ahead of the venue's makes `nbf` lie in the future, and the
venue then answers 401 (the commonest complaint about the SDK). A token lives 120 s; each message and request gets a new one.
"""

from __future__ import annotations

import base64
import binascii
import secrets

import jwt
from attrs import field, frozen
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

TOKEN_S = 120


def _hidden(_: str) -> str:
    return "<hidden>"


@frozen
class ApiKey:
    """name: the key id (`organizations/.../apiKeys/...`). secret: EC PEM or base64 of an Ed25519 key; never shown."""

    name: str
    secret: str = field(repr=_hidden)


def private_key(secret: str) -> tuple[ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, str]:
    """(key, algorithm) of an API secret; ValueError in a sentence that does not repeat it."""
    text = secret.replace("\\n", "\n")
    if text.lstrip().startswith("-----BEGIN"):
        try:
            key = serialization.load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError):
            raise ValueError(
                "the API secret starts like a PEM but is none; copy it again, with its line ends"
            ) from None
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key, "ES256"
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key, "EdDSA"
        raise ValueError("the API secret is a PEM of another kind; Coinbase makes ECDSA (P-256) and Ed25519 keys")
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the API secret is neither a PEM nor base64; copy it again from Coinbase") from None
    if len(raw) not in (32, 64):
        raise ValueError(f"the API secret decodes to {len(raw)} bytes; an Ed25519 key has 32 or 64")
    return ed25519.Ed25519PrivateKey.from_private_bytes(raw[:32]), "EdDSA"


def ws_token(key: ApiKey, venue_s: float) -> str:
    """A fresh token for one WebSocket message. venue_s: the venue's clock, seconds UTC. ValueError for an unusable secret,
    in a sentence that does not repeat it.
    """
    return _token(key, venue_s)


def rest_token(key: ApiKey, venue_s: float, method_and_place: str) -> str:
    """The same for one request. method_and_place: as in "GET api.coinbase.com/api/v3/brokerage/accounts"."""
    return _token(key, venue_s, uri=method_and_place)


def _token(key: ApiKey, venue_s: float, **more: str) -> str:
    signer, algorithm = private_key(key.secret)
    claims = {"sub": key.name, "iss": "cdp", "nbf": int(venue_s), "exp": int(venue_s) + TOKEN_S, **more}
    return jwt.encode(claims, signer, algorithm=algorithm, headers={"kid": key.name, "nonce": secrets.token_hex()})
