"""What a decision costs in the deciding process: per quote, from the raw ticker frame to the verdict, and per closed bar.

    python -m bench.decisions.bench [--json]

Each call is timed by itself with `perf_counter_ns`; p50 and p99 over all calls. The symbol runs with the live settings and
all six strategies, warmed by eight days of one-minute bars. "to the verdict" ends when the symbol has said "nothing to
trade" with its code, which is what nearly every quote leads to.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve

from config.schema import load_config
from exchange.coinbase.feed_session import FeedSession
from exchange.slots import SlotReader, SlotWriter
from simulation.backtest.data import generated
from trading.machine import Instant
from trading.messages.market import Bar, Quote
from trading.strategies.registry import collect
from trading.symbol import SymbolMachine

PRODUCT = "BTC-USD"
TICKER = (
    '{"channel":"ticker","timestamp":"%s","sequence_num":%d,"events":[{"type":"update","tickers":[{"type":"ticker",'
    '"product_id":"BTC-USD","price":"%.2f","volume_24_h":"3974.98","low_24_h":"63454","high_24_h":"64727.27","low_52_w":'
    '"59073.01","high_52_w":"126296","price_percent_chg_24_h":"1.2147","best_bid":"%.2f","best_ask":"%.2f",'
    '"best_bid_quantity":"0.21558849","best_ask_quantity":"0.02287045"}]}]}'
)


def warm(strategies: str) -> tuple[SymbolMachine, float, int]:
    """(a symbol that has seen eight days of minutes, its newest close, the end of its newest bar)."""
    settings: Any = load_config("staging").config.symbol
    if strategies == "all":
        settings = evolve(
            settings, strategies={name: evolve(one, enabled=True) for name, one in settings.strategies.items()}
        )
    symbol = SymbolMachine(product_id=PRODUCT, settings=settings, me=(1, 1), strategies=collect())
    data = generated(42, (PRODUCT,), 8)
    bar: Bar | None = None
    for bar in data.stream():
        symbol.on_bar(evolve(bar, backfill=True), Instant(float(bar.end_s), True, 0.0))
    assert bar is not None
    return symbol, bar.close, bar.end_s


def each(calls: list[Callable[[], object]]) -> tuple[float, float]:
    """(p50, p99) in microseconds; the first tenth only warms up."""
    clock, took = time.perf_counter_ns, []
    for call in calls:
        begin = clock()
        call()
        took.append(clock() - begin)
    took = sorted(took[len(took) // 10 :])
    return round(took[len(took) // 2] / 1000, 2), round(took[int(len(took) * 0.99)] / 1000, 2)


def frames(price: float, end_s: int, number: int) -> list[str]:
    draw, found = random.Random(1), []
    for n in range(number):
        price *= 1.0 + draw.gauss(0.0, 2e-6)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(end_s + n * 0.001)) + f".{n % 1000:03d}000000Z"
        found.append(TICKER % (stamp, n, price, price - 0.01, price + 0.01))
    return found


def quote_of(happenings: list[Any]) -> Quote:
    """The quote that a ticker frame means."""
    for one in happenings:
        found = one if isinstance(one, Quote) else getattr(one, "quote", None)
        if isinstance(found, Quote):
            return found
    raise SystemExit(f"a ticker frame led to {happenings!r} and to no quote; the bench does not measure what it says")


def per_quote(strategies: str, number: int) -> dict[str, tuple[float, float]]:
    symbol, price, end_s = warm(strategies)
    raw = frames(price, end_s, number)
    session = FeedSession([PRODUCT], ("ticker",), opened_boot_s=0.0)
    quotes = [evolve(quote_of(session.receive(frame, 1.0)), alive_boot_s=1.0) for frame in raw]
    moments = [Instant(quote.exchange_s, True, 1.0) for quote in quotes]
    results = {
        f"quote -> verdict ({strategies} strategies)": each(
            [partial(symbol.on_quote, q, m) for q, m in zip(quotes, moments, strict=True)]
        )
    }
    session = FeedSession([PRODUCT], ("ticker",), opened_boot_s=0.0)

    def whole(frame: str, now: Instant) -> object:
        quote = quote_of(session.receive(frame, 1.0))
        quote.alive_boot_s = 1.0
        return symbol.on_quote(quote, now)

    results[f"raw ticker frame -> verdict, one process ({strategies} strategies)"] = each(
        [partial(whole, f, m) for f, m in zip(raw, moments, strict=True)]
    )
    with tempfile.TemporaryDirectory() as folder:
        writer, reader = SlotWriter(Path(folder) / "slots", (1, 1)), SlotReader(Path(folder) / "slots")

        def seen(now: Instant) -> object:
            return [symbol.on_quote(quote, now) for quote in reader.changed((PRODUCT,))]

        took = []
        clock = time.perf_counter_ns
        for quote, now in zip(quotes, moments, strict=True):
            writer.put(quote)
            begin = clock()
            seen(now)
            took.append(clock() - begin)
        took = sorted(took[len(took) // 10 :])
        results[f"changed slot -> verdict ({strategies} strategies)"] = (
            round(took[len(took) // 2] / 1000, 2),
            round(took[int(len(took) * 0.99)] / 1000, 2),
        )
    counts = symbol.facts()["counts"]
    assert counts["no_candidates_from_triggers"] >= number, counts
    return results


def kind_of(bar: Bar) -> str:
    if bar.end_s % 300:
        return "closed 1 m bar"
    return "closed 1 m bar that closes an hour" if bar.end_s % 3600 == 0 else "closed 1 m bar that closes a 5 m bar"


def per_bar(strategies: str, days: int) -> dict[str, tuple[float, float]]:
    symbol, _, end_s = warm(strategies)
    bars = [bar for bar in generated(42, (PRODUCT,), 8 + days).stream() if bar.start_s >= end_s]
    took: dict[str, list[int]] = {
        kind: []
        for kind in ("closed 1 m bar", "closed 1 m bar that closes a 5 m bar", "closed 1 m bar that closes an hour")
    }
    clock = time.perf_counter_ns
    for bar in bars:
        now = Instant(float(bar.end_s), True, 1.0)
        begin = clock()
        symbol.on_bar(bar, now)
        spent = clock() - begin
        took[kind_of(bar)].append(spent)
    results = {}
    for name, times in took.items():
        times.sort()
        results[f"{name} ({strategies} strategies)"] = (
            round(times[len(times) // 2] / 1000, 2),
            round(times[int(len(times) * 0.99)] / 1000, 2),
        )
    return results


def memory_of_a_symbol_kb() -> float:
    """What one symbol's machine holds after eight days of minutes, by the allocator's own count."""
    warm("all")  # whatever is made once is made here
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    symbol, _, _ = warm("all")
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert symbol.view.signal.count > 24
    return round((after - before) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    results: dict[str, tuple[float, float]] = {}
    for strategies in ("default", "all"):
        results.update(per_quote(strategies, 20_000))
        results.update(per_bar(strategies, 14))
    memory_kb = memory_of_a_symbol_kb()
    if as_json:
        print(json.dumps({"python": platform.python_version(), "us": results, "symbol_kb": memory_kb}, indent=1))
        return
    print("| what | p50 us | p99 us |\n|---|---|---|")
    for name, (middle, late) in results.items():
        print(f"| {name} | {middle} | {late} |")
    print(f"\none symbol's machine, warmed with eight days of minutes: {memory_kb} kB")


if __name__ == "__main__":
    main()
