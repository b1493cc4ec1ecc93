"""Logs never hold up who writes them."""

from __future__ import annotations

import gzip
import threading

from loguru import logger

from telemetry import log
from tests.support import eventually


def test_a_file_that_is_full_is_compressed_beside_whoever_filled_it(tmp_path, monkeypatch):
    packed, goes_on, real = [], threading.Event(), gzip.open

    def slow(path, *args, **kwargs):
        packed.append(path)
        goes_on.wait(20.0)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(gzip, "open", slow)
    monkeypatch.setattr(log, "FILE_BYTES", 10_000)
    log.set_up(tmp_path, "oms")
    writer = threading.Thread(target=lambda: [logger.info("x" * 1000) for _ in range(15)], daemon=True)
    writer.start()
    writer.join(10.0)
    stood = writer.is_alive()
    eventually(lambda: packed)
    goes_on.set()
    assert not stood
    writer.join(10.0)
    log.finish(10.0)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert all(name == "oms.jsonl" or name.endswith(".gz") for name in names)
    assert len(names) > 1
    lines = 0
    for name in names:
        with (real if name.endswith(".gz") else open)(tmp_path / name, "rt") as file:
            lines += sum(1 for _ in file)
    assert lines == 15
    logger.remove()


def test_a_disk_that_takes_no_lines_is_told_once_not_with_a_traceback_for_each(tmp_path, capfd):
    (tmp_path / "oms.jsonl").symlink_to("/dev/full")
    log.set_up(tmp_path, "oms")
    for _ in range(3):
        logger.info("nobody will read this")
    log.finish(10.0)
    said = capfd.readouterr().err.splitlines()
    assert said == [
        f"oms: the log {tmp_path / 'oms.jsonl'} cannot be written (No space left on device); what is logged until it can is lost"
    ]
    logger.remove()
