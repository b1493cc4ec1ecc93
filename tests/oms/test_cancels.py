"""Cancels until they are over, and what goes when entries are no longer allowed. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

from tests.oms.host import (
    GATEWAY,
    D,
    Host,
    approval,
    exit_order,
    listing,
    outcome,
    update,
)
from tests.oms.talk import (
    quiet_venue,
)
from trading.messages.control import (
    Breaker,
    CommandDone,
    Drain,
    Drained,
    HealthSnapshot,
    KillSnapshot,
    Latch,
    LatchSnapshot,
    OperatorOrder,
)
from trading.messages.decisions import Refused
from trading.messages.orders import (
    BestBidAsk,
    CancelOrders,
    CancelsAnswered,
    OrderStyle,
    OutcomeKind,
    PlaceOrder,
    QueryKind,
    Withdraw,
)
from trading.values import Purpose


def test_a_cancel_that_is_not_over_after_thirty_seconds_is_told() -> None:
    host = Host().active()
    place = host.accepted_entry(ttl_s=5.0)
    host.run(36.0)
    assert f"oms:cancel_stuck:{place.client_order_id}" in host.conditions()
    host.tell(update(place, "v1", "canceled", "0"))
    assert host.conditions() == []


def test_a_refused_cancel_is_a_question_about_the_order() -> None:
    host = Host().active()
    place = host.accepted_entry(ttl_s=5.0)
    host.run(5.2)
    cancel = host.last(CancelOrders)
    host.tell(
        CancelsAnswered(cancel_id=cancel.cancel_id, results=(("v1", False, "UNKNOWN_CANCEL_ORDER"),), complete=True)
    )
    host.run(0.1)
    host.answer_query(QueryKind.ORDER, listing(place, "v1", "filled", "1"))
    assert host.status(place.client_order_id) == "filled"


def test_leaving_active_cancels_every_resting_entry_and_keeps_exits() -> None:
    for cause in (
        KillSnapshot(n=2, engaged=False, paused=True),
        HealthSnapshot(n=1, breakers=(Breaker(code="api", open=True, measured=True),)),
    ):
        host = Host().active()
        host.bought()
        host.run(2000.0, answer=quiet_venue(host))
        entry = host.accepted_entry("v2", n=2, product="ETH-USD")
        host.tell(exit_order(host, host.book.positions[0].position_id, style="post_only", price="130"))
        sale = host.last(PlaceOrder)
        host.tell(outcome(sale, OutcomeKind.ACCEPTED, "v3"))
        host.tell(cause)
        assert host.last(CancelOrders).venue_order_ids == ("v2",), cause
        assert host.status(entry.client_order_id) == "pending_cancel"
        assert host.status(sale.client_order_id) == "accepted"


def test_an_order_that_is_not_wanted_any_more_before_its_outcome_is_withdrawn() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    before = len(host.sent)
    host.tell(KillSnapshot(n=2, engaged=False, paused=True))
    host.run(2.5)
    assert host.all(Withdraw, before)[0].orders == ((place.client_order_id, GATEWAY),)
    assert not host.all(PlaceOrder, before)
    host.tell(outcome(place, OutcomeKind.ACCEPTED, "v1"))
    assert host.last(CancelOrders).venue_order_ids == ("v1",), "it had left already"
    before = len(host.sent)
    host.run(3.0)
    assert not host.all(Withdraw, before)


def test_a_breaker_that_was_not_measured_yet_cancels_nothing() -> None:
    host = Host().active()
    host.accepted_entry()
    host.tell(HealthSnapshot(n=1, breakers=(Breaker(code="api", open=True, measured=False),)))
    assert not host.all(CancelOrders)


def test_what_is_accepted_while_killed_is_cancelled_at_once_but_not_a_flatten() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    host.tell(KillSnapshot(n=2, engaged=True))
    assert not host.all(CancelOrders), "it has no id yet"
    host.tell(outcome(place, OutcomeKind.ACCEPTED, "v1"))
    assert host.last(CancelOrders).venue_order_ids == ("v1",)
    host.tell(approval(host, n=2, product="ETH-USD"))
    assert host.last(Refused).code == "not_active"


def test_flatten_is_a_persons_name_allowed_while_killed_and_places_one_ioc_per_position() -> None:
    host = Host().active()
    host.bought()
    host.tell(KillSnapshot(n=2, engaged=True))
    order = OperatorOrder(command_id="f1", verb="flatten", name="ann", cause="enough")
    host.tell(order)
    before = len(host.sent)
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    sale = host.last(PlaceOrder)
    assert (sale.purpose, sale.body.style, sale.body.limit_price) == (Purpose.FLATTEN, OrderStyle.LIMIT_IOC, D(98))
    assert host.last(CommandDone).ok and "BTC-USD" in host.last(CommandDone).text
    host.tell(order)
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, "v7"))
    assert not host.all(CancelOrders, before)
    assert len({p.client_order_id for p in host.all(PlaceOrder, before)}) == 1
    assert host.store.rows("commands")["f1"]["name"] == "ann"


def test_a_drain_before_the_venue_was_read_is_not_clean() -> None:
    host = Host()
    host.greet()
    host.tell(Drain(run_number=3))
    host.run(7.0)
    assert not host.last(Drained).clean
    host.answer_query(QueryKind.ORDERS)
    host.answer_query(QueryKind.FILLS)
    assert host.last(Drained).clean


def test_a_new_latch_takes_resting_entries_back_and_one_that_is_known_says_nothing() -> None:
    host = Host().active()
    host.tell(LatchSnapshot(n=1, latches=(), nav_usd=D(1000)))
    host.accepted_entry()
    assert host.tell(LatchSnapshot(n=1, latches=(), nav_usd=D(990))) == []
    daily = Latch(code="daily_stop", values=(), since_s=host.now.venue_s)
    host.tell(LatchSnapshot(n=2, latches=(daily,), nav_usd=D(900)))
    assert host.last(CancelOrders).venue_order_ids == ("v1",)
    assert host.tell(LatchSnapshot(n=2, latches=(daily,), nav_usd=D(890))) == []
