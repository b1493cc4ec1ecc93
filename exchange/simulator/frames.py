"""The events of each WebSocket channel as JSON text: built once per product and moment, sent to many connections."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from exchange.simulator.book import Book
from exchange.simulator.products import Product
from exchange.simulator.words import ZERO, plain, rfc3339

Shown = tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]
"""Bids and asks as the level2 channel has told them: price to absolute size."""


def shown(book: Book) -> Shown:
    bids, asks = book.merged("BUY"), book.merged("SELL")
    return dict(bids), dict(asks)


def _update(side: str, at: str, price: Decimal, size: Decimal) -> str:
    return f'{{"side":"{side}","event_time":"{at}","price_level":"{plain(price)}","new_quantity":"{plain(size)}"}}'


def level2_snapshot(product_id: str, now: Shown, at_s: float) -> str:
    at = rfc3339(at_s)
    updates = [_update("bid", at, price, now[0][price]) for price in sorted(now[0], reverse=True)]
    updates += [_update("offer", at, price, now[1][price]) for price in sorted(now[1])]
    return f'[{{"type":"snapshot","product_id":"{product_id}","updates":[{",".join(updates)}]}}]'


def level2_update(product_id: str, before: Shown, now: Shown, at_s: float, orphan: Decimal | None = None) -> str:
    """What changed, sizes absolute, 0 for what is gone; an empty list when nothing did.

    `orphan`: a bid level that was never told is deleted too, as Coinbase does all the time.
    """
    at = rfc3339(at_s)
    updates = []
    for side, old, new in (("bid", before[0], now[0]), ("offer", before[1], now[1])):
        updates += [_update(side, at, price, size) for price, size in new.items() if old.get(price) != size]
        updates += [_update(side, at, price, ZERO) for price in old if price not in new]
    if orphan is not None and orphan not in now[0]:
        updates.append(_update("bid", at, orphan, ZERO))
    return f'[{{"type":"update","product_id":"{product_id}","updates":[{",".join(updates)}]}}]'


def ticker(product_id: str, book: Book, stats: dict[str, str], kind: str, *, batch: bool) -> str:
    """One ticker. The 52-week range is the 24-hour one: the venue's recorded past is no longer than it needs to be."""
    row: dict[str, str] = {
        "type": "ticker",
        "product_id": product_id,
        "price": stats["price"],
        "volume_24_h": stats["volume_24h"],
        "low_24_h": stats["low_24h"],
        "high_24_h": stats["high_24h"],
        "low_52_w": stats["low_24h"],
        "high_52_w": stats["high_24h"],
        "price_percent_chg_24_h": stats.get("price_percentage_change_24h", "0"),
    }
    if not batch:
        bid, ask = book.best("BUY"), book.best("SELL")
        row["best_bid"], row["best_bid_quantity"] = (plain(bid[0]), plain(bid[1])) if bid else ("", "")
        row["best_ask"], row["best_ask_quantity"] = (plain(ask[0]), plain(ask[1])) if ask else ("", "")
    return json.dumps([{"type": kind, "tickers": [row]}], separators=(",", ":"))


def trades(rows: list[dict[str, str]], kind: str) -> str:
    return json.dumps([{"type": kind, "trades": rows}], separators=(",", ":"))


def candles(rows: list[dict[str, str]], kind: str) -> str:
    return json.dumps([{"type": kind, "candles": rows}], separators=(",", ":"))


def heartbeat(now_s: float, uptime_s: float, *, user_host: bool) -> str:
    """`heartbeat_counter` is the serving process's uptime: text on the market host, a number on the user host."""
    at = rfc3339(now_s).replace("T", " ").replace("Z", " +0000 UTC")
    counter: Any = int(uptime_s) if user_host else str(int(uptime_s))
    row = {"current_time": f"{at} m=+{uptime_s:.9f}", "heartbeat_counter": counter}
    return json.dumps([row], separators=(",", ":"))


def status(products: list[Product], kind: str) -> str:
    rows = [
        {
            "product_type": "SPOT",
            "id": product.product_id,
            "base_currency": product.base,
            "quote_currency": product.quote,
            "base_increment": format(product.base_increment, "f"),
            "quote_increment": format(product.quote_increment, "f"),
            "display_name": f"{product.base}/{product.quote}",
            "status": "delisted" if product.is_disabled else product.status,
            "status_message": "",
            "min_market_funds": format(product.quote_min_size, "f"),
        }
        for product in products
    ]
    return json.dumps([{"type": kind, "products": rows}], separators=(",", ":"))


NO_POSITIONS: dict[str, list[Any]] = {
    "perpetual_futures_positions": [],
    "expiring_futures_positions": [],
    "prediction_market_positions": [],
}


def user(orders: list[dict[str, Any]], kind: str) -> str:
    return json.dumps([{"type": kind, "orders": orders, "positions": NO_POSITIONS}], separators=(",", ":"))
