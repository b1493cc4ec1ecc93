"""Parameters of risk (section `risk` of the configuration). Percent numbers of NAV, venue seconds, counts (domain.md 3)."""

from __future__ import annotations

from decimal import Decimal

from attrs import field, frozen

from trading.sizing import SizingSettings


def _themes() -> dict[str, Decimal]:
    return {
        "LAYER1": Decimal(10),
        "LAYER2": Decimal(6),
        "DEFI": Decimal(5),
        "MEME": Decimal(4),
        "OTHER": Decimal(6),
    }


def _positions_by_regime() -> dict[str, int]:
    return {"bull": 5, "chop": 3, "bear": 2, "crash": 0}


@frozen(kw_only=True)
class CapSettings:
    """The most that positions, open entries and unknown orders may be worth together, percent of NAV at worst case.

    Tiers have theirs in `universe.tiers`, strategies in `symbol.strategies`. positions_max: open products; the regime may
    allow fewer. count_foreign: whether holdings that the bot did not open count.
    """

    total_pct: Decimal = Decimal(25)
    per_asset_pct: Decimal = Decimal(4)
    theme_pct: dict[str, Decimal] = field(factory=_themes)
    positions_max: int = 8
    positions_by_regime: dict[str, int] = field(factory=_positions_by_regime)
    count_foreign: bool = False


@frozen(kw_only=True)
class StopSettings:
    """Money latches: percent of NAV, losses as negative numbers. loss streak: losing closes in a row, then a pause."""

    daily_stop_pct: Decimal = Decimal(-3)
    weekly_stop_pct: Decimal = Decimal(-7)
    rolling_7d_stop_pct: Decimal = Decimal(-7)
    drawdown_pct_max: Decimal = Decimal(10)
    loss_streak_max: int = 3
    loss_pause_s: float = 3600.0


@frozen(kw_only=True)
class PacingSettings:
    """How often entries may be admitted; re-quotes are exempt. Venue seconds; the hour slides, the day is UTC's."""

    trades_per_day_max: int = 120
    trades_per_hour_max: int = 5
    new_trades_per_hour_max: int = 3
    spacing_s: float = 90.0
    symbol_spacing_s: float = 900.0
    allow_pyramiding: bool = False
    pyramid_spacing_s: float = 600.0
    adds_per_asset_per_day_max: int = 1


@frozen(kw_only=True)
class RiskSettings:
    """lease_s: how old a permission's snapshot may be. stale_retries_max: book versions a proposal may lose to.

    quote_age_s_max, spread_bps_max: of risk's own quote when it judges. mark_age_s_max: of the marks of what is held.
    fee_rate_fallback: taker, as a fraction, when the account's tier is not known (the larger of both is used).
    """

    caps: CapSettings = field(factory=CapSettings)
    stops: StopSettings = field(factory=StopSettings)
    pacing: PacingSettings = field(factory=PacingSettings)
    sizing: SizingSettings = field(factory=SizingSettings)
    lease_s: float = 2.0
    stale_retries_max: int = 5
    quote_age_s_max: float = 5.0
    spread_bps_max: float = 80.0
    mark_age_s_max: float = 60.0
    metadata_age_s_max: float = 900.0
    fee_rate_fallback: Decimal = Decimal("0.006")


"""How stale metadata may be before it counts as missing: the catalog refreshes it every 5 minutes."""
