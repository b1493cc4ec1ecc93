"""What the venue of a backtest charges: makers wait for the seen quote, takers pay for their size, depth is an end."""

from __future__ import annotations

from decimal import Decimal

import pytest
from attrs import evolve

from config.schema import load_config
from simulation.backtest.world import BacktestWorld
from trading.costs import CostSettings
from trading.messages.orders import OrderBody, OrderStyle, OutcomeKind, PlaceOrder
from trading.values import Purpose, Side

LOADED = load_config("staging")
SOL = "SOL-USD"
MID = 200.0


@pytest.fixture
def world() -> BacktestWorld:
    config = LOADED.config
    made = BacktestWorld(
        config=config, costs=evolve(config.costs, start_cash_usd=Decimal(10_000_000)), products=("BTC-USD", SOL), start_s=1.7e9, seed=1, config_hash="cafe",
        bar_s=(60, 300, 3600),
    )  # fmt: skip
    made.quote(SOL, MID)
    return made


def place(world: BacktestWorld, client_order_id: str, side: Side, size: str, limit: str, *, post_only: bool) -> None:
    now = world.stage.now
    body = OrderBody(
        product_id=SOL, side=side, style=OrderStyle.LIMIT_GTD if post_only else OrderStyle.LIMIT_IOC,
        base_size=Decimal(size), limit_price=Decimal(limit), post_only=post_only,
        end_time_s=int(now.venue_s) + 600 if post_only else None,
    )  # fmt: skip
    order = PlaceOrder(
        client_order_id=client_order_id, purpose=Purpose.ENTRY, body=body, gateway_incarnation=(1, 1), approval_id="a",
        send_by_boot_s=now.boot_s + 5.0,
    )  # fmt: skip
    assert world.venue.place(order, now.boot_s).kind is OutcomeKind.ACCEPTED


def fills(world: BacktestWorld) -> list[tuple[Decimal, Decimal]]:
    return [(fill.price, fill.size) for fill in world.venue.engine.fill_list]


def test_a_post_only_order_at_the_touch_is_filled_as_soon_as_the_seen_ask_comes_to_it(world) -> None:
    quote = world.stage.slots[SOL]
    half = world.costs.of("T1").half_spread_bps / 1e4
    place(world, "rests", Side.BUY, "1", str(quote.bid), post_only=True)
    world.quote(SOL, MID * (1 - half))
    assert world.stage.slots[SOL].ask > quote.bid
    assert fills(world) == []
    world.quote(SOL, MID * (1 - 2.5 * half))
    assert world.stage.slots[SOL].ask <= quote.bid
    assert fills(world) == [(quote.bid, Decimal(1))]


@pytest.mark.parametrize(("size", "impact"), [("10", 1.0), ("500", 1.2)])
def test_a_taker_pays_the_half_spread_and_the_slippage_of_its_size(world, size, impact) -> None:
    row = world.costs.of("T1")
    assert world.costs.slippage_bps("T1", float(size) * MID) == pytest.approx(row.slippage_bps * impact)
    place(world, "buys", Side.BUY, size, "250", post_only=False)
    ((price, filled),) = fills(world)
    assert filled == Decimal(size)
    paid_bps = (float(price) / MID - 1.0) * 1e4
    assert paid_bps == pytest.approx(row.half_spread_bps + row.slippage_bps * impact, abs=0.5)


def test_no_more_than_the_depth_is_filled_at_one_moment(world) -> None:
    depth_usd = world.costs.of("T1").depth_usd
    place(world, "large", Side.BUY, "4000", "250", post_only=False)
    ((_, filled),) = fills(world)
    assert float(filled) * MID == pytest.approx(depth_usd, rel=0.01)


def test_the_impact_of_a_size_has_an_end_and_a_tier_without_a_row_costs_what_the_dearest_does() -> None:
    costs = CostSettings()
    assert costs.slippage_bps("T1", 1e9) == pytest.approx(12.0)
    assert costs.slippage_bps("T1", 1.0) == costs.slippage_bps("T1", 0.0) == 10.0
    assert costs.of("T9") == costs.of("T3")
