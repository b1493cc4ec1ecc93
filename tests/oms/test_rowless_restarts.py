"""What orders without a row have sold is judged once, whatever life it is judged in."""

from __future__ import annotations

from attrs import evolve

from tests.oms.host import D, Host, fill, listing, update
from tests.oms.talk import lost_store, quiet_venue, telling_venue
from tests.oms.test_a_lost_store import WAIT_S, account, sold_by_hand_of_ours
from trading.messages.control import KillSnapshot
from trading.messages.orders import PlaceOrder, QueryKind
from trading.values import Side


def test_a_sale_that_is_listed_after_another_was_judged_is_not_forgotten_by_a_restart() -> None:
    """Two exits without a row: one is booked and cuts the position, the other one's first fill waits for its second."""
    host = Host().active()
    place = host.bought("1")
    first, sold = sold_by_hand_of_ours(host, place)
    part = D("0.4")
    first = evolve(first, client_order_id="bh-abcd-first", venue_order_id="v8", base_size=part, filled_size=part)
    sold = evolve(sold, venue_order_id="v8", entry_id="e8", trade_id="t8", base_size=part)
    later_s = host.now.venue_s + 5.0
    host.run(32.0, answer=lambda send: [])
    host.answer_query(QueryKind.ORDERS, first)
    host.answer_query(QueryKind.FILLS, sold)
    assert [p.booked_size for p in host.book.positions] == [D("0.6")]
    host.answer_query(QueryKind.BALANCES, *account("1", "9994"))
    next_ = evolve(first, client_order_id="bh-abcd-next", venue_order_id="v9", base_size=D("0.6"), filled_size=D("0.6"))
    one = evolve(sold, venue_order_id="v9", entry_id="e9", trade_id="t9", base_size=D("0.3"), trade_time_s=later_s)
    other = evolve(one, entry_id="e10", trade_id="t10")
    host.run(40.0, answer=lambda send: [])
    host.answer_query(QueryKind.ORDERS, first, next_)
    host.answer_query(QueryKind.FILLS, sold, one)
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile(orders=(first, next_), fills=(sold, one, other), balances=account("1", "9994"))
    assert host.book.positions == ()


def test_a_sale_that_the_rebuilding_excused_cuts_no_position_of_a_later_life() -> None:
    """Of a lost book only a sale is listed, since its purchase is older. A position that is opened later has nothing to do with it."""
    host, shown, made = lost_store(adopt=True)
    sale = evolve(shown[0], venue_order_id="v9", client_order_id="bh-abcd-sale", side=Side.SELL)
    sold = evolve(made[0], venue_order_id="v9", entry_id="e9", trade_id="t9", side=Side.SELL)
    balances = account("0", "10000")
    host.reconcile(orders=(sale,), balances=balances)
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, sold)
    host.run(WAIT_S + 60.0, answer=telling_venue(host, (sale,), (sold,), balances))
    assert not host.machine.desk.book.meta.adopting
    host.boot_s += 10_000.0
    host.run(40.0, answer=quiet_venue(host, *balances))
    place = host.accepted_entry(n=9)
    assert isinstance(place, PlaceOrder)
    host.tell(update(place, "v1", "filled", "1"))
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.run(1.0)
    host.reconcile(orders=(listing(place, "v1", "filled", "1"),), fills=(fill(place, "v1", "e1", "1", "100"),))
    assert [p.booked_size for p in host.book.positions] == [D(1)]
