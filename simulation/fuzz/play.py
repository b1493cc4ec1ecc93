"""Play one schedule: safety phase with checkers after every event, then healing and liveness; the verdict and its story."""

from __future__ import annotations

import hashlib
from collections import Counter

from attrs import field, frozen

from simulation.fuzz.invariants import Checkers, Violation
from simulation.fuzz.schedule import Schedule
from simulation.fuzz.world import World
from trading.protections import Protections

RESUME_S = 60.0
PROBE_EVERY_S = 2.5
TRANSIENT = frozenset(
    {"permission_expired", "stale", "measuring", "reconcile_pending", "book_busy", "proposal_expired"}
)

"""Codes that say "not yet": if one of them is the last word, no reason was named (I18)."""
SETTLING = frozenset({"unknown_order", "pending_buy_exists", "per_symbol_cooldown", "reconcile_pending"})
"""Codes that end by themselves within `SETTLE_S`: horizons (also of what a lost book may have had on its way: until then oms
is not reconciled), open orders, the short cooldowns of these settings."""
SETTLE_S = 225.0


@frozen(kw_only=True)
class Played:
    """What became of one schedule. trace_hash: of the whole trace, empty without one."""

    schedule: Schedule
    violations: tuple[Violation, ...]
    deliveries: int
    checks: int
    faults: int
    story: tuple[tuple[float, str], ...]
    coverage: Counter[tuple[str, str, str, str]] = field(factory=Counter)
    trace: tuple[str, ...] = ()
    orders: int = 0
    fills: int = 0
    posts: int = 0
    started_boot_s: float = 0.0

    @property
    def trace_hash(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest() if self.trace else ""

    @property
    def first(self) -> Violation | None:
        return self.violations[0] if self.violations else None


def play(
    schedule: Schedule, protections: Protections | None = None, *, trace: bool = False, stop: bool = True
) -> Played:
    """stop: end at the first violation."""
    world = World(schedule, protections, trace=trace)
    checkers = Checkers(world)
    world.warm_up()
    end = world.t0 + schedule.safety_s
    _until(world, checkers, end, stop=stop)
    if schedule.heal_s and not (stop and checkers.violations):
        _heal(world, checkers, schedule.heal_s, stop=stop)
    return Played(
        schedule=schedule,
        violations=tuple(checkers.violations),
        deliveries=world.stage.deliveries,
        checks=checkers.checks,
        faults=schedule.faults(),
        story=tuple(world.story),
        coverage=world.coverage,
        trace=tuple(world.stage.trace or ()),
        orders=len(world.venue.engine.orders),
        fills=len(world.venue.engine.fill_list),
        posts=sum(checkers.posts.values()),
        started_boot_s=world.t0,
    )


def _until(world: World, checkers: Checkers, end: float, *, stop: bool) -> None:
    stage = world.stage
    while True:
        at = stage.next_at()
        if at is None or at > end:
            break
        stage.step()
        checkers.look()
        if stop and checkers.violations:
            return
    stage.run_until(end)


def _heal(world: World, checkers: Checkers, heal_s: float, *, stop: bool) -> None:
    """I18: within 60 s somebody trades again, or the verdicts name a standing reason. Then everything comes to rest."""
    world.heal()
    healed = world.stage.boot_s
    deadline = healed + RESUME_S + world.gone_for_s()
    admitted, last, codes = False, "", Counter[str]()
    posted = sum(checkers.posts.values())
    world.verdicts()  # those of the schedule's own proposals are not asked for here

    def left() -> bool:
        return admitted and sum(checkers.posts.values()) > posted

    # An order of unknown fate bars its product until its horizon and two asks are over; that too must end.
    while not left() and world.stage.boot_s < (deadline + SETTLE_S if last in SETTLING else deadline):
        for product_id in world.products:
            world.probe(product_id)
        _until(world, checkers, world.stage.boot_s + PROBE_EVERY_S, stop=stop)
        if stop and checkers.violations:
            return
        for verdict in world.verdicts():
            admitted = admitted or verdict.admitted
            last = "admitted" if verdict.admitted else verdict.code
            codes[last] += 1
    if not left() and (last in TRANSIENT or last in SETTLING or last in ("", "admitted")):
        shown = ", ".join(f"{code} x{n}" for code, n in codes.items()) or "no verdict at all"
        text = f"{world.stage.boot_s - healed:.0f} s after the faults stopped no entry leaves and no standing reason is named: {shown}"
        checkers.broken("I18", text)
        return
    _until(world, checkers, healed + heal_s, stop=stop)
    if not (stop and checkers.violations):
        checkers.at_rest()
