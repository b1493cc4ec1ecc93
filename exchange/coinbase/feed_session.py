"""One WebSocket connection to Coinbase, without the socket: frames in, happenings out; time is an argument.

The rules that recordings and other bots' wounds taught (docs/coinbase.md section 5):

1. One `sequence_num` per connection counts *all* frames: data of every channel, acknowledgements, heartbeats. A jump
   ahead means that something was lost, hence every book is fiction: `Gap`, then `Reconnect`, and this session is over.
   A number already seen is a repetition: dropped.
2. Data comes before the acknowledgement of its subscription; a snapshot replaces, an update changes; an update before
   the snapshot is nothing; an update without rows is common and proves that nothing changed until its time; removing a
   level that was never told is routine.
3. A frame is believed whole or not at all, and no frame raises. One that cannot be read is counted (`Malformed`); if its
   number could be read and it was level2 data, the books it touched are lost and asked for again (`Resubscribe`).
4. While a product's book is known the book gives bid and ask, and the ticker only the last price and volume; otherwise
   the ticker gives all, without depth. A crossed book gives no quote; three frames crossed and it is asked for anew.
5. Silence is measured by believed frames only: heartbeats come each second, so silence means the connection is dead,
   whatever the socket says. Heartbeats without quotes of any product for long are no better: a lost subscription tells nobody.

A session is thrown away with its connection; nothing is carried over to the next one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from attrs import define, frozen

from exchange.coinbase.feed_channels import (
    read_candles,
    read_heartbeat_counter,
    read_last_prices,
    read_level2,
    read_status,
    read_subscriptions,
    read_tickers,
    read_trades,
)
from exchange.coinbase.feed_words import (
    Acknowledged,
    BookLost,
    Gap,
    Happening,
    Heartbeat,
    Malformed,
    NotAcknowledged,
    OrdersLost,
    QuoteEnded,
    Reconnect,
    Resubscribe,
    UserSnapshotDone,
    VenueError,
    venue_seconds,
)
from exchange.coinbase.level2 import Level2Book
from exchange.coinbase.user_rows import read_order
from trading.messages.market import Quote

MARKET_CHANNELS = ("heartbeats", "level2", "ticker", "market_trades", "candles", "status")
USER_CHANNELS = ("heartbeats", "user")
USER_BATCH = 50
_QUOTES = frozenset({"l2_data", "ticker"})
_WITHOUT_PRODUCTS = frozenset({"heartbeats", "user"})
_CROSSED_FRAMES_MAX = 3
# A stamp a little older than the one before it is out of order. One that is much older means that one of the two stamps
# was wrong, and a single wrong stamp must not silence a product until its time has come.
_OUT_OF_ORDER_S = 60.0
_CLOCK_STEP_S = 120.0


@frozen(kw_only=True)
class SessionLimits:
    """Real seconds. silence_s_max: without a believed frame → reconnect. snapshot_s_max: when no snapshot has come for so long,
    the books that still lack one are asked for again (a hundred big ones take a while, one after another). resubscribe_s_min: between two attempts for one book. acknowledge_s_max: channels not confirmed by then are told.
    quotes_silence_s_max: without a frame that any quote could come of, whatever else comes → reconnect; often enough that
    a venue which goes on so opens the breaker `feed_flaps`. book_silence_s_max: a book without an update for so long is asked for again,
    and lost when no snapshot comes within snapshot_s_max: a subscription can end for one product alone. book_trails_s_max: a ticker
    that disagrees with a book that has been silent for longer is believed instead of it.
    """

    silence_s_max: float = 5.0
    snapshot_s_max: float = 10.0
    resubscribe_s_min: float = 30.0
    acknowledge_s_max: float = 15.0
    quotes_silence_s_max: float = 90.0
    book_silence_s_max: float = 60.0
    book_trails_s_max: float = 5.0


@define
class _Product:
    """What this connection knows of one product."""

    product_id: str
    book: Level2Book
    last: Decimal | None = None
    volume_24h_base: float | None = None
    exchange_s: float = 0.0
    crossed_frames: int = 0
    asked_boot_s: float = 0.0
    book_boot_s: float = 0.0
    """When the newest level2 event of this product came."""
    ended: bool = False
    """Told that its last quote is of the past, and no quote since."""


class FeedSession:
    """One connection. `subscriptions()` are to be sent when it opens, then `receive` for each frame, `tick` now and then."""

    def __init__(
        self,
        products: Sequence[str],
        channels: Sequence[str] = MARKET_CHANNELS,
        *,
        opened_boot_s: float,
        epoch: int = 0,
        limits: SessionLimits | None = None,
    ) -> None:
        self.products = tuple(products)
        self.channels = tuple(channels) if "heartbeats" in channels else ("heartbeats", *channels)
        self.epoch = epoch
        self.limits = limits or SessionLimits()
        self.counts: Counter[str] = Counter()
        self.over: str | None = None
        """Why this session has ended; frames are ignored from then on."""
        self.alive_boot_s = opened_boot_s
        """Boot clock of the newest believed frame."""
        self._quotes_boot_s = opened_boot_s
        self.venue_s = 0.0
        """The venue's clock as this connection's stamps tell it; never goes back by a single frame."""
        self._clock_candidate_s: float | None = None
        self.acknowledged: dict[str, tuple[str, ...]] = {}
        self._opened_boot_s = opened_boot_s
        self._next: int | None = None
        self._told_unacknowledged = False
        self._snapshot_boot_s = opened_boot_s
        self._user_batches = 0
        self._user_snapshot_done = False
        self._products = {
            product_id: _Product(product_id, Level2Book(), asked_boot_s=opened_boot_s) for product_id in self.products
        }
        self._books_wanted = "level2" in self.channels
        self._ticker_wanted = "ticker" in self.channels
        self._channels: Mapping[str, Callable[[list[Any], float, float], list[Happening]]] = {
            "ticker": self._ticker,
            "l2_data": self._level2,
            "ticker_batch": self._ticker_batch,
            "market_trades": self._market_trades,
            "candles": self._candles,
            "heartbeats": self._heartbeats,
            "subscriptions": self._subscriptions,
            "status": self._status,
            "user": self._user,
        }

    def subscriptions(self) -> list[dict[str, Any]]:
        """The messages to send within 5 s of opening, one channel each, heartbeats first; the shell adds a token where due."""
        messages: list[dict[str, Any]] = []
        for channel in sorted(self.channels, key=lambda name: name != "heartbeats"):
            message: dict[str, Any] = {"type": "subscribe", "channel": channel}
            if channel not in _WITHOUT_PRODUCTS:
                message["product_ids"] = list(self.products)
            messages.append(message)
        return messages

    def change_products(self, products: Sequence[str], now_boot_s: float) -> list[dict[str, Any]]:
        """The messages that make this connection serve `products` instead; what is gone is forgotten at once."""
        gone = [name for name in self.products if name not in products]
        fresh = [name for name in products if name not in self._products]
        for name in gone:
            del self._products[name]
        for name in fresh:
            self._products[name] = _Product(name, Level2Book(), asked_boot_s=now_boot_s)
        if not self.products:
            self._quotes_boot_s = now_boot_s
        self.products = tuple(products)
        return [
            {"type": kind, "channel": channel, "product_ids": names}
            for kind, names in (("unsubscribe", gone), ("subscribe", fresh))
            if names
            for channel in self.channels
            if channel not in _WITHOUT_PRODUCTS
        ]

    def receive(self, raw: str | bytes, received_boot_s: float) -> list[Happening]:
        """What this frame means. Never raises, whatever the frame is."""
        if self.over is not None:
            return []
        counts = self.counts
        counts["frames"] += 1
        try:
            frame = json.loads(raw)
        except (ValueError, RecursionError, TypeError) as error:
            return self._malformed(f"no JSON ({type(error).__name__}, {len(raw)} characters)")
        if type(frame) is not dict:
            return self._malformed(f"a JSON {type(frame).__name__} instead of an object")
        sequence = frame.get("sequence_num")
        if type(sequence) is not int or sequence < 0:
            if frame.get("type") == "error":
                counts["venue_errors"] += 1
                return self._venue_error(str(frame.get("message", ""))[:200])
            return self._malformed("no sequence_num")
        if sequence != self._next and self._next is not None:
            if sequence < self._next:
                counts["repeated"] += 1
                return []
            counts["gaps"] += 1
            expected = self._next
            self.over = f"sequence gap: expected {expected}, got {sequence}"
            return [Gap(expected, sequence), Reconnect(self.over)]
        self._next = sequence + 1
        channel = frame.get("channel")
        try:
            handler = self._channels.get(channel)  # type: ignore[arg-type]
            if handler is None:
                counts["unknown_channels"] += 1
                return []
            exchange_s = venue_seconds(frame["timestamp"])
            self._clock(exchange_s)
            happenings = handler(frame["events"], exchange_s, received_boot_s)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            # Everything a wrong shape can raise; handlers change nothing before they have read the whole frame.
            return self._unreadable(channel, frame, received_boot_s, f"{channel}: {type(error).__name__} {error}"[:200])
        self.alive_boot_s = received_boot_s
        if channel in _QUOTES:
            self._quotes_boot_s = received_boot_s
        return happenings

    def tick(self, now_boot_s: float) -> list[Happening]:
        """What the passing of time means; call it about each half second."""
        if self.over is not None:
            return []
        silent_s = now_boot_s - self.alive_boot_s
        if silent_s > self.limits.silence_s_max:
            self.counts["silences"] += 1
            self.over = f"silent for {silent_s:.1f} s (limit {self.limits.silence_s_max:g} s)"
            return [Reconnect(self.over)]
        quiet_s = now_boot_s - self._quotes_boot_s
        if (self._books_wanted or self._ticker_wanted) and self.products and quiet_s > self.limits.quotes_silence_s_max:
            self.counts["silences"] += 1
            self.over = f"heartbeats but no quotes for {quiet_s:.0f} s"
            return [Reconnect(self.over)]
        out: list[Happening] = []
        age_s = now_boot_s - self._opened_boot_s
        if age_s > self.limits.acknowledge_s_max and not self._told_unacknowledged:
            self._told_unacknowledged = True
            missing = tuple(name for name in self.channels if name not in self.acknowledged)
            if missing:
                self.counts["unacknowledged"] += len(missing)
                out.append(NotAcknowledged(missing))
        if self._books_wanted and now_boot_s - self._snapshot_boot_s > self.limits.snapshot_s_max:
            for state in self._products.values():
                if not state.book.known and now_boot_s - state.asked_boot_s > self.limits.snapshot_s_max:
                    out += self._ask_again(state, now_boot_s, "no snapshot")
        if self._books_wanted:
            for state in self._products.values():
                out += self._silent_book(state, now_boot_s)
        return out

    def _silent_book(self, state: _Product, now_boot_s: float) -> list[Happening]:
        """A quiet market answers with a snapshot; one whose subscription is gone for good must not look alive."""
        silent_s = now_boot_s - state.book_boot_s
        if not state.book.known or silent_s <= self.limits.book_silence_s_max:
            return []
        if state.asked_boot_s <= state.book_boot_s:
            return self._ask_again(state, now_boot_s, f"no update for {silent_s:.0f} s")
        if now_boot_s - state.asked_boot_s > self.limits.snapshot_s_max:
            return self._book_lost(state, now_boot_s, f"no update for {silent_s:.0f} s, and no snapshot when asked")
        return []

    @property
    def books_known(self) -> int:
        return sum(1 for state in self._products.values() if state.book.known)

    def book(self, product_id: str) -> Level2Book | None:
        """The live book, for readers on the same thread (paper trading); None for a product not subscribed."""
        state = self._products.get(product_id)
        return None if state is None else state.book

    def _clock(self, exchange_s: float) -> None:
        """Small steps ahead are taken; a leap (a fast simulated clock, or a broken stamp) only when the next frame confirms it."""
        step_s = exchange_s - self.venue_s
        if 0.0 <= step_s <= _CLOCK_STEP_S or self.venue_s == 0.0:
            self.venue_s, self._clock_candidate_s = exchange_s, None
        elif abs(step_s) > _CLOCK_STEP_S:
            candidate = self._clock_candidate_s
            if candidate is not None and (candidate - self.venue_s) * step_s > 0.0 and exchange_s >= candidate:
                self.venue_s, self._clock_candidate_s = exchange_s, None
            else:
                self._clock_candidate_s = exchange_s

    # what cannot be believed

    def _malformed(self, reason: str) -> list[Happening]:
        self.counts["malformed"] += 1
        return [Malformed(reason)]

    def _unreadable(self, channel: object, frame: dict[str, Any], now_boot_s: float, reason: str) -> list[Happening]:
        out = self._malformed(reason)
        if channel == "user":
            out.append(OrdersLost(reason))
        if channel == "l2_data":
            events = frame.get("events")
            rows = [event for event in events if type(event) is dict] if type(events) is list else []
            named = [row.get("product_id") for row in rows]
            touched = [state for state in self._products.values() if state.product_id in named]
            # A frame that does not even tell its product may have been about any of them.
            for state in touched or self._products.values():
                out += self._book_lost(state, now_boot_s, "an unreadable update")
        return out

    def _book_lost(self, state: _Product, now_boot_s: float, reason: str) -> list[Happening]:
        if not state.book.known:
            return []
        self.counts["books_lost"] += 1
        state.book.forget()
        state.crossed_frames = 0
        out: list[Happening] = [BookLost(state.product_id, reason)]
        if now_boot_s - state.asked_boot_s > self.limits.resubscribe_s_min:
            out += self._ask_again(state, now_boot_s, reason)
        return out

    def _ask_again(self, state: _Product, now_boot_s: float, reason: str) -> list[Happening]:
        state.asked_boot_s = now_boot_s
        self.counts["resubscribed"] += 1
        return [Resubscribe("level2", state.product_id, reason)]

    def _venue_error(self, message: str) -> list[Happening]:
        out: list[Happening] = [VenueError(message)]
        if "user" in self.channels:
            # Without its one channel this connection is useless; a new one brings a new token. On the market side an
            # error concerns one channel (an unknown name answers so too) and the others go on.
            self.over = f"the venue refused: {message}"
            out.append(Reconnect(self.over))
        return out

    # one handler a channel: `feed_channels` reads the whole frame, then things change

    def _ticker(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:
        out: list[Happening] = []
        for product_id, bid_text, ask_text, bid_size, ask_size, last, volume_base in read_tickers(events):
            state = self._products.get(product_id)
            if state is None:
                self.counts["unknown_products"] += 1
                continue
            if 0.0 < state.exchange_s - exchange_s < _OUT_OF_ORDER_S:
                self.counts["out_of_order"] += 1
                continue
            state.last, state.volume_24h_base = Decimal(last), volume_base
            if self._follows(state, bid_text, ask_text, received_boot_s):
                out += self._book_quote(state, exchange_s, received_boot_s)
                continue
            bid, ask = Decimal(bid_text), Decimal(ask_text)
            if not 0 < bid < ask:
                self.counts["crossed"] += 1
                continue
            state.exchange_s, state.ended = exchange_s, False
            out.append(
                Quote(
                    product_id,
                    bid,
                    ask,
                    Decimal(bid_size),
                    Decimal(ask_size),
                    exchange_s,
                    received_boot_s,
                    received_boot_s,
                    last=state.last,
                    volume_24h_base=volume_base,
                )
            )
        return out

    def _follows(self, state: _Product, bid: str, ask: str, received_boot_s: float) -> bool:
        """Whether this product's book still follows the market whose ticker says `bid` and `ask`."""
        book = state.book
        if not book.known:
            return False
        if received_boot_s - state.book_boot_s <= self.limits.book_trails_s_max:
            return True
        return book.bids.best_price == float(bid) and book.asks.best_price == float(ask)

    def _ticker_batch(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:  # noqa: ARG002
        for product_id, last in read_last_prices(events):
            state = self._products.get(product_id)
            if state is not None:
                state.last = last
        return []

    def _level2(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:
        out: list[Happening] = []
        for product_id, kind, sides, prices, sizes in read_level2(events):
            state = self._products.get(product_id)
            if state is None:
                self.counts["unknown_products"] += 1
                continue
            book = state.book
            state.book_boot_s = received_boot_s
            if kind == "snapshot":
                self.counts["snapshots"] += 1
                # A known one was asked for because it is quiet: that says nothing of those that lack one.
                if not book.known:
                    self._snapshot_boot_s = received_boot_s
                book.snapshot(sides, prices, sizes)
            elif not book.known:
                self.counts["updates_before_snapshot"] += 1
                continue
            else:
                book.update(sides, prices, sizes)
            if book.crossed:
                self.counts["crossed"] += 1
                state.crossed_frames += 1
                if state.crossed_frames >= _CROSSED_FRAMES_MAX:
                    out += self._book_lost(state, received_boot_s, f"crossed for {_CROSSED_FRAMES_MAX} frames")
                continue
            state.crossed_frames = 0
            out += self._book_quote(state, exchange_s, received_boot_s)
        return out

    def _book_quote(self, state: _Product, exchange_s: float, received_boot_s: float) -> list[Happening]:
        book = state.book
        bid, ask = book.bids.best, book.asks.best
        if bid is None or ask is None:
            # Heartbeats would keep the last quote alive, and a stop that a falling bid has passed would not act.
            ended, state.ended = state.ended, True
            return [] if ended else [QuoteEnded(state.product_id)]
        if book.crossed:
            return []
        state.ended = False
        if not 0.0 < state.exchange_s - exchange_s < _OUT_OF_ORDER_S:
            state.exchange_s = exchange_s
        depth = book.depth_usd()
        return [
            Quote(
                state.product_id,
                Decimal(bid[0]),
                Decimal(ask[0]),
                Decimal(bid[1]),
                Decimal(ask[1]),
                state.exchange_s,
                received_boot_s,
                received_boot_s,
                0,
                depth[0] if depth else None,
                depth[1] if depth else None,
                last=state.last,
                volume_24h_base=state.volume_24h_base,
            )
        ]

    def _market_trades(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:  # noqa: ARG002
        trades, others = read_trades(events, self._products)
        self.counts["unknown_products"] += others
        if not self._ticker_wanted:
            for trade in trades:
                self._products[trade.product_id].last = trade.price
        return list(trades)

    def _candles(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:  # noqa: ARG002
        candles, others = read_candles(events, self._products)
        self.counts["unknown_products"] += others
        return list(candles)

    def _heartbeats(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:  # noqa: ARG002
        return [Heartbeat(self.venue_s, received_boot_s, read_heartbeat_counter(events))]

    def _subscriptions(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:  # noqa: ARG002
        self.acknowledged = read_subscriptions(events)
        return [Acknowledged(self.acknowledged)]

    def _status(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:  # noqa: ARG002
        return list(read_status(events, self._products))

    def _user(self, events: list[Any], exchange_s: float, received_boot_s: float) -> list[Happening]:
        out: list[Happening] = []
        snapshots: list[int] = []
        for event in events:
            rows = event.get("orders") or []
            for row in rows:
                try:
                    out.append(read_order(row, exchange_s, received_boot_s, self.epoch))
                except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                    # The other rows are whole snapshots of other orders: they stay true without this one.
                    self.counts["malformed_orders"] += 1
                    out.append(OrdersLost(f"an order row could not be read: {type(error).__name__} {error}"[:200]))
            if event["type"] == "snapshot":
                snapshots.append(len(rows))
            elif not self._user_snapshot_done and self._user_batches:
                snapshots.append(0)  # exactly 50, 100, ... open orders: the first update ends the snapshot
        for batch in snapshots:
            self._user_batches += batch
            if batch < USER_BATCH and not self._user_snapshot_done:
                self._user_snapshot_done = True
                out.append(UserSnapshotDone(self._user_batches))
        return out
