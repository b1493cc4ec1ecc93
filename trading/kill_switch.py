"""The kill switch: a latch that anything may engage and only a named person re-arms (protocol section 5, I6).

Engaged = the file KILL_SWITCH exists **or** the kill record says so. The store port shows both: table `kill` has the row
`record` (what the record file says; pause is durable there too) and the row `file`, which is there while the file
exists. Saving `file` live makes the file, saving it with `live` false removes it. A commit succeeds when *either* file
took an engagement and only when *both* took a re-arming; the port repeats each second until then, with a Condition,
since this store never fails and this role is never parked.

What its shell is asked for (`io`): `SweepOrdered` when engaged (list and cancel what is ours until twice empty >= 5 s
apart, then every 10 s until `until_boot_s`; a repeated order only moves the end), answered by `SweepReport` after each
pass; `StopSweep` after a re-arming. The shell tells of the file (inotify, or a look each second) by `Engage` with
source "file" and command id `file:<inode>:<ctime_ns>`; of BULKHEAD_KILL_SWITCH=1 with id `env:<run number>`.

Commands are deduplicated by their id, durably: a repeated Engage after a re-arming is not a second kill.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve, frozen

from trading.machine import (
    Effect,
    Effects,
    Incarnation,
    Instant,
    Note,
    PeerRestarted,
    QuietMachine,
    Row,
    Rows,
    Save,
    Send,
    Table,
    Wake,
    Woke,
)
from trading.messages.control import (
    CatalogSnapshot,
    CommandDone,
    Condition,
    Engage,
    HealthSnapshot,
    KillSnapshot,
    Pause,
    ProductsWanted,
    Rearm,
    Resume,
    StopSweep,
    SweepOrdered,
    SweepReport,
    UniverseSnapshot,
)
from trading.protections import Protections
from trading.publish import WAKE_KEY, ConditionBoard, Jitter, Publisher, jitter

COMMANDS_REMEMBERED = 200
STATIC_READERS = ("oms", "exits", "gateway", "health_monitor")

_COLUMNS = {
    "engaged": "integer",
    "cause": "text",
    "name": "text",
    "source": "text",
    "at_s": "real",
    "paused": "integer",
    "pause_cause": "text",
    "pause_name": "text",
    "commands": "text",
}


@frozen(kw_only=True)
class KillSwitchSettings:
    """sweep_s: how long a sweep goes on (nothing in flight lives longer). sweep_patience_s: without a report for so long, order it again."""

    sweep_s: float = 240.0
    sweep_patience_s: float = 15.0
    condition_repeat_s: float = 10.0


class KillSwitchMachine(QuietMachine):
    """products: symbols that hear of a kill from the start; the universe's snapshots add to them."""

    role: ClassVar[str] = "kill_switch"
    tables = (Table("kill", columns=_COLUMNS),)

    def __init__(
        self,
        *,
        settings: KillSwitchSettings,
        me: Incarnation,
        products: tuple[str, ...] = (),
        protections: Protections | None = None,
        jitter: Jitter = jitter,
    ) -> None:
        self._protections = protections or Protections()
        self.settings = settings
        self.me = me
        self.snapshot = KillSnapshot(n=0, engaged=False, incarnation=me)
        self.source = ""
        self.pause_name = ""
        self.sweep: SweepReport | None = None
        self._products = dict.fromkeys(products)
        self._commands: dict[str, None] = {}
        self._wanting: dict[str, bool] = {}
        self._publisher = Publisher(f"kill_switch:{me[1]}", fast=("risk",), jitter=jitter)
        self._board = ConditionBoard()

    # -- the four calls -----------------------------------------------------------------------------------------

    def recover(self, rows: Rows, now: Instant) -> Effects:
        found = rows.get("kill", {})
        record, file = found.get("record"), found.get("file")
        if record is not None:
            self._commands = dict.fromkeys(text for text in str(record.get("commands") or "").split(" ") if text)
            self.pause_name = str(record.get("pause_name") or "")
        said = record if record is not None and record.get("engaged") and self._protections.latch else file
        self.source = str((said or {}).get("source") or "") if said else ""
        self.snapshot = evolve(
            self.snapshot,
            engaged=said is not None,
            cause=(str(said.get("cause") or "") or "file KILL_SWITCH") if said else "",
            by=str(said.get("name") or "") if said else "",
            at_s=_seconds(said) if said else None,
            paused=bool(record and record.get("paused")),
            pause_cause=str((record or {}).get("pause_cause") or ""),
        )
        out: list[Effect] = [Note("recovery", {"engaged": self.snapshot.engaged, "paused": self.snapshot.paused})]
        if self.snapshot.engaged:
            # Either file alone means engaged; from here on both say so again.
            out += [*self._saved(), *self._order_sweep(now)]
        return [*out, *self._publish(now, changed=True), *self._conditions(now)]

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Engage():
                return self._once(message, now)
            case Rearm() | Pause() | Resume() if not message.name.strip() or not message.cause.strip():
                # Not remembered: the person may send it again, with a name.
                verb = type(message).__name__.lower()
                text = f"{verb} needs a name and a cause: `ctl {verb} NAME CAUSE`; nothing was changed"
                return (self._done(message.command_id, False, text),)
            case Rearm() | Pause() | Resume():
                return self._once(message, now)
            case HealthSnapshot() | CatalogSnapshot():
                return self._wanted(message, now)
            case SweepReport():
                self.sweep = message
                return (*self._conditions(now), *self._await_sweep(now))
            case UniverseSnapshot():
                return self._hear_products(tuple(entry.product_id for entry in message.entries))
            case ProductsWanted():
                return self._hear_products(message.products)
            case PeerRestarted():
                return (
                    (Send(message.role, self.snapshot),)
                    if message.role in self._readers() or message.role == "risk"
                    else ()
                )
            case Woke():
                return self._woke(message, now)
        return ()

    # -- latches ------------------------------------------------------------------------------------------------

    def _once(self, command: Engage | Rearm | Pause | Resume, now: Instant) -> Effects:
        """The command's effects, its id remembered in the same transaction; a repeat is only answered again."""
        if command.command_id in self._commands:
            return (self._done(command.command_id, True, f"done before; now {self._words()}"),)
        effects = self._engage(command, now) if isinstance(command, Engage) else self._person(command)
        self._commands[command.command_id] = None
        while len(self._commands) > COMMANDS_REMEMBERED:
            del self._commands[next(iter(self._commands))]
        changed = any(isinstance(effect, Note) for effect in effects)
        if not changed:
            return (self._record(), *effects)
        # A pause says nothing about the file: somebody may have made it a moment ago, and we were not told yet.
        saves = self._saved() if isinstance(command, Engage | Rearm) else [self._record()]
        return (*saves, *effects, *self._publish(now, changed=True), *self._conditions(now))

    def _engage(self, command: Engage, now: Instant) -> list[Effect]:
        if self.snapshot.engaged:
            return [self._done(command.command_id, True, f"engaged already: {self._words()}")]
        self._latch(command.cause or command.source, command.name, command.source, now)
        return [
            Note("decision", {"code": "kill_engaged", "text": self._words(), "values": {"source": command.source}}),
            *self._order_sweep(now),
            self._done(command.command_id, True, self._words()),
        ]

    def _latch(self, cause: str, name: str, source: str, now: Instant) -> None:
        self.source = source
        self.snapshot = evolve(self.snapshot, engaged=True, cause=cause, by=name, at_s=now.venue_s)

    def _person(self, command: Rearm | Pause | Resume) -> list[Effect]:
        verb = type(command).__name__.lower()
        words = f"{verb} by {command.name}: {command.cause}"
        out: list[Effect] = [Note("decision", {"code": verb, "text": words, "values": {"was": self._words()}})]
        if isinstance(command, Rearm):
            if not self.snapshot.engaged:
                return [self._done(command.command_id, True, "the kill switch is not engaged; nothing was changed")]
            self.snapshot = evolve(self.snapshot, engaged=False, cause="", by="", at_s=None)
            self.source = ""
            self.sweep = None
            out += [Send("io", StopSweep(reason=words)), Wake("sweep", None)]
        elif isinstance(command, Pause):
            self.pause_name = command.name
            self.snapshot = evolve(self.snapshot, paused=True, pause_cause=command.cause)
        else:
            if not self.snapshot.paused:
                return [self._done(command.command_id, True, "nothing was paused; nothing was changed")]
            self.pause_name = ""
            self.snapshot = evolve(self.snapshot, paused=False, pause_cause="")
        return [*out, self._done(command.command_id, True, words)]

    def _wanted(self, message: HealthSnapshot | CatalogSnapshot, now: Instant) -> Effects:
        """A breaker configured to kill: engaged when the wish appears, so that a re-arming holds while it stands."""
        source = "health_monitor" if isinstance(message, HealthSnapshot) else "catalog"
        before = self._wanting.get(source, False)
        self._wanting[source] = message.kill_wanted
        if not message.kill_wanted or before or self.snapshot.engaged:
            return ()
        if isinstance(message, HealthSnapshot):
            cause = "breaker: " + ", ".join(breaker.code for breaker in message.breakers if breaker.open)
        else:
            cause = f"exchange: {message.exchange_reason}"
        self._latch(cause, source, "breaker", now)
        return (
            *self._saved(),
            Note("decision", {"code": "kill_engaged", "text": self._words(), "values": {"source": source}}),
            *self._order_sweep(now),
            *self._publish(now, changed=True),
            *self._conditions(now),
        )

    def _saved(self) -> list[Effect]:
        engaged = self.snapshot.engaged
        file: Row = {**self._engaged_row(), "live": engaged}
        # Re-arming: record first, then the file; engaging: the file first. In between, one of them says engaged.
        saves = [Save("kill", "file", file), self._record()]
        return list(saves if engaged else reversed(saves))

    def _record(self) -> Save:
        row: Row = {
            **self._engaged_row(),
            "paused": self.snapshot.paused,
            "pause_cause": self.snapshot.pause_cause,
            "pause_name": self.pause_name,
            "commands": " ".join(self._commands),
            "live": True,
        }
        return Save("kill", "record", row)

    def _engaged_row(self) -> Row:
        s = self.snapshot
        return {"engaged": s.engaged, "cause": s.cause, "name": s.by, "source": self.source, "at_s": s.at_s}

    def _words(self) -> str:
        if not self.snapshot.engaged:
            return "not engaged" + (f", paused: {self.snapshot.pause_cause}" if self.snapshot.paused else "")
        return f"engaged by {self.snapshot.by or self.source or 'a file'}: {self.snapshot.cause}"

    def _done(self, command_id: str, ok: bool, text: str) -> Send:
        return Send("operator", CommandDone(command_id=command_id, ok=ok, text=text))

    # -- sweep --------------------------------------------------------------------------------------------------

    def _order_sweep(self, now: Instant) -> list[Effect]:
        self.sweep = None
        if not self._protections.kill_sweep:
            return []
        until = now.boot_s + self.settings.sweep_s
        order = SweepOrdered(reason=f"kill switch {self._words()}", until_boot_s=until)
        return [Send("io", order), Wake("sweep", now.boot_s + self.settings.sweep_patience_s)]

    def _await_sweep(self, now: Instant) -> list[Effect]:
        if not self.snapshot.engaged:
            return []
        return [Wake("sweep", now.boot_s + self.settings.sweep_patience_s)]

    def _woke(self, woke: Woke, now: Instant) -> Effects:
        if woke.key == WAKE_KEY:
            return self._publish(now, changed=False)
        if woke.key == "conditions":
            return self._conditions(now)
        if woke.key == "sweep" and self.snapshot.engaged and (self.sweep is None or not self.sweep.clean):
            return self._order_sweep(now)
        return ()

    # -- telling ------------------------------------------------------------------------------------------------

    def _readers(self) -> list[str]:
        return [*STATIC_READERS, *(f"symbol:{product_id}" for product_id in self._products)]

    def _hear_products(self, products: tuple[str, ...]) -> Effects:
        fresh = [product_id for product_id in products if product_id not in self._products]
        self._products.update(dict.fromkeys(fresh))
        return tuple(Send(f"symbol:{product_id}", self.snapshot) for product_id in fresh)

    def _publish(self, now: Instant, *, changed: bool) -> list[Effect]:
        self.snapshot = evolve(self.snapshot, n=self.snapshot.n + 1)
        return self._publisher.effects(self.snapshot, changed=changed, now=now, slow=self._readers())

    def _conditions(self, now: Instant) -> list[Effect]:
        out: list[Effect] = []
        if self.snapshot.engaged:
            swept = "the sweep has not reported yet" if self.sweep is None else _sweep_words(self.sweep)
            text = f"Kill switch {self._words()}; {swept}. Re-arm with `ctl rearm NAME CAUSE`."
            out += self._board.stand(
                Condition(fingerprint="kill_switch", level="critical", active=True, text=text), now
            )
        else:
            out += self._board.gone("kill_switch")
        if self.snapshot.paused:
            text = f"Paused by {self.pause_name}: {self.snapshot.pause_cause}; no entries, exits work."
            out += self._board.stand(Condition(fingerprint="paused", level="warning", active=True, text=text), now)
        else:
            out += self._board.gone("paused")
        stands = bool(self._board.standing())
        return [*out, Wake("conditions", now.boot_s + self.settings.condition_repeat_s if stands else None)]


def _seconds(row: Row) -> float | None:
    at_s = row.get("at_s")
    return float(at_s) if at_s is not None else None


def _sweep_words(report: SweepReport) -> str:
    if report.clean:
        return f"the venue lists none of our orders ({len(report.canceled)} canceled)"
    trouble = f", last error: {report.error}" if report.error else ""
    return f"sweeping: pass {report.passes}, {report.listed} of our orders listed, {len(report.canceled)} canceled{trouble}"
