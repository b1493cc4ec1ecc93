"""mean_reversion: far below the 24-hour mean in a quiet regime, T1 only; stop and target in ATRs (domain.md section 7)."""

from __future__ import annotations

from decimal import Decimal

from trading.denied import measured
from trading.strategies.interface import SIGNAL, MarketView, Rule, Signal, strategy


@strategy(
    "mean_reversion",
    on=SIGNAL,
    rule=Rule(stop_pct=Decimal(3), target_pct=Decimal(5), hold_hours=48),
    needs_atr=False,
    tiers=("T1",),
)
def mean_reversion(view: MarketView) -> Signal | None:
    """Z = (close - mean24) / stdev24 <= -1.2 in chop; stop 1.2 ATR, target 1.8 ATR below and above the entry."""
    hour = view.signal
    triggers = view.triggers
    z = hour.z_24
    if z > triggers.mean_reversion_z or view.regime != "chop" or not hour.atr.ready:
        return None
    atr_pct = hour.atr.value / hour.close * 100.0
    if atr_pct <= 0.0:
        return None
    rule = Rule(
        stop_pct=Decimal(f"{triggers.mean_reversion_stop_atr * atr_pct:.4f}"),
        target_pct=Decimal(f"{triggers.mean_reversion_target_atr * atr_pct:.4f}"),
        hold_hours=48,
    )
    return Signal(
        strength=min(-z / 3.0, 1.0),
        confidence=0.6,
        change_pct=hour.change_pct,
        reason=f"{view.product_id} stands {-z:.2f} standard deviations below its 24-hour mean",
        values=measured(z_24h=round(z, 3), threshold_z=triggers.mean_reversion_z, atr_pct=round(atr_pct, 3)),
        rule=rule,
    )
