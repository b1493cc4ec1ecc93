"""Settling UNKNOWN to the letter of protocol section 3. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

from tests.oms.host import (
    D,
    Host,
    approval,
    exit_order,
    fill,
    listing,
    outcome,
    page_of,
    update,
)
from tests.oms.talk import (
    USD,
    answer_asks,
    quiet_venue,
    unknown_entry,
)
from trading.messages.book import Recovery
from trading.messages.control import (
    CommandDone,
    KillSnapshot,
    OperatorOrder,
)
from trading.messages.decisions import Refused
from trading.messages.orders import (
    CancelOrders,
    OrderStyle,
    OutcomeKind,
    PlaceOrder,
    QueryKind,
)


def test_an_unknown_entry_holds_its_full_notional_and_bars_its_product() -> None:
    host = Host().active()
    unknown_entry(host)
    assert host.book.orders[0].worst_usd == D("100.600")
    assert host.book.unknown_products == ("BTC-USD",)
    host.tell(approval(host, n=2))
    assert host.last(Refused).code == "unknown_order"


def test_unknown_is_asked_by_listing_of_its_product_at_0_3_1_3_10_and_then_every_ten_seconds() -> None:
    host = Host().active()
    before = len(host.sent)
    begin = host.boot_s
    unknown_entry(host)
    asked: list[float] = []
    while host.boot_s < begin + 45.0:
        for query in host.queries(QueryKind.ORDERS, before):
            if query.product_id == "BTC-USD" and query.query_id in host.machine.desk.queries:
                asked.append(round(host.boot_s - begin, 2))
                host.tell(page_of(query, now=host.boot_s))
        host.run(0.05)
    assert len(asked) == 7
    assert all(
        abs(a - wanted) < 0.11 for a, wanted in zip(asked, [0.3, 1.0, 3.0, 10.0, 20.0, 30.0, 40.0], strict=True)
    ), asked


def test_absent_listings_prove_nothing_before_the_horizon_and_two_of_them_after_it() -> None:
    host = Host().active()
    place = unknown_entry(host, ttl_s=20.0)
    end_s = place.body.end_time_s
    assert end_s is not None
    to_horizon = end_s + 5.0 + 30.0 - host.now.venue_s
    answer_asks(host, seconds=to_horizon - 1.0)
    assert host.status(place.client_order_id) == "unknown"
    answer_asks(host, seconds=12.0)
    assert host.status(place.client_order_id) == "unknown", "one absent ask after it is not two"
    answer_asks(host, seconds=15.0)
    assert host.status(place.client_order_id) == "not_placed"
    assert host.book.unknown_products == ()


def test_a_partial_or_failed_page_makes_the_ask_void() -> None:
    host = Host().active()
    place = unknown_entry(host)
    answer_asks(host, complete=False, seconds=200.0)
    assert host.status(place.client_order_id) == "unknown"
    assert f"oms:unknown:{place.client_order_id}" in host.conditions()


def test_a_person_is_told_thirty_seconds_after_unknown_began_and_may_settle_it_by_name() -> None:
    host = Host().active()
    place = unknown_entry(host)
    host.run(29.0)
    assert host.conditions() == []
    host.run(1.5)
    assert f"oms:unknown:{place.client_order_id}" in host.conditions()
    order = OperatorOrder(
        command_id="s1", verb="settle", name="ann", cause="looked", args=(("id", place.client_order_id),)
    )
    host.tell(order)
    assert host.last(CommandDone).ok
    assert host.status(place.client_order_id) == "not_placed"
    assert f"oms:unknown:{place.client_order_id}" not in host.conditions()
    before = len(host.sent)
    host.crash()
    host.tell(order)
    assert host.all(CommandDone, before)[-1].ok, "the same id gets the same answer, also in the next life"


def test_not_placed_still_accepts_a_late_acceptance_which_is_cancelled_and_alerted() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    host.tell(outcome(place, OutcomeKind.NOT_SENT, reason="late"))
    assert host.status(place.client_order_id) == "not_placed"
    host.tell(update(place, "v9", "open", "0.25"))
    assert host.last(CancelOrders).venue_order_ids == ("v9",)
    assert f"oms:existed:{place.client_order_id}" in host.conditions()
    assert host.book.positions[0].seen_size == D("0.25")


def test_an_unknown_order_found_in_a_listing_is_adopted_and_its_fills_are_read() -> None:
    host = Host().active()
    place = unknown_entry(host)
    host.run(0.4)
    host.answer_query(QueryKind.ORDERS, listing(place, "v3", "open", "0.5"))
    assert host.status(place.client_order_id) == "partially_filled"
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(place, "v3", "e3", "0.5", "100"))
    assert host.book.unbooked == ()
    assert host.book.positions[0].booked_size == D("0.5")


def test_unknown_intents_delay_neither_step_of_recovery() -> None:
    host = Host().active()
    unknown_entry(host)
    host.crash()
    host.greet()
    host.answer_query(QueryKind.ORDERS)
    host.answer_query(QueryKind.FILLS)
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    host.answer_query(QueryKind.BALANCES, USD)
    assert host.book.recovery is Recovery.RECONCILED
    assert host.book.unknown_products == ("BTC-USD",)


def test_a_reboot_starts_the_horizon_of_an_unknown_ioc_anew() -> None:
    host = Host(boot_s=500_000.0).active()
    place = host.admit(approval(host, post_only=False))
    assert place.body.style is OrderStyle.LIMIT_IOC and place.body.end_time_s is None
    host.tell(outcome(place, OutcomeKind.UNKNOWN))
    host.zero_s -= host.boot_s - 30.0  # the machine was off; its clock starts again, venue time goes on
    host.boot_s = 30.0
    host.crash()
    host.greet()
    answer_asks(host, seconds=205.0)
    assert host.status(place.client_order_id) == "unknown"
    answer_asks(host, seconds=40.0)
    assert host.status(place.client_order_id) == "not_placed"


def test_an_order_that_outlived_a_reboot_is_retired_with_the_intent_that_was_saved() -> None:
    """Its horizon began anew in memory only: a fact that is saved otherwise ends oms."""
    host = Host(boot_s=50_000.0).active()
    place = unknown_entry(host, post_only=False)
    host.zero_s, host.boot_s = host.zero_s - host.boot_s + 30.0, 30.0
    host.crash()
    host.tell(KillSnapshot(n=2, engaged=False))
    host.greet()
    args = (("id", place.client_order_id),)
    host.tell(OperatorOrder(command_id="s1", verb="settle", name="ann", cause="looked", args=args))
    assert host.status(place.client_order_id) == "not_placed"
    host.boot_s += 200_000.0
    host.run(150.0, answer=quiet_venue(host, USD))
    assert place.client_order_id not in host.machine.desk.book.orders


def test_an_accepted_ioc_is_asked_by_id_since_the_user_channel_may_be_silent() -> None:
    host = Host().active()
    place = host.accepted_entry(post_only=False)
    host.run(0.4)
    assert host.queries(QueryKind.ORDER)[-1].venue_order_ids == ("v1",)
    host.answer_query(QueryKind.ORDER, listing(place, "v1", "canceled"))
    assert host.status(place.client_order_id) == "canceled"


def test_a_resting_order_is_asked_by_id_after_its_end_time() -> None:
    from trading.protections import Protections

    host = Host(protections=Protections().without("ttl")).active()
    place = host.accepted_entry(ttl_s=20.0)
    end_s = place.body.end_time_s or 0
    host.run(end_s + 4.5 - host.now.venue_s)
    assert not host.queries(QueryKind.ORDER)
    host.run(2.0)
    assert host.queries(QueryKind.ORDER)[-1].venue_order_ids == ("v1",)


def test_an_exit_that_was_saved_by_a_clock_an_hour_ahead_is_asked_for_since_its_real_time() -> None:
    """Before the first anchor after a reboot the host's own time is all there is; a filled IOC is listed by its real time."""
    host = Host().active()
    host.bought()
    host.trusted = False
    host.zero_s -= 3_600.0
    host.tell(exit_order(host, host.book.positions[0].position_id))
    place = host.last(PlaceOrder)
    host.trusted = True
    host.zero_s += 3_600.0
    real_s = host.now.venue_s
    host.tell(outcome(place, OutcomeKind.UNKNOWN, reason="timeout"))
    host.run(1.0)
    asked = [q.since_s for q in host.queries(QueryKind.ORDERS) if q.product_id is not None]
    assert asked and all(since is not None and since <= real_s - 59.0 for since in asked)


def test_a_pass_that_began_by_a_clock_an_hour_ahead_does_not_move_the_cursor_into_the_future() -> None:
    host = Host().active()
    host.trusted = False
    host.zero_s -= 3_600.0
    host.run(40.0)
    host.answer_query(QueryKind.ORDERS)
    host.trusted = True
    host.zero_s += 3_600.0
    host.answer_query(QueryKind.FILLS)
    cursor_s = host.machine.desk.book.meta.cursor_s
    assert cursor_s is not None and cursor_s <= host.now.venue_s


def test_an_exit_that_rests_is_cancelled_in_time_although_the_clock_was_hours_ahead_when_it_was_saved() -> None:
    """Nobody would sell that part before the price fell through a limit of hours ago."""
    host = Host().active()
    host.bought("1")
    host.trusted = False
    host.zero_s -= 3_600.0
    host.tell(exit_order(host, host.book.positions[0].position_id, "1", "95", style="post_only"))
    sale = host.last(PlaceOrder)
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, "v2"))
    host.zero_s += 3_600.0
    host.trusted = True
    host.run(19.0)
    assert not host.all(CancelOrders)
    host.run(1.5)
    assert host.last(CancelOrders).venue_order_ids == ("v2",)
