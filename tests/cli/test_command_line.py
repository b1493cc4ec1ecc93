"""Names, exit codes and sentences of the command line, as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from state.locks import InstanceLock

ROOT = Path(__file__).parents[2]


def run(*args: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
        check=False,
    )


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (("dance",), 2, "No such command"),
        (("run", "--set", "riks.x=1"), 2, "did you mean risk?"),
        (("run", "--set", "risk.caps.total_pct=250"), 2, "total_pct"),
        (("run", "--market", "no/such/folder"), 2, "no such folder of candle CSVs"),
        (("run", "--market", "tests"), 2, "holds no .csv file"),
        (("run", "--speed", "0"), 2, "a speed above 0"),
        (("run", "--for", "-1"), 2, "longer than 0 seconds"),
        (("run", "--market", "coinbase", "--speed", "60"), 2, "Coinbase's clock runs at 1"),
        (("run", "--mode", "live"), 2, "BULKHEAD_MODE"),
        (("run", "--env", "qa"), 2, "is not an environment"),
        (("run", "--from", "2025-10-10"), 2, "only a recorded market"),
        (("run", "--config", "nowhere.yaml"), 2, "nowhere.yaml"),
        (("run", "--data-dir", ""), 2, "Bulkhead's own folder"),
        (("backtest", "--data", "tests"), 2, "CSV"),
        (("backtest", "--from", "yesterday"), 2, "not a date or time"),
        (("backtest", "--out", "README.md"), 2, "lies in, a file; name a folder"),
        (("backtest", "--set", "costs.latency_s=-1"), 2, "-1 is not between 0 and 10"),
        (("ctl", "status", "--data-dir", "no/such/dir"), 2, "no such folder"),
        (("ctl", "fills", "--data-dir", "tests"), 2, "there is no book yet"),
        (("ctl", "trades", "--limit", "0"), 2, "not in the range"),
        (("ctl", "drill", "--rounds", "-1"), 2, "not in the range"),
        (("db", "check", "--data-dir", "no/such/dir"), 2, "no such folder"),
        (("panic", "--data-dir", "tests"), 2, "not a bot's data dir"),
        (("download", "BTC-JPY", "--from", "2025-01-01"), 2, "BTC-JPY"),
        (("alert-test",), 2, "BULKHEAD_ALERT_URLS"),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(args: tuple[str, ...], code: int, sentence: str) -> None:
    done = run(*args)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_must_agree_with_env() -> None:
    done = run("check-config", "--env", "staging", env={"ENV": "production"})
    assert done.returncode == 2
    assert "they must agree" in done.stderr


def test_live_wants_two_hands_the_right_environment_and_a_pass_of_the_gate(tmp_path: Path) -> None:
    hands = {"BULKHEAD_MODE": "live", "COINBASE_API_KEY": "k", "COINBASE_API_SECRET": "s"}
    assert run("run", "--mode", "live", "--market", "coinbase", env=hands).returncode == 3
    layer = tmp_path / "live.yaml"
    layer.write_text("bot: {mode: live}\n")
    done = run("run", "--config", str(layer), env=hands)
    assert (done.returncode, "never stands in a file" in done.stderr) == (2, True)


def test_a_broken_candle_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "BTC-USD_5m.csv").write_text("ts,open,high,low,close,volume\n300,1,2,0.5,1.5,1\n600,1,x,0.5,1,1\n")
    for command in (("backtest", "--data"), ("run", "--data-dir", str(tmp_path / "bot"), "--market")):
        done = run(*command, str(tmp_path))
        assert (done.returncode, "line 3" in done.stderr) == (2, True), done.stderr


def test_without_a_bot_ctl_says_so_and_exits_1(tmp_path: Path) -> None:
    done = run("ctl", "status", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert all(word in done.stderr for word in ("is not running", "ctl fills|trades", "main.jsonl", "run.py panic"))


def test_a_bot_whose_operator_is_away_is_not_called_gone(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path)
    done = run("ctl", "status", "--data-dir", str(tmp_path))
    lock.release()
    assert (done.returncode, "ask again in a second" in done.stderr) == (1, True), done.stderr


def test_panic_cancels_also_when_the_kill_switch_cannot_be_engaged(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "KILL_SWITCH").symlink_to(tmp_path / "no" / "such" / "folder")
    (tmp_path / "run" / "account").write_text('{"tag": "abcd"}')
    done = run("panic", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "CANNOT be engaged" in done.stdout
    assert "NOT clean" in done.stdout, "the sweep was tried all the same"


def test_a_kill_without_a_bot_that_may_have_left_orders_does_not_end_as_success(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "account").write_text('{"tag": "abcd"}')
    done = run("ctl", "kill", "drill", "--data-dir", str(tmp_path))
    assert "NOT clean" in done.stdout
    assert done.returncode == 1


def test_check_config_prints_the_hash_and_every_value_as_json() -> None:
    answer = json.loads(run("check-config", "--json").stdout)
    assert len(answer["hash"]) == 16
    assert answer["config"]["risk"]["caps"]["total_pct"] == "25"


def test_both_shipped_environments_are_usable() -> None:
    for env in ("staging", "production"):
        assert run("check-config", "--env", env).returncode == 0


def test_init_never_overwrites_and_what_it_writes_is_usable(tmp_path: Path) -> None:
    assert run("init", "mine.yaml", cwd=tmp_path).returncode == 0
    assert run("check-config", "--config", "mine.yaml", cwd=tmp_path).returncode == 0
    assert run("init", "mine.yaml", cwd=tmp_path).returncode == 2


def test_a_terminal_that_has_no_letter_for_it_gets_another_one_not_a_traceback(tmp_path: Path) -> None:
    done = run("init", "größer.yaml", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, "gr\\xf6\\xdfer.yaml written" in done.stdout) == (0, True), done.stderr


def test_the_version_is_the_projects_and_names_the_commit_of_a_work_tree() -> None:
    import tomllib

    number = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Bulkhead {number}")
    assert ("(commit " in done.stdout) == (ROOT / ".git").exists()


def test_an_old_python_gets_a_sentence_not_a_syntax_error() -> None:
    import ast

    ast.parse((ROOT / "run.py").read_text(), feature_version=(3, 4))
