"""What a person orders, turned into messages to the owner of the thing, repeated until the owner says it is saved.

The shell serves the Unix socket and hands over `Asked`; it gets exactly one `Replied` for each. Reads never come here.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import define, evolve, frozen

from trading.machine import (
    NO_INCARNATION,
    Effect,
    Effects,
    Incarnation,
    Instant,
    Note,
    QuietMachine,
    Rows,
    Send,
    Wake,
    Woke,
)
from trading.messages.control import CommandDone, Engage, OperatorOrder, Pause, Rearm, Resume
from trading.values import canonical_symbol, derived_id, money

REPEAT_S = 1.0
ANSWER_S_MAX = 10.0

RED_FLAGS = ("recent_exploit", "regulatory_action", "delisting_rumors", "team_rug")


@frozen(kw_only=True)
class Asked:
    """Shell -> machine: one command of a person. args are text; `name` and `cause` stand among them."""

    request_id: str
    command: str
    args: tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class Replied:
    """Machine -> shell (`io`): the one answer. misworded: not ok because of the words alone; nothing was ordered."""

    request_id: str
    ok: bool
    text: str
    misworded: bool = False


@frozen(kw_only=True)
class StopRequested:
    """operator -> main: an orderly stop, as SIGTERM would ask for."""

    name: str


@frozen(kw_only=True)
class RestartRequested:
    """operator -> main: restart a role, or bring a parked one back; main answers CommandDone."""

    command_id: str
    role: str
    name: str


@frozen(kw_only=True)
class ReloadRequested:
    """operator -> main: read the configuration again; main answers CommandDone with what changed or why not."""

    command_id: str
    name: str


@frozen(kw_only=True)
class AlertAcknowledged:
    """operator -> alerts: `fingerprint` stops escalating; alerts answers CommandDone."""

    command_id: str
    fingerprint: str
    name: str


@define
class _Waiting:
    request_id: str
    command: str
    owner: str
    message: object
    asked_boot_s: float


class OperatorMachine(QuietMachine):
    """One outstanding order per request; an owner that is down gets it again when it is back, within the time limit."""

    role: ClassVar[str] = "operator"

    def __init__(self, *, me: Incarnation = NO_INCARNATION) -> None:
        self.me = me
        self.waiting: dict[str, _Waiting] = {}

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return ()

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Asked():
                return self._asked(message, now)
            case CommandDone():
                return self._done(message)
            case Woke(key="repeat"):
                return self._repeat(now)
        return ()

    def _asked(self, asked: Asked, now: Instant) -> Effects:
        command_id = derived_id("command", self.me, asked.request_id)
        try:
            owner, message = address(asked.command, dict(asked.args), command_id)
        except ValueError as error:
            return [Send("io", Replied(request_id=asked.request_id, ok=False, text=str(error), misworded=True))]
        args = dict(asked.args)
        note = Note(
            "command",
            {"command": asked.command, "args": args, "text": f"{args.get('name', '?')} orders {asked.command}"},
        )
        if isinstance(message, StopRequested):
            return [
                Send(owner, message),
                Send("io", Replied(request_id=asked.request_id, ok=True, text="stopping in order")),
                note,
            ]
        self.waiting[command_id] = _Waiting(asked.request_id, asked.command, owner, message, now.boot_s)
        # A drawdown latch is re-armed by the same word; it answers under another id, so that only the kill switch confirms.
        also = [Send("risk", evolve(message, command_id=f"{command_id}:risk"))] if isinstance(message, Rearm) else []
        return [Send(owner, message), *also, Wake("repeat", now.boot_s + REPEAT_S), note]

    def _done(self, done: CommandDone) -> Effects:
        waiting = self.waiting.pop(done.command_id, None)
        if waiting is None:
            return ()
        reply = Replied(request_id=waiting.request_id, ok=done.ok, text=done.text, misworded=done.misworded)
        return [Send("io", reply)]

    def _repeat(self, now: Instant) -> Effects:
        effects: list[Effect] = []
        for command_id, waiting in list(self.waiting.items()):
            if now.boot_s - waiting.asked_boot_s >= ANSWER_S_MAX:
                del self.waiting[command_id]
                text = (
                    f"{waiting.owner} has not confirmed {waiting.command} within {ANSWER_S_MAX:.0f} s; it may still take effect: "
                    "look at ctl status before repeating it"
                )
                effects.append(Send("io", Replied(request_id=waiting.request_id, ok=False, text=text)))
            else:
                effects.append(Send(waiting.owner, waiting.message))
        if self.waiting:
            effects.append(Wake("repeat", now.boot_s + REPEAT_S))
        return effects


CAUSED = {
    "rearm": "why it is safe again",
    "settle": "what Coinbase shows of that order",
    "adopt": "why the bot shall sell these coins",
    "flatten": "why everything is sold",
}
"""Commands whose cause is the only witness later that a person has looked, or meant it: none is made up for them."""


def address(command: str, args: dict[str, str], command_id: str) -> tuple[str, object]:
    """(owner's role, message) of a person's command. Raises ValueError with a sentence for a bad argument."""
    name, cause = args.get("name", "").strip(), args.get("cause", "").strip()
    if not name:
        raise ValueError(f"{command} wants a name: who orders it")
    if command in CAUSED and not cause:
        raise ValueError(f"{command} wants a cause: {CAUSED[command]}")
    match command:
        case "kill":
            return "kill_switch", Engage(command_id=command_id, name=name, cause=cause or "ctl kill", source="ctl")
        case "rearm":
            return "kill_switch", Rearm(command_id=command_id, name=name, cause=cause)
        case "pause":
            return "kill_switch", Pause(command_id=command_id, name=name, cause=cause or "ctl pause")
        case "resume":
            return "kill_switch", Resume(command_id=command_id, name=name, cause=cause or "ctl resume")
        case "stop":
            return "main", StopRequested(name=name)
        case "restart":
            return "main", RestartRequested(command_id=command_id, role=_wanted(args, "role"), name=name)
        case "reload":
            return "main", ReloadRequested(command_id=command_id, name=name)
        case "ack":
            return "alerts", AlertAcknowledged(command_id=command_id, fingerprint=_wanted(args, "alert"), name=name)
        case "cancel" | "settle":
            kept: tuple[tuple[str, str], ...] = (("id", _wanted(args, "id")),)
        case "flatten":
            kept = ()
        case "exit" | "unban":
            kept = (("symbol", canonical_symbol(_wanted(args, "symbol"))),)
        case "ban":
            flag = _wanted(args, "flag")
            if flag not in RED_FLAGS:
                raise ValueError(f"{flag!r} is not a red flag; one of {', '.join(RED_FLAGS)}")
            kept = (("symbol", canonical_symbol(_wanted(args, "symbol"))), ("flag", flag))
        case "adopt":
            try:
                size = money(_wanted(args, "size"))
            except ValueError as error:
                raise ValueError(f"adopt wants a size in coins, as in 0.25: {error}") from error
            if size <= 0:
                raise ValueError(f"adopt wants a size above zero, not {args['size']}")
            kept = (("symbol", canonical_symbol(_wanted(args, "symbol"))), ("size", format(size, "f")))
        case _:
            raise ValueError(f"there is no command {command!r}")
    owner = "exits" if command == "exit" else "oms"
    return owner, OperatorOrder(
        command_id=command_id, verb=command, name=name, cause=cause or f"ctl {command}", args=kept
    )


def _wanted(args: dict[str, str], key: str) -> str:
    value = args.get(key, "").strip()
    if not value:
        raise ValueError(f"the argument {key} is missing")
    return value
