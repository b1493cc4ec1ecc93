"""Parameters of the symbol machines (section `symbol` of the configuration); all symbols share them."""

from __future__ import annotations

from decimal import Decimal

from attrs import field, frozen

from trading.bars import FINE_S, MOVE_S, SIGNAL_S
from trading.data_guards import DataGuardSettings
from trading.strategies.interface import TriggerSettings
from trading.strategies.registry import StrategySettings, default_strategies

MAKER, MARKETABLE = "maker", "marketable"


@frozen(kw_only=True)
class EntrySettings:
    """How an entry works its way in (domain.md section 12).

    style: "maker" joins the best bid, post-only; "marketable" crosses the spread by at most `marketable_tolerance_bps`.
    ttl_s: venue seconds until OMS cancels it; `requotes_max` further tries follow, each `price_decay` times as far below
    the newest ask as the one before, never more than `chase_bps_max` above the first limit; with `ioc_fallback` the last try
    is marketable when half the spread plus the taker fee is within the tier's `slippage_bps_max` (and 2 bps). fee_rate:
    taker, until the account's tier is known; the larger of both is used. valid_s: how long a proposal may wait for its verdict (at most 2).
    After a move of more than `wild_move_60m_pct` within the hour, sizes shrink by `wild_size_factor` (section 10).
    retry_after_denial_s: real seconds before the same strategy proposes again after a denial.
    """

    style: str = MAKER
    marketable_tolerance_bps: float = 20.0
    ttl_s: float = 20.0
    requotes_max: int = 1
    price_decay: Decimal = Decimal("0.7")
    ioc_fallback: bool = True
    fee_rate: Decimal = Decimal("0.006")
    chase_bps_max: float = 50.0
    valid_s: float = 2.0
    retry_after_denial_s: float = 15.0
    notional_usd_max: Decimal = Decimal(10_000)
    wild_move_60m_pct: float = 8.0
    wild_size_factor: float = 0.5


@frozen(kw_only=True)
class ConvictionSettings:
    """Conviction = clamp01(base + strength x + confidence x + boosts), times the rule's confidence factor (section 8).

    regime_confidence: regime -> what it adds to a signal's confidence (section 3.4).
    """

    base: float = 0.0
    strength: float = 0.5
    confidence: float = 0.3
    boost_above_vwap: float = 0.04
    boost_higher_low: float = 0.04
    boost_rsi_cross_50: float = 0.03
    boost_bounce: float = 0.04
    boost_t1: float = 0.02
    propose_min: float = 0.30
    regime_confidence: dict[str, float] = field(factory=lambda: {"bull": 0.05, "chop": -0.10})


def _regime_denies() -> dict[str, tuple[str, ...]]:
    return {
        "bull": ("mean_reversion",),
        "chop": ("momentum",),
        "bear": ("momentum", "mean_reversion", "breakout"),
    }


@frozen(kw_only=True)
class SymbolSettings:
    """regime_denies: regime -> strategies that rest in it (crash denies all, whatever stands here).

    bar_s: lengths of fine, move and signal bars (only a backtest over longer candles changes them). pyramiding: propose
    for a held product too (risk limits how often). advise_structure_stop: advise exits to raise a winner's stop to the
    lowest low of 36 five-minute bars.
    """

    guards: DataGuardSettings = field(factory=DataGuardSettings)
    triggers: TriggerSettings = field(factory=TriggerSettings)
    entry: EntrySettings = field(factory=EntrySettings)
    conviction: ConvictionSettings = field(factory=ConvictionSettings)
    strategies: dict[str, StrategySettings] = field(factory=default_strategies)
    regime_denies: dict[str, tuple[str, ...]] = field(factory=_regime_denies)
    bar_s: tuple[int, int, int] = (FINE_S, MOVE_S, SIGNAL_S)
    pyramiding: bool = False
    advise_structure_stop: bool = False
    advise_after_profit_pct: float = 2.0
