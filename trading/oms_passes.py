"""Agreement with the venue: Hello and Withdraw first, then passes of orders, fills and balances, for ever.

RECOVERING -> ORDERS_KNOWN (orders and fills complete) -> RECONCILED (balances too). It never goes back within one life:
what happens later, a lost feed or a difference, is a pass of its own. A stage advances by a complete page only; a partial
or failed one is asked again. Differences become events (orders, fills), flows, or external reductions.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from trading.messages.book import Recovery
from trading.messages.orders import Hello, HelloAck, OddFill, Page, QueryKind, VenueOrder, Withdraw
from trading.oms_balances import balances_answered
from trading.oms_desk import Desk, Pass
from trading.oms_exits import finish_flatten
from trading.oms_fills import book_listed
from trading.oms_orders import listed
from trading.oms_people import adoption_id, adoption_priced
from trading.oms_service import asked_answered
from trading.order_states import OrderStatus
from trading.reconcile import compare_orders
from trading.settle import ASK_PATIENCE_S, doubled_s
from trading.values import plain

STAGES = ("orders", "fills", "balances")


# -- Hello and Withdraw ----------------------------------------------------------------------------------------------


def greet(d: Desk) -> None:
    """Hello until it is acknowledged, and Withdraw until each intent of before has its one state; each second."""
    if not d.greeting or d.now.boot_s < d.hello_at:
        return
    if d.gateway is None:
        d.send("gateway", Hello(oms_incarnation=d.me))
    asked = withdrawing(d)
    if asked:
        d.send("gateway", Withdraw(oms_incarnation=d.me, orders=asked))
    d.hello_at = d.now.boot_s + d.settings.place_repeat_s
    d.greeting = d.gateway is None or bool(asked)
    d.wake("hello", d.hello_at if d.greeting else None)


def withdrawing(d: Desk) -> tuple[tuple[str, tuple[int, int]], ...]:
    """SUBMITTED orders of before, which are withdrawn and never sent again."""
    return tuple(
        (order.intent.client_order_id, order.intent.gateway_incarnation)
        for order in d.book.open_orders()
        if order.status is OrderStatus.SUBMITTED and d.task(order.intent.client_order_id).withdrawing
    )


def withdraw_answered(d: Desk) -> bool:
    """Each has one state: withdrawn, not mine, an outcome, or in flight (which counts in full)."""
    return not d.greeting or all(d.task(key).withdraw_answered for key, _ in withdrawing(d))


def begin_withdraw(d: Desk) -> None:
    """On our own start and whenever the gateway is another one."""
    if d.protections.withdraw:
        for order in d.book.open_orders():
            if order.status is OrderStatus.SUBMITTED:
                task = d.task(order.intent.client_order_id)
                task.withdrawing, task.withdraw_answered = True, False
    d.gateway = None
    d.greeting = True
    d.hello_at = 0.0
    greet(d)


def hello_acknowledged(d: Desk, message: HelloAck) -> None:
    if message.oms_incarnation != d.me:
        return
    d.gateway = message.gateway_incarnation
    d.changed = True


def gateway_restarted(d: Desk) -> None:
    """Whatever was asked is lost with it; cancels and questions go out again at once."""
    d.queries.clear()
    d.adoptions.clear()  # the operator repeats them
    d.flattens.clear()  # and these; main asks under a new id, which must not wait for an answer that never comes
    for key in d.book.working:
        task = d.task(key)
        task.cancel_at = task.place_at = 0.0
        if task.inquiry is not None:
            task.inquiry.void()
        d.book.touched[key] = None
    for key in d.book.unbooked:
        task = d.task(key)
        task.fills_query = None
        d.book.touched[key] = None
    if d.pass_ is not None:
        d.pass_.query_id = None
        d.pass_at = d.now.boot_s
    begin_withdraw(d)


# -- passes ----------------------------------------------------------------------------------------------------------


def advance(d: Desk) -> None:
    """Begin a pass that is due, ask its stage, ask again what got no answer."""
    now_boot_s = d.now.boot_s
    if not d.protections.reconcile:
        d.recovery = Recovery.RECONCILED
        return
    if d.gateway is None or not withdraw_answered(d):
        return  # a listing from before those answers would prove nothing
    if d.pass_ is None:
        if now_boot_s < d.pass_at:
            d.wake("pass", d.pass_at)
            return
        d.pass_n += 1
        d.pass_ = Pass(
            n=d.pass_n,
            stage="orders",
            started_s=d.now.venue_s,
            started_at=now_boot_s,
            rebuilding_s=d.rebuilding_s(),
        )
        d.pass_at = now_boot_s
    one = d.pass_
    if one.query_id is not None and now_boot_s >= one.asked_at + ASK_PATIENCE_S:
        d.queries.pop(one.query_id, None)
        one.query_id = None
    if one.query_id is None and now_boot_s >= d.pass_at:
        one.query_id = _ask_stage(d, one)
        one.asked_at = now_boot_s
    d.wake("pass", one.asked_at + ASK_PATIENCE_S if one.query_id is not None else d.pass_at)


def _ask_stage(d: Desk, one: Pass) -> str:
    if one.stage == "orders":
        return d.query("pass", "orders", QueryKind.ORDERS, since_s=_orders_since(d))
    if one.stage == "fills":
        return d.query("pass", "fills", QueryKind.FILLS, since_s=_cursor(d) - d.settings.fills_overlap_s)
    one.booked_before = len(d.book.fills)
    return d.query("pass", "balances", QueryKind.BALANCES)


def _cursor(d: Desk) -> float:
    """Fills were read up to here. A store without one begins now: what is older belongs to no order of ours."""
    return d.now.venue_s if d.book.meta.cursor_s is None else d.book.meta.cursor_s


def _move_cursor(d: Desk, read_to_s: float) -> None:
    """Forwards only, and only by a trusted clock: a cursor in the future would hide fills."""
    before = d.book.meta.cursor_s
    if d.now.trusted and (before is None or read_to_s > before):
        d.book.put_meta(evolve(d.book.meta, cursor_s=read_to_s))


def _orders_since(d: Desk) -> float:
    """Far enough back for all that is not over, never further than what `recover` loads.

    A store that held nothing may be a lost one: then so far back that whatever could still cool a product is found, and
    whatever is listed late.
    """
    if d.book.meta.adopting and adoption_id(d) not in d.book.commands:
        return d.now.venue_s - d.settings.adopt_lookback_s
    if d.fresh:
        return d.now.venue_s - max(d.settings.cooldowns.stop_s, 2.0 * d.settings.settle.last_word_s * d.now.speed)
    oldest = min((o.intent.saved_s for o in d.book.open_orders()), default=d.now.venue_s)
    since = min(oldest - 60.0, _cursor(d) - d.settings.fills_overlap_s)
    # What `recover` loads is bounded from the cursor too (`retire`): an old copy that was put back asks for all since then.
    return max(since, min(d.now.venue_s, _cursor(d)) - d.settings.retain_s + d.settings.fills_overlap_s)


def page(d: Desk, message: Page) -> None:
    """An answer to a Query of ours; answers to nobody's question are dropped."""
    asked = d.queries.pop(message.query_id, None)
    if asked is None:
        return
    if d.catalog is not None and d.catalog.other_account:
        message = evolve(
            message, complete=False, error="the key is of another account, whose orders and coins are not ours"
        )
    complete = message.complete or not d.protections.complete_pages
    if asked.what == "ask":
        asked_answered(d, asked.key, message.query_id, message.items, complete=message.complete)
    elif asked.what == "fills":
        task = d.task(asked.key)
        if task.fills_query == message.query_id:
            task.fills_query = None
        d.book.touched[asked.key] = None
        if complete:
            book_listed(d, message.items)
    elif asked.what == "flatten":
        if asked.key in d.flattens:
            d.flattened[asked.key] = finish_flatten(d, asked.key, message.items if message.complete else ())
    elif asked.what == "adopt":
        adoption_priced(d, asked.key, message.items if message.complete else ())
    elif asked.what == "pass" and d.pass_ is not None and d.pass_.query_id == message.query_id:
        d.pass_.query_id = None
        if complete:
            _stage_answered(d, d.pass_, message)
        else:
            d.pass_.tries += 1
            retry_s, most_s = d.settings.reconcile_retry_s, d.settings.reconcile_retry_s_max
            d.pass_at = d.now.boot_s + doubled_s(retry_s, d.pass_.tries, most_s)
            d.stand("reconcile", "warning", f"the venue's {asked.key} could not be read completely: {message.error}")
        advance(d)


def _odd_of_ours(d: Desk, items: Iterable[object]) -> str:
    """Which fill of ours cannot be read; what is odd in others' trades is nothing to us."""
    for item in items:
        if isinstance(item, OddFill) and (order := d.book.find(None, item.venue_order_id)) is not None:
            intent = order.intent
            return f"{intent.product_id}: a fill of order {intent.client_order_id} cannot be read ({item.why})"
    return ""


def _stage_answered(d: Desk, one: Pass, message: Page) -> None:
    one.tries = 0
    d.pass_at = d.now.boot_s
    d.gone("reconcile")
    if one.stage == "orders":
        _orders_answered(d, one, message)
        one.stage = "fills"
    elif one.stage == "fills":
        one.differences += book_listed(d, message.items)
        if d.recovery is Recovery.RECOVERING:
            _reach(d, Recovery.ORDERS_KNOWN)
        if odd := _odd_of_ours(d, message.items):
            # The cursor stays where it is and the pass has no end, so that entries stay out; what was read is booked.
            _again_in(d, d.settings.reconcile_every_s)
            d.stand("odd_fill", "warning", f"{odd}; exits and cancels go on, entries wait until it can be read")
            return
        d.gone("odd_fill")
        # A pass may have begun by a clock that was ahead, before the first anchor.
        _move_cursor(d, min(one.started_s, d.now.venue_s))
        one.stage = "balances"
    else:
        balances_answered(d, one, message)
        if d.key_unchecked:  # these may be another account's: nothing is compared yet, so entries wait
            _again_in(d, d.settings.reduction_apart_s)
            return
        if d.recovery is not Recovery.RECONCILED and one.rebuilding_s == 0.0:
            _reach(d, Recovery.RECONCILED)
        _finish(d, one)


def _again_in(d: Desk, seconds: float) -> None:
    """The pass under way has no end; the next one begins then."""
    d.pass_ = None
    d.pass_at = d.now.boot_s + seconds


def _reach(d: Desk, state: Recovery) -> None:
    d.recovery = state
    d.changed = True
    d.note(
        "recovery",
        state=str(state),
        orders_open=len(d.book.working),
        unknown=sum(1 for o in d.book.open_orders() if o.unknown),
        positions=d.book.held(),
    )


def _orders_answered(d: Desk, one: Pass, message: Page) -> None:
    items = [item for item in message.items if isinstance(item, VenueOrder)]
    gap = compare_orders(d.book.orders, items, d.tag, d.now.venue_s)
    one.differences += sum(1 for _, events, _ in gap.news if events) + len(gap.adopt)
    for _, _, item in gap.news:
        listed(d, item)
    for item in gap.adopt:
        listed(d, item)
    d.used_ids.update(gap.over)
    for order in gap.ask:
        key = order.intent.client_order_id
        d.task(key).ask_now = True
        d.book.touched[key] = None


def _finish(d: Desk, one: Pass) -> None:
    d.drift_count = one.differences
    d.pass_ = None
    if one.rebuilding_s == 0.0:
        d.fresh = False
        d.book.put_meta(evolve(d.book.meta, rebuilt_boot_s=None))
    d.pass_done_at = d.now.boot_s
    every = d.settings.reconcile_every_s * d.jitter(f"{d.tag}:reconcile", one.n)
    soon = d.settings.reduction_apart_s if d.fresh or d.shortfalls or d.quote_diff is not None else every
    d.pass_at = d.now.boot_s + (0.0 if one.again else min(every, soon))
    if one.rebuilding_s > 0.0:
        d.stand(
            "recovering",
            "warning",
            "this book was begun in the place of a lost one: an order of that one may still be on its way or not be listed yet; "
            f"entries wait {d.rebuilding_s():.0f} s more, exits and cancels go on",
        )
    took = d.now.boot_s - one.started_at
    d.note(
        "reconcile" if one.differences else "metric",
        name="reconcile",
        differences=one.differences,
        drift_usd=str(d.drift_usd),
        took_s=round(took, 3),
    )
    if d.drift_usd > d.settings.drift_usd_max:
        d.stand(
            "drift",
            "critical",
            f"the account held {plain(d.drift_usd)} USD of coins less than the book; positions were cut to what is there",
            drift_usd=str(d.drift_usd),
            drift_count=one.differences,
        )
    else:
        d.gone("drift")
