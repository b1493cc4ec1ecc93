"""What a configuration contradicts itself in, at the lines where it was said. The rules are `trading/sanity.py`'s."""

from __future__ import annotations

from collections.abc import Sequence

from config.loader import Loaded, Problem
from config.schema import Config
from trading.publish import JITTER_PCT_MAX
from trading.sanity import ERROR, Composed, findings, misnamed
from trading.strategies.interface import Strategy
from trading.strategies.registry import collect


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
        costs=config.costs,
        strategies=strategies or collect(),
    )
    errors: list[Problem] = []
    warnings: list[Problem] = []
    if not 0.0 <= config.bot.jitter_pct <= JITTER_PCT_MAX:
        text = f"{config.bot.jitter_pct:g} % is not between 0 and {JITTER_PCT_MAX:g}"
        errors.append(loaded.problem("bot.jitter_pct", text))
    for finding in findings(composed):
        (errors if finding.level == ERROR else warnings).append(loaded.problem(finding.key, finding.text))
    for product in config.universe.never:  # in the order in which they were said
        errors += [loaded.problem(finding.key, finding.text) for finding in misnamed("universe.never", product)]
    return errors, warnings
