"""Backtest throughput with every machine and rule in the loop: bars/s of CPU time, peak memory, and how both grow.

    python -m bench.backtest.bench [--quick] [--json]

Data: seeded synthetic one-minute candles in the manner of ../shared/docs/performance.md (10 symbols x 90 days =
1,296,000 bars): a random walk whose volatility changes by the day, with bursts of an hour on heavy volume. Each case runs
in a process of its own. "run" leaves out the making of the data; CPU time is of the whole process (user + system).
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from attrs import evolve

from config.schema import load_config
from simulation.backtest.data import GENERATED_START_S, Columns, Dataset
from simulation.backtest.engine import Backtest
from simulation.backtest.report import summary

DAY_BARS = 1_440
PRICE = {"BTC-USD": 60_000.0, "ETH-USD": 2_500.0, "SOL-USD": 150.0}


def recipe(symbols: list[str], days: int, seed: int = 1, *, bursts_a_day: float = 0.5) -> Dataset:
    """Candles of a market in which the entry rule finds a burst on about every second day of a symbol, or none."""
    series = {}
    for number, symbol in enumerate(symbols):
        draw = random.Random(seed * 1_000 + number)
        price, columns = PRICE.get(symbol, 10.0), Columns()
        for day in range(days):
            sigma = 0.0006 * math.exp(draw.gauss(0.0, 0.4))
            burst_at = draw.randrange(DAY_BARS) if draw.random() < bursts_a_day else -1
            drift = draw.choice((1.0, 1.0, -1.0)) * 0.0006
            for minute in range(DAY_BARS):
                bursts = 0 <= minute - burst_at < 60 and burst_at >= 0
                opened = price
                price *= math.exp(draw.gauss(drift if bursts else 0.0, sigma * (1.5 if bursts else 1.0)))
                top, low = max(opened, price), min(opened, price)
                volume = 1e6 / price * math.exp(draw.gauss(0.0, 0.5)) * (6.0 if bursts else 1.0)
                columns.append(
                    GENERATED_START_S + (day * DAY_BARS + minute) * 60,
                    opened,
                    top * (1 + sigma * draw.random()),
                    low * (1 - sigma * draw.random()),
                    price,
                    volume,
                )
        series[symbol] = columns
    return Dataset(name=f"recipe {seed}", series=series, bar_s=dict.fromkeys(series, 60))


def case(symbols: int, days: int, strategies: str) -> dict[str, Any]:
    """One run in this process."""
    config: Any = load_config("staging").config
    names = [name for tier in config.universe.tiers.values() for name in tier.products][:symbols]
    if strategies == "all":
        every = {name: evolve(one, enabled=True) for name, one in config.symbol.strategies.items()}
        config = evolve(config, symbol=evolve(config.symbol, strategies=every))
    data = recipe(names, days, bursts_a_day=0.0 if strategies == "default, quiet market" else 0.5)
    made_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    test = Backtest(data, config=config, costs=config.costs, seed=1, config_hash="bench", facts={})
    began = time.process_time()
    run = test.run()
    took = time.process_time() - began
    return {
        "symbols": symbols,
        "days": days,
        "strategies": strategies,
        "bars": data.bars,
        "bars_per_s": round(data.bars / took),
        "us_per_bar": round(took / data.bars * 1e6, 2),
        "trades": summary(run)["trades"],
        "orders": len(run.orders),
        "rss_data_mb": round(made_mb),
        "rss_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def spin_per_s() -> float:
    """Steps of a fixed pure-Python loop in a second of CPU time: how fast this machine is at this moment."""
    began, x = time.process_time(), 0
    for step in range(1_000_000):
        x = (x * 3 + step) & 0xFFFF
    return 1_000_000 / (time.process_time() - began)


def measured(symbols: int, days: int, strategies: str, rounds: int) -> dict[str, Any]:
    """The median of several runs, each in a fresh process."""
    command = [sys.executable, "-m", "bench.backtest.bench", "--case", f"{symbols},{days},{strategies}"]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(rounds)
    ]
    speeds = [run["bars_per_s"] for run in runs]
    return {
        **runs[0],
        "bars_per_s": round(statistics.median(speeds)),
        "min": min(speeds),
        "max": max(speeds),
        "us_per_bar": round(1e6 / statistics.median(speeds), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="A tenth of the days.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.case:
        symbols, days, strategies = said.case.split(",", 2)
        print(json.dumps(case(int(symbols), int(days), strategies)))
        return
    full, rounds = (9, 3) if said.quick else (90, 1)
    small = max(2, full // 9)
    cases = [
        (10, full, "default", rounds),
        (10, full, "all", rounds),
        (10, small * 2, "default, quiet market", 3),
        *((10, small * factor, "default", 3) for factor in (1, 2, 4)),
        *((symbols, small * 2, "default", 3) for symbols in (3, 6, 12)),
    ]
    rows = [measured(*one) for one in cases]
    spin = spin_per_s()
    if said.json:
        print(json.dumps({"python": platform.python_version(), "spin_per_s": round(spin), "rows": rows}, indent=1))
        return
    print(f"Python {platform.python_version()}, a plain loop makes {spin / 1e6:.1f} M steps/s now\n")
    print(
        "| symbols | days | strategies | bars | bars/s (CPU, median; min-max) | us/bar | trades | orders | peak RSS MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['symbols']} | {row['days']} | {row['strategies']} | {row['bars']:,} | {row['bars_per_s']:,} "
            f"({row['min']:,}-{row['max']:,}) | {row['us_per_bar']} | {row['trades']} | {row['orders']} | {row['rss_peak_mb']} |"
        )


if __name__ == "__main__":
    main()
