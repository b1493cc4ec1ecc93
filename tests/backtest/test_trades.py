"""From the book's rows to trades: when they ended, and what a reversal takes back."""

from __future__ import annotations

from decimal import Decimal as D

from telemetry.trades import closed, still_open
from trading.tiers import groups_of

GROUPS = groups_of({}, {})


def row(side: str, size: str, price: str, at_s: float, *, fee: str = "0.1", kind: str = "FILL") -> dict[str, object]:
    return {"position_id": "p", "product_id": "BTC-USD", "side": side, "base_size": size, "price": price, "fee_usd": fee, "at_s": at_s, "kind": kind}  # fmt: skip


BOUGHT = [row("BUY", "1", "100", 10.0), row("BUY", "1", "102", 20.0)]


def test_a_trade_lasts_from_its_first_purchase_to_its_last_sale() -> None:
    fills = [*BOUGHT, row("SELL", "1", "110", 30.0), row("SELL", "1", "108", 40.0)]
    [trade] = closed(fills, {"p": {"outcome": "win", "realised_usd": "15.6"}}, {}, GROUPS)
    assert (trade.opened_s, trade.closed_s) == (10.0, 40.0)
    assert (trade.entry_price, trade.exit_price, trade.base_size) == (101, 109, 2)
    assert (trade.fees_usd, trade.pnl_usd) == (D("0.4"), D("15.6"))


def test_a_reversal_takes_its_trade_and_its_fee_back() -> None:
    fills = [*BOUGHT, row("BUY", "1", "102", 25.0, kind="REVERSAL")]
    [holding] = still_open(fills, {}, {}, {"BTC-USD": D(103)})
    assert (holding.base_size, holding.entry_price, holding.pnl_usd) == (1, 100, D("2.9")), "one fee of 0.1 was paid"
