"""What is due for each order: place, cancel, ask, read fills, each repeated until it is answered.

`service` is the one place where something is due: it is called for every order that changed and whenever its timer wakes,
does what is due, and arms the timer for what is due next. Calling it once too often does no harm.
"""

from __future__ import annotations

from attrs import evolve

from trading.messages.orders import CancelsAnswered, OrderBody, PlaceOrder, QueryKind, VenueOrder
from trading.oms_desk import Desk, Task
from trading.oms_measure import settle_wait_s
from trading.oms_orders import learn, listed, want_cancel
from trading.order_states import OrderAbsent, OrderPendingCancel, OrderStatus
from trading.orders import Intent, Order
from trading.settle import ASK_PATIENCE_S, LISTED_SINCE_S, Inquiry, dead_at_boot_s, doubled_s
from trading.values import ZERO

SOON_S = 0.05


def service(d: Desk, key: str) -> None:
    """Do for one order what is due, and arm its timer."""
    if key not in d.book.orders:
        d.tasks.pop(key, None)
        d.wake(f"order:{key}", None)
        return
    times = [step(d, d.book.orders[key], d.task(key)) for step in (_place, _time_to_live, _cancel, _ask, _fills)]
    due = [at for at in times if at is not None]
    d.wake(f"order:{key}", max(min(due), d.now.boot_s + SOON_S) if due else None)
    if not due and d.book.orders[key].status.terminal:
        d.tasks.pop(key, None)


def _place(d: Desk, order: Order, task: Task) -> float | None:
    """PlaceOrder each second until an Outcome; after a restart Withdraw does that instead, and nothing old is sent."""
    if order.status is not OrderStatus.SUBMITTED or task.withdrawing:
        return None
    if order.cancel_reason and d.protections.withdraw:
        # It is not wanted any more: what has not left yet shall not leave.
        task.withdrawing, task.withdraw_answered = True, False
        d.greeting, d.hello_at = True, 0.0
        d.wake("hello", d.now.boot_s)
        return None
    if d.now.boot_s >= task.place_at:
        task.place_at = d.now.boot_s + d.settings.place_repeat_s
        d.send("gateway", place_order(d, order.intent))
        key = order.intent.client_order_id
        waited_s = d.now.boot_s - order.intent.saved_boot_s
        if waited_s >= d.settings.tell_after_s and f"unanswered:{key}" not in d.conditions:
            d.stand(
                f"unanswered:{key}",
                "critical",
                f"{order.intent.product_id}: the gateway has not told for {waited_s:.0f} s what became of order {key}; it counts in full",
            )
    return task.place_at


def place_order(d: Desk, intent: Intent) -> PlaceOrder:
    bound = intent.gateway_incarnation
    if not d.protections.binding and d.gateway is not None:
        bound = d.gateway
    return PlaceOrder(
        client_order_id=intent.client_order_id,
        purpose=intent.purpose,
        body=OrderBody(
            product_id=intent.product_id,
            side=intent.side,
            style=intent.style,
            base_size=intent.base_size,
            limit_price=intent.limit_price,
            post_only=intent.post_only,
            end_time_s=intent.end_time_s,
        ),
        gateway_incarnation=bound,
        approval_id=intent.approval_id,
        send_by_boot_s=intent.send_by_boot_s,
        quote_received_boot_s=intent.quote_received_boot_s,
    )


def _time_to_live(d: Desk, order: Order, task: Task) -> float | None:  # noqa: ARG001 -- the steps have one shape
    after_s = order.intent.cancel_after_s
    if after_s is None or not order.status.resting or order.cancel_reason or not d.protections.ttl:
        return None
    # Whichever is earlier: an exit may have been saved by a clock that was ahead, before the first anchor.
    at_boot_s = order.intent.saved_boot_s + (after_s - order.intent.saved_s) / d.now.speed
    if d.now.over(after_s) or (d.now.trusted and d.now.boot_s >= at_boot_s):
        want_cancel(d, order, "ttl")
        return None
    return max(min(d.now.boot_at(after_s), at_boot_s), d.now.boot_s + SOON_S)


def _cancel(d: Desk, order: Order, task: Task) -> float | None:
    if not order.cancel_reason or order.status.terminal or order.venue_order_id is None:
        return None
    key = order.intent.client_order_id
    if d.now.boot_s >= task.cancel_at and (task.cancel_n == 0 or d.protections.cancel_repeat):
        d.cancels[order.venue_order_id] = None
        task.cancel_n += 1
        task.cancel_at = d.now.boot_s + doubled_s(1.0, task.cancel_n, d.settings.cancel_repeat_s_max)
        if task.cancel_since is None:
            task.cancel_since = d.now.boot_s
        if order.status in (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED):
            learn(d, order, OrderPendingCancel(at_s=d.now.venue_s, reason=order.cancel_reason))
    if task.cancel_since is None:
        return task.cancel_at
    tell_at = task.cancel_since + d.settings.tell_after_s
    if d.now.boot_s < tell_at:
        return min(task.cancel_at, tell_at)
    if f"cancel_stuck:{key}" not in d.conditions:
        d.stand(
            f"cancel_stuck:{key}",
            "critical",
            f"{order.intent.product_id}: order {key} was asked to be cancelled ({order.cancel_reason}) "
            f"{d.now.boot_s - task.cancel_since:.0f} s ago and is not over",
        )
    return task.cancel_at


def cancels_answered(d: Desk, message: CancelsAnswered) -> None:
    """Accepted is not canceled; refused is a question: it may be over already."""
    if not message.complete:
        return
    for venue_order_id, accepted, _reason in message.results:
        order = d.book.find(None, venue_order_id)
        if order is not None and not order.status.terminal and not accepted:
            task = d.task(order.intent.client_order_id)
            task.inquiry = Inquiry(kind="order", since_boot_s=d.now.boot_s - 0.3)
            d.book.touched[order.intent.client_order_id] = None


# -- what we ask -----------------------------------------------------------------------------------------------------


def _question(d: Desk, order: Order, task: Task) -> tuple[str, float] | float | None:
    """(kind, since) of the question that is open now, or when one will open."""
    if order.status is OrderStatus.UNKNOWN:
        return ("order" if order.intent.external and order.venue_order_id else "orders"), d.now.boot_s
    if order.status.terminal or order.venue_order_id is None:
        return None
    if task.ask_now or order.intent.external:
        return "order", d.now.boot_s
    if order.status is OrderStatus.PENDING_CANCEL:
        return "order", (task.cancel_since if task.cancel_since is not None else d.now.boot_s) + 0.7
    if not order.status.resting:
        return None
    if not order.intent.rests:
        return "order", d.now.boot_s
    dead_at = dead_at_boot_s(order.intent, d.now, d.settings.settle)
    if order.intent.end_time_s is None or d.now.boot_s < dead_at:
        return None if order.intent.end_time_s is None else dead_at
    return "order", d.now.boot_s


def _ask(d: Desk, order: Order, task: Task) -> float | None:
    question = _question(d, order, task)
    if question is None or isinstance(question, float):
        task.inquiry = None
        return question
    kind, since = question
    if task.inquiry is None or task.inquiry.kind != kind:
        task.inquiry = Inquiry(kind=kind, since_boot_s=since)
    inquiry = task.inquiry
    if d.now.boot_s >= inquiry.due_boot_s():
        if inquiry.query_id is not None:
            d.queries.pop(inquiry.query_id, None)
            inquiry.void()
        inquiry.ask(_send_ask(d, order, kind), d.now)
    told_at = _tell_unknown(d, order)
    return min(inquiry.due_boot_s(), told_at) if told_at is not None else inquiry.due_boot_s()


def _send_ask(d: Desk, order: Order, kind: str) -> str:
    intent = order.intent
    key = intent.client_order_id
    if kind == "order":
        return d.query("ask", key, QueryKind.ORDER, venue_order_ids=(order.venue_order_id,))
    if not d.protections.one_post and d.gateway is not None:
        # Simulation only: what other bots do, the POST repeated as if it were a question.
        again = evolve(intent, gateway_incarnation=d.gateway, send_by_boot_s=d.now.boot_s + d.settings.send_by_s)
        d.send("gateway", place_order(d, again))
    # Whichever is earlier: an exit may have been saved by a clock that was ahead, before the first anchor.
    saved_s = min(intent.saved_s, d.now.venue_at(intent.saved_boot_s))
    return d.query("ask", key, QueryKind.ORDERS, product_id=intent.product_id, since_s=saved_s - LISTED_SINCE_S)


def _tell_unknown(d: Desk, order: Order) -> float | None:
    if not order.unknown or order.unknown_since_boot_s is None:
        return None
    key = order.intent.client_order_id
    tell_at = order.unknown_since_boot_s + d.settings.tell_after_s
    if d.now.boot_s < tell_at:
        return tell_at
    if f"unknown:{key}" not in d.conditions:
        d.stand(
            f"unknown:{key}",
            "critical",
            f"{order.intent.product_id}: what became of order {key} is unknown since {d.settings.tell_after_s:.0f} s ({order.reason}); "
            f"it counts in full and is asked for. Whoever knows better: ctl settle {key} CAUSE",
        )
    return None


def asked_answered(d: Desk, key: str, query_id: str, items: tuple[object, ...], *, complete: bool) -> None:
    """The Page of an ask. A partial one is no answer."""
    order = d.book.orders.get(key)
    task = d.task(key)
    inquiry = task.inquiry
    d.book.touched[key] = None
    complete = complete or not d.protections.complete_pages
    if not complete:
        if inquiry is not None and inquiry.query_id == query_id:
            inquiry.void()
        return
    shown = False
    for item in items:
        if isinstance(item, VenueOrder):
            found = listed(d, item)
            shown = shown or (found is not None and found.intent.client_order_id == key)
    if inquiry is None or inquiry.query_id != query_id or order is None:
        return
    task.ask_now = False
    inquiry.answered(order.intent, absent=not shown, now=d.now, settings=d.settings.settle)
    order = d.book.orders.get(key)
    if order is None or shown or not order.unknown or order.intent.external:
        return
    if inquiry.proved_absent(d.settings.settle) or not d.protections.horizon:
        learn(d, order, OrderAbsent(at_s=d.now.venue_s, reason="absent"))


def _fills(d: Desk, order: Order, task: Task) -> float | None:
    """Fills by order id until what is booked equals what was seen."""
    if order.unbooked_size <= ZERO or order.venue_order_id is None:
        task.fills_since, task.fills_n, task.fills_query = None, 0, None
        return None
    if task.fills_since is None:
        task.fills_since = d.now.boot_s
        task.fills_at = d.now.boot_s + settle_wait_s(d)
    if task.fills_query is not None:
        if d.now.boot_s < task.fills_asked_at + ASK_PATIENCE_S:
            return task.fills_asked_at + ASK_PATIENCE_S
        d.queries.pop(task.fills_query, None)
        task.fills_query = None
    if d.now.boot_s >= task.fills_at:
        task.fills_query = d.query(
            "fills", order.intent.client_order_id, QueryKind.FILLS, venue_order_ids=(order.venue_order_id,)
        )
        task.fills_asked_at = d.now.boot_s
        task.fills_n += 1
        task.fills_at = d.now.boot_s + doubled_s(0.5, task.fills_n, 10.0)
    return task.fills_at if task.fills_query is None else task.fills_asked_at + ASK_PATIENCE_S
