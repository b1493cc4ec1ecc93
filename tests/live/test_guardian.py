"""Main stands still while its tree trades on: the guardian closes entries, cancels what rests, and main goes when it can (section 6)."""

from __future__ import annotations

import os
import signal
import time

import pytest

from actors.processes import flock_holder
from tests.live.harness import RESTING, Bot, rest_something
from tests.support import eventually

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker

FIRE_S = 6
"""Instead of 30 s, by the same setting that a user has."""


@pytest.mark.slow
def test_the_guardian_cancels_what_rests_when_the_beat_stops_and_the_run_ends_with_exit_1(tmp_path):
    bot = Bot(tmp_path, f"guardian.fire_loops={FIRE_S}", "guardian.kill_loops=60", *RESTING)
    try:
        bot.start().ready()
        rest_something(bot)
        bot.send(signal.SIGSTOP)
        stopped_s = time.monotonic()
        eventually((tmp_path / "run" / "guardian.fence").exists, patience_s=FIRE_S * 2.0 + 5.0)
        eventually(bot.resting, lambda resting: not resting, 5.0)
        print(f"main stopped to an empty book at the venue: {time.monotonic() - stopped_s:.1f} s")
        bot.send(signal.SIGCONT)
        assert bot.wait() == 1
        assert "guardian's fence" in bot.tail()
        assert bot.summary()["orders_left"] == 0

        bot.start().ready()  # a later run is not closed by the fence of an earlier one
        eventually(bot.status, lambda status: status and status["trading_state"] == "ACTIVE", 15.0)
        guardians = [pid for pid, line in bot.processes().items() if "guardian_main" in line and "--run 2" in line]
        assert len(guardians) == 1
        eventually(lambda: _holds(tmp_path, guardians[0]), patience_s=8.0)
        assert bot.stop() == 0, bot.tail()
        eventually(bot.processes, lambda left: not left, 3.0)
    finally:
        bot.clean_up()


@pytest.mark.slow
def test_a_guardian_that_stands_still_is_replaced_in_its_run_and_in_the_next(tmp_path):
    bot = Bot(tmp_path)

    def stop_it():
        pid = eventually(lambda: _holder(tmp_path))
        os.kill(pid, signal.SIGSTOP)
        return pid

    def replaced(pid):
        eventually(lambda: _holder(tmp_path), lambda now: now not in (None, pid), 45.0, 0.2)

    try:
        bot.start().ready()
        replaced(stop_it())
        last = stop_it()
        bot.send(signal.SIGKILL)
        bot.wait()
        bot.start().ready()
        replaced(last)
        assert bot.stop() == 0, bot.tail()
        eventually(bot.processes, lambda left: not left, 3.0)
    finally:
        bot.clean_up()


def _holder(data_dir):
    lock = os.open(data_dir / "run" / "guardian.lock", os.O_RDONLY)
    try:
        return flock_holder(lock)
    finally:
        os.close(lock)


def _holds(data_dir, pid):
    """The new run's guardian has got the lock: the old one went home at the first ready beat."""
    return _holder(data_dir) == pid
