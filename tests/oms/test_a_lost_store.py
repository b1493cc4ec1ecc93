"""A lost store means more caution, never less. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

from exchange.coinbase.gateway import POSTED_TOLD_S
from tests.oms.host import GATEWAY, D, Host, approval
from tests.oms.talk import (
    HELD,
    lost_store,
    quiet_venue,
)
from trading.machine import PeerRestarted
from trading.messages.book import Recovery
from trading.messages.control import Drain, Drained, KillSnapshot
from trading.messages.decisions import Refused
from trading.messages.orders import Hello, HelloAck, OrderOutcome, OutcomeKind, QueryKind
from trading.oms_settings import OmsSettings


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


def told_of(*posted: str) -> Host:
    """A new oms with an empty book whose gateway posted these, and a venue that lists nothing yet."""
    host = Host()
    mine = host.last(Hello).oms_incarnation
    host.tell(HelloAck(oms_incarnation=mine, gateway_incarnation=GATEWAY, posted=posted))
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile()
    return host


def late(key: str, kind: OutcomeKind) -> OrderOutcome:
    return OrderOutcome(client_order_id=key, kind=kind, gateway_incarnation=GATEWAY)


def test_a_posted_order_without_a_record_keeps_entries_waiting_until_the_venue_must_have_listed_it() -> None:
    host = told_of("bh-lost")
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    assert "oms:recovering" in host.conditions()
    host.tell(approval(host))
    assert host.last(Refused).code == "not_active"
    host.run(170.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    host.run(20.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.RECONCILED
    assert "oms:recovering" not in host.conditions()


def test_the_gateway_tells_of_a_post_for_less_time_than_oms_keeps_its_record() -> None:
    assert OmsSettings().settle.ioc_horizon_s < POSTED_TOLD_S < OmsSettings().retain_s


def test_a_stop_with_a_posted_order_without_a_record_is_not_clean_and_names_it() -> None:
    host = told_of("bh-lost")
    host.tell(Drain(run_number=1))
    host.run(OmsSettings().drain_wait_s + 2.0, answer=quiet_venue(host))
    assert (host.last(Drained).clean, host.last(Drained).unknown) == (False, ("bh-lost",))


def test_the_late_outcome_of_an_order_without_a_record_counts() -> None:
    host = told_of("bh-queued")
    host.tell(late("bh-queued", OutcomeKind.NOT_SENT))
    host.run(3.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.RECONCILED
    host.tell(late("bh-in-the-mail", OutcomeKind.ACCEPTED), Drain(run_number=1))
    host.run(OmsSettings().drain_wait_s + 2.0, answer=quiet_venue(host))
    assert (host.last(Drained).clean, host.last(Drained).unknown) == (False, ("bh-in-the-mail",))


def test_while_an_order_is_lost_every_listing_looks_as_far_back_as_the_first() -> None:
    host = told_of("bh-lost")
    host.run(5.0, answer=quiet_venue(host))
    asked = host.queries(QueryKind.ORDERS)
    assert len(asked) >= 3
    assert all(q.since_s is not None and q.since_s <= host.now.venue_s - 7_200.0 for q in asked)


def test_a_new_gateway_that_has_posted_nothing_does_not_unsay_what_the_one_before_it_said() -> None:
    host = told_of("bh-lost")
    host.tell(PeerRestarted("gateway", (1, 60)))
    mine = host.last(Hello).oms_incarnation
    host.tell(HelloAck(oms_incarnation=mine, gateway_incarnation=(1, 60)), Drain(run_number=1))
    host.run(OmsSettings().drain_wait_s + 2.0, answer=quiet_venue(host))
    assert (host.last(Drained).clean, host.last(Drained).unknown) == (False, ("bh-lost",))


def test_an_order_that_the_venue_never_listed_does_not_come_back_with_the_next_one_that_is_lost() -> None:
    host = told_of("bh-lost")
    host.run(190.0, answer=quiet_venue(host))
    assert host.book.recovery is Recovery.RECONCILED
    host.tell(late("bh-other", OutcomeKind.ACCEPTED), Drain(run_number=1))
    host.run(OmsSettings().drain_wait_s + 2.0, answer=quiet_venue(host))
    assert (host.last(Drained).clean, host.last(Drained).unknown) == (False, ("bh-other",))
