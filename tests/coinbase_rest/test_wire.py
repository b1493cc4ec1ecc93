"""No answer, however broken, raises or is believed (coinbase.md sections 0, 1, 2.6 to 2.12 and 4)."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.coinbase import wire, wire_pages
from exchange.coinbase.wire import Unreadable
from tests.coinbase_rest.made import GTD, IOC
from tests.coinbase_rest.venue import refused
from trading.messages.orders import OddFill, OrderStyle, OutcomeKind, VenueFill, VenueStatus
from trading.values import Side

DATA = Path(os.environ.get("BULKHEAD_SHARED_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
MINE = "bh-test-1"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(""),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def recorded(name: str) -> str:
    path = DATA / "rest_fixtures" / name
    if not path.exists():
        pytest.skip(f"{path} is not there (set BULKHEAD_SHARED_DATA)")
    return path.read_text()


def success(**inner: Any) -> str:
    return json.dumps({"success": True, "success_response": {"order_id": "v1", "client_order_id": MINE, **inner}})


# ---- placements ----

ANSWERS: list[tuple[str, int, str, OutcomeKind, str]] = [
    ("accepted", 200, success(), OutcomeKind.ACCEPTED, ""),
    ("accepted, the id at the top as years ago", 200, '{"success":true,"order_id":"v1"}', OutcomeKind.ACCEPTED, ""),
    (
        "accepted, with UNKNOWN_FAILURE_REASON beside",
        200,
        '{"success":true,"failure_reason":"UNKNOWN_FAILURE_REASON","success_response":{"order_id":"v1"}}',
        OutcomeKind.ACCEPTED,
        "",
    ),
    ("success without an order id", 200, '{"success":true}', OutcomeKind.UNKNOWN, "accepted_without_order_id"),
    (
        "success_response is null",
        200,
        '{"success":true,"success_response":null}',
        OutcomeKind.UNKNOWN,
        "accepted_without_order_id",
    ),
    (
        "order id is a number",
        200,
        '{"success":true,"success_response":{"order_id":7}}',
        OutcomeKind.UNKNOWN,
        "unreadable",
    ),
    (
        "another order's answer",
        200,
        success(client_order_id="bh-test-2"),
        OutcomeKind.UNKNOWN,
        "answer_about_another_order",
    ),
    (
        "HTTP 200 success false is a refusal",
        200,
        json.dumps(refused("INSUFFICIENT_FUND")),
        OutcomeKind.REJECTED,
        "INSUFFICIENT_FUND",
    ),
    (
        "reason in new_order_failure_reason",
        200,
        json.dumps(refused("", new_order_failure_reason="INVALID_LIMIT_PRICE_POST_ONLY")),
        OutcomeKind.REJECTED,
        "INVALID_LIMIT_PRICE_POST_ONLY",
    ),
    (
        "reason in preview_failure_reason",
        200,
        json.dumps(refused("UNKNOWN_FAILURE_REASON", preview_failure_reason="PREVIEW_INVALID_BASE_SIZE_TOO_SMALL")),
        OutcomeKind.REJECTED,
        "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL",
    ),
    ("no reason at all", 200, '{"success":false}', OutcomeKind.REJECTED, "no_reason_given"),
    ("error_response null", 200, '{"success":false,"error_response":null}', OutcomeKind.REJECTED, "no_reason_given"),
    (
        "a duplicate is a question",
        200,
        json.dumps(refused("DUPLICATE_CLIENT_ORDER_ID")),
        OutcomeKind.UNKNOWN,
        "DUPLICATE_CLIENT_ORDER_ID",
    ),
    (
        "a duplicate with 400",
        400,
        json.dumps(refused("DUPLICATE_CLIENT_ORDER_ID")),
        OutcomeKind.UNKNOWN,
        "DUPLICATE_CLIENT_ORDER_ID",
    ),
    (
        "refused, yet with an order id",
        200,
        '{"success":false,"success_response":{"order_id":"v1"}}',
        OutcomeKind.UNKNOWN,
        "no_reason_given",
    ),
    ("success is text", 200, '{"success":"true"}', OutcomeKind.UNKNOWN, "success_missing"),
    ("success is null", 200, '{"success":null}', OutcomeKind.UNKNOWN, "success_missing"),
    ("success is missing", 200, "{}", OutcomeKind.UNKNOWN, "success_missing"),
    ("HTML with 200", 200, "<html>maintenance</html>", OutcomeKind.UNKNOWN, "http_200_unreadable"),
    ("empty body", 200, "", OutcomeKind.UNKNOWN, "http_200_unreadable"),
    ("null", 200, "null", OutcomeKind.UNKNOWN, "http_200_unreadable"),
    ("a list", 200, "[]", OutcomeKind.UNKNOWN, "http_200_unreadable"),
    ("not utf-8", 200, "\udcff", OutcomeKind.UNKNOWN, "http_200_unreadable"),
    ("deep nesting", 200, "[" * 100_000, OutcomeKind.UNKNOWN, "http_200_unreadable"),
    ("401 as text", 401, "Unauthorized\n", OutcomeKind.REJECTED, "http_401"),
    ("403 with HTML", 403, "<html>", OutcomeKind.REJECTED, "http_403"),
    (
        "400 in the gRPC shape",
        400,
        '{"error":"INVALID_ARGUMENT","code":3,"message":"x","details":[]}',
        OutcomeKind.REJECTED,
        "INVALID_ARGUMENT",
    ),
    (
        "404 as recorded",
        404,
        '{"error":"unknown","error_details":"Not Found","message":"Not Found"}',
        OutcomeKind.REJECTED,
        "unknown",
    ),
    ("408 is no refusal", 408, "", OutcomeKind.UNKNOWN, "http_408"),
    (
        "429",
        429,
        '{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}',
        OutcomeKind.REJECTED,
        "http_429",
    ),
    ("500", 500, '{"error":"internal"}', OutcomeKind.UNKNOWN, "http_500"),
    ("502 with HTML", 502, "<html>bad gateway</html>", OutcomeKind.UNKNOWN, "http_502_unreadable"),
    ("503 that claims success false", 503, json.dumps(refused("INSUFFICIENT_FUND")), OutcomeKind.UNKNOWN, "http_503"),
    ("a redirect", 307, "", OutcomeKind.UNKNOWN, "http_307_unreadable"),
    ("201 that refuses", 201, json.dumps(refused("INSUFFICIENT_FUND")), OutcomeKind.UNKNOWN, "success_missing"),
]


@pytest.mark.parametrize(("status", "content", "kind", "reason"), [a[1:] for a in ANSWERS], ids=[a[0] for a in ANSWERS])
def test_every_answer_to_a_placement_is_one_of_four(status: int, content: str, kind: OutcomeKind, reason: str) -> None:
    verdict = wire.placed(status, content, MINE)
    assert (verdict.kind, verdict.reason) == (kind, reason)
    assert (verdict.venue_order_id == "v1") == (kind is OutcomeKind.ACCEPTED)


@given(st.integers(100, 599), st.binary(max_size=60) | st.text(max_size=60) | json_values.map(json.dumps))
@settings(max_examples=250, deadline=None)
def test_no_answer_to_a_placement_raises_or_says_not_sent(status: int, content: str | bytes) -> None:
    verdict = wire.placed(status, content, MINE)
    assert verdict.kind in (OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.UNKNOWN)
    if verdict.kind is OutcomeKind.REJECTED:
        assert (400 <= status < 500 and status != 408) or status == 200


fields = st.dictionaries(
    st.sampled_from(
        ["success", "success_response", "error_response", "order_id", "error", "client_order_id", "failure_reason"]
    ),
    json_values | st.just(True) | st.just(False) | st.fixed_dictionaries({"order_id": json_values}),
    max_size=6,
)


@given(fields)
@settings(max_examples=250, deadline=None)
def test_an_acceptance_always_names_its_order(answer: dict[str, Any]) -> None:
    verdict = wire.placed(200, json.dumps(answer), MINE)
    assert (verdict.kind is OutcomeKind.ACCEPTED) == bool(verdict.venue_order_id)
    if verdict.kind is OutcomeKind.ACCEPTED:
        assert answer["success"] is True


# ---- bodies ----


def test_bodies_are_plain_decimal_text_with_the_venues_names() -> None:
    assert wire.order_request("bh-x", GTD) == {
        "client_order_id": "bh-x",
        "product_id": "BTC-USD",
        "side": "BUY",
        "order_configuration": {
            "limit_limit_gtd": {
                "base_size": "0.001",
                "limit_price": "60000.01",
                "end_time": "2026-09-21T14:14:20Z",
                "post_only": True,
            }
        },
    }
    assert wire.order_configuration(IOC) == {"sor_limit_ioc": {"base_size": "0.001", "limit_price": "60000.01"}}


def test_a_number_never_leaves_in_scientific_form() -> None:
    import attrs

    tiny = attrs.evolve(IOC, base_size=Decimal("1E-8"), limit_price=Decimal("0E-36") + Decimal("1e-7"))
    fields = wire.order_configuration(tiny)["sor_limit_ioc"]
    assert fields["base_size"] == "0.00000001"
    assert "E" not in fields["limit_price"].upper()


@pytest.mark.parametrize("style", list(OrderStyle))
def test_every_style_has_a_configuration_that_the_sdk_knows(style: OrderStyle) -> None:
    import attrs

    (name,) = wire.order_configuration(attrs.evolve(GTD, style=style))
    assert name in {
        "limit_limit_gtd", "limit_limit_gtc", "limit_limit_fok", "sor_limit_ioc", "market_market_ioc",
    }  # fmt: skip


def test_an_order_without_an_id_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="client_order_id"):
        wire.order_request("", GTD)


def test_good_till_date_without_a_date_cannot_be_built() -> None:
    import attrs

    with pytest.raises(ValueError, match="end_time"):
        wire.order_request("bh-x", attrs.evolve(GTD, end_time_s=None))


# ---- listings ----

ORDER: dict[str, Any] = {
    "order_id": "v1",
    "client_order_id": MINE,
    "product_id": "BTC-USD",
    "side": "SELL",
    "status": "OPEN",
    "order_configuration": {"limit_limit_gtd": {"base_size": "0.01", "limit_price": "45000.00", "post_only": True,
                                                "end_time": "2026-01-15T10:05:00Z"}},
    "filled_size": "0.004",
    "average_filled_price": "45000",
    "filled_value": "180",
    "total_fees": "0.45",
    "created_time": "2026-01-15T10:00:00Z",
    "size_in_quote": False,
    "pending_cancel": False,
    "reject_reason": "REJECT_REASON_UNSPECIFIED",
}  # fmt: skip
FILL: dict[str, Any] = {
    "entry_id": "e1",
    "trade_id": "t1",
    "order_id": "v1",
    "trade_time": "2026-09-30T01:41:50.644123456Z",
    "trade_type": "FILL",
    "price": "60000.1",
    "size": "0.001",
    "commission": "0.240000400000000",
    "product_id": "BTC-USD",
    "liquidity_indicator": "MAKER",
    "size_in_quote": False,
    "side": "SELL",
}


def orders(*rows: Any, **more: Any) -> str:
    return json.dumps({"orders": list(rows), "has_next": False, "cursor": "", **more})


def test_an_order_is_read_in_fix_words() -> None:
    (order,) = wire_pages.order_page(orders(ORDER)).items
    assert (order.side, order.status, order.base_size) == (Side.SELL, VenueStatus.OPEN, Decimal("0.01"))
    assert (order.filled_size, order.fees_usd, order.post_only) == (Decimal("0.004"), Decimal("0.45"), True)
    assert order.end_time_s == order.created_s + 300.0
    assert order.reject_reason == ""


@pytest.mark.parametrize(
    ("word", "ours"),
    [("PENDING", "pending"), ("QUEUED", "pending"), ("OPEN", "open"), ("CANCEL_QUEUED", "pending_cancel"),
     ("EDIT_QUEUED", "open"), ("FILLED", "filled"), ("CANCELLED", "canceled"), ("EXPIRED", "expired"),
     ("FAILED", "rejected"), ("UNKNOWN_ORDER_STATUS", "unknown"), ("SOMETHING_NEW", "unknown"), (None, "unknown"),
     (7, "unknown")],
)  # fmt: skip
def test_an_unknown_status_proves_existence_and_nothing_more(word: object, ours: str) -> None:
    (order,) = wire_pages.order_page(orders({**ORDER, "status": word})).items
    assert order.status == ours


def test_pending_cancel_shows_in_the_status() -> None:
    (order,) = wire_pages.order_page(orders({**ORDER, "pending_cancel": True})).items
    assert order.status == VenueStatus.PENDING_CANCEL


def test_empty_strings_are_absent_numbers() -> None:
    row = {**ORDER, "filled_size": "", "average_filled_price": "", "filled_value": "", "total_fees": ""}
    (order,) = wire_pages.order_page(orders(row)).items
    assert (order.filled_size, order.average_price, order.fees_usd) == (0, 0, 0)


def test_a_filled_order_without_a_filled_size_is_not_believed() -> None:
    with pytest.raises(Unreadable):
        wire_pages.order_page(orders({**ORDER, "status": "FILLED", "filled_size": ""}))


@pytest.mark.parametrize(
    "answer",
    ['{"orders":null}', "{}", '{"orders":[null]}', '{"orders":{}}', "null", "<html>", '{"orders":[{}]}',
     orders({**ORDER, "client_order_id": None}), orders({**ORDER, "order_id": ""}), orders({**ORDER, "side": "HOLD"}),
     orders({**ORDER, "filled_size": "much"}), orders({**ORDER, "filled_size": "1e400"}),
     orders({**ORDER, "filled_size": "-1"}), orders(ORDER, has_next=True), orders(ORDER, has_next="maybe")],
)  # fmt: skip
def test_a_listing_with_a_broken_row_of_ours_is_no_listing(answer: str) -> None:
    with pytest.raises(Unreadable):
        wire_pages.order_page(answer)


def test_a_strangers_odd_row_does_not_blind_us() -> None:
    strange = {**ORDER, "client_order_id": "from-the-app", "side": "TWAP?", "order_configuration": None}
    assert [o.venue_order_id for o in wire_pages.order_page(orders(strange, ORDER)).items] == ["v1"]


@pytest.mark.parametrize("name", ["average_filled_price", "filled_value", "total_fees"])
def test_what_nothing_is_booked_by_makes_no_listing_unreadable(name: str) -> None:
    """Stops would wait for a listing that can never be read to its end."""
    odd, _ = wire_pages.order_page(orders({**ORDER, name: {"value": "?"}}, ORDER)).items
    assert (odd.average_price, odd.filled_value_usd, odd.fees_usd).count(Decimal(0)) >= 1


def test_a_null_configuration_is_read_without_a_size() -> None:
    (order,) = wire_pages.order_page(orders({**ORDER, "order_configuration": None})).items
    assert (order.base_size, order.limit_price) == (None, None)


def test_size_in_quote_is_solved() -> None:
    """Coinbase reports the size in quote currency for quote-sized orders; taken as base it once made sizes 3,000 x too large."""
    row = {**FILL, "size_in_quote": True, "size": "60.0001"}
    (fill,) = wire_pages.fill_page(json.dumps({"fills": [row], "cursor": ""})).items
    assert isinstance(fill, VenueFill)
    assert fill.base_size == Decimal("0.001")
    assert fill.fee_usd == Decimal("0.2400004")


@pytest.mark.parametrize(
    "name", ["entry_id", "trade_id", "order_id", "price", "size", "side", "trade_time", "product_id"]
)
@pytest.mark.parametrize("value", [None, "", [], "?"])
def test_a_fill_that_lacks_what_it_is_keyed_or_priced_by_is_odd_and_without_its_order_no_page(
    name: str, value: object
) -> None:
    if value == "?" and name in ("entry_id", "trade_id", "order_id", "product_id"):
        return
    content = json.dumps({"fills": [{**FILL, name: value}, FILL], "cursor": ""})
    if name == "order_id":
        with pytest.raises(Unreadable):
            wire_pages.fill_page(content)
        return
    odd, fill = wire_pages.fill_page(content).items
    assert isinstance(odd, OddFill) and isinstance(fill, VenueFill)
    assert odd.venue_order_id == fill.venue_order_id
    assert name in odd.why


def test_fills_page_until_the_cursor_is_empty() -> None:
    assert wire_pages.fill_page(json.dumps({"fills": [FILL], "cursor": "more"})).cursor == "more"
    assert wire_pages.fill_page(json.dumps({"fills": [FILL]})).cursor == ""


PARSERS = [
    wire_pages.order_page, wire_pages.single_order, wire_pages.fill_page, wire_pages.account_page, wire_pages.fees,
    wire_pages.account, wire_pages.product_page, wire_pages.product, wire_pages.best_bid_ask, wire_pages.server_time_s,
    wire_pages.candles, lambda content: wire.canceled(content, ["v1"]),
]  # fmt: skip
SEEDS: list[dict[str, Any]] = [
    {"orders": [ORDER], "has_next": False},
    {"order": ORDER},
    {"fills": [FILL], "cursor": ""},
    {"results": [{"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON", "order_id": "v1"}]},
    {"accounts": [{"currency": "USD", "available_balance": {"value": "1"}, "hold": {"value": "2"}}], "has_next": False},
    {"fee_tier": {"maker_fee_rate": "0.006", "taker_fee_rate": "0.012"}},
    {"can_view": True, "can_trade": True, "can_transfer": False, "portfolio_uuid": "p"},
    {
        "pricebooks": [
            {"product_id": "A", "bids": [{"price": "1"}], "asks": [{"price": "2"}], "time": "2026-01-01T00:00:00Z"}
        ]
    },
    {"epochMillis": "1790735849298"},
    {"candles": [{"start": "60", "low": "1", "high": "3", "open": "2", "close": "2", "volume": "9"}]},
]


@st.composite
def broken(draw: st.DrawFn) -> str:
    """A good answer with one value somewhere replaced by anything."""
    answer = json.loads(json.dumps(draw(st.sampled_from(SEEDS))))
    place: Any = answer
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        deeper = place[key]
        if isinstance(deeper, dict | list) and deeper and draw(st.booleans()):
            place = deeper
            continue
        if draw(st.booleans()) and isinstance(place, dict):
            del place[key]
        else:
            place[key] = draw(json_values)
        return json.dumps(answer)


@given(st.sampled_from(PARSERS), broken() | st.binary(max_size=40) | json_values.map(json.dumps))
@settings(max_examples=400, deadline=None)
def test_no_parser_raises_anything_but_unreadable(parser: Any, content: str | bytes) -> None:
    try:
        parser(content)
    except Unreadable as error:
        str(error).encode()  # and its sentence can be logged


# ---- money and market ----


def test_recorded_answers_are_read() -> None:
    balances = wire_pages.account_page(recorded("accounts_2026-09-30.json")).items
    assert [b.currency for b in balances] == ["SGD", "USD"]
    product = wire_pages.product(recorded("product_BTC-USD_2026-09-30.json"))
    assert (product.price_increment, product.quote_size_min) == (Decimal("0.01"), 1)
    listing, listed, total = wire_pages.product_page(recorded("products_list_2026-04-07.json"))
    assert (listed, total) == (2, 2)
    assert {p.product_id: p.alias for p in listing.items} == {"BTC-USD": "", "BTC-USDC": "BTC-USD"}
    assert wire_pages.server_time_s(recorded("time_2026-09-30.json")) == 1790735849.298
    fees = wire_pages.fees(recorded("transaction_summary_intro1.json"))
    assert (fees.maker_rate, fees.taker_rate, fees.tier) == (Decimal("0.006"), Decimal("0.012"), "Intro 1")


def test_only_spot_money_counts() -> None:
    def row(currency: str, **more: str) -> dict[str, Any]:
        return {"currency": currency, "available_balance": {"value": "1"}, "hold": {"value": "0.5"}, **more}

    answer = {
        "accounts": [
            row("USD", platform="ACCOUNT_PLATFORM_CONSUMER"),
            row("USD", platform="ACCOUNT_PLATFORM_CONSUMER"),
            row("BTC", type="ACCOUNT_TYPE_VAULT"),
            row("ETH", platform="ACCOUNT_PLATFORM_INTX"),
        ],
        "has_next": False,
    }
    (balance,) = wire_pages.summed(wire_pages.account_page(json.dumps(answer)).items)
    assert (balance.currency, balance.available, balance.hold) == ("USD", 2, 1)


@pytest.mark.parametrize("rate", ["40", "0.4", "-0.4", "", None, "NaN"])
def test_a_fee_rate_that_is_no_fraction_is_not_believed(rate: object) -> None:
    with pytest.raises(Unreadable):
        wire_pages.fees(json.dumps({"fee_tier": {"maker_fee_rate": "0.006", "taker_fee_rate": rate}}))


@pytest.mark.parametrize("value", [None, "", 0, "no"])
def test_silence_about_transfers_is_no_permission(value: object) -> None:
    answer = {"can_view": True, "can_trade": True, "can_transfer": value, "portfolio_uuid": "p"}
    with pytest.raises(Unreadable):
        wire_pages.account(json.dumps(answer))


def test_a_crossed_or_empty_book_is_no_quote() -> None:
    def book(bid: str, ask: str) -> dict[str, Any]:
        return {"product_id": "A", "bids": [{"price": bid}], "asks": [{"price": ask}], "time": "2026-01-01T00:00:00Z"}

    books = [book("2", "1"), book("1", "1"), {**book("1", "2"), "bids": []}, book("", "2"), book("1", "2")]
    (quote,) = wire_pages.best_bid_ask(json.dumps({"pricebooks": books}))
    assert (quote.bid, quote.ask) == (1, 2)


def test_a_product_with_an_empty_increment_is_unknown_and_the_rest_stays() -> None:
    row = json.loads(recorded("product_BTC-USD_2026-09-30.json"))
    answer = {"products": [{**row, "price_increment": ""}, {**row, "product_id": "ETH-USD"}], "num_products": 2}
    listing, _, _ = wire_pages.product_page(json.dumps(answer))
    assert [p.product_id for p in listing.items] == ["ETH-USD"]


def test_candles_come_ascending_and_consistent() -> None:
    def bar(start: int, low: str = "1", high: str = "3") -> dict[str, str]:
        return {"start": str(start), "low": low, "high": high, "open": "2", "close": "2", "volume": "9"}

    found = wire_pages.candles(json.dumps({"candles": [bar(120), bar(60), bar(180, low="2.5"), bar(240, high="x")]}))
    assert [candle.start_s for candle in found] == [60, 120]


# ---- secrets ----


def test_tokens_and_keys_are_cut_out_of_whatever_is_shown() -> None:
    token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
    shown = wire.scrubbed(f"got Authorization: Bearer {token} and my-secret", ["my-secret"])
    assert token not in shown
    assert "my-secret" not in shown
    assert "BEGIN" not in wire.scrubbed("-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----")
