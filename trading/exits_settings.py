"""Parameters of exits and upkeep (section `exits` of the configuration)."""

from __future__ import annotations

from decimal import Decimal

from attrs import field, frozen


@frozen(kw_only=True)
class UpkeepSettings:
    """Trim and purge (domain.md section 14), only on what the bot owns. Percent of NAV, USD, real seconds.

    trim: positions worth more than a cap by `trim_tolerance_pct` of NAV are sold down to cap x (1 - buffer), worst first.
    purge: a product that stays ineligible for `purge_after_s` is left. spacing_s: between two rounds, against thrashing.
    """

    trim: bool = True
    trim_tolerance_pct: Decimal = Decimal("0.25")
    trim_buffer_pct: Decimal = Decimal(10)
    trim_orders_max: int = 5
    purge: bool = True
    purge_after_s: float = 21_600.0
    purge_orders_max: int = 2
    value_usd_min: Decimal = Decimal(5)
    spacing_s: float = 300.0


@frozen(kw_only=True)
class ExitsSettings:
    """tolerance_bps: an IOC sells down to bid x (1 - tolerance); each failed try adds as much again, to `tolerance_bps_max`.

    told_after_tries, told_after_s: when a person hears that a position is not flat yet. repeat_s: how often an
    unanswered ExitOrder is repeated. retry_s: after an exit that ended without making it flat (its fill
    may still be on its way); booking_s: after one that was filled wholly. wait_s: after NotSent or Rejected. feed_alive_s_max, rest_age_s_max: what counts as
    a deciding price. query_s, no_price_critical_s: asking by REST when there is none. outlier_*: as in data guards, and a
    suspect price that stands for `outlier_stand_s` on a living feed is believed. crash_stop_factor: in regime crash the
    distance to the stop shrinks to this share, but not below `crash_stop_pct_min`.
    """

    tolerance_bps: Decimal = Decimal(100)
    tolerance_bps_max: Decimal = Decimal(500)
    told_after_tries: int = 3
    told_after_s: float = 30.0
    repeat_s: float = 0.5
    valid_s: float = 2.0
    retry_s: float = 0.2
    booking_s: float = 3.0
    wait_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 10.0)
    feed_alive_s_max: float = 10.0
    rest_age_s_max: float = 5.0
    query_s: float = 5.0
    no_price_critical_s: float = 60.0
    outlier_pct: float = 5.0
    outlier_deviations: float = 8.0
    outlier_confirmations: int = 3
    outlier_stand_s: float = 5.0
    tighten_spacing_s: float = 1.0
    crash_stop_factor: Decimal = Decimal("0.5")
    crash_stop_pct_min: Decimal = Decimal(2)
    unprotected_report_s: float = 300.0
    dust_usd: Decimal = Decimal(1)
    upkeep: UpkeepSettings = field(factory=UpkeepSettings)
