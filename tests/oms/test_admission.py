"""Admission: what becomes an intent, and what does not. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

from tests.oms.host import (
    D,
    Host,
    approval,
    outcome,
    update,
)
from trading.machine import PeerRestarted
from trading.messages.control import (
    CommandDone,
    OperatorOrder,
)
from trading.messages.decisions import Admitted, Refused, Stale, Tighten
from trading.messages.orders import (
    OutcomeKind,
    PlaceOrder,
)


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
