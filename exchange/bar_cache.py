"""Closed bars on disk, numbered, so that none is lost and every reader keeps its own place.

One file a series, `<run>/bars/BTC-USD.60.bars`: a header with the number of its first record, then records of one size,
each with a checksum. One writer (the market feed) appends without fsync, since bars can be fetched again; any number of
readers ask for what came `since` a number. Numbers rise by one, also over restarts and over the day when the file is
cut to its newest records; a torn tail is cut on opening and never read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from trading.messages.market import Bar

KEEP, CUT_AT = 5_000, 10_000
"""Records kept when a file has grown to CUT_AT: 3.5 days of minutes, seven months of hours."""

_HEAD = struct.Struct("=8sIIq")  # magic, bar_s, record size, number of the first record
_MAGIC = b"BHBARS1\0"
_ROW = struct.Struct("=qqdddddII")  # number, start, open, high, low, close, volume, flags, checksum of the rest
_PLAIN = struct.Struct("=qqdddddI")
_NAME = re.compile(r"[A-Z0-9]{1,12}-[A-Z0-9]{1,12}")


def _path(folder: Path, product_id: str, bar_s: int) -> Path:
    if not _NAME.fullmatch(product_id):
        raise ValueError(f"{product_id!r} cannot name a bar file in {folder}: a product looks like BTC-USD")
    return folder / f"{product_id}.{bar_s}.bars"


def _pack(bar: Bar) -> bytes:
    plain = _PLAIN.pack(bar.number, bar.start_s, bar.open, bar.high, bar.low, bar.close, bar.volume, int(bar.backfill))
    return plain + struct.pack("=I", zlib.crc32(plain))


def _unpack(data: bytes, product_id: str, bar_s: int) -> list[Bar]:
    """The bars of `data` up to the first record that does not fit its checksum."""
    bars = []
    for at in range(0, len(data) - _ROW.size + 1, _ROW.size):
        record = data[at : at + _ROW.size]
        number, start, opened, high, low, close, volume, flags, check = _ROW.unpack(record)
        if zlib.crc32(record[: _PLAIN.size]) != check:
            break
        bars.append(Bar(product_id, bar_s, start, opened, high, low, close, volume, number, bool(flags)))
    return bars


class _Series:
    """The writer's side of one file."""

    def __init__(self, path: Path, product_id: str, bar_s: int) -> None:
        self._path, self._product_id, self._bar_s = path, product_id, bar_s
        self.last: Bar | None = None
        self.next_number = 1
        self._count = 0
        self._descriptor = -1
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        fits = len(data) >= _HEAD.size and _HEAD.unpack_from(data)[:3] == (_MAGIC, bar_s, _ROW.size)
        if not fits:
            self._rewrite([])
            return
        bars = _unpack(data[_HEAD.size :], product_id, bar_s)
        self.next_number = bars[-1].number + 1 if bars else _HEAD.unpack_from(data)[3]
        self._count, self.last = len(bars), bars[-1] if bars else None
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(self._descriptor, _HEAD.size + len(bars) * _ROW.size)

    def _rewrite(self, bars: list[Bar]) -> None:
        """A whole new file under the same name: readers see the change of inode and open it again."""
        fresh = self._path.with_suffix(".new")
        first = bars[0].number if bars else self.next_number
        fresh.write_bytes(_HEAD.pack(_MAGIC, self._bar_s, _ROW.size, first) + b"".join(map(_pack, bars)))
        fresh.replace(self._path)
        self.close()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._count, self.last = len(bars), bars[-1] if bars else None

    def append(self, bars: list[Bar]) -> None:
        """Raises OSError when there is no room for all of them, and then none is kept."""
        first = self.next_number
        for number, bar in enumerate(bars, first):
            bar.number = number
        body = b"".join(map(_pack, bars))
        try:
            if os.write(self._descriptor, body) != len(body):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError:
            os.ftruncate(self._descriptor, _HEAD.size + self._count * _ROW.size)
            raise
        self.next_number = first + len(bars)
        self._count, self.last = self._count + len(bars), bars[-1]
        if self._count >= CUT_AT:
            data = os.pread(self._descriptor, KEEP * _ROW.size, _HEAD.size + (self._count - KEEP) * _ROW.size)
            with contextlib.suppress(OSError):  # it is cut another time
                self._rewrite(_unpack(data, self._product_id, self._bar_s))

    def forget(self) -> None:
        self._rewrite([])

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class BarWriter:
    """The market feed's side: `append` numbers and keeps; `last` is where a new incarnation goes on."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._series: dict[tuple[str, int], _Series] = {}
        self.lost = 0

    def _of(self, product_id: str, bar_s: int) -> _Series:
        series = self._series.get((product_id, bar_s))
        if series is None:
            path = _path(self._folder, product_id, bar_s)
            series = self._series[product_id, bar_s] = _Series(path, product_id, bar_s)
        return series

    def last(self, product_id: str, bar_s: int) -> Bar | None:
        try:
            return self._of(product_id, bar_s).last
        except OSError:
            return None

    def append(self, bars: Iterable[Bar]) -> list[Bar]:
        """Numbers each bar and writes it. A bar that does not follow its series' last one is left out: nothing is told twice.
        What the disk has no room for is `lost`: a gap for whoever reads, and quotes go on.
        """
        groups: dict[tuple[str, int], list[Bar]] = {}
        kept: list[Bar] = []
        for bar in bars:
            group = groups.setdefault((bar.product_id, bar.bar_s), [])
            last = group[-1] if group else self.last(bar.product_id, bar.bar_s)
            if last is None or bar.start_s > last.start_s:
                group.append(bar)
                kept.append(bar)
        for key, group in groups.items():
            if group:
                try:
                    self._of(*key).append(group)
                except OSError:
                    self.lost += len(group)
                    kept = [bar for bar in kept if (bar.product_id, bar.bar_s) != key]
        return kept

    def forget(self, product_id: str, bar_s: int) -> None:
        """Drop the records (they lie in this venue's future, or nobody trusts them); the numbers go on rising."""
        with contextlib.suppress(OSError):
            self._of(product_id, bar_s).forget()

    def close(self) -> None:
        for series in self._series.values():
            series.close()
        self._series.clear()


class BarReader:
    """Any role's side. What cannot be read is not there yet: an empty list, never an exception."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def since(
        self, product_id: str, bar_s: int, after_number: int, limit: int = CUT_AT, *, as_history: bool = False
    ) -> list[Bar]:
        """Bars numbered above `after_number`, oldest first. as_history: mark them all `backfill` (a machine's first look)."""
        try:
            with open(_path(self._folder, product_id, bar_s), "rb", buffering=0) as file:  # noqa: PTH123 -- unbuffered
                head = file.read(_HEAD.size)
                magic, width, size, first = _HEAD.unpack(head)
                if (magic, width, size) != (_MAGIC, bar_s, _ROW.size):
                    return []
                file.seek(_HEAD.size + max(0, after_number + 1 - first) * _ROW.size)
                data = file.read(limit * _ROW.size) or b""
        except (OSError, ValueError, struct.error):
            return []
        bars = _unpack(data, product_id, bar_s)
        if as_history:
            for bar in bars:
                bar.backfill = True
        return bars

    def newest(self, product_id: str, bar_s: int, count: int, *, as_history: bool = False) -> list[Bar]:
        """The last `count` bars, oldest first."""
        try:
            size = _path(self._folder, product_id, bar_s).stat().st_size
        except (OSError, ValueError):
            return []
        records = max(0, (size - _HEAD.size) // _ROW.size)
        bars = self.since(product_id, bar_s, -1, as_history=as_history) if records <= count else []
        if not bars and records:
            first = self.since(product_id, bar_s, -1, 1)
            if first:
                bars = self.since(product_id, bar_s, first[0].number + records - count - 1, as_history=as_history)
        return bars[-count:]
