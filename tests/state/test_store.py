"""The store keeps its promises: one transaction, facts stay facts, and every error says what to do."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from state.store import FactConflictError, Store, StoreCorruptError, StoreReadOnlyError
from trading.machine import Save, Table

ORDERS = Table("orders", columns={"size": "text", "n": "integer", "at_s": "real", "open": "integer"})
FILLS = Table("fills", fact=True, columns={"price": "text", "trade_id": "text"}, unique=("trade_id",))
LOOSE = Table("loose")
TABLES = (ORDERS, FILLS, LOOSE)
ROOT = Path(__file__).parents[2]


def test_a_row_comes_back_complete_after_reopening(tmp_path):
    store = Store(tmp_path / "book.sqlite", TABLES)
    store.commit(
        [Save("orders", "a", {"size": "0.10", "n": 3, "at_s": 1.5, "open": True}), Save("loose", "x", {"y": 1})]
    )
    store.close()
    rows = Store(tmp_path / "book.sqlite", TABLES).live_rows()
    assert rows["orders"] == {"a": {"size": "0.10", "n": 3, "at_s": 1.5, "open": 1, "live": 1}}
    assert rows["loose"] == {"x": {"y": 1, "live": 1}}


def test_saving_again_replaces_the_whole_row_and_absent_columns_become_null(tmp_path):
    store = Store(tmp_path / "book.sqlite", TABLES)
    store.commit([Save("orders", "a", {"size": "1", "n": 3})])
    store.commit([Save("orders", "a", {"size": "2"})])
    assert store.live_rows()["orders"]["a"] == {"size": "2", "n": None, "at_s": None, "open": None, "live": 1}


def test_rows_that_are_no_longer_live_are_kept_but_not_recovered(tmp_path):
    store = Store(tmp_path / "book.sqlite", TABLES)
    store.commit([Save("orders", "a", {"size": "1"}), Save("orders", "b", {"size": "2"})])
    store.commit([Save("orders", "a", {"size": "1", "live": False})])
    assert list(store.live_rows()["orders"]) == ["b"]
    db = sqlite3.connect(tmp_path / "book.sqlite")
    assert db.execute("SELECT count(*) FROM orders").fetchone() == (2,)


def test_a_fact_refuses_a_different_row_and_the_transaction_is_undone(tmp_path):
    store = Store(tmp_path / "book.sqlite", TABLES)
    store.commit([Save("fills", "f", {"price": "10", "trade_id": "t"})])
    store.commit([Save("fills", "f", {"price": "10", "trade_id": "t", "live": False})])  # told again: fine
    with pytest.raises(FactConflictError, match="must not become '11'"):
        store.commit([Save("orders", "a", {"size": "1"}), Save("fills", "f", {"price": "11", "trade_id": "t"})])
    assert store.live_rows()["orders"] == {}


def test_a_unique_column_refuses_a_second_row_with_its_value(tmp_path):
    store = Store(tmp_path / "book.sqlite", TABLES)
    store.commit([Save("fills", "f", {"price": "10", "trade_id": "t"})])
    with pytest.raises(FactConflictError, match=r"fills\.trade_id"):
        store.commit([Save("orders", "a", {"size": "1"}), Save("fills", "g", {"price": "10", "trade_id": "t"})])
    assert store.live_rows()["orders"] == {}


@pytest.mark.parametrize(
    ("save", "error", "words"),
    [
        (Save("positions", "a", {}), KeyError, "must declare it"),
        (Save("orders", "a", {"colour": "red"}), KeyError, "colour"),
        (Save("orders", "a", {"size": 1.5}), ValueError, "holds text"),
        (Save("orders", "a", {"n": "3"}), ValueError, "holds integer"),
    ],
)
def test_what_was_not_declared_is_refused_and_nothing_is_saved(tmp_path, save, error, words):
    store = Store(tmp_path / "book.sqlite", TABLES)
    with pytest.raises(error, match=words):
        store.commit([Save("orders", "b", {"size": "1"}), save])
    assert store.live_rows()["orders"] == {}


def test_a_column_of_a_later_version_is_added_and_old_rows_read_null(tmp_path):
    store = Store(tmp_path / "book.sqlite", [Table("orders", columns={"size": "text"})])
    store.commit([Save("orders", "a", {"size": "1"})])
    store.close()
    rows = Store(tmp_path / "book.sqlite", [Table("orders", columns={"size": "text", "why": "text"})]).live_rows()
    assert rows["orders"]["a"] == {"size": "1", "why": None, "live": 1}


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_are_refused_with_the_sentence_that_names_the_way_out(tmp_path, seed):
    path = tmp_path / "bulkhead.sqlite"
    store = Store(path, TABLES)
    store.commit([Save("orders", f"{n}", {"size": str(n)}) for n in range(500)])
    store.close()
    body = bytearray(path.read_bytes())
    at = 4096 * (seed + 1)
    body[at : at + 3000] = bytes(value ^ 0xA5 for value in body[at : at + 3000])
    path.write_bytes(body)
    with pytest.raises(StoreCorruptError, match=r"(?s)db check.*db backup.*--adopt-from-venue"):
        Store(path, TABLES)


def test_a_file_that_is_no_database_is_refused_with_the_same_sentence(tmp_path):
    (tmp_path / "book.sqlite").write_text("not a database at all, " * 300)
    with pytest.raises(StoreCorruptError, match="adopt-from-venue"):
        Store(tmp_path / "book.sqlite", TABLES)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anything")
def test_a_folder_that_refuses_writing_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreReadOnlyError, match="data-dir"):
        Store(tmp_path / "book.sqlite", TABLES)
    tmp_path.chmod(0o700)


def test_a_second_writer_is_refused_by_name(tmp_path):
    store = Store(tmp_path / "book.sqlite", TABLES)
    other = sqlite3.connect(tmp_path / "book.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._db.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(Exception, match="locked by another program"):
        store.commit([Save("orders", "a", {"size": "1"})])


WRITER = """
import sys
from pathlib import Path
from state.store import Store
from trading.machine import Save, Table
store = Store(Path(sys.argv[1]), [Table("orders", columns={"n": "integer"}), Table("fills", columns={"n": "integer"})])
n = len(store.live_rows()["orders"])
while True:
    store.commit([Save("orders", str(n), {"n": n}), Save("fills", str(n), {"n": n})])
    print(n, flush=True)
    n += 1
"""


def test_after_kill_dash_nine_every_acknowledged_commit_is_there_and_none_is_half(tmp_path):
    path = tmp_path / "book.sqlite"
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last % 60 == 59:
                break
        writer.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in writer.stdout.read().split())])
        writer.wait()
        store = Store(path, [Table("orders", columns={"n": "integer"}), Table("fills", columns={"n": "integer"})])
        rows = store.live_rows()
        assert list(rows["orders"]) == list(rows["fills"])
        assert len(rows["orders"]) >= last + 1
        store.close()
