"""A full disk: nothing half is saved, the probe says so, and it goes on when there is room again."""

from __future__ import annotations

import ctypes
import os

import pytest

from state.store import Store, StoreFullError
from trading.machine import Save, Table

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
