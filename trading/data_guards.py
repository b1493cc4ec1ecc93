"""What market data must pass before anything believes it: times, order, shape, and jumps (domain.md sections 7, 19, 21).

Quotes are judged by two ages, both in real seconds: by the venue's own timestamp (venue age / speed) and by the
monotonic clock since the frame arrived. A predecessor stamped quotes with its own "now", so that its staleness test
could not fail. Bars are judged by alignment, order, shape and age. Jumps wait until they are confirmed.
"""

from __future__ import annotations

from attrs import frozen

from trading.denied import measured
from trading.machine import Instant
from trading.messages.decisions import Values
from trading.messages.market import Bar, Quote

QUOTE_STALE = "quote_stale"
QUOTE_AHEAD = "quote_time_ahead"
FEED_SILENT = "feed_silent"
SEQUENCE_GAP = "sequence_gap"
BOOK_CROSSED = "book_crossed"
BOOK_LOCKED = "book_locked"
CLOCK_UNTRUSTED = "clock_untrusted"
OUTLIER = "outlier_unconfirmed"
BAR_MISALIGNED = "candle_misaligned"
BAR_LATE = "candle_late"
BAR_MALFORMED = "candle_malformed"
BAR_STALE = "candle_stale"


@frozen(kw_only=True)
class DataGuardSettings:
    """Limits on market data. Ages in real seconds; percentages as percent numbers (10 = 10 %).

    quote_age_decision_s: an entry is decided on nothing older (the gateway adds its own, shorter limit before a POST).
    quote_ahead_s_max: how far the venue's timestamp may lie ahead of venue time. feed_alive_age_s_max: newest heartbeat.
    quote_outlier_pct, bar_outlier_pct: a jump beyond this (and beyond `outlier_deviations` mean absolute moves x 1.25)
    waits for `outlier_confirmations` further snapshots or bars that agree. bar_confirming_volume_ratio: a bar with at
    least this share of the mean volume confirms itself. bar_age_s_max: end of the newest bar of 1 m; longer bars may be
    `bar_age_ratio_max` bars old.
    """

    quote_age_decision_s: float = 5.0
    quote_ahead_s_max: float = 2.0
    feed_alive_age_s_max: float = 10.0
    quote_outlier_pct: float = 5.0
    bar_outlier_pct: float = 10.0
    outlier_deviations: float = 8.0
    outlier_confirmations: int = 3
    bar_confirming_volume_ratio: float = 0.5
    bar_age_s_max: float = 90.0
    bar_age_ratio_max: float = 1.5


def quote_ages_s(quote: Quote, now: Instant) -> tuple[float, float]:
    """(by the venue's timestamp / speed, by the monotonic receive time), real seconds."""
    return (now.venue_s - quote.exchange_s) / now.speed, now.boot_s - quote.received_boot_s


def quote_problem(quote: Quote, now: Instant, limits: DataGuardSettings) -> str:
    """The first code that speaks against deciding an entry on `quote`, or "" when none does. No allocation."""
    if not now.trusted:
        return CLOCK_UNTRUSTED
    bid, ask = quote.bid, quote.ask
    if bid >= ask:
        return BOOK_LOCKED if bid == ask else BOOK_CROSSED
    if bid <= 0:
        return BOOK_CROSSED
    age_s = (now.venue_s - quote.exchange_s) / now.speed
    age_limit_s = limits.quote_age_decision_s
    if age_s > age_limit_s or now.boot_s - quote.received_boot_s > age_limit_s:
        return QUOTE_STALE
    if age_s < -limits.quote_ahead_s_max:
        return QUOTE_AHEAD
    alive = quote.alive_boot_s
    if alive <= 0.0:
        return SEQUENCE_GAP
    if now.boot_s - alive > limits.feed_alive_age_s_max:
        return FEED_SILENT
    return ""


def quote_values(quote: Quote, now: Instant) -> Values:
    """What was measured, for the record of a refused quote."""
    exchange_age_s, receive_age_s = quote_ages_s(quote, now)
    return measured(
        bid=quote.bid,
        ask=quote.ask,
        spread_bps=quote.spread_bps if quote.bid + quote.ask else 0.0,
        exchange_age_s=round(exchange_age_s, 3),
        receive_age_s=round(receive_age_s, 3),
        feed_age_s=round(now.boot_s - quote.alive_boot_s, 3) if quote.alive_boot_s else "gap",
    )


class OutlierGuard:
    """Rejects a jump until N consecutive, distinct snapshots confirm it; then believes it wholly.

    A jump is a move beyond `pct` percent *and* beyond `deviations` robust deviations of the accepted moves (mean
    absolute move x 1.2533, which equals sigma for normal moves and follows one wild value only slowly). The snapshot
    that jumps counts as the first of `confirmations`. A snapshot within `pct` of the one before confirms (it is then on
    the same side of what was believed); one back at the old level clears the suspicion.
    """

    __slots__ = (
        "_confirmations",
        "_deviations",
        "_mean_move",
        "_share",
        "_stamp",
        "_suspect",
        "price",
        "seen",
        "since_boot_s",
    )

    def __init__(self, pct: float, deviations: float, confirmations: int) -> None:
        self._share = pct / 100.0
        self._deviations = deviations * 1.2533
        self._confirmations = confirmations
        self._mean_move = 0.0
        self._suspect = 0.0
        self._stamp = -1.0
        self.price = 0.0
        self.seen = 0
        self.since_boot_s = 0.0

    @property
    def suspicious(self) -> bool:
        return self.seen > 0

    @property
    def suspect(self) -> float:
        """The newest price that was not believed, 0.0 when the newest was."""
        return self._suspect if self.seen else 0.0

    def accept(self, price: float, stamp: float, boot_s: float = 0.0) -> bool:
        """True when `price` is believed (it is then `self.price`). stamp: what makes a snapshot distinct, e.g. its time."""
        believed = self.price
        if believed == 0.0:
            self.price = price
            return True
        move = price / believed - 1.0
        size = -move if move < 0.0 else move
        if size > self._share and size > self._deviations * self._mean_move:
            return self._doubt(price, stamp, boot_s)
        self.seen = 0
        self._mean_move += 0.02 * (size - self._mean_move)
        self.price = price
        return True

    def _doubt(self, price: float, stamp: float, boot_s: float) -> bool:
        agrees = self.seen > 0 and abs(price / self._suspect - 1.0) <= self._share
        if agrees:
            if stamp != self._stamp:
                self.seen += 1
        else:
            self.seen = 1
            self.since_boot_s = boot_s
        self._suspect = price
        self._stamp = stamp
        if self.seen < self._confirmations:
            return False
        self.believe(price)
        return True

    def believe(self, price: float) -> None:
        """Take `price` for true from now on: confirmed here, or by another proof (a REST quote, long standing)."""
        self.price = price
        self.seen = 0


class BarGuard:
    """The door of one symbol's bars of one length: shape, alignment, order, and unconfirmed outliers held back.

    `admit` returns "" when the bar may be used. After OUTLIER the bar is kept; when enough bars confirm, the kept ones
    stand in `released` (oldest first, the confirming bar among them) and `admit` returns "" for the last.
    """

    __slots__ = (
        "_bar_s",
        "_confirmations",
        "_deviations",
        "_held",
        "_last_start",
        "_mean_move",
        "_mean_volume",
        "_ratio",
        "_share",
        "close",
        "gaps",
        "released",
    )

    def __init__(self, bar_s: int, limits: DataGuardSettings) -> None:
        self._bar_s = bar_s
        self._share = limits.bar_outlier_pct / 100.0
        self._deviations = limits.outlier_deviations * 1.2533
        self._confirmations = limits.outlier_confirmations
        self._ratio = limits.bar_confirming_volume_ratio
        self._mean_move = 0.0
        self._mean_volume = 0.0
        self._held: list[Bar] = []
        self._last_start = -1
        self.close = 0.0
        self.gaps = 0
        self.released: tuple[Bar, ...] = ()

    def admit(self, bar: Bar) -> str:
        start = bar.start_s
        bar_s = self._bar_s
        if start % bar_s:
            return BAR_MISALIGNED
        if start <= self._last_start:
            return BAR_LATE
        close, high, low, volume = bar.close, bar.high, bar.low, bar.volume
        # Written so that NaN fails: every comparison with NaN is false.
        if not (0.0 < low <= close <= high < 1e15 and low <= bar.open <= high and 0.0 <= volume < 1e18):
            return BAR_MALFORMED
        if self._last_start >= 0 and start != self._last_start + bar_s:
            self.gaps += 1
        self._last_start = start
        believed = self.close
        if believed:
            up = high / believed - 1.0
            down = 1.0 - low / believed
            share = self._share
            if (up > share or down > share) and max(down, up) > self._deviations * self._mean_move:
                # Nothing traded confirms nothing, also where nothing ever did.
                if volume <= 0.0 or volume < self._ratio * self._mean_volume:
                    return self._hold(bar)
                if self._held:
                    self._confirm(bar)
            elif self._held:
                self._held.clear()
            move = close / believed - 1.0
            self._mean_move += 0.05 * ((-move if move < 0.0 else move) - self._mean_move)
            self._mean_volume += 0.05 * (volume - self._mean_volume)
        else:
            self._mean_volume = volume
        self.close = close
        return ""

    def _hold(self, bar: Bar) -> str:
        held = self._held
        if held and not self._agrees(bar):
            held.clear()
        held.append(bar)
        if len(held) < self._confirmations:
            return OUTLIER
        self.released = tuple(held)
        held.clear()
        self.close = bar.close
        self._mean_volume += 0.05 * (bar.volume - self._mean_volume)
        return ""

    def _confirm(self, bar: Bar) -> None:
        """`bar` has the volume that those held back lacked: they are let go with it, unless it says something else."""
        if self._agrees(bar):
            self.released = (*self._held, bar)
        self._held.clear()

    def _agrees(self, bar: Bar) -> bool:
        last = self._held[-1].close
        return abs(bar.close / last - 1.0) <= self._share and (bar.close > self.close) == (last > self.close)


def bar_age_limit_s(bar_s: int, speed: float, limits: DataGuardSettings) -> float:
    """How long ago (venue seconds) the newest closed bar may have ended: 90 s for 1 m, 1.5 bars for longer ones.

    What is beyond one bar is a bar's way to us, real time: at a higher speed it is longer on the venue's clock.
    """
    limit_s = max(limits.bar_age_s_max, limits.bar_age_ratio_max * bar_s)
    return bar_s + (limit_s - bar_s) * speed
