"""What a decision costs, in the process that decides: `python -m tests.decisions.bench_decisions` prints one line a figure.

Bars: CPU time a bar, best of three, with all six strategies on. Quotes: wall time of one call, p50 and p99. Seeded.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from tests.decisions.build import ME, T0, RiskWorld, at, book, catalog_of, proposal, quote, universe_of
from tests.decisions.test_exits import exits
from tests.decisions.test_symbol import symbol
from trading.messages.market import Bar
from trading.strategies.registry import StrategySettings, collect
from trading.symbol import SymbolMachine
from trading.symbol_settings import SymbolSettings

SEED = 1
NAMES = ("price_move", "volume_spike", "breakout", "momentum", "reversal", "mean_reversion")
SETTINGS = SymbolSettings(strategies={name: StrategySettings(enabled=True) for name in NAMES})


def bars(count: int, bar_s: int) -> list[Bar]:
    draw, level, out = random.Random(SEED), 100.0, []
    start = int(T0) // 3600 * 3600
    for n in range(count):
        before = level
        level *= 1.0 + draw.gauss(0.0, 0.0005)
        high, low = max(before, level) * 1.0002, min(before, level) * 0.9998
        out.append(Bar("BTC-USD", bar_s, start + n * bar_s, before, high, low, level, 10.0 + draw.random() * 5.0))
    return out


def fresh() -> SymbolMachine:
    machine = SymbolMachine(product_id="BTC-USD", settings=SETTINGS, me=ME, strategies=collect())
    for message in (universe_of(("BTC-USD",)), catalog_of(("BTC-USD",), at()), book(product_id="BTC-USD")):
        machine.handle(message, at())
    return machine


def per_bar_us(count: int, bar_s: int) -> float:
    series, now, best = bars(count, bar_s), at(), float("inf")
    for _ in range(3):
        on_bar = fresh().on_bar
        began = time.process_time()
        for one in series:
            on_bar(one, now)
        best = min(best, (time.process_time() - began) / count * 1e6)
    return best


def quantiles_us(call: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> str:
    took = []
    for one in arguments:
        began = time.perf_counter_ns()
        call(*one)
        took.append(time.perf_counter_ns() - began)
    took.sort()
    return f"p50 {took[len(took) // 2] / 1000:.1f} us, p99 {took[int(len(took) * 0.99)] / 1000:.1f} us"


def main() -> None:
    for bar_s in (60, 300, 3600):
        cost = per_bar_us(30_000, bar_s)
        print(f"symbol.on_bar, {bar_s} s bars, six strategies: {cost:.2f} us, {1e6 / cost:,.0f} bars/s")
    print("linear:", ", ".join(f"{k}x {per_bar_us(25_000 * k, 60):.2f} us" for k in (1, 2, 4)))
    draw = random.Random(SEED)
    quotes = [(quote(100 + draw.random() / 10, at(n / 1000), volume=50_000.0 + n), at(n / 1000)) for n in range(20_000)]
    print("symbol.on_quote, nothing to do:", quantiles_us(symbol(SETTINGS).on_quote, quotes))
    print("exits.on_quote, position held:", quantiles_us(exits().on_quote, quotes))
    world = RiskWorld()
    world.hear()
    print("risk.on_quote:", quantiles_us(world.machine.on_quote, quotes))
    worlds = []
    for n in range(300):
        one = RiskWorld()
        one.hear()
        worlds.append((one.machine, proposal(proposal_id=str(n))))
    print("risk, proposal to Approved, 30 rules, sizing, caps:", quantiles_us(lambda m, p: m.handle(p, at()), worlds))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [symbol(SETTINGS) for _ in range(20)]
    print(f"memory of a warm symbol: {(tracemalloc.get_traced_memory()[0] - before) / len(kept) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
