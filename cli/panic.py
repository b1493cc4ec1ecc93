"""Panic: no bot is needed. Engage the kill switch's files, then sweep what is ours until the venue lists none twice.

Once begun it is carried out: it waits neither for a disk that stalls nor for who reads its lines, and a terminal that
closes does not end it (Ctrl-C does).
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from attrs import frozen

from actors.guarding import recall, simulated_venue_gone
from actors.plan import KEY_NAME_ENV, KEY_SECRET_ENV, VENUE_LINE, venue_line
from cli.errors import FAILED, OK, UsageError
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.fences import engage_kill_file
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.sweep import sweep
from state.behind import Behind
from telemetry.outlet import Outlet, outlet_on
from trading.messages.control import SweepReport

PATIENCE_S = 240.0
ENGAGE_S, LAST_WORDS_S = 2.0, 2.0


def engage_and_sweep(data_dir: Path, name: str, reason: str, as_json: bool, no_bot: str = "") -> int:
    """Exit code: 0 when the switch is engaged and the venue listed none of ours twice, 1 otherwise.

    no_bot: why the bot was not asked to do it, for `ctl kill`.
    """
    if not (data_dir / "run").is_dir():
        raise UsageError(f"{data_dir} is not a bot's data dir (it has no run/); name the right one with --data-dir")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    out = outlet_on(sys.stdout)
    said = Said(out, as_json)
    if no_bot:
        said.line({"bot": no_bot}, f"{no_bot}; engaging the kill switch without it")
    try:
        return _engage_and_sweep(data_dir, name, reason, said)
    finally:
        out.drain(LAST_WORDS_S)


def _engage_and_sweep(data_dir: Path, name: str, reason: str, said: Said) -> int:
    engaging = Engaging(data_dir, name, reason)
    if engaging.error:
        text = f"the kill switch CANNOT be engaged in {data_dir}: {engaging.error}; a bot that starts there may trade. Orders are cancelled now."
        said.line({"engaged": False, "error": engaging.error}, text)
    else:
        said.line({"engaged": True}, f"kill switch engaged in {data_dir}: {reason} ({name})")
    if simulated_venue_gone(data_dir):
        text = "the simulated venue of this data dir is not running: nothing can rest or fill until the next run" + (
            "" if engaging.error else ", which starts with the kill switch engaged"
        )
        said.line({"clean": True, "canceled": [], "listed": 0, "passes": 0, "error": "", "venue_running": False}, text)
        return FAILED if engaging.error else OK
    report = sweep_ours(data_dir, said)
    record = {
        "clean": report.clean,
        "canceled": list(report.canceled),
        "listed": report.listed,
        "passes": report.passes,
        "error": report.error,
    }
    said.line(record, outcome_text(report))
    if error := engaging.error:
        said.line({"engaged": False, "error": error}, f"the kill switch is NOT engaged in {data_dir}: {error}")
    return FAILED if error or not report.clean else OK


class Engaging:
    """Engages the switch, in a thread: no cancel waits longer than ENGAGE_S for a disk that stalls, and none needs room on it.

    error: "" once the switch is engaged; it may be later than the first answer.
    """

    def __init__(self, data_dir: Path, name: str, reason: str) -> None:
        self.error = f"the disk has not answered for {ENGAGE_S:g} s"
        self._data_dir, self._name, self._reason = data_dir, name, reason
        behind = Behind()
        behind.do(self._run)
        behind.finish(ENGAGE_S)

    def _run(self) -> None:
        data = self._data_dir
        try:
            engage_kill_file(data / "run", cause=self._reason, name=self._name, source="panic", data_folder=data)
            self.error = ""
        except OSError as error:
            self.error = str(error)


def outcome_text(report: SweepReport) -> str:
    canceled = f"{len(report.canceled)} canceled"
    if report.clean:
        return f"clean: {canceled}; the venue lists none of ours"
    if report.error and not report.listed:
        return f"NOT clean: the venue could not be listed ({report.error}), {canceled}; orders may be live."
    return f"NOT clean: {report.listed} still listed, {canceled}; orders may be live. {report.error}".rstrip()


def pass_text(report: SweepReport) -> str:
    """A pass that got no answer has not seen an empty venue, and must not read like one."""
    if report.error and not report.listed:
        return f"pass {report.passes}: could not list ({report.error})"
    return f"pass {report.passes}: {report.listed} of ours listed {report.error}".rstrip()


def sweep_ours(data_dir: Path, said: Said) -> SweepReport:
    """List and cancel by prefix and tag, with a connection of its own."""
    try:
        tag = account_tag_of(data_dir)
        endpoints, key = venue_of(data_dir)
    except (OSError, ValueError, KeyError) as error:
        return SweepReport(
            clean=False, canceled=(), listed=0, passes=0, error=f"where the venue is cannot be told: {error}"
        )

    def tell(report: SweepReport) -> None:
        record = {"pass": report.passes, "listed": report.listed, "error": report.error}
        said.line(record, pass_text(report))

    until = time.clock_gettime(time.CLOCK_BOOTTIME) + PATIENCE_S
    return sweep(endpoints, key, tag, until, tell, leave_when_clean=True)


def account_tag_of(data_dir: Path) -> str:
    text = (data_dir / "run" / "account").read_text(encoding="utf-8").strip()
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return str(found["tag"] if isinstance(found, dict) else found)


def venue_of(data_dir: Path) -> tuple[Endpoints, ApiKey]:
    """Where the last run traded: its embedded venue by the contract line, else Coinbase with the environment's key."""
    import os

    known = recall(data_dir)
    # A line that a paper run has left behind must not lead away from the venue where real orders rest.
    if (data_dir / VENUE_LINE).is_file() and (known is None or known[0].venue is not None):
        line = venue_line(data_dir)
        return Endpoints.simulated(line), ApiKey(str(line["api_key"]), str(line["api_secret"]))
    name, secret = os.environ.get(KEY_NAME_ENV, ""), os.environ.get(KEY_SECRET_ENV, "")
    if not name or not secret:
        raise ValueError(f"{KEY_NAME_ENV} and {KEY_SECRET_ENV} are not set, and there is no embedded venue")
    return Endpoints.coinbase(), ApiKey(name, secret)


@frozen
class Said:
    """Where lines go, as text or as JSON. A reader that is gone or stopped holds nothing up."""

    out: Outlet
    as_json: bool

    def line(self, record: dict[str, object], text: str) -> None:
        self.out.offer(f"{json.dumps(record) if self.as_json else text}\n")
