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

from attrs import define, evolve

from exchange.coinbase.budgets import RateClass
from exchange.coinbase.fences import FencesPort
from exchange.coinbase.gateway_calls import CANCEL, ORDER, QUERY, CallDesk, GatewaySettings
from exchange.coinbase.gateway_lanes import CancelLane, QueryLane
from exchange.coinbase.may_post import IN_FORCE, PostFacts, Refusal, VenueFacts, may_post
from trading.machine import (
    NO_INCARNATION,
    Effect,
    Effects,
    Incarnation,
    Instant,
    PeerRestarted,
    QuietMachine,
    Rows,
    Send,
    Wake,
    Woke,
)
from trading.messages.control import CatalogSnapshot, Condition, Drain, Drained, KillSnapshot, Measured
from trading.messages.orders import (
    Called,
    CancelOrders,
    Hello,
    HelloAck,
    HourlyCount,
    OrderOutcome,
    OutcomeKind,
    PlaceOrder,
    Query,
    RestartWanted,
    Withdraw,
)
from trading.newest import Newest
from trading.protections import Protections
from trading.publish import ConditionBoard, jitter
from trading.values import Purpose

__all__ = ["GatewayMachine", "GatewaySettings", "PlaceState"]

MEASURE_S = 1.0


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
        self._asked_back: Withdraw | None = None
        self._oms: Incarnation = NO_INCARNATION
        self._table: dict[str, _Placement] = {}
        self._urgent: deque[str] = deque()
        self._entries: deque[str] = deque()
        self._killed = False
        self._newest = Newest()
        self._draining = False
        self._drain_unanswered = False
        self._venue = VenueFacts()
        self._conditions = ConditionBoard()
        self._measured = 0
        self._stuck = False
        self._open_desk(0.0)

    # ---- the seam ----

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002 -- it saves nothing
        self._open_desk(now.boot_s)
        return [self._next_measure(now)]

    def _open_desk(self, started_boot_s: float) -> None:
        self._desk = CallDesk(self.settings, started_boot_s, self._hourly)
        self._cancel_lane = CancelLane(self._desk)
        self._query_lane = QueryLane(self._desk, has_key=self._has_key)

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case PlaceOrder():
                return [*self._place(message, now), *self._dispatch_orders(now)]
            case Called():
                return list(self._called(message, now))
            case CancelOrders():
                return [*self._cancel_lane.ask(message), *self._cancel_lane.dispatch(now)]
            case Query():
                return [*self._query_lane.ask(message, now), *self._query_lane.dispatch(now)]
            case Hello():
                self._oms = max(self._oms, message.oms_incarnation)
                return [self._greet(message.oms_incarnation)]
            case PeerRestarted(role="oms", incarnation=incarnation) if incarnation == self._oms:
                # It wrote before the directory knew it, so what it was answered went to its predecessor.
                asked = self._asked_back
                again = self._withdraw(asked, now) if asked is not None and asked.oms_incarnation == incarnation else ()
                return [self._greet(incarnation), *again]
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
            yield from self._desk.wake(ORDER, None)
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
                elif not self._desk.idle(ORDER):
                    waiting.append(client_order_id)
                    wake_at.append(order.send_by_boot_s)
                elif not self._desk.budgets.take(RateClass.ORDERS, now.boot_s, urgent=urgent):
                    waiting.append(client_order_id)
                    ready = self._desk.budgets.ready_boot_s(RateClass.ORDERS, now.boot_s, urgent=urgent)
                    wake_at.append(min(order.send_by_boot_s, ready))
                else:
                    placement.state = PlaceState.POSTING
                    yield self._desk.call(ORDER, order, now, self.settings.post_deadline_s, RateClass.ORDERS)
            queue.extend(waiting)
        yield from self._desk.wake(ORDER, min(wake_at) if wake_at else None)

    def _greet(self, oms: Incarnation) -> Send:
        return Send("oms", HelloAck(oms_incarnation=oms, gateway_incarnation=self.me))

    def _withdraw(self, message: Withdraw, now: Instant) -> Iterator[Effect]:
        if message.oms_incarnation < self._oms:
            return
        self._asked_back = message
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

    # ---- calls out and back ----

    def _called(self, called: Called, now: Instant) -> Iterator[Effect]:
        flight = self._desk.back(called, now)
        if flight is None:
            return
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
                yield from self._cancel_lane.answered(flight.cancels, called.outcome)
            case Query() as query:
                yield self._query_lane.answered(query, called.outcome, now)
        # An answer frees a worker, and may have opened or closed a budget for every lane.
        yield from self._cancel_lane.dispatch(now)
        yield from self._dispatch_orders(now)
        yield from self._query_lane.dispatch(now)

    # ---- snapshots, drain, time ----

    def _kill(self, message: KillSnapshot, now: Instant) -> Effects:
        if self._newest.outdated(message):
            return ()
        self._killed = message.engaged
        return list(self._dispatch_orders(now)) if message.engaged else ()

    def _catalog(self, message: CatalogSnapshot) -> Effects:
        if not self._newest.outdated(message):
            closed = (message.exchange_reason or "entries_closed") if message.entries_closed else ""
            self._venue = VenueFacts(
                products={product.product_id: product for product in message.products},
                fetched_boot_s=message.fetched_boot_s,
                entries_closed=closed,
                other_account=message.other_account,
            )
        return ()

    def _drain(self, message: Drain, now: Instant) -> Effects:
        if message.run_number != self.me[0]:
            return ()
        self._draining = True
        effects = list(self._dispatch_orders(now))
        posting = self._desk.posting()
        self._drain_unanswered = bool(posting)
        return [*effects, self._drained(posting)]

    def _drained(self, posting: tuple[str, ...]) -> Send:
        return Send("main", Drained(run_number=self.me[0], role=self.role, clean=not posting, unknown=posting))

    def _drained_now(self) -> Iterator[Effect]:
        if self._drain_unanswered and not self._desk.posting():
            self._drain_unanswered = False
            yield self._drained(())

    def _woke(self, key: str, now: Instant) -> Iterator[Effect]:
        self._desk.woken(key)
        if key == ORDER:
            yield from self._dispatch_orders(now)
        elif key == CANCEL:
            yield from self._cancel_lane.dispatch(now)
        elif key == QUERY:
            yield from self._query_lane.dispatch(now)
        elif key == "measure":
            yield from self._measure(now)

    def _next_measure(self, now: Instant) -> Wake:
        self._measured += 1
        return Wake("measure", now.boot_s + MEASURE_S * jitter(f"{self.role}{self.me}", self._measured))

    def _measure(self, now: Instant) -> Iterator[Effect]:
        readings = [
            *self._desk.readings(now),
            ("queued_orders", float(len(self._urgent) + len(self._entries))),
            ("queued_cancels", float(len(self._cancel_lane))),
            ("queued_queries", float(len(self._query_lane))),
        ]
        yield Send(
            "health_monitor",
            Measured(source=self.role, n=self._measured, readings=tuple(readings), incarnation=self.me),
        )
        yield from self._tell_hour(now)
        yield from self._look_for_stuck(now)
        yield self._next_measure(now)

    def _tell_hour(self, now: Instant) -> Iterator[Effect]:
        budgets = self._desk.budgets
        hour = (budgets.hour, budgets.hour_requests)
        if hour != self._told_hour:
            self._told_hour = hour
            yield Send("io", HourlyCount(hour=hour[0], requests=hour[1]))
        used_pct = 100.0 * budgets.hour_used_fraction(now.boot_s)
        if used_pct < 80.0:
            yield from self._conditions.gone("gateway:hourly_budget")
            return
        text = f"{used_pct:.0f} % of this hour's requests are used; at 90 % only exits, cancels and settling go"
        condition = Condition(fingerprint="gateway:hourly_budget", level="warning", active=True, text=text)
        yield from self._conditions.stand(condition, now)

    def _look_for_stuck(self, now: Instant) -> Iterator[Effect]:
        """Only this restarts the gateway; a venue that does not answer never does."""
        found = self._desk.stuck(now)
        if found is None or self._stuck:
            return
        call_id, flight = found
        self._stuck = True
        over_s = now.boot_s - flight.deadline_boot_s
        text = f"worker of {call_id} is stuck: not back {over_s:.1f} s after its deadline; the gateway restarts itself"
        values = {"call_id": call_id, "over_s": over_s, "lane": flight.lane}
        condition = Condition(fingerprint="gateway:stuck", level="critical", active=True, text=text, values=values)
        yield from self._conditions.stand(condition, now)
        yield Send("io", RestartWanted(reason=text))
