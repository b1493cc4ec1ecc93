"""Small files that must survive: written beside, synced, renamed, and the folder synced, so that a reader sees old or new."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, body: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `body`, on the disk when it returns. Raises OSError, and then `path` is as before."""
    _replace(path, body, mode, synced=True)
    sync_folder(path.parent)


def write_atomically(path: Path, body: bytes, mode: int = 0o600) -> None:
    """As `write_durably` without the syncs: never torn, but a power cut may bring the old one back. Raises OSError."""
    _replace(path, body, mode, synced=False)


def _replace(path: Path, body: bytes, mode: int, *, synced: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            view = memoryview(body)
            while view:
                view = view[os.write(descriptor, view) :]
            if synced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.rename(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def remove_durably(path: Path) -> None:
    """Gone, on the disk too, when it returns; a file that is not there is fine. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
