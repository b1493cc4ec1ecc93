"""A full disk under the whole bot: the book parks, people hear of it, nothing crash-loops; with room it goes on (protocol section 8)."""

from __future__ import annotations

import ctypes
import json
import os

import pytest

from tests.live.harness import Bot, hold_something
from tests.support import eventually

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker


@pytest.fixture
def small_disk(tmp_path):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(tmp_path).encode(), b"tmpfs", 0, b"size=32m"):
        pytest.skip(f"no small tmpfs can be mounted here ({os.strerror(ctypes.get_errno())})")
    yield tmp_path
    libc.umount2(str(tmp_path).encode(), 2)


def _beat(bot, what="state"):
    return json.loads((bot.data_dir / "run" / "beat").read_text())[what]


def _lives(bot, *roles):
    """role -> incarnation, {} while one of them does not run."""
    rows = {row["role"]: row for row in bot.tree() if row["role"] in roles and row["state"] in ("running", "parked")}
    return {role: row["incarnation"] for role, row in rows.items()} if len(rows) == len(roles) else {}


def _fill(path):
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_parks_the_book_and_room_brings_it_back_with_everything_it_knew(small_disk):
    bot = Bot(small_disk)
    try:
        bot.start().ready()
        hold_something(bot)
        bot.ask("pause", name="ann", cause="no more entries while we look")
        before = bot.settled()
        filler = small_disk / "filler"
        _fill(filler)
        dead = _lives(bot, "gateway", "exits")
        for role in dead:
            os.kill(bot.pid(role), 9)
        eventually(lambda: _lives(bot, *dead), lambda now: now and all(now[role] != dead[role] for role in dead), 8.0)
        lives = _lives(bot, "gateway", "exits", "market_feed", "catalog", "risk", "kill_switch")
        # Long enough for the gateway to keep the hour's count of requests in its file.
        from_s = _beat(bot, "boot_s")
        eventually(lambda: _beat(bot, "boot_s"), lambda boot_s: boot_s > from_s + 13.0, 20.0)
        assert _lives(bot, *lives) == lives, "nobody crash-loops for want of room"

        os.kill(bot.pid("oms"), 9)
        eventually(lambda: _beat(bot), lambda state: state == "parked", 8.0)
        texts = [condition["text"] for condition in eventually(bot.status)["conditions"]]
        assert any("the store of oms does not take writes" in text and "is full" in text for text in texts)
        life = bot.row("oms")["incarnation"]

        filler.unlink()
        eventually(lambda: _beat(bot), lambda state: state == "ready", 8.0)
        eventually(bot.status, lambda status: status and status["recovery"] == "reconciled", 10.0)
        assert bot.row("oms")["incarnation"] == life, "it waited; nobody restarted it"
        assert {p["position_id"] for p in bot.settled()["positions"]} == {p["position_id"] for p in before["positions"]}
        assert bot.stop() == 0, bot.tail()
    finally:
        bot.clean_up()
