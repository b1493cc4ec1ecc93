"""The symbol machine: from quotes and bars to a proposal or a code, and never from data that must not be believed."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve

from tests.decisions.build import (
    BOOT0,
    ME,
    T0,
    D,
    at,
    bar,
    book,
    catalog_of,
    cooldown,
    entry_order,
    notes,
    position,
    product,
    quiet_bars,
    quote,
    sends,
    universe_of,
)
from trading.data_guards import DataGuardSettings
from trading.entries import EntryPrice, TakerCost, entry_price, requote_of
from trading.machine import PeerRestarted, Wake, Woke
from trading.messages.decisions import ExitAdvice, Proposal, Verdict
from trading.messages.orders import Fees
from trading.publish import Jitter
from trading.strategies.interface import (
    MOVE,
    QUOTE,
    SIGNAL,
    MarketView,
    Rule,
    Signal,
    Strategy,
    TriggerSettings,
    strategy,
)
from trading.strategies.registry import StrategySettings, collect
from trading.symbol import SymbolMachine
from trading.symbol_settings import ConvictionSettings, EntrySettings, SymbolSettings
from trading.unfit import stale_bars


def symbol(
    settings: SymbolSettings | None = None, *, warm: bool = True, product_id: str = "BTC-USD", regime: str = "chop"
):
    machine = SymbolMachine(
        product_id=product_id, settings=settings or SymbolSettings(), me=ME, strategies=collect(), config_hash="abc"
    )
    machine.recover({}, at())
    if warm:
        for one in quiet_bars(product_id=product_id):
            machine.on_bar(one, at())
        for one in quiet_bars(bars=30, bar_s=60, product_id=product_id):
            machine.on_bar(evolve(one, volume=2.0), at())
    machine.handle(universe_of((product_id,), regime=regime), at())
    machine.handle(catalog_of((product_id,), at()), at())
    machine.handle(book(product_id=product_id), at())
    return machine


def rise(
    machine: SymbolMachine, to: float = 102.5, seconds: float = 10.0, *, volume: bool = True, start: float = 100.0
):
    """A move in ten steps, with or without volume behind it; returns all effects."""
    effects = []
    for step in range(11):
        now = at(seconds * step / 10)
        price = start + (to - start) * step / 10
        traded = 50_000.0 + (step * 40.0 if volume else 0.0)
        effects += machine.on_quote(quote(price, now, volume=traded), now)
    return effects


def last_code(machine: SymbolMachine) -> str:
    return machine._log.code


def test_a_sharp_move_with_volume_leads_to_a_proposal_with_its_reason():
    machine = symbol()
    effects = rise(machine)
    proposals = sends(effects, Proposal, "risk")
    assert len(proposals) == 1, "one outstanding"
    one = proposals[0]
    assert one.trigger == "price_move"
    assert len(one.reason) >= 50
    assert one.limit_price <= D("102.5")
    assert one.post_only
    assert one.valid_until_boot_s - one.decided_boot_s <= 2.0
    assert dict(one.values)["volume_ratio_15m"]
    assert notes(effects)[-1]["code"] == "proposed"
    assert one.config_hash == "abc"


def test_the_same_move_without_volume_is_no_trade():
    assert sends(rise(symbol(), volume=False), Proposal) == []


def test_the_same_decision_twice_is_one_proposal():
    first = sends(rise(symbol()), Proposal)[0]
    second = sends(rise(symbol()), Proposal)[0]
    assert first.proposal_id == second.proposal_id


def test_the_configuration_may_rule_a_strategy_otherwise():
    own = StrategySettings(enabled=True, stop_pct=D(2), target_pct=D(3), trailing_pct=D(2), hold_hours=1.0)
    plan = sends(rise(symbol(SymbolSettings(strategies={"price_move": own}))), Proposal)[0].plan
    assert (plan.stop_pct, plan.target_pct, plan.trailing_pct, plan.hold_s_max) == (D(2), D(3), D(2), 3600.0)


def test_a_dip_is_bought_by_its_own_rule():
    one = sends(rise(symbol(), to=97.0), Proposal)[0]
    assert one.plan.stop_pct == D(10)
    assert one.plan.target_pct == D(20)
    assert one.size_factor == 0.7


@pytest.mark.parametrize(
    ("quoted", "code"),
    [
        ({"age_s": 5.5}, "quote_stale"),
        ({"alive": False}, "sequence_gap"),
        ({"spread_bps": -1.0}, "book_crossed"),
        ({"spread_bps": 0.0}, "book_locked"),
    ],
)
def test_a_stale_crossed_or_gapped_quote_never_opens_a_position(quoted, code):
    machine = symbol()
    rise(machine, to=101.0)
    now = at(11)
    effects = machine.on_quote(quote(102.5, now, volume=51_000.0, **quoted), now)
    assert sends(effects, Proposal) == []
    assert last_code(machine) == code


def test_seed_21_quote_age_is_judged_by_the_venues_own_timestamp():
    """The predecessor stamped quotes with its own now; here an old exchange time is stale however fresh the frame is."""
    machine = symbol()
    now = at(5)
    old = evolve(quote(103, now, volume=51_000.0), exchange_s=now.venue_s - 6.0)
    assert sends(machine.on_quote(old, now), Proposal) == []
    assert last_code(machine) == "quote_stale"
    late = evolve(quote(103, now, volume=51_000.0), received_boot_s=now.boot_s - 6.0)
    machine.on_quote(late, at(6.5))
    assert last_code(machine) == "quote_stale"


def test_quote_age_is_real_time_at_sixty_fold_speed():
    machine = symbol()
    now = at(1, speed=60.0)
    three_real_seconds = evolve(quote(100, now), exchange_s=now.venue_s - 180.0)
    machine.on_quote(three_real_seconds, now)
    assert last_code(machine) == "no_candidates_from_triggers"


def test_one_bad_tick_fires_nothing_and_three_snapshots_do():
    machine = symbol()
    machine.on_quote(quote(100, at(), volume=50_000.0), at())
    effects = list(machine.on_quote(quote(110, at(1), volume=50_500.0), at(1)))
    assert sends(effects, Proposal) == []
    assert notes(effects)[-1]["code"] == "outlier_unconfirmed"
    effects = list(machine.on_quote(quote(100, at(2), volume=50_500.0), at(2)))
    assert sends(effects, Proposal) == [], "back at the old level"
    for step in range(3, 6):
        effects += machine.on_quote(quote(110, at(step), volume=50_600.0), at(step))
    assert len(sends(effects, Proposal)) == 1, "the third snapshot confirms"


def test_the_first_quote_after_a_start_is_held_against_the_bars():
    machine = symbol()
    assert sends(machine.on_quote(quote(108, at(), volume=51_000.0), at()), Proposal) == []
    assert last_code(machine) == "outlier_unconfirmed"


def test_no_proposal_without_metadata_book_or_young_bars():
    machine = symbol()
    machine.handle(catalog_of((), at()), at())
    rise(machine)
    assert last_code(machine) == "data_unavailable"
    machine = symbol()
    machine.handle(book(product_id="BTC-USD", cooldowns_complete=False), at())
    rise(machine)
    assert last_code(machine) == "data_unavailable"
    machine = symbol()
    machine.view.fine.restart()
    machine.view.move.end_s -= 3600
    rise(machine)
    assert last_code(machine) == "candle_stale"


@pytest.mark.parametrize(
    ("age_s", "speed", "fresh"), [(89, 1.0, True), (91, 1.0, False), (91, 60.0, True), (60 + 31 * 60, 60.0, False)]
)
def test_the_newest_bar_may_be_ninety_seconds_old_and_its_way_is_real_time(age_s, speed, fresh):
    machine = symbol()
    now = evolve(at(speed=speed), venue_s=T0 + age_s)
    assert (stale_bars(machine.view, now, DataGuardSettings(), hourly=False) == ()) is fresh


def test_after_a_wild_hour_sizes_are_halved():
    machine = symbol()
    for n in range(1, 8):
        price = 100 + 1.5 * n
        machine._outliers.believe(price)
    machine._outliers.believe(108.9)
    now = at(1)
    machine.on_quote(quote(108.9, at(), volume=50_000.0), at())
    one = sends(machine.on_quote(quote(109.0, now, volume=50_900.0), now), Proposal)
    assert one[0].size_factor == 0.5


def test_seed_4_the_symbol_proposes_nothing_while_it_cools_down():
    machine = symbol()
    machine.handle(book(product_id="BTC-USD", cooldowns=(cooldown(kind="stop"),)), at())
    assert sends(rise(machine), Proposal) == []
    assert last_code(machine) == "per_symbol_cooldown"


@pytest.mark.parametrize(
    ("change", "code"),
    [({"positions": (position(),)}, "already_have_position"), ({"orders": (entry_order(),)}, "pending_buy_exists")],
)
def test_what_is_held_or_on_order_is_not_proposed_again(change, code):
    machine = symbol()
    machine.handle(book(product_id="BTC-USD", **change), at())
    assert sends(rise(machine), Proposal) == []
    assert last_code(machine) == code


def test_no_proposal_in_regime_crash():
    machine = symbol(regime="crash")
    assert sends(rise(machine, to=104.0), Proposal) == []
    assert last_code(machine) == "volatility_crash"


def test_an_unanswered_proposal_is_repeated_and_given_up_after_its_time():
    machine = symbol()
    one = sends(rise(machine), Proposal)[0]
    decided = one.decided_boot_s - BOOT0
    assert sends(machine.handle(Woke("proposal"), at(decided + 0.5)), Proposal) == [one]
    assert sends(machine.handle(PeerRestarted("risk"), at(decided + 0.6)), Proposal) == [one]
    assert sends(machine.handle(Woke("proposal"), at(decided + 2.9)), Proposal) == [one], "the answer may be on its way"
    effects = machine.handle(Woke("proposal"), at(decided + 3.1))
    assert sends(effects, Proposal) == []
    assert last_code(machine) == "no_verdict"


def test_after_a_denial_the_strategy_waits_before_it_asks_again():
    machine = symbol()
    one = sends(rise(machine), Proposal)[0]
    now = at(10)
    machine.handle(Verdict(proposal_id=one.proposal_id, product_id="BTC-USD", admitted=False, code="theme_cap"), now)
    assert sends(machine.on_quote(quote(102.6, at(11), volume=51_000.0), at(11)), Proposal) == []
    again = sends(machine.on_quote(quote(102.6, at(30), volume=51_000.0), at(30)), Proposal)
    assert len(again) == 1
    assert again[0].proposal_id != one.proposal_id


def test_a_thousand_quotes_with_the_same_verdict_make_one_record():
    machine = symbol()
    effects = []
    for step in range(1000):
        now = at(step / 1000)
        effects += machine.on_quote(quote(100 + step % 7 / 1000, now), now)
    assert len(notes(effects)) == 1
    assert effects == notes(effects) or len(effects) == 1


def test_two_verdicts_that_take_turns_are_told_once_each_half_minute():
    machine = symbol()
    effects = []
    for step in range(1000):
        now = at(step * 1.1 / 40)
        effects += machine.on_quote(quote(100, now, alive=bool(step // 40 % 2)), now)
    assert len(notes(effects)) == 2
    assert machine.facts()["counts"]["sequence_gap"] > 400
    assert sum(machine.facts()["counts"].values()) == 1000


def requote_case(**changes):
    machine = symbol()
    one = sends(rise(machine), Proposal)[0]
    decided = one.decided_boot_s - BOOT0
    machine.handle(
        Verdict(proposal_id=one.proposal_id, product_id="BTC-USD", admitted=True, code="admitted"), at(decided + 0.1)
    )
    order = entry_order(proposal_id=one.proposal_id, plan_id=one.plan_id, intent_id="i1")
    machine.handle(book(2, product_id="BTC-USD", orders=(order,)), at(decided + 0.2))
    later = at(decided + 21)
    machine.on_quote(quote(101.6, later, volume=50_410.0), later)
    ended = evolve(order, status="canceled", ended="canceled", ended_by_ttl=True)
    return machine, one, evolve(ended, **changes), later


def test_a_requote_is_a_new_proposal_after_the_order_ended_by_its_own_time():
    machine, one, ended, now = requote_case()
    again = sends(machine.handle(book(3, product_id="BTC-USD", orders=(ended,)), now), Proposal)
    assert len(again) == 1
    assert again[0].replaces == "i1"
    assert again[0].requote == 1
    assert again[0].plan_id == one.plan_id
    assert again[0].proposal_id != one.proposal_id
    assert sends(machine.handle(book(3, product_id="BTC-USD", orders=(ended,)), now), Proposal) == [], "once"


def test_an_admitted_requote_is_not_proposed_again_while_its_parent_is_still_listed():
    machine, one, ended, now = requote_case()
    again = sends(machine.handle(book(3, product_id="BTC-USD", orders=(ended,)), now), Proposal)[0]
    machine.handle(Verdict(proposal_id=again.proposal_id, product_id="BTC-USD", admitted=True, code="admitted"), now)
    child = entry_order(proposal_id=again.proposal_id, plan_id=one.plan_id, intent_id="i2", requote=1)
    assert sends(machine.handle(book(4, product_id="BTC-USD", orders=(ended, child)), now), Proposal) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"ended": None, "ended_by_ttl": False, "status": "accepted"},
        {"filled_size": D("0.1")},
        {"ended_by_ttl": False, "ended": "kill"},
        {"requote": 1},
        {"plan_expires_boot_s": BOOT0},
    ],
)
def test_seed_10_nothing_is_requoted_that_lives_filled_or_ended_otherwise(changes):
    machine, _, ended, now = requote_case(**changes)
    assert sends(machine.handle(book(3, product_id="BTC-USD", orders=(ended,)), now), Proposal) == []


def test_a_refused_post_only_is_requoted_and_the_last_try_may_cross():
    machine, _, ended, now = requote_case(ended_by_ttl=False, ended="rejected:INVALID_LIMIT_PRICE_POST_ONLY")
    again = sends(machine.handle(book(3, product_id="BTC-USD", orders=(ended,)), now), Proposal)[0]
    assert not again.post_only
    assert again.limit_price > D("101.6")


@pytest.mark.parametrize(
    ("tier", "spread_bps", "account_rate", "crosses"),
    [
        ("T1", 4.0, "0.006", True),
        ("T1", 4.2, "0.006", False),
        ("T1", 1.0, "0.008", False),
        ("T2", 30.0, "0.008", True),
        ("T2", 1.0, "0.012", False),
        ("T1", 4.0, "0.002", True),
        ("T1", 4.2, "0.002", False),
    ],
    ids=[
        "half the spread and the fee at the budget of 60 and 2",
        "a little more",
        "the account pays more than was configured",
        "a wider tier",
        "no spread fits such a fee",
        "a cheap account is assumed to pay what was configured",
        "and no less",
    ],
)
def test_the_last_try_crosses_only_where_half_the_spread_and_the_fee_fit_the_tiers_budget(
    tier, spread_bps, account_rate, crosses
):
    machine, _, ended, now = requote_case()
    machine.handle(universe_of(("BTC-USD",), tier=tier, taker_cost_bps_max={"T1": 60.0, "T2": 95.0}[tier]), now)
    fees = Fees(maker_rate=D("0.004"), taker_rate=D(account_rate), tier="x")
    machine.handle(catalog_of(("BTC-USD",), now, fees=fees), now)
    machine.on_quote(quote(101.6, now, volume=50_410.0, spread_bps=spread_bps), now)
    again = sends(machine.handle(book(3, product_id="BTC-USD", orders=(ended,)), now), Proposal)[0]
    assert again.post_only is not crosses


def test_without_a_known_budget_nothing_crosses():
    machine, _, ended, now = requote_case()
    machine.handle(universe_of(("BTC-USD",), taker_cost_bps_max=None), now)
    again = sends(machine.handle(book(3, product_id="BTC-USD", orders=(ended,)), now), Proposal)[0]
    assert again.post_only


def test_each_requote_goes_further_into_the_spread_and_never_to_the_ask():
    now = at()
    wide = evolve(quote(100, now), bid=D("99.90"), ask=D("100.10"))
    entry, never = EntrySettings(requotes_max=5, ioc_fallback=False), TakerCost(D("0.006"), None)

    def limits(seen):
        return [entry_price(seen, product(), entry, requote=k, taker=never).limit for k in range(4)]

    assert limits(wide) == [D("99.90"), D("99.96"), D("100.00"), D("100.03")]
    assert limits(evolve(wide, bid=D("100.09"))) == [D("100.09")] * 4, "a spread of one tick leaves no room"
    assert all(entry_price(wide, product(), entry, requote=k, taker=never).limit < wide.ask for k in range(50))


def test_a_marketable_entry_crosses_the_spread_within_its_tolerance():
    settings = SymbolSettings(entry=EntrySettings(style="marketable", marketable_tolerance_bps=20.0))
    one = sends(rise(symbol(settings)), Proposal)[0]
    assert not one.post_only
    assert D("1") < one.limit_price / D("101.5") < D("1.003")


def test_each_requote_may_chase_by_as_much_again_and_no_further():
    parent = sends(rise(symbol()), Proposal)[0]
    entry = EntrySettings(chase_bps_max=50.0)
    for requote, share in ((0, "1.005"), (1, "1.01")):
        ended = entry_order(requote=requote, ended="canceled", plan_id=parent.plan_id)
        at_most = parent.limit_price * D(share)
        made = [
            requote_of(parent, ended, EntryPrice(limit, post_only=True), quote(102, at(30)), at(30), entry=entry)
            for limit in (at_most, at_most + D("0.01"))
        ]
        assert made[0] is not None and made[0].requote == requote + 1
        assert made[1] is None, "the price ran away"


def test_new_strategies_are_off_until_named():
    settings = SymbolSettings(strategies={"price_move": StrategySettings(enabled=False)})
    assert sends(rise(symbol(settings)), Proposal) == []


# -- several strategies, one symbol ------------------------------------------------------------------------------


def saying(name: str, *, score: float = 0.6, on: str = QUOTE, ask_above: float = 0.0) -> Strategy:
    """A strategy that always sees something, once the newest ask is above a number."""

    @strategy(name, on=on, rule=Rule(stop_pct=D(5), target_pct=D(10), hold_hours=24))
    def evaluate(view: MarketView) -> Signal | None:
        if on == QUOTE and not view.bid < view.price < view.ask > ask_above:
            return None
        return Signal(
            strength=score, confidence=score, change_pct=1.0, reason="a test of several strategies at once, " * 2
        )

    return evaluate


def several(*strategies: Strategy, regime: str = "chop", **changes) -> SymbolMachine:
    named = {one.name: StrategySettings(enabled=True) for one in strategies}
    machine = SymbolMachine(
        product_id="BTC-USD", settings=SymbolSettings(strategies=named, **changes), me=ME, strategies=strategies
    )
    machine.recover({}, at())
    for one in quiet_bars():
        machine.on_bar(one, at())
    machine.handle(universe_of(("BTC-USD",), regime=regime), at())
    machine.handle(catalog_of(("BTC-USD",), at()), at())
    machine.handle(book(product_id="BTC-USD"), at())
    return machine


def asked(effects) -> list[str]:
    return [one.strategy for one in sends(effects, Proposal, "risk")]


def test_of_two_strategies_on_one_quote_the_better_score_asks_whatever_their_order():
    for first, second in (("weak", "strong"), ("strong", "weak")):
        made = {"weak": saying("weak", score=0.6), "strong": saying("strong", score=0.9)}
        machine = several(made[first], made[second])
        assert asked(machine.on_quote(quote(100, at()), at())) == ["strong"]


@pytest.mark.parametrize(
    "resting",
    [
        {"regime_denies": {"chop": ("strong",)}},
        {"triggers": TriggerSettings(score_min=0.5), "conviction": ConvictionSettings(propose_min=0.6)},
    ],
    ids=["the regime rests it", "it is not convincing"],
)
def test_a_strategy_that_rests_stands_in_nobodys_way(resting):
    strong = saying("strong", score=0.95)
    if "conviction" in resting:
        strong = evolve(strong, rule=evolve(strong.rule, confidence_factor=0.1))
    machine = several(strong, saying("other", score=0.9), **resting)
    assert asked(machine.on_quote(quote(100, at()), at())) == ["other"]


NAN = float("nan")


@pytest.mark.parametrize(
    ("signal", "rule", "says"),
    [
        ({"strength": NAN}, {}, "strength nan"),
        ({"confidence": NAN}, {}, "confidence nan"),
        ({"confidence": -0.1}, {}, "confidence -0.1"),
        ({"strength": 1.1}, {}, "strength 1.1"),
        ({}, {"stop_pct": D(0)}, "stop 0 %"),
        ({}, {"stop_pct": D("NaN")}, "stop NaN %"),
        ({}, {"stop_pct": 10}, "stop 10 %"),
        ({}, {"stop_pct": 100, "target_pct": 120}, "stop 100 %"),
        ({}, {"target_pct": D("Infinity")}, "target Infinity %"),
        ({}, {"hold_hours": 0.0}, "hold 0 h"),
        ({}, {"hold_hours": NAN}, "hold nan h"),
        ({}, {"trailing_pct": 0}, "trailing stop 0 %"),
        ({}, {"size_factor": NAN}, "size factor nan"),
        ({}, {"confidence_factor": -1.0}, "confidence factor -1"),
    ],
)
def test_a_signal_that_no_order_can_be_made_of_is_refused_by_name_and_another_asks(signal, rule, says):
    """Not a number passed every threshold with full conviction, and a stop of zero divided by zero in risk, at each repeat."""
    plain = saying("plain", score=0.8)
    own = evolve(plain.rule, **rule) if rule else None
    seen = Signal(
        strength=0.9, confidence=0.9, change_pct=1.0, reason="a signal of somebody's own strategy, " * 2, rule=own
    )
    strange = evolve(saying("strange"), evaluate=lambda _: evolve(seen, **signal))
    record = notes(several(strange).on_quote(quote(100, at()), at()))[-1]
    assert record["code"] == "signal_malformed"
    assert record["values"]["strategy"] == "strange"
    assert says in record["values"]["what"]
    assert asked(several(strange, plain).on_quote(quote(100, at()), at())) == ["plain"]


def test_a_signal_that_cannot_be_does_not_disorder_those_that_can():
    """A NaN compares with nothing: sorted by score, the second best came before the best."""
    odd = evolve(
        saying("odd"), evaluate=lambda _: Signal(strength=NAN, confidence=0.9, change_pct=1.0, reason="odd " * 9)
    )
    machine = several(saying("second", score=0.6), odd, saying("best", score=0.9))
    assert asked(machine.on_quote(quote(100, at()), at())) == ["best"]


def test_a_rule_may_tell_its_hours_and_factors_in_decimals_too():
    """They are written beside percentages that are decimals; the product with a float ended the symbol each minute."""
    rule = Rule(stop_pct=D(5), target_pct=D(10), hold_hours=D(6), size_factor=D("0.5"), confidence_factor=D("0.9"))
    told = sends(several(evolve(saying("own"), rule=rule)).on_quote(quote(100, at()), at()), Proposal)
    assert [(one.size_factor, one.plan.hold_s_max) for one in told] == [(0.5, 21_600.0)]


def test_a_weak_score_is_not_proposed_and_says_so():
    machine = several(saying("weak", score=0.4))
    record = notes(machine.on_quote(quote(100, at()), at()))[-1]
    assert record["code"] == "rules_engine_no_proposals"
    assert float(record["values"]["score"]) == pytest.approx(0.16)
    assert float(record["values"]["score_min"]) == 0.2


def asked_at_the_next_hour(machine, hours):
    """Who asks at the end of an hour, after `hours` quiet ones and with young minutes and a young quote."""
    for one in quiet_bars(bars=hours, bar_s=3600):
        machine.on_bar(one, at())
    now = at(5100)
    for minute in range(20, 0, -1):
        machine.on_bar(bar(100.0, now.venue_s - 60 * minute, bar_s=60, backfill=True), now)
    machine.on_quote(quote(100, now), now)
    return asked(machine.on_bar(bar(100.0, T0, bar_s=3600), now))


@pytest.mark.parametrize(("tiers", "wanted"), [(("T1",), ["hourly"]), (("T2", "T3"), [])])
def test_an_hourly_strategy_acts_in_its_own_tiers_only(tiers, wanted):
    machine = several(evolve(saying("hourly", on=SIGNAL, score=0.9), tiers=tiers, needs_atr=False))
    assert asked_at_the_next_hour(machine, 60) == wanted


def test_while_one_strategy_waits_after_a_denial_another_asks():
    machine = several(saying("strong", score=0.9), saying("weak", score=0.6))
    one = sends(machine.on_quote(quote(100, at()), at()), Proposal)[0]
    machine.handle(
        Verdict(proposal_id=one.proposal_id, product_id="BTC-USD", admitted=False, code="strategy_cap"), at(1)
    )
    assert asked(machine.on_quote(quote(100, at(2)), at(2))) == ["weak"]


def test_after_an_admission_nobody_asks_until_the_book_can_show_it():
    machine = several(saying("strong", score=0.9), saying("weak", score=0.6))
    one = sends(machine.on_quote(quote(100, at()), at()), Proposal)[0]
    machine.handle(Verdict(proposal_id=one.proposal_id, product_id="BTC-USD", admitted=True, code="admitted"), at(1))
    assert asked(machine.on_quote(quote(100, at(2)), at(2))) == []
    assert asked(machine.on_quote(quote(100, at(4)), at(4))) == ["strong"]


def test_what_is_not_convincing_is_not_proposed_and_says_so():
    machine = several(saying("weak", score=0.5), conviction=ConvictionSettings(propose_min=0.6))
    record = notes(machine.on_quote(quote(100, at()), at()))[-1]
    assert record["code"] == "rules_engine_no_proposals"
    assert float(record["values"]["conviction_min"]) == 0.6


def test_a_strategy_sees_the_newest_bid_and_ask():
    machine = several(saying("one", ask_above=100.005))
    assert asked(machine.on_quote(quote(100, at(), spread_bps=0.5), at())) == []
    assert asked(machine.on_quote(quote(100, at(1), spread_bps=2.0), at(1))) == ["one"]


@pytest.mark.parametrize(("age_s", "wanted"), [(5_460, []), (5_340, ["hourly"])])
def test_an_hour_that_ended_long_ago_fires_nothing_hourly(age_s, wanted):
    machine = several(saying("hourly", on=SIGNAL, score=0.9))
    for one in quiet_bars(bars=200, bar_s=3600):
        machine.on_bar(one, at())
    now = at(3600 + age_s)
    for minute in range(20, 0, -1):  # young minutes: the candle that is old is the hour
        machine.on_bar(bar(100.0, now.venue_s - 60 * minute, bar_s=60, backfill=True), now)
    machine.on_quote(quote(100, now), now)
    assert stale_bars(machine.view, now, DataGuardSettings(), hourly=False) == ()
    assert asked(machine.on_bar(bar(100.1, T0, bar_s=3600, volume=120.0), now)) == wanted


@pytest.mark.parametrize("how", ["quote", "bar"])
def test_the_fallback_relaxes_after_quiet_hours_and_any_trigger_ends_it(how):
    settings = SymbolSettings(triggers=TriggerSettings(fallback_after_bars=3))
    machine = symbol(settings)
    for n in range(3):
        assert machine.view.threshold_factor == 1.0
        machine.on_bar(bar(100.0, T0 + 3600 * n, bar_s=3600, volume=120.0), at(3600 * (n + 1)))
    assert machine.view.threshold_factor == pytest.approx(0.7)
    if how == "quote":
        machine._quiet_bars = 3
        now = at(3600 * 3 + 1)
        machine.view.move.price_15m_ago = machine.view.fine.price_15m_ago = 98.0
        machine.view.forming_volume_ratio = 9.0
        machine.on_quote(quote(100, now), now)
    else:
        machine._on_move = (saying("always", on=MOVE),)
        machine.on_bar(bar(100.0, T0 + 10_800, volume=10.0), at(11_100))
    assert machine.view.threshold_factor == 1.0


def test_a_closed_five_minute_bar_decides_too_with_its_end_as_stamp():
    machine = symbol()
    machine.on_quote(quote(102.4, at(), volume=None), at())
    machine._outliers.believe(102.4)
    machine.on_quote(quote(102.4, at(1), volume=None), at(1))
    now = at(301)
    effects = []
    machine._outliers.believe(102.5)
    machine.on_quote(quote(102.5, now), now)
    effects += machine.on_bar(bar(102.5, T0, volume=300.0, open_=100.0), now)
    one = sends(effects, Proposal)[0]
    assert one.decided_on == "bar"
    assert one.limit_price <= D("102.5")


def test_a_backfilled_bar_decides_nothing():
    machine = symbol()
    effects = machine.on_bar(bar(103.0, T0, volume=300.0, open_=100.0, backfill=True), at(301))
    assert list(effects) == []


def test_a_calm_market_names_its_nearest_miss_and_a_pending_order_its_own_numbers():
    machine = symbol()
    record = notes(machine.on_quote(quote(100.4, at()), at()))[-1]
    assert record["code"] == "no_candidates_from_triggers"
    assert {"change_15m_pct", "threshold_15m_pct", "change_60m_pct", "threshold_60m_pct", "volume_ratio_15m"} <= set(
        record["values"]
    )
    assert float(record["values"]["threshold_15m_pct"]) == 1.5
    machine = symbol()
    machine.handle(book(product_id="BTC-USD", orders=(entry_order(),)), at())
    record = notes(rise(machine))[-1]
    assert record["code"] == "pending_buy_exists"
    assert record["values"]["client_order_id"] == "bh-test-BTC-USD"


def test_who_begins_to_listen_late_hears_what_stands_and_how_often_and_nothing_is_written_again():
    machine = SymbolMachine(
        product_id="BTC-USD",
        settings=SymbolSettings(),
        me=ME,
        strategies=collect(),
        tells=True,
        jitter=Jitter(paces=True),
    )
    wakes = [one for one in machine.recover({}, at()) if isinstance(one, Wake)]
    written, told = [], []
    for step in range(60_000):  # a thousand quotes a second for a minute
        now = at(step / 1000)
        written += notes(machine.on_quote(quote(100, now), now))
        if now.boot_s >= wakes[-1].at_boot_s:
            effects = machine.handle(Woke("standing"), now)
            wakes += [one for one in effects if isinstance(one, Wake)]
            told += notes(effects, "standing")
    assert len(written) == 1
    assert 5 <= len(told) <= 7
    assert told[-1]["code"] == "no_candidates_from_triggers"
    assert told[-1]["seen"] > 45_000
    assert told[-1]["counts"] == {"no_candidates_from_triggers": told[-1]["seen"]}
    assert "change_15m_pct" in told[-1]["values"]
    assert len({round(later.at_boot_s - one.at_boot_s, 3) for one, later in itertools.pairwise(wakes)}) > 3, "jittered"
    at_once = notes(machine.handle(PeerRestarted("console", (2, 1)), at(60)), "standing")
    assert [one["seen"] for one in at_once] == [60_000]


def test_where_nobody_looks_on_nothing_is_repeated():
    machine = symbol()
    machine.on_quote(quote(100, at()), at())
    assert machine.handle(Woke("standing"), at(10)) == ()
    assert machine.handle(PeerRestarted("console", (2, 1)), at(10)) == ()


def test_a_winners_stop_is_advised_to_the_structure_once_for_each_position():
    machine = symbol(SymbolSettings(advise_structure_stop=True))

    def advice(n: int, **changes):
        held = position(price="90", **changes)
        machine.handle(book(n, product_id="BTC-USD", positions=(held,)), at())
        now = at(300 * n + 1)
        return sends(machine.on_bar(bar(100.0, T0 + 300 * (n - 1)), now), ExitAdvice, "exits")

    (first,) = advice(1, position_id="pos-1")
    assert D("99.8") < first.stop_price < D(100)
    assert advice(2, position_id="pos-1") == [], "it has not risen"
    (again,) = advice(3, position_id="pos-2")
    assert again.n == 2
    assert advice(4, position_id="pos-3", average_price=D(99)) == [], "no winner yet"
    assert advice(5, position_id="pos-4", stop_price=D("99.99")) == [], "its stop is nearer already"


def test_a_candle_that_cannot_be_is_told_with_its_code_and_history_is_not():
    machine, now = symbol(), at(60)
    odd = bar(100.0, T0 + 7, bar_s=60)
    [told] = notes(machine.on_bar(odd, now))
    assert told["code"] == "candle_misaligned"
    assert (float(told["values"]["start_s"]), float(told["values"]["bar_s"])) == (T0 + 7, 60)
    assert machine.on_bar(evolve(odd, start_s=int(T0) + 9, backfill=True), now) == ()


@pytest.mark.parametrize(("hours", "wanted"), [(10, []), (60, ["hourly"])])
def test_hourly_strategies_wait_until_there_are_hours_enough(hours, wanted):
    machine = several(evolve(saying("hourly", on=SIGNAL, score=0.9), needs_atr=False))
    assert asked_at_the_next_hour(machine, hours) == wanted


def test_what_was_denied_is_not_asked_again_on_the_same_quote():
    """A quiet product tells its quote again; what it says was judged."""
    machine = several(saying("one"), entry=EntrySettings(retry_after_denial_s=0.0))
    same = quote(100, at())
    [proposal] = sends(machine.on_quote(same, at()), Proposal)
    denied = Verdict(proposal_id=proposal.proposal_id, product_id="BTC-USD", admitted=False, code="max_spread")
    machine.handle(denied, at(0.5))
    assert asked(machine.on_quote(same, at(1))) == []
    assert asked(machine.on_quote(quote(100, at(2)), at(2))) == ["one"]


@pytest.mark.parametrize(
    ("price", "age_s", "code"), [(100, 0.0, "proposed"), (100, 6.0, "quote_stale"), (120, 0.0, "outlier_unconfirmed")]
)
def test_what_a_closed_bar_says_is_not_asked_on_a_quote_that_is_old_or_doubted(price, age_s, code):
    machine = several(saying("moves", on=MOVE))
    machine.on_quote(quote(100, at(290)), at(290))
    machine.on_quote(quote(price, at(296), age_s=age_s), at(296))
    found = asked(machine.on_bar(bar(100.0, T0, bar_s=300), at(300)))
    assert (found, last_code(machine)) == (["moves"] if code == "proposed" else [], code)


def test_candles_that_were_never_told_are_stale_and_have_no_age():
    values = dict(stale_bars(symbol(warm=False).view, at(), DataGuardSettings(), hourly=False))
    assert values["age_s"] == "none"
