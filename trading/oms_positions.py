"""What becomes of a position: its end and outcome, what other hands give it and take from it, and what covers what it oversold."""

from __future__ import annotations

from decimal import Decimal

from attrs import evolve

from trading.fees import sellable_size
from trading.ledger import ADOPTED, EXTERNAL, Fill
from trading.oms_desk import ROLE, Desk
from trading.oms_orders import TOLD_S
from trading.oms_rows import CooldownRow, Flow, Position
from trading.orders import Order
from trading.values import ZERO, Side, base_currency, derived_id, plain

STOPS = ("stop", "trail")


def cool(d: Desk, product_id: str, kind: str, until_s: float, reason: str) -> None:
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
        # One of its own for each, since each is a trade more: sizes may come back to what they were, by a reversal.
        event_id = derived_id("cover", short.position_id, key, len(d.book.position_fills[short.position_id]))
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
    cool(d, position.product_id, kind, last_s + seconds, text)
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


def reduce_externally(
    d: Desk, position: Position, size: Decimal, cause: str, at_s: float, *, worth_usd: Decimal
) -> None:
    """Coins that we booked are not in the account: they left by another hand, at cost, and a person is told.

    at_s: when they had left at the latest. worth_usd: what left the account with them; zero when its price has come into the
    book's cash.
    """
    # One of its own for each, since flows only grow: sizes may come back to what they were, by a purchase or a reversal.
    event_id = derived_id("external", position.position_id, len(d.book.flows))
    _by_hand(d, position, Side.SELL, size, position.average_price, EXTERNAL, event_id)
    d.book.put_flow(
        Flow(
            flow_id=event_id,
            currency=base_currency(position.product_id),
            size=-size,
            usd=-worth_usd,
            kind="external_reduction",
            cause=cause,
            at_s=at_s,
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
