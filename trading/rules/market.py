"""May this product be entered at this price: universe, metadata, quote, spread, depth (domain.md sections 5, 11, 12)."""

from __future__ import annotations

from decimal import Decimal

from trading.data_guards import OUTLIER, quote_problem, quote_values
from trading.denied import Denied, denied
from trading.product import Allows, allowance, set_flags
from trading.rules.case import Case


def universe_member(case: Case) -> Denied | None:
    entry = case.entry
    if entry is None or case.tier is None:
        return denied("not_in_universe", product=case.proposal.product_id)
    return None


def not_banned(case: Case) -> Denied | None:
    """A ban is a cooldown row of the book: it holds whatever the universe remembers."""
    for row in case.book.cooldowns:
        if row.product_id == case.proposal.product_id and row.kind == "ban" and not case.now.over(row.until_s):
            return denied("red_flag", reason=row.reason, by=row.by, left_s=round(row.until_s - case.now.venue_s))
    return None


def product_status(case: Case) -> Denied | None:
    """Metadata must be there and young, and its flags must allow an entry of this kind (fail closed)."""
    product = case.product
    if product is None:
        return denied("data_unavailable", what="product metadata")
    age_s = case.now.boot_s - case.catalog.fetched_boot_s
    if age_s > case.settings.metadata_age_s_max:
        return denied(
            "data_unavailable",
            what="product metadata",
            age_s=round(age_s),
            age_s_max=case.settings.metadata_age_s_max,
        )
    allows = allowance(product).entry
    if allows is Allows.NO or (allows is Allows.POST_ONLY and not case.proposal.post_only):
        return denied(
            "exchange_product_status",
            flags=" ".join(set_flags(product)) or product.status,
            allows=allows.value,
            post_only=case.proposal.post_only,
        )
    return None


def quote_fresh(case: Case) -> Denied | None:
    """Risk's own newest quote, by both clocks; and the one that the symbol decided on."""
    quote = case.quote
    if quote is None:
        return denied("data_unavailable", what="quote")
    problem = quote_problem(quote, case.now, case.guards)
    if problem:
        return Denied(problem, quote_values(quote, case.now))
    if case.quote_doubted:
        return Denied(OUTLIER, quote_values(quote, case.now))
    decided_age_s = case.now.boot_s - case.proposal.quote_received_boot_s
    if decided_age_s > case.settings.quote_age_s_max:
        return denied("quote_stale", decided_on_age_s=round(decided_age_s, 3), age_s_max=case.settings.quote_age_s_max)
    return None


def spread(case: Case) -> Denied | None:
    quote, tier = case.quote, case.tier
    assert quote is not None
    assert tier is not None
    limit_bps = min(tier.spread_bps_max, case.settings.spread_bps_max)
    if quote.spread_bps > limit_bps:
        return denied(
            "spread_too_wide", spread_bps=round(quote.spread_bps, 2), limit_bps=limit_bps, bid=quote.bid, ask=quote.ask
        )
    return None


def depth(case: Case) -> Denied | None:
    """The thinner side within 20 bps; a book that is not known is no book (nothing is guessed)."""
    quote, tier = case.quote, case.tier
    assert quote is not None
    assert tier is not None
    if quote.depth_bid_usd is None or quote.depth_ask_usd is None:
        return denied("data_unavailable", what="order book depth")
    thinner = min(quote.depth_bid_usd, quote.depth_ask_usd)
    if thinner < tier.depth_usd_min:
        return denied(
            "depth_too_thin",
            depth_bid_usd=round(quote.depth_bid_usd),
            depth_ask_usd=round(quote.depth_ask_usd),
            limit_usd=tier.depth_usd_min,
        )
    return None


def limit_near_ask(case: Case) -> Denied | None:
    """A buy's limit may lie above the newest ask by the tier's slippage budget, never more."""
    quote, tier = case.quote, case.tier
    assert quote is not None
    assert tier is not None
    above_bps = (case.proposal.limit_price / quote.ask - 1) * 10_000
    if above_bps > Decimal(str(tier.slippage_bps_max)):
        return denied(
            "slippage_budget",
            limit_price=case.proposal.limit_price,
            ask=quote.ask,
            above_bps=round(float(above_bps), 2),
            limit_bps=tier.slippage_bps_max,
        )
    return None


def eligible(case: Case) -> Denied | None:
    entry = case.entry
    assert entry is not None
    if not entry.eligible:
        return Denied("ineligible", (("reason", entry.reason), *entry.values))
    return None


def regime(case: Case) -> Denied | None:
    entry = case.entry
    assert entry is not None
    if case.universe.regime == "crash" or entry.size_multiplier <= 0.0:
        return Denied(
            "volatility_crash",
            (
                ("regime", case.universe.regime),
                ("multiplier", str(entry.size_multiplier)),
                *case.universe.regime_values,
            ),
        )
    return None
