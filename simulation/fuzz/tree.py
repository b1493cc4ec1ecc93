"""The tree of the fault simulation: strategies, intensities and backoff of DESIGN section 3, without what listens only.

Symbols are static children here, since the set of products does not change within a schedule.
"""

from __future__ import annotations

from supervision.backoff import Backoff
from supervision.spec import ChildSpec, Strategy, SupervisorSpec

BACKOFF = Backoff(min_s=0.1, max_s=1.0, first_at_once=True)
STOP_MS = 400


def _group(name: str, intensity: int, roles: tuple[str, ...]) -> ChildSpec:
    children = tuple(ChildSpec(role, shutdown=STOP_MS) for role in roles)
    return ChildSpec(name, SupervisorSpec(Strategy.ONE_FOR_ONE, children, intensity, 60, backoff=BACKOFF))


def _parks(name: str, roles: tuple[str, ...]) -> ChildSpec:
    children = tuple(ChildSpec(role, shutdown=STOP_MS) for role in roles)
    spec = SupervisorSpec(
        Strategy.ONE_FOR_ONE, children, 5, 300, backoff=BACKOFF, on_exhausted="park", retry_parked_s=60.0
    )
    return ChildSpec(name, spec)


def tree_of(products: tuple[str, ...], feeds: tuple[str, ...]) -> SupervisorSpec:
    """Root's specification; each child is a supervisor with its own."""
    return SupervisorSpec(
        Strategy.REST_FOR_ONE,
        (
            _group("safety", 10, ("kill_switch", "health_monitor")),
            _group("venue", 20, ("gateway",)),
            _group("trading", 20, ("oms", "exits", "risk", "universe")),
            _parks("feeds", ("catalog", *feeds)),
            _parks("symbols", tuple(f"symbol:{product}" for product in products)),
            _parks("ops", ("alerts", "operator")),
        ),
        intensity=3,
        period_s=600,
        backoff=BACKOFF,
    )
