"""The session machine: what a frame means, and that no frame, however broken, raises or is believed."""

from __future__ import annotations

import copy
import json
import os
import random
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.coinbase.feed_session import FeedSession, SessionLimits
from exchange.coinbase.feed_words import (
    BookLost,
    CandleSeen,
    Gap,
    Heartbeat,
    Malformed,
    NotAcknowledged,
    OrdersLost,
    ProductStatus,
    QuoteEnded,
    Reconnect,
    Resubscribe,
    Trade,
    UserSnapshotDone,
    VenueError,
    numbers,
    venue_seconds,
)
from exchange.coinbase.level2 import DEPTH_BPS, Level2Book
from tests.coinbase_feeds.scripted_venue import STAMP, Frames, stamp
from trading.messages.market import Quote
from trading.messages.orders import OrderUpdate
from trading.values import utc_seconds

DATA = Path(os.environ.get("BULKHEAD_SHARED_DATA") or Path(__file__).parents[2].parent / "shared" / "data") / "ws_raw"
SNAPSHOT = [("bid", "100", "1"), ("bid", "99.9", "2"), ("offer", "100.1", "3"), ("offer", "100.5", "4")]


def session(*products: str, **more) -> FeedSession:
    return FeedSession(products or ("BTC-USD",), opened_boot_s=0.0, **more)


def quotes_of(happenings):
    return [happening for happening in happenings if type(happening) is Quote]


# sequence


def test_one_sequence_counts_every_channel_acknowledgements_and_heartbeats():
    feed, frames = session(), Frames()
    for text in (
        frames.level2("snapshot", SNAPSHOT),
        frames.level2("update", []),
        frames.acknowledged({"level2": ["BTC-USD"]}),
        frames.heartbeat(),
        frames.ticker(),
        frames.frame("some_new_channel", []),
        frames.ticker(),
    ):
        assert not any(type(h) in (Gap, Malformed) for h in feed.receive(text, 1.0))
    assert feed.over is None
    assert feed.counts["unknown_channels"] == 1


def test_a_sequence_gap_ends_the_session_and_nothing_after_it_is_believed():
    feed, frames = session(), Frames()
    feed.receive(frames.heartbeat(), 1.0)
    frames.sequence += 1
    assert feed.receive(frames.ticker(), 1.0) == [Gap(1, 2), Reconnect("sequence gap: expected 1, got 2")]
    assert feed.receive(frames.ticker(), 1.0) == []
    assert feed.tick(1000.0) == []


def test_a_repeated_frame_is_dropped():
    feed, frames = session(), Frames()
    text = frames.ticker()
    assert len(quotes_of(feed.receive(text, 1.0))) == 1
    assert feed.receive(text, 2.0) == []
    assert feed.alive_boot_s == 1.0, "a repetition is no sign of life"
    assert feed.counts["repeated"] == 1


def test_a_frame_that_is_no_json_shows_as_a_gap_with_the_next_one():
    feed, frames = session(), Frames()
    feed.receive(frames.heartbeat(), 1.0)
    assert type(feed.receive(frames.ticker()[:-9], 1.0)[0]) is Malformed
    assert type(feed.receive(frames.ticker(), 1.0)[0]) is Gap


# level2 and ticker


def test_the_book_gives_bid_ask_sizes_depth_and_the_ticker_the_last_price():
    feed, frames = session(), Frames()
    (quote,) = feed.receive(frames.level2("snapshot", SNAPSHOT), 5.0)
    assert (quote.bid, quote.ask, quote.bid_size, quote.ask_size) == tuple(map(Decimal, ("100", "100.1", "1", "3")))
    assert quote.depth_bid_usd == pytest.approx(100 * 1 + 99.9 * 2)
    assert quote.depth_ask_usd == pytest.approx(100.1 * 3), "100.5 is 45 bps away"
    assert (quote.exchange_s, quote.received_boot_s, quote.alive_boot_s) == (utc_seconds(STAMP), 5.0, 5.0) or (
        quote.exchange_s == pytest.approx(utc_seconds(STAMP), abs=1e-6)
    )
    (quote,) = feed.receive(frames.ticker(bid="1", ask="2", last="100.05"), 6.0)
    assert (str(quote.bid), str(quote.ask), str(quote.last)) == ("100", "100.1", "100.05")
    assert quote.volume_24h_base == 3974.98


def test_without_a_book_the_ticker_gives_the_quote_and_no_depth():
    feed, frames = session(), Frames()
    (quote,) = feed.receive(frames.ticker("64281.7", "64281.71"), 5.0)
    assert (str(quote.bid), str(quote.ask), quote.depth_bid_usd) == ("64281.7", "64281.71", None)


def test_an_update_before_the_snapshot_is_nothing():
    feed, frames = session(), Frames()
    assert feed.receive(frames.level2("update", [("bid", "100", "1")]), 1.0) == []
    assert feed.counts["updates_before_snapshot"] == 1


def test_an_empty_update_proves_that_the_book_stands():
    feed, frames = session(), Frames()
    (first,) = feed.receive(frames.level2("snapshot", SNAPSHOT, at=stamp(1)), 1.0)
    (second,) = feed.receive(frames.level2("update", [], at=stamp(2)), 2.0)
    assert second.bid == first.bid
    assert second.exchange_s == pytest.approx(first.exchange_s + 1)


def test_removing_a_level_that_never_was_is_routine():
    feed, frames = session(), Frames()
    feed.receive(frames.level2("snapshot", SNAPSHOT), 1.0)
    (quote,) = feed.receive(frames.level2("update", [("bid", "98.7", "0"), ("offer", "107", "0")]), 1.0)
    assert quote.bid == 100
    assert feed.over is None


def test_prices_with_and_without_trailing_zeros_are_one_level():
    feed, frames = session(), Frames()
    feed.receive(frames.level2("snapshot", [("bid", "100.10", "1"), ("offer", "101", "1")]), 1.0)
    ended = feed.receive(frames.level2("update", [("bid", "100.1", "0")]), 1.0)
    assert ended == [QuoteEnded("BTC-USD")], "a side is empty: no quote"


def test_a_book_crossed_for_three_frames_is_lost_and_asked_for_again():
    feed, frames = session(), Frames()
    feed.receive(frames.level2("snapshot", SNAPSHOT), 100.0)
    crossing = [("bid", "100.3", "1")]
    assert feed.receive(frames.level2("update", crossing), 100.0) == []
    assert feed.receive(frames.level2("update", crossing), 100.0) == []
    out = feed.receive(frames.level2("update", crossing), 100.0)
    assert [type(h) for h in out] == [BookLost, Resubscribe]
    assert quotes_of(feed.receive(frames.ticker(), 100.0))[0].depth_bid_usd is None
    assert quotes_of(feed.receive(frames.level2("snapshot", SNAPSHOT), 101.0))


def test_a_ticker_does_not_bring_a_crossed_book_back():
    feed, frames = session(), Frames()
    feed.receive(frames.level2("snapshot", SNAPSHOT), 100.0)
    feed.receive(frames.level2("update", [("bid", "100.3", "1")]), 100.0)
    assert feed.receive(frames.ticker(), 100.0) == []


@pytest.mark.parametrize(
    "texts", [["1|2"], ["1", "2|3"], [""], ["1", ""], ["1."], [".5"], ["-1"], ["1e3"], ["1_0"], [" 1"], ["1\n"]]
)
def test_only_plain_decimals_are_numbers(texts):
    numbers(["1", "0.5", "123456789012345.123456789012345"])
    with pytest.raises(ValueError, match="decimals"):
        numbers(texts)


def test_an_unreadable_update_loses_its_own_book_only():
    feed, frames = session("BTC-USD", "ETH-USD"), Frames()
    for product in feed.products:
        feed.receive(frames.level2("snapshot", SNAPSHOT, product), 100.0)
    out = feed.receive(frames.level2("update", [("bid", "1e3", "1")], "ETH-USD"), 100.0)
    assert [type(h) for h in out] == [Malformed, BookLost, Resubscribe]
    assert feed.books_known == 1
    assert quotes_of(feed.receive(frames.level2("update", [], "BTC-USD"), 100.0))
    assert not quotes_of(feed.receive(frames.level2("update", [("bid", "100", "1")], "ETH-USD"), 100.0))


def test_a_book_is_not_asked_for_again_in_a_storm():
    feed, frames = session(limits=SessionLimits(resubscribe_s_min=30.0)), Frames()
    asked = 0
    for second in range(60):
        feed.receive(frames.level2("snapshot", SNAPSHOT), 100.0 + second)
        out = feed.receive(frames.level2("update", [("bid", "x", "1")]), 100.0 + second)
        asked += sum(type(h) is Resubscribe for h in out)
    assert asked == 2


def test_a_crossed_or_locked_ticker_gives_no_quote():
    feed, frames = session(), Frames()
    assert feed.receive(frames.ticker("100.2", "100.1"), 1.0) == []
    assert feed.receive(frames.ticker("100.1", "100.1"), 1.0) == []
    assert feed.receive(frames.ticker("0", "100.1"), 1.0) == []


def test_an_older_ticker_is_out_of_order_and_a_wrong_stamp_heals():
    feed, frames = session(), Frames()
    assert feed.receive(frames.ticker(at=stamp(10)), 1.0)
    assert feed.receive(frames.ticker(at=stamp(9)), 1.0) == []
    assert feed.receive(frames.ticker(at="2199-01-01T00:00:00Z"), 1.0)
    assert feed.receive(frames.ticker(at=stamp(11)), 1.0), "one stamp from the future must not silence the product"
    assert feed.venue_s == pytest.approx(utc_seconds(stamp(11)))


def test_the_venues_clock_follows_a_leap_that_the_next_frame_confirms():
    feed, frames = session(), Frames()
    feed.receive(frames.heartbeat(stamp(0)), 1.0)
    feed.receive(frames.heartbeat("2026-06-15T00:00:00Z"), 1.0)
    assert feed.venue_s == pytest.approx(utc_seconds(stamp(0)))
    (beat,) = feed.receive(frames.heartbeat("2026-06-15T00:00:01Z"), 1.0)
    assert beat == Heartbeat(utc_seconds("2026-06-15T00:00:01Z"), 1.0, "7")


# other channels


def test_trades_come_oldest_first_with_the_makers_side():
    feed, frames = session(), Frames()
    text = frames.trades([("2026-09-27T16:42:08Z", "2", "1"), ("2026-09-27T16:42:07Z", "1", "1")], "snapshot")
    trades = feed.receive(text, 1.0)
    assert [(t.price, t.maker_side, t.snapshot) for t in trades] == [(1, "BUY", True), (2, "BUY", True)]


def test_the_user_snapshot_ends_with_a_batch_below_fifty():
    def order(n):
        return {
            "order_id": f"o{n}",
            "client_order_id": f"c{n}",
            "product_id": "BTC-USD",
            "order_side": "BUY",
            "status": "OPEN",
        }

    feed, frames = FeedSession((), ("user",), opened_boot_s=0.0), Frames()
    first = feed.receive(frames.frame("user", [{"type": "snapshot", "orders": [order(n) for n in range(50)]}]), 1.0)
    assert [type(h) for h in first] == [OrderUpdate] * 50
    second = feed.receive(frames.frame("user", [{"type": "snapshot", "orders": [order(99)]}]), 1.0)
    assert second[-1] == UserSnapshotDone(51)
    assert second[0].cumulative_size == 0


def test_exactly_fifty_open_orders_end_with_the_first_update():
    row = {"order_id": "o", "product_id": "BTC-USD", "order_side": "BUY", "status": "OPEN"}
    feed, frames = FeedSession((), ("user",), opened_boot_s=0.0), Frames()
    feed.receive(frames.frame("user", [{"type": "snapshot", "orders": [row] * 50}]), 1.0)
    out = feed.receive(frames.frame("user", [{"type": "update", "orders": [row]}]), 1.0)
    assert out[-1] == UserSnapshotDone(50)


def test_an_order_row_that_cannot_be_read_makes_oms_ask_and_spares_the_others():
    good = {"order_id": "o", "product_id": "BTC-USD", "order_side": "BUY", "status": "NEW_WORD", "post_only": "true"}
    bad = {**good, "cumulative_quantity": "1e9"}
    feed, frames = FeedSession((), ("user",), opened_boot_s=0.0), Frames()
    out = feed.receive(frames.frame("user", [{"type": "update", "orders": [bad, good]}]), 1.0)
    assert [type(h) for h in out] == [OrdersLost, OrderUpdate]
    assert out[1].status == "unknown"


def test_errors_end_a_user_session_and_not_a_market_session():
    text = '{"type":"error","message":"authentication failure"}'
    assert session().receive(text, 1.0) == [VenueError("authentication failure")]
    user = FeedSession((), ("user",), opened_boot_s=0.0)
    assert [type(h) for h in user.receive(text, 1.0)] == [VenueError, Reconnect]


def test_status_and_candles_are_told():
    feed, frames = session(), Frames()
    row = {"id": "BTC-USD", "status": "delisted", "status_message": "bye"}
    assert feed.receive(frames.frame("status", [{"type": "snapshot", "products": [row]}]), 1.0) == [
        ProductStatus("BTC-USD", "delisted", "bye")
    ]
    row = {
        "start": "1688998200",
        "high": "3",
        "low": "1",
        "open": "2",
        "close": "2.5",
        "volume": "9",
        "product_id": "BTC-USD",
    }
    assert feed.receive(frames.frame("candles", [{"type": "update", "candles": [row]}]), 1.0) == [
        CandleSeen("BTC-USD", 1688998200, 2.0, 3.0, 1.0, 2.5, 9.0)
    ]


# time


def test_silence_is_measured_by_believed_frames_only():
    feed, frames = session(channels=("ticker",), limits=SessionLimits(silence_s_max=5.0)), Frames()
    feed.receive(frames.heartbeat(), 10.0)
    feed.receive("garbage", 14.9)
    assert feed.tick(15.0) == []
    assert [type(h) for h in feed.tick(15.1)] == [Reconnect]


def test_a_connection_that_brings_nothing_but_heartbeats_is_given_up():
    """It looked alive for ever: no gap, no silence, and no quote again until a person restarted the feed."""
    feed, frames = session(limits=SessionLimits()), Frames()
    feed.receive(frames.level2("snapshot", SNAPSHOT), 1.0)
    told = []
    for second in range(2, 93):
        feed.receive(frames.heartbeat(), float(second))
        told += [second for one in feed.tick(second + 0.5) if isinstance(one, Reconnect)]
    assert told == [91]
    assert feed.over is not None
    assert "heartbeats" in feed.over


def test_a_connection_without_products_may_bring_heartbeats_only():
    empty, frames = FeedSession((), opened_boot_s=0.0), Frames()
    for second in range(1, 300):
        empty.receive(frames.heartbeat(), float(second))
        assert not [one for one in empty.tick(float(second)) if isinstance(one, Reconnect)]
    empty.change_products(["BTC-USD"], 300.0)
    assert not [one for one in empty.tick(300.5) if isinstance(one, Reconnect)]


def test_a_book_without_snapshot_is_asked_for_and_missing_acknowledgements_are_told_once():
    feed, frames = session(limits=SessionLimits(silence_s_max=1e9)), Frames()
    feed.receive(frames.acknowledged({"heartbeats": ["heartbeats"], "level2": ["BTC-USD"]}), 1.0)
    assert [type(h) for h in feed.tick(16.0)] == [NotAcknowledged, Resubscribe]
    assert feed.tick(17.0) == []
    assert feed.tick(27.0) == [Resubscribe("level2", "BTC-USD", "no snapshot")]
    assert feed.tick(28.0) == []


# the book


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["bid", "offer"]), st.integers(9_900, 10_100), st.integers(0, 5)),
        min_size=1,
        max_size=200,
    ),
    st.integers(1, 40),
)
def test_the_incremental_book_equals_one_that_is_counted_anew(changes, every):
    book, bids, asks = Level2Book(), {}, {}
    book.snapshot([], [], [])
    for number, (side, price, size) in enumerate(changes):
        (bids if side == "bid" else asks)[price] = size
        book.update([side], [str(price)], [str(size)])
        bid = max((p for p, s in bids.items() if s), default=None)
        ask = min((p for p, s in asks.items() if s), default=None)
        assert (book.bids.best_price, book.asks.best_price) == (bid, ask)
        if number % every == 0 and bid is not None and ask is not None:
            mid = (bid + ask) / 2
            width = mid * DEPTH_BPS / 10_000
            wanted = (
                sum(p * s for p, s in bids.items() if p >= mid - width),
                sum(p * s for p, s in asks.items() if p <= mid + width),
            )
            assert book.depth_usd() == pytest.approx(wanted, abs=1e-6)


# recorded data


def test_the_recorded_level2_frames_are_digested_without_a_gap_or_a_crossed_book():
    path = DATA / "advanced_trade_l2_BTC-USD_2026-08-24.jsonl"
    if not path.exists():
        pytest.skip(f"no recorded frames at {path}")
    feed, quotes = session(), []
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    for number, line in enumerate(lines):
        out = feed.receive(line, float(number))
        assert not [h for h in out if type(h) in (Gap, Malformed, BookLost, Reconnect)]
        quotes += quotes_of(out)
    assert len(lines) == 12
    assert feed.counts["crossed"] == 0
    assert feed.counts["frames"] == 12
    assert all(q.bid < q.ask for q in quotes)
    assert len(quotes) == 11


def test_the_2021_capture_is_digested_without_a_gap_or_a_crossed_book():
    """The legacy Pro feed in the current shape: its levels, its order and its times are the recorded ones, the envelope
    is ours. Its connection's frames are numbered as they were received."""
    path = DATA / "coinbase_pro_ws_2021-04-17.txt"
    if not path.exists():
        pytest.skip(f"no capture at {path}")
    frames, texts, products = Frames(), [], set()
    for line in path.read_text().splitlines():
        if not line[:1].isdigit() or "{" not in line:
            continue
        row = json.loads(line[line.index("{") :])
        products.add(row.get("product_id"))
        if row["type"] == "snapshot":
            levels = [("bid", p, s) for p, s in row["bids"]] + [("offer", p, s) for p, s in row["asks"]]
            texts.append(frames.level2("snapshot", levels, row["product_id"], "2021-04-17T16:43:37Z"))
        elif row["type"] == "l2update":
            levels = [({"buy": "bid", "sell": "offer"}[side], price, size) for side, price, size in row["changes"]]
            texts.append(frames.level2("update", levels, row["product_id"], row["time"]))
        elif row["type"] == "ticker":
            texts.append(frames.ticker(row["best_bid"], row["best_ask"], row["product_id"], row["time"], row["price"]))
        elif row["type"] == "match":
            texts.append(
                frames.trades([(row["time"], row["price"], row["size"])], product=row["product_id"], at=row["time"])
            )
    products.discard(None)
    feed, told = FeedSession(sorted(products), opened_boot_s=0.0), []
    for text in texts:
        told += feed.receive(text, 1.0)
    assert feed.over is None
    assert (feed.counts["crossed"], feed.counts["malformed"], feed.counts["books_lost"]) == (0, 0, 0)
    assert feed.books_known == len(products) == 10
    assert all(h.bid < h.ask for h in told if type(h) is Quote)
    assert sum(type(h) is Quote for h in told) > 9_000
    assert sum(type(h) is Trade for h in told) == 97


# nothing raises, nothing broken is believed


def _good_frames() -> list[str]:
    frames = Frames()
    order = {
        "order_id": "o",
        "client_order_id": "c",
        "product_id": "BTC-USD",
        "order_side": "BUY",
        "status": "OPEN",
        "cumulative_quantity": "1",
        "avg_price": "100",
        "total_fees": "0.1",
    }
    candle = {
        "start": "1688998200",
        "high": "3",
        "low": "1",
        "open": "2",
        "close": "2.5",
        "volume": "9",
        "product_id": "BTC-USD",
    }
    return [
        frames.level2("snapshot", SNAPSHOT),
        frames.level2("update", [("bid", "100.05", "1")]),
        frames.acknowledged({"level2": ["BTC-USD"]}),
        frames.ticker(),
        frames.heartbeat(),
        frames.trades([("2026-09-27T16:42:07Z", "100", "1")]),
        frames.frame("candles", [{"type": "update", "candles": [candle]}]),
        frames.frame(
            "status", [{"type": "snapshot", "products": [{"id": "BTC-USD", "status": "online", "status_message": ""}]}]
        ),
        frames.frame("user", [{"type": "update", "orders": [order]}]),
    ]


ODD = [
    None,
    "",
    "NaN",
    "Infinity",
    "-1",
    "1e3",
    "1_0",
    " 1",
    "٣",
    "1|2",
    True,
    0,
    -1,
    1.5,
    [],
    {},
    [None],
    {"a": None},
    "x" * 50,
    "9" * 40,
]


def _all_sane(happenings) -> bool:
    for happening in happenings:
        if type(happening) is Quote:
            numbers = [happening.bid, happening.ask, happening.bid_size, happening.ask_size]
            if not (all(n.is_finite() and n >= 0 for n in numbers) and 0 < happening.bid < happening.ask < 10**15):
                return False
        if type(happening) is Trade and not (0 < happening.price < 10**15 and 0 <= happening.size < 10**15):
            return False
        if type(happening) is OrderUpdate and not (
            0 <= happening.cumulative_size < 10**15 and happening.venue_order_id
        ):
            return False
    return True


def _paths(node, here=()):
    yield here
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _paths(value, (*here, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _paths(value, (*here, index))


def _mutants(seed: int, count: int):
    generator = random.Random(seed)
    for _ in range(count):
        texts = _good_frames()
        index = generator.randrange(len(texts))
        frame = json.loads(texts[index])
        for _ in range(generator.randint(1, 2)):
            path = generator.choice(list(_paths(frame)))
            if not path:
                frame = copy.deepcopy(generator.choice(ODD))
                break
            parent = frame
            for step in path[:-1]:
                parent = parent[step]
            if generator.random() < 0.3 and isinstance(parent, dict):
                del parent[path[-1]]
            else:
                parent[path[-1]] = copy.deepcopy(generator.choice(ODD))
        texts[index] = json.dumps(frame)
        yield texts


@pytest.mark.parametrize("seed", range(4))
def test_frames_with_parts_missing_or_odd_never_raise_and_never_become_prices(seed):
    for texts in _mutants(seed, 500):
        feed = FeedSession(
            ("BTC-USD",), ("level2", "ticker", "market_trades", "candles", "status", "user"), opened_boot_s=0.0
        )
        for text in texts:
            assert _all_sane(feed.receive(text, 1.0)), f"seed {seed}: {text}"
        feed.tick(2.0)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.binary(max_size=200),
        st.sampled_from(["[" * 100_000, '{"a":' * 50_000, '{"sequence_num":1e400}']),
    )
)
def test_garbage_never_raises_and_is_never_believed(raw):
    feed = session()
    out = feed.receive(raw, 1.0)
    assert all(type(h) in (Malformed, VenueError) for h in out)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda leaf: (
            st.lists(leaf, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "type",
                        "product_id",
                        "updates",
                        "tickers",
                        "trades",
                        "orders",
                        "side",
                        "price",
                        "products",
                        "candles",
                    ]
                ),
                leaf,
                max_size=5,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(
        [
            "ticker",
            "l2_data",
            "market_trades",
            "candles",
            "heartbeats",
            "subscriptions",
            "status",
            "user",
            "ticker_batch",
        ]
    ),
)
def test_any_json_in_any_channel_never_raises_and_gives_no_quote(events, channel):
    feed = FeedSession(("BTC-USD",), ("level2", "user"), opened_boot_s=0.0)
    out = feed.receive(json.dumps({"channel": channel, "timestamp": STAMP, "sequence_num": 0, "events": events}), 1.0)
    assert not quotes_of(out)


@given(st.text(max_size=40))
def test_a_time_is_rfc_3339_or_refused(text):
    try:
        assert 0 <= venue_seconds(text) < 7.3e9
    except ValueError:
        return


@pytest.mark.parametrize("text", ["2026-06-14T05:35:45Z", "2026-06-14T05:35:45.4Z", "2026-06-14T05:35:45.435813533Z"])
def test_times_are_read_to_the_microsecond(text):
    assert venue_seconds(text) == pytest.approx(utc_seconds(text), abs=2e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-06-14",
        "2026-06-14T05:35:45",
        "2026-13-14T05:35:45Z",
        "2026-06-14T05:35:45.Z",
        "2026-06-14T05:35:45.1_0Z",
        "0001-01-01T00:00:00Z",
        "2026-06-14T05:35:45+00:00",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="time"):
        venue_seconds(text)
