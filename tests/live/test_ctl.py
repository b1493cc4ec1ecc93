"""`run.py ctl` as a person meets it: which run this is, wrong words end as usage errors, the book is told without a bot."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

import pytest

from tests.live.harness import ROOT, Bot
from tests.support import eventually

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker

WRONG_WORDS = [
    (("why", "NOPE-USD"), "it has: "),
    (("why", "BTC-JPY"), "as in BTC-USD"),
    (("pid", "nope"), "there are: "),
    (("restart", "nope"), "there are: "),
    (("ack", "nope"), "no alert is named 'nope'"),
    (("ban", "SOL-USD", "bogus"), "one of recent_exploit"),
    (("adopt", "SOL-USD", "abc", "mine"), "as in 0.25"),
    (("drill", "--rounds", "0"), "not in the range"),
    (("rearm", "", ""), "wants a name"),
    (("rearm", "ada", " "), "wants a cause"),
    (("settle", "some-order", ""), "what Coinbase shows"),
]


def test_ctl_names_its_run_refuses_wrong_words_with_exit_2_and_reads_the_book_afterwards(tmp_path):
    def ctl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "run.py"), "ctl", *words, "--data-dir", str(tmp_path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    bot = Bot(tmp_path)
    try:
        bot.start().ready()
        found = json.loads(ctl("status", "--json").stdout)["bot"]
        assert (found["run"], found["pid"]) == (1, bot.process.pid)
        assert 0 < found["uptime_s"] < 60
        assert urllib.request.urlopen(found["page"] + "healthz", timeout=5).status == 200
        assert f"run 1   pid {bot.process.pid}" in ctl("status").stdout
        for words, way_out in WRONG_WORDS:
            done = ctl(*words)
            assert (done.returncode, way_out in done.stderr) == (2, True), (words, done.stderr)
        before = bot.client.ask("pid", {"role": "operator"})["pid"]
        restarted = ctl("restart", "operator")
        now = bot.client.ask("pid", {"role": "operator"})["pid"]
        assert (restarted.returncode, restarted.stdout.strip(), now == before) == (
            0,
            f"operator was restarted (operator has pid {now})",
            False,
        ), restarted.stderr
        assert ctl("cancel", "nothing").returncode == 1, "the words were right, the order is not there"
        assert "not traded now" in ctl("ban", "PUMP-USD", "team_rug").stdout
        assert "its position keeps its exits" in ctl("ban", "SOL-USD", "team_rug").stdout
        for question in ("fills", "trades"):
            assert json.loads(ctl(question, "--json").stdout)["bot_pid"] == bot.process.pid
        assert bot.stop() == 0
    finally:
        bot.clean_up()
    for question in ("fills", "trades"):
        done = ctl(question)
        assert (done.returncode, f"no bot runs on {tmp_path}" in done.stdout) == (0, True), done.stderr


def test_a_channel_that_takes_no_alerts_stands_among_the_conditions(tmp_path):
    """Nobody can be told by it that it does not work: status, page and log are what is left."""
    bot = Bot(tmp_path)
    try:
        bot.start(env={"BULKHEAD_ALERT_URLS": "json://127.0.0.1:9/hook"}).ready()
        bot.client.ask("pause", {"name": "ann", "cause": "to have an alert"})
        found = eventually(
            lambda: {one["fingerprint"]: one["text"] for one in bot.client.ask("conditions")["conditions"]},
            lambda conditions: "alerts:undelivered" in conditions,
            20.0,
        )
        assert "run.py alert-test" in found["alerts:undelivered"]
    finally:
        bot.clean_up()
