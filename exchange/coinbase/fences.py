"""Fences: small files that close the way to the venue, read directly before the bytes of an order leave.

They work when actors do not: whoever must stop orders writes a file, and the gateway's lanes look at the files each
time. `Fences` is the pure reading of them; `may_post` (gateway.py) judges it. The files, below `<data-dir>`:

    KILL_SWITCH          engaged when it exists, whatever it holds (one line of JSON: cause, name, source)
    run/kill.json        KillRecord: engaged and paused, each with cause, name and time
    run/guardian.fence   {"run": N}: entries of runs <= N are closed; only ever raised, never cleared
    run/beat             64 bytes rewritten in place: {"run": N, "state": "ready", "boot_s": 1234.567}, padded, newline
    run/drain            {"run": N}: everything of run N is closed

Written as protocol.md section 5 asks: a temporary file, fsync, rename, fsync of the directory; the beat in place on a
preallocated file; KILL_SWITCH by renaming a file that was prepared at start, since a full disk must not disarm it. What
exists but cannot be read closes (a kill record: killed; a beat: late), since silence means no.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import asdict, fields, frozen

KILL_FILE = "KILL_SWITCH"
KILL_PREPARED = "kill_switch.prepared"
KILL_RECORD = "kill.json"
GUARDIAN_FENCE = "guardian.fence"
BEAT = "beat"
DRAIN = "drain"
BEAT_BYTES = 64
FILE_BYTES_MAX = 65_536
ANY_RUN = 2**62
BEAT_STATES = frozenset({"starting", "ready", "parked", "draining", "stopped"})


@frozen
class Beat:
    """run: whose beat; boot_s: boot clock when it was written."""

    run: int
    state: str
    boot_s: float


@frozen(kw_only=True)
class KillRecord:
    """The durable half of the kill and pause latches. at_s: venue seconds."""

    engaged: bool = False
    cause: str = ""
    name: str = ""
    source: str = ""
    at_s: float | None = None
    paused: bool = False
    pause_cause: str = ""
    pause_name: str = ""


@frozen(kw_only=True)
class Fences:
    """What the files say now. guardian_run, drain_run: 0 when there is none. beat None: missing or unreadable."""

    killed: bool = False
    kill_cause: str = ""
    guardian_run: int = 0
    drain_run: int = 0
    beat: Beat | None = None

    def closed_for_entry(self, run: int, now_boot_s: float, beat_age_s_max: float) -> str:
        """A code when entries of `run` are closed by guardian or beat, else ""."""
        if run <= self.guardian_run:
            return "fenced:guardian"
        if self.beat is None:
            return "fenced:beat_missing"
        if self.beat.run != run:
            return "fenced:beat_of_other_run"
        if now_boot_s - self.beat.boot_s > beat_age_s_max:
            return "fenced:beat_late"
        return ""

    def draining(self, run: int) -> bool:
        """An unreadable drain fence closes every run: `drain_run` is then larger than any."""
        return run == self.drain_run or self.drain_run >= ANY_RUN


OPEN_FENCES = Fences()
FencesPort = Callable[[], Fences]
"""Read anew at each call; live `lambda: read_fences(run_folder)`."""


def read_fences(run_folder: Path, data_folder: Path | None = None) -> Fences:
    """All fences in about 60 µs. Never raises: what cannot be read is closed. data_folder: parent of `run_folder` unless given."""
    killed, cause = kill_engaged(run_folder, data_folder)
    return Fences(
        killed=killed,
        kill_cause=cause,
        guardian_run=_run_number(run_folder / GUARDIAN_FENCE),
        drain_run=_run_number(run_folder / DRAIN),
        beat=read_beat(run_folder),
    )


def kill_engaged(run_folder: Path, data_folder: Path | None = None) -> tuple[bool, str]:
    """(engaged, cause): the file exists, or the record says so, or one of them cannot be read."""
    try:
        ((data_folder or run_folder.parent) / KILL_FILE).stat()
        return True, "file KILL_SWITCH"
    except FileNotFoundError:
        pass
    except OSError as error:
        return True, f"KILL_SWITCH cannot be looked at: {error.strerror}"
    try:
        record = read_kill_record(run_folder)
    except (OSError, ValueError) as error:
        return True, f"kill record cannot be read: {error}"
    return (record.engaged, record.cause) if record else (False, "")


def read_kill_record(run_folder: Path) -> KillRecord | None:
    """None when there is none. OSError or ValueError when there is one that cannot be believed."""
    found = _read(run_folder / KILL_RECORD)
    if found is None:
        return None
    known = {key: found[key] for key in _KILL_KEYS if key in found}
    for name in ("engaged", "paused"):
        value = known.get(name, False if name == "paused" else None)
        if value not in (True, False):  # 1 and 0 too: rows hold no booleans of their own
            raise ValueError(f"{KILL_RECORD}: {name} is {value!r}, neither true nor false")
        known[name] = bool(value)
    return KillRecord(**known)


_KILL_KEYS = tuple(attribute.name for attribute in fields(KillRecord))


def write_kill_record(run_folder: Path, record: KillRecord, **more: Any) -> None:
    """Durable when it returns; OSError when it is not. more: further fields that kill_switch keeps beside (deduplication)."""
    write_durably(run_folder / KILL_RECORD, {**more, **asdict(record)})


def prepare_kill_file(run_folder: Path) -> None:
    """Once at start: the file that `engage_kill_file` renames, with blocks of its own, so that ENOSPC cannot stop a kill."""
    target = run_folder / KILL_PREPARED
    if not target.exists():
        write_durably(target, {"cause": "engaged; the cause is in run/kill.json", "name": "", "source": ""})


def engage_kill_file(run_folder: Path, *, cause: str, name: str, source: str, data_folder: Path | None = None) -> None:
    """KILL_SWITCH exists, durably, when this returns. The cause is written into it when the disk allows. OSError otherwise."""
    data = data_folder or run_folder.parent
    target, prepared = data / KILL_FILE, run_folder / KILL_PREPARED
    if not target.exists():
        try:
            prepared.rename(target)
        except FileNotFoundError:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
        _sync_folder(data)
    try:
        write_durably(target, {"cause": cause, "name": name, "source": source})
        prepare_kill_file(run_folder)
    except OSError:
        _sync_folder(data)  # it exists, and existing is all that counts


def kill_file_id(found: os.stat_result) -> str:
    """Names one putting of the file into its place: ctime moves with every rename, link and copy; mtime and inode may come back."""
    return f"file:{found.st_ino}:{found.st_ctime_ns}"


def clear_kill(run_folder: Path, record: KillRecord, data_folder: Path | None = None) -> None:
    """Re-arm: record first, then the file; whatever happens in between, one of them still says engaged."""
    data = data_folder or run_folder.parent
    write_kill_record(run_folder, record)
    (data / KILL_FILE).unlink(missing_ok=True)
    _sync_folder(data)


def write_guardian_fence(run_folder: Path, run: int) -> None:
    """Closes entries of runs <= `run`; never lowered."""
    write_durably(run_folder / GUARDIAN_FENCE, {"run": max(run, _run_number(run_folder / GUARDIAN_FENCE, broken=0))})


def write_drain_fence(run_folder: Path, run: int) -> None:
    write_durably(run_folder / DRAIN, {"run": run})


def write_beat(run_folder: Path, beat: Beat) -> None:
    """In place, 64 bytes in one write: no allocation, so a full disk cannot stop it. ValueError for a state that does not exist."""
    if beat.state not in BEAT_STATES:
        raise ValueError(f"{beat.state!r} is no state of a beat; there are {', '.join(sorted(BEAT_STATES))}")
    text = json.dumps({"run": beat.run, "state": beat.state, "boot_s": round(beat.boot_s, 3)}, separators=(",", ":"))
    line = text.encode().ljust(BEAT_BYTES - 1) + b"\n"
    if len(line) != BEAT_BYTES:
        raise ValueError(f"a beat of {len(line)} bytes does not fit into {BEAT_BYTES}: {text}")
    descriptor = os.open(run_folder / BEAT, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, line, 0)
    finally:
        os.close(descriptor)


def read_beat(run_folder: Path) -> Beat | None:
    """None when there is none or it cannot be believed; a torn reading is repeated once."""
    for _ in range(2):
        try:
            found = _read(run_folder / BEAT)
            if found is None:
                return None
            run, state, boot_s = found["run"], found["state"], found["boot_s"]
            if isinstance(run, int) and state in BEAT_STATES and isinstance(boot_s, int | float):
                return Beat(run, state, float(boot_s))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def write_durably(target: Path, content: dict[str, Any]) -> None:
    """One line of JSON: temporary file, fsync, rename, fsync of the directory. OSError when it is not durable."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, (json.dumps(content, separators=(",", ":")) + "\n").encode())
        os.fsync(descriptor)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    temporary.rename(target)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any] | None:
    """The file's JSON object, None when it does not exist. OSError, or ValueError for anything else in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(os.read(descriptor, FILE_BYTES_MAX))
    finally:
        os.close(descriptor)
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds {type(found).__name__}, not an object")
    return found


def _run_number(path: Path, broken: int = ANY_RUN) -> int:
    """0 when there is no such file; `broken` when it cannot be believed (by default it then closes every run)."""
    try:
        found = _read(path)
        if found is None:
            return 0
        run = found["run"]
        return run if isinstance(run, int) and not isinstance(run, bool) else broken
    except (OSError, ValueError, KeyError):
        return broken
