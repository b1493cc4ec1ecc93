"""One function from all permissions to the trading state (DESIGN section 5); everybody who must know computes it here."""

from __future__ import annotations

from enum import StrEnum

from trading.light import light
from trading.messages.book import Recovery


class TradingState(StrEnum):
    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"
    DRAINING = "DRAINING"

    @property
    def entries(self) -> bool:
        return self is TradingState.ACTIVE

    @property
    def exits(self) -> bool:
        return self in (TradingState.ACTIVE, TradingState.REDUCING)


@light(kw_only=True)
class Causes:
    """Everything that may move the state. `known` facts only: an expired lease is a denial at risk, not a cause here."""

    draining: bool = False
    killed: bool = False
    recovery: Recovery = Recovery.RECONCILED
    book_writable: bool = True
    paused: bool = False
    leaving: bool = False
    breakers_open: tuple[str, ...] = ()
    latches: tuple[str, ...] = ()
    beat_late: bool = False
    guardian_fence: bool = False
    global_incident: str = ""


def trading_state(causes: Causes) -> tuple[TradingState, tuple[str, ...]]:
    """The state and the codes that caused it, the strictest first; ACTIVE has none."""
    halted = [
        code
        for code, set_ in (
            ("kill_switch", causes.killed),
            ("recovering", causes.recovery is Recovery.RECOVERING),
            ("book_not_writable", not causes.book_writable),
        )
        if set_
    ]
    reducing = [
        code
        for code, set_ in (
            ("paused", causes.paused),
            ("flatten_on_exit", causes.leaving),
            ("balances_not_reconciled", causes.recovery is Recovery.ORDERS_KNOWN),
            ("beat_late", causes.beat_late),
            ("guardian_fence", causes.guardian_fence),
            (f"global_incident:{causes.global_incident}", bool(causes.global_incident)),
        )
        if set_
    ]
    reducing += [f"breaker:{code}" for code in causes.breakers_open]
    reducing += list(causes.latches)
    if causes.draining:
        return TradingState.DRAINING, ("draining", *halted, *reducing)
    if halted:
        return TradingState.HALTED, (*halted, *reducing)
    if reducing:
        return TradingState.REDUCING, tuple(reducing)
    return TradingState.ACTIVE, ()
