"""Risk: one test a rule, and the road of a proposal between crashes, stale versions and silence."""

from __future__ import annotations

from decimal import Decimal

import pytest
from attrs import evolve

from tests.decisions.build import (
    BOOT0,
    T0,
    D,
    RiskWorld,
    at,
    book,
    cooldown,
    entry_order,
    notes,
    position,
    product,
    proposal,
    quote,
    said,
    sends,
    universe_of,
)
from trading.caps import check_caps, exposures
from trading.machine import PeerRestarted, Woke
from trading.messages.book import Counters, Foreign, Recovery
from trading.messages.control import Breaker, Condition, Drain, Drained, HealthSnapshot, KillSnapshot
from trading.messages.decisions import Admitted, Approved, Refused, Stale, Verdict
from trading.risk import PASSING_REFUSALS, VERDICTS_KEPT
from trading.risk_settings import CapSettings, PacingSettings, RiskSettings
from trading.rules.book import RULES
from trading.strategies.registry import StrategySettings
from trading.tiers import default_tiers
from trading.values import Side


def world(**changes) -> RiskWorld:
    made = RiskWorld(**changes)
    made.hear()
    return made


def code_of(answer) -> str:
    assert isinstance(answer, Verdict), answer
    assert not answer.admitted
    return answer.code


def test_a_sound_proposal_is_approved_on_the_version_of_the_book():
    w = world()
    answer = w.judge()
    assert isinstance(answer, Approved)
    assert answer.version == w.book.version
    assert answer.base_size > 0
    # 3 % of 10,000 at conviction 0.6 and multiplier 1: 180 USD at most; the approval carries what oms asserts again.
    assert answer.base_size * answer.limit_price <= D(180)
    assert check_caps(w.book, "BTC-USD", "price_move", answer.worst_usd, answer.caps) is None


@pytest.mark.parametrize("silent", ["kill_switch", "health_monitor", "universe", "catalog", "oms"])
def test_an_owner_that_was_never_heard_holds_and_then_denies(silent):
    w = RiskWorld()
    w.hear(leave_out=silent)
    assert w.judge() is None, "transient: held"
    late = at(2.01)
    answer = said(w.say(Woke("tick"), late))
    assert code_of(answer) == "permission_expired"


def test_permissions_expire_after_two_seconds_of_silence():
    w = world()
    now = at(2.1)
    w.quotes(now)
    assert w.judge(proposal(now=now), now) is None
    for message in (w.kill, w.health, w.universe, w.catalog):
        assert said(w.say(message, now)) is None
    assert isinstance(said(w.say(evolve(w.book, taken_boot_s=now.boot_s), now)), Approved), (
        "heard again within its time"
    )


def test_the_kill_switch_denies():
    w = RiskWorld()
    w.kill = KillSnapshot(n=2, engaged=True, cause="drill", by="ann")
    w.hear()
    answer = w.judge()
    assert code_of(answer) == "kill_switch"
    assert ("cause", "drill") in answer.values


def test_a_pause_denies_entries():
    w = RiskWorld()
    w.kill = KillSnapshot(n=2, engaged=False, paused=True, pause_cause="lunch")
    w.hear()
    assert code_of(w.judge()) == "paused"


def test_an_open_breaker_denies_with_its_own_code_and_numbers():
    w = RiskWorld()
    w.health = HealthSnapshot(
        n=1,
        breakers=(
            Breaker(code="data_staleness", open=True, measured=True, reason="silent", values=(("value", "11"),)),
        ),
    )
    w.hear()
    answer = w.judge()
    assert code_of(answer) == "data_staleness"
    assert ("value", "11") in answer.values


def test_before_any_breaker_was_heard_of_nothing_is_judged():
    w = RiskWorld()
    w.health = HealthSnapshot(n=1, breakers=())
    w.hear()
    assert w.judge() is None, "held, not approved"


def test_an_unmeasured_breaker_holds_as_measuring():
    w = RiskWorld()
    w.health = HealthSnapshot(n=1, breakers=(Breaker(code="api_health", open=True, measured=False),))
    w.hear()
    assert w.judge() is None
    assert code_of(said(w.say(Woke("tick"), at(2.0)))) == "measuring"


def test_an_exchange_that_announces_trouble_takes_no_entry():
    w = RiskWorld()
    w.catalog = evolve(w.catalog, entries_closed=True, exchange_reason="maintenance")
    w.hear()
    answer = w.judge()
    assert code_of(answer) == "exchange_status"
    assert ("reason", "maintenance") in answer.values


def test_a_sell_is_never_an_entry():
    assert code_of(world().judge(proposal(side=Side.SELL))) == "shorting_disallowed"


def test_an_untrusted_clock_denies():
    w = world()
    assert code_of(w.judge(now=at(trusted=False))) == "clock_untrusted"
    blind = RiskWorld()
    for message in (blind.kill, blind.health, blind.universe, blind.catalog, blind.book):
        blind.say(message)
    assert code_of(blind.judge(now=at(trusted=False))) == "clock_untrusted", (
        "also where no quote is there to be judged by it"
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"writable": False}, "book_not_writable"),
        ({"draining": True}, "draining"),
        ({"unknown_products": ("BTC-USD",)}, "unknown_order"),
        ({"cooldowns_complete": False}, "data_unavailable"),
        ({"cooldowns": (cooldown(),)}, "per_symbol_cooldown"),
        ({"cooldowns": (cooldown(kind="ban", reason="team_rug"),)}, "red_flag"),
        ({"positions": (position(),)}, "already_have_position"),
        ({"orders": (entry_order(),)}, "pending_buy_exists"),
        ({"counters": Counters(loss_streak=3, last_loss_s=T0 - 60)}, "loss_cooldown"),
        ({"counters": Counters(entry_times_s=((T0 - 60, "ETH-USD"),))}, "global_spacing"),
        ({"counters": Counters(entry_times_s=((T0 - 600, "BTC-USD"),))}, "per_symbol_spacing"),
        (
            {"counters": Counters(entry_times_s=tuple((T0 - 3000 + i, f"{c}-USD") for i, c in enumerate("ABC")))},
            "new_trades_per_hour",
        ),
        ({"counters": Counters(entry_times_s=tuple((T0 - 3000 + i, "ETH-USD") for i in range(5)))}, "trades_per_hour"),
        ({"counters": Counters(realised=((T0 - 60, D(-400)),))}, "daily_stop"),
        ({"counters": Counters(realised=((T0 - 60, D(-200)), (T0 - 2 * 86400, D(-700))))}, "weekly_stop"),
        ({"counters": Counters(realised=((T0 - 6 * 86400, D(-900)),))}, "rolling_stop"),
    ],
)
def test_the_book_speaks_against_an_entry(change, code):
    w = RiskWorld()
    w.book = book(**change)
    w.hear()
    assert code_of(w.judge()) == code


@pytest.mark.parametrize(
    "change",
    [
        {"recovery": Recovery.RECOVERING},
        {"recovery": Recovery.ORDERS_KNOWN},
        {"unbooked": (("bh-x", 3.0),)},
        {"balances_complete_boot_s": None},
    ],
)
def test_an_unreconciled_book_holds_as_reconcile_pending(change):
    w = RiskWorld()
    w.book = book(**change)
    w.hear()
    assert w.judge() is None
    w.hear(at(1.9))
    answer = said(w.say(Woke("tick"), at(2.0)))
    assert code_of(answer) == "reconcile_pending"


@pytest.mark.parametrize(
    ("quoted", "code"),
    [
        ({"age_s": 6.0}, "quote_stale"),
        ({"alive": False}, "sequence_gap"),
        ({"spread_bps": 25.0}, "spread_too_wide"),
        ({"depth": 20_000.0}, "depth_too_thin"),
        ({"depth": None}, "data_unavailable"),
        ({"spread_bps": -5.0}, "book_crossed"),
        ({"spread_bps": 0.0}, "book_locked"),
    ],
)
def test_the_quote_speaks_against_an_entry(quoted, code):
    w = world()
    w.machine.on_quote(quote(100, at(), **quoted), at())
    answer = w.judge()
    assert code_of(answer) == code
    assert answer.values, "measured values stand beside the code"


def test_a_product_that_risk_has_no_quote_of_is_denied():
    w = RiskWorld()
    w.names = tuple(name for name in w.names if name != "BTC-USD")
    w.hear()
    answer = w.judge()
    assert (code_of(answer), dict(answer.values)) == ("data_unavailable", {"what": "quote"})


def test_the_configurations_spread_binds_where_it_is_narrower_than_the_tiers():
    w = world(settings=RiskSettings(spread_bps_max=5.0))
    w.quotes(at(0.1), spread_bps=8.0)
    answer = w.judge(now=at(0.1))
    assert code_of(answer) == "spread_too_wide"
    assert dict(answer.values)["limit_bps"] == "5"


def test_a_ban_that_has_ended_denies_nothing_though_its_row_still_stands():
    w = world()
    w.book = book(cooldowns=(cooldown(kind="ban", left_s=5.0, reason="team_rug"),))
    for seconds, code in ((4.9, "red_flag"), (5.1, None)):
        w.hear(at(seconds))
        answer = w.judge(proposal(now=at(seconds), proposal_id=f"p{seconds}"), at(seconds))
        assert getattr(answer, "code", None) == code


def test_losses_below_a_streak_pause_nothing():
    w = world()
    for losses, code in ((2, None), (3, "loss_cooldown")):
        w = world()
        w.book = book(counters=Counters(loss_streak=losses, last_loss_s=T0 - 60))
        w.hear()
        assert getattr(w.judge(), "code", None) == code


def test_an_exchange_that_clamps_halves_the_size():
    whole = world().judge().base_size
    w = world()
    w.catalog = evolve(w.catalog, n=2, size_multiplier=0.5)
    w.hear()
    assert w.judge().base_size == pytest.approx(whole / 2, rel=D("1e-6"))


@pytest.mark.parametrize("side", ["depth_bid_usd", "depth_ask_usd"])
def test_the_order_is_a_tenth_of_the_thinner_side_at_most(side):
    tiers = {name: evolve(tier, depth_usd_min=0.0) for name, tier in default_tiers().items()}
    w = world(tiers=tiers)
    w.machine.on_quote(evolve(quote(100, at(0.1)), **{side: 500.0}), at(0.1))
    answer = w.judge(now=at(0.1))
    assert D(49) < answer.base_size * answer.limit_price <= D(50)
    assert dict(answer.caps.multipliers)["bound_by"] == "depth"


def test_a_limit_far_above_the_ask_is_outside_the_slippage_budget():
    assert code_of(world().judge(proposal(limit="101"))) == "slippage_budget"


def test_a_jump_that_is_not_confirmed_denies():
    w = world()
    w.machine.on_quote(quote(112, at(0.1)), at(0.1))
    assert code_of(w.judge(proposal(limit="112", now=at(0.1)), at(0.1))) == "outlier_unconfirmed"


@pytest.mark.parametrize("flag", ["trading_disabled", "is_disabled", "view_only", "auction_mode", "cancel_only"])
def test_seed_ex1_product_flags_close_entries(flag):
    w = RiskWorld()
    w.catalog = evolve(w.catalog, products=(product(**{flag: True}),))
    w.hear()
    assert code_of(w.judge()) == "exchange_product_status"


def test_a_post_only_product_takes_only_post_only_entries():
    w = RiskWorld()
    w.catalog = evolve(w.catalog, products=(product(post_only=True),))
    w.hear()
    assert code_of(w.judge(proposal(post_only=False))) == "exchange_product_status"
    assert isinstance(w.judge(proposal(proposal_id="p2")), Approved)


def test_missing_or_old_metadata_denies():
    w = RiskWorld()
    w.catalog = evolve(w.catalog, products=())
    w.hear()
    assert code_of(w.judge()) == "data_unavailable"
    w.catalog = evolve(w.catalog, products=(product(),), fetched_boot_s=BOOT0 - 1000)
    w.hear()
    assert code_of(w.judge(proposal(proposal_id="p2"))) == "data_unavailable"


def test_a_product_outside_the_universe_or_ineligible_is_denied_with_the_reason():
    w = RiskWorld()
    w.universe = universe_of(("ETH-USD",))
    w.hear()
    assert code_of(w.judge()) == "not_in_universe"
    w.universe = universe_of(("BTC-USD",), eligible=False, reason="volume_low")
    w.hear()
    answer = w.judge(proposal(proposal_id="p2"))
    assert code_of(answer) == "ineligible"
    assert ("reason", "volume_low") in answer.values


def test_no_entry_in_regime_crash():
    w = RiskWorld()
    w.universe = universe_of(("BTC-USD",), regime="crash", multiplier=0.0)
    w.hear()
    assert code_of(w.judge()) == "volatility_crash"


def test_a_strategy_that_is_not_enabled_is_denied():
    assert code_of(world().judge(proposal(strategy="surprise"))) == "strategy_disabled"


def test_a_held_product_without_a_mark_makes_nav_unknown_and_denies():
    w = RiskWorld()
    w.book = book(positions=(position("AAVE-USD"),))
    w.hear()
    answer = w.judge()
    assert code_of(answer) == "data_unavailable"
    assert ("products", "AAVE-USD") in answer.values


def test_too_many_open_positions():
    w = RiskWorld()
    w.book = book(positions=tuple(position(n, "0.01") for n in ("ETH-USD", "SOL-USD", "DOGE-USD")))
    w.hear()
    assert code_of(w.judge()) == "max_open_positions", "chop allows three"


@pytest.mark.parametrize(
    ("settings", "held", "code"),
    [
        (CapSettings(theme_pct={"LAYER1": D(3)}), position("ETH-USD", "3.2"), "theme_cap"),
        (CapSettings(total_pct=D(3)), position("DOGE-USD", "3.2"), "exposure_cap"),
        (CapSettings(theme_pct={}), position("DOGE-USD", "1"), "cap_missing"),
    ],
)
def test_a_full_cap_answers_in_its_own_name(settings, held, code):
    w = RiskWorld(settings=RiskSettings(caps=settings))
    w.book = book(positions=(held,))
    w.hear()
    answer = w.judge()
    assert code_of(answer) == code
    assert answer.values


def test_the_cap_that_lacks_room_for_the_least_order_answers_and_no_other():
    """The theme has 6 USD left, enough for 5 and fees; the account has 2. The theme used to answer, for 7 USD that nobody wanted."""
    w = world(settings=RiskSettings(caps=CapSettings(total_pct=D("13.5"))))
    w.book = book(positions=(position("SOL-USD", "9.94"), position("DOGE-USD", "3.54")), cash="8652")
    w.hear()
    answer = w.judge()
    assert code_of(answer) == "exposure_cap"
    values = {name: D(text) for name, text in answer.values if name.endswith("_usd")}
    assert values["limit_usd"] - values["current_usd"] < values["candidate_usd"] < D("5.1"), "what it would take"


def test_the_tier_and_the_strategy_have_caps_of_their_own():
    tiers = default_tiers()
    tiers["T1"] = evolve(tiers["T1"], alloc_pct=D(3))
    w = RiskWorld(tiers=tiers)
    w.book = book(positions=(position("ETH-USD", "3.2"),))
    w.hear()
    assert code_of(w.judge()) == "tier_cap"
    w = RiskWorld(strategies={"price_move": StrategySettings(enabled=True, budget_pct=D(3))})
    w.book = book(positions=(position("DOGE-USD", "3.2"),))
    w.hear()
    assert code_of(w.judge()) == "strategy_cap"


def test_an_unknown_order_counts_in_full():
    w = RiskWorld(settings=RiskSettings(caps=CapSettings(theme_pct={"LAYER1": D(3)})))
    w.book = book(orders=(entry_order("ETH-USD", "3.2", status="unknown"),), unknown_products=("ETH-USD",))
    w.hear()
    assert code_of(w.judge()) == "theme_cap"


def test_the_day_begins_at_midnight_and_counts_to_its_limit():
    """09:00 UTC: eleven hours ago was yesterday."""
    pacing = PacingSettings(trades_per_day_max=2)
    yesterday, today = T0 - 11 * 3600, T0 - 5 * 3600
    w = RiskWorld(settings=RiskSettings(pacing=pacing))
    w.book = book(
        counters=Counters(entry_times_s=((yesterday, "ETH-USD"), (yesterday + 9, "SOL-USD"), (today, "ETH-USD")))
    )
    w.hear()
    assert isinstance(w.judge(), Approved)
    w = RiskWorld(settings=RiskSettings(pacing=pacing))
    w.book = book(counters=Counters(entry_times_s=((today, "ETH-USD"), (T0 - 9 * 3600, "SOL-USD"))))
    w.hear()
    answer = w.judge()
    assert code_of(answer) == "trades_per_day"
    assert ("today", "2") in answer.values


def test_spacing_is_over_at_its_second():
    for since_s, wanted in ((89.9, Verdict), (90.0, Approved)):
        w = RiskWorld()
        w.book = book(counters=Counters(entry_times_s=((T0 - since_s, "ETH-USD"),)))
        w.hear()
        assert isinstance(w.judge(), wanted)


def test_a_product_that_traded_within_the_hour_is_none_of_the_new_ones():
    times = ((T0 - 3000, "ETH-USD"), (T0 - 2500, "SOL-USD"), (T0 - 2000, "BTC-USD"))
    w = RiskWorld()
    w.book = book(counters=Counters(entry_times_s=times))
    w.hear()
    assert isinstance(w.judge(), Approved)


def test_what_was_decided_on_an_old_quote_is_denied_though_the_newest_is_fresh():
    w = world()
    old = proposal(now=at(), quote_received_boot_s=BOOT0 - 5.1)
    assert code_of(w.judge(old)) == "quote_stale"


@pytest.mark.parametrize("side", ["depth_bid_usd", "depth_ask_usd"])
def test_the_thinner_side_of_the_book_is_the_depth(side):
    w = world()
    w.machine.on_quote(evolve(quote(100, at()), **{side: 20_000.0}), at())
    assert code_of(w.judge()) == "depth_too_thin"


def test_an_order_never_counts_less_than_when_it_was_admitted():
    order = entry_order("ETH-USD", "1", "100", worst_usd=D(150))
    caps = world().judge().caps
    held = exposures(book(orders=(order,)), evolve(caps, marks=(("ETH-USD", D(90)),)))
    assert held.usd("symbol", "ETH-USD") == D(150)
    held = exposures(book(orders=(order,)), evolve(caps, marks=(("ETH-USD", D(200)),)))
    assert held.usd("symbol", "ETH-USD") == D(200) * (1 + caps.fee_rate), "and more when the market has risen"


def test_what_has_no_price_fits_no_cap():
    caps = evolve(world().judge().caps, marks=())
    no = check_caps(book(positions=(position("ETH-USD"),)), "BTC-USD", "price_move", D(10), caps)
    assert no is not None
    assert no.code == "data_unavailable"


def test_an_approval_carries_the_tighter_of_asset_and_tier_caps():
    for name, wanted in (("BTC-USD", D(400)), ("LINK-USD", D(300))):
        answer = world().judge(proposal(name))
        assert isinstance(answer, Approved)
        assert {(scope, key): usd for scope, key, usd in answer.caps.caps_usd}["symbol", name] == wanted


def test_dust_without_a_price_closes_nothing_and_is_no_open_position():
    w = RiskWorld()
    w.book = book(positions=tuple(position(f"{name}-USD", "0.01", dust=True) for name in ("AAVE", "UNI", "OP", "ARB")))
    w.hear()
    assert isinstance(w.judge(), Approved)


def test_a_pyramid_needs_permission_time_and_is_counted():
    pacing = PacingSettings(allow_pyramiding=True, spacing_s=0.0)
    w = RiskWorld(settings=RiskSettings(pacing=pacing))
    w.book = book(positions=(position(opened_s=T0 - 3600),), counters=Counters(entry_times_s=((T0 - 3601, "BTC-USD"),)))
    w.hear()
    assert isinstance(w.judge(), Approved)
    w = RiskWorld(settings=RiskSettings(pacing=pacing))
    w.book = book(2, positions=(position(),), counters=Counters(entry_times_s=((T0 - 300, "BTC-USD"),)))
    w.hear()
    assert code_of(w.judge(proposal(proposal_id="p2"))) == "pyramid_cooldown"
    w.book = book(
        3, positions=(position(),), counters=Counters(entry_times_s=((T0 - 3601, "BTC-USD"), (T0 - 900, "BTC-USD")))
    )
    w.hear()
    assert code_of(w.judge(proposal(proposal_id="p3"))) == "pyramid_daily_limit"
    w.book = book(  # an add of yesterday is none of today's
        4, positions=(position(opened_s=T0 - 90_000),), counters=Counters(entry_times_s=((T0 - 80_000, "BTC-USD"),))
    )
    w.hear()
    assert isinstance(w.judge(proposal(proposal_id="p4")), Approved)


def test_a_requote_is_exempt_from_spacing_and_counts_and_not_from_cooldowns():
    w = RiskWorld()
    w.book = book(counters=Counters(entry_times_s=tuple((T0 - 10 - i, "BTC-USD") for i in range(5))))
    w.hear()
    assert isinstance(w.judge(proposal(requote=1, replaces="intent-1")), Approved)
    w = RiskWorld()
    w.book = book(cooldowns=(cooldown(),))
    w.hear()
    assert code_of(w.judge(proposal(requote=1, replaces="intent-1"))) == "per_symbol_cooldown"
    w = RiskWorld(settings=RiskSettings(pacing=PacingSettings(allow_pyramiding=True)))
    w.book = book(positions=(position(),), counters=Counters(entry_times_s=((T0 - 20, "BTC-USD"),)))
    w.hear()
    assert isinstance(w.judge(proposal(requote=1, replaces="intent-1")), Approved), "its own admission was 20 s ago"


# -- the road --------------------------------------------------------------------------------------------------


def test_one_approval_is_outstanding_and_the_others_wait_in_order_of_arrival():
    w = world()
    first = w.judge(proposal("BTC-USD", proposal_id="a"))
    assert isinstance(first, Approved)
    assert w.judge(proposal("ETH-USD", proposal_id="b")) is None
    assert w.judge(proposal("SOL-USD", proposal_id="c")) is None
    w.book = book(2, orders=(entry_order("BTC-USD", first.base_size, proposal_id="a"),))
    effects = w.say(evolve(w.book, taken_boot_s=BOOT0))
    assert sends(effects, Verdict)[0].admitted, "the snapshot lists it: it lives"
    second = sends(effects, Approved)
    assert [one.proposal.proposal_id for one in second] == ["b"]
    assert second[0].version == w.book.version


def test_two_symbols_propose_in_the_same_millisecond_and_cannot_pass_a_cap_together():
    w = RiskWorld(settings=RiskSettings(caps=CapSettings(theme_pct={"LAYER1": D("2.5")})))
    w.hear()
    first = w.judge(proposal("BTC-USD", proposal_id="a"))
    w.judge(proposal("ETH-USD", proposal_id="b"))
    w.book = book(2, orders=(entry_order("BTC-USD", first.base_size, proposal_id="a"),))
    effects = w.say(evolve(w.book, taken_boot_s=BOOT0))
    second = sends(effects, Approved)[0]
    assert first.worst_usd + second.worst_usd <= D(250)
    total = exposures(w.book, second.caps).usd("theme", "LAYER1") + second.worst_usd
    assert total <= D(250)


def test_stale_is_judged_again_on_the_newer_book_and_given_up_after_five():
    w = world()
    answer = w.judge()
    for n in range(2, 7):
        w.book = book(n)
        effects = w.say(Stale(proposal_id="p1", approval_id=answer.approval_id, version=w.book.version))
        assert said(effects) is None, "the version it lost on is not judged twice"
        answer = said(w.say(evolve(w.book, taken_boot_s=BOOT0)))
        assert isinstance(answer, Approved)
        assert answer.version == w.book.version
    effects = w.say(Stale(proposal_id="p1", approval_id=answer.approval_id, version=((1, 1), 9)))
    assert code_of(said(effects)) == "book_busy"


def test_a_proposal_that_lives_is_answered_admitted_by_a_new_risk():
    """Risk approves, dies, and its replacement must not deny what lives."""
    for listed in ({"admitted_recently": ("p1",)}, {"orders": (entry_order(proposal_id="p1"),)}):
        w = RiskWorld()
        w.book = book(7, **listed)
        w.hear()
        answer = w.judge()
        assert isinstance(answer, Verdict)
        assert answer.admitted


def test_a_repeated_proposal_gets_the_same_verdict_and_no_second_approval():
    w = world()
    assert isinstance(w.judge(), Approved)
    assert w.judge() is None, "still outstanding"
    w.say(Admitted(proposal_id="p1", approval_id="x", intent_id="i", version=((1, 1), 2)))
    again = w.say(proposal())
    assert sends(again, Approved) == []
    assert sends(again, Verdict)[0].admitted


def test_an_unanswered_approval_is_repeated_and_again_at_once_when_oms_restarts():
    w = world()
    first = w.judge()
    assert sends(w.say(Woke("tick"), at(0.5)), Approved) == [first]
    assert sends(w.say(PeerRestarted("oms"), at(0.6)), Approved) == [first]


def test_an_approval_nobody_answered_is_denied_when_a_later_book_does_not_list_it():
    w = world()
    w.judge()
    w.hear(at(2.5))
    answer = said(w.say(Woke("tick"), at(2.6)))
    assert code_of(answer) == "permission_expired"


def test_an_approval_is_denied_two_seconds_after_its_deadline_even_when_oms_says_nothing_at_all():
    w = world()
    assert isinstance(w.judge(), Approved)
    assert said(w.say(Woke("tick"), at(3.9))) is None
    assert code_of(said(w.say(Woke("tick"), at(4.1)))) == "permission_expired"


def test_a_refusal_of_oms_denies_and_tells_a_person():
    w = world()
    answer = w.judge()
    effects = w.say(Refused(proposal_id="p1", approval_id=answer.approval_id, code="theme_cap"))
    assert code_of(said(effects)) == "theme_cap"
    assert any(type(e.message).__name__ == "Condition" for e in effects if hasattr(e, "message"))


def test_draining_denies_what_waits_and_answers():
    w = world()
    w.judge(proposal(proposal_id="a"))
    w.judge(proposal("ETH-USD", proposal_id="b"))
    effects = w.say(Drain(run_number=4))
    assert sends(effects, Drained, "main")[0].clean
    w.say(Admitted(proposal_id="a", approval_id="x", intent_id="i", version=w.book.version))
    denied = [one for one in sends(w.effects, Verdict) if one.proposal_id == "b"]
    assert denied[0].code == "draining"


def test_after_an_admission_nothing_is_judged_on_the_older_book():
    w = world()
    answer = w.judge()
    w.say(Admitted(proposal_id="p1", approval_id=answer.approval_id, intent_id="i", version=((1, 1), 2)))
    assert w.judge(proposal("ETH-USD", proposal_id="b")) is None
    w.book = book(2, orders=(entry_order("BTC-USD", answer.base_size, proposal_id="p1"),))
    assert isinstance(said(w.say(evolve(w.book, taken_boot_s=BOOT0))), Approved)


def test_every_denial_is_recorded_with_code_text_and_values():
    w = world()
    w.machine.on_quote(quote(100, at(), spread_bps=40), at())
    effects = w.say(proposal())
    note = notes(effects)[0]
    assert note["code"] == "spread_too_wide"
    assert note["text"] == "it rose"
    assert note["values"]["spread_bps"] == "40"


def test_the_order_of_rules_is_fixed():
    names = [rule.__name__ for rule in RULES]
    assert names[:6] == ["draining", "leases", "kill_switch", "book_usable", "paused", "clock"]
    assert len(names) == len(set(names)) == 30
    w = RiskWorld()
    w.kill = KillSnapshot(n=1, engaged=True)
    w.book = book(cooldowns=(cooldown(),), writable=False)
    w.hear()
    assert code_of(w.judge()) == "kill_switch", "the more absolute rule answers first"


def test_the_fee_is_the_larger_of_account_and_configuration():
    w = RiskWorld()
    w.catalog = evolve(w.catalog, fees=evolve(w.catalog.fees, taker_rate=D("0.012")))
    w.hear()
    assert w.judge().caps.fee_rate == D("0.012")
    w = RiskWorld()
    w.catalog = evolve(w.catalog, fees=None)
    w.hear()
    assert w.judge().caps.fee_rate == Decimal("0.006")


@pytest.mark.parametrize("counted", [False, True])
def test_the_prices_of_foreign_coins_are_wanted_where_they_count(counted):
    w = RiskWorld(("BTC-USD",), settings=RiskSettings(caps=CapSettings(count_foreign=counted)))
    w.book = book(foreign=(Foreign(currency="DOGE", size=D(20)),))
    w.hear()
    assert ("DOGE-USD" in w.machine.products()) is counted


def test_a_proposal_that_arrives_after_its_time_is_denied_as_expired():
    w = RiskWorld()
    w.hear(at(3))
    assert code_of(w.judge(proposal(now=at(0)), at(3))) == "proposal_expired"


def test_an_admission_of_another_proposal_does_not_answer_the_one_that_is_at_oms():
    w = RiskWorld()
    w.hear()
    assert isinstance(w.judge(), Approved)
    late = Admitted(proposal_id="of-before", approval_id="x", intent_id="i", version=((1, 1), 2))
    assert said(w.say(late)) is None
    assert w.say(late) == []


@pytest.mark.parametrize(
    "late",
    [
        Stale(proposal_id="p1", approval_id="of-before", version=((1, 1), 2)),
        Refused(proposal_id="p1", approval_id="of-before", code="theme_cap"),
    ],
)
def test_an_answer_to_an_earlier_approval_changes_nothing_about_the_one_at_oms(late):
    w = RiskWorld()
    w.hear()
    answer = w.judge()
    assert w.say(late) == []
    assert [one.approval_id for one in sends(w.say(Woke("tick"), at(0.5)), Approved, "oms")] == [answer.approval_id]


@pytest.mark.parametrize("code", sorted(PASSING_REFUSALS))
def test_a_refusal_that_passes_by_itself_is_no_condition(code):
    w = RiskWorld()
    w.hear()
    answer = w.judge()
    effects = w.say(Refused(proposal_id="p1", approval_id=answer.approval_id, code=code))
    assert code_of(said(effects)) == code
    assert sends(effects, Condition, "alerts") == []


def test_the_record_of_an_admission_tells_its_size_and_what_bound_it():
    w = RiskWorld()
    w.hear()
    answer = w.judge()
    admitted = Admitted(proposal_id="p1", approval_id=answer.approval_id, intent_id="i", version=((1, 1), 2))
    [record] = [one for one in notes(w.say(admitted)) if one["code"] == "admitted"]
    assert record["values"]["base_size"] == str(answer.base_size)
    assert {"worst_usd", "bound_by", "regime"} <= set(record["values"])


def test_only_the_newest_verdicts_are_remembered():
    w = RiskWorld()
    w.hear()
    for n in range(VERDICTS_KEPT + 10):
        w.judge(proposal("NOT-USD", proposal_id=f"p{n}"))
    assert len(w.machine._verdicts) == VERDICTS_KEPT
