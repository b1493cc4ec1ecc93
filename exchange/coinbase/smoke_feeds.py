"""The two feeds as the smoke walk sees them: how fast they connect, acknowledge, tell books and quotes, and how old those are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.feed_words import (
    Connected,
    Disconnected,
    Happening,
    Heartbeat,
    Malformed,
    Trade,
    UserSnapshotDone,
    VenueError,
)
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.market_socket import MarketSocket
from exchange.coinbase.smoke_report import Check, SmokeReport
from exchange.coinbase.user_socket import UserSocket
from trading.messages.market import Quote

FEED_S_MAX = 12.0


class Listening:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.first_s: dict[str, float] = {}
        self.quotes: dict[str, Quote] = {}
        self.ages_s: list[float] = []
        self.begin_s = time.monotonic()
        self.reason = ""
        self.malformed = 0
        self.errors: list[str] = []

    def take(self, happenings: list[Happening]) -> None:
        after_s = time.monotonic() - self.begin_s
        with self.lock:
            for happening in happenings:
                self.first_s.setdefault(type(happening).__name__, after_s)
                if isinstance(happening, Quote):
                    self.quotes[happening.product_id] = happening
                elif isinstance(happening, Disconnected):
                    self.reason = happening.reason
                elif isinstance(happening, VenueError):
                    self.errors.append(happening.message)
                elif isinstance(happening, Malformed):
                    self.malformed += 1


def wait(look: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def market_feed(
    endpoints: Endpoints,
    products: Sequence[str],
    report: SmokeReport,
    note: Callable[[Check], None],
    venue_clock: Callable[[], float],
    speed: float,
) -> None:
    heard = Listening()

    def take(happenings: list[Happening]) -> None:
        now_s = venue_clock()
        heard.ages_s += [(now_s - h.exchange_s) / speed for h in happenings if isinstance(h, Quote) and h.exchange_s]
        heard.take(happenings)

    feed = MarketSocket(endpoints, products, take)
    feed.start()
    books = wait(lambda: feed.health().books_known == len(products) and len(heard.quotes) == len(products), FEED_S_MAX)
    beating = wait(lambda: Heartbeat.__name__ in heard.first_s, 3.0)
    acknowledged = wait(
        lambda: feed.session is not None and set(feed.session.channels) <= set(feed.session.acknowledged), 3.0
    )
    health, session = feed.health(), feed.session
    missing = [] if session is None else [name for name in session.channels if name not in session.acknowledged]
    feed.stop()
    text = f"{health.books_known} of {len(products)} books, first quote after {_ms(heard, Quote)} ms"
    if not health.connected:
        text = f"no connection: {heard.reason}"
    elif not acknowledged:
        text += f"; not acknowledged: {', '.join(missing)}"
    if heard.errors:
        text += f"; the venue said: {', '.join(dict.fromkeys(heard.errors))}"
    ok = books and beating and not heard.malformed
    note(Check(name="market feed", area="feed", ok=ok, text=text, latency_ms=_ms(heard, Connected)))
    note(
        Check(
            name="trades on the feed",
            area="feed",
            ok=True if Trade.__name__ in heard.first_s else None,
            text=_seen(heard),
        )
    )
    report.quote_age_s = sorted(heard.ages_s)
    if not ok:
        report.stoppers.append(f"the market feed does not work: {text}")


def _ms(heard: Listening, kind: type) -> float | None:
    first_s = heard.first_s.get(kind.__name__)
    return None if first_s is None else round(first_s * 1000.0, 1)


def _seen(heard: Listening) -> str:
    return ", ".join(
        f"{name} after {after_s * 1000:.0f} ms" for name, after_s in heard.first_s.items() if name != "Disconnected"
    )


def user_feed(
    endpoints: Endpoints,
    key: ApiKey,
    report: SmokeReport,
    note: Callable[[Check], None],
    venue_clock: Callable[[], float],
) -> None:
    heard = Listening()
    feed = UserSocket(endpoints, key, heard.take, venue_clock=venue_clock)
    feed.start()
    ok = wait(lambda: feed.session is not None and "user" in feed.session.acknowledged, FEED_S_MAX)
    wait(lambda: UserSnapshotDone.__name__ in heard.first_s, 2.0)
    feed.stop()
    text = _seen(heard) if ok else f"not acknowledged: {heard.reason or 'silence'}"
    note(Check(name="user feed", area="feed", ok=ok, text=text, latency_ms=_ms(heard, Connected)))
    if not ok:
        report.stoppers.append(f"the user feed does not work ({text}): fills would be learned by questions only")
