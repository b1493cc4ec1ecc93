"""Which strategies there are, and which of them may act: off by default, each with a budget of its own.

`collect` takes modules (the built-in ones here, others from a folder that the command line loaded) and finds every
`Strategy` in them. Names are unique: two files of one name is a mistake that is told, never a silent replacement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import ModuleType

from attrs import frozen

from trading.strategies import breakout, mean_reversion, momentum, price_move, reversal, volume_spike
from trading.strategies.interface import Strategy

BUILT_IN: tuple[ModuleType, ...] = (price_move, volume_spike, breakout, momentum, reversal, mean_reversion)


@frozen(kw_only=True)
class StrategySettings:
    """budget_pct: the most that positions and open entries of this strategy may be worth, percent of NAV."""

    enabled: bool = False
    budget_pct: Decimal = Decimal(5)


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
    """Those that the configuration names and enables; a strategy that it does not name is off."""
    return tuple(one for one in strategies if one.name in settings and settings[one.name].enabled)


def default_strategies() -> dict[str, StrategySettings]:
    """price_move acts out of the box; the others are there and off, as every new strategy is."""
    others = ("volume_spike", "breakout", "momentum", "reversal", "mean_reversion")
    return {"price_move": StrategySettings(enabled=True, budget_pct=Decimal(15))} | {
        name: StrategySettings() for name in others
    }
