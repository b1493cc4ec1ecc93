"""Paper trading on the real market: the simulated venue, with Coinbase's public feeds as its street. No key is needed.

    python -m exchange.paper --json --data-dir DIR [--products BTC-USD,ETH-USD] [--venue-line FILE] [--watch-lock FILE]

It is the same venue as `exchange.simulator` (REST, WebSockets, journal, matching engine, back door), so the rest of the bot
cannot tell the difference; only its `Market` differs. `LiveMarket` shows, each step, the newest level2 quote and the trades
since the step before; the levels behind the best are the live book's; bars of the past are the venue's public candles.
Orders rest behind the size that is really shown at their price and fill when real trades eat through it: what paper
cannot show is the effect that the order itself would have had.

While the feed is blind (no connection, a gap, silence) nothing may fill at prices that are gone: the products then
show `auction_mode`, which stops matching and entries, and it ends when the feed sees again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from exchange.coinbase.download import PublicVenue
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.feed_words import Connected, Disconnected, Gap, Happening, Trade
from exchange.coinbase.market_socket import MarketSocket
from exchange.simulator import server
from exchange.simulator.assembly import REAL_STEP_S, Assembled, UsageError, bind, lock_folder
from exchange.simulator.book import Levels
from exchange.simulator.candles import Candles
from exchange.simulator.clock import VenueClock, boot_s
from exchange.simulator.journal import Journal, JournalError
from exchange.simulator.keys import load_keys
from exchange.simulator.market import Bar, Move, Print, Tick
from exchange.simulator.matching import Settings, Venue
from exchange.simulator.products import Product, make_product, with_usdc_twin
from exchange.simulator.running import Running
from trading import product as ours
from trading.messages.market import Quote
from trading.messages.orders import Query, QueryKind

DEFAULT_PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD", "AVAX-USD")
CHANNELS = ("heartbeats", "level2", "ticker", "market_trades")
FLAGS_S = 60.0
"""How often Coinbase is asked for its products' flags and status."""
BLIND_S_MAX = 5.0
"""Without a believed frame for so long the street is not known any more."""
PRINTS_KEPT = 5_000
FIRST_BARS = 300
DAY_BARS = 1_440
HOURS_BACK = 300 * 24
"""So that 300 candles of each granularity can be answered, days included."""
LEVELS_SHOWN = 500


class LiveMarket:
    """`exchange.simulator.market.Market` from public feeds. `start` before use, `stop` after; ticks on the venue's loop."""

    name = "coinbase"
    step_s = REAL_STEP_S

    def __init__(self, endpoints: Endpoints, products: Sequence[Product]) -> None:
        self._products = {product.product_id: product for product in products}
        self._endpoints = endpoints
        self._quotes: dict[str, Quote] = {}
        self._prints: dict[str, deque[Print]] = {name: deque(maxlen=PRINTS_KEPT) for name in self._products}
        self._minutes: dict[str, dict[int, Bar]] = {name: {} for name in self._products}
        self._hours: dict[str, dict[int, Bar]] = {name: {} for name in self._products}
        self._mend = threading.Event()
        self._stop = threading.Event()
        self._first_history = threading.Event()
        self._history = threading.Thread(target=self._fetch_history, name="paper-history", daemon=True)
        self._feed = MarketSocket(endpoints, tuple(self._products), self._take, channels=CHANNELS)
        self._flags = {name: _flags_of(product) for name, product in self._products.items()}
        self._shown: dict[str, tuple[dict[str, bool], str]] = dict(self._flags)
        self.told: Callable[[str, dict[str, bool], str], None] = lambda _product_id, _flags, _status: None
        """Called on the venue's loop when a product's flags or status change at Coinbase, or its street goes out of sight."""
        self.history_error = ""

    def start(self, patience_s: float = 15.0) -> list[str]:
        """Open the feed and fetch the newest history; returns the products whose street is in sight by then."""
        self._feed.start()
        self._history.start()
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and len(self._quotes) < len(self._products):
            time.sleep(0.02)
        self._first_history.wait(max(0.0, deadline - time.monotonic()))
        return sorted(self._quotes)

    def stop(self) -> None:
        self._stop.set()
        self._mend.set()
        self._feed.stop()

    # on the feed's thread

    def _take(self, happenings: list[Happening]) -> None:
        for happening in happenings:
            match happening:
                case Quote():
                    self._quotes[happening.product_id] = happening
                case Trade(snapshot=False) if happening.size > 0:
                    printed = Print(happening.price, happening.size, happening.maker_side)
                    self._prints[happening.product_id].append(printed)
                case Gap() | Disconnected():
                    self._quotes.clear()
                case Connected():
                    self._mend.set()
                case _:
                    pass

    # Market, on the venue's loop

    def products(self) -> list[Product]:
        return list(self._products.values())

    def moves(self) -> list[Move]:
        return []

    def add_move(self, move: Move) -> None:
        raise ValueError(
            f"{move.product_id} follows Coinbase: its path cannot be bent; use --market synthetic for that"
        )

    def deepen(self, product_id: str, levels: int, tick: Tick) -> None:  # noqa: ARG002
        raise ValueError(
            f"{product_id} shows Coinbase's own book: no levels can be put into it; use --market synthetic for that"
        )

    def tick(self, product_id: str, step: int) -> Tick | None:  # noqa: ARG002 -- the present is all there is
        quote = self._quotes.get(product_id)
        silent_s = self._feed.health().frame_age_s
        blind = quote is None or silent_s is None or silent_s > BLIND_S_MAX
        flags, status = self._flags[product_id]
        wanted = ({**flags, "auction_mode": True}, status) if blind else (flags, status)
        if wanted != self._shown[product_id]:
            self._shown[product_id] = wanted
            self.told(product_id, *wanted)
        waiting = self._prints[product_id]
        prints = []
        while waiting:
            prints.append(waiting.popleft())
        if blind or quote is None:
            return None
        return Tick(quote.bid, quote.ask, quote.bid_size, quote.ask_size, tuple(prints))

    def depth(self, product_id: str, step: int, tick: Tick) -> tuple[Levels, Levels]:  # noqa: ARG002
        session = self._feed.session
        book = session.book(product_id) if session is not None else None
        if book is None or not book.known:
            return [], []
        bids = [(Decimal(price), Decimal(size)) for price, size in book.bids.levels(LEVELS_SHOWN)]
        asks = [(Decimal(price), Decimal(size)) for price, size in book.asks.levels(LEVELS_SHOWN)]
        return [level for level in bids if level[0] < tick.bid], [level for level in asks if level[0] > tick.ask]

    def minute_bars(self, product_id: str, first_minute: int, last_minute: int) -> list[Bar]:
        return _between(self._minutes[product_id], first_minute, last_minute)

    def hour_bars(self, product_id: str, first_hour: int, last_hour: int) -> list[Bar]:
        return _between(self._hours[product_id], first_hour, last_hour)

    # history, on a thread of its own

    def _fetch_history(self) -> None:
        """First what every reader asks for, then the rest of the day and year; after each reconnect what was missed."""
        venue = PublicVenue(self._endpoints, self._stop)
        try:
            for minutes, hours in ((FIRST_BARS, FIRST_BARS), (DAY_BARS, HOURS_BACK)):
                for product_id in self._products:
                    self._fetch(venue, product_id, 60, minutes)
                    self._fetch(venue, product_id, 3600, hours)
                self._first_history.set()
            self._mend.clear()
            while not self._stop.is_set():
                reconnected = self._mend.wait(FLAGS_S)
                self._mend.clear()
                self._refresh_flags(venue)
                for product_id in self._products if reconnected else ():
                    self._fetch(venue, product_id, 60, FIRST_BARS, again=True)
                    self._fetch(venue, product_id, 3600, FIRST_BARS, again=True)
        except Exception as error:
            # Without history the venue still trades; candles answer what there is, and this says why it is little.
            self.history_error = f"{type(error).__name__}: {error}"[:200]
        finally:
            self._first_history.set()
            venue.close()

    def _refresh_flags(self, venue: PublicVenue) -> None:
        query = Query(query_id="products", reply_to="", kind=QueryKind.PRODUCTS, product_ids=tuple(self._products))
        for item in venue.ask(query).items:
            if isinstance(item, ours.Product) and item.product_id in self._products:
                self._flags[item.product_id] = _flags_of(_product(item))

    def _fetch(self, venue: PublicVenue, product_id: str, bar_s: int, bars: int, *, again: bool = False) -> None:
        known = self._minutes[product_id] if bar_s == 60 else self._hours[product_id]
        end_s = int(time.time()) // bar_s * bar_s
        if known and not again:
            end_s = min(known) * bar_s
            bars -= len(known)
        start_s = end_s - bars * bar_s
        while end_s > start_s and not self._stop.is_set():
            first_s = max(start_s, end_s - FIRST_BARS * bar_s)
            found = venue.candles(product_id, bar_s, first_s, end_s)
            if isinstance(found, str):
                self.history_error = f"{product_id}, {bar_s} s candles: {found}"
                return
            if not found:
                return  # older than the product
            fresh = {
                row.start_s // bar_s: Bar(row.start_s, row.open, row.high, row.low, row.close, row.volume)
                for row in found
            }
            merged = {**known, **fresh}
            # One store, so that a reader on the loop sees the old history or the new one, never a dict that grows.
            (self._minutes if bar_s == 60 else self._hours)[product_id] = known = merged
            end_s = first_s


def _flags_of(product: Product) -> tuple[dict[str, bool], str]:
    return {flag: bool(getattr(product, flag)) for flag in ours.FLAGS}, product.status


def _between(bars: dict[int, Bar], first: int, last: int) -> list[Bar]:
    if last - first > len(bars):
        return [bars[number] for number in sorted(bars) if first <= number <= last]
    return [bars[number] for number in range(first, last + 1) if number in bars]


def _product(known: ours.Product) -> Product:
    """The venue's product as the simulated venue lists it, with its real increments and flags."""
    product = make_product(known.product_id, known.price_increment)
    product.price_increment, product.base_increment = known.price_increment, known.base_increment
    product.quote_increment = known.quote_increment
    product.base_min_size, product.base_max_size = known.base_size_min, known.base_size_max
    product.quote_min_size, product.quote_max_size = known.quote_size_min, known.quote_size_max
    product.status = known.status
    for flag in ours.set_flags(known):
        setattr(product, flag, True)
    return product


def live_market(endpoints: Endpoints, product_ids: Sequence[str]) -> tuple[LiveMarket, float]:
    """The market of those products, not started, and the venue's time now. UsageError in a sentence when it cannot be had."""
    venue = PublicVenue(endpoints)
    try:
        now_s = venue.server_time_s()
        if isinstance(now_s, str):
            raise UsageError(
                f"paper trading needs {endpoints.rest}, and it does not answer: {now_s}; try --market synthetic"
            )
        query = Query(query_id="products", reply_to="", kind=QueryKind.PRODUCTS, product_ids=tuple(product_ids))
        page = venue.ask(query)
    finally:
        venue.close()
    known = {item.product_id: item for item in page.items if isinstance(item, ours.Product)}
    if not page.complete:
        raise UsageError(f"{endpoints.rest} does not tell its products: {page.error}; try --market synthetic")
    listed = [name for name in product_ids if name in known]
    if not listed:
        raise UsageError(f"{endpoints.rest} lists none of {', '.join(product_ids)}; choose other products")
    if len(listed) < len(product_ids):  # a delisted one must not keep the others from trading
        missing = ", ".join(name for name in product_ids if name not in known)
        print(f"paper: {endpoints.rest} does not list {missing}; trading the others", file=sys.stderr)
    return LiveMarket(endpoints, [_product(known[name]) for name in listed]), now_s


def assemble(args: Namespace) -> tuple[Assembled, LiveMarket]:
    """A venue from its data dir and the live market. Raises UsageError and JournalError."""
    folder = Path(args.data_dir)
    endpoints = Endpoints.coinbase()
    if args.venue_line:
        try:
            endpoints = Endpoints.simulated(json.loads(Path(args.venue_line).read_text().splitlines()[0]))
        except (OSError, ValueError, IndexError) as error:
            raise UsageError(f"--venue-line {args.venue_line} is no contract line of a venue: {error}") from None
    names = tuple(dict.fromkeys(filter(None, args.products.split(",")))) or DEFAULT_PRODUCTS
    lock = lock_folder(folder)
    try:
        market, server_s = live_market(endpoints, names)
        return _with(args, folder, lock, market, server_s), market
    except BaseException:
        os.close(lock)
        raise


def _with(args: Namespace, folder: Path, lock: int, market: LiveMarket, server_s: float) -> Assembled:
    journal = Journal(folder)
    if journal.meta("market") not in (None, market.name):
        raise UsageError(
            f"--data-dir {folder} belongs to the market {journal.meta('market')}; choose another for Coinbase"
        )
    saved = journal.meta("venue_s")
    now_s = max(server_s, float(saved) if saved is not None else 0.0)
    clock = VenueClock(now_s, boot_s(), 1.0)
    venue = Venue(
        [row for product in market.products() for row in with_usdc_twin(product)],
        dict.fromkeys((product.quote for product in market.products()), Decimal(args.cash)),
        portfolio_uuid=journal.portfolio_uuid(),
        settings=Settings(),
        now_s=now_s,
    )
    resumed = journal.resume(venue, now_s)
    if not resumed:
        venue.wallets.changed.update(venue.wallets.by_currency)
    candles = Candles(market)
    journal.load_bars(candles, int(now_s // 60) - 9 * 1440)
    running = Running(market=market, clock=clock, venue=venue, candles=candles, journal=journal, keys=load_keys(folder))

    def told(product_id: str, flags: dict[str, bool], status: str) -> None:
        for product in running.venue.products.values():
            if product.book_id == product_id:
                product.status = status
                for flag, value in flags.items():
                    setattr(product, flag, value)
        if running.listener is not None:
            running.listener.products_changed()

    market.told = told
    journal.set_meta(market=market.name, stopped="no")
    journal.commit(venue, now_s)
    return Assembled(running, resumed, "", lock)


def parser() -> argparse.ArgumentParser:
    """The simulated venue's own options, so that one command line fits both; `--venue-line` besides."""
    found = server.parser()
    found.prog, found.description = "exchange.paper", "A simulated venue that trades Coinbase's live market."
    found.set_defaults(market="coinbase", data_dir="data/paper")
    found.add_argument(
        "--venue-line", default="", help="follow this venue (a file with its contract line) instead of Coinbase"
    )
    return found


def main(argv: list[str] | None = None) -> int:
    """Run until told to stop. Exit codes: 0 stopped, 1 broken, 2 not usable as asked, 3 its ledger is damaged."""
    args = parser().parse_args(argv)
    try:
        if args.market != "coinbase" or args.speed != 1.0:
            raise UsageError("paper trading follows Coinbase at speed 1; for anything else there is exchange.simulator")
        assembled, market = assemble(args)
        sockets = bind(Path(args.data_dir), args.port)
    except (UsageError, JournalError) as error:
        print(f"paper: {error}", file=sys.stderr)
        return error.code
    try:
        seen = market.start()
        if not seen:
            names = ", ".join(product.product_id for product in market.products())
            print(f"paper: no quote of {names} yet; orders wait until the feed sees the market", file=sys.stderr)
        return asyncio.run(server.Process(args, assembled).run(sockets))
    finally:
        market.stop()
        os.close(assembled.lock)


if __name__ == "__main__":
    sys.exit(main())
