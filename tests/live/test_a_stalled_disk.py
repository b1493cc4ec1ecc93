"""A disk that stalls under one part of a bot, or turns read-only under all of it: the orders stay safe."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from telemetry.client import NobodyThereError, RefusedError
from tests.live.harness import RESTING, Bot, rest_something
from tests.support import eventually

pytestmark = [pytest.mark.xdist_group("live"), pytest.mark.slow]  # real bots: one after the other, on one worker

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
FIRE_S = 6
"""Instead of 30 s, by the same setting that a user has."""


@pytest.fixture
def disk(tmp_path):
    """A small ext4 of its own; `disk.stall()` until the test is over, no write ends and no signal ends who waits for one."""
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    for command in (
        [str(mkfs), "-q", "-e", "remount-ro", str(image)],
        ["mount", "-o", "loop", str(image), str(folder)],
    ):
        if mkfs is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip(f"no disk of its own can be made here ({' '.join(command)})")
    handle = os.open(folder, os.O_RDONLY)

    class Disk:
        path = folder
        stalled = False

        def stall(self):
            os.sync()
            fcntl.ioctl(handle, FIFREEZE, 0)
            self.stalled = True

        def goes_on(self):
            if self.stalled:
                self.stalled = False
                fcntl.ioctl(handle, FITHAW, 0)

        def turns_read_only(self):
            """As ext4 does by itself when it has found an error."""
            device = subprocess.run(["losetup", "-j", image], capture_output=True, text=True, check=True).stdout.split(
                ":"
            )[0]
            Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("1")

    disk = Disk()
    yield disk
    disk.goes_on()
    os.close(handle)
    subprocess.run(["umount", "-l", str(folder)], check=False)


def _beat(bot):
    return json.loads((bot.data_dir / "run" / "beat").read_text())["state"]


def test_when_the_book_stalls_people_see_it_the_guardian_cancels_and_the_run_ends(tmp_path, disk):
    bot = Bot(tmp_path / "bot", f"guardian.fire_loops={FIRE_S}", *RESTING, "symbol.entry.ttl_s=200.0")
    bot.data_dir.mkdir()
    (disk.path / "bulkhead.db").touch(mode=0o600)
    (bot.data_dir / "bulkhead.db").symlink_to(disk.path / "bulkhead.db")
    try:
        bot.start().ready()
        rest_something(bot)
        disk.stall()
        stalled_s = time.monotonic()
        with suppress(NobodyThereError, RefusedError):
            bot.ask(
                "ban",
                timeout_s=0.5,
                symbol="AVAX-USD",
                flag="team_rug",
                name="ann",
                cause="so that the book is written",
            )
        eventually(lambda: _beat(bot), lambda state: state != "ready", 20.0)
        eventually(bot.status, lambda status: status and "breaker:supervision" in status["causes"], 5.0)
        eventually(bot.resting, lambda resting: not resting, FIRE_S * 2.0 + 5.0)
        print(f"the book's disk stalled to an empty venue: {time.monotonic() - stalled_s:.1f} s")
        eventually(bot.tail, lambda text: "exit 1: the guardian's fence closed this run" in text, 20.0)
        disk.goes_on()
        assert bot.wait() == 1
    finally:
        disk.goes_on()
        bot.clean_up()


def test_when_the_logs_stall_the_bot_goes_on_and_main_hears_its_stop(tmp_path, disk):
    bot = Bot(tmp_path / "bot", *RESTING)
    bot.data_dir.mkdir()
    (disk.path / "logs").mkdir()
    (bot.data_dir / "logs").symlink_to(disk.path / "logs")
    try:
        bot.start().ready()
        disk.stall()
        rest_something(bot)  # with lines of every role on its way
        assert all(row["state"] == "running" and not row["restarts"] for row in bot.tree())
        eventually(lambda: (_beat(bot), bot.status()["trading_state"]), lambda now: now == ("ready", "ACTIVE"), 5.0)
        os.kill(bot.pid("exits"), signal.SIGKILL)
        eventually(
            lambda: bot.row("exits"), lambda row: row and (row["state"], row["restarts"]) == ("running", 1), 10.0
        )
        bot.send(signal.SIGTERM)
        eventually(bot.resting, lambda resting: not resting, 10.0)
    finally:
        disk.goes_on()
        bot.clean_up()


def test_when_the_disk_turns_read_only_the_orders_are_cancelled_and_the_run_ends_with_its_last_lines(tmp_path, disk):
    bot = Bot(disk.path / "bot", f"guardian.fire_loops={FIRE_S}", *RESTING, "symbol.entry.ttl_s=200.0")
    bot.data_dir.mkdir()
    (tmp_path / "venue").mkdir()
    (bot.data_dir / "venue").symlink_to(tmp_path / "venue")  # Coinbase has disks of its own
    printed, prints_to = os.pipe()
    try:
        bot.start(prints_to=prints_to).ready()
        os.close(prints_to)
        rest_something(bot)
        disk.turns_read_only()
        began_s = time.monotonic()
        eventually(bot.resting, lambda resting: not resting, 45.0)
        print(f"read-only to an empty venue: {time.monotonic() - began_s:.1f} s")
        assert bot.wait(45.0) == 1
        with os.fdopen(printed, "rb") as lines:
            text = lines.read().decode()
        told = text.splitlines()
        assert json.loads([line for line in told if line.startswith("{")][-1])["exit"] == 1
        assert not [line for line in told if line.startswith(("Traceback", "--- Logging error"))]
        assert text.count("cannot be written (Read-only file system)") == 1, "main's own log, once"
    finally:
        bot.clean_up()
