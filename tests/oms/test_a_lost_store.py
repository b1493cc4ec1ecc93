"""A lost store means more caution, never less. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

from tests.oms.host import D, Host, approval
from tests.oms.talk import (
    HELD,
    lost_store,
    quiet_venue,
)
from trading.messages.book import Recovery
from trading.messages.control import Drain, Drained, KillSnapshot
from trading.messages.decisions import Refused
from trading.messages.orders import QueryKind
from trading.oms_settings import OmsSettings

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
