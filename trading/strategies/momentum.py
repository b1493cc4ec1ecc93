"""momentum: the 24-hour return and how steadily it came about (domain.md sections 7 and 8)."""

from __future__ import annotations

from decimal import Decimal

from trading.denied import measured
from trading.strategies.interface import SIGNAL, MarketView, Rule, Signal, strategy

DIP = Rule(stop_pct=Decimal(10), target_pct=Decimal(18), hold_hours=48, size_factor=0.85, confidence_factor=0.9)


@strategy("momentum", on=SIGNAL, rule=Rule(stop_pct=Decimal(8), target_pct=Decimal(15), hold_hours=72))
def momentum(view: MarketView) -> Signal | None:
    """|R24| >= 2 %: strength min(|R| / 10 %, 1), confidence = share of the last 12 hourly returns with R's sign."""
    hour = view.signal
    change = hour.return_24_pct
    triggers = view.triggers
    threshold = triggers.momentum_return_pct * view.factor(triggers.momentum_factor)
    if -threshold < change < threshold:
        return None
    if change > 0.0:
        if view.regime in ("bear", "crash"):
            return None
        rule = None
    else:
        if change > -triggers.momentum_dip_pct:
            return None
        rule = DIP
    confidence = hour.consistency(change)
    return Signal(
        strength=min(abs(change) / 10.0, 1.0),
        confidence=confidence,
        change_pct=change,
        reason=f"{view.product_id} moved {change:+.2f} % in 24 hours, {confidence:.0%} of the last 12 hours that way",
        values=measured(return_24h_pct=round(change, 3), threshold_pct=threshold, consistency=round(confidence, 3)),
        rule=rule,
    )
