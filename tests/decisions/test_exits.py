"""Exits: armed from what was seen, tried until flat, told when not; independent of entry breakers and of symbols."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.decisions.build import (
    BOOT0,
    ME,
    T0,
    D,
    at,
    book,
    catalog_of,
    notes,
    position,
    product,
    quote,
    sends,
    universe_of,
)
from trading.exit_rules import crash_stop
from trading.exits import ExitsMachine
from trading.exits_settings import ExitsSettings, UpkeepSettings
from trading.machine import PeerRestarted, Woke
from trading.messages.book import Foreign, Recovery
from trading.messages.control import (
    Breaker,
    CatalogSnapshot,
    CommandDone,
    Condition,
    Drain,
    HealthSnapshot,
    KillSnapshot,
    LatchSnapshot,
    OperatorOrder,
)
from trading.messages.decisions import ExitAdvice, ExitOrder, ExitsSnapshot, ExitVerdict, Tighten
from trading.messages.orders import BestBidAsk, Page, Query, QueryKind
from trading.risk_settings import CapSettings


def exits(*positions, settings: ExitsSettings | None = None, price: float = 100.0, **changes) -> ExitsMachine:
    machine = ExitsMachine(settings=settings or ExitsSettings(), me=ME, caps=CapSettings())
    machine.recover({}, at())
    machine.handle(catalog_of(("BTC-USD", "ETH-USD"), at()), at())
    machine.handle(KillSnapshot(n=1, engaged=False), at())
    machine.handle(book(positions=positions or (position(),), **changes), at())
    for name in machine.products():
        machine.on_quote(quote(price, at(), product_id=name), at())
    return machine


def slide(machine: ExitsMachine, prices, start: float = 1.0, **quoted):
    effects = []
    for step, price in enumerate(prices):
        now = at(start + step)
        effects += machine.on_quote(quote(price, now, **quoted), now)
    return effects


def orders(effects) -> list[ExitOrder]:
    return sends(effects, ExitOrder, "oms")


def test_the_stop_sells_with_tolerance_below_the_bid():
    found = orders(slide(exits(), [97, 95, 93.9]))
    assert len(found) == 1
    one = found[0]
    assert one.reason == "stop"
    assert one.style == "ioc"
    assert one.base_size == D("0.1")
    assert D("92.9") < one.limit_price < D("93")
    assert one.n == 0
    assert one.valid_until_boot_s - one.quote_received_boot_s <= 2.0


def test_just_above_the_stop_nothing_happens():
    assert orders(slide(exits(), [97, 95, 94.01])) == []


def test_the_target_sells_at_the_bid():
    assert orders(slide(exits(), [104, 108, 111.9])) == []
    assert orders(slide(exits(), [104, 108, 112.5]))[0].reason == "target"


def test_the_maximum_hold_needs_no_deciding_quote():
    machine = exits(position(hold_until_s=T0 + 50), price=100)
    assert orders(machine.handle(Woke("tick"), at(49))) == []
    one = orders(machine.handle(Woke("tick"), at(50)))[0]
    assert one.reason == "max_hold"


def test_the_maximum_hold_is_not_over_while_the_clock_is_untrusted():
    machine = exits(position(hold_until_s=T0 + 50))
    assert orders(machine.handle(Woke("tick"), at(60, trusted=False))) == []


def test_a_trailing_stop_ratchets_travels_to_the_book_and_only_rises():
    machine = exits(position(trailing_pct=D(5)))
    effects = slide(machine, [103, 106, 109])
    told = sends(effects, Tighten, "oms")
    assert told[-1].stop_price == D("103.55")
    assert len(told) <= 3
    assert orders(effects) == []
    assert orders(slide(machine, [106, 103.5], start=5))[0].reason == "trailing_stop"


@pytest.mark.parametrize("alive_s", [None, -11.0], ids=["its book was lost", "its feed is dead"])
def test_exits_that_start_beside_a_dead_quote_do_not_sell_by_it(alive_s):
    """Its slot keeps the last price; the stop has risen by REST since, and the market stands above it."""
    machine = ExitsMachine(settings=ExitsSettings(), me=ME, caps=CapSettings())
    machine.recover({}, at())
    machine.handle(book(positions=(position(stop_price=D(99)),)), at())
    dead = evolve(quote(98.5, at(-600)), alive_boot_s=0.0 if alive_s is None else at(alive_s).boot_s)
    effects = [*machine.on_quote(dead, at()), *machine.handle(Woke("tick"), at(0.5))]
    assert orders(effects) == []
    [asked] = sends(effects, Query, "gateway")
    seen = BestBidAsk(product_id="BTC-USD", bid=D("98.5"), ask=D("98.6"), exchange_s=at(1).venue_s)
    page = Page(query_id=asked.query_id, kind=asked.kind, complete=True, items=(seen,), answered_boot_s=at(1).boot_s)
    assert [one.reason for one in orders(machine.handle(page, at(1)))] == ["stop"]


def test_tighten_is_told_at_most_once_a_second():
    machine = exits(position(trailing_pct=D(5)))
    effects = []
    for step in range(100):
        now = at(1 + step / 100)
        effects += machine.on_quote(quote(100 + step / 20, now), now)
    assert len(sends(effects, Tighten)) <= 2


def test_a_trailing_stop_survives_everything_being_killed():
    """The book kept the tighter stop; a new incarnation arms with it and does not start from the entry again."""
    machine = exits(position(trailing_pct=D(5), stop_price=D("103.55"), peak_price=D(109)), price=105)
    assert orders(slide(machine, [104.5, 103.4]))[0].reason == "trailing_stop"


def test_one_bad_tick_stops_nobody_out_and_three_snapshots_do():
    machine = exits()
    assert orders(slide(machine, [100, 89, 100, 100.1])) == []
    found = orders(slide(machine, [89, 88.5, 88], start=10))
    assert len(found) == 1, "the third consecutive snapshot confirms"


def test_the_first_tick_after_a_restart_may_be_the_bad_one():
    machine = exits(price=100)
    fresh = ExitsMachine(settings=ExitsSettings(), me=(1, 2), caps=CapSettings())
    fresh.handle(book(positions=(position(),)), at())
    assert orders(fresh.on_quote(quote(80, at()), at())) == []
    del machine


def test_a_suspect_price_that_stands_on_a_living_feed_is_believed():
    machine = exits()
    now = at(1)
    assert orders(machine.on_quote(quote(88, now), now)) == []
    assert orders(machine.handle(Woke("tick"), at(3))) == []
    standing = evolve(quote(88, now), alive_boot_s=BOOT0 + 6.5)
    machine._prices._quotes["BTC-USD"] = standing
    assert len(orders(machine.handle(Woke("tick"), at(6.5)))) == 1


def test_an_exit_is_repeated_with_the_same_id_until_the_book_shows_it():
    machine = exits()
    first = orders(slide(machine, [96, 93]))[0]
    again = orders(machine.handle(Woke("tick"), at(2.6)))[0]
    assert again.exit_id == first.exit_id
    assert again.n == first.n == 0
    shown = position(exit_n=1, exits_open_size=D("0.1"))
    machine.handle(book(2, positions=(shown,)), at(2.7))
    assert orders(machine.handle(Woke("tick"), at(3.3))) == [], "it is on its way"


def test_a_hundred_quotes_a_second_repeat_an_exit_twice_a_second():
    machine = exits()
    slide(machine, [97, 95.5])
    effects = []
    for n in range(100):
        now = at(3 + n / 100)
        effects += machine.on_quote(quote(93, now), now)
    assert len(orders(effects)) == 2


def test_a_snapshot_from_before_the_last_tightening_loosens_nothing():
    machine = exits()
    machine.handle(ExitAdvice(product_id="BTC-USD", stop_price=D(97), reason="structure", n=1), at(1))
    machine.handle(book(2, positions=(position(),)), at(1.5))
    assert orders(slide(machine, [98, 96.9], start=5))[0].reason == "stop"


def test_a_rest_quote_older_than_five_seconds_decides_nothing():
    machine = exits()
    machine.on_quote(quote(100, at(1), alive=False), at(1))
    item = BestBidAsk(product_id="BTC-USD", bid=D("92.9"), ask=D("93.1"), exchange_s=T0 + 2)
    page = Page(query_id="q", kind=QueryKind.BEST_BID_ASK, complete=True, items=(item,), answered_boot_s=BOOT0 + 2)
    assert orders(machine.handle(page, at(7.1))) == []


def test_snapshots_that_show_no_exit_of_ours_are_no_failed_tries():
    """An order on its way is not in the book yet: it is repeated at its own pace, at the same price, with the same id."""
    machine, found = exits(), []
    for step in range(1, 41):
        now = at(step / 10)
        found += orders(machine.on_quote(quote(93.0, now), now))
        found += orders(machine.handle(book(n=1 + step, positions=(position(),)), now))
    assert len({(one.exit_id, one.limit_price) for one in found}) == 1
    assert 7 <= len(found) <= 9, "twice a second"


def test_an_exit_that_began_and_ended_between_two_snapshots_was_a_try_and_more_tolerance_follows():
    machine = exits()
    first = orders(slide(machine, [96, 93]))[0]
    machine.handle(book(n=2, positions=(position(exit_n=1, last_exit_ended="canceled"),)), at(2))
    again = orders(slide(machine, [93.0] * 4, start=3.0))
    assert (again[0].n, again[0].limit_price < first.limit_price) == (1, True)


def test_the_next_try_has_the_next_number_and_more_tolerance():
    machine = exits()
    first = orders(slide(machine, [96, 93]))[0]
    machine.handle(book(2, positions=(position(exit_n=1, exits_open_size=D("0.1")),)), at(2.5))
    effects = machine.handle(book(3, positions=(position(exit_n=1, last_exit_ended="canceled"),)), at(2.8))
    assert orders(effects) == [], "its fill may still be on its way"
    second = orders(machine.handle(Woke("tick"), at(3.05)))[0]
    assert second.n == 1
    assert second.exit_id != first.exit_id
    assert second.limit_price < first.limit_price


def test_after_a_whole_fill_it_waits_for_the_booking_and_asks_again_only_if_that_stays_away():
    machine = exits()
    slide(machine, [96, 93])
    machine.handle(book(2, positions=(position(exit_n=1, exits_open_size=D("0.1")),)), at(2.5))
    machine.handle(book(3, positions=(position(exit_n=1, last_exit_ended="filled"),)), at(2.8))
    assert orders([*machine.on_quote(quote(93, at(3.5)), at(3.5)), *machine.handle(Woke("tick"), at(3.5))]) == []
    assert orders(machine.on_quote(quote(93, at(5.9)), at(5.9)))


def test_after_a_rejection_it_waits_one_two_four_up_to_ten_seconds():
    machine = exits()
    slide(machine, [96, 93])
    now_s, waits = 3.0, []
    for n in range(1, 7):
        machine.handle(book(10 + 2 * n, positions=(position(exit_n=n, exits_open_size=D("0.1")),)), at(now_s))
        machine.handle(book(11 + 2 * n, positions=(position(exit_n=n, last_exit_ended="rejected"),)), at(now_s))
        ended = now_s
        found: list[ExitOrder] = []
        while not found:
            now_s += 0.5
            now = at(now_s)
            found = orders([*machine.on_quote(quote(93, now), now), *machine.handle(Woke("tick"), now)])
            assert now_s < ended + 20
        waits.append(now_s - ended)
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_person_is_told_when_a_position_does_not_become_flat():
    machine = exits()
    slide(machine, [96, 93])
    effects = []
    for step in range(40):
        now = at(3 + step)
        effects += machine.on_quote(quote(93, now), now)
        effects += machine.handle(Woke("tick"), now)
    told = [one for one in sends(effects, Condition, "alerts") if one.fingerprint.startswith("exits:open")]
    assert told
    assert told[0].level == "critical"
    assert "should be flat" in told[0].text
    effects = machine.handle(book(9, positions=()), at(50))
    assert [one.active for one in sends(effects, Condition, "alerts")] == [False], "told once when gone"


def test_entry_breakers_and_latches_do_not_stop_exits():
    machine = exits()
    machine.handle(HealthSnapshot(n=1, breakers=(Breaker(code="api_health", open=True, measured=True),)), at())
    machine.handle(LatchSnapshot(n=1, latches=()), at())
    assert orders(slide(machine, [96, 93]))


def test_exits_work_when_only_orders_and_fills_are_known():
    machine = exits(recovery=Recovery.ORDERS_KNOWN)
    assert orders(slide(machine, [96, 93]))


@pytest.mark.parametrize("change", [{"recovery": Recovery.RECOVERING}, {"writable": False}, {"draining": True}])
def test_nothing_is_sold_while_halted_or_draining(change):
    assert orders(slide(exits(**change), [96, 93, 92])) == []


def test_under_a_kill_positions_are_reported_at_once_and_every_five_minutes():
    machine = exits()
    effects = list(machine.handle(KillSnapshot(n=2, engaged=True, cause="drill"), at(1)))
    told = sends(effects, Condition, "alerts")
    assert len(told) == 1
    assert "0.94" not in told[0].text
    assert "above its stop 94" in told[0].text
    assert len([n for n in notes(effects) if n["code"] == "position_unprotected"]) == 1
    later = []
    for step in range(2, 700):
        now = at(step)
        later += machine.on_quote(quote(93, now), now)
        later += machine.handle(Woke("tick"), now)
    assert orders(later) == []
    assert len([n for n in notes(later) if n["code"] == "position_unprotected"]) == 2
    effects = machine.handle(KillSnapshot(n=3, engaged=False), at(701))
    assert [one.active for one in sends(effects, Condition, "alerts")] == [False]


def test_after_a_re_arming_the_stop_acts_at_once():
    machine = exits()
    machine.handle(KillSnapshot(n=2, engaged=True), at(1))
    slide(machine, [96, 93], start=2)
    machine.handle(KillSnapshot(n=3, engaged=False), at(5))
    assert orders(machine.handle(Woke("tick"), at(5.2)))


def test_without_a_price_it_asks_by_rest_each_five_seconds_and_tells_after_a_minute():
    machine = exits()
    machine.on_quote(quote(100, at(1), alive=False), at(1))
    effects = []
    for step in range(2, 140):
        effects += machine.handle(Woke("tick"), at(step / 2 + 1))
    asked = sends(effects, Query, "gateway")
    assert 12 <= len(asked) <= 15
    assert asked[0].kind is QueryKind.BEST_BID_ASK
    assert asked[0].product_ids == ("BTC-USD",)
    told = [one for one in sends(effects, Condition, "alerts") if one.fingerprint.startswith("exits:no_price")]
    assert told
    assert told[0].level == "critical"


def test_a_rest_quote_may_decide_an_exit_for_five_seconds():
    machine = exits()
    machine.on_quote(quote(100, at(1), alive=False), at(1))
    assert orders(machine.handle(by_rest("95.2", 2), at(2))) == []
    assert orders(machine.handle(by_rest("93", 7), at(7)))[0].reason == "stop"
    other = exits()
    other.on_quote(quote(95, at(1), alive=False), at(1))
    assert orders(other.handle(evolve(by_rest("93", 2), complete=False), at(2))) == [], "a partial page is no answer"


def by_rest(mid: str, second: float) -> Page:
    item = BestBidAsk(product_id="BTC-USD", bid=D(mid) - D("0.1"), ask=D(mid) + D("0.1"), exchange_s=T0 + second)
    return Page(query_id="q", kind=QueryKind.BEST_BID_ASK, complete=True, items=(item,), answered_boot_s=BOOT0 + second)


def test_one_bad_answer_by_rest_stops_nobody_out_and_the_next_that_agrees_does():
    """A bid that a thin book lost for an instant: the stop sold down to it."""
    machine = exits()
    machine.on_quote(quote(100, at(1), alive=False), at(1))
    assert orders(machine.handle(by_rest("75", 2), at(2))) == []
    assert orders(machine.handle(by_rest("99", 7), at(7))) == []
    assert orders(machine.handle(by_rest("75", 12), at(12))) == []
    assert orders(machine.handle(Woke("tick"), at(13))) == []
    [sale] = orders(machine.handle(by_rest("76", 17), at(17)))
    assert (sale.reason, sale.limit_price) == ("stop", D("75.14"))


def test_a_market_that_falls_from_answer_to_answer_is_left_at_the_second():
    """None of them agreed with the one before within five percent: nothing was sold, and nobody was told for a minute."""
    machine = exits()
    machine.on_quote(quote(100, at(1), alive=False), at(1))
    assert orders(machine.handle(by_rest("85", 2), at(2))) == []
    [sale] = orders(machine.handle(by_rest("75", 7), at(7)))
    assert (sale.reason, sale.limit_price) == ("stop", D("74.15"))


def test_two_bad_answers_on_both_sides_of_what_is_believed_decide_nothing():
    machine = exits()
    machine.on_quote(quote(100, at(1), alive=False), at(1))
    assert orders(machine.handle(by_rest("130", 2), at(2))) == []
    assert orders(machine.handle(by_rest("75", 7), at(7))) == []


def test_without_a_deciding_quote_the_limit_is_the_newest_price_not_the_last_answer_by_rest():
    """An answer by REST of an outage hours ago; the feed came back, fell with the market and is silent again."""
    machine = exits()
    machine.on_quote(quote(100, at(1), alive=False), at(1))
    item = BestBidAsk(product_id="BTC-USD", bid=D("99.9"), ask=D("100.1"), exchange_s=T0 + 2)
    page = Page(query_id="q", kind=QueryKind.BEST_BID_ASK, complete=True, items=(item,), answered_boot_s=BOOT0 + 2)
    machine.handle(page, at(2))
    for second in range(3600, 3610):
        machine.on_quote(quote(95, at(second)), at(second))
    command = OperatorOrder(command_id="x", verb="exit", name="ann", cause="enough", args=(("symbol", "BTC-USD"),))
    [sale] = orders(machine.handle(command, at(3700)))
    assert sale.limit_price < 95, "a limit of an hour ago would be far above the market and fill never"


def test_a_post_only_product_is_left_at_the_ask_and_a_person_told():
    machine = exits()
    machine.handle(evolve(catalog_of((), at()), products=(product(post_only=True),)), at())
    effects = slide(machine, [96, 93])
    one = orders(effects)[0]
    assert one.style == "post_only"
    assert one.limit_price >= D("93")
    assert any("post-only" in told.text for told in sends(effects, Condition, "alerts"))


def test_a_product_that_takes_no_exit_is_told_and_not_tried():
    machine = exits()
    machine.handle(evolve(catalog_of((), at()), products=(product(trading_disabled=True),)), at())
    effects = slide(machine, [96, 93])
    assert orders(effects) == []
    assert any("no exit at all" in told.text for told in sends(effects, Condition, "alerts"))


def test_where_others_hold_the_same_coin_exits_are_good_till_date():
    machine = exits(foreign=(Foreign(currency="BTC", size=D("0.5")),))
    one = orders(slide(machine, [96, 93]))[0]
    assert one.style == "gtd"
    assert one.base_size == D("0.1"), "never more than the bot's own"


def test_advice_of_a_symbol_only_tightens_and_never_orders_a_sale():
    machine = exits()
    advice = ExitAdvice(product_id="BTC-USD", stop_price=D(97), reason="structure", n=1)
    effects = machine.handle(advice, at(1))
    assert sends(effects, Tighten)[0].stop_price == D(97)
    machine.handle(evolve(advice, stop_price=D(90), n=2), at(2))
    assert orders(slide(machine, [98, 96.9], start=3))[0].reason == "stop"
    other = exits()
    assert orders(other.handle(evolve(advice, stop_price=D(150)), at(1))) == []
    assert orders(slide(other, [100.0], start=2)) == []


def test_in_a_crash_stops_come_nearer_once_and_not_too_near():
    machine = exits()
    machine.on_quote(quote(100, at(1)), at(1))
    effects = machine.handle(universe_of(("BTC-USD",), regime="crash", multiplier=0.0), at(1))
    tight = sends(effects, Tighten)
    assert tight[0].stop_price == D(97), "half of six percent"
    again = machine.handle(universe_of(("BTC-USD",), regime="crash", multiplier=0.0), at(3))
    assert [one.stop_price for one in sends(again, Tighten)] == [D(97)], "told until the book has it, and no nearer"


def test_a_crash_has_tightened_once_whoever_dies_in_it():
    """Each restart in a crash halved the distance of every stop again, down to two per cent."""
    crash, calm = (universe_of(("BTC-USD",), regime=regime) for regime in ("crash", "chop"))
    machine = exits()
    [told] = sends(machine.handle(evolve(crash, n=2), at(1)), Tighten)
    assert told.crash_tightened and told.stop_price == D(97)
    kept = position(stop_price=told.stop_price, crash_tightened=True)
    for start in (evolve(crash, n=1), evolve(calm, n=1, regime_known=False)):
        after = exits(kept)
        found = [*after.handle(start, at(5)), *slide(after, [100, 100, 100], start=6)]
        found += [*after.handle(evolve(crash, n=9), at(10)), *slide(after, [100, 100, 100], start=11)]
        assert sends(found, Tighten) == [], "the crash that it has been tightened for"
    [over] = sends(
        [
            *after.handle(evolve(calm, n=10), at(20)),
            *slide(after, [100], start=21),
            *after.handle(Woke("tick"), at(22)),
        ],
        Tighten,
    )
    assert not over.crash_tightened and over.stop_price == D(97)


@pytest.mark.parametrize(
    ("stop", "wanted"), [("94", "97"), ("97", "98"), ("98.5", "98.5")], ids=["half way", "two per cent off", "nearer"]
)
def test_a_crash_brings_a_stop_half_way_but_not_within_two_per_cent(stop, wanted):
    assert crash_stop(D(stop), D(100), ExitsSettings()) == D(wanted)


def test_each_crash_tightens_again_and_the_peak_that_is_told_never_falls():
    machine = exits(position(trailing_pct=D(20)))
    slide(machine, [104, 103], start=1)
    for n, (regime, seconds) in enumerate((("crash", 10), ("chop", 20), ("crash", 30)), 1):
        told = sends(machine.handle(evolve(universe_of(("BTC-USD",), regime=regime), n=n), at(seconds)), Tighten)
        told += sends(machine.on_quote(quote(103, at(seconds + 1)), at(seconds + 1)), Tighten)
        told += sends(machine.handle(Woke("tick"), at(seconds + 2)), Tighten)
        if regime == "crash":
            assert told[-1].peak_price == D(104)
            assert told[-1].stop_price == {1: D("98.5"), 3: D("100.75")}[n]


def test_a_stop_goes_before_a_trim_and_sells_all():
    machine, one = trimming()
    fallen = slide(machine, [75, 74, 73, 72.9], start=3)
    assert one.reason == "trim"
    assert orders(fallen)[-1].reason == "stop"
    assert orders(fallen)[-1].base_size == D(6)


def test_a_target_is_reached_by_the_bid_and_not_by_the_mid():
    machine = exits()
    assert orders(slide(machine, [104, 108, 112.05], spread_bps=20.0)) == []
    assert orders(machine.handle(Woke("tick"), at(3.5))) == []
    assert orders(slide(exits(), [104, 108, 112.2], spread_bps=20.0))[0].reason == "target"


def test_a_person_may_order_an_exit_and_is_answered_when_the_book_has_kept_it():
    machine = exits()
    order = OperatorOrder(command_id="c1", verb="exit", name="ann", cause="bored", args=(("symbol", "BTC-USD"),))
    effects = machine.handle(order, at(1))
    assert orders(effects)[0].reason == "operator"
    assert sends(effects, Tighten, "oms")[0].leaving == "operator"
    assert sends(effects, CommandDone, "operator") == []
    kept = machine.handle(book(positions=(position(leaving="operator"),)), at(1.1))
    assert sends(kept, CommandDone, "operator")[0].ok
    nothing = machine.handle(evolve(order, command_id="c2", args=(("symbol", "XRP-USD"),)), at(1))
    assert not sends(nothing, CommandDone, "operator")[0].ok


def test_an_exit_that_is_ordered_while_nothing_may_be_sold_is_kept_and_says_so():
    machine = exits()
    machine.handle(KillSnapshot(n=2, engaged=True), at(1))
    order = OperatorOrder(command_id="c1", verb="exit", name="ann", cause="rumour", args=(("symbol", "BTC-USD"),))
    effects = machine.handle(order, at(2))
    assert orders(effects) == []
    [done] = sends(machine.handle(book(positions=(position(leaving="operator"),)), at(2.1)), CommandDone, "operator")
    assert done.ok and "HALTED lets nothing be sold" in done.text


@pytest.mark.parametrize("reason", ["stop", "operator", "max_hold", "trailing_stop", "purge_ineligible"])
def test_what_is_being_left_is_left_by_the_next_exits_too_whatever_the_price_does(reason):
    """The one before it died between the stop and its fill; the price came back above the stop."""
    machine = exits(position(leaving=reason), price=99.0)
    found = orders(machine.handle(Woke("tick", 1), at(1)))
    assert [one.reason for one in found] == [reason]


def test_a_fired_stop_is_told_to_the_book_until_the_book_shows_it():
    machine = exits()
    effects = slide(machine, [97, 95, 93.9])
    assert [one.leaving for one in sends(effects, Tighten, "oms")] == ["stop"]
    unheard = machine.handle(book(positions=(position(exit_n=1, exits_open_size=D("0.1")),)), at(6))
    unheard = [*unheard, *machine.handle(Woke("tick", 1), at(6.5))]
    assert [one.leaving for one in sends(unheard, Tighten, "oms")] == ["stop"]
    machine.handle(book(positions=(position(exit_n=1, exits_open_size=D("0.1"), leaving="stop"),)), at(8))
    assert sends(machine.handle(Woke("tick", 2), at(10)), Tighten, "oms") == []


def test_a_refusal_of_oms_is_waited_out():
    machine = exits()
    first = orders(slide(machine, [96, 93]))[0]
    machine.handle(
        ExitVerdict(exit_id=first.exit_id, position_id=first.position_id, admitted=False, code="busy"), at(2.1)
    )
    assert orders(machine.handle(Woke("tick"), at(2.6))) == []
    assert orders(machine.handle(Woke("tick"), at(3.2)))


def test_when_oms_restarts_the_exit_is_commanded_again_at_once():
    machine = exits()
    first = orders(slide(machine, [96, 93]))[0]
    again = orders(machine.handle(PeerRestarted("oms"), at(2.05)))[0]
    assert again.exit_id == first.exit_id


def test_an_unknown_exit_does_not_lock_the_door():
    machine = exits()
    slide(machine, [96, 93])
    stuck = position(exit_n=1, exits_open_size=D("0.1"), unknown_exits=1)
    machine.handle(book(2, positions=(stuck,)), at(2.2))
    assert orders(machine.on_quote(quote(93, at(4)), at(4))) == []
    assert orders(machine.handle(Woke("tick"), at(4))) == []
    found = orders([*machine.on_quote(quote(93, at(8)), at(8)), *machine.handle(Woke("tick"), at(8))])
    assert found
    assert found[0].n == 1


def test_what_was_bought_while_leaving_leaves_too():
    machine = exits()
    slide(machine, [96, 93])
    machine.handle(book(2, positions=(position(exit_n=1, exits_open_size=D("0.1")),)), at(2.5))
    machine.handle(book(3, positions=(position(size="0.25", exit_n=1, last_exit_ended="canceled"),)), at(2.8))
    assert orders(machine.on_quote(quote(93, at(3.1)), at(3.1)))[0].base_size == D("0.25")


def test_dust_is_ignored():
    machine = exits(position(dust=True))
    assert machine.products() == ()


def test_people_see_what_is_armed():
    machine = exits()
    seen = sends(machine.handle(Woke("tick"), at(3)), ExitsSnapshot, "console")[0]
    assert seen.armed[0].state == "armed"
    assert seen.armed[0].stop_price == D(94)
    assert seen.armed[0].distance_to_stop_pct == pytest.approx(6.0)


def test_drain_is_answered_and_stops_exits():
    machine = exits()
    effects = machine.handle(Drain(run_number=3), at(1))
    assert effects[0].role == "main"
    assert orders(slide(machine, [96, 93], start=2)) == []


# -- upkeep ----------------------------------------------------------------------------------------------------


def test_a_position_above_its_cap_is_trimmed_below_it_and_only_once_in_a_while():
    machine = exits(position(size="6"))
    machine.handle(LatchSnapshot(n=1, latches=(), nav_usd=D(10_000)), at(1))
    machine.on_quote(quote(100, at(2)), at(2))
    one = orders(machine.handle(Woke("tick"), at(2)))[0]
    assert one.reason == "trim"
    # 600 USD against a cap of 400: down to 400 x 0.9 = 360.
    assert one.base_size == D("2.4")
    machine.handle(book(5, positions=(position(size="3.6", exit_n=1),)), at(4))
    machine.on_quote(quote(100, at(5)), at(5))
    assert orders(machine.handle(Woke("tick"), at(5))) == []


def test_what_stays_ineligible_is_left_after_its_time():
    settings = ExitsSettings(upkeep=UpkeepSettings(purge_after_s=100.0, spacing_s=10.0))
    machine = exits(settings=settings)
    gone = universe_of(("BTC-USD",), eligible=False, reason="volume_low")
    machine.handle(gone, at(1))
    for step in (50, 99):
        machine.on_quote(quote(100, at(step)), at(step))
        assert orders(machine.handle(Woke("tick"), at(step))) == []
    machine.on_quote(quote(100, at(112)), at(112))
    assert orders(machine.handle(Woke("tick"), at(112)))[0].reason == "purge_ineligible"


def test_nothing_is_trimmed_for_money_that_one_balance_page_misses():
    """NAV is lower by it at once, so that caps are; what was sold for a page that erred was sold for nothing."""
    machine = exits(position(size="4"), quote_unconfirmed_usd=D(-5_000))
    machine.handle(LatchSnapshot(n=1, latches=(), nav_usd=D(5_000)), at(1))
    machine.on_quote(quote(100, at(2)), at(2))
    assert orders(machine.handle(Woke("tick"), at(2))) == []
    machine.handle(book(5, positions=(position(size="4"),)), at(4))
    machine.on_quote(quote(100, at(5)), at(5))
    assert orders(machine.handle(Woke("tick"), at(5))) == [], (
        "the NAV that was told last lacks it still, for up to ten seconds"
    )
    machine.handle(LatchSnapshot(n=2, latches=(), nav_usd=D(5_000)), at(6))
    machine.on_quote(quote(100, at(305)), at(305))
    assert orders(machine.handle(Woke("tick"), at(305)))[0].reason == "trim", "it was withdrawn"


@pytest.mark.parametrize("after_the_book", [True, False])
def test_a_page_that_erred_has_sold_nothing_when_the_next_one_shows_the_money_again(after_the_book):
    machine = exits(position(size="4"))
    machine.handle(LatchSnapshot(n=1, latches=(), nav_usd=D(10_000)), at(1))
    low = LatchSnapshot(n=2, latches=(), nav_usd=D(5_000))
    if not after_the_book:
        machine.handle(low, at(2))
    machine.handle(book(5, positions=(position(size="4"),), quote_unconfirmed_usd=D(-5_000)), at(2))
    if after_the_book:
        machine.handle(low, at(3))
    machine.handle(book(6, positions=(position(size="4"),)), at(8))
    machine.on_quote(quote(100, at(9)), at(9))
    assert orders(machine.handle(Woke("tick"), at(9))) == []
    machine.handle(LatchSnapshot(n=3, latches=(), nav_usd=D(10_000)), at(10))
    machine.on_quote(quote(100, at(320)), at(320))
    assert orders(machine.handle(Woke("tick"), at(320))) == []


def test_upkeep_waits_while_fills_are_unbooked():
    machine = exits(position(size="6"), unbooked=(("bh-x", 1.0),))
    machine.handle(LatchSnapshot(n=1, latches=(), nav_usd=D(10_000)), at(1))
    machine.on_quote(quote(100, at(2)), at(2))
    assert orders(machine.handle(Woke("tick"), at(2))) == []


def trimming(price: str = "77.77"):
    """466.62 USD against a cap of 400: 106.62 USD go, 1.3709656... coins, which is no multiple of any increment."""
    machine = exits(position(size="6", price=price), price=float(price))
    machine.handle(LatchSnapshot(n=1, latches=(), nav_usd=D(10_000)), at(1))
    machine.on_quote(quote(price, at(2)), at(2))
    one = orders(machine.handle(Woke("tick"), at(2)))[0]
    assert one.reason == "trim"
    return machine, one


def later(machine: ExitsMachine, seconds: float, price: str = "77.77"):
    now = at(seconds)
    return [*machine.on_quote(quote(price, now), now), *machine.handle(Woke("tick"), now)]


def told(effects, fingerprint: str) -> list[bool]:
    return [one.active for one in sends(effects, Condition, "alerts") if one.fingerprint.startswith(fingerprint)]


def test_a_trim_that_sold_its_part_is_done_though_its_size_was_no_multiple_of_the_increment():
    machine, one = trimming()
    sold = one.base_size.quantize(D("0.00000001"), rounding="ROUND_DOWN")
    assert sold != one.base_size
    machine.handle(book(5, positions=(position(size=6 - sold, price="77.77", exit_n=1),)), at(3))
    for second in range(4, 60):
        effects = later(machine, second)
        assert orders(effects) == []
        assert told(effects, "exits:open") == [], "nobody is rung out of bed for a ten-millionth of a coin"
    assert machine._watches["pos-BTC-USD"].reason == ""


def test_what_is_left_of_a_trim_below_the_venues_minimum_stays():
    machine, one = trimming()
    refused = ExitVerdict(exit_id=one.exit_id, position_id=one.position_id, admitted=False, code="dust")
    machine.handle(refused, at(3))
    assert orders(later(machine, 9)) == []


def test_a_trim_that_took_long_is_no_longer_told_when_it_is_done():
    machine, one = trimming()
    effects = []
    for second in range(3, 40):
        effects += later(machine, second)
    assert True in told(effects, "exits:open")
    after = machine.handle(book(5, positions=(position(size=6 - one.base_size, price="77.77", exit_n=1),)), at(41))
    assert told(after, "exits:open") == [False]


def test_a_target_that_was_missed_again_is_no_longer_told():
    machine = exits()
    effects = slide(machine, [104, 108, 112.5])
    for n in range(1, 4):
        ended = position(exit_n=n, last_exit_ended="canceled")
        effects += machine.handle(book(n + 1, positions=(ended,)), at(3 + n))
        effects += later(machine, 3.5 + n, "112.5")
    assert True in told(effects, "exits:open")
    machine.handle(book(9, positions=(position(exit_n=4, last_exit_ended="canceled"),)), at(8))
    back = later(machine, 9, "110")
    assert told(back, "exits:open") == [False]


def test_when_a_product_takes_exits_again_people_hear_it():
    machine = exits()
    machine.handle(CatalogSnapshot(n=2, products=(product(post_only=True),), fees=None, fetched_boot_s=BOOT0), at(1))
    effects = slide(machine, [97, 95, 93.9], start=2)
    assert told(effects, "exits:blocked") == [True]
    ended = position(exit_n=1, last_exit_ended="canceled")
    machine.handle(CatalogSnapshot(n=3, products=(product(),), fees=None, fetched_boot_s=BOOT0), at(6))
    effects = [*machine.handle(book(2, positions=(ended,)), at(7)), *slide(machine, [93.9], start=8)]
    assert orders(effects)
    assert told(effects, "exits:blocked") == [False]


def test_what_is_bought_again_has_not_been_ineligible_meanwhile():
    settings = ExitsSettings(upkeep=UpkeepSettings(purge_after_s=100.0, spacing_s=10.0))
    machine = exits(settings=settings)
    machine.handle(universe_of(("BTC-USD",), eligible=False, reason="volume_low"), at(1))
    machine.handle(book(2, positions=()), at(50))
    machine.handle(book(3, positions=(position(),)), at(200))
    assert orders(later(machine, 201, "100")) == []
