"""What the gateway answers, and what it never may answer. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

from tests.oms.host import (
    GATEWAY,
    D,
    Host,
    approval,
    outcome,
)
from trading.machine import PeerRestarted
from trading.messages.book import Recovery
from trading.messages.control import (
    KillSnapshot,
)
from trading.messages.orders import (
    OutcomeKind,
    PlaceOrder,
    QueryKind,
    Withdraw,
)


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
