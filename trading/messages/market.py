"""Market data. Not messages but arguments: `on_quote` and `on_bar` hand them over on both stages.

Both are plain (not frozen) slotted objects since they are made thousands of times a second; nobody changes them.
"""

from __future__ import annotations

from decimal import Decimal

from attrs import Factory, define, field

from trading.machine import NO_INCARNATION, Incarnation


@define
class Quote:
    """The newest top of book of one product, as the feed wrote it into its slot.

    exchange_s: the venue's own timestamp, seconds UTC. received_boot_s: boot clock when the frame arrived. alive_boot_s:
    boot clock of the connection's last heartbeat or frame without a gap (renewed while the price stands still);
    0.0 after a gap or a disconnect. depth_*_usd: USD resting within 20 bps of mid; None when the book is not known.
    bid_f, ask_f: the same prices as floats, made once for everybody who reads them.
    """

    product_id: str
    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal
    exchange_s: float
    received_boot_s: float
    alive_boot_s: float
    sequence: int = 0
    depth_bid_usd: float | None = None
    depth_ask_usd: float | None = None
    feed: Incarnation = NO_INCARNATION
    last: Decimal | None = None
    volume_24h_base: float | None = None
    bid_f: float = field(default=Factory(lambda quote: float(quote.bid), takes_self=True), eq=False, repr=False)
    ask_f: float = field(default=Factory(lambda quote: float(quote.ask), takes_self=True), eq=False, repr=False)

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    @property
    def spread_bps(self) -> float:
        """(ask - bid) / mid in basis points; negative when crossed."""
        return float((self.ask - self.bid) / self.mid) * 10_000


@define
class Bar:
    """One closed candle over [start_s, start_s + bar_s) of venue time. Floats: indicators, never money.

    number counts the closed bars of (product, bar_s) within one feed's cache, so that none is lost; `backfill` tells a
    bar that was history when the machine first saw it (it warms indicators and decides nothing).
    """

    product_id: str
    bar_s: int
    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    number: int = 0
    backfill: bool = False

    @property
    def end_s(self) -> int:
        return self.start_s + self.bar_s
