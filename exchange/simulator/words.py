"""How Coinbase writes numbers and times, and the answers that are not an order's own fault.

Numbers travel as plain decimal text (never "0E-8"), times as RFC 3339 in UTC. Venue time inside is a float of
seconds since 1970, always an argument: nothing in the engine reads a clock.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation

ZERO = Decimal(0)
ONE = Decimal(1)
EXACT = Context(prec=80)
"""Enough digits that price x size x fee rate is never rounded, so that money is conserved to the last digit."""

DIGITS_MAX = 30
"""Numbers beyond 10^30 or below 10^-30 are no sizes and no prices (and "1e999999" must not fill the memory)."""

NEVER = "0001-01-01T00:00:00Z"
"""What Coinbase writes for a time that is not set (user channel)."""


class BadRequestError(Exception):
    """The request is not a request of this API at all: HTTP 400 with this message."""


class NotFoundError(Exception):
    """The path is right, the thing is not there: HTTP 404 with this message."""


def plain(value: Decimal) -> str:
    """Plain decimal text without trailing zeros: "0.1", "60000", "0"."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def rounded(value: Decimal, digits: int) -> str:
    """Plain text with at most `digits` decimals, half to even."""
    return plain(round(value, digits))


def number(value: object, name: str) -> Decimal:
    """A finite decimal from a JSON string. BadRequestError for a JSON number: the API's fields are strings."""
    if not isinstance(value, str):
        raise BadRequestError(f"invalid value for string type: {name} = {value!r}")
    try:
        parsed = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{name} = {value!r} is not a number") from None
    if not parsed.is_finite() or abs(parsed.adjusted()) > DIGITS_MAX or len(value) > DIGITS_MAX * 2:
        raise ValueError(f"{name} = {value[:40]!r} is not a number")
    return parsed


def rfc3339(at_s: float, digits: int = 6) -> str:
    """UTC text of `at_s` with 0, 3, 6 or 9 decimals."""
    micros = round(at_s * 1e6)
    seconds, micros = divmod(micros, 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if digits == 0:
        return text + "Z"
    if digits == 9:
        return f"{text}.{micros:06d}000Z"
    return f"{text}.{micros:06d}"[: len(text) + 1 + digits] + "Z"


def parse_time(text: object) -> float:
    """Seconds since 1970 of RFC 3339 text; a text without an offset is taken as UTC. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a time")
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return parsed.timestamp()


def derived_id(namespace: uuid.UUID, kind: str, n: int) -> str:
    """Ids of the engine are derived, not drawn: the same ledger always gives the same ids."""
    return str(uuid.uuid5(namespace, f"{kind}:{n}"))


def floor_to(value: Decimal, increment: Decimal) -> Decimal:
    return value // increment * increment
