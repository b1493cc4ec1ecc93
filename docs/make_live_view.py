"""Draws docs/live_view.svg from a running bot: python docs/make_live_view.py DATA_DIR [RESTARTED LINE ...]."""

from __future__ import annotations

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console

from telemetry.client import OperatorClient
from telemetry.view import Local, draw


def main() -> None:
    picture = OperatorClient(Path(sys.argv[1])).ask("picture", {"since": "0"})
    local = Local(scenario="opening", operator="up")
    local.restarts.extend(sys.argv[2:])
    console = Console(
        file=io.StringIO(), record=True, width=140, height=42, force_terminal=True, color_system="truecolor"
    )
    console.print(draw(picture, local, 42))
    console.save_svg(str(Path(__file__).with_name("live_view.svg")), title="python3 run.py run")


if __name__ == "__main__":
    main()
