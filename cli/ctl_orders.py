"""`run.py ctl`, the orders: what a person tells the bot, each by name and cause, acknowledged when its owner saved it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cli.ctl import AsJson, Cause, DataDir, Name, Role, Symbol, Words, ask
from cli.errors import FailedError, UsageError
from cli.places import login_name, running_data_dir
from cli.tables import show
from state.locks import instance_holder

DRILL_S_MAX, RESTART_S_MAX = 30.0, 15.0
ANSWERERS = ("operator", "ops")
"""Whoever restarts these cuts the line on which the answer would come."""


def register(app: typer.Typer) -> None:
    for command in (
        pause,
        resume,
        kill,
        rearm,
        cancel,
        stop,
        settle,
        exit_,
        flatten,
        adopt,
        ban,
        unban,
        restart,
        reload,
        ack,
        drill,
    ):
        app.command(command.__name__.rstrip("_"))(command)


def order(
    data_dir: Path | None, command: str, args: Mapping[str, str], name: str | None, cause: str | None, as_json: bool
) -> None:
    """A command with a name and a cause; it is acknowledged when its owner saved it. An empty text is not replaced: the
    operator's rule refuses it where a name or a cause is wanted.
    """
    who = login_name() if name is None else name
    answer = ask(data_dir, command, {**args, "name": who, "cause": "ctl" if cause is None else cause}, timeout_s=15.0)
    show(answer, as_json, str(answer.get("text", "done")))


def pause(data_dir: DataDir = None, name: Name = None, cause: Cause = None, as_json: AsJson = False) -> None:
    """No new entries until resume; exits and cancels go on. Survives restarts."""
    order(data_dir, "pause", {}, name, cause, as_json)


def resume(data_dir: DataDir = None, name: Name = None, cause: Cause = None, as_json: AsJson = False) -> None:
    """End a pause."""
    order(data_dir, "resume", {}, name, cause, as_json)


def kill(
    reason: Annotated[
        list[str] | None, typer.Argument(metavar="[REASON...]", help="Why; it is kept. Several words need no quotes.")
    ] = None,
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Engage the kill switch: no order leaves, all are cancelled. Only rearm ends it. Works without a running bot."""
    why = " ".join(reason or ()) or "ctl kill"
    try:
        order(data_dir, "kill", {}, name, why, as_json)
    except FailedError as error:
        from cli.panic import engage_and_sweep

        folder = running_data_dir(data_dir)
        fact = str(error) if instance_holder(folder) is not None else f"the bot of {folder} is not running"
        code = engage_and_sweep(folder, name or login_name(), why, as_json, fact)
        raise typer.Exit(code) from None


def rearm(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    cause: Words,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Disengage the kill switch, by NAME for CAUSE; both are kept."""
    order(data_dir, "rearm", {}, name, " ".join(cause), as_json)


def cancel(
    which: Annotated[str, typer.Argument(metavar="ID|all")],
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Cancel one order by its id, or all of them."""
    order(data_dir, "cancel", {"id": which}, name, None, as_json)


def stop(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Stop the bot in order: orders cancelled, state flushed."""
    order(data_dir, "stop", {}, None, None, as_json)


def settle(
    order_id: Annotated[str, typer.Argument(metavar="ID")],
    cause: Words,
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Declare an UNKNOWN order not placed. Only after looking at Coinbase yourself; name and CAUSE are kept."""
    order(data_dir, "settle", {"id": order_id}, name, " ".join(cause), as_json)


def exit_(
    symbol: Symbol, data_dir: DataDir = None, name: Name = None, cause: Cause = None, as_json: AsJson = False
) -> None:
    """Leave the position of SYMBOL by the ordinary exit."""
    order(data_dir, "exit", {"symbol": symbol}, name, cause, as_json)


def flatten(cause: Words, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Sell every position of the bot now (IOC). Allowed under a kill."""
    order(data_dir, "flatten", {}, name, " ".join(cause), as_json)


def adopt(
    symbol: Symbol,
    size: Annotated[str, typer.Argument(metavar="SIZE")],
    cause: Words,
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Give the bot SIZE of a holding that it did not buy. From then on it guards and sells it."""
    order(data_dir, "adopt", {"symbol": symbol, "size": size}, name, " ".join(cause), as_json)


def ban(
    symbol: Symbol,
    flag: Annotated[str, typer.Argument(metavar="FLAG")],
    data_dir: DataDir = None,
    name: Name = None,
    cause: Cause = None,
    as_json: AsJson = False,
) -> None:
    """Exclude SYMBOL for a red FLAG. One of recent_exploit, regulatory_action, delisting_rumors, team_rug."""
    order(data_dir, "ban", {"symbol": symbol, "flag": flag}, name, cause or flag, as_json)


def unban(symbol: Symbol, cause: Words, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Lift a ban."""
    order(data_dir, "unban", {"symbol": symbol}, name, " ".join(cause), as_json)


def restart(role: Role, data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Restart a role, or bring a parked one back."""
    if role not in ANSWERERS:
        order(data_dir, "restart", {"role": role}, name, None, as_json)
        return
    before = ask(data_dir, "pid", {"role": "operator"})["pid"]
    with suppress(FailedError):  # the answer goes with the operator that is restarted: its successor is the answer
        ask(data_dir, "restart", {"role": role, "name": login_name() if name is None else name, "cause": "ctl"})
    text = f"{role} was restarted (operator has pid {successor(data_dir, before)})"
    show({"text": text}, as_json, text)


def successor(data_dir: Path | None, before: int) -> int:
    """The operator's pid, once another one answers. Raises FailedError."""
    until = time.monotonic() + RESTART_S_MAX
    while time.monotonic() < until:
        with suppress(FailedError):
            if (now := int(ask(data_dir, "pid", {"role": "operator"})["pid"])) != before:
                return now
        time.sleep(0.1)
    raise FailedError(f"no new operator answers after {RESTART_S_MAX:.0f} s: look at run.py logs --level error")


def reload(data_dir: DataDir = None, name: Name = None, as_json: AsJson = False) -> None:
    """Always refused: a run keeps its configuration. Stop it, then start it again."""
    order(data_dir, "reload", {}, name, None, as_json)


def ack(
    alert: Annotated[str, typer.Argument(metavar="ALERT")],
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Acknowledge an alert: it stops escalating."""
    order(data_dir, "ack", {"alert": alert}, name, None, as_json)


def drill(
    rounds: Annotated[int, typer.Option(min=1, help="How often.")] = 1,
    data_dir: DataDir = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Measure the kill switch: engage, wait, re-arm. It waits until nothing of ours rests. Never on real money."""
    who = name or login_name()
    facts = ask(data_dir, "status")
    if facts["mode"] == "live":
        raise UsageError("a drill cancels every open order; on real money engage the switch by hand: ctl kill REASON")
    rows = [one_drill(data_dir, who) for _ in range(rounds)]
    worst = {key: max(row[key] for row in rows) for key in rows[0]}
    text = (
        f"{rounds} drill{'s' if rounds > 1 else ''}, worst: saved and confirmed after {worst['engaged_s'] * 1000:.0f} ms, "
        f"HALTED seen after {worst['halted_s'] * 1000:.0f} ms, nothing rests after {worst['canceled_s'] * 1000:.0f} ms; re-armed"
    )
    show({"rounds": rows, "worst": worst}, as_json, text)


def one_drill(data_dir: Path | None, who: str) -> dict[str, float]:
    """Seconds from the command until it is saved, seen as HALTED, and nothing of ours is open."""
    began = time.monotonic()
    ask(data_dir, "kill", {"name": who, "cause": "drill"}, timeout_s=15.0)
    engaged_s = time.monotonic() - began
    seen: dict[str, float] = {}
    while len(seen) < 2 and time.monotonic() - began < DRILL_S_MAX:
        status = ask(data_dir, "status")
        after = time.monotonic() - began
        if status["trading_state"] in ("HALTED", "DRAINING"):
            seen.setdefault("halted_s", after)
        if not status["orders"]:
            seen.setdefault("canceled_s", after)
        time.sleep(0.02)
    if len(seen) < 2:
        raise FailedError(
            f"the drill is not over after {DRILL_S_MAX:.0f} s; the kill switch stays engaged: look at ctl status"
        )
    ask(data_dir, "rearm", {"name": who, "cause": "drill over"}, timeout_s=15.0)
    return {"engaged_s": engaged_s, **seen}
