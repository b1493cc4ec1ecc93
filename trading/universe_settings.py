"""Parameters of the universe and its regime (section `universe` of the configuration; domain.md sections 5 and 9)."""

from __future__ import annotations

from attrs import field, frozen

from trading.tiers import TierSettings, default_themes, default_tiers

RED_FLAGS = ("recent_exploit", "regulatory_action", "delisting_rumors", "team_rug")


@frozen(kw_only=True)
class RegimeSettings:
    """Tests on `product_id`'s hourly bars, percent numbers; one table of multipliers (domain.md section 21).

    The table of domain.md section 9 never saw the crash of 2025-10-10 (closes hid it: 7 days -8.8 %, volatility 44 %), so
    a fall is looked for on 5-minute bars too: a low `crash_fall_60m_pct` below the price of 60 minutes before is a crash
    at once, for `crash_hold_s` (venue seconds) after the last such bar.
    """

    product_id: str = "BTC-USD"
    crash_return_pct: float = -10.0
    crash_volatility_pct: float = 100.0
    bull_return_pct: float = 10.0
    bull_volatility_pct: float = 60.0
    bear_return_pct: float = -5.0
    crash_fall_60m_pct: float = -5.0
    crash_hold_s: float = 21_600.0
    hold_bars: int = 2
    multiplier: dict[str, float] = field(factory=lambda: {"bull": 1.2, "chop": 0.8, "bear": 0.5, "crash": 0.0})
    volume_floor_factor: dict[str, float] = field(factory=lambda: {"bull": 0.9, "chop": 1.0, "bear": 1.2, "crash": 1.2})


@frozen(kw_only=True)
class UniverseSettings:
    """never: products that are never traded, whatever a tier says. flags: product -> red flag, banned from start.

    review_s: real seconds between looks; ineligible_grace, eligible_grace: looks in a row that it takes to leave or to
    come back (the first look of all decides at once). volume_leave_share, spread_leave_share: leaving happens beyond
    this share of the entering threshold (hysteresis). quote_age_s_max: of the quotes that are looked at. eligible_min:
    fewer eligible products are a condition.
    """

    tiers: dict[str, TierSettings] = field(factory=default_tiers)
    themes: dict[str, tuple[str, ...]] = field(factory=default_themes)
    never: tuple[str, ...] = (
        "USDT-USD",
        "USDC-USD",
        "DAI-USD",
        "BUSD-USD",
        "PUMP-USD",
        "USELESS-USD",
        "FARTCOIN-USD",
    )
    flags: dict[str, str] = field(factory=dict)
    temporary_ban_hours: float = 168.0
    regime: RegimeSettings = field(factory=RegimeSettings)
    review_s: float = 5.0
    ineligible_grace: int = 5
    eligible_grace: int = 2
    volume_leave_share: float = 0.95
    spread_leave_share: float = 1.25
    depth_leave_share: float = 0.8
    quote_age_s_max: float = 60.0
    eligible_min: int = 2
    products_max: int = 30
