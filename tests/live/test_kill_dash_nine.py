"""kill -9 of each role, of supervisors, of root, of main and of everything at once: no order is lost, doubled or left (I1, I2, I5, I9)."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from state import audit
from tests.live.harness import Bot, assert_orders_are_accounted_for, hold_something, trade_everywhere
from tests.support import eventually

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker

SEED = int(os.environ.get("BULKHEAD_SEED", "7"))
ROLES = (
    "kill_switch", "health_monitor", "gateway", "oms", "exits", "risk", "universe", "catalog", "market_feed",
    "user_feed", "symbol:BTC-USD", "alerts", "operator", "console",
)  # fmt: skip
BACK_S = 5.0
SAME = (
    "positions", "orders", "cooldowns", "realised_today_usd", "realised_week_usd", "kill", "latches", "unbooked",
    "quote_total_usd",
)  # fmt: skip


@pytest.fixture(scope="module")
def bot(tmp_path_factory):
    bot = Bot(tmp_path_factory.mktemp("bot"))
    bot.start().ready()
    yield bot
    bot.clean_up()


def _lasting(status):
    """What must be the same after any restart: everything but marks, which move with the market."""
    kept = {key: status[key] for key in SAME}
    moving = ("bid", "unrealised_usd")
    kept["positions"] = [{k: v for k, v in row.items() if k not in moving} for row in status["positions"]]
    return kept


def _kill(bot, role):
    """SIGKILL `role` and wait for its next life; returns how long it was gone."""
    pid = bot.row(role)["pid"]
    os.kill(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    eventually(lambda: bot.row(role), lambda row: row and row["state"] == "running" and row["pid"] != pid, BACK_S)
    return time.monotonic() - killed_s


def test_after_killing_everything_at_once_the_next_start_knows_what_the_last_one_knew(bot):
    hold_something(bot)
    bot.ask("pause", name="ann", cause="no more entries while we look")
    eventually(
        bot.status, lambda status: status and status["kill"]["paused"], 10.0, 0.1
    )  # people hear of it a little later
    before = bot.settled()
    armed_before = len(list(audit.read(bot.data_dir / "audit" / "exits.jsonl")))
    bot.kill_everything()
    bot.start().ready()
    after = bot.settled()
    print(f"held over the restart: {[position['product_id'] for position in before['positions']]}")
    assert before["positions"]
    assert _lasting(after) == _lasting(before)
    # Risk saves the mark in small steps, so that a rising market does not write each tick.
    assert float(after["high_water_usd"]) >= float(before["high_water_usd"]) * 0.999
    # I16: every position above dust is armed again; told by exits' own audit, since the operator came up later.
    armed = [line["record"]["values"] for line in audit.read(bot.data_dir / "audit" / "exits.jsonl")]
    again = {values["product_id"] for values in armed[armed_before:] if values.get("code") == "exit_armed"}
    assert {position["product_id"] for position in before["positions"]} <= again
    assert after["kill"]["paused"]
    bot.ask("resume", name="ann", cause="looked")
    assert_orders_are_accounted_for(bot)


def test_a_killed_main_takes_its_tree_along_and_the_next_start_takes_over(bot):
    trade_everywhere(bot, wait=False)
    bot.send(signal.SIGKILL)
    killed_s = time.monotonic()
    left = eventually(bot.processes, lambda pids: len(pids) <= 2, 2.0)
    print(
        f"tree gone {time.monotonic() - killed_s:.2f} s after main; left: {[line.split()[2] for line in left.values()]}"
    )
    assert all("guardian" in line or "exchange.simulator" in line for line in left.values())
    bot.wait()
    bot.start().ready()
    eventually(bot.resting, lambda orders: all(bot.knows(order) for order in orders), 30.0)
    assert_orders_are_accounted_for(bot)


def test_every_role_killed_in_turn_while_trading_comes_back_and_no_order_is_lost(bot):
    roles = list(ROLES)
    random.Random(SEED).shuffle(roles)
    print(f"seed {SEED}: {roles}")
    trade_everywhere(bot)
    gone = {}
    for number, role in enumerate(roles):
        if number % 5 == 4:
            trade_everywhere(bot, wait=False)
        gone[role] = _kill(bot, role)
    print("gone for (s): " + ", ".join(f"{role} {seconds:.2f}" for role, seconds in gone.items()))
    eventually(bot.status, lambda status: status and status["recovery"] == "reconciled", 15.0)
    assert_orders_are_accounted_for(bot)


@pytest.mark.parametrize("supervisor", ["symbols", "trading"])
def test_a_killed_supervisor_takes_its_children_along_and_all_come_back(bot, supervisor):
    below = {row["role"]: row["pid"] for row in bot.tree() if row["supervisor"] == supervisor}
    assert below
    print(f"{supervisor} gone for {_kill(bot, supervisor):.2f} s")
    for role, pid in below.items():
        eventually(lambda role=role: bot.row(role), lambda row, pid=pid: row and row["pid"] not in (None, pid), BACK_S)
        assert pid not in bot.processes()
    eventually(bot.status, lambda status: status and status["recovery"] == "reconciled", 15.0)
    assert_orders_are_accounted_for(bot)


def test_when_root_dies_the_venue_is_swept_and_the_exit_is_not_zero(bot):
    trade_everywhere(bot, wait=False)
    os.kill(bot.root_pid(), signal.SIGKILL)
    assert bot.wait(30.0) == 1
    assert bot.resting() == []
    eventually((bot.data_dir / "run" / "guardian.fence").exists, patience_s=5.0)  # main has handed over
    assert all("guardian" in line or "exchange.simulator" in line for line in bot.processes().values())


@pytest.mark.slow
def test_when_root_gives_up_the_kill_switch_is_engaged_until_a_person_has_looked(bot):
    bot.start().ready()
    for number in range(4):  # more than 3 in 600 s
        pid = eventually(lambda: bot.row("ops"), lambda row: row and row["state"] == "running" and row["pid"], 8.0)[
            "pid"
        ]
        os.kill(pid, signal.SIGKILL)
        if number < 3:
            eventually(lambda: bot.row("ops"), lambda row, pid=pid: row and row["pid"] not in (None, pid), 8.0)
    assert bot.wait(30.0) == 1
    assert "root gave up: reached_max_restart_intensity" in bot.tail()
    assert (bot.data_dir / "KILL_SWITCH").exists()
    bot.start().ready()
    status = bot.status()
    assert status["trading_state"] == "HALTED"
    assert status["kill"]["cause"].startswith("root gave up")
    bot.ask("rearm", name="ann", cause="found the reason")
    eventually(bot.status, lambda status: status and status["trading_state"] == "ACTIVE", 15.0)
    bot.ask("stop", name="ann")
    assert bot.wait() == 0, bot.tail()
    eventually(bot.processes, lambda left: not left, 3.0)
