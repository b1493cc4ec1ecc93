"""Carrying out one Query: every page, retried with full-jitter backoff inside its deadline; partial is no answer.

Questions may be repeated, placements never: this file can only GET. Each request takes a token of the shared budget
first and waits for it, so that pages and retries stay inside the venue's limits as well.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import define, field

from exchange.coinbase import wire_pages
from exchange.coinbase.budgets import Budgets, RateClass
from exchange.coinbase.transport import Reply, VenueSession, boot_s
from exchange.coinbase.wire import Unreadable, as_text, shortened
from trading.messages.orders import OddFill, Page, PageItem, Query, QueryKind, VenueFill, VenueOrder, VenueStatus
from trading.values import utc_text

Answer = TypeVar("Answer")
Parser = Callable[[bytes], Answer]

PAGES_MAX = 200
BACKOFF_S = 0.25
BACKOFF_S_MAX = 8.0
ORDERS_PER_PAGE = 250
ACCOUNTS_PER_PAGE = 250
FILLS_PER_PAGE = 100
IDS_PER_REQUEST = 50
CANDLES_PER_REQUEST = 300
OPEN_LISTED_MAX = 1000
"""The venue lists at most so many OPEN orders; at that length absence proves nothing."""

GRANULARITIES = {
    60: "ONE_MINUTE",
    300: "FIVE_MINUTE",
    900: "FIFTEEN_MINUTE",
    1800: "THIRTY_MINUTE",
    3600: "ONE_HOUR",
    7200: "TWO_HOUR",
    14400: "FOUR_HOUR",
    21600: "SIX_HOUR",
    86400: "ONE_DAY",
}


class NoAnswerError(Exception):
    """The question stays open; the text says why, in words that hold no secret."""


class SharedBudgets:
    """`Budgets` behind a lock, for threads that wait."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._lock = threading.Lock()

    def wait(self, rate_class: RateClass, *, urgent: bool, until_boot_s: float, stop: threading.Event) -> bool:
        """True when one request may leave; False when that is not before `until_boot_s`, or `stop` is set."""
        while not stop.is_set():
            now_boot_s = boot_s()
            with self._lock:
                if self._budgets.take(rate_class, now_boot_s, urgent=urgent):
                    return True
                ready = self._budgets.ready_boot_s(rate_class, now_boot_s, urgent=urgent)
            if ready >= until_boot_s:
                return False
            stop.wait(max(0.001, ready - now_boot_s))
        return False

    def learn(self, rate_class: RateClass, reply: Reply) -> None:
        """429, Retry-After and x-ratelimit headers of an answer."""
        with self._lock:
            if reply.status == 429:
                self._budgets.throttled(rate_class, reply.answered_boot_s, reply.retry_after_s)
            elif reply.status is not None:
                self._budgets.succeeded(rate_class)
            self._budgets.headers(rate_class, reply.answered_boot_s, reply.limit_remaining, reply.limit_reset_s)


@define
class Tally:
    """What one Call has cost, for `Called`."""

    requests: int = 0
    errors: int = 0
    throttled: int = 0
    retry_after_s: float | None = None
    latency_s: float | None = None
    limit_remaining: int | None = None
    limit_reset_s: float | None = None

    def count(self, reply: Reply, *, failed: bool) -> None:
        if not reply.began and reply.refusal is not None:
            return
        self.requests += 1
        self.errors += failed
        if reply.status == 429:
            self.throttled += 1
            self.retry_after_s = reply.retry_after_s
        if reply.status is not None:
            self.latency_s = reply.latency_s
            self.limit_remaining, self.limit_reset_s = reply.limit_remaining, reply.limit_reset_s


@define
class Asker:
    """One Query under way. private: a key signs. urgent: may use the reserve of the budget."""

    session: VenueSession
    budgets: SharedBudgets
    deadline_boot_s: float
    stop: threading.Event
    private: bool
    urgent: bool
    tally: Tally = field(factory=Tally)
    asked_boot_s: float | None = None
    answered_boot_s: float | None = None
    jitter: Callable[[], float] = random.random

    def get(self, path: str, params: dict[str, Any], read: Parser[Answer], rate_class: RateClass) -> Answer:
        """The answer, read; repeated while it is not one and time is left. NoAnswerError otherwise."""
        error = "no time to ask"
        for attempt in range(1000):
            if not self.budgets.wait(rate_class, urgent=self.urgent, until_boot_s=self.deadline_boot_s, stop=self.stop):
                raise NoAnswerError(f"{error}; no budget before the deadline")
            reply = self.session.send("GET", path, params=params, deadline_boot_s=self.deadline_boot_s)
            self.budgets.learn(rate_class, reply)
            if reply.status == 200:
                try:
                    answer = read(reply.content)
                except Unreadable as unreadable:
                    error = f"unreadable: {unreadable}"
                else:
                    self.tally.count(reply, failed=False)
                    self.asked_boot_s = reply.sent_boot_s if self.asked_boot_s is None else self.asked_boot_s
                    self.answered_boot_s = reply.answered_boot_s
                    return answer
            elif reply.status is None:
                error = reply.error
            else:
                error = f"http_{reply.status}: {shortened(as_text(reply.content))}"
            self.tally.count(reply, failed=True)
            if _final(reply.status, attempt):
                raise NoAnswerError(error)
            wait_s = self.jitter() * min(BACKOFF_S_MAX, BACKOFF_S * 2.0 ** min(attempt, 10))
            if reply.retry_after_s is not None:
                wait_s = max(wait_s, reply.retry_after_s)
            if boot_s() + wait_s >= self.deadline_boot_s or self.stop.wait(wait_s):
                raise NoAnswerError(error)
        raise NoAnswerError(error)

    def pages(
        self,
        path: str,
        params: dict[str, Any],
        read: Parser[wire_pages.Listing[Answer]],
        found: list[Answer] | None = None,
    ) -> list[Answer]:
        """Every page of a private listing. found: filled page by page, for who can use what was read before a NoAnswerError."""
        found = [] if found is None else found
        cursors: set[str] = set()
        asking = dict(params)
        for _ in range(PAGES_MAX):
            page = self.get(path, asking, read, RateClass.PRIVATE)
            found += page.items
            if not page.cursor:
                return found
            if page.cursor in cursors:
                raise NoAnswerError("the venue's cursor goes in a circle")
            cursors.add(page.cursor)
            asking = {**params, "cursor": page.cursor}
        raise NoAnswerError(f"more than {PAGES_MAX} pages")


def _final(status: int | None, attempt: int) -> bool:
    """A refusal that asking again will not change. Coinbase answers 401 to valid tokens now and then (SDK issue 132)."""
    if status is None or not 400 <= status < 500 or status in (408, 429):
        return False
    return status != 401 or attempt > 0


def answer(query: Query, asker: Asker) -> Page:
    """The Page of `query`; complete False with the reason when any part of it is missing. Never raises."""
    items: Sequence[PageItem] = ()
    complete, error = True, ""
    try:
        items = _ANSWERS[query.kind](query, asker)
    except NoAnswerError as no_answer:
        complete, error = False, str(no_answer)
    except Exception as failure:  # a bug here must cost an answer, not a worker
        complete, error = False, f"{type(failure).__name__} while reading"
    answered = boot_s() if asker.answered_boot_s is None else asker.answered_boot_s
    return Page(
        query_id=query.query_id,
        kind=query.kind,
        complete=complete,
        items=tuple(items) if complete else (),
        error=error,
        asked_boot_s=answered if asker.asked_boot_s is None else asker.asked_boot_s,
        answered_boot_s=answered,
    )


def _orders(query: Query, asker: Asker) -> list[VenueOrder]:
    """Three listings (protocol section 3): OPEN may not be combined and hides what is pending; the last has no status filter,
    so that what moves between the first two is found there.
    """
    base: dict[str, Any] = {"limit": ORDERS_PER_PAGE}
    if query.product_id:
        base["product_ids"] = [query.product_id]
    listings = [{"order_status": ["OPEN"]}, {"order_status": ["PENDING", "QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED"]}]
    if query.since_s is not None:
        listings.append({"start_date": [utc_text(query.since_s)]})
    found: dict[str, VenueOrder] = {}
    for filters in listings:
        listed = asker.pages("/orders/historical/batch", {**base, **filters}, wire_pages.order_page)
        refuse_cut_listing(filters.get("order_status", ()), listed)
        for order in listed:
            known = found.get(order.venue_order_id)
            if known is None or VenueStatus(order.status).rank >= VenueStatus(known.status).rank:
                found[order.venue_order_id] = order
    return list(found.values())


def refuse_cut_listing(statuses: Sequence[str], listed: Sequence[object]) -> None:
    """NoAnswerError for a listing of OPEN orders, of whomever, that is as long as the venue makes one: ours may be behind it."""
    if "OPEN" in statuses and len(listed) >= OPEN_LISTED_MAX:
        raise NoAnswerError(f"{len(listed)} OPEN orders: the venue's listing may end there")


def _order(query: Query, asker: Asker) -> list[VenueOrder]:
    return [
        asker.get(f"/orders/historical/{_path_part(key)}", {}, wire_pages.single_order, RateClass.PRIVATE)
        for key in query.venue_order_ids
    ]


def _fills(query: Query, asker: Asker) -> list[VenueFill | OddFill]:
    base: dict[str, Any] = {"limit": FILLS_PER_PAGE}
    if query.product_id:
        base["product_ids"] = [query.product_id]
    if query.since_s is not None:
        base["start_sequence_timestamp"] = utc_text(query.since_s)
    if query.until_s is not None:
        base["end_sequence_timestamp"] = utc_text(query.until_s)
    if not query.venue_order_ids:
        return asker.pages("/orders/historical/fills", base, wire_pages.fill_page)
    found: list[VenueFill | OddFill] = []
    for at in range(0, len(query.venue_order_ids), IDS_PER_REQUEST):
        ids = list(query.venue_order_ids[at : at + IDS_PER_REQUEST])
        found += asker.pages("/orders/historical/fills", {**base, "order_ids": ids}, wire_pages.fill_page)
    return found


def _balances(query: Query, asker: Asker) -> Sequence[PageItem]:  # noqa: ARG001
    return wire_pages.summed(tuple(asker.pages("/accounts", {"limit": ACCOUNTS_PER_PAGE}, wire_pages.account_page)))


def _best_bid_ask(query: Query, asker: Asker) -> Sequence[PageItem]:
    return asker.get(
        "/best_bid_ask", {"product_ids": list(query.product_ids)}, wire_pages.best_bid_ask, RateClass.PRIVATE
    )


def _products(query: Query, asker: Asker) -> list[PageItem]:
    path, rate_class = ("/products", RateClass.PRIVATE) if asker.private else ("/market/products", RateClass.PUBLIC)
    params: dict[str, Any] = {"product_type": "SPOT"}
    if asker.private:
        params["get_tradability_status"] = "true"
    if query.product_ids:
        params["product_ids"] = list(query.product_ids)
    found: list[PageItem] = []
    seen = 0
    for _ in range(PAGES_MAX):
        asking = {**params, "offset": seen} if seen else params
        page, listed, total = asker.get(path, asking, wire_pages.product_page, rate_class)
        found += page.items
        seen += listed
        if not listed or total is None or seen >= total:
            return found
    raise NoAnswerError(f"more than {PAGES_MAX} pages")


def _fees(query: Query, asker: Asker) -> list[PageItem]:  # noqa: ARG001
    return [asker.get("/transaction_summary", {"product_type": "SPOT"}, wire_pages.fees, RateClass.PRIVATE)]


def _account(query: Query, asker: Asker) -> list[PageItem]:  # noqa: ARG001
    return [asker.get("/key_permissions", {}, wire_pages.account, RateClass.PRIVATE)]


def _clock(query: Query, asker: Asker) -> list[PageItem]:  # noqa: ARG001
    return [asker.get("/time", {}, wire_pages.server_time_s, RateClass.PUBLIC)]


def _candles(query: Query, asker: Asker) -> list[PageItem]:
    granularity = GRANULARITIES.get(query.bar_s or 0)
    if granularity is None or query.product_id is None or query.since_s is None or query.until_s is None:
        raise NoAnswerError(
            f"candles need product_id, since_s, until_s and a bar_s of {', '.join(map(str, GRANULARITIES))}"
        )
    bar_s = query.bar_s or 0
    path = f"/market/products/{_path_part(query.product_id)}/candles"
    first, end = int(-(-query.since_s // bar_s)) * bar_s, query.until_s
    found: dict[int, PageItem] = {}
    while first < end:
        last = min(first + (CANDLES_PER_REQUEST - 1) * bar_s, int(end))
        params = {"start": str(first), "end": str(last), "granularity": granularity, "limit": CANDLES_PER_REQUEST}
        for candle in asker.get(path, params, wire_pages.candles, RateClass.PUBLIC):
            if first <= candle.start_s < end:
                found[candle.start_s] = candle
        first = last + bar_s
    return [found[start] for start in sorted(found)]


def _path_part(text: str) -> str:
    """An id as one part of a path; ids come from outside and may hold anything."""
    if not text or not all(letter.isalnum() or letter in "-_." for letter in text) or set(text) <= {"."}:
        raise NoAnswerError(f"{shortened(text)!r} cannot be asked for")
    return text


_ANSWERS: dict[QueryKind, Callable[[Query, Asker], Sequence[PageItem]]] = {
    QueryKind.ORDERS: _orders,
    QueryKind.ORDER: _order,
    QueryKind.FILLS: _fills,
    QueryKind.BALANCES: _balances,
    QueryKind.BEST_BID_ASK: _best_bid_ask,
    QueryKind.PRODUCTS: _products,
    QueryKind.FEES: _fees,
    QueryKind.ACCOUNT: _account,
    QueryKind.CLOCK: _clock,
    QueryKind.CANDLES: _candles,
}
