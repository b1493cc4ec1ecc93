"""`run.py gate`: may this code with this configuration touch real money?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import FAILED, OK
from cli.places import ROOT

FOLDER = ROOT / "data" / "gate"
BASELINE = ROOT / "config" / "gate_baseline.json"


def register(app: typer.Typer) -> None:
    app.command("gate")(gate)


def gate(
    env: Annotated[str, typer.Option(help="Whose configuration: staging or production.")] = "staging",
    config: Annotated[list[Path] | None, typer.Option(help="A further YAML layer.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="key=value")] = None,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Store this backtest as the baseline; commit the file as a reviewed change."),
    ] = False,
    without_tests: Annotated[
        bool, typer.Option("--backtest-only", help="Only the backtest half; writes no pass.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Judge this configuration; LIVE demands its pass (7 days). By the tests' stamp and a short backtest against the stored baseline."""
    from cli.plans import load_or_explain
    from simulation.backtest.gate import Finding, backtest_findings, read, stamp_finding, write_pass

    loaded = load_or_explain(env, None, config or [], set_ or [])
    baseline = read(BASELINE) or {}
    findings: list[Finding] = [] if without_tests else [stamp_finding(FOLDER, ROOT, env, loaded.hash)]
    more, figures = backtest_findings(loaded, baseline)
    if accept and figures.get("total_trades"):
        BASELINE.write_text(
            json.dumps({**baseline, loaded.hash: figures}, indent=1, sort_keys=True) + "\n",
            encoding="utf-8",
        )
        more = [Finding(name="baseline", ok=True, text=f"stored in {BASELINE.name} for configuration {loaded.hash}")]
    findings += more
    passed = all(finding.ok for finding in findings)
    written = write_pass(FOLDER, ROOT, loaded.hash) if passed and not without_tests else None
    if as_json:
        print(
            json.dumps(
                {
                    "passed": passed,
                    "pass_written": written is not None,
                    "findings": [{"name": f.name, "ok": f.ok, "text": f.text} for f in findings],
                }
            )
        )
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name}: {finding.text}")
        print(conclusion(passed, written, env))
    raise typer.Exit(OK if passed else FAILED)


def conclusion(passed: bool, written: Path | None, env: str) -> str:
    if not passed:
        return "the gate is closed: no pass was written"
    if written is None:
        return (
            "the backtest half holds; no pass was written, because --backtest-only looks at no test: "
            f"python3 run.py gate --env {env} writes it"
        )
    return f"the gate is open: its pass ({written}) is good for 7 days, at this commit, with this configuration"
