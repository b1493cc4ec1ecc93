"""What speaks against proposing a product now, whoever asks: candles that are old, and what the book's slice of it says."""

from __future__ import annotations

from trading.data_guards import DataGuardSettings, bar_age_limit_s
from trading.denied import measured
from trading.machine import Instant
from trading.messages.book import BookOrder, BookSnapshot
from trading.messages.decisions import Values
from trading.strategies.interface import MarketView

DATA_UNAVAILABLE = "data_unavailable"


def stale_bars(view: MarketView, now: Instant, guards: DataGuardSettings, *, hourly: bool) -> Values:
    """The candles that a decision rests on must be young, by venue time since their end; () when they are."""
    for series in (view.newest, view.signal) if hourly else (view.newest,):
        age_s = now.venue_s - series.end_s
        limit_s = bar_age_limit_s(series.bar_s, now.speed, guards)
        if not series.count or age_s > limit_s:
            return measured(bar_s=series.bar_s, age_s=round(age_s, 1) if series.count else "none", age_s_max=limit_s)
    return ()


def held_off(book: BookSnapshot | None, product_id: str, now: Instant, *, pyramiding: bool) -> tuple[str, Values]:
    """The product's own cooldowns, entries and positions; a missing record denies (the book may have lost it)."""
    if book is None or not book.cooldowns_complete:
        return DATA_UNAVAILABLE, measured(what="cooldown record")
    for cooldown in book.cooldowns:
        if cooldown.product_id == product_id and not now.over(cooldown.until_s):
            return "per_symbol_cooldown", measured(
                kind=cooldown.kind, reason=cooldown.reason, left_s=round(cooldown.until_s - now.venue_s, 1)
            )
    for order in orders_of(book, product_id):
        if order.ended is None and order.purpose == "entry":
            return "pending_buy_exists", measured(
                client_order_id=order.client_order_id,
                status=order.status,
                limit_price=order.limit_price,
                base_size=order.base_size,
                filled_size=order.filled_size,
            )
    if not pyramiding:
        for position in book.positions:
            if position.product_id == product_id and not position.dust:
                return "already_have_position", measured(position_id=position.position_id)
    return "", ()


def orders_of(book: BookSnapshot, product_id: str) -> tuple[BookOrder, ...]:
    """The orders of one product, also where a slice holds more."""
    return tuple(order for order in book.orders if order.product_id == product_id)
