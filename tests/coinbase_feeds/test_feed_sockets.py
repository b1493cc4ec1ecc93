"""The sockets against a real TLS WebSocket server that follows scripts."""

from __future__ import annotations

import asyncio
import select
import threading
from decimal import Decimal

import jwt as pyjwt
import pytest
from attrs import evolve
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exchange.coinbase import feed_socket
from exchange.coinbase.feed_session import SessionLimits
from exchange.coinbase.feed_socket import FeedMailbox, full_jitter_s
from exchange.coinbase.feed_words import Connected, Disconnected, Gap, OrdersLost, Overflowed, Trade
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.market_socket import MarketPublisher, MarketSocket
from exchange.coinbase.user_socket import UserSocket, feed_reset
from exchange.slots import Bell, BellRinger, SlotReader, SlotWriter, boot_s
from tests.coinbase_feeds.scripted_venue import Connection, ScriptedVenue
from tests.support import eventually
from trading.messages.market import Quote
from trading.messages.orders import FeedReset, OrderUpdate


def _key() -> ApiKey:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ApiKey("organizations/o/apiKeys/k", pem.decode())


class Heard:
    def __init__(self):
        self.all = []

    def take(self, happenings):
        self.all += happenings

    def of(self, kind):
        return [happening for happening in self.all if type(happening) is kind]


async def _book_then_beats(connection: Connection) -> None:
    frames = connection.frames
    await connection.say(frames.level2("snapshot", [("bid", "100", "1"), ("offer", "101", "2")]))
    await connection.say(frames.ticker())
    await connection.beat()


def test_every_channel_is_subscribed_at_once_heartbeats_first(tmp_path):
    with ScriptedVenue(tmp_path, _book_then_beats) as venue:
        heard = Heard()
        feed = MarketSocket(venue.endpoints, ["BTC-USD"], heard.take)
        feed.start()
        said = eventually(lambda: [list(c) for c in venue.connections], lambda c: c and len(c[0]) == 6)[0]
        assert said[0] == {"type": "subscribe", "channel": "heartbeats"}
        assert {m["channel"] for m in said} == {"heartbeats", "level2", "ticker", "market_trades", "candles", "status"}
        assert all(m["product_ids"] == ["BTC-USD"] for m in said[1:])
        assert feed.stop()


def test_a_quote_goes_through_its_slot_and_rings_its_bell(tmp_path):
    with ScriptedVenue(tmp_path, _book_then_beats) as venue:
        slots, ringer = SlotWriter(tmp_path / "slots", (3, 4)), BellRinger(tmp_path / "bells")
        bell = Bell(tmp_path / "bells", "symbol:BTC-USD", ["BTC-USD"])
        heard = Heard()
        feed = MarketSocket(venue.endpoints, ["BTC-USD"], MarketPublisher(slots, ringer, heard.take).take)
        feed.start()
        assert select.select([bell], [], [], 5)[0]
        reader = SlotReader(tmp_path / "slots")
        quote = eventually(lambda: reader.get("BTC-USD"), lambda q: q is not None and q.last is not None)
        assert (str(quote.bid), str(quote.ask), quote.feed) == ("100", "101", (3, 4))
        first = quote.alive_boot_s
        renewed = eventually(lambda: reader.get("BTC-USD"), lambda q: q.alive_boot_s > first + 0.2)
        assert renewed.received_boot_s == quote.received_boot_s, "a heartbeat renews liveness, not the price"
        assert feed.stop()
        assert reader.get("BTC-USD").alive_boot_s == 0.0, "without a connection no quote is alive"
        bell.close()


def test_a_sequence_gap_brings_a_new_connection_with_fresh_subscriptions(tmp_path):
    async def script(connection: Connection) -> None:
        frames = connection.frames
        await connection.say(frames.level2("snapshot", [("bid", "100", "1"), ("offer", "101", "2")]))
        if connection.number == 1:
            frames.sequence += 3
        await connection.beat()

    with ScriptedVenue(tmp_path, script) as venue:
        heard = Heard()
        feed = MarketSocket(venue.endpoints, ["BTC-USD"], heard.take)
        feed.start()
        eventually(lambda: len(venue.connections) >= 2 and len(venue.connections[1]) == 6)
        assert heard.of(Gap) == [Gap(1, 4)]
        eventually(lambda: [e.epoch for e in heard.of(Connected)], lambda e: e == [1, 2])
        assert eventually(lambda: feed.health().frame_age_s is not None and feed.health().books_known == 1)
        assert feed.health().counts["gaps"] == 1
        assert feed.stop()


def test_silence_brings_a_new_connection(tmp_path):
    async def script(connection: Connection) -> None:
        if connection.number == 1:
            await connection.say(connection.frames.ticker())
            await asyncio.sleep(30)
        await connection.beat()

    with ScriptedVenue(tmp_path, script) as venue:
        heard = Heard()
        feed = MarketSocket(venue.endpoints, ["BTC-USD"], heard.take, limits=SessionLimits(silence_s_max=0.6))
        feed.start()
        eventually(lambda: len(venue.connections) >= 2 and bool(venue.connections[1]))
        assert "silent" in heard.of(Disconnected)[0].reason
        assert feed.stop()


@pytest.mark.parametrize("ending", ["clean close", "abort"])
def test_however_the_venue_ends_a_connection_another_follows(tmp_path, ending):
    async def script(connection: Connection) -> None:
        await connection.say(connection.frames.ticker())
        if connection.number == 1:
            if ending == "abort":
                connection.socket._req.transport.abort()
            return
        await connection.beat()

    with ScriptedVenue(tmp_path, script) as venue:
        heard = Heard()
        feed = MarketSocket(venue.endpoints, ["BTC-USD"], heard.take)
        feed.start()
        eventually(lambda: len(venue.connections) >= 2 and len(heard.of(Connected)) >= 2)
        assert feed.stop()


def test_broken_frames_never_end_the_feed(tmp_path):
    async def script(connection: Connection) -> None:
        frames = connection.frames
        await connection.say(
            "", "{", "[]", "null", '{"sequence_num":0}', "\ud7ff", '{"type":"error","message":"no such channel"}'
        )
        await connection.say(frames.frame("new_channel", []), frames.ticker())
        await connection.beat()

    with ScriptedVenue(tmp_path, script) as venue:
        heard = Heard()
        feed = MarketSocket(venue.endpoints, ["BTC-USD"], heard.take)
        feed.start()
        eventually(lambda: heard.of(Quote))
        assert len(venue.connections) == 1
        assert feed.stop()


def test_a_raising_sink_is_counted_and_the_feed_goes_on(tmp_path):
    with ScriptedVenue(tmp_path, _book_then_beats) as venue:
        calls = []

        def sink(happenings):
            calls.append(happenings)
            raise RuntimeError("a reader's bug")

        feed = MarketSocket(venue.endpoints, ["BTC-USD"], sink)
        feed.start()
        eventually(lambda: len(calls) > 4)
        assert feed.counts["sink_errors"] >= 4
        assert len(venue.connections) == 1
        assert feed.stop()


def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with ScriptedVenue(tmp_path, _book_then_beats) as venue, ScriptedVenue(other, _book_then_beats) as stranger:
        endpoints = venue.endpoints.__class__(
            rest="x", ws_market=venue.endpoints.ws_market, ws_user="x", ca_file=str(stranger.ca_file)
        )
        heard = Heard()
        feed = MarketSocket(endpoints, ["BTC-USD"], heard.take)
        feed.start()
        reason = eventually(lambda: heard.of(Disconnected))[0].reason
        assert "ertificate" in reason
        assert not venue.connections
        assert feed.stop()


def test_products_change_on_the_living_connection(tmp_path):
    with ScriptedVenue(tmp_path, _book_then_beats) as venue:
        heard = Heard()
        feed = MarketSocket(venue.endpoints, ["BTC-USD", "ETH-USD"], heard.take, channels=("level2",))
        feed.start()
        eventually(lambda: venue.connections and len(venue.connections[0]) == 2)
        feed.set_products(["BTC-USD", "SOL-USD"])
        said = eventually(lambda: venue.connections[0][2:], lambda m: len(m) == 2)
        assert said == [
            {"type": "unsubscribe", "channel": "level2", "product_ids": ["ETH-USD"]},
            {"type": "subscribe", "channel": "level2", "product_ids": ["SOL-USD"]},
        ]
        assert len(venue.connections) == 1
        assert feed.stop()


ORDER = {
    "avg_price": "60000.1",
    "client_order_id": "bh-abcd-1",
    "cumulative_quantity": "0.1",
    "leaves_quantity": "0.2",
    "order_id": "1111",
    "order_side": "SELL",
    "product_id": "BTC-USDC",
    "status": "CANCEL_QUEUED",
    "total_fees": "24.00",
}


def test_the_user_feed_signs_each_subscription_anew_and_tells_orders_cumulatively(tmp_path):
    async def script(connection: Connection) -> None:
        frames = connection.frames
        await connection.say(
            frames.frame("user", [{"type": "snapshot", "orders": [ORDER], "positions": {}}], client_id="")
        )
        if connection.number == 1:
            await asyncio.sleep(0.2)
            return
        await connection.beat()

    key = _key()
    with ScriptedVenue(tmp_path, script) as venue:
        heard = Heard()
        feed = UserSocket(venue.endpoints, key, heard.take, venue_clock=lambda: 1_800_000_000.0)
        feed.start()
        eventually(lambda: len(venue.connections) >= 2 and len(venue.connections[1]) == 2)
        messages = [m for c in venue.connections[:2] for m in c]
        assert {m["channel"] for m in messages} == {"heartbeats", "user"}
        assert len({m["jwt"] for m in messages}) == 4
        claims = pyjwt.decode(messages[0]["jwt"], options={"verify_signature": False})
        assert (claims["nbf"], claims["exp"]) == (1_800_000_000, 1_800_000_120)
        update = eventually(lambda: heard.of(OrderUpdate))[0]
        assert (update.product_id, update.status, str(update.cumulative_size)) == ("BTC-USD", "pending_cancel", "0.1")
        resets = [reset for reset in (feed_reset(h, 0) for h in heard.all) if reset]
        assert resets[:3] == [
            FeedReset(epoch=1, connected=True),
            FeedReset(epoch=1, connected=False),
            FeedReset(epoch=2, connected=True),
        ]
        assert feed.stop()


def test_an_authentication_failure_brings_a_new_token_on_a_new_connection(tmp_path):
    async def script(connection: Connection) -> None:
        if connection.number == 1:
            await connection.say('{"type":"error","message":"authentication failure"}')
        await connection.beat()

    with ScriptedVenue(tmp_path, script) as venue:
        heard = Heard()
        feed = UserSocket(venue.endpoints, _key(), heard.take)
        feed.start()
        eventually(lambda: len(venue.connections) >= 2 and len(venue.connections[1]) == 2)
        assert "authentication failure" in heard.of(Disconnected)[0].reason
        assert feed.stop()


def test_a_dead_user_host_is_replaced_by_the_market_host(tmp_path, monkeypatch):
    monkeypatch.setattr(feed_socket, "full_jitter_s", lambda attempt, draw: 0.05)
    with ScriptedVenue(tmp_path, _book_then_beats) as venue:
        heard = Heard()
        dead = evolve(venue.endpoints, ws_user="wss://127.0.0.1:1/")
        feed = UserSocket(dead, _key(), heard.take)
        feed.start()
        eventually(lambda: venue.connections and len(venue.connections[0]) == 2)
        assert len(heard.of(Disconnected)) == 3
        assert feed.stop()


def test_an_unusable_key_is_told_in_a_sentence_without_the_key(tmp_path):
    with ScriptedVenue(tmp_path, _book_then_beats) as venue:
        heard = Heard()
        key = ApiKey("name", "my very secret text")
        feed = UserSocket(venue.endpoints, key, heard.take)
        feed.start()
        reason = eventually(lambda: heard.of(Disconnected))[0].reason
        assert "API secret" in reason
        assert "very secret" not in reason + repr(key)
        assert feed.stop()


def test_the_mailbox_keeps_the_newest_quote_and_everything_else_in_order():
    mailbox = FeedMailbox()
    trades = [Trade("BTC-USD", str(n), None, None, "BUY", float(n)) for n in range(3)]
    one = Decimal(1)
    quotes = [Quote("BTC-USD", one, one, one, one, float(n), 0.0, 0.0) for n in range(3)]
    for trade, quote in zip(trades, quotes, strict=True):
        mailbox.put([trade, quote])
    assert select.select([mailbox], [], [], 1)[0]
    assert mailbox.drain() == [*trades, quotes[-1]]
    assert not select.select([mailbox], [], [], 0)[0]
    assert mailbox.drain() == []


def test_a_full_mailbox_says_that_it_dropped():
    mailbox = FeedMailbox(limit=10)
    mailbox.put([OrdersLost(str(n)) for n in range(11)])
    assert mailbox.drain() == [Overflowed(11)]


def test_no_wake_up_is_lost_between_two_threads():
    mailbox, seen = FeedMailbox(), []
    total = 20_000

    def write():
        for n in range(total):
            mailbox.put([n])

    writer = threading.Thread(target=write)
    writer.start()
    deadline = boot_s() + 20
    while len(seen) < total and boot_s() < deadline:
        assert select.select([mailbox], [], [], 5)[0], "bytes and contents disagree"
        seen += mailbox.drain()
    writer.join()
    assert seen == list(range(total))


def test_backoff_is_bounded_and_spread():
    assert [full_jitter_s(n, 1.0) for n in (0, 1, 3, 6, 500)] == [0.5, 1.0, 4.0, 30.0, 30.0]
    assert full_jitter_s(5, 0.0) == 0.0
