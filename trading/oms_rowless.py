"""Orders of ours that have no row in this book, and what they have bought and sold: an older copy of the book was put back, or an
exit came to light after its position was rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from trading.ledger import UNDOING, Close
from trading.messages.orders import VenueFill
from trading.oms_desk import Desk
from trading.oms_positions import reduce_externally
from trading.values import ZERO, Side

NO_ROW = "an order of ours that has no row in this book sold them"


def sold_without_row(d: Desk, product_id: str, told: Iterable[VenueFill]) -> None:
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
