"""Fault plans: data, seeded, logged, and each kind does what its line says."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
import requests

from exchange.simulator.faults import KINDS, FaultError, Faults
from tests.simulator.test_contract_rest import PREFIX
from tests.simulator.test_contract_ws import ClosedError, Socket, digest
from tests.support import eventually


def place(venue, name, **options):
    return venue.client(**options).limit_order_gtc_buy(name, "DOGE-USD", base_size="100", limit_price="0.02")


def orders_named(venue, name):
    return [row for row in venue.state()["orders"] if row["client_order_id"] == name]


def unique(word):
    return f"{word}-{time.time_ns()}"


ON_CREATE = {"method": "POST", "path": "/brokerage/orders", "count": 1}


# --- pure ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ({"faults": [{"kind": "explode"}]}, "kind 'explode' is unknown; there are"),
        ({"faults": [{"kind": "hold", "seconds": "long"}]}, "seconds = 'long' is not a number"),
        ({"faults": [{"kind": "hold", "second": 3}]}, "'second' is not a field"),
        ("nonsense", "a fault plan is"),
        ({"faults": [{"kind": "hold"}, 3]}, "fault 1.2: kind 3 is unknown"),
    ],
)
def test_an_unusable_plan_is_one_sentence_and_changes_nothing(plan, why):
    faults = Faults()
    with pytest.raises(FaultError, match=why):
        faults.add(plan, 0.0)
    assert faults.rules == []


def test_the_same_seed_meets_the_same_requests():
    def run(seed):
        faults = Faults()
        faults.add({"seed": seed, "faults": [{"kind": "status", "chance": 0.3}]}, 0.0)
        return [bool(faults.request("GET", "/x", "", 1.0)) for _ in range(200)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 30 < sum(run(1)) < 90


def test_a_fault_meets_only_its_place_its_time_and_its_count():
    faults = Faults()
    faults.add(
        [
            {
                "kind": "delay",
                "method": "POST",
                "path": "/orders",
                "match": "abc",
                "after_s": 1,
                "for_s": 2,
                "skip": 1,
                "count": 2,
            }
        ],
        0.0,
    )

    def hits(method="POST", path="/orders", text="xabcx", at=1.5):
        return len(faults.request(method, path, text, at))

    assert [hits(at=0.5), hits(at=3.0), hits("GET"), hits(path="/fills"), hits(text="")] == [0] * 5
    assert [hits(), hits(), hits(), hits()] == [0, 1, 1, 0]


def test_plans_compose():
    faults = Faults()
    faults.add({"kind": "delay", "seconds": 1}, 0.0)
    faults.add({"kind": "drop_reply"}, 0.0)
    assert [rule.kind for rule in faults.request("GET", "/", "", 0.0)] == ["delay", "drop_reply"]


# --- requests ------------------------------------------------------------------------------------------------------


def test_a_held_request_is_processed_although_its_connection_died(venue):
    name = unique("held")
    venue.faults({"kind": "hold", "seconds": 1.0, **ON_CREATE})
    with pytest.raises(requests.exceptions.ReadTimeout):
        place_with_timeout(venue, name, 0.2)
    assert orders_named(venue, name) == []
    assert venue.state()["in_flight"]
    row = eventually(lambda: orders_named(venue, name), patience_s=5)[0]
    assert row["status"] == "OPEN"


def place_with_timeout(venue, name, timeout):
    client = venue.client()
    client.timeout = timeout
    client.limit_order_gtc_buy(name, "DOGE-USD", base_size="100", limit_price="0.02")


def test_an_order_that_is_held_beyond_its_end_time_is_refused_on_arrival(venue):
    name = unique("late")
    venue.faults({"kind": "hold", "seconds": 2.5, **ON_CREATE})
    end_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    answer = venue.client().limit_order_gtd_buy(
        name, "DOGE-USD", base_size="100", limit_price="0.02", end_time=end_time
    )
    assert answer.error_response["new_order_failure_reason"] == "END_TIME_IS_IN_THE_PAST"


def test_a_dropped_request_left_nothing_and_a_dropped_reply_left_the_order(venue):
    for kind, orders in (("drop_request", 0), ("drop_reply", 1)):
        name = unique(kind)
        venue.faults({"kind": kind, **ON_CREATE})
        with pytest.raises(requests.exceptions.ConnectionError):
            place(venue, name)
        assert len(orders_named(venue, name)) == orders


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize(
    ("body", "kind"), [("json", "application/json"), ("html", "text/html"), ("text", "text/plain")]
)
def test_an_error_comes_before_or_after_the_effect(venue, effect, body, kind):
    name = unique("status")
    venue.faults({"kind": "status", "status": 502, "body": body, "effect": effect, **ON_CREATE})
    with pytest.raises(requests.HTTPError) as caught:
        place(venue, name)
    assert caught.value.response.status_code == 502
    assert caught.value.response.headers["Content-Type"].startswith(kind)
    assert len(orders_named(venue, name)) == int(effect)


def test_429_on_demand_says_when_to_come_back(venue):
    venue.faults({"kind": "status", "status": 429, "retry_after_s": 7, "path": "/accounts", "count": 1})
    with pytest.raises(requests.HTTPError) as caught:
        venue.client().get_accounts()
    assert caught.value.response.headers["Retry-After"] == "7"
    assert "rate_limit_exceeded" in caught.value.response.text


@pytest.mark.parametrize("kind", ["truncate", "html"])
def test_an_unreadable_answer_hides_a_real_order(venue, kind):
    name = unique(kind)
    venue.faults({"kind": kind, **ON_CREATE})
    with pytest.raises(requests.exceptions.JSONDecodeError):
        place(venue, name)
    assert len(orders_named(venue, name)) == 1


def test_a_reply_may_come_one_byte_at_a_time(venue):
    venue.faults({"kind": "trickle", "seconds": 0.01, "path": "/time", "count": 1})
    begin = time.monotonic()
    assert venue.client().get_unix_time().epoch_seconds
    assert time.monotonic() - begin > 0.5


def test_a_delayed_reply_delays_no_effect(venue):
    name = unique("slow")
    venue.faults({"kind": "delay", "seconds": 1.0, **ON_CREATE})
    thread = threading.Thread(target=place, args=(venue, name))
    begin = time.monotonic()
    thread.start()
    eventually(lambda: orders_named(venue, name), patience_s=0.9)
    thread.join()
    assert time.monotonic() - begin >= 1.0


def test_a_refusal_on_demand(venue):
    venue.faults({"kind": "refuse", "reason": "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE", **ON_CREATE})
    answer = place(venue, unique("refused"))
    assert answer.error_response["preview_failure_reason"] == "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"


def test_a_token_that_expired_on_the_way_is_refused_on_arrival_but_not_after_it(venue):
    key, url = venue.line["keys"][0], f"https://{venue.line['rest']}{PREFIX}/accounts"
    rows = [{"kind": "hold", "seconds": 2.2, "at": at, "match": f"cursor={at}"} for at in ("arrival", "effect")]
    venue.faults(*rows)

    def ask(at):
        now = int(time.time())
        claims = {"sub": key["name"], "iss": "cdp", "nbf": now, "exp": now + 2, "uri": f"GET {url[8:]}"}
        token = jwt.encode(claims, key["secret"], algorithm="ES256", headers={"kid": key["name"]})
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{url}?cursor={at}", headers=headers, verify=venue.line["ca"], timeout=10).status_code

    with ThreadPoolExecutor() as pool:
        # The cursor means nothing to the venue, and that is what it says once it has let the request in.
        assert list(pool.map(ask, ("arrival", "effect"))) == [401, 400]


def test_an_accepted_order_may_fail(venue):
    venue.faults({"kind": "setting", "name": "fail_reason", "value": "HOLD_FAILURE"})
    order_id = place(venue, unique("fails")).success_response["order_id"]
    order = venue.client().get_order(order_id).order
    assert (order.status, order.reject_reason, order.outstanding_hold_amount) == ("FAILED", "HOLD_FAILURE", "0")


# --- the venue -----------------------------------------------------------------------------------------------------


def test_listing_lag_pending_and_asynchronous_cancel_are_settings(venue):
    client, name = venue.client(), unique("lag")
    venue.faults(
        {"kind": "setting", "name": "listing_lag_s", "value": 1.0},
        {"kind": "setting", "name": "pending_s", "value": 1.5},
        {"kind": "setting", "name": "cancel_s", "value": 0.5},
    )
    order_id = place(venue, name).success_response["order_id"]

    def listed(**filters):
        return [row.client_order_id for row in client.list_orders(product_ids=["DOGE-USD"], **filters).orders]

    assert name not in listed()
    eventually(lambda: name in listed(order_status=["PENDING", "QUEUED"]), patience_s=3)
    assert name not in listed(order_status=["OPEN"])
    eventually(lambda: name in listed(order_status=["OPEN"]), patience_s=3)
    client.cancel_orders([order_id])
    assert client.get_order(order_id).order.status == "CANCEL_QUEUED"
    eventually(lambda: client.get_order(order_id).order.status == "CANCELLED", patience_s=3)


def test_product_flags_change_and_come_back_and_the_status_channel_tells(venue):
    client = venue.client()
    with Socket(venue) as socket:
        socket.ask("subscribe", "status", ["AVAX-USD"])
        socket.until(lambda f: f["channel"] == "status")
        venue.faults({"kind": "product", "product_id": "AVAX-USD", "flags": {"cancel_only": True}, "for_s": 1.0})
        assert client.get_product("AVAX-USD").cancel_only is True
        socket.until(lambda f: f["channel"] == "status")
        eventually(lambda: client.get_product("AVAX-USD").cancel_only is False, patience_s=3)
        socket.until(lambda f: f["channel"] == "status")


def test_the_status_page_tells_an_outage_and_its_end(venue):
    def page():
        return requests.get(venue.line["status_page"], verify=venue.line["ca"], timeout=5).json()

    venue.faults(
        {
            "kind": "status_page",
            "component": "Advanced Trade API",
            "value": "major_outage",
            "indicator": "critical",
            "incident": "Down",
        }
    )
    assert page()["status"]["indicator"] == "critical"
    assert page()["incidents"][0]["name"] == "Down"
    venue.door("DELETE", "faults")
    assert page()["status"]["indicator"] == "none"
    assert page()["incidents"] == []


def test_a_plan_for_something_that_is_not_there_is_refused(venue):
    for fault, why in (
        ({"kind": "setting", "name": "gravity", "value": 1}, "setting 'gravity' is unknown"),
        ({"kind": "product", "product_id": "NOPE-USD", "flags": {}}, "'NOPE-USD' is not listed"),
        ({"kind": "product", "product_id": "BTC-USD", "flags": {"broken": True}}, "broken"),
    ):
        with pytest.raises(AssertionError, match=why):
            venue.faults(fault)


def test_every_injection_is_written_down(venue):
    venue.faults({"kind": "delay", "seconds": 0, "path": "/time", "count": 1, "id": "mine"})
    requests.get(f"https://{venue.line['rest']}{PREFIX}/time", verify=venue.line["ca"], timeout=5)
    log = venue.door("GET", "faults")["log"]
    assert [row["detail"] for row in log if row["fault"] == "mine"] == ["GET /api/v3/brokerage/time"]


def test_money_and_market_are_moved_by_the_back_door(venue):
    before = float(venue.state()["prices"]["ETH-USD"]["bid"])
    venue.door("POST", "market", {"kind": "crash", "product_id": "ETH-USD", "percent": -30, "over_s": 0.3, "back_s": 2})
    eventually(lambda: float(venue.state()["prices"]["ETH-USD"]["bid"]) < before * 0.75, patience_s=4)
    eventually(lambda: float(venue.state()["prices"]["ETH-USD"]["bid"]) > before * 0.97, patience_s=6)
    with pytest.raises(AssertionError, match="not usable"):
        venue.door("POST", "market", {"kind": "crash", "product_id": "NOPE-USD"})


def test_a_fill_is_reversed_by_the_back_door(venue):
    client, name = venue.client(), unique("reverse")
    order_id = client.limit_order_ioc_buy(name, "AVAX-USD", base_size="0.5", limit_price="999").success_response[
        "order_id"
    ]
    fill = eventually(lambda: client.get_fills(order_ids=[order_id]).fills, patience_s=5)[0]
    assert venue.door("POST", "fills", {"reverse": fill.trade_id})["trade_type"] == "REVERSAL"
    kinds = eventually(
        lambda: [row.trade_type for row in client.get_fills(order_ids=[order_id]).fills], lambda rows: len(rows) == 2
    )
    assert kinds == ["REVERSAL", "FILL"]
    with pytest.raises(AssertionError, match="cannot be undone"):
        venue.door("POST", "fills", {"reverse": fill.trade_id})


def test_the_venues_clock_jumps_ahead_but_never_back(venue):
    name = unique("clock")
    end_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(venue.door("GET", "clock")["now"] + 600))
    order_id = (
        venue.client()
        .limit_order_gtd_buy(name, "DOGE-USD", base_size="100", limit_price="0.02", end_time=end_time)
        .success_response["order_id"]
    )
    venue.door("POST", "clock", {"advance_s": 601})
    assert venue.client().get_order(order_id).order.status == "EXPIRED"
    with pytest.raises(AssertionError, match="never goes back"):
        venue.door("POST", "clock", {"advance_s": -1})


# --- sockets -------------------------------------------------------------------------------------------------------


@pytest.fixture()
def listening(venue):
    with Socket(venue) as socket:
        socket.ask("subscribe", "level2", ["BTC-USD"])
        socket.until(lambda f: f["channel"] == "subscriptions")
        yield socket


def after(socket, count):
    socket.frames.clear()
    for _ in range(count):
        socket.read()
    return [frame["sequence_num"] for frame in socket.frames]


def test_a_gap_loses_a_frame_and_its_number(venue, listening):
    venue.faults({"kind": "gap", "channel": "level2", "skip": 2, "count": 1})
    numbers = after(listening, 10)
    assert numbers[-1] - numbers[0] == 10
    assert any("gap" in line for line in digest(listening.frames)[1])


def test_frames_come_twice_or_swapped(venue, listening):
    venue.faults({"kind": "duplicate", "channel": "level2", "skip": 2, "count": 1})
    numbers = after(listening, 8)
    assert len(numbers) - len(set(numbers)) == 1
    venue.faults({"kind": "reorder", "channel": "level2", "skip": 2, "count": 1})
    numbers = after(listening, 8)
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + 8))
    assert numbers != sorted(numbers)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011])
def test_a_connection_ends_with_the_code_of_the_plan(venue, listening, code):
    venue.faults({"kind": "disconnect", "code": code, "count": 1})
    with pytest.raises(ClosedError) as caught:
        after(listening, 50)
    assert caught.value.args[0] == code


def test_silence_says_nothing_and_keeps_the_connection(venue, listening):
    venue.faults({"kind": "silence", "host": "market", "for_s": 1.5})
    with contextlib.suppress(json.JSONDecodeError, TimeoutError):
        listening.read(0.3)  # what was under way
    begin = time.monotonic()
    listening.read(5)
    assert time.monotonic() - begin > 0.7


def test_garbage_is_sent_as_a_frame(venue, listening):
    venue.faults({"kind": "garbage", "count": 1})
    with pytest.raises(json.JSONDecodeError):
        after(listening, 50)


def test_a_bad_tick_is_told_but_never_was(venue):
    with Socket(venue) as socket:
        socket.ask("subscribe", "ticker", ["BTC-USD"])
        price = float(socket.read()["events"][0]["tickers"][0]["price"])
        venue.faults({"kind": "bad_tick", "channel": "ticker", "factor": 1.5, "count": 1})
        socket.until(lambda f: f["channel"] == "ticker" and float(f["events"][0]["tickers"][0]["price"]) > price * 1.4)
    assert float(venue.state()["prices"]["BTC-USD"]["last"]) < price * 1.1


def test_offline_resets_every_connection_and_ends(venue):
    venue.faults({"kind": "offline", "for_s": 0.5})
    with pytest.raises(requests.exceptions.ConnectionError):
        venue.client().get_unix_time()

    def answers():
        try:
            return venue.client().get_unix_time()
        except requests.exceptions.ConnectionError:
            return None

    assert eventually(answers, patience_s=3)


def test_every_kind_of_fault_is_documented():
    import exchange.simulator.faults as module

    assert module.__doc__ is not None
    assert all(kind in module.__doc__ for kind in KINDS)
