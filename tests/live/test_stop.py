"""An orderly stop with open orders: nothing rests, nobody is left, exit 0, and it is quick (I4, I17)."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import time
import urllib.error
import urllib.request

import pytest

from telemetry.client import page_of
from telemetry.terminal import LAST_WORDS_S
from tests.live.harness import RESTING, Bot, hold_something, rest_something
from tests.support import eventually

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker

STOP_S_MAX = 3.0


@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["term", "ctrl-c"])
def test_a_stop_with_open_orders_leaves_nothing_behind(tmp_path, number, group):
    bot = Bot(tmp_path, *RESTING)
    try:
        bot.start().ready()
        print(f"cold start to a reconciled book: {time.monotonic() - bot.started_s:.1f} s")
        resting = rest_something(bot)
        asked_s = time.monotonic()
        code = bot.stop(number, group=group)
        took_s = time.monotonic() - asked_s
        print(f"{len(resting)} orders rested; {signal.Signals(number).name} to exit: {took_s:.2f} s")
        assert code == 0, bot.tail()
        summary = bot.summary()
        assert set(summary) == {"entries", "exits", "denied", "fills", "orders_left", "processes_left", "exit"}
        assert summary["entries"] >= 1
        assert summary["orders_left"] == 0
        assert bot.summary()["processes_left"] == 0
        assert not (tmp_path / "run" / "operator.sock").exists(), "it would look like a bot that runs"
        eventually(bot.processes, lambda left: not left, 2.0)
        assert took_s <= STOP_S_MAX * bot.slack()
        ledger = bot.ledger()
        assert [order for order in ledger if order["status"] == "OPEN"] == []
        assert {order["client_order_id"] for order in resting} <= {order["client_order_id"] for order in ledger}
    finally:
        bot.clean_up()


@pytest.mark.parametrize("what", ["each second", pytest.param("all", marks=pytest.mark.slow)])
def test_when_main_itself_fails_everything_is_cancelled_in_order_and_the_exit_is_1(tmp_path, what):
    """Of its defects the guardian would hear half a minute later; a service manager starts it again after exit 1."""
    bot = Bot(tmp_path / "bot", *RESTING)
    fails = tmp_path / "fails"
    try:
        bot.start("--view-fails-by", str(fails)).ready()
        rest_something(bot)
        fails.write_text(what)
        assert bot.wait(30.0) == 1
        assert [order for order in bot.ledger() if order["status"] == "OPEN"] == []
        if what != "all":  # else nothing can be shown, and after 12 s it ends all the same
            assert (bot.summary()["exit"], bot.summary()["orders_left"]) == (1, 0)
            told = [line["text"] for line in bot.lines() if line.get("kind") == "stopped"]
            assert told[-1] == "exit 1: main failed: RuntimeError('a defect of main')"
        assert "a defect of main" in (bot.data_dir / "logs" / "main.jsonl").read_text()
    finally:
        bot.clean_up()


def test_the_start_lines_say_where_the_page_is_also_after_its_role_was_killed(tmp_path):
    bot = Bot(tmp_path)

    def told():
        return [line["values"]["url"] for line in bot.lines() if line.get("kind") == "page"]

    try:
        bot.start().ready()
        urls = eventually(told)
        assert urls == [page_of(tmp_path)["url"]]
        eventually(lambda: bot.ask("tree")["children"])
        os.kill(bot.pid("console"), signal.SIGKILL)
        eventually(lambda: answers(f"{urls[0]}healthz"))
        assert bot.stop() == 0
        assert told() == urls, "it came back on the same port, so there was nothing to say"
        assert page_of(tmp_path) is None, "it would lead to a bot that has left"
    finally:
        bot.clean_up()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except urllib.error.HTTPError:  # 503 while starting is an answer
        return True
    except OSError:
        return False


def test_a_stop_while_root_hangs_still_cancels_everything_and_ends_in_time(tmp_path):
    bot = Bot(tmp_path, *RESTING)
    try:
        bot.start().ready()
        resting = rest_something(bot)
        os.kill(bot.root_pid(), signal.SIGSTOP)
        asked_s = time.monotonic()
        bot.send(signal.SIGTERM)
        code = bot.wait(20.0)
        print(f"root hung; SIGTERM to exit {code}: {time.monotonic() - asked_s:.2f} s")
        assert time.monotonic() - asked_s <= 10.0 * bot.slack()
        left = {order["client_order_id"]: order["status"] for order in bot.ledger()}
        assert {left[order["client_order_id"]] for order in resting} <= {"CANCELLED", "FILLED"}
        assert all("guardian" in line or "exchange.simulator" in line for line in bot.processes().values())
    finally:
        bot.clean_up()


def test_a_bot_whose_output_nobody_reads_trades_crashes_and_stops_as_any_other(tmp_path):
    reader, writer = os.pipe()  # as a terminal after Ctrl-S, a pager that waits, a log collector that hangs
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while os.write(writer, b"." * 64):
            pass
    os.set_blocking(writer, True)
    bot = Bot(tmp_path, *RESTING)
    try:
        bot.start(prints_to=writer).ready()
        rest_something(bot)
        first = bot.pid("risk")
        os.kill(first, signal.SIGSEGV)  # a native crash has dying words
        eventually(lambda: bot.pid("risk") not in (0, first), patience_s=10.0)
        asked_s = time.monotonic()
        bot.send(signal.SIGTERM)
        assert bot.wait(20.0) == 0
        assert time.monotonic() - asked_s <= (STOP_S_MAX + LAST_WORDS_S) * bot.slack()
        assert "Segmentation fault" in (tmp_path / "logs" / "tree.err").read_text()
        assert [order for order in bot.ledger() if order["status"] == "OPEN"] == []
    finally:
        os.close(reader)
        os.close(writer)
        bot.clean_up()


def test_a_stop_that_sells_first_ends_without_a_position(tmp_path):
    bot = Bot(tmp_path)
    try:
        bot.start("--flatten-on-exit").ready()
        hold_something(bot)
        held = [position["product_id"] for position in bot.status()["positions"]]
        asked_s = time.monotonic()
        assert bot.stop() == 0, bot.tail()
        print(f"{held} sold and stopped in {time.monotonic() - asked_s:.2f} s")
        sold = [order for order in bot.ledger() if order["side"] == "SELL" and order["status"] == "FILLED"]
        assert {order["product_id"] for order in sold} >= set(held)
        with sqlite3.connect(f"file:{tmp_path / 'bulkhead.db'}?mode=ro", uri=True) as db:
            left = db.execute("SELECT product_id, booked_size FROM positions WHERE booked_size != '0'").fetchall()
        assert [row for row in left if float(row[1]) > 0] == []
    finally:
        bot.clean_up()
