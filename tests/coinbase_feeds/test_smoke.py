"""The smoke walk and the order round trip against the whole simulated venue."""

from __future__ import annotations

import json
import time

import pytest
from attrs import evolve

from exchange.coinbase.download import PublicVenue
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.feed_records import read_recording, record
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.smoke import smoke
from exchange.coinbase.smoke_order import smoke_order
from tests.coinbase_feeds.test_against_the_simulated_venue import back_door
from trading.messages.orders import Query, QueryKind


@pytest.fixture(scope="module")
def endpoints(venue_line):
    return Endpoints.simulated(venue_line)


@pytest.fixture(scope="module")
def key(venue_line):
    return ApiKey(venue_line["api_key"], venue_line["api_secret"])


@pytest.fixture(scope="module")
def btc(endpoints):
    venue = PublicVenue(endpoints)
    page = venue.ask(Query(query_id="p", reply_to="", kind=QueryKind.PRODUCTS, product_ids=("BTC-USD",)))
    venue.close()
    return page.items[0]


@pytest.fixture(autouse=True)
def no_faults(endpoints):
    yield
    back_door(endpoints, "faults", method="DELETE")


def test_a_healthy_venue_has_nothing_that_stops_trading(endpoints, key, venue_line):
    report = smoke(endpoints, key, products=venue_line["products"], pace_s=0.0)
    assert report.stoppers == []
    assert report.ok
    assert [check.name for check in report.checks if check.ok is False] == []
    assert {check.area for check in report.checks} == {"public", "private", "status", "feed"}
    assert abs(report.drift_s) < 0.5
    assert report.account.portfolio_uuid == venue_line["portfolio_uuid"]
    assert 0 < report.fees.maker_rate < report.fees.taker_rate
    assert report.available["USD"] > 0
    assert report.latency_ms_p50 > 0
    text = json.dumps(report.to_dict())
    assert key.secret not in text
    assert key.secret.replace("\n", "\\n") not in text


def test_without_a_key_the_public_half_is_walked_and_live_is_stopped(endpoints):
    report = smoke(endpoints, None, mode="live", products=["BTC-USD"], pace_s=0.0)
    assert {check.area for check in report.checks if check.ok} >= {"public", "feed", "status"}
    assert all(check.ok is None for check in report.checks if check.area == "private")
    assert len(report.stoppers) == 1
    assert "needs a key" in report.stoppers[0]


def test_what_would_stop_trading_is_told_in_sentences(endpoints, key):
    faults = [
        {"kind": "product", "product_id": "BTC-USD", "flags": {"trading_disabled": True}},
        {"kind": "status_page", "component": "Advanced Trade API", "value": "major_outage"},
        {"kind": "status", "path": "/transaction_summary", "status": 503, "body": "html"},
    ]
    back_door(endpoints, "faults", {"faults": faults})
    report = smoke(endpoints, key, products=["BTC-USD"], venue_clock=lambda: time.time() - 30.0, pace_s=0.0)
    told = "\n".join(report.stoppers)
    assert "BTC-USD takes no entries: trading_disabled" in told
    assert "exchange's status stops entries: Advanced Trade API: major_outage" in told
    assert "fees (private) fails: HTTP 503" in told
    assert report.drift_s == pytest.approx(-30.0, abs=0.5)
    assert "off the venue's" in told
    assert report.quote_age_s[0] < -25.0, "measured by the clock that is off"


def test_a_key_that_may_transfer_stops_trading(endpoints, venue_line):
    able = [row for row in venue_line["keys"] if row.get("can_transfer")]
    if not able:
        pytest.skip("this venue has no key that may transfer")
    report = smoke(endpoints, ApiKey(able[0]["name"], able[0]["secret"]), products=["BTC-USD"], pace_s=0.0)
    assert any("transfer money out" in line for line in report.stoppers)


def test_a_round_trip_tells_every_station_and_leaves_nothing(endpoints, key, btc, venue_line):
    second = ApiKey(venue_line["guardian_api_key"], venue_line["guardian_api_secret"])
    before = {order["order_id"] for order in back_door(endpoints, "state")["orders"]}
    trip = smoke_order(endpoints, key, btc, second_key=second)
    assert trip.ok, trip
    for way in ("buy", "sell"):
        stations = [
            trip.steps_s[f"{way}: {name}"] for name in ("accepted", "fill on the feed", "fill in REST", "balance")
        ]
        assert all(station is not None and station >= 0 for station in stations), trip.steps_s
    assert trip.post_trade_reconcile_wait_s > 0
    assert trip.cost_usd > 0
    answers = {answer.question: answer.text for answer in trip.answers}
    assert answers["buy: do fills, order and balance tell one position"] == "yes"
    assert "401" in answers["is a token's exp enforced on arrival"]
    assert "is taken; it ended as expired" in answers["the shortest end_time"]
    assert "SECOND" not in answers["a repeated client_order_id"]
    assert answers["may another key cancel this key's order"] == "yes"
    made = [order for order in back_door(endpoints, "state")["orders"] if order["order_id"] not in before]
    assert len(made) >= 5
    assert {order["status"] for order in made} <= {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}
    assert all(order["client_order_id"].startswith("bh-") for order in made)


def test_an_answer_that_is_lost_leaves_no_order_resting(endpoints, key, btc):
    before = {order["order_id"] for order in back_door(endpoints, "state")["orders"]}
    fault = {"kind": "drop_reply", "method": "POST", "path": "/orders", "match": "post_only", "skip": 1, "count": 1}
    back_door(endpoints, "faults", {"faults": [fault]})
    trip = smoke_order(endpoints, key, btc)
    assert trip.left == []
    made = [order for order in back_door(endpoints, "state")["orders"] if order["order_id"] not in before]
    assert {order["status"] for order in made} <= {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}


def test_at_coinbase_itself_nothing_is_sent_without_the_typed_sentence(endpoints, key, btc):
    asked = []
    coinbase = evolve(endpoints, rest="api.coinbase.com")
    trip = smoke_order(coinbase, key, btc, confirm=lambda sentence: asked.append(sentence) or False)
    assert asked == ["I pay for one real round trip in BTC-USD"]
    assert trip.error == "not confirmed: nothing was sent"


def test_record_writes_what_replay_reads(endpoints, tmp_path):
    done = record(endpoints, ["BTC-USD"], tmp_path, 1.2)
    assert done.frames == len(list(read_recording(tmp_path))) > 5
    assert (done.reconnects, done.recorder_errors) == (0, 0)
