"""Rolling series at their edges: what is not known yet is 0.0 or False, never a guess."""

from __future__ import annotations

import pytest

from trading.bars import MoveSeries, SignalSeries


def hours_of(closes: list[float], volume: float = 10.0) -> SignalSeries:
    series = SignalSeries()
    for n, close in enumerate(closes):
        series.update(n * 3600, close, close, close, close, volume)
    return series


def moves_of(lows: list[float]) -> MoveSeries:
    series = MoveSeries()
    for n, low in enumerate(lows):
        series.update(n * 300, low, low + 1.0, low, low + 0.5, 1.0)
    return series


def test_a_volume_is_no_multiple_of_a_day_that_was_not_seen_whole():
    series = hours_of([100.0] * 23)
    series.update(23 * 3600, 100, 100, 100, 100, 90.0)
    assert series.volume_ratio == 0.0, "23 hours before it"
    series = hours_of([100.0] * 24)
    series.update(24 * 3600, 100, 100, 100, 100, 90.0)
    assert series.volume_ratio == pytest.approx(9.0)


def test_the_slope_of_the_trend_is_per_bar():
    series = hours_of([100.0 * 1.001**n for n in range(400)])
    assert series.ema_slope_pct_per_bar == pytest.approx(0.1, rel=0.01), "a tenth of a per cent an hour, not in three"


VALLEY = [5.0, 3.0, 1.0, 3.0, 5.0]


@pytest.mark.parametrize("neighbour", [0, 1, 3, 4])
def test_a_pivot_low_is_below_both_neighbours_on_either_side(neighbour):
    assert len(moves_of(VALLEY).pivots) == 1
    lows = list(VALLEY)
    lows[neighbour] = 1.0
    assert moves_of(lows).pivots == (), "as low as this one is not below it"


def test_a_higher_low_is_of_the_last_four_hours():
    higher = [low + 0.5 for low in VALLEY]
    for flat, known in ((40, True), (60, False)):
        assert moves_of([*VALLEY, *[9.0] * flat, *higher]).higher_low is known
    assert not moves_of([*higher, *[9.0] * 5, *VALLEY]).higher_low
    assert not moves_of(VALLEY).higher_low, "one low is no rise"


@pytest.mark.parametrize(
    ("missing", "known"), [(6, 30 + 6 + 1), (7, 1)], ids=["six hours are filled", "seven begin anew"]
)
def test_a_short_gap_is_filled_with_flat_hours_and_after_a_long_one_nothing_is_known(missing, known):
    series = hours_of([100.0] * 30)
    series.update((30 + missing) * 3600, 110, 110, 110, 110, 10.0)
    assert (series.count, series.ready) == (known, known > 24)
    assert series.change_pct == pytest.approx(10.0 if known > 1 else 0.0)


def test_the_high_of_a_day_that_was_not_seen_whole_breaks_nothing_out():
    assert hours_of([100.0] * 24).high_24_before == 0.0
    assert hours_of([100.0] * 25).high_24_before == 100.0
