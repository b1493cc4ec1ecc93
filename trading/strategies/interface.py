"""What a strategy is: a pure function from what a symbol sees to a `Signal`, or None. One file makes a strategy.

    from decimal import Decimal
    from trading.strategies.interface import MarketView, Rule, Signal, strategy

    @strategy("gap_up", on="signal", rule=Rule(stop_pct=Decimal(5), target_pct=Decimal(10), hold_hours=24))
    def gap_up(view: MarketView) -> Signal | None:
        '''An hour that opens a percent above the close before it.'''
        gap_pct = (view.signal.open / view.signal.previous_close - 1) * 100 if view.signal.previous_close else 0.0
        if gap_pct < 1.0:
            return None
        return Signal(strength=min(gap_pct / 5, 1.0), confidence=0.6, change_pct=gap_pct, reason=f"the hour opened {gap_pct:.2f} % higher")

The file goes to `trading/strategies/`, or to a folder named by `--strategies DIR`. A strategy is off until the
configuration enables it and gives it a budget. It sees closed bars and the newest quote, nothing else: no exchange, no
clock, no state of its own, so that the backtest and the live bot run the same line. It is called often: return None as
early as possible. It never decides a size or sends anything; risk judges what becomes of a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from math import inf

from attrs import converters, field, frozen

from trading.bars import FineSeries, MoveSeries, SignalSeries
from trading.messages.decisions import Values

QUOTE, MOVE, SIGNAL = "quote", "move", "signal"
CADENCES = (QUOTE, MOVE, SIGNAL)


def percent(value: Decimal | float | str) -> Decimal:
    """A percentage as money counts it, also where a float or a text was written."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


@frozen(kw_only=True)
class Rule:
    """How a signal is traded (domain.md section 8): percentages of the entry price, hours, and two factors."""

    stop_pct: Decimal = field(converter=percent)
    target_pct: Decimal = field(converter=percent)
    hold_hours: float = field(converter=float)
    size_factor: float = field(default=1.0, converter=float)
    confidence_factor: float = field(default=1.0, converter=float)
    trailing_pct: Decimal | None = field(default=None, converter=converters.optional(percent))


def rule_problem(rule: Rule) -> str:
    """Why no position can be sized or left by this rule, "" when one can."""
    stop, target, trailing = rule.stop_pct, rule.target_pct, rule.trailing_pct
    if not (stop.is_finite() and target.is_finite() and 0 < stop < 100 and stop < target):
        return f"stop {stop} %, target {target} %: the stop must be above 0, below 100 and below the target"
    if trailing is not None and not (trailing.is_finite() and 0 < trailing < 100):
        return f"trailing stop {trailing} %: must be above 0 and below 100"
    if not 0 < rule.hold_hours < inf:
        return f"hold {rule.hold_hours:g} h: must be above 0"
    for name, factor in (("size factor", rule.size_factor), ("confidence factor", rule.confidence_factor)):
        if not 0 <= factor < inf:
            return f"{name} {factor:g}: must be at least 0"
    return ""


@frozen(kw_only=True)
class Signal:
    """What a strategy saw. strength, confidence: 0 to 1. change_pct: signed move that it rests on, percent.

    reason: a clause for people. rule: another than the strategy's own (a dip is traded otherwise than a rise).
    """

    strength: float
    confidence: float
    change_pct: float
    reason: str
    values: Values = ()
    rule: Rule | None = None
    trigger: str = ""

    @property
    def score(self) -> float:
        return self.strength * self.confidence


def signal_problem(signal: Signal, rule: Rule) -> str:
    """Why nothing can be proposed of this signal and the rule that it is traded by, "" when something can."""
    for name, value in (("strength", signal.strength), ("confidence", signal.confidence)):
        if not 0.0 <= value <= 1.0:
            return f"{name} {value:g}: must be between 0 and 1"
    return rule_problem(rule)


@frozen(kw_only=True)
class TriggerSettings:
    """Thresholds of the built-in strategies, percent numbers and ratios, before the regime's factor.

    threshold_factor, momentum_factor, breakout_factor: regime -> factor on thresholds: of moves and volumes; of the 24-hour
    return; of a breakout's volume (domain.md section 7; of the seed's three contradicting tables the one of factors is
    kept, ADR 11). atr_ratio_min: regime -> what ATR14 must be of its own median, else hourly triggers rest (not named: they never do).
    fallback_after_bars: hours without any trigger after which thresholds shrink by `fallback_relax` (0: never).
    """

    move_15m_pct: float = 1.5
    move_60m_pct: float = 3.0
    dip_pct: float = 2.5
    move_volume_ratio: float = 1.5
    volume_spike_ratio: float = 1.9
    volume_spike_change_pct: float = 2.0
    breakout_share: float = 0.995
    breakout_volume_ratio: float = 1.0
    momentum_return_pct: float = 2.0
    momentum_dip_pct: float = 3.0
    reversal_recovery_pct: float = 5.0
    reversal_low_share: float = 1.10
    reversal_bounce_pct: float = 0.6
    reversal_confirmations_min: int = 3
    trend_slope_pct_per_h: float = 0.05
    mean_reversion_z: float = -1.2
    mean_reversion_stop_atr: float = 1.2
    mean_reversion_target_atr: float = 1.8
    atr_ratio_min: dict[str, float] = field(factory=lambda: {"bull": 1.2, "chop": 1.05, "bear": 1.2, "crash": 1.2})
    score_min: float = 0.2
    threshold_factor: dict[str, float] = field(factory=lambda: {"bull": 0.8, "chop": 1.0, "bear": 1.2, "crash": 1.5})
    momentum_factor: dict[str, float] = field(factory=lambda: {"bull": 0.75, "chop": 1.0, "bear": 1.25, "crash": 1.5})
    breakout_factor: dict[str, float] = field(factory=lambda: {"bull": 0.9, "chop": 1.0, "bear": 1.1, "crash": 1.3})
    fallback_after_bars: int = 0
    fallback_relax: float = 0.3


class MarketView:
    """What one symbol knows of its market; one object per symbol, updated in place, read by strategies.

    price: newest believed price (a quote's mid, or the close of the bar that is judged). forming_volume: base volume
    since the newest closed bar as far as the feed tells. bid, ask: 0.0 until a quote was seen. threshold_factor: what the
    regime (and the fallback) does to thresholds of moves and volumes.
    """

    __slots__ = (
        "_relaxed",
        "ask",
        "bid",
        "fine",
        "forming_volume_ratio",
        "move",
        "price",
        "product_id",
        "regime",
        "signal",
        "threshold_factor",
        "tier",
        "triggers",
    )

    def __init__(self, product_id: str, triggers: TriggerSettings, bar_s: tuple[int, int, int]) -> None:
        self.product_id = product_id
        self.triggers = triggers
        self.fine = FineSeries(bar_s[0])
        self.move = MoveSeries(bar_s[1])
        self.signal = SignalSeries(bar_s[2])
        self.tier = "T3"
        self.regime = "chop"
        self.price = self.bid = self.ask = 0.0
        self.forming_volume_ratio = 0.0
        self._relaxed = 1.0
        self.threshold_factor = 1.0
        self.set_regime("chop", relaxed=False)

    def set_regime(self, regime: str, *, relaxed: bool) -> None:
        self.regime = regime
        self._relaxed = 1.0 - self.triggers.fallback_relax if relaxed else 1.0
        self.threshold_factor = self.triggers.threshold_factor.get(regime, 1.0) * self._relaxed

    def factor(self, by_regime: Mapping[str, float]) -> float:
        """As `threshold_factor`, for a threshold with a table of its own."""
        return by_regime.get(self.regime, 1.0) * self._relaxed

    @property
    def newest(self) -> FineSeries | MoveSeries:
        """The finest series that is as new as any: what quotes are measured against."""
        fine = self.fine
        return fine if fine.end_s >= self.move.end_s and fine.price_15m_ago else self.move

    @property
    def change_15m_pct(self) -> float:
        """Signed move over true 15 minutes up to `price`; 0.0 until known."""
        before = self.newest.price_15m_ago
        return (self.price / before - 1.0) * 100.0 if before else 0.0

    @property
    def change_60m_pct(self) -> float:
        before = self.newest.price_60m_ago or self.move.price_60m_ago
        return (self.price / before - 1.0) * 100.0 if before else 0.0

    @property
    def volume_ratio_15m(self) -> float:
        """Volume of the last 15 minutes (closed bars, or what is forming, whichever says more) over its 24-hour mean."""
        expected = self.move.expected_volume_15m
        if expected <= 0.0:
            return 0.0
        return max(self.newest.volume_15m / expected, self.forming_volume_ratio)


Evaluate = Callable[[MarketView], Signal | None]


@frozen(kw_only=True)
class Strategy:
    """A named strategy. on: the cadence it is asked at. needs_atr: skipped while the ATR filter says quiet."""

    name: str
    on: tuple[str, ...]
    rule: Rule
    evaluate: Evaluate
    needs_atr: bool = True
    tiers: tuple[str, ...] = ("T1", "T2", "T3")
    about: str = ""


def strategy(
    name: str,
    *,
    on: str | tuple[str, ...],
    rule: Rule,
    needs_atr: bool = True,
    tiers: tuple[str, ...] = ("T1", "T2", "T3"),
) -> Callable[[Evaluate], Strategy]:
    """Make a `Strategy` of a function. Raises ValueError with a sentence when a name, a cadence or a rule cannot be."""
    cadences = (on,) if isinstance(on, str) else on
    for cadence in cadences:
        if cadence not in CADENCES:
            raise ValueError(
                f"strategy {name!r} wants to be asked on {cadence!r}; it can be one of {', '.join(CADENCES)}"
            )
    if not name.isidentifier():
        raise ValueError(f"strategy name {name!r} is no identifier; use letters, digits and underscores")
    problem = rule_problem(rule)
    if problem:
        raise ValueError(f"strategy {name!r}: {problem}")

    def make(evaluate: Evaluate) -> Strategy:
        about = (evaluate.__doc__ or "").strip().split("\n")[0]
        return Strategy(
            name=name, on=cadences, rule=rule, evaluate=evaluate, needs_atr=needs_atr, tiers=tiers, about=about
        )

    return make
