"""One reader a channel: a frame's events in, checked rows out. A reader believes a frame whole, or raises and nothing changed.

They raise what a wrong shape raises by itself (KeyError, TypeError, AttributeError) and ValueError for values that cannot
be; `feed_session` catches these in one place. `products` are the subscribed ones; rows about others are left out, and
`others` in the answer counts them.
"""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal
from typing import Any

from exchange.coinbase.feed_words import CandleSeen, ProductStatus, Trade, numbers, venue_seconds

TickerRow = tuple[str, str, str, str, str, str, float | None]
"""product, bid, ask, bid size, ask size, last price (texts), 24 h volume in base."""
Level2Row = tuple[str, str, list[str], list[str], list[str]]
"""product, snapshot | update, sides, prices, sizes."""


def read_tickers(events: list[Any]) -> list[TickerRow]:
    found: list[TickerRow] = []
    for event in events:
        for row in event["tickers"]:
            bid, ask, last = row["best_bid"], row["best_ask"], row["price"]
            bid_size, ask_size = row["best_bid_quantity"], row["best_ask_quantity"]
            volume = row.get("volume_24_h")
            if volume:
                numbers((bid, ask, bid_size, ask_size, last, volume))
            else:
                numbers((bid, ask, bid_size, ask_size, last))
            found.append(
                (_text(row["product_id"]), bid, ask, bid_size, ask_size, last, float(volume) if volume else None)
            )
    return found


def read_last_prices(events: list[Any]) -> list[tuple[str, Decimal]]:
    """ticker_batch has no bid and ask."""
    found = []
    for event in events:
        for row in event["tickers"]:
            numbers((row["price"],))
            found.append((_text(row["product_id"]), Decimal(row["price"])))
    return found


def read_level2(events: list[Any]) -> list[Level2Row]:
    found: list[Level2Row] = []
    for event in events:
        kind, updates = event["type"], event["updates"]
        if kind not in {"snapshot", "update"}:
            raise ValueError(f"no such event: {kind!r:.40}")
        sides = [row["side"] for row in updates]
        prices = [row["price_level"] for row in updates]
        sizes = [row["new_quantity"] for row in updates]
        if not {"bid", "offer"}.issuperset(sides):
            raise ValueError("a side that is neither bid nor offer")
        if prices:
            numbers(prices)
            numbers(sizes)
        found.append((_text(event["product_id"]), kind, sides, prices, sizes))
    return found


def read_trades(events: list[Any], products: Container[str]) -> tuple[list[Trade], int]:
    """Oldest first (the venue tells the newest first)."""
    trades: list[Trade] = []
    others = 0
    for event in events:
        snapshot = event["type"] == "snapshot"
        for row in event["trades"]:
            price, size, side, trade_id = row["price"], row["size"], row["side"], row["trade_id"]
            numbers((price, size))
            if side not in {"BUY", "SELL"} or type(trade_id) is not str or Decimal(price) <= 0:
                raise ValueError("a trade without side, id or price")
            time_s, product_id = venue_seconds(row["time"]), _text(row["product_id"])
            if product_id in products:
                trades.append(Trade(product_id, trade_id, Decimal(price), Decimal(size), side, time_s, snapshot))
            else:
                others += 1
    trades.reverse()
    trades.sort(key=lambda trade: trade.time_s)
    return trades, others


def read_candles(events: list[Any], products: Container[str]) -> tuple[list[CandleSeen], int]:
    found: list[CandleSeen] = []
    others = 0
    for event in events:
        for row in event["candles"]:
            texts = (row["open"], row["high"], row["low"], row["close"], row["volume"])
            numbers((*texts, row["start"]))
            product_id = _text(row["product_id"])
            if product_id in products:
                opened, high, low, close, volume = map(float, texts)
                found.append(CandleSeen(product_id, int(row["start"]), opened, high, low, close, volume))
            else:
                others += 1
    return found, others


def read_heartbeat_counter(events: list[Any]) -> str:
    """A string on the market host, an integer on the user host; the serving process's uptime, not a count of messages."""
    return str(events[0]["heartbeat_counter"])[:32] if events else ""


def read_subscriptions(events: list[Any]) -> dict[str, tuple[str, ...]]:
    return {
        str(channel): tuple(str(name) for name in ids)
        for event in events
        for channel, ids in event["subscriptions"].items()
    }


def read_status(events: list[Any], products: Container[str]) -> list[ProductStatus]:
    found: list[ProductStatus] = []
    for event in events:
        for row in event["products"]:
            product_id, status, message = _text(row["id"]), _text(row["status"]), row.get("status_message") or ""
            if product_id in products:
                found.append(ProductStatus(product_id, status, str(message)[:200]))
    return found


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.40} is no text")
    return value
