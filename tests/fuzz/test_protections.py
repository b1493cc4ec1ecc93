"""Each protection is needed: its trap breaks nothing while it stands, and an invariant when it is taken out."""

from __future__ import annotations

import json

import pytest

from simulation.fuzz.__main__ import main
from simulation.fuzz.directed import DIRECTED
from simulation.fuzz.play import play
from simulation.fuzz.schedule import short
from simulation.fuzz.shrink import shrink, timeline
from trading.protections import PROTECTIONS, Protections

NOTICED = {
    "save_then_send": "I1",
    "role_lock": "I9",
    "incarnation_check": "I18",
    "binding": "I3",
    "send_by": "I12",
    "kill_check": "I6",
    "fences": "I17",
    "one_post": "I2",
    "withdraw": "I9",
    "version_check": "I3",
    "unique_proposal": "RAISED",  # the store's own UNIQUE(proposal_id) refuses the second intent
    "caps_assert": "I3",
    "unknown_counts": "I3",
    "horizon": "I3",
    "existence": "I3",
    "complete_pages": "I8",
    "gtd": "I5",
    "dedupe": "I8",
    "lost_book": "I4",
    "reconcile": "I18",
    "seen": "I16",
    "reduces_only": "I14",
    "cooldowns": "I7",
    "cancel_repeat": "I15",
    "ttl": "I15",
    "leaving_active": "I15",
    "lease": "I12",
    "quote_age": "I12",
    "kill_sweep": "I6",
    "latch": "I6",
    "guardian": "I5",
}


def test_there_is_a_trap_for_every_protection():
    assert set(DIRECTED) == set(NOTICED) == set(PROTECTIONS)


@pytest.mark.parametrize("name", PROTECTIONS)
def test_taking_a_protection_out_breaks_an_invariant(name):
    without = Protections().without(name)
    for n, schedule in enumerate(DIRECTED[name], 1):
        broken = play(schedule, without).first
        if broken is not None:
            print(f"without {name}: {broken} after {n} schedules")
            assert broken.invariant == NOTICED[name]
            assert play(schedule).violations == (), "with all protections the same schedule breaks nothing"
            return
    pytest.fail(f"nothing notices that {name} is missing")


def test_the_command_line_exits_1_and_names_the_invariant(capsys):
    assert main(["--without", "binding", "--mode", "D", "--jobs", "1", "--json"]) == 1
    row = json.loads(capsys.readouterr().out)
    assert (row["invariant"], row["needed"], row["exit"]) == ("I3", 1, 1)


def test_chance_alone_finds_a_missing_protection_too_and_a_failure_shrinks_to_a_story():
    without = Protections().without("save_then_send")
    seed, failed = next((seed, p) for seed in range(300) if (p := play(short(seed), without)).first is not None)
    small = shrink(failed, without, plays_max=60)
    print(f"seed {seed}: {len(failed.schedule.items)} items, {len(small.schedule.items)} after shrinking")
    assert small.first.invariant == failed.first.invariant
    assert len(small.schedule.items) <= len(failed.schedule.items)
    story = timeline(small.schedule, without)
    assert any("VIOLATION" in line for line in story) and any("PlaceOrder" in line for line in story)
