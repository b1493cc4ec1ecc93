"""price_move: a signed move over true 15 and 60 minutes, with the volume to believe it (domain.md sections 7, 8, 21).

The predecessor took the largest of four hourly returns for "15 minutes" and dropped the sign, so that its dip rule could
never fire. Here both moves are measured against the price exactly 15 and 60 minutes ago, on quotes as well as on bars.
"""

from __future__ import annotations

from decimal import Decimal

from trading.denied import measured
from trading.strategies.interface import MOVE, QUOTE, MarketView, Rule, Signal, strategy

RISE = Rule(stop_pct=Decimal(6), target_pct=Decimal(12), hold_hours=48)
DIP = Rule(stop_pct=Decimal(10), target_pct=Decimal(20), hold_hours=24, size_factor=0.7)


@strategy("price_move", on=(QUOTE, MOVE), rule=RISE, needs_atr=False)
def price_move(view: MarketView) -> Signal | None:
    """A rise beyond the thresholds is bought, a fall beyond `dip_pct` is bought as a dip, both only with volume."""
    triggers = view.triggers
    factor = view.threshold_factor
    # As `view.change_15m_pct` and `view.change_60m_pct`, read at once: this is asked at every quote.
    price, newest = view.price, view.newest
    before = newest.price_15m_ago
    if not before:
        return None  # not known yet, or not by bars of this length: a move over an hour is no proxy for it
    change_15m = (price / before - 1.0) * 100.0
    before = newest.price_60m_ago or view.move.price_60m_ago
    change_60m = (price / before - 1.0) * 100.0 if before else 0.0
    short, long = triggers.move_15m_pct * factor, triggers.move_60m_pct * factor
    if -short < change_15m < short and -long < change_60m < long:
        return None
    if change_15m >= short or change_60m >= long:
        both = change_15m >= short and change_60m >= long
        change = change_15m if change_15m >= short else change_60m
        if change_15m < -short:
            return None  # up over the hour, falling now: no rise to buy
        rule = None
        word = "rose"
    else:
        dip = triggers.dip_pct * factor
        both = change_15m <= -dip and change_60m <= -long
        change = min(change_15m, change_60m)
        if change > -dip:
            return None
        rule = DIP
        word = "fell"
    ratio = view.volume_ratio_15m
    if ratio < triggers.move_volume_ratio:
        return None
    if both:
        strength, confidence = 0.8, 0.85
    elif abs(change_15m) >= short:
        strength, confidence = 0.6, 0.7
    else:
        strength, confidence = 0.7, 0.75
    return Signal(
        strength=strength,
        confidence=confidence,
        change_pct=change,
        reason=f"{view.product_id} {word} {change_15m:+.2f} % in 15 and {change_60m:+.2f} % in 60 minutes on {ratio:.1f} times its usual volume",
        values=measured(
            change_15m_pct=round(change_15m, 3),
            change_60m_pct=round(change_60m, 3),
            threshold_15m_pct=short,
            threshold_60m_pct=long,
            volume_ratio_15m=round(ratio, 2),
            volume_ratio_min=triggers.move_volume_ratio,
        ),
        rule=rule,
    )
