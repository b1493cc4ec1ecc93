"""The conductor: beat, drain, final listing, sweep and exit code of one run (protocol sections 6 and 7, I4).

Hosted by run.py's main process as role `main`. It hears `TreeState` from its host each second, `StopAsked` (SIGTERM,
SIGINT, `ctl stop`, --for), `RootEnded`, `FenceSeen` (the guardian's fence), `Drained` from the roles, and its shell's
answers. Everything it does in the world is a request to that shell (`io`):

    WriteBeat, each second                   WriteFence("drain") -> FenceWritten
    StopTree -> TreeStopped                  ListOurs -> OursListed
    SweepOrdered -> SweepReport              EngageKillFile, AlertPeople, HandOver, Leave (the end)

Time table of a stop, seconds after it was asked: 0 the drain fence, then Drain (repeated each 0.5 s, and at once to new
incarnations) until oms, gateway, exits and risk answered; 7 at the latest the ordered stop, and the sweep beside it if
oms was not clean; 9 SIGKILL; 9.5 at the latest the exit. Exit 0 only if oms answered clean, the venue listed none of
ours and nothing is UNKNOWN. `Phase` names the steps; each moves only forward.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from attrs import frozen

from trading.machine import (
    Effect,
    Effects,
    Incarnation,
    Instant,
    Note,
    PeerRestarted,
    QuietMachine,
    Rows,
    Save,
    Send,
    Table,
    Wake,
    Woke,
)
from trading.messages.control import (
    ON_EXIT,
    AlertPeople,
    CommandDone,
    Drain,
    Drained,
    EngageKillFile,
    FenceSeen,
    FenceWritten,
    HandOver,
    Leave,
    ListOurs,
    OperatorOrder,
    OursListed,
    RootEnded,
    StopAsked,
    StopTree,
    SweepOrdered,
    SweepReport,
    TreeState,
    TreeStopped,
    WriteBeat,
    WriteFence,
)

DRAINERS = ("gateway", "oms", "exits", "risk")


class Phase(StrEnum):
    RUNNING = "running"
    FLATTENING = "flattening"  # --flatten-on-exit: oms sells what it holds, before the fence closes flattens
    FENCING = "fencing"  # the drain fence is not durable yet; Drain waits for it (no later than fence_s)
    DRAINING = "draining"
    STOPPING = "stopping"  # the tree stops; listing, and the sweep if it is needed, run beside it
    OVER = "over"


@frozen(kw_only=True)
class ConductorSettings:
    """Seconds after the stop was asked, but for the periods. supervisors: ids that must run for a *ready* beat."""

    beat_s: float = 1.0
    tree_age_s_max: float = 3.0
    drain_repeat_s: float = 0.5
    fence_s: float = 1.0
    drain_s: float = 7.0
    stop_s: float = 9.0
    exit_s: float = 9.5
    listing_s: float = 2.0
    listing_pause_s: float = 0.5
    root_ended_sweep_s: float = 30.0
    flatten_on_exit: bool = False
    flatten_s: float = 3.0
    supervisors: tuple[str, ...] = ("safety", "venue", "trading", "feeds", "symbols", "ops")
    essential: tuple[str, ...] = ("gateway", "oms")


_WORDS_READY = frozenset({"ready", "running"})
_COLUMNS = {"state": "text", "exit_code": "integer", "live_possible": "integer", "reason": "text", "listed": "text"}


class ConductorMachine(QuietMachine):
    """me[0] is the run number, which run.py raised durably under the instance lock before this machine exists."""

    role: ClassVar[str] = "main"
    tables = (Table("runs", columns=_COLUMNS),)

    def __init__(self, *, settings: ConductorSettings, me: Incarnation) -> None:
        self.settings = settings
        self.me = me
        self.run_number = me[0]
        self.phase = Phase.RUNNING
        self.reason = ""
        self.failed = ""  # why the exit cannot be 0 whatever is found
        self.beat = "starting"
        self._tree: TreeState | None = None
        self._asked_boot_s = 0.0
        self._root_ended = False
        self._in_time = False  # whether the end is the one that a stop promises
        self._flattens = 0
        self._drained: dict[str, Drained] = {}
        self._listed: OursListed | None = None
        self._sweep: SweepReport | None = None
        self._sweeping = False
        self._stopped: TreeStopped | None = None

    # -- the calls ----------------------------------------------------------------------------------------------

    def recover(self, rows: Rows, now: Instant) -> Effects:
        out: list[Effect] = []
        for key, row in rows.get("runs", {}).items():
            if key != str(self.run_number) and row.get("state") != "stopped":
                values = {"run": key, "state": row.get("state"), "live_possible": bool(row.get("live_possible"))}
                out += [Note("recovery", values), Save("runs", key, {**dict(row), "live": False})]
        return (*out, self._save("running"), *self._beat(now))

    def handle(self, message: object, now: Instant) -> Effects:
        if self.phase is Phase.OVER:
            return ()
        match message:
            case TreeState():
                return self._hear_tree(message, now)
            case StopAsked():
                if message.failed:
                    self.failed = self.failed or message.reason
                return self._stop(message.reason, now)
            case FenceSeen(fence="guardian", run_number=run) if run >= self.run_number:
                self.failed = self.failed or "the guardian's fence closed this run"
                return self._stop(f"guardian fence for run {run}", now)
            case RootEnded():
                return self._lost_root(message.reason, now, gave_up=message.gave_up)
            case FenceWritten(fence="drain", error="") if message.run_number == self.run_number:
                return self._drain(now) if self.phase is Phase.FENCING else ()
            case Drained(run_number=self.run_number):
                self._drained[message.role] = message
                return self._progress(now)
            case PeerRestarted(role) if role in DRAINERS and self.phase is Phase.DRAINING:
                self._drained.pop(role, None)  # what the dead one knew is not what the living one knows
                return (Send(role, Drain(run_number=self.run_number)),)
            case CommandDone() if self.phase is Phase.FLATTENING and message.command_id.startswith(ON_EXIT):
                return self._fence(now)
            case OursListed():
                return self._hear_listing(message, now)
            case SweepReport():
                self._sweep = message
                return self._progress(now)
            case TreeStopped():
                self._stopped = message
                return self._progress(now)
            case Woke():
                return self._woke(message, now)
        return ()

    def _woke(self, woke: Woke, now: Instant) -> Effects:
        match woke.key:
            case "beat":
                return self._beat(now)
            case "drain" if self.phase is Phase.DRAINING:
                return (*self._ask_drain(), Wake("drain", now.boot_s + self.settings.drain_repeat_s))
            case "fence" if self.phase is Phase.FENCING:
                # A fence that cannot be written must not hold up the cancels: Drain closes the roles by itself.
                self.failed = self.failed or "the drain fence could not be written"
                return self._drain(now)
            case "flatten" if self.phase is Phase.FLATTENING:
                return self._fence(now) if now.boot_s >= self._after(self.settings.flatten_s) else self._flatten(now)
            case "stop" if self.phase in (Phase.FLATTENING, Phase.FENCING, Phase.DRAINING):
                return self._stop_tree(now)
            case "list" if self.phase is Phase.STOPPING:
                return (self._list(now),)
            case "exit":
                return self._leave(now)
        return ()

    # -- beat ---------------------------------------------------------------------------------------------------

    def _hear_tree(self, tree: TreeState, now: Instant) -> Effects:
        self._tree = tree
        if not tree.root_alive and self.phase is Phase.RUNNING:
            return self._lost_root("root is gone", now, gave_up=False)
        return ()

    def _beat(self, now: Instant) -> Effects:
        self.beat = self._beat_state(now)
        beat = WriteBeat(run_number=self.run_number, state=self.beat, boot_s=now.boot_s)
        return (Send("io", beat), Wake("beat", now.boot_s + self.settings.beat_s))

    def _beat_state(self, now: Instant) -> str:
        """*ready* only if every supervisor, gateway and oms answered in time; a store that is full says *parked*."""
        if self.phase is not Phase.RUNNING:
            return "draining"
        tree = self._tree
        if tree is None or not tree.root_alive or now.boot_s - tree.taken_boot_s > self.settings.tree_age_s_max:
            return "starting"
        states = {child.role: child.state for child in tree.children}
        if any(states.get(role) == "parked" for role in self.settings.essential):
            return "parked"
        wanted = (*self.settings.supervisors, *self.settings.essential)
        return "ready" if all(states.get(role) in _WORDS_READY for role in wanted) else "starting"

    # -- the way down -------------------------------------------------------------------------------------------

    def _stop(self, reason: str, now: Instant) -> Effects:
        if self.phase is not Phase.RUNNING:
            return self._hasten(now) if self._root_ended else ()
        self.reason = reason
        self._asked_boot_s = now.boot_s
        at = self._after
        clock = (Wake("stop", at(self.settings.drain_s)), Wake("exit", at(self.settings.exit_s)))
        note = Note("decision", {"code": "stop", "text": f"stopping: {reason}", "values": {}})
        if self.settings.flatten_on_exit:
            self.phase = Phase.FLATTENING
            return (self._save("draining"), note, *self._flatten(now), *clock)
        return (self._save("draining"), note, *self._fence(now), *clock)

    def _hasten(self, now: Instant) -> Effects:
        """A stop that is asked for while the venue is swept for a dead root ends in the time promised to a stop."""
        end_boot_s = now.boot_s + self.settings.exit_s
        if end_boot_s >= self._after(self.settings.root_ended_sweep_s) or self._in_time:
            return ()
        self._in_time = True
        self._asked_boot_s = now.boot_s
        return (*self._sweep_now(now, self.settings.exit_s), Wake("exit", end_boot_s))

    def _flatten(self, now: Instant) -> Effects:
        """Each time under a new id: what an order of before has not sold is asked for again."""
        self._flattens += 1
        order = OperatorOrder(
            command_id=f"{ON_EXIT}{self.run_number}:{self._flattens}",
            verb="flatten",
            name="flatten-on-exit",
            cause=self.reason,
        )
        again = min(now.boot_s + self.settings.drain_repeat_s, self._after(self.settings.flatten_s))
        return (Send("oms", order), Wake("flatten", again))

    def _after(self, seconds: float) -> float:
        return self._asked_boot_s + seconds

    def _fence(self, now: Instant) -> Effects:
        self.phase = Phase.FENCING
        order = WriteFence(fence="drain", run_number=self.run_number)
        return (Send("io", order), Wake("fence", now.boot_s + self.settings.fence_s), *self._beat(now))

    def _drain(self, now: Instant) -> Effects:
        self.phase = Phase.DRAINING
        return (Wake("fence", None), *self._ask_drain(), Wake("drain", now.boot_s + self.settings.drain_repeat_s))

    def _ask_drain(self) -> Effects:
        drain = Drain(run_number=self.run_number)
        return tuple(
            Send(role, drain) for role in DRAINERS if role not in self._drained or not self._drained[role].clean
        )

    def _lost_root(self, reason: str, now: Instant, *, gave_up: bool) -> Effects:
        """No tree, no drain: the venue is swept, the exit is non-zero; giving up also engages the kill, by file."""
        if self._root_ended or self._stopped is not None or self.phase is Phase.STOPPING:
            return ()
        self._root_ended = True
        cause = f"root gave up: {reason}" if gave_up else f"root died: {reason}"
        self.failed = self.failed or cause
        self.reason = self.reason or self.failed
        # Whoever asked for a stop gets it in the time that was promised; what may be left then is the guardian's.
        sweep_s, kill_s = self.settings.exit_s, self.settings.stop_s
        self._in_time = self.phase is not Phase.RUNNING
        if self.phase is Phase.RUNNING:
            self._asked_boot_s = now.boot_s
            sweep_s, kill_s = self.settings.root_ended_sweep_s, 2.0
        self.phase = Phase.STOPPING
        kill = (Send("io", EngageKillFile(cause=cause)),) if gave_up else ()
        return (
            self._save("draining"),
            *kill,
            *self._sweep_now(now, sweep_s),
            Send("io", StopTree(reason=cause, kill_at_boot_s=min(now.boot_s + 2.0, self._after(kill_s)))),
            Wake("exit", self._after(sweep_s)),
            Wake("drain", None),
            Wake("stop", None),
            *self._beat(now),
        )

    def _stop_tree(self, now: Instant) -> Effects:
        self.phase = Phase.STOPPING
        out: list[Effect] = [
            Send("io", StopTree(reason=self.reason, kill_at_boot_s=self._after(self.settings.stop_s))),
            Wake("drain", None),
            Wake("stop", None),
        ]
        if not self._clean:
            out += self._sweep_now(now, self.settings.exit_s)
        return (*out, self._list(now))

    def _sweep_now(self, now: Instant, until_s: float) -> list[Effect]:
        self._sweeping = True
        reason = f"stop of run {self.run_number}: {self.reason}"
        return [Send("io", SweepOrdered(reason=reason, until_boot_s=max(now.boot_s, self._after(until_s))))]

    def _list(self, now: Instant) -> Effect:
        deadline = min(self._after(self.settings.exit_s), now.boot_s + self.settings.listing_s)
        return Send("io", ListOurs(deadline_boot_s=max(now.boot_s, deadline)))

    def _hear_listing(self, listed: OursListed, now: Instant) -> Effects:
        if self.phase is not Phase.STOPPING or (
            self._listed is not None and self._listed.complete and not self._listed.orders
        ):
            return ()
        self._listed = listed
        if listed.complete and not listed.orders:
            return self._progress(now)
        out: list[Effect] = [] if self._sweeping else self._sweep_now(now, self.settings.exit_s)
        return (*out, Wake("list", now.boot_s + self.settings.listing_pause_s))

    @property
    def _clean(self) -> bool:
        oms = self._drained.get("oms")
        return oms is not None and oms.clean and not oms.unknown

    def _progress(self, now: Instant) -> Effects:
        if self.phase is Phase.DRAINING and self._clean and all(role in self._drained for role in DRAINERS):
            return self._stop_tree(now)
        if self.phase is not Phase.STOPPING or self._stopped is None:
            return ()
        listed_none = self._listed is not None and self._listed.complete and not self._listed.orders
        swept = self._sweep is not None and self._sweep.clean
        if self._root_ended:
            return self._leave(now) if swept else ()
        return self._leave(now) if listed_none and (self._clean or swept) else ()

    def _leave(self, now: Instant) -> Effects:
        self.phase = Phase.OVER
        listed = self._listed
        if not self._clean:
            self.failed = self.failed or "oms did not answer that nothing of ours may live"
        if listed is None or not listed.complete:
            self.failed = self.failed or "the venue did not answer the final listing"
        elif listed.orders:
            self.failed = self.failed or f"the venue still lists {len(listed.orders)} of our orders"
        if self._stopped is None or self._stopped.left_pids:
            self.failed = self.failed or "processes of ours still live"
        oms = self._drained.get("oms")
        code = 1 if self.failed else 0
        live_possible = not (self._clean and listed is not None and listed.complete and not listed.orders)
        left = listed.orders if listed is not None else ()
        leave = Leave(
            exit_code=code, reason=self.failed or self.reason, live_possible=live_possible, listed=left,
            canceled=oms.canceled if oms else (), kept=oms.kept if oms else (), unknown=oms.unknown if oms else (),
        )  # fmt: skip
        out: list[Effect] = [self._save("stopped" if code == 0 else "failed", code, live_possible)]
        if code == 0:
            beat = WriteBeat(run_number=self.run_number, state="stopped", boot_s=now.boot_s)
            return (*out, Send("io", beat), Send("io", leave), Wake("beat", None), Wake("exit", None))
        text = f"Run {self.run_number} ended with exit 1: {self.failed}. " + (
            f"Orders may be live at the venue: {', '.join(left) or 'which ones is not known'}."
            if live_possible
            else "The venue lists no order of ours."
        )
        return (
            *out,
            Send("io", AlertPeople(level="critical", title="Bulkhead did not stop cleanly", text=text)),
            Send("io", HandOver(run_number=self.run_number)),
            Send("io", leave),
            Wake("beat", None),
            Wake("exit", None),
        )

    def _save(self, state: str, code: int | None = None, live_possible: bool = False) -> Save:
        listed = " ".join(self._listed.orders) if self._listed is not None else ""
        row = {"state": state, "exit_code": code, "live_possible": live_possible, "reason": self.failed or self.reason}
        return Save("runs", str(self.run_number), {**row, "listed": listed, "live": True})
