"""Mode E: the life of an entry and of an exit, with oms, gateway and risk crashed at every save and send boundary,
times the fate of every reply; then pairs of crashes, pruned by the fingerprint of the state in which the second falls.

A life is a small schedule that is played once without faults to count its boundaries. A boundary is a handle with
effects; its crash points are: before the commit, and after it with 0, 1, ... all of its Sends delivered.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from attrs import evolve, frozen

from simulation.fuzz.invariants import Checkers
from simulation.fuzz.schedule import Item, Quirks, Schedule
from simulation.fuzz.venue import Fate
from simulation.fuzz.world import World
from simulation.process import Crash, Process
from trading.machine import Effect, Save, Send, Woke

ROLES = ("oms", "gateway", "risk")
FATES: tuple[Fate | None, ...] = (
    None,
    Fate(lose_reply=True),
    Fate(error_after=True),
    Fate(hold_s=4.0, lose_reply=True),
    Fate(hold_s=45.0, lose_reply=True),
    Fate(refuse_before=503),
    Fate(no_connection=True),
)
"""What may become of the reply (and of the request) of the life's POST; None: it is answered."""

BTC = "BTC-USD"
ENTRY = Schedule(
    seed=1, mode="E", products=(BTC,), quirks=Quirks(pending_s=0.05), safety_s=4.0,
    items=(Item(0.05, "propose", (BTC, Decimal(300), True, 2.0, "life")), Item(1.2, "move", (BTC, -3))),
)  # fmt: skip
"""A post-only entry: proposed, approved, admitted, posted, accepted, filled by a falling market, booked, its exit armed."""

EXIT = Schedule(
    seed=2, mode="E", products=(BTC,), quirks=Quirks(pending_s=0.0), safety_s=6.0,
    items=(
        Item(0.05, "propose", (BTC, Decimal(300), False, 2.0, "life")),
        Item(2.0, "move", (BTC, 800)),
    ),
)  # fmt: skip
"""An entry that fills at once, then a target that is reached: exit ordered, posted, filled, booked, flat."""


@frozen(kw_only=True)
class Point:
    """One place where a role can die."""

    role: str
    nth: int
    committed: bool
    delivered: int

    def item(self) -> Item:
        return Item(0.0, "crash", (self.role, self.nth, self.committed, self.delivered))


@frozen(kw_only=True)
class Boundary:
    role: str
    nth: int
    sends: int
    saves: int
    message: str
    routine: bool
    fingerprint: int

    def points(self) -> Iterator[Point]:
        yield Point(role=self.role, nth=self.nth, committed=False, delivered=0)
        for delivered in range(self.sends + 1):
            yield Point(role=self.role, nth=self.nth, committed=True, delivered=delivered)


ROUTINE = frozenset({"publish", "measure", "tick", "conditions", "snapshot"})


def boundaries(schedule: Schedule, *, every: bool) -> list[Boundary]:
    """Play `schedule` and note where its roles could die. every: also at the periodic snapshots that change nothing."""
    world = World(schedule)
    checkers = Checkers(world)
    world.warm_up()
    found: list[Boundary] = []
    plan = world.stage.boundary
    assert plan is not None

    def watch(process: Process, message: object, effects: tuple[Effect, ...]) -> Crash | None:
        crash = plan(process, message, effects)
        if process.role in ROLES and crash is None:
            sends = sum(type(e) is Send for e in effects)
            saves = sum(type(e) is Save for e in effects)
            if sends or saves:
                routine = isinstance(message, Woke) and message.key in ROUTINE and not saves
                found.append(
                    Boundary(
                        role=process.role,
                        nth=world.handled(process.role),
                        sends=min(sends, 6),
                        saves=saves,
                        message=type(message).__name__,
                        routine=routine,
                        fingerprint=fingerprint(world, process, message),
                    )
                )
        return crash

    world.stage.boundary = watch
    end = world.t0 + schedule.safety_s
    while (at := world.stage.next_at()) is not None and at <= end:
        world.stage.step()
        checkers.look()
    return [b for b in found if every or not b.routine]


def fingerprint(world: World, process: Process, message: object) -> int:
    """What matters of the state for a second crash: rows without their times, the venue's orders, who lives, what is handled."""
    stage = world.stage
    orders = tuple(
        (k, r.get("status"), r.get("seen_size"), r.get("cancel_reason"))
        for k, r in stage.store("oms").rows("orders").items()
    )
    fills = len(stage.store("oms").rows("fills"))
    ledger = tuple((o.client_order_id, o.status, o.filled_size) for o in world.venue.orders())
    living = tuple(role for role, p in stage.processes.items() if p.works)
    flying = tuple(world.venue.in_flight)
    return hash((process.role, type(message).__name__, orders, fills, ledger, living, flying, world.recovery()))


def singles(life: Schedule, *, every: bool, fates: tuple[Fate | None, ...] = FATES) -> Iterator[Schedule]:
    """Every crash point of `life` under every fate of its POST (and, for an exit, of the exit's POST)."""
    for fate in fates:
        nths = (1,) if fate is None or life is ENTRY else (1, 2)
        for nth in nths:
            base = life if fate is None else evolve(life, items=(*life.items, Item(0.0, "fate", ("post", nth, fate))))
            yield base
            for boundary in boundaries(base, every=every):
                for point in boundary.points():
                    yield evolve(base, items=(*base.items, point.item()))


def pairs(life: Schedule, *, fates: tuple[Fate | None, ...] = (None, Fate(lose_reply=True))) -> Iterator[Schedule]:
    """Two crashes: after each first one, every boundary whose fingerprint has not been seen as a second one."""
    seen: set[tuple[int, bool, int]] = set()
    for fate in fates:
        base = life if fate is None else evolve(life, items=(*life.items, Item(0.0, "fate", ("post", 1, fate))))
        for first in boundaries(base, every=False):
            for point in first.points():
                once = evolve(base, items=(*base.items, point.item()))
                for second in boundaries(once, every=False):
                    if second.role == point.role and second.nth <= point.nth:
                        continue
                    for again in second.points():
                        key = (second.fingerprint, again.committed, again.delivered)
                        if key not in seen:
                            seen.add(key)
                            yield evolve(once, items=(*once.items, again.item()))
