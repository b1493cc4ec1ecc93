"""The actor around a machine: save, then send, then wake; kill -9 loses nothing; a full disk parks and comes back."""

from __future__ import annotations

import json
import os
import signal

import pytest

from actors.words import StoreParked
from state import audit
from supervision import Tree, start
from tests.live.tiny import Add, Total, plan_for, tree_of
from tests.support import eventually
from trading.messages.control import Drain, Drained

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker


@pytest.fixture
def tree(tmp_path):
    tree = start(tree_of(plan_for(tmp_path)), folder=None, hang_deadline_s=3, run_number=7)
    yield tree
    tree.stop(5)


class Mail:
    """What main heard, gathered over polls."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.heard = tree, []

    def last(self, kind: type) -> object:
        self.heard += [body for _sender, body in self.tree.messages()]
        return next((body for body in reversed(self.heard) if isinstance(body, kind)), None)


def _pid(tree: Tree) -> int:
    return eventually(lambda: tree.snapshot().row("tally"), lambda row: row is not None and row.state == "running").pid


def test_a_message_is_saved_sent_and_survives_kill_dash_nine(tree, tmp_path):
    mail = Mail(tree)
    eventually(lambda: mail.last(Total), lambda total: total == Total(0, 0, 1))
    for n in (1, 2, 3):
        tree.tell("tally", Add(n))
    eventually(lambda: mail.last(Total), lambda total: total == Total(6, 0, 1))
    os.kill(_pid(tree), signal.SIGKILL)
    eventually(lambda: mail.last(Total), lambda total: total == Total(6, 6, 1))
    tree.tell("tally", Add(10))
    eventually(lambda: mail.last(Total), lambda total: total == Total(16, 6, 1))
    # A note is the last thing of a handle and may be lost with the process; what was written must verify.
    assert {line["record"]["kind"] for line in audit.read(tmp_path / "audit" / "tally.jsonl")} == {"decision"}
    first = eventually(lambda: (tmp_path / "logs" / "tally.jsonl").read_text().partition("\n"), lambda found: found[1])[
        0
    ]
    assert json.loads(first)["record"]["extra"]["kind"] == "decision"


def test_a_store_that_cannot_be_used_parks_the_role_which_still_answers_and_comes_back(tmp_path):
    plan = plan_for(tmp_path)
    (tmp_path / "tally.sqlite").write_text("no database, " * 1000)
    tree = start(tree_of(plan), hang_deadline_s=3, run_number=7)
    try:
        mail = Mail(tree)
        parked = eventually(lambda: mail.last(StoreParked))
        assert parked.parked
        assert "adopt-from-venue" in parked.reason
        tree.tell("tally", Drain(run_number=7))
        assert eventually(lambda: mail.last(Drained)).clean is False
        pid = _pid(tree)
        (tmp_path / "tally.sqlite").unlink()
        eventually(lambda: mail.last(StoreParked), lambda said: not said.parked)
        tree.tell("tally", Add(1))
        eventually(lambda: mail.last(Total), lambda total: total is not None and total.n == 1)
        assert _pid(tree) == pid
    finally:
        tree.stop(5)
