"""From PlaceOrder in the mailbox to the venue's answer in oms' hands: what each step costs.

    python -m bench.gateway.order_to_wire [--orders N]

Every figure is measured here, on loopback against a TLS server of the tests; the venue's own time is not ours to improve.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exchange.coinbase.budgets import BudgetSettings, Rate
from exchange.coinbase.fences import Beat, KillRecord, read_fences, write_beat, write_kill_record
from exchange.coinbase.gateway import GatewayMachine, GatewaySettings
from exchange.coinbase.lanes import Lanes
from exchange.coinbase.may_post import PostFacts, VenueFacts, may_post
from exchange.coinbase.transport import boot_s
from exchange.coinbase.wire import placed
from exchange.coinbase.wire_pages import order_page, product_page
from tests.coinbase_rest.made import BTC, ME, NOW, call, catalog, fences_at, later, order
from tests.coinbase_rest.test_wire import ORDER
from tests.coinbase_rest.venue import KEY_NAME, KEY_SECRET, Answer, Request, Venue, accepted
from trading.machine import Send
from trading.messages.orders import Called, OrderOutcome, OutcomeKind
from trading.values import Purpose

WIDE = GatewaySettings(
    budgets=BudgetSettings(orders=Rate(per_s=1e9, burst=1e9), cancels=Rate(per_s=1e9, burst=1e9)), workers_order=1
)


def per_call_us(work: Callable[[], object], seconds: float = 1.0) -> float:
    """Microseconds of one call, the best of five runs (the machine is shared)."""
    rounds = 1
    while True:
        started = time.perf_counter()
        for _ in range(rounds):
            work()
        if time.perf_counter() - started > seconds / 10.0:
            break
        rounds *= 2
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(rounds):
            work()
        best = min(best, time.perf_counter() - started)
    return best / rounds * 1e6


def machine_us() -> float:
    gateway = GatewayMachine(me=ME, fences=lambda: fences_at(NOW), settings=WIDE)
    gateway.recover({}, later(-60.0))
    gateway.handle(catalog(), NOW)
    number = 0

    def one() -> None:
        nonlocal number
        number += 1
        name = f"bh-bench-{number}"
        for effect in list(gateway.handle(order(name, Purpose.EXIT), NOW)):
            if isinstance(effect, Send) and effect.role == "io":
                outcome = OrderOutcome(client_order_id=name, kind=OutcomeKind.ACCEPTED, gateway_incarnation=ME)
                gateway.handle(Called(call_id=effect.message.call_id, outcome=outcome), NOW)  # type: ignore[attr-defined]

    return per_call_us(one)


def fences_us() -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.mkdir()
        write_beat(run, Beat(7, "ready", 1.0))
        write_kill_record(run, KillRecord())
        return per_call_us(lambda: read_fences(run))


def round_trips_ms(orders: int) -> tuple[list[float], list[float]]:
    """(submit to result on an open connection, of that the venue's own time), ascending."""
    total, venue_s = [], []

    def answer_order(request: Request, answer: Answer) -> None:
        answer.json(accepted(request))

    with Venue(answer_order) as venue:
        lanes = Lanes(venue.endpoints, KEY_NAME, KEY_SECRET, lambda _: None, settings=WIDE)
        ready = threading.Event()
        got: list[Called] = []

        def hear(called: Called) -> None:
            got.append(called)
            ready.set()

        lanes._on_done = hear
        for number in range(orders + 1):
            started = boot_s()
            ready.clear()
            lanes.submit(call(order(f"bh-{number}", now_boot_s=started)))
            ready.wait(10)
            outcome = got[-1].outcome
            assert isinstance(outcome, OrderOutcome)
            assert outcome.kind is OutcomeKind.ACCEPTED, outcome
            if number:  # the first one connects
                total.append((boot_s() - started) * 1e3)
                venue_s.append(((outcome.answered_boot_s or 0.0) - (outcome.sent_boot_s or 0.0)) * 1e3)
        lanes.close()
    return sorted(total), sorted(venue_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=300)
    options = parser.parse_args()
    facts = PostFacts(
        me=ME, now_boot_s=NOW.boot_s, fences=fences_at(NOW), venue=VenueFacts({"BTC-USD": BTC}, NOW.boot_s)
    )
    asked = order()
    orders = json.dumps({"orders": [{**ORDER, "order_id": f"v{n}"} for n in range(250)], "has_next": False}).encode()
    product: dict[str, Any] = {
        "product_id": "BTC-USD", "base_currency_id": "BTC", "quote_currency_id": "USD", "price_increment": "0.01",
        "base_increment": "0.00000001", "quote_increment": "0.01", "base_min_size": "0.00000001",
        "base_max_size": "3400", "quote_min_size": "1", "quote_max_size": "150000000", "status": "online",
        "new_at": "2023-01-01T00:00:00Z", "approximate_quote_24h_volume": "758506771.41",
        **dict.fromkeys(("trading_disabled", "is_disabled", "cancel_only", "limit_only", "post_only", "auction_mode"), False),
    }  # fmt: skip
    products = json.dumps({"products": [{**product, "product_id": f"P{n}-USD"} for n in range(700)]}).encode()
    success = json.dumps({"success": True, "success_response": {"order_id": "v1", "client_order_id": "bh-1"}}).encode()
    print(f"python {sys.version.split()[0]}, {options.orders} orders")
    print(f"may_post                                  {per_call_us(lambda: may_post(asked, facts)):8.1f} us")
    print(f"reading all fences from files             {fences_us():8.1f} us")
    print(f"machine: PlaceOrder, Call, Called, Outcome{machine_us():8.1f} us")
    print(f"classifying an answer to a POST           {per_call_us(lambda: placed(200, success, 'bh-1')):8.1f} us")
    print(f"reading a page of 250 orders              {per_call_us(lambda: order_page(orders)) / 1e3:8.2f} ms")
    print(f"reading 700 products                      {per_call_us(lambda: product_page(products)) / 1e3:8.2f} ms")
    total, venue = round_trips_ms(options.orders)
    for name, found in (
        ("lane: submit to result, open connection", total),
        ("  of that on the wire and at the venue", venue),
    ):
        p50, p99 = found[len(found) // 2], found[min(len(found) - 1, int(len(found) * 0.99))]
        print(f"{name:42}{p50:8.2f} ms p50 {p99:8.2f} ms p99")


if __name__ == "__main__":
    main()
