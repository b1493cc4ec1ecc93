"""What is over for long leaves memory and live rows; the rows stay for people."""

from __future__ import annotations

from trading.oms_book import Book
from trading.orders import Order
from trading.rows import to_row


def retire(book: Book, venue_s: float, retain_s: float, retain_realised_s: float) -> None:
    """What is over for long leaves memory and live rows; the rows stay for people. Cooldowns leave when they end."""
    old_s, older_s = venue_s - retain_s, venue_s - retain_realised_s
    if book.meta.cursor_s is not None:
        old_s = min(old_s, book.meta.cursor_s - retain_s)
    for key, order in list(book.orders.items()):
        if order.ended_s is None or order.ended_s > old_s or key in book.unbooked:
            continue
        if not _kept(book, book.position_of(order.intent), old_s):
            _retire_order(book, key, order)
    for key, fill in list(book.fills.items()):
        if fill.client_order_id not in book.orders and fill.at_s <= old_s and not _kept(book, fill.position_id, old_s):
            book.save("fills", key, to_row(fill, skip=("key",)), live=False)
            del book.fills[key]
            if fill.position_id:
                book.position_fills.get(fill.position_id, {}).pop(key, None)
    for position_id, position in list(book.positions.items()):
        if position.closed_s is not None and position.closed_s <= older_s and not book.position_orders.get(position_id):
            book.save("positions", position_id, to_row(position), live=False)
            del book.positions[position_id]
    for key, close in list(book.closes.items()):
        if close.at_s <= older_s:
            book.results_n += 1
            book.save("closes", key, to_row(close), live=False)
            del book.closes[key]
    for key, lot in list(book.lots.items()):
        if lot.at_s <= old_s and not _open(book, lot.position_id):
            book.save("lots", key, to_row(lot), live=False)
            del book.lots[key]
    for key, cooldown in list(book.cooldowns.items()):
        if cooldown.until_s <= old_s:
            book.save("cooldowns", key, to_row(cooldown), live=False)
            del book.cooldowns[key]


def _open(book: Book, position_id: str | None) -> bool:
    position = book.positions.get(position_id or "")
    return position is not None and position.closed_s is None


def _kept(book: Book, position_id: str | None, old_s: float) -> bool:
    """Whether a late fill or a reversal may still have this position folded anew: then all of its trades are needed."""
    position = book.positions.get(position_id or "")
    if position is None:
        return False
    # Its end may have been noted by a clock that was days behind; trades carry the venue's own time.
    trades = book.position_fills.get(position.position_id, {}).values()
    return position.closed_s is None or position.closed_s > old_s or any(fill.at_s > old_s for fill in trades)


def _retire_order(book: Book, key: str, order: Order) -> None:
    intent = book.as_saved.pop(key, order.intent)
    book.save_order(order, live=False)
    book.save("intents", intent.intent_id, to_row(intent), live=False)
    del book.orders[key]
    book.by_intent.pop(intent.intent_id, None)
    book.by_proposal.pop(intent.proposal_id or "", None)
    book.approvals.discard(intent.approval_id)
    book.by_venue_id.pop(order.venue_order_id or "", None)
    position_id = book.position_of(intent)
    if position_id and position_id in book.position_orders:
        book.position_orders[position_id].pop(key, None)
