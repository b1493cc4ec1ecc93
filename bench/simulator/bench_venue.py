"""What the simulated venue costs: per quote and print with resting orders, per order, idle, and end to end.

python bench/simulator/bench_venue.py            (about a minute; needs an otherwise idle machine)
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from coinbase.jwt_generator import build_rest_jwt  # noqa: E402

from exchange.simulator.matching import Venue  # noqa: E402
from exchange.simulator.products import make_product  # noqa: E402
from exchange.simulator.synthetic import SyntheticMarket  # noqa: E402


def row(name: str, value: float, unit: str) -> None:
    print(f"| {name} | {value:,.2f} {unit} |", flush=True)


def with_orders(resting: int, prices: int) -> Venue:
    venue = Venue([make_product("BTC-USD"), make_product("ETH-USD")], {"USD": Decimal(10**12)})
    venue.market_quote("BTC-USD", Decimal(60000), Decimal("60000.01"), Decimal(1), Decimal(1), 0.0)
    for n in range(resting):
        price = Decimal(59_000) - n % prices
        fields = {"base_size": "0.001", "limit_price": str(price), "post_only": True}
        body = {
            "client_order_id": f"o{n}",
            "product_id": "BTC-USD",
            "side": "BUY",
            "order_configuration": {"limit_limit_gtc": fields},
        }
        assert venue.create_order(body, 0.0)["success"]
    venue.events()
    return venue


def per_quote(venue: Venue, product: str, n: int = 20_000) -> float:
    quotes = [(Decimal(60000) + i % 7, Decimal(60000) + i % 7 + Decimal("0.01")) for i in range(n)]
    size = Decimal(1)
    begin = time.process_time()
    for at, (bid, ask) in enumerate(quotes):
        venue.market_quote(product, bid, ask, size, size, float(at))
    return (time.process_time() - begin) / n * 1e6


def per_print(venue: Venue, n: int = 20_000) -> float:
    begin = time.process_time()
    for at in range(n):
        venue.market_trade("BTC-USD", Decimal(60000), Decimal(1), "BUY", float(at))
    return (time.process_time() - begin) / n * 1e6


def engine() -> None:
    for resting, prices in ((0, 1), (1_000, 1_000), (10_000, 1_000), (10_000, 1)):
        begin = time.process_time()
        venue = with_orders(resting, prices)
        made = time.process_time() - begin
        where = f"{resting:,} resting at {prices:,} prices"
        row(f"quote, {where}", per_quote(venue, "BTC-USD"), "µs")
        row(f"quote of another product, {where}", per_quote(venue, "ETH-USD"), "µs")
        row(f"print away from them, {where}", per_print(venue), "µs")
        if resting:
            row(f"create (engine), {where}", made / resting * 1e6, "µs")
            begin = time.process_time()
            venue.market_trade("BTC-USD", Decimal(58_000), Decimal(10**9), "BUY", 1e6)
            row(f"fill of each by one print, {where}", (time.process_time() - begin) / resting * 1e6, "µs")
            venue = with_orders(resting, prices)
            ids = list(venue.orders)
            begin = time.process_time()
            venue.cancel(ids, 1e6)
            row(f"cancel of each, {where}", (time.process_time() - begin) / resting * 1e6, "µs")


def market() -> None:
    found = SyntheticMarket(1)
    first = int(1_795_500_000 / found.step_s)
    found.tick("BTC-USD", first)
    begin = time.process_time()
    for n in range(4000):
        tick = found.tick("BTC-USD", first + n)
    row("synthetic tick", (time.process_time() - begin) / 4000 * 1e6, "µs")
    assert tick is not None
    begin = time.process_time()
    for n in range(200):
        found.depth("BTC-USD", first + n, tick)
    row("ladder of 160 levels (only when looked at)", (time.process_time() - begin) / 200 * 1e6, "µs")
    begin = time.process_time()
    for product in found.products():
        found.minute_bars(product.product_id, first // 8 // 60 - 8 * 1440, first // 8 // 60)
    row("8 days of minutes, 5 products (lazily)", (time.process_time() - begin) * 1e3, "ms")


def start(*arguments: str) -> tuple[subprocess.Popen[str], dict, float]:
    folder = tempfile.mkdtemp()
    begin = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "exchange.simulator",
        "--json",
        "--scenario",
        "quiet",
        "--data-dir",
        folder,
        *arguments,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    return process, line, time.perf_counter() - begin


def open_the_throttle(line: dict) -> None:
    """Take the venue's limit of 30 private requests a second away, or it would be what is measured."""
    context = ssl.create_default_context(cafile=line["ca"])
    door = http.client.HTTPSConnection(line["back_door"].split("/")[2], context=context)
    plan = [{"kind": "setting", "name": "private_per_s", "value": 1_000_000}]
    door.request("POST", "/_sim/faults", json.dumps(plan))
    door.getresponse().read()
    door.close()


def cpu(process: subprocess.Popen[str], seconds: float) -> float:
    watched = psutil.Process(process.pid)
    before = sum(watched.cpu_times()[:2])
    time.sleep(seconds)
    return (sum(watched.cpu_times()[:2]) - before) / seconds * 100


def end_to_end() -> None:
    process, line, ready = start()
    row("start to listening", ready * 1e3, "ms")
    row("idle CPU, 5 products", cpu(process, 10), "% of a core")
    row("memory", psutil.Process(process.pid).memory_info().rss / 1e6, "MB")
    context = ssl.create_default_context(cafile=line["ca"])
    open_the_throttle(line)
    wire = http.client.HTTPSConnection(line["rest"], context=context)
    path = "/api/v3/brokerage/orders"
    token = build_rest_jwt(f"POST {line['rest']}{path}", line["api_key"], line["api_secret"])
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(n: int) -> bytes:
        fields = {"base_size": "100", "limit_price": "0.02", "post_only": True}
        body = {
            "client_order_id": f"b{n}",
            "product_id": "DOGE-USD",
            "side": "BUY",
            "order_configuration": {"limit_limit_gtc": fields},
        }
        wire.request("POST", path, json.dumps(body), headers)
        return wire.getresponse().read()

    post(-1)
    n = 2000
    watched = psutil.Process(process.pid)
    used, begin = sum(watched.cpu_times()[:2]), time.perf_counter()
    for at in range(n):
        post(at)
    took = time.perf_counter() - begin
    row("create over TLS, one connection, one token, journalled", n / took, "orders/s")
    row("the venue's CPU for it", (sum(watched.cpu_times()[:2]) - used) / n * 1e6, "µs per order")
    row("idle CPU with 2,000 resting orders", cpu(process, 5), "% of a core")
    listener = (
        "import asyncio,aiohttp,ssl,json,sys\n"
        "async def main():\n"
        "    ctx=ssl.create_default_context(cafile=sys.argv[2])\n"
        "    async with aiohttp.ClientSession() as s, s.ws_connect(sys.argv[1],ssl=ctx,max_msg_size=0) as w:\n"
        "        for c in ('level2','ticker','market_trades','candles','heartbeats'):\n"
        "            await w.send_json({'type':'subscribe','channel':c,'product_ids':json.loads(sys.argv[3])})\n"
        "        async for _ in w: pass\n"
        "asyncio.run(main())\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", listener, line["ws_market"], line["ca"], json.dumps(line["products"])]
    )
    time.sleep(2)
    row("CPU with one client on all channels of 5 products", cpu(process, 10), "% of a core")
    client.kill()
    process.terminate()
    begin = time.perf_counter()
    assert process.wait(10) == 0
    row("SIGTERM to exit", (time.perf_counter() - begin) * 1e3, "ms")
    names = ",".join(f"C{n:03d}-USD" for n in range(200))
    process, line, ready = start("--products", names)
    row("start to listening, 200 products", ready * 1e3, "ms")
    time.sleep(3)
    row("idle CPU, 200 products", cpu(process, 10), "% of a core")
    process.terminate()
    process.wait(10)


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}\n\n| what | cost |\n|---|---|")
    engine()
    market()
    end_to_end()
