"""What a machine is told, call by call, with its instant and what it wanted: written so that it can be replayed.

    run.py run --record      writes <data-dir>/told/<role>.<run>.<counter>.told, one file for each life of a machine
    run.py replay FOLDER     lets the same machines think again and compares

A frame's entries are pickles: first a header (format, role, incarnation, RunPlan), then (call, argument, instant, effects,
error). Reading is `simulation/replay.py`'s business.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve
from loguru import logger

from actors.plan import RunPlan
from actors.ports import Thinker
from state.frames import TOLD, FrameWriter
from trading.machine import Effects, Incarnation, Instant, Rows, Table
from trading.messages.market import Bar, Quote

FOLDER, SUFFIX = "told", ".told"
BYTES_MAX = 256 << 20
THINKERS = ("oms", "exits", "risk", "universe", "health_monitor")


def told(machine: Thinker, plan: RunPlan, incarnation: Incarnation) -> Thinker:
    """The machine itself, or with `--record` and for a role that only thinks, the machine that writes down what it hears."""
    role = machine.role
    if not plan.record_told or not (role in THINKERS or role.startswith("symbol:")):
        return machine
    run, counter = incarnation
    # What the plan would look up at the venue is looked up now: the venue is gone when this is replayed.
    known = evolve(plan, products=plan.listed(plan.products), venue=None)
    path = plan.data_dir / FOLDER / f"{role}.{run}.{counter}{SUFFIX}"
    try:
        frames = FrameWriter(path, TOLD, bytes_max=BYTES_MAX)
    except OSError as error:
        logger.error(f"{role} is not recorded: {error}")
        return machine
    frames.write(pickle.dumps(("header", role, incarnation, known), pickle.HIGHEST_PROTOCOL))
    return Told(machine, frames)


class Told:
    """A machine around a machine: the same calls in, the same effects out."""

    def __init__(self, machine: Thinker, frames: FrameWriter) -> None:
        self._machine = machine
        self._frames = frames
        self.products = machine.products

    @property
    def role(self) -> str:
        return self._machine.role

    @property
    def tables(self) -> Sequence[Table]:
        return self._machine.tables

    def recover(self, rows: Rows, now: Instant) -> Effects:
        return self._call("recover", self._machine.recover, rows, now)

    def handle(self, message: object, now: Instant) -> Effects:
        return self._call("handle", self._machine.handle, message, now)

    def on_quote(self, quote: Quote, now: Instant) -> Effects:
        return self._call("on_quote", self._machine.on_quote, quote, now)

    def on_bar(self, bar: Bar, now: Instant) -> Effects:
        return self._call("on_bar", self._machine.on_bar, bar, now)

    def _call(self, name: str, call: Callable[[Any, Instant], Effects], argument: object, now: Instant) -> Effects:
        try:
            found = call(argument, now)
            effects = found if isinstance(found, tuple) else tuple(found)
        except Exception as error:
            self._write((name, argument, now, (), repr(error)))
            self._frames.flush()
            raise
        self._write((name, argument, now, effects, ""))
        return effects

    def _write(self, entry: tuple[object, ...]) -> None:
        if not self._frames.full:
            self._frames.write(pickle.dumps(entry, pickle.HIGHEST_PROTOCOL))
