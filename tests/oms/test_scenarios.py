"""The traps of protocol.md that the order manager must not fall into, each by its name there."""

from __future__ import annotations

from attrs import evolve

from tests.oms.host import (
    GATEWAY,
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
from trading.machine import PeerRestarted
from trading.messages.book import BookSnapshot, Recovery
from trading.messages.control import (
    Breaker,
    CommandDone,
    Drain,
    Drained,
    HealthSnapshot,
    KillSnapshot,
    OperatorOrder,
)
from trading.messages.decisions import Admitted, ExitVerdict, Refused, Stale, Tighten
from trading.messages.orders import (
    Balance,
    BestBidAsk,
    CancelOrders,
    CancelsAnswered,
    FeedReset,
    Hello,
    OrderStyle,
    OutcomeKind,
    PlaceOrder,
    QueryKind,
    VenueFill,
    VenueOrder,
    Withdraw,
)
from trading.values import Purpose, client_order_id

USD = Balance(currency="USD", available=D(10_000), hold=D(0))


# -- admission -------------------------------------------------------------------------------------------------------


def test_a_hundred_symbols_propose_at_one_bars_end_and_the_replacement_of_a_dead_risk_must_not_deny_what_lives() -> (
    None
):
    host = Host().active()
    message = approval(host)
    host.tell(message)
    host.tell(PeerRestarted("risk"))
    assert message.proposal.proposal_id in host.book.admitted_recently
    again = approval(host)  # the replacement judged it anew, on the newer version
    assert again.approval_id != message.approval_id
    host.tell(again)
    assert len(host.all(Admitted)) == 2
    assert len({p.client_order_id for p in host.all(PlaceOrder)}) == 1
    assert len(host.store.rows("intents")) == 1


def test_two_symbols_propose_in_the_same_millisecond_and_one_version_admits_one() -> None:
    host = Host().active()
    first = approval(host, n=1, product="BTC-USD", size="8", caps_usd="1000")
    second = approval(host, n=2, product="ETH-USD", size="8", caps_usd="1000")
    host.tell(first)
    host.tell(second)
    assert len(host.all(Admitted)) == 1 and len(host.all(Stale)) == 1
    # Judged again on the newer book by a risk that cannot add, it is refused here, by risk's own function.
    host.tell(approval(host, n=2, product="ETH-USD", size="8", caps_usd="1000"))
    assert host.last(Refused).code == "theme_cap"
    assert "oms:caps_asserted:ETH-USD" in host.conditions()


def test_a_losing_fill_is_booked_while_risk_is_judging() -> None:
    host = Host().active()
    place = host.accepted_entry()
    judged_before = approval(host, n=2, product="ETH-USD")
    host.tell(update(place, "v1", "open", "0.5"))
    host.tell(judged_before)
    assert host.last(Stale).proposal_id == judged_before.proposal.proposal_id


def test_the_version_rises_once_per_handle_and_not_with_an_acceptance_or_a_tightened_stop() -> None:
    host = Host().active()
    start = host.book.version[1]
    place = host.admit(approval(host))
    assert host.book.version[1] == start + 1
    host.tell(outcome(place, OutcomeKind.ACCEPTED, "v1"))
    assert host.book.version[1] == start + 1
    host.tell(update(place, "v1", "open", "0.4"))
    assert host.book.version[1] == start + 2
    host.tell(Tighten(position_id=host.book.positions[0].position_id, stop_price=D(99), peak_price=D(101)))
    assert host.book.version[1] == start + 2
    assert host.book.positions[0].stop_price == D(99)
    host.tell(update(place, "v1", "canceled", "0.4"))
    assert host.book.version[1] == start + 3


def test_a_trailing_stop_ratchets_and_everything_is_killed() -> None:
    host = Host().active()
    host.bought()
    position_id = host.book.positions[0].position_id
    host.tell(Tighten(position_id=position_id, stop_price=D(97), peak_price=D(108)))
    host.tell(Tighten(position_id=position_id, stop_price=D(95), peak_price=D(103)))
    host.crash()
    assert (host.book.positions[0].stop_price, host.book.positions[0].peak_price) == (D(97), D(108))


def test_a_cooling_or_banned_product_is_not_admitted_whatever_risk_says() -> None:
    host = Host().active()
    host.tell(
        OperatorOrder(
            command_id="c1",
            verb="ban",
            name="ann",
            cause="hack",
            args=(("symbol", "BTC-USD"), ("flag", "recent_exploit")),
        )
    )
    assert host.last(CommandDone).ok
    host.crash()
    host.active()
    host.tell(approval(host))
    assert host.last(Refused).code == "red_flag"
    host.tell(approval(host, n=2, product="ETH-USD"))
    assert host.all(Admitted)


def test_a_requote_is_admitted_only_after_its_parent_is_over_without_a_fill() -> None:
    host = Host().active()
    place = host.accepted_entry(ttl_s=5.0)
    parent = host.book.orders[0].intent_id
    child = {"n": 9, "replaces": parent, "requote": 1}
    host.tell(approval(host, **child))
    assert host.last(Refused).code == "parent_not_over"
    host.run(6.0)
    host.tell(update(place, "v1", "canceled", "0"))
    host.tell(approval(host, **child))
    assert host.last(PlaceOrder).client_order_id != place.client_order_id


# -- outcomes --------------------------------------------------------------------------------------------------------


def test_place_order_is_repeated_each_second_until_an_outcome() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    host.run(3.5)
    assert [p.client_order_id for p in host.all(PlaceOrder)] == [place.client_order_id] * 4
    host.tell(outcome(place, OutcomeKind.ACCEPTED, "v1"))
    host.run(3.0)
    assert len(host.all(PlaceOrder)) == 4


def test_a_gateway_that_never_answers_is_told_after_thirty_seconds() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    host.run(31.5)
    assert host.conditions() == [f"oms:unanswered:{place.client_order_id}"]
    host.tell(outcome(place, OutcomeKind.ACCEPTED, "v1"))
    assert host.conditions() == []


def test_the_gateway_crashes_mid_post_and_the_new_one_answers_not_mine() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    host.tell(PeerRestarted("gateway", (1, 99)))
    assert host.all(Withdraw)[-1].orders == ((place.client_order_id, GATEWAY),)
    host.tell(outcome(place, OutcomeKind.NOT_MINE))
    assert host.status(place.client_order_id) == "unknown"
    host.greet((1, 99))
    before = len(host.sent)
    host.run(5.0)
    assert not host.all(PlaceOrder, before), "a POST is a placement, never a question"
    assert host.queries(QueryKind.ORDERS, before)


def test_oms_is_stopped_with_a_place_order_in_its_socket_and_nothing_old_is_sent_after_a_restart() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    before = len(host.sent)
    host.boot_s += 3 * 3600.0
    host.crash()
    host.greet()
    host.run(5.0)
    assert not host.all(PlaceOrder, before)
    assert all(w.orders == ((place.client_order_id, GATEWAY),) for w in host.all(Withdraw, before))
    assert not host.queries(QueryKind.ORDERS, before), "a listing from before the Withdraw is answered proves nothing"
    host.tell(outcome(place, OutcomeKind.NOT_SENT, reason="withdrawn"))
    assert host.status(place.client_order_id) == "not_placed"
    assert host.queries(QueryKind.ORDERS, before)


def test_an_order_in_flight_at_the_withdraw_counts_in_full_until_its_outcome() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    host.crash()
    host.greet()
    host.tell(outcome(place, OutcomeKind.IN_FLIGHT), KillSnapshot(n=1, engaged=False))
    host.reconcile()
    assert host.book.recovery is Recovery.RECONCILED
    assert host.book.orders[0].worst_usd == D("100.600")
    before = len(host.sent)
    host.tell(outcome(place, OutcomeKind.ACCEPTED, "v1"))
    assert host.book.orders[0].status == "accepted"
    assert not host.all(PlaceOrder, before)


def test_duplicate_client_order_id_is_a_surprise_that_means_unknown() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    host.tell(outcome(place, OutcomeKind.REJECTED, reason="DUPLICATE_CLIENT_ORDER_ID"))
    assert host.status(place.client_order_id) == "unknown"


def test_rejected_or_not_sent_after_proof_of_existence_changes_nothing_and_alerts() -> None:
    host = Host().active()
    place = host.accepted_entry()
    host.tell(outcome(place, OutcomeKind.NOT_SENT, reason="late"))
    assert host.status(place.client_order_id) == "accepted"
    assert f"oms:contradiction:{place.client_order_id}" in host.conditions()


# -- UNKNOWN ---------------------------------------------------------------------------------------------------------


def unknown_entry(host: Host, **kwargs: object) -> PlaceOrder:
    place = host.admit(approval(host, **kwargs))  # type: ignore[arg-type]
    host.tell(outcome(place, OutcomeKind.UNKNOWN, reason="timeout"))
    return place


def answer_asks(host: Host, *items: object, complete: bool = True, seconds: float) -> None:
    """Let time pass and answer every listing of a product with `items`."""
    end = host.boot_s + seconds
    while host.boot_s < end:
        for query in host.queries(QueryKind.ORDERS):
            if query.query_id in host.machine.desk.queries and query.product_id is not None:
                host.tell(page_of(query, *items, complete=complete, now=host.boot_s))
        host.run(min(0.25, end - host.boot_s))


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


# -- cancels and permissions -----------------------------------------------------------------------------------------


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


def quiet_venue(host: Host, *balances: Balance):
    """Answers passes with nothing new."""

    def answer(send):
        message = send.message
        if getattr(message, "kind", None) in (
            QueryKind.ORDERS,
            QueryKind.FILLS,
            QueryKind.ORDER,
            QueryKind.BALANCES,
        ) and hasattr(message, "reply_to"):
            held = balances or (
                Balance(currency="USD", available=D("9899.5"), hold=D(0)),
                Balance(currency="BTC", available=D(1), hold=D(0)),
            )
            return [page_of(message, *(held if message.kind is QueryKind.BALANCES else ()), now=host.boot_s)]
        return []

    return answer


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


# -- exits -----------------------------------------------------------------------------------------------------------


def test_an_exit_cancels_our_own_buys_of_the_product_first_and_waits_at_most_a_second() -> None:
    host = Host().active()
    host.bought()
    entry = two_entries(host)
    before = len(host.sent)
    host.tell(exit_order(host, host.book.positions[0].position_id))
    assert host.all(CancelOrders, before)[-1].venue_order_ids == ("v2",)
    assert host.last(ExitVerdict).code == "waiting"
    assert not host.all(PlaceOrder, before)
    host.run(1.05)
    assert host.last(ExitVerdict).admitted
    assert host.last(PlaceOrder).purpose is Purpose.EXIT
    assert entry.client_order_id != host.last(PlaceOrder).client_order_id


def two_entries(host: Host) -> PlaceOrder:
    """A second entry of the held product rests, long after the first one's cooldown."""
    host.run(2000.0, answer=quiet_venue(host))
    return host.accepted_entry("v2", n=2)


def test_a_waiting_exit_goes_as_soon_as_the_buy_is_gone_with_the_newest_price() -> None:
    host = Host().active()
    host.bought()
    entry = two_entries(host)
    position_id = host.book.positions[0].position_id
    host.tell(exit_order(host, position_id, price="90"))
    host.tell(exit_order(host, position_id, price="89"))
    host.tell(update(entry, "v2", "canceled", "0"))
    sale = host.last(PlaceOrder)
    assert (sale.purpose, sale.body.limit_price) == (Purpose.EXIT, D(89))


def test_an_exit_id_ever_makes_one_order() -> None:
    host = Host().active()
    host.bought()
    message = exit_order(host, host.book.positions[0].position_id)
    host.tell(message, message)
    host.crash()
    host.tell(message)
    assert len(host.store.rows("intents")) == 2
    assert host.last(ExitVerdict).admitted


def test_two_exits_never_sell_more_than_the_position() -> None:
    host = Host().active()
    host.bought("1")
    position_id = host.book.positions[0].position_id
    host.tell(exit_order(host, position_id, "0.7", n=0))
    host.tell(exit_order(host, position_id, "0.7", n=1))
    assert [p.body.base_size for p in host.all(PlaceOrder)][-2:] == [D("0.7"), D("0.3")]
    host.tell(exit_order(host, position_id, "0.7", n=2))
    assert host.last(ExitVerdict).code == "nothing_to_reduce"


def test_the_market_crashes_while_an_exits_answer_is_lost() -> None:
    host = Host().active()
    host.bought("1")
    host.run(31.0, answer=quiet_venue(host))  # a balance page that is older than the exit shows nothing foreign
    position_id = host.book.positions[0].position_id
    host.tell(exit_order(host, position_id, "1", "92", n=0))
    lost = host.last(PlaceOrder)
    host.tell(outcome(lost, OutcomeKind.UNKNOWN))
    host.run(4.5)
    host.tell(exit_order(host, position_id, "1", "85", n=1))
    assert host.last(ExitVerdict).code == "nothing_to_reduce"
    host.run(1.0)
    host.tell(exit_order(host, position_id, "1", "80", n=1))
    assert host.last(ExitVerdict).admitted
    assert host.last(PlaceOrder).body.base_size == D(1)
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False), outcome(host.last(PlaceOrder), OutcomeKind.UNKNOWN))
    held = (
        Balance(currency="USD", available=D("9899.5"), hold=D(0)),
        Balance(currency="BTC", available=D(1), hold=D(0)),
    )
    host.reconcile(balances=held)
    host.run(6.0, answer=quiet_venue(host))
    host.tell(exit_order(host, position_id, "1", "70", n=2))
    assert host.last(ExitVerdict).admitted, "a restart must not lock the door either"


def test_beside_coins_of_others_an_exit_is_a_limit_that_dies_within_seconds() -> None:
    host = Host().active()
    host.bought("1")
    held = (
        Balance(currency="USD", available=D("9899.5"), hold=D(0)),
        Balance(currency="BTC", available=D(4), hold=D(0)),
    )
    host.run(31.0, answer=quiet_venue(host, *held))
    assert [(f.currency, f.size) for f in host.book.foreign] == [("BTC", D(3))]
    host.tell(exit_order(host, host.book.positions[0].position_id, style="ioc"))
    body = host.last(PlaceOrder).body
    assert body.style is OrderStyle.LIMIT_GTD
    assert body.end_time_s is not None and body.end_time_s <= host.now.venue_s + 2 + 10 + 1


def test_another_position_of_the_coin_counts_as_coins_beside_it() -> None:
    host = Host().active()
    host.bought("1")
    two_positions(host)
    host.tell(exit_order(host, host.book.positions[0].position_id, style="ioc"))
    assert host.last(PlaceOrder).body.style is OrderStyle.LIMIT_GTD


def two_positions(host: Host) -> None:
    """A second position of the same coin, long after the first one's cooldown."""
    host.run(2000.0, answer=quiet_venue(host))
    host.bought("1", "90", "v2", n=2)
    assert len(host.book.positions) == 2


def test_what_a_given_up_exit_sold_after_all_is_booked_where_it_came_from() -> None:
    host = Host().active()
    host.bought("1", "100")
    two_positions(host)
    first, second = host.book.positions
    host.tell(exit_order(host, first.position_id, n=0, reason="target"))
    lost = host.last(PlaceOrder)
    host.tell(outcome(lost, OutcomeKind.NOT_SENT, reason="late"))
    host.tell(exit_order(host, first.position_id, n=1, reason="target"))
    sale = host.last(PlaceOrder)
    for place, vid in ((sale, "v5"), (lost, "v6")):
        host.tell(update(place, vid, "filled", "1", "120"))
        host.run(1.0)
        host.answer_query(QueryKind.FILLS, fill(place, vid, "e" + vid, "1", "120", at_s=host.now.venue_s))
    assert host.book.positions == ()
    book = host.machine.desk.book
    assert {p.booked_size for p in book.positions.values()} == {D(0)}
    realised = sum((c.realised_usd for c in book.closes.values()), D(0))
    assert realised == book.meta.cash_usd == D(240) - D(190) - D(2)
    assert any(c.startswith("oms:covered") for c in host.conditions())
    assert book.positions[second.position_id].closed_s is not None


def test_after_rejected_for_insufficient_funds_two_balance_passes_cut_the_position() -> None:
    host = Host().active()
    host.bought("1")
    host.run(31.0, answer=quiet_venue(host))
    position_id = host.book.positions[0].position_id
    host.tell(exit_order(host, position_id))
    sale = host.last(PlaceOrder)
    sold = (
        Balance(currency="USD", available=D("9899.5"), hold=D(0)),
        Balance(currency="BTC", available=D("0.4"), hold=D(0)),
    )
    host.tell(outcome(sale, OutcomeKind.REJECTED, reason="INSUFFICIENT_FUND"))
    host.reconcile(balances=sold)
    assert host.book.positions[0].booked_size == D(1), "one pass is not two"
    host.run(5.5, answer=quiet_venue(host, *sold))
    assert host.book.positions[0].booked_size == D("0.4")
    assert any(c.startswith("oms:external_reduction") for c in host.conditions())
    assert [r["kind"] for r in host.store.rows("flows").values()] == ["external_reduction"]
    assert host.book.realised_today_usd == 0, "coins that left by another hand are no loss of ours"
    assert host.book.drift_usd == D("60"), "0.6 at the last price"
    host.run(40.0, answer=quiet_venue(host, *sold))
    assert host.book.drift_usd == 0


# -- fills and accounts ----------------------------------------------------------------------------------------------


def test_a_fill_is_booked_once_however_often_and_in_whatever_order_it_is_told() -> None:
    host = Host().active()
    place = host.accepted_entry(size="2")
    host.tell(update(place, "v1", "open", "1"))
    host.run(1.0)
    one = fill(place, "v1", "e1", "1", "100")
    host.answer_query(QueryKind.FILLS, one, one)
    host.tell(update(place, "v1", "filled", "2"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(place, "v1", "e2", "1", "101"), one)
    host.crash()
    host.greet()
    host.reconcile(fills=(one, fill(place, "v1", "e2", "1", "101")))
    assert len(host.store.rows("fills")) == 2
    assert host.book.positions[0].booked_size == D(2)
    assert host.book.positions[0].cost_usd == D(201)


def test_nothing_is_admitted_while_a_fill_is_seen_but_not_booked_and_its_age_is_shown() -> None:
    host = Host().active()
    place = host.accepted_entry()
    host.tell(update(place, "v1", "filled", "1"))
    host.run(2.5)
    assert host.book.unbooked[0][0] == place.client_order_id
    assert host.book.unbooked[0][1] >= 2.0
    host.tell(approval(host, n=2, product="ETH-USD"))
    assert host.last(Refused).code == "reconcile_pending"


def test_fills_are_asked_by_order_id_until_what_is_booked_equals_what_was_seen() -> None:
    host = Host().active()
    place = host.accepted_entry(size="2")
    host.tell(update(place, "v1", "filled", "2"))
    host.run(0.8)
    host.answer_query(QueryKind.FILLS, fill(place, "v1", "e1", "1", "100"))
    assert host.book.unbooked
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, fill(place, "v1", "e1", "1", "100"), fill(place, "v1", "e2", "1", "100"))
    assert host.book.unbooked == ()


def test_the_wait_after_a_trade_follows_what_was_observed_within_its_bounds() -> None:
    from trading.oms_measure import settle_wait_s

    host = Host().active()
    desk = host.machine.desk
    assert settle_wait_s(desk) == 0.75
    desk.settle_samples = [1.5] * 10
    assert 1.3 < settle_wait_s(desk) < 1.4
    desk.settle_samples = [60.0] * 10
    assert settle_wait_s(desk) == 5.0
    desk.settle_samples = [0.01] * 10
    assert settle_wait_s(desk) == 0.1


def test_a_reversal_and_its_correction_are_booked_once_as_such() -> None:
    host = Host().active()
    place = host.bought("1", "100")
    reversal = fill(place, "v1", "r1", "1", "100", kind="REVERSAL")
    correction = fill(place, "v1", "k1", "1", "99", kind="CORRECTION")
    host.run(31.0)
    host.answer_query(QueryKind.ORDERS)
    host.answer_query(QueryKind.FILLS, reversal, correction)
    position = host.book.positions[0]
    assert (position.booked_size, position.average_price) == (D(1), D(99))
    assert host.book.unbooked == ()
    assert host.machine.desk.book.meta.cash_usd == -D("99.5")


def test_deposits_and_withdrawals_are_flows_and_no_pnl() -> None:
    host = Host().active()
    richer = (Balance(currency="USD", available=D(12_500), hold=D(0)),)
    host.run(31.0, answer=quiet_venue(host, *richer))
    assert host.book.flows_usd == 0, "one pass may have met money on its way"
    host.run(6.0, answer=quiet_venue(host, *richer))
    assert host.book.flows_usd == D(2_500)
    assert host.book.realised_today_usd == 0
    host.run(60.0, answer=quiet_venue(host, *richer))
    assert host.book.flows_usd == D(2_500)
    assert [r["kind"] for r in host.store.rows("flows").values()] == ["deposit"]


def test_ours_without_a_row_is_adopted_as_external_cancelled_and_alerted_and_others_are_not_touched() -> None:
    host = Host()
    host.greet()
    ours = client_order_id("abcd", "lost")
    place = PlaceOrder(
        client_order_id=ours,
        purpose=Purpose.ENTRY,
        body=evolve(body_of("BTC-USD")),
        gateway_incarnation=GATEWAY,
        approval_id="",
        send_by_boot_s=0.0,
    )
    foreign = listing(place, "v8", "open", client_order_id="bh-zzzz-other")
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile(orders=(listing(place, "v9", "open"), foreign))
    assert host.last(CancelOrders).venue_order_ids == ("v9",)
    assert f"oms:external:{ours}" in host.conditions()
    host.tell(update(place, "v9", "canceled", "0"))
    assert f"oms:external:{ours}" not in host.conditions()
    assert all(c.venue_order_ids == ("v9",) for c in host.all(CancelOrders))


def body_of(product: str):
    from trading.messages.orders import OrderBody
    from trading.values import Side

    return OrderBody(product_id=product, side=Side.BUY, style=OrderStyle.LIMIT_GTD, base_size=D(1), limit_price=D(100))


def test_foreign_coins_become_a_position_only_by_a_persons_name() -> None:
    host = Host().active()
    held = (USD, Balance(currency="ETH", available=D(3), hold=D(0)))
    host.run(31.0, answer=quiet_venue(host, *held))
    assert host.book.positions == ()
    order = OperatorOrder(
        command_id="a1", verb="adopt", name="ann", cause="mine", args=(("symbol", "ETH-USD"), ("size", "2"))
    )
    host.tell(order)
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="ETH-USD", bid=D(50), ask=D(51), exchange_s=0.0))
    position = host.book.positions[0]
    assert (position.booked_size, position.average_price, position.adopted_by) == (D(2), D(50), "ann")
    assert host.machine.desk.book.meta.cash_usd == 0
    host.run(31.0, answer=quiet_venue(host, *held))
    assert [(f.currency, f.size) for f in host.book.foreign] == [("ETH", D(1))]
    too_much = evolve(order, command_id="a2", args=(("symbol", "ETH-USD"), ("size", "5")))
    host.tell(too_much)
    assert not host.last(CommandDone).ok


def test_an_order_filled_while_we_were_away_is_booked_at_the_next_start() -> None:
    host = Host().active()
    place = host.accepted_entry()
    host.boot_s += 600.0
    host.crash()
    host.greet()
    host.reconcile(
        orders=(listing(place, "v1", "filled", "1"),),
        fills=(fill(place, "v1", "e1", "1", "100", at_s=host.now.venue_s - 500),),
        balances=(
            Balance(currency="USD", available=D("9899.5"), hold=D(0)),
            Balance(currency="BTC", available=D(1), hold=D(0)),
        ),
    )
    assert host.book.positions[0].booked_size == D(1)
    assert host.book.unbooked == ()
    assert host.book.recovery is Recovery.RECONCILED


def test_a_partial_snapshot_never_ends_recovery() -> None:
    host = Host()
    host.greet()
    for _ in range(4):
        host.answer_query(QueryKind.ORDERS, complete=False)
        host.run(11.0)
    assert host.book.recovery is Recovery.RECOVERING
    host.answer_query(QueryKind.ORDERS)
    host.answer_query(QueryKind.FILLS)
    host.answer_query(QueryKind.BALANCES, complete=False)
    assert host.book.recovery is Recovery.ORDERS_KNOWN


def test_a_reset_of_the_user_feed_asks_what_was_missed() -> None:
    host = Host().active()
    before = len(host.sent)
    host.tell(FeedReset(epoch=2, connected=True))
    assert host.queries(QueryKind.ORDERS, before)


def test_the_wait_between_two_reconciles_is_jittered() -> None:
    host = Host().active()
    begins: list[float] = []
    for _ in range(6):
        before = len(host.sent)
        start = host.boot_s
        while not host.queries(QueryKind.ORDERS, before):
            host.run(0.1)
        begins.append(host.boot_s - start)
        host.reconcile()
    assert all(26.9 < wait < 33.2 for wait in begins), begins
    assert len({round(wait, 1) for wait in begins}) > 2


def test_an_untrusted_clock_neither_ends_a_cooldown_nor_a_time_to_live() -> None:
    host = Host().active()
    host.accepted_entry(ttl_s=5.0)
    host.trusted = False
    host.run(30.0)
    assert not host.all(CancelOrders)
    host.trusted = True
    host.run(1.0)
    assert host.all(CancelOrders)


def test_a_counter_survives_everything() -> None:
    host = Host().active()
    host.bought()
    host.run(3000.0, answer=quiet_venue(host))
    before = host.book
    host.crash()
    after = host.book
    keep = {"version": after.version, "recovery": after.recovery, "taken_boot_s": after.taken_boot_s}
    keep |= {
        "balances_complete_boot_s": None,
        "quote_available_usd": D(0),
        "admitted_recently": (),
    }
    assert evolve(before, **keep) == after


def test_hello_is_said_to_every_gateway() -> None:
    host = Host().active()
    before = len(host.all(Hello))
    host.tell(PeerRestarted("gateway", (1, 99)))
    assert len(host.all(Hello)) == before + 1
    host.tell(approval(host))
    assert host.last(Refused).code == "gateway_unknown"


def test_snapshots_reach_risk_each_half_second_and_on_change_at_most_each_twenty_milliseconds() -> None:
    host = Host().active()
    before = len(host.sent)
    host.run(10.0)
    beats = [s for s in host.sent[before:] if s.role == "risk" and isinstance(s.message, BookSnapshot)]
    assert 19 <= len(beats) <= 22
    place = host.accepted_entry()
    before = len(host.sent)
    for filled in ("0.1", "0.2", "0.3", "0.4"):
        host.tell(update(place, "v1", "open", filled))
    books = [s for s in host.sent[before:] if s.role == "risk" and isinstance(s.message, BookSnapshot)]
    assert len(books) <= 1
    assert host.book.orders[0].filled_size == D("0.4")


# -- a lost store ----------------------------------------------------------------------------------------------------


def lost_store(**kwargs: object) -> tuple[Host, tuple[VenueOrder, ...], tuple[VenueFill, ...]]:
    """A life with one position in BTC, then a new store; what the venue still shows of it."""
    old = Host().active()
    place = old.bought("1", "100")
    shown = (listing(place, "v1", "filled", "1"),)
    made = (fill(place, "v1", "e1v1", "1", "100"),)
    host = Host()
    host.machine.desk.adopt_from_venue = bool(kwargs.get("adopt"))
    host.tell(KillSnapshot(n=1, engaged=False))
    host.greet()
    return host, shown, made


HELD = (Balance(currency="USD", available=D("9899.5"), hold=D(0)), Balance(currency="BTC", available=D(1), hold=D(0)))


def test_a_lost_store_means_more_caution_never_less() -> None:
    host, shown, made = lost_store()
    since = host.queries(QueryKind.ORDERS)[-1].since_s
    assert since is not None and since <= host.now.venue_s - 7_200.0
    host.reconcile(orders=shown, balances=HELD)
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, *made)
    assert host.book.positions == ()
    assert [(f.currency, f.size) for f in host.book.foreign] == [("BTC", D(1))]
    host.tell(approval(host))
    assert host.last(Refused).code == "per_symbol_cooldown"


def test_adopt_from_venue_rebuilds_positions_from_our_own_fills_once() -> None:
    host, shown, made = lost_store(adopt=True)
    host.reconcile(orders=shown, balances=HELD)
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, *made)
    host.run(32.0, answer=quiet_venue(host, *HELD))
    position = host.book.positions[0]
    assert (position.booked_size, position.average_price, position.stop_price) == (D(1), D(100), D(90))
    assert host.book.foreign == ()
    host.run(100.0, answer=quiet_venue(host, *HELD))
    assert len(host.book.positions) == 1
    assert host.book.flows_usd == 0 and host.book.drift_usd == 0
