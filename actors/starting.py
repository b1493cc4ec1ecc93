"""Before anything is forked: the data dir, its locks, its run number, its account. Every refusal is one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

from attrs import evolve

from actors.plan import VENUE_LINE, RunPlan
from exchange.coinbase import fences
from state import db
from state.files import write_durably
from state.locks import InstanceLock, LockedError
from telemetry.client import PAGE_FILE

USAGE, UNSAFE = 2, 3
ACCOUNT, NUMBER, BELONGS = "account", "number", "belongs"
FRESH_GOES = (
    "bulkhead.db*",
    "*.sqlite*",
    "venue",
    f"run/{ACCOUNT}",
    "run/*.begun",
    "run/slots",
    "run/bars",
    "run/anchor.json",
    VENUE_LINE,
)
"""What `--fresh` forgets. Kill switch, fences, run number, logs and audit stay: a reset is no re-arming."""


class StartRefused(Exception):  # noqa: N818 -- it is an answer
    """Not started. code: 2 usage or configuration, 3 unsafe to start."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def claim(plan: RunPlan) -> tuple[RunPlan, InstanceLock]:
    """Make the data dir, lock it, raise the run number durably. Raises StartRefused."""
    try:
        for name in ("run", "logs", "audit"):
            (plan.data_dir / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = InstanceLock(plan.data_dir)
    except LockedError as error:
        raise StartRefused(str(error), UNSAFE) from error
    except OSError as error:
        sentence = f"{plan.data_dir} cannot be used as data dir: {error.strerror}; choose another with --data-dir"
        raise StartRefused(sentence, USAGE) from error
    try:
        _check_belongs(plan)
        if plan.fresh:
            _forget(plan.data_dir)
        _check_stores(plan)
        (plan.data_dir / PAGE_FILE).unlink(missing_ok=True)  # of a run that was killed
        number = _next_number(plan.run_folder)
        fences.prepare_kill_file(plan.run_folder)
    except OSError as error:
        lock.release()
        sentence = f"{error.filename or plan.data_dir} cannot be written: {error.strerror}; nothing was started"
        raise StartRefused(sentence, UNSAFE) from error
    except StartRefused:
        lock.release()
        raise
    return evolve(plan, run_number=number), lock


def _check_belongs(plan: RunPlan) -> None:
    """A data dir belongs to one market: what was traded in another is no position here."""
    path = plan.run_folder / BELONGS
    mine = f"{plan.env} {plan.market}"
    try:
        known = path.read_text().strip()
    except FileNotFoundError:
        write_durably(path, mine.encode())
        return
    if known != mine and not plan.fresh:
        sentence = (
            f"{plan.data_dir} belongs to environment and market {known!r}, not {mine!r}: choose another --data-dir, "
            "or --fresh to forget what was traded there"
        )
        raise StartRefused(sentence, USAGE)
    if known != mine:
        write_durably(path, mine.encode())


def _forget(data_dir: Path) -> None:
    for pattern in FRESH_GOES:
        for path in data_dir.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _check_stores(plan: RunPlan) -> None:
    for path in db.store_files(plan.data_dir):
        finding = db.check(path, thorough=False)
        if not finding.problems:
            continue
        # A book of a newer version is whole: nothing of it is given up.
        if not plan.adopt_from_venue or not finding.fits:
            raise StartRefused(finding.problems[0], UNSAFE)
        db.set_aside(path)


def _next_number(run_folder: Path) -> int:
    """Larger than every earlier one, on the disk before anybody carries it."""
    path = run_folder / NUMBER
    try:
        last = int(path.read_text())
    except FileNotFoundError:
        last = 0
    except ValueError:
        sentence = f"{path} holds no run number; write one into it that is larger than any in the logs"
        raise StartRefused(sentence, UNSAFE) from None
    fence = fences.read_fences(run_folder).guardian_run
    if fence >= fences.ANY_RUN:
        raise StartRefused(f"{run_folder / fences.GUARDIAN_FENCE} cannot be read: look at it, then remove it", UNSAFE)
    last = max(last, fence)
    write_durably(path, f"{last + 1}\n".encode())
    return last + 1
