"""Roles that only think: a machine, its store, its market data; nothing else happens in these processes."""

from __future__ import annotations

from typing import ClassVar

from actors.machine_actor import MachineActor
from actors.plan import RunPlan
from actors.ports import Thinker
from config.plugins import load_folder
from trading.exits import ExitsMachine
from trading.exits_settings import ExitsSettings
from trading.health_monitor import HealthMonitorMachine, HealthMonitorSettings
from trading.messages.control import ProductsWanted
from trading.oms import OmsMachine
from trading.oms_settings import OmsSettings
from trading.risk import RiskMachine
from trading.risk_settings import RiskSettings
from trading.strategies.registry import collect
from trading.symbol import SymbolMachine
from trading.symbol_settings import SymbolSettings
from trading.universe import UniverseMachine
from trading.universe_settings import UniverseSettings


class HealthMonitorActor(MachineActor):
    def make_machine(self) -> Thinker:
        settings = self.plan.section("health_monitor", HealthMonitorSettings)
        return HealthMonitorMachine(settings=settings, me=self.incarnation, jitter=self.plan.jitter())


class OmsActor(MachineActor):
    """The book, and its only writer."""

    store_file: ClassVar[str | None] = "bulkhead.db"

    def make_machine(self) -> Thinker:
        plan = self.plan
        return OmsMachine(
            settings=plan.section("oms", OmsSettings),
            me=self.incarnation,
            tag=plan.tag,
            config_hash=plan.config_hash,
            products=plan.listed(plan.products),
            adopt_from_venue=plan.adopt_from_venue,
            jitter=plan.jitter(),
        )


class ExitsActor(MachineActor):
    bell: ClassVar[bool] = True

    def make_machine(self) -> Thinker:
        settings = self.plan.section("exits", ExitsSettings)
        caps = self.plan.section("risk", RiskSettings).caps
        return ExitsMachine(settings=settings, me=self.incarnation, caps=caps, jitter=self.plan.jitter())


class RiskActor(MachineActor):
    """It wakes each half second and reads its marks then: no bell."""

    store_file: ClassVar[str | None] = "risk.sqlite"
    wants_quotes: ClassVar[bool] = True

    def make_machine(self) -> Thinker:
        universe = self.plan.section("universe", UniverseSettings)
        symbol = self.plan.section("symbol", SymbolSettings)
        return RiskMachine(
            settings=self.plan.section("risk", RiskSettings),
            me=self.incarnation,
            tiers=universe.tiers,
            themes=universe.themes,
            strategies=symbol.strategies,
            guards=symbol.guards,
            jitter=self.plan.jitter(),
        )


class UniverseActor(MachineActor):
    """Its `ProductsWanted` become the children of the supervisor `symbols`."""

    store_file: ClassVar[str | None] = "universe.sqlite"
    synchronous: ClassVar[str] = "NORMAL"
    wants_bars: ClassVar[bool] = True

    def make_machine(self) -> Thinker:
        settings = self.plan.section("universe", UniverseSettings)
        return UniverseMachine(settings=settings, me=self.incarnation, jitter=self.plan.jitter())

    def route(self, role: str, message: object) -> None:
        if isinstance(message, ProductsWanted) and role in ("io", "symbols"):
            children: dict[str, RunPlan] = dict.fromkeys(
                map(symbol_role, self.plan.listed(message.products)), self.plan
            )
            self.wanted_children("symbols", message.version, children)
        else:
            super().route(role, message)


class SymbolActor(MachineActor):
    wants_bars: ClassVar[bool] = True
    bell: ClassVar[bool] = True

    def make_machine(self) -> Thinker:
        settings = self.plan.section("symbol", SymbolSettings)
        folder = self.plan.strategies_dir
        return SymbolMachine(
            product_id=self.child_id.removeprefix("symbol:"),
            settings=settings,
            me=self.incarnation,
            strategies=collect(load_folder(folder)) if folder is not None else collect(),
            config_hash=self.plan.config_hash,
            tells=True,
            jitter=self.plan.jitter(),
        )


def symbol_role(product_id: str) -> str:
    return f"symbol:{product_id}"
