"""Booking: REST fills become facts, positions and outcomes; what happens to a position besides fills stands here too."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from attrs import evolve

from trading.fees import sellable_size
from trading.ledger import ADOPTED, EXTERNAL, Close, Fill
from trading.messages.orders import VenueFill, VenueStatus
from trading.oms_desk import ROLE, Desk
from trading.oms_measure import note_booked
from trading.oms_orders import TOLD_S, sight
from trading.oms_rows import CooldownRow, Flow, Position
from trading.orders import Order, Sighting
from trading.reconcile import new_fills
from trading.values import ZERO, Purpose, Side, derived_id, plain

STOPS = ("stop", "trail")
UNDOING = ("REVERSAL", "CORRECTION")
NO_ROW = "an order of ours that has no row in this book sold them"


def book_listed(d: Desk, items: Iterable[object]) -> int:
    """Book the fills of ours among `items` that are new; how many there were."""
    fills = [item for item in items if isinstance(item, VenueFill)]
    owners = {
        fill.venue_order_id: order for fill in fills if (order := d.book.find(None, fill.venue_order_id)) is not None
    }
    known = d.book.fills if d.protections.dedupe else {}
    found = new_fills(known, owners, fills)
    for owner, fill in found:
        _book(d, owner.intent.client_order_id, fill)
    for product_id in dict.fromkeys(owner.intent.product_id for owner, _ in found if owner.intent.external):
        _sold_without_row(d, product_id, [fill for _, fill in found])
    return len(found)


def _sold_without_row(d: Desk, product_id: str, told: Iterable[VenueFill]) -> None:
    """What orders of ours without a row have sold, beyond what such orders bought, came from positions of this book: it is an
    older copy that was put back, or an exit came to light after its position was rebuilt. Judged when all is booked.
    """
    trades = d.rowless.setdefault(product_id, [])
    trades += [f for f in told if f.kind not in UNDOING and _without_row(d, f.venue_order_id, product_id)]
    if any(_without_row(d, d.book.orders[key].venue_order_id, product_id) for key in d.book.unbooked):
        return
    sales = [fill for fill in trades if fill.side is Side.SELL]
    left = -_net_bought(trades) - _cut_since(d, product_id, min((f.trade_time_s for f in sales), default=d.now.venue_s))
    if d.book.meta.adopting:  # a sale may have been missing from the balance that positions were rebuilt by
        left = min(left, _given(d, product_id) - _bought_without_row(d, product_id))
    if left <= ZERO:
        return  # kept: what they bought may be sold by such an order later
    del d.rowless[product_id]
    held = [p for p in d.book.positions.values() if p.product_id == product_id and p.booked_size > ZERO]
    for position in sorted(held, key=lambda p: -p.opened_s):
        size = min(left, position.booked_size)
        if size <= ZERO:
            return
        left -= size
        unit_usd = (position.cost_usd + position.fees_usd) / position.booked_size
        earned = sum((f.price * f.base_size - f.fee_usd for f in sales), ZERO) / sum((f.base_size for f in sales), ZERO)
        key = f"sold:{sales[-1].entry_id}:{position.position_id}"
        close = Close(
            fill_key=key, base_size=size, realised_usd=size * (earned - unit_usd), at_s=sales[-1].trade_time_s
        )
        d.book.keep_closes(position.position_id, product_id, (close,))
        reduce_externally(d, position, size, NO_ROW)


def _net_bought(trades: Iterable[VenueFill]) -> Decimal:
    return sum((f.base_size if f.side is Side.BUY else -f.base_size for f in trades), ZERO)


def _given(d: Desk, product_id: str) -> Decimal:
    """What positions of a book that is being rebuilt were given and not cut by."""
    currency = product_id.partition("-")[0]
    cuts = (f.size for f in d.book.flows.values() if f.kind == "external_reduction" and f.currency == currency)
    return sum((p.bought_size for p in d.book.positions.values() if p.product_id == product_id), ZERO) + sum(cuts, ZERO)


def _bought_without_row(d: Desk, product_id: str) -> Decimal:
    """What orders without a row have bought and not sold, of all that is in this book."""
    fills = (f for f in d.book.fills.values() if f.position_id is None and f.product_id == product_id)
    return max(ZERO, sum((f.signed_size for f in fills), ZERO))


def _cut_since(d: Desk, product_id: str, since_s: float) -> Decimal:
    """What balances have cut since then: they show a sale at once, a listing may lag behind."""
    currency = product_id.partition("-")[0]
    flows = (f for f in d.book.flows.values() if f.kind == "external_reduction" and f.currency == currency)
    return -sum((f.size for f in flows if f.cause != NO_ROW and f.at_s >= since_s), ZERO)


def recall_rowless(d: Desk) -> None:
    """After a restart: what orders without a row have bought, no position was given, and such an order may sell later."""
    settled: dict[str, float] = {}
    for flow in d.book.flows.values():
        if flow.kind == "adoption" or flow.cause == NO_ROW:
            settled[flow.currency] = max(flow.at_s, settled.get(flow.currency, 0.0))
    trades: dict[str, list[VenueFill]] = {}
    for fill in d.book.fills.values():
        newer = fill.at_s > settled.get(fill.product_id.partition("-")[0], 0.0)
        if newer and fill.kind not in UNDOING and _without_row(d, fill.venue_order_id, fill.product_id):
            trades.setdefault(fill.product_id, []).append(
                VenueFill(
                    entry_id=fill.entry_id,
                    trade_id=fill.trade_id,
                    venue_order_id=fill.venue_order_id,
                    product_id=fill.product_id,
                    side=fill.side,
                    price=fill.price,
                    base_size=fill.base_size,
                    fee_usd=fill.fee_usd,
                    liquidity=fill.liquidity,
                    trade_time_s=fill.at_s,
                    kind=fill.kind,
                )
            )
    # What was sold beyond that was judged when it was booked; positions opened since then have nothing to do with it.
    d.rowless = {name: told for name, told in trades.items() if _net_bought(told) > ZERO}


def _without_row(d: Desk, venue_order_id: str | None, product_id: str) -> bool:
    order = d.book.find(None, venue_order_id)
    return order is not None and order.intent.external and order.intent.product_id == product_id


def _book(d: Desk, client_order_id: str, told: VenueFill) -> None:
    order = d.book.orders[client_order_id]
    intent = order.intent
    key = f"{told.entry_id}:{told.trade_id}"
    if key in d.book.fills:  # simulation only: dedupe is out
        key = f"{key}:{len(d.book.fills)}"
    booked = order.booked_size + (ZERO if told.kind in UNDOING else told.base_size)
    task = d.task(client_order_id)
    seen_since = task.fills_since
    order = evolve(order, booked_size=booked)
    if order.unbooked_size == ZERO:
        order = evolve(order, booked_boot_s=d.now.boot_s)
    d.book.put(order)
    # A fill that no update told first is news of the order, too.
    order = sight(
        d,
        order,
        Sighting(
            venue_order_id=told.venue_order_id,
            status=VenueStatus.UNKNOWN,
            filled_size=max(booked, order.seen_size),
            average_price=told.price,
        ),
    )
    fill = Fill(
        key=key,
        entry_id=told.entry_id,
        trade_id=told.trade_id,
        venue_order_id=told.venue_order_id,
        client_order_id=client_order_id,
        position_id=d.book.position_of(intent),
        product_id=told.product_id,
        side=told.side,
        price=told.price,
        base_size=told.base_size,
        fee_usd=told.fee_usd,
        liquidity=told.liquidity,
        kind=told.kind,
        at_s=told.trade_time_s,
    )
    d.book.book_fill(fill)
    d.marks[told.product_id] = told.price
    d.note(
        "fill",
        client_order_id=client_order_id,
        product_id=told.product_id,
        side=str(told.side),
        base_size=plain(told.base_size),
        price=plain(told.price),
        fee_usd=plain(told.fee_usd),
        liquidity=told.liquidity,
        kind=told.kind,
        position_id=fill.position_id,
    )
    if order.unbooked_size == ZERO:
        d.gone(f"unbooked:{client_order_id}")
        note_booked(d, order, seen_since)
    if fill.position_id is None:
        return
    if intent.purpose is Purpose.ENTRY:
        _cool(d, told.product_id, "fill", told.trade_time_s + d.settings.cooldowns.fill_s, "an entry filled")
    judge_position(d, fill.position_id, intent.reason if intent.purpose is Purpose.EXIT else "")


def _cool(d: Desk, product_id: str, kind: str, until_s: float, reason: str) -> None:
    d.book.put_cooldown(
        CooldownRow(product_id=product_id, kind=kind, until_s=until_s, reason=reason, by=ROLE, since_s=d.now.venue_s)
    )


def judge_position(d: Desk, position_id: str, exit_reason: str = "") -> None:
    """Whether a position is over, and with which outcome; a late fill opens it again."""
    position = d.book.positions.get(position_id)
    if position is None:
        return
    if exit_reason.startswith(STOPS) and not position.stopped:
        position = evolve(position, stopped=True)
    bought, sold = d.book.seen_sizes(position_id)
    nothing_open = not bought and not sold and not d.book.exits_of(position_id)
    entry = d.book.orders.get(d.book.by_intent.get(position_id, ""))
    entry_over = entry is None or entry.status.terminal
    if position.short_size > ZERO and nothing_open and entry_over:
        d.book.put_position(position)
        position = _cover(d, position)
    left = position.short_size == ZERO and is_dust(d, position)
    if position.sold_size > ZERO and nothing_open and entry_over and left and not position.outcome:
        position = evolve(position, outcome=_outcome(d, position))
    over = position.booked_size == ZERO and nothing_open and entry_over
    if over and position.closed_s is None:
        position = evolve(position, closed_s=d.now.venue_s)
    elif not over and position.closed_s is not None:
        position = evolve(position, closed_s=None)
    d.book.put_position(position)
    fingerprint = f"oversold:{position_id}"
    if position.short_size > ZERO and nothing_open and entry_over:
        d.stand(
            fingerprint,
            "critical",
            f"{position.product_id}: {plain(position.short_size)} more were sold than position {position_id} had bought",
        )
    else:
        d.gone(fingerprint)


def _cover(d: Desk, short: Position) -> Position:
    """What was sold beyond `short`'s size came from another position of ours: book it there, at its cost with fees.

    Happens when an exit of unknown fate was given up and filled after all. No cash moves and none is invented.
    """
    for key in list(d.book.open_positions):
        other = d.book.positions[key]
        if key == short.position_id or other.product_id != short.product_id or other.booked_size <= ZERO:
            continue
        size = min(other.booked_size, short.short_size)
        unit_usd = (other.cost_usd + other.fees_usd) / other.booked_size
        event_id = derived_id("cover", short.position_id, key, plain(short.sold_size), plain(other.booked_size))
        _by_hand(d, other, Side.SELL, size, other.average_price, EXTERNAL, event_id)
        _by_hand(d, short, Side.BUY, size, unit_usd, ADOPTED, event_id)
        short = d.book.positions[short.position_id]
        d.stand(
            f"covered:{event_id}",
            "warning",
            f"{short.product_id}: exits of position {short.position_id} sold {plain(size)} of position {key}; both are booked so",
            for_s=TOLD_S,
        )
        judge_position(d, key)
        if short.short_size <= ZERO:
            break
    return short


def _outcome(d: Desk, position: Position) -> str:
    kind = "win" if position.realised_usd > ZERO else ("stop" if position.stopped else "loss")
    rules = d.settings.cooldowns
    seconds = {"win": rules.win_s, "loss": rules.loss_s, "stop": rules.stop_s}[kind]
    last_s = max((f.at_s for f in d.book.position_fills.get(position.position_id, {}).values()), default=d.now.venue_s)
    text = f"position left with {plain(position.realised_usd.quantize(Decimal('0.01')))} USD"
    _cool(d, position.product_id, kind, last_s + seconds, text)
    return kind


def is_dust(d: Desk, position: Position) -> bool:
    """What the venue would not take as a sell, at the last price known; zero counts too."""
    size = position.booked_size
    if size <= ZERO:
        return True
    price = d.marks.get(position.product_id) or position.average_price or position.entry_price
    product = d.products.get(position.product_id)
    if product is None:
        return bool(size * price < d.settings.dust_usd)
    return sellable_size(product, size, price, d.fee_rate) == ZERO


def adopt_coins(d: Desk, position: Position, size: Decimal, price: Decimal, command_id: str) -> None:
    """A person gave `size` of foreign coins to the bot, valued at `price`."""
    _by_hand(d, position, Side.BUY, size, price, ADOPTED, command_id)


def reduce_externally(d: Desk, position: Position, size: Decimal, cause: str) -> None:
    """Coins that we booked are not in the account: they left by another hand, at cost, and a person is told."""
    # One of its own for each, since flows only grow: sizes may come back to what they were, by a purchase or a reversal.
    event_id = derived_id("external", position.position_id, len(d.book.flows))
    _by_hand(d, position, Side.SELL, size, position.average_price, EXTERNAL, event_id)
    d.book.put_flow(
        Flow(
            flow_id=event_id,
            currency=position.product_id.partition("-")[0],
            size=-size,
            usd=ZERO,
            kind="external_reduction",
            cause=cause,
            at_s=d.now.venue_s,
            position_id=position.position_id,
        )
    )
    d.stand(
        f"external_reduction:{event_id}",
        "critical",
        f"{position.product_id}: {plain(size)} of position {position.position_id} are not in the account any more ({cause}); "
        f"the position was cut to {plain(d.book.positions[position.position_id].booked_size)}",
        for_s=TOLD_S,
    )
    judge_position(d, position.position_id)


def _by_hand(d: Desk, position: Position, side: Side, size: Decimal, price: Decimal, kind: str, event_id: str) -> None:
    d.book.book_fill(
        Fill(
            key=f"{kind.lower()}:{event_id}",
            entry_id=kind.lower(),
            trade_id=event_id,
            venue_order_id="",
            client_order_id="",
            position_id=position.position_id,
            product_id=position.product_id,
            side=side,
            price=price,
            base_size=size,
            fee_usd=ZERO,
            liquidity="",
            kind=kind,
            at_s=d.now.venue_s,
        )
    )


def judge_after(d: Desk, order: Order) -> None:
    """An order of a position changed: perhaps the position is over now."""
    position_id = d.book.position_of(order.intent)
    if position_id and (order.status.terminal or order.unbooked_size > ZERO):
        judge_position(d, position_id)
