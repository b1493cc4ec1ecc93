"""A lost store means more caution, never less. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

from copy import deepcopy

import pytest
from attrs import evolve

from tests.oms.host import D, Host, approval, exit_order, fill, listing, outcome, page_of, update
from tests.oms.talk import (
    HELD,
    lost_store,
    quiet_venue,
    telling_venue,
)
from trading.messages.book import Recovery
from trading.messages.control import CommandDone, Drain, Drained, KillSnapshot, OperatorOrder
from trading.messages.decisions import ExitVerdict, Refused
from trading.messages.orders import (
    Balance,
    CancelOrders,
    OutcomeKind,
    PlaceOrder,
    Query,
    QueryKind,
    VenueFill,
    VenueOrder,
)
from trading.oms_settings import OmsSettings
from trading.values import Purpose, Side, client_order_id

WAIT_S = OmsSettings().settle.last_word_s


def test_a_lost_store_means_more_caution_never_less() -> None:
    host, shown, made = lost_store()
    since = host.queries(QueryKind.ORDERS)[-1].since_s
    assert since is not None and since <= host.now.venue_s - 7_200.0
    host.reconcile(orders=shown, balances=HELD)
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, *made)
    assert host.book.positions == ()
    assert [(f.currency, f.size) for f in host.book.foreign] == [("BTC", D(1))]
    host.run(WAIT_S + 10.0, answer=quiet_venue(host, *HELD))
    host.tell(approval(host))
    assert host.last(Refused).code == "per_symbol_cooldown"


def readopted(balances: tuple[Balance, ...]) -> tuple[Host, tuple, tuple]:
    """A lost book's position is adopted by what the account holds: (host, the orders listed, the fills made)."""
    host, shown, made = lost_store(adopt=True)
    host.reconcile(orders=shown, balances=balances)
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, *made)
    host.run(32.0, answer=quiet_venue(host, *balances))
    return host, shown, made


def test_adopt_from_venue_rebuilds_positions_from_our_own_fills_once() -> None:
    host, _, _ = readopted(HELD)
    position = host.book.positions[0]
    assert (position.booked_size, position.average_price, position.stop_price) == (D(1), D(100), D(94))
    assert host.book.foreign == ()
    host.run(100.0, answer=quiet_venue(host, *HELD))
    assert len(host.book.positions) == 1
    assert host.book.flows_usd == 0 and host.book.drift_usd == 0
    assert host.book.begun_by, "so that nobody compares its flows with those of the lost one"


def rebuilt(**kwargs: object) -> Host:
    """A new oms with an empty book in the place of a lost one, and a venue that lists nothing yet."""
    host = Host(lost_book=True, **kwargs)  # type: ignore[arg-type]
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile()
    return host


def test_after_a_lost_book_entries_wait_until_whatever_was_on_its_way_is_listed_or_dead() -> None:
    host = rebuilt()
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    assert "oms:recovering" in host.conditions()
    host.tell(approval(host))
    assert host.last(Refused).code == "not_active"
    host.run(WAIT_S - 10.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    host.run(20.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.RECONCILED
    assert "oms:recovering" not in host.conditions()


def test_the_wait_after_a_lost_book_outlives_the_order_manager_and_the_gateway() -> None:
    host = rebuilt()
    for second in range(3):
        host.run(30.0, answer=quiet_venue(host))
        host.crash()
        host.greet((1, 60 + second))
        host.tell(KillSnapshot(n=1, engaged=False))
    host.run(WAIT_S - 100.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    host.run(30.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.RECONCILED
    host.crash()
    host.active()


def test_the_wait_after_a_lost_book_begins_anew_with_the_boot_clock() -> None:
    host = rebuilt(boot_s=5_000.0)
    host.boot_s = 40.0
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.run(WAIT_S - 10.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    host.run(20.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.RECONCILED


def test_a_first_start_waits_for_nothing_also_when_it_dies_before_it_has_spoken() -> None:
    host = Host()
    host.lost_book = True  # what every later life is told: the first one's first row says otherwise
    host.crash()
    host.active()


def test_a_stop_soon_after_a_lost_book_is_not_clean() -> None:
    host = rebuilt()
    host.tell(Drain(run_number=1))
    host.run(OmsSettings().drain_wait_s + 2.0, answer=quiet_venue(host))
    assert not host.last(Drained).clean


def test_while_an_order_may_come_to_light_every_listing_looks_as_far_back_as_the_first_and_soon_again() -> None:
    host = rebuilt()
    host.run(21.0, answer=quiet_venue(host))
    asked = host.queries(QueryKind.ORDERS)
    assert len(asked) >= 4
    assert all(q.since_s is not None and q.since_s <= host.now.venue_s - 7_200.0 for q in asked)


def venue_with(host: Host, place: PlaceOrder, *, coins: str, shown_from_s: float = 0.0):
    """A venue that shows the filled order `place` from a moment on; `coins` BTC are in the account, some of others."""

    def answer(send):
        query = send.message
        if not isinstance(query, Query):
            return []
        items: tuple[object, ...] = ()
        if query.kind is QueryKind.BALANCES:
            items = (
                Balance(currency="USD", available=D("9899.5"), hold=D(0)),
                Balance(currency="BTC", available=D(coins), hold=D(0)),
            )
        elif host.boot_s >= shown_from_s and query.kind is QueryKind.ORDERS:
            items = (listing(place, "v1", "filled", "1"),)
        elif host.boot_s >= shown_from_s and query.kind is QueryKind.FILLS:
            items = (fill(place, "v1", "e1v1", "1", "100"),)
        return [page_of(query, *items, now=host.boot_s)]

    return answer


def held(host: Host) -> list[D]:
    return [position.booked_size for position in host.book.positions]


def adopting() -> tuple[Host, PlaceOrder]:
    """The next run of a bot that bought 1 BTC and lost its book; it was started with --adopt-from-venue."""
    place = Host().active().bought("1", "100")
    host = Host(lost_book=True, adopt=True)
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    return host, place


def test_what_the_venue_lists_late_is_adopted_as_well() -> None:
    host, place = adopting()
    host.run(60.0, answer=venue_with(host, place, coins="1", shown_from_s=host.boot_s + 29.0))
    assert held(host) == [D(1)]


def test_an_adoption_goes_on_in_the_next_life_although_nobody_says_it_again() -> None:
    host, place = adopting()
    host.adopt = False
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.run(10.0, answer=venue_with(host, place, coins="1"))
    assert held(host) == [D(1)]


def test_a_second_start_with_the_flag_takes_nothing_of_the_owner() -> None:
    host, place = adopting()
    host.run(10.0, answer=venue_with(host, place, coins="6"))
    for run in (2, 3):
        host.run_number = run
        host.crash()
        host.greet()
        host.tell(KillSnapshot(n=1, engaged=False))
        host.run(20.0, answer=venue_with(host, place, coins="6"))
    assert held(host) == [D(1)]


def test_the_flag_on_a_whole_book_asks_no_further_back_than_the_book_remembers_and_says_that_it_did_nothing() -> None:
    """It once booked retired orders a second time, under another name, and no later start survived those rows."""
    host = Host().active()
    place = host.bought("1", "100")
    host.tell(exit_order(host, next(iter(host.machine.desk.book.positions)), size="1", price="90"))
    sale = host.last(PlaceOrder)
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, "x1"), update(sale, "x1", "filled", "1", "95"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(sale, "x1", "e2", "1", "95"))
    flat = Balance(currency="USD", available=D(9994), hold=D(0))
    host.boot_s += OmsSettings().retain_s + 1_000.0
    host.run(200.0, answer=quiet_venue(host, flat))
    assert place.client_order_id not in host.machine.desk.book.orders
    host.adopt = True
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    assert "oms:adoption" in host.conditions()
    host.run(20.0, answer=quiet_venue(host, flat))
    asked = [query.since_s for query in host.queries(QueryKind.ORDERS)]
    assert all(since is not None and since > host.now.venue_s - OmsSettings().retain_s for since in asked[-3:])
    assert host.book.recovery is Recovery.RECONCILED


def test_a_loss_of_today_counts_again_after_the_book_was_taken_from_the_venue() -> None:
    host, place = adopting()
    ours = client_order_id("abcd", "the sale")
    sale = evolve(listing(place, "x1", "filled", "1", ours), side=Side.SELL)
    proceeds = evolve(fill(place, "x1", "e2", "1", "90", at_s=host.now.venue_s), side=Side.SELL)
    flat = venue_with(host, place, coins="0")
    more = {QueryKind.ORDERS: (sale,), QueryKind.FILLS: (proceeds,)}

    def answer(send):
        return [evolve(page, items=(*page.items, *more.get(page.kind, ()))) for page in flat(send)]

    host.run(10.0, answer=answer)
    assert host.book.positions == ()
    assert host.book.realised_today_usd == D("-11.0"), "ten of price, two fees of a half"
    assert [usd for _, usd in host.book.counters.realised] == [D("-11.0")]


def account(coins: str, usd: str) -> tuple[Balance, ...]:
    rows = (("USD", D(usd)), ("BTC", D(coins)))
    return tuple(Balance(currency=currency, available=size, hold=D(0)) for currency, size in rows)


def test_what_comes_back_to_the_account_while_a_book_is_rebuilt_is_adopted_beside_what_was() -> None:
    """A balance that lags behind, or coins that return: a second adoption under the id of the first would end oms at every start."""
    host, shown, made = lost_store(adopt=True)
    host.reconcile(orders=shown, balances=account("0.6", "9899.5"))
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, *made)
    host.run(20.0, answer=quiet_venue(host, *account("0.6", "9899.5")))
    assert [p.booked_size for p in host.book.positions] == [D("0.6")]
    host.run(20.0, answer=quiet_venue(host, *account("1", "9899.5")))
    assert [p.booked_size for p in host.book.positions] == [D("0.6"), D("0.4")]


def put_back() -> tuple[Host, str, PlaceOrder]:
    """The owner has a BTC, too. A copy of the store is made, our position is to be sold, and the copy is put back."""
    host = Host()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile(balances=account("1", "10000"))
    host.bought("1")
    position_id = host.book.positions[0].position_id
    host.run(31.0, answer=quiet_venue(host, *account("2", "9899.5")))
    copy = deepcopy(host.store)
    host.tell(exit_order(host, position_id, "1", "95"))
    sale = host.last(PlaceOrder)
    host.store = copy
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    return host, position_id, sale


def restored_after_a_sale(size: str = "1", price: str = "95") -> tuple[Host, str]:
    host, position_id, sale = put_back()
    host.answer_query(QueryKind.ORDERS, listing(sale, "v2", "filled" if size == "1" else "canceled", size))
    fills = [fill(sale, "v2", "e2", size, price, at_s=host.now.venue_s)] if D(size) else []
    host.answer_query(QueryKind.FILLS, *fills)
    host.answer_query(QueryKind.BALANCES, *account(str(2 - D(size)), "9994"))
    return host, position_id


@pytest.mark.parametrize(("price", "streak"), [("95", 1), ("105", 0)])
def test_a_sale_without_a_row_is_lost_in_a_row_by_what_it_came_to(price: str, streak: int) -> None:
    """The position itself was cut at cost, which is no win: a sale with a gain counted as a loss."""
    host, _ = restored_after_a_sale(price=price)
    host.run(20.0, answer=quiet_venue(host, *account("1", "9994")))
    assert host.book.counters.loss_streak == streak


def test_what_an_exit_without_a_row_has_sold_is_not_sold_again_from_the_owners_coins() -> None:
    host, position_id = restored_after_a_sale()
    host.run(20.0, answer=quiet_venue(host, *account("1", "9994")))
    assert host.book.positions == ()
    assert host.book.realised_today_usd == D("-6"), "bought at 100, sold at 95, with two fees"
    before = len(host.all(PlaceOrder))
    host.tell(exit_order(host, position_id, "1", "90", n=0))
    host.run(3.0, answer=quiet_venue(host, *account("1", "9994")))
    assert len(host.all(PlaceOrder)) == before
    assert [(f.currency, f.size) for f in host.book.foreign] == [("BTC", D(1))]


@pytest.mark.parametrize(("status", "sold"), [("filled", "1"), ("open", "0"), ("canceled", "0.4")])
def test_what_an_exit_without_a_row_may_have_sold_is_not_sold_while_its_fills_are_not_listed_yet(status, sold) -> None:
    """The listing of orders shows it, that of fills lags: a stop would sell the owner's coins in those seconds."""
    host, position_id, sale = put_back()
    shown = listing(sale, "v2", status, sold)
    host.answer_query(QueryKind.ORDERS, shown)
    host.answer_query(QueryKind.FILLS)
    host.tell(exit_order(host, position_id, "1", "90", n=1))
    host.run(1.5)
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    assert {p.body.base_size for p in exits_since(host, sale)} == ({D("0.6")} if status == "canceled" else set())


def test_an_exit_that_rests_makes_room_for_an_order_without_a_row_that_sells_the_same_coins() -> None:
    """Both would sell: one of them the owner's."""
    host, position_id, sale = put_back()
    host.answer_query(QueryKind.ORDERS)
    host.answer_query(QueryKind.FILLS)
    host.tell(exit_order(host, position_id, "1", "110", n=7, style="post_only"))
    resting = host.last(PlaceOrder)
    host.tell(outcome(resting, OutcomeKind.ACCEPTED, "v7"))
    host.tell(update(sale, "v2", "open", "0.4"))
    assert {i for c in host.all(CancelOrders) for i in c.venue_order_ids} == {"v2", "v7"}


def exits_since(host: Host, sale: PlaceOrder) -> list[PlaceOrder]:
    placed = host.all(PlaceOrder)
    return [p for p in placed[placed.index(sale) + 1 :] if p.purpose is Purpose.EXIT]


@pytest.mark.parametrize(("sold", "left"), [("0.4", "0.6"), ("0", "1")])
def test_the_number_of_an_exit_whose_row_is_lost_is_used_up(sold, left) -> None:
    """The venue would answer the same id with the old order, whose fills are booked: the rest could never be sold."""
    host, position_id = restored_after_a_sale(sold)
    known = {p.client_order_id for p in host.all(PlaceOrder)}
    assert host.book.positions[0].booked_size == D(left)
    host.tell(exit_order(host, position_id, left, "90", n=0))
    assert {p.client_order_id for p in host.all(PlaceOrder)} == known
    assert (host.last(ExitVerdict).code, host.book.positions[0].exit_n) == ("exit_id_used", 1)
    host.tell(exit_order(host, position_id, left, "90", n=1))
    assert host.last(PlaceOrder).client_order_id not in known
    assert host.last(PlaceOrder).body.base_size == D(left)


def test_a_copy_of_the_store_that_is_days_old_asks_for_all_orders_since_then() -> None:
    host = Host().active()
    read_to_s = host.machine.desk.book.meta.cursor_s
    host.boot_s += 3 * 86_400.0
    host.crash()
    host.greet()
    since_s = host.queries(QueryKind.ORDERS)[-1].since_s
    assert since_s is not None and read_to_s is not None and since_s <= read_to_s


def test_an_exit_that_is_listed_after_its_position_was_rebuilt_is_not_made_good_with_the_owners_coins() -> None:
    host, shown, made = readopted(account("2", "9899.5"))
    assert host.book.positions[0].booked_size == D(1)
    sale = evolve(shown[0], venue_order_id="v9", client_order_id="bh-abcd-late", side=Side.SELL)
    sold = evolve(made[0], venue_order_id="v9", entry_id="e9", trade_id="t9", side=Side.SELL, price=D(95))
    host.run(
        20.0, answer=telling_venue(host, orders=(*shown, sale), fills=(*made, sold), balances=account("1", "9994"))
    )
    assert host.book.positions == ()


def test_what_orders_without_a_row_bought_and_sold_again_cuts_no_position() -> None:
    """A copy that is put back knows one position; another was bought and sold since."""
    host = Host().active()
    place = host.bought("1")
    bought = evolve(listing(place, "v8", "filled", "1"), client_order_id="bh-abcd-other")
    sale = evolve(bought, venue_order_id="v9", client_order_id="bh-abcd-sale", side=Side.SELL)
    made = fill(place, "v8", "e8", "1", "100")
    sold = evolve(made, venue_order_id="v9", entry_id="e9", trade_id="t9", side=Side.SELL)
    host.run(32.0, answer=lambda send: [])
    host.answer_query(QueryKind.ORDERS, sale, bought)
    host.answer_query(QueryKind.FILLS, sold)
    assert host.book.positions[0].booked_size == D(1), "the purchase is not booked yet: nobody knows"
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, made)
    assert host.book.positions[0].booked_size == D(1)


def bought_without_row() -> tuple[Host, VenueOrder, VenueFill]:
    """A position of 1, and beside it 1 that an order of ours without a row has bought and that is booked."""
    host = Host().active()
    place = host.bought("1")
    bought = evolve(listing(place, "v8", "filled", "1"), client_order_id="bh-abcd-other")
    made = fill(place, "v8", "e8", "1", "100")
    host.run(32.0, answer=lambda send: [])
    host.answer_query(QueryKind.ORDERS, bought)
    host.answer_query(QueryKind.FILLS, made)
    host.answer_query(QueryKind.BALANCES, *account("2", "9799"))
    return host, bought, made


def test_what_an_order_without_a_row_sells_of_its_own_earlier_purchase_cuts_no_position() -> None:
    """`smoke --order` beside the bot: it buys, and sells again a while later."""
    host, bought, made = bought_without_row()
    sale = evolve(bought, venue_order_id="v9", client_order_id="bh-abcd-sale", side=Side.SELL)
    host.run(40.0, answer=lambda send: [])
    host.answer_query(QueryKind.ORDERS, bought, sale)
    sold = evolve(made, venue_order_id="v9", entry_id="e9", trade_id="t9", side=Side.SELL)
    host.answer_query(QueryKind.FILLS, made, sold)
    assert host.book.positions[0].booked_size == D(1)


def test_a_late_sale_whose_loss_two_balance_passes_have_cut_already_cuts_nothing_again() -> None:
    """Half of a rebuilt position was sold by an order on its way; the balance told it before the listing did."""
    host, shown, made = readopted(HELD)
    assert host.book.positions[0].booked_size == D(1)
    sold_s = host.now.venue_s
    host.run(70.0, answer=quiet_venue(host, *account("0.5", "9947")))
    assert host.book.positions[0].booked_size == D("0.5")
    sale = evolve(shown[0], venue_order_id="v9", client_order_id="bh-abcd-late", side=Side.SELL, filled_size=D("0.5"))
    sold = evolve(
        made[0],
        venue_order_id="v9",
        entry_id="e9",
        trade_id="t9",
        side=Side.SELL,
        base_size=D("0.5"),
        trade_time_s=sold_s,
    )
    host.run(
        40.0,
        answer=telling_venue(
            host,
            orders=(*shown, evolve(sale, base_size=D("0.5"))),
            fills=(*made, sold),
            balances=account("0.5", "9947"),
        ),
    )
    assert host.machine.desk.book.find(None, "v9") is not None
    assert [p.booked_size for p in host.book.positions] == [D("0.5")]
    assert host.book.foreign == ()


def test_a_restart_between_purchase_and_sale_of_orders_without_a_row_cuts_no_position() -> None:
    host, bought, made = bought_without_row()
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    sale = evolve(bought, venue_order_id="v9", client_order_id="bh-abcd-sale", side=Side.SELL)
    sold = evolve(made, venue_order_id="v9", entry_id="e9", trade_id="t9", side=Side.SELL)
    host.reconcile(orders=(bought, sale), fills=(made, sold), balances=account("1", "9899"))
    assert host.book.positions[0].booked_size == D(1)


def test_a_restart_before_all_sales_without_a_row_are_booked_forgets_none_of_them() -> None:
    """The first was booked and waits for the second, whose fill is listed late; the owner's coins hide what is missing."""
    host = Host().active()
    place = host.bought("1")
    first = evolve(listing(place, "v8", "filled", "0.6"), base_size=D("0.6"), side=Side.SELL)
    sales = (
        evolve(first, client_order_id="bh-abcd-first"),
        evolve(first, client_order_id="bh-abcd-next", venue_order_id="v9", base_size=D("0.4"), filled_size=D("0.4")),
    )
    sold = evolve(fill(place, "v8", "e8", "0.6", "95", at_s=host.now.venue_s), side=Side.SELL)
    late = evolve(sold, venue_order_id="v9", entry_id="e9", trade_id="t9", base_size=D("0.4"))
    host.run(32.0, answer=lambda send: [])
    host.answer_query(QueryKind.ORDERS, *sales)
    host.answer_query(QueryKind.FILLS, sold)
    assert host.book.positions[0].booked_size == D(1), "one of them is not booked yet: nobody knows"
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile(orders=sales, fills=(sold, late), balances=account("1", "9994"))
    assert host.book.positions == ()


def sold_by_hand_of_ours(host: Host, place: PlaceOrder) -> tuple[VenueOrder, VenueFill]:
    """An exit of one coin that has no row, and its fill."""
    sale = evolve(listing(place, "v9", "filled", "1"), client_order_id="bh-abcd-sale", side=Side.SELL)
    return sale, evolve(fill(place, "v9", "e9", "1", "95", at_s=host.now.venue_s), side=Side.SELL)


def test_a_sale_without_a_row_waits_until_what_its_position_has_bought_is_booked() -> None:
    """The copy was made between the purchase and its booking: there was no position yet that could be cut, and later none was."""
    host = Host().active()
    place = host.accepted_entry()
    host.tell(update(place, "v1", "filled", "1"))
    sale, sold = sold_by_hand_of_ours(host, place)
    host.run(32.0, answer=lambda send: [])
    host.answer_query(QueryKind.ORDERS, sale)
    host.answer_query(QueryKind.FILLS, sold)
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(place, "v1", "e1", "1", "100"))
    assert host.book.positions == ()


def test_what_a_sale_without_a_row_found_no_position_for_cuts_none_of_later() -> None:
    host = Host().active()
    first = host.accepted_entry(n=8, product="ETH-USD")
    sale, sold = sold_by_hand_of_ours(host, evolve(first, body=evolve(first.body, product_id="BTC-USD")))
    host.run(32.0, answer=lambda send: [])
    host.answer_query(QueryKind.ORDERS, sale)
    host.answer_query(QueryKind.FILLS, sold)
    host.boot_s += 10_000.0
    host.run(1.0, answer=quiet_venue(host))
    place = host.accepted_entry()
    host.tell(update(place, "v1", "filled", "1"))
    host.crash()
    host.greet()
    host.run(1.0)
    host.reconcile(fills=(fill(place, "v1", "e1", "1", "100"),))
    assert [p.booked_size for p in host.book.positions if p.product_id == "BTC-USD"] == [D(1)]


def test_a_late_sale_that_was_missing_from_the_balance_at_the_rebuilding_cuts_nothing() -> None:
    """The account held half of what was bought, so half was adopted; then the sale of the other half is listed."""
    host, shown, made = readopted(account("0.5", "9947"))
    assert [p.booked_size for p in host.book.positions] == [D("0.5")]
    half = {"venue_order_id": "v9", "side": Side.SELL, "base_size": D("0.5")}
    late = telling_venue(
        host,
        orders=(*shown, evolve(shown[0], client_order_id="bh-abcd-late", filled_size=D("0.5"), **half)),
        fills=(*made, evolve(made[0], entry_id="e9", trade_id="t9", **half)),
        balances=account("0.5", "9947"),
    )
    host.run(40.0, answer=late)
    assert host.machine.desk.book.find(None, "v9") is not None
    assert [p.booked_size for p in host.book.positions] == [D("0.5")]
    assert host.book.foreign == ()
    for n, seconds in enumerate((0.0, WAIT_S + 60.0)):
        host.run(seconds, answer=late)
        assert host.machine.desk.book.meta.adopting is (n == 0)
        host.tell(exit_order(host, host.book.positions[0].position_id, "0.5", "95", n=n))
        assert host.last(ExitVerdict).admitted, "nor does it hold up the exits of what there is"
        host.tell(outcome(host.last(PlaceOrder), OutcomeKind.NOT_SENT, reason="late"))


def test_what_a_rebuilt_position_has_sold_itself_does_not_excuse_a_late_sale() -> None:
    """The owner has a BTC. Our new exit sold four tenths of the adopted one, an order of the lost book the other six."""
    host, shown, made = readopted(account("2", "9899.5"))
    host.tell(exit_order(host, host.book.positions[0].position_id, "0.4", "95"))
    exit_ = host.last(PlaceOrder)
    host.tell(outcome(exit_, OutcomeKind.ACCEPTED, "v5"), update(exit_, "v5", "filled", "0.4", "95"))
    sold = fill(exit_, "v5", "e5", "0.4", "95", at_s=host.now.venue_s)
    rest = {"venue_order_id": "v9", "side": Side.SELL, "base_size": D("0.6")}
    host.run(
        40.0,
        answer=telling_venue(
            host,
            orders=(*shown, evolve(shown[0], client_order_id="bh-abcd-late", filled_size=D("0.6"), **rest)),
            fills=(*made, sold, evolve(made[0], entry_id="e9", trade_id="t9", **rest)),
            balances=account("1", "9994"),
        ),
    )
    assert host.machine.desk.book.find(None, "v9") is not None
    assert host.book.positions == ()


def test_what_orders_of_ours_bought_is_no_deposit_when_a_person_gives_it_back_to_the_bot() -> None:
    """The mark had it in already: a drawdown of as much, seen while the coins were nobody's, stayed for good."""
    host, shown, made = lost_store()
    host.reconcile(orders=shown, balances=HELD)
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, *made)
    more = (HELD[0], Balance(currency="BTC", available=D(3), hold=D(0)))
    host.run(WAIT_S + 32.0, answer=quiet_venue(host, *more))
    for n, size in enumerate(("0.5", "2", "0.5")):
        args = (("symbol", "BTC-USD"), ("size", size), ("price", "100"))
        host.tell(OperatorOrder(command_id=f"a{n}", verb="adopt", name="ann", cause="ours", args=args))
        assert host.last(CommandDone).ok, host.last(CommandDone).text
        host.run(32.0, answer=quiet_venue(host, *more))
    assert host.book.adopted_usd == 200, "of three coins two were the person's own"
