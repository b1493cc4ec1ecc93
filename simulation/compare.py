"""Two records of decisions side by side: which proposals both made, which only one, and where the verdicts differ.

A proposal's id follows from product, trigger and bar end (protocol section 1), so the same decision has the same id in a
backtest, a live run and a replay. Proposals on quotes carry the quote's time instead; they are counted by product and
bar end, since no two feeds show the same quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from attrs import define, field, frozen

TIMING = frozenset(
    {
        "quote_stale", "quote_time_ahead", "feed_silent", "candle_stale", "clock_untrusted", "per_symbol_cooldown",
        "pending_buy_exists", "already_have_position", "trade_spacing", "symbol_spacing", "proposal_expired",
        "data_unavailable", "no_verdict", "missed",
    }
)  # fmt: skip
"""Codes that a different pace of quotes and answers explains; others are differences of judgement."""


@frozen
class Proposed:
    """One proposal: its id, product, the end of the bar it falls on or follows (venue seconds), cadence, and verdict code."""

    proposal_id: str
    product_id: str
    bar_end_s: int
    decided_on: str
    verdict: str


@define
class Comparison:
    """common, only_a, only_b: proposals. verdicts: (proposal of A, of B) that got different codes."""

    common: list[Proposed] = field(factory=list)
    only_a: list[Proposed] = field(factory=list)
    only_b: list[Proposed] = field(factory=list)
    verdicts: list[tuple[Proposed, Proposed]] = field(factory=list)

    @property
    def same(self) -> bool:
        return not (self.only_a or self.only_b or self.verdicts)


def proposals(decisions: Iterable[Mapping[str, Any]], bar_s: int = 300) -> list[Proposed]:
    """The proposals of a decision record, in its order; re-quotes belong to the plan they continue and are left out."""
    verdicts: dict[str, str] = {}
    found: dict[str, Mapping[str, Any]] = {}
    for decision in decisions:
        proposal_id = str(decision.get("proposal_id", ""))
        if not proposal_id:
            continue
        if decision.get("code") == "proposed":
            if decision.get("decided_on") != "requote":
                found.setdefault(proposal_id, decision)
        elif decision.get("role", "risk") == "risk":
            verdicts.setdefault(proposal_id, str(decision.get("code", "")))
    return [
        Proposed(
            proposal_id,
            str(decision.get("product_id", "")),
            _bar_end_s(str(decision.get("at", "")), bar_s),
            str(decision.get("decided_on", "")),
            verdicts.get(proposal_id, "no_verdict"),
        )
        for proposal_id, decision in found.items()
    ]


def _bar_end_s(at: str, bar_s: int) -> int:
    """The newest bar end at or before a moment written as ISO text; 0 when it cannot be read."""
    try:
        return int(datetime.fromisoformat(at).timestamp()) // bar_s * bar_s
    except ValueError:
        return 0


def compare(a: Iterable[Proposed], b: Iterable[Proposed]) -> Comparison:
    """Proposals on bars are matched by id, those on quotes by product and bar end, each once."""
    result = Comparison()
    left: dict[object, list[Proposed]] = {}
    for one in b:
        left.setdefault(_key(one), []).append(one)
    for one in a:
        others = left.get(_key(one))
        if not others:
            result.only_a.append(one)
            continue
        other = others.pop(0)
        result.common.append(one)
        if one.verdict != other.verdict:
            result.verdicts.append((one, other))
    result.only_b = [one for others in left.values() for one in others]
    return result


def _key(one: Proposed) -> object:
    return one.proposal_id if one.decided_on == "bar" else (one.product_id, one.bar_end_s)
