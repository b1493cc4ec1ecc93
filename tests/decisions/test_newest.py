"""An owner that died may still have mail under way: what is older than what is known changes nothing, in any role."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.decisions.build import D, RiskWorld, at, book, position, proposal
from tests.decisions.test_exits import exits, orders, slide
from tests.oms.host import Host, approval
from trading.messages.control import KillSnapshot
from trading.messages.decisions import Approved, Refused
from trading.newest import Newest

OLD = KillSnapshot(n=900, engaged=False, incarnation=(1, 1))
KILLED = KillSnapshot(n=1, engaged=True, cause="drill", incarnation=(1, 2))
REPEATED = KillSnapshot(n=1, engaged=True, cause="drill", incarnation=(1, 2))
CLEARED = KillSnapshot(n=2, engaged=False, incarnation=(1, 2))


def test_equal_and_newer_pass_and_a_higher_number_of_an_older_life_does_not():
    newest = Newest()
    assert [newest.outdated(one) for one in (OLD, KILLED, REPEATED, OLD, CLEARED, KILLED)] == [
        False,
        False,
        False,
        True,
        False,
        True,
    ]
    assert not newest.outdated(book(1)), "each kind has its own"


def test_risk_does_not_forget_a_kill_because_its_predecessors_word_comes_late():
    w = RiskWorld()
    w.hear()
    for message in (OLD, KILLED, OLD):
        w.say(message)
    assert w.judge().code == "kill_switch"
    w.say(CLEARED)
    assert isinstance(w.judge(proposal(proposal_id="p2")), Approved)


def test_an_outdated_word_renews_no_lease():
    w = RiskWorld()
    w.hear()
    w.say(evolve(CLEARED, n=5))
    for step in range(1, 6):
        w.hear(at(step / 2), leave_out="kill_switch")
        w.say(OLD, at(step / 2))
    assert w.judge(proposal(now=at(2.5)), at(2.5)) is None, "held: the owner of this life has been silent for 2.5 s"


def test_risk_judges_on_no_book_of_an_oms_that_died():
    w = RiskWorld()
    w.hear()
    w.say(evolve(book(1), version=((1, 2), 1), positions=(position(),)))
    w.say(evolve(book(77), version=((1, 1), 77)))
    assert w.judge().code == "already_have_position"


@pytest.mark.parametrize(("last", "admitted"), [(OLD, False), (CLEARED, True)])
def test_oms_admits_nothing_on_the_word_of_a_kill_switch_that_died(last, admitted):
    host = Host().active()
    for message in (OLD, KILLED, last):
        host.tell(message)
    host.tell(approval(host))
    refused = [one for one in host.all(Refused) if one.code == "not_active"]
    assert bool(refused) is not admitted


@pytest.mark.parametrize(("last", "sold"), [(OLD, 0), (CLEARED, 1)])
def test_exits_stay_with_the_newest_kill_and_the_newest_book(last, sold):
    machine = exits()
    machine.handle(book(9, positions=(position(size="0.3"),)), at())
    machine.handle(book(8, positions=(position(size="0.1"),)), at())
    for message in (OLD, KILLED, last):
        machine.handle(message, at(0.5))
    found = orders(slide(machine, [97, 95, 93.9]))
    assert [one.base_size for one in found] == [D("0.3")] * sold
