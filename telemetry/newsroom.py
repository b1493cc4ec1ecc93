"""The thread that looks for news: it reads the book on the disk and asks the operator, so that no actor waits for either."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Full, Queue
from typing import Any

from loguru import logger

from state.book import NoBookError, traded_since
from state.db import MAIN_STORE
from state.store import StoreError
from telemetry.client import NobodyThereError, OperatorClient, RefusedError
from telemetry.news import digest, news_of, standing
from trading.news import LookForNews, NewsFound

STATUS_S = 3.0


class Newsroom:
    """`look` never blocks: while one look goes on the next is left out, the machine asks again. on_found runs in the thread."""

    def __init__(self, data_dir: Path, on_found: Callable[[NewsFound], None]) -> None:
        self.data_dir = data_dir
        self.on_found = on_found
        self._queue: Queue[LookForNews] = Queue(1)
        self._seen: object = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="newsroom", daemon=True).start()

    def look(self, request: LookForNews) -> None:
        try:
            self._queue.put_nowait(request)
        except Full:
            return

    def _run(self) -> None:
        while True:
            try:
                found = self.read(self._queue.get())
            except (
                Exception
            ):  # a row of which nobody can make a sentence ends no thread: after the next commit it looks again
                logger.exception("what the book says of trades could not be told")
                continue
            if found.items:
                self.on_found(found)

    def read(self, request: LookForNews) -> NewsFound:
        """What the book says; nothing where it cannot be read now, or is as it was."""
        stamp = self._stamp()
        if stamp == self._seen and request.day_s is None:
            return NewsFound(items=())
        since_s = request.since_s if request.day_s is None else min(request.since_s, request.day_s)
        try:
            book = traded_since(self.data_dir, since_s)
        except (NoBookError, StoreError):
            return NewsFound(items=())
        self._seen = stamp
        items = tuple(news_of(book))
        if request.day_s is not None:
            items += (digest(book, request.day_s, standing(status_of(self.data_dir))),)
        return NewsFound(items=items)

    def _stamp(self) -> object:
        """Another one after each commit: the log's length stands still when it is begun anew, its time does not."""
        found = []
        for name in (MAIN_STORE, f"{MAIN_STORE}-wal"):
            try:
                stat = (self.data_dir / name).stat()
            except OSError:
                continue
            found.append((name, stat.st_mtime_ns, stat.st_size))
        return tuple(found)


def status_of(data_dir: Path) -> dict[str, Any] | None:
    """The operator's word, None where it has none."""
    try:
        return OperatorClient(data_dir).ask("status", timeout_s=STATUS_S)
    except (NobodyThereError, RefusedError):
        return None
