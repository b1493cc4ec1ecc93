"""The main process begins: data dir, locks, run number, the simulated venue; then `running.py`, whose imports are big."""

from __future__ import annotations

import sys

from actors import starting
from actors.clock import boot_s
from actors.plan import RunPlan
from actors.signals import Signals
from actors.starting import StartRefused
from actors.venue import VenueProcess
from actors.views import View
from exchange.coinbase import fences
from telemetry import log
from telemetry.notify import alert_urls, notify_now


def run_bot(plan: RunPlan, view: View) -> int:
    """Run until a signal, `ctl stop`, the end of `run_for_s`, or the end of the tree. Returns DESIGN section 8's exit code."""
    signals = Signals()
    log.set_up(None, "main")
    try:
        plan, lock = starting.claim(plan)
    except StartRefused as error:
        return _refused(view, error)
    fences.write_beat(plan.run_folder, fences.Beat(plan.run_number, "starting", boot_s()))
    venue = None
    if plan.venue is not None:
        view.event("venue", "starting the simulated venue")
        venue = VenueProcess(plan, view.event)
        venue.start()
    # While the venue starts, everything that the children need is imported, once, before anybody is forked.
    from actors.running import prepare, run

    try:
        plan, account = prepare(plan, venue, view)
    except StartRefused as error:
        if venue is not None:
            venue.stop()
        lock.release()
        return _refused(view, error)
    return run(plan, view, signals, lock, account, venue)


def _refused(view: View, error: StartRefused) -> int:
    view.event("refused", str(error))
    sys.stderr.write(f"run.py: {error}\n")
    # A service manager does not repeat it, and no guardian misses its beat.
    if not sys.stderr.isatty() and (urls := alert_urls()):
        notify_now(urls, "critical", "Bulkhead was not started", str(error))
    return error.code
