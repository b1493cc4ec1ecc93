"""Which strategies there are, and which of them may act: off by default, each with a budget of its own.

`collect` takes modules (the built-in ones here, others from a folder that the command line loaded) and finds every
`Strategy` in them. Names are unique: two files of one name is a mistake that is told, never a silent replacement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import ModuleType

from attrs import evolve, frozen

from trading.strategies import breakout, mean_reversion, momentum, price_move, reversal, volume_spike
from trading.strategies.interface import Rule, Strategy

BUILT_IN: tuple[ModuleType, ...] = (price_move, volume_spike, breakout, momentum, reversal, mean_reversion)


@frozen(kw_only=True)
class StrategySettings:
    """budget_pct: the most that positions and open entries of this strategy may be worth, percent of NAV.

    stop_pct .. trailing_pct: instead of the strategy's own rule (None keeps it); a signal that brings a rule of its own,
    as a dip does, keeps that.
    """

    enabled: bool = False
    budget_pct: Decimal = Decimal(5)
    stop_pct: Decimal | None = None
    target_pct: Decimal | None = None
    hold_hours: float | None = None
    trailing_pct: Decimal | None = None


def collect(modules: Iterable[ModuleType] = ()) -> tuple[Strategy, ...]:
    """All strategies of the built-in modules and of `modules`, in that order. Raises ValueError with a sentence."""
    found: dict[str, Strategy] = {}
    for module in (*BUILT_IN, *modules):
        here = [value for value in vars(module).values() if isinstance(value, Strategy)]
        if not here:
            raise ValueError(f"{module.__name__} holds no strategy; decorate a function with @strategy(...)")
        for one in here:
            if one.name in found and found[one.name] is not one:
                raise ValueError(f"two strategies are named {one.name!r}; rename the one in {module.__name__}")
            found[one.name] = one
    return tuple(found.values())


def enabled(strategies: Iterable[Strategy], settings: Mapping[str, StrategySettings]) -> tuple[Strategy, ...]:
    """Those that the configuration names and enables, ruled as it says; a strategy that it does not name is off."""
    return tuple(
        evolve(one, rule=ruled(one, settings[one.name]))
        for one in strategies
        if one.name in settings and settings[one.name].enabled
    )


def ruled(one: Strategy, settings: StrategySettings) -> Rule:
    """The strategy's rule with what the configuration says instead."""
    said = {
        name: getattr(settings, name)
        for name in ("stop_pct", "target_pct", "hold_hours", "trailing_pct")
        if getattr(settings, name) is not None
    }
    return evolve(one.rule, **said) if said else one.rule


def default_strategies() -> dict[str, StrategySettings]:
    """price_move acts out of the box; the others are there and off, as every new strategy is."""
    others = ("volume_spike", "breakout", "momentum", "reversal", "mean_reversion")
    return {"price_move": StrategySettings(enabled=True, budget_pct=Decimal(15))} | {
        name: StrategySettings() for name in others
    }
