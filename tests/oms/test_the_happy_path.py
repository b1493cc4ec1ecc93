"""One order's life from approval to exit, and what others hear of it."""

from __future__ import annotations

from tests.oms.host import D, Host, approval, exit_order, fill, listing, outcome, update
from trading.messages.book import BookSnapshot, Recovery
from trading.messages.control import Drain, Drained, KillSnapshot
from trading.messages.decisions import Admitted, ExitVerdict, Refused, Stale
from trading.messages.orders import Balance, CancelOrders, Hello, OrderStyle, OutcomeKind, PlaceOrder, QueryKind


def test_nothing_is_admitted_before_hello_is_acknowledged_and_the_venue_agreed() -> None:
    host = Host()
    assert host.all(Hello)
    assert host.book.recovery is Recovery.RECOVERING
    host.tell(KillSnapshot(n=1, engaged=False), approval(host))
    assert host.last(Refused).code == "not_active"
    host.greet()
    host.answer_query(QueryKind.ORDERS)
    host.answer_query(QueryKind.FILLS)
    assert host.book.recovery is Recovery.ORDERS_KNOWN
    host.answer_query(QueryKind.BALANCES, Balance(currency="USD", available=D(5), hold=D(0)))
    host.tell(approval(host))
    assert host.all(Admitted)
    assert host.all(PlaceOrder)


def test_an_approved_entry_is_saved_sent_and_shown_before_it_is_answered() -> None:
    host = Host().active()
    message = approval(host, size="2", price="50")
    sent = host.tell(message)
    kinds = [type(s.message) for s in sent if s.role in ("risk", "gateway")]
    assert kinds == [PlaceOrder, BookSnapshot, Admitted]
    place, book, answer = (s.message for s in sent if s.role in ("risk", "gateway"))
    assert isinstance(place, PlaceOrder) and isinstance(book, BookSnapshot) and isinstance(answer, Admitted)
    assert answer.version == book.version != message.version
    assert book.orders[0].worst_usd == D("100.600")
    assert book.admitted_recently == (message.proposal.proposal_id,)
    assert place.body.end_time_s is not None and place.body.end_time_s >= host.now.venue_s + 2 + 20 + 30 - 1
    assert place.send_by_boot_s <= host.boot_s + 2.0
    assert host.store.rows("intents")[answer.intent_id]["proposal_id"] == message.proposal.proposal_id


def test_the_life_of_an_entry_and_its_exit_ends_with_the_cash_it_moved() -> None:
    host = Host().active()
    place = host.bought("1", "100")
    position = host.book.positions[0]
    assert (position.seen_size, position.booked_size, position.stop_price) == (D(1), D(1), D("92"))
    assert host.book.unbooked == ()
    host.tell(exit_order(host, position.position_id, "1", "110", reason="target"))
    assert host.last(ExitVerdict).admitted
    sale = host.last(PlaceOrder)
    assert sale.body.style is OrderStyle.LIMIT_IOC and sale.client_order_id != place.client_order_id
    host.tell(outcome(sale, OutcomeKind.ACCEPTED, "v2"), update(sale, "v2", "filled", "1", "110"))
    host.run(1.0)
    host.answer_query(QueryKind.FILLS, fill(sale, "v2", "e2", "1", "110"))
    assert host.book.positions == ()
    assert host.book.realised_today_usd == D(110) - D(100) - D("0.5") - D("0.5")
    assert host.store.rows("positions")[position.position_id]["outcome"] == "win"
    assert {c.kind for c in host.book.cooldowns} == {"fill", "win"}
    host.crash()
    told = [note.values["positions"] for note in host.notes if note.kind == "recovery"]
    assert told[-1] == 0, "what was sold is not a position that recovery found"


def test_what_rests_is_cancelled_at_its_time_to_live_and_again_until_it_is_over() -> None:
    host = Host().active()
    place = host.accepted_entry(ttl_s=20.0)
    host.run(19.0)
    assert not host.all(CancelOrders)
    host.run(10.0)
    assert len(host.all(CancelOrders)) >= 3
    assert host.last(CancelOrders).venue_order_ids == ("v1",)
    host.tell(update(place, "v1", "canceled", "0"))
    assert host.book.orders[0].ended_by_ttl
    before = len(host.all(CancelOrders))
    host.run(10.0)
    assert len(host.all(CancelOrders)) == before


def test_a_restart_keeps_what_rests_and_withdraws_what_was_not_answered() -> None:
    host = Host().active()
    place = host.accepted_entry()
    host.crash()
    host.greet()
    host.tell(KillSnapshot(n=1, engaged=False))
    host.reconcile(orders=(listing(place, "v1", "open"),))
    assert host.book.recovery is Recovery.RECONCILED
    assert [o.status for o in host.book.orders] == ["accepted"]
    assert not host.all(CancelOrders)
    assert len(host.all(PlaceOrder)) == 1


def test_a_drain_cancels_settles_and_answers_clean() -> None:
    host = Host().active()
    place = host.accepted_entry()
    host.tell(Drain(run_number=7))
    assert host.last(CancelOrders).venue_order_ids == ("v1",)
    assert not host.all(Drained)
    host.tell(update(place, "v1", "canceled", "0"))
    drained = host.last(Drained)
    assert drained.clean and drained.run_number == 7 and drained.canceled == (place.client_order_id,)


def test_a_drain_that_cannot_settle_says_that_orders_may_live() -> None:
    host = Host().active()
    place = host.admit(approval(host))
    host.tell(outcome(place, OutcomeKind.UNKNOWN), Drain(run_number=7))
    host.run(5.0)
    assert not host.all(Drained)
    host.run(2.0)
    assert not host.last(Drained).clean
    assert host.last(Drained).unknown == (place.client_order_id,)


def test_an_approval_on_an_old_version_is_stale_and_the_newer_snapshot_goes_first() -> None:
    host = Host().active()
    old = approval(host, n=1)
    host.tell(approval(host, n=2, product="ETH-USD"))
    sent = host.tell(old)
    kinds = [type(s.message) for s in sent if s.role == "risk"]
    assert kinds == [BookSnapshot, Stale]
    assert len(host.all(PlaceOrder)) == 1
