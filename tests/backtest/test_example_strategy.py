"""The example of docs/STRATEGIES.md, cut out of the page and run as a user would run it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "STRATEGIES.md"


def example() -> str:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]


def test_the_documented_example_of_about_ten_lines_trades_from_a_folder_outside_the_clone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = example()
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "strong_hour.py").write_text(code, encoding="utf-8")
    sets = [
        "symbol.strategies.strong_hour.enabled=true",
        "symbol.strategies.strong_hour.budget_pct=5",
        "symbol.strategies.price_move.enabled=false",
    ]
    words = ["backtest", "--json", "--out", str(tmp_path / "out"), "--strategies", str(tmp_path / "mine")]
    assert main([*words, "--to", "2025-10-14", *(word for one in sets for word in ("--set", one))]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["per_strategy"]) <= {"strong_hour"}
    lines = (tmp_path / "out" / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    proposed = [d for d in map(json.loads, lines) if d.get("code") == "proposed"]
    assert proposed
    assert {d["strategy"] for d in proposed} == {"strong_hour"}


def test_the_example_does_nothing_until_it_is_enabled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "strong_hour.py").write_text(example(), encoding="utf-8")
    words = ["backtest", "--json", "--out", str(tmp_path / "out"), "--strategies", str(tmp_path), "--to", "2025-10-13"]
    assert main(words) == 0
    capsys.readouterr()
    assert "strong_hour" not in (tmp_path / "out" / "decisions.jsonl").read_text(encoding="utf-8")


def test_a_strategy_file_that_cannot_be_loaded_is_refused_before_a_run_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import nothing_like_this\n", encoding="utf-8")
    assert main(["run", "--data-dir", str(tmp_path / "bot"), "--strategies", str(tmp_path)]) == 2
    assert "broken.py" in capsys.readouterr().err
    assert not (tmp_path / "bot").exists()
