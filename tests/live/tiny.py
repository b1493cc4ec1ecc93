"""Small machines and their shells, to see the live stage do what the seam says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen

from actors.machine_actor import MachineActor
from actors.plan import RunPlan
from actors.ports import Thinker
from supervision import ChildSpec, SupervisorSpec
from trading.machine import Effects, Instant, Note, QuietMachine, Rows, Save, Send, Table, Wake, Woke

TALLY = Table("tally", columns={"n": "integer", "at_s": "real"})


@frozen
class Add:
    n: int


@frozen
class Total:
    n: int
    recovered: int
    woke: int


class TallyMachine(QuietMachine):
    """Adds, saves, tells main the total; wakes once after 0.05 s."""

    role: ClassVar[str] = "tally"
    tables = (TALLY,)

    def __init__(self) -> None:
        self.total = self.recovered = self.woke = 0

    def recover(self, rows: Rows, now: Instant) -> Effects:
        row = rows["tally"].get("total")
        self.total = self.recovered = int(row["n"] or 0) if row else 0
        return (Wake("soon", now.boot_s + 0.05), Wake("never", now.boot_s + 0.06), Wake("never", None))

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Add(n):
                self.total += n
                save = Save("tally", "total", {"n": self.total, "at_s": now.venue_s})
                return (Note("decision", {"code": "added"}), Send("main", self._said()), save)
            case Woke(key="soon"):
                self.woke += 1
                return (Send("main", self._said()),)
            case Woke():
                raise AssertionError("a cancelled timer came back")
        return ()

    def _said(self) -> Total:
        return Total(self.total, self.recovered, self.woke)


class TallyActor(MachineActor):
    store_file: ClassVar[str | None] = "tally.sqlite"

    def make_machine(self) -> Thinker:
        return TallyMachine()


def plan_for(data_dir: Path, **said: Any) -> RunPlan:
    (data_dir / "run").mkdir(parents=True, exist_ok=True)
    return RunPlan(data_dir=data_dir, env="staging", mode="paper", **said)


def tree_of(plan: RunPlan) -> SupervisorSpec:
    return SupervisorSpec(children=[ChildSpec("tally", TallyActor, plan)], intensity=10, period_s=60)
