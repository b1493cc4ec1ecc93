"""reversal: a recovery from the 24-hour low that at least three of four signs confirm (domain.md sections 7 and 8)."""

from __future__ import annotations

from decimal import Decimal

from trading.denied import measured
from trading.strategies.interface import SIGNAL, MarketView, Rule, Signal, strategy


def confirmations(view: MarketView) -> tuple[str, ...]:
    """Which of the four signs on 5-minute bars stand: above VWAP12, higher low, RSI14 crossing 50, bounce off the low."""
    five = view.move
    if five.count < 48:
        return ()
    close = five.close
    signs = []
    if 0.0 < five.vwap_12.value < close:
        signs.append("above_vwap")
    if five.higher_low:
        signs.append("higher_low")
    if five.rsi.ready and five.rsi.value > 50.0 >= five.rsi.previous:
        signs.append("rsi_cross_50")
    if close >= five.lowest_36 * (1.0 + view.triggers.reversal_bounce_pct / 100.0):
        signs.append("bounce")
    return tuple(signs)


@strategy(
    "reversal",
    on=SIGNAL,
    rule=Rule(stop_pct=Decimal(12), target_pct=Decimal(25), hold_hours=48, size_factor=0.8, confidence_factor=0.8),
)
def reversal(view: MarketView) -> Signal | None:
    """Close within 1.10 x of the 24-hour low after recovering more than 5 % from it; never in a crash."""
    hour = view.signal
    triggers = view.triggers
    low = hour.low_24
    if low <= 0.0 or view.regime == "crash" or hour.close > triggers.reversal_low_share * low:
        return None
    recovery = hour.close / low - 1.0
    if recovery * 100.0 <= triggers.reversal_recovery_pct:
        return None
    signs = confirmations(view)
    if len(signs) < triggers.reversal_confirmations_min:
        return None
    rising = hour.ema_slope_pct_per_bar >= triggers.trend_slope_pct_per_h
    return Signal(
        strength=min(recovery / 0.20, 1.0),
        confidence=min(1.0, 0.6 + (0.1 if rising else 0.0) + 0.05 * len(signs)),
        change_pct=recovery * 100.0,
        reason=f"{view.product_id} recovered {recovery:.1%} from its 24-hour low, confirmed by {', '.join(signs)}",
        values=measured(
            recovery_pct=round(recovery * 100.0, 3),
            low_24h=low,
            confirmations=" ".join(signs),
            ema21_slope_pct_per_h=round(hour.ema_slope_pct_per_bar, 4),
        ),
    )
