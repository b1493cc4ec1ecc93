"""One fill: what was matched once, and how Coinbase lists it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from attrs import define

from exchange.simulator.words import plain, rfc3339


@define(frozen=True, kw_only=True)
class Fill:
    number: int
    entry_id: str
    trade_id: str
    order_id: str
    product_id: str
    side: str
    price: Decimal
    size: Decimal
    """Always base; `size_in_quote` fills are listed in quote, as Coinbase does."""
    commission: Decimal
    liquidity: str
    size_in_quote: bool
    at_s: float
    listed_s: float
    """From when on the fills endpoint shows it: later than the user channel told it."""
    trade_type: str = "FILL"
    """REVERSAL: an earlier fill with this trade id is undone; only entry id and trade id together are unique."""


def fill_json(fill: Fill, user_id: str, portfolio: str) -> dict[str, Any]:
    commission = plain(fill.commission)
    return {
        "entry_id": fill.entry_id,
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "trade_time": rfc3339(fill.at_s),
        "trade_type": fill.trade_type,
        "price": plain(fill.price),
        "size": plain(fill.size * fill.price if fill.size_in_quote else fill.size),
        "commission": commission,
        "product_id": fill.product_id,
        "sequence_timestamp": rfc3339(fill.at_s),
        "liquidity_indicator": fill.liquidity,
        "size_in_quote": fill.size_in_quote,
        "user_id": user_id,
        "side": fill.side,
        "retail_portfolio_id": portfolio,
        "fillSource": "FILL_SOURCE_CLOB",
        "commission_detail_total": {
            "total_commission": commission,
            "gst_commission": "",
            "withholding_commission": "",
            "client_commission": commission,
            "venue_commission": "",
            "regulatory_commission": "",
            "clearing_commission": "",
        },
    }
