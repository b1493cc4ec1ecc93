"""What a data set cannot show: sentences that stand beside the figures."""

from __future__ import annotations

from typing import Any


def warnings(products: tuple[str, ...], config: Any, bar_s: int) -> list[str]:
    """What is judged less strictly, or not at all, than live. Printed, and kept in the summary. bar_s: of the shortest bars."""
    found = []
    if 900 % bar_s:
        found.append(f"bars of {bar_s} s do not tell the last 15 minutes: price_move says nothing")
    if 3_600 % bar_s:
        found.append(
            f"bars of {bar_s} s do not make up hours: the regime stays chop, no crash closes entries or tightens stops, and "
            "the rules that count hours count these bars"
        )
    needed, regime_of = config.universe.eligible_min, config.universe.regime.product_id
    if len(products) < needed:
        found.append(
            f"the data holds {len(products)} product(s) of the universe's tiers, and live trades only while {needed} are eligible "
            "(universe.eligible_min): played without the breaker empty_universe"
        )
    if regime_of not in products:
        found.append(
            f"the data holds no {regime_of}: the regime stays chop, and no crash closes entries or tightens stops"
        )
    return found
