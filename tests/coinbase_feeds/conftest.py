"""A real simulated venue, one for all tests of this folder that need one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start_venue(module: str, *options: str) -> tuple[subprocess.Popen[bytes], dict]:
    """A venue process and its contract line; the test fails with the process's own words when there is none in 30 s."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--json", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    timer = threading.Timer(30.0, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if not line:
        raise AssertionError(f"{module} did not start: {process.stderr.read().decode()[-2000:]}")
    return process, json.loads(line)


def stop_venue(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        stream.close()


@pytest.fixture(scope="session")
def venue_line(tmp_path_factory):
    process, line = start_venue("exchange.simulator", "--data-dir", str(tmp_path_factory.mktemp("venue")))
    yield line
    stop_venue(process)
