"""Universe: eligibility with hysteresis and grace, bans at once, the regime from BTC, and who runs."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

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
    notes,
    position,
    product,
    quote,
    rows_of,
    saves,
    sends,
)
from tests.oms.host import Host
from trading.bars import SignalSeries
from trading.eligibility import look_at
from trading.machine import PeerRestarted, Woke
from trading.messages.control import (
    CatalogSnapshot,
    Condition,
    Measured,
    OperatorOrder,
    ProductsWanted,
    UniverseSnapshot,
)
from trading.regime import RegimeWatch, classify
from trading.tiers import default_tiers
from trading.universe import UniverseMachine
from trading.universe_settings import RegimeSettings, UniverseSettings

NAMES = ("BTC-USD", "ETH-USD", "SOL-USD")


def small(**changes) -> UniverseSettings:
    tiers = default_tiers()
    return UniverseSettings(
        **({"tiers": {"T1": tiers["T1"], "T2": evolve(tiers["T2"], products=("DOGE-USD",))}} | changes)
    )


def universe(settings: UniverseSettings | None = None, *, rows=None, **quoted) -> UniverseMachine:
    machine = UniverseMachine(settings=settings or small(), me=ME)
    machine.recover(rows or {}, at())
    machine.handle(catalog_of((*NAMES, "DOGE-USD"), at()), at())
    look(machine, 0.5, **quoted)
    return machine


def look(machine: UniverseMachine, seconds: float, only: str = "", **quoted):
    now = at(seconds)
    for name in (*NAMES, "DOGE-USD"):
        changes = quoted if not only or only == name else {}
        machine.on_quote(quote(100, now, product_id=name, **({"volume": 1_000_000.0} | changes)), now)
    return list(machine.handle(Woke("review"), now))


def entry(machine: UniverseMachine, name: str = "BTC-USD"):
    return next(one for one in machine._snapshot().entries if one.product_id == name)


def test_the_first_look_decides_at_once():
    machine = universe()
    assert entry(machine).eligible
    assert entry(machine).tier == "T1"
    assert entry(machine).theme == "LAYER1"
    assert entry(machine, "DOGE-USD").theme == "MEME"


def test_a_product_without_a_theme_falls_into_other():
    tiers = default_tiers()
    machine = UniverseMachine(
        settings=UniverseSettings(tiers={"T2": evolve(tiers["T2"], products=("XRP-USD",))}), me=ME
    )
    assert entry(machine, "XRP-USD").theme == "OTHER"


def test_nothing_is_eligible_before_its_data_is_there():
    machine = UniverseMachine(settings=small(), me=ME)
    machine.recover({}, at())
    machine.handle(Woke("review"), at(1))
    assert not entry(machine).eligible
    assert entry(machine).reason == "measuring"
    machine.handle(catalog_of(NAMES, at()), at(1))
    machine.on_quote(quote(100, at(2), depth=None, volume=1e6), at(2))
    machine.handle(Woke("review"), at(2))
    assert not entry(machine).eligible, "no depth is guessed"


@pytest.mark.parametrize(
    ("quoted", "reason"),
    [({"spread_bps": 30.0}, "spread_wide"), ({"depth": 30_000.0}, "depth_thin"), ({"volume": 90_000.0}, "volume_low")],
)
def test_a_bad_number_must_stand_five_looks_and_a_good_one_two(quoted, reason):
    machine = universe()
    for n in range(4):
        look(machine, 5 * (n + 1) + 1, only="BTC-USD", **quoted)
        assert entry(machine).eligible, "grace"
    effects = look(machine, 26, only="BTC-USD", **quoted)
    assert not entry(machine).eligible
    assert entry(machine).reason == reason
    assert entry(machine).values
    assert saves(effects, "universe_eligibility")[0].row["eligible"] is False
    assert sends(effects, UniverseSnapshot, "risk")
    look(machine, 31)
    assert not entry(machine).eligible
    look(machine, 36)
    assert entry(machine).eligible


def test_looks_out_of_turn_do_not_use_up_the_grace():
    machine = universe()
    for n in range(20):
        now = at(6 + n / 10)
        machine.on_quote(quote(100, now, spread_bps=90.0, volume=1e6), now)
        machine.handle(catalog_of((*NAMES, "DOGE-USD"), now), now)
    assert entry(machine).eligible


def test_the_quick_looks_at_a_start_do_not_use_up_the_grace():
    """One product is not listed yet, so that all are looked at each half second."""
    machine = UniverseMachine(settings=small(), me=ME)
    machine.recover({}, at())
    machine.handle(catalog_of(NAMES, at()), at())
    look(machine, 0.5)
    for n in range(2, 20):
        look(machine, n / 2, only="BTC-USD", spread_bps=90.0)
        assert entry(machine).eligible


def test_a_product_that_the_venue_does_not_list_is_decided_after_some_patience():
    machine = UniverseMachine(settings=small(), me=ME)
    machine.recover({}, at())
    machine.handle(catalog_of(NAMES, at()), at())
    look(machine, 1)
    assert entry(machine, "DOGE-USD").reason == "measuring"
    look(machine, 16)
    assert entry(machine, "DOGE-USD").reason == "metadata_missing"
    readings = dict(sends(machine.handle(Woke("measure"), at(17)), Measured)[0].readings)
    assert readings["eligible_missing"] == 0.0


def test_leaving_needs_a_worse_number_than_entering():
    tier, settings, now = default_tiers()["T1"], UniverseSettings(), at()
    for was, wanted in ((True, ""), (False, "spread_wide")):
        found = look_at(
            product(),
            quote(100, now, spread_bps=22.0, volume=1e6),
            tier,
            now,
            settings,
            volume_factor=1.0,
            was_eligible=was,
        )
        assert found.reason == wanted


@pytest.mark.parametrize(
    ("quoted", "reason"), [({"volume": 96_000.0}, "volume_low"), ({"volume": 1e6, "depth": 45_000.0}, "depth_thin")]
)
def test_leaving_needs_less_volume_and_depth_than_entering(quoted, reason):
    tier, settings, now = default_tiers()["T1"], UniverseSettings(), at()
    for was, wanted in ((True, ""), (False, reason)):
        found = look_at(product(), quote(100, now, **quoted), tier, now, settings, volume_factor=1.0, was_eligible=was)
        assert found.reason == wanted


@pytest.mark.parametrize("side", ["depth_bid_usd", "depth_ask_usd"])
def test_the_thinner_side_of_the_book_counts(side):
    machine = universe()
    now = at(6)
    thin = evolve(quote(100, now, volume=1e6), **{side: 30_000.0})
    found = look_at(
        product(), thin, default_tiers()["T1"], now, machine._settings, volume_factor=1.0, was_eligible=False
    )
    assert found.reason == "depth_thin"


def test_a_quote_of_a_minute_ago_makes_nothing_eligible():
    now = at(61)
    old = quote(100, at(), volume=1e6)
    found = look_at(
        product(), old, default_tiers()["T1"], now, UniverseSettings(), volume_factor=1.0, was_eligible=True
    )
    assert found.reason == "quote_stale"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"alive_boot_s": BOOT0}, "quote_stale"),
        ({"bid": D("100.02")}, "quote_missing"),
        ({"bid": D("100.01")}, "quote_missing"),
        ({"bid": D(0)}, "quote_missing"),
    ],
    ids=["quiet on a living connection", "dead", "crossed", "locked", "no bid"],
)
def test_a_quiet_product_stays_eligible_and_a_broken_book_does_not(changes, reason):
    now = at(100)
    quiet = evolve(quote(100, now, volume=1e6, age_s=100.0), **changes)
    found = look_at(
        product(), quiet, default_tiers()["T1"], now, UniverseSettings(), volume_factor=1.0, was_eligible=True
    )
    assert found.reason == reason


def test_one_good_look_begins_the_grace_anew():
    machine = universe()
    for n, spread in enumerate([90.0] * 4 + [2.0] + [90.0] * 4, 1):
        look(machine, 5 * n + 1, only="BTC-USD", spread_bps=spread)
        assert entry(machine).eligible
    look(machine, 51, only="BTC-USD", spread_bps=90.0)
    assert not entry(machine).eligible


@pytest.mark.parametrize(("regime", "eligible"), [("bull", True), ("chop", True), ("bear", False)])
def test_the_regime_scales_the_volume_floor(regime, eligible):
    machine = universe()
    machine._shown = evolve(machine._shown, name=regime)
    for n in range(1, 6):
        look(machine, 5 * n + 1, only="BTC-USD", volume=110_000.0)
    assert entry(machine).eligible is eligible


@pytest.mark.parametrize(("regime", "multiplier"), [("bull", 1.2), ("chop", 0.8), ("bear", 0.5), ("crash", 0.0)])
def test_one_table_multiplies_sizes_by_regime(regime, multiplier):
    machine = universe()
    machine._shown = evolve(machine._shown, name=regime)
    assert machine._snapshot().regime == regime
    assert {one.size_multiplier for one in machine._snapshot().entries} == {multiplier}


def test_volume_is_quote_volume():
    tier, settings, now = default_tiers()["T1"], UniverseSettings(), at()
    found = look_at(
        product(), quote(100, now, volume=99_000.0), tier, now, settings, volume_factor=1.0, was_eligible=False
    )
    assert found.reason == "volume_low", "99,000 coins at 100 USD are 9.9 million USD"
    found = look_at(
        product(), quote(100, now, volume=101_000.0), tier, now, settings, volume_factor=1.0, was_eligible=False
    )
    assert found.reason == ""
    found = look_at(
        product(), quote(100, now, volume=101_000.0), tier, now, settings, volume_factor=1.2, was_eligible=False
    )
    assert found.reason == "volume_low", "a bear market asks for more"


@pytest.mark.parametrize(
    "change", [{"trading_disabled": True}, {"cancel_only": True}, {"auction_mode": True}, {"status": "delisted"}]
)
def test_a_flag_closes_at_once(change):
    machine = universe()
    machine.handle(CatalogSnapshot(n=2, products=(product(**change),), fees=None, fetched_boot_s=BOOT0), at(1))
    assert not entry(machine).eligible
    assert entry(machine).reason == "exchange_product_status"


def test_a_product_listed_yesterday_waits():
    machine = universe()
    young = product(new_at_s=T0 - 86_400)
    machine.handle(CatalogSnapshot(n=2, products=(young,), fees=None, fetched_boot_s=BOOT0), at(1))
    assert entry(machine).reason == "listed_recently"


def test_a_ban_of_the_book_excludes_at_once_and_ends_at_its_time():
    machine = universe()
    effects = machine.handle(
        book(positions=(), cooldowns=(cooldown(kind="ban", left_s=100.0, reason="team_rug"),)), at(1)
    )
    assert entry(machine).reason == "red_flag"
    assert dict(entry(machine).values)["reason"] == "team_rug"
    assert notes(effects)[0]["code"] == "ineligible:red_flag"
    machine.handle(book(2, cooldowns=(cooldown(kind="ban", left_s=100.0),)), at(101))
    look(machine, 102)
    look(machine, 107)
    assert entry(machine).eligible


def test_a_ban_ends_at_its_time_though_the_book_has_said_nothing_new():
    machine = universe()
    machine.handle(book(cooldowns=(cooldown(kind="ban", left_s=100.0),)), at(1))
    look(machine, 99)
    assert entry(machine).reason == "red_flag"
    look(machine, 104)
    look(machine, 109)
    assert entry(machine).eligible


def test_a_red_flag_of_the_configuration_excludes_and_becomes_one_ban_in_the_book():
    flagged = small(flags={"BTC-USD": "recent_exploit"}, temporary_ban_hours=36.0)
    machine = UniverseMachine(settings=flagged, me=ME)
    orders = sends(machine.recover({}, at()), OperatorOrder, "oms")
    assert len(orders) == 1
    assert orders[0].verb == "ban"
    assert dict(orders[0].args)["symbol"] == "BTC-USD"
    oms = Host().active()
    oms.tell(*orders)
    ban = oms.book.cooldowns[0]
    assert (ban.kind, ban.until_s - oms.now.venue_s) == ("ban", 36.0 * 3600.0), "as long as the configuration says"
    again = UniverseMachine(settings=small(flags={"BTC-USD": "recent_exploit"}), me=(2, 1))
    assert sends(again.recover({}, at()), OperatorOrder)[0].command_id == orders[0].command_id, (
        "the same command, however often"
    )
    machine.handle(catalog_of(NAMES, at()), at())
    look(machine, 1)
    assert entry(machine).reason == "red_flag"


def test_too_few_eligible_products_are_a_condition_and_a_reading():
    machine = universe(small(eligible_min=4))
    effects = []
    for n in range(1, 8):
        effects += look(machine, 5 * n, only="ETH-USD", spread_bps=90.0)
    told = sends(effects, Condition, "alerts")
    assert told
    assert "only 3 of 4 products are eligible" in told[0].text
    assert "ETH-USD spread_wide" in told[0].text
    readings = dict(sends(machine.handle(Woke("measure"), at(40)), Measured, "health_monitor")[0].readings)
    assert readings["eligible_missing"] == 1.0


def test_every_product_of_the_tiers_runs_and_a_held_one_is_never_without_its_symbol():
    machine = UniverseMachine(settings=small(), me=ME)
    wanted = sends(machine.recover({}, at()), ProductsWanted, "symbols")[0]
    assert wanted.products == ("BTC-USD", "DOGE-USD", "ETH-USD", "SOL-USD")
    effects = machine.handle(book(positions=(position("AAVE-USD"),)), at(1))
    assert "AAVE-USD" in sends(effects, ProductsWanted, "symbols")[0].products
    assert sends(effects, ProductsWanted, "symbols")[0].version == wanted.version + 1


def test_a_restarted_peer_hears_at_once():
    machine = universe()
    assert sends(machine.handle(PeerRestarted("symbols"), at(1)), ProductsWanted, "symbols")
    assert sends(machine.handle(PeerRestarted("risk"), at(1)), UniverseSnapshot, "risk")
    assert sends(machine.handle(PeerRestarted("symbol:BTC-USD"), at(1)), UniverseSnapshot)


def test_risk_hears_every_half_second_and_symbols_every_ten():
    machine = universe()
    effects = []
    wake = 1.0
    for _ in range(200):
        found = list(machine.handle(Woke("publish"), at(wake)))
        effects += found
        wake = max(e.at_boot_s for e in found if type(e).__name__ == "Wake") - BOOT0
        if wake > 31:
            break
    assert 58 <= len(sends(effects, UniverseSnapshot, "risk")) <= 62
    assert 2 <= len(sends(effects, UniverseSnapshot, "symbol:BTC-USD")) <= 4
    assert 2 <= len(sends(effects, ProductsWanted, "symbols")) <= 4


def test_a_restart_remembers_who_was_ineligible():
    machine = universe()
    effects = []
    for n in range(1, 7):
        effects += look(machine, 5 * n, only="BTC-USD", spread_bps=90.0)
    again = universe(rows=rows_of(effects), spread_bps=2.0)
    assert not entry(again).eligible, "the second look of two good ones has not come yet"
    look(again, 5.5)
    assert entry(again).eligible


# -- regime ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "v", "name", "confidence"),
    [
        (-10.1, 50, "crash", 0.7),
        (-16, 121, "crash", 0.9),
        (0, 101, "crash", 0.7),
        (10, 59, "bull", 0.5),
        (40, 59, "bull", 0.9),
        (10, 60, "chop", 0.6),
        (-5, 50, "bear", 0.5),
        (-9, 50, "bear", 0.7),
        (0, 50, "chop", 0.8),
        (7, 50, "chop", 0.6),
    ],
)
def test_the_regime_follows_its_table(t, v, name, confidence):
    found = classify(t, v, RegimeSettings())
    assert found.name == name
    assert found.confidence == pytest.approx(confidence)


def warm(closes) -> SignalSeries:
    series = SignalSeries()
    for n, close in enumerate(closes):
        series.update(n * 3600, close, close * 1.0005, close * 0.9995, close, 10.0)
    return series


def test_a_wild_day_after_a_quiet_week_is_read_as_wild_before_the_week_calls_it_a_crash():
    quiet = [100.0 + 0.05 * (n % 2) for n in range(180)]
    wild = [100.0 * (1.02 if n % 2 else 1.0) for n in range(24)]
    machine = universe()
    for n, close in enumerate([*quiet, *wild]):
        machine.on_bar(bar(close, T0 + n * 3600, bar_s=3600, volume=100.0), at())
    readings = dict(sends(machine.handle(Woke("measure"), at(1)), Measured)[0].readings)
    assert readings["crash"] == 0.0
    assert readings["volatility_pct"] > 150.0, "domain.md section 3.4: volatility_lookback_hours 24"


def test_a_day_that_is_not_whole_has_no_volatility():
    machine = universe()
    for n in range(24):
        machine.on_bar(bar(100.0 + n % 2, T0 + n * 3600, bar_s=3600), at())
    assert "volatility_pct" not in dict(sends(machine.handle(Woke("measure"), at(1)), Measured)[0].readings)
    machine.on_bar(bar(100.0, T0 + 24 * 3600, bar_s=3600), at())
    assert "volatility_pct" in dict(sends(machine.handle(Woke("measure"), at(2)), Measured)[0].readings)


def test_too_little_data_is_chop_with_half_confidence():
    watch = RegimeWatch(RegimeSettings())
    assert not watch.update(warm([100.0] * 100))
    assert (watch.now.name, watch.now.confidence) == ("chop", 0.5)


def test_it_becomes_worse_at_once_and_better_after_two_hours_that_agree():
    watch = RegimeWatch(RegimeSettings())
    series = warm([100.0] * 170)
    watch.update(series)
    at_s = 170 * 3600
    changes = []
    for close in [93.0, 88.0, 88.0, *[95.0] * 4]:
        series.update(at_s, close, close, close, close, 10.0)
        at_s += 3600
        watch.update(series)
        changes.append(watch.now.name)
    assert "crash" in changes[:2]


def test_a_sudden_fall_is_a_crash_at_once_and_is_remembered():
    machine = universe()
    start = int(T0) // 300 * 300
    for n in range(20):
        machine.on_bar(bar(100.0, start + n * 300), at(n * 300))
    assert machine._snapshot().regime == "chop"
    fallen = bar(96.0, start + 20 * 300, open_=100.0, low=94.9, volume=500.0)
    effects = list(machine.on_bar(fallen, at(21 * 300)))
    assert machine._snapshot().regime == "crash"
    assert sends(effects, UniverseSnapshot, "risk")[0].regime == "crash"
    assert ("fall_60m_pct", "-5.1") in machine._snapshot().regime_values
    for n in range(21, 21 + 60):
        machine.on_bar(bar(96.0, start + n * 300), at((n + 1) * 300))
    assert machine._snapshot().regime == "crash"


def test_where_history_ends_the_regime_is_told_once_with_what_was_measured():
    machine = universe()
    start = int(T0) // 300 * 300

    def measure(seconds: float) -> list:
        return [one for one in notes(machine.handle(Woke("measure"), at(seconds))) if one["code"] == "regime"]

    for n in range(21):
        price, low = (100.0, None) if n < 20 else (96.0, 94.9)
        past = bar(price, start + n * 300, open_=100.0, low=low, volume=500.0, backfill=True)
        assert notes(machine.on_bar(past, at(0))) == []
    assert measure(0.1) == [], "more of it may come"
    assert [(one["text"], one["values"]["fall_60m_pct"]) for one in measure(1.1)] == [("regime chop -> crash", "-5.1")]
    assert measure(2.1) == []


def test_a_crash_that_history_holds_and_that_is_over_is_told_to_nobody():
    """Exits took it for one of now: each restart of universe halved the distance of every stop."""
    machine = universe()
    before = machine._snapshot()
    start = int(T0) - 300 * 300
    told = []
    for n in range(300):
        price, low = (100.0, None) if n < 60 else (96.0, 94.9 if n == 60 else None)
        past = bar(price, start + n * 300, open_=100.0, low=low, volume=500.0, backfill=True)
        told += sends(machine.on_bar(past, at()), UniverseSnapshot)
        if n == 70:
            told += sends(machine.handle(Woke("publish"), at(30)), UniverseSnapshot)
            readings = dict(sends(machine.handle(Woke("measure"), at(30)), Measured)[0].readings)
            assert readings["crash"] == 0.0
    assert {one.regime for one in told} <= {"chop"}
    assert not before.regime_known and not machine._snapshot().regime_known, "25 hours are no week"


def test_a_crash_in_which_history_ends_is_told_with_its_last_bar():
    machine = universe()
    start = int(T0) - 300 * 300
    told = []
    for n in range(300):
        price, low = (100.0, None) if n < 280 else (96.0, 94.9 if n == 280 else None)
        past = bar(price, start + n * 300, open_=100.0, low=low, volume=500.0, backfill=True)
        told += [
            (n, one.regime, one.regime_known) for one in sends(machine.on_bar(past, at()), UniverseSnapshot, "exits")
        ]
    assert told == [(299, "crash", True)]


def test_a_sudden_fall_is_over_after_its_hold_even_when_there_is_less_than_a_week_of_history():
    machine = universe()
    start = int(T0) // 3600 * 3600

    def five_minutes(n: int, price: float, low: float | None = None) -> str:
        machine.on_bar(bar(price, start + n * 300, low=low), at((n + 1) * 300))
        return machine._snapshot().regime

    for n in range(20):
        five_minutes(n, 100.0)
    assert five_minutes(20, 96.0, low=94.9) == "crash"
    fall_end_s = 21 * 300
    regimes = {n: five_minutes(n, 96.0) for n in range(21, 21 + 12 * 10)}
    held = [regime for n, regime in regimes.items() if (n + 1) * 300 < fall_end_s + 21_600]
    assert set(held) == {"crash"}
    better = next(n for n, regime in regimes.items() if regime == "chop")
    assert (better + 1) * 300 <= fall_end_s + 21_600 + 2 * 3600 + 3600, "the hold, and two hours that agree"
    assert machine._snapshot().regime_confidence == 0.5


def test_a_regime_of_before_a_hole_in_the_data_is_not_kept_for_a_week():
    watch = RegimeWatch(RegimeSettings())
    series = warm([100.0 * (1 - 0.001) ** n for n in range(170)])
    watch.update(series)
    assert watch.now.name == "crash"
    after_s = (170 + 24) * 3600  # a day is missing: the series begins anew
    names = []
    for n in range(3):
        series.update(after_s + n * 3600, 84.0, 84.0, 84.0, 84.0, 10.0)
        watch.update(series)
        names.append(watch.now.name)
    assert names == ["crash", "chop", "chop"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([-20.0, -7.0, 0.0, 15.0]), min_size=5, max_size=60))
def test_a_better_regime_is_never_believed_from_one_bar(moves):
    settings = RegimeSettings()
    watch = RegimeWatch(settings)

    class Hours:
        warm_168 = True
        volatility_pct = 40.0
        return_168_pct = 0.0
        end_s = 1

    hours = Hours()
    names = []
    for move in moves:
        hours.return_168_pct = move
        watch.update(hours)
        names.append(watch.now.name)
    rank = settings.multiplier
    for n in range(1, len(names)):
        if rank[names[n]] > rank[names[n - 1]]:
            assert classify(moves[n - 1], 40.0, settings).name == names[n] or n == 0


def test_the_regime_multiplies_sizes_by_one_table():
    machine = universe()
    start = int(T0) - 170 * 3600
    for n in range(170):
        close = 100.0 * (1 - 0.001) ** n
        machine.on_bar(bar(close, start + n * 3600, bar_s=3600, backfill=True), at())
    assert machine._snapshot().regime == "crash"
    assert all(one.size_multiplier == 0.0 for one in machine._snapshot().entries)
    assert D(str(RegimeSettings().multiplier["bull"])) == D("1.2")


def test_a_configured_ban_is_sent_again_to_a_new_oms_unless_the_book_has_it():
    machine = UniverseMachine(settings=small(flags={"SOL-USD": "team_rug"}), me=ME)
    [first] = sends(machine.recover({}, at()), OperatorOrder, "oms")
    assert sends(look(machine, 1), OperatorOrder, "oms") == [], "once"
    [again] = sends(machine.handle(PeerRestarted("oms"), at(2)), OperatorOrder, "oms")
    assert again.command_id == first.command_id
    machine.handle(book(cooldowns=(cooldown("SOL-USD", "ban", left_s=600.0),)), at(3))
    assert sends(machine.handle(PeerRestarted("oms"), at(4)), OperatorOrder, "oms") == []


def test_what_was_eligible_before_a_restart_is_not_without_metadata():
    remembered = {"universe_eligibility": {"BTC-USD": {"eligible": True, "reason": "", "changed_s": T0}}}
    machine = UniverseMachine(settings=small(), me=ME)
    machine.recover(remembered, at())
    assert entry(machine).eligible
    machine.handle(Woke("review"), at(0.5))
    assert (entry(machine).eligible, entry(machine).reason) == (False, "metadata_missing")


def test_dust_keeps_no_symbol_running():
    machine = universe()
    for dust, wanted in ((True, False), (False, True)):
        held = position("AVAX-USD", dust=dust)
        told = sends(machine.handle(book(positions=(held,)), at(2)), ProductsWanted, "symbols")
        assert ("AVAX-USD" in (told[-1].products if told else ())) is wanted


def test_the_regime_is_bitcoins_and_no_fall_of_another_product_is_a_crash():
    machine = universe()
    start = int(T0)
    for n in range(20):
        for name in ("BTC-USD", "ETH-USD"):
            machine.on_bar(bar(100.0, start + n * 300, product_id=name), at((n + 1) * 300))
    fallen = bar(90.0, start + 20 * 300, open_=100.0, low=90.0, volume=500.0, product_id="ETH-USD")
    assert machine.on_bar(fallen, at(21 * 300)) == ()
    assert machine._snapshot().regime == "chop"


def test_a_symbols_slice_of_the_book_is_no_book():
    machine = universe()
    before = machine._snapshot().n
    machine.handle(book(cooldowns=(cooldown("SOL-USD", "ban"),)), at(1))
    assert machine._snapshot().n > before, "each change is a newer snapshot"
    machine.handle(book(2, product_id="BTC-USD"), at(2))
    assert entry(machine, "SOL-USD").reason == "red_flag"


def test_products_that_the_venue_does_not_list_are_one_record_with_their_names():
    machine = UniverseMachine(settings=small(), me=ME)
    machine.recover({}, at())
    machine.handle(catalog_of(("BTC-USD", "SOL-USD"), at()), at())
    told = [one for one in notes(look(machine, 16)) if one["code"] == "ineligible:metadata_missing"]
    assert [one["text"] for one in told] == [
        "2 products of the tiers have no metadata at this venue: ETH-USD, DOGE-USD"
    ]


def test_who_runs_is_told_when_it_changes_and_not_with_every_book():
    machine = universe()
    held = book(positions=(position("AVAX-USD"),))
    assert len(sends(machine.handle(held, at(1)), ProductsWanted, "symbols")) == 1
    assert sends(machine.handle(evolve(held, version=((1, 1), 2)), at(2)), ProductsWanted) == []
    machine.handle(book(3, positions=(position("AVAX-USD"), position("LINK-USD"))), at(3))
    assert machine._wanted_version == 3
