"""Fills, flows, foreign coins, recovery, and who hears of the book. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.decisions.build import RiskWorld, sends
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
from tests.oms.talk import (
    USD,
    body_of,
    quiet_venue,
)
from trading.health_monitor import HealthMonitorMachine, HealthMonitorSettings
from trading.machine import PeerRestarted, Woke
from trading.messages.book import BookSnapshot, Recovery
from trading.messages.control import (
    CatalogSnapshot,
    CommandDone,
    KillSnapshot,
    LatchSnapshot,
    OperatorOrder,
)
from trading.messages.decisions import Refused
from trading.messages.orders import (
    Balance,
    BestBidAsk,
    CancelOrders,
    FeedReset,
    Hello,
    OddFill,
    OutcomeKind,
    PlaceOrder,
    QueryKind,
)
from trading.values import Purpose, client_order_id


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


def risk_of(host: Host, told: int, *, risk: RiskWorld) -> int:
    """Risk hears every snapshot that oms sent since `told`; how many sends there are now."""
    for send in host.sent[told:]:
        if send.role == "risk" and isinstance(send.message, BookSnapshot):
            risk.say(send.message, host.now)
    return len(host.sent)


def usd(amount: str) -> Balance:
    return Balance(currency="USD", available=D(amount), hold=D(0))


def test_an_ordinary_withdrawal_is_never_a_drawdown_and_lowers_net_asset_value_at_once() -> None:
    host, risk = Host().active(), RiskWorld()
    told = risk_of(host, 0, risk=risk)
    assert host.book.quote_total_usd == D(10_000)
    seen = set()
    for _ in range(90):
        host.run(0.5, answer=quiet_venue(host, usd("8000")))
        told = risk_of(host, told, risk=risk)
        seen.add((host.book.quote_total_usd, host.book.flows_usd, host.book.quote_unconfirmed_usd))
    assert (D(8_000), D(0), D(-2_000)) in seen, "the caps know it before it is sure"
    assert (D(8_000), D(-2_000), D(0)) in seen
    assert risk.machine._money.latches == ()
    assert risk.machine._money.nav_usd == D(8_000)


def test_two_withdrawals_in_one_minute_are_no_drawdown_either() -> None:
    host, risk = Host().active(), RiskWorld()
    told = risk_of(host, 0, risk=risk)
    for amount, seconds in (("8500", 32), ("6500", 30)):
        for _ in range(seconds * 2):
            host.run(0.5, answer=quiet_venue(host, usd(amount)))
            told = risk_of(host, told, risk=risk)
    assert host.book.flows_usd == D(-3_500)
    assert risk.machine._money.latches == ()


def test_money_that_melts_at_every_pass_is_a_drawdown_after_the_third() -> None:
    host, risk = Host().active(), RiskWorld()
    told = risk_of(host, 0, risk=risk)
    left = 8_000
    for _ in range(120):
        host.run(0.5, answer=quiet_venue(host, usd(str(left))))
        left -= 1  # no two passes agree: that is no transfer
        told = risk_of(host, told, risk=risk)
    assert [latch.code for latch in risk.machine._money.latches] == ["max_drawdown"]
    assert host.book.flows_usd == 0


def holding_a_fifth() -> tuple[Host, RiskWorld, int]:
    """20 BTC at 100 of an account of 10,000, and the price fell to 90 since."""
    host, risk = Host().active(), RiskWorld()
    host.bought("20")
    risk.prices["BTC-USD"] = 90.0
    told = they_talk(host, risk, 0, 40, usd("7999.5"), btc("20"))
    assert risk.machine._money.nav_usd == D("9799.5")
    return host, risk, told


def they_talk(host: Host, risk: RiskWorld, told: int, halves: int, *balances: Balance) -> int:
    """oms and risk hear each other for so many half seconds, while the account shows these balances."""
    for _ in range(halves):
        risk.quotes(host.now)
        host.run(0.5, answer=quiet_venue(host, *balances))
        told = risk_of(host, told, risk=risk)
        risk.say(Woke("tick"), host.now)
        host.tell(*sends(risk.machine._money.publish(host.now, changed=True), LatchSnapshot, "oms"))
    return told


def btc(size: str) -> Balance:
    return Balance(currency="BTC", available=D(size), hold=D(0))


@pytest.mark.parametrize(
    ("cash", "flow"), [("9790", "-9.5"), ("7999.5", "-1800")], ids=["sold by hand for 1790.50", "sent elsewhere"]
)
def test_coins_that_left_by_another_hand_are_a_flow_and_neither_a_drawdown_nor_a_new_high(cash: str, flow: str) -> None:
    """Their price was taken for a deposit and themselves for a loss: a sale by hand looked like a drawdown of a fifth."""
    host, risk, told = holding_a_fifth()
    before = risk.machine._money._drawdown
    they_talk(host, risk, told, 90, usd(cash))
    assert host.book.positions == ()
    assert host.book.flows_usd == D(flow)
    assert risk.machine._money.latches == ()
    assert abs(risk.machine._money._drawdown - before) < D("0.001")


def test_coins_that_left_are_worth_what_risk_told_last_also_when_no_latch_has_changed_since() -> None:
    host, risk, told = holding_a_fifth()
    risk.prices["BTC-USD"] = 88.0
    told = they_talk(host, risk, told, 30, usd("7999.5"), btc("20"))
    they_talk(host, risk, told, 90, usd("7999.5"))
    assert host.book.flows_usd == -1_760


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


def test_an_adoption_hides_no_drawdown_where_foreign_coins_did_not_count() -> None:
    host, risk, told = holding_a_fifth()
    before = risk.machine._money._drawdown
    assert before > 2
    held = (usd("7999.5"), btc("20"), Balance(currency="ETH", available=D(20), hold=D(0)))
    told = they_talk(host, risk, told, 80, *held)
    host.tell(evolve(adoption_of_an_eth("a1"), args=(("symbol", "ETH-USD"), ("size", "20"))))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="ETH-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    they_talk(host, risk, told, 10, *held)
    assert risk.machine._money.nav_usd == D("11799.5")
    assert abs(risk.machine._money._drawdown - before) < D("0.001")
    assert (host.book.flows_usd, host.book.adopted_usd) == (0, 2_000)


def adoption_of_an_eth(command_id: str) -> OperatorOrder:
    args = (("symbol", "ETH-USD"), ("size", "1"))
    return OperatorOrder(command_id=command_id, verb="adopt", name="ann", cause="mine", args=args)


def test_two_adoptions_by_one_balance_page_are_not_given_the_same_coins() -> None:
    host = Host().active()
    host.run(31.0, answer=quiet_venue(host, USD, Balance(currency="ETH", available=D(1), hold=D(0))))
    host.tell(adoption_of_an_eth("a1"), adoption_of_an_eth("a2"))
    bid = BestBidAsk(product_id="ETH-USD", bid=D(50), ask=D(51), exchange_s=0.0)
    for query in host.queries(QueryKind.BEST_BID_ASK):
        host.tell(page_of(query, bid))
    assert [(done.command_id, done.ok) for done in host.all(CommandDone)] == [("a1", True), ("a2", False)]
    assert [position.booked_size for position in host.book.positions] == [D(1)]


def test_a_key_of_another_account_cuts_no_position_and_sells_nothing_there() -> None:
    host = Host().active()
    host.bought("1")
    host.tell(CatalogSnapshot(n=1, products=(), fees=None, fetched_boot_s=host.boot_s, other_account=True))
    host.crash()
    host.tell(KillSnapshot(n=2, engaged=False))
    host.tell(CatalogSnapshot(n=1, products=(), fees=None, fetched_boot_s=host.boot_s, other_account=True))
    host.greet()
    host.run(60.0, answer=quiet_venue(host, USD))
    assert host.book.positions[0].booked_size == D(1), "what the other account lacks was not taken from us"
    host.tell(exit_order(host, host.book.positions[0].position_id, "1", "95"))
    assert not [p for p in host.all(PlaceOrder) if p.purpose is Purpose.EXIT]
    assert "oms:reconcile" in host.conditions()


def test_no_position_is_cut_before_the_venue_has_told_whose_key_it_is() -> None:
    """The venue may answer balances for a minute before it answers that: a key of another account would end the book."""
    host = Host().active()
    host.bought("1")
    host.crash()
    unchecked = CatalogSnapshot(n=1, products=(), fees=None, fetched_boot_s=host.boot_s, key_unchecked=True)
    host.tell(KillSnapshot(n=2, engaged=False), unchecked)
    host.greet()
    host.run(60.0, answer=quiet_venue(host, USD))
    assert (host.book.recovery, host.book.positions[0].booked_size) == (Recovery.ORDERS_KNOWN, D(1)), "entries wait"
    host.tell(evolve(unchecked, n=2, key_unchecked=False))
    host.run(1.0, answer=quiet_venue(host, USD))
    assert host.book.recovery is Recovery.RECONCILED, "at once, not at the next turn"
    host.run(60.0, answer=quiet_venue(host, USD))
    assert host.book.positions == (), "it is our account, and the coin has left it"


def test_coins_that_we_have_sold_since_the_balance_page_cannot_be_adopted() -> None:
    host = Host().active()
    host.bought("1")
    host.run(31.0, answer=quiet_venue(host))
    host.tell(exit_order(host, host.book.positions[0].position_id, "1", "95"))
    sale = host.last(PlaceOrder)
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, "v2"), update(sale, "v2", "filled", "1", "95"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(sale, "v2", "e2", "1", "95"))
    args = (("symbol", "BTC-USD"), ("size", "1"), ("price", "95"))
    host.tell(OperatorOrder(command_id="a1", verb="adopt", name="ann", cause="mine", args=args))
    assert not host.last(CommandDone).ok
    assert host.book.positions == ()


def test_an_adoption_whose_price_was_asked_of_a_dead_gateway_asks_the_next_one() -> None:
    host = Host().active()
    host.run(31.0, answer=quiet_venue(host, USD, Balance(currency="ETH", available=D(1), hold=D(0))))
    host.tell(adoption_of_an_eth("a1"), PeerRestarted("gateway", (1, 60)))
    host.greet((1, 60))
    before = len(host.sent)
    host.tell(adoption_of_an_eth("a1"))
    assert len(host.queries(QueryKind.BEST_BID_ASK, before)) == 1


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


def test_a_fill_of_others_that_cannot_be_read_holds_up_nothing() -> None:
    host = Host()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile(fills=(OddFill(venue_order_id="by-hand", why="trade_time is missing"),))  # type: ignore[arg-type]
    assert host.book.recovery is Recovery.RECONCILED
    assert "oms:odd_fill" not in host.conditions()


def test_a_fill_of_ours_that_cannot_be_read_keeps_entries_out_and_stops_no_stop() -> None:
    """Before, one such row kept every product's stops from working after a restart."""
    host = Host().active()
    host.bought("1")
    bought = host.accepted_entry("v8", n=8, product="ETH-USD")
    host.crash()
    host.tell(KillSnapshot(n=2, engaged=False))
    host.greet()
    odd = OddFill(venue_order_id="v8", why="price is missing")
    cursor_s = host.machine.desk.book.meta.cursor_s
    host.run(5.0)
    for _ in range(3):
        host.answer_query(QueryKind.ORDERS, listing(bought, "v8", "filled", "1"))
        host.answer_query(QueryKind.FILLS, odd)
        assert (host.book.recovery, host.machine.desk.book.meta.cursor_s) == (Recovery.ORDERS_KNOWN, cursor_s)
        host.run(31.0)
    assert "oms:odd_fill" in host.conditions()
    position = host.book.positions[0]
    host.tell(exit_order(host, position.position_id, "1", "90"))
    host.run(1.1)
    assert host.last(PlaceOrder).purpose is Purpose.EXIT
    host.answer_query(QueryKind.ORDERS, listing(bought, "v8", "filled", "1"))
    host.answer_query(QueryKind.FILLS, fill(bought, "v8", "e8", "1", "100"))
    assert "oms:odd_fill" not in host.conditions()
    host.answer_query(QueryKind.BALANCES, *(USD,))
    assert host.book.recovery is Recovery.RECONCILED


def test_a_book_that_nobody_compares_any_more_takes_no_entries() -> None:
    """One account row that cannot be read; everything else is answered, and entries went on for days behind a warning."""
    host, health = Host().active(), HealthMonitorMachine(settings=HealthMonitorSettings(), me=(1, 7))
    quiet = quiet_venue(host)

    def answer(send):
        unread = getattr(send.message, "kind", None) is QueryKind.BALANCES
        return [page_of(send.message, complete=False)] if unread else quiet(send)

    def breaker(seconds: int, answer) -> tuple[bool, bool]:
        for _ in range(seconds):
            for send in host.run(1.0, answer=answer):
                if send.role == "health_monitor":
                    health.handle(send.message, host.now)
        found = next(b for b in health._snapshot().breakers if b.code == "reconcile_stale")
        return found.open, found.measured

    assert breaker(100, answer) == (False, True), "a venue may stumble for a while"
    assert breaker(120, answer) == (True, True)
    assert breaker(60, quiet) == (False, True)


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


def test_a_fill_that_is_seen_and_not_booked_moves_the_cash_as_it_moves_the_position() -> None:
    host = Host().active()
    place = host.accepted_entry(size="2", price="100")
    before = host.book.quote_total_usd
    host.tell(update(place, "v1", "filled", "2", "100"))
    seen = host.book
    assert (seen.positions[0].seen_size, seen.positions[0].booked_size) == (D(2), D(0))
    paid = before - seen.quote_total_usd
    assert D(200) <= paid <= D(202), "the price, and the fee as far as it is known"
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(place, "v1", "e1", "2", "100", fee="0.8"))
    assert before - host.book.quote_total_usd == D("200.8")


def test_a_purchase_counts_once_in_cash_and_coins_also_before_a_first_balance_was_accepted() -> None:
    """Until the next balance page the money was still there beside what it had bought, and set a high-water mark."""
    host = Host().active()
    host.machine.desk.book.put_meta(evolve(host.machine.desk.book.meta, base_quote_usd=None))
    before = host.book.quote_total_usd
    host.bought("1", "100")
    assert host.book.positions[0].booked_size == D(1)
    assert before - host.book.quote_total_usd >= D(100)
