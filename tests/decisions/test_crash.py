"""The recorded crash of 2025-10-10 (5-minute candles of BTC-USD and SOL-USD from ../shared/data): guards, regime, stops.

The path inside a bar is drawn from its open, high, low and close in ten quotes; nothing later than the bar is used.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from attrs import evolve

from tests.decisions.build import BOOT0, ME, T0, D, at, book, catalog_of, position, quote, sends, universe_of
from trading.candles import Candles
from trading.data_guards import OUTLIER, BarGuard, DataGuardSettings
from trading.exits import ExitsMachine
from trading.exits_settings import ExitsSettings
from trading.machine import Instant
from trading.messages.control import KillSnapshot
from trading.messages.decisions import ExitOrder, Proposal
from trading.messages.market import Bar
from trading.regime import RegimeWatch
from trading.risk_settings import CapSettings
from trading.strategies.interface import MarketView, TriggerSettings
from trading.strategies.registry import StrategySettings, collect
from trading.symbol import SymbolMachine
from trading.symbol_settings import SymbolSettings
from trading.universe_settings import RegimeSettings
from trading.values import utc_seconds

DATA = (
    Path(os.environ.get("BULKHEAD_SHARED_DATA", str(Path(__file__).parents[2].parent / "shared" / "data"))) / "ohlcv_5m"
)
FILES = {"BTC-USD": "BTC-USD_5m_2025-07_2026-01.csv", "SOL-USD": "SOL-USD_5m_2025-09_2025-12.csv"}
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the recorded candles are not here: {DATA.parent.name}/{DATA.name}"
)
CRASH_S = utc_seconds("2025-10-10T20:00:00Z")


@cache
def recorded(product_id: str, since: str, until: str) -> tuple[Bar, ...]:
    low, high = utc_seconds(since), utc_seconds(until)
    rows = []
    with (DATA / FILES[product_id]).open() as lines:
        for row in csv.DictReader(lines):
            start = int(row["ts"])
            if low <= start < high:
                numbers = (float(row[name]) for name in ("open", "high", "low", "close", "volume"))
                rows.append(Bar(product_id, 300, start, *numbers))
    return tuple(rows)


def path_of(one: Bar) -> list[float]:
    """Ten prices: open, to the low, to the high, to the close (a fall first is the worse order for a holder)."""
    legs = ((one.open, one.low, 4), (one.low, one.high, 3), (one.high, one.close, 3))
    return [start + (end - start) * (n + 1) / steps for start, end, steps in legs for n in range(steps)]


@pytest.mark.parametrize("product_id", ["BTC-USD", "SOL-USD"])
def test_the_bar_guard_lets_the_real_crash_pass_and_holds_one_bad_bar_back(product_id):
    bars = recorded(product_id, "2025-10-08T00:00:00Z", "2025-10-13T00:00:00Z")
    guard = BarGuard(300, DataGuardSettings())
    codes = Counter(guard.admit(one) for one in bars)
    assert codes[""] == len(bars), f"the crash carries its own volume: {codes}"
    spoiled = list(bars)
    at_bar = next(n for n, one in enumerate(bars) if one.start_s >= CRASH_S - 86_400)
    bad = spoiled[at_bar]
    spoiled[at_bar] = evolve(bad, close=bad.close * 0.88, low=bad.close * 0.88, volume=bad.volume * 0.01)
    guard = BarGuard(300, DataGuardSettings())
    codes = Counter(guard.admit(one) for one in spoiled)
    assert codes[OUTLIER] == 1
    assert codes[""] == len(bars) - 1


def test_the_regime_is_crash_while_it_crashes_and_never_sees_it_coming():
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    feed = Candles(view, DataGuardSettings())
    watch = RegimeWatch(RegimeSettings())
    names = []
    for one in recorded("BTC-USD", "2025-09-28T00:00:00Z", "2025-10-14T00:00:00Z"):
        closed = feed.add(one)
        if closed & 2:
            watch.fall(view.move)
        if closed & 4:
            watch.update(view.signal)
        names.append((one.end_s, watch.now.name))
    crash = [end for end, name in names if name == "crash"]
    assert utc_seconds("2025-10-10T21:00:00Z") < crash[0] <= utc_seconds("2025-10-10T21:30:00Z")
    assert crash[-1] >= crash[0] + 6 * 3600
    assert crash[-1] < utc_seconds("2025-10-13T12:00:00Z"), "and it ends (the 7-day table keeps it for a while)"
    assert [end for end in crash if end <= CRASH_S] == []


def armed(product_id: str, entry: float) -> tuple[ExitsMachine, Decimal]:
    machine = ExitsMachine(settings=ExitsSettings(), me=ME, caps=CapSettings())
    machine.recover({}, at())
    machine.handle(KillSnapshot(n=1, engaged=False), at())
    machine.handle(catalog_of((product_id,), at()), at())
    paid = D(f"{entry:.2f}")
    held = position(product_id, "1", price=paid, hold_until_s=CRASH_S + 30 * 86_400, opened_s=CRASH_S)
    machine.handle(book(positions=(held,)), at())
    return machine, held.stop_price


@pytest.mark.parametrize("product_id", ["BTC-USD", "SOL-USD"])
def test_the_real_crash_stops_out_between_the_stop_less_tolerance_and_the_bars_low(product_id):
    bars = recorded(product_id, "2025-10-10T20:00:00Z", "2025-10-11T02:00:00Z")
    machine, stop = armed(product_id, bars[0].open)
    below_n = 0
    for one in bars:
        for n, price in enumerate(path_of(one)):
            elapsed = one.start_s - bars[0].start_s + n * 30
            now = Instant(venue_s=one.start_s + n * 30.0, trusted=True, boot_s=BOOT0 + elapsed)
            mid = round(price, 4)
            below_n += mid <= stop
            effects = machine.on_quote(quote(mid, now, product_id=product_id), now)
            found = sends(effects, ExitOrder)
            if found:
                order = found[0]
                assert order.reason == "stop"
                assert below_n <= DataGuardSettings().outlier_confirmations, "within N snapshots"
                assert order.limit_price >= D(f"{one.low:.4f}") * D("0.989"), "the bar's low less the tolerance"
                assert order.limit_price <= stop
                return
    pytest.fail(f"{product_id} never reached its stop {stop}; lowest {min(one.low for one in bars)}")


@pytest.mark.parametrize("product_id", ["BTC-USD", "SOL-USD"])
@pytest.mark.parametrize("factor", [0.9, 0.5, 1.3])
def test_a_tick_of_one_snapshot_fires_neither_stop_nor_target_anywhere_in_the_record(product_id, factor):
    bars = recorded(product_id, "2025-10-07T00:00:00Z", "2025-10-09T00:00:00Z")
    for pick in range(3, len(bars), 60):
        machine, _ = armed(product_id, bars[pick - 3].close)
        orders = []
        for offset in range(3):
            one = bars[pick - 3 + offset]
            now = Instant(venue_s=float(one.start_s), trusted=True, boot_s=BOOT0 + offset)
            price = one.close * factor if offset == 1 else one.close
            orders += sends(machine.on_quote(quote(round(price, 4), now, product_id=product_id), now), ExitOrder)
        assert orders == []


def test_no_proposal_leaves_a_symbol_in_regime_crash():
    names = ("price_move", "volume_spike", "breakout", "momentum", "reversal", "mean_reversion")
    chosen = SymbolSettings(
        strategies={name: StrategySettings(enabled=True) for name in names}, triggers=TriggerSettings(atr_ratio_min={})
    )
    counts = {}
    for regime in ("chop", "crash"):
        machine = SymbolMachine(product_id="SOL-USD", settings=chosen, me=ME, strategies=collect())
        proposals = 0
        for one in recorded("SOL-USD", "2025-10-08T00:00:00Z", "2025-10-12T00:00:00Z"):
            now = Instant(venue_s=float(one.end_s), trusted=True, boot_s=BOOT0 + one.end_s - T0)
            if one.end_s % 3600 == 0 or machine._slice is None:
                for message in (
                    universe_of(("SOL-USD",), regime=regime),
                    catalog_of(("SOL-USD",), now),
                    book(product_id="SOL-USD"),
                ):
                    machine.handle(message, now)
            machine._outliers.believe(one.close)
            machine.on_quote(quote(round(one.close, 4), now, product_id="SOL-USD"), now)
            proposals += len(sends(machine.on_bar(one, now), Proposal))
            machine._open = None
        counts[regime] = proposals
    assert counts["crash"] == 0
    assert counts["chop"] > 5, "the same bars propose when the regime allows it"
