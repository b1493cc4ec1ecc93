"""The regime from BTC (domain.md section 9): one pure function, and a machine part that keeps it from flickering."""

from __future__ import annotations

from attrs import define, frozen

from trading.bars import MoveSeries, SignalSeries
from trading.denied import measured
from trading.messages.decisions import Values
from trading.universe_settings import RegimeSettings

CHOP = "chop"


@frozen
class Regime:
    name: str
    confidence: float
    values: Values = ()


TOO_LITTLE = Regime(CHOP, 0.5, (("reason", "too little data"),))


def classify(return_7d_pct: float, volatility_pct: float, settings: RegimeSettings) -> Regime:
    """t: 7-day return %, v: annualised volatility %; the tests in the order of domain.md section 9."""
    t, v = return_7d_pct, volatility_pct
    values = measured(return_7d_pct=round(t, 3), volatility_pct=round(v, 2))
    if t < settings.crash_return_pct or v > settings.crash_volatility_pct:
        return Regime("crash", 0.9 if t < -15.0 and v > 120.0 else 0.7, values)
    if t >= settings.bull_return_pct and v < settings.bull_volatility_pct:
        return Regime("bull", min(0.9, 0.5 + (t - settings.bull_return_pct) / 50.0), values)
    if t <= settings.bear_return_pct:
        return Regime("bear", min(0.8, 0.5 + abs(t - settings.bear_return_pct) / 20.0), values)
    return Regime(CHOP, 0.8 if abs(t) < 5.0 else 0.6, values)


@define
class RegimeWatch:
    """The regime that stands. It becomes worse at once; it becomes better after `hold_bars` hourly bars that agree.

    Without 168 hours of history the table says chop (domain.md section 9), and that is a finding like any other: what was
    found before, a fall or a regime of before a hole in the data, does not outlive its hold.
    """

    settings: RegimeSettings
    now: Regime = TOO_LITTLE
    _wish: str = ""
    _agreed: int = 0
    _warm: bool = False
    _crash_until_s: float = 0.0

    def fall(self, move: MoveSeries) -> bool:
        """One closed five-minute bar; True when a sudden fall made the regime crash."""
        before = move.price_60m_ago
        if not before:
            return False
        fall_pct = (move.low / before - 1.0) * 100.0
        limit_pct = self.settings.crash_fall_60m_pct
        if fall_pct > limit_pct:
            return False
        self._crash_until_s = move.end_s + self.settings.crash_hold_s
        self._agreed = 0
        self._warm = True
        was = self.now.name
        self.now = Regime("crash", 0.9, measured(fall_60m_pct=round(fall_pct, 3), limit_pct=limit_pct))
        return was != "crash"

    def update(self, hours: SignalSeries) -> bool:
        """One closed hour; True when the regime's name changed."""
        if hours.end_s < self._crash_until_s:
            return False
        warm = hours.warm_168
        found = classify(hours.return_168_pct, hours.volatility_pct, self.settings) if warm else TOO_LITTLE
        before = self.now.name
        if found.name != before and self._warm and self._rank(found.name) >= self._rank(before):
            self._agreed = self._agreed + 1 if found.name == self._wish else 1
            self._wish = found.name
            if self._agreed < self.settings.hold_bars:
                return False
        self._warm = warm
        self._agreed = 0
        self.now = found
        return found.name != before

    def _rank(self, name: str) -> float:
        return self.settings.multiplier.get(name, 1.0)
