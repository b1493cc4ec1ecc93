"""The live host's order: save, then send, then wake; nothing leaves when the commit fails; timers are never early (DESIGN section 1)."""

from __future__ import annotations

from typing import ClassVar

import pytest

from actors.host import MachineHost
from actors.ports import NoStore
from state.store import StoreFullError
from trading.machine import Effects, Instant, Note, QuietMachine, Rows, Save, Send, Wake, Woke


class Script:
    """A clock under the test's hand."""

    def __init__(self) -> None:
        self.boot_s = 100.0

    def now(self) -> Instant:
        return Instant(1_000.0 + self.boot_s, True, self.boot_s)

    def expect(self, not_before_s: float) -> None: ...


class Log(NoStore):
    """A store that writes down what happened, and may refuse."""

    def __init__(self, happened: list[object]) -> None:
        self.happened, self.full = happened, False

    def commit(self, saves, acted_s=None):
        if self.full:
            raise StoreFullError("full")
        self.happened.append(("commit", tuple(saves), acted_s))


class Says(QuietMachine):
    role: ClassVar[str] = "says"

    def recover(self, rows: Rows, now: Instant) -> Effects:
        return ()

    def handle(self, message: object, now: Instant) -> Effects:
        if isinstance(message, Woke):
            return (Send("main", message.key),)
        return message if isinstance(message, tuple) else ()


SAVE = Save("t", "k", {})


@pytest.fixture
def stage():
    happened: list[object] = []
    clock, store = Script(), Log(happened)
    host = MachineHost(
        Says(),
        store,
        clock,
        send=lambda role, message: happened.append((role, message)),
        note=lambda n, _: happened.append(n),
    )
    host.recover()
    return host, clock, store, happened


def test_saves_are_one_transaction_before_the_first_send_whatever_their_place_in_the_list(stage):
    host, _, _, happened = stage
    host.handle((Send("a", 1), Save("t", "x", {}), Note("decision"), Send("b", 2), SAVE))
    kinds = [one if isinstance(one, Note) else one[0] for one in happened]
    assert kinds == ["commit", "a", "b", Note("decision")]
    assert [save.key for save in happened[0][1]] == ["x", "k"]
    assert happened[0][2] == 1_100.0  # the trusted venue time that was acted on


def test_when_the_commit_fails_nothing_is_sent_noted_or_armed(stage):
    host, clock, store, happened = stage
    store.full = True
    with pytest.raises(StoreFullError):
        host.handle((Send("a", 1), SAVE, Wake("soon", 100.5), Note("decision")))
    clock.boot_s = 101.0
    host.wake_due()
    assert happened == []


def test_a_timer_is_replaced_cancelled_and_never_early(stage):
    host, clock, _, happened = stage
    host.handle((Wake("a", 101.0), Wake("b", 101.0), Wake("c", 101.0)))
    host.handle((Wake("a", 105.0), Wake("b", None)))
    clock.boot_s = 100.999
    host.wake_due()
    assert happened == []
    clock.boot_s = 101.0
    host.wake_due()
    assert happened == [("main", "c")]
    assert host.next_wake_boot_s() == 105.0
    clock.boot_s = 200.0
    host.wake_due()
    assert happened == [("main", "c"), ("main", "a")]
    assert host.next_wake_boot_s() is None
