"""The kill switch's two files: either is enough to engage, both are needed to re-arm, whatever fails in between (I6, I11)."""

from __future__ import annotations

import json
from functools import partial

import pytest

from exchange.coinbase import fences
from state import two_file
from state.store import StoreError
from state.two_file import TwoFileStore
from trading.machine import Save

ENGAGED = {"engaged": True, "cause": "drill", "name": "ann", "source": "ctl", "at_s": 5.0}
ARMED = {"engaged": False, "cause": "", "name": "", "source": "", "at_s": None}


@pytest.fixture
def store(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    fences.prepare_kill_file(run)
    engage = partial(_engage, run)
    return TwoFileStore(tmp_path / fences.KILL_FILE, run / fences.KILL_RECORD, engage)


def _engage(run, cause, name, source):
    fences.engage_kill_file(run, cause=cause, name=name, source=source)


def _engaging():
    return [
        Save("kill", "file", {**ENGAGED, "live": True}),
        Save("kill", "record", {**ENGAGED, "paused": False, "commands": "c1", "live": True}),
    ]


def _rearming():
    return [
        Save("kill", "record", {**ARMED, "paused": False, "commands": "c1 c2", "live": True}),
        Save("kill", "file", {**ARMED, "live": False}),
    ]


def test_both_files_say_what_was_saved_and_the_lanes_can_read_them(store, tmp_path):
    store.commit(_engaging())
    rows = store.live_rows()["kill"]
    assert rows["record"]["engaged"] == rows["file"]["engaged"] == 1
    assert rows["record"]["commands"] == "c1"
    assert fences.read_fences(tmp_path / "run").killed
    store.commit(_rearming())
    assert set(store.live_rows()["kill"]) == {"record"}
    assert not fences.read_fences(tmp_path / "run").killed


@pytest.mark.parametrize("lost", ["file", "record"])
def test_either_file_alone_means_engaged(store, tmp_path, lost):
    store.commit(_engaging())
    {"file": tmp_path / "KILL_SWITCH", "record": tmp_path / "run" / "kill.json"}[lost].unlink()
    assert any(row["engaged"] for row in store.live_rows()["kill"].values())
    assert fences.read_fences(tmp_path / "run").killed


def test_a_file_that_a_person_touched_is_an_engagement(store, tmp_path):
    (tmp_path / "KILL_SWITCH").touch()
    assert store.live_rows()["kill"]["file"]["engaged"] == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"engaged": "no"}', '{"engaged": 1}'])
def test_a_record_that_cannot_be_believed_is_an_engagement(store, tmp_path, damage):
    (tmp_path / "run" / "kill.json").write_text(damage)
    assert store.live_rows()["kill"]["record"]["engaged"] == 1
    assert fences.read_fences(tmp_path / "run").killed


def _failing(_path, _body, mode=0o600):
    raise OSError(28, "No space left on device", "kill.json")


def test_an_engagement_succeeds_when_one_file_took_it_and_the_other_is_tried_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(two_file, "write_durably", _failing)
    store.commit(_engaging())
    assert "No space left" in store.trouble
    assert (tmp_path / "KILL_SWITCH").exists()
    monkeypatch.undo()
    assert store.retry()
    assert store.trouble == ""
    assert json.loads((tmp_path / "run" / "kill.json").read_text())["engaged"] is True


def test_an_engagement_that_no_file_took_still_goes_out_and_is_tried_again(store, monkeypatch):
    monkeypatch.setattr(two_file, "write_durably", _failing)
    monkeypatch.setattr(store, "_engage", lambda *_: _failing(None, None))
    store.commit(_engaging())  # closing needs nobody's leave
    assert store.trouble
    monkeypatch.undo()


def test_a_rearming_that_is_not_durable_is_refused_and_the_file_stays(store, tmp_path, monkeypatch):
    store.commit(_engaging())
    monkeypatch.setattr(two_file, "write_durably", _failing)
    with pytest.raises(StoreError, match="neither re-armed nor resumed"):
        store.commit(_rearming())
    assert (tmp_path / "KILL_SWITCH").exists()
    monkeypatch.undo()
    store.retry()  # nothing is owed: a person orders it again
    assert fences.read_fences(tmp_path / "run").killed


def test_a_rearming_that_is_not_durable_is_refused_also_while_paused(store, tmp_path, monkeypatch):
    store.commit(_engaging())
    monkeypatch.setattr(two_file, "write_durably", _failing)
    record, file = _rearming()
    with pytest.raises(StoreError, match="neither re-armed"):
        store.commit([Save("kill", "record", {**record.row, "paused": True}), file])
    assert fences.read_fences(tmp_path / "run").killed


def test_a_pause_closes_and_a_resume_opens(store, monkeypatch):
    paused = Save("kill", "record", {**ARMED, "paused": True, "pause_cause": "lunch", "live": True})
    monkeypatch.setattr(two_file, "write_durably", _failing)
    store.commit([paused])
    monkeypatch.undo()
    assert store.retry()
    assert store.live_rows()["kill"]["record"]["paused"] == 1
    monkeypatch.setattr(two_file, "write_durably", _failing)
    with pytest.raises(StoreError):
        store.commit([Save("kill", "record", {**ARMED, "paused": False, "live": True})])
