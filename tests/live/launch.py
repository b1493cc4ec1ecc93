"""Starts the bot as `run.py run` does, with what only tests choose: the opening scenario of the simulated market."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from attrs import evolve

from actors.bot import run_bot
from actors.plan import EmbeddedVenue
from cli.plans import make_plan
from telemetry.terminal import JsonView


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--scenario", default="quiet")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--for", dest="for_s", type=float)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--adopt-from-venue", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    said = parser.parse_args()
    plan, _ = make_plan(
        env="staging", mode=None, market="synthetic", speed=said.speed, config=[], overrides=said.set,
        data_dir=said.data_dir, run_for_s=said.for_s, fresh=said.fresh, adopt_from_venue=said.adopt_from_venue,
        flatten_on_exit=False, start=None, seed=1, with_guardian=True,
    )  # fmt: skip
    options = ("--market", "synthetic", "--speed", f"{said.speed:g}", "--scenario", said.scenario, "--seed", "1")
    plan = evolve(plan, venue=EmbeddedVenue(options=options))
    return run_bot(plan, JsonView(plan.data_dir))


if __name__ == "__main__":
    sys.exit(main())
