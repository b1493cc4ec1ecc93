"""The whole tree on one screen (DESIGN section 3). Ids are the roles that messages are addressed to.

Order is trust: a child may believe everyone above it, and under `rest_for_one` falls with them.
"""

from __future__ import annotations

from actors.alerts import AlertsActor
from actors.catalog import CatalogActor
from actors.console import ConsoleActor
from actors.gateway import GatewayActor
from actors.kill_switch import KillSwitchActor
from actors.market_feed import MarketFeedActor
from actors.operator import OperatorActor
from actors.plan import RunPlan
from actors.thinkers import (
    ExitsActor,
    HealthMonitorActor,
    OmsActor,
    RiskActor,
    SymbolActor,
    UniverseActor,
)
from actors.user_feed import UserFeedActor
from supervision import Backoff, ChildSpec, Strategy, SupervisedActor, SupervisorSpec

BACKOFF = Backoff(min_s=0.1, max_s=1.0, first_at_once=True)
LISTENERS = ("health_monitor", "operator", "console")
HANG_DEADLINE_S = 3.0
START_LIMIT_S = 8.0
STOP_MS = 400
"""Ordered stop in reverse within 2 s in all: what does not end by itself in this time is killed."""


def make_tree(plan: RunPlan) -> SupervisorSpec:
    def role(name: str, actor: type[SupervisedActor], *, hears: str = "static") -> ChildSpec:
        return ChildSpec(name, actor, plan, shutdown=STOP_MS, start_limit_s=START_LIMIT_S, hears=hears)

    def group(name: str, intensity: int, *children: ChildSpec) -> ChildSpec:
        return ChildSpec(name, SupervisorSpec(Strategy.ONE_FOR_ONE, children, intensity, 60, backoff=BACKOFF))

    def parks(name: str, *children: ChildSpec, strategy: Strategy = Strategy.ONE_FOR_ONE) -> ChildSpec:
        # From here on nothing can touch an order, so nothing may take its parent along.
        spec = SupervisorSpec(strategy, children, 5, 300, backoff=BACKOFF, on_exhausted="park", retry_parked_s=60.0)
        return ChildSpec(name, spec)

    return SupervisorSpec(
        Strategy.REST_FOR_ONE,
        (
            group(
                "safety",
                10,
                role("kill_switch", KillSwitchActor, hears="all"),
                role("health_monitor", HealthMonitorActor, hears="all"),
            ),
            group("venue", 20, role("gateway", GatewayActor)),
            group(
                "trading",
                20,
                role("oms", OmsActor, hears="all"),
                role("exits", ExitsActor, hears="all"),
                role("risk", RiskActor, hears="all"),
                role("universe", UniverseActor, hears="all"),
            ),
            parks(
                "feeds",
                role("catalog", CatalogActor, hears="all"),
                role("market_feed", MarketFeedActor),
                role("user_feed", UserFeedActor),
            ),
            parks("symbols", role("symbol", SymbolActor), strategy=Strategy.SIMPLE_ONE_FOR_ONE),
            parks(
                "ops",
                role("alerts", AlertsActor),
                role("operator", OperatorActor),
                role("console", ConsoleActor),
            ),
        ),
        intensity=3,
        period_s=600,
        backoff=BACKOFF,
    )
