"""`run.py logs`: one story out of many files, as whoever is on call reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from cli.main import main
from telemetry import log


def role_logs(folder: Path | None, role: str) -> None:
    """A thread writes the lines: what the role before has said is in its file first."""
    log.finish(10.0)
    log.set_up(folder, role)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Three roles have logged, by the roles' own set-up: risk, oms, risk, symbol:BTC-USD with a traceback; oms was killed in a line."""
    folder = tmp_path / "logs"
    role_logs(folder, "risk")
    denied = {"product_id": "BTC-USD", "code": "spread_too_wide", "text": "too wide", "values": {"spread_bps": "120"}}
    logger.bind(kind="decision", values=denied).info("too wide")
    role_logs(folder, "oms")
    logger.bind(kind="order", values={"from": "initialized", "to": "submitted"}).info("order")
    role_logs(folder, "risk")
    logger.warning("a second word of risk")
    role_logs(folder, "symbol:BTC-USD")
    try:
        raise ArithmeticError("no bar")
    except ArithmeticError:
        logger.exception("a strategy failed")
    role_logs(None, "test")
    with (folder / "oms.jsonl").open("a") as stream:
        stream.write('{"text": "cut')
    (folder / "tree.err").write_text("Fatal Python error")
    yield tmp_path
    logger.remove()


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, list[str], str]:
    capsys.readouterr()
    code = main(["logs", *args])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_the_lines_of_all_roles_are_one_story_with_tracebacks_and_what_was_measured(data_dir, capsys) -> None:
    code, lines, _ = said(capsys, "--data-dir", str(data_dir))
    heads = [line for line in lines if not line.startswith("    ")]
    assert code == 0
    assert [line.split()[2] for line in heads[:-1]] == ["risk", "oms", "risk", "symbol:BTC-USD"]
    assert "decision  BTC-USD  spread_too_wide  too wide  spread_bps=120" in heads[0]
    assert "order  from=initialized  to=submitted" in heads[1]
    assert "ERROR a strategy failed" in heads[3]
    assert lines[-2] == "    ArithmeticError: no bar"
    assert "tree.err (18 bytes)" in heads[-1]


@pytest.mark.parametrize(
    ("args", "texts"),
    [
        (("--level", "warning"), ["a second word of risk", "a strategy failed"]),
        (("--role", "symbol:BTC-USD"), ["a strategy failed"]),
        (("--last", "2"), ["a second word of risk", "a strategy failed"]),
        (("--since", "1h", "--role", "oms"), ["order"]),
        (("--since", "0s"), []),
    ],
)
def test_level_role_time_and_number_choose_the_lines(data_dir, capsys, args, texts) -> None:
    _, lines, _ = said(capsys, "--data-dir", str(data_dir), "--json", *args)
    assert [json.loads(line)["text"] for line in lines] == texts


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--since", "yesterday"), "is not a duration such as 90s, 30m, 8h or 2d"),
        (("--level", "loud"), "one of debug, info, warning, error, critical"),
        (("--role", "omx"), "there are: oms, risk, symbol_BTC-USD"),
    ],
)
def test_wrong_words_are_a_sentence_with_the_right_ones(data_dir, capsys, args, sentence) -> None:
    code, _, err = said(capsys, "--data-dir", str(data_dir), *args)
    assert (code, sentence in err) == (2, True), err


def test_where_no_bot_has_run_there_is_no_log(tmp_path, capsys) -> None:
    code, _, err = said(capsys, "--data-dir", str(tmp_path))
    assert (code, "no bot has run there" in err) == (2, True), err
