"""How much a signal is believed (domain.md sections 3.4 and 8): it scales the size, and below a minimum nothing is proposed."""

from __future__ import annotations

from trading.strategies.interface import MarketView, Signal
from trading.strategies.reversal import confirmations
from trading.symbol_settings import ConvictionSettings


def conviction_of(
    signal: Signal, confidence_factor: float, boosts: float, settings: ConvictionSettings, *, regime: str
) -> float:
    """clamp01(base + .5 strength + .3 confidence + boosts) x the rule's confidence factor (domain.md section 8).

    A signal is believed more in a bull market and less in chop (section 3.4).
    """
    confidence = max(0.0, min(1.0, signal.confidence + settings.regime_confidence.get(regime, 0.0)))
    raw = settings.base + settings.strength * signal.strength + settings.confidence * confidence + boosts
    return max(0.0, min(1.0, raw)) * confidence_factor


def boosts_of(view: MarketView, settings: ConvictionSettings) -> float:
    """What signs of a turn and the first tier add to the base."""
    signs = confirmations(view)
    table = {
        "above_vwap": settings.boost_above_vwap,
        "higher_low": settings.boost_higher_low,
        "rsi_cross_50": settings.boost_rsi_cross_50,
        "bounce": settings.boost_bounce,
    }
    return sum(table[sign] for sign in signs) + (settings.boost_t1 if view.tier == "T1" else 0.0)
