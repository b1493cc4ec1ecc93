"""Modes R and L, and that a schedule is the same run byte for byte whenever it is played."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from simulation.fuzz import campaign
from simulation.fuzz.__main__ import main
from simulation.fuzz.play import play
from simulation.fuzz.schedule import long, short
from tests.support import eventually
from trading.protections import Protections

ROOT = Path(__file__).parents[2]


def test_random_schedules_break_no_invariant():
    tally = campaign.seeds("R", 0, 250, Protections(), jobs=1)
    print(
        f"seeds 0 to 249: {tally.total} schedules, {tally.total / tally.elapsed_s:.0f}/s, {tally.deliveries / tally.elapsed_s:.0f} messages/s"
    )
    assert [f.text for f in tally.failures] == []
    assert tally.faults >= tally.total
    assert tally.deliveries >= 40 * tally.total


def test_healed_schedules_trade_again_and_come_to_rest():
    for seed in range(10):
        played = play(short(seed, heal=True))
        assert [str(v) for v in played.violations] == [], f"seed {seed}"


@pytest.mark.slow
def test_long_schedules_break_no_invariant():
    for seed in range(3):
        played = play(long(seed))
        assert played.deliveries > 10_000
        assert [str(v) for v in played.violations] == [], f"seed {seed}"


def test_a_seed_is_the_same_run_byte_for_byte_in_another_process_with_another_hash_seed():
    hashes = {play(short(7), trace=True).trace_hash}
    for hash_seed in ("1", "random"):
        out = subprocess.run(
            [sys.executable, "-m", "simulation.fuzz", "--seed", "7", "--json"],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        hashes.add(json.loads(out.stdout)["trace_sha256"])
    assert len(hashes) == 1


def test_the_command_line_says_what_it_did(capsys):
    assert main(["--seeds", "10", "--mode", "R", "--jobs", "1", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["total"] == 10 and row["exit"] == 0 and row["invariant"] is None
    assert main(["--without", "hope"]) == 2
    assert "hope" in capsys.readouterr().err


def played_cpu_s(family):
    return sum(sum(one.cpu_times()[:2]) for one in (family, *family.children()))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_run_that_is_ended_reports_what_it_has_played(jobs):
    fuzz = subprocess.Popen(
        [sys.executable, "-m", "simulation.fuzz", "--mode", "R", "--seeds", "100000", "--jobs", jobs, "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    family = psutil.Process(fuzz.pid)
    eventually(lambda: played_cpu_s(family) > 3.0, patience_s=60.0)
    assert fuzz.poll() is None
    fuzz.send_signal(signal.SIGTERM)
    out, _ = fuzz.communicate(timeout=30)
    row = json.loads(out)
    assert row["interrupted"] and row["total"] > 0 and row["exit"] == fuzz.returncode == 0
