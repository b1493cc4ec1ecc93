"""Reading the venue's status page: `summary.json` (Atlassian Statuspage v2) in, `ExchangeStatus` out. It decides nothing.

What a reading means (clamp, stop, kill; hysteresis; silence) is `exchange_health.ExchangeHealth`'s. A page that does not
answer, answers something else, or answers half is *not reachable*, and never healthy: every part that should say
"operational" must have been read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp

from exchange.coinbase.feed_socket import tls_context
from exchange.slots import boot_s
from trading.messages.control import ExchangeStatus, ProductStatusSeen

PAGE_BYTES_MAX = 4 << 20
_OVER = {"resolved", "postmortem", "completed"}
_RUNNING_MAINTENANCE = {"in_progress", "verifying"}


def _text(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if type(value) is not str or not value:
        raise ValueError(f"{name} is {value!r:.40}")
    return value[:200]


def _rows(page: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = page[name]
    if type(rows) is not list or not all(type(row) is dict for row in rows):
        raise ValueError(f"{name} is no list of objects")
    return rows


def read_summary(content: str | bytes, read_boot_s: float) -> ExchangeStatus:
    """One reading; `reachable` False with a reason for anything that is not a whole summary. Never raises."""
    try:
        page = json.loads(content)
        if type(page) is not dict:
            raise ValueError("no object")
        indicator = _text(page["status"], "indicator")
        # A group repeats the worst of its members under a heading; the members are what we match.
        components = tuple(
            (_text(row, "name"), _text(row, "status"))
            for row in _rows(page, "components")
            if row.get("group") is not True
        )
        incidents = tuple(
            (_text(row, "name"), _text(row, "impact"))
            for row in _rows(page, "incidents")
            if _text(row, "status") not in _OVER
        )
        maintenances = tuple(
            (_text(row, "name"), _text(row, "status"))
            for row in _rows(page, "scheduled_maintenances")
            if _text(row, "status") in _RUNNING_MAINTENANCE
        )
        if not components:
            raise ValueError("it lists no component")
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        reason = f"the status page cannot be read: {type(error).__name__} {error}"[:200]
        return ExchangeStatus(reachable=False, read_boot_s=read_boot_s, error=reason)
    return ExchangeStatus(
        reachable=True,
        read_boot_s=read_boot_s,
        indicator=indicator,
        components=components,
        incidents=incidents,
        maintenances=maintenances,
    )


async def fetch_status(url: str, ca_file: str | None, timeout_s: float = 10.0) -> ExchangeStatus:
    """Ask the page once, TLS verified, no redirects to elsewhere. Never raises."""
    try:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
            http.get(url, ssl=tls_context(ca_file), allow_redirects=False) as answer,
        ):
            content = b""
            while not answer.content.at_eof() and len(content) <= PAGE_BYTES_MAX:
                content += await answer.content.read(65_536)
            if answer.status != 200 or len(content) > PAGE_BYTES_MAX:
                reason = f"the status page answered HTTP {answer.status}, {len(content)} bytes"
                return ExchangeStatus(reachable=False, read_boot_s=boot_s(), error=reason)
        return read_summary(content, boot_s())
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        reason = f"the status page does not answer: {type(error).__name__} {error}"[:200]
        return ExchangeStatus(reachable=False, read_boot_s=boot_s(), error=reason)


class StatusReader:
    """A thread that reads the page every `every_s` and gives each reading to `sink`, which runs on that thread."""

    def __init__(
        self, url: str, ca_file: str | None, sink: Callable[[ExchangeStatus], None], *, every_s: float = 30.0
    ) -> None:
        self._url, self._ca_file, self._sink, self._every_s = url, ca_file, sink, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status-page", daemon=True)
        self.sink_errors = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float = 1.0) -> None:
        self._stop.set()
        self._thread.join(patience_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            status = asyncio.run(fetch_status(self._url, self._ca_file))
            try:
                self._sink(status)
            except Exception:
                # The reader of a hint must not end the hints.
                self.sink_errors += 1
            self._stop.wait(self._every_s)


def product_status_seen(rows: Iterable[tuple[str, str, str]]) -> ProductStatusSeen | None:
    """One message for the catalog of the (product_id, status, message) rows that the status channel told; None for none."""
    told = tuple(rows)
    return ProductStatusSeen(products=told) if told else None


def read_status_once(url: str, ca_file: str | None, timeout_s: float = 10.0) -> ExchangeStatus:
    """For commands (smoke, doctor): ask once and wait. Never raises."""
    with contextlib.suppress(RuntimeError):
        return asyncio.run(fetch_status(url, ca_file, timeout_s))
    return ExchangeStatus(reachable=False, read_boot_s=boot_s(), error="the status page cannot be asked from here")
