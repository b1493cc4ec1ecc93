"""From a schedule that breaks an invariant to the smallest one found that still breaks the same, and its story."""

from __future__ import annotations

from attrs import evolve, fields

from simulation.fuzz.play import Played, play
from simulation.fuzz.schedule import Quirks, Schedule
from trading.protections import Protections

KEYWORDS = (
    " == ", " VIOLATION ", "save intents", "save orders", "save fills", "save kill", "save cooldowns", "save risk_latches",
    "send gateway PlaceOrder", "send gateway Withdraw", "send gateway CancelOrders", "send oms OrderOutcome",
    "send oms Approved", "send risk Admitted", "send risk Stale", "send risk Refused", "send oms ExitOrder", "Drain",
    "send io Sweep", "send io WriteFence", "send io Leave", "send main Drained", "Hello", "<- Engage", "<- Rearm",
)  # fmt: skip
LINE_MAX = 230


def shrink(failed: Played, protections: Protections | None = None, *, plays_max: int = 150) -> Played:
    """Take out items, then quirks, then time, as long as the same invariant breaks."""
    assert failed.first is not None
    wanted = failed.first.invariant
    best, plays = failed, 0

    def breaks(schedule: Schedule) -> bool:
        nonlocal best, plays
        if plays >= plays_max:
            return False
        plays += 1
        played = play(schedule, protections)
        if played.first is not None and played.first.invariant == wanted:
            best = played
            return True
        return False

    progress = True
    while progress and plays < plays_max:
        progress = False
        items = best.schedule.items
        size = max(1, len(items) // 2)
        while size >= 1 and not progress:
            for start in range(0, len(items), size):
                if breaks(evolve(best.schedule, items=items[:start] + items[start + size :])):
                    progress = True
                    break
            size //= 2
    ordinary = Quirks()
    for attribute in fields(Quirks):
        value = getattr(ordinary, attribute.name)
        if getattr(best.schedule.quirks, attribute.name) != value:
            breaks(evolve(best.schedule, quirks=evolve(best.schedule.quirks, **{attribute.name: value})))
    if best.first is not None and best.first.at_s + 0.5 < best.schedule.safety_s:
        breaks(evolve(best.schedule, safety_s=max(0.5, round(best.first.at_s + 0.5, 1))))
    for product in best.schedule.products[1:]:
        breaks(evolve(best.schedule, products=tuple(p for p in best.schedule.products if p != product)))
    return best


def describe(schedule: Schedule) -> list[str]:
    """The schedule as a person reads it."""
    ordinary = Quirks()
    quirks = [
        f"{a.name}={getattr(schedule.quirks, a.name)}"
        for a in fields(Quirks)
        if getattr(schedule.quirks, a.name) != getattr(ordinary, a.name)
    ]
    lines = [
        f"seed {schedule.seed}, mode {schedule.mode}, {schedule.safety_s:g} s, products {' '.join(schedule.products)}"
    ]
    if quirks:
        lines.append("venue and host: " + ", ".join(quirks))
    return lines + [str(item) for item in schedule.items]


def timeline(schedule: Schedule, protections: Protections | None = None) -> list[str]:
    """What happened, played again with a trace: faults, commits, orders on their way, and the violation."""
    played = play(schedule, protections, trace=True)
    start = next((float(line.split(" ", 1)[0]) for line in played.trace), 0.0)
    told: list[tuple[float, int, str]] = []
    t0 = None
    for n, line in enumerate(played.trace):
        at_text, _, rest = line.partition(" ")
        at = float(at_text)
        if any(word in line for word in KEYWORDS):
            told.append((at, n, rest if len(rest) <= LINE_MAX else rest[: LINE_MAX - 1] + "…"))
    for at, text in played.story:
        if t0 is None:
            t0 = played.started_boot_s
        told.append((at + t0, 10**9, f"** {text}"))
    told.sort(key=lambda row: (row[0], row[1]))
    begin = (t0 if t0 is not None else start) - 0.05
    return [f"{at - begin - 0.05:9.3f}  {text}" for at, _, text in told if at >= begin]
