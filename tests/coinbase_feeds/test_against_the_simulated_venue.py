"""The feed side against the whole simulated venue: feeds, recording, download, status, paper."""

from __future__ import annotations

import json
import ssl
import threading
import time
import urllib.request
from decimal import Decimal

import pytest

from exchange import paper as paper_module
from exchange.bar_cache import BarReader, BarWriter
from exchange.coinbase.bar_desk import BarDesk
from exchange.coinbase.bars import BarBuilder
from exchange.coinbase.download import PublicVenue, download, read_file
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.exchange_status import read_status_once
from exchange.coinbase.feed_records import FeedRecorder, ReadingReport, read_recording, replay
from exchange.coinbase.feed_session import SessionLimits
from exchange.coinbase.feed_words import (
    BookLost,
    Connected,
    Disconnected,
    Gap,
    Malformed,
    ProductStatus,
    Reconnect,
    Trade,
)
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.market_socket import MarketPublisher, MarketSocket
from exchange.coinbase.transport import VenueSession, boot_s
from exchange.coinbase.user_socket import UserSocket
from exchange.simulator.market import Move
from exchange.slots import BellRinger, SlotReader, SlotWriter
from tests.coinbase_feeds.conftest import start_venue, stop_venue
from tests.support import eventually
from trading.messages.market import Quote
from trading.messages.orders import OrderUpdate


@pytest.fixture(scope="session")
def endpoints(venue_line):
    return Endpoints.simulated(venue_line)


class Heard:
    def __init__(self):
        self.all = []

    def take(self, happenings):
        self.all += happenings

    def of(self, *kinds):
        return [happening for happening in self.all if type(happening) in kinds]


def back_door(endpoints: Endpoints, path: str, body: dict | list | None = None, method: str | None = None):
    context = ssl.create_default_context(cafile=endpoints.ca_file)
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        endpoints.back_door + path, data=data, headers={"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def post_order(
    endpoints, line, client_order_id: str, side: str, size: str, price: str, product="BTC-USD", kind="limit_limit_gtc"
):
    session = VenueSession(endpoints, ApiKey(line["api_key"], line["api_secret"]))
    configuration = {"base_size": size, "limit_price": price}
    if kind == "limit_limit_gtc":
        configuration["post_only"] = False
    body = {
        "client_order_id": client_order_id,
        "product_id": product,
        "side": side,
        "order_configuration": {kind: configuration},
    }
    reply = session.send("POST", "/orders", deadline_boot_s=boot_s() + 10, body=body)
    session.close()
    assert reply.status == 200, reply
    answer = json.loads(reply.content)
    assert answer["success"], answer
    return answer["success_response"]["order_id"]


def test_quotes_trades_bars_and_status_arrive_and_nothing_is_odd(endpoints, venue_line, tmp_path):
    products = venue_line["products"]
    heard, recorder = Heard(), FeedRecorder(tmp_path / "record", note="test")
    slots, ringer = SlotWriter(tmp_path / "slots", (1, 1)), BellRinger(tmp_path / "bells")
    venue = PublicVenue(endpoints)

    def fetch(request):
        found = venue.candles(request.product_id, request.bar_s, request.start_s, request.end_s)
        return None if isinstance(found, str) else found

    desk = BarDesk(BarBuilder(history_bars=20), BarWriter(tmp_path / "bars"), fetch)
    desk.set_products(products[:2])

    def rest(happenings):
        desk.take(happenings)
        heard.take(happenings)

    publisher = MarketPublisher(slots, ringer, rest)
    feed = MarketSocket(endpoints, products, publisher.take, raw_sink=recorder.take)
    feed.start()
    reader = SlotReader(tmp_path / "slots")
    quotes = eventually(
        lambda: [reader.get(name) for name in products], lambda found: all(q and q.depth_bid_usd for q in found), 15
    )
    for quote in quotes:
        assert 0 < quote.bid < quote.ask
        assert quote.spread_bps < 100
        assert abs(quote.exchange_s - time.time()) < 5
    eventually(lambda: heard.of(Trade), bool, 15)
    assert {status.product_id for status in eventually(lambda: heard.of(ProductStatus))} == set(products)
    bars = BarReader(tmp_path / "bars")
    history = eventually(
        lambda: {w: bars.since(products[0], w, 0) for w in (60, 300, 900, 3600)}, lambda h: all(h.values()), 25
    )
    assert {width: len(found) >= 19 for width, found in history.items()} == {60: True, 300: True, 900: True, 3600: True}
    assert not heard.of(Gap, Malformed, BookLost, Reconnect, Disconnected)
    assert feed.health().counts.get("unknown_channels", 0) == 0
    assert feed.stop()
    desk.close()
    venue.close()
    recorder.close()

    # The recording plays again through the same machine: the same twice, and what was heard live.
    report = ReadingReport()
    frames = list(read_recording(tmp_path / "record", report))
    assert report.frames == recorder.frames == len(frames)
    assert (report.torn_bytes, report.broken_lines) == (0, 0)
    first, second = (list(replay(frames, products)) for _ in range(2))
    assert first == second
    played = [happening for _, happenings in first for happening in happenings]
    assert [h for h in played if type(h) is Trade] == heard.of(Trade)
    assert sum(type(h) is Quote for h in played) == publisher.quotes - len(products), (
        "and one `lost` for each slot at the end"
    )


@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        ({"kind": "gap"}, "sequence gap"),
        ({"kind": "reorder"}, "sequence gap"),
        ({"kind": "silence", "for_s": 2.5}, "silent"),
        ({"kind": "disconnect", "code": 1001}, "code 1001"),
        ({"kind": "disconnect", "code": 1006}, ""),
        ({"kind": "garbage"}, ""),
        ({"kind": "duplicate"}, None),
    ],
    ids=lambda value: f"{value['kind']} {value.get('code', '')}".strip() if isinstance(value, dict) else "",
)
def test_after_every_fault_of_a_socket_the_book_is_whole_again(endpoints, fault, ends):
    heard = Heard()
    feed = MarketSocket(endpoints, ["BTC-USD"], heard.take, limits=SessionLimits(silence_s_max=1.5, snapshot_s_max=2.0))
    feed.start()
    try:
        eventually(lambda: feed.health().books_known == 1, bool, 15)
        once = {} if "for_s" in fault else {"count": 1}
        back_door(endpoints, "faults", {"faults": [{"host": "market", **once, **fault}]})
        if ends is None:
            eventually(lambda: feed.health().counts.get("repeated"))
            assert not heard.of(Disconnected)
        else:
            reason = eventually(lambda: heard.of(Disconnected), bool, 10)[0].reason
            assert ends in reason
            eventually(lambda: len(heard.of(Connected)) >= 2 and feed.health().books_known == 1, bool, 20)
        newest = len(heard.of(Quote))
        eventually(lambda: len(heard.of(Quote)) > newest, bool, 10)
        assert all(quote.bid < quote.ask for quote in heard.of(Quote))
        assert not heard.of(BookLost)
    finally:
        back_door(endpoints, "faults", method="DELETE")
        assert feed.stop()


def test_an_order_of_ours_is_told_on_the_user_feed_from_open_to_filled(endpoints, venue_line):
    heard = Heard()
    feed = UserSocket(endpoints, ApiKey(venue_line["api_key"], venue_line["api_secret"]), heard.take)
    feed.start()
    eventually(lambda: heard.of(Connected))
    eventually(lambda: feed.session is not None and "user" in feed.session.acknowledged)
    order_id = post_order(endpoints, venue_line, f"feed-test-{time.time_ns()}", "BUY", "0.001", "200000")
    updates = eventually(
        lambda: [u for u in heard.of(OrderUpdate) if u.venue_order_id == order_id],
        lambda found: found and found[-1].status == "filled",
    )
    assert updates[-1].cumulative_size == Decimal("0.001")
    assert updates[-1].average_price > 0
    assert updates[-1].fees_usd > 0
    assert [u.cumulative_size for u in updates] == sorted(u.cumulative_size for u in updates)
    assert not heard.of(Malformed)
    assert feed.stop()


def test_a_wrong_key_is_refused_again_and_again_without_an_end_of_the_feed(endpoints, venue_line):
    heard = Heard()
    feed = UserSocket(endpoints, ApiKey("organizations/x/apiKeys/y", venue_line["api_secret"]), heard.take)
    feed.start()
    reasons = eventually(lambda: [d.reason for d in heard.of(Disconnected)], lambda found: len(found) >= 2, 20)
    assert all("authentication failure" in reason for reason in reasons[:2])
    assert venue_line["api_secret"][40:80] not in " ".join(reasons)
    assert feed.stop()


def test_the_status_page_is_read(endpoints):
    status = read_status_once(endpoints.status_url, endpoints.ca_file)
    assert status.reachable
    assert ("Advanced Trade API", "operational") in status.components


def test_a_download_can_be_interrupted_resumed_and_completed_in_front(endpoints, tmp_path):
    end = int(time.time()) // 300 * 300
    begin = end - 700 * 300
    stop = threading.Event()

    def told(_product, done, _all):
        if done:
            stop.set()

    (report,) = download(endpoints, ["BTC-USD"], 300, begin, end, tmp_path, told=told, stop=stop)
    assert "stopped" in report.error
    assert 0 < report.rows <= 300
    (report,) = download(endpoints, ["BTC-USD"], 300, begin, end, tmp_path)
    assert report.error == ""
    assert report.fetched < 700
    rows = read_file(report.path, 300)
    assert [stamp for stamp, _ in rows] == sorted({stamp for stamp, _ in rows})
    assert report.rows + sum((b - a) // 300 for a, b in report.gaps) == 700
    (earlier,) = download(endpoints, ["BTC-USD"], 300, begin - 100 * 300, end, tmp_path)
    assert earlier.fetched <= 100
    assert read_file(report.path, 300)[-len(rows) :] == rows
    (again,) = download(endpoints, ["BTC-USD"], 300, begin, end, tmp_path)
    assert again.fetched == 0


def test_paper_follows_another_venue_as_it_will_follow_coinbase(endpoints, venue_line, tmp_path):
    line_file = tmp_path / "line.json"
    line_file.write_text(json.dumps(venue_line))
    options = ("--data-dir", str(tmp_path / "paper"), "--venue-line", str(line_file), "--products", "BTC-USD,ETH-USD")
    process, line = start_venue("exchange.paper", *options)
    try:
        assert line["market"] == "coinbase"
        paper = Endpoints.simulated(line)
        heard, real = Heard(), Heard()
        feed = MarketSocket(paper, ["BTC-USD"], heard.take)
        street = MarketSocket(endpoints, ["BTC-USD"], real.take)
        feed.start()
        street.start()
        # The same prices, a moment later.
        eventually(lambda: len(real.of(Quote)) > 30 and len(heard.of(Quote)) > 10, bool, 20)
        eventually(
            lambda: {(q.bid, q.ask) for q in real.of(Quote)} & {(q.bid, q.ask) for q in heard.of(Quote)}, bool, 10
        )
        shown = {(trade.price, trade.size) for trade in real.of(Trade)}
        eventually(
            lambda: (
                shown & {(trade.price, trade.size) for trade in heard.of(Trade)}
                or shown.update((t.price, t.size) for t in real.of(Trade))
            ),
            bool,
            15,
        )
        venue = PublicVenue(paper)
        now = int(time.time())
        assert len(venue.candles("BTC-USD", 60, now - 18_000, now)) >= 290
        assert len(venue.candles("BTC-USD", 3600, now - 300 * 3600, now)) >= 290
        venue.close()
        # An order at a real price fills at the real price; the account is the paper venue's own.
        user = Heard()
        user_feed = UserSocket(paper, ApiKey(line["api_key"], line["api_secret"]), user.take)
        user_feed.start()
        eventually(lambda: user_feed.session is not None and "user" in user_feed.session.acknowledged)
        order_id = post_order(paper, line, "paper-1", "BUY", "0.001", "500000", kind="sor_limit_ioc")
        filled = eventually(
            lambda: [u for u in user.of(OrderUpdate) if u.venue_order_id == order_id and u.status == "filled"]
        )[-1]
        newest = real.of(Quote)[-1]
        assert abs(filled.average_price / newest.ask - 1) < Decimal("0.01")
        assert feed.stop()
        assert street.stop()
        assert user_feed.stop()
    finally:
        stop_venue(process)


def test_paper_matches_nothing_while_it_cannot_see_the_market(tmp_path):
    upstream, upstream_line = start_venue("exchange.simulator", "--data-dir", str(tmp_path / "upstream"))
    line_file = tmp_path / "line.json"
    line_file.write_text(json.dumps(upstream_line))
    options = ("--data-dir", str(tmp_path / "paper"), "--venue-line", str(line_file), "--products", "BTC-USD")
    process, line = start_venue("exchange.paper", *options)
    try:
        paper = Endpoints.simulated(line)
        session = VenueSession(paper, None)

        def auction():
            reply = session.send("GET", "/market/products/BTC-USD", deadline_boot_s=boot_s() + 5)
            return reply.status == 200 and json.loads(reply.content)["auction_mode"]

        assert auction() is False
        stop_venue(upstream)
        assert eventually(auction, bool, 15)
        session.close()
    finally:
        stop_venue(process)


def test_a_flag_that_coinbase_sets_is_set_on_paper_too(endpoints):
    market, server_s = paper_module.live_market(endpoints, ["BTC-USD"])
    assert abs(server_s - time.time()) < 5
    told = []
    market.told = lambda *what: told.append(what)
    venue = PublicVenue(endpoints)
    try:
        assert market.start()
        assert market.tick("BTC-USD", 1) is not None
        assert told == []
        fault = {"kind": "product", "product_id": "BTC-USD", "flags": {"cancel_only": True}}
        back_door(endpoints, "faults", {"faults": [fault]})
        market._refresh_flags(venue)
        tick = market.tick("BTC-USD", 2)
        assert tick.bid < tick.ask
        ((product_id, flags, status),) = told
        assert (product_id, status, [name for name, value in flags.items() if value]) == (
            "BTC-USD",
            "online",
            ["cancel_only"],
        )
        bids, asks = market.depth("BTC-USD", 2, tick)
        assert len(bids) > 20
        assert [price for price, _ in bids] == sorted((price for price, _ in bids), reverse=True)
        assert bids[0][0] < tick.bid < tick.ask < asks[0][0]
        assert market.minute_bars("BTC-USD", 0, 10**9)
        with pytest.raises(ValueError, match="--market synthetic"):
            market.add_move(Move(product_id="BTC-USD", start_s=0.0))
    finally:
        back_door(endpoints, "faults", method="DELETE")
        market.stop()
        venue.close()


def test_paper_says_in_a_sentence_what_it_lacks(tmp_path, capsys):
    (tmp_path / "line.json").write_text(json.dumps({"rest": "x"}))
    assert paper_module.main(["--data-dir", str(tmp_path / "p"), "--venue-line", str(tmp_path / "line.json")]) == 2
    assert "contract line" in capsys.readouterr().err
