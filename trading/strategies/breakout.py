"""breakout: a close at the highest high of the 24 hours before it (domain.md sections 7 and 8)."""

from __future__ import annotations

from decimal import Decimal

from trading.denied import measured
from trading.strategies.interface import SIGNAL, MarketView, Rule, Signal, strategy


@strategy(
    "breakout", on=SIGNAL, rule=Rule(stop_pct=Decimal(6), target_pct=Decimal(20), hold_hours=120, size_factor=1.2)
)
def breakout(view: MarketView) -> Signal | None:
    """Close >= 0.995 x highest high of the previous 24 hours, in a rising hour with at least usual volume."""
    hour = view.signal
    ceiling = hour.high_24_before
    triggers = view.triggers
    if ceiling <= 0.0 or hour.close < triggers.breakout_share * ceiling or hour.change_pct <= 0.0:
        return None
    threshold = triggers.breakout_volume_ratio * view.factor(triggers.breakout_factor)
    if hour.volume_ratio < threshold:
        return None
    return Signal(
        strength=0.7,
        confidence=0.8,
        change_pct=hour.change_pct,
        reason=f"{view.product_id} closed at {hour.close:.6g}, {hour.close / ceiling - 1:+.2%} of its 24-hour high",
        values=measured(
            close=hour.close,
            high_24h=ceiling,
            share_min=triggers.breakout_share,
            volume_ratio_1h=round(hour.volume_ratio, 2),
            threshold_ratio=threshold,
        ),
    )
