"""A panic that has begun is carried out, whatever its disk, its terminal and the reader of its lines do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import define, field

from tests.cli.test_command_line import ROOT
from tests.coinbase_rest.test_sweep import Book
from tests.coinbase_rest.venue import KEY_NAME, KEY_SECRET, Venue
from tests.support import eventually

PATIENCE_S = 20.0


@define
class Desk:
    """A venue where two orders of ours rest, one of which arrives after the first pass, and a data dir without a bot."""

    book: Book
    folder: Path
    started: list[subprocess.Popen[str]] = field(factory=list)

    def panic(self, before: str = "", stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        shell = f'{before} exec "$2" run.py panic --data-dir "$1"'
        command = ["sh", "-c", shell, "sh", str(self.folder), sys.executable]
        self.started.append(subprocess.Popen(command, cwd=ROOT, text=True, stdout=stdout))
        return self.started[-1]

    def canceled_all(self) -> None:
        eventually(lambda: self.book.canceled, lambda canceled: canceled == ["v1", "v2"], PATIENCE_S)


@pytest.fixture
def desk(tmp_path):
    def trouble(request, answer):
        if request.path.endswith("key_permissions"):
            answer.json({"can_view": True, "can_trade": True, "can_transfer": False, "portfolio_uuid": "p-1"})
            return True
        if book.canceled and not request.path.endswith("batch_cancel"):
            book.rows.setdefault("v2", ["bh-test-b", "OPEN"])
        return False

    book = Book(("v1", "bh-test-a", "OPEN"), trouble=trouble)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "account").write_text('{"tag": "test"}')
    with Venue(book) as venue:
        ends = venue.endpoints
        line = {"rest": ends.rest, "ws_market": ends.ws_market, "ws_user": ends.ws_user, "ca": ends.ca_file}
        line |= {"api_key": KEY_NAME, "api_secret": KEY_SECRET}
        (tmp_path / "run" / "venue.json").write_text(json.dumps(line))
        desk = Desk(book, tmp_path)
        yield desk
        for process in desk.started:
            process.kill()
            process.wait()


def test_a_reader_that_leaves_after_the_first_line_ends_no_sweep(desk):
    process = desk.panic()
    process.stdout.readline()
    process.stdout.close()
    desk.canceled_all()


def test_a_reader_that_never_reads_holds_up_no_sweep(desk):
    near, far = os.pipe()
    os.set_blocking(far, False)
    with open(far, "wb", buffering=0, closefd=False) as pipe:
        while pipe.write(b"x" * 4096) is not None:
            continue
    os.set_blocking(far, True)
    desk.panic(stdout=far)
    desk.canceled_all()
    os.close(near)
    os.close(far)


def test_a_terminal_that_closes_ends_no_sweep(desk):
    process = desk.panic()
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    desk.canceled_all()


def test_a_disk_that_stalls_holds_up_no_cancel_and_is_told(desk):
    process = desk.panic(before='mkfifo "$1/.KILL_SWITCH.$$.tmp";')  # whoever opens it for writing waits
    desk.canceled_all()
    assert "CANNOT be engaged" in process.stdout.readline()
