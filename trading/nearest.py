"""How far the market is from a candidate: what was measured beside what it would take. For people, never on the hot path."""

from __future__ import annotations

from trading.denied import measured
from trading.messages.decisions import Values
from trading.strategies.interface import MarketView


def nearest(view: MarketView, *, hourly: bool) -> Values:
    """The moves, thresholds and volumes of the moment. hourly: strategies that look at closed hours act too."""
    triggers, factor = view.triggers, view.threshold_factor
    values = measured(
        change_15m_pct=round(view.change_15m_pct, 3),
        threshold_15m_pct=triggers.move_15m_pct * factor,
        change_60m_pct=round(view.change_60m_pct, 3),
        threshold_60m_pct=triggers.move_60m_pct * factor,
        dip_pct=-triggers.dip_pct * factor,
        volume_ratio_15m=round(view.volume_ratio_15m, 2),
        volume_ratio_min=triggers.move_volume_ratio,
    )
    hour = view.signal
    if not hourly or not hour.ready:
        return values
    return values + measured(
        return_24h_pct=round(hour.return_24_pct, 3),
        volume_ratio_1h=round(hour.volume_ratio, 2),
        atr_ratio=round(hour.atr_ratio, 3),
        atr_ratio_min=triggers.atr_ratio_min.get(view.regime, 0.0),
    )
