"""The same market once as a backtest plays it and once as the live feed tells it: the same proposals at every bar's end.

Live, a symbol hears quotes all the time and its bars a moment after their end; the backtest tells it one quote and the bar
at the end. What is decided on closed bars must not depend on that; what risk answers may, and then its code says timing.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from attrs import evolve

from simulation.backtest.data import Columns, Dataset
from simulation.backtest.engine import Backtest
from simulation.backtest.world import BacktestWorld
from simulation.compare import TIMING, compare, proposals
from tests.backtest.test_backtest import LOADED, stirred
from trading.messages.market import Bar
from trading.strategies.interface import MarketView, Rule, Signal, strategy
from trading.strategies.registry import StrategySettings
from trading.values import utc_text

BAR_DELAY_S = 0.4


@strategy("quarter", on="move", rule=Rule(stop_pct=Decimal(4), target_pct=Decimal(8), hold_hours=1), needs_atr=False)
def quarter(view: MarketView) -> Signal | None:
    """A quarter of an hour that rose or fell by more than half a percent."""
    change_pct = view.change_15m_pct
    if abs(change_pct) < 0.5:
        return None
    return Signal(strength=0.8, confidence=0.8, change_pct=change_pct, reason=f"{change_pct:+.2f} % in 15 minutes")


class LiveFed(Backtest):
    """Plays every bar second by second, every symbol hears every quote, and bars come after the quotes at their end."""

    def _busy(self) -> bool:
        return True

    def run(self, progress: object = None) -> object:
        world = self.world
        heard = BacktestWorld.quote

        def quote(name: str, mid: float, *, symbols: bool = True) -> None:
            heard(world, name, mid, symbols=True)

        def close(bars: list[Bar]) -> None:
            for bar in bars:
                quote(bar.product_id, bar.close)
            world.stage.run_for(BAR_DELAY_S)
            for bar in bars:
                for process in world.stage._lane(bar.product_id).bars:
                    effects = process.on_bar(bar, world.stage.now)
                    world.stage._carry_out(process, bar, effects, world.stage.now)

        world.quote, world.close = quote, close  # type: ignore[method-assign]
        return super().run()


def cut() -> Dataset:
    """Five hours with the rise of each product and what follows."""
    data = stirred(days=1)
    series = {product: candles.cut(270, 560) for product, candles in data.series.items()}
    assert all(isinstance(candles, Columns) for candles in series.values())
    return Dataset(name="cut", series=series, bar_s=data.bar_s)


@pytest.fixture(scope="module")
def both() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    only = {
        **{name: evolve(one, enabled=False) for name, one in LOADED.config.symbol.strategies.items()},
        "quarter": StrategySettings(enabled=True, budget_pct=Decimal(10)),
    }
    config = evolve(LOADED.config, symbol=evolve(LOADED.config.symbol, strategies=only))
    found = []
    for kind in (Backtest, LiveFed):
        test = kind(
            cut(), config=config, costs=config.costs, seed=1, config_hash="cafe", facts={}, strategies=(quarter,)
        )
        found.append(test.run().decisions)
    return found[0], found[1]


def on_bars(decisions: list[dict[str, object]]):
    return [one for one in proposals(decisions) if one.decided_on == "bar"]


def said_at(decisions: list[dict[str, object]], product: str, bar_end_s: int) -> set[str]:
    """The codes that the product's symbol gave within a second of a bar's end."""
    until = utc_text(bar_end_s + 1.0)
    return {
        str(d.get("code"))
        for d in decisions
        if d["role"] == f"symbol:{product}" and utc_text(bar_end_s) <= str(d["at"]) <= until
    }


def test_backtest_and_live_feed_lead_to_the_same_proposals_at_every_closed_bar(both) -> None:
    """A proposal that only one side makes is one that the other side's own pauses forbade, by the code it gave then."""
    backtest, live = both
    found = compare(on_bars(backtest), on_bars(live))
    assert len(found.common) >= 3, "the market of this test leads to no proposals"
    for ones, others in ((found.only_a, live), (found.only_b, backtest)):
        for one in ones:
            codes = said_at(others, one.product_id, one.bar_end_s)
            print(f"{one.product_id} {utc_text(one.bar_end_s)}: only one side proposes, the other says {codes}")
            assert codes & TIMING, (one, codes)
    assert len(found.only_a) + len(found.only_b) <= len(found.common)


def test_where_the_verdicts_differ_the_codes_say_timing(both) -> None:
    found = compare(on_bars(both[0]), on_bars(both[1]))
    for one, other in found.verdicts:
        print(f"{one.product_id} {one.bar_end_s}: {one.verdict} in the backtest, {other.verdict} live")
        assert {one.verdict, other.verdict} - {"admitted"} <= TIMING, (one, other)
