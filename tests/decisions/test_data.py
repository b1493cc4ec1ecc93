"""Bars and quotes at the door: alignment, order, shape, gaps, jumps, and one bar from wherever it comes."""

from __future__ import annotations

import math

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decisions.build import T0, at, bar, quote
from trading.bars import MOVE_S, FineSeries, MoveSeries, SignalSeries
from trading.candles import FINE, MOVE, SIGNAL, Candles
from trading.data_guards import (
    BAR_LATE,
    BAR_MALFORMED,
    BAR_MISALIGNED,
    OUTLIER,
    QUOTE_STALE,
    BarGuard,
    DataGuardSettings,
    OutlierGuard,
    quote_problem,
)
from trading.strategies.interface import MarketView, TriggerSettings

LIMITS = DataGuardSettings()


def candles() -> Candles:
    return Candles(MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600)), LIMITS)


def calm_candles(volume: float):
    """Thirty bars at 100."""
    one = candles()
    for n in range(30):
        one.add(bar(100, T0 + n * 300, volume=volume))
    return one


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"start_s": T0 + 301}, BAR_MISALIGNED),
        ({"start_s": T0}, BAR_LATE),
        ({"start_s": T0 - 300}, BAR_LATE),
        ({"start_s": T0 + 300, "close": math.nan}, BAR_MALFORMED),
        ({"start_s": T0 + 300, "high": 99.0}, BAR_MALFORMED),
        ({"start_s": T0 + 300, "low": 101.0}, BAR_MALFORMED),
        ({"start_s": T0 + 300, "volume": -1.0}, BAR_MALFORMED),
        ({"start_s": T0 + 300, "close": 0.0, "open_": 0.0}, BAR_MALFORMED),
        ({"start_s": T0 + 300, "high": math.inf}, BAR_MALFORMED),
    ],
)
def test_a_bad_bar_is_refused_with_its_code(change, code):
    guard = BarGuard(300, LIMITS)
    assert guard.admit(bar(100, T0)) == ""
    assert guard.admit(bar(**{"close": 100.0} | change)) == code


def test_a_stale_candle_that_repeats_moves_nothing():
    one = candles()
    assert one.add(bar(100, T0)) & MOVE
    assert one.add(bar(140, T0)) == 0
    assert one.view.move.close == 100
    assert one.refused == BAR_LATE


def test_one_bar_far_off_without_volume_is_held_back_and_forgotten():
    one = calm_candles(volume=10)
    assert one.add(bar(80, T0 + 30 * 300, volume=0.5)) == 0
    assert one.refused == OUTLIER
    assert one.view.move.close == 100
    one.add(bar(100.1, T0 + 31 * 300))
    assert one.view.move.close == 100.1
    assert one.view.move.lowest_36 == 100, "the bad tick is in no indicator"


def test_a_spike_in_a_wick_without_volume_is_held_back_too():
    one = calm_candles(volume=10)
    assert one.add(bar(100, T0 + 30 * 300, high=130, volume=0.5)) == 0
    assert one.refused == OUTLIER


def test_a_crash_with_volume_confirms_itself():
    one = calm_candles(volume=10)
    assert one.add(bar(85, T0 + 30 * 300, open_=100, volume=80)) & MOVE


def test_three_bars_that_agree_confirm_each_other_and_all_are_taken():
    one = calm_candles(volume=10)
    assert [one.add(bar(price, T0 + (30 + n) * 300, volume=0.5)) for n, price in enumerate((85, 85.5, 85.2))] == [
        0,
        0,
        MOVE,
    ]
    assert one.view.move.close == 85.2
    assert one.view.move.count == 33


def test_where_nothing_was_ever_traded_a_jump_without_volume_is_held_back_too():
    one = calm_candles(volume=0.0)
    assert one.add(bar(150, T0 + 30 * 300, volume=0.0)) == 0
    assert one.refused == OUTLIER


def test_volume_confirms_what_was_held_back_before_it_and_both_are_taken():
    one = calm_candles(volume=10)
    assert one.add(bar(85, T0 + 30 * 300, volume=0.5)) == 0
    assert one.add(bar(82, T0 + 31 * 300, volume=80)) & MOVE
    assert (one.view.move.close, one.view.move.count) == (82, 32)
    assert one.view.move.lowest_36 == 82


def test_volume_behind_another_price_confirms_itself_and_not_what_was_held_back():
    one = calm_candles(volume=10)
    assert one.add(bar(60, T0 + 30 * 300, volume=0.5)) == 0
    assert one.add(bar(88, T0 + 31 * 300, volume=80)) & MOVE
    assert one.view.move.lowest_36 == 88, "the bad tick is in no indicator"


def test_wicks_to_both_sides_confirm_nothing():
    one = calm_candles(volume=10)
    for n, (close, high, low) in enumerate(((101, 115, 100), (99, 100, 85), (101, 115, 100), (99, 100, 85)), 30):
        assert one.add(bar(close, T0 + n * 300, open_=100, high=high, low=low, volume=0.5)) == 0


def test_bars_of_a_wild_market_widen_the_guard_by_their_own_moves():
    guard = BarGuard(300, LIMITS)
    for n in range(200):
        assert guard.admit(bar(100 if n % 2 else 91, T0 + n * 300)) == ""
    assert guard.admit(bar(115, T0 + 200 * 300, volume=0.5)) == ""


def test_a_native_bar_and_one_built_from_shorter_bars_count_once():
    both, native = candles(), candles()
    for n in range(24 * 5):
        both.add(bar(100 + n % 7, T0 + n * 60, bar_s=60, volume=2))
        if n % 5 == 4:
            both.add(bar(100 + n % 7, T0 + (n - 4) * 60, high=106.0, low=100.0, volume=10))
    for n in range(24):
        native.add(bar(100 + (n * 5 + 4) % 7, T0 + n * 300, volume=10))
    assert both.view.move.count == native.view.move.count == 24
    assert both.view.move.volume_15m == native.view.move.volume_15m == 30
    assert both.view.signal.count == native.view.signal.count == 2
    assert both.view.signal.volume == native.view.signal.volume == 120


def test_history_that_arrives_late_replaces_what_was_built():
    one = candles()
    for n in range(60):
        one.add(bar(100, T0 + n * 60, bar_s=60))
    assert one.view.signal.count == 1
    for n in range(48, 0, -1):
        one.add(bar(90, T0 + 3600 - n * 3600, bar_s=3600, backfill=True))
    assert one.view.signal.count == 48


def test_a_minute_without_trades_ends_its_five_minutes_late_and_loses_nothing():
    one = candles()
    for n in (0, 1, 2, 3):  # the fifth minute has no candle
        one.add(bar(100 + n, T0 + n * 60, bar_s=60, volume=1))
    assert one.view.move.count == 0
    assert one.add(bar(110, T0 + 5 * 60, bar_s=60, volume=1)) == FINE | MOVE
    assert one.view.move.close == 103
    assert one.view.move.volume == 4


def test_a_bucket_whose_beginning_was_not_seen_is_dropped():
    one = candles()
    for n in (2, 3, 4):
        one.add(bar(100, T0 + n * 60, bar_s=60))
    assert one.view.move.count == 0


def test_a_short_gap_is_filled_flat_and_a_long_one_starts_anew():
    series = MoveSeries()
    for n in (0, 1, 2, 6):
        series.update(int(T0) + n * 300, 100, 101, 99, 100 + n, 5)
    assert series.count == 7
    assert series.price_15m_ago == 102, "bars three to five stand flat at the close of bar two"
    series.update(int(T0) + 500 * 300, 100, 101, 99, 100, 5)
    assert series.count == 1


@settings(deadline=None)
@given(st.lists(st.floats(50, 150), min_size=70, max_size=140))
def test_true_moves_are_against_the_price_of_that_time(closes):
    series = FineSeries()
    for n, close in enumerate(closes):
        series.update(n * 60, close, close, close, close, 1.0)
    assert series.price_15m_ago == closes[-16]
    assert series.price_60m_ago == closes[-61]
    assert series.end_s - 900 == (len(closes) - 15) * 60


def test_hours_know_what_came_before_them():
    series = SignalSeries()
    for n in range(60):
        series.update(n * 3600, 100, 110 + n, 90, 100 + n, 10 + (90 if n == 59 else 0))
    assert series.volume_ratio == 10.0
    assert series.high_24_before == 110 + 58
    assert series.low_24 == 90
    assert series.return_24_pct == pytest.approx((159 / 135 - 1) * 100)
    assert series.consistency(1.0) == 1.0
    assert series.previous_close == 158
    assert series.ema_slope_pct_per_bar > 0


# -- quotes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ""),
        ({"age_s": 4.9}, ""),
        ({"age_s": 5.1}, "quote_stale"),
        ({"age_s": -2.5}, "quote_time_ahead"),
        ({"spread_bps": 0.0}, "book_locked"),
        ({"spread_bps": -1.0}, "book_crossed"),
        ({"alive": False}, "sequence_gap"),
    ],
)
def test_a_quote_is_judged_by_ages_and_shape(changes, code):
    assert quote_problem(quote(100, at(), **changes), at(), LIMITS) == code


def test_a_quote_that_arrived_long_ago_is_stale_whatever_its_own_timestamp_says():
    one = quote(100, at())
    assert quote_problem(one, at(), LIMITS) == ""
    late = evolve(one, received_boot_s=one.received_boot_s - 5.1)
    assert quote_problem(late, at(), LIMITS) == QUOTE_STALE
    old = evolve(one, exchange_s=one.exchange_s - 5.1)
    assert quote_problem(old, at(), LIMITS) == QUOTE_STALE


def test_an_untrusted_clock_judges_no_quote_fresh():
    assert quote_problem(quote(), at(trusted=False), LIMITS) == "clock_untrusted"


def test_a_feed_without_heartbeat_is_silent():
    old = quote(100, at())
    old.alive_boot_s -= 10.1
    assert quote_problem(old, at(), LIMITS) == "feed_silent"


@settings(deadline=None)
@given(st.lists(st.floats(-0.02, 0.02), min_size=5, max_size=60), st.floats(0.06, 0.5), st.booleans())
def test_no_single_tick_is_ever_believed_and_n_that_agree_always_are(moves, jump, up):
    guard = OutlierGuard(5.0, 8.0, 3)
    price, stamp = 100.0, 0.0
    for move in moves:
        price *= 1 + move / 10
        stamp += 1
        assert guard.accept(price, stamp)
    far = price * (1 + jump if up else 1 - jump)
    assert not guard.accept(far, stamp + 1)
    assert guard.price == price
    assert guard.accept(price, stamp + 2)
    assert not guard.accept(far, stamp + 3)
    assert not guard.accept(far, stamp + 3), "the same snapshot again confirms nothing"
    assert not guard.accept(far, stamp + 4)
    assert guard.accept(far, stamp + 5)


def test_two_opposite_jumps_confirm_nothing():
    guard = OutlierGuard(5.0, 8.0, 3)
    guard.accept(100, 0)
    assert [guard.accept(price, n) for n, price in enumerate((110, 90, 110, 90, 110), 1)] == [False] * 5


def test_a_wild_market_widens_the_guard_by_its_own_moves():
    guard = OutlierGuard(5.0, 8.0, 3)
    price = 100.0
    for n in range(400):
        price *= 1.03 if n % 2 else 1 / 1.03
        assert guard.accept(price, n)
    assert guard.accept(price * 1.08, 1000)


def test_the_lengths_fit():
    assert 3600 % MOVE_S == 0
    assert (FINE, MOVE, SIGNAL) == (1, 2, 4)
