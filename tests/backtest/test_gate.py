"""The gate opens for a result that agrees with its baseline, and for nothing that proves less."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from config.schema import load_config
from simulation.backtest import gate
from simulation.backtest.report import EquityPoint, Run

LOADED = load_config("staging")


@pytest.fixture(scope="module")
def run() -> Run:
    """The run of the gate itself, played once."""
    played: list[Run] = []

    class Kept(gate.Backtest):
        def run(self, progress: Any = None) -> Run:
            played.append(super().run(progress))
            return played[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "Backtest", Kept)
        findings, _ = gate.backtest_findings(LOADED, None)
    assert [one.name for one in findings if not one.ok] == ["baseline"], "nothing else is wrong"
    return played[0]


def judged(monkeypatch: pytest.MonkeyPatch, run: Run, baseline: dict[str, Any]) -> list[str]:
    """The names of what is not in order when the engine leaves `run` behind."""
    monkeypatch.setattr(gate.Backtest, "run", lambda *_: run)
    findings, _ = gate.backtest_findings(LOADED, {LOADED.hash: baseline})
    return [one.name for one in findings if not one.ok]


def test_the_same_result_agrees_with_its_baseline(monkeypatch, run) -> None:
    assert judged(monkeypatch, run, gate.compared(run)) == []


@pytest.mark.parametrize(
    ("figure", "factor"),
    [("total_trades", 1.3), ("win_rate", 0.9), ("max_drawdown_pct", 1.05), ("profit_factor", 0.95)],
)
def test_each_compared_figure_that_moves_by_more_than_two_percent_closes_the_gate(
    monkeypatch, run, figure, factor
) -> None:
    before = gate.compared(run)
    assert judged(monkeypatch, run, {**before, figure: before[figure] * factor}) == [f"baseline {figure}"]


def test_a_total_pnl_is_judged_by_what_was_won_and_lost_not_by_the_equity(monkeypatch, run) -> None:
    before = gate.compared(run)
    near = {**before, "total_pnl_pct": before["total_pnl_pct"] + 0.01 * before[gate.SCALE]}
    assert judged(monkeypatch, run, near) == []
    far = {**before, "total_pnl_pct": before["total_pnl_pct"] + 0.03 * before[gate.SCALE]}
    assert judged(monkeypatch, run, far) == ["baseline total_pnl_pct"]


def test_an_engine_that_raises_closes_the_gate(monkeypatch) -> None:
    def broken(*_: Any) -> Run:
        raise ZeroDivisionError("no volume")

    monkeypatch.setattr(gate.Backtest, "run", broken)
    findings, figures = gate.backtest_findings(LOADED, {})
    assert [(one.ok, one.text) for one in findings] == [(False, "the engine raised ZeroDivisionError: no volume")]
    assert figures == {}, "nothing that --accept could store"


def test_an_equity_that_is_no_number_closes_the_gate(monkeypatch, run) -> None:
    spoiled = evolve(run, equity=[EquityPoint(s=0.0, cash_usd=Decimal("NaN"), holdings_usd=Decimal(0))])
    assert judged(monkeypatch, spoiled, gate.compared(run)) == ["backtest"]


def test_a_result_without_a_trade_closes_the_gate(monkeypatch, run) -> None:
    assert judged(monkeypatch, evolve(run, trades=[]), gate.compared(run)) == ["backtest"]


def test_a_suite_that_passed_with_another_commit_or_configuration_closes_the_gate(tmp_path) -> None:
    root, folder = tmp_path / "clone", tmp_path / "gate"
    root.mkdir()
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")

    def git(*args: str) -> None:
        subprocess.run(["git", *who, *args], cwd=root, check=True, capture_output=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    assert "no stamp" in gate.stamp_finding(folder, root, "staging", "aa").text
    gate.write_stamp(folder, root, {"staging": "aa"})
    assert gate.stamp_finding(folder, root, "staging", "aa").ok
    for env, config_hash in (("staging", "bb"), ("production", "aa")):
        assert not gate.stamp_finding(folder, root, env, config_hash).ok
    git("commit", "-q", "--allow-empty", "-m", "two")
    assert "the suite passed at" in gate.stamp_finding(folder, root, "staging", "aa").text
    assert not gate.stamp_finding(folder, root, "staging", "aa").ok
