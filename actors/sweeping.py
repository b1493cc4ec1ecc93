"""The sweep (exchange/coinbase/sweep.py) beside an actor, main or the guardian: orders in, reports over a bridge."""

from __future__ import annotations

from actors.bridge import Bridge
from actors.plan import RunPlan
from exchange.coinbase import sweep
from exchange.coinbase.jwt import ApiKey
from trading.messages.control import OursListed, SweepOrdered, SweepReport


class Sweeping:
    """key: another than the plan's (the guardian has its own). Each fresh sweep asks anew where the venue is."""

    def __init__(self, plan: RunPlan, key: ApiKey | None = None) -> None:
        self._plan, self._key = plan, key
        self._thread: sweep.SweepThread | None = None
        self.bridge = Bridge()

    def order(self, order: SweepOrdered) -> None:
        if self._thread is None or not self._thread.running:
            try:
                key = self._key or self._plan.key()
                endpoints = self._plan.where()
            except (OSError, ValueError, KeyError) as error:
                self.bridge.put(_failed(f"where the venue is cannot be read: {error}"))
                return
            if key is None:
                self.bridge.put(_failed("there is no API key to cancel with"))
                return
            self._thread = sweep.SweepThread(endpoints, key, self._plan.tag, self.bridge.put)
        self._thread.order(order)

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()


def _failed(error: str) -> SweepReport:
    return SweepReport(clean=False, canceled=(), listed=0, passes=0, error=error)


def list_ours(plan: RunPlan, deadline_boot_s: float) -> OursListed:
    """One listing by a connection of its own. Never raises: what went wrong is no answer."""
    try:
        key = plan.key()
        if key is None:
            return OursListed(complete=False, error="there is no API key to ask with")
        return sweep.list_ours(plan.where(), key, plan.tag, deadline_boot_s)
    except Exception as error:
        return OursListed(complete=False, error=f"{type(error).__name__}: {error}")
