"""The sweep: cancels what is ours and nothing else, without a bot, through every trouble (protocol sections 5 to 7)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from exchange.coinbase.asking import NoAnswerError
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.sweep import SweepSettings, SweepThread, ask_tag, list_ours, sweep
from exchange.coinbase.transport import boot_s
from tests.coinbase_rest.test_wire import ORDER
from tests.coinbase_rest.venue import KEY_NAME, KEY_SECRET, Answer, Request, Venue
from tests.support import eventually
from trading.messages.control import SweepOrdered, SweepReport
from trading.values import account_tag

KEY = ApiKey(KEY_NAME, KEY_SECRET)
PORTFOLIO = "p-896794"
"""Its tag is "test"."""
FAST = SweepSettings(apart_s=0.3, every_s=0.2, busy_s=0.05, pass_s=2.0, error_s_max=0.1)


class Book:
    """Orders at the venue, as a handler. trouble: may answer in its place (and returns True then)."""

    def __init__(
        self,
        *rows: tuple[str, str, str],
        trouble: Callable[[Request, Answer], bool] | None = None,
        portfolio: str = PORTFOLIO,
    ) -> None:
        self.portfolio = portfolio
        self.rows = {venue_id: [client_id, status] for venue_id, client_id, status in rows}
        self.trouble = trouble
        self.canceled: list[str] = []

    def __call__(self, request: Request, answer: Answer) -> None:
        if self.trouble and self.trouble(request, answer):
            return
        if request.path.endswith("key_permissions"):
            answer.json({"can_view": True, "can_trade": True, "can_transfer": False, "portfolio_uuid": self.portfolio})
            return
        if request.path.endswith("batch_cancel"):
            results = []
            for key in request.json["order_ids"]:
                self.canceled.append(key)
                self.rows[key][1] = "CANCELLED"
                results.append({"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON", "order_id": key})
            answer.json({"results": results})
            return
        statuses = request.query["order_status"]
        orders = [
            {**ORDER, "order_id": key, "client_order_id": client, "status": status}
            for key, (client, status) in self.rows.items()
            if status in statuses
        ]
        answer.json({"orders": orders, "has_next": False, "cursor": ""})


def swept(book: Book, seconds: float = 5.0, **kept: Any) -> tuple[SweepReport, list[SweepReport]]:
    told: list[SweepReport] = []
    with Venue(book) as venue:
        last = sweep(
            venue.endpoints, KEY, "test", boot_s() + seconds, told.append, settings=FAST, leave_when_clean=True, **kept
        )
    return last, told


def test_what_is_ours_is_cancelled_and_nothing_else() -> None:
    book = Book(
        ("v1", "bh-test-a", "OPEN"),
        ("v2", "bh-test-b", "PENDING"),
        ("v3", "bh-other-c", "OPEN"),
        ("v4", "by-hand", "OPEN"),
        ("v5", "", "OPEN"),
    )
    last, _ = swept(book)
    assert (last.clean, last.canceled, last.listed) == (True, ("bh-test-a", "bh-test-b"), 0)
    assert sorted(book.canceled) == ["v1", "v2"]


def test_clean_means_twice_empty_some_time_apart() -> None:
    started = boot_s()
    last, told = swept(Book())
    assert last.clean
    assert [report.clean for report in told] == [False, True]
    assert boot_s() - started >= FAST.apart_s


def test_the_key_of_another_account_lists_none_of_ours_and_that_is_never_clean() -> None:
    """Of guardian and kill switch as of panic: people would be told that nothing of ours rests."""
    last, told = swept(Book(portfolio="p-1"))
    assert not any(report.clean for report in told)
    assert "another account" in last.error
    assert len(told) == 2, "and panic need not wait for its end"


def test_a_sweep_is_clean_once_the_venue_tells_whose_key_it_is_and_cancels_meanwhile() -> None:
    book = Book()
    asked: list[Request] = []

    def untold(request: Request, answer: Answer) -> bool:
        if not request.path.endswith("key_permissions"):
            return False
        asked.append(request)
        if len(asked) == 1:
            book.rows["v9"] = ["bh-test-late", "OPEN"]
        if len(asked) < 4:
            answer.text(403, "no")
        return len(asked) < 4

    book.trouble = untold
    last, told = swept(book, 20.0)
    assert (last.clean, book.canceled) == (True, ["v9"])
    assert any("whose key" in report.error for report in told)
    assert [report.clean for report in told].index(True) == len(told) - 1


def test_an_order_that_arrives_after_the_first_empty_pass_is_caught() -> None:
    book = Book()
    arrived = threading.Event()

    def late(request: Request, answer: Answer) -> bool:
        if len(venue.requests) >= 3 and not arrived.is_set():
            arrived.set()
            book.rows["v9"] = ["bh-test-late", "OPEN"]
        return False

    book.trouble = late
    with Venue(book) as venue:
        last = sweep(venue.endpoints, KEY, "test", boot_s() + 5.0, settings=FAST, leave_when_clean=True)
    assert last.canceled == ("bh-test-late",)
    assert last.clean


def test_a_sweep_goes_on_after_it_is_clean_until_its_end() -> None:
    book = Book()
    told: list[SweepReport] = []

    def hear(report: SweepReport) -> None:
        told.append(report)
        if report.clean and not book.canceled:
            book.rows["v9"] = ["bh-test-late", "OPEN"]

    with Venue(book) as venue:
        last = sweep(venue.endpoints, KEY, "test", boot_s() + 1.5, hear, settings=FAST)
    assert book.canceled == ["v9"]
    assert last.clean


def test_a_failed_listing_is_not_empty_and_what_was_listed_is_cancelled_all_the_same() -> None:
    book = Book(("v1", "bh-test-a", "OPEN"))

    def half(request: Request, answer: Answer) -> bool:
        if "PENDING" in request.query.get("order_status", []):
            answer.text(403, "no")
            return True
        return False

    book.trouble = half
    last, told = swept(book, 0.5)
    assert book.canceled == ["v1"]
    assert not last.clean
    assert "http_403" in told[0].error


def test_what_the_first_pages_list_is_cancelled_although_the_next_page_never_comes() -> None:
    book = Book(("v1", "bh-test-a", "OPEN"))

    def paged(request: Request, answer: Answer) -> bool:
        if "OPEN" not in request.query.get("order_status", []) or book.canceled:
            return False
        if "cursor" in request.query:
            answer.text(429, "", {"Retry-After": "30"})
        else:
            row = {**ORDER, "order_id": "v1", "client_order_id": "bh-test-a", "status": "OPEN"}
            answer.json({"orders": [row], "has_next": True, "cursor": "2"})
        return True

    book.trouble = paged
    last, _ = swept(book, 1.0)
    assert book.canceled == ["v1"]
    assert not last.clean


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"client_order_id": "bh-test-odd", "side": "SHORT", "filled_size": "a few"}, ""),
        ({"client_order_id": "bh-test-odd", "status": "A_NEW_WORD", "product_id": None}, ""),
        ({"client_order_id": None}, "without client_order_id"),
        ({"client_order_id": "bh-test-odd", "order_id": ""}, "bh-test-odd: order_id is missing"),
        ({"client_order_id": "by-hand", "order_id": None}, ""),
    ],
)
def test_one_row_that_cannot_be_read_holds_up_no_cancel_and_what_may_hide_ours_is_not_clean(odd, said) -> None:
    book = Book(("v1", "bh-test-a", "OPEN"), ("v2", "bh-test-odd", "OPEN"))

    def listed(request: Request, answer: Answer) -> bool:
        if "OPEN" not in request.query.get("order_status", []):
            return False
        rows = [{**ORDER, "order_id": "v1", "client_order_id": "bh-test-a", "status": "OPEN"}] * (
            "v1" not in book.canceled
        )
        rows += [{**ORDER, "order_id": "v2", "status": "OPEN", **odd}] * ("v2" not in book.canceled)
        answer.json({"orders": rows, "has_next": False, "cursor": ""})
        return True

    book.trouble = listed
    last, told = swept(book, 1.0)
    by_name = odd["client_order_id"] == "bh-test-odd" and "order_id" not in odd
    assert set(book.canceled) == ({"v1", "v2"} if by_name else {"v1"})
    assert last.clean is not bool(said)
    assert said in told[0].error


def test_a_row_that_is_no_object_holds_up_no_cancel_and_is_not_clean() -> None:
    book = Book(("v1", "bh-test-a", "OPEN"))

    def listed(request: Request, answer: Answer) -> bool:
        if "OPEN" not in request.query.get("order_status", []):
            return False
        rows = [] if book.canceled else [{**ORDER, "order_id": "v1", "client_order_id": "bh-test-a", "status": "OPEN"}]
        answer.json({"orders": [None, *rows], "has_next": False, "cursor": ""})
        return True

    book.trouble = listed
    last, told = swept(book, 1.0)
    assert book.canceled == ["v1"]
    assert not last.clean and "not an object" in told[0].error


def test_a_page_that_does_not_tell_where_the_next_one_is_is_cancelled_and_not_clean() -> None:
    book = Book(("v1", "bh-test-a", "OPEN"))

    def cut(request: Request, answer: Answer) -> bool:
        if "OPEN" not in request.query.get("order_status", []):
            return False
        rows = [] if book.canceled else [{**ORDER, "order_id": "v1", "client_order_id": "bh-test-a", "status": "OPEN"}]
        answer.json({"orders": rows, "has_next": True, "cursor": ""})
        return True

    book.trouble = cut
    last, _ = swept(book, 0.5)
    assert book.canceled == ["v1"]
    assert not last.clean


def test_a_thousand_open_orders_of_others_may_hide_ours_so_neither_sweep_nor_listing_calls_it_clean() -> None:
    book = Book(*((f"v{n}", f"by-hand-{n}", "OPEN") for n in range(1000)))
    last, told = swept(book, 1.5)
    assert not last.clean and not book.canceled
    assert "may end there" in told[0].error
    with Venue(book) as venue:
        found = list_ours(venue.endpoints, KEY, "test", boot_s() + 3.0)
    assert (found.complete, found.orders) == (False, ())


def test_without_network_it_keeps_trying_and_is_clean_when_the_venue_answers_again() -> None:
    book = Book(("v1", "bh-test-a", "OPEN"))

    def down(request: Request, answer: Answer) -> bool:
        if len(venue.requests) <= 3:
            answer.reset()
            return True
        return False

    book.trouble = down
    with Venue(book) as venue:
        last = sweep(venue.endpoints, KEY, "test", boot_s() + 20.0, settings=FAST, leave_when_clean=True)
    assert (last.clean, book.canceled) == (True, ["v1"])


def test_retry_after_is_obeyed() -> None:
    book = Book(("v1", "bh-test-a", "OPEN"))

    def throttle(request: Request, answer: Answer) -> bool:
        if len(venue.requests) == 1:
            answer.text(429, "", {"Retry-After": "0.5"})
            return True
        return False

    book.trouble = throttle
    with Venue(book) as venue:
        sweep(venue.endpoints, KEY, "test", boot_s() + 5.0, settings=FAST, leave_when_clean=True)
        listings = [r for r in venue.requests if r.query.get("order_status") == ["OPEN"]]
    assert listings[1].at_s - listings[0].at_s >= 0.5
    assert book.canceled == ["v1"]


def test_two_hundred_and_fifty_orders_go_in_three_batches_within_two_seconds() -> None:
    book = Book(*((f"v{n}", f"bh-test-{n}", "OPEN") for n in range(250)))
    with Venue(book) as venue:
        started = boot_s()
        last = sweep(venue.endpoints, KEY, "test", boot_s() + 10.0, settings=FAST, leave_when_clean=True)
        batches = venue.posts()
    assert [len(request.json["order_ids"]) for request in batches] == [100, 100, 50]
    assert batches[-1].at_s - started < 2.0
    assert len(last.canceled) == 250


def test_cancels_that_are_accepted_are_not_done_until_the_listing_says_so() -> None:
    book = Book(("v1", "bh-test-a", "OPEN"))

    def slow(request: Request, answer: Answer) -> bool:
        if request.path.endswith("batch_cancel") and len(venue.posts()) <= 2:
            book.rows["v1"][1] = "CANCEL_QUEUED"
            answer.json({"results": [{"success": True, "failure_reason": "", "order_id": "v1"}]})
            return True
        return False

    book.trouble = slow
    with Venue(book) as venue:
        last = sweep(venue.endpoints, KEY, "test", boot_s() + 5.0, settings=FAST, leave_when_clean=True)
        assert len(venue.posts()) == 3
    assert last.clean


def test_a_sweep_can_be_stopped_and_its_end_moved() -> None:
    told: list[SweepReport] = []
    with Venue(Book()) as venue:
        thread = SweepThread(venue.endpoints, KEY, "test", told.append)
        thread.order(SweepOrdered(reason="kill", until_boot_s=boot_s() + 60.0))
        thread.order(SweepOrdered(reason="kill", until_boot_s=boot_s() + 120.0))
        eventually(lambda: told)
        assert thread.running
        thread.stop()
        assert thread.join(5.0)
        thread.order(SweepOrdered(reason="again", until_boot_s=boot_s() + 60.0))
        eventually(lambda: len(told) >= 2)
        thread.stop()
        assert thread.join(5.0)


def test_listing_ours_tells_complete_or_not() -> None:
    with Venue(Book(("v1", "bh-test-a", "OPEN"), ("v2", "by-hand", "OPEN"))) as venue:
        found = list_ours(venue.endpoints, KEY, "test", boot_s() + 3.0)
        assert (found.complete, found.orders) == (True, ("bh-test-a",))
    with Venue(lambda request, answer: answer.silence()) as venue:
        started = boot_s()
        found = list_ours(venue.endpoints, KEY, "test", boot_s() + 0.5)
        assert not found.complete
        assert boot_s() - started < 1.5


def test_the_tag_can_be_asked_for() -> None:
    answer_ = {"can_view": True, "can_trade": True, "can_transfer": False, "portfolio_uuid": "p-1"}
    with Venue(lambda request, answer: answer.json(answer_)) as venue:
        assert ask_tag(venue.endpoints, KEY, boot_s() + 3.0) == account_tag("p-1")
    with Venue(lambda request, answer: answer.text(401, "Unauthorized\n")) as venue, pytest.raises(NoAnswerError):
        ask_tag(venue.endpoints, KEY, boot_s() + 3.0)
