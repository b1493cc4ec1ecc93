"""What a configuration contradicts itself in, at the lines where it was said. The rules are `trading/sanity.py`'s."""

from __future__ import annotations

from collections.abc import Sequence

from config.loader import Loaded, Problem
from config.schema import Config
from trading.costs import cost_problems
from trading.publish import JITTER_PCT_MAX
from trading.sanity import ERROR, Composed, findings
from trading.strategies.interface import Strategy
from trading.strategies.registry import collect
from trading.values import canonical_symbol


def judged(loaded: Loaded, strategies: Sequence[Strategy] = ()) -> tuple[list[Problem], list[Problem]]:
    """(errors, warnings), each with its numbers, file and line. strategies: all that are known, plug-ins included."""
    config: Config = loaded.config
    composed = Composed(
        symbol=config.symbol,
        universe=config.universe,
        risk=config.risk,
        exits=config.exits,
        oms=config.oms,
        health_monitor=config.health_monitor,
        strategies=strategies or collect(),
    )
    errors: list[Problem] = []
    warnings: list[Problem] = []
    if not 0.0 <= config.bot.jitter_pct <= JITTER_PCT_MAX:
        text = f"{config.bot.jitter_pct:g} % is not between 0 and {JITTER_PCT_MAX:g}"
        errors.append(loaded.problem("bot.jitter_pct", text))
    errors += [loaded.problem(f"costs.{key}", text) for key, text in cost_problems(config.costs)]
    for finding in findings(composed):
        (errors if finding.level == ERROR else warnings).append(loaded.problem(finding.key, finding.text))
    errors += [loaded.problem("universe.never", text) for text in misnamed(config.universe.never)]
    return errors, warnings


def misnamed(products: Sequence[str]) -> list[str]:
    """A sentence for each name that no product has: a ban that is misspelt bans nothing."""
    found = []
    for product in products:
        try:
            canonical = canonical_symbol(product)
        except ValueError as error:
            found.append(str(error))
            continue
        if canonical != product:
            found.append(f"{product} is written {canonical} here")
    return found
