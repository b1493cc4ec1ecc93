"""Exits only reduce, and no lost answer locks the door. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.oms.host import (
    D,
    Host,
    exit_order,
    fill,
    outcome,
    update,
)
from tests.oms.talk import (
    quiet_venue,
    two_entries,
    two_positions,
)
from trading.messages.control import (
    CatalogSnapshot,
    KillSnapshot,
    OperatorOrder,
)
from trading.messages.decisions import ExitVerdict, Tighten
from trading.messages.orders import (
    Balance,
    BestBidAsk,
    CancelOrders,
    FeedReset,
    OrderStyle,
    OutcomeKind,
    PlaceOrder,
    QueryKind,
)
from trading.order_rules import violation
from trading.product import Product
from trading.values import Purpose


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


@pytest.mark.parametrize(("theirs", "page_between"), [("1", True), ("5", False), ("5", True)])
def test_an_exit_whose_answer_is_lost_never_lets_the_next_one_sell_the_owners_coins(
    theirs: str, page_between: bool
) -> None:
    """It sold unseen and the venue lists nothing. The owner's coins look like ours on the next page, or, when the page before is
    older than the purchase, the total looks as if nothing had been sold.
    """

    def account(coins: D, usd: str) -> tuple[Balance, ...]:
        rows = (("USD", D(usd)), ("BTC", coins))
        return tuple(Balance(currency=currency, available=size, hold=D(0)) for currency, size in rows)

    host = Host()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile(balances=account(D(theirs), "10000"))
    host.bought("1")
    if page_between:
        host.run(40.0, answer=quiet_venue(host, *account(D(theirs) + 1, "9899.5")))
    position_id = host.book.positions[0].position_id
    host.tell(exit_order(host, position_id, "1", "90"))
    sale = host.last(PlaceOrder)
    host.tell(outcome(sale, OutcomeKind.UNKNOWN, reason="timeout"))
    for n in range(1, 10):
        host.run(5.0, answer=quiet_venue(host, *account(D(theirs), "9989")))
        host.tell(exit_order(host, position_id, "1", "90", n=n))
        host.run(1.1)
    assert {p.client_order_id for p in host.all(PlaceOrder) if p.purpose is Purpose.EXIT} == {sale.client_order_id}


def test_another_position_of_the_coin_counts_as_coins_beside_it() -> None:
    host = Host().active()
    host.bought("1")
    two_positions(host)
    host.tell(exit_order(host, host.book.positions[0].position_id, style="ioc"))
    assert host.last(PlaceOrder).body.style is OrderStyle.LIMIT_GTD


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


def test_a_position_may_be_covered_from_the_same_other_one_twice() -> None:
    """Its purchase was reversed after the first time: the same id would end oms at every start."""
    host = Host().active()
    entry = host.bought("1", "100")
    host.run(2000.0, answer=quiet_venue(host))
    other = host.accepted_entry("v9", n=9, size="3")
    filled = [fill(other, "v9", f"e9{n}", size, "100", at_s=host.now.venue_s) for n, size in enumerate("21")]
    host.tell(update(other, "v9", "open", "2"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, filled[0])
    first = host.machine.desk.book.position_of(host.machine.desk.book.orders[entry.client_order_id].intent)
    host.tell(exit_order(host, first, n=0, reason="target"))
    host.run(1.1)
    lost = host.last(PlaceOrder)
    host.tell(outcome(lost, OutcomeKind.NOT_SENT, reason="late"))
    host.tell(exit_order(host, first, n=1, reason="target"))
    host.run(1.1)
    for place, vid in ((host.last(PlaceOrder), "v5"), (lost, "v6")):
        host.tell(update(place, vid, "filled", "1", "120"))
        host.run(1.0)
        host.answer_query(QueryKind.FILLS, fill(place, vid, "e" + vid, "1", "120", at_s=host.now.venue_s))
    sizes = [p.booked_size for p in host.machine.desk.book.positions.values()]
    assert sizes == [D(0), D(1)], "one was covered"
    host.tell(update(other, "v9", "filled", "3"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, filled[1])
    host.run(31.0)
    host.answer_query(QueryKind.ORDERS)
    host.answer_query(QueryKind.FILLS, fill(entry, "v1", "r1", "1", "100", kind="REVERSAL", at_s=host.now.venue_s))
    sizes = [p.booked_size for p in host.machine.desk.book.positions.values()]
    assert sizes == [D(0), D(1)], "and one more"


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


def test_an_exit_that_has_sold_and_is_listed_late_is_no_loss_by_another_hand() -> None:
    """It was accepted and filled; the balance shows it at once, listings and fills lag. The sale is booked once, as a sale."""
    host = Host().active()
    host.bought("1")
    host.run(31.0, answer=quiet_venue(host))
    position_id = host.book.positions[0].position_id
    host.tell(exit_order(host, position_id, "1", "95"))
    sale = host.last(PlaceOrder)
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, "v2"))
    sold = (Balance(currency="USD", available=D("9994"), hold=D(0)),)
    host.tell(FeedReset(epoch=2, connected=True))
    host.run(12.0, answer=quiet_venue(host, *sold))
    host.tell(update(sale, "v2", "filled", "1", "95"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(sale, "v2", "e2", "1", "95", at_s=host.now.venue_s))
    assert not any(c.startswith(("oms:external_reduction", "oms:oversold")) for c in host.conditions())
    assert host.book.realised_today_usd == D("-6")


def test_the_same_size_may_leave_by_another_hand_twice() -> None:
    """A fact under the id of another one would end oms at every start."""
    host = Host().active()
    place = host.accepted_entry(size="2", ttl_s=600.0)
    left = (
        Balance(currency="USD", available=D("9899"), hold=D(0)),
        Balance(currency="BTC", available=D("0.6"), hold=D(0)),
    )
    for entry_id, size, filled in (("e1", "1.0", "1.0"), ("e2", "0.4", "1.4")):
        host.tell(update(place, "v1", "open", filled))
        host.run(1.0)
        host.answer_query(QueryKind.FILLS, fill(place, "v1", entry_id, size, "100"))
        assert host.book.positions[0].booked_size == D(1)
        host.tell(FeedReset(epoch=2, connected=True))
        host.run(12.0, answer=quiet_venue(host, *left))
        assert host.book.positions[0].booked_size == D("0.6")
    assert [flow["size"] for flow in host.store.rows("flows").values() if flow["currency"] == "BTC"] == ["-0.4", "-0.4"]


def test_the_book_keeps_why_a_position_is_being_left_over_every_death() -> None:
    host = Host().active()
    host.bought("1")
    position_id = host.book.positions[0].position_id
    version = host.book.version
    host.tell(Tighten(position_id=position_id, stop_price=D(0), peak_price=D(0), leaving="operator"))
    host.tell(Tighten(position_id=position_id, stop_price=D(99), peak_price=D(100)))
    assert (host.book.positions[0].leaving, host.book.version) == ("operator", version)
    host.crash()
    assert host.book.positions[0].leaving == "operator"


def test_the_book_keeps_that_a_crash_has_tightened_a_stop_until_exits_say_that_it_is_over() -> None:
    host = Host().active()
    host.bought("1")
    position_id = host.book.positions[0].position_id
    host.tell(Tighten(position_id=position_id, stop_price=D(97), peak_price=D(100), crash_tightened=True))
    host.crash()
    assert host.book.positions[0].crash_tightened
    host.tell(Tighten(position_id=position_id, stop_price=D(97), peak_price=D(100)))
    host.crash()
    assert not host.book.positions[0].crash_tightened


@pytest.mark.parametrize(
    ("base_max", "quote_max", "size"), [("4", "100000", "4"), ("1000", "300", "3.3333"), ("9", "900", "9")]
)
def test_what_is_more_than_one_order_may_have_is_left_in_parts(base_max: str, quote_max: str, size: str) -> None:
    """Adopted coins, or a price that has risen: the gateway refuses what breaks the product's maximum, so that nothing would go."""
    host = Host().active()
    product = Product(
        product_id="BTC-USD", base_currency="BTC", quote_currency="USD", price_increment=D("0.01"), base_increment=D("0.0001"),
        quote_increment=D("0.01"), base_size_min=D("0.0001"), base_size_max=D(base_max), quote_size_min=D(1),
        quote_size_max=D(quote_max),
    )  # fmt: skip
    host.tell(CatalogSnapshot(n=1, products=(product,), fees=None, fetched_boot_s=host.boot_s))
    host.bought("9")
    host.tell(exit_order(host, host.book.positions[0].position_id, "9", "90"))
    body = host.last(PlaceOrder).body
    assert body.base_size == D(size)
    assert violation(product, body) == ""
    host.tell(outcome(host.last(PlaceOrder), OutcomeKind.NOT_SENT, reason="late"))
    host.tell(OperatorOrder(command_id="f1", verb="flatten", name="ann", cause="enough"))
    host.answer_query(QueryKind.BEST_BID_ASK, BestBidAsk(product_id="BTC-USD", bid=D(100), ask=D(101), exchange_s=0.0))
    flatten = host.last(PlaceOrder)
    assert flatten.purpose is Purpose.FLATTEN and violation(product, flatten.body) == ""


def test_the_same_size_may_leave_again_after_a_sale_was_reversed() -> None:
    """The reversal brings the position back to what it was when it was cut first: the same id would end oms at every start."""
    host = Host().active()
    host.bought("3")
    host.tell(exit_order(host, host.book.positions[0].position_id, "1", "95"))
    sale = host.last(PlaceOrder)
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, "v2"), update(sale, "v2", "filled", "1", "95"))
    host.run(1.0)
    sold = fill(sale, "v2", "e2", "1", "95", at_s=host.now.venue_s)
    host.answer_query(QueryKind.FILLS, sold)
    one = (Balance(currency="USD", available=D("9794"), hold=D(0)), Balance(currency="BTC", available=D(1), hold=D(0)))
    host.run(80.0, answer=quiet_venue(host, *one))
    assert host.book.positions[0].booked_size == D(1)
    undone = evolve(sold, entry_id="r2", trade_id="r2", kind="REVERSAL", trade_time_s=host.now.venue_s)
    quiet = quiet_venue(host, *one)

    def answer(send):
        return [evolve(p, items=(*p.items, *((undone,) if p.kind is QueryKind.FILLS else ()))) for p in quiet(send)]

    host.run(80.0, answer=answer)
    assert host.book.positions[0].booked_size == D(1)
    assert [flow["size"] for flow in host.store.rows("flows").values() if flow["currency"] == "BTC"] == ["-1", "-1"]
