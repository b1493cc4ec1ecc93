"""A subscription that ended for one product alone, while the connection lives: its book must not look alive for ever."""

from __future__ import annotations

import pytest

from exchange.coinbase.feed_session import FeedSession
from exchange.coinbase.feed_words import BookLost, QuoteEnded, Resubscribe
from exchange.coinbase.market_socket import MarketPublisher
from exchange.slots import BellRinger, SlotReader, SlotWriter
from tests.coinbase_feeds.scripted_venue import Frames
from trading.messages.market import Quote

SNAPSHOT = [("bid", "100", "1"), ("bid", "99.9", "2"), ("offer", "100.1", "3"), ("offer", "100.5", "4")]
CHANNELS = ("heartbeats", "level2")


def two_books():
    feed, frames = FeedSession(("BTC-USD", "ETH-USD"), CHANNELS, opened_boot_s=0.0), Frames()
    feed.receive(frames.acknowledged({"heartbeats": ["heartbeats"], "level2": list(feed.products)}), 0.5)
    for product in feed.products:
        feed.receive(frames.level2("snapshot", SNAPSHOT, product), 1.0)
    return feed, frames


def seconds_with_bitcoin_only(feed, frames, first, last):
    """What the feed wants while every second brings a heartbeat and an update of BTC-USD, none of ETH-USD."""
    told = []
    for second in range(first, last):
        feed.receive(frames.heartbeat(), float(second))
        feed.receive(frames.level2("update", [("bid", "99.8", str(second))]), float(second))
        told += [(second, one) for one in feed.tick(second + 0.5)]
    return told


def test_a_book_that_is_silent_while_others_move_is_asked_for_and_lost_when_nobody_answers():
    feed, frames = two_books()
    told = seconds_with_bitcoin_only(feed, frames, 2, 73)
    assert [(second, type(one), one.product_id) for second, one in told] == [
        (61, Resubscribe, "ETH-USD"),
        (72, BookLost, "ETH-USD"),
    ]
    assert feed.books_known == 1
    again = [one for _, one in seconds_with_bitcoin_only(feed, frames, 73, 100)]
    assert again, "it is asked for until it comes"
    assert {(type(one), one.product_id) for one in again} == {(Resubscribe, "ETH-USD")}


def test_a_quiet_market_answers_with_a_snapshot_and_is_asked_once_a_minute():
    feed, frames = two_books()
    asked = []
    for second in range(2, 302):
        for _, one in seconds_with_bitcoin_only(feed, frames, second, second + 1):
            assert isinstance(one, Resubscribe), one
            asked.append(second)
            (quote,) = feed.receive(frames.level2("snapshot", SNAPSHOT, "ETH-USD"), second + 0.6)
            assert isinstance(quote, Quote)
    assert 3 <= len(asked) <= 5
    assert feed.books_known == 2


def test_quiet_markets_that_are_asked_for_in_turn_do_not_keep_a_lost_book_from_being_asked_for_again():
    """Ten quiet ones answer with a snapshot each minute, one each 6 s: the lost one waited for a pause among them."""
    quiet = [f"Q{n}-USD" for n in range(10)]
    feed, frames = FeedSession(("BTC-USD", "ETH-USD", *quiet), CHANNELS, opened_boot_s=0.0), Frames()
    for product in ("BTC-USD", "ETH-USD"):
        feed.receive(frames.level2("snapshot", SNAPSHOT, product), 1.0)
    for second, product in enumerate(quiet):
        feed.receive(frames.level2("snapshot", SNAPSHOT, product), 1.0 + 6 * second)
        seconds_with_bitcoin_only(feed, frames, 2 + 6 * second, 8 + 6 * second)
    asked = []  # after the first time, at 61 s
    for second in range(62, 300):
        for _, one in seconds_with_bitcoin_only(feed, frames, second, second + 1):
            if one.product_id in quiet:
                feed.receive(frames.level2("snapshot", SNAPSHOT, one.product_id), second + 0.6)
            elif isinstance(one, Resubscribe):
                asked.append(second)
    assert len(asked) > 10


def test_a_ticker_that_disagrees_with_a_silent_book_is_believed_instead_of_it():
    """A trade's ticker stamped the old prices of a book without subscription as fresh ones: no stop would have fired."""
    feed, frames = FeedSession(("BTC-USD",), opened_boot_s=0.0), Frames()
    feed.receive(frames.level2("snapshot", SNAPSHOT), 1.0)
    (follows,) = feed.receive(frames.ticker("90", "90.1"), 5.0)
    assert (str(follows.bid), str(follows.ask)) == ("100", "100.1"), "its update is on its way"
    (disagrees,) = feed.receive(frames.ticker("90", "90.1"), 7.0)
    assert (str(disagrees.bid), str(disagrees.ask), disagrees.depth_bid_usd) == ("90", "90.1", None)
    (agrees,) = feed.receive(frames.ticker("100.00", "100.10"), 8.0)
    assert agrees.depth_bid_usd is not None, "a quiet book, confirmed"
    feed.receive(frames.level2("update", [("bid", "100.05", "1")]), 9.0)
    (heard,) = feed.receive(frames.ticker("90", "90.1"), 10.0)
    assert str(heard.bid) == "100.05"


def test_a_lost_book_ends_the_liveness_of_its_quote_and_of_no_other(tmp_path):
    """Heartbeats renewed it: exits went by a frozen price and never asked by REST."""
    slots, reader = SlotWriter(tmp_path / "slots"), SlotReader(tmp_path / "slots")
    publisher = MarketPublisher(slots, BellRinger(tmp_path / "bells"), lambda _: None)
    feed, frames = two_books()
    for product in feed.products:
        publisher.take(feed.receive(frames.level2("snapshot", SNAPSHOT, product), 1.0))
    publisher.take(feed.receive(frames.heartbeat(), 2.0))
    assert {reader.get(name).alive_boot_s for name in feed.products} == {2.0}
    crossing = frames.level2("update", [("bid", "100.3", "1")], "ETH-USD")
    publisher.take(feed.receive(crossing, 2.1))
    for _ in range(2):
        publisher.take(feed.receive(frames.level2("update", [], "ETH-USD"), 2.2))
    publisher.take(feed.receive(frames.heartbeat(), 3.0))
    assert reader.get("ETH-USD").alive_boot_s == 0.0
    assert reader.get("BTC-USD").alive_boot_s == 3.0
    publisher.take(feed.receive(frames.level2("snapshot", SNAPSHOT, "ETH-USD"), 4.0))
    assert reader.get("ETH-USD").alive_boot_s == 4.0


@pytest.mark.parametrize("side", ["bid", "offer"])
def test_a_market_with_one_side_ends_the_liveness_of_its_last_quote_until_there_are_two_again(tmp_path, side):
    """Without asks there was no new quote while bids fell, and heartbeats kept the old one alive for the stop."""
    slots, reader = SlotWriter(tmp_path / "slots"), SlotReader(tmp_path / "slots")
    publisher = MarketPublisher(slots, BellRinger(tmp_path / "bells"), lambda _: None)
    feed, frames = two_books()
    for product in feed.products:
        publisher.take(feed.receive(frames.level2("snapshot", SNAPSHOT, product), 1.0))
    removed = [(side, price, "0") for at, price, _ in SNAPSHOT if at == side]
    told = feed.receive(frames.level2("update", removed, "ETH-USD"), 2.0)
    publisher.take(told)
    assert [type(one) for one in told] == [QuoteEnded]
    assert feed.receive(frames.level2("update", [], "ETH-USD"), 2.5) == [], "told once"
    publisher.take(feed.receive(frames.heartbeat(), 3.0))
    assert (reader.get("ETH-USD").alive_boot_s, reader.get("BTC-USD").alive_boot_s) == (0.0, 3.0)
    back = [one for one in SNAPSHOT if one[0] == side]
    publisher.take(feed.receive(frames.level2("update", back, "ETH-USD"), 4.0))
    assert reader.get("ETH-USD").alive_boot_s == 4.0
