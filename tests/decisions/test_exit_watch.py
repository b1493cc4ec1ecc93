"""What exits remember of a position over minutes: outages, refusals, ineligibility."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.decisions.build import T0, D, at, book, notes, position, quote, sends, universe_of
from tests.decisions.test_exits import by_rest, exits, orders, slide
from trading.exits import ExitsMachine
from trading.exits_settings import ExitsSettings, UpkeepSettings
from trading.machine import Woke
from trading.messages.control import Condition, LatchSnapshot
from trading.messages.decisions import ExitOrder, ExitVerdict


def blind_words(machine: ExitsMachine, seconds: float) -> list[bool]:
    told = sends(machine.handle(Woke("tick"), at(seconds)), Condition, "alerts")
    return [one.active for one in told if one.fingerprint == "exits:no_price:BTC-USD"]


def test_a_product_that_rest_answers_for_is_not_without_a_price_until_a_minute_after_the_last_answer():
    machine = exits()
    machine.on_quote(quote(100, at(1), alive=False), at(1))
    for second in range(2, 200, 5):
        assert blind_words(machine, second) == []
        machine.handle(by_rest("100", second + 0.1), at(second + 0.1))
    assert blind_words(machine, 197.1 + 59) == []
    assert blind_words(machine, 197.1 + 60.1) == [True]
    machine.handle(by_rest("100", 260), at(260))
    assert blind_words(machine, 261) == [False], "one answer ends it"


def test_the_maximum_hold_ends_at_its_quote_and_waits_for_no_tick():
    machine = exits(position(hold_until_s=T0 + 50))
    assert orders(machine.on_quote(quote(100, at(49.9)), at(49.9))) == []
    assert orders(machine.on_quote(quote(100, at(50)), at(50)))[0].reason == "max_hold"


def test_refusals_in_a_row_are_counted_anew_after_an_exit_that_worked():
    machine = exits()
    slide(machine, [97, 95, 93])
    second = 10.0
    waits = []
    for n, ended in enumerate(["rejected:x", "rejected:x", "canceled", "rejected:x"], 1):
        machine.handle(
            book(n * 2, positions=(position(exit_n=n, exits_open_size=D("0.1"), leaving="stop"),)), at(second)
        )
        machine.handle(
            book(n * 2 + 1, positions=(position(exit_n=n, last_exit_ended=ended, leaving="stop"),)), at(second)
        )
        waited = 0.0
        while not orders(machine.on_quote(quote(93, at(second + waited)), at(second + waited))):
            waited = round(waited + 0.1, 1)
        waits.append(waited)
        second += 20.0
    assert waits == [1.0, 2.0, 0.2, 1.0]


def ineligible_for(machine: ExitsMachine, *seconds: float) -> list[str]:
    found = []
    for second in seconds:
        machine.on_quote(quote(100, at(second)), at(second))
        found += [one.reason for one in orders(machine.handle(Woke("tick"), at(second)))]
    return found


@pytest.mark.parametrize(
    ("reason", "goes"), [("stop", False), ("target", False), ("operator", True), ("max_hold", True)]
)
def test_without_a_price_only_a_person_and_the_maximum_hold_sell_at_the_newest_there_was(reason, goes):
    """A stop of half a minute ago may be no stop any more, and its limit is as old."""
    machine = exits(position(leaving=reason))
    machine.handle(book(2, positions=(position(exit_n=1, last_exit_ended="canceled", leaving=reason),)), at(1))
    found = [one for second in (30, 31, 32) for one in orders(machine.handle(Woke("tick"), at(second)))]
    assert bool(found) is goes


def test_what_is_being_left_wholly_is_not_trimmed_to_its_cap_instead():
    machine = exits(position(size="6", leaving="operator"), price=100.0)
    machine.handle(LatchSnapshot(n=1, latches=(), nav_usd=D(10_000)), at(1))
    found = []
    for second in (2, 3, 4):
        found += orders(machine.on_quote(quote(100, at(second)), at(second)))
        found += orders(machine.handle(Woke("tick"), at(second)))
    assert {(one.reason, one.base_size) for one in found} == {("operator", D(6))}


def test_a_product_that_no_tier_holds_any_more_is_left_like_an_ineligible_one():
    machine = exits(settings=ExitsSettings(upkeep=UpkeepSettings(purge_after_s=100.0, spacing_s=10.0)))
    machine.handle(universe_of(("ETH-USD",)), at(1))
    assert ineligible_for(machine, 60, 99) == []
    assert ineligible_for(machine, 112) == ["purge_ineligible"]


def test_a_product_that_is_eligible_again_begins_its_time_anew():
    machine = exits(settings=ExitsSettings(upkeep=UpkeepSettings(purge_after_s=100.0, spacing_s=10.0)))
    gone = universe_of(("BTC-USD",), eligible=False, reason="volume_low")
    for n, (second, snapshot) in enumerate(((1, gone), (60, universe_of(("BTC-USD",))), (70, gone)), 1):
        machine.handle(evolve(snapshot, n=n), at(second))
    assert ineligible_for(machine, 112, 165) == []
    assert ineligible_for(machine, 176) == ["purge_ineligible"]


def test_a_book_of_before_is_left_aside_and_quotes_of_what_is_not_held_too():
    machine = exits()
    machine.handle(book(5), at(1))
    machine.handle(book(4, positions=(position(),)), at(2))
    assert machine.products() == ()
    assert machine.on_quote(quote(50, at(3)), at(3)) == ()


def test_a_stop_that_the_book_has_raised_counts():
    """An average that rose with a purchase, or what exits of before had tightened."""
    machine = exits()
    machine.handle(book(2, positions=(position(stop_price=D(97)),)), at(1))
    assert orders(slide(machine, [98, 96.9], start=2))[0].reason == "stop"


def verdict(one: ExitOrder, code: str, *, admitted: bool = False) -> ExitVerdict:
    return ExitVerdict(exit_id=one.exit_id, position_id=one.position_id, admitted=admitted, code=code)


def test_an_exit_that_was_admitted_or_waits_is_not_refused():
    for code, admitted in (("admitted", True), ("waiting", False)):
        machine = exits()
        [one] = orders(slide(machine, [97, 95, 93]))
        assert machine.handle(verdict(one, code, admitted=admitted), at(3.1)) == ()
        assert orders(machine.on_quote(quote(93, at(3.2)), at(3.2))) == [], "it is on its way"
        assert orders(machine.on_quote(quote(93, at(3.6)), at(3.6))) != [], "and repeated until the book shows it"
    assert machine.handle(ExitVerdict(exit_id="x", position_id="gone", admitted=False, code="late"), at(4)) == ()


def test_nothing_to_reduce_is_told_when_it_lasts():
    """The exit before has just filled, and the snapshot that says so is on its way."""
    machine = exits()
    [one] = orders(slide(machine, [97, 95, 93]))
    told = [bool(notes(machine.handle(verdict(one, "nothing_to_reduce"), at(4 + n)))) for n in range(3)]
    assert told == [False, False, True]
