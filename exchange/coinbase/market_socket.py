"""The market feed's socket, and the publisher that turns what it tells into slots, bells and trades for the bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.feed_session import MARKET_CHANNELS, FeedSession, SessionLimits
from exchange.coinbase.feed_socket import FeedSocket, RawSink, Sink
from exchange.coinbase.feed_words import BookLost, Disconnected, Gap, Happening, Heartbeat, QuoteEnded
from exchange.slots import BellRinger, SlotWriter
from trading.messages.market import Quote


class MarketSocket(FeedSocket):
    """Public channels of `products`; no key is needed. See `FeedSocket` for start, stop, set_products and health."""

    def __init__(
        self,
        endpoints: Endpoints,
        products: Sequence[str],
        sink: Sink,
        *,
        channels: Sequence[str] = MARKET_CHANNELS,
        limits: SessionLimits | None = None,
        raw_sink: RawSink | None = None,
        first_epoch: int = 1,
        seed: int | None = None,
    ) -> None:
        def make_session(wanted: tuple[str, ...], opened_boot_s: float, epoch: int) -> FeedSession:
            return FeedSession(wanted, channels, opened_boot_s=opened_boot_s, epoch=epoch, limits=limits)

        super().__init__(
            url=endpoints.ws_market,
            ca_file=endpoints.ca_file,
            make_session=make_session,
            products=products,
            sink=sink,
            raw_sink=raw_sink,
            first_epoch=first_epoch,
            name="market-feed",
            seed=seed,
        )


class MarketPublisher:
    """A sink for `MarketSocket`: quotes go to their slots at once, on the feed's thread, and one ring follows each batch;
    everything that is not a quote goes on to `rest` (a `FeedMailbox.put`, usually).
    """

    def __init__(self, slots: SlotWriter, ringer: BellRinger, rest: Callable[[list[Happening]], None]) -> None:
        self._slots, self._ringer, self._rest = slots, ringer, rest
        self.quotes = 0

    def take(self, happenings: list[Happening]) -> None:
        slots, changed, rest = self._slots, [], []
        for happening in happenings:
            kind = type(happening)
            if kind is Quote:
                slots.put(happening)  # type: ignore[arg-type]
                changed.append(happening.product_id)  # type: ignore[union-attr]
                continue
            if kind is Heartbeat:
                # No ring: liveness alone wakes nobody, whoever wakes sees it.
                slots.alive(happening.received_boot_s)  # type: ignore[union-attr]
            elif kind is Gap or kind is Disconnected:
                changed += slots.lost()
            elif kind is BookLost or kind is QuoteEnded:
                changed += slots.lost(happening.product_id)  # type: ignore[union-attr]
            rest.append(happening)
        if changed:
            self.quotes += len(changed)
            self._ringer.ring(changed)
        if rest:
            self._rest(rest)
