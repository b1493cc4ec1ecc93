"""Bad words, folders that cannot be made, damaged files: each is a sentence with the right exit code, never a traceback."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from cli import gate_commands, places
from cli.main import main
from config import schema
from state.db import check
from state.store import Store
from trading.machine import Save
from trading.oms_rows import TABLES


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """(exit code, what stood on stderr) of a command, in this process: an exception would fail the test."""
    capsys.readouterr()
    return main(list(args)), capsys.readouterr().err


def book(data_dir: Path, fills: int) -> Path:
    path = data_dir / "bulkhead.db"
    table = next(one for one in TABLES if one.name == "fills")
    store = Store(path, TABLES)
    rows = ({name: 1.0 if kind == "real" else f"{n}" for name, kind in table.columns.items()} for n in range(fills))
    store.commit([Save("fills", f"f{n}", row) for n, row in enumerate(rows)], 1.0)
    store.close()
    return path


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("run", "--mode", "bogus"), "--mode bogus: is not a mode; one of dry_run, paper, shadow, live"),
        (("run", "--page-port", "70000"), "70000 is not in the range"),
        (("run", "--for", "nan"), "longer than 0 seconds"),
        (("run", "--set", "symbol.strategies.price_mvoe.enabled=true"), "--set symbol.strategies.price_mvoe: there is no"),
        (("fuzz", "--seed", "1", "--trace", "/nope/x"), "--trace /nope/x: cannot be written"),
        (("fuzz", "--trace", "x"), "goes with --seed K"),
        (("backtest", "--out", "README.md/x"), "--out README.md/x is, or lies in, a file"),
        (("chaos", "--data-dir", "README.md"), "--data-dir README.md is, or lies in, a file"),
        (("chaos", "--storm", "-1"), "-1 is not in the range"),
        (("record", "BTC-USD", "--out", "README.md"), "--out README.md is, or lies in, a file"),
        (("download", "BTC-USD", "--from", "2025-01-02", "--to", "2025-01-01"), "--from 2025-01-02 is not before --to"),
        (("download", "BTC-USD", "--from", "2025-01-01", "--out", "README.md"), "--out README.md is, or lies in, a file"),
        (("audit", "show", "oms", "--last", "-3"), "-3 is not in the range"),
        (("doctor", "--data-dir", "README.md"), "--data-dir README.md: is a file"),
        (("doctor", "--env", "qa"), "--env qa: is not an environment; one of staging, production"),
        (("preflight", "--env", "qa"), "--env qa: is not an environment"),
        (("guardian", "--env", "qa"), "--env qa: is not an environment"),
        (("smoke", "--mode", "bogus"), "--mode bogus: it is paper or live"),
        (("compare", "README.md", "README.md"), "README.md holds no JSON lines"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is_begun(
    args: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places.ROOT)
    code, error = said(capsys, *args)
    assert code == 2
    assert sentence in " ".join(error.split())


def test_the_environments_of_data_dirs_are_those_of_the_configuration() -> None:
    assert places.ENVS == schema.ENVS


def test_a_damaged_book_is_a_sentence_with_the_ways_out_for_whoever_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = book(tmp_path, fills=400)
    assert said(capsys, "export", "fills", "--data-dir", str(tmp_path)) == (0, "")
    copy = tmp_path / "copy"
    assert said(capsys, "db", "backup", str(copy), "--data-dir", str(tmp_path)) == (0, "")
    whole, copied = path.read_bytes(), (copy / path.name).read_bytes()
    garbage = random.Random(1).randbytes(len(whole) - 4096)
    path.write_bytes(whole[:4096] + garbage)
    assert check(path).problems
    for command in (("export", "fills"), ("db", "migrate"), ("db", "backup", str(copy))):
        code, error = said(capsys, *command, "--data-dir", str(tmp_path))
        assert (code, "is damaged" in error, "--adopt-from-venue" in error) == (1, True, True), command
    assert [one.name for one in copy.iterdir()] == [path.name]
    assert (copy / path.name).read_bytes() == copied, "a whole copy never goes for a damaged one"


def test_a_backup_into_a_file_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book(tmp_path, fills=1)
    target = tmp_path / "file"
    target.write_text("")
    code, error = said(capsys, "db", "backup", str(target), "--data-dir", str(tmp_path))
    assert (code, f"{target}: File exists" in error) == (1, True)


def test_a_line_that_is_no_decision_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text('{"at": "2025-10-10T00:00:00Z", "code": "eligible"}\n[1, 2]\n')
    code, error = said(capsys, "compare", str(file), str(file))
    assert (code, f"{file} line 2 is no decision" in error) == (2, True)


def test_an_unknown_strategy_is_told_with_its_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = tmp_path / "own.yaml"
    layer.write_text("symbol:\n  strategies:\n    price_mvoe:\n      enabled: true\n")
    code, error = said(capsys, "check-config", "--config", str(layer))
    assert code == 2
    assert f"{layer} line 4  symbol.strategies.price_mvoe: there is no strategy price_mvoe" in error


def test_a_walk_of_a_bot_that_does_not_run_says_so_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    for command in (("smoke",), ("download", "BTC-USD", "--from", "2025-01-01")):
        code, error = said(capsys, *command, "--venue", "bot", "--data-dir", str(tmp_path))
        assert (code, f"no bot with a simulated venue runs in {tmp_path}" in error) == (2, True)


def test_preflight_names_the_gate_of_the_environment_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preflight", "--env", "staging", "--json"]) == 1
    looks = {one["name"]: one["text"] for one in json.loads(capsys.readouterr().out.splitlines()[-1])["looks"]}
    assert not any("production" in text for text in looks.values())


def test_half_a_gate_does_not_call_itself_open(tmp_path: Path) -> None:
    half = gate_commands.conclusion(passed=True, written=None, env="staging")
    assert "no pass was written, because --backtest-only" in half
    assert "open" not in half
    assert str(tmp_path) in gate_commands.conclusion(passed=True, written=tmp_path, env="staging")
    assert "closed" in gate_commands.conclusion(passed=False, written=None, env="staging")


@pytest.mark.parametrize("group", [(), ("ctl",), ("db",), ("audit",), ("export",)])
def test_what_a_command_does_is_not_cut_in_the_list_of_a_terminal_of_80_columns(
    group: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*group, "--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2].splitlines()
    assert len(listed) > 1
    assert [line for line in listed if line.endswith("...")] == []
