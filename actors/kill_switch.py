"""kill_switch's shell: the two-file store, a look at the file KILL_SWITCH, and the sweep in a thread of its own."""

from __future__ import annotations

from collections.abc import Hashable

from actors.clock import boot_s
from actors.machine_actor import MachineActor
from actors.ports import StorePort, Thinker
from actors.sweeping import Sweeping
from exchange.coinbase import fences
from state.store import StoreError
from state.two_file import TwoFileStore
from trading.kill_switch import KillSwitchMachine, KillSwitchSettings
from trading.messages.control import Condition, Engage, StopSweep, SweepOrdered

LOOK_S = 0.2
"""Lanes read the file themselves; this look is for the cancels, which must be sent within 2 s."""
RETRY_S = 1.0
_LOOK, _RETRY = "look at the file", "write what is owed"


class KillSwitchActor(MachineActor):
    _sweeping: Sweeping | None = None
    _seen: str = ""
    _prepared: str = ""
    _condition_at_s: float = 0.0

    def make_machine(self) -> Thinker:
        plan = self.plan
        settings = plan.section("kill_switch", KillSwitchSettings)
        return KillSwitchMachine(settings=settings, me=self.incarnation, products=plan.products, jitter=plan.jitter())

    def make_store(self, machine: Thinker) -> StorePort:  # noqa: ARG002
        run = self.plan.run_folder

        def engage(cause: str, name: str, source: str) -> None:
            fences.engage_kill_file(run, cause=cause, name=name, source=source)

        self._two_files = TwoFileStore(self.plan.data_dir / fences.KILL_FILE, run / fences.KILL_RECORD, engage)
        return self._two_files

    def started(self) -> None:
        if self.plan.kill_reason not in ("", "0"):
            cause = f"BULKHEAD_KILL_SWITCH={self.plan.kill_reason} in the environment"
            command_id = f"env:{self.plan.run_number}"
            self.give(Engage(command_id=command_id, name="environment", cause=cause, source="env"))
        self._look()
        self.wake_in(_RETRY, RETRY_S)

    def woke(self, key: Hashable) -> None:
        if key == _LOOK:
            self._look()
        elif key == _RETRY:
            self._retry()
        else:
            super().woke(key)

    def _look(self) -> None:
        self.wake_in(_LOOK, LOOK_S)
        try:
            found = (self.plan.data_dir / fences.KILL_FILE).stat()
        except OSError:
            self._seen = ""
            return
        seen = fences.kill_file_id(found)
        if seen == self._seen:
            return
        said = self._two_files.said_in_file()
        if said.get("source") == "" and seen != self._prepared:
            self._prepared = seen  # the prepared file: who engages writes name and cause into it before the next look
            return
        self._seen = seen
        name, cause = said.get("name") or "file", said.get("cause") or "file KILL_SWITCH"
        self.give(Engage(command_id=seen, name=name, cause=cause, source=said.get("source") or "file"))

    def _retry(self) -> None:
        self.wake_in(_RETRY, RETRY_S)
        self._two_files.retry()
        if (trouble := self._two_files.trouble) and boot_s() >= self._condition_at_s:
            self._condition_at_s = boot_s() + 10.0
            text = f"the kill switch cannot be written ({trouble}); it acts all the same and tries each second"
            condition = Condition(fingerprint="kill_switch:store", level="critical", active=True, text=text)
            for role in ("alerts", "operator", "console"):
                self.tell(role, condition)

    def give(self, message: object) -> None:
        try:
            super().give(message)
        except StoreError:
            # What opens trading was not durable: nothing was sent, and the machine starts again from its files. The
            # process goes on, since a full disk must not use up the restarts of who guards the exits.
            self._start()

    def io(self, request: object) -> None:
        if isinstance(request, SweepOrdered):
            if self._sweeping is None:
                self._sweeping = Sweeping(self.plan)
                self.watch(self._sweeping.bridge, self._swept)
            self._sweeping.order(request)
        elif isinstance(request, StopSweep):
            if self._sweeping is not None:
                self._sweeping.stop()
        else:
            super().io(request)

    def _swept(self) -> None:
        assert self._sweeping is not None
        for report in self._sweeping.bridge.drain():
            self.give(report)
