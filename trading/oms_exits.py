"""Exits and flattens: what may reduce a position, approved by the rule `reduces_only` or by a person's name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal

from attrs import evolve

from trading.denied import Denied, denied
from trading.fees import sellable_size
from trading.messages.control import OperatorOrder
from trading.messages.decisions import ExitOrder, ExitVerdict, Tighten
from trading.messages.orders import BestBidAsk, OrderStyle, QueryKind
from trading.oms_desk import Desk, Flattened, WaitingExit
from trading.oms_orders import note_submitted, want_cancel
from trading.oms_positions import is_dust
from trading.oms_rowless import may_be_sold_without_row
from trading.oms_rows import Position
from trading.order_rules import most_at_once, round_price
from trading.orders import Intent, Order
from trading.product import Allows, Product, allowance
from trading.reduces_only import Holdings, StandingExit, reducible_size, too_many_unknown
from trading.settle import end_time_s
from trading.values import ZERO, Purpose, Side, base_currency, client_order_id, derived_id, plain


def exit_ordered(d: Desk, message: ExitOrder) -> None:
    """A command of exits: admitted, waiting for our own buys to be gone, or why not. A repeat replaces price and size."""
    known = d.book.by_intent.get(message.exit_id)
    if known is not None:
        _verdict(d, message, "admitted", admitted=True)
        return
    refusal = _closed(d, message) or _used_up(d, message)
    if refusal is not None:
        d.waiting.pop(message.exit_id, None)
        _refuse(d, message, refusal)
        return
    waiting = d.waiting.get(message.exit_id)
    since = waiting.since if waiting else d.now.boot_s
    d.waiting[message.exit_id] = WaitingExit(message, since)
    try_waiting(d, message.exit_id)
    if message.exit_id in d.waiting:
        _verdict(d, message, "waiting", admitted=False)


def try_waiting(d: Desk, exit_id: str) -> None:
    """Place a waiting exit as soon as nothing of ours buys that product, or after 1 s in any case."""
    waiting = d.waiting[exit_id]
    message = waiting.order
    go_at = waiting.since + d.settings.own_buys_wait_s
    if _own_buys(d, message.product_id) and d.now.boot_s < go_at:
        d.wake(f"exit:{exit_id}", go_at)
        return
    del d.waiting[exit_id]
    d.wake(f"exit:{exit_id}", None)
    refusal = _closed(d, message) or _place(d, message)
    if refusal is not None:
        _refuse(d, message, refusal)
    else:
        _verdict(d, message, "admitted", admitted=True)


def _own_buys(d: Desk, product_id: str) -> bool:
    """Cancel our own buys of the product first; true while one may still rest."""
    found = False
    for order in d.book.open_orders():
        if order.intent.product_id == product_id and order.intent.side is Side.BUY:
            want_cancel(d, order, "exit")
            found = True
    return found


def _closed(d: Desk, message: ExitOrder) -> Denied | None:
    state, codes = d.state()
    if not state.exits:
        return denied("not_allowed", state=str(state), causes=" ".join(codes))
    if d.gateway is None:
        return denied("gateway_unknown", what="Hello is not acknowledged")
    if d.now.boot_s >= message.valid_until_boot_s and d.protections.send_by:
        return denied("late", late_s=d.now.boot_s - message.valid_until_boot_s)
    if message.position_id not in d.book.positions:
        return denied("no_position", position_id=message.position_id)
    return None


def _used_up(d: Desk, message: ExitOrder) -> Denied | None:
    """The venue lists an order of this id that has no row (an older copy of the book was put back): the next number is its own."""
    key = client_order_id(d.tag, message.exit_id)
    if key not in d.book.orders and key not in d.used_ids:
        return None
    position = d.book.positions[message.position_id]
    d.book.put_position(evolve(position, exit_n=max(position.exit_n, message.n + 1)))
    return denied("exit_id_used", n=message.n)


def _place(d: Desk, message: ExitOrder) -> Denied | None:
    position = d.book.positions[message.position_id]
    standing = standing_exits(d, position.position_id)
    if d.protections.reduces_only and too_many_unknown(standing):
        return denied("unknown_exits", unknown=sum(1 for e in standing if e.unknown_since_boot_s is not None))
    room = reducible(d, position)
    size = min(message.base_size, room) if d.protections.reduces_only else message.base_size
    product = d.products.get(position.product_id)
    size = most_at_once(product, size, message.limit_price) if product else size
    if size <= ZERO:
        return denied("nothing_to_reduce", asked=message.base_size, may_reduce=room)
    if _below_minimum(d, product, size, message.limit_price):
        return denied("dust", base_size=plain(size), price=message.limit_price)
    beside_foreign = not coins_are_its_own(d, position)
    now = d.now
    send_by = min(message.valid_until_boot_s, now.boot_s + d.settings.send_by_s)
    style, end, ttl = OrderStyle.LIMIT_IOC, None, None
    if message.style != "ioc" or beside_foreign:
        style = OrderStyle.LIMIT_GTD
        ttl = d.settings.exit_ttl_s
        end = end_time_s(now.venue_at(send_by), ttl, now.speed, d.settings.settle)
        if message.style != "post_only":
            ttl = d.settings.exit_beside_foreign_s * now.speed
            end = math.ceil(now.venue_at(send_by) + ttl)
    intent = Intent(
        intent_id=message.exit_id,
        client_order_id=client_order_id(d.tag, message.exit_id),
        purpose=Purpose.EXIT,
        product_id=position.product_id,
        side=Side.SELL,
        style=style,
        base_size=size,
        limit_price=message.limit_price,
        post_only=message.style == "post_only",
        end_time_s=end if d.protections.gtd else None,
        approval_id=derived_id("reduces_only", message.exit_id),
        gateway_incarnation=d.gateway or (0, 0),
        saved_s=now.venue_s,
        saved_boot_s=now.boot_s,
        send_by_boot_s=send_by,
        horizon_boot_s=send_by + d.settings.settle.ioc_horizon_s,
        cancel_after_s=None if ttl is None else now.venue_s + ttl,
        strategy=position.strategy,
        reason=message.reason,
        config_hash=d.config_hash,
        position_id=position.position_id,
        coin_total_before=_coin_total_now(d, position.product_id),
        coin_alone=not beside_foreign,
        quote_received_boot_s=message.quote_received_boot_s,
        decided_boot_s=message.valid_until_boot_s - d.settings.send_by_s,
        approved_boot_s=now.boot_s,
    )
    _submit(d, intent)
    return None


def _submit(d: Desk, intent: Intent) -> None:
    d.book.add(Order(intent=intent, updated_s=d.now.venue_s))
    note_submitted(d, intent)


def _below_minimum(d: Desk, product: Product | None, size: Decimal, price: Decimal) -> bool:
    if product is None:
        return False  # ignorance never locks an exit; the venue knows its minima
    return sellable_size(product, size, price, d.fee_rate) == ZERO


def standing_exits(d: Desk, position_id: str) -> list[StandingExit]:
    """Exits and flattens of a position that are not proved over, as the rule sees them."""
    found = []
    for order in d.book.exits_of(position_id):
        inquiry = d.task(order.intent.client_order_id).inquiry
        found.append(
            StandingExit(
                leaves_size=order.leaves_size,
                unknown_since_boot_s=order.unknown_since_boot_s if order.unknown else None,
                made_boot_s=order.intent.saved_boot_s,
                rests=order.intent.rests,
                absent_after_death_boot_s=inquiry.absent_after_death_boot_s if inquiry else None,
                asked_boot_s=inquiry.answered_boot_s if inquiry else None,
                balance_before=order.intent.coin_total_before,
                alone=order.intent.coin_alone,
            )
        )
    return found


def reducible(d: Desk, position: Position) -> Decimal:
    """Base units that one more exit of `position` may sell."""
    bought, sold = d.book.seen_sizes(position.position_id)
    seen = position.booked_size + bought - sold - may_be_sold_without_row(d, position.product_id)
    standing = standing_exits(d, position.position_id)
    if not d.protections.unknown_counts:
        standing = [e for e in standing if e.unknown_since_boot_s is None]
    return reducible_size(seen, standing, _holdings(d, position), d.now.boot_s)


def _holdings(d: Desk, position: Position) -> Holdings | None:
    if d.balances is None:
        return None
    return Holdings(
        foreign_is_dust=coins_are_its_own(d, position),
        total=d.balances.totals.get(base_currency(position.product_id), ZERO),
        asked_boot_s=d.balances.asked_at,
    )


def coins_are_its_own(d: Desk, position: Position) -> bool:
    """Whether the account holds nothing of this coin beside `position` worth more than dust; false without a complete page.

    Another position of ours counts as beside, too, and so does what an entry may have bought unseen: a sale of what is
    gone would be filled with those coins.
    """
    if d.balances is None:
        return False
    currency = base_currency(position.product_id)
    beside = d.balances.gap.foreign.get(currency, ZERO)
    for key in d.book.open_positions:
        other = d.book.positions[key]
        if other is not position and other.product_id == position.product_id:
            bought, _ = d.book.seen_sizes(key)
            beside += max(ZERO, other.booked_size + bought)
    beside += sum((o.leaves_size for o in d.book.open_orders() if _buys_beside(o, position)), ZERO)
    if beside <= ZERO:
        return True
    price = d.marks.get(position.product_id) or position.average_price or position.entry_price
    return beside * price <= d.settings.dust_usd


def _buys_beside(order: Order, position: Position) -> bool:
    intent = order.intent
    return (
        intent.side is Side.BUY
        and intent.product_id == position.product_id
        and intent.intent_id != position.position_id
    )


def _coin_total_now(d: Desk, product_id: str) -> Decimal | None:
    """What the account should hold of the coin: the last complete page, and what we are seen to have bought and sold since."""
    if d.balances is None:
        return None
    currency = base_currency(product_id)
    seen = ZERO
    for key in d.book.open_positions:
        position = d.book.positions[key]
        if base_currency(position.product_id) == currency:
            bought, sold = d.book.seen_sizes(key)
            seen += position.booked_size + bought - sold
    return d.balances.totals.get(currency, ZERO) + seen - d.balances.booked.get(currency, ZERO)


def tighten(d: Desk, message: Tighten) -> None:
    """Only the tighter is kept, that it is being left, and for which crash it was tightened; raises no version."""
    position = d.book.positions.get(message.position_id)
    if position is None:
        return
    stop = max(position.tightened_stop_price, message.stop_price)
    peak = max(position.peak_price, message.peak_price)
    leaving = message.leaving or position.leaving
    crash = message.crash_tightened
    d.book.put_position(
        evolve(position, tightened_stop_price=stop, peak_price=peak, leaving=leaving, crash_tightened=crash)
    )


def _refuse(d: Desk, message: ExitOrder, refusal: Denied) -> None:
    """Exits tells people of the refusal, when it lasts."""
    d.answer(
        "exits",
        ExitVerdict(
            exit_id=message.exit_id,
            position_id=message.position_id,
            admitted=False,
            code=refusal.code,
            values=refusal.values,
        ),
    )


def _verdict(d: Desk, message: ExitOrder, code: str, *, admitted: bool) -> None:
    d.answer(
        "exits", ExitVerdict(exit_id=message.exit_id, position_id=message.position_id, admitted=admitted, code=code)
    )


# -- flatten: by a person's name, also while killed -------------------------------------------------------------------


def flatten_targets(d: Desk, product_id: str | None) -> list[Position]:
    """Positions with something to sell, of one product or of all."""
    return [p for p in _worth_selling(d, product_id) if reducible(d, p) > ZERO]


def _worth_selling(d: Desk, product_id: str | None) -> list[Position]:
    return [p for p in d.book.positions.values() if product_id in (None, p.product_id) and not is_dust_now(d, p)]


def is_dust_now(d: Desk, position: Position) -> bool:
    bought, sold = d.book.seen_sizes(position.position_id)
    return bought == ZERO and sold == ZERO and is_dust(d, position)


def _flatten_products(d: Desk, message: OperatorOrder) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p.product_id for p in flatten_targets(d, dict(message.args).get("symbol"))))


def clear_own_buys(d: Desk, message: OperatorOrder) -> bool:
    """Cancel our own buys of what a flatten sells, since the venue cancels what would trade with them; true while one may rest."""
    return _clear_buys(d, _flatten_products(d, message))


def _clear_buys(d: Desk, products: Iterable[str]) -> bool:
    resting = [_own_buys(d, product_id) for product_id in products]  # all of them, not only up to the first
    return any(resting)


def begin_flatten(d: Desk, message: OperatorOrder) -> bool:
    """Ask for prices; the orders go when they are here. False when nothing is to be sold."""
    products = _flatten_products(d, message)
    if not products:
        return False
    _clear_buys(d, products)
    query_id = d.query("flatten", message.command_id, QueryKind.BEST_BID_ASK, product_ids=products)
    d.flattens[message.command_id] = (message, query_id)
    return True


def finish_flatten(d: Desk, command_id: str, items: tuple[object, ...]) -> Flattened:
    """Place the IOCs of a flatten at the bid less the tolerance; what was sent, and what stays."""
    message, _ = d.flattens.pop(command_id)
    bids = {item.product_id: item.bid for item in items if isinstance(item, BestBidAsk)}
    found = Flattened()
    for position in _worth_selling(d, dict(message.args).get("symbol")):
        name, product = position.product_id, d.products.get(position.product_id)
        held = sum((e.leaves_size for e in d.book.exits_of(position.position_id) if e.cancel_reason), ZERO)
        if held > ZERO:
            found.kept.append(f"{name} {plain(held)} (an exit that is being cancelled holds it)")
        gone = min(position.booked_size, may_be_sold_without_row(d, name))
        if gone > ZERO:
            found.kept.append(f"{name} {plain(gone)} (an order of ours without a row may have sold it)")
        size = room = reducible(d, position)
        if room <= ZERO:
            continue
        allows = allowance(product).exit
        if allows in (Allows.NO, Allows.POST_ONLY):
            takes = "takes no sale now" if allows is Allows.NO else f"takes post-only orders alone: ctl exit {name}"
            found.closed.append(f"{name} {plain(room)} (the venue {takes})")
            continue
        bid = bids.get(name)
        if bid is None:
            found.kept.append(f"{name} {plain(room)} (the venue gives no price)")
            continue
        price = bid * (1 - d.settings.flatten_slippage_pct / 100)
        if product is not None:
            price = round_price(product, Side.SELL, price)
            size = most_at_once(product, size, price)
            if sellable_size(product, room - size, price, d.fee_rate) > ZERO:
                found.kept.append(f"{name} {plain(room - size)} (more than one order may have)")
        if size <= ZERO:
            continue
        intent_id = derived_id("flatten", command_id, position.position_id)
        if intent_id in d.book.by_intent:
            continue
        now = d.now
        send_by = now.boot_s + d.settings.send_by_s
        _submit(
            d,
            Intent(
                intent_id=intent_id,
                client_order_id=client_order_id(d.tag, intent_id),
                purpose=Purpose.FLATTEN,
                product_id=name,
                side=Side.SELL,
                style=OrderStyle.LIMIT_IOC,
                base_size=size,
                limit_price=price,
                post_only=False,
                end_time_s=None,
                approval_id=derived_id("person", command_id, position.position_id),
                gateway_incarnation=d.gateway or (0, 0),
                saved_s=now.venue_s,
                saved_boot_s=now.boot_s,
                send_by_boot_s=send_by,
                horizon_boot_s=send_by + d.settings.settle.ioc_horizon_s,
                strategy=position.strategy,
                reason=f"flatten: {message.cause}",
                config_hash=d.config_hash,
                position_id=position.position_id,
                by=message.name,
                coin_total_before=_coin_total_now(d, position.product_id),
                coin_alone=coins_are_its_own(d, position),
                decided_boot_s=now.boot_s,
            ),
        )
        found.sent.append(f"{name} {plain(size)}")
    return found
