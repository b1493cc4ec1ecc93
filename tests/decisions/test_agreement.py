"""Properties over whole machines: risk agrees with the trading state, nothing foreign is sold, the future changes nothing."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decisions.build import ME, T0, D, RiskWorld, at, bar, book, catalog_of, position, quote, sends, universe_of
from trading.exits import ExitsMachine
from trading.exits_settings import ExitsSettings, UpkeepSettings
from trading.machine import Woke
from trading.messages.book import Foreign, Recovery
from trading.messages.control import Breaker, HealthSnapshot, KillSnapshot, Latch, LatchSnapshot
from trading.messages.decisions import Approved, ExitOrder
from trading.portfolio import purges, trims
from trading.risk_settings import CapSettings
from trading.strategies.interface import TriggerSettings
from trading.strategies.registry import StrategySettings, collect
from trading.symbol import SymbolMachine
from trading.symbol_settings import SymbolSettings
from trading.trading_state import Causes, trading_state

CASES = list(
    itertools.product(
        (False, True), (False, True), tuple(Recovery), (True, False), (False, True), (False, True), (False, True)
    )
)


@pytest.mark.parametrize(("killed", "paused", "recovery", "writable", "draining", "breaker", "latched"), CASES)
def test_risk_admits_an_entry_if_and_only_if_the_trading_state_does(
    killed, paused, recovery, writable, draining, breaker, latched
):
    w = RiskWorld()
    w.kill = KillSnapshot(n=1, engaged=killed, paused=paused)
    w.book = book(recovery=recovery, writable=writable, draining=draining)
    w.health = HealthSnapshot(n=1, breakers=(Breaker(code="api_health", open=breaker, measured=True),))
    if latched:
        w.machine._money._latches["max_drawdown"] = Latch(code="max_drawdown", values=(), since_s=T0)
    w.hear()
    state, _ = trading_state(
        Causes(
            draining=draining,
            killed=killed,
            recovery=recovery,
            book_writable=writable,
            paused=paused,
            breakers_open=("api_health",) if breaker else (),
            latches=("max_drawdown",) if latched else (),
        )
    )
    assert isinstance(w.judge(), Approved) is state.entries


# -- nothing foreign -------------------------------------------------------------------------------------------

NAMES = ("BTC-USD", "ETH-USD", "SOL-USD")
amount = st.decimals(min_value=D("0.001"), max_value=50, places=3)
held = st.dictionaries(st.sampled_from(NAMES), amount, max_size=3)
foreign = st.dictionaries(st.sampled_from(("BTC", "ETH", "SOL", "XRP")), amount, max_size=4)
price = st.floats(min_value=70, max_value=130)


@settings(max_examples=150, deadline=None)
@given(
    held,
    foreign,
    st.lists(st.tuples(st.sampled_from(NAMES), price), max_size=25),
    st.decimals(min_value=100, max_value=5000, places=0),
    st.booleans(),
)
def test_nothing_foreign_is_ever_sold(own, others, path, nav, ineligible):
    """Whatever stops, targets, trims and purges say: only products of the book, and never more than the book holds."""
    upkeep = UpkeepSettings(purge_after_s=1.0, spacing_s=1.0)
    machine = ExitsMachine(settings=ExitsSettings(upkeep=upkeep), me=ME, caps=CapSettings())
    machine.recover({}, at())
    machine.handle(KillSnapshot(n=1, engaged=False), at())
    machine.handle(catalog_of(NAMES, at()), at())
    machine.handle(LatchSnapshot(n=1, latches=(), nav_usd=nav), at())
    positions = tuple(position(name, size) for name, size in own.items())
    holdings = tuple(Foreign(currency=coin, size=size) for coin, size in others.items())
    machine.handle(book(positions=positions, foreign=holdings), at())
    machine.handle(universe_of(NAMES, eligible=not ineligible, reason="volume_low"), at())
    effects: list = []
    for step, (name, value) in enumerate(path):
        now = at(1 + step)
        if name in machine.products():
            effects += machine.on_quote(quote(value, now, product_id=name), now)
        effects += machine.handle(Woke("tick"), now)
    for order in sends(effects, ExitOrder):
        assert order.product_id in own
        assert order.position_id == f"pos-{order.product_id}"
        assert Decimal(0) < order.base_size <= own[order.product_id]


@settings(deadline=None)
@given(
    held, st.decimals(min_value=100, max_value=100_000, places=0), st.decimals(min_value=70, max_value=130, places=2)
)
def test_a_trim_leaves_every_cap_kept_and_sells_no_more_than_is_held(own, nav, mark):
    positions = tuple(position(name, size) for name, size in own.items())
    marks = dict.fromkeys(NAMES, mark)
    caps, limits = CapSettings(), UpkeepSettings()
    sold = {one.position_id: one.size for one in trims(book(positions=positions), marks, nav, caps, limits)}
    left = Decimal(0)
    for one in positions:
        size = sold.get(one.position_id, Decimal(0))
        assert size <= one.seen_size
        rest = (one.seen_size - size) * mark
        left += rest
        assert rest <= nav * caps.per_asset_pct / 100 + nav * limits.trim_tolerance_pct / 100 + limits.value_usd_min
    assert left <= nav * caps.total_pct / 100 + nav * limits.trim_tolerance_pct / 100 + limits.value_usd_min * 3


def test_upkeep_without_marks_or_nav_sells_nothing():
    positions = (position(size="50"),)
    assert trims(book(positions=positions), {}, D(100), CapSettings(), UpkeepSettings()) == ()
    assert trims(book(positions=positions), {"BTC-USD": D(100)}, D(0), CapSettings(), UpkeepSettings()) == ()
    assert purges(book(positions=positions), {}, {"BTC-USD": (1e9, "x")}, UpkeepSettings()) == ()


# -- the future ------------------------------------------------------------------------------------------------


def decisions(bars) -> list[str]:
    names = ("price_move", "volume_spike", "breakout", "momentum", "reversal", "mean_reversion")
    chosen = SymbolSettings(
        strategies={name: StrategySettings(enabled=True) for name in names},
        triggers=TriggerSettings(atr_ratio_min={"chop": 0.9}),
    )
    machine = SymbolMachine(product_id="BTC-USD", settings=chosen, me=ME, strategies=collect())
    for message in (universe_of(("BTC-USD",)), catalog_of(("BTC-USD",), at()), book(product_id="BTC-USD")):
        machine.handle(message, at())
    seen = []
    for one in bars:
        now = at(one.end_s - T0)
        machine.on_quote(quote(round(one.close, 4), now), now)
        seen += [f"{one.end_s} {effect!r}" for effect in machine.on_bar(one, now)]
        machine._open = None
    return seen


def walk(seed: int, count: int) -> list:
    draw = random.Random(seed)
    level, out = 100.0, []
    for n in range(count):
        before = level
        level *= 1.0 + draw.gauss(0.0, 0.006)
        out.append(
            bar(level, T0 + n * 300, open_=before, volume=10 * (1 + draw.random() * (4 if draw.random() < 0.1 else 1)))
        )
    return out


def test_shifting_the_future_changes_nothing_before_it():
    past, one, other = walk(1, 700), walk(2, 300), walk(3, 300)
    cut = past[-1].end_s
    futures = []
    for future in (one, other):
        moved = [bar(b.close, cut + n * 300, open_=b.open, volume=b.volume) for n, b in enumerate(future)]
        futures.append(decisions([*past, *moved]))
    until = [[line for line in lines if int(line.split()[0]) <= cut] for lines in futures]
    assert until[0] == until[1]
    assert len(until[0]) > 10
    assert futures[0] != futures[1]


def test_the_same_history_gives_the_same_decisions_to_the_letter():
    assert decisions(walk(4, 600)) == decisions(walk(4, 600))
