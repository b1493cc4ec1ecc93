"""Killing surely: by descriptors of processes, so that a pid that was used again is never hit."""

# ruff: noqa: PTH123, PTH208 -- plain paths: this runs in every fork

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections import defaultdict


def descendants(pid: int) -> list[int]:
    """Every process below `pid` now, nearest first."""
    children: dict[int, list[int]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                children[int(file.read().rpartition(b")")[2].split()[1])].append(int(name))
    found, at = list(children[pid]), 0
    while at < len(found):
        found.extend(children[found[at]])
        at += 1
    return found


def has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def kill_for_sure(pids: list[int], limit_s: float = 2.0) -> list[int]:
    """SIGKILL all of `pids`; returns those that still lived after `limit_s` (none, unless the kernel itself hangs)."""
    held: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            held[pid] = os.pidfd_open(pid)
    try:
        for pidfd in held.values():
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        deadline = time.monotonic() + limit_s
        left = dict(held)
        while left and time.monotonic() < deadline:
            left = {pid: fd for pid, fd in left.items() if not has_ended(fd)}
            if left:
                time.sleep(0.001)
        return list(left)
    finally:
        for pidfd in held.values():
            os.close(pidfd)
