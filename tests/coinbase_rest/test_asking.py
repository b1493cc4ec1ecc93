"""Questions: every page, retried with backoff inside the deadline, partial is no answer (coinbase.md sections 2, 6, 8)."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import jwt
import pytest

from exchange.coinbase.budgets import BudgetSettings, Rate
from exchange.coinbase.gateway import GatewaySettings
from exchange.coinbase.transport import boot_s
from tests.coinbase_rest.made import BTC, done, query
from tests.coinbase_rest.test_wire import FILL, ORDER
from tests.coinbase_rest.venue import OTHER_CA, Answer, Request, Venue
from trading.messages.orders import Page, QueryKind, VenueFill, VenueOrder, VenueStatus
from trading.product import Product

FAST = GatewaySettings(
    budgets=BudgetSettings(public=Rate(per_s=1e6, burst=1e6), private=Rate(per_s=1e6, burst=1e6, reserve=1.0))
)


def ask(venue: Venue, kind: QueryKind, deadline_s: float = 5.0, *, kept: Any = None, **fields: Any) -> Page:
    page = done(venue, query(kind, **fields), deadline_s, settings=FAST, **(kept or {})).outcome
    assert isinstance(page, Page)
    return page


def listing(*rows: Any, cursor: str = "") -> dict[str, Any]:
    return {"orders": list(rows), "sequence": "0", "has_next": bool(cursor), "cursor": cursor}


def test_orders_are_three_listings_and_all_their_pages() -> None:
    def serve(request: Request, answer: Answer) -> None:
        if request.query.get("order_status") == ["OPEN"]:
            if "cursor" not in request.query:
                answer.json(listing({**ORDER, "order_id": "v1"}, cursor="next"))
            else:
                answer.json(listing({**ORDER, "order_id": "v2"}))
        elif "order_status" in request.query:
            answer.json(listing({**ORDER, "order_id": "v3", "status": "PENDING"}))
        else:
            answer.json(listing({**ORDER, "order_id": "v2", "status": "FILLED"}))

    with Venue(serve) as venue:
        page = ask(venue, QueryKind.ORDERS, product_id="BTC-USD", since_s=1_790_000_000.0)
        asked = [
            (r.query.get("order_status"), r.query.get("start_date"), r.query["product_ids"]) for r in venue.requests
        ]
    assert page.complete
    found = {o.venue_order_id: o.status for o in page.items if isinstance(o, VenueOrder)}
    assert found == {"v1": VenueStatus.OPEN, "v2": VenueStatus.FILLED, "v3": VenueStatus.PENDING}
    assert [a[0] for a in asked] == [["OPEN"], ["OPEN"], ["PENDING", "QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED"], None]
    assert asked[-1][1:] == (["2026-09-21T14:13:20.000000Z"], ["BTC-USD"])


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_one_page_that_fails_makes_the_whole_listing_no_answer(broken: int) -> None:
    def serve(request: Request, answer: Answer) -> None:
        number = len(venue.requests) - 1
        if number == broken:
            answer.text(403, "no")
        elif number == 0:
            answer.json(listing(ORDER, cursor="next"))
        else:
            answer.json(listing())

    with Venue(serve) as venue:
        page = ask(venue, QueryKind.ORDERS, since_s=1.0)
    assert (page.complete, page.items) == (False, ())
    assert page.error.startswith("http_403")


def test_a_cursor_that_goes_in_a_circle_ends_as_no_answer() -> None:
    with Venue(lambda request, answer: answer.json(listing(cursor="same"))) as venue:
        page = ask(venue, QueryKind.ORDERS)
        assert len(venue.requests) == 2
    assert "circle" in page.error


def test_a_listing_as_long_as_the_venue_lists_at_most_proves_no_absence() -> None:
    rows = [{**ORDER, "order_id": f"v{n}"} for n in range(1000)]
    with Venue(lambda request, answer: answer.json(listing(*rows))) as venue:
        page = ask(venue, QueryKind.ORDERS)
    assert not page.complete


def test_questions_are_retried_with_backoff_until_they_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """502 with HTML, 503, a reset, HTML with 200, then the answer: what coinbase.md section 8 reports of incidents."""

    monkeypatch.setattr("exchange.coinbase.asking.BACKOFF_S", 0.02)

    def serve(request: Request, answer: Answer) -> None:
        match len(venue.requests):
            case 1:
                answer.text(502, "<html>bad gateway</html>")
            case 2:
                answer.text(503, "")
            case 3:
                answer.reset()
            case 4:
                answer.text(200, "<html>maintenance</html>")
            case _:
                answer.json({"epochMillis": "1790735849298"})

    with Venue(serve) as venue:
        called = done(venue, query(QueryKind.CLOCK), 20.0, settings=FAST)
    assert isinstance(called.outcome, Page)
    assert called.outcome.items == (1790735849.298,)
    assert (called.requests, called.errors) == (5, 4)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(status: int) -> None:
    def serve(request: Request, answer: Answer) -> None:
        if len(venue.requests) == 1:
            answer.text(status, "", {"Retry-After": "0.4"})
        else:
            answer.json({"epochMillis": "1790735849298"})

    with Venue(serve) as venue:
        called = done(venue, query(QueryKind.CLOCK), 5.0, settings=FAST)
        first, second = (request.at_s for request in venue.requests)
    assert second - first >= 0.4
    assert (called.throttled, called.outcome.complete) == (int(status == 429), True)


def test_a_retry_after_beyond_the_deadline_ends_at_once() -> None:
    with Venue(lambda request, answer: answer.text(429, "", {"Retry-After": "3600"})) as venue:
        started = boot_s()
        page = ask(venue, QueryKind.CLOCK)
        assert boot_s() - started < 2.0
        assert len(venue.requests) == 1
    assert not page.complete


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refused_question_is_not_asked_again(status: int) -> None:
    missing = '{"error":"PERMISSION_DENIED","error_details":"Missing required scopes"}'
    with Venue(lambda request, answer: answer.text(status, missing)) as venue:
        page = ask(venue, QueryKind.BALANCES)
        assert len(venue.requests) == 1
    assert page.error == f"http_{status}: {missing}"


def test_a_401_is_asked_once_more_with_a_new_token() -> None:
    """Intermittent 401 for valid tokens (SDK issue 132); a key that is really wrong costs one request more."""
    with Venue(lambda request, answer: answer.text(401, "Unauthorized\n", {"Content-Type": "text/plain"})) as venue:
        page = ask(venue, QueryKind.BALANCES)
        tokens = [request.headers["authorization"] for request in venue.requests]
    assert page.error == "http_401: Unauthorized"
    assert len(tokens) == len(set(tokens)) == 2


def test_each_request_carries_a_fresh_token_for_its_own_path() -> None:
    def serve(request: Request, answer: Answer) -> None:
        answer.json(listing(cursor="n" if "cursor" not in request.query else ""))

    with Venue(serve) as venue:
        ask(venue, QueryKind.ORDERS)
        host = venue.endpoints.rest
        claims = [
            jwt.decode(r.headers["authorization"][7:], options={"verify_signature": False}) for r in venue.requests
        ]
    assert {c["uri"] for c in claims} == {f"GET {host}/api/v3/brokerage/orders/historical/batch"}
    assert all(c["exp"] - c["nbf"] == 120 for c in claims)
    assert len({r.headers["authorization"] for r in venue.requests}) == len(venue.requests)


def test_the_environment_cannot_lead_us_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """REQUESTS_CA_BUNDLE wins over `session.verify`, and proxies over everything, unless the session looks away."""
    bundle = tmp_path / "other.pem"
    OTHER_CA.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with Venue(lambda request, answer: answer.json({"epochMillis": "1790735849298"})) as venue:
        assert ask(venue, QueryKind.CLOCK).complete


@pytest.mark.parametrize("spelling", ["x-ratelimit-remaining", "X-RateLimit-Remaining"])
def test_rate_headers_are_heard_however_they_are_spelled(spelling: str) -> None:
    """The SDK looks them up in lower case only."""

    def serve(request: Request, answer: Answer) -> None:
        answer.json(
            {"epochMillis": "1790735849298"}, headers={spelling: "3", spelling.replace("emaining", "eset"): "9"}
        )

    with Venue(serve) as venue:
        called = done(venue, query(QueryKind.CLOCK), settings=FAST)
    assert called.limit_remaining == 3


def test_a_gzipped_answer_is_read_and_a_lying_one_is_no_answer() -> None:
    good = gzip.compress(b'{"epochMillis": "1790735849298"}')

    def serve(request: Request, answer: Answer) -> None:
        answer.text(200, good if len(venue.requests) > 1 else b"not gzip", {"Content-Encoding": "gzip"})

    with Venue(serve) as venue:
        called = done(venue, query(QueryKind.CLOCK), settings=FAST)
    assert (called.outcome.complete, called.requests, called.errors) == (True, 2, 1)


def test_a_question_ends_at_its_deadline() -> None:
    with Venue(lambda request, answer: answer.silence()) as venue:
        started = boot_s()
        page = ask(venue, QueryKind.CLOCK, 0.5)
    assert not page.complete
    assert boot_s() - started < 1.5


def test_pages_and_retries_keep_to_the_budget() -> None:
    """Ten pages at 20 a second from an empty bucket take half a second, whatever the venue would let through."""
    settings = GatewaySettings(budgets=BudgetSettings(private=Rate(per_s=20.0, burst=1.0)))

    def serve(request: Request, answer: Answer) -> None:
        number = len(venue.requests)
        answer.json(listing(cursor=f"c{number}" if number < 10 else ""))

    with Venue(serve) as venue:
        page = done(venue, query(QueryKind.ORDERS), 10.0, settings=settings).outcome
        times = [request.at_s for request in venue.requests]
    assert page.complete
    assert len(times) == 11  # ten pages of OPEN, one of PENDING
    assert times[-1] - times[0] >= 0.45


def test_every_account_page_is_read_and_a_currency_is_summed() -> None:
    def row(currency: str, value: str) -> dict[str, Any]:
        return {"currency": currency, "available_balance": {"value": value}, "hold": {"value": "0"}}

    def serve(request: Request, answer: Answer) -> None:
        if "cursor" not in request.query:
            answer.json({"accounts": [row("USD", "1"), row("BTC", "2")], "has_next": True, "cursor": "n"})
        else:
            answer.json({"accounts": [row("USD", "10.5")], "has_next": False, "cursor": ""})

    with Venue(serve) as venue:
        page = ask(venue, QueryKind.BALANCES)
    assert {b.currency: b.available for b in page.items} == {"USD": Decimal("11.5"), "BTC": Decimal(2)}


def test_fills_are_asked_by_order_in_chunks_and_paged_until_the_cursor_is_empty() -> None:
    def serve(request: Request, answer: Answer) -> None:
        first = request.query["order_ids"][0]
        more = "cursor" not in request.query and first == "v0"
        entry = f"{first}-{request.query.get('cursor', [''])[0]}"
        answer.json({"fills": [{**FILL, "entry_id": entry}], "cursor": "n" if more else ""})

    with Venue(serve) as venue:
        page = ask(venue, QueryKind.FILLS, venue_order_ids=tuple(f"v{n}" for n in range(60)))
    assert [f.entry_id for f in page.items if isinstance(f, VenueFill)] == ["v0-", "v0-n", "v50-"]


def test_products_are_asked_privately_with_a_key_and_publicly_without() -> None:
    row = {
        "product_id": "BTC-USD", "base_currency_id": "BTC", "quote_currency_id": "USD", "price_increment": "0.01",
        "base_increment": "0.00000001", "quote_increment": "0.01", "base_min_size": "0.00000001",
        "base_max_size": "3400", "quote_min_size": "1", "quote_max_size": "150000000", "status": "online",
        **dict.fromkeys(
            ("trading_disabled", "is_disabled", "cancel_only", "limit_only", "post_only", "auction_mode"), False
        ),
    }  # fmt: skip

    def serve(request: Request, answer: Answer) -> None:
        offset = int(request.query.get("offset", ["0"])[0])
        answer.json({"products": [{**row, "product_id": f"P{offset}-USD"}], "num_products": 2})

    with Venue(serve) as venue:
        page = ask(venue, QueryKind.PRODUCTS)
        assert [r.path for r in venue.requests] == ["/api/v3/brokerage/products"] * 2
        assert venue.requests[0].query["get_tradability_status"] == ["true"]
    assert [p.product_id for p in page.items if isinstance(p, Product)] == ["P0-USD", "P1-USD"]
    assert attrs.evolve(page.items[0], product_id="BTC-USD") == BTC  # type: ignore[type-var]
    with Venue(serve) as venue:
        ask(venue, QueryKind.PRODUCTS, kept={"key_name": None, "key_secret": None})
        assert venue.requests[0].path == "/api/v3/brokerage/market/products"
        assert "authorization" not in venue.requests[0].headers


def test_candles_are_asked_in_windows_and_come_once_each() -> None:
    def serve(request: Request, answer: Answer) -> None:
        start, end = int(request.query["start"][0]), int(request.query["end"][0])
        bars = [
            {"start": str(s), "low": "1", "high": "3", "open": "2", "close": "2", "volume": "1"}
            for s in range(start, end + 1, 300)
        ]
        answer.json({"candles": bars[::-1]})

    first = 1_790_000_100  # a multiple of 300
    with Venue(serve) as venue:
        page = ask(
            venue, QueryKind.CANDLES, product_id="BTC-USD", bar_s=300, since_s=first - 10.0, until_s=first + 700 * 300.0
        )
        assert len(venue.requests) == 3
        assert all(r.query["granularity"] == ["FIVE_MINUTE"] for r in venue.requests)
    starts = [candle.start_s for candle in page.items]  # type: ignore[union-attr]
    assert starts == list(range(first, first + 700 * 300, 300))


@pytest.mark.parametrize("bad", ["../accounts", "a/b", "", "..", "a?b=c", "a b"])
def test_an_id_from_outside_cannot_lead_elsewhere(bad: str) -> None:
    with Venue(lambda request, answer: answer.json({})) as venue:
        page = ask(venue, QueryKind.ORDER, venue_order_ids=(bad,))
        assert venue.requests == []
    assert not page.complete


def test_the_clock_is_read_between_asking_and_answering() -> None:
    with Venue(lambda request, answer: answer.json({"epochMillis": "1790735849298"})) as venue:
        before = boot_s()
        page = ask(venue, QueryKind.CLOCK)
    assert before <= page.asked_boot_s <= page.answered_boot_s <= boot_s()


def test_nulls_in_an_answer_never_reach_the_sdks_types() -> None:
    """`{"orders": null}` makes the SDK's own types raise TypeError."""
    with Venue(lambda request, answer: answer.text(200, json.dumps({"orders": None}))) as venue:
        page = ask(venue, QueryKind.ORDERS, 3.0)
    assert not page.complete
    assert page.error.startswith("unreadable: orders is NoneType")
