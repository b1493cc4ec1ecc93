"""What waits for the cancel lane and for the query lane, pure. Cancels are never fenced; questions may wait, by rank.

Cancels of different askers are merged into batches and answered to each by its own cancel id. Questions on which orders
wait go first and may use the reserve; a backfill of candles never takes all workers; what waited too long is told so.
"""

from __future__ import annotations

from collections.abc import Iterator

from exchange.coinbase.budgets import RateClass
from exchange.coinbase.gateway_calls import CANCEL, QUERY, CallDesk, CancelIds
from trading.machine import Effect, Instant, Send
from trading.messages.orders import CancelOrders, CancelsAnswered, Page, Query, QueryKind

CANCEL_BATCH = 100
SETTLING = frozenset({QueryKind.ORDERS, QueryKind.ORDER, QueryKind.FILLS, QueryKind.BALANCES, QueryKind.BEST_BID_ASK})
"""Questions on which orders wait."""
PUBLIC_KINDS = frozenset({QueryKind.CLOCK, QueryKind.CANDLES, QueryKind.PRODUCTS})
"""Answered without a key; products are asked privately when there is one (only that shows `view_only`)."""


class CancelLane:
    def __init__(self, desk: CallDesk) -> None:
        self._desk = desk
        self._waiting: CancelIds = {}
        self._batches = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, message: CancelOrders) -> Iterator[Effect]:
        """An order whose cancel is out is not sent again: its answer will be told to this asker too."""
        refused: list[tuple[str, bool, str]] = []
        for venue_order_id in message.venue_order_ids:
            if not venue_order_id:
                refused.append((venue_order_id, False, "empty_order_id"))
                continue
            flight = next((f for f in self._desk.flights.values() if venue_order_id in f.cancels), None)
            wanted = self._waiting.setdefault(venue_order_id, {}) if flight is None else flight.cancels[venue_order_id]
            wanted[message.cancel_id] = None
        if refused:
            yield Send("oms", CancelsAnswered(cancel_id=message.cancel_id, results=tuple(refused), complete=True))

    def dispatch(self, now: Instant) -> Iterator[Effect]:
        desk = self._desk
        wake_at: float | None = None
        while self._waiting and desk.idle(CANCEL):
            if not desk.budgets.take(RateClass.CANCELS, now.boot_s, urgent=True):
                wake_at = desk.budgets.ready_boot_s(RateClass.CANCELS, now.boot_s, urgent=True)
                break
            batch = {key: self._waiting.pop(key) for key in list(self._waiting)[:CANCEL_BATCH]}
            self._batches += 1
            request = CancelOrders(cancel_id=f"batch-{self._batches}", venue_order_ids=tuple(batch))
            yield desk.call(CANCEL, request, now, desk.settings.cancel_deadline_s, RateClass.CANCELS, batch)
        yield from desk.wake(CANCEL, wake_at)

    def answered(self, cancels: CancelIds, outcome: object) -> Iterator[Effect]:
        """One answer per cancel id that asked, with the results of the orders it named."""
        known: dict[str, tuple[str, bool, str]] = {}
        if isinstance(outcome, CancelsAnswered):
            known = {result[0]: result for result in outcome.results}
        by_cancel: dict[str, list[str]] = {}
        for venue_order_id, cancel_ids in cancels.items():
            for cancel_id in cancel_ids:
                by_cancel.setdefault(cancel_id, []).append(venue_order_id)
        for cancel_id, venue_order_ids in by_cancel.items():
            results = tuple(known[key] for key in venue_order_ids if key in known)
            complete = len(results) == len(venue_order_ids)
            yield Send("oms", CancelsAnswered(cancel_id=cancel_id, results=results, complete=complete))


class QueryLane:
    def __init__(self, desk: CallDesk, *, has_key: bool) -> None:
        self._desk = desk
        self._has_key = has_key
        self._waiting: dict[tuple[str, str], tuple[Query, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, query: Query, now: Instant) -> Iterator[Effect]:
        key = (query.reply_to, query.query_id)
        if key in self._waiting or any(
            isinstance(flight.request, Query) and (flight.request.reply_to, flight.request.query_id) == key
            for flight in self._desk.flights.values()
        ):
            return
        if not self._has_key and query.kind not in PUBLIC_KINDS:
            yield no_page(query, "no_api_key", now)
        elif len(self._waiting) >= self._desk.settings.query_queue_max and query.kind not in SETTLING:
            yield no_page(query, "too_many_queries", now)
        else:
            self._waiting[key] = (query, now.boot_s)

    def dispatch(self, now: Instant) -> Iterator[Effect]:
        desk = self._desk
        wake_at: list[float] = []
        backfills = sum(_is_backfill(flight.request) for flight in desk.flights.values())
        for key in sorted(self._waiting, key=lambda k: self._waiting[k][0].kind not in SETTLING):
            query, queued_boot_s = self._waiting[key]
            gone_at = queued_boot_s + desk.settings.query_queue_s_max
            if now.boot_s >= gone_at:
                del self._waiting[key]
                yield no_page(query, "waited_too_long", now)
                continue
            wake_at.append(gone_at)
            if not desk.idle(QUERY):
                continue
            if _is_backfill(query) and backfills >= desk.settings.workers_backfill_max:
                continue
            urgent = query.kind in SETTLING
            rate_class = self._rate_class(query.kind)
            if not desk.budgets.take(rate_class, now.boot_s, urgent=urgent, endpoint=query.kind):
                wake_at.append(desk.budgets.ready_boot_s(rate_class, now.boot_s, urgent=urgent, endpoint=query.kind))
                continue
            del self._waiting[key]
            backfills += _is_backfill(query)
            yield desk.call(QUERY, query, now, desk.settings.query_deadline_s, rate_class)
        yield from desk.wake(QUERY, min(wake_at) if self._waiting and wake_at else None)

    def answered(self, query: Query, outcome: object, now: Instant) -> Send:
        return Send(query.reply_to, outcome) if isinstance(outcome, Page) else no_page(query, "unreadable", now)

    def _rate_class(self, kind: QueryKind) -> RateClass:
        private = kind not in PUBLIC_KINDS or (kind is QueryKind.PRODUCTS and self._has_key)
        return RateClass.PRIVATE if private else RateClass.PUBLIC


def no_page(query: Query, error: str, now: Instant) -> Send:
    page = Page(query_id=query.query_id, kind=query.kind, complete=False, error=error, answered_boot_s=now.boot_s)
    return Send(query.reply_to, page)


def _is_backfill(request: object) -> bool:
    return isinstance(request, Query) and request.kind is QueryKind.CANDLES
