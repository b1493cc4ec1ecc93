"""A full disk: nothing half is saved, the probe says so, and it goes on when there is room again."""

from __future__ import annotations

import ctypes
import os

import pytest

from exchange.bar_cache import BarReader, BarWriter
from state.files import write_atomically
from state.store import Store, StoreFullError
from trading.machine import Save, Table
from trading.messages.market import Bar

ORDERS = Table("orders", columns={"body": "text"})
MS_NOSUID = 2


@pytest.fixture
def small_disk(tmp_path):
    libc = ctypes.CDLL(None, use_errno=True)
    target = str(tmp_path).encode()
    if libc.mount(b"tmpfs", target, b"tmpfs", MS_NOSUID, b"size=1m"):
        pytest.skip(f"no tmpfs of 1 MB can be mounted here ({os.strerror(ctypes.get_errno())})")
    yield tmp_path
    libc.umount2(target, 2)


def test_enospc_is_named_and_what_was_committed_stays(small_disk):
    store = Store(small_disk / "book.sqlite", [ORDERS])
    saved = 0
    with pytest.raises(StoreFullError, match="full; free some space"):
        for n in range(10_000):
            store.commit([Save("orders", str(n), {"body": "x" * 2_000})])
            saved = n + 1
    with pytest.raises(StoreFullError):
        store.probe()
    store.close()
    assert saved > 20
    again = Store(small_disk / "book.sqlite", [ORDERS])
    assert len(again.live_rows()["orders"]) == saved


def test_the_probe_succeeds_when_there_is_room_again(small_disk):
    filler = small_disk / "filler"
    store = Store(small_disk / "book.sqlite", [ORDERS])
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 16_384)
    with pytest.raises(StoreFullError):
        store.probe()
    filler.unlink()
    store.probe()
    store.commit([Save("orders", "a", {"body": "x"})])
    assert list(store.live_rows()["orders"]) == ["a"]


def test_a_small_file_that_finds_no_room_leaves_the_one_before_and_nothing_beside_it(small_disk):
    path = small_disk / "count.json"
    write_atomically(path, b"1")
    _fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"x" * 8_192)
    assert path.read_bytes() == b"1"
    assert sorted(each.name for each in small_disk.iterdir()) == ["count.json", "filler"]


def test_bars_that_find_no_room_are_lost_whole_and_the_next_ones_go_on(small_disk):
    writer, reader = BarWriter(small_disk / "bars"), BarReader(small_disk / "bars")
    assert len(writer.append([_bar(0)])) == 1
    _fill(small_disk)
    kept = writer.append([_bar(60 * n) for n in range(1, 200)])
    assert kept == [] and writer.lost == 199
    assert writer.append([Bar("ETH-USD", 60, 0, 1.0, 1.0, 1.0, 1.0, 1.0)]) == [], "a series without a file yet"
    (small_disk / "filler").unlink()
    writer.append([_bar(60 * 300)])
    assert [(bar.number, bar.start_s) for bar in reader.since("BTC-USD", 60, 0)] == [(1, 0), (2, 18_000)]


def _bar(start_s):
    return Bar("BTC-USD", 60, start_s, 1.0, 1.0, 1.0, 1.0, 1.0)


def _fill(folder):
    with (folder / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4_096)
