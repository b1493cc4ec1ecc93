"""The venue of the fault simulation can do every lie of protocol section 3, and speaks the words that wire.py reads."""

from __future__ import annotations

import json
from decimal import Decimal

import attrs
import pytest

from exchange.coinbase.wire_pages import fill_page, single_order
from exchange.simulator.execution import Settings
from exchange.simulator.products import make_product
from simulation.fuzz.venue import Fate, FuzzVenue, WireSettings, fill_of, words_of
from simulation.fuzz.wire import GatewayWire
from simulation.stage import VirtualStage
from trading.machine import QuietMachine, Send
from trading.messages.orders import (
    Call,
    Called,
    CancelOrders,
    OrderBody,
    OrderStyle,
    OutcomeKind,
    PlaceOrder,
    Query,
    QueryKind,
)
from trading.values import Purpose, Side, account_tag, client_order_id

TAG = account_tag("p")


class Worker(QuietMachine):
    role = "gateway"

    def __init__(self, me) -> None:
        self.me, self.heard = me, []

    def recover(self, rows, now):
        return ()

    def handle(self, message, now):
        if isinstance(message, Call):
            return (Send("io", message),)
        self.heard.append((now.boot_s, message))
        return ()

    def refusal_at_the_wire(self, order, now_boot_s):
        return None


class Bench:
    def __init__(self, **engine) -> None:
        self.stage = VirtualStage()
        self.fates: dict[int, Fate] = {}
        self.n = 0
        self.venue = FuzzVenue(
            self.stage, [make_product("BTC-USD")], Decimal(10_000), TAG, WireSettings(engine=Settings(**engine))
        )
        self.venue.quote("BTC-USD", Decimal(60_000), Decimal(60_010))
        self.stage.add("gateway", Worker, shell=GatewayWire(self.stage, self.venue, self._fate))
        self.stage.run_for(0.1)

    def _fate(self, kind, request) -> Fate:
        self.n += 1
        return self.fates.get(self.n, Fate())

    def place(self, name="a", price="59990", style=OrderStyle.LIMIT_GTD, side=Side.BUY, end_s=60) -> PlaceOrder:
        end = int(self.stage.now.venue_s) + end_s if style is OrderStyle.LIMIT_GTD else None
        body = OrderBody(
            product_id="BTC-USD",
            side=side,
            style=style,
            base_size=Decimal("0.01"),
            limit_price=Decimal(price),
            end_time_s=end,
        )
        order = PlaceOrder(
            client_order_id=client_order_id(TAG, name), purpose=Purpose.ENTRY, body=body, gateway_incarnation=(1, 1),
            approval_id="x", send_by_boot_s=self.stage.boot_s + 2,
        )  # fmt: skip
        self.call(order)
        return order

    def call(self, request, lane="order") -> None:
        self.stage.post(
            "gateway",
            Call(call_id=f"c{self.stage.boot_s}", lane=lane, request=request, deadline_boot_s=self.stage.boot_s + 10),
        )

    def answers(self) -> list[Called]:
        return [m for _, m in self.stage.machine("gateway").heard]

    @property
    def last(self):
        return self.answers()[-1].outcome


def test_an_order_is_read_the_same_from_the_engine_and_from_its_json():
    b = Bench()
    b.place("a")
    b.place("b", price="60010", style=OrderStyle.LIMIT_IOC)
    b.stage.run_for(2.0)
    for order in b.venue.orders():
        read = single_order(json.dumps(b.venue.engine.order(order.order_id)))
        ours = words_of(order)
        for name in attrs.fields_dict(type(ours)):
            assert getattr(read, name) == getattr(ours, name) or (
                name.endswith("_s") and abs(getattr(read, name) - getattr(ours, name)) < 1e-5
            ), name
    listed = fill_page(json.dumps(b.venue.engine.fills({}, b.venue.now_s))).items
    assert [attrs.evolve(f, trade_time_s=0) for f in listed] == [
        attrs.evolve(fill_of(f), trade_time_s=0) for f in b.venue.engine.fill_list
    ]
    assert listed


def test_a_held_request_is_processed_long_after_its_process_died():
    b = Bench()
    b.fates[1] = Fate(hold_s=45.0)
    b.place()
    b.stage.run_for(1)
    b.stage.kill("gateway")
    b.stage.run_for(40)
    assert not list(b.venue.orders())
    b.stage.run_for(6)
    assert len(list(b.venue.orders())) == 1


@pytest.mark.parametrize(("style", "hold_s"), [(OrderStyle.LIMIT_GTD, 61.0), (OrderStyle.LIMIT_IOC, 121.0)])
def test_end_time_and_the_requests_jwt_are_enforced_on_arrival(style, hold_s):
    b = Bench()
    b.fates[1] = Fate(hold_s=hold_s)
    b.place(style=style, price="60010")
    b.stage.run_for(200)
    assert not list(b.venue.orders())


@pytest.mark.parametrize(
    ("fate", "kind", "orders"),
    [
        (Fate(), OutcomeKind.ACCEPTED, 1),
        (Fate(lose_reply=True), OutcomeKind.UNKNOWN, 1),
        (Fate(error_after=True), OutcomeKind.UNKNOWN, 1),
        (Fate(refuse_before=503), OutcomeKind.UNKNOWN, 0),
        (Fate(refuse_before=408), OutcomeKind.UNKNOWN, 0),
        (Fate(refuse_before=429), OutcomeKind.REJECTED, 0),
        (Fate(no_connection=True), OutcomeKind.NOT_SENT, 0),
        (Fate(late_reply_s=15.0), OutcomeKind.UNKNOWN, 1),
    ],
)
def test_each_fate_of_a_post(fate, kind, orders):
    b = Bench()
    b.fates[1] = fate
    b.place()
    b.stage.run_for(20)
    assert b.answers()[0].outcome.kind is kind
    assert len(list(b.venue.orders())) == orders


def test_a_pending_order_is_hidden_from_open_and_a_listing_lags():
    b = Bench(pending_s=30.0, listing_lag_s=5.0)
    b.place()
    b.stage.run_for(2)
    assert b.venue.listed(("OPEN",), None, None) == b.venue.listed(("PENDING",), None, None) == []
    b.stage.run_for(5)
    assert b.venue.listed(("OPEN",), None, None) == []
    assert len(b.venue.listed(("PENDING",), None, None)) == 1


def test_a_partial_page_is_no_answer_and_a_whole_one_holds_all_three_listings():
    b = Bench()
    b.place("a")
    b.place("b", price="60010", style=OrderStyle.LIMIT_IOC)
    b.stage.run_for(1)
    b.fates[3] = Fate(partial=True)
    for n in ("1", "2"):
        b.call(Query(query_id=n, reply_to="oms", kind=QueryKind.ORDERS), lane="query")
        b.stage.run_for(1)
    first, second = (a.outcome for a in b.answers()[-4:] if a.call_id and hasattr(a.outcome, "items"))
    assert not first.complete and first.items == ()
    assert second.complete and len(second.items) == 2


def test_a_cancel_is_answered_and_ends_the_order():
    b = Bench()
    b.place()
    b.stage.run_for(0.5)
    [order] = b.venue.orders()
    b.call(CancelOrders(cancel_id="c", venue_order_ids=(order.order_id,)), lane="cancel")
    b.stage.run_for(0.5)
    assert b.last.results == ((order.order_id, True, ""),)
    assert order.status == "CANCELLED"
