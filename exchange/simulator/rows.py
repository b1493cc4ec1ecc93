"""Orders, fills and wallets as rows of text, and back: what the journal keeps is exactly what the engine knows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from exchange.simulator.fills import Fill
from exchange.simulator.orders import Order
from exchange.simulator.products import Product

_MONEY = (
    ["base_size", "quote_size", "limit_price", "stop_price", "maker_rate", "taker_rate", "filled_size", "filled_value", "fees", "hold"]
)  # fmt: skip
_PLAIN = [
    "order_id",
    "number",
    "client_order_id",
    "side",
    "config",
    "kind",
    "time_in_force",
    "post_only",
    "end_time_s",
    "stop_up",
    "created_s",
    "status",
    "pending_cancel",
    "triggered",
    "fill_count",
    "last_fill_s",
    "updated_s",
    "reject_reason",
    "reject_message",
    "cancel_message",
    "placement_source",
    "edits",
]
_FILL_MONEY = ("price", "size", "commission")


def order_row(order: Order) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(order, name) for name in _PLAIN}
    for name in _MONEY:
        value = getattr(order, name)
        row[name] = None if value is None else format(value, "f")
    row["product_id"] = order.product.product_id
    return row


def order_from_row(row: dict[str, Any], products: dict[str, Product]) -> Order:
    fields = {name: row[name] for name in _PLAIN}
    for name in _MONEY:
        fields[name] = None if row[name] is None else Decimal(row[name])
    return Order(product=products[row["product_id"]], **fields)


def fill_row(fill: Fill) -> dict[str, Any]:
    row = {name: getattr(fill, name) for name in Fill.__slots__ if not name.startswith("__")}
    return {name: format(value, "f") if name in _FILL_MONEY else value for name, value in row.items()}


def fill_from_row(row: dict[str, Any]) -> Fill:
    fields: dict[str, Any] = {name: Decimal(value) if name in _FILL_MONEY else value for name, value in row.items()}
    return Fill(**fields)
