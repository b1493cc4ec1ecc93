"""List and cancel what is ours, with a connection and a budget of its own: needs no bot, no gateway, no book.

    sweep(endpoints, key, tag, until_boot_s, report)

*Ours* is what carries our prefix and the account's tag; nothing else is touched. It passes until the venue has listed
none of ours twice, at least 5 s apart, and then every 10 s until `until_boot_s`: what was in flight may still arrive
(nothing lives longer than 240 s). A pass that is not complete is not empty; what it did list is cancelled all the
same. Nor is it clean with the key of another account, which lists none of ours: asked last, since no cancel may wait
for it. Without network it keeps trying; Retry-After is obeyed. Only cancels leave: a sweep can never open anything.

Used by kill_switch's shell, the guardian, run.py and `panic`. `SweepThread` runs it beside an actor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field, frozen

from exchange.coinbase import wire, wire_pages
from exchange.coinbase.asking import ORDERS_PER_PAGE, Asker, NoAnswerError, SharedBudgets, refuse_cut_listing
from exchange.coinbase.budgets import Budgets, BudgetSettings, Rate, RateClass
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.transport import Guard, TransportSettings, VenueSession, boot_s
from trading.messages.control import OursListed, SweepOrdered, SweepReport
from trading.messages.orders import Account
from trading.values import account_tag, is_ours

BATCH = 100
LISTINGS: tuple[tuple[str, ...], ...] = (("OPEN",), ("PENDING", "QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED"))
"""OPEN may not be combined with other states, and hides the rest of these."""


@frozen(kw_only=True)
class SweepSettings:
    """Real seconds. busy_s: between passes while something is listed; apart_s: between the two empty ones."""

    apart_s: float = 5.0
    every_s: float = 10.0
    busy_s: float = 1.0
    pass_s: float = 15.0
    account_s: float = 5.0
    error_s_max: float = 10.0
    transport: TransportSettings = field(factory=TransportSettings)


# Its own small share of the user's limit, and full at once: a kill's cancels have 2 s.
_BUDGETS = BudgetSettings(private=Rate(per_s=4.0, burst=6.0), cancels=Rate(per_s=3.0, burst=10.0))


@define
class _Pass:
    ours: dict[str, str] = field(factory=dict)  # venue order id -> client order id
    complete: bool = True
    error: str = ""
    retry_after_s: float | None = None
    failed: bool = False


class _Sweeper:
    def __init__(
        self, endpoints: Endpoints, key: ApiKey, tag: str, settings: SweepSettings, stop: threading.Event
    ) -> None:
        self.settings = settings
        self.tag = tag
        self.stop = stop
        self.stranger = ""
        self.session = VenueSession(endpoints, key, settings=settings.transport)
        self.guard = Guard()
        budgets = Budgets(_BUDGETS, boot_s())
        budgets.buckets[RateClass.PRIVATE].tokens = _BUDGETS.private.burst
        self.budgets = SharedBudgets(budgets)

    def close(self) -> None:
        self.guard.close()
        self.session.close()

    def asker(self, deadline_boot_s: float) -> Asker:
        return Asker(self.session, self.budgets, deadline_boot_s, self.stop, private=True, urgent=True)

    def listed(self, until_boot_s: float) -> _Pass:
        """Everything of ours that may rest; `complete` only when every page of both listings was read."""
        found = _Pass()
        deadline = min(until_boot_s, boot_s() + self.settings.pass_s)
        self.guard.watch(self.session, deadline)
        try:
            for statuses in LISTINGS:
                asker = self.asker(deadline)
                params: dict[str, Any] = {"order_status": list(statuses), "limit": ORDERS_PER_PAGE}
                orders: list[wire_pages.OrderIds] = []
                try:
                    asker.pages("/orders/historical/batch", params, wire_pages.ids_page, orders)
                    refuse_cut_listing(statuses, orders)
                except NoAnswerError as error:
                    found.complete, found.error = False, str(error)
                    found.retry_after_s = asker.tally.retry_after_s
                    found.failed = found.failed or asker.tally.requests > 0
                for order in orders:
                    if order.odd:
                        found.complete, found.error, found.failed = False, f"unreadable: {order.odd}", True
                    elif is_ours(order.client_order_id, self.tag) and not order.over:
                        found.ours[order.venue_order_id] = order.client_order_id
        finally:
            self.guard.forget(self.session)
        return found

    def account(self, deadline_boot_s: float) -> Account:
        """Whose key this is. Raises NoAnswerError."""
        self.guard.watch(self.session, deadline_boot_s)
        try:
            return self.asker(deadline_boot_s).get("/key_permissions", {}, wire_pages.account, RateClass.PRIVATE)
        finally:
            self.guard.forget(self.session)

    def strange_key(self, until_boot_s: float) -> str:
        """Why an empty listing says nothing about this account, "" when it does."""
        if not self.stranger:
            deadline = min(until_boot_s, boot_s() + self.settings.account_s)
            try:
                tag = account_tag(self.account(deadline).portfolio_uuid)
            except NoAnswerError as error:
                return f"the venue does not tell whose key this is: {error}"
            if tag != self.tag:
                self.stranger = (
                    f"the key is of another account (tag {tag}) than this data dir (tag {self.tag}), whose orders it can "
                    "neither list nor cancel: use a key of this one"
                )
        return self.stranger

    def cancel(self, ours: dict[str, str], until_boot_s: float) -> tuple[set[str], str]:
        """(client order ids whose cancel the venue accepted, the last error)."""
        accepted: set[str] = set()
        error = ""
        ids = list(ours)
        for at in range(0, len(ids), BATCH):
            batch = ids[at : at + BATCH]
            deadline = min(until_boot_s, boot_s() + self.settings.pass_s)
            if not self.budgets.wait(RateClass.CANCELS, urgent=True, until_boot_s=deadline, stop=self.stop):
                return accepted, error or "no budget to cancel before the end"
            self.guard.watch(self.session, deadline)
            reply = self.session.send(
                "POST", "/orders/batch_cancel", body={"order_ids": batch}, deadline_boot_s=deadline
            )
            self.guard.forget(self.session)
            self.budgets.learn(RateClass.CANCELS, reply)
            if reply.status != 200:
                error = reply.error or f"http_{reply.status}: {wire.shortened(wire.as_text(reply.content))}"
                continue
            try:
                results = wire.canceled(reply.content, batch)
            except wire.Unreadable as unreadable:
                error = f"unreadable: {unreadable}"
                continue
            for venue_order_id, ok, reason in results:
                if ok:
                    accepted.add(ours[venue_order_id])
                elif reason not in _HARMLESS:
                    error = f"{ours[venue_order_id]}: {reason}"
        return accepted, error


_HARMLESS = frozenset({"DUPLICATE_CANCEL_REQUEST", "ORDER_IS_FULLY_FILLED", "UNKNOWN_CANCEL_ORDER"})
"""Refusals that mean: already under way, or over. The next listing tells which."""


def sweep(
    endpoints: Endpoints,
    key: ApiKey,
    tag: str,
    until_boot_s: float | Callable[[], float],
    report: Callable[[SweepReport], None] | None = None,
    *,
    stop: threading.Event | None = None,
    leave_when_clean: bool = False,
    settings: SweepSettings | None = None,
) -> SweepReport:
    """Until `until_boot_s` (a function of it may move the end), or `stop`, or, when asked, until clean or the key is found to be
    of another account. Never raises.

    report: hears of each pass, in this thread.
    """
    settings = settings or SweepSettings()
    stop = stop or threading.Event()
    until: Callable[[], float] = until_boot_s if callable(until_boot_s) else _constant(until_boot_s)
    sweeper = _Sweeper(endpoints, key, tag, settings, stop)
    canceled: dict[str, None] = {}
    empty_since: float | None = None
    known = False
    last = SweepReport(clean=False, canceled=(), listed=0, passes=0)
    failures = 0
    try:
        while not stop.is_set() and boot_s() < until():
            found = sweeper.listed(until())
            error = found.error
            if found.ours:
                accepted, cancel_error = sweeper.cancel(found.ours, until())
                canceled.update(dict.fromkeys(sorted(accepted)))
                error = cancel_error or error
            if not found.complete and not found.failed and not found.ours:
                # The end, or a long Retry-After, came before a question: this pass says nothing about the venue.
                last = evolve(last, error=error)
                if report is not None:
                    report(last)
                stop.wait(max(0.0, min(settings.busy_s, until() - boot_s())))
                continue
            now_boot_s = boot_s()
            empty = found.complete and not found.ours
            clean = empty and empty_since is not None and now_boot_s - empty_since >= settings.apart_s
            if clean and not known:
                error = sweeper.strange_key(until())
                clean = known = not error
            empty_since = (now_boot_s if empty_since is None else empty_since) if empty else None
            last = SweepReport(
                clean=clean or (empty and last.clean),
                canceled=tuple(canceled),
                listed=len(found.ours),
                passes=last.passes + 1,
                error=error,
            )
            if report is not None:
                report(last)
            if leave_when_clean and (last.clean or sweeper.stranger):
                return last
            failures = 0 if found.complete else failures + 1
            stop.wait(max(0.0, min(_pause_s(settings, last, found, failures), until() - boot_s())))
    finally:
        sweeper.close()
    return last


def _constant(value: float) -> Callable[[], float]:
    return lambda: value


def _pause_s(settings: SweepSettings, last: SweepReport, found: _Pass, failures: int) -> float:
    if failures:
        return max(found.retry_after_s or 0.0, min(settings.error_s_max, settings.busy_s * 2.0 ** min(failures - 1, 8)))
    if found.ours:
        return settings.busy_s
    return settings.every_s if last.clean else settings.apart_s


def list_ours(
    endpoints: Endpoints, key: ApiKey, tag: str, deadline_boot_s: float, *, settings: SweepSettings | None = None
) -> OursListed:
    """One complete listing of what is ours and may rest, by its own connection. complete False: no answer. Never raises."""
    sweeper = _Sweeper(endpoints, key, tag, settings or SweepSettings(), threading.Event())
    try:
        found = sweeper.listed(deadline_boot_s)
    finally:
        sweeper.close()
    return OursListed(complete=found.complete, orders=tuple(sorted(found.ours.values())), error=found.error)


def ask_tag(endpoints: Endpoints, key: ApiKey, deadline_boot_s: float, *, settings: SweepSettings | None = None) -> str:
    """The account's tag, for who has no `run/account` yet. NoAnswerError when the venue does not tell it in time."""
    sweeper = _Sweeper(endpoints, key, "", settings or SweepSettings(), threading.Event())
    try:
        return account_tag(sweeper.account(deadline_boot_s).portfolio_uuid)
    finally:
        sweeper.close()


class SweepThread:
    """A sweep beside an actor: `order` starts it or moves its end, `stop` ends it after its present request.

    report: called in the sweep's thread after each pass; put it into a queue that your own thread watches.
    """

    def __init__(self, endpoints: Endpoints, key: ApiKey, tag: str, report: Callable[[SweepReport], None]) -> None:
        self._endpoints, self._key, self._tag, self._report = endpoints, key, tag, report
        self._lock = threading.Lock()
        self._until_boot_s = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"SweepThread({self._endpoints.rest}, until {self._until_boot_s:.0f})"

    def order(self, ordered: SweepOrdered) -> None:
        with self._lock:
            self._until_boot_s = ordered.until_boot_s
            if self._thread is not None and self._thread.is_alive() and not self._stop.is_set():
                return
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._stop,), name="sweep", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    @property
    def running(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return not self.running

    def _run(self, stop: threading.Event) -> None:
        def until() -> float:
            return self._until_boot_s

        while True:
            sweep(self._endpoints, self._key, self._tag, until, self._report, stop=stop)
            with self._lock:  # an order that came while the last pass ended must not be lost
                if stop.is_set() or boot_s() >= self._until_boot_s:
                    if self._stop is stop:
                        self._thread = None
                    return
