"""The gateway's hands: three lanes of worker threads, each worker with a connection of its own to the venue.

    lanes = Lanes(endpoints, key_name, key_secret, may_post_port)
    lanes.submit(call)                       # from the actor, for each Call that the machine sends to io
    select on lanes.fileno(); lanes.results()   # list[Called] for the machine

A lane has no queue of its own: the machine dispatches only to an idle worker, so what is submitted starts at once. A hung
POST holds one worker of the order lane and nothing else; cancels have threads and connections of their own. One guard
thread knows every deadline and shuts down the socket of a worker that has passed it; the worker then answers Unknown.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable

from exchange.coinbase import wire
from exchange.coinbase.asking import Asker, SharedBudgets, Tally, answer
from exchange.coinbase.budgets import Budgets
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.gateway_calls import CANCEL, ORDER, QUERY, GatewaySettings
from exchange.coinbase.gateway_lanes import SETTLING
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.may_post import Refusal
from exchange.coinbase.resolver import Resolver
from exchange.coinbase.transport import Guard, Reply, TransportSettings, VenueClock, VenueSession, boot_s
from trading.messages.orders import (
    Call,
    Called,
    CancelOrders,
    CancelsAnswered,
    OrderOutcome,
    OutcomeKind,
    Page,
    PlaceOrder,
    Query,
)

MayPostPort = Callable[[PlaceOrder], Refusal | None]
"""Live: `lambda order: machine.refusal_at_the_wire(order, boot_s())`. Called in a worker's thread."""


class Lanes:
    """See the module. key_name None: public questions only. on_done: called in a worker's thread instead of the queue."""

    def __init__(
        self,
        endpoints: Endpoints,
        key_name: str | None,
        key_secret: str | None,
        may_post_port: MayPostPort,
        on_done: Callable[[Called], None] | None = None,
        *,
        settings: GatewaySettings | None = None,
        transport: TransportSettings | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._key = ApiKey(key_name, key_secret) if key_name and key_secret else None
        self._may_post = may_post_port
        self._settings = settings or GatewaySettings()
        self._transport = transport or TransportSettings()
        self._resolver = Resolver()
        self._clock = VenueClock()
        self._budgets = SharedBudgets(Budgets(self._settings.budgets, boot_s()))
        self._stop = threading.Event()
        self._guard = Guard()
        self._left: set[str] = set()
        self._left_lock = threading.Lock()
        self._done: queue.SimpleQueue[Called] = queue.SimpleQueue()
        self._on_done = on_done or self._put
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._work: dict[str, queue.SimpleQueue[Call | None]] = {}
        self._threads: list[threading.Thread] = []
        for lane in (CANCEL, ORDER, QUERY):
            self._work[lane] = queue.SimpleQueue()
            for number in range(self._settings.workers(lane)):
                thread = threading.Thread(target=self._worker, args=(lane,), name=f"{lane}-{number}", daemon=True)
                thread.start()
                self._threads.append(thread)

    def __repr__(self) -> str:
        return f"Lanes({self._endpoints.rest}, {len(self._threads)} workers)"

    def submit(self, call: Call) -> None:
        """Start `call` on a worker of its lane. ValueError for a lane that does not exist."""
        work = self._work.get(call.lane)
        if work is None:
            raise ValueError(f"there is no lane {call.lane!r}; there are {', '.join(self._work)}")
        work.put(call)

    def fileno(self) -> int:
        """Readable while results wait."""
        return self._reader.fileno()

    @property
    def wake_socket(self) -> socket.socket:
        return self._reader

    def results(self) -> list[Called]:
        """What has come back since the last call; never blocks."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        found = []
        while True:
            try:
                found.append(self._done.get_nowait())
            except queue.Empty:
                return found

    def close(self) -> None:
        """Take no more work and stop waiting; a POST under way keeps its worker until it is answered or cut."""
        self._stop.set()
        for lane, work in self._work.items():
            for _ in range(self._settings.workers(lane)):
                work.put(None)

    def join(self, timeout_s: float) -> bool:
        """After `close`: True when every worker is back within `timeout_s`."""
        until = boot_s() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - boot_s()))
        self._guard.close()
        return not any(thread.is_alive() for thread in self._threads)

    def _put(self, called: Called) -> None:
        self._done.put(called)
        # A full pipe has woken the reader already.
        with contextlib.suppress(BlockingIOError):
            self._writer.send(b".")

    # ---- in the workers' threads ----

    def _worker(self, lane: str) -> None:
        session = VenueSession(
            self._endpoints, self._key, settings=self._transport, resolver=self._resolver, clock=self._clock
        )
        while (call := self._work[lane].get()) is not None:
            self._guard.watch(session, call.deadline_boot_s)
            try:
                called = self._carry_out(session, call)
            except Exception as failure:  # whatever went wrong: the machine must hear that nothing is known
                called = _unknown(call, f"{type(failure).__name__} in the worker")
            finally:
                self._guard.forget(session)
            self._on_done(called)
        session.close()

    def _carry_out(self, session: VenueSession, call: Call) -> Called:
        match call.request:
            case PlaceOrder() as order:
                return self._place(session, call, order)
            case CancelOrders() as cancel:
                return self._cancel(session, call, cancel)
            case Query() as query:
                return self._ask(session, call, query)
            case other:
                raise ValueError(f"a gateway cannot carry out {type(other).__name__}")

    def _place(self, session: VenueSession, call: Call, order: PlaceOrder) -> Called:
        tally = Tally()
        try:
            body = wire.order_request(order.client_order_id, order.body)
        except (ValueError, ArithmeticError) as error:
            verdict = wire.Verdict(OutcomeKind.NOT_SENT, reason="cannot_be_built", detail=str(error))
            return _called(call, wire.outcome(order, verdict, sent_boot_s=None, answered_boot_s=boot_s()), tally)
        reply = session.send(
            "POST", "/orders", body=body, deadline_boot_s=call.deadline_boot_s, gate=lambda: self._gate(order)
        )
        verdict = _verdict(reply, order)
        tally.count(reply, failed=verdict.kind is OutcomeKind.UNKNOWN or (reply.status is None and not reply.refusal))
        done = wire.outcome(order, verdict, sent_boot_s=reply.sent_boot_s, answered_boot_s=reply.answered_boot_s)
        return _called(call, done, tally)

    def _gate(self, order: PlaceOrder) -> Refusal | None:
        """Directly before the first byte. The table makes an id post once; this set makes a bug above it harmless too."""
        try:
            refusal = self._may_post(order)
        except Exception as failure:  # a check that cannot be made is a check that failed
            return Refusal(OutcomeKind.NOT_SENT, "check_failed", type(failure).__name__)
        if refusal is None:
            with self._left_lock:
                if order.client_order_id in self._left:
                    return Refusal(OutcomeKind.UNKNOWN, "already_posted")
                self._left.add(order.client_order_id)
        return refusal

    def _cancel(self, session: VenueSession, call: Call, cancel: CancelOrders) -> Called:
        tally = Tally()
        reply = session.send(
            "POST",
            "/orders/batch_cancel",
            body={"order_ids": list(cancel.venue_order_ids)},
            deadline_boot_s=call.deadline_boot_s,
        )
        results: tuple[tuple[str, bool, str], ...] = ()
        if reply.status == 200:
            with contextlib.suppress(wire.Unreadable):
                results = wire.canceled(reply.content, cancel.venue_order_ids)
        complete = len(results) == len(set(cancel.venue_order_ids))
        tally.count(reply, failed=not complete)
        return _called(call, CancelsAnswered(cancel_id=cancel.cancel_id, results=results, complete=complete), tally)

    def _ask(self, session: VenueSession, call: Call, query: Query) -> Called:
        asker = Asker(
            session,
            self._budgets,
            call.deadline_boot_s,
            self._stop,
            private=self._key is not None,
            urgent=query.kind in SETTLING,
        )
        page = answer(query, asker)
        return _called(call, page, asker.tally)


def _verdict(reply: Reply, order: PlaceOrder) -> wire.Verdict:
    if reply.refusal is not None:
        return wire.Verdict(reply.refusal.kind, reason=reply.refusal.reason, detail=reply.refusal.detail)
    if not reply.began:
        return wire.Verdict(OutcomeKind.NOT_SENT, reason="no_connection", detail=reply.error)
    if reply.status is None:
        return wire.Verdict(OutcomeKind.UNKNOWN, reason="no_answer", detail=reply.error)
    verdict = wire.placed(reply.status, reply.content, order.client_order_id)
    if verdict.kind is OutcomeKind.REJECTED and not reply.framed:
        # An answer that ends where the connection ends may have been cut: a refusal must be complete to be believed.
        return wire.Verdict(OutcomeKind.UNKNOWN, reason=verdict.reason, detail="the answer has no marked end")
    return verdict


def _called(call: Call, outcome: object, tally: Tally) -> Called:
    return Called(
        call_id=call.call_id,
        outcome=outcome,
        requests=tally.requests,
        throttled=tally.throttled,
        retry_after_s=tally.retry_after_s,
        errors=tally.errors,
        latency_s=tally.latency_s,
        limit_remaining=tally.limit_remaining,
        limit_reset_s=tally.limit_reset_s,
    )


def _unknown(call: Call, error: str) -> Called:
    outcome: object = None
    match call.request:
        case PlaceOrder(client_order_id=client_order_id, gateway_incarnation=incarnation):
            outcome = OrderOutcome(
                client_order_id=client_order_id,
                kind=OutcomeKind.UNKNOWN,
                gateway_incarnation=incarnation,
                reason=error,
            )
        case CancelOrders(cancel_id=cancel_id):
            outcome = CancelsAnswered(cancel_id=cancel_id, results=(), complete=False)
        case Query(query_id=query_id, kind=kind):
            outcome = Page(query_id=query_id, kind=kind, complete=False, error=error, answered_boot_s=boot_s())
    return Called(call_id=call.call_id, outcome=outcome, errors=1)


def exit_stuck() -> None:
    """What the shell does with `RestartWanted`, after it has logged the reason: the supervisor starts the next incarnation."""
    os._exit(EXIT_STUCK)


EXIT_STUCK = 70
