"""Raw frames on disk as they came, with both receive times, so that a day can be played again exactly.

A recording is a folder of `feed-<UTC>.jsonl.gz` files: gzip members one after another (`zcat` reads them), each member
complete in itself and about a second or 256 kB long. A crash tears the last member at most, and a reader stops before it.
One line a frame: `{"boot_s": ..., "utc_s": ..., "connection": n, "frame": "<the venue's text>"}`; the first line of a file
says what it is. boot_s is the receive time on the boot clock, utc_s the same instant on the computer's clock.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import define, frozen

from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.feed_session import MARKET_CHANNELS, FeedSession, SessionLimits
from exchange.coinbase.feed_words import Connected, Disconnected, Happening
from exchange.coinbase.market_socket import MarketSocket

MEMBER_BYTES, MEMBER_S = 256 << 10, 1.0
FILE_BYTES_MAX = 256 << 20
FORMAT = "bulkhead-feed-1"


@frozen
class RecordedFrame:
    boot_s: float
    utc_s: float
    connection: int
    frame: str


class FeedRecorder:
    """A `raw_sink` for a feed socket. Writing fails? It raises there, is counted there, and the feed goes on."""

    def __init__(self, folder: Path, *, note: str = "", level: int = 6) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._note, self._level = folder, note, level
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._since_s = time.monotonic()
        self._path: Path | None = None
        self._written = 0
        self.frames = 0

    def take(self, frame: str, boot_s: float, connection: int) -> None:
        row = {"boot_s": boot_s, "utc_s": time.time(), "connection": connection, "frame": frame}
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            self.frames += 1
            self._lines.append(line)
            self._bytes += len(line)
            if self._bytes >= MEMBER_BYTES or time.monotonic() - self._since_s >= MEMBER_S:
                self._flush()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    close = flush

    @property
    def written_bytes(self) -> int:
        return self._written

    def _flush(self) -> None:
        lines, self._lines, self._bytes, self._since_s = self._lines, [], 0, time.monotonic()
        if not lines:
            return
        if self._path is None or self._path.stat().st_size >= FILE_BYTES_MAX:
            stamp = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            self._path = self._folder / f"feed-{stamp}.jsonl.gz"
            head = {"format": FORMAT, "note": self._note, "utc_s": time.time()}
            lines.insert(0, json.dumps(head).encode() + b"\n")
        packer = zlib.compressobj(self._level, zlib.DEFLATED, 31)  # 31: with gzip's header and checksum
        member = packer.compress(b"".join(lines)) + packer.flush()
        with self._path.open("ab") as file:
            file.write(member)
        self._written += len(member)


@define
class ReadingReport:
    """torn_bytes: at the ends of files, left by a crash. broken_lines: that are no frames."""

    files: int = 0
    frames: int = 0
    torn_bytes: int = 0
    broken_lines: int = 0


def _members(path: Path, report: ReadingReport) -> Iterator[bytes]:
    """The complete gzip members of one file, unpacked."""
    data = path.read_bytes()
    while data:
        unpacker = zlib.decompressobj(31)
        try:
            text = unpacker.decompress(data)
        except zlib.error:
            break
        if not unpacker.eof:
            break
        yield text
        data = unpacker.unused_data
    report.torn_bytes += len(data)


def read_recording(folder: Path, report: ReadingReport | None = None) -> Iterator[RecordedFrame]:
    """All frames of a folder (or of one file) in the order they were received. ValueError for what is no recording."""
    report = ReadingReport() if report is None else report
    paths = [folder] if folder.is_file() else sorted(folder.glob("feed-*.jsonl.gz"))
    if not paths:
        raise ValueError(f"{folder} holds no recording: it takes files named feed-*.jsonl.gz, made by `run.py record`")
    for path in paths:
        report.files += 1
        for member in _members(path, report):
            for line in member.splitlines():
                try:
                    row = json.loads(line)
                    if "format" in row:
                        continue
                    frame = RecordedFrame(
                        float(row["boot_s"]), float(row["utc_s"]), int(row["connection"]), str(row["frame"])
                    )
                except (ValueError, KeyError, TypeError):
                    report.broken_lines += 1
                    continue
                report.frames += 1
                yield frame


def replay(
    frames: Iterable[RecordedFrame],
    products: Iterable[str],
    channels: tuple[str, ...] = MARKET_CHANNELS,
    limits: SessionLimits | None = None,
) -> Iterator[tuple[float, list[Happening]]]:
    """(boot_s, happenings) of each frame through the same session machine as live, a new session for each connection.

    Deterministic: the same recording tells the same happenings. Silence is judged by the recorded times.
    """
    wanted = tuple(products)
    session: FeedSession | None = None
    connection = 0
    for frame in frames:
        if session is None or frame.connection != connection:
            if session is not None:
                yield frame.boot_s, [Disconnected(connection, "the recording goes on with another connection", 0.0)]
            connection = frame.connection
            session = FeedSession(wanted, channels, opened_boot_s=frame.boot_s, epoch=connection, limits=limits)
            yield frame.boot_s, [Connected(connection)]
        happenings = session.tick(frame.boot_s) + session.receive(frame.frame, frame.boot_s)
        if happenings:
            yield frame.boot_s, happenings


@frozen(kw_only=True)
class RecordingDone:
    """What one `record` has written. reconnects: each begins a new session on replay."""

    folder: Path
    frames: int
    written_bytes: int
    reconnects: int
    recorder_errors: int
    reason: str


def record(
    endpoints: Endpoints,
    products: Sequence[str],
    folder: Path,
    seconds: float | None,
    *,
    stop: threading.Event | None = None,
    told: Callable[[int, int], None] = lambda _frames, _bytes: None,
) -> RecordingDone:
    """Record the market feed for `seconds` (None: until `stop`). told: (frames, bytes written) once a second."""
    stop = stop or threading.Event()
    recorder = FeedRecorder(folder, note=f"{endpoints.ws_market} {','.join(products)}")
    feed = MarketSocket(endpoints, products, lambda _happenings: None, raw_sink=recorder.take)
    feed.start()
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        while not stop.is_set() and (deadline is None or time.monotonic() < deadline):
            stop.wait(1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic())))
            told(recorder.frames, recorder.written_bytes)
    finally:
        health = feed.health()
        feed.stop()
        recorder.close()
    return RecordingDone(
        folder=folder,
        frames=recorder.frames,
        written_bytes=recorder.written_bytes,
        reconnects=health.reconnects,
        recorder_errors=health.counts.get("recorder_errors", 0),
        reason=health.reason,
    )
