"""A disk that takes no writes and says nothing: whoever cancels does not wait for it."""

from __future__ import annotations

import os
import threading

import pytest

from actors.guardian import KEY_NAME_ENV, KEY_SECRET_ENV, Guardian
from actors.plan import RunPlan
from config.schema import Config
from exchange.coinbase import fences
from exchange.coinbase.transport import boot_s
from tests.coinbase_rest.test_sweep import Book
from tests.coinbase_rest.venue import KEY_NAME, KEY_SECRET, Venue
from tests.receiver import Receiver
from tests.support import eventually


@pytest.fixture
def stalls():
    """stalls(path): whoever opens it for writing waits until the test is over."""
    pipes = []

    def stall(path):
        os.mkfifo(path)
        pipes.append(path)

    yield stall
    for path in pipes:
        if path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


def test_the_guardian_cancels_and_tells_while_its_fence_cannot_be_written(tmp_path, monkeypatch, stalls):
    monkeypatch.setenv(KEY_NAME_ENV, KEY_NAME)
    monkeypatch.setenv(KEY_SECRET_ENV, KEY_SECRET)
    run = tmp_path / "run"
    run.mkdir()
    fences.write_beat(run, fences.Beat(1, "ready", boot_s()))
    fences.write_durably(run / "handed_over", 1)
    stalls(run / f".{fences.GUARDIAN_FENCE}.{os.getpid()}.tmp")
    book, ended = Book(("v1", "bh-test-a", "OPEN")), threading.Event()
    with Venue(book) as venue, Receiver() as people:
        monkeypatch.setenv("BULKHEAD_ALERT_URLS", people.url)
        plan = RunPlan(
            data_dir=tmp_path, env="staging", mode="live", tag="test", endpoints=venue.endpoints, config=Config()
        )
        guardian = Guardian(plan, 1, stays=True)

        def watch() -> None:
            while not ended.wait(0.02):
                guardian.step()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            eventually(lambda: book.canceled, lambda canceled: canceled == ["v1"], 6.0)
            eventually(lambda: [alert["title"] for alert in people.heard], lambda titles: titles, 6.0)
        finally:
            ended.set()
            guardian._sweeping.stop()
        thread.join(2.0)
        assert not thread.is_alive(), "its loop stands still"
