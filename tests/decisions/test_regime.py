"""The regime's memory: how long a sudden fall holds, how a better market is believed, to the hour."""

from __future__ import annotations

import pytest

from tests.decisions.build import T0, at, bar
from tests.decisions.test_universe import universe
from trading.regime import classify
from trading.universe import UniverseMachine
from trading.universe_settings import RegimeSettings

START = int(T0) // 3600 * 3600
HOUR = 12
FALL = 2 * HOUR - 1
"""The fall's bar ends with the second hour, so that its hold of six hours ends with the eighth."""


def play(machine: UniverseMachine, first: int, end: int, *falls: int) -> dict[int, str]:
    """Bars number `first` to `end` (not included) of five minutes at 96 after 100; the regime after each."""
    regimes = {}
    for n in range(first, end):
        price = 100.0 if n < FALL else 96.0
        low = price * 0.949 if n in falls else None
        machine.on_bar(
            bar(price, START + n * 300, open_=100.0 if n == FALL else None, low=low, volume=500.0), at((n + 1) * 300)
        )
        regimes[n] = machine._snapshot().regime
    return regimes


def ends(regimes: dict[int, str]) -> int:
    """The number of the first bar after the fall that is not in a crash."""
    return next(n for n, regime in regimes.items() if n > FALL and regime != "crash")


def test_a_fall_holds_for_six_hours_and_until_two_hours_agree():
    assert ends(play(universe(), 0, 12 * HOUR, FALL)) == 9 * HOUR - 1


def test_a_second_fall_begins_hold_and_agreement_anew():
    """One hour of the first one's end had agreed already."""
    again = 8 * HOUR + 3
    regimes = play(universe(), 0, 20 * HOUR, FALL, again)
    assert regimes[8 * HOUR - 1] == "crash" and ends(regimes) == 16 * HOUR - 1


@pytest.mark.parametrize(("t", "v", "confidence"), [(-16, 50, 0.7), (-12, 121, 0.7), (-16, 121, 0.9)])
def test_only_a_deep_and_wild_crash_is_told_with_most_confidence(t, v, confidence):
    found = classify(t, v, RegimeSettings())
    assert (found.name, found.confidence) == ("crash", confidence)
