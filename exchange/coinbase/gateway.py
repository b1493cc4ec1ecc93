"""The gateway's thinking: it posts only what is bound to it, at most once, ever (protocol section 2). Pure.

One table, never evicted within an incarnation, is its memory and its law:

    id -> QUEUED | POSTING | DONE (with its Outcome) | WITHDRAWN

PlaceOrder and Withdraw are looked up there first: POSTING gets no answer (it follows), an Outcome is told again, only
an unknown id is queued. A replacement starts with an empty table and answers NotMine to everything bound to its
predecessor. Nothing is saved: what is lost with this process is settled by oms as UNKNOWN.

Three lanes (cancel, order, query), each with workers of its own and no queue there: this machine dispatches a
`Call` to `io` only for an idle worker. Checking `may_post` and marking POSTING is one step of one `handle`. The worker
asks `refusal_at_the_wire` once more, from its own thread, directly before the bytes leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import ClassVar

from attrs import define, evolve, field, frozen

from exchange.coinbase.budgets import Budgets, BudgetSettings, RateClass
from exchange.coinbase.fences import FencesPort
from exchange.coinbase.gateway_stats import TrafficStats
from exchange.coinbase.may_post import IN_FORCE, PostFacts, PostingSettings, Refusal, VenueFacts, may_post
from trading.machine import NO_INCARNATION, Effect, Effects, Incarnation, Instant, QuietMachine, Rows, Send, Wake, Woke
from trading.messages.control import CatalogSnapshot, Condition, Drain, Drained, KillSnapshot, Measured
from trading.messages.orders import (
    Call,
    Called,
    CancelOrders,
    CancelsAnswered,
    Hello,
    HelloAck,
    HourlyCount,
    OrderOutcome,
    OutcomeKind,
    Page,
    PlaceOrder,
    Query,
    QueryKind,
    RestartWanted,
    Withdraw,
)
from trading.protections import Protections
from trading.publish import ConditionBoard, jitter
from trading.values import Purpose

CANCEL, ORDER, QUERY = "cancel", "order", "query"
MEASURE_S = 1.0
CANCEL_BATCH = 100
SETTLING = frozenset({QueryKind.ORDERS, QueryKind.ORDER, QueryKind.FILLS, QueryKind.BALANCES, QueryKind.BEST_BID_ASK})
"""Questions on which orders wait: first in line, and free to use the reserve."""
PUBLIC_KINDS = frozenset({QueryKind.CLOCK, QueryKind.CANDLES, QueryKind.PRODUCTS})
"""Answered without a key; products are asked privately when there is one (only that shows `view_only`)."""


@frozen(kw_only=True)
class GatewaySettings:
    """Workers per lane, total deadlines of one Call, and how long a queued query stays of interest. All in real seconds."""

    workers_cancel: int = 3
    workers_order: int = 4
    workers_query: int = 4
    workers_backfill_max: int = 2
    post_deadline_s: float = 10.0
    cancel_deadline_s: float = 5.0
    query_deadline_s: float = 20.0
    stuck_after_s: float = 5.0
    query_queue_s_max: float = 30.0
    query_queue_max: int = 500
    posting: PostingSettings = field(factory=PostingSettings)
    budgets: BudgetSettings = field(factory=BudgetSettings)

    def workers(self, lane: str) -> int:
        return {CANCEL: self.workers_cancel, ORDER: self.workers_order, QUERY: self.workers_query}[lane]


class PlaceState(Enum):
    QUEUED = "queued"
    POSTING = "posting"
    DONE = "done"
    WITHDRAWN = "withdrawn"


@define
class _Placement:
    """One line of the table. outcome: set when DONE or WITHDRAWN."""

    state: PlaceState
    order: PlaceOrder | None = None
    outcome: OrderOutcome | None = None


@define
class _Flight:
    """One Call that is out. cancels: venue order id -> the cancel ids that asked for it."""

    lane: str
    request: PlaceOrder | CancelOrders | Query
    sent_boot_s: float
    deadline_boot_s: float
    rate_class: RateClass
    cancels: dict[str, dict[str, None]] = field(factory=dict)


class GatewayMachine(QuietMachine):
    """See the module. fences: read anew at each look. hourly: (boot hour, requests) that the shell kept in its file.

    placing_closed: `may_post.placing_refusal(...)` of this run. has_key False: only public questions can be asked.
    """

    role: ClassVar[str] = "gateway"

    def __init__(
        self,
        *,
        me: Incarnation,
        fences: FencesPort,
        settings: GatewaySettings | None = None,
        placing_closed: str = "",
        has_key: bool = True,
        hourly: tuple[int, int] = (0, 0),
        protections: Protections = IN_FORCE,
    ) -> None:
        self.me = me
        self.settings = settings or GatewaySettings()
        self._fences = fences
        self._placing_closed = placing_closed
        self._has_key = has_key
        self._protections = protections
        self._hourly = hourly
        self._told_hour = hourly
        self._oms: Incarnation = NO_INCARNATION
        self._table: dict[str, _Placement] = {}
        self._urgent: deque[str] = deque()
        self._entries: deque[str] = deque()
        self._cancels: dict[str, dict[str, None]] = {}
        self._queries: dict[tuple[str, str], tuple[Query, float]] = {}
        self._flights: dict[str, _Flight] = {}
        self._calls = 0
        self._armed: dict[str, float | None] = {}
        self._killed = False
        self._kill_version: tuple[Incarnation, int] = (NO_INCARNATION, -1)
        self._draining = False
        self._drain_unanswered = False
        self._venue = VenueFacts()
        self._catalog_version: tuple[Incarnation, int] = (NO_INCARNATION, -1)
        self._conditions = ConditionBoard()
        self._measured = 0
        self._stuck = False
        self._budgets = Budgets(self.settings.budgets, 0.0, *hourly)
        self._stats = TrafficStats(0.0)

    # ---- the seam ----

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002 -- it saves nothing
        self._budgets = Budgets(self.settings.budgets, now.boot_s, *self._hourly)
        self._stats = TrafficStats(now.boot_s)
        return [self._next_measure(now)]

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case PlaceOrder():
                return [*self._place(message, now), *self._dispatch_orders(now)]
            case Called():
                return list(self._called(message, now))
            case CancelOrders():
                return [*self._cancel(message), *self._dispatch_cancels(now)]
            case Query():
                return [*self._query(message, now), *self._dispatch_queries(now)]
            case Hello():
                self._oms = max(self._oms, message.oms_incarnation)
                return [
                    Send("oms", HelloAck(oms_incarnation=message.oms_incarnation, gateway_incarnation=self.me)),
                ]
            case Withdraw():
                return list(self._withdraw(message, now))
            case KillSnapshot():
                return self._kill(message, now)
            case CatalogSnapshot():
                return self._catalog(message)
            case Drain():
                return self._drain(message, now)
            case Woke(key=key):
                return list(self._woke(key, now))
            case _:
                return ()

    # ---- orders ----

    def refusal_at_the_wire(self, order: PlaceOrder, now_boot_s: float) -> Refusal | None:
        """`may_post` for the worker, directly before the bytes leave. Thread-safe: it only reads what is replaced whole."""
        return may_post(order, self._facts(now_boot_s), self.settings.posting, self._protections)

    def _facts(self, now_boot_s: float) -> PostFacts:
        return PostFacts(
            me=self.me,
            now_boot_s=now_boot_s,
            fences=self._fences(),
            killed=self._killed,
            draining=self._draining,
            placing_closed=self._placing_closed,
            venue=self._venue,
        )

    def _place(self, order: PlaceOrder, now: Instant) -> Iterator[Effect]:
        known = self._table.get(order.client_order_id)
        if known is not None:
            again = (
                not self._protections.one_post
                and known.outcome is not None
                and known.outcome.kind is OutcomeKind.UNKNOWN
            )
            if not again:
                if known.outcome is not None:
                    yield Send("oms", known.outcome)
                return
        if self._protections.binding and order.gateway_incarnation != self.me:
            yield self._ended(order.client_order_id, OutcomeKind.NOT_MINE, "bound_to_other_incarnation", now)
            return
        self._table[order.client_order_id] = _Placement(PlaceState.QUEUED, order)
        (self._entries if order.purpose is Purpose.ENTRY else self._urgent).append(order.client_order_id)

    def _ended(
        self,
        client_order_id: str,
        kind: OutcomeKind,
        reason: str,
        now: Instant,
        *,
        detail: str = "",
        state: PlaceState = PlaceState.DONE,
    ) -> Send:
        outcome = OrderOutcome(
            client_order_id=client_order_id,
            kind=kind,
            gateway_incarnation=self.me,
            reason=reason,
            detail=detail,
            answered_boot_s=now.boot_s,
        )
        self._table[client_order_id] = _Placement(state, outcome=outcome)
        return Send("oms", outcome)

    def _dispatch_orders(self, now: Instant) -> Iterator[Effect]:
        """Exits and flattens first, then entries, each in order of arrival; refuse what is closed even with no idle worker."""
        if not self._urgent and not self._entries:
            yield from self._wake(ORDER, None)
            return
        wake_at: list[float] = []
        facts = self._facts(now.boot_s)
        for queue, urgent in ((self._urgent, True), (self._entries, False)):
            waiting: deque[str] = deque()
            while queue:
                client_order_id = queue.popleft()
                placement = self._table[client_order_id]
                order = placement.order
                if placement.state is not PlaceState.QUEUED or order is None:
                    continue
                refusal = may_post(order, facts, self.settings.posting, self._protections)
                if refusal is not None:
                    yield self._ended(client_order_id, refusal.kind, refusal.reason, now, detail=refusal.detail)
                elif not self._idle(ORDER):
                    waiting.append(client_order_id)
                    wake_at.append(order.send_by_boot_s)
                elif not self._budgets.take(RateClass.ORDERS, now.boot_s, urgent=urgent):
                    waiting.append(client_order_id)
                    ready = self._budgets.ready_boot_s(RateClass.ORDERS, now.boot_s, urgent=urgent)
                    wake_at.append(min(order.send_by_boot_s, ready))
                else:
                    placement.state = PlaceState.POSTING
                    yield self._call(ORDER, order, now, self.settings.post_deadline_s, RateClass.ORDERS)
            queue.extend(waiting)
        yield from self._wake(ORDER, min(wake_at) if wake_at else None)

    def _withdraw(self, message: Withdraw, now: Instant) -> Iterator[Effect]:
        if message.oms_incarnation < self._oms:
            return
        self._oms = message.oms_incarnation
        for client_order_id, bound_to in message.orders:
            known = self._table.get(client_order_id)
            if known is not None and known.outcome is not None:
                yield Send("oms", known.outcome)
            elif known is not None and known.state is PlaceState.POSTING:
                yield Send(
                    "oms",
                    OrderOutcome(
                        client_order_id=client_order_id,
                        kind=OutcomeKind.IN_FLIGHT,
                        gateway_incarnation=self.me,
                        reason="posting",
                    ),
                )
            elif known is not None or bound_to == self.me or not self._protections.binding:
                yield self._ended(client_order_id, OutcomeKind.NOT_SENT, "withdrawn", now, state=PlaceState.WITHDRAWN)
            else:
                yield self._ended(client_order_id, OutcomeKind.NOT_MINE, "bound_to_other_incarnation", now)

    # ---- cancels: never fenced ----

    def _cancel(self, message: CancelOrders) -> Iterator[Effect]:
        refused: list[tuple[str, bool, str]] = []
        for venue_order_id in message.venue_order_ids:
            if not venue_order_id:
                refused.append((venue_order_id, False, "empty_order_id"))
                continue
            flight = next((f for f in self._flights.values() if venue_order_id in f.cancels), None)
            wanted = self._cancels.setdefault(venue_order_id, {}) if flight is None else flight.cancels[venue_order_id]
            wanted[message.cancel_id] = None
        if refused:
            yield Send("oms", CancelsAnswered(cancel_id=message.cancel_id, results=tuple(refused), complete=True))

    def _dispatch_cancels(self, now: Instant) -> Iterator[Effect]:
        wake_at: float | None = None
        while self._cancels and self._idle(CANCEL):
            if not self._budgets.take(RateClass.CANCELS, now.boot_s, urgent=True):
                wake_at = self._budgets.ready_boot_s(RateClass.CANCELS, now.boot_s, urgent=True)
                break
            batch = {key: self._cancels.pop(key) for key in list(self._cancels)[:CANCEL_BATCH]}
            request = CancelOrders(cancel_id=f"batch-{self._calls + 1}", venue_order_ids=tuple(batch))
            yield self._call(CANCEL, request, now, self.settings.cancel_deadline_s, RateClass.CANCELS, batch)
        yield from self._wake(CANCEL, wake_at)

    # ---- queries ----

    def _query(self, query: Query, now: Instant) -> Iterator[Effect]:
        key = (query.reply_to, query.query_id)
        if key in self._queries or any(
            isinstance(flight.request, Query) and (flight.request.reply_to, flight.request.query_id) == key
            for flight in self._flights.values()
        ):
            return
        error = ""
        if not self._has_key and query.kind not in PUBLIC_KINDS:
            error = "no_api_key"
        elif len(self._queries) >= self.settings.query_queue_max and query.kind not in SETTLING:
            error = "too_many_queries"
        if error:
            yield _no_page(query, error, now)
            return
        self._queries[key] = (query, now.boot_s)

    def _dispatch_queries(self, now: Instant) -> Iterator[Effect]:
        wake_at: list[float] = []
        backfills = sum(_is_backfill(flight.request) for flight in self._flights.values())
        for key in sorted(self._queries, key=lambda k: self._queries[k][0].kind not in SETTLING):
            query, queued_boot_s = self._queries[key]
            gone_at = queued_boot_s + self.settings.query_queue_s_max
            if now.boot_s >= gone_at:
                del self._queries[key]
                yield _no_page(query, "waited_too_long", now)
                continue
            wake_at.append(gone_at)
            if not self._idle(QUERY):
                continue
            if _is_backfill(query) and backfills >= self.settings.workers_backfill_max:
                continue
            urgent = query.kind in SETTLING
            rate_class = self._rate_class(query.kind)
            if not self._budgets.take(rate_class, now.boot_s, urgent=urgent):
                wake_at.append(self._budgets.ready_boot_s(rate_class, now.boot_s, urgent=urgent))
                continue
            del self._queries[key]
            backfills += _is_backfill(query)
            yield self._call(QUERY, query, now, self.settings.query_deadline_s, rate_class)
        yield from self._wake(QUERY, min(wake_at) if self._queries and wake_at else None)

    def _rate_class(self, kind: QueryKind) -> RateClass:
        private = kind not in PUBLIC_KINDS or (kind is QueryKind.PRODUCTS and self._has_key)
        return RateClass.PRIVATE if private else RateClass.PUBLIC

    # ---- calls out and back ----

    def _idle(self, lane: str) -> bool:
        return sum(flight.lane == lane for flight in self._flights.values()) < self.settings.workers(lane)

    def _call(
        self,
        lane: str,
        request: PlaceOrder | CancelOrders | Query,
        now: Instant,
        deadline_s: float,
        rate_class: RateClass,
        cancels: dict[str, dict[str, None]] | None = None,
    ) -> Send:
        self._calls += 1
        call_id = f"{lane}-{self._calls}"
        deadline = now.boot_s + deadline_s
        self._flights[call_id] = _Flight(lane, request, now.boot_s, deadline, rate_class, cancels or {})
        return Send("io", Call(call_id=call_id, lane=lane, request=request, deadline_boot_s=deadline))

    def _called(self, called: Called, now: Instant) -> Iterator[Effect]:
        flight = self._flights.pop(called.call_id, None)
        if flight is None:
            return
        self._account(flight, called, now)
        match flight.request:
            case PlaceOrder(client_order_id=client_order_id):
                outcome = called.outcome
                if not isinstance(outcome, OrderOutcome) or outcome.client_order_id != client_order_id:
                    outcome = OrderOutcome(
                        client_order_id=client_order_id, kind=OutcomeKind.UNKNOWN, gateway_incarnation=self.me
                    )
                outcome = evolve(outcome, gateway_incarnation=self.me)
                self._table[client_order_id] = _Placement(PlaceState.DONE, outcome=outcome)
                yield Send("oms", outcome)
                yield from self._drained_now()
            case CancelOrders():
                yield from _cancel_answers(flight.cancels, called.outcome)
            case Query() as query:
                page = called.outcome if isinstance(called.outcome, Page) else None
                yield Send(query.reply_to, page) if page else _no_page(query, "unreadable", now)
        # An answer frees a worker, and may have opened or closed a budget for every lane.
        yield from self._dispatch_cancels(now)
        yield from self._dispatch_orders(now)
        yield from self._dispatch_queries(now)

    def _account(self, flight: _Flight, called: Called, now: Instant) -> None:
        self._stats.called(flight.lane, called, now.boot_s - flight.sent_boot_s, now.boot_s)
        self._budgets.charge(flight.rate_class, now.boot_s, called.requests - 1)
        self._budgets.headers(flight.rate_class, now.boot_s, called.limit_remaining, called.limit_reset_s)
        if called.throttled:
            self._budgets.throttled(flight.rate_class, now.boot_s, called.retry_after_s)
        elif called.requests > called.errors:
            self._budgets.succeeded(flight.rate_class)

    # ---- snapshots, drain, time ----

    def _kill(self, message: KillSnapshot, now: Instant) -> Effects:
        version = (message.incarnation, message.n)
        if version < self._kill_version:
            return ()
        self._kill_version = version
        self._killed = message.engaged
        return list(self._dispatch_orders(now)) if message.engaged else ()

    def _catalog(self, message: CatalogSnapshot) -> Effects:
        version = (message.incarnation, message.n)
        if version >= self._catalog_version:
            self._catalog_version = version
            closed = (message.exchange_reason or "entries_closed") if message.entries_closed else ""
            self._venue = VenueFacts(
                products={product.product_id: product for product in message.products},
                fetched_boot_s=message.fetched_boot_s,
                entries_closed=closed,
            )
        return ()

    def _drain(self, message: Drain, now: Instant) -> Effects:
        if message.run_number != self.me[0]:
            return ()
        self._draining = True
        effects = list(self._dispatch_orders(now))
        posting = self._posting()
        self._drain_unanswered = bool(posting)
        return [*effects, self._drained(posting)]

    def _posting(self) -> tuple[str, ...]:
        return tuple(f.request.client_order_id for f in self._flights.values() if isinstance(f.request, PlaceOrder))

    def _drained(self, posting: tuple[str, ...]) -> Send:
        return Send("main", Drained(run_number=self.me[0], role=self.role, clean=not posting, unknown=posting))

    def _drained_now(self) -> Iterator[Effect]:
        if self._drain_unanswered and not self._posting():
            self._drain_unanswered = False
            yield self._drained(())

    def _woke(self, key: str, now: Instant) -> Iterator[Effect]:
        self._armed.pop(key, None)
        if key == ORDER:
            yield from self._dispatch_orders(now)
        elif key == CANCEL:
            yield from self._dispatch_cancels(now)
        elif key == QUERY:
            yield from self._dispatch_queries(now)
        elif key == "measure":
            yield from self._measure(now)

    def _wake(self, lane: str, at_boot_s: float | None) -> Iterator[Effect]:
        if self._armed.get(lane) != at_boot_s:
            self._armed[lane] = at_boot_s
            yield Wake(lane, at_boot_s)

    def _next_measure(self, now: Instant) -> Wake:
        self._measured += 1
        return Wake("measure", now.boot_s + MEASURE_S * jitter(f"{self.role}{self.me}", self._measured))

    def _measure(self, now: Instant) -> Iterator[Effect]:
        readings = self._stats.readings(now.boot_s)
        for rate_class, bucket in self._budgets.buckets.items():
            readings.append((f"budget_{rate_class}_used_pct", 100.0 * bucket.used_fraction(now.boot_s)))
        hour_pct = 100.0 * self._budgets.hour_used_fraction(now.boot_s)
        readings += [
            ("budget_hour_used_pct", hour_pct),
            ("queued_orders", float(len(self._urgent) + len(self._entries))),
            ("queued_cancels", float(len(self._cancels))),
            ("queued_queries", float(len(self._queries))),
            ("posting", float(len(self._posting()))),
        ]
        yield Send(
            "health_monitor",
            Measured(source=self.role, n=self._measured, readings=tuple(readings), incarnation=self.me),
        )
        hour = (self._budgets.hour, self._budgets.hour_requests)
        if hour != self._told_hour:
            self._told_hour = hour
            yield Send("io", HourlyCount(hour=hour[0], requests=hour[1]))
        if hour_pct >= 80.0:
            text = f"{hour_pct:.0f} % of this hour's requests are used; at 90 % only exits, cancels and settling go"
            condition = Condition(
                fingerprint="gateway:hourly_budget",
                level="warning",
                active=True,
                text=text,
                values={"used_pct": hour_pct},
            )
            yield from self._conditions.stand(condition, now)
        else:
            yield from self._conditions.gone("gateway:hourly_budget")
        yield from self._look_for_stuck(now)
        yield self._next_measure(now)

    def _look_for_stuck(self, now: Instant) -> Iterator[Effect]:
        """A worker that is not back 5 s after its deadline, when its socket was shut: only this restarts the gateway."""
        for call_id, flight in self._flights.items():
            over_s = now.boot_s - flight.deadline_boot_s
            if over_s < self.settings.stuck_after_s or self._stuck:
                continue
            self._stuck = True
            text = (
                f"worker of {call_id} is stuck: not back {over_s:.1f} s after its deadline; the gateway restarts itself"
            )
            values = {"call_id": call_id, "over_s": over_s, "lane": flight.lane}
            condition = Condition(fingerprint="gateway:stuck", level="critical", active=True, text=text, values=values)
            yield from self._conditions.stand(condition, now)
            yield Send("io", RestartWanted(reason=text))


def _is_backfill(request: object) -> bool:
    return isinstance(request, Query) and request.kind is QueryKind.CANDLES


def _no_page(query: Query, error: str, now: Instant) -> Send:
    page = Page(query_id=query.query_id, kind=query.kind, complete=False, error=error, answered_boot_s=now.boot_s)
    return Send(query.reply_to, page)


def _cancel_answers(cancels: dict[str, dict[str, None]], outcome: object) -> Iterator[Effect]:
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
