"""A file of frames: a line that names the format, then (length, zlib) blocks; written behind, read up to a torn end.

Nobody's money hangs on such a file: a crash loses the last second, and a disk that takes no writes ends the recording.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

TOLD = b"BULKHEAD TOLD 1\n"
"""The format of what machines are told: written by `actors/told.py`, read by `simulation/replay.py`."""
LENGTH = struct.Struct(">I")
FRAME_BYTES_MAX = 1 << 26
FLUSH_BYTES, FLUSH_S = 1 << 17, 1.0


class FramesError(Exception):
    """The file cannot be read as frames; one sentence."""


class FrameWriter:
    """Appends byte strings to a new file, several to a frame. `bytes_max`: the file grows no further (`full`)."""

    def __init__(
        self, path: Path, magic: bytes, *, bytes_max: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb", buffering=0)
        self._file.write(magic)
        self._clock = clock
        self._left = bytes_max
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._flushed_s = clock()
        self.full = False

    def write(self, entry: bytes) -> None:
        """Kept until there is a frame's worth of it, or a second has passed since the last one."""
        if self.full:
            return
        self._held.append(entry)
        self._held_bytes += len(entry)
        if self._held_bytes >= FLUSH_BYTES or self._clock() >= self._flushed_s + FLUSH_S:
            self.flush()

    def flush(self) -> None:
        if not self._held or self.full:
            return
        packed = zlib.compress(b"".join(LENGTH.pack(len(entry)) + entry for entry in self._held), 1)
        self._held, self._held_bytes = [], 0
        self._flushed_s = self._clock()
        self._left -= len(packed) + LENGTH.size
        if self._left < 0:
            self.full = True
            return
        try:
            self._file.write(LENGTH.pack(len(packed)) + packed)
        except OSError:
            self.full = True

    def close(self) -> None:
        self.flush()
        self._file.close()


def read_frames(path: Path, magic: bytes) -> Iterator[bytes]:
    """Every entry in order. A frame that ends early is the torn end of a killed writer and is left out.

    Raises FramesError for a file of another format and for a whole frame that does not unpack: somebody changed it.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise FramesError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        head = file.read(len(magic))
        if head != magic:
            raise FramesError(f"{path} is no recording: it begins with {head[:16]!r} instead of {magic!r}")
        number = 0
        while True:
            length = file.read(LENGTH.size)
            if len(length) < LENGTH.size:
                return
            (size,) = LENGTH.unpack(length)
            number += 1
            if size > FRAME_BYTES_MAX:
                raise FramesError(f"{path}, frame {number}: a frame of {size} bytes; no writer of ours makes one")
            packed = file.read(size)
            if len(packed) < size:
                return
            yield from _unpacked(path, number, packed)


def _unpacked(path: Path, number: int, packed: bytes) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, FRAME_BYTES_MAX)
    except zlib.error as error:
        raise FramesError(f"{path}, frame {number} is damaged ({error}); the recording was changed or broke") from error
    if not unpacker.eof:
        raise FramesError(f"{path}, frame {number} is damaged (it unpacks to more or less than one frame)")
    at = 0
    while at < len(raw):
        (size,) = LENGTH.unpack_from(raw, at) if at + LENGTH.size <= len(raw) else (len(raw),)
        at += LENGTH.size
        if at + size > len(raw):
            raise FramesError(f"{path}, frame {number} is damaged (an entry is longer than its frame)")
        yield raw[at : at + size]
        at += size
