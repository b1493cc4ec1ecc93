"""Not started, and why: one sentence and its exit code for each."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

from state.db import other_account
from state.locks import AccountLock, InstanceLock
from state.store import Store
from tests.live.harness import ROOT, Bot
from tests.receiver import Receiver
from trading.machine import Save, Table
from trading.oms_rows import TABLES

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker


def _refused(bot, code, *args):
    assert bot.start(*args).wait(20.0) == code, bot.tail()
    said = (bot.data_dir / "err.1").read_text().strip()
    assert said.startswith("run.py: ")
    assert len(said.splitlines()) == 1
    assert bot.processes() == {}
    return said


@pytest.fixture
def bot(tmp_path):
    bot = Bot(tmp_path)
    yield bot
    bot.clean_up()


def test_a_second_instance_is_refused_by_the_name_of_the_first(bot, tmp_path):
    lock = InstanceLock(tmp_path)
    assert f"pid {os.getpid()}" in _refused(bot, 3)
    lock.release()


def test_a_data_dir_of_another_market_is_refused(bot, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "belongs").write_text("staging ohlcv_5m")
    assert "belongs to environment and market 'staging ohlcv_5m'" in _refused(bot, 2)


def test_a_damaged_ledger_of_the_simulated_venue_is_unsafe_to_start_on(bot, tmp_path):
    (tmp_path / "venue").mkdir()
    (tmp_path / "venue" / "ledger.sqlite").write_bytes(b"garbage " * 2000)
    assert "--fresh makes a new one" in _refused(bot, 3)


def test_a_damaged_book_is_refused_with_the_ways_out(bot, tmp_path):
    (tmp_path / "bulkhead.db").write_bytes(b"garbage " * 2000)
    said = _refused(bot, 3)
    assert all(words in said for words in ("db check", "db backup", "--adopt-from-venue"))


@pytest.mark.parametrize("more", [(), ("--adopt-from-venue",)])
def test_a_book_of_a_newer_version_is_refused_before_anything_starts_and_never_given_up(bot, tmp_path, more):
    """After a step back to an older version oms died at the start: exit 1, orders may be live, and a restart for ever."""
    store = Store(tmp_path / "bulkhead.db", TABLES)
    store.close()
    with sqlite3.connect(tmp_path / "bulkhead.db") as db:
        db.execute("INSERT INTO migrations (number, name, digest) VALUES (7, '0007_later', 'x')")
    assert "made by a newer Bulkhead (migration 7" in _refused(bot, 3, *more)
    assert (tmp_path / "bulkhead.db").is_file()


def test_a_service_that_is_refused_tells_people_since_nobody_starts_it_again(bot, tmp_path):
    """After a reboot at night: exit 3, no bot, no beat that a guardian could miss, and not one alert."""
    (tmp_path / "bulkhead.db").write_bytes(b"garbage " * 2000)
    with Receiver() as channel:
        assert bot.start(env={"BULKHEAD_ALERT_URLS": channel.url}).wait(20.0) == 3
        assert [one["title"] for one in channel.heard] == ["Bulkhead was not started"]
        assert "db check" in channel.heard[0]["message"]


def test_a_file_in_the_place_of_the_data_dir_is_named(tmp_path):
    bot = Bot(tmp_path / "out")
    bot.data_dir.mkdir()
    (bot.data_dir / "run").write_text("a file")
    assert "choose another with --data-dir" in _refused(bot, 2)


def test_a_second_bot_on_the_same_account_is_refused(bot, tmp_path):
    tag = f"q{os.getpid() % 1000:03d}"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "account").write_text(f'{{"tag": "{tag}"}}')
    lock = AccountLock(tag)
    assert f"same account (tag {tag})" in _refused(bot, 3)
    lock.release()


def test_the_book_of_another_account_is_refused(bot, tmp_path):
    """A copy of another bot's book was put back: its positions would be sold from what the owner holds here."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "account").write_text('{"tag": "aaaa"}')
    store = Store(tmp_path / "bulkhead.db", [Table("intents", columns={"client_order_id": "text"})])
    store.commit([Save("intents", "1", {"client_order_id": "bh-bbbb-x"})])
    store.close()
    said = _refused(bot, 3)
    assert "another account (tag bbbb)" in said and "(tag aaaa)" in said
    assert other_account(tmp_path, "bbbb") == ""


def test_the_main_program_imports_no_more_than_it_needs_before_it_forks():
    """Start-up time: what only research needs must not be imported by the bot."""
    code = "import actors.running, sys; print(*[m for m in ('numpy', 'pandas', 'pytest', 'hypothesis') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.split() == []
