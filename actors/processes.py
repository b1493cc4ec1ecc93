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


class Watched:
    """Whether a process still turns: who loops gives its processor back again and again; who is stopped, or waits for a disk, does not."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._switches = -1
        self._still = 0

    def still(self) -> int:
        """Call it regularly: so many looks in a row it has not moved. Looks, not seconds: who looks may have been stopped himself."""
        try:
            status = Path(f"/proc/{self.pid}/task/{self.pid}/status").read_text()
            switches = int(status.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
        except (OSError, ValueError, IndexError):
            return 0
        self._still = self._still + 1 if switches == self._switches else 0
        self._switches = switches
        return self._still


def flock_holder(descriptor: int) -> int | None:
    """Who holds a lock on this file, as far as the kernel tells (it names some file systems by another device than `stat`)."""
    stat = os.fstat(descriptor)
    file = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    try:
        rows = [row.split() for row in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return None
    found = [int(row[4]) for row in rows if row[1] == "FLOCK" and row[5] == file and int(row[4]) > 0]
    return found[0] if found else None


def tree_pids(admin_pid: int) -> list[tuple[int, int]]:
    """(pid, start time) of the admin and everything below it."""
    return [(pid, started_ticks(pid)) for pid in (admin_pid, *descendants(admin_pid))]
