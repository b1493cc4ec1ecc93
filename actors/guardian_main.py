"""The guardian's process: waits for its lock and for a run to guard, ignores INT and HUP."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from loguru import logger

from actors.processes import Watched, flock_holder
from exchange.coinbase import fences
from telemetry import log

LOCK = "guardian.lock"
LOOP_S = 0.1
LOOK_S = 1.0
"""How often a guardian of its own asks whether another data dir lies there now."""
STILL_LOOKS = 20
"""Half seconds."""
SETTLE_S = 2.0
"""A starting bot needs both cores: what is big is imported a moment later, long before this process could have to act."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="guardian", description="Cancels what rests when the bot no longer beats.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument(
        "--run", type=int, default=0, help="the run to guard; without: the first one whose beat is seen"
    )
    parser.add_argument("--stays", action="store_true", help="go on with the next run (a service of its own)")
    said = parser.parse_args(argv)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log.set_up(said.data_dir / "logs", "guardian")
    lock = os.open(said.data_dir / "run" / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    holder: Watched | None = None
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            # Another one guards an earlier run, and sweeps perhaps; it goes home at our run's first ready beat.
            beat = fences.read_beat(said.data_dir / "run")
            if beat is not None and said.run and (beat.run > said.run or beat.state == "stopped"):
                return 0
            holder = _end_if_still(holder, flock_holder(lock))
            time.sleep(0.5)
    time.sleep(SETTLE_S)
    from actors.guardian import Guardian
    from actors.guarding import began_anew, recall

    while (known := recall(said.data_dir)) is None:
        time.sleep(0.5)
    guardian = Guardian(known[0], said.run, stays=said.stays)
    look_at = 0.0
    while guardian.exit_code is None:
        guardian.step()
        if said.stays and time.monotonic() >= look_at and (last := recall(said.data_dir)) is not None:
            look_at = time.monotonic() + LOOK_S
            if began_anew(known, last):  # a sweep for what was there before goes on in its thread
                guardian.close()
                guardian = Guardian(last[0], 0, stays=True)
            known = last
        time.sleep(LOOP_S)
    guardian.close()
    return guardian.exit_code


def _end_if_still(watched: Watched | None, pid: int | None) -> Watched | None:
    """One that stands still guards nobody, and would keep every later run from being guarded."""
    if pid is None:
        return None
    if watched is None or watched.pid != pid:
        return Watched(pid)
    if watched.still() >= STILL_LOOKS:
        logger.error(f"the guardian that holds the lock (pid {pid}) stands still; it is killed")
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return watched


if __name__ == "__main__":
    sys.exit(main())
