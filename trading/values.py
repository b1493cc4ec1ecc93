"""Numbers and names: money is `Decimal` from text to text, rounding names its direction, symbols are canonical."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from enum import StrEnum

ZERO = Decimal(0)
NAMESPACE = uuid.UUID("6f1c1b6e-3b57-5d0e-9d6a-0b5e4a1c7f10")
"""Root of every uuid5 of this project; never changes, since ids must survive restarts and versions."""


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class Purpose(StrEnum):
    """Why an order exists; what closes the gateway to it differs (protocol section 2)."""

    ENTRY = "entry"
    EXIT = "exit"
    FLATTEN = "flatten"


def money(text: str | int | Decimal) -> Decimal:
    """A finite Decimal from text; floats are refused because they already lost the digits. Raises ValueError."""
    if isinstance(text, float):
        raise ValueError(f"{text!r} is a float; money is text or Decimal")
    try:
        value = Decimal(text)
    except (InvalidOperation, TypeError) as error:
        raise ValueError(f"{text!r} is not a number") from error
    if not value.is_finite():
        raise ValueError(f"{text!r} is not finite")
    return value


def plain(value: Decimal) -> str:
    """Plain decimal text, never scientific: Coinbase and people read it ("0E-8" once was a bug elsewhere)."""
    return format(value, "f")


def floor_to_increment(value: Decimal, increment: Decimal) -> Decimal:
    """The largest multiple of `increment` not above `value`."""
    return (value / increment).to_integral_value(rounding=ROUND_FLOOR) * increment


def ceil_to_increment(value: Decimal, increment: Decimal) -> Decimal:
    """The smallest multiple of `increment` not below `value`."""
    return (value / increment).to_integral_value(rounding=ROUND_CEILING) * increment


def is_multiple(value: Decimal, increment: Decimal) -> bool:
    return increment > 0 and value % increment == 0


def derived_id(*parts: object) -> str:
    """uuid5 over the parts in order: the same decision twice has the same id, whatever crashed in between."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts)))


def account_tag(portfolio_uuid: str) -> str:
    """4 base32 characters of sha256(portfolio uuid), lower case (protocol section 1 rule 5)."""
    return base64.b32encode(hashlib.sha256(portfolio_uuid.encode()).digest()).decode()[:4].lower()


def base_currency(product_id: str) -> str:
    """`BTC` of `BTC-USD`."""
    return product_id.partition("-")[0]


OURS = "bh-"
"""Begins every client order id of this program; the account's tag and a dash follow."""


def begins_ours(tag: str) -> str:
    """How the client order ids of the account `tag` begin."""
    return f"{OURS}{tag}-"


def tag_of(client_order_id_text: str) -> str:
    """The account's tag in a client order id of this program."""
    return client_order_id_text.removeprefix(OURS).partition("-")[0]


def client_order_id(tag: str, intent_id: str) -> str:
    """`bh-<tag>-<26 base32 characters of uuid5(intent_id)>`: prefix and tag mean *ours*."""
    digest = uuid.uuid5(NAMESPACE, intent_id).bytes
    return f"{begins_ours(tag)}{base64.b32encode(digest).decode().rstrip('=').lower()}"


def is_ours(client_order_id_text: str | None, tag: str) -> bool:
    return bool(client_order_id_text) and str(client_order_id_text).startswith(begins_ours(tag))


def utc_text(epoch_s: float) -> str:
    """Aware UTC at rest: ISO 8601 with microseconds and Z; sorts as text."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def utc_seconds(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 text with zone; Coinbase's nanoseconds are cut to microseconds. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not an ISO 8601 time with a zone")
    fraction = (match[2] or ".0")[:7]
    stamp = datetime.fromisoformat(
        f"{match[1].replace(' ', 'T')}{fraction.ljust(7, '0')}{match[3].replace('Z', '+00:00')}"
    )
    return stamp.timestamp()


_TIME = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def canonical_symbol(text: str) -> str:
    """`BTC-USD` from `BTCUSD`, `btc/usd`, `BTC_USD`, `BTC-USDC` (USDC books alias USD). Raises ValueError with a sentence.

    WBTC is not BTC: no base is ever renamed.
    """
    name = text.strip().upper()
    for quote in ("-USDC", "/USDC", "_USDC", ":USDC", "-USD", "/USD", "_USD", ":USD", "USDC", "USD"):
        if name.endswith(quote) and len(name) > len(quote):
            base = name[: -len(quote)]
            if re.fullmatch(r"[A-Z0-9]{1,12}", base):
                return f"{base}-USD"
    raise ValueError(f"{text!r} is not a product that Bulkhead trades: it takes BASE-USD (or BASE-USDC), as in BTC-USD")
