"""Processes beside the tree: where they start, and which one a pid means."""

from __future__ import annotations

import os
from pathlib import Path

from supervision.processes import descendants

ROOT = Path(__file__).resolve().parent.parent
"""Where `python -m` finds the project's packages."""
VENUE_PID = "run/venue.pid"


def private(path: str, flags: int) -> int:
    """An opener for files that hold keys: 0600 from the first moment."""
    return os.open(path, flags, 0o600)


def started_ticks(pid: int) -> int:
    """Start time of a living process in clock ticks since boot; 0 when it is gone or a zombie. With the pid it names one process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def named_pid(path: Path) -> int | None:
    """The living process that `path` names by pid and start time, None when there is none."""
    try:
        pid, started = map(int, path.read_text().split())
    except (OSError, ValueError):
        return None
    return pid if started == started_ticks(pid) != 0 else None


def tree_pids(admin_pid: int) -> list[tuple[int, int]]:
    """(pid, start time) of the admin and everything below it."""
    return [(pid, started_ticks(pid)) for pid in (admin_pid, *descendants(admin_pid))]
