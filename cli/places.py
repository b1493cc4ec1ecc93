"""Where a bot's data lives, and which bot a command means."""

from __future__ import annotations

import re
from pathlib import Path

from cli.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
ENVS = ("staging", "production")


def data_dir_of(env: str, market: str, chosen: Path | None = None) -> Path:
    """`--data-dir`, or data/<env>-<market> beside run.py; a folder of candles gives its own name."""
    if chosen is not None:
        return chosen.resolve()
    name = market if market in ("synthetic", "coinbase") else Path(market).resolve().name
    return ROOT / "data" / f"{env}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}"


def running_data_dir(chosen: Path | None) -> Path:
    """The data dir that `ctl` means: the chosen one, else the only one with a running bot, else the default."""
    if chosen is not None:
        if not chosen.is_dir():
            raise UsageError(f"--data-dir {chosen}: there is no such folder; no bot has run there")
        return chosen.resolve()
    default = data_dir_of("staging", "synthetic")
    alive = [socket.parent.parent for socket in sorted((ROOT / "data").glob("*/run/operator.sock"))]
    if default in alive or not alive:
        return default
    if len(alive) == 1:
        return alive[0]
    raise UsageError(f"several bots may run here ({', '.join(path.name for path in alive)}); name one with --data-dir")
