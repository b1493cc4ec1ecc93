"""The sockets: recorded frames and ours have one shape, one counter per connection, and Coinbase's own clients believe them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
from decimal import Decimal as D

import aiohttp
import pytest
from aiohttp import web
from coinbase.jwt_generator import build_ws_jwt
from coinbase.websocket import WSClient, WSUserClient

from tests.simulator.test_contract_rest import differences
from tests.simulator.venue_process import SHARED, needs_shared
from tests.support import eventually


class ClosedError(Exception):
    """The venue closed the connection; the argument is its close code."""


L2_FRAMES = SHARED / "ws_raw" / "advanced_trade_l2_BTC-USD_2026-08-24.jsonl"


class Socket:
    """A plain client that speaks only what Coinbase documents; its own event loop makes it synchronous."""

    def __init__(self, venue, host="market"):
        self.venue = venue
        self.loop = asyncio.new_event_loop()
        self.frames = []
        self.loop.run_until_complete(self._open(venue.line[f"ws_{host}"], venue.line["ca"]))

    async def _open(self, url, ca):
        self.session = aiohttp.ClientSession()
        context = ssl.create_default_context(cafile=ca)
        self.wire = await self.session.ws_connect(url, ssl=context, max_msg_size=10 << 20)

    def send(self, text):
        self.loop.run_until_complete(self.wire.send_str(text))

    def ask(self, kind, channel, products=(), *, signed=False):
        message = {"type": kind, "channel": channel}
        if products:
            message["product_ids"] = list(products)
        if signed:
            message["jwt"] = build_ws_jwt(self.venue.line["api_key"], self.venue.line["api_secret"])
        self.send(json.dumps(message))

    def read(self, timeout=5.0):
        message = self.loop.run_until_complete(self.wire.receive(timeout))
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ClosedError(message.data if message.type is aiohttp.WSMsgType.CLOSE else self.wire.close_code)
        frame = json.loads(message.data)
        self.frames.append(frame)
        return frame

    def until(self, wanted, patience_s=8.0):
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            frame = self.read()
            if wanted(frame):
                return frame
        raise AssertionError(f"not within {patience_s} s: {self.frames[-3:]}")

    def __enter__(self):
        return self

    async def _close(self):
        await self.wire.close()
        await self.session.close()

    def __exit__(self, *_):
        self.loop.run_until_complete(self._close())
        self.loop.close()


def kind_of(frame):
    return frame.get("channel"), frame["events"][0].get("type") if frame.get("events") else None


def digest(frames, product="BTC-USD"):
    """Follow a level2 stream as a client must; the books, and what is wrong with them."""
    books, wrong, expected = {"bid": {}, "offer": {}}, [], None
    for frame in frames:
        if expected is not None and frame["sequence_num"] != expected:
            wrong.append(f"gap before {frame['sequence_num']}")
        expected = frame["sequence_num"] + 1
        if frame["channel"] != "l2_data":
            continue
        for event in frame["events"]:
            if event["product_id"] != product:
                continue
            if event["type"] == "snapshot":
                books = {"bid": {}, "offer": {}}
            for row in event["updates"]:
                price, size = D(row["price_level"]), D(row["new_quantity"])
                books[row["side"]].pop(price, None)
                if size:
                    books[row["side"]][price] = size
        if books["bid"] and books["offer"] and max(books["bid"]) >= min(books["offer"]):
            wrong.append(f"crossed at {frame['sequence_num']}")
    return books, wrong


@needs_shared
def test_the_recorded_level2_frames_are_digested_without_a_gap_or_a_crossed_book():
    frames = [json.loads(line) for line in L2_FRAMES.read_text().splitlines()]
    books, wrong = digest(frames)
    assert wrong == []
    assert len(books["bid"]) > 10
    assert digest([frames[0], *frames[2:]])[1] == ["gap before 2"], "the check can fail"


@needs_shared
def test_level2_frames_have_the_recorded_shape_and_order(venue):
    recorded = [json.loads(line) for line in L2_FRAMES.read_text().splitlines()]
    with Socket(venue) as socket:
        socket.ask("subscribe", "level2", ["BTC-USD"])
        snapshot, second = socket.read(), socket.read()
        update = socket.until(lambda f: kind_of(f) == ("l2_data", "update") and f["events"][0]["updates"])
    assert kind_of(snapshot) == ("l2_data", "snapshot")
    assert second["channel"] == "subscriptions", "the acknowledgement follows the data"
    assert differences(recorded[0], snapshot) == []
    assert differences(recorded[7], update) == []
    assert differences(recorded[3], second) == []
    assert list(recorded[0]) == list(snapshot)
    assert list(recorded[7]["events"][0]["updates"][0]) == list(update["events"][0]["updates"][0])
    sides = [row["side"] for row in snapshot["events"][0]["updates"]]
    assert sides == sorted(sides), "bids first"
    bids = [D(row["price_level"]) for row in snapshot["events"][0]["updates"] if row["side"] == "bid"]
    assert bids == sorted(bids, reverse=True)


def test_one_counter_over_all_channels_of_a_connection_and_no_crossed_book(venue):
    with Socket(venue) as socket:
        for channel in ("level2", "ticker", "market_trades", "candles", "status", "ticker_batch"):
            socket.ask("subscribe", channel, ["BTC-USD", "ETH-USD"])
        socket.ask("subscribe", "heartbeats")
        wanted = {
            *(("l2_data", kind) for kind in ("snapshot", "update")),
            *(("ticker", kind) for kind in ("snapshot", "update")),
            *(("market_trades", kind) for kind in ("snapshot", "update")),
            *(("candles", kind) for kind in ("snapshot", "update")),
            ("status", "snapshot"),
            ("ticker_batch", "snapshot"),
            ("heartbeats", None),
            ("subscriptions", None),
        }
        socket.until(lambda _: wanted <= {kind_of(frame) for frame in socket.frames}, 12)
    for product in ("BTC-USD", "ETH-USD"):
        assert digest(socket.frames, product)[1] == []
    assert [frame["sequence_num"] for frame in socket.frames] == list(range(len(socket.frames)))
    assert all("client_id" not in frame for frame in socket.frames)
    acks = [frame["events"][0]["subscriptions"] for frame in socket.frames if frame["channel"] == "subscriptions"]
    assert [len(ack) for ack in acks] == list(range(1, 8)), "acknowledgements are cumulative"


TICKER = {
    "channel": "ticker", "timestamp": "2026-06-14T05:35:45.435813533Z", "sequence_num": 16,
    "events": [{"type": "update", "tickers": [{
        "type": "ticker", "product_id": "BTC-USD", "price": "64281.7", "volume_24_h": "3974.98", "low_24_h": "63454",
        "high_24_h": "64727.27", "low_52_w": "59073.01", "high_52_w": "126296", "price_percent_chg_24_h": "1.2147",
        "best_bid": "64281.7", "best_ask": "64281.71", "best_bid_quantity": "0.21558849", "best_ask_quantity": "0.02287045",
    }]}],
}  # fmt: skip
DOCUMENTED = (
    TICKER,
    {"channel": "market_trades", "timestamp": "t", "sequence_num": 4, "events": [{"type": "update", "trades": [
        {"product_id": "BTC-USD", "trade_id": "1", "price": "84451.04", "size": "0.1", "time": "t", "side": "SELL"}]}]},
    {"channel": "candles", "timestamp": "t", "sequence_num": 0, "events": [{"type": "update", "candles": [
        {"start": "1688998200", "high": "1", "low": "1", "open": "1", "close": "1", "volume": "0.2", "product_id": "ETH-USD"}]}]},
    {"channel": "status", "timestamp": "t", "sequence_num": 0, "events": [{"type": "snapshot", "products": [
        {"product_type": "SPOT", "id": "BTC-USD", "base_currency": "BTC", "quote_currency": "USD", "base_increment": "1",
         "quote_increment": "0.01", "display_name": "BTC/USD", "status": "online", "status_message": "",
         "min_market_funds": "1"}]}]},
    {"channel": "heartbeats", "timestamp": "t", "sequence_num": 3, "events": [
        {"current_time": "2026-09-07 23:37:22.674409 +0000 UTC m=+139651.27", "heartbeat_counter": "139651"}]},
)  # fmt: skip


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda frame: frame["channel"])
def test_a_frame_has_every_documented_field(venue, documented):
    with Socket(venue) as socket:
        socket.ask("subscribe", documented["channel"], [] if documented["channel"] == "heartbeats" else ["ETH-USD"])
        kind = documented["events"][0].get("type")
        frame = socket.until(lambda f: kind_of(f) == (documented["channel"], kind))
    assert differences(documented, frame) == []


def test_the_user_host_says_client_id_counts_heartbeats_as_numbers_and_names_the_user(venue):
    with Socket(venue, "user") as socket:
        socket.ask("subscribe", "user", ["BTC-USD"], signed=True)
        socket.ask("subscribe", "heartbeats")
        socket.until(lambda f: f["channel"] == "heartbeats")
    first, second = socket.frames[:2]
    assert kind_of(first) == ("user", "snapshot")
    assert list(first) == ["channel", "client_id", "timestamp", "sequence_num", "events"]
    assert first["client_id"] == ""
    assert list(second["events"][0]["subscriptions"]) == ["user"]
    assert len(second["events"][0]["subscriptions"]["user"][0]) == 36
    assert isinstance(socket.frames[-1]["events"][0]["heartbeat_counter"], int)


def test_the_user_channel_is_served_on_the_market_host_too_and_tells_cumulative_orders(venue):
    client = venue.client()
    name = f"user-{time.time_ns()}"
    with Socket(venue) as socket:
        socket.ask("subscribe", "user", signed=True)
        socket.until(lambda f: f["channel"] == "subscriptions")
        answer = client.limit_order_gtc_buy(name, "SOL-USD", base_size="0.1", limit_price="20")
        order_id = answer.success_response["order_id"]
        opened = socket.until(lambda f: name in json.dumps(f))
        client.cancel_orders([order_id])
        queued = socket.until(lambda f: name in json.dumps(f))
        closed = socket.until(lambda f: name in json.dumps(f))
    row = opened["events"][0]["orders"][0]
    assert (row["status"], row["post_only"], row["leaves_quantity"]) == ("OPEN", "false", "0.1")
    assert D(row["outstanding_hold_amount"]) == 2 * D("1.012")
    assert queued["events"][0]["orders"][0]["status"] == "CANCEL_QUEUED"
    assert closed["events"][0]["orders"][0]["status"] == "CANCELLED"
    assert closed["events"][0]["orders"][0]["leaves_quantity"] == "0"


def test_a_snapshot_of_open_orders_comes_in_batches_of_fifty(venue):
    client = venue.client()
    run = f"batch-{time.time_ns()}"
    placed = [
        client.limit_order_gtc_buy(f"{run}-{n}", "AVAX-USD", base_size="0.5", limit_price="2.5").success_response[
            "order_id"
        ]
        for n in range(60)
    ]
    with Socket(venue, "user") as socket:
        socket.ask("subscribe", "user", ["AVAX-USD"], signed=True)
        socket.until(lambda f: f["channel"] == "subscriptions")
    sizes = [len(frame["events"][0]["orders"]) for frame in socket.frames if kind_of(frame) == ("user", "snapshot")]
    client.cancel_orders(placed)
    assert sizes == [50, 10]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "subscribe", "channel": "nonsense", "product_ids": ["BTC-USD"]}, "authentication failure"),
        ({"type": "subscribe", "channel": "user"}, "authentication failure"),
        ({"type": "subscribe", "channel": "user", "jwt": "a.b.c"}, "authentication failure"),
        ({"type": "subscribe", "channel": "level2", "product_ids": ["NOPE-USD"]}, "failure to subscribe"),
        ({"type": "subscribe", "channel": "level2", "product_ids": "BTC-USD"}, "failure to subscribe"),
        ("not json", "failure to subscribe"),
    ],
)
def test_a_subscription_that_cannot_be_is_an_error_frame(venue, message, words):
    with Socket(venue) as socket:
        socket.send(message if isinstance(message, str) else json.dumps(message))
        assert socket.read() == {"type": "error", "message": words}


def test_usdc_names_are_told_under_usd_on_market_channels(venue):
    with Socket(venue) as socket:
        socket.ask("subscribe", "ticker", ["BTC-USDC"])
        assert socket.read()["events"][0]["tickers"][0]["product_id"] == "BTC-USD"


def test_unsubscribing_ends_a_channel_and_a_connection_without_channels_may_subscribe_again(venue):
    with Socket(venue) as socket:
        socket.ask("subscribe", "level2", ["BTC-USD"])
        socket.ask("subscribe", "heartbeats")
        socket.until(lambda f: f["channel"] == "heartbeats")
        socket.ask("unsubscribe", "level2")
        ack = socket.until(
            lambda f: f["channel"] == "subscriptions" and "level2" not in f["events"][0]["subscriptions"]
        )
        after = len(socket.frames)
        socket.until(lambda f: f["channel"] == "heartbeats")
        assert ack["events"][0]["subscriptions"] == {"heartbeats": ["heartbeats"]}
        assert {frame["channel"] for frame in socket.frames[after:]} == {"heartbeats"}
        socket.ask("unsubscribe", "heartbeats")
        socket.until(lambda f: f["channel"] == "subscriptions" and not f["events"][0]["subscriptions"])
        socket.ask("subscribe", "ticker", ["BTC-USD"])
        assert socket.read()["channel"] == "ticker"


def test_our_own_order_is_seen_in_the_book_everybody_sees(venue):
    client = venue.client()
    with Socket(venue) as socket:
        socket.ask("subscribe", "level2", ["SOL-USD"])
        socket.read()
        order_id = client.limit_order_gtc_buy(
            f"shown-{time.time_ns()}", "SOL-USD", base_size="1.5", limit_price="20.01"
        ).success_response["order_id"]
        socket.until(lambda f: '"20.01", "new_quantity": "1.5"' in json.dumps(f))
        client.cancel_orders([order_id])
        socket.until(lambda f: '"20.01", "new_quantity": "0"' in json.dumps(f))


def test_a_snapshot_may_be_as_large_as_coinbases(venue):
    venue.door("POST", "market", {"kind": "deep_book", "product_id": "ETH-USD", "levels": 22_000})
    try:
        eventually(lambda: len(venue.client().get_product_book("ETH-USD").pricebook.bids) > 20_000, patience_s=5)
        with Socket(venue) as socket:
            socket.ask("subscribe", "level2", ["ETH-USD"])
            snapshot = socket.read()
            socket.until(lambda f: kind_of(f) == ("l2_data", "update"))
        assert 4_000_000 < len(json.dumps(snapshot, separators=(",", ":"))) < 10 << 20
        assert digest(socket.frames, "ETH-USD")[1] == []
    finally:
        venue.door("POST", "market", {"kind": "deep_book", "product_id": "ETH-USD", "levels": 0})


def test_a_connection_is_closed_when_it_does_not_subscribe_in_time_or_stays_quiet_too_long(tmp_path, monkeypatch):
    """5 s to subscribe, 60 to 90 s of quiet at Coinbase (75 s here); the same code with a shorter patience."""
    from exchange.simulator import sockets
    from exchange.simulator.assembly import assemble
    from exchange.simulator.server import parser

    assert (sockets.SUBSCRIBE_WITHIN_S, sockets.IDLE_CLOSE_S) == (5.0, 75.0)
    monkeypatch.setattr(sockets, "IDLE_CLOSE_S", 1.0)
    monkeypatch.setattr(sockets, "SUBSCRIBE_WITHIN_S", 0.5)
    assembled = assemble(parser().parse_args(["--data-dir", str(tmp_path), "--scenario", "quiet"]))
    hub = sockets.Hub(assembled.running)

    async def scene():
        async def serve(request):
            return await hub.serve(request, "market")

        app = web.Application()
        app.router.add_get("/", serve)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as session:
            address = f"ws://127.0.0.1:{runner.addresses[0][1]}/"
            async with session.ws_connect(address) as silent:
                said = (await silent.receive(5)).type
            async with session.ws_connect(address) as quiet, session.ws_connect(address) as alive:
                await quiet.send_json({"type": "subscribe", "channel": "status", "product_ids": ["BTC-USD"]})
                await alive.send_json({"type": "subscribe", "channel": "heartbeats"})
                deadline = asyncio.get_running_loop().time() + 6
                while not quiet.closed and asyncio.get_running_loop().time() < deadline:
                    hub.pulse()
                    with contextlib.suppress(TimeoutError):
                        await quiet.receive(0.05)
                    with contextlib.suppress(TimeoutError):
                        await alive.receive(0.01)
                seen = said, quiet.close_code, alive.closed
        await runner.cleanup()
        return seen

    assert asyncio.run(scene()) == (aiohttp.WSMsgType.CLOSE, 1000, False)
    os.close(assembled.lock)


def test_the_unmodified_websocket_clients_run(venue):
    line, heard, told = venue.line, [], []
    options = {"api_key": line["api_key"], "api_secret": line["api_secret"]}
    market = WSClient(**options, base_url=line["ws_market"], on_message=heard.append)
    user = WSUserClient(**options, base_url=line["ws_user"], on_message=told.append)
    market.open()
    user.open()
    try:
        market.subscribe(["BTC-USD"], ["level2", "ticker", "market_trades", "heartbeats"])
        user.subscribe(["BTC-USD"], ["user", "heartbeats"])
        eventually(
            lambda: {json.loads(text)["channel"] for text in heard},
            lambda seen: {"l2_data", "ticker", "market_trades", "heartbeats"} <= seen,
        )
        eventually(lambda: [json.loads(text)["channel"] for text in told], lambda seen: "subscriptions" in seen)
        name = f"ws-{time.time_ns()}"
        venue.client().limit_order_ioc_buy(name, "BTC-USD", base_size="0.0001", limit_price="500000")
        rows = eventually(
            lambda: [
                order
                for text in list(told)
                for event in json.loads(text)["events"]
                for order in event.get("orders", [])
                if order["client_order_id"] == name
            ],
            lambda found: found and found[-1]["status"] == "FILLED",
        )
        assert rows[-1]["cumulative_quantity"] == "0.0001"
        assert digest([json.loads(text) for text in heard])[1] == []
    finally:
        with contextlib.suppress(Exception):
            market.close()
        with contextlib.suppress(Exception):
            user.close()
