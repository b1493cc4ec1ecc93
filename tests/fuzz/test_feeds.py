"""The feeds on the virtual stage: what the real session makes of a connection that skips, garbles, repeats, stalls or ends."""

from __future__ import annotations

from decimal import Decimal

import pytest
from attrs import evolve

from simulation.fuzz.directed import BTC
from simulation.fuzz.feeds import FRAME_FATES
from simulation.fuzz.invariants import Checkers
from simulation.fuzz.play import play
from simulation.fuzz.schedule import FAULTS, Item, Quirks, Schedule, short
from simulation.fuzz.world import World
from trading.data_guards import DataGuardSettings, quote_problem
from trading.messages.orders import FeedReset, OrderUpdate


class Heard:
    """An observer: what the user feed tells oms, with the time since the schedule began."""

    def __init__(self, world):
        self.world, self.told = world, []

    def sent(self, process, role, message, now):
        if process.role == "user_feed" and role == "oms":
            self.told.append((now.boot_s - self.world.t0, message))

    def committed(self, process, message, saves, now): ...
    def noted(self, process, note, now): ...
    def life(self, process, what, now): ...

    def resets(self):
        return [message.connected for _, message in self.told if isinstance(message, FeedReset)]

    def updates(self):
        return [message for _, message in self.told if isinstance(message, OrderUpdate)]


def world_with(*items, market=False):
    world = World(
        Schedule(
            seed=5, mode="D", items=tuple(items), products=(BTC,), quirks=Quirks(market_session=market), safety_s=20.0
        )
    )
    world.warm_up()
    heard = Heard(world)
    world.stage.observers.append(heard)
    return world, heard


def buy():
    return Item(0.2, "propose", (BTC, Decimal(300), False, 5.0, "one"))


def test_oms_hears_of_its_orders_as_the_venue_writes_them():
    world, heard = world_with(buy())
    world.stage.run_for(4.0)
    assert [update.status for update in heard.updates()][-1] == "filled"
    assert heard.resets() == []


@pytest.mark.parametrize(("fate", "resets"), [("lose", 1), ("garble", 1), ("cut", 1), ("twice", 0)])
def test_what_a_broken_frame_hides_makes_oms_ask_and_a_repetition_does_not(fate, resets):
    """A lost or unreadable frame is seen at the next one, a heartbeat later, by its number."""
    world, heard = world_with(Item(0.0, "frame", ("user", 2, fate)))
    world.stage.run_for(5.0)
    assert heard.resets() == [False, True] * resets


def test_a_connection_that_stands_open_in_silence_is_given_up_after_ten_seconds():
    world, heard = world_with(Item(0.5, "deaf", (60.0,)))
    world.stage.run_for(16.0)
    down = [at for at, message in heard.told if isinstance(message, FeedReset) and not message.connected]
    assert len(down) == 1 and 10.0 <= down[0] <= 11.5


def test_a_feed_that_was_killed_comes_back_and_tells_a_new_connection():
    world, heard = world_with(Item(1.0, "kill", ("user_feed",)))
    world.stage.run_for(4.0)
    assert heard.resets() == [True]


def test_after_a_gap_in_the_market_feed_no_quote_is_believed_until_the_new_connection():
    world, _ = world_with(Item(0.0, "frame", ("market", 3, "lose")), market=True)
    limits, problems = DataGuardSettings(), []
    for _ in range(100):
        world.stage.run_for(0.05)
        problems.append(quote_problem(world.stage.slots[BTC], world.stage.now, limits))
    assert "sequence_gap" in problems
    assert problems[-1] == ""


def test_the_market_feed_gone_for_good_ends_in_denials_with_a_reason_and_no_order():
    """Entries are asked for while quotes grow old: each is denied, and what the session missed is nowhere believed."""
    asks = [Item(6.0 + n, "propose", (BTC, 300, False, 5.0, f"late {n}")) for n in range(4)]
    world, _ = world_with(Item(0.5, "never", ("market_feed",)), *asks, market=True)
    checkers = Checkers(world)
    while world.stage.boot_s < world.t0 + 12.0:
        world.stage.step()
        checkers.look()
    assert checkers.violations == []
    assert sum(checkers.posts.values()) == 0
    verdicts = world.verdicts()
    assert verdicts and not any(verdict.admitted for verdict in verdicts)


def test_random_schedules_draw_every_blow_to_a_feed():
    drawn = {item.args[2] for seed in range(400) for item in short(seed).items if item.what == "frame"}
    assert drawn == set(FRAME_FATES)
    assert "frame" in FAULTS
    assert {item.args[0] for seed in range(400) for item in short(seed).items if item.what in ("kill", "stop")} >= {
        "user_feed",
        "market_feed",
    }


def test_a_healed_world_with_both_feeds_trades_again():
    for seed in range(6):
        schedule = short(seed, heal=True)
        played = play(evolve(schedule, quirks=evolve(schedule.quirks, market_session=True)))
        assert [str(v) for v in played.violations] == [], f"seed {seed}"
