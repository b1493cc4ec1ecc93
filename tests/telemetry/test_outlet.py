"""Who writes to an outlet never waits for its reader, and what is shown is whole, in order, and says what is missing."""

from __future__ import annotations

import fcntl
import json
import os
import threading

import pytest

from telemetry.outlet import KEPT_BYTES, Outlet, outlet_on
from telemetry.terminal import JsonView, PlainView
from tests.support import eventually


@pytest.fixture
def pipe():
    """A pipe of one page that nobody reads yet."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


@pytest.fixture
def reads(pipe):
    """A reader that begins when it is called, and returns all once the writer is closed."""
    found, begun = [], threading.Thread(target=lambda: found.extend(iter(lambda: os.read(pipe[0], 65_536), b"")))

    def begin():
        begun.start()

    def end():
        os.close(pipe[1])
        begun.join(10.0)
        return b"".join(found).decode()

    begin.end = end
    return begin


def test_a_view_whose_reader_hangs_holds_nobody_up_and_later_tells_how_much_was_not_shown(tmp_path, pipe, reads):
    view = PlainView(tmp_path, Outlet(pipe[1]))
    for number in range(20_000):
        view.event("started", f"line {number} {'.' * 60}")
    view.close({}, [])
    assert view.out.waiting_bytes <= KEPT_BYTES
    missing = view.not_shown
    assert missing > 1_000
    reads()
    assert view.out.drain(10.0)
    view.event("started", "reads again")
    assert view.out.drain(10.0)
    shown = reads.end().splitlines()
    assert f"{missing} lines were not shown" in shown[-2]
    assert shown[-1].endswith("reads again")
    numbers = [int(line.split(" line ")[1].split()[0]) for line in shown[:-2]]
    assert numbers == list(range(20_000 - missing))


def test_lines_of_two_threads_never_run_into_each_other(tmp_path, pipe, reads):
    view = JsonView(tmp_path, Outlet(pipe[1]))

    def tell(who):
        for number in range(500):
            view.event("told", f"{who} {number}")

    threads = [threading.Thread(target=tell, args=(who,)) for who in ("main", "view")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reads()
    assert view.out.drain(10.0)
    shown = [json.loads(line)["text"] for line in reads.end().splitlines()]
    for who in ("main", "view"):
        assert [text for text in shown if text.startswith(who)] == [f"{who} {number}" for number in range(500)]


def test_a_closed_reader_and_a_missing_stream_are_nobody_s_problem(tmp_path, pipe):
    os.close(pipe[0])
    for outlet in (Outlet(pipe[1]), outlet_on(None)):
        view = PlainView(tmp_path, outlet)
        for number in range(5):
            view.event("started", f"line {number}")
        assert outlet.drain(5.0)
        view.close({}, ["bye"])


def test_a_full_disk_costs_lines_and_later_ones_are_written(monkeypatch, pipe, reads):
    real, refused = os.write, []

    def full(fd, data):
        if fd == pipe[1] and not refused:
            refused.append(data)
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", full)
    outlet = Outlet(pipe[1])
    outlet.offer("lost\n")
    eventually(lambda: refused and outlet.drain(1.0))
    outlet.offer("written\n")
    reads()
    assert outlet.drain(10.0)
    assert reads.end() == "written\n"
