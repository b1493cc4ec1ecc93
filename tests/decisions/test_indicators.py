"""Incremental indicators against their plain definitions, on drawn series."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.indicators import Atr, Ema, RollingMax, RollingMedian, RollingStats, RollingSum, Rsi, Vwap

prices = st.lists(st.floats(min_value=0.5, max_value=2000.0), min_size=1, max_size=120)
SIZE = 7


@settings(deadline=None)
@given(prices)
def test_rolling_windows_equal_their_definitions(values):
    stats, total, top, middle = RollingStats(SIZE), RollingSum(SIZE), RollingMax(SIZE), RollingMedian(SIZE)
    for at, value in enumerate(values):
        stats.update(value)
        total.update(value)
        top.update(value)
        middle.update(value)
        window = values[max(0, at + 1 - SIZE) : at + 1]
        assert stats.count == len(window)
        assert stats.mean == pytest.approx(statistics.fmean(window))
        if len(window) > 1:
            assert stats.std == pytest.approx(statistics.stdev(window), abs=1e-3, rel=1e-4)
        assert total.total == pytest.approx(sum(window))
        assert top.value == max(window)
        assert middle.value == pytest.approx(statistics.median(window))
        assert stats.ready == total.ready == top.ready == (at + 1 >= SIZE)


@settings(deadline=None)
@given(prices)
def test_ema_and_rsi_equal_their_recursions(values):
    ema, rsi = Ema(5), Rsi(14)
    wanted = values[0]
    ups: list[float] = []
    downs: list[float] = []
    up = down = 0.0
    for at, value in enumerate(values):
        ema.update(value)
        rsi.update(value)
        if at:
            wanted += (value - wanted) / 3.0
            change = value - values[at - 1]
            ups.append(max(change, 0.0))
            downs.append(max(-change, 0.0))
            if len(ups) <= 14:
                up, down = statistics.fmean(ups), statistics.fmean(downs)
            else:
                up, down = (up * 13 + ups[-1]) / 14, (down * 13 + downs[-1]) / 14
        assert ema.value == pytest.approx(wanted)
        both = up + down
        assert rsi.value == pytest.approx(100 * up / both if both > 0 else 50.0, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0, 5), st.floats(0, 50)), min_size=1, max_size=60))
def test_atr_and_vwap_equal_their_definitions(rows):
    atr, vwap = Atr(5), Vwap(4)
    reaches: list[float] = []
    traded: list[tuple[float, float]] = []
    wanted, before = 0.0, None
    for close, half, volume in rows:
        high, low = close + half, close - half * 0.5
        atr.update(high, low, close)
        vwap.update(high, low, close, volume)
        reach = high - low if before is None else max(high - low, abs(high - before), abs(low - before))
        reaches.append(reach)
        wanted = statistics.fmean(reaches) if len(reaches) <= 5 else (wanted * 4 + reach) / 5
        before = close
        traded = [*traded, ((high + low + close) / 3 * volume, volume)][-4:]
        total = sum(volume for _, volume in traded)
        assert atr.value == pytest.approx(wanted)
        assert vwap.value == pytest.approx(sum(value for value, _ in traded) / total if total > 1e-9 else vwap.value)


def test_large_numbers_leave_no_residue():
    total = RollingSum(3)
    for value in (1e18, 1.0, 2.0, 3.0, 4.0, 5.0):
        total.update(value)
    assert total.total == 12.0
