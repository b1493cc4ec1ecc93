"""Locks name their holder, the audit chain shows every change, copies are whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from state import audit, db
from state.audit import AuditError, AuditLog
from state.files import remove_durably, write_durably
from state.locks import AccountLock, InstanceLock, LockedError, instance_holder
from state.migrate import MigrationError, available, statements
from state.store import Store, StoreCorruptError, StoreError
from tests.support import eventually
from trading.machine import Save, Table

ROOT = Path(__file__).parents[2]


def test_the_refusal_of_a_second_instance_names_the_holder_and_death_frees_the_lock(tmp_path):
    code = (
        "import signal, sys; from pathlib import Path; from state.locks import InstanceLock; "
        "lock = InstanceLock(Path(sys.argv[1])); print('held', flush=True); signal.pause()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"pid {holder.pid}"):
        InstanceLock(tmp_path)
    assert instance_holder(tmp_path) == holder.pid
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock = InstanceLock(tmp_path)
    assert instance_holder(tmp_path) == os.getpid()
    lock.release()
    assert instance_holder(tmp_path) is None


def test_a_start_waits_for_the_orphans_of_a_bot_that_was_killed(tmp_path):
    """supervisord starts again at once, and a refusal (exit 3) would be for ever: the bot stayed down until a person looked."""
    code = (
        "import os, signal, sys, time; from pathlib import Path; from state.locks import InstanceLock; "
        "lock = InstanceLock(Path(sys.argv[1])); child = os.fork(); "
        "child or time.sleep(2.0) or os._exit(0); print('held', flush=True); signal.pause()"  # not a wait: so long an orphan lives
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert instance_holder(tmp_path) == holder.pid, "its child still has the lock"
    lock = InstanceLock(tmp_path)
    assert instance_holder(tmp_path) == os.getpid()
    lock.release()


def test_one_account_is_held_once_whatever_the_data_dir():
    tag = f"t{os.getpid()}"
    lock = AccountLock(tag)
    with pytest.raises(LockedError, match="same account"):
        AccountLock(tag)
    lock.release()
    AccountLock(tag).release()


def _log(path, lines):
    log = AuditLog(path)
    for n in range(lines):
        log.append(f"2026-01-01T00:00:0{n}Z", {"kind": "decision", "n": n})
    log.close()


def test_the_chain_goes_on_over_restarts_and_verifies(tmp_path):
    for _ in range(3):
        _log(tmp_path / "oms.jsonl", 3)
    assert audit.verify(tmp_path) == {"oms.jsonl": 9}


def test_a_torn_tail_is_cut_at_every_byte_and_the_next_line_is_not_lost(tmp_path):
    path = tmp_path / "oms.jsonl"
    _log(path, 3)
    whole = path.read_bytes()
    last_start = whole.rfind(b"\n", 0, len(whole) - 1) + 1
    for end in range(last_start + 1, len(whole)):
        path.write_bytes(whole[:end])
        log = AuditLog(path)
        assert log.cut_bytes == end - last_start
        log.append("2026-01-01T00:00:09Z", {"after": "the cut"})
        log.close()
        assert [line["record"] for line in audit.read(path)][-1] == {"after": "the cut"}
        assert audit.verify(tmp_path) == {"oms.jsonl": 3}


_ON_A_FULL_DISK = """
import os, resource, signal, sys
from pathlib import Path
from actors.notes import People
from actors.plan import RunPlan
from trading.machine import Instant, Note

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
people = People(RunPlan(data_dir=folder, env="staging", mode="paper"), "oms", lambda *_: None)
say = lambda n: people.note(Note("decision", {"code": "no_signal", "n": n}), Instant(1_800_000_000.0, True, 1.0))
[say(n) for n in range(3)]
size = (folder / "audit" / "oms.jsonl").stat().st_size
open_before = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))  # a third of a line fits
[say(n) for n in range(200)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
[say(n) for n in range(3)]
print(len(os.listdir("/proc/self/fd")) - open_before, people.lost)
"""


def test_a_full_disk_tears_no_line_in_the_middle_and_costs_no_descriptors(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    more_open, lost = map(int, done.stdout.split())
    assert lost == 200
    assert audit.verify(tmp_path / "audit") == {"oms.jsonl": 6}
    assert more_open <= 1


def test_an_audit_log_that_cannot_be_read_at_its_opening_costs_no_descriptors(tmp_path):
    """It is opened at every note again; a disk with errors took the role's last descriptor within the hour."""
    os.mkfifo(tmp_path / "oms.jsonl")  # opens, and cannot be read by place
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        with pytest.raises(OSError):
            AuditLog(tmp_path / "oms.jsonl")
    assert len(list(descriptors.iterdir())) < before + 20, (
        "fewer than one each; earlier tests' may have been closed meanwhile"
    )


@pytest.mark.parametrize("damage", ["change", "drop", "swap"])
def test_every_damage_in_the_middle_shows(tmp_path, damage):
    path = tmp_path / "oms.jsonl"
    _log(path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "change":
        lines[2] = lines[2].replace(b'"n":2}', b'"n":7}')
    elif damage == "drop":
        del lines[2]
    else:
        lines[2], lines[3] = lines[3], lines[2]
    path.write_bytes(b"".join(lines))
    with pytest.raises(AuditError, match="line 3"):
        audit.verify(tmp_path)


def test_a_backup_of_a_store_in_use_is_whole_and_the_check_counts_rows(tmp_path):
    store = Store(tmp_path / "bulkhead.db", [Table("things", columns={"n": "integer"})])
    store.commit([Save("things", str(n), {"n": n}) for n in range(100)])  # still in the WAL
    copies = db.backup(tmp_path, tmp_path / "copy")
    assert [copy.name for copy in copies] == ["bulkhead.db"]
    finding = db.check(copies[0])
    assert finding.problems == ()
    assert finding.rows["things"] == 100
    assert sqlite3.connect(copies[0]).execute("SELECT max(n) FROM things").fetchone() == (99,)
    kept = db.set_aside(tmp_path / "bulkhead.db")
    assert kept.exists()
    assert not (tmp_path / "bulkhead.db").exists()


def test_the_check_of_a_damaged_store_names_the_way_out(tmp_path):
    path = tmp_path / "bulkhead.db"
    path.write_bytes(b"garbage" * 1000)
    assert "adopt-from-venue" in db.check(path).problems[0]


def test_a_database_from_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "bulkhead.db"
    count = len(available("bulkhead"))
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT, digest TEXT, applied_at TEXT)")
    raw.execute("INSERT INTO migrations VALUES (?, 'future', 'x', '')", (count + 1,))
    raw.commit()
    raw.close()
    with pytest.raises(MigrationError, match="newer Bulkhead"):
        Store(path, [])
    finding = db.check(path)
    assert (finding.fits, "newer Bulkhead" in finding.problems[0]) == (False, True)
    with pytest.raises(StoreError, match="newer Bulkhead"):
        db.migrate_store(path)


def test_migrations_are_cut_into_single_statements_and_unfinished_ones_refused():
    assert statements("-- views\nCREATE VIEW a AS\n SELECT 1;\nCREATE VIEW b AS SELECT 2;\n") == [
        "-- views\nCREATE VIEW a AS\n SELECT 1;",
        "CREATE VIEW b AS SELECT 2;",
    ]
    with pytest.raises(MigrationError, match="middle of a statement"):
        statements("CREATE VIEW a AS SELECT 1")


def test_a_failed_durable_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "file"
    write_durably(path, b"old")
    with pytest.raises(OSError):
        write_durably(path / "below a file", b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    remove_durably(path)
    remove_durably(path)
    assert eventually(lambda: not path.exists())


def test_a_store_that_held_rows_and_holds_none_is_lost_not_new(tmp_path):

    path = tmp_path / "bulkhead.db"
    assert db.lost(path) == ""
    store = Store(path, [Table("orders", columns={"status": "text"})])
    assert db.lost(path) == "", "made, and never written to: a first start"
    store.commit([Save("orders", "a", {"status": "ACCEPTED"})], 1.0)
    store.close()
    assert db.lost(path) == ""
    for name in ("bulkhead.db", "bulkhead.db-wal", "bulkhead.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert "--adopt-from-venue" in db.lost(path)
    with pytest.raises(StoreCorruptError, match="has lost its rows"):
        Store(path, [Table("orders", columns={"status": "text"})])
    assert "has lost its rows" in db.lost(path)
    db.set_aside(path)
    assert "has lost its rows" in db.lost(path), "whoever begins anew may die before a row is saved"
    store = Store(path, [Table("orders", columns={"status": "text"})], begin_anew=True)
    store.commit([Save("orders", "b", {"status": "ACCEPTED"})], 1.0)
    store.close()
    assert db.lost(path) == ""


@pytest.fixture
def whole(tmp_path):
    """A data dir whose book has held rows, beside a store that is whole."""
    for name in ("bulkhead.db", "exits.sqlite"):
        store = Store(tmp_path / name, [Table("things", columns={"n": "integer"})])
        store.commit([Save("things", "a", {"n": 1})], 1.0)
        store.close()
    return tmp_path


@pytest.mark.parametrize("emptied", [False, True], ids=["absent", "emptied"])
def test_a_data_dir_without_its_book_is_not_called_whole(whole, emptied):
    book = whole / "bulkhead.db"
    book.unlink()
    if emptied:
        book.touch()
    assert [path.name for path in db.store_files(whole)] == ["bulkhead.db", "exits.sqlite"]
    lost, kept = (db.check(path) for path in db.store_files(whole))
    assert "has lost its rows" in lost.problems[0]
    assert kept.problems == ()
    with pytest.raises(StoreCorruptError, match="has lost its rows"):
        db.backup(whole, whole / "copy")
    assert (whole / "copy" / "exits.sqlite").exists(), "what is there is copied all the same"


def test_a_damaged_store_has_one_cause_whoever_looks(whole):
    book = whole / "bulkhead.db"
    book.write_bytes(b"garbage!" * 1000)
    assert db.lost(book) == ""
    assert "is damaged" in db.check(book).problems[0]
    assert len(db.check(book).problems) == 1


def test_copies_are_as_private_as_the_stores(whole):
    assert {path.stat().st_mode & 0o777 for path in db.backup(whole, whole / "copy")} == {0o600}


def test_a_backup_into_a_data_dir_is_refused_and_the_running_bots_book_stays_whole(tmp_path):
    """It put the copy in the place of the store that the bot had open; with the next checkpoint the book was malformed."""
    folder = tmp_path / "own"
    store = Store(folder / db.MAIN_STORE, [Table("things", columns={"n": "integer"})], synchronous="NORMAL")
    store.commit([Save("things", "1", {"n": 1})])
    with pytest.raises(StoreError, match="data dir"):
        db.backup(folder, folder / "../own")
    for n in range(2, 3_000):
        store.commit([Save("things", str(n), {"n": n})])
    with sqlite3.connect(folder / db.MAIN_STORE) as reader:
        assert reader.execute("SELECT count(*) FROM things").fetchone() == (2_999,)
    store.close()
