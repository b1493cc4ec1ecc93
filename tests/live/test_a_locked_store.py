"""A person's SQL shell keeps the record of runs locked: nobody who trades waits for that."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from actors.record import RunRecord
from tests.live.harness import Bot
from trading.conductor import ConductorMachine, ConductorSettings
from trading.machine import Save

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker


def _locked(path):
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    return closing(shell)


def test_a_record_that_was_locked_at_its_opening_is_kept_from_then_on(tmp_path):
    path = tmp_path / "runs.sqlite"
    tables = ConductorMachine(settings=ConductorSettings(), me=(1, 0)).tables
    first = RunRecord(path, tables)
    first.commit([Save("runs", "1", {"reason": "a", "live": True})])
    first.close()
    with _locked(path):
        second = RunRecord(path, tables)
        assert second.live_rows() == {}
    second.commit([Save("runs", "2", {"reason": "b", "live": True})])
    second.close()
    assert set(RunRecord(path, tables).live_rows()["runs"]) == {"1", "2"}


def test_a_locked_record_of_runs_costs_neither_a_start_nor_a_clean_stop(tmp_path):
    bot = Bot(tmp_path)
    try:
        tables = ConductorMachine(settings=ConductorSettings(), me=(1, 0)).tables
        RunRecord(tmp_path / "runs.sqlite", tables).close()
        with _locked(tmp_path / "runs.sqlite"):
            bot.start().ready()
            assert bot.stop() == 0, bot.tail()
    finally:
        bot.clean_up()
