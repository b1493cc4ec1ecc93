"""The main process runs: account, tree, guardian, conductor; then a loop until the conductor says with which code to leave."""

from __future__ import annotations

import gc
import time
from typing import Any

from attrs import evolve
from loguru import logger

import supervision
from actors.account import account_tag, lock_account
from actors.conducting import Conducting
from actors.ending import end
from actors.guarding import GuardianProcess, remember
from actors.plan import RunPlan
from actors.signals import Signals
from actors.tree import HANG_DEADLINE_S, LISTENERS, make_tree
from actors.venue import VenueProcess
from actors.views import View
from state.locks import AccountLock, InstanceLock
from telemetry import log
from telemetry.client import page_of
from trading.messages.control import Leave, RootEnded, StopAsked

LOOP_S, LOOK_S = 0.02, 1.0
ACCOUNT_S = 20.0
FAILED_S_MAX = 12.0
"""A stop takes at most 10 s, also the one that a failure of main itself begins."""


def prepare(plan: RunPlan, venue: VenueProcess | None, view: View) -> tuple[RunPlan, AccountLock]:
    """The venue is there, the account known and locked. Raises StartRefused."""
    if venue is not None:
        line = venue.wait_ready()
        goes_on = line["market"] == "synthetic" and not line["scenario"]
        more = "; its market goes on where it stood, without an opening" if goes_on else ""
        values = {"rest": line["rest"], "scenario": line["scenario"] or ""}
        view.event("venue", f"the simulated venue is ready at {line['rest']}{more}", values)
    tag = account_tag(plan, ACCOUNT_S)
    account = lock_account(tag)
    plan = evolve(plan, tag=tag)
    remember(plan)
    return plan, account


def run(
    plan: RunPlan, view: View, signals: Signals, lock: InstanceLock, account: AccountLock, venue: VenueProcess | None
) -> int:
    guardian = GuardianProcess(plan) if plan.with_guardian else None
    conducting = Conducting(plan, view)
    _start_tree(conducting, lock, view)
    # Only now: a child would close the log's descriptor by its number, which there means something else.
    log.set_up(plan.data_dir / "logs", "main")
    view.open()
    leave = _loop(conducting, signals, venue, guardian)
    return end(conducting, leave, venue, guardian, account, view)


def _start_tree(conducting: Conducting, lock: InstanceLock, view: View) -> None:
    plan = conducting.plan
    view.event("tree", f"starting the tree of run {plan.run_number}")
    conducting.record.finish()
    gc.collect()  # what is collected in a child would close descriptors by numbers that mean something else there
    try:
        tree = supervision.start(
            make_tree(plan),
            lock_folder=plan.run_folder,
            hang_deadline_s=HANG_DEADLINE_S,
            run_number=plan.run_number,
            listeners=LISTENERS,
            keep_fds=(lock.fileno(),),
            output=plan.data_dir / "logs" / "tree.err",
        )
        conducting.attach(tree)
    except Exception as error:  # whatever it was, nothing of it is left running, and the venue is swept
        view.event("tree", f"the tree did not start: {error}")
        conducting.give(RootEnded(reason=f"did not start: {error}"))


def _loop(
    conducting: Conducting, signals: Signals, venue: VenueProcess | None, guardian: GuardianProcess | None
) -> Leave:
    plan = conducting.plan
    ends_at = None if plan.run_for_s is None else time.monotonic() + plan.run_for_s
    failed: tuple[Exception, float] | None = None
    look_at, page_told = 0.0, None
    while conducting.leave is None:
        now = time.monotonic()
        if failed is not None and now >= failed[1]:
            raise failed[0]  # it cannot even stop: the guardian cancels what the tree has not
        try:
            if signals.wanted:
                conducting.stop(signals.wanted)
                signals.wanted = ""
            if ends_at is not None and now >= ends_at:
                ends_at = None
                conducting.stop(f"after {plan.run_for_s:.0f} s, as asked")
            if now >= look_at:
                look_at = now + LOOK_S
                show, signals.show_tree = signals.show_tree, False
                conducting.look(show=show)
                page_told = _tell_page(conducting, page_told)
                for process in (venue, guardian):
                    if process is not None:
                        process.tend()
            conducting.step()
        except Exception as error:
            if failed is None:
                failed = error, now + FAILED_S_MAX
                # The tree is whole and cancels in order. Nothing is shown here: the view may be what fails.
                logger.opt(exception=error).critical("main failed; it stops in order")
                conducting.give(StopAsked(reason=f"main failed: {error!r}", failed=True))
        if conducting.leave is None:
            time.sleep(LOOP_S)
    return conducting.leave


def _tell_page(conducting: Conducting, told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Say once where page and metrics are, again when that has changed. Returns what was told last."""
    found = page_of(conducting.plan.data_dir)
    if found is not None and found != told:
        why = f" ({found['note']})" if found.get("note") else ""
        text = f"status page {found['url']}  Prometheus /metrics{why}"
        conducting.view.event("page", text, {"url": found["url"], "show": True})
    return found or told
