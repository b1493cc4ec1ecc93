"""Panic: no bot is needed. Engage the kill switch's files, then sweep what is ours until the venue lists none twice."""

from __future__ import annotations

import json
import time
from pathlib import Path

from actors.guarding import recall, simulated_venue_gone
from actors.plan import KEY_NAME_ENV, KEY_SECRET_ENV, VENUE_LINE, venue_line
from cli.errors import FAILED, OK, UsageError
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.fences import engage_kill_file
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.sweep import sweep
from trading.messages.control import SweepReport

PATIENCE_S = 240.0


def engage_and_sweep(data_dir: Path, name: str, reason: str, as_json: bool) -> int:
    """Exit code: 0 when the switch is engaged and the venue listed none of ours twice, 1 otherwise.

    Cancels need no room on the disk: a switch that cannot be engaged holds up no sweep.
    """
    run = data_dir / "run"
    if not run.is_dir():
        raise UsageError(f"{data_dir} is not a bot's data dir (it has no run/); name the right one with --data-dir")
    engaged = True
    try:
        engage_kill_file(run, cause=reason, name=name, source="panic", data_folder=data_dir)
        say(as_json, {"engaged": True}, f"kill switch engaged in {data_dir}: {reason} ({name})")
    except OSError as error:
        engaged = False
        text = f"the kill switch CANNOT be engaged in {data_dir}: {error}; a bot that starts there may trade. Orders are cancelled now."
        say(as_json, {"engaged": False, "error": str(error)}, text)
    if simulated_venue_gone(data_dir):
        text = "the simulated venue of this data dir is not running: nothing can rest or fill until the next run" + (
            ", which starts with the kill switch engaged" if engaged else ""
        )
        say(
            as_json,
            {"clean": True, "canceled": [], "listed": 0, "passes": 0, "error": "", "venue_running": False},
            text,
        )
        return OK if engaged else FAILED
    report = sweep_ours(data_dir, as_json)
    record = {
        "clean": report.clean,
        "canceled": list(report.canceled),
        "listed": report.listed,
        "passes": report.passes,
        "error": report.error,
    }
    say(as_json, record, outcome_text(report))
    return OK if report.clean and engaged else FAILED


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


def sweep_ours(data_dir: Path, as_json: bool) -> SweepReport:
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
        say(as_json, record, pass_text(report))

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


def say(as_json: bool, record: dict[str, object], text: str) -> None:
    print(json.dumps(record) if as_json else text, flush=True)
