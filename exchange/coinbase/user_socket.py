"""The user feed's socket: our orders as the venue tells them, each a cumulative snapshot; a fresh token per connection."""

from __future__ import annotations

import time
from collections.abc import Callable

from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.feed_session import USER_CHANNELS, FeedSession, SessionLimits
from exchange.coinbase.feed_socket import FeedSocket, RawSink, Sink
from exchange.coinbase.feed_words import Connected, Disconnected, Happening, OrdersLost, Overflowed
from exchange.coinbase.jwt import ApiKey, ws_token
from trading.messages.orders import FeedReset


class UserSocket(FeedSocket):
    """All orders of the key's portfolio (no product list: an adopted order in any product is heard too).

    venue_clock: seconds UTC as the venue counts them, for the token's `nbf`.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        key: ApiKey,
        sink: Sink,
        *,
        venue_clock: Callable[[], float] = time.time,
        limits: SessionLimits | None = None,
        raw_sink: RawSink | None = None,
        first_epoch: int = 1,
        seed: int | None = None,
    ) -> None:
        def make_session(wanted: tuple[str, ...], opened_boot_s: float, epoch: int) -> FeedSession:
            return FeedSession(
                wanted,
                USER_CHANNELS,
                opened_boot_s=opened_boot_s,
                epoch=epoch,
                limits=limits or SessionLimits(silence_s_max=10.0),
            )

        super().__init__(
            url=endpoints.ws_user,
            fallback_url=endpoints.ws_market,  # Coinbase serves the user channel there too, for this very case
            ca_file=endpoints.ca_file,
            make_session=make_session,
            products=(),
            sink=sink,
            token=lambda: ws_token(key, venue_clock()),
            raw_sink=raw_sink,
            first_epoch=first_epoch,
            name="user-feed",
            seed=seed,
        )


def feed_reset(happening: Happening, epoch: int) -> FeedReset | None:
    """What oms must hear of it: whenever something may have been missed, it asks over REST. None for anything else."""
    match happening:
        case Connected(epoch=fresh):
            return FeedReset(epoch=fresh, connected=True)
        case Disconnected(epoch=gone):
            return FeedReset(epoch=gone, connected=False)
        case OrdersLost() | Overflowed():
            return FeedReset(epoch=epoch, connected=True)
        case _:
            return None
