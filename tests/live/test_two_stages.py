"""The same conversation on both stages: what machines said on the virtual one, the live host makes them say again.

A world of the fault simulation (venue, all safety machines, kills, kill switch, orders of people) is played on the virtual
stage, every call of every machine recorded. Then each life of each machine is lived once more on `MachineHost` with
the live stores (SQLite, two files), fed with the same messages at the same instants; timers come from the host's
own. Every effect, every send in its order, and every row at the end must be the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from actors.host import MachineHost
from exchange.coinbase import fences
from simulation.fuzz.schedule import Item, Quirks, Schedule
from simulation.fuzz.world import World
from simulation.stage import VirtualStage
from state.store import Store
from state.two_file import TwoFileStore
from trading.machine import Instant, PeerRestarted, Send, Woke

SEED = 11
ROLES = ("oms", "risk", "exits", "gateway", "kill_switch", "health_monitor")
SAVING = ("oms", "risk", "kill_switch")


@define
class Said:
    """One call: what came in, when, and what the machine wanted."""

    method: str
    message: Any
    now: Instant
    effects: tuple[Any, ...]


@define
class Life:
    me: tuple[int, int]
    calls: list[Said] = field(factory=list)
    fences: list[Any] = field(factory=list)


def instrument(machine: Any, tell: Callable[[Said], None]) -> Any:
    """Let `machine` work as before and tell each call."""

    def recover(rows: Any, now: Instant, inner: Any = machine.recover) -> Any:
        effects = tuple(inner(rows, now))
        tell(Said("recover", None, now, effects))
        return effects

    def wrapped(method: str, inner: Any) -> Any:
        def call(message: Any, now: Instant) -> Any:
            # Quotes are slotted and change in place; what was seen is kept as text.
            effects = tuple(inner(message, now))
            tell(Said(method, message, now, effects))
            return effects

        return call

    machine.recover = recover
    for method in ("handle", "on_quote", "on_bar"):
        setattr(machine, method, wrapped(method, getattr(machine, method)))
    return machine


class Recorded:
    """Plays the world and keeps, per role, its lives and how to make its machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, schedule: Schedule) -> None:
        self.lives: dict[str, list[Life]] = {role: [] for role in ROLES}
        self.factories: dict[str, Any] = {}
        plain_add = VirtualStage.add

        def add(stage: VirtualStage, role: str, factory: Any, **options: Any) -> None:
            if role not in ROLES:
                plain_add(stage, role, factory, **options)
                return
            self.factories[role] = factory
            plain_add(stage, role, partial(self._made, role, factory), **options)

        monkeypatch.setattr(VirtualStage, "add", add)
        self.world = World(schedule)
        self.world.warm_up()
        self.world.stage.run_until(self.world.t0 + schedule.safety_s)

    def _made(self, role: str, factory: Any, me: tuple[int, int]) -> Any:
        life = Life(me)
        self.lives[role].append(life)
        machine = factory(me)
        if role == "gateway":
            inner = machine._fences

            def seen() -> Any:
                life.fences.append(inner())
                return life.fences[-1]

            machine._fences = seen
        return instrument(machine, life.calls.append)


class Script:
    """The clock and the market of a replayed life: both say what was said then."""

    def __init__(self) -> None:
        self.at: Instant | None = None
        self.waiting: list[Any] = []

    def now(self) -> Instant:
        assert self.at is not None
        return self.at

    def expect(self, not_before_s: float) -> None: ...
    def declared(self, products: tuple[str, ...]) -> None: ...

    def bars(self, products: Iterable[str]) -> Iterable[Any]:
        return ()

    def quotes(self, products: Iterable[str]) -> Iterable[Any]:
        found, self.waiting = self.waiting, []
        return found


def live_store(role: str, folder: Path, machine: Any) -> Any:
    if role == "kill_switch":
        run = folder / "run"
        run.mkdir(exist_ok=True)
        fences.prepare_kill_file(run)

        def engage(cause: str, name: str, source: str) -> None:
            fences.engage_kill_file(run, cause=cause, name=name, source=source)

        return TwoFileStore(folder / fences.KILL_FILE, run / fences.KILL_RECORD, engage)
    return Store(folder / f"{role}.sqlite", machine.tables)


def live_again(role: str, life: Life, factory: Any, folder: Path) -> tuple[Counter[str], Any]:
    """Live `life` on the live host; returns counts and the store. Asserts effect by effect."""
    said: list[Said] = []
    sent: list[Send] = []
    script = Script()
    machine = instrument(factory(life.me), said.append)
    if role == "gateway":
        answers = iter(life.fences)
        machine._fences = lambda: next(answers)
    store = live_store(role, folder, machine)
    host = MachineHost(
        machine,
        store,
        script,
        send=lambda to, message: sent.append(Send(to, message)),
        note=lambda *_: None,
        market=script,
    )
    counts: Counter[str] = Counter()
    calls = iter(life.calls)
    for call in calls:
        script.at = call.now
        said.clear()
        sent.clear()
        expected = [call]
        match call.message:
            case _ if call.method == "recover":
                host.recover()
            case _ if call.method == "on_quote":
                script.waiting = [call.message]
                host.look_at_market()
            case Woke():
                host.wake_due()
                expected += [next(calls) for _ in said[1:]]  # several were due at this instant
            case PeerRestarted(role=peer, incarnation=incarnation):
                host.peer_restarted(peer, incarnation)
            case message:
                host.handle(message)
        for mine, theirs in zip(said, expected, strict=True):
            place = f"{role} {life.me}: {theirs.method} {theirs.message} at {theirs.now.boot_s:.6f}"
            assert (mine.method, mine.message, mine.now) == (theirs.method, theirs.message, theirs.now), place
            assert mine.effects == theirs.effects, place
            counts.update(type(effect).__name__ for effect in theirs.effects)
            counts[theirs.method] += 1
        assert sent == [effect for one in expected for effect in one.effects if isinstance(effect, Send)]
    return counts, store


def conversation() -> Schedule:
    """Entries that rest, fill and are cancelled; a crash of prices; kills of roles; a kill, a re-arming, a pause, a ban."""
    items = [
        Item(0.1, "propose", ("BTC-USD", Decimal(150), True, 20.0, "a")),
        Item(0.3, "propose", ("ETH-USD", Decimal(150), False, 20.0, "b")),
        Item(1.0, "trade", ("BTC-USD", Decimal("0.5"))),
        Item(1.6, "kill", ("oms",)),
        Item(2.5, "kill", ("gateway",)),
        Item(3.0, "propose", ("SOL-USD", Decimal(150), False, 20.0, "c")),
        Item(3.5, "kill", ("risk",)),
        Item(4.0, "kill", ("exits",)),
        Item(5.0, "move", ("ETH-USD", -900)),
        Item(6.0, "kill", ("kill_switch",)),
        Item(7.0, "engage", ()),
        Item(8.0, "kill", ("kill_switch",)),
        Item(9.0, "rearm", ()),
        Item(9.5, "pause", ()),
        Item(10.0, "ban", ("SOL-USD",)),
        Item(11.0, "propose", ("SOL-USD", Decimal(150), False, 20.0, "d")),
        Item(12.0, "killall", ()),
        Item(16.0, "move", ("BTC-USD", -900)),
    ]
    return Schedule(mode="conversation", seed=SEED, quirks=Quirks(), items=tuple(items), safety_s=22.0, heal_s=0.0)


def test_both_stages_make_the_same_of_the_same_conversation(tmp_path, monkeypatch):
    recorded = Recorded(monkeypatch, conversation())
    total: Counter[str] = Counter()
    for role, lives in recorded.lives.items():
        assert lives, role
        for life in lives:
            counts, store = live_again(role, life, recorded.factories[role], tmp_path)
            total.update(counts)
        if role in SAVING:
            assert store.live_rows() == recorded.world.stage.store(role).live_rows()
            store.close()
    lives = {role: len(lives) for role, lives in recorded.lives.items()}
    print(f"seed {SEED}: lives {lives}, calls and effects compared {dict(total)}")
    assert total["Save"] > 50
    assert total["Send"] > 500
    assert total["Wake"] > 200
    assert min(lives.values()) >= 2


@pytest.mark.parametrize("broken", ["sends before saves", "wakes early", "a send too many"])
def test_the_comparison_sees_a_host_that_does_it_differently(tmp_path, monkeypatch, broken):
    recorded = Recorded(monkeypatch, conversation())
    carry_out = MachineHost._carry_out

    def wrong(self: MachineHost, message: object, effects: Any, now: Instant) -> None:
        if broken == "sends before saves":
            effects = tuple(sorted(effects, key=lambda effect: not isinstance(effect, Send)))
            effects = tuple(reversed(effects))
        elif broken == "a send too many":
            effects = (*effects, Send("oms", "again"))
        carry_out(self, message, effects, now)

    monkeypatch.setattr(MachineHost, "_carry_out", wrong)
    if broken == "wakes early":
        monkeypatch.setattr(MachineHost, "wake_due", lambda self: self.handle(Woke("measure", 0)))
    with pytest.raises(AssertionError):
        for life in recorded.lives["gateway"]:
            live_again("gateway", life, recorded.factories["gateway"], tmp_path)
