"""A guardian of its own outlives data dirs: what begins anew under the same name is guarded too."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve

from actors.guarding import remember
from actors.plan import RunPlan
from config.schema import Config
from exchange.coinbase import fences
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.transport import boot_s
from tests.support import eventually
from trading.guardian import GuardianSettings

ROOT = Path(__file__).parents[2]
NOWHERE = Endpoints(rest="127.0.0.1:1", ws_market="wss://127.0.0.1:1", ws_user="wss://127.0.0.1:1")
CONFIG = evolve(Config(), guardian=GuardianSettings(fire_loops=3, kill_loops=600, loop_s=0.2))


def begin(folder: Path, number: int, state: str) -> None:
    (folder / "run").mkdir(parents=True, exist_ok=True)
    fences.write_beat(folder / "run", fences.Beat(number, state, boot_s()))
    plan = RunPlan(data_dir=folder, env="staging", mode="paper", config=CONFIG, endpoints=NOWHERE, run_number=number)
    remember(evolve(plan, tag="abcd"))


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "actors.guardian_main", "--data-dir", str(folder), "--stays"]
    guardian = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        guardian.kill()
        guardian.wait()


def test_a_data_dir_that_was_cleared_away_and_began_anew_with_run_1_is_guarded(tmp_path):
    begin(tmp_path, 7, "ready")
    fence = tmp_path / "run" / "guardian.fence"
    with guarded(tmp_path):
        eventually(fence.exists, patience_s=15.0)
        assert json.loads(fence.read_text()) == {"run": 7}
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        begin(tmp_path, 1, "ready")
        eventually(fence.exists, patience_s=10.0)
        assert json.loads(fence.read_text()) == {"run": 1}


def test_a_data_dir_that_began_anew_under_the_very_number_that_was_guarded_is_guarded(tmp_path):
    """Who tries it once, clears it away and starts again has run 1 twice; the guardian rested for run 1 and went on resting."""
    begin(tmp_path, 1, "stopped")
    said = json.loads((tmp_path / "run" / "main.json").read_text())
    (tmp_path / "run" / "main.json").write_text(json.dumps({**said, "started": said["started"] - 500}))
    fence = tmp_path / "run" / "guardian.fence"
    log = tmp_path / "logs" / "guardian.jsonl"
    with guarded(tmp_path):
        eventually(lambda: log.exists() and "stopped in good order" in log.read_text(), patience_s=15.0)
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        begin(tmp_path, 1, "ready")
        eventually(fence.exists, patience_s=10.0)
        assert json.loads(fence.read_text()) == {"run": 1}
