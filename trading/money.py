"""Losses remembered: the flow-neutral high-water mark, the windows of realised PnL, and the latches they set.

High water (domain.md section 21): the predecessor began at 10 000 on an account of 300 and saw a drawdown of 97 %. Here
it begins at the first reconciled NAV, and a deposit or withdrawal scales it by what the flow did to NAV, as the unit
price of a fund would: the drawdown in percent is the same before and after any flow.

Latches only tighten within their window (invariant I10): a day's and a week's until the window ends (UTC midnight; Monday
00:00 UTC), the rolling seven days' for a day at a time, drawdown until a person re-arms with a name and a cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from attrs import define, frozen

from trading.denied import measured
from trading.messages.control import Latch
from trading.risk_settings import StopSettings
from trading.values import ZERO

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
SAVE_PAUSE_S = 0.4


def day_start_s(now_s: float) -> float:
    return now_s - now_s % DAY_S


def week_start_s(now_s: float) -> float:
    """Monday 00:00 UTC of the ISO week (the epoch was a Thursday)."""
    return now_s - (now_s - 4 * DAY_S) % WEEK_S


@define
class HighWater:
    """usd: the mark; flows_usd: deposits - withdrawals that are already in it, as `book` counts them. saved_usd: what the store knows."""

    usd: Decimal | None = None
    flows_usd: Decimal = ZERO
    book: str = ""
    saved_usd: Decimal = ZERO
    saved_flows_usd: Decimal = ZERO
    saved_book: str = ""
    saved_boot_s: float = float("-inf")

    def update(self, nav_usd: Decimal, flows_usd: Decimal, *, may_rise: bool, book: str = "") -> None:
        """Take in a NAV. may_rise: everything is reconciled and priced (a half-booked fill must not set a mark)."""
        if book != self.book:
            self.book, self.flows_usd = book, flows_usd  # a book that was begun anew counts anew: nothing flowed
        if self.usd is None:
            if may_rise and nav_usd > ZERO:
                self.usd, self.flows_usd = nav_usd, flows_usd
            return
        flow = flows_usd - self.flows_usd
        if flow != ZERO:
            before = nav_usd - flow
            if before > ZERO and nav_usd > ZERO:
                self.usd = self.usd * nav_usd / before
            else:
                # Everything was withdrawn, or the account was empty before: the mark starts anew at what is there.
                self.usd = max(nav_usd, ZERO) or None
            self.flows_usd = flows_usd
        if self.usd is not None and may_rise and nav_usd > self.usd:
            self.usd = nav_usd

    def drawdown_pct(self, nav_usd: Decimal) -> Decimal:
        """(high water - NAV) / high water x 100, never negative."""
        if self.usd is None or self.usd <= ZERO:
            return ZERO
        return max(ZERO, (self.usd - nav_usd) / self.usd * 100)

    def worth_saving(self, boot_s: float) -> bool:
        """A flow or a fall at once, a rise at most twice a second: a crash loses half a second of it, a tick costs no commit."""
        if self.usd is None:
            return False
        if (self.flows_usd, self.book) != (self.saved_flows_usd, self.saved_book) or self.usd < self.saved_usd:
            return True
        return self.usd > self.saved_usd and boot_s >= self.saved_boot_s + SAVE_PAUSE_S

    def saved(self, boot_s: float) -> None:
        self.saved_boot_s = boot_s
        self.saved_usd = self.usd or ZERO
        self.saved_flows_usd, self.saved_book = self.flows_usd, self.book


@frozen
class Realised:
    """Net realised PnL in USD of the day (UTC), the ISO week and the last seven days."""

    day_usd: Decimal
    week_usd: Decimal
    rolling_usd: Decimal


def realised_of(closes: Sequence[tuple[float, Decimal]], now_s: float) -> Realised:
    """closes: (venue seconds, net USD) of each closing fill; fees are in them."""
    day_s, week_s, rolling_s = day_start_s(now_s), week_start_s(now_s), now_s - WEEK_S
    day_usd = week_usd = rolling_usd = ZERO
    for at, usd in closes:
        if at >= day_s:
            day_usd += usd
        if at >= week_s:
            week_usd += usd
        if at >= rolling_s:
            rolling_usd += usd
    return Realised(day_usd=day_usd, week_usd=week_usd, rolling_usd=rolling_usd)


def loss_pct(realised_usd: Decimal, nav_usd: Decimal) -> Decimal:
    """PnL % = realised / (NAV - realised) (domain.md section 11): of what there was before it."""
    base = nav_usd - realised_usd
    return realised_usd / base * 100 if base > ZERO else Decimal(-100)


def wanted_latches(
    realised: Realised,
    nav_usd: Decimal,
    drawdown_pct: Decimal,
    water_usd: Decimal | None,
    now_s: float,
    stops: StopSettings,
) -> tuple[Latch, ...]:
    """The latches that today's numbers call for."""
    rows = (
        ("daily_stop", realised.day_usd, stops.daily_stop_pct, day_start_s(now_s) + DAY_S),
        ("weekly_stop", realised.week_usd, stops.weekly_stop_pct, week_start_s(now_s) + WEEK_S),
        ("rolling_stop", realised.rolling_usd, stops.rolling_7d_stop_pct, now_s + DAY_S),
    )
    latches = [
        Latch(
            code=code,
            values=measured(pnl_usd=usd, pnl_pct=loss_pct(usd, nav_usd).quantize(Decimal("0.001")), stop_pct=limit_pct),
            since_s=now_s,
            until_s=until_s,
        )
        for code, usd, limit_pct, until_s in rows
        if usd < ZERO and loss_pct(usd, nav_usd) <= limit_pct
    ]
    if drawdown_pct >= stops.drawdown_pct_max:
        latches.append(
            Latch(
                code="max_drawdown",
                values=measured(
                    drawdown_pct=drawdown_pct.quantize(Decimal("0.001")),
                    limit_pct=stops.drawdown_pct_max,
                    nav_usd=nav_usd,
                    high_water_usd=(water_usd or ZERO).quantize(Decimal("0.01")),
                ),
                since_s=now_s,
                until_s=None,
            )
        )
    return tuple(latches)
