"""One order row of the user channel: a cumulative snapshot, not a fill. No row is booked; it makes oms ask for fills."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from exchange.coinbase.feed_words import numbers
from exchange.coinbase.wire import status_word
from trading.messages.orders import OrderUpdate
from trading.values import ZERO, Side, canonical_symbol


def _amount(row: Mapping[str, Any], key: str) -> Decimal:
    """A decimal text; the venue writes "" where it has no number."""
    text = row.get(key)
    if text is None or text == "":
        return ZERO
    numbers((text,))
    return Decimal(text)


def read_order(row: Mapping[str, Any], exchange_s: float, received_boot_s: float, epoch: int) -> OrderUpdate:
    """Raises KeyError, TypeError or ValueError when the row does not tell who it is about or what happened to it."""
    order_id, client_order_id, product_id = row["order_id"], row.get("client_order_id") or "", row["product_id"]
    if not (type(order_id) is str and order_id and type(client_order_id) is str and type(product_id) is str):
        raise ValueError("an order row without its ids")
    with suppress(
        ValueError
    ):  # somebody's order in a product that the bot does not trade is told as the venue names it
        product_id = canonical_symbol(product_id)
    return OrderUpdate(
        venue_order_id=order_id,
        client_order_id=client_order_id,
        product_id=product_id,
        side=Side(str(row["order_side"]).upper()),
        status=status_word(row["status"]),
        cumulative_size=_amount(row, "cumulative_quantity"),
        average_price=_amount(row, "avg_price"),
        fees_usd=_amount(row, "total_fees"),
        exchange_s=exchange_s,
        received_boot_s=received_boot_s,
        epoch=epoch,
    )
