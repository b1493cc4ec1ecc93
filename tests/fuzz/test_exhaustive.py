"""Mode E: whatever dies wherever in the life of an entry and of an exit, and whatever becomes of the reply, the invariants hold."""

from __future__ import annotations

import pytest

from simulation.fuzz import campaign, explore
from simulation.fuzz.play import play
from trading.protections import Protections


@pytest.mark.parametrize("life", [explore.ENTRY, explore.EXIT], ids=["entry", "exit"])
def test_the_life_without_faults_goes_all_its_way(life):
    played = play(life)
    assert played.violations == ()
    assert (played.posts, played.orders, played.fills) == ((1, 1, 1) if life is explore.ENTRY else (2, 2, 2))


@pytest.mark.parametrize("life", [explore.ENTRY, explore.EXIT], ids=["entry", "exit"])
def test_oms_gateway_and_risk_crashed_at_every_boundary_that_is_not_routine(life):
    """The quick half of the exhaustive search; every boundary, times every fate, is the slow test below."""
    n = 0
    for schedule in explore.singles(life, every=False, fates=(None,)):
        played = play(schedule)
        n += 1
        assert played.violations == (), "\n".join([str(played.first), *map(str, schedule.items)])
    print(f"{n} schedules of the life of an {'entry' if life is explore.ENTRY else 'exit'}")
    assert n > 50


@pytest.mark.slow
def test_every_boundary_times_the_fate_of_every_reply_then_pairs():
    singles = campaign.exhaustive(Protections(), every=True, pairs=False, jobs=2)
    print(f"{singles.total} schedules with one crash in {singles.elapsed_s:.0f} s")
    assert singles.failures == []
    pairs = campaign.exhaustive(Protections(), every=False, pairs=True, jobs=2, for_s=120.0)
    print(f"{pairs.total} schedules with two crashes in {pairs.elapsed_s:.0f} s")
    assert pairs.failures == []
