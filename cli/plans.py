"""From the words of the command line to one frozen plan, or to a sentence. Nothing is started here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from actors.plan import KEY_NAME_ENV, KEY_SECRET_ENV, EmbeddedVenue, RunPlan
from cli.errors import UnsafeError, UsageError
from cli.places import ROOT, data_dir_of
from config.loader import ConfigError, Loaded, unstructure
from config.schema import load_config
from exchange.coinbase.endpoints import Endpoints
from trading.strategies.interface import Strategy


def load_strategies(folder: Path | None) -> tuple[Strategy, ...]:
    """The built-in strategies and those of a folder outside the clone; a file that cannot be loaded becomes exit 2."""
    from config.plugins import load_folder
    from trading.strategies.registry import collect

    try:
        return tuple(collect() if folder is None else collect(load_folder(folder)))
    except ValueError as error:
        raise UsageError(str(error)) from error


def load_or_explain(
    env: str, mode: str | None, config: Sequence[Path], overrides: Sequence[str], strategies: Path | None = None
) -> Loaded:
    """The configuration, its sanity checked; every problem becomes one exit 2. strategies: a folder of further ones."""
    from config.sanity import judged

    known = load_strategies(strategies)
    try:
        loaded = load_config(env, mode, config, overrides)
        errors, warnings = judged(loaded, known)
        if errors:
            raise ConfigError(errors)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    for warning in warnings:
        print(f"run.py: warning: {warning}", file=sys.stderr)
    return loaded


def make_plan(
    *,
    env: str,
    mode: str | None,
    market: str,
    speed: float,
    config: Sequence[Path],
    overrides: Sequence[str],
    data_dir: Path | None,
    run_for_s: float | None,
    fresh: bool,
    adopt_from_venue: bool,
    flatten_on_exit: bool,
    start: str | None,
    seed: int | None,
    with_guardian: bool,
    venue_line: Path | None = None,
    record: bool = False,
    strategies: Path | None = None,
    page_port: int = 0,
) -> RunPlan:
    loaded = load_or_explain(env, mode, config, overrides, strategies)
    settings: Any = loaded.config
    chosen_mode = settings.bot.mode
    if not 0 < speed <= 10_000:
        raise UsageError(f"--speed {speed:g}: a venue's clock runs at a speed above 0 and at most 10000")
    if run_for_s is not None and not run_for_s > 0:
        raise UsageError(f"--for {run_for_s:g}: a run lasts longer than 0 seconds")
    live_venue = market == "coinbase" and chosen_mode == "live"
    check_market(market, chosen_mode, env, speed, fresh)
    if chosen_mode == "live":
        from simulation.backtest.gate import pass_problem

        # LIVE stands in no file, so the gate has judged this configuration without the mode.
        gated = load_config(env, None, config, overrides)
        problem = pass_problem(ROOT / "data" / "gate", ROOT, gated.hash, time.time(), env)
        if problem:
            raise UnsafeError(problem)
    products = tuple(product for tier in settings.universe.tiers.values() for product in tier.products)
    if not products:
        raise UsageError("universe.tiers: no product is in any tier, so there is nothing to trade")
    venue = None if live_venue else embedded(market, speed, start, seed)
    if venue is not None and market == "coinbase":
        line = ("--venue-line", str(venue_line.resolve())) if venue_line is not None else ()
        venue = evolve(venue, options=(*venue.options, "--products", ",".join(products), *line))
    return RunPlan(
        data_dir=data_dir_of(env, market, data_dir),
        env=env,
        mode=chosen_mode,
        market=market if market in ("synthetic", "coinbase") else Path(market).resolve().name,
        speed=speed,
        config=settings,
        config_hash=loaded.hash,
        effective_config=unstructure(settings),
        endpoints=Endpoints.coinbase() if live_venue else None,
        venue=venue,
        products=products,
        run_for_s=run_for_s,
        flatten_on_exit=flatten_on_exit,
        fresh=fresh,
        adopt_from_venue=adopt_from_venue,
        with_guardian=with_guardian,
        page_port=page_port,
        kill_reason=os.environ.get("BULKHEAD_KILL_SWITCH", ""),
        record_told=record,
        strategies_dir=None if strategies is None else strategies.resolve(),
    )


def check_market(market: str, mode: str, env: str, speed: float, fresh: bool) -> None:
    """What does not fit together is refused before anything starts."""
    if market not in ("synthetic", "coinbase"):
        folder = Path(market)
        if not folder.is_dir():
            raise UsageError(
                f"--market {market}: not synthetic, not coinbase, and there is no such folder of candle CSVs"
            )
        if not any(folder.glob("*.csv")):
            raise UsageError(
                f"--market {market}: the folder holds no .csv file of candles (ts,open,high,low,close,volume)"
            )
    if market == "coinbase" and speed != 1.0:
        raise UsageError("--speed: Coinbase's clock runs at 1; only simulated venues run faster")
    if mode == "live":
        if env != "production":
            raise UnsafeError(
                "--mode live belongs to --env production: in staging the gateway places orders at a simulated venue only"
            )
        if market != "coinbase":
            raise UsageError("--mode live trades at Coinbase: add --market coinbase")
        if fresh:
            raise UsageError("--fresh forgets an account; a live account is never forgotten")
        missing = [name for name in (KEY_NAME_ENV, KEY_SECRET_ENV) if not os.environ.get(name)]
        if missing:
            raise UsageError(f"{' and '.join(missing)}: not set; a live bot reads its key from the environment")


def embedded(market: str, speed: float, start: str | None, seed: int | None) -> EmbeddedVenue:
    """How the simulated venue is started."""
    options = [
        "--market",
        market if market in ("synthetic", "coinbase") else str(Path(market).resolve()),
        "--speed",
        f"{speed:g}",
    ]
    if market == "synthetic":
        options += ["--scenario", "opening"]
    if start is not None:
        if market in ("synthetic", "coinbase"):
            raise UsageError("--from: only a recorded market has a beginning to choose; add --market DIR")
        options += ["--from", start]
    if seed is not None:
        options += ["--seed", str(seed)]
    module = "exchange.paper" if market == "coinbase" else "exchange.simulator"
    return EmbeddedVenue(options=tuple(options), module=module)
