"""Panic and `ctl kill` without a bot: which data dir they mean, and what they say of a venue that does not answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.plan import KEY_NAME_ENV, KEY_SECRET_ENV
from actors.processes import started_ticks
from cli.errors import UsageError
from cli.panic import outcome_text, pass_text, venue_of
from cli.places import DATA, meant_data_dir, running_data_dir
from state.locks import InstanceLock
from tests.cli.test_command_line import ROOT, run
from trading.messages.control import SweepReport

FAILED = SweepReport(clean=False, canceled=(), listed=0, passes=2, error="ConnectionError")


def data_dir_with(folder: Path, *, embedded: list[str] | None, main_pid: int = 0) -> Path:
    """A data dir as a run has left it; main_pid 0: nobody runs."""
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "account").write_text('{"tag": "abcd"}')
    (folder / "run" / "venue.json").write_text('{"rest": "127.0.0.1:1"}')
    said = {"pid": main_pid, "started": started_ticks(main_pid) if main_pid else 1, "run": 1, "tag": "abcd"}
    said |= {"env": "staging", "mode": "paper", "market": "coinbase", "embedded": embedded, "guardian": {}}
    (folder / "run" / "main.json").write_text(json.dumps({**said, "endpoints": None}))
    return folder


def test_the_bot_that_holds_its_lock_is_meant_not_the_one_that_left_its_socket_behind(tmp_path):
    for name in ("staging-synthetic", "staging-coinbase"):
        (tmp_path / name / "run").mkdir(parents=True)
    (tmp_path / "staging-synthetic" / "run" / "operator.sock").touch()
    lock = InstanceLock(tmp_path / "staging-coinbase")
    try:
        assert running_data_dir(None, tmp_path) == tmp_path / "staging-coinbase"
    finally:
        lock.release()


def test_without_a_bot_the_only_data_dir_is_meant_and_of_several_none_is_guessed(tmp_path):
    assert running_data_dir(None, tmp_path) == tmp_path / "staging-synthetic"
    (tmp_path / "production-coinbase" / "run").mkdir(parents=True)
    assert running_data_dir(None, tmp_path) == tmp_path / "production-coinbase"
    (tmp_path / "staging-synthetic" / "run").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"production-coinbase.*staging-synthetic.*--data-dir"):
        running_data_dir(None, tmp_path)


def test_stores_audit_and_export_are_those_of_the_bot_that_runs_unless_another_is_named(tmp_path):
    """On call, `audit show oms` beside a production bot answered of data/staging-synthetic."""
    lock = InstanceLock(tmp_path / "production-coinbase")
    try:
        assert meant_data_dir(None, None, None, tmp_path) == tmp_path / "production-coinbase"
        assert meant_data_dir(None, "staging", None, tmp_path) == DATA / "staging-synthetic"
        assert meant_data_dir(None, None, "coinbase", tmp_path) == DATA / "staging-coinbase"
        assert meant_data_dir(tmp_path, "staging", None, tmp_path) == tmp_path
    finally:
        lock.release()


def test_a_pass_without_an_answer_does_not_read_like_an_empty_venue():
    assert pass_text(FAILED) == "pass 2: could not list (ConnectionError)"
    assert "could not be listed (ConnectionError)" in outcome_text(FAILED)
    seen = SweepReport(clean=False, canceled=("a",), listed=1, passes=3, error="")
    assert (pass_text(seen), outcome_text(seen)[:9]) == ("pass 3: 1 of ours listed", "NOT clean")


def test_panic_on_a_stopped_paper_bot_says_at_once_that_its_venue_is_gone(tmp_path):
    done = run("panic", "--reason", "drill", "--data-dir", str(data_dir_with(tmp_path / "bot", embedded=[])))
    assert done.returncode == 0, done.stdout
    assert "the simulated venue of this data dir is not running" in done.stdout
    assert json.loads((tmp_path / "bot" / "KILL_SWITCH").read_text())["cause"] == "drill"


def test_a_kill_as_json_without_a_bot_prints_nothing_but_json(tmp_path):
    folder = data_dir_with(tmp_path / "bot", embedded=[])
    done = run("ctl", "kill", "drill", "--json", "--data-dir", str(folder))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert "not running" in lines[0]["bot"]
    assert (lines[-1]["clean"], done.returncode) == (True, 0)


@pytest.mark.parametrize(("words", "cause"), [(("fills", "look", "wrong"), "fills look wrong"), ((), "ctl kill")])
def test_a_kill_needs_neither_quotes_nor_a_reason(tmp_path, words, cause):
    """At night nobody types quotes; a kill that is refused for its words is no kill."""
    folder = data_dir_with(tmp_path / "bot", embedded=[])
    done = run("ctl", "kill", *words, "--data-dir", str(folder))
    assert (done.returncode, f": {cause} (" in done.stdout) == (0, True), done.stdout + done.stderr
    assert cause in (folder / "KILL_SWITCH").read_text()


@pytest.mark.parametrize("words", [("panic",), ("ctl", "kill")])
def test_a_user_whom_the_machine_gives_no_name_can_kill_all_the_same(tmp_path, words):
    """`docker run --user 1000` in a slim image: a traceback, and no order was cancelled."""

    folder = data_dir_with(tmp_path / "bot", embedded=[])
    typed = [*words, "--data-dir", str(folder)]
    # A KeyError, as for a number without a name.
    program = f"import pwd, sys; pwd.getpwuid = {{}}.__getitem__; from cli.main import main; sys.exit(main({typed}))"
    nameless = {
        name: value for name, value in os.environ.items() if name not in ("LOGNAME", "USER", "LNAME", "USERNAME")
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=nameless, capture_output=True, text=True, check=False
    )
    assert (done.returncode, f"(uid {os.getuid()})" in done.stdout) == (0, True), done.stdout + done.stderr


def test_a_line_left_by_a_paper_run_leads_no_panic_away_from_coinbase(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY_NAME_ENV, "name")
    monkeypatch.setenv(KEY_SECRET_ENV, "secret")
    endpoints, _ = venue_of(data_dir_with(tmp_path / "bot", embedded=None))
    assert "coinbase.com" in endpoints.rest


def test_while_main_lives_its_venue_may_come_back_and_the_sweep_is_tried(tmp_path):
    from actors.guarding import simulated_venue_gone

    assert not simulated_venue_gone(data_dir_with(tmp_path / "bot", embedded=[], main_pid=os.getpid()))
    assert simulated_venue_gone(data_dir_with(tmp_path / "other", embedded=[]))
