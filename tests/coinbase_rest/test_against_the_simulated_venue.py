"""Gateway machine, lanes, SDK and wire against the whole simulated venue, another program by another hand; its ledger,
read through the back door, is the judge. Faults are the venue's own.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coinbase.jwt_generator
import pytest

from exchange.coinbase.asking import NoAnswerError
from exchange.coinbase.budgets import BudgetSettings, Rate
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.fences import Beat, Fences
from exchange.coinbase.gateway import GatewayMachine, GatewaySettings
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.lanes import Lanes
from exchange.coinbase.sweep import SweepSettings, ask_tag, list_ours, sweep
from exchange.coinbase.transport import boot_s
from tests.coinbase_rest.made import ME
from tests.support import eventually
from trading.machine import Effect, Instant, Send, Woke
from trading.messages.control import CatalogSnapshot
from trading.messages.orders import (
    BestBidAsk,
    CancelOrders,
    CancelsAnswered,
    Fees,
    OrderBody,
    OrderOutcome,
    OrderStyle,
    OutcomeKind,
    Page,
    PlaceOrder,
    Query,
    QueryKind,
    VenueFill,
    VenueOrder,
    VenueStatus,
)
from trading.order_rules import build_body
from trading.product import Product
from trading.values import Purpose, Side, account_tag

ROOT = Path(__file__).parents[2]
Line = dict[str, Any]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = str(tmp_path_factory.mktemp("venue"))
    command = [sys.executable, "-m", "exchange.simulator", "--json", "--data-dir", folder, "--scenario", "quiet"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, "the simulated venue did not start"
    yield json.loads(first)
    process.terminate()
    process.wait(15)
    process.stdout.close()


@pytest.fixture(scope="module")
def endpoints(line: Line) -> Endpoints:
    return Endpoints.simulated(line)


class Gateway:
    """The machine on real lanes, as actors/ host it, and what it told."""

    def __init__(self, line: Line, endpoints: Endpoints) -> None:
        self.line, self.endpoints = line, endpoints
        self.fences = Fences()
        self.told: list[Any] = []
        settings = GatewaySettings(budgets=BudgetSettings(private=Rate(per_s=20.0, burst=20.0, reserve=1.0)))
        self.machine = GatewayMachine(me=ME, fences=self._fences, settings=settings)
        self.lanes = Lanes(
            endpoints,
            line["api_key"],
            line["api_secret"],
            lambda order: self.machine.refusal_at_the_wire(order, boot_s()),
            settings=settings,
        )
        self.do(self.machine.recover({}, self.now()))
        products = self.ask(QueryKind.PRODUCTS).items
        self.products = {p.product_id: p for p in products if isinstance(p, Product)}
        (fees,) = self.ask(QueryKind.FEES).items
        assert isinstance(fees, Fees)
        self.do(
            self.machine.handle(
                CatalogSnapshot(n=1, products=tuple(self.products.values()), fees=fees, fetched_boot_s=boot_s()),
                self.now(),
            )
        )

    def _fences(self) -> Fences:
        return Fences(killed=self.fences.killed, beat=Beat(ME[0], "ready", boot_s()))

    def now(self) -> Instant:
        return Instant(self.line["t0"] + boot_s() - self.line["boot_s"], True, boot_s())

    def do(self, effects: Any) -> None:
        for effect in effects:
            self._one(effect)

    def _one(self, effect: Effect) -> None:
        if isinstance(effect, Send) and effect.role == "io" and hasattr(effect.message, "lane"):
            self.lanes.submit(effect.message)
        elif isinstance(effect, Send) and effect.role in ("oms", "test"):
            self.told.append(effect.message)

    def tell(self, message: object) -> None:
        self.do(self.machine.handle(message, self.now()))

    def wait(self, kind: type, patience_s: float = 15.0, **fields: Any) -> Any:
        def look() -> Any:
            for called in self.lanes.results():
                self.tell(called)
            for lane in ("order", "cancel", "query"):
                self.tell(Woke(lane))
            return next(
                (
                    m
                    for m in self.told
                    if isinstance(m, kind) and all(getattr(m, name) == value for name, value in fields.items())
                ),
                None,
            )

        found = eventually(look, bool, patience_s)
        self.told.remove(found)
        return found

    def ask(self, kind: QueryKind, **fields: Any) -> Page:
        query_id = uuid.uuid4().hex
        self.tell(Query(query_id=query_id, reply_to="test", kind=kind, **fields))
        page: Page = self.wait(Page, query_id=query_id)
        assert page.complete, page.error
        return page

    def quote(self, product_id: str = "BTC-USD") -> BestBidAsk:
        (found,) = self.ask(QueryKind.BEST_BID_ASK, product_ids=(product_id,)).items
        assert isinstance(found, BestBidAsk)
        return found

    def resting(self, **changes: Any) -> OrderBody:
        """A post-only buy far below the market, good for two minutes."""
        body = build_body(
            self.products["BTC-USD"], Side.BUY, Decimal("0.001"), self.quote().bid * Decimal("0.9"),
            post_only=True, end_time_s=int(self.now().venue_s) + 120, **changes,
        )  # fmt: skip
        assert isinstance(body, OrderBody)
        return body

    def place(self, body: OrderBody, purpose: Purpose = Purpose.EXIT, patience_s: float = 15.0) -> OrderOutcome:
        name = f"bh-{account_tag(self.line['portfolio_uuid'])}-{uuid.uuid4().hex[:26]}"
        self.tell(
            PlaceOrder(
                client_order_id=name, purpose=purpose, body=body, gateway_incarnation=ME, approval_id=name,
                send_by_boot_s=boot_s() + 2.0, quote_received_boot_s=boot_s(),
            )
        )  # fmt: skip
        outcome: OrderOutcome = self.wait(OrderOutcome, patience_s, client_order_id=name)
        return outcome

    def listed(self, client_order_id: str) -> VenueOrder | None:
        page = self.ask(QueryKind.ORDERS, product_id="BTC-USD", since_s=self.now().venue_s - 600.0)
        found = [o for o in page.items if isinstance(o, VenueOrder) and o.client_order_id == client_order_id]
        return found[0] if found else None


@pytest.fixture(scope="module")
def gateway(line: Line, endpoints: Endpoints) -> Iterator[Gateway]:
    made = Gateway(line, endpoints)
    yield made
    made.lanes.close()


def back_door(endpoints: Endpoints, path: str, body: Any = None, method: str | None = None) -> Any:
    assert endpoints.back_door is not None
    request = urllib.request.Request(
        endpoints.back_door + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )
    context = ssl.create_default_context(cafile=endpoints.ca_file)
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


@pytest.fixture
def faults(endpoints: Endpoints) -> Iterator[Any]:
    def post(**fault: Any) -> None:
        back_door(endpoints, "faults", {"seed": 1, "faults": [fault]})

    yield post
    back_door(endpoints, "faults", method="DELETE")


def at_the_venue(endpoints: Endpoints, client_order_id: str) -> list[dict[str, Any]]:
    """The judge: what the ledger holds of this id."""
    orders = back_door(endpoints, "state")["orders"]
    rows = orders.values() if isinstance(orders, dict) else orders
    return [row for row in rows if row["client_order_id"] == client_order_id]


def test_every_question_is_answered(gateway: Gateway, line: Line) -> None:
    assert {"BTC-USD", "ETH-USD"} <= set(gateway.products)
    (account,) = gateway.ask(QueryKind.ACCOUNT).items
    assert account.portfolio_uuid == line["portfolio_uuid"]  # type: ignore[union-attr]
    assert any(b.currency == "USD" for b in gateway.ask(QueryKind.BALANCES).items)  # type: ignore[union-attr]
    (server_s,) = gateway.ask(QueryKind.CLOCK).items
    assert abs(float(server_s) - gateway.now().venue_s) < 1.0  # type: ignore[arg-type]
    end = int(gateway.now().venue_s)
    candles = gateway.ask(QueryKind.CANDLES, product_id="BTC-USD", bar_s=300, since_s=end - 90_000, until_s=end).items
    starts = [candle.start_s for candle in candles]  # type: ignore[union-attr]
    assert len(starts) >= 290
    assert starts == sorted(set(starts))


def test_the_life_of_an_order_is_accepted_listed_cancelled(gateway: Gateway, endpoints: Endpoints) -> None:
    body = gateway.resting()
    outcome = gateway.place(body)
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome
    order = eventually(lambda: gateway.listed(outcome.client_order_id))
    assert (order.status, order.base_size, order.limit_price) == ("open", body.base_size, body.limit_price)
    assert (order.end_time_s, order.post_only) == (body.end_time_s, True)
    gateway.tell(CancelOrders(cancel_id="c1", venue_order_ids=(str(outcome.venue_order_id),)))
    answered = gateway.wait(CancelsAnswered, cancel_id="c1")
    assert answered.results == ((outcome.venue_order_id, True, ""),)

    def status() -> str:
        (found,) = gateway.ask(QueryKind.ORDER, venue_order_ids=(str(outcome.venue_order_id),)).items
        return found.status  # type: ignore[union-attr]

    eventually(status, lambda word: word == VenueStatus.CANCELED)
    assert len(at_the_venue(endpoints, outcome.client_order_id)) == 1


def test_a_bought_coin_shows_in_fills_and_balances(gateway: Gateway) -> None:
    ask = gateway.quote().ask
    body = build_body(
        gateway.products["BTC-USD"], Side.BUY, Decimal("0.002"), ask * Decimal("1.01"), style=OrderStyle.LIMIT_IOC
    )
    assert isinstance(body, OrderBody)
    outcome = gateway.place(body, Purpose.ENTRY)
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome

    def fills() -> list[VenueFill]:
        page = gateway.ask(QueryKind.FILLS, venue_order_ids=(str(outcome.venue_order_id),))
        return [fill for fill in page.items if isinstance(fill, VenueFill)]

    found = eventually(fills, lambda seen: sum(fill.base_size for fill in seen) == Decimal("0.002"))
    assert all(fill.liquidity == "TAKER" and fill.fee_usd > 0 for fill in found)
    coins = {b.currency: b.available for b in gateway.ask(QueryKind.BALANCES).items}  # type: ignore[union-attr]
    assert coins["BTC"] >= Decimal("0.002")


def test_refusals_come_with_the_venues_reason(gateway: Gateway) -> None:
    ask = gateway.quote().ask
    crossing = gateway.place(
        build_body(gateway.products["BTC-USD"], Side.BUY, Decimal("0.001"), ask * 2, post_only=True,
                   end_time_s=int(gateway.now().venue_s) + 120)
    )  # fmt: skip
    assert (crossing.kind, "POST_ONLY" in crossing.reason) == (OutcomeKind.REJECTED, True)
    rich = gateway.place(
        build_body(gateway.products["BTC-USD"], Side.BUY, Decimal(1), ask * Decimal("0.9"), post_only=True,
                   end_time_s=int(gateway.now().venue_s) + 120)
    )  # fmt: skip
    assert (rich.kind, "INSUFFICIENT_FUND" in rich.reason) == (OutcomeKind.REJECTED, True)


FAULTS = [
    ({"kind": "drop_reply"}, OutcomeKind.UNKNOWN, 1),
    ({"kind": "drop_request"}, OutcomeKind.UNKNOWN, 0),
    ({"kind": "status", "status": 503, "body": "html", "effect": True}, OutcomeKind.UNKNOWN, 1),
    ({"kind": "status", "status": 502, "body": "html", "effect": False}, OutcomeKind.UNKNOWN, 0),
    ({"kind": "status", "status": 408, "body": "empty", "effect": True}, OutcomeKind.UNKNOWN, 1),
    ({"kind": "status", "status": 429, "body": "json", "effect": False}, OutcomeKind.REJECTED, 0),
    ({"kind": "truncate"}, OutcomeKind.UNKNOWN, 1),
    ({"kind": "html"}, OutcomeKind.UNKNOWN, 1),
    ({"kind": "refuse", "reason": "INVALID_PRICE_PRECISION"}, OutcomeKind.REJECTED, 0),
    ({"kind": "delay", "seconds": 1}, OutcomeKind.ACCEPTED, 1),
]


@pytest.mark.parametrize(("fault", "kind", "there"), FAULTS, ids=[str(f[0]) for f in FAULTS])
def test_whatever_happens_to_a_post_the_outcome_never_lies(
    gateway: Gateway, endpoints: Endpoints, faults: Any, fault: dict[str, Any], kind: OutcomeKind, there: int
) -> None:
    """Rejected and NotSent only when the ledger holds nothing; and one POST leaves one order at most."""
    body = gateway.resting()
    faults(method="POST", path="/orders", count=1, **fault)
    outcome = gateway.place(body)
    assert outcome.kind is kind, outcome
    assert len(at_the_venue(endpoints, outcome.client_order_id)) == there
    if there:
        order = eventually(lambda: gateway.listed(outcome.client_order_id))
        gateway.tell(CancelOrders(cancel_id=outcome.client_order_id, venue_order_ids=(order.venue_order_id,)))
        gateway.wait(CancelsAnswered, cancel_id=outcome.client_order_id)


def test_a_killed_gateway_posts_nothing_and_still_cancels(gateway: Gateway, endpoints: Endpoints) -> None:
    resting = gateway.place(gateway.resting())
    body = gateway.resting()
    gateway.fences = Fences(killed=True)
    try:
        outcome = gateway.place(body)
        assert (outcome.kind, outcome.reason) == (OutcomeKind.NOT_SENT, "fenced:kill")
        assert at_the_venue(endpoints, outcome.client_order_id) == []
        gateway.tell(CancelOrders(cancel_id="k", venue_order_ids=(str(resting.venue_order_id),)))
        assert gateway.wait(CancelsAnswered, cancel_id="k").complete
    finally:
        gateway.fences = Fences()


def test_the_sweep_cancels_ours_at_the_venue_and_leaves_strangers(
    gateway: Gateway, endpoints: Endpoints, line: Line
) -> None:
    key = ApiKey(line["guardian_api_key"], line["guardian_api_secret"])
    tag = ask_tag(endpoints, key, boot_s() + 5.0)
    assert tag == account_tag(line["portfolio_uuid"])
    ours = [gateway.place(gateway.resting()) for _ in range(3)]
    names = sorted(outcome.client_order_id for outcome in ours)
    listed = list_ours(endpoints, key, tag, boot_s() + 5.0)
    assert (listed.complete, sorted(listed.orders)) == (True, names)
    settings = SweepSettings(apart_s=0.5, busy_s=0.2)
    report = sweep(endpoints, key, tag, boot_s() + 15.0, settings=settings, leave_when_clean=True)
    assert (report.clean, sorted(report.canceled)) == (True, names)
    for name in names:
        (row,) = at_the_venue(endpoints, name)
        assert row["status"] == "CANCELLED"


@pytest.mark.parametrize("off_s", [30.0, -600.0], ids=["ahead", "behind"])
def test_with_a_wrong_clock_in_this_computer_orders_are_placed_listed_and_cancelled(
    line: Line, endpoints: Endpoints, off_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK signs by that clock, and the venue refuses all of it: also what a stop, the guardian and `panic` cancel."""
    monkeypatch.setattr(coinbase.jwt_generator, "time", SimpleNamespace(time=lambda: time.time() + off_s))
    key = ApiKey(line["api_key"], line["api_secret"])
    tag = ask_tag(endpoints, key, boot_s() + 5.0)
    gateway = Gateway(line, endpoints)
    placed = gateway.place(gateway.resting())
    gateway.lanes.close()
    assert placed.kind is OutcomeKind.ACCEPTED
    name = placed.client_order_id
    assert name in list_ours(endpoints, key, tag, boot_s() + 5.0).orders
    settings = SweepSettings(apart_s=1.0, every_s=0.5, busy_s=0.2)
    report = sweep(endpoints, key, tag, boot_s() + 15.0, settings=settings, leave_when_clean=True)
    assert report.clean
    assert name in report.canceled


def test_another_tag_sees_nothing_of_ours(gateway: Gateway, endpoints: Endpoints, line: Line) -> None:
    outcome = gateway.place(gateway.resting())
    key = ApiKey(line["api_key"], line["api_secret"])
    assert list_ours(endpoints, key, "zzzz", boot_s() + 5.0).orders == ()
    gateway.tell(CancelOrders(cancel_id="z", venue_order_ids=(str(outcome.venue_order_id),)))
    gateway.wait(CancelsAnswered, cancel_id="z")


def test_a_wrong_key_is_no_answer(endpoints: Endpoints, line: Line) -> None:
    with pytest.raises(NoAnswerError, match="http_401"):
        ask_tag(endpoints, ApiKey("organizations/x/apiKeys/y", line["api_secret"]), boot_s() + 5.0)


def test_an_ed25519_key_signs_too(endpoints: Endpoints, line: Line) -> None:
    (key,) = [key for key in line["keys"] if key["algorithm"] == "EdDSA"]
    assert ask_tag(endpoints, ApiKey(key["name"], key["secret"]), boot_s() + 5.0)
