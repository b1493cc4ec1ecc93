"""Who may run: one bot per data dir (flock), one bot per account on this host (an abstract Unix socket).

The kernel lets go of both when their holder is gone, whatever killed it; no stale file ever locks anybody out. The
instance lock's descriptor may be inherited on purpose: while orphans of a killed bot live, a new one is refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from pathlib import Path

INSTANCE_LOCK = "run/instance.lock"
TRIES = 4
ORPHANS_S = 10.0
"""So long a start waits for what a killed bot has left. A refusal would be final: service managers do not repeat an unsafe start."""


class LockedError(Exception):
    """Somebody else holds it; the sentence names the holder and the way out."""


class InstanceLock:
    """Held from construction until `release` or death. `fileno` is what children inherit."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / INSTANCE_LOCK
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock_soon(self._descriptor)
        except OSError as error:
            holder = _named_holder(self._descriptor)
            os.close(self._descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise LockedError(_instance_sentence(data_dir, holder)) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def fileno(self) -> int:
        return self._descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def _named_holder(descriptor: int) -> str:
    return os.pread(descriptor, 64, 0).decode(errors="replace").strip()


def _is_dead(holder: str) -> bool:
    return holder.isdigit() and not Path(f"/proc/{holder}").exists()


def _lock_soon(descriptor: int) -> None:
    """At once, or when the orphans of a dead holder are gone. OSError while a living one holds it."""
    until_s = time.monotonic() + ORPHANS_S
    while True:
        try:
            return _lock_now(descriptor)
        except OSError:
            if not _is_dead(_named_holder(descriptor)) or time.monotonic() >= until_s:
                raise
        time.sleep(0.1)


def _lock_now(descriptor: int) -> None:
    """Exclusive or OSError. A few tries: the simulated venue looks at this lock for some microseconds each second."""
    for attempt in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if attempt == TRIES - 1:
                raise
            time.sleep(0.01)
        else:
            return


def _instance_sentence(data_dir: Path, holder: str) -> str:
    if _is_dead(holder):
        return (
            f"{data_dir} is still held by processes of a bot that was killed (it was pid {holder}); they end by "
            "themselves within seconds: try again, or choose another --data-dir"
        )
    return (
        f"another Bulkhead runs on {data_dir} (pid {holder or 'unknown'}): talk to it with `run.py ctl status`, "
        f"stop it with `run.py ctl stop` or `kill {holder or 'PID'}`, or choose another --data-dir"
    )


def instance_holder(data_dir: Path) -> int | None:
    """The pid of the bot that runs on `data_dir`, None when none does (or it cannot be read)."""
    try:
        descriptor = os.open(data_dir / INSTANCE_LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
        return int(text) if text.isdigit() else 0
    else:
        return None
    finally:
        os.close(descriptor)


class AccountLock:
    """One bot per account tag on this host. Two hosts on one account are not covered (SAFETY.md says so)."""

    def __init__(self, tag: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(f"\0bulkhead-account-{os.getuid()}-{tag}")
        except OSError as error:
            self._socket.close()
            raise LockedError(
                f"another Bulkhead on this machine trades the same account (tag {tag}) from another data dir; "
                "stop it first: two bots on one account would each take the other's orders for lost"
            ) from error
        self._socket.listen(1)

    def release(self) -> None:
        self._socket.close()
