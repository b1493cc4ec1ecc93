"""What the venue answers has the shape of what Coinbase answered, and Coinbase's own client runs the whole spot flow."""

from __future__ import annotations

import json
import time
from decimal import Decimal as D
from typing import Any

import pytest
import requests

from tests.simulator.venue_process import SHARED, needs_shared
from tests.support import eventually

FIXTURES = SHARED / "rest_fixtures"
PREFIX = "/api/v3/brokerage"


def shape(value: Any) -> Any:
    """The form of a JSON value: names and kinds, all rows of a list folded into one."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        merged: list[Any] = []
        for inner in value:
            if shape(inner) not in merged:
                merged.append(shape(inner))
        return merged
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "str"


def differences(recorded: Any, ours: Any, at: str = "$") -> list[str]:
    """Fields that the recording has and we have not, or that are of another kind. Later fields of ours are allowed."""
    if isinstance(recorded, dict):
        if not isinstance(ours, dict):
            return [f"{at}: {type(ours).__name__} instead of an object"]
        found = [f"{at}.{name}: missing" for name in recorded if name not in ours]
        for name, inner in recorded.items():
            if name in ours:
                found += differences(inner, ours[name], f"{at}.{name}")
        return found
    if isinstance(recorded, list):
        if not isinstance(ours, list):
            return [f"{at}: {type(ours).__name__} instead of a list"]
        if recorded and ours:
            return [line for row in ours for line in differences(recorded[0], row, f"{at}[]")]
        return []
    if recorded is None or ours is None:
        return [] if recorded is ours else [f"{at}: {ours!r} instead of {recorded!r}"]
    return [] if shape(recorded) == shape(ours) else [f"{at}: {shape(ours)} instead of {shape(recorded)}"]


def public(venue, path, **query):
    answer = requests.get(
        f"https://{venue.line['rest']}{PREFIX}{path}", params=query, verify=venue.line["ca"], timeout=10
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@needs_shared
@pytest.mark.parametrize(
    ("fixture", "path", "query"),
    [
        ("time_2026-09-30.json", "/time", {}),
        ("product_BTC-USD_2026-04-07.json", "/market/products/BTC-USD", {}),
        ("product_BTC-USD_2026-09-30.json", "/market/products/BTC-USD", {}),
        ("products_list_2026-04-07.json", "/market/products", {"product_ids": ["BTC-USD", "BTC-USDC"]}),
        ("product_book_BTC-USD_2026-04-07.json", "/market/product_book", {"product_id": "BTC-USD", "limit": 5}),
        ("market_trades_BTC-USD_2026-04-07.json", "/market/products/BTC-USD/ticker", {"limit": 3}),
    ],
)
def test_a_public_answer_has_the_recorded_shape(venue, fixture, path, query):
    recorded = json.loads((FIXTURES / fixture).read_text())
    ours = eventually(lambda: public(venue, path, **query), lambda got: "trades" not in got or got["trades"])
    assert differences(recorded, ours) == []
    assert list(recorded) == [name for name in ours if name in recorded], "fields come in another order"


@needs_shared
def test_private_answers_have_the_recorded_shape(venue):
    client = venue.client()
    for fixture, path in (
        ("accounts_2026-09-30.json", "/accounts"),
        ("transaction_summary_intro1.json", "/transaction_summary"),
        ("products_list_2026-04-07.json", "/products"),
    ):
        recorded = json.loads((FIXTURES / fixture).read_text())
        assert differences(recorded, client.get(PREFIX + path)) == [], fixture


@needs_shared
def test_the_comparison_of_shapes_can_fail():
    recorded = json.loads((FIXTURES / "accounts_2026-09-30.json").read_text())
    broken = json.loads(json.dumps(recorded))
    del broken["accounts"][1]["hold"]["value"]
    broken["size"] = "2"
    assert differences(recorded, broken) == ["$.accounts[].hold.value: missing", "$.size: str instead of number"]


def test_the_unmodified_client_runs_the_whole_spot_flow(venue):
    client = venue.client(rate_limit_headers=True)
    assert int(client.get_unix_time().epoch_seconds) > 1_700_000_000
    assert client.get_unix_time().rate_limit_remaining is not None
    assert client.get_api_key_permissions().can_transfer is False
    assert client.get_portfolios().portfolios[0].uuid == venue.line["portfolio_uuid"]
    products = {row.product_id: row for row in client.get_products().products}
    assert set(venue.line["products"]) <= set(products)
    assert products["BTC-USDC"].alias == "BTC-USD"
    now = int(time.time())
    candles = client.get_candles("BTC-USD", str(now - 290 * 60), str(now), "ONE_MINUTE").candles
    starts = [int(row.start) for row in candles]
    assert starts == sorted(starts, reverse=True)
    assert len(starts) >= 289
    assert client.get_public_candles("BTC-USD", str(now - 3600), str(now), "FIVE_MINUTE").candles
    assert client.get_market_trades("BTC-USD", limit=5).trades
    pricebook = client.get_best_bid_ask(product_ids=["BTC-USD", "ETH-USD"]).pricebooks[0]
    bid = D(pricebook.bids[0].price)
    run = f"flow-{time.time_ns()}"

    preview = client.preview_limit_order_gtc_buy("BTC-USD", base_size="0.001", limit_price=str(int(bid * D("0.9"))))
    assert preview.errs == []
    assert preview.preview_id
    rests = client.limit_order_gtc_buy(
        f"{run}-1", "BTC-USD", base_size="0.001", limit_price=str(int(bid * D("0.9"))), post_only=True
    )
    order_id = rests.success_response["order_id"]
    assert client.get_order(order_id).order.status == "OPEN"
    assert order_id in [row.order_id for row in client.list_orders(order_status=["OPEN"]).orders]
    assert client.edit_order(order_id, size="0.002", price=str(int(bid * D("0.8")))).success is True
    assert client.preview_edit_order(order_id, size="0.003", price=str(int(bid * D("0.8")))).errors == []
    assert D(client.get_order(order_id).order.order_configuration.limit_limit_gtc.base_size) == D("0.002")
    assert client.cancel_orders([order_id]).results[0].success is True
    assert eventually(lambda: client.get_order(order_id).order.status, lambda s: s == "CANCELLED", patience_s=5)

    bought = client.market_order_buy(f"{run}-2", "BTC-USD", quote_size="50").success_response["order_id"]
    fills = eventually(lambda: client.get_fills(order_ids=[bought]).fills, patience_s=5)
    assert {fill.liquidity_indicator for fill in fills} == {"TAKER"}
    done = client.get_order(bought).order
    assert done.status == "FILLED"
    assert sum(D(fill.commission) for fill in fills) == D(done.total_fees)
    held = {row.currency: D(row.available_balance["value"]) for row in client.get_accounts().accounts}
    sold = client.limit_order_ioc_sell(
        f"{run}-3", "BTC-USD", base_size=done.filled_size, limit_price=str(int(bid * D("0.98")))
    ).success_response["order_id"]
    assert client.get_order(sold).order.status == "FILLED"
    left = {row.currency: D(row.available_balance["value"]) for row in client.get_accounts().accounts}
    assert left["BTC"] == held["BTC"] - D(done.filled_size)
    assert left["USD"] > held["USD"]
    fok = client.limit_order_fok_buy(f"{run}-4", "BTC-USD", base_size="0.001", limit_price=str(int(bid * D("0.5"))))
    assert client.get_order(fok.success_response["order_id"]).order.status == "CANCELLED"
    end_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    gtd = client.limit_order_gtd_buy(
        f"{run}-5", "BTC-USD", base_size="0.001", limit_price=str(int(bid * D("0.9"))), end_time=end_time
    )
    expired = gtd.success_response["order_id"]
    assert eventually(lambda: client.get_order(expired).order.status, lambda s: s == "EXPIRED", patience_s=5)
    assert client.get_transaction_summary().fee_tier["taker_fee_rate"] == "0.012"


def test_a_refusal_is_http_200_with_success_false(venue):
    answer = venue.client().market_order_buy(f"poor-{time.time_ns()}", "BTC-USD", quote_size="90000000")
    assert answer.success is False
    assert answer.error_response["preview_failure_reason"] == "PREVIEW_INSUFFICIENT_FUND"
    assert answer.error_response["error"] == "INSUFFICIENT_FUND"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/market/products/NOPE-USD", 404),
        ("/orders/historical/nobody", 404),
        ("/nothing/here", 404),
        ("/products/BTC-USD/candles?granularity=ONE_MINUTE&start=0&end=90000", 400),
        ("/products/BTC-USD/candles?granularity=TWO_MINUTES&start=0&end=900", 400),
        ("/orders/historical/batch?order_status=NOT_ONE", 400),
        ("/orders/historical/batch?limit=-3", 400),
        ("/orders/historical/fills?cursor=zzzz", 400),
    ],
)
def test_an_unusable_request_is_answered_in_json(venue, path, status):
    with pytest.raises(requests.HTTPError) as caught:
        venue.client().get(
            PREFIX + path.partition("?")[0], params=dict(p.split("=") for p in path.partition("?")[2].split("&") if p)
        )
    assert caught.value.response.status_code == status
    assert {"error", "message", "error_details"} <= set(caught.value.response.json())


@pytest.mark.parametrize("body", ["", "null", "[]", '"x"', "{", '{"client_order_id":1}', '{"client_order_id":"a"}'])
def test_a_body_that_is_no_order_is_a_bad_request(venue, body):
    client = venue.client()
    headers = client.set_headers("POST", f"{PREFIX}/orders")
    answer = client.session.post(f"https://{venue.line['rest']}{PREFIX}/orders", data=body, headers=headers, timeout=10)
    assert answer.status_code == 400, answer.text


def test_pages_follow_the_cursor_until_it_is_empty(venue):
    client = venue.client()
    run = f"page-{time.time_ns()}"
    for n in range(7):
        client.limit_order_gtc_buy(f"{run}-{n}", "DOGE-USD", base_size="100", limit_price="0.02")
    mine, cursor = [], None
    while True:
        page = client.list_orders(product_ids=["DOGE-USD"], order_status=["OPEN"], limit=3, cursor=cursor)
        mine += [row.client_order_id for row in page.orders]
        if not page.has_next:
            break
        cursor = page.cursor
    assert [name for name in mine if name.startswith(run)] == [f"{run}-{n}" for n in reversed(range(7))]
    client.cancel_orders([row.order_id for row in client.list_orders(order_status=["OPEN"]).orders])
    pages, cursor = [], None
    while True:
        page = client.get_accounts(limit=1, cursor=cursor)
        pages += [row.currency for row in page.accounts]
        if not page.has_next:
            break
        cursor = page.cursor
    assert pages == sorted(set(pages))
    assert client.get_account(client.get_accounts().accounts[0].uuid).account.currency == pages[0]


def test_reading_faster_than_the_limit_is_answered_with_429_and_lower_case_headers(venue):
    venue.door("DELETE", "faults")
    url = f"https://{venue.line['rest']}{PREFIX}/time"
    with requests.Session() as session:
        session.verify = venue.line["ca"]
        session.trust_env = False
        answers = [session.get(url, timeout=10) for _ in range(25)]
    limited = [answer for answer in answers if answer.status_code == 429]
    assert limited
    assert limited[0].json() == {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}
    names = [name for name in answers[0].raw.headers if name.lower().startswith("x-ratelimit")]
    assert names == ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
    eventually(lambda: requests.get(url, verify=venue.line["ca"], timeout=10).status_code, lambda code: code == 200)


def test_the_status_page_has_statuspages_shape(venue):
    answer = requests.get(venue.line["status_page"], verify=venue.line["ca"], timeout=10).json()
    assert set(answer) == {"page", "components", "incidents", "scheduled_maintenances", "status"}
    assert answer["status"]["indicator"] == "none"
    assert {row["status"] for row in answer["components"]} == {"operational"}


def test_the_back_door_knows_every_order_fill_balance_and_request(venue):
    client = venue.client()
    name = f"seen-{time.time_ns()}"
    order_id = client.limit_order_gtc_buy(name, "DOGE-USD", base_size="100", limit_price="0.02").success_response[
        "order_id"
    ]
    client.cancel_orders([order_id])
    state = eventually(
        venue.state, lambda got: {row["order_id"]: row["status"] for row in got["orders"]}[order_id] == "CANCELLED"
    )
    assert [row for row in state["requests"] if row["path"].endswith("batch_cancel") and order_id in str(row["body"])]
    placed = [row for row in state["requests"] if row["method"] == "POST" and name in str(row["body"])]
    assert len(placed) == 1
    assert (placed[0]["status"], placed[0]["order_id"], placed[0]["key"]) == (200, order_id, venue.line["api_key"])
    for row in state["accounts"]:
        currency = row["currency"]
        opening = D(10_000) if currency == "USD" else D(0)
        total = D(row["available_balance"]["value"]) + D(row["hold"]["value"])
        assert total + D(state["street"].get(currency, "0")) + D(state["fees"].get(currency, "0")) == opening
