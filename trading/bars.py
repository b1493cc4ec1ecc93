"""From closed candles to rolling state: windows are [start, end) of venue time, closed bars only, gaps explicit.

Three lengths carry everything: fine (1 m: references for quotes), move (5 m: true 15- and 60-minute moves, VWAP, RSI,
pivots) and signal (1 h: ATR, EMA, breakouts, regime). A length that the feed does not deliver is built from a shorter
one. Coinbase leaves out candles without trades, so a short gap is filled with flat bars without volume, which keeps
"three bars ago" equal to "15 minutes ago"; after a long gap a series starts anew.
"""

from __future__ import annotations

from collections import deque
from math import inf

from trading.indicators import Atr, Ema, RollingMax, RollingMedian, RollingStats, RollingSum, Rsi, Vwap

FINE_S, MOVE_S, SIGNAL_S = 60, 300, 3600


LATE, CLOSED = 1, 2


def known_from(window_s: int, bar_s: int) -> float:
    """How many bars must have closed before the price a window ago is known; never by bars that do not end there."""
    return window_s // bar_s if window_s % bar_s == 0 else inf


class Aggregator:
    """Builds bars of `bar_s` from shorter ones; `start_s`, `open` .. `volume` hold the bucket in the making.

    `push` returns a mask: CLOSED when the bar completes its bucket (the attributes hold it), LATE when the bar shows that
    the bucket before it is over, whose last candles had no trades (`left` holds that one). A bucket whose beginning was
    not seen is dropped, not guessed.
    """

    __slots__ = ("_end", "_open_bucket", "bar_s", "close", "end_s", "high", "left", "low", "open", "start_s", "volume")

    def __init__(self, bar_s: int) -> None:
        self.bar_s = bar_s
        self._end = 0
        self._open_bucket = False
        self.start_s = -1
        self.end_s = -1
        self.open = self.high = self.low = self.close = self.volume = 0.0
        self.left: tuple[int, float, float, float, float, float] = (0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def push(self, start_s: int, end_s: int, open_: float, high: float, low: float, close: float, volume: float) -> int:
        mask = 0
        if start_s >= self.end_s:
            if self._open_bucket:
                self.left = (self.start_s, self.open, self.high, self.low, self.close, self.volume)
                mask = LATE
            bucket = start_s - start_s % self.bar_s
            # Whole when its first bar is there, or when we watched the time before it.
            self._open_bucket = start_s == bucket or 0 < self._end <= bucket
            self.start_s = bucket
            self.end_s = bucket + self.bar_s
            self.open, self.high, self.low, self.volume = open_, high, low, volume
        else:
            if high > self.high:  # noqa: PLR1730 -- a call a bar is what is saved here
                self.high = high
            if low < self.low:  # noqa: PLR1730
                self.low = low
            self.volume += volume
        self.close = close
        self._end = end_s
        if end_s == self.end_s and self._open_bucket:
            self._open_bucket = False
            return mask | CLOSED
        return mask


class Series:
    """What every length shares: order, gap filling, age. Subclasses say what one bar does in `_take`."""

    __slots__ = ("bar_s", "close", "count", "end_s", "gap_bars_max", "high", "last_start_s", "low", "open", "volume")

    def __init__(self, bar_s: int, gap_bars_max: int) -> None:
        self.bar_s = bar_s
        self.gap_bars_max = gap_bars_max
        self.restart()

    def restart(self) -> None:
        """Forget everything: after a long gap, or when better history arrives."""
        self.count = 0
        self.last_start_s = -1
        self.end_s = 0
        self.open = self.high = self.low = self.close = self.volume = 0.0
        self._begin()

    def _begin(self) -> None:
        raise NotImplementedError

    def _take(self, open_: float, high: float, low: float, close: float, volume: float) -> None:
        raise NotImplementedError

    def update(self, start_s: int, open_: float, high: float, low: float, close: float, volume: float) -> bool:
        """One closed bar; False when it is not newer than what is here (a duplicate, or late)."""
        last = self.last_start_s
        if start_s != last + self.bar_s and last >= 0 and not self._gap(start_s):
            return False
        self._take(open_, high, low, close, volume)
        self.count += 1
        self.last_start_s = start_s
        self.end_s = start_s + self.bar_s
        self.open = open_
        self.high = high
        self.low = low
        self.close = close
        self.volume = volume
        return True

    def _gap(self, start_s: int) -> bool:
        """Fill a short gap with flat bars, start anew after a long one; False for a bar that is not newer."""
        if start_s <= self.last_start_s:
            return False
        missing = (start_s - self.last_start_s) // self.bar_s - 1
        if missing > self.gap_bars_max:
            self.restart()
            return True
        flat = self.close
        for _ in range(missing):
            self._take(flat, flat, flat, flat, 0.0)
            self.count += 1
        return True


class FineSeries(Series):
    """One-minute bars: the price exactly 15 and 60 minutes before the newest bar's end, and the volume of 15 minutes.

    Bars that do not end there (an hour, ten minutes) do not know it: 0.0 stays, which rules take for unknown.
    """

    __slots__ = (
        "_at_15m",
        "_at_60m",
        "_back_15m",
        "_back_60m",
        "_closes",
        "_from_15m",
        "_from_60m",
        "_volumes",
        "price_15m_ago",
        "price_60m_ago",
    )

    def __init__(self, bar_s: int = FINE_S) -> None:
        self._back_15m = max(1, 900 // bar_s)
        self._back_60m = max(1, 3600 // bar_s)
        self._at_15m, self._at_60m = -1 - self._back_15m, -1 - self._back_60m
        self._from_15m, self._from_60m = known_from(900, bar_s), known_from(3600, bar_s)
        super().__init__(bar_s, gap_bars_max=self._back_60m)

    def _begin(self) -> None:
        self._closes: deque[float] = deque(maxlen=self._back_60m + 1)
        self._volumes: deque[float] = deque(maxlen=self._back_15m)
        self.price_15m_ago = 0.0
        self.price_60m_ago = 0.0

    def _take(self, open_: float, high: float, low: float, close: float, volume: float) -> None:  # noqa: ARG002
        closes = self._closes
        closes.append(close)
        self._volumes.append(volume)
        known = len(closes)
        if known > self._from_15m:
            self.price_15m_ago = closes[self._at_15m]
        if known > self._from_60m:
            self.price_60m_ago = closes[self._at_60m]

    def update(self, start_s: int, open_: float, high: float, low: float, close: float, volume: float) -> bool:
        """As `Series.update`, with the usual bar (the next one) taken in one call: this runs at every minute."""
        last = self.last_start_s
        if start_s != last + self.bar_s or last < 0:
            return super().update(start_s, open_, high, low, close, volume)
        closes = self._closes
        closes.append(close)
        self._volumes.append(volume)
        known = len(closes)
        if known > self._from_15m:
            self.price_15m_ago = closes[self._at_15m]
        if known > self._from_60m:
            self.price_60m_ago = closes[self._at_60m]
        self.count += 1
        self.last_start_s = start_s
        self.end_s = start_s + self.bar_s
        self.open = open_
        self.high = high
        self.low = low
        self.close = close
        self.volume = volume
        return True

    @property
    def volume_15m(self) -> float:
        """Summed when asked for: strategies ask only when the price has moved."""
        return sum(self._volumes)


class MoveSeries(Series):
    """Five-minute bars (domain.md sections 7 and 21): moves over true 15 and 60 minutes, VWAP, RSI, pivots, volumes."""

    __slots__ = (
        "_back_15m",
        "_back_60m",
        "_closes",
        "_from_15m",
        "_from_60m",
        "_lows",
        "_per_15m",
        "_volume_15m",
        "_volume_24h",
        "low_36",
        "pivots",
        "price_15m_ago",
        "price_60m_ago",
        "rsi",
        "vwap_12",
    )

    def __init__(self, bar_s: int = MOVE_S) -> None:
        self._back_15m = max(1, 900 // bar_s)
        self._back_60m = max(1, 3600 // bar_s)
        self._from_15m, self._from_60m = known_from(900, bar_s), known_from(3600, bar_s)
        super().__init__(bar_s, gap_bars_max=4 * self._back_60m)

    def _begin(self) -> None:
        self._closes: deque[float] = deque(maxlen=self._back_60m + 1)
        self._lows: deque[float] = deque(maxlen=5)
        self._volume_15m = RollingSum(self._back_15m)
        self._volume_24h = RollingSum(max(1, 86_400 // self.bar_s))
        self.vwap_12 = Vwap(12)
        self.rsi = Rsi(14)
        self.low_36 = RollingMax(36)
        self.pivots: tuple[tuple[int, float], ...] = ()
        self.price_15m_ago = 0.0
        self.price_60m_ago = 0.0

    def _take(self, open_: float, high: float, low: float, close: float, volume: float) -> None:  # noqa: ARG002
        closes, lows = self._closes, self._lows
        closes.append(close)
        lows.append(low)
        self._volume_15m.update(volume)
        self._volume_24h.update(volume)
        self.vwap_12.update(high, low, close, volume)
        self.rsi.update(close)
        self.low_36.update(-low)
        if len(closes) > self._from_15m:
            self.price_15m_ago = closes[-1 - self._back_15m]
        if len(closes) > self._from_60m:
            self.price_60m_ago = closes[-1 - self._back_60m]
        if len(lows) == 5:
            middle = lows[-3]
            if middle < lows[-1] and middle < lows[-2] and middle < lows[-4] and middle < lows[-5]:
                self.pivots = (*self.pivots[-1:], (self.count - 2, middle))

    @property
    def expected_volume_15m(self) -> float:
        """Mean volume of 15 minutes over the last 24 h (or what there is of it, one hour at least); 0.0 if unknown."""
        window = self._volume_24h
        return window.total / window.count * self._back_15m if window.count >= self._back_60m else 0.0

    @property
    def volume_15m(self) -> float:
        return self._volume_15m.total

    @property
    def higher_low(self) -> bool:
        """The last two pivot lows (window 2, within 48 bars) rise."""
        if len(self.pivots) < 2:
            return False
        (at, older), (_, newer) = self.pivots
        return newer > older and self.count - at <= 48

    @property
    def lowest_36(self) -> float:
        return -self.low_36.value


class SignalSeries(Series):
    """One-hour bars (domain.md section 7). Everything is of the newest closed bar; `*_before` leaves it out."""

    __slots__ = (
        "_atr_median",
        "_closes",
        "_highs",
        "_lows",
        "_mean_24",
        "_returns",
        "_returns_24",
        "_returns_168",
        "_trend",
        "_volumes",
        "atr",
        "atr_ratio",
        "ema_21",
        "high_24_before",
        "low_24",
        "previous_close",
        "volume_ratio",
        "z_24",
    )

    def __init__(self, bar_s: int = SIGNAL_S) -> None:
        super().__init__(bar_s, gap_bars_max=6)

    def _begin(self) -> None:
        self._closes: deque[float] = deque(maxlen=169)
        self._returns: deque[float] = deque(maxlen=12)
        self._returns_168 = RollingStats(168)
        self._returns_24 = RollingStats(24)
        self._volumes = RollingSum(24)
        self._highs = RollingMax(24)
        self._lows = RollingMax(24)
        self._mean_24 = RollingStats(24)
        self._atr_median = RollingMedian(168)
        self._trend: deque[float] = deque(maxlen=4)
        self.atr = Atr(14)
        self.ema_21 = Ema(21)
        self.atr_ratio = 0.0
        self.high_24_before = 0.0
        self.low_24 = 0.0
        self.previous_close = 0.0
        self.volume_ratio = 0.0
        self.z_24 = 0.0

    def _take(self, open_: float, high: float, low: float, close: float, volume: float) -> None:  # noqa: ARG002
        closes, volumes = self._closes, self._volumes
        if closes:
            self.previous_close = closes[-1]
            change = close / self.previous_close - 1.0
            self._returns.append(change)
            self._returns_168.update(change)
            self._returns_24.update(change)
        self.volume_ratio = volume * 24.0 / volumes.total if volumes.ready and volumes.total > 0.0 else 0.0
        volumes.update(volume)
        self.high_24_before = self._highs.value if self._highs.ready else 0.0
        self._highs.update(high)
        self._lows.update(-low)
        self.low_24 = -self._lows.value
        closes.append(close)
        stats = self._mean_24
        stats.update(close)
        spread = stats.std
        self.z_24 = (close - stats.mean) / spread if stats.ready and spread > 0.0 else 0.0
        atr = self.atr
        atr.update(high, low, close)
        if atr.ready:
            atr_pct = atr.value / close
            median = self._atr_median
            median.update(atr_pct)
            middle = median.value
            self.atr_ratio = atr_pct / middle if middle > 0.0 else 0.0
        self.ema_21.update(close)
        self._trend.append(self.ema_21.value)

    @property
    def ready(self) -> bool:
        """24 bars and one: the least that the formulas of domain.md section 7 need."""
        return self.count > 24

    @property
    def return_24_pct(self) -> float:
        closes = self._closes
        return (closes[-1] / closes[-25] - 1.0) * 100.0 if len(closes) > 24 else 0.0

    @property
    def return_168_pct(self) -> float:
        closes = self._closes
        return (closes[-1] / closes[-169] - 1.0) * 100.0 if len(closes) > 168 else 0.0

    @property
    def change_pct(self) -> float:
        """Return of the newest bar, percent, signed."""
        return self._returns[-1] * 100.0 if self._returns else 0.0

    def consistency(self, sign: float) -> float:
        """Share of the last 12 returns that have the sign of `sign`."""
        returns = self._returns
        if not returns:
            return 0.0
        same = sum(1 for back in range(len(returns)) if returns[-1 - back] * sign > 0.0)
        return same / len(returns)

    @property
    def ema_slope_pct_per_bar(self) -> float:
        """Slope of EMA21 over 3 bars, percent of its value a bar."""
        trend = self._trend
        if len(trend) < 4 or trend[-4] <= 0.0:
            return 0.0
        return (trend[-1] / trend[-4] - 1.0) * 100.0 / 3.0

    @property
    def volatility_pct(self) -> float:
        """Annualised: sample stdev of bar returns x sqrt(bars a year) x 100, at most 200; 50 with fewer than 24 returns."""
        returns = self._returns_168
        return self._annual_pct(returns) if returns.count >= 24 else 50.0

    @property
    def volatility_24_pct(self) -> float | None:
        """The same of the last 24 bars alone; None with fewer returns."""
        returns = self._returns_24
        return self._annual_pct(returns) if returns.ready else None

    def _annual_pct(self, returns: RollingStats) -> float:
        return float(min(200.0, returns.std * (31_536_000 / self.bar_s) ** 0.5 * 100.0))

    @property
    def warm_168(self) -> bool:
        return len(self._closes) > 168
