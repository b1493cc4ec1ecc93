"""Losses: the money latches, and the pause after a losing streak (domain.md section 11, 5 to 7 and 12)."""

from __future__ import annotations

from trading.denied import Denied, denied
from trading.rules.case import Case


def latches(case: Case) -> Denied | None:
    """daily_stop, weekly_stop, rolling_stop, max_drawdown: the oldest that stands answers, with what it measured."""
    for latch in case.latches:
        return Denied(latch.code, latch.values)
    return None


def nav_known(case: Case) -> Denied | None:
    if case.unpriced:
        return denied("data_unavailable", what="mark", products=" ".join(case.unpriced))
    if case.nav_usd is None or case.nav_usd <= 0:
        return denied("no_nav", nav_usd=case.nav_usd if case.nav_usd is not None else "unknown")
    return None


def loss_streak(case: Case) -> Denied | None:
    stops, counters = case.settings.stops, case.book.counters
    if counters.loss_streak < stops.loss_streak_max or counters.last_loss_s is None:
        return None
    until_s = counters.last_loss_s + stops.loss_pause_s
    if case.now.over(until_s):
        return None
    return denied(
        "loss_cooldown",
        losses=counters.loss_streak,
        limit=stops.loss_streak_max,
        left_s=round(until_s - case.now.venue_s),
    )
