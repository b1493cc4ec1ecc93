"""What a feed session tells: happenings, and the checks that stand between a frame and belief.

Quotes are `trading.messages.market.Quote`, order updates `trading.messages.orders.OrderUpdate`; the rest is here. Trades
and candles are made thousands of times and are therefore slotted but not frozen; nobody changes them.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping, Sequence
from decimal import Decimal

from attrs import define, frozen

from trading.messages.market import Quote
from trading.messages.orders import OrderUpdate


@define
class Trade:
    """One print. side is the *maker's* side as Coinbase tells it (the taker did the opposite). snapshot: told on
    subscribing, so it happened before; trades of one frame come oldest first.
    """

    product_id: str
    trade_id: str
    price: Decimal
    size: Decimal
    maker_side: str
    time_s: float
    snapshot: bool = False


@define
class CandleSeen:
    """One 5-minute bucket of the candles channel, still open unless a later one follows."""

    product_id: str
    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@frozen
class Heartbeat:
    """venue_s: the venue's clock when it sent this. drift_s: ours minus the venue's at receipt is the host's to compute."""

    venue_s: float
    received_boot_s: float
    counter: str


@frozen
class ProductStatus:
    """One row of the status channel."""

    product_id: str
    status: str
    message: str


@frozen
class Acknowledged:
    """The venue's cumulative list of what this connection is subscribed to."""

    channels: Mapping[str, tuple[str, ...]]


@frozen
class VenueError:
    """An `error` frame: authentication failure (also: no such channel), failure to subscribe, ..."""

    message: str


@frozen
class Gap:
    """Frames were lost: everything built from this connection is fiction. The session is over; `Reconnect` follows."""

    expected: int
    got: int


@frozen
class BookLost:
    """One product's level2 book cannot be believed any more; quotes go on from the ticker, without depth."""

    product_id: str
    reason: str


@frozen
class QuoteEnded:
    """One side of a product's market is empty: its last quote is of the past, and there is no new one."""

    product_id: str


@frozen
class Malformed:
    """A frame that was not believed, with why; the feed goes on."""

    reason: str


@frozen
class OrdersLost:
    """An order row could not be read: what it said must be asked over REST."""

    reason: str


@frozen
class UserSnapshotDone:
    """The last batch of open orders has arrived."""

    orders: int


@frozen
class Resubscribe:
    """Wanted of the shell: unsubscribe and subscribe `channel` for `product_id`, which brings a new snapshot."""

    channel: str
    product_id: str
    reason: str


@frozen
class Reconnect:
    """Wanted of the shell: close this connection and open another with fresh subscriptions."""

    reason: str


@frozen
class Connected:
    """Told by the shell: a new connection is open and subscribed; everything before it is void."""

    epoch: int


@frozen
class Disconnected:
    """Told by the shell: no connection from here on; the next one is tried after `retry_s` real seconds."""

    epoch: int
    reason: str
    retry_s: float


@frozen
class Overflowed:
    """The reader was too slow for its mailbox and this many happenings were dropped: treat it as a gap."""

    dropped: int


@frozen
class NotAcknowledged:
    """Channels that the venue has not confirmed in time; told once."""

    channels: tuple[str, ...]


Happening = (
    Quote
    | OrderUpdate
    | Trade
    | CandleSeen
    | Heartbeat
    | ProductStatus
    | Acknowledged
    | VenueError
    | Gap
    | BookLost
    | QuoteEnded
    | Malformed
    | OrdersLost
    | UserSnapshotDone
    | Resubscribe
    | Reconnect
    | NotAcknowledged
    | Connected
    | Disconnected
    | Overflowed
)

# At most 15 + 15 digits: more is no price, and a slot has room for 32 bytes. No sign, exponent, blank or underscore,
# all of which float() and Decimal() would swallow.
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_ALL_NUMBERS = re.compile(rf"{_NUMBER}(?:\|{_NUMBER})*+")
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)", re.ASCII)
_SECONDS: dict[str, int] = {}


def numbers(texts: Sequence[str]) -> None:
    """All of `texts` are plain non-negative decimals; raises ValueError or TypeError when one is not.

    One match over the joined text costs a tenth of one match each.
    """
    joined = "|".join(texts)
    if not _ALL_NUMBERS.fullmatch(joined) or joined.count("|") != len(texts) - 1:
        raise ValueError(f"no plain decimals: {joined[:80]!r}")


def venue_seconds(stamp: str) -> float:
    """Seconds UTC of an RFC 3339 stamp with Z and up to nanoseconds; the whole second is remembered. Raises ValueError."""
    whole = _SECONDS.get(stamp[:19])
    if whole is None:
        match = _STAMP.fullmatch(stamp[:19])
        if match is None:
            raise ValueError(f"no RFC 3339 time: {stamp[:40]!r}")
        year, month, day, hour, minute, second = map(int, match.groups())
        if not (
            1970 <= year <= 2200 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60
        ):
            raise ValueError(f"no RFC 3339 time: {stamp[:40]!r}")
        whole = timegm((year, month, day, hour, minute, second, 0, 0, 0))
        if len(_SECONDS) > 512:
            _SECONDS.clear()
        _SECONDS[stamp[:19]] = whole
    rest = stamp[19:]
    if rest == "Z":
        return float(whole)
    if len(rest) > 14 or rest[:1] != "." or rest[-1] != "Z" or not (rest[1:-1].isdecimal() and rest.isascii()):
        raise ValueError(f"no RFC 3339 time: {stamp[:40]!r}")
    return whole + float(rest[:-1])
