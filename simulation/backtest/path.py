"""What happened inside a bar, as far as anybody can know: an order of its four prices, and straight lines between them.

A rising bar is walked open, low, high, close, a falling one open, high, low, close, as the simulated venue plays it. While
a position of the product is held the low always comes first: when a bar could have hit both stop and target, it hit the
stop (the bot is long only, so this is the pessimistic order).

Where somebody watches, a line is walked in `points` so near to each other that a real fall does not look like one bad
tick: the machines believe a jump only when several quotes agree.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, inf

from trading.messages.market import Bar

POINTS_MIN, POINTS_MAX = 3, 200
"""Points on one of the three lines: at least so many that a gap before the bar is confirmed on the first line."""


def corners(bar: Bar, *, held: bool) -> tuple[float, float, float, float]:
    """The four prices in the order they are walked, a third of the bar apart."""
    if held or bar.close >= bar.open:
        return bar.open, bar.low, bar.high, bar.close
    return bar.open, bar.high, bar.low, bar.close


def price_at(bar: Bar, at_s: float, *, held: bool) -> float:
    """The walked price at venue time `at_s`, clamped to the bar's own window."""
    first, second, third, last = corners(bar, held=held)
    share = min(max((at_s - bar.start_s) / bar.bar_s, 0.0), 1.0) * 3.0
    if share < 1.0:
        return first + (second - first) * share
    if share < 2.0:
        return second + (third - second) * (share - 1.0)
    return third + (last - third) * (share - 2.0)


def points(bar: Bar, *, held: bool, step_share: float) -> list[float]:
    """When the walked price has moved by at most `step_share` since the time before, venue seconds; corners among them."""
    prices, third_s = corners(bar, held=held), bar.bar_s / 3
    times = []
    for leg, (here, there) in enumerate(pairwise(prices)):
        steps = abs(there / here - 1.0) / step_share if step_share > 0.0 else inf
        count = max(POINTS_MIN, ceil(min(steps, POINTS_MAX)))
        times += [bar.start_s + third_s * (leg + number / count) for number in range(1, count + 1)]
    return times


def corner_times(bar: Bar) -> tuple[float, float, float, float]:
    """When the four prices are reached, venue seconds."""
    return bar.start_s, bar.start_s + bar.bar_s / 3, bar.start_s + bar.bar_s * 2 / 3, bar.start_s + bar.bar_s
