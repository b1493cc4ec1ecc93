"""The Calls that are out: who is idle, what a request may cost, what came back, who is stuck. Pure; one per incarnation.

A lane's workers are counted, not named: a Call is handed out only while fewer are out than the lane has workers, so that
nothing ever queues behind a hung request where this machine cannot see it.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field, frozen

from exchange.coinbase.budgets import Budgets, BudgetSettings, RateClass
from exchange.coinbase.gateway_stats import Reading, TrafficStats
from exchange.coinbase.may_post import PostingSettings
from trading.machine import Effect, Instant, Send, Wake
from trading.messages.orders import Call, Called, CancelOrders, PlaceOrder, Query

CANCEL, ORDER, QUERY = "cancel", "order", "query"

Request = PlaceOrder | CancelOrders | Query
CancelIds = dict[str, dict[str, None]]
"""venue order id -> the cancel ids that asked for it, in order of arrival."""


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


@define
class Flight:
    """One Call that is out. cancels: for whom a batch of cancels was sent."""

    lane: str
    request: Request
    sent_boot_s: float
    deadline_boot_s: float
    rate_class: RateClass
    cancels: CancelIds = field(factory=dict)


class CallDesk:
    """hourly: (boot hour, requests) that the shell kept in its file."""

    def __init__(self, settings: GatewaySettings, started_boot_s: float, hourly: tuple[int, int]) -> None:
        self.settings = settings
        self.flights: dict[str, Flight] = {}
        self.budgets = Budgets(settings.budgets, started_boot_s, *hourly)
        self.stats = TrafficStats(started_boot_s)
        self._calls = 0
        self._armed: dict[str, float | None] = {}

    def idle(self, lane: str) -> bool:
        return sum(flight.lane == lane for flight in self.flights.values()) < self.settings.workers(lane)

    def call(
        self,
        lane: str,
        request: Request,
        now: Instant,
        deadline_s: float,
        rate_class: RateClass,
        cancels: CancelIds | None = None,
    ) -> Send:
        """Hand `request` to an idle worker of `lane`; its token was taken before."""
        self._calls += 1
        call_id = f"{lane}-{self._calls}"
        deadline = now.boot_s + deadline_s
        self.flights[call_id] = Flight(lane, request, now.boot_s, deadline, rate_class, cancels or {})
        return Send("io", Call(call_id=call_id, lane=lane, request=request, deadline_boot_s=deadline))

    def back(self, called: Called, now: Instant) -> Flight | None:
        """The flight that `called` ends, accounted for; None for one that nobody waits for."""
        flight = self.flights.pop(called.call_id, None)
        if flight is None:
            return None
        budgets, rate_class = self.budgets, flight.rate_class
        names = (flight.lane, f"ask_{flight.request.kind}") if isinstance(flight.request, Query) else (flight.lane,)
        self.stats.called(names, called, now.boot_s - flight.sent_boot_s, now.boot_s)
        budgets.charge(rate_class, now.boot_s, called.requests - 1)
        budgets.headers(rate_class, now.boot_s, called.limit_remaining, called.limit_reset_s)
        if called.throttled:
            budgets.throttled(rate_class, now.boot_s, called.retry_after_s)
        elif called.requests > called.errors:
            budgets.succeeded(rate_class)
        return flight

    def posting(self) -> tuple[str, ...]:
        """Client order ids whose POST is out."""
        return tuple(f.request.client_order_id for f in self.flights.values() if isinstance(f.request, PlaceOrder))

    def stuck(self, now: Instant) -> tuple[str, Flight] | None:
        """A worker that is not back `stuck_after_s` after its deadline, at which its socket was shut."""
        limit_boot_s = now.boot_s - self.settings.stuck_after_s
        return next(((key, f) for key, f in self.flights.items() if f.deadline_boot_s <= limit_boot_s), None)

    def wake(self, lane: str, at_boot_s: float | None) -> Iterator[Effect]:
        """The lane's timer, told only when it changes."""
        if self._armed.get(lane) != at_boot_s:
            self._armed[lane] = at_boot_s
            yield Wake(lane, at_boot_s)

    def woken(self, lane: str) -> None:
        self._armed.pop(lane, None)

    def readings(self, now: Instant) -> list[Reading]:
        found = self.stats.readings(now.boot_s)
        for rate_class, bucket in self.budgets.buckets.items():
            found.append((f"budget_{rate_class}_used_pct", 100.0 * bucket.used_fraction(now.boot_s)))
        found.append(("budget_hour_used_pct", 100.0 * self.budgets.hour_used_fraction(now.boot_s)))
        found.append(("posting", float(len(self.posting()))))
        return found
