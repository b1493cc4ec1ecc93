"""Volume that has not become a bar yet: what the rolling day's volume rose by within one to two minutes."""

from __future__ import annotations

import pytest

from trading.forming import FormingVolume

USUAL_15M = 90.0


def told(*rows: tuple[float, float]) -> float:
    """(second, volume of 24 hours) in turn; the ratio at the last."""
    forming = FormingVolume()
    ratio = 0.0
    for second, volume in rows:
        ratio = forming.ratio(volume, second, USUAL_15M)
    return ratio


def test_a_burst_of_some_seconds_is_held_against_a_whole_minute():
    """6 are usual in a minute: 12 within five seconds are twice that, not twenty-four times."""
    assert told((0, 1000), (5, 1012)) == pytest.approx(2.0)


def test_the_window_is_one_to_two_minutes_long_and_moves_on():
    rows = [(0.0, 1000.0), (70.0, 1007.0), (119.0, 1011.9)]
    assert told(*rows) == pytest.approx(1.0), "from second 0"
    assert told(*rows, (131.0, 1031.4)) == pytest.approx(4.0), "24.4 since second 70, 6.1 are usual"
    assert told(*rows, (131.0, 1031.4), (190.0, 1031.4)) == pytest.approx(24.4 / 12.0)


def test_nothing_is_said_of_the_first_reading_nor_of_a_falling_volume_nor_without_a_usual_one():
    assert told((0, 1000)) == 0.0
    assert told((0, 1000), (30, 990)) == 0.0
    forming = FormingVolume()
    forming.ratio(1000, 0, 0.0)
    assert forming.ratio(2000, 30, 0.0) == 0.0
    assert forming.changed(2001) and not forming.changed(2000)
