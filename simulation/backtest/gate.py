"""The gate before real money: tests that passed at this commit with this configuration, and a short backtest with it that
agrees with a stored baseline. Its pass is a file that LIVE demands, not older than seven days.

Compared are the five figures of domain.md section 15, each within 2 % of what it was. A total PnL near zero would leave no
room, and 2 % of the equity would hide everything, so its room is 2 % of all that was won and lost (the sum of |PnL| of the
trades), in percent of the equity at the start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from simulation.backtest.data import generated
from simulation.backtest.engine import Backtest
from simulation.backtest.report import InvalidResultError, Run, summary
from simulation.work_tree import marked_commit

SEED = 42
PASS_S_MAX = 7 * 86_400.0
TOLERANCE = 0.02
COMPARED = ("total_trades", "win_rate", "total_pnl_pct", "max_drawdown_pct", "profit_factor")
SCALE = "won_and_lost_pct"
STAMP, PASS = "tests.json", "pass.json"


@frozen(kw_only=True)
class Finding:
    """One condition of the gate: `ok`, and a sentence with the numbers."""

    name: str
    ok: bool
    text: str


def commit(root: Path) -> str:
    """The checked-out commit, with "+changes" when the tree differs from it; "unknown" without git."""
    return marked_commit(root, mark="+changes")


def write_stamp(folder: Path, root: Path, configs: Mapping[str, str]) -> None:
    """Called when the whole suite has passed. configs: environment -> hash of the configuration that its files make."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = {"commit": commit(root), "configs": dict(configs), "at_s": time.time()}
    (folder / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")


def stamp_finding(folder: Path, root: Path, env: str, config_hash: str) -> Finding:
    """Whether the suite passed with this commit and with this configuration."""
    stamp, now = read(folder / STAMP), commit(root)
    if stamp is None:
        return Finding(name="tests", ok=False, text="no stamp of a passed suite; run: python3 run.py test")
    if stamp.get("commit") != now or now == "unknown":
        return Finding(
            name="tests",
            ok=False,
            text=f"the suite passed at {stamp.get('commit')}, this is {now}; run: python3 run.py test",
        )
    configs = stamp.get("configs")
    tested = configs.get(env) if isinstance(configs, dict) else None
    if tested != config_hash:
        text = (
            f"the suite passed with configuration {tested} of {env}, this is {config_hash}; say what is different in "
            f"config/{env}.yaml, then run: python3 run.py test"
        )
        return Finding(name="tests", ok=False, text=text)
    return Finding(
        name="tests", ok=True, text=f"the suite passed at this commit ({now[:12]}) with configuration {tested}"
    )


def backtest_findings(loaded: Any, baseline: Mapping[str, Any] | None) -> tuple[list[Finding], dict[str, Any]]:
    """The short backtest and its comparison. Whatever the engine raises is a failed finding, never a pass."""
    try:
        dataset = generated(SEED)
        config = loaded.config
        run = Backtest(
            dataset, config=config, costs=config.costs, seed=SEED, config_hash=loaded.hash, facts={"data": dataset.name}
        ).run()
        figures = compared(run)
    except InvalidResultError as error:
        return [Finding(name="backtest", ok=False, text=f"the result is not valid: {error}")], {}
    except Exception as error:  # the gate stands for every way in which the engine may break
        return [Finding(name="backtest", ok=False, text=f"the engine raised {type(error).__name__}: {error}")], {}
    if not figures["total_trades"]:
        return [
            Finding(name="backtest", ok=False, text="no trade at all: a configuration that never trades proves nothing")
        ], figures
    text = f"{figures['total_trades']} trades, PnL {figures['total_pnl_pct']:.4f} %"
    findings = [Finding(name="backtest", ok=True, text=text)]
    known = (baseline or {}).get(loaded.hash)
    if known is None or not {*COMPARED, SCALE} <= set(known):
        text = f"no baseline for configuration {loaded.hash}; look at the backtest, then: python3 run.py gate --accept"
        return [*findings, Finding(name="baseline", ok=False, text=text)], figures
    return findings + [_agreement(key, known, figures) for key in COMPARED], figures


def compared(run: Run) -> dict[str, Any]:
    """The baseline's row of a run; a figure without meaning (no loss, so no profit factor) is null."""
    figures = summary(run)
    start = float(figures["start_equity_usd"])
    drawdown = figures["max_drawdown"]
    return {
        "total_trades": figures["trades"],
        "win_rate": figures["hit_rate"],
        "total_pnl_pct": (float(figures["end_equity_usd"]) / start - 1.0) * 100.0,
        "max_drawdown_pct": None if drawdown is None else drawdown * 100.0,
        "profit_factor": figures["profit_factor"],
        SCALE: float(sum(abs(trade.pnl_usd) for trade in run.trades)) / start * 100.0,
    }


def _agreement(key: str, known: Mapping[str, Any], figures: Mapping[str, Any]) -> Finding:
    before, after = known[key], figures[key]
    if before is None or after is None:
        return Finding(name=f"baseline {key}", ok=before is after, text=f"{after} now, {before} before")
    room = TOLERANCE * abs(known[SCALE] if key == "total_pnl_pct" else before)
    text = f"{after:.6g} now, {before:.6g} before (+-{room:.2g})"
    return Finding(name=f"baseline {key}", ok=abs(after - before) <= room, text=text)


def write_pass(folder: Path, root: Path, config_hash: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PASS
    path.write_text(
        json.dumps({"commit": commit(root), "config_hash": config_hash, "at_s": time.time()}) + "\n", encoding="utf-8"
    )
    return path


def pass_problem(folder: Path, root: Path, config_hash: str, now_s: float, env: str) -> str:
    """Why the stored pass does not open LIVE with `env`'s configuration; "" when it does."""
    way_out = f"run: python3 run.py gate --env {env}"
    found = read(folder / PASS)
    if found is None:
        return f"there is no pass of the gate; {way_out}"
    age_s = now_s - float(found.get("at_s", 0.0))
    if not 0 <= age_s <= PASS_S_MAX:
        return f"the gate's pass is {age_s / 86_400:.1f} days old, at most 7 are accepted; {way_out}"
    if found.get("config_hash") != config_hash:
        return f"the gate passed configuration {found.get('config_hash')}, this is {config_hash}; {way_out}"
    if found.get("commit") != commit(root):
        return f"the gate passed commit {str(found.get('commit'))[:20]}, this is {commit(root)[:20]}; {way_out}"
    return ""


def read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
