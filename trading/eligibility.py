"""Is one product eligible now: pure, with thresholds that depend on whether it was (domain.md section 5).

Hard reasons (never, red flag, metadata, flags) act at once. Soft ones (volume, spread, depth, no quote) are counted by
the universe: it takes several looks in a row to leave or to come back, and leaving needs a worse number than entering.
24-hour volume is quote volume: base volume x price (the predecessor once mixed the two). What is missing is never
guessed: the predecessor assumed spreads, depths and whole tiers when its data was gone.
"""

from __future__ import annotations

from attrs import frozen

from trading.denied import measured
from trading.machine import Instant
from trading.messages.decisions import Values
from trading.messages.market import Quote
from trading.product import Allows, Product, allowance, set_flags
from trading.tiers import TierSettings
from trading.universe_settings import UniverseSettings

DAY_S = 86_400.0


@frozen
class Look:
    """What one look saw. reason "" means eligible; hard reasons skip the grace."""

    reason: str = ""
    values: Values = ()
    hard: bool = False
    missing: bool = False


def volume_usd(quote: Quote | None, product: Product | None) -> float | None:
    """24-hour quote volume, from the feed where it tells, else from the catalog."""
    if quote is not None and quote.volume_24h_base is not None and quote.bid > 0:
        return quote.volume_24h_base * float(quote.mid)
    return product.volume_24h_quote_usd if product is not None else None


def look_at(
    product: Product | None,
    quote: Quote | None,
    tier: TierSettings,
    now: Instant,
    settings: UniverseSettings,
    *,
    volume_factor: float,
    was_eligible: bool,
) -> Look:
    if product is None:
        return Look("metadata_missing", measured(what="product metadata"), hard=True, missing=True)
    if allowance(product).entry is Allows.NO:
        flags = " ".join(set_flags(product)) or product.status
        return Look("exchange_product_status", measured(flags=flags), hard=True)
    if product.new_at_s is not None and tier.listed_days_min > 0.0:
        days = (now.venue_s - product.new_at_s) / DAY_S
        if days < tier.listed_days_min:
            return Look(
                "listed_recently", measured(listed_days=round(days, 1), listed_days_min=tier.listed_days_min), hard=True
            )
    if quote is None or quote.bid >= quote.ask or quote.bid <= 0:
        return Look("quote_missing", (), missing=True)
    age_s = now.boot_s - max(quote.received_boot_s, quote.alive_boot_s)
    if age_s > settings.quote_age_s_max:
        return Look("quote_stale", measured(age_s=round(age_s, 1), age_s_max=settings.quote_age_s_max), missing=True)
    volume = volume_usd(quote, product)
    floor_usd = tier.volume_24h_usd_min * volume_factor * (settings.volume_leave_share if was_eligible else 1.0)
    if volume is None:
        return Look("volume_missing", (), missing=True)
    if volume < floor_usd:
        return Look("volume_low", measured(volume_24h_usd=round(volume), floor_usd=round(floor_usd)))
    spread_bps = quote.spread_bps
    spread_max = tier.spread_bps_max * (settings.spread_leave_share if was_eligible else 1.0)
    if spread_bps > spread_max:
        return Look("spread_wide", measured(spread_bps=round(spread_bps, 2), spread_bps_max=round(spread_max, 2)))
    if quote.depth_bid_usd is None or quote.depth_ask_usd is None:
        return Look("depth_missing", (), missing=True)
    thinner = min(quote.depth_bid_usd, quote.depth_ask_usd)
    depth_min = tier.depth_usd_min * (settings.depth_leave_share if was_eligible else 1.0)
    if thinner < depth_min:
        return Look("depth_thin", measured(depth_usd=round(thinner), depth_usd_min=round(depth_min)))
    return Look()
