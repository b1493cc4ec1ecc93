"""Where a tree's sockets live: a folder of 0700, in memory, with a short path, gone when the tree is.

The owner holds a lock on the file `owner` in it; a folder whose lock is free belongs to a tree that was killed, and is cleared.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from supervision.unix_wire import PATH_BYTES_MAX

PREFIX = "supervision-"
NAME_BYTES = 24
"""What a socket's own name needs below the folder."""


def _bases() -> list[Path]:
    candidates = (Path(f"/run/user/{os.getuid()}"), Path("/dev/shm"), Path(tempfile.gettempdir()))  # noqa: S108 -- made 0700
    own = len(f"/{PREFIX}{os.getpid()}-{'0' * 8}/") + NAME_BYTES
    return [
        base
        for base in candidates
        if base.is_dir() and os.access(base, os.W_OK | os.X_OK) and len(os.fsencode(base)) + own <= PATH_BYTES_MAX
    ]


def _lock(folder: Path) -> int | None:
    """The owner's lock of a folder, or None when somebody holds it."""
    fd = os.open(folder / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _clear_abandoned(base: Path) -> None:
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if (
                folder.stat().st_uid == os.getuid()
                and (folder / "owner").exists()
                and (fd := _lock(folder)) is not None
            ):
                shutil.rmtree(folder, ignore_errors=True)
                os.close(fd)


class Folder:
    """A folder that is ours until `remove`.

    :raises ValueError: another living tree has it, or its path is too long for a socket.
    """

    def __init__(self, wanted: str | os.PathLike[str] | None) -> None:
        if wanted is None:
            bases = _bases()
            for base in bases:
                _clear_abandoned(base)
            if not bases:
                raise ValueError("folder=None finds no place for sockets: set TMPDIR to a short path that is writable")
            self.path = bases[0] / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
            born = self.path.with_name(f".{self.path.name}")  # nobody may take it for abandoned before its lock is held
            born.mkdir(mode=0o700)
            lock = _lock(born)
            born.rename(self.path)
        else:
            self.path = Path(wanted).absolute()
            if len(os.fsencode(self.path)) + NAME_BYTES > PATH_BYTES_MAX:
                limit = PATH_BYTES_MAX - NAME_BYTES
                raise ValueError(
                    f"folder={str(self.path)!r} is too long for sockets: at most {limit} bytes; name a shorter one"
                )
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = _lock(self.path)
        if lock is None:
            raise ValueError(
                f"folder={str(self.path)!r} is in use by another tree; name another one, or stop that tree"
            )
        self._lock_fd = lock
        for entry in list(self.path.iterdir()):
            if entry.name != "owner" and (entry.is_socket() or entry.suffix == ".words"):
                entry.unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock_fd)
