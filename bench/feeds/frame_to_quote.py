"""What the feed path costs: raw frame -> Quote, Quote -> slot -> reader, a bell across processes, snapshots, storms.

    python -m bench.feeds.frame_to_quote [--json]

Each row is the median (and 99th percentile) over many single calls, timed one by one with `perf_counter_ns`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import select
import statistics
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from exchange.coinbase.bars import BarBuilder
from exchange.coinbase.feed_session import FeedSession
from exchange.coinbase.feed_words import Trade
from exchange.slots import Bell, BellRinger, SlotReader, SlotWriter, boot_s
from trading.messages.market import Quote

TICKER = (
    '{"channel":"ticker","timestamp":"2026-06-14T05:35:45.%09dZ","sequence_num":%d,"events":[{"type":"update","tickers":'
    '[{"type":"ticker","product_id":"BTC-USD","price":"64281.7","volume_24_h":"3974.98","low_24_h":"63454","high_24_h":'
    '"64727.27","low_52_w":"59073.01","high_52_w":"126296","price_percent_chg_24_h":"1.2147","best_bid":"64281.7",'
    '"best_ask":"64281.71","best_bid_quantity":"0.21558849","best_ask_quantity":"0.02287045"}]}]}'
)


def each(calls: list[Callable[[], object]]) -> tuple[float, float]:
    """(p50, p99) in microseconds."""
    clock = time.perf_counter_ns
    took = []
    for call in calls:
        begin = clock()
        call()
        took.append(clock() - begin)
    took.sort()
    return took[len(took) // 2] / 1000, took[int(len(took) * 0.99)] / 1000


def level2_frame(sequence: int, kind: str, rows: list[tuple[str, str, str]]) -> str:
    stamp = "2026-06-14T05:35:45.435813533Z"
    updates = [{"side": s, "event_time": stamp, "price_level": p, "new_quantity": q} for s, p, q in rows]
    events = [{"type": kind, "product_id": "BTC-USD", "updates": updates}]
    return json.dumps(
        {"channel": "l2_data", "timestamp": stamp, "sequence_num": sequence, "events": events}, separators=(",", ":")
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    results: dict[str, tuple[float, float]] = {}
    generator = random.Random(1)

    session = FeedSession(["BTC-USD"], ("ticker",), opened_boot_s=0.0)
    frames = [TICKER % (number, number) for number in range(20_000)]
    results["json.loads of a ticker frame"] = each([lambda f=f: json.loads(f) for f in frames])
    results["ticker frame -> Quote (json.loads included)"] = each([lambda f=f: session.receive(f, 1.0) for f in frames])

    session = FeedSession(["BTC-USD"], ("level2",), opened_boot_s=0.0)
    snapshot = [("bid", f"{78_000 - n * 0.5:.2f}", f"{generator.random():.8f}") for n in range(22_700)]
    snapshot += [("offer", f"{78_000.01 + n * 0.5:.2f}", f"{generator.random():.8f}") for n in range(21_300)]
    text = level2_frame(0, "snapshot", snapshot)
    begin = time.perf_counter()
    session.receive(text, 1.0)
    results[f"level2 snapshot, {len(text) / 1e6:.1f} MB, 44,000 levels -> Quote"] = (
        (time.perf_counter() - begin) * 1e6,
    ) * 2
    for size in (2, 20, 100):
        updates = []
        for number in range(2_000):
            rows = []
            for _ in range(size):
                side = generator.choice(["bid", "offer"])
                away = min(generator.expovariate(1 / 20), 5_000)
                price = 78_000 - away if side == "bid" else 78_000.01 + away
                amount = "0" if generator.random() < 0.3 else f"{generator.random():.8f}"
                rows.append((side, f"{price:.2f}", amount))
            updates.append(
                level2_frame(session._next + number, "update", rows)
            )  # the bench numbers frames as the venue does
        results[f"level2 update of {size} levels -> Quote with depth"] = each(
            [lambda f=f: session.receive(f, 1.0) for f in updates]
        )

    folder = Path(tempfile.mkdtemp())
    writer, reader = SlotWriter(folder / "slots", (1, 1)), SlotReader(folder / "slots")
    price = Decimal("64281.7")
    quote = Quote("BTC-USD", price, price + 1, price, price, 1.0, 1.0, 1.0, 0, 1e6, 1e6, last=price)
    results["slot put"] = each([lambda: writer.put(quote)] * 20_000)
    results["slot get"] = each([lambda: reader.get("BTC-USD")] * 20_000)
    results["slot unchanged?"] = each([lambda: reader.changed(["BTC-USD"])] * 20_000)
    names = [f"P{number:02d}-USD" for number in range(100)]
    for name in names:
        writer.put(Quote(name, price, price, price, price, 1.0, 1.0, 1.0))
    reader.changed(names)
    results["100 slots unchanged?"] = each([lambda: reader.changed(names)] * 2_000)
    results["heartbeat renews 101 slots"] = each([lambda: writer.alive(2.0)] * 200)

    session = FeedSession(["BTC-USD"], ("ticker",), opened_boot_s=0.0)

    def whole(frame: str) -> None:
        for happening in session.receive(frame, 1.0):
            writer.put(happening)

    results["ticker frame -> slot"] = each([lambda f=f: whole(f) for f in frames])

    bell, ringer = Bell(folder / "bells", "bench"), BellRinger(folder / "bells")
    time.sleep(0.06)
    results["ring one bell (taken)"] = each([lambda: (ringer.ring(["BTC-USD"]), bell.socket.recv(16))] * 5_000)
    bell.drain()
    results["ring one bell (full, refused)"] = each([lambda: ringer.ring(["BTC-USD"])] * 5_000)
    bell.drain()
    results["frame in -> quote read in another process"] = across_processes(folder, writer, ringer)

    builder = BarBuilder()
    builder.start("BTC-USD", 0.0)
    trades = [Trade("BTC-USD", str(n), price, price, "BUY", n * 0.001) for n in range(20_000)]
    results["trade -> minute"] = each([lambda t=t: builder.trade(t) for t in trades])

    if as_json:
        print(json.dumps({name: {"p50_us": p50, "p99_us": p99} for name, (p50, p99) in results.items()}))
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, (p50, p99) in results.items():
        print(f"{name:62s} {p50:10.1f} us p50 {p99:10.1f} us p99")


def across_processes(folder: Path, writer: SlotWriter, ringer: BellRinger) -> tuple[float, float]:
    """A child waits on its bell, reads the slot and answers how old the quote is by the boot clock; 300 quotes, 3 ms apart."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        bell, reader = Bell(folder / "bells", "child", ["ETH-USD"]), SlotReader(folder / "slots")
        os.write(write, b"x")
        ages = []
        while len(ages) < 300 and select.select([bell], [], [], 5.0)[0]:
            bell.drain()
            ages += [boot_s() - quote.received_boot_s for quote in reader.changed(["ETH-USD"])]
        os.write(write, json.dumps(ages).encode())
        os._exit(0)
    os.read(read, 1)
    time.sleep(0.1)
    session = FeedSession(["ETH-USD"], ("ticker",), opened_boot_s=0.0)
    for number in range(300):
        time.sleep(0.003)
        frame = (TICKER % (number, number)).replace("BTC-USD", "ETH-USD")
        for happening in session.receive(frame, boot_s()):
            writer.put(happening)
        ringer.ring(["ETH-USD"])
    ages = []
    os.close(write)
    data = b""
    while chunk := os.read(read, 65_536):
        data += chunk
    os.waitpid(child, 0)
    ages = sorted(json.loads(data))
    return statistics.median(ages) * 1e6, ages[int(len(ages) * 0.99)] * 1e6


if __name__ == "__main__":
    main()
