"""Two records of decisions side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from cli.replay_commands import compare as command
from simulation.compare import compare, proposals


def proposed(proposal_id: str, at: str, on: str = "bar", product: str = "BTC-USD") -> dict[str, object]:
    return {
        "at": at, "role": f"symbol:{product}", "product_id": product, "code": "proposed", "proposal_id": proposal_id,
        "decided_on": on,
    }  # fmt: skip


def verdict(proposal_id: str, code: str) -> dict[str, object]:
    return {"at": "2025-10-10T00:05:01Z", "role": "risk", "code": code, "proposal_id": proposal_id}


A = [
    proposed("p1", "2025-10-10T00:05:00Z"), verdict("p1", "admitted"),
    proposed("p2", "2025-10-10T00:10:00Z"), verdict("p2", "admitted"),
    proposed("q1", "2025-10-10T00:16:01Z", "quote"), verdict("q1", "admitted"),
    proposed("r1", "2025-10-10T00:16:30Z", "requote"),
]  # fmt: skip
B = [
    proposed("p1", "2025-10-10T00:05:00.4Z"), verdict("p1", "quote_stale"),
    proposed("p3", "2025-10-10T00:20:00.1Z"), verdict("p3", "admitted"),
    proposed("q9", "2025-10-10T00:17:59Z", "quote"), verdict("q9", "admitted"),
]  # fmt: skip


def test_proposals_on_bars_match_by_id_and_those_on_quotes_by_product_and_bar_end() -> None:
    found = compare(proposals(A), proposals(B))
    assert [one.proposal_id for one in found.common] == ["p1", "q1"]
    assert [one.proposal_id for one in found.only_a] == ["p2"]
    assert [one.proposal_id for one in found.only_b] == ["p3"]
    assert [(one.verdict, other.verdict) for one, other in found.verdicts] == [("admitted", "quote_stale")]


def test_a_record_agrees_with_itself() -> None:
    assert compare(proposals(A), proposals(A)).same


def test_the_command_names_timing_codes_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, decisions in (("a", A), ("b", B)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "decisions.jsonl").write_text("\n".join(map(json.dumps, decisions)) + "\n")
    with pytest.raises(typer.Exit) as ended:
        command(tmp_path / "a", tmp_path / "b")
    text = capsys.readouterr().out
    assert ended.value.exit_code == 1
    assert "verdict (timing): BTC-USD bar end 2025-10-10T00:05:00" in text
    assert "only A: BTC-USD bar end 2025-10-10T00:10:00" in text
