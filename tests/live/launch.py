"""Starts the bot as `run.py run` does, with what only tests choose: the opening scenario of the simulated market."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from actors.bot import run_bot
from actors.plan import EmbeddedVenue, RunPlan
from config.loader import unstructure
from config.schema import load_config
from telemetry.terminal import JsonView


class FailingView(JsonView):
    """A defect in what main itself does each second."""

    def __init__(self, data_dir: Path, fails_by: Path) -> None:
        super().__init__(data_dir)
        self.fails_by = fails_by

    def on_event(self, kind: str, text: str, values: Mapping[str, Any]) -> None:
        if self.fails_by.exists() and self.fails_by.read_text() == "all":
            raise RuntimeError("a defect of main")
        super().on_event(kind, text, values)

    def tick(self, children: Sequence[Any]) -> None:
        if self.fails_by.exists():
            raise RuntimeError("a defect of main")
        super().tick(children)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--scenario", default="quiet")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--for", dest="for_s", type=float)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--adopt-from-venue", action="store_true")
    parser.add_argument("--flatten-on-exit", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--view-fails-by", type=Path, metavar="FILE", help="From when this file is there.")
    said = parser.parse_args()
    loaded = load_config("staging", None, [], said.set)
    options = ("--market", "synthetic", "--speed", f"{said.speed:g}", "--scenario", said.scenario, "--seed", "1")
    plan = RunPlan(
        data_dir=said.data_dir.resolve(),
        env="staging",
        mode=loaded.config.bot.mode,
        speed=said.speed,
        config=loaded.config,
        config_hash=loaded.hash,
        effective_config=unstructure(loaded.config),
        venue=EmbeddedVenue(options=options),
        products=tuple(name for tier in loaded.config.universe.tiers.values() for name in tier.products),
        run_for_s=said.for_s,
        fresh=said.fresh,
        adopt_from_venue=said.adopt_from_venue,
        flatten_on_exit=said.flatten_on_exit,
        kill_reason=os.environ.get("BULKHEAD_KILL_SWITCH", ""),
    )
    view = JsonView(plan.data_dir)
    if said.view_fails_by is not None:
        view = FailingView(plan.data_dir, said.view_fails_by)
    return run_bot(plan, view)


if __name__ == "__main__":
    sys.exit(main())
