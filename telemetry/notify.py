"""How alerts and news leave the machine: apprise, to the channels of BULKHEAD_ALERT_URLS and of BULKHEAD_NEWS_URLS.

Addresses hold secrets, so they come from the environment only. Who is woken by an alert need not hear of each trade.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, Full, Queue
from typing import Any

from attrs import frozen

URLS_ENV, NEWS_ENV = "BULKHEAD_ALERT_URLS", "BULKHEAD_NEWS_URLS"
QUEUE_MAX = 100
TRIES = 3
TRY_S_MAX = 10.0
"""A channel has so long for each try: its timeouts count anew with each byte that it sends, and a name server's is its own."""


def alert_urls() -> tuple[str, ...]:
    """Channel addresses, separated by white space or commas; empty when nobody is to be told."""
    return _urls(URLS_ENV)


def news_urls() -> tuple[str, ...]:
    """The same for news: trades and days."""
    return _urls(NEWS_ENV)


def _urls(variable: str) -> tuple[str, ...]:
    return tuple(part for part in os.environ.get(variable, "").replace(",", " ").split() if part)


class Notifier:
    """Sends in a thread of its own; `send` never blocks. What could not be sent after 3 tries is counted in `lost`."""

    def __init__(self, urls: Sequence[str], on_result: Callable[[str, bool], None] | None = None) -> None:
        self.urls = tuple(urls)
        self.on_result = on_result or (lambda _title, _sent: None)
        self.queue: Queue[tuple[str, str, str]] = Queue(QUEUE_MAX)
        self.sent = 0
        self.lost = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        if self.urls:
            self.thread.start()

    def send(self, level: str, title: str, text: str) -> bool:
        """Queue one alert; False when it was dropped (no channel, or the queue is full)."""
        if not self.urls:
            return False
        try:
            self.queue.put_nowait((level, title, text))
        except Full:
            self.lost += 1
            return False
        return True

    def stop(self, patience_s: float) -> None:
        """Give queued alerts up to `patience_s` to leave."""
        deadline = time.monotonic() + patience_s
        while self.thread.is_alive() and self.queue.unfinished_tasks and time.monotonic() < deadline:
            self.stopped.wait(0.05)
        self.stopped.set()

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                level, title, text = self.queue.get(timeout=0.5)
            except Empty:
                continue
            sent = notify_now(self.urls, level, title, text, self.stopped)
            self.sent += sent
            self.lost += not sent
            self.on_result(title, sent)
            self.queue.task_done()


@frozen
class Answer:
    """What one channel made of an alert. channel: scheme and host of its address, secrets masked. text: why not, as far as it said."""

    channel: str
    sent: bool
    text: str = ""


def ask_each(urls: Sequence[str], level: str, title: str, text: str) -> list[Answer]:
    """Send once to each channel by itself and tell what each answered: for a person who tries the channels."""
    import apprise

    answers = []
    for url in urls:
        channel: Any = apprise.Apprise.instantiate(url)
        if channel is None:
            scheme = url.partition("://")[0]
            answers.append(Answer(f"{scheme}://...", sent=False, text="apprise knows no such address"))
            continue
        target: Any = apprise.Apprise()
        target.add(channel)
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
            try:
                sent = bool(target.notify(title=title, body=text, notify_type=_kind(level)))
                why = "" if sent else " ".join(said.getvalue().split())
            except Exception as error:  # a channel's own bug is its answer
                sent, why = False, f"{type(error).__name__}: {error}"
        answers.append(Answer("/".join(str(channel.url(privacy=True)).split("/")[:3]), sent, why))
    return answers


def _kind(level: str) -> Any:
    import apprise

    return {"warning": apprise.NotifyType.WARNING, "critical": apprise.NotifyType.FAILURE}.get(
        level, apprise.NotifyType.INFO
    )


def notify_now(urls: Sequence[str], level: str, title: str, text: str, stopped: threading.Event | None = None) -> bool:
    """Send at once, each channel by itself, up to 3 tries with 1, 2 s between; True when every channel took it."""
    import apprise

    def refused(target: Any) -> bool:
        try:
            return not target.notify(title=title, body=text, notify_type=_kind(level))
        except Exception:  # a channel's own bug is a failed try, never ours
            return True

    # Without a timeout of apprise's own, which would put each channel on a pool of a few threads: those that hang stay
    # in it, until no channel is served, and the program's end waits for them.
    plain = apprise.AppriseAsset(service_timeout=0)
    waiting: list[Any] = [apprise.Apprise(asset=plain) for _ in urls]
    known = [target.add(url) for target, url in zip(waiting, urls, strict=True)]
    waiting = [target for target, accepted in zip(waiting, known, strict=True) if accepted]
    for attempt in range(TRIES):
        waiting = _refused(waiting, refused)
        if not waiting or attempt + 1 == TRIES:
            break
        pause_s = 1.0 * (attempt + 1)
        if stopped is None:
            time.sleep(pause_s)
        elif stopped.wait(pause_s):
            return False
    return not waiting and all(known) and bool(known)


def _refused(targets: list[Any], refused: Callable[[Any], bool]) -> list[Any]:
    """Those that did not take it within TRY_S_MAX. Daemons: no program waits at its end for one that never answers."""
    took: list[Any] = []

    def ask(target: Any) -> None:
        if not refused(target):
            took.append(target)

    threads = [threading.Thread(target=ask, args=(target,), name="channel", daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + TRY_S_MAX
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
    return [target for target in targets if target not in took]
