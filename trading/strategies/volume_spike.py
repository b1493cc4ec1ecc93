"""volume_spike: an hour with far more volume than the 24 before it, and a rise in it (domain.md sections 7 and 8)."""

from __future__ import annotations

from decimal import Decimal

from trading.denied import measured
from trading.strategies.interface import SIGNAL, MarketView, Rule, Signal, strategy


@strategy("volume_spike", on=SIGNAL, rule=Rule(stop_pct=Decimal(8), target_pct=Decimal(15), hold_hours=72))
def volume_spike(view: MarketView) -> Signal | None:
    """Volume r times the mean of the previous 24 hours; strength min((r - 1) / 3, 1), confidence min(r / 4, 1)."""
    hour = view.signal
    ratio = hour.volume_ratio
    triggers = view.triggers
    threshold = triggers.volume_spike_ratio * view.threshold_factor
    if ratio < threshold:
        return None
    change = hour.change_pct
    if change <= triggers.volume_spike_change_pct:
        return None
    return Signal(
        strength=min((ratio - 1.0) / 3.0, 1.0),
        confidence=min(ratio / 4.0, 1.0),
        change_pct=change,
        reason=f"{view.product_id} traded {ratio:.1f} times its usual hourly volume while it rose {change:+.2f} %",
        values=measured(
            volume_ratio_1h=round(ratio, 2),
            threshold_ratio=threshold,
            change_1h_pct=round(change, 3),
            change_min_pct=triggers.volume_spike_change_pct,
        ),
    )
