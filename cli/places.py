"""Where a bot's data lives, and which bot a command means."""

from __future__ import annotations

import getpass
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from state.locks import instance_holder

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
ENVS = ("staging", "production")


def data_dir_of(env: str, market: str, chosen: Path | None = None) -> Path:
    """`--data-dir`, or data/<env>-<market> beside run.py; a folder of candles gives its own name."""
    if env not in ENVS:
        raise UsageError(f"--env {env}: is not an environment; one of {', '.join(ENVS)}")
    if chosen is not None:
        if chosen.exists() and not chosen.is_dir():
            raise UsageError(f"--data-dir {chosen}: is a file; name the folder where the bot lives, or is to live")
        if chosen.resolve() == ROOT:  # what an empty text means, as in --data-dir "$UNSET"
            raise UsageError(f"--data-dir {chosen}: is Bulkhead's own folder; name one for the bot's data")
        return chosen.resolve()
    name = market if market in ("synthetic", "coinbase") else Path(market).resolve().name
    return DATA / f"{env}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}"


def running_data_dir(chosen: Path | None, folder: Path = DATA) -> Path:
    """The data dir that a command about a bot means: the chosen one, else the only one with a running bot, else the only one there is."""
    if chosen is not None:
        if not chosen.is_dir():
            raise UsageError(f"--data-dir {chosen}: there is no such folder; no bot has run there")
        return chosen.resolve()
    known = sorted(run.parent for run in folder.glob("*/run") if run.is_dir())
    # The lock, not the socket: the kernel lets go of it when its bot is gone, whatever that left behind.
    alive = [path for path in known if instance_holder(path) is not None]
    if len(alive) > 1:
        raise UsageError(f"several bots run here ({listed(alive)}); name one with --data-dir")
    if alive:
        return alive[0]
    if len(known) > 1:
        raise UsageError(f"no bot runs here, and several have ({listed(known)}); name one with --data-dir")
    return known[0] if known else folder / data_dir_of("staging", "synthetic").name


def meant_data_dir(chosen: Path | None, env: str | None, market: str | None, folder: Path = DATA) -> Path:
    """The same for commands that also take --env and --market: either of them names a data dir as `run` does."""
    if chosen is None and (env is not None or market is not None):
        return data_dir_of(env or "staging", market or "synthetic")
    return running_data_dir(chosen, folder)


def bot_of(data_dir: Path) -> dict[str, Any]:
    """Which run is in `data_dir`: run number, pid of its main process, uptime_s, page; None is what nobody knows.

    Without a living main process only the number of the last run is known.
    """
    from actors.guarding import recall
    from actors.processes import started_ticks
    from telemetry.client import page_of

    known = recall(data_dir)
    number = None if known is None else known[0].run_number
    if known is None or started_ticks(known[1]) != known[2]:
        return {"run": number, "pid": None, "uptime_s": None, "page": None}
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME) - known[2] / os.sysconf("SC_CLK_TCK")
    page = page_of(data_dir)
    return {"run": number, "pid": known[1], "uptime_s": round(up_s, 1), "page": None if page is None else page["url"]}


def listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)


def made_folder(folder: Path, option: str) -> Path:
    """`folder`, made if it was not there; a sentence when nothing could be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{option} {folder} is, or lies in, a file; name a folder") from error
    except OSError as error:
        raise UsageError(f"{option} {folder} cannot be made: {error.strerror}; name another folder") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {folder} cannot be written; name another folder")
    return folder


def login_name() -> str:
    """Who types. A container often gives no name to its user: then the number, for no kill waits for a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
