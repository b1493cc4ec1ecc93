"""How often: spacing, trades per hour and day, pyramiding, cooldowns (domain.md section 11, 10 to 15).

Counted from admissions in the book, so that a restart forgets nothing. Re-quotes are exempt from spacing and counts,
nothing is exempt from cooldowns.
"""

from __future__ import annotations

from trading.denied import Denied, denied
from trading.rules.case import Case
from trading.strategies.registry import StrategySettings
from trading.values import Purpose

DAY_S = 86_400.0


def strategy_enabled(case: Case) -> Denied | None:
    """A strategy that the configuration does not name, or that is off, has no budget."""
    settings = case.strategies.get(case.proposal.strategy, StrategySettings(enabled=False))
    return None if settings.enabled else denied("strategy_disabled", strategy=case.proposal.strategy)


def global_spacing(case: Case) -> Denied | None:
    times = case.book.counters.entry_times_s
    if case.is_requote or not times:
        return None
    since_s = case.now.venue_s - max(at for at, _ in times)
    if since_s >= case.settings.pacing.spacing_s:
        return None
    return denied("global_spacing", since_s=round(since_s, 1), spacing_s=case.settings.pacing.spacing_s)


def trade_counts(case: Case) -> Denied | None:
    if case.is_requote:
        return None
    pacing, now_s = case.settings.pacing, case.now.venue_s
    times = case.book.counters.entry_times_s
    midnight_s = now_s - now_s % DAY_S
    today = sum(1 for at, _ in times if at >= midnight_s)
    if today >= pacing.trades_per_day_max:
        return denied("trades_per_day", today=today, limit=pacing.trades_per_day_max)
    hour = [product for at, product in times if at > now_s - 3600.0]
    if len(hour) >= pacing.trades_per_hour_max:
        return denied("trades_per_hour", last_hour=len(hour), limit=pacing.trades_per_hour_max)
    fresh = set(hour)
    if case.proposal.product_id not in fresh and len(fresh) >= pacing.new_trades_per_hour_max:
        return denied("new_trades_per_hour", products_last_hour=len(fresh), limit=pacing.new_trades_per_hour_max)
    return None


def unknown_order(case: Case) -> Denied | None:
    """A product with an order of unknown fate takes no entry (protocol section 1 rule 7)."""
    if case.proposal.product_id in case.book.unknown_products:
        return denied("unknown_order", product=case.proposal.product_id)
    return None


def pending_buy(case: Case) -> Denied | None:
    for order in case.book.orders:
        if order.product_id == case.proposal.product_id and order.purpose is Purpose.ENTRY and order.ended is None:
            return denied("pending_buy_exists", client_order_id=order.client_order_id, status=order.status)
    return None


def symbol_spacing(case: Case) -> Denied | None:
    times = [at for at, product in case.book.counters.entry_times_s if product == case.proposal.product_id]
    if case.is_requote or not times or case.held:
        return None
    since_s = case.now.venue_s - max(times)
    if since_s >= case.settings.pacing.symbol_spacing_s:
        return None
    return denied("per_symbol_spacing", since_s=round(since_s, 1), spacing_s=case.settings.pacing.symbol_spacing_s)


def pyramiding(case: Case) -> Denied | None:
    """Adding to what is held: off by default; else spaced, and few a day."""
    held = case.held
    if not held:
        return None
    pacing, now_s = case.settings.pacing, case.now.venue_s
    if not pacing.allow_pyramiding:
        return denied("already_have_position", position_id=held[0].position_id)
    if case.is_requote:
        return None
    times = [at for at, product in case.book.counters.entry_times_s if product == case.proposal.product_id]
    if times and now_s - max(times) < pacing.pyramid_spacing_s:
        return denied("pyramid_cooldown", since_s=round(now_s - max(times), 1), spacing_s=pacing.pyramid_spacing_s)
    midnight_s = now_s - now_s % DAY_S
    opened_s = min(one.opened_s for one in held)
    # The admission that opened the position comes before its first fill, so it is no add.
    adds = sum(1 for at in times if at >= midnight_s and at > opened_s)
    if adds >= pacing.adds_per_asset_per_day_max:
        return denied("pyramid_daily_limit", adds_today=adds, limit=pacing.adds_per_asset_per_day_max)
    return None


def symbol_cooldown(case: Case) -> Denied | None:
    """After a fill, win, loss, stop-out or failure. A book that lost its cooldown records denies every symbol."""
    if not case.book.cooldowns_complete:
        return denied("data_unavailable", what="cooldown record")
    for row in case.book.cooldowns:
        if row.product_id != case.proposal.product_id or case.now.over(row.until_s):
            continue
        # Its own fill's cooldown does not stand in the way of a plan that has not filled: there is none then.
        return denied(
            "per_symbol_cooldown", kind=row.kind, reason=row.reason, left_s=round(row.until_s - case.now.venue_s, 1)
        )
    return None
