"""catalog's shell: the clock's anchor as a file for everybody, and the venue's status page, read in a thread."""

from __future__ import annotations

import json
import threading
import urllib.request
from typing import Any, ClassVar

from loguru import logger

from actors.bridge import Bridge
from actors.clock import Anchor, boot_id, boot_s, write_anchor
from actors.machine_actor import MachineActor
from actors.ports import Thinker
from exchange.coinbase.catalog import CatalogMachine, CatalogSettings
from exchange.coinbase.feed_socket import tls_context
from trading.messages.control import ClockAnchored, ExchangeStatus

STATUS_EVERY_S = 30.0
STATUS_S_MAX = 10.0
STATUS_BYTES_MAX = 4 << 20


class CatalogActor(MachineActor):
    store_file: ClassVar[str | None] = "catalog.sqlite"
    synchronous: ClassVar[str] = "NORMAL"

    def make_machine(self) -> Thinker:
        plan = self.plan
        return CatalogMachine(
            me=self.incarnation,
            settings=plan.section("catalog", CatalogSettings),
            account_tag_expected=plan.tag,
            has_key=plan.key() is not None,
            status_asked=plan.where().status_url is not None,
        )

    def started(self) -> None:
        endpoints = self.plan.where()
        if endpoints.status_url is None:
            return
        self._read = Bridge()
        self.watch(self._read, self._heard)
        reader = threading.Thread(
            target=read_for_ever, args=(endpoints.status_url, endpoints.ca_file, self._read), name="status", daemon=True
        )
        reader.start()

    def _heard(self) -> None:
        for status in self._read.drain():
            self.give(status)

    def io(self, request: object) -> None:
        if not isinstance(request, ClockAnchored):
            super().io(request)
            return
        anchor = Anchor(
            venue_s=request.venue_s,
            boot_s=request.boot_s,
            speed=request.speed,
            trusted=request.trusted,
            drift_s=request.drift_s,
            boot_id=boot_id(),
        )
        try:
            write_anchor(self.plan.run_folder, anchor)
        except OSError as error:
            logger.warning(f"the clock's anchor was not written ({error.strerror}); the one before it goes on")


def read_for_ever(url: str, ca_file: str | None, bridge: Bridge) -> None:
    waiting = threading.Event()
    while True:
        bridge.put(read_status(url, ca_file))
        waiting.wait(STATUS_EVERY_S)


def read_status(url: str, ca_file: str | None) -> ExchangeStatus:
    """One reading of a Statuspage `summary.json`; whatever goes wrong is "not reachable"."""
    read_boot_s = boot_s()
    try:
        with urllib.request.urlopen(url, timeout=STATUS_S_MAX, context=tls_context(ca_file)) as answer:  # noqa: S310 -- https, from Endpoints
            page: dict[str, Any] = json.loads(answer.read(STATUS_BYTES_MAX))
        return ExchangeStatus(
            reachable=True,
            read_boot_s=read_boot_s,
            indicator=str(page["status"]["indicator"]),
            components=tuple((str(c["name"]), str(c["status"])) for c in page.get("components", ())),
            incidents=tuple((str(i["name"]), str(i["impact"])) for i in page.get("incidents", ())),
            maintenances=tuple(
                (str(m["name"]), str(m["status"]))
                for m in page.get("scheduled_maintenances", ())
                if m.get("status") == "in_progress"
            ),
        )
    except Exception as error:  # a page that is down, moved or nonsense tells nothing
        return ExchangeStatus(reachable=False, read_boot_s=read_boot_s, error=f"{type(error).__name__}: {error}"[:200])
