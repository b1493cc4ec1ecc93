"""The operator's and the alerts' machines: what a person orders arrives, what a person must know is told once."""

from __future__ import annotations

import pytest

from trading.alerts import AlertsMachine, AlertsSettings, SendAlert
from trading.machine import Instant, Save, Send, Woke
from trading.messages.control import CommandDone, Condition, Engage, OperatorOrder
from trading.operator import ANSWER_S_MAX, AlertAcknowledged, Asked, OperatorMachine, Replied, StopRequested


def at(boot_s: float) -> Instant:
    return Instant(1_800_000_000.0 + boot_s, True, boot_s)


def asked(command: str, **args: str) -> Asked:
    return Asked(request_id="r1", command=command, args=tuple({"name": "ann", **args}.items()))


def sends(effects: object) -> list[tuple[str, object]]:
    return [(effect.role, effect.message) for effect in effects if isinstance(effect, Send)]  # type: ignore[attr-defined]


def test_a_command_is_repeated_until_its_owner_confirms_and_answered_once() -> None:
    machine = OperatorMachine()
    role, first = sends(machine.handle(asked("kill", cause="smoke"), at(0)))[0]
    assert role == "kill_switch"
    assert isinstance(first, Engage)
    assert (first.name, first.cause) == ("ann", "smoke")
    assert sends(machine.handle(Woke("repeat"), at(1)))[0] == ("kill_switch", first)
    done = CommandDone(command_id=first.command_id, ok=True, text="engaged")
    assert sends(machine.handle(done, at(1.1))) == [("io", Replied(request_id="r1", ok=True, text="engaged"))]
    assert sends(machine.handle(done, at(1.2))) == []
    assert sends(machine.handle(Woke("repeat"), at(2))) == []


def test_an_owner_that_stays_silent_is_reported_as_not_confirmed_never_as_done() -> None:
    machine = OperatorMachine()
    machine.handle(asked("cancel", id="all"), at(0))
    (_, reply), *_ = sends(machine.handle(Woke("repeat"), at(ANSWER_S_MAX)))
    assert isinstance(reply, Replied)
    assert not reply.ok
    assert "may still take effect" in reply.text


@pytest.mark.parametrize(
    ("command", "args", "sentence"),
    [
        ("rearm", {}, "cause"),
        ("kill", {"name": " "}, "wants a name"),
        ("ban", {"symbol": "BTC-USD", "flag": "ugly"}, "is not a red flag"),
        ("ban", {"symbol": "BTC-JPY", "flag": "team_rug"}, "BTC-JPY"),
        ("adopt", {"symbol": "BTC-USD", "size": "-1", "cause": "mine"}, "above zero"),
        ("adopt", {"symbol": "BTC-USD", "size": "NaN", "cause": "mine"}, "NaN"),
        ("adopt", {"symbol": "BTC-USD", "size": "1"}, "wants a cause"),
        ("flatten", {"cause": " "}, "why everything is sold"),
        ("cancel", {}, "id is missing"),
        ("dance", {}, "there is no command"),
    ],
)
def test_a_bad_order_is_refused_with_a_sentence_and_goes_nowhere(
    command: str, args: dict[str, str], sentence: str
) -> None:
    ((role, reply),) = sends(OperatorMachine().handle(asked(command, **args), at(0)))
    assert role == "io"
    assert isinstance(reply, Replied)
    assert not reply.ok
    assert reply.misworded
    assert sentence in reply.text


def test_symbols_become_canonical_at_this_edge() -> None:
    ((_, order), *_) = sends(OperatorMachine().handle(asked("ban", symbol="btc/usd", flag="team_rug"), at(0)))
    assert isinstance(order, OperatorOrder)
    assert dict(order.args)["symbol"] == "BTC-USD"


def test_stop_is_answered_at_once() -> None:
    (owner, message), (io, reply) = sends(OperatorMachine().handle(asked("stop"), at(0)))
    assert (owner, io) == ("main", "io")
    assert isinstance(message, StopRequested)
    assert isinstance(reply, Replied)


def condition(*, active: bool = True, level: str = "warning") -> Condition:
    return Condition(fingerprint="drift", level=level, active=active, text="books differ by 3 USD")


def alerts(effects: object) -> list[tuple[str, str]]:
    return [(message.level, message.title) for role, message in sends(effects) if isinstance(message, SendAlert)]


def test_a_standing_condition_is_one_alert_then_escalates_then_repeats_rarely() -> None:
    machine = AlertsMachine(settings=AlertsSettings())
    sent = []
    for second in range(1200):
        if second % 10 == 0:
            sent += [(second, level) for level, _ in alerts(machine.handle(condition(), at(second)))]
        sent += [(second, level) for level, _ in alerts(machine.handle(Woke("look"), at(second)))]
    assert sent == [(3, "warning"), (123, "critical"), (1023, "critical")]


def test_an_acknowledged_alert_escalates_no_further_also_after_a_restart() -> None:
    machine = AlertsMachine()
    machine.handle(condition(), at(0))
    effects = list(machine.handle(AlertAcknowledged(command_id="c", fingerprint="drift", name="ann"), at(1)))
    row = next(effect.row for effect in effects if isinstance(effect, Save))
    assert [message.ok for _, message in sends(effects) if isinstance(message, CommandDone)] == [True]
    again = AlertsMachine()
    again.recover({"alerts": {"drift": row}}, at(2))
    assert alerts(again.handle(condition(), at(3))) == []
    assert alerts(again.handle(Woke("look"), at(500))) == []


def acknowledged(level: str = "warning") -> AlertsMachine:
    machine = AlertsMachine()
    machine.handle(condition(level=level), at(0))
    assert len(alerts(machine.handle(Woke("look"), at(3)))) == (level == "warning")
    machine.handle(AlertAcknowledged(command_id="c", fingerprint="drift", name="ann"), at(4))
    return machine


def test_who_acknowledged_a_warning_hears_of_it_again_when_it_grows_critical() -> None:
    machine = acknowledged()
    assert [level for level, _ in alerts(machine.handle(condition(level="critical"), at(10)))] == ["critical"]


def test_what_stands_anew_after_its_owner_was_silent_is_told_although_the_old_alert_was_acknowledged() -> None:
    """A role that is restarted takes nothing back that it had told: its old alert stands, and would swallow the next for ever."""
    machine = acknowledged("critical")
    assert alerts(machine.handle(condition(level="critical"), at(14))) == []
    machine.handle(Woke("look"), at(3000))
    assert [level for level, _ in alerts(machine.handle(condition(level="critical"), at(3600)))] == ["critical"]


def test_what_stood_anew_for_a_second_only_is_over_also_after_a_restart() -> None:
    """Its row would stay live without anybody to end it: after the next start it stood, and rang, for ever."""
    machine = acknowledged()
    machine.handle(condition(), at(3600))
    machine.handle(condition(active=False), at(3601))
    effects = machine.handle(Woke("look"), at(3602))
    assert [row.row["live"] for row in effects if isinstance(row, Save)] == [False]
    assert [text for _, text in alerts(effects)] == ["Bulkhead info: over"]


def test_a_warning_that_passes_within_seconds_reaches_nobody() -> None:
    machine = AlertsMachine()
    machine.handle(condition(), at(0))
    machine.handle(condition(active=False), at(1))
    assert [alerts(machine.handle(Woke("look"), at(second))) for second in (1, 2, 5, 100)] == [[], [], [], []]


def test_a_critical_condition_is_told_at_once() -> None:
    assert [level for level, _ in alerts(AlertsMachine().handle(condition(level="critical"), at(0)))] == ["critical"]


def test_a_flapping_condition_is_one_alert_and_its_end_is_told_once() -> None:
    machine = AlertsMachine()
    sent = []
    for second in range(0, 50, 10):
        sent += alerts(machine.handle(condition(active=second % 20 == 0), at(second)))
        sent += alerts(machine.handle(Woke("look"), at(second + 4)))
    assert [level for level, _ in sent] == ["warning"]
    machine.handle(condition(active=False), at(60))
    assert alerts(machine.handle(Woke("look"), at(121))) == [("info", "Bulkhead info: over")]


def test_a_condition_that_grew_worse_is_told_at_once() -> None:
    machine = AlertsMachine()
    machine.handle(condition(), at(0))
    assert [level for level, _ in alerts(machine.handle(Woke("look"), at(3)))] == ["warning"]
    assert [level for level, _ in alerts(machine.handle(condition(level="critical"), at(4)))] == ["critical"]
