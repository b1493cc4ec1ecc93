"""What a configuration contradicts itself in (domain.md section 17): all findings at once, each with its numbers.

Every rule is a generator over the composed settings; it yields `Finding(key, text)` with the dotted path of the value at
fault, so that the loader can add file and line. An error stops a start; a warning is shown. A predecessor turned such a
rule into a warning to get a start through; here the level stands beside the rule, and a test holds it. Dead zones (`dead_zones.py`) are found when NAV is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

from attrs import frozen

from trading.caps import OTHER
from trading.costs import CostSettings, cost_problems
from trading.exits_settings import ExitsSettings
from trading.health_monitor import HealthMonitorSettings, breaker_rules
from trading.oms_settings import OmsSettings
from trading.risk_settings import RiskSettings
from trading.strategies.interface import Strategy, rule_problem
from trading.strategies.registry import StrategySettings, ruled
from trading.symbol_settings import MAKER, MARKETABLE, SymbolSettings
from trading.universe_settings import RED_FLAGS, UniverseSettings
from trading.values import ZERO, canonical_symbol

ERROR, WARNING = "error", "warning"
REGIMES = ("bull", "chop", "bear", "crash")


@frozen(order=True)
class Finding:
    """key: dotted path of the configuration, section first. text: what is wrong, with the numbers and the way out."""

    key: str
    text: str
    level: str = ERROR


@frozen(kw_only=True)
class Composed:
    """The sections that the rules compare. strategies: every strategy that is known, plug-ins included."""

    symbol: SymbolSettings
    universe: UniverseSettings
    risk: RiskSettings
    exits: ExitsSettings
    oms: OmsSettings
    health_monitor: HealthMonitorSettings
    costs: CostSettings
    strategies: Sequence[Strategy] = ()


def findings(config: Composed) -> tuple[Finding, ...]:
    """Every finding of every rule, errors first, then by key."""
    found = [finding for rule in RULES for finding in rule(config)]
    return tuple(sorted(found, key=lambda one: (one.level != ERROR, one.key, one.text)))


def _caps(config: Composed) -> Iterator[Finding]:
    caps = config.risk.caps
    total = caps.total_pct
    if not ZERO < total <= 100:
        yield Finding("risk.caps.total_pct", f"{total} % is not above 0 and at most 100")
    if caps.per_asset_pct > total:
        yield Finding("risk.caps.per_asset_pct", f"{caps.per_asset_pct} % is above risk.caps.total_pct {total} %")
    for theme, pct in caps.theme_pct.items():
        key = f"risk.caps.theme_pct.{theme}"
        if pct > total:
            yield Finding(key, f"{pct} % is above risk.caps.total_pct {total} %")
        if pct < caps.per_asset_pct:
            yield Finding(
                key,
                f"{pct} % is below risk.caps.per_asset_pct {caps.per_asset_pct} %: one position could not reach its own cap",
            )
    if caps.positions_max < 1:
        yield Finding("risk.caps.positions_max", f"{caps.positions_max} leaves no position at all")
    if caps.positions_max * caps.per_asset_pct > total:
        yield Finding(
            "risk.caps.positions_max",
            f"{caps.positions_max} positions of {caps.per_asset_pct} % would be {caps.positions_max * caps.per_asset_pct} %, "
            f"the total is {total} %: the last ones will be cut",
            WARNING,
        )


def _tiers(config: Composed) -> Iterator[Finding]:
    caps = config.risk.caps
    seen: dict[str, str] = {}
    for name, tier in config.universe.tiers.items():
        key = f"universe.tiers.{name}"
        if tier.base_pct > tier.position_pct_max:
            yield Finding(
                f"{key}.base_pct", f"{tier.base_pct} % is above its position_pct_max {tier.position_pct_max} %"
            )
        if tier.position_pct_max > tier.alloc_pct:
            yield Finding(
                f"{key}.position_pct_max", f"{tier.position_pct_max} % is above its alloc_pct {tier.alloc_pct} %"
            )
        if tier.position_pct_max > caps.per_asset_pct:
            yield Finding(
                f"{key}.position_pct_max",
                f"{tier.position_pct_max} % is above risk.caps.per_asset_pct {caps.per_asset_pct} %, which wins",
            )
        if not 0 < tier.spread_bps_max <= 1000:
            yield Finding(f"{key}.spread_bps_max", f"{tier.spread_bps_max:g} bps is not above 0 and at most 1000")
        if not 0 <= tier.slippage_bps_max <= 500:
            yield Finding(f"{key}.slippage_bps_max", f"{tier.slippage_bps_max:g} bps is not between 0 and 500")
        if (
            config.symbol.entry.style == MARKETABLE
            and config.symbol.entry.marketable_tolerance_bps > tier.slippage_bps_max
        ):
            yield Finding(
                "symbol.entry.marketable_tolerance_bps",
                f"{config.symbol.entry.marketable_tolerance_bps:g} bps is above the slippage budget of tier {name}, "
                f"{tier.slippage_bps_max:g} bps: every entry would be denied",
            )
        for product in tier.products:
            yield from misnamed(f"{key}.products", product)
            if product in seen:
                yield Finding(f"{key}.products", f"{product} stands in tier {seen[product]} too")
            seen[product] = name
            if product in config.universe.never:
                yield Finding(f"{key}.products", f"{product} stands in universe.never too")
    universe = config.universe
    beyond = [product for product in seen if product not in universe.never][universe.products_max :]
    if beyond:
        yield Finding(
            "universe.products_max",
            f"{universe.products_max} products run, the tiers hold {len(seen)}: {', '.join(beyond)} would never be traded",
        )
    for name in ("review_s", "temporary_ban_hours", "quote_age_s_max", "ineligible_grace", "eligible_grace"):
        yield from _not_above_zero("universe", name, universe)
    if universe.regime.hold_bars < 1:
        yield Finding("universe.regime.hold_bars", f"{universe.regime.hold_bars} is not at least 1")
    if len(seen) < universe.eligible_min:
        yield Finding(
            "universe.eligible_min",
            f"{universe.eligible_min} products must be eligible, the tiers hold {len(seen)}: nothing would ever be traded",
        )


def misnamed(key: str, product: str) -> Iterator[Finding]:
    """A product that is written otherwise than here, or that no product is: a ban that is misspelt bans nothing."""
    try:
        canonical = canonical_symbol(product)
    except ValueError as error:
        yield Finding(key, str(error))
        return
    if canonical != product:
        yield Finding(key, f"{product} is written {canonical} here")


def _themes(config: Composed) -> Iterator[Finding]:
    caps = config.risk.caps.theme_pct
    seen: dict[str, str] = {}
    for theme, products in config.universe.themes.items():
        if theme not in caps:
            yield Finding(f"universe.themes.{theme}", f"theme {theme} has no cap in risk.caps.theme_pct")
        for product in products:
            yield from misnamed(f"universe.themes.{theme}", product)
            if product in seen:
                yield Finding(f"universe.themes.{theme}", f"{product} stands in theme {seen[product]} too")
            seen[product] = theme
    for theme in caps:
        if theme != OTHER and theme not in config.universe.themes:
            yield Finding(f"risk.caps.theme_pct.{theme}", f"theme {theme} has a cap and no products in universe.themes")
    if OTHER not in caps:
        yield Finding("risk.caps.theme_pct", f"{OTHER} has no cap: products without a theme could not be traded")
    for product, flag in config.universe.flags.items():
        yield from misnamed(f"universe.flags.{product}", product)
        if flag not in RED_FLAGS:
            yield Finding(f"universe.flags.{product}", f"{flag!r} is no red flag; one of {', '.join(RED_FLAGS)}")


def _regimes(config: Composed) -> Iterator[Finding]:
    multiplier = config.universe.regime.multiplier
    for regime in REGIMES:
        if regime not in multiplier:
            yield Finding("universe.regime.multiplier", f"regime {regime} has no multiplier")
        elif not 0 <= multiplier[regime] <= 2:
            yield Finding(f"universe.regime.multiplier.{regime}", f"{multiplier[regime]:g} is not between 0 and 2")
        if regime not in config.risk.caps.positions_by_regime:
            yield Finding("risk.caps.positions_by_regime", f"regime {regime} has no number of positions")
    triggers, conviction = config.symbol.triggers, config.symbol.conviction
    tables: dict[str, Iterable[str]] = {
        "universe.regime.multiplier": multiplier,
        "universe.regime.volume_floor_factor": config.universe.regime.volume_floor_factor,
        "risk.caps.positions_by_regime": config.risk.caps.positions_by_regime,
        "symbol.regime_denies": config.symbol.regime_denies,
        "symbol.conviction.regime_confidence": conviction.regime_confidence,
        "symbol.triggers.atr_ratio_min": triggers.atr_ratio_min,
        "symbol.triggers.threshold_factor": triggers.threshold_factor,
        "symbol.triggers.momentum_factor": triggers.momentum_factor,
        "symbol.triggers.breakout_factor": triggers.breakout_factor,
    }
    for key, table in tables.items():
        for regime in table:
            if regime not in REGIMES:
                yield Finding(f"{key}.{regime}", f"there is no regime {regime}; there are {', '.join(REGIMES)}")
    if multiplier.get("crash"):
        yield Finding(
            "universe.regime.multiplier.crash", f"{multiplier['crash']:g} would enter in a crash; it must be 0"
        )
    if config.risk.caps.positions_by_regime.get("crash"):
        yield Finding("risk.caps.positions_by_regime.crash", "a crash takes no entries; it must be 0")
    limits = config.universe.regime
    if not (limits.crash_fall_60m_pct < 0 <= limits.crash_hold_s):
        yield Finding(
            "universe.regime.crash_fall_60m_pct",
            f"{limits.crash_fall_60m_pct:g} % with a hold of {limits.crash_hold_s:g} s is no fall that is remembered",
        )
    if not limits.crash_return_pct < limits.bear_return_pct < 0 < limits.bull_return_pct:
        yield Finding(
            "universe.regime",
            f"crash {limits.crash_return_pct:g} % < bear {limits.bear_return_pct:g} % < 0 < bull {limits.bull_return_pct:g} % does not hold",
        )


def _stops(config: Composed) -> Iterator[Finding]:
    stops = config.risk.stops
    for name in ("daily_stop_pct", "weekly_stop_pct", "rolling_7d_stop_pct"):
        value = getattr(stops, name)
        if value >= 0:
            yield Finding(f"risk.stops.{name}", f"{value} % is not negative: losses are written as negative numbers")
    for name in ("weekly_stop_pct", "rolling_7d_stop_pct"):
        if stops.daily_stop_pct <= getattr(stops, name):
            yield Finding(
                "risk.stops.daily_stop_pct",
                f"{stops.daily_stop_pct} % is not tighter than {name} {getattr(stops, name)} %",
            )
    if not 0 < stops.drawdown_pct_max < 100:
        yield Finding("risk.stops.drawdown_pct_max", f"{stops.drawdown_pct_max} % is not between 0 and 100")
    if stops.loss_streak_max < 1 or stops.loss_pause_s <= 0:
        yield Finding(
            "risk.stops.loss_streak_max", f"{stops.loss_streak_max} losses and {stops.loss_pause_s:g} s pause nothing"
        )


def _pacing(config: Composed) -> Iterator[Finding]:
    pacing, cooldowns = config.risk.pacing, config.oms.cooldowns
    if not 0 < pacing.new_trades_per_hour_max <= pacing.trades_per_hour_max:
        yield Finding(
            "risk.pacing.new_trades_per_hour_max",
            f"{pacing.new_trades_per_hour_max} is not between 1 and trades_per_hour_max {pacing.trades_per_hour_max}",
        )
    if pacing.trades_per_hour_max > pacing.trades_per_day_max:
        yield Finding(
            "risk.pacing.trades_per_hour_max",
            f"{pacing.trades_per_hour_max} is above trades_per_day_max {pacing.trades_per_day_max}",
        )
    if pacing.trades_per_day_max > 24 * pacing.trades_per_hour_max:
        yield Finding(
            "risk.pacing.trades_per_day_max",
            f"{pacing.trades_per_day_max} can never be reached at {pacing.trades_per_hour_max} an hour",
            WARNING,
        )
    if pacing.symbol_spacing_s < pacing.spacing_s:
        yield Finding(
            "risk.pacing.symbol_spacing_s", f"{pacing.symbol_spacing_s:g} s is below spacing_s {pacing.spacing_s:g} s"
        )
    if cooldowns.fill_s < pacing.spacing_s:
        yield Finding(
            "oms.cooldowns.fill_s", f"{cooldowns.fill_s:g} s is below risk.pacing.spacing_s {pacing.spacing_s:g} s"
        )
    if not cooldowns.stop_s >= cooldowns.loss_s >= cooldowns.win_s >= 0:
        yield Finding(
            "oms.cooldowns",
            f"stop {cooldowns.stop_s:g} s >= loss {cooldowns.loss_s:g} s >= win {cooldowns.win_s:g} s does not hold",
        )
    if config.symbol.pyramiding != pacing.allow_pyramiding:
        yield Finding(
            "symbol.pyramiding",
            f"{config.symbol.pyramiding} and risk.pacing.allow_pyramiding {pacing.allow_pyramiding} disagree",
        )


def _not_above_zero(section: str, name: str, settings: object) -> Iterator[Finding]:
    value = getattr(settings, name)
    if not value > 0:
        yield Finding(f"{section}.{name}", f"{value:g} is not above 0")


def _sizes(config: Composed) -> Iterator[Finding]:
    sizing, entry = config.risk.sizing, config.symbol.entry
    for name in (
        "order_usd_min",
        "risk_per_trade_pct",
        "volatility_reference_pct",
        "volatility_floor_pct",
        "depth_multiple",
    ):
        yield from _not_above_zero("risk.sizing", name, sizing)
    if sizing.order_usd_min > min(sizing.order_usd_max, entry.notional_usd_max):
        yield Finding(
            "risk.sizing.order_usd_min",
            f"{sizing.order_usd_min} USD is above the largest order, {min(sizing.order_usd_max, entry.notional_usd_max)} USD",
        )
    for key, dust in (("exits.dust_usd", config.exits.dust_usd), ("oms.dust_usd", config.oms.dust_usd)):
        if dust > sizing.order_usd_min:
            yield Finding(
                key, f"{dust} USD is above risk.sizing.order_usd_min {sizing.order_usd_min} USD: an entry would be dust"
            )
    if config.oms.fee_rate != config.risk.fee_rate_fallback:
        yield Finding(
            "oms.fee_rate", f"{config.oms.fee_rate} and risk.fee_rate_fallback {config.risk.fee_rate_fallback} disagree"
        )
    if config.symbol.entry.fee_rate != config.risk.fee_rate_fallback:
        yield Finding(
            "symbol.entry.fee_rate",
            f"{config.symbol.entry.fee_rate} and risk.fee_rate_fallback {config.risk.fee_rate_fallback} disagree",
        )
    if not ZERO <= config.risk.fee_rate_fallback < Decimal("0.05"):
        yield Finding(
            "risk.fee_rate_fallback", f"{config.risk.fee_rate_fallback} is no fraction below 0.05 (0.006 = 0.6 %)"
        )


def _entries(config: Composed) -> Iterator[Finding]:
    entry, conviction = config.symbol.entry, config.symbol.conviction
    if not ZERO < entry.price_decay <= 1:
        yield Finding("symbol.entry.price_decay", f"{entry.price_decay} is no share above 0 and at most 1")
    if entry.style not in (MAKER, MARKETABLE):
        yield Finding("symbol.entry.style", f"{entry.style!r} is not one of {MAKER}, {MARKETABLE}")
    if not 0 < entry.valid_s <= 2:
        yield Finding("symbol.entry.valid_s", f"{entry.valid_s:g} s is not above 0 and at most 2")
    if entry.ttl_s <= 0 or entry.requotes_max < 0:
        yield Finding("symbol.entry.ttl_s", f"ttl {entry.ttl_s:g} s with {entry.requotes_max} re-quotes is no plan")
    if entry.marketable_tolerance_bps < 0 or entry.chase_bps_max < 0:
        yield Finding("symbol.entry.chase_bps_max", "tolerances are not negative")
    best = min(1.0, conviction.base + conviction.strength + conviction.confidence)
    if conviction.propose_min > best:
        yield Finding(
            "symbol.conviction.propose_min",
            f"{conviction.propose_min:g} can never be reached: the best conviction without boosts is {best:g}",
        )
    fine, move, signal = config.symbol.bar_s
    if not (0 < fine <= move <= signal and move % fine == 0 and signal % move == 0):
        yield Finding("symbol.bar_s", f"{fine}, {move}, {signal} s do not divide one another in rising order")


def _strategies(config: Composed) -> Iterator[Finding]:
    known = {one.name: one for one in config.strategies}
    total = config.risk.caps.total_pct
    for name, settings in config.symbol.strategies.items():
        key = f"symbol.strategies.{name}"
        if known and name not in known:
            yield Finding(key, f"there is no strategy {name}; there are {', '.join(sorted(known))}")
        if settings.enabled and settings.budget_pct <= 0:
            yield Finding(f"{key}.budget_pct", f"{settings.budget_pct} % leaves an enabled strategy nothing")
        if settings.budget_pct > total:
            yield Finding(
                f"{key}.budget_pct", f"{settings.budget_pct} % is above risk.caps.total_pct {total} %", WARNING
            )
    if not any(one.enabled for one in config.symbol.strategies.values()):
        yield Finding("symbol.strategies", "no strategy is enabled: nothing will be proposed", WARNING)
    for one in config.strategies:
        rule = ruled(one, config.symbol.strategies.get(one.name, StrategySettings()))
        problem = rule_problem(rule)
        if problem:
            yield Finding(f"symbol.strategies.{one.name}", problem)
        elif rule.trailing_pct is not None and rule.trailing_pct > rule.stop_pct:
            yield Finding(
                f"symbol.strategies.{one.name}",
                f"its trailing stop {rule.trailing_pct} % is above its stop {rule.stop_pct} %",
            )
    for regime, names in config.symbol.regime_denies.items():
        for name in names:
            if known and name not in known:
                yield Finding(f"symbol.regime_denies.{regime}", f"there is no strategy {name}")


def _data(config: Composed) -> Iterator[Finding]:
    guards, risk = config.symbol.guards, config.risk
    if guards.outlier_confirmations < 2:
        yield Finding(
            "symbol.guards.outlier_confirmations",
            f"{guards.outlier_confirmations}: one tick would confirm itself; 2 at least",
        )
    if guards.quote_outlier_pct <= 0 or guards.bar_outlier_pct <= 0:
        yield Finding("symbol.guards.quote_outlier_pct", "a jump is a percentage above 0")
    if not 0 < guards.quote_age_decision_s <= risk.quote_age_s_max:
        yield Finding(
            "symbol.guards.quote_age_decision_s",
            f"{guards.quote_age_decision_s:g} s is not above 0 and at most risk.quote_age_s_max {risk.quote_age_s_max:g} s",
        )
    if not 0 < risk.lease_s <= 2:
        yield Finding("risk.lease_s", f"{risk.lease_s:g} s is not above 0 and at most 2: silence must mean no")
    universe = config.universe
    for name, ok in (
        ("volume_leave_share", 0 < universe.volume_leave_share <= 1),
        ("depth_leave_share", 0 < universe.depth_leave_share <= 1),
        ("spread_leave_share", universe.spread_leave_share >= 1),
    ):
        if not ok:
            yield Finding(
                f"universe.{name}", f"{getattr(universe, name):g} makes leaving easier than entering: no hysteresis"
            )


def _exits(config: Composed) -> Iterator[Finding]:
    exits = config.exits
    for name in ("outlier_pct", "feed_alive_s_max", "rest_age_s_max"):
        yield from _not_above_zero("exits", name, exits)
    if not 0 < exits.tolerance_bps <= exits.tolerance_bps_max <= 1000:
        yield Finding(
            "exits.tolerance_bps",
            f"0 < {exits.tolerance_bps} <= tolerance_bps_max {exits.tolerance_bps_max} <= 1000 bps does not hold",
        )
    if not 0 < exits.valid_s <= 2:
        yield Finding("exits.valid_s", f"{exits.valid_s:g} s is not above 0 and at most 2")
    if not exits.wait_s or list(exits.wait_s) != sorted(exits.wait_s) or exits.wait_s[-1] > 10:
        yield Finding("exits.wait_s", f"{exits.wait_s} does not rise to at most 10 s")
    if not 0 < exits.crash_stop_factor <= 1:
        yield Finding(
            "exits.crash_stop_factor", f"{exits.crash_stop_factor} is not above 0 and at most 1: a crash only tightens"
        )
    if exits.outlier_confirmations < 2:
        yield Finding(
            "exits.outlier_confirmations", f"{exits.outlier_confirmations}: one bad tick would stop a position out"
        )
    if not 0 <= exits.upkeep.trim_buffer_pct < 100:
        yield Finding("exits.upkeep.trim_buffer_pct", f"{exits.upkeep.trim_buffer_pct} % is not between 0 and 100")


def _health(config: Composed) -> Iterator[Finding]:
    health = config.health_monitor
    for rule in breaker_rules(health):
        wrong = rule.closes_at > rule.opens_at if rule.above else rule.closes_at < rule.opens_at
        if wrong:
            yield Finding(
                "health_monitor",
                f"breaker {rule.code} opens at {rule.opens_at:g} and closes at {rule.closes_at:g}: no hysteresis",
            )
    codes = {rule.code for rule in breaker_rules(HealthMonitorSettings())}
    for name in ("off", "kill_on"):
        for code in getattr(health, name):
            if code not in codes:
                yield Finding(
                    f"health_monitor.{name}", f"there is no breaker {code}; there are {', '.join(sorted(codes))}"
                )
    if health.hold_s < 1:
        yield Finding("health_monitor.hold_s", f"{health.hold_s:g} s lets breakers flap; 1 at least")


def _costs(config: Composed) -> Iterator[Finding]:
    maker, taker = config.costs.maker_rate, config.costs.taker_rate
    if maker > taker:
        yield Finding("costs.maker_rate", f"{maker} is above costs.taker_rate {taker}")
    for key, text in cost_problems(config.costs):
        yield Finding(f"costs.{key}", text)


RULES: tuple[Callable[[Composed], Iterable[Finding]], ...] = (
    _caps,
    _tiers,
    _themes,
    _regimes,
    _stops,
    _pacing,
    _sizes,
    _entries,
    _strategies,
    _data,
    _exits,
    _health,
    _costs,
)
