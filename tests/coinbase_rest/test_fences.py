"""The fence files: written durably, read before each order, closed when they cannot be read (protocol sections 2, 5, 6)."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from exchange.coinbase import fences as f
from exchange.coinbase.fences import Beat, Fences, KillRecord


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_an_empty_folder_has_open_fences_and_no_beat(run: Path) -> None:
    assert f.read_fences(run) == Fences()


def test_what_is_written_is_read(run: Path) -> None:
    f.write_beat(run, Beat(3, "ready", 12.3456))
    f.write_guardian_fence(run, 2)
    f.write_drain_fence(run, 3)
    f.write_kill_record(run, KillRecord(engaged=True, cause="test", name="ann"))
    assert f.read_fences(run) == Fences(
        killed=True, kill_cause="test", guardian_run=2, drain_run=3, beat=Beat(3, "ready", 12.346)
    )


@pytest.mark.parametrize("content", ["", "engage", '{"cause":"x"}', "\0\0"])
def test_the_kill_file_counts_whatever_it_holds(run: Path, content: str) -> None:
    (run.parent / f.KILL_FILE).write_text(content)
    assert f.read_fences(run).killed


@pytest.mark.parametrize("content", ["", "{", "[]", '{"engaged":null}', '{"engaged":"no"}', '{"paused":false}', "\xff"])
def test_a_kill_record_that_cannot_be_believed_is_engaged(run: Path, content: str) -> None:
    (run / f.KILL_RECORD).write_bytes(content.encode("latin-1"))
    assert f.read_fences(run).killed


def test_a_record_with_numbers_for_booleans_and_more_fields_is_read(run: Path) -> None:
    (run / f.KILL_RECORD).write_text('{"engaged":0,"paused":1,"pause_cause":"lunch","commands":"' + "x" * 20_000 + '"}')
    assert f.kill_engaged(run) == (False, "")
    record = f.read_kill_record(run)
    assert record is not None
    assert (record.paused, record.pause_cause) == (True, "lunch")


def test_deleting_the_file_does_not_rearm_while_the_record_stands(run: Path) -> None:
    f.engage_kill_file(run, cause="c", name="n", source="ctl")
    f.write_kill_record(run, KillRecord(engaged=True, cause="c"))
    (run.parent / f.KILL_FILE).unlink()
    assert f.read_fences(run).killed


def test_rearm_clears_both(run: Path) -> None:
    f.engage_kill_file(run, cause="c", name="n", source="ctl")
    f.write_kill_record(run, KillRecord(engaged=True))
    f.clear_kill(run, KillRecord(engaged=False, cause="over", name="ann"))
    assert not f.read_fences(run).killed
    assert not (run.parent / f.KILL_FILE).exists()


def test_a_crash_in_the_middle_of_a_rearm_leaves_it_engaged(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    f.engage_kill_file(run, cause="c", name="n", source="ctl")
    f.write_kill_record(run, KillRecord(engaged=True))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", die)
    with pytest.raises(KeyboardInterrupt):
        f.clear_kill(run, KillRecord(engaged=False))
    assert f.read_fences(run).killed


def test_a_full_disk_does_not_disarm_the_kill(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    f.prepare_kill_file(run)
    inode = (run / f.KILL_PREPARED).stat().st_ino

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f, "write_durably", full)
    f.engage_kill_file(run, cause="c", name="n", source="file")
    assert (run.parent / f.KILL_FILE).stat().st_ino == inode
    assert f.read_fences(run).killed


def test_engaging_twice_and_preparing_again_is_harmless(run: Path) -> None:
    f.prepare_kill_file(run)
    for _ in range(2):
        f.engage_kill_file(run, cause="c", name="n", source="file")
    assert json.loads((run.parent / f.KILL_FILE).read_text())["cause"] == "c"
    assert (run / f.KILL_PREPARED).exists()


def test_the_guardians_fence_is_never_lowered(run: Path) -> None:
    f.write_guardian_fence(run, 5)
    f.write_guardian_fence(run, 3)
    assert f.read_fences(run).guardian_run == 5


@pytest.mark.parametrize("content", ["", "{}", '{"run":"5"}', '{"run":true}', "nonsense"])
def test_a_fence_that_cannot_be_read_closes_every_run(run: Path, content: str) -> None:
    (run / f.GUARDIAN_FENCE).write_text(content)
    (run / f.DRAIN).write_text(content)
    fences = f.read_fences(run)
    assert fences.closed_for_entry(10**9, 0.0, 10.0) == "fenced:guardian"
    assert fences.draining(10**9)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"run":1,"state":"dancing","boot_s":1}', '{"run":"1","state":"ready","boot_s":1}']
)
def test_a_beat_that_cannot_be_read_is_no_beat(run: Path, content: str) -> None:
    (run / f.BEAT).write_text(content)
    assert f.read_fences(run).beat is None


def test_a_beat_is_64_bytes_rewritten_in_place(run: Path) -> None:
    f.write_beat(run, Beat(1, "starting", 1.0))
    inode = (run / f.BEAT).stat().st_ino
    f.write_beat(run, Beat(123_456_789, "draining", 123_456_789.123))
    found = (run / f.BEAT).stat()
    assert (found.st_ino, found.st_size) == (inode, 64)
    assert f.read_beat(run) == Beat(123_456_789, "draining", 123_456_789.123)
    with pytest.raises(ValueError, match="dancing"):
        f.write_beat(run, Beat(1, "dancing", 1.0))


def test_readers_never_see_a_half_written_fence(run: Path) -> None:
    stop = threading.Event()
    seen: set[bool] = set()

    def read() -> None:
        while not stop.is_set():
            fences = f.read_fences(run)
            seen.add(fences.killed)
            if fences.beat is not None:
                assert fences.beat.boot_s == fences.beat.run

    f.write_kill_record(run, KillRecord())
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        f.write_kill_record(run, KillRecord(engaged=False, cause="x" * (number % 50)))
        f.write_beat(run, Beat(number, "ready", float(number)))
    stop.set()
    reader.join()
    assert seen == {False}


def test_an_unreadable_folder_is_closed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def eio(path: object, *args: object, **kwargs: object) -> int:
        if str(path).endswith((f.KILL_RECORD, f.BEAT, f.GUARDIAN_FENCE)):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", eio)
    fences = f.read_fences(run)
    assert fences.killed
    assert fences.closed_for_entry(1, 0.0, 10.0)
