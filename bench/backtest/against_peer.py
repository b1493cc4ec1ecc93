"""Backtest throughput side by side with a named peer, NautilusTrader, in one interleaved run: medians and ratios.

    python -m bench.backtest.against_peer --peer-python PATH [--days 20] [--symbols 10] [--rounds 3] [--json]

PATH is a Python that has nautilus_trader (measured with 1.231.0); it stays out of this project's environment. The same
candles (`recipe` of bench.backtest.bench) go to all: ours with the default strategies (`bench --case`), then the peer's
two engines (`peer_nautilus.py`: v1 is Cython and documented, v2 is Rust). Every run is a fresh process, one at a time, and
a round holds one run of each, so that a busy machine slows all of them. Measured is CPU time of the run without the making
of data; the ratio is ours / peer within a round, the median over the rounds.

The strategies are alike (a rise on heavy volume), not equal: ours sizes, prices and exits by its own rules and plays every
machine, so trades differ.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PEER = Path(__file__).with_name("peer_nautilus.py")
ASK = "import nautilus_trader, platform; print(nautilus_trader.__version__, platform.python_version())"
NAMES = ("ours", "nautilus v1", "nautilus v2")


def write_data(path: str, symbols: int, days: int) -> None:
    """The candles of `bench --case` as six columns a symbol. In a process of its own: a child's peak RSS starts at its parent's."""
    from bench.backtest.bench import recipe
    from config.schema import load_config

    config: Any = load_config("staging").config
    names = [name for tier in config.universe.tiers.values() for name in tier.products][:symbols]
    columns = {
        name: [one.start_s, one.open, one.high, one.low, one.close, one.volume]
        for name, one in recipe(names, days).series.items()
    }
    Path(path).write_bytes(pickle.dumps(columns))


def peer_versions(python: str) -> tuple[str, str] | None:
    """Of nautilus_trader and of its Python, or None."""
    try:
        said = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return None
    return said[0], said[1]


def output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def compared(rounds: list[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    rows = []
    for name in NAMES:
        runs = [one[name] for one in rounds]
        speeds = [run["bars_per_s"] for run in runs]
        rows.append(
            {
                "engine": name,
                "bars": runs[0]["bars"],
                "bars_per_s": round(statistics.median(speeds)),
                "min": min(speeds),
                "max": max(speeds),
                "trades": runs[0]["trades"],
                "rss_peak_mb": max(run["rss_peak_mb"] for run in runs),
                "ours_to_it": round(
                    statistics.median(one["ours"]["bars_per_s"] / one[name]["bars_per_s"] for one in rounds), 2
                ),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer-python", default="", help="A Python in which nautilus_trader is installed.")
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--symbols", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.write:
        write_data(said.write, said.symbols, said.days)
        return
    versions = peer_versions(said.peer_python) if said.peer_python else None
    if versions is None:
        print("--peer-python must name a Python in which nautilus_trader is installed.", file=sys.stderr)
        sys.exit(2)
    load_before, rounds = os.getloadavg(), []
    size = ["--symbols", str(said.symbols), "--days", str(said.days)]
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "candles.pickle")
        output([sys.executable, "-m", "bench.backtest.against_peer", "--write", data, *size])
        case = f"{said.symbols},{said.days},default"
        commands = (
            [sys.executable, "-m", "bench.backtest.bench", "--case", case],
            [said.peer_python, str(PEER), "v1", data],
            [said.peer_python, str(PEER), "v2", data],
        )
        for _ in range(said.rounds):
            runs = (json.loads(output(command)) for command in commands)
            rounds.append(dict(zip(NAMES, runs, strict=True)))
    rows = compared(rounds)
    facts = {
        "python": platform.python_version(),
        "peer": f"nautilus_trader {versions[0]}",
        "peer_python": versions[1],
        "load_before": [round(one, 1) for one in load_before],
        "load_after": [round(one, 1) for one in os.getloadavg()],
        "symbols": said.symbols,
        "days": said.days,
    }
    if said.json:
        print(json.dumps({**facts, "rows": rows, "rounds": rounds}, indent=1))
        return
    print(
        f"{said.symbols} symbols, {said.days} days, {rows[0]['bars']:,} bars, {said.rounds} rounds; ours on Python "
        f"{facts['python']}, {facts['peer']} on Python {facts['peer_python']}; "
        f"load average {load_before[0]:.1f} before, {os.getloadavg()[0]:.1f} after\n"
    )
    print("| engine | bars/s (CPU, median; min-max) | trades | peak RSS MB | ours / it (median of rounds) |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['engine']} | {row['bars_per_s']:,} ({row['min']:,}-{row['max']:,}) | {row['trades']} "
            f"| {row['rss_peak_mb']} | {row['ours_to_it']:.2f} |"
        )


if __name__ == "__main__":
    main()
