"""What others see of the book: the full snapshot, a symbol's slice of it, and who hears them when (protocol section 9)."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from attrs import evolve

from trading.messages.book import BookOrder, BookPosition, BookSnapshot, Cooldown, Counters, Foreign, Recovery
from trading.messages.control import Measured
from trading.money import DAY_S, Realised, day_start_s, realised_of
from trading.oms_desk import Desk
from trading.oms_measure import quantile, settle_wait_s
from trading.oms_positions import is_dust
from trading.oms_rows import Position
from trading.orders import Order
from trading.publish import PEOPLE, PEOPLE_S
from trading.values import ZERO, Purpose, Side

ENDED_SHOWN_S = 60.0
ADMITTED_RECENTLY_S = 60.0
REJECTS_S = 600.0
UNCONFIRMED_PASSES_MAX = 3
"""Passes, at least 5 s apart, for two to agree: one that met a second withdrawal, and one that confirms both."""


def full_snapshot(d: Desk) -> BookSnapshot:
    """The book as it is at this instant, at the version before this handle's rise."""
    now, book = d.now, d.book
    orders = tuple(_orders(d))
    realised = _realised(d)
    gap = d.balances.gap if d.balances else None
    # What was booked since the pass has moved cash already; else a fresh purchase would count twice in net asset value.
    expected = book.expected_quote()
    diff = d.quote_diff
    gone = min(ZERO, diff.usd) if expected is not None and diff is not None else ZERO
    if expected is not None:
        expected += gone  # money that seems gone counts at once, money that seems new when it is sure
    moved = ZERO
    if gap and d.balances:
        moved = book.meta.cash_usd - d.balances.cash_usd if expected is None else expected - gap.quote_total
    paid, earned = _seen_cash(d)
    return BookSnapshot(
        version=d.version,
        recovery=d.recovery,
        writable=True,
        draining=d.drain_run is not None,
        orders=orders,
        positions=tuple(_position(d, p) for p in (book.positions[key] for key in book.open_positions) if _shown(d, p)),
        cooldowns=tuple(
            Cooldown(product_id=c.product_id, kind=c.kind, until_s=c.until_s, reason=c.reason, by=c.by)
            for c in book.cooldowns.values()
            if not now.over(c.until_s)
        ),
        counters=_counters(d),
        quote_available_usd=max(ZERO, gap.quote_available + moved - paid) if gap else ZERO,
        quote_total_usd=(gap.quote_total + moved if gap else expected or ZERO) - paid + earned,
        quote_unconfirmed_usd=gone if diff is not None and diff.passes <= UNCONFIRMED_PASSES_MAX else ZERO,
        foreign=tuple(Foreign(currency=currency, size=size) for currency, size in gap.foreign.items()) if gap else (),
        unbooked=tuple((key, _unbooked_age(d, key)) for key in book.unbooked),
        admitted_recently=_admitted_recently(d),
        flows_usd=book.meta.flows_usd,
        adopted_usd=book.meta.adopted_usd,
        begun_by=book.meta.begun_by,
        realised_today_usd=realised.day_usd,
        realised_week_usd=realised.week_usd,
        balances_complete_boot_s=d.balances.answered_at if d.balances else None,
        unknown_products=book.unknown_products() if d.protections.unknown_counts else (),
        drift_usd=d.drift_usd,
        drift_count=d.drift_count,
        taken_boot_s=now.boot_s,
    )


def _seen_cash(d: Desk) -> tuple[Decimal, Decimal]:
    """(paid, earned) USD by fills that are seen and not booked: the position shows them already, so the cash must, too."""
    paid = earned = ZERO
    for key in d.book.unbooked:
        order = d.book.orders[key]
        if order.intent.external:
            continue
        price = order.seen_price if order.seen_price > ZERO else order.intent.limit_price
        value = order.unbooked_size * price
        if order.intent.side is Side.BUY:
            paid += value * (1 + d.fee_rate)
        else:
            earned += value * (1 - d.fee_rate)
    return paid, earned


def product_slice(full: BookSnapshot, product_id: str) -> BookSnapshot:
    """What a symbol needs to know of the book."""
    return evolve(
        full,
        product_id=product_id,
        orders=tuple(o for o in full.orders if o.product_id == product_id),
        positions=tuple(p for p in full.positions if p.product_id == product_id),
        cooldowns=tuple(c for c in full.cooldowns if c.product_id == product_id),
        counters=Counters(),
        foreign=(),
        admitted_recently=(),
    )


def _orders(d: Desk) -> list[BookOrder]:
    now_s = d.now.venue_s
    d.recent = {
        key: None
        for key in d.recent
        if key in d.book.orders and (d.book.orders[key].ended_s or now_s) >= now_s - ENDED_SHOWN_S * d.now.speed
    }
    return [_order(d, d.book.orders[key]) for key in d.recent]


def _order(d: Desk, order: Order) -> BookOrder:
    found = d.order_views.get(order.intent.client_order_id)
    if found is not None and found[0] is order:
        return found[1]
    view = _order_view(d, order)
    d.order_views[order.intent.client_order_id] = (order, view)
    return view


def _order_view(d: Desk, order: Order) -> BookOrder:
    intent = order.intent
    entry = intent.purpose is Purpose.ENTRY and not order.status.terminal
    share = order.leaves_size / intent.base_size if intent.base_size > ZERO else ZERO
    if order.unknown and not d.protections.unknown_counts:
        share = ZERO
    ended: str | None = None
    if order.status.terminal or (order.unknown and not d.protections.unknown_counts):
        ended = f"{order.status}:{order.reason}" if order.reason else str(order.status)
    return BookOrder(
        intent_id=intent.intent_id,
        client_order_id=intent.client_order_id,
        proposal_id=intent.proposal_id or "",
        plan_id=intent.plan_id,
        product_id=intent.product_id,
        side=intent.side,
        purpose=intent.purpose,
        strategy=intent.strategy,
        status=str(order.status),
        base_size=intent.base_size,
        limit_price=intent.limit_price,
        filled_size=order.seen_size,
        worst_usd=intent.worst_usd * share if entry else ZERO,
        saved_s=intent.saved_s,
        position_id=d.book.position_of(intent),
        venue_order_id=order.venue_order_id,
        unknown_since_boot_s=order.unknown_since_boot_s,
        ended=ended,
        ended_by_ttl=order.ended_by_ttl,
        requote=intent.requote,
        plan_expires_boot_s=intent.plan_expires_boot_s,
        post_only=intent.post_only,
        cancel_after_s=intent.cancel_after_s,
    )


def _shown(d: Desk, position: Position) -> bool:
    bought, sold = d.book.seen_sizes(position.position_id)
    return position.booked_size > ZERO or bought > ZERO or sold > ZERO


def _position(d: Desk, position: Position) -> BookPosition:
    bought, sold = d.book.seen_sizes(position.position_id)
    exits = d.book.exits_of(position.position_id)
    price = position.average_price if position.average_price > ZERO else position.entry_price
    stop = max(position.tightened_stop_price, price * (1 - position.stop_pct / 100))
    return BookPosition(
        position_id=position.position_id,
        product_id=position.product_id,
        strategy=position.strategy,
        seen_size=position.booked_size + bought - sold,
        booked_size=position.booked_size,
        average_price=price,
        cost_usd=position.cost_usd,
        fees_usd=position.fees_usd,
        opened_s=position.opened_s,
        stop_price=stop,
        target_price=price * (1 + position.target_pct / 100),
        trailing_pct=position.trailing_pct,
        peak_price=max(position.peak_price, price),
        hold_until_s=position.opened_s + position.hold_s_max,
        exit_n=position.exit_n,
        exits_open_size=sum((e.leaves_size for e in exits), ZERO),
        unknown_exits=sum(1 for e in exits if e.unknown),
        adopted_by=position.adopted_by,
        last_exit_ended=position.last_exit_ended,
        dust=bought == ZERO and sold == ZERO and is_dust(d, position),
        leaving=position.leaving,
        crash_tightened=position.crash_tightened,
    )


def _counters(d: Desk) -> Counters:
    """Times from the book's own queues; results are made anew only when one changed."""
    book, now_s = d.book, d.now.venue_s
    while book.entry_times and book.entry_times[0][0] <= now_s - DAY_S:
        book.entry_times.popleft()
    while book.reject_times and book.reject_times[0] <= now_s - REJECTS_S * d.now.speed:
        book.reject_times.popleft()
    if d.results is None or d.results[0] != book.results_n:
        realised = tuple((c.at_s, c.realised_usd) for c in book.closes.values())
        d.results = (book.results_n, realised, *_loss_streak(d))
    _, realised, streak, last_loss = d.results
    return Counters(
        entry_times_s=tuple(book.entry_times),
        realised=realised,
        loss_streak=streak,
        last_loss_s=last_loss,
        rejects_s=tuple(book.reject_times),
    )


def _loss_streak(d: Desk) -> tuple[int, float | None]:
    """Losing positions in a row, by the time of their last sale, and when the last one was lost."""
    ends: dict[str, float] = {}
    realised: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for close in d.book.closes.values():
        realised[close.position_id] += close.realised_usd
        ends[close.position_id] = max(close.at_s, ends.get(close.position_id, 0.0))
    streak, last = 0, None
    for position_id, at_s in sorted(ends.items(), key=lambda one: one[1]):
        position = d.book.positions.get(position_id)
        if position is None or not position.outcome or realised[position_id] == ZERO:
            continue  # neither won nor lost: coins that left by another hand
        lost = realised[position_id] < ZERO
        streak = streak + 1 if lost else 0
        last = at_s if lost else last
    return streak, last


def _realised(d: Desk) -> Realised:
    """Net PnL of the windows of this instant; added up anew when a result or the day changes."""
    key = (d.book.results_n, day_start_s(d.now.venue_s))
    if d.realised is None or d.realised[0] != key:
        closes = [(c.at_s, c.realised_usd) for c in d.book.closes.values()]
        d.realised = (key, realised_of(closes, d.now.venue_s))
    return d.realised[1]


def _unbooked_age(d: Desk, key: str) -> float:
    since = d.task(key).fills_since
    return 0.0 if since is None else d.now.boot_s - since


def _admitted_recently(d: Desk) -> tuple[str, ...]:
    d.admitted = {pid: at for pid, at in d.admitted.items() if d.now.boot_s - at <= ADMITTED_RECENTLY_S}
    return tuple(d.admitted)


# -- who hears what when ---------------------------------------------------------------------------------------------


def publish(d: Desk, *, changed: bool, at_once: bool) -> None:
    """The snapshots that are due, before the answers that rest on them.

    Risk: on change (at most each 20 ms unless an answer needs it) and each 0.5 s. Exits: the same. Symbols: their slice when
    it changed, and a jittered repeat each 10 s. People: on change, at most each 2 s.
    """
    now_boot_s = d.now.boot_s
    d.owed = d.owed or changed
    beat = now_boot_s >= d.snapshot_at
    gap_over = now_boot_s >= d.snapshot_sent_at + d.settings.snapshot_gap_s
    if not (beat or at_once or (d.owed and gap_over)):
        if d.owed:
            d.wake("snapshot", d.snapshot_sent_at + d.settings.snapshot_gap_s)
        return
    full = full_snapshot(d)
    d.send("risk", full)
    d.send("exits", full)
    d.snapshot_sent_at = now_boot_s
    d.snapshot_at = now_boot_s + d.settings.snapshot_every_s
    if d.owed:
        d.people_owed = True
        _slices(d, full)
    d.owed = False
    if now_boot_s >= d.slow_at:
        d.slow_n += 1
        d.slow_at = now_boot_s + d.repeat_s * d.jitter(f"oms:{d.me[1]}", d.slow_n)
        for product_id in d.symbols:
            d.send(f"symbol:{product_id}", product_slice(full, product_id))
        d.people_owed = True
    if d.people_owed and now_boot_s >= d.people_at:
        d.people_owed = False
        d.people_at = now_boot_s + PEOPLE_S
        for role in (*PEOPLE, "universe"):  # universe reads the bans in it
            d.send(role, full)


def _slices(d: Desk, full: BookSnapshot) -> None:
    for product_id in d.dirty_products:
        d.symbols[product_id] = None
        d.send(f"symbol:{product_id}", product_slice(full, product_id))
    d.dirty_products = {}


def measured(d: Desk) -> None:
    """What the health monitor hears each second."""
    d.measured_n += 1
    now = d.now
    ages = [_unbooked_age(d, key) for key in d.book.unbooked]
    unknown = [o for o in d.book.open_orders() if o.unknown]
    readings: list[tuple[str, float]] = [
        ("reconcile_age_s", now.boot_s - d.pass_done_at if d.pass_done_at is not None else -1.0),
        ("reconciled", 1.0 if d.recovery is Recovery.RECONCILED else 0.0),
        ("drift_count", float(d.drift_count)),
        ("drift_usd", float(d.drift_usd)),
        ("order_rejections", float(len(d.book.reject_times))),
        ("orders_unknown", float(len(unknown))),
        ("orders_open", float(len(d.book.working))),
        ("unbooked_age_s", max(ages, default=0.0)),
        ("post_trade_reconcile_wait_s", settle_wait_s(d)),
    ]
    for name, window in d.latencies.items():
        readings += [(f"{name}_p50", quantile(window, 0.5)), (f"{name}_p95", quantile(window, 0.95))]
    d.send("health_monitor", Measured(source="oms", n=d.measured_n, readings=tuple(readings), incarnation=d.me))
