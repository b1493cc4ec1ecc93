"""The guardian's shell: it goes home when its simulated venue is gone with its bot; a real venue is swept for ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from attrs import asdict

from actors.guardian import Guardian
from actors.guarding import recall
from actors.processes import Watched
from actors.venue import LEFT_ALONE_S
from exchange.coinbase.endpoints import Endpoints
from tests.support import eventually
from trading.guardian import GuardianSettings
from trading.messages.control import SweepReport

FAILED = SweepReport(clean=False, canceled=(), listed=0, passes=3, error="ConnectionError")


@pytest.mark.parametrize(("embedded", "stays", "code"), [([], False, 0), ([], True, None), (None, False, None)])
def test_an_orphan_goes_home_when_its_simulated_venue_is_gone(tmp_path, embedded, stays, code):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "venue.json").write_text('{"rest": "127.0.0.1:1"}')
    endpoints = None if embedded is not None else asdict(Endpoints.coinbase())
    said = {"pid": 1, "started": -1, "run": 1, "tag": "abcd", "env": "staging", "mode": "paper", "market": "synthetic"}
    said |= {"embedded": embedded, "guardian": {}, "endpoints": endpoints}
    (tmp_path / "run" / "main.json").write_text(json.dumps(said))
    plan = recall(tmp_path)[0]
    guardian = Guardian(plan, 1, stays=stays)
    guardian.step()
    assert guardian.exit_code is None
    guardian._sweeping.bridge.put(FAILED)
    guardian.step()
    assert guardian.exit_code == code


def test_an_embedded_venue_outlives_the_guardians_sweep():
    settings = GuardianSettings()
    assert settings.fire_loops + settings.sweep_s + settings.sweep_patience_s < LEFT_ALONE_S


def test_who_loops_turns_and_who_is_stopped_stands_still():
    with subprocess.Popen(["sh", "-c", "while :; do sleep 0.01; done"]) as process:
        watched = Watched(process.pid)
        eventually(lambda: (watched.still(), watched._switches), lambda seen: seen[0] == 0 and seen[1] > 5, every_s=0.1)
        os.kill(process.pid, signal.SIGSTOP)
        eventually(watched.still, lambda looks: looks >= 5, every_s=0.05)
        os.kill(process.pid, signal.SIGCONT)
        eventually(watched.still, lambda looks: looks == 0, every_s=0.05)
        process.kill()
        process.wait()
        assert watched.still() == 0
