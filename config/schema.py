"""The whole configuration: one section per role, each class living with the code that obeys it.

A value that is absent in every layer keeps its class's default; `run.py check-config --effective` prints all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from attrs import field, frozen

from config.loader import ConfigError, Loaded, Problem, load
from exchange.coinbase.catalog import CatalogSettings
from exchange.coinbase.gateway import GatewaySettings
from trading.alerts import AlertsSettings
from trading.conductor import ConductorSettings
from trading.costs import CostSettings
from trading.exits_settings import ExitsSettings
from trading.guardian import GuardianSettings
from trading.health_monitor import HealthMonitorSettings
from trading.kill_switch import KillSwitchSettings
from trading.oms_settings import OmsSettings
from trading.risk_settings import RiskSettings
from trading.symbol_settings import SymbolSettings
from trading.universe_settings import UniverseSettings

FOLDER = Path(__file__).resolve().parent
ENVS = ("staging", "production")
MODES = ("dry_run", "paper", "shadow", "live")
ENV_VARIABLE = "ENV"
MODE_VARIABLE = "BULKHEAD_MODE"


@frozen(kw_only=True)
class BotSettings:
    """mode: what orders mean. dry_run: none is sent. paper: sent to a simulated venue. shadow: decided beside a live bot,
    none is sent. live: real money; never from a file, only by --mode live with BULKHEAD_MODE=live. jitter_pct: by how much
    every periodic wake moves at most, 0 to 50; drawn from the account's tag and `seed`.
    """

    mode: str = "paper"
    seed: int = 1
    jitter_pct: float = 10.0


@frozen(kw_only=True)
class Config:
    bot: BotSettings = field(factory=BotSettings)
    symbol: SymbolSettings = field(factory=SymbolSettings)
    universe: UniverseSettings = field(factory=UniverseSettings)
    risk: RiskSettings = field(factory=RiskSettings)
    oms: OmsSettings = field(factory=OmsSettings)
    exits: ExitsSettings = field(factory=ExitsSettings)
    gateway: GatewaySettings = field(factory=GatewaySettings)
    catalog: CatalogSettings = field(factory=CatalogSettings)
    kill_switch: KillSwitchSettings = field(factory=KillSwitchSettings)
    health_monitor: HealthMonitorSettings = field(factory=HealthMonitorSettings)
    alerts: AlertsSettings = field(factory=AlertsSettings)
    conductor: ConductorSettings = field(factory=ConductorSettings)
    guardian: GuardianSettings = field(factory=GuardianSettings)
    costs: CostSettings = field(factory=CostSettings)


def files_of(env: str, extra: Iterable[Path] = ()) -> list[Path]:
    """The layers in order: base, the environment's overlay, what the user adds."""
    return [FOLDER / "base.yaml", FOLDER / f"{env}.yaml", *extra]


def load_config(env: str, mode: str | None = None, extra: Iterable[Path] = (), overrides: Iterable[str] = ()) -> Loaded:
    """The effective configuration of `env`; `mode` from the command line wins. Raises ConfigError with every problem."""
    problems = environment_problems(env)
    if problems:
        raise ConfigError(problems)
    overrides = list(overrides)
    if mode is not None:
        overrides.append(f"bot.mode={mode}")
    loaded = load(Config, files_of(env, extra), overrides)
    problems = mode_problems(loaded, mode)
    if problems:
        raise ConfigError(problems)
    return loaded


def environment_problems(env: str) -> list[Problem]:
    """ENV and --env must agree, so that a shell set up for one never trades the other."""
    if env not in ENVS:
        return [Problem("--env", 0, env, f"is not an environment; one of {', '.join(ENVS)}")]
    said = os.environ.get(ENV_VARIABLE)
    if said in ENVS and said != env:
        return [
            Problem(
                "environment",
                0,
                ENV_VARIABLE,
                f"says {said}, --env says {env}: they must agree; unset it or change --env",
            )
        ]
    return []


def mode_problems(loaded: Loaded, mode: str | None) -> list[Problem]:
    """LIVE needs three hands: --mode live, BULKHEAD_MODE=live and the production environment; never a file alone."""
    config: Config = loaded.config
    if mode is not None and mode not in MODES:
        return [Problem("--mode", 0, mode, f"is not a mode; one of {', '.join(MODES)}")]
    if config.bot.mode not in MODES:
        return [loaded.problem("bot.mode", f"{config.bot.mode!r} is not a mode; one of {', '.join(MODES)}")]
    if config.bot.mode == "live" and mode != "live":
        return [loaded.problem("bot.mode", "live never stands in a file or --set; it is asked for with --mode live")]
    if config.bot.mode == "live" and os.environ.get(MODE_VARIABLE) != "live":
        return [
            Problem(
                "environment", 0, MODE_VARIABLE, "must be set to live beside --mode live: real money needs two hands"
            )
        ]
    return []
