"""What the main process shows: a live picture on a terminal, plain lines in a pipe, JSON lines for programs.

Main calls `event` for what it does itself and `tick` with each tree snapshot; a thread of the view's own asks the
operator for the rest, and an outlet writes, so that neither a stopped terminal nor a dead operator holds the bot up.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console
from rich.live import Live

from telemetry.client import NobodyThereError, OperatorClient, RefusedError
from telemetry.figures import usd
from telemetry.outlet import Outlet, outlet_on
from telemetry.view import Local, decision_text, draw

POLL_S = 0.25
HEARTBEAT_S = 10.0
LAST_WORDS_S = 2.0
"""How long a process that has ended waits for a reader."""
BEHIND_BYTES = 65_536


def choose_view(data_dir: Path, *, plain: bool, as_json: bool, named: str = "") -> PlainView | LiveView:
    """Live on a terminal; plain lines without one, with --plain or TERM=dumb; JSON lines with --json."""
    if as_json:
        return JsonView(data_dir)
    if plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return PlainView(data_dir)
    return LiveView(data_dir, named)


class _Watcher:
    """The common part: notices restarts in tree snapshots and reads the operator's events in a thread."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.client = OperatorClient(data_dir)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="view", daemon=True)
        self.seen: dict[str, tuple[Any, float]] = {}
        self.last_event = 0
        self.counts = {"entries": 0, "exits": 0, "denied": 0, "fills": 0}

    def open(self) -> None:
        self.thread.start()

    def tick(self, children: Sequence[Any]) -> None:
        """Tell each new incarnation once, with how long the role was gone as main saw it."""
        now = time.monotonic()
        for child in children:
            before = self.seen.get(child.role)
            if child.state != "running" or child.incarnation is None:
                if before is not None and before[1] > 0:
                    self.seen[child.role] = (before[0], -now)
                    self.on_event(
                        "down", f"{child.role} is {child.state}", {"role": child.role, "reason": child.reason}
                    )
                continue
            if before is not None and before[0] != child.incarnation:
                self.on_event(
                    "restarted",
                    f"{child.role} was restarted: pid {child.pid}, restart {child.restarts} in its window",
                    {"role": child.role, "pid": child.pid, "restarts": child.restarts, "reason": child.reason},
                )
            self.seen[child.role] = (child.incarnation, now)

    def _run(self) -> None:
        while not self.stopped.wait(POLL_S):
            try:
                picture = self.client.ask("picture", {"since": str(self.last_event)}, timeout_s=2.0)
            except (NobodyThereError, RefusedError) as error:
                self.on_silence(str(error))
                continue
            last = int(picture.get("last", 0))
            if last < self.last_event:  # a new operator counts from nothing
                self.last_event = 0
                continue
            self.last_event = last
            for record in picture.get("events", ()):
                self._count(record)
                self.on_record(record)
            self.on_picture(picture)

    def _count(self, record: Mapping[str, Any]) -> None:
        """As the roles record it: risk says `denied` with each answer, exits say "exit", fills are a kind of their own."""
        match record:
            case {"kind": "fill"}:
                self.counts["fills"] += 1
            case {"kind": "decision", "denied": True}:
                self.counts["denied"] += 1
            case {"kind": "decision", "code": "admitted"}:
                self.counts["entries"] += 1
            case {"kind": "decision", "role": "exits", "code": "exit"}:
                self.counts["exits"] += 1

    def on_event(self, kind: str, text: str, values: Mapping[str, Any]) -> None: ...

    def on_silence(self, reason: str) -> None: ...

    def on_record(self, record: Mapping[str, Any]) -> None: ...

    def on_picture(self, picture: Mapping[str, Any]) -> None: ...

    def event(self, kind: str, text: str, values: Mapping[str, Any] | None = None) -> None:
        self.on_event(kind, text, values or {})

    def _end(self) -> None:
        self.stopped.set()
        if self.thread.is_alive():
            self.thread.join(1.0)


class PlainView(_Watcher):
    """One line per event, a heartbeat each 10 s."""

    def __init__(self, data_dir: Path, out: Outlet | None = None) -> None:
        super().__init__(data_dir)
        self.out = out or outlet_on(sys.stdout)
        self.next_heartbeat = time.monotonic() + HEARTBEAT_S
        self.not_shown = 0
        """Lines that were refused since the last one was taken: nobody reads."""
        self._turn = threading.Lock()

    def line(self, kind: str, text: str) -> None:
        self.show(self.plain(kind, text))

    def plain(self, kind: str, text: str) -> str:
        return f"{time.strftime('%H:%M:%S', time.gmtime())}Z  {kind:<9}  {text}"

    def show(self, line: str) -> None:
        """One line of main or of the view's thread, whole."""
        with self._turn:
            if self.not_shown:
                line = f"{self.plain('view', f'{self.not_shown} lines were not shown: nobody read them')}\n{line}"
            taken = self.out.offer(f"{line}\n")
            self.not_shown = 0 if taken else self.not_shown + 1

    def on_event(self, kind: str, text: str, values: Mapping[str, Any]) -> None:
        if values.get("code") != "stop":  # told as "stopping"
            self.line(kind, text)

    def on_record(self, record: Mapping[str, Any]) -> None:
        if record.get("role") != "main":  # main tells its own notes itself
            self.line(str(record["kind"]), record_text(record))

    def on_picture(self, picture: Mapping[str, Any]) -> None:
        if time.monotonic() >= self.next_heartbeat:
            self.next_heartbeat += HEARTBEAT_S
            status = picture["status"]
            ages = [row["quote_age_s"] for row in picture["symbols"] if row["quote_age_s"] is not None]
            running = sum(child["state"] == "running" for child in picture["tree"])
            self.line(
                "alive",
                f"{status['trading_state']}  NAV {usd(status['nav_usd'])}  "
                f"today {usd(status['realised_today_usd'], sign=True)}  positions {len(status['positions'])}  "
                f"orders {len(status['orders'])}  roles running {running}/{len(picture['tree'])}  "
                f"{'  '.join(f'{what} {count}' for what, count in self.counts.items())}  "
                f"oldest quote {max(ages):.1f} s"
                if ages
                else f"{status['trading_state']}  no quotes",
            )

    def on_silence(self, reason: str) -> None:
        if time.monotonic() >= self.next_heartbeat:
            self.next_heartbeat += HEARTBEAT_S
            self.line("alive", f"main runs; {reason}")

    def close(self, summary: Mapping[str, Any], lines: Sequence[str]) -> None:  # noqa: ARG002
        self._end()
        for text in lines:
            self.line("stopped", text)
        self.out.drain(LAST_WORDS_S)


class JsonView(PlainView):
    """One JSON object per line; the last one is the summary of DESIGN section 8."""

    def plain(self, kind: str, text: str) -> str:
        return self.as_json({"kind": kind, "text": text})

    def as_json(self, record: Mapping[str, Any]) -> str:
        return json.dumps({"at_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **record})

    def on_event(self, kind: str, text: str, values: Mapping[str, Any]) -> None:
        told = {key: str(value) for key, value in values.items()}
        self.show(self.as_json({"kind": kind, "text": text, "values": told}))

    def on_record(self, record: Mapping[str, Any]) -> None:
        self.show(self.as_json(record))

    def close(self, summary: Mapping[str, Any], lines: Sequence[str]) -> None:
        self._end()
        for text in lines:
            self.line("stopped", text)
        self.show(json.dumps(dict(summary)))
        self.out.drain(LAST_WORDS_S)


class LiveView(_Watcher):
    """The rich picture, redrawn four times a second by its own thread."""

    def __init__(self, data_dir: Path, named: str = "") -> None:
        super().__init__(data_dir)
        self.out = outlet_on(sys.stdout)
        self.console = Console(file=cast("IO[str]", self.out))
        self.local = Local(data_dir=str(data_dir), started_s=time.time(), named=named)
        self.picture: Mapping[str, Any] | None = None
        self.live = Live(
            draw(None, self.local, self.console.height, self.console.width),
            console=self.console,
            screen=True,
            auto_refresh=False,
            redirect_stderr=False,
        )

    def open(self) -> None:
        self.live.start(refresh=True)
        super().open()

    def on_event(self, kind: str, text: str, values: Mapping[str, Any]) -> None:
        stamp = time.time()
        self.local.events.append((stamp, kind, text))
        self.local.scenario = values.get("scenario", self.local.scenario)
        if kind in ("restarted", "down", "recovery", "venue", "guardian"):
            self.local.restarts.append(f"{time.strftime('%H:%M:%S', time.gmtime(stamp))}  {text}")
        elif values.get("show"):
            self.local.restarts.append(text)
        elif kind == "stopping":
            self.local.stopping = text
        if self.picture is None:
            self.local.operator = text
            self._redraw()

    def on_record(self, record: Mapping[str, Any]) -> None:
        if record["kind"] == "recovery":
            self.local.restarts.append(f"{str(record.get('at', ''))[11:19]}  {record_text(record)}")

    def on_picture(self, picture: Mapping[str, Any]) -> None:
        self.picture, self.local.operator = picture, "up"
        self._redraw()

    def on_silence(self, reason: str) -> None:
        if self.picture is not None:
            self.local.operator = "being restarted"
            self._redraw()
        else:
            del reason

    def _redraw(self) -> None:
        if self.out.waiting_bytes < BEHIND_BYTES:  # a stopped terminal is shown the newest picture, not all of them
            self.live.update(draw(self.picture, self.local, self.console.height, self.console.width), refresh=True)

    def close(self, summary: Mapping[str, Any], lines: Sequence[str]) -> None:  # noqa: ARG002
        self._end()
        self.live.stop()
        for text in lines:
            self.console.print(text, highlight=False, markup=False)
        self.out.drain(LAST_WORDS_S)


def record_text(record: Mapping[str, Any]) -> str:
    """One event of the operator as a line for people."""
    match record["kind"]:
        case "decision":
            head = f"{record.get('product_id', '')} {record.get('code', '')}"
            return f"{head}  {decision_text(record)}".strip()
        case "condition":
            return f"{record.get('level')}: {record.get('text')}" if record.get("active") else str(record.get("text"))
    skipped = {"kind", "at", "role", "config_hash", "text"}
    pairs = "  ".join(
        f"{key}={_shown(value)}" for key, value in record.items() if key not in skipped and value not in (None, "")
    )
    return f"{record.get('role', '')}  {record.get('text', '')}  {pairs}".replace("    ", "  ").strip()


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value) or "-"
    return str(value)
