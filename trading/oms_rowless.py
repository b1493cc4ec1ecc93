"""Orders of ours that have no row in this book, and what they have bought and sold: an older copy of the book was put back, or an
exit came to light after its position was rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from trading.ledger import UNDOING, Close, Fill
from trading.oms_desk import Desk
from trading.oms_positions import reduce_externally
from trading.oms_rows import Flow
from trading.values import ZERO, Side, base_currency, derived_id

INFINITY = Decimal("Infinity")
NO_ROW = "an order of ours that has no row in this book sold them"


def sold_without_row(d: Desk, product_id: str, booked: Iterable[Fill]) -> None:
    """What orders of ours without a row have sold, beyond what such orders bought, came from positions of this book: it is an
    older copy that was put back, or an exit came to light after its position was rebuilt. Judged when all of the product is
    booked: what a position has bought and not booked yet it cannot be cut by.
    """
    trades = d.rowless.setdefault(product_id, [])
    trades += [fill for fill in booked if _is_rowless(d, fill, product_id)]
    if product_id in _undecided(d):
        return
    sales = _sales(trades)
    left = _oversold(d, product_id, trades)
    if left <= ZERO:
        return  # kept: what they bought may be sold by such an order later
    del d.rowless[product_id]
    earned = sum((f.price * f.base_size - f.fee_usd for f in sales), ZERO) / sum((f.base_size for f in sales), ZERO)
    held = [p for p in d.book.positions.values() if p.product_id == product_id and p.booked_size > ZERO]
    for position in sorted(held, key=lambda p: -p.opened_s):
        size = min(left, position.booked_size)
        if size <= ZERO:
            break
        left -= size
        unit_usd = (position.cost_usd + position.fees_usd) / position.booked_size
        key = f"sold:{sales[-1].entry_id}:{position.position_id}"
        close = Close(fill_key=key, base_size=size, realised_usd=size * (earned - unit_usd), at_s=sales[-1].at_s)
        d.book.keep_closes(position.position_id, product_id, (close,))
        reduce_externally(d, position, size, NO_ROW, _last_s(trades), worth_usd=ZERO)
    if left > ZERO:  # judged all the same: no position of later has to do with it
        _settle(d, product_id, trades, left)


def _settle(d: Desk, product_id: str, trades: Iterable[Fill], sold: Decimal) -> None:
    d.book.put_flow(
        Flow(
            flow_id=derived_id("sold_without_row", product_id, len(d.book.flows)),
            currency=base_currency(product_id),
            size=-sold,
            usd=ZERO,
            kind="sold_without_row",
            cause=NO_ROW,
            at_s=_last_s(trades),
        )
    )


def _last_s(trades: Iterable[Fill]) -> float:
    """Up to when trades are judged: not now, since one that happened before may be listed later."""
    return max(fill.at_s for fill in trades)


def may_be_sold_without_row(d: Desk, product_id: str) -> Decimal:
    """What orders without a row still sell, or have sold and no position was cut by yet: an exit would sell others' coins for it."""
    selling = ZERO
    for key in dict.fromkeys([*d.book.working, *d.book.unbooked]):
        order = d.book.orders[key]
        intent = order.intent
        if not intent.external or intent.side is not Side.SELL or intent.product_id != product_id:
            continue
        if intent.base_size == ZERO and not order.status.terminal:
            return INFINITY  # the user channel does not tell its size
        selling += order.leaves_size + order.unbooked_size
    return max(ZERO, _oversold(d, product_id, d.rowless.get(product_id, []), selling))


def _sales(trades: Iterable[Fill]) -> list[Fill]:
    return [fill for fill in trades if fill.side is Side.SELL]


def _oversold(d: Desk, product_id: str, trades: Iterable[Fill], selling: Decimal = ZERO) -> Decimal:
    """What such orders have sold beyond what they bought and what balances have cut since; negative when it was less.

    selling: what is not booked yet.
    """
    since_s = min((f.at_s for f in _sales(trades)), default=d.now.venue_s)
    sold = selling - _net_bought(trades) - _cut_since(d, product_id, since_s)
    if d.book.meta.adopting:  # a sale may have been missing from the balance that positions were rebuilt by
        sold = min(sold, _given(d, product_id) - _bought_without_row(d, product_id, selling))
    return sold


def _undecided(d: Desk) -> set[str]:
    """Products of which something is traded and not booked yet."""
    return {d.book.orders[key].intent.product_id for key in d.book.unbooked}


def _net_bought(trades: Iterable[Fill]) -> Decimal:
    return sum((fill.signed_size for fill in trades), ZERO)


def _given(d: Desk, product_id: str) -> Decimal:
    """What positions of a book that is being rebuilt were given and not cut by."""
    bought = sum((p.bought_size for p in d.book.positions.values() if p.product_id == product_id), ZERO)
    return bought + sum((cut.size for cut in _cuts(d, product_id)), ZERO)


def _bought_without_row(d: Desk, product_id: str, selling: Decimal) -> Decimal:
    """What orders without a row have bought and not sold, of all that is in this book."""
    fills = (f for f in d.book.fills.values() if f.position_id is None and f.product_id == product_id)
    return max(ZERO, _net_bought(fills) - selling)


def _cut_since(d: Desk, product_id: str, since_s: float) -> Decimal:
    """What balances have cut since then: they show a sale at once, a listing may lag behind."""
    cuts = (flow for flow in _cuts(d, product_id) if flow.cause != NO_ROW and flow.at_s >= since_s)
    return -sum((cut.size for cut in cuts), ZERO)


def _cuts(d: Desk, product_id: str) -> Iterator[Flow]:
    """By how much positions were cut because coins had left; sizes are negative."""
    currency = base_currency(product_id)
    return (f for f in d.book.flows.values() if f.kind == "external_reduction" and f.currency == currency)


def recall_rowless(d: Desk) -> None:
    """After a restart: what orders without a row have bought, no position was given, and such an order may sell later; and all
    of a product whose last trades were still waited for.
    """
    # Else what was sold beyond that was judged when it was booked; positions opened since then have nothing to do with it.
    undecided = _undecided(d)
    d.rowless = {name: made for name, made in _not_judged(d).items() if name in undecided or _net_bought(made) > ZERO}


def excuse_rowless(d: Desk) -> None:
    """A book is rebuilt, and nothing of it is undecided: what was sold of positions that it never had is over with it."""
    for product_id, trades in _not_judged(d).items():
        if (bought := _net_bought(trades)) < ZERO:
            _settle(d, product_id, trades, -bought)
    recall_rowless(d)


def _not_judged(d: Desk) -> dict[str, list[Fill]]:
    """Trades of orders without a row, by product, as far as rows tell: since the last adoption or judgement."""
    settled: dict[str, float] = {}
    for flow in d.book.flows.values():
        if flow.kind == "adoption" or flow.cause == NO_ROW:
            settled[flow.currency] = max(flow.at_s, settled.get(flow.currency, 0.0))
    trades: dict[str, list[Fill]] = {}
    for fill in d.book.fills.values():
        if fill.at_s > settled.get(base_currency(fill.product_id), 0.0) and _is_rowless(d, fill, fill.product_id):
            trades.setdefault(fill.product_id, []).append(fill)
    return trades


def _is_rowless(d: Desk, fill: Fill, product_id: str) -> bool:
    return fill.kind not in UNDOING and _without_row(d, fill.venue_order_id, product_id)


def _without_row(d: Desk, venue_order_id: str | None, product_id: str) -> bool:
    order = d.book.find(None, venue_order_id)
    return order is not None and order.intent.external and order.intent.product_id == product_id
