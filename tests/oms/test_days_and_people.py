"""What happens over days and by people's orders: retirement, counters, commands, refusals, repeats."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.oms.host import D, Host, approval, exit_order, fill, listing, outcome, page_of, update
from tests.oms.talk import USD, quiet_venue, unknown_entry
from trading.machine import PeerRestarted
from trading.messages.book import BookSnapshot
from trading.messages.control import (
    ON_EXIT,
    CatalogSnapshot,
    CommandDone,
    Drain,
    Drained,
    KillSnapshot,
    Measured,
    OperatorOrder,
)
from trading.messages.decisions import Admitted, ExitVerdict, Refused
from trading.messages.orders import (
    Balance,
    BestBidAsk,
    CancelOrders,
    Fees,
    OutcomeKind,
    PlaceOrder,
    Query,
    QueryKind,
    Withdraw,
)
from trading.oms_settings import OmsSettings
from trading.product import Product
from trading.values import Purpose, Side, client_order_id

DAY = 86_400.0
BTC = Product(
    product_id="BTC-USD",
    base_currency="BTC",
    quote_currency="USD",
    price_increment=D("0.01"),
    base_increment=D("0.001"),
    quote_increment=D("0.01"),
    base_size_min=D("0.001"),
    base_size_max=D(1000),
    quote_size_min=D(1),
    quote_size_max=D(1_000_000),
)


def order_of(verb: str, command_id: str = "c1", **args: str) -> OperatorOrder:
    return OperatorOrder(command_id=command_id, verb=verb, name="ann", cause="why", args=tuple(args.items()))


def sold(host: Host, price: str, *, n: int = 0, size: str = "1", reason: str = "target", vid: str = "s1") -> None:
    """Leave the one position at `price`, booked."""
    position = host.book.positions[0]
    host.tell(exit_order(host, position.position_id, size, price, n=n, reason=reason))
    sale = host.last(PlaceOrder)
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, vid), update(sale, vid, "filled", size, price))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(sale, vid, "e" + vid, size, price, at_s=host.now.venue_s))


# -- days ------------------------------------------------------------------------------------------------------------


def test_what_is_over_for_a_day_leaves_memory_but_never_the_tables() -> None:
    host = Host().active()
    host.bought()
    sold(host, "110")
    canceled = host.accepted_entry("v3", n=5, product="ETH-USD")
    host.tell(update(canceled, "v3", "canceled", "0"))
    cash = Balance(currency="USD", available=D("10009"), hold=D(0))
    host.run(60.0, answer=quiet_venue(host, cash))
    host.boot_s += 26 * 3600.0
    host.run(130.0, answer=quiet_venue(host, cash))
    book = host.machine.desk.book
    assert book.orders == {} and book.fills == {} and book.lots == {} and book.cooldowns == {}
    assert host.book.realised_week_usd == D(9), "results outlive their orders"
    assert len(host.store.rows("fills")) == 2 and len(host.store.rows("intents")) == 3
    host.crash()
    assert host.machine.desk.book.orders == {}
    assert len(host.machine.desk.book.closes) == 1
    host.boot_s += 9 * DAY
    host.greet()
    host.run(130.0, answer=quiet_venue(host, cash))
    assert host.machine.desk.book.closes == {} and host.machine.desk.book.positions == {}


def test_an_open_position_keeps_its_fills_however_old_it_is() -> None:
    host = Host().active()
    place = host.bought("1", "100")
    host.run(60.0, answer=quiet_venue(host))
    host.boot_s += 5 * DAY
    host.run(130.0, answer=quiet_venue(host))
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile(
        balances=(
            Balance(currency="USD", available=D("9899.5"), hold=D(0)),
            Balance(currency="BTC", available=D(1), hold=D(0)),
        )
    )
    assert len(host.machine.desk.book.fills) == 1
    sold(host, "90", reason="stop")
    assert host.book.realised_today_usd == D(-11)
    assert place.client_order_id in {o["client_order_id"] for o in host.store.rows("orders").values()}


def test_a_stop_out_counts_as_a_loss_and_cools_longest() -> None:
    host = Host().active()
    host.bought()
    sold(host, "90", reason="stop")
    assert host.book.counters.loss_streak == 1 and host.book.counters.last_loss_s is not None
    until = {c.kind: c.until_s - host.now.venue_s for c in host.book.cooldowns}
    assert set(until) == {"fill", "stop"} and until["stop"] > 7_000
    host.crash()
    assert host.book.counters.loss_streak == 1


def test_a_streak_is_of_losses_in_a_row_and_a_win_ends_it() -> None:
    host = Host().active()
    streaks = []
    for n, price in enumerate(("90", "90", "110", "90")):
        host.bought(venue_order_id=f"v{n}", n=n + 1)
        sold(host, price, reason="stop" if price == "90" else "target", vid=f"s{n}")
        streaks.append(host.book.counters.loss_streak)
        host.boot_s += 8_000.0
        host.run(1.0)
    assert streaks == [1, 2, 0, 1]


def test_coins_that_a_person_sold_by_hand_neither_lengthen_nor_end_a_streak_of_losses() -> None:
    host = Host().active()
    host.bought()
    sold(host, "90", reason="stop")
    assert host.book.counters.loss_streak == 1
    host.boot_s += 8_000.0
    host.run(1.0)
    host.bought(venue_order_id="v2", n=2)
    host.run(45.0, answer=quiet_venue(host, USD))
    assert not [one for one in host.book.positions if one.seen_size], "its coins left by another hand"
    assert host.book.counters.loss_streak == 1


def test_coins_that_left_by_hand_in_parts_are_no_loss_by_the_last_digit_of_a_division() -> None:
    host = Host().active()
    host.bought()
    sold(host, "90", reason="stop")
    host.boot_s += 8_000.0
    host.run(1.0)
    host.bought("3", "100.1", "v2", n=2)
    for left in ("2.9", "0"):
        coins = Balance(currency="BTC", available=D(left), hold=D(0))
        host.run(45.0, answer=quiet_venue(host, USD, coins))
    assert not [one for one in host.book.positions if one.seen_size]
    assert host.book.counters.loss_streak == 1


def test_a_position_that_is_left_but_for_dust_is_over_with_its_outcome() -> None:
    host = Host().active()
    host.tell(
        CatalogSnapshot(
            n=1, products=(BTC,), fees=Fees(maker_rate=D(0), taker_rate=D("0.01"), tier="t"), fetched_boot_s=0.0
        )
    )
    assert host.machine.desk.fee_rate == D("0.01")
    host.bought("1", "100")
    sold(host, "105", size="0.995")
    position = host.book.positions[0]
    assert position.dust and position.seen_size == D("0.005")
    assert {c.kind for c in host.book.cooldowns} == {"fill", "win"}
    host.tell(exit_order(host, position.position_id, "0.005", "105", n=1))
    assert host.last(ExitVerdict).code == "dust"


# -- people ----------------------------------------------------------------------------------------------------------


def test_cancel_by_a_person_takes_one_order_or_all_and_says_what_it_found() -> None:
    host = Host().active()
    place = host.accepted_entry()
    host.tell(order_of("cancel", "c1", id="nobody"))
    assert host.last(CommandDone).text == "no order has the id nobody"
    host.tell(order_of("cancel", "c2", id="v1"))
    assert host.last(CommandDone).ok and host.last(CancelOrders).venue_order_ids == ("v1",)
    host.tell(update(place, "v1", "canceled", "0"), order_of("cancel", "c3", id=place.client_order_id))
    assert host.last(CommandDone).text.endswith("is over: canceled")
    host.tell(order_of("cancel", "c4", id="all"))
    assert host.last(CommandDone).text == "no order is open"


def test_a_ban_cancels_what_rests_and_an_unban_says_whether_there_was_one() -> None:
    host = Host().active()
    host.accepted_entry()
    host.tell(order_of("ban", "b1", symbol="BTC-USD", flag="team_rug"))
    assert host.last(CancelOrders).venue_order_ids == ("v1",)
    host.tell(order_of("unban", "b2", symbol="BTC-USD"))
    assert host.last(CommandDone).ok
    host.tell(order_of("unban", "b3", symbol="BTC-USD"))
    assert host.last(CommandDone).text == "BTC-USD is not banned"
    host.tell(order_of("dance", "b4"))
    assert "oms has no command 'dance'" in host.last(CommandDone).text


def test_only_what_is_unknown_can_be_settled_by_hand() -> None:
    host = Host().active()
    host.accepted_entry()
    host.tell(order_of("settle", "s1", id="v1"))
    assert "only what is unknown can be settled" in host.last(CommandDone).text
    host.tell(order_of("settle", "s2", id="nobody"))
    assert not host.last(CommandDone).ok


def test_flatten_says_when_there_is_nothing_and_asks_again_when_prices_did_not_come() -> None:
    host = Host().active()
    host.tell(order_of("flatten", "f0"))
    assert host.last(CommandDone).text.startswith("there is nothing to sell")
    host.bought()
    host.tell(order_of("flatten", "f1"), order_of("flatten", "f1"))
    assert len(host.queries(QueryKind.BEST_BID_ASK)) == 1
    host.answer_query(QueryKind.BEST_BID_ASK, complete=False)
    assert len(host.all(CommandDone)) == 1, "not done: nothing was sold"
    host.tell(order_of("flatten", "f1"))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    assert host.last(CommandDone).ok
    host.tell(Drain(run_number=1), order_of("flatten", "f2"))
    assert not host.last(CommandDone).ok


def test_a_flatten_right_after_a_kill_waits_for_the_exit_that_the_kill_cancels() -> None:
    """Not "already being left": the exit is on its way out, and under a kill no other follows it."""
    host = Host().active()
    host.bought()
    host.tell(exit_order(host, host.book.positions[0].position_id, style="post_only"))
    exit_ = host.last(PlaceOrder)
    host.tell(outcome(exit_, OutcomeKind.ACCEPTED, "v2"), KillSnapshot(n=2, engaged=True))
    host.tell(order_of("flatten", "f1"))
    assert not host.all(CommandDone), "the operator repeats it"
    host.tell(update(exit_, "v2", "canceled", "0"), order_of("flatten", "f1"))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    assert host.last(PlaceOrder).purpose is Purpose.FLATTEN
    assert host.last(CommandDone).ok


def test_adopt_needs_a_balance_pass_and_takes_a_price_of_ones_own() -> None:
    host = Host()
    host.greet()
    order = order_of("adopt", "a1", symbol="ETH-USD", size="2", price="40")
    host.tell(order)
    assert not host.all(CommandDone), "what is foreign is not known yet"
    host.reconcile(balances=(Balance(currency="ETH", available=D(3), hold=D(0)),))
    host.tell(order)
    assert host.last(CommandDone).ok
    assert host.book.positions[0].average_price == D(40)


# -- refusals and repeats --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (lambda h: h.tell(KillSnapshot(n=2, engaged=True)), "not_allowed"),
        (lambda h: h.tell(Drain(run_number=1)), "not_allowed"),
        (lambda h: h.tell(PeerRestarted("gateway", (1, 99))), "gateway_unknown"),
        (lambda h: setattr(h, "boot_s", h.boot_s + 3.0), "late"),
    ],
    ids=["killed", "draining", "no gateway", "late"],
)
def test_an_exit_that_may_not_go_is_refused_with_its_reason(prepare, code: str) -> None:
    host = Host().active()
    host.bought()
    message = exit_order(host, host.book.positions[0].position_id)
    prepare(host)
    host.tell(message)
    assert host.last(ExitVerdict).code == code
    assert len(host.store.rows("intents")) == 1


def test_an_exit_of_a_position_that_is_not_there_is_refused() -> None:
    host = Host().active()
    host.bought()
    host.tell(evolve(exit_order(host, host.book.positions[0].position_id), position_id="gone"))
    assert host.last(ExitVerdict).code == "no_position"


def test_a_fourth_unknown_exit_waits_until_an_ask_was_answered() -> None:
    host = Host().active()
    host.bought("1")
    host.run(31.0, answer=quiet_venue(host))
    position_id = host.book.positions[0].position_id
    for n in range(3):
        host.tell(exit_order(host, position_id, n=n))
        assert host.last(ExitVerdict).admitted, n
        host.tell(outcome(host.last(PlaceOrder), OutcomeKind.UNKNOWN))
        host.run(5.5)
    host.tell(exit_order(host, position_id, n=3))
    assert host.last(ExitVerdict).code == "unknown_exits"
    host.run(30.0, answer=quiet_venue(host))
    host.tell(exit_order(host, position_id, n=3))
    assert host.last(ExitVerdict).admitted


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"size": "0"}, "non_positive_request"),
        ({"symbol_cap": "50"}, "position_size_with_pending"),
    ],
)
def test_an_approval_that_the_book_does_not_bear_is_refused(change: dict, code: str) -> None:
    host = Host().active()
    host.tell(approval(host, **change))
    assert host.last(Refused).code == code


def test_an_approval_that_comes_late_or_on_an_untrusted_clock_is_refused() -> None:
    host = Host().active()
    late = approval(host)
    host.trusted = False
    host.tell(approval(host, n=2))
    assert host.last(Refused).code == "clock_untrusted"
    host.trusted = True
    host.boot_s += 2.0
    host.tell(late)
    assert host.last(Refused).code == "late"


def test_nothing_is_admitted_before_the_kill_switch_was_heard() -> None:
    host = Host()
    host.greet()
    host.reconcile()
    host.tell(approval(host))
    assert host.last(Refused).code == "kill_switch_unknown"


def test_an_approval_is_used_once() -> None:
    host = Host().active()
    first = approval(host)
    host.tell(first)
    other = evolve(approval(host, n=2, product="ETH-USD"), approval_id=first.approval_id)
    host.tell(other)
    assert host.last(Refused).code == "approval_used"


def test_proposals_of_the_last_minute_are_known_to_the_next_life() -> None:
    host = Host().active()
    message = approval(host)
    host.tell(message)
    host.crash()
    assert host.book.admitted_recently == (message.proposal.proposal_id,)
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False), approval(host))
    assert host.last(Admitted).proposal_id == message.proposal.proposal_id


def test_an_update_of_ours_without_a_row_is_adopted_too_and_of_others_is_not() -> None:
    host = Host().active()
    place = host.accepted_entry()
    ours = client_order_id("abcd", "lost")
    shown = update(place, "v9", "open", "0.1")
    host.tell(evolve(shown, client_order_id=ours), evolve(shown, client_order_id="bh-zzzz-x", venue_order_id="v10"))
    assert host.last(CancelOrders).venue_order_ids == ("v9",)
    assert len(host.store.rows("intents")) == 2
    host.run(1.0)
    wanted = [q for q in host.queries(QueryKind.ORDER) if q.venue_order_ids == ("v9",)]
    assert wanted, "an adopted order is asked for, since a channel update does not tell its size"


def test_a_new_gateway_gets_every_question_and_cancel_again_at_once() -> None:
    host = Host().active()
    host.accepted_entry(ttl_s=5.0)
    unknown_entry(host, n=2, product="ETH-USD")
    host.run(6.0)
    before = len(host.sent)
    host.tell(PeerRestarted("gateway", (1, 99)))
    assert host.all(CancelOrders, before)[0].venue_order_ids == ("v1",)
    host.greet((1, 99))
    host.run(5.0)
    assert [q for q in host.queries(QueryKind.ORDERS, before) if q.product_id == "ETH-USD"]
    assert not host.all(Withdraw, before), "nothing is SUBMITTED"


def test_a_question_without_an_answer_is_asked_again() -> None:
    host = Host().active()
    place = host.accepted_entry()
    host.tell(update(place, "v1", "filled", "1"))
    before = len(host.sent)
    host.run(70.0)
    assert len(host.queries(QueryKind.FILLS, before)) >= 2
    assert len(host.queries(QueryKind.ORDERS, before)) >= 2
    assert f"oms:unbooked:{place.client_order_id}" in host.conditions()


def test_a_condition_that_tells_of_something_that_happened_ends_by_itself() -> None:
    host = Host().active()
    place = host.accepted_entry(ttl_s=1_000.0)
    host.tell(outcome(place, OutcomeKind.NOT_SENT))
    assert host.conditions()
    host.run(601.0, answer=quiet_venue(host))
    assert host.conditions() == []


def test_those_who_come_back_get_the_book_at_once() -> None:
    host = Host(settings=OmsSettings()).active()
    host.run(3.0)
    for role in ("risk", "exits", "console", "operator"):
        sent = host.tell(PeerRestarted(role))
        assert any(s.role == role and isinstance(s.message, BookSnapshot) for s in sent), role
    host.run(0.1)
    before = len(host.sent)
    host.tell(PeerRestarted("symbol:BTC-USD"))
    host.run(0.1)
    slices = [s for s in host.sent[before:] if s.role == "symbol:BTC-USD"]
    assert slices and slices[0].message.product_id == "BTC-USD"


def test_latency_is_told_stage_by_stage_and_measured_each_second() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    told = evolve(
        outcome(place, OutcomeKind.ACCEPTED, "v1"), sent_boot_s=host.boot_s + 0.002, answered_boot_s=host.boot_s + 0.052
    )
    host.tell(told, update(place, "v1", "filled", "1"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(place, "v1", "e1", "1", "100"))
    host.run(1.1)
    stages = [n.values["stages"] for n in host.notes if n.kind == "latency"][-1]
    assert set(stages) == {"decided_s", "approved_s", "saved_s", "sent_s", "acknowledged_s", "first_fill_s", "booked_s"}
    assert stages["acknowledged_s"] == pytest.approx(0.05)
    readings = dict(host.last(Measured).readings)
    assert readings["acknowledged_s_p95"] == pytest.approx(0.05)
    assert readings["drift_usd"] == 0.0 and readings["reconciled"] == 1.0


def test_a_drain_answers_again_when_what_was_unknown_is_settled() -> None:
    host = Host().active()
    place = unknown_entry(host)
    host.tell(Drain(run_number=4))
    host.run(7.0)
    assert not host.last(Drained).clean
    host.tell(update(place, "v1", "open", "0"))
    assert host.last(CancelOrders).venue_order_ids == ("v1",)
    host.tell(update(place, "v1", "canceled", "0"))
    assert host.last(Drained).clean and host.last(Drained).run_number == 4


def test_a_listed_order_that_we_hold_open_and_the_listing_lacks_is_asked_by_id() -> None:
    host = Host().active()
    place = host.accepted_entry(ttl_s=500.0)
    host.run(33.0)
    host.answer_query(QueryKind.ORDERS)
    host.run(0.5)
    assert host.queries(QueryKind.ORDER)[-1].venue_order_ids == ("v1",)
    host.answer_query(QueryKind.ORDER, listing(place, "v1", "open"))
    assert host.status(place.client_order_id) == "accepted"


def test_an_untrusted_clock_never_moves_the_cursor_of_fills() -> None:
    host = Host().active()
    before = host.store.rows("meta")["oms"]["cursor_s"]
    host.trusted = False
    host.boot_s += DAY
    host.run(70.0, answer=quiet_venue(host))
    assert host.machine.desk.book.meta.cursor_s == before
    host.trusted = True
    host.run(70.0, answer=quiet_venue(host))
    moved = host.machine.desk.book.meta.cursor_s
    assert moved is not None and moved > before  # type: ignore[operator]


def leaving(n: int) -> OperatorOrder:
    return OperatorOrder(command_id=f"{ON_EXIT}1:{n}", verb="flatten", name="flatten-on-exit", cause="SIGTERM")


def test_flatten_on_exit_sells_until_nothing_is_left_takes_no_entry_meanwhile_and_then_tells_main() -> None:
    host = Host().active()
    host.bought("2", "100")
    host.tell(leaving(1))
    host.answer_query(QueryKind.BEST_BID_ASK, complete=False)
    assert not [p for p in host.all(PlaceOrder) if p.purpose is Purpose.FLATTEN], "no price, no order: asked again"
    host.tell(leaving(2))
    bid = BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0)
    host.answer_query(QueryKind.BEST_BID_ASK, bid)
    first = host.last(PlaceOrder)
    host.tell(leaving(3))
    assert host.last(PlaceOrder) == first, "what is being sold is not sold twice"
    host.tell(approval(host, n=9, product="ETH-USD"))
    assert host.last(Refused).code == "not_active"
    host.tell(outcome(first, OutcomeKind.ACCEPTED, "x1"), update(first, "x1", "canceled", "0.5", "98"))
    host.run(1.2)
    host.answer_query(QueryKind.FILLS, fill(first, "x1", "e2", "0.5", "98"))
    host.tell(leaving(4))
    host.answer_query(QueryKind.BEST_BID_ASK, bid)
    second = host.last(PlaceOrder)
    assert second.body.base_size == D("1.5")
    assert not [s for s in host.sent if s.role == "main"]
    host.tell(outcome(second, OutcomeKind.ACCEPTED, "x2"), update(second, "x2", "filled", "1.5", "98"))
    host.run(1.2)
    host.answer_query(QueryKind.FILLS, fill(second, "x2", "e3", "1.5", "98"))
    host.tell(leaving(5))
    assert [s.message.ok for s in host.sent if s.role == "main"] == [True]


def test_flatten_on_exit_goes_on_when_the_gateway_dies_with_the_question_for_its_prices() -> None:
    host = Host().active()
    host.bought("2", "100")
    host.tell(leaving(1))
    host.tell(PeerRestarted("gateway"))
    host.greet((1, 60))
    host.tell(leaving(2))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    assert host.last(PlaceOrder).purpose is Purpose.FLATTEN
    assert host.last(PlaceOrder).body.base_size == D(2)


def test_a_flatten_whose_prices_never_came_does_not_keep_flatten_on_exit_from_selling() -> None:
    host = Host().active()
    host.bought("2", "100")
    host.tell(OperatorOrder(command_id="c1", verb="flatten", name="ann", cause="enough"))
    host.tell(PeerRestarted("gateway"))
    host.greet((1, 60))
    host.tell(leaving(1))
    assert host.queries(QueryKind.BEST_BID_ASK)[-1].query_id in host.machine.desk.queries


def test_what_a_position_was_cut_by_is_kept_as_long_as_its_trades() -> None:
    """A sale that the venue reverses right after the end: what had left by another hand would come back as ours."""
    host = Host().active()
    host.bought("2", "100")
    position_id = host.book.positions[0].position_id
    one = (
        Balance(currency="USD", available=D("9799.5"), hold=D(0)),
        Balance(currency="BTC", available=D(1), hold=D(0)),
    )
    host.run(100.0, answer=quiet_venue(host, *one))
    assert host.book.positions[0].booked_size == D(1)
    host.boot_s += 2 * DAY
    host.run(70.0, answer=quiet_venue(host, *one))
    sold(host, "110")
    sale = [f for f in host.machine.desk.book.fills.values() if f.side is Side.SELL and f.kind == "FILL"][-1]
    flat = (Balance(currency="USD", available=D("9909"), hold=D(0)),)
    host.run(70.0, answer=quiet_venue(host, *flat))
    assert host.machine.desk.book.positions[position_id].closed_s is not None
    place = next(p for p in host.all(PlaceOrder) if p.client_order_id == sale.client_order_id)
    undone = fill(place, sale.venue_order_id, "r1", "1", "110", kind="REVERSAL", at_s=host.now.venue_s)
    back = quiet_venue(host, *one)

    def answer(send):
        return [evolve(p, items=(*p.items, *((undone,) if p.kind is QueryKind.FILLS else ()))) for p in back(send)]

    host.run(40.0, answer=answer)
    assert [p.booked_size for p in host.book.positions] == [D(1)]


def test_a_venue_that_lists_nothing_for_hours_ends_no_order_manager() -> None:
    """2.0 ** 1024 is an error, and the next life would sell nothing before the venue lists again."""
    host = Host().active()
    place = host.accepted_entry()
    host.tell(update(place, "v1", "open", "0.5"), order_of("cancel", id="all"))
    host.run(31.0)
    desk = host.machine.desk
    assert desk.pass_ is not None
    desk.pass_.tries = desk.task(place.client_order_id).cancel_n = desk.task(place.client_order_id).fills_n = 1_100

    def fails(send):
        return [page_of(send.message, complete=False)] if isinstance(send.message, Query) else []

    host.run(60.0, answer=fails)
    task = desk.task(place.client_order_id)
    assert min(desk.pass_.tries, task.cancel_n, task.fills_n) > 1_100


def test_a_flatten_says_what_it_could_not_sell_for_want_of_a_price() -> None:
    host = Host().active()
    host.bought("1", "100")
    host.bought("2", "100", "v2", n=2, product="ETH-USD")
    host.tell(order_of("flatten", "f1"))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    done = host.last(CommandDone)
    assert host.last(PlaceOrder).body.product_id == "BTC-USD"
    assert not done.ok and "ETH-USD" in done.text, "a person who reads that all is being sold looks away"


def on_catalog(host: Host, **changes: object) -> None:
    told = CatalogSnapshot(n=1, products=(evolve(BTC, **changes),), fees=None, fetched_boot_s=host.boot_s)
    host.tell(told)


@pytest.mark.parametrize(
    ("flags", "said"), [({"post_only": True}, "ctl exit BTC-USD"), ({"cancel_only": True}, "no sale")]
)
def test_a_flatten_of_what_the_venue_does_not_let_be_sold_so_is_answered_so(flags, said) -> None:
    """The gateway refuses it, and "selling" was the answer."""
    host = Host().active()
    host.bought("1", "100")
    on_catalog(host, **flags)
    host.tell(order_of("flatten", "f1"))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    assert not [p for p in host.all(PlaceOrder) if p.purpose is Purpose.FLATTEN]
    done = host.last(CommandDone)
    assert not done.ok and "selling nothing" in done.text and said in done.text


@pytest.mark.parametrize("on_exit", [False, True])
def test_a_flatten_gives_our_own_buys_a_moment_to_be_gone_and_no_longer(on_exit) -> None:
    """The venue prevents trades with ourselves: it cancelled the sale, and "selling" had been answered."""
    host = Host().active()
    place = host.accepted_entry(size="2")
    host.tell(update(place, "v1", "open", "1"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(place, "v1", "e1", "1", "100"))
    for n in (1, 2):
        assert not host.queries(QueryKind.BEST_BID_ASK)
        host.tell(leaving(n) if on_exit else order_of("flatten", "f1"))
        assert host.last(CancelOrders).venue_order_ids == ("v1",)
    assert host.queries(QueryKind.BEST_BID_ASK)


def test_a_flatten_says_what_is_more_than_one_order_may_have() -> None:
    host = Host().active()
    host.bought("3", "100")
    on_catalog(host, base_size_max=D(2))
    host.tell(order_of("flatten", "f1"))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    assert host.last(PlaceOrder).body.base_size == D(2)
    done = host.last(CommandDone)
    assert not done.ok and "BTC-USD 1 (more than one order may have)" in done.text


def test_a_flatten_says_what_an_exit_that_is_being_cancelled_still_holds() -> None:
    """After a kill: the coins of one position are free, those of the other are not yet."""
    host = Host().active()
    host.bought("1", "100")
    host.bought("2", "100", "v2", n=2, product="ETH-USD")
    eth = next(p for p in host.book.positions if p.product_id == "ETH-USD")
    host.tell(exit_order(host, eth.position_id, "2", "100", style="post_only"))
    host.tell(outcome(host.last(PlaceOrder), OutcomeKind.ACCEPTED, "s1"))
    host.tell(KillSnapshot(n=2, engaged=True))
    host.tell(order_of("flatten", "f1"))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    done = host.last(CommandDone)
    assert not done.ok and "ETH-USD 2 (an exit that is being cancelled holds it)" in done.text


@pytest.mark.parametrize(("asked", "held"), [("0.4", "0.4"), (None, "1")])
def test_a_flatten_says_what_an_order_without_a_row_may_have_sold(asked, held) -> None:
    """It is being cancelled, and the coins that it did not sell stay. asked: None as long as the user channel alone told of it."""
    host = Host().active()
    place = host.bought("1", "100")
    host.bought("2", "100", "v2", n=2, product="ETH-USD")
    sale = evolve(update(place, "v9", "open", "0"), client_order_id="bh-abcd-sale", side=Side.SELL)
    shown = evolve(listing(place, "v9", "open", "0"), client_order_id="bh-abcd-sale", side=Side.SELL)
    if asked is None:
        host.tell(sale)
    else:
        host.run(32.0, answer=lambda send: [])
        host.answer_query(QueryKind.ORDERS, evolve(shown, base_size=D(asked)))
    host.tell(order_of("flatten", "f1"))
    bids = [BestBidAsk(product_id=p, bid=D(100), ask=D(101), exchange_s=0.0) for p in ("BTC-USD", "ETH-USD")]
    host.answer_query(QueryKind.BEST_BID_ASK, *bids)
    done = host.last(CommandDone)
    assert not done.ok and f"BTC-USD {held} (an order of ours without a row may have sold it)" in done.text
    flattened = {p.body.product_id: p.body.base_size for p in host.all(PlaceOrder) if p.purpose is Purpose.FLATTEN}
    assert flattened.get("BTC-USD", D(0)) == 1 - D(held)


def test_an_exit_that_ended_by_a_clock_days_behind_is_kept_as_long_as_its_trades() -> None:
    """Before the first anchor after a reboot; retired at once, it was listed again and taken for an order without a row."""
    host = Host().active()
    host.bought()
    host.trusted = False
    host.zero_s += 3 * DAY
    position = host.book.positions[0]
    host.tell(exit_order(host, position.position_id))
    sale = host.last(PlaceOrder)
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, "s1"), update(sale, "s1", "filled", "1", "95"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(sale, "s1", "e9", "1", "95", at_s=host.now.venue_s + 3 * DAY))
    host.zero_s -= 3 * DAY
    host.trusted = True
    quiet = quiet_venue(host, Balance(currency="USD", available=D("9994"), hold=D(0)))

    def answer(send):
        shown = listing(sale, "s1", "filled", "1")
        return [evolve(p, items=(*p.items, *((shown,) if p.kind is QueryKind.ORDERS else ()))) for p in quiet(send)]

    host.run(150.0, answer=answer)
    assert not [c for c in host.conditions() if c.startswith("oms:external")]
    assert host.book.unbooked == ()
