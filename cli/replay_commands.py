"""`run.py replay` and `run.py compare`: would the machines of a recorded run decide the same again, and do two runs agree?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from cli.errors import FAILED, OK, UsageError
from trading.machine import Incarnation, Instant, Note
from trading.values import utc_text

SHOWN = 12


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)
    app.command("compare")(compare)


def make_machine(role: str, incarnation: Incarnation, plan: Any) -> Any:
    """A fresh machine as the live actor of that role makes it: by the actor's own function, without the actor."""
    from actors import thinkers

    makers: dict[str, Any] = {
        "oms": thinkers.OmsActor,
        "exits": thinkers.ExitsActor,
        "risk": thinkers.RiskActor,
        "universe": thinkers.UniverseActor,
        "health_monitor": thinkers.HealthMonitorActor,
        "symbol": thinkers.SymbolActor,
    }
    actor = makers[role.partition(":")[0]]
    return actor.make_machine(SimpleNamespace(plan=plan, incarnation=incarnation, child_id=role))


def replay(
    recording: Annotated[
        Path, typer.Argument(help="A .told file, a folder of them, or a data dir.", metavar="RECORDING")
    ],
    decisions: Annotated[Path | None, typer.Option(help="Write the replayed decisions there, as JSON lines.")] = None,
    strategies: Annotated[
        Path | None, typer.Option(help="Where the run's further strategies lie now; default: where they lay then.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Tell fresh machines what a run --record told its own. Exit 1 at the first difference."""
    from attrs import evolve

    from simulation.replay import Replayed, ReplayError, open_recording, recordings
    from simulation.replay import replay as play

    def factory(role: str, incarnation: Incarnation, plan: Any) -> Any:
        return make_machine(role, incarnation, plan if strategies is None else evolve(plan, strategies_dir=strategies))

    if decisions is not None:
        try:  # found out before anything is replayed
            decisions.write_text("", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--decisions {decisions} cannot be written: {error.strerror}") from error
    code = OK
    lines: list[dict[str, Any]] = []
    try:
        for path in recordings(recording):
            result: Replayed = play(open_recording(path), factory)
            lines += decision_lines(result.role, result.decisions)
            same = result.difference is None
            code = code if same else FAILED
            if as_json:
                print(json.dumps({"file": path.name, "role": result.role, "calls": result.calls,
                                  "effects": result.effects, "same": same}))  # fmt: skip
            else:
                verdict = "decides identically" if same else "DIFFERS"
                print(f"{path.name}: {result.calls:,} calls, {result.effects:,} effects: {verdict}")
            if result.difference is not None:
                print(difference_text(result.difference))
    except ReplayError as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    if decisions is not None:
        lines.sort(key=lambda line: (line["at"], line["role"]))
        decisions.write_text("".join(json.dumps(line, default=str) + "\n" for line in lines), encoding="utf-8")
    raise typer.Exit(code)


def decision_lines(role: str, decisions: Iterable[tuple[Instant, Note]]) -> list[dict[str, Any]]:
    """In the words of the backtest's decisions.jsonl."""
    return [{"at": utc_text(now.venue_s), "role": role, **note.values} for now, note in decisions]


def difference_text(difference: Any) -> str:
    """Both sides, line by line, of the first call that ended otherwise."""
    rows = [f"  call {difference.number} at {utc_text(difference.at.venue_s)}: {difference.told[:300]}"]
    before, after = difference.before, difference.after
    for at in range(max(len(before), len(after))):
        old = before[at] if at < len(before) else "(nothing)"
        new = after[at] if at < len(after) else "(nothing)"
        if old != new:
            rows += [f"  - recorded: {old}", f"  + replayed: {new}"]
    return "\n".join(rows)


def compare(
    a: Annotated[Path, typer.Argument(help="decisions.jsonl, a backtest's folder, or a recording.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="The other one.", metavar="B")],
    bar_s: Annotated[int, typer.Option(min=1, help="Length of the bars that decide, seconds.")] = 300,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Compare two runs: proposals of both, of one, risk's answers. Exit 1 when they differ."""
    from simulation.compare import TIMING, proposals
    from simulation.compare import compare as match

    found = match(proposals(read_decisions(a), bar_s), proposals(read_decisions(b), bar_s))
    if as_json:
        print(
            json.dumps(
                {
                    "common": len(found.common),
                    "only_a": [row(one) for one in found.only_a],
                    "only_b": [row(one) for one in found.only_b],
                    "verdicts": [{"a": row(one), "b": row(other)} for one, other in found.verdicts],
                }
            )
        )
    else:
        print(
            f"{len(found.common)} proposals in common, {len(found.only_a)} only in {a}, {len(found.only_b)} only in {b}"
        )
        for name, ones in (("only A", found.only_a), ("only B", found.only_b)):
            for one in ones[:SHOWN]:
                print(
                    f"  {name}: {one.product_id} bar end {utc_text(one.bar_end_s)} on {one.decided_on}, {one.verdict}"
                )
            if len(ones) > SHOWN:
                print(f"  {name}: and {len(ones) - SHOWN} more")
        for one, other in found.verdicts:
            kind = "timing" if {one.verdict, other.verdict} - {"admitted"} <= TIMING else "judgement"
            end = utc_text(one.bar_end_s)
            print(f"  verdict ({kind}): {one.product_id} bar end {end}: {one.verdict} in A, {other.verdict} in B")
    raise typer.Exit(OK if found.same else FAILED)


def row(one: Any) -> dict[str, Any]:
    return {
        "product_id": one.product_id,
        "bar_end": utc_text(one.bar_end_s),
        "decided_on": one.decided_on,
        "verdict": one.verdict,
    }


def read_decisions(path: Path) -> list[dict[str, Any]]:
    """Decisions of a file of JSON lines, of a folder that holds one, or of a recording as it was written."""
    from simulation.replay import ReplayError, open_recording, recordings

    file = path / "decisions.jsonl" if path.is_dir() else path
    if file.is_file() and file.suffix != ".told":
        try:
            found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} holds no JSON lines of decisions: {error}") from error
        for number, line in enumerate(found, 1):
            if not isinstance(line, dict) or "code" not in line or "at" not in line:
                raise UsageError(f"{file} line {number} is no decision: it has no code and no time (at)")
        return found
    lines: list[dict[str, Any]] = []
    try:
        for one in recordings(path):
            recording = open_recording(one)
            for call in recording.calls:
                notes = [(call.now, e) for e in call.effects if isinstance(e, Note) and e.kind == "decision"]
                lines += decision_lines(recording.role, notes)
    except ReplayError as error:
        raise UsageError(str(error)) from error
    return sorted(lines, key=lambda line: str(line["at"]))
