"""The gateway's shell in the fault simulation: workers, sockets, deadlines, and the fate of each request on its way."""

from __future__ import annotations

from collections.abc import Callable

from simulation.fuzz.venue import OPEN_ONLY, PENDING_ONLY, Fate, FuzzVenue, Request
from simulation.process import Process
from simulation.stage import VirtualStage
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
    QueryKind,
    VenueOrder,
)


class GatewayWire:
    """The gateway's shell: workers, sockets, deadlines. `fates` says what happens to the n-th request of a kind."""

    def __init__(self, stage: VirtualStage, venue: FuzzVenue, fates: Callable[[str, object], Fate]) -> None:
        self.stage = stage
        self.venue = venue
        self.fates = fates
        self.one_check = False  # True: the worker does not look at the fences once more

    def carry_out(self, process: Process, request: object, now: object) -> None:  # noqa: ARG002
        if isinstance(request, Call):
            settings = self.venue.settings
            self.stage.after(settings.think_s, lambda: self._leave(process, request))
        elif type(request).__name__ == "RestartWanted":
            self.stage.after(0.0, lambda: self.stage.end(process, "a worker is stuck"))

    def _leave(self, process: Process, call: Call) -> None:
        """The worker is about to write: a dead process writes nothing, a stopped one writes when it goes on."""
        if not process.alive:
            return
        if process.stopped:
            self.stage.after(0.05, lambda: self._leave(process, call))
            return
        request = call.request
        if isinstance(request, PlaceOrder):
            refusal = process.machine.refusal_at_the_wire(request, self.stage.boot_s)  # type: ignore[attr-defined]
            if refusal is not None:
                outcome = OrderOutcome(
                    client_order_id=request.client_order_id, kind=refusal.kind,
                    gateway_incarnation=request.gateway_incarnation, reason=refusal.reason, detail=refusal.detail,
                )  # fmt: skip
                self.stage.answer(process, Called(call_id=call.call_id, outcome=outcome, requests=0))
                return
        what = "post" if isinstance(request, PlaceOrder) else "cancel" if isinstance(request, CancelOrders) else "query"
        fate = self.fates(what, request)
        if fate.no_connection:
            self._answer(process, call, self._nothing(request, OutcomeKind.NOT_SENT, "no_connection"), 0.0, errors=1)
            return
        logged = Request(
            at_boot_s=self.stage.boot_s, by=process.role, incarnation=process.incarnation, what=what, fate=fate,
            order=request if isinstance(request, PlaceOrder) else None,
            venue_order_ids=request.venue_order_ids if isinstance(request, CancelOrders) else (),
        )  # fmt: skip
        self.venue.requests.append(logged)
        for hear in self.venue.left:
            hear(logged)
        minted = self.stage.boot_s
        # The worker gives up at its deadline whatever comes later.
        unknown = self._nothing(request, OutcomeKind.UNKNOWN, "deadline")
        self.stage.at(call.deadline_boot_s, lambda: self._answer(process, call, unknown, 0.0, errors=1))
        if isinstance(request, PlaceOrder) or self.venue.answers:
            arrival = self.venue.settings.there_s + fate.hold_s
            if isinstance(request, PlaceOrder):
                self.venue.in_flight[request.client_order_id] = self.stage.boot_s + arrival
                if not fate.refuse_before:
                    self.venue.will_place[self.stage.boot_s + arrival] = None
            self.stage.after(arrival, lambda: self._arrive(process, call, fate, minted))
        if not self.venue.answers:
            self.venue.last_failure_boot_s = self.stage.boot_s

    def _arrive(self, process: Process, call: Call, fate: Fate, minted_boot_s: float) -> None:
        request = call.request
        if isinstance(request, PlaceOrder):
            self.venue.in_flight.pop(request.client_order_id, None)
        if fate.refuse_before:
            self._refuse(process, call, fate.refuse_before)
            return
        back = self.venue.settings.back_s + fate.late_reply_s
        outcome: object
        if isinstance(request, PlaceOrder):
            outcome = self.venue.place(request, minted_boot_s)
        elif isinstance(request, CancelOrders):
            results = self.venue.cancel(request.venue_order_ids)
            outcome = CancelsAnswered(cancel_id=request.cancel_id, results=results, complete=True)
        else:
            assert isinstance(request, Query)
            if request.kind is QueryKind.ORDERS:
                self._list(process, call, fate, {}, 0)
                return
            complete = not fate.partial and not fate.error_after
            items = self.venue.page(request) if complete else ()
            outcome = Page(query_id=request.query_id, kind=request.kind, complete=complete, items=items, error="" if complete else "partial",
                           asked_boot_s=minted_boot_s, answered_boot_s=self.stage.boot_s)  # fmt: skip
        if fate.error_after:
            outcome = self._nothing(request, OutcomeKind.UNKNOWN, "http_502")
        if not fate.lose_reply and self.venue.answers:
            self._answer(process, call, outcome, back, errors=int(fate.error_after))
        self._note_failure(request, fate)

    def _list(self, process: Process, call: Call, fate: Fate, found: dict[str, VenueOrder], step: int) -> None:
        """OPEN; PENDING and QUEUED; all others: three requests at three moments."""
        query = call.request
        assert isinstance(query, Query)
        statuses = (OPEN_ONLY, PENDING_ONLY, None)[step]
        for order in self.venue.listed(statuses, query.product_id, query.since_s):
            found[order.venue_order_id] = order
        if step < 2:
            pause = self.venue.settings.between_listings_s
            self.stage.after(pause, lambda: self._list(process, call, fate, found, step + 1))
            return
        complete = not fate.partial and not fate.error_after
        page = Page(
            query_id=query.query_id, kind=query.kind, complete=complete, items=tuple(found.values()) if complete else (),
            error="" if complete else "partial", asked_boot_s=call.deadline_boot_s, answered_boot_s=self.stage.boot_s,
        )  # fmt: skip
        if not fate.lose_reply and self.venue.answers:
            self._answer(process, call, page, self.venue.settings.back_s + fate.late_reply_s, requests=3)
        self._note_failure(query, fate)

    def _note_failure(self, request: object, fate: Fate) -> None:
        if isinstance(request, Query) and (
            fate.partial or fate.lose_reply or fate.error_after or not self.venue.answers
        ):
            self.venue.last_failure_boot_s = self.stage.boot_s

    def _refuse(self, process: Process, call: Call, status: int) -> None:
        self.venue.last_failure_boot_s = self.stage.boot_s
        kind = OutcomeKind.REJECTED if 400 <= status < 500 and status != 408 else OutcomeKind.UNKNOWN
        outcome = self._nothing(call.request, kind, f"http_{status}")
        throttled = int(status == 429)
        self._answer(process, call, outcome, self.venue.settings.back_s, errors=1, throttled=throttled)

    def _nothing(self, request: object, kind: OutcomeKind, reason: str) -> object:
        """The outcome of a request that brought no answer that can be believed."""
        if isinstance(request, PlaceOrder):
            return OrderOutcome(
                client_order_id=request.client_order_id, kind=kind, gateway_incarnation=request.gateway_incarnation, reason=reason
            )  # fmt: skip
        if isinstance(request, CancelOrders):
            return CancelsAnswered(cancel_id=request.cancel_id, results=(), complete=False)
        assert isinstance(request, Query)
        return Page(
            query_id=request.query_id,
            kind=request.kind,
            complete=False,
            error=reason,
            answered_boot_s=self.stage.boot_s,
        )

    def _answer(
        self,
        process: Process,
        call: Call,
        outcome: object,
        back_s: float,
        *,
        errors: int = 0,
        throttled: int = 0,
        requests: int = 1,
    ) -> None:
        """The first answer counts: one Call, one Called, and none after its deadline but the deadline's own."""
        at = self.stage.boot_s + back_s
        if at > call.deadline_boot_s:
            return
        if isinstance(outcome, Page) and outcome.complete and process.alive:
            for hear in self.venue.answered:
                hear(outcome.kind)
        called = Called(call_id=call.call_id, outcome=outcome, requests=requests, errors=errors, throttled=throttled)
        self.stage.answer(process, called, at)
