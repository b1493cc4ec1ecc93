"""gateway's shell: lanes of worker threads carry out its Calls; this process never forks."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import NoReturn

from loguru import logger

from actors.clock import boot_s
from actors.machine_actor import MachineActor
from actors.ports import Thinker
from exchange.coinbase.fences import read_fences
from exchange.coinbase.gateway import GatewayMachine, GatewaySettings
from exchange.coinbase.lanes import Lanes, exit_stuck
from exchange.coinbase.may_post import placing_refusal
from state.files import write_atomically
from telemetry import log
from trading.messages.orders import Call, HourlyCount, RestartWanted

HOURLY = "gateway_hour.json"


class GatewayActor(MachineActor):
    _lanes: Lanes | None = None

    def make_machine(self) -> Thinker:
        plan = self.plan
        endpoints, key = plan.where(), plan.key()
        self._settings = plan.section("gateway", GatewaySettings)
        self._machine = GatewayMachine(
            me=self.incarnation,
            fences=partial(read_fences, plan.run_folder),
            settings=self._settings,
            placing_closed=placing_refusal(
                env=plan.env, mode=plan.mode, venue_is_simulated=endpoints.back_door is not None
            ),
            has_key=key is not None,
            hourly=self._hourly(),
        )
        return self._machine

    def started(self) -> None:
        endpoints, key = self.plan.where(), self.plan.key()
        machine = self._machine
        self._lanes = Lanes(
            endpoints,
            key.name if key else None,
            key.secret if key else None,
            lambda order: machine.refusal_at_the_wire(order, boot_s()),
            settings=self._settings,
        )
        self.watch(self._lanes, self._answered)
        for call in self._early:
            self._lanes.submit(call)

    def _answered(self) -> None:
        assert self._lanes is not None
        for called in self._lanes.results():
            self.give(called)

    def io(self, request: object) -> None:
        match request:
            case Call():
                if self._lanes is None:
                    self._early.append(request)
                else:
                    self._lanes.submit(request)
            case HourlyCount():
                body = json.dumps({"hour": request.hour, "requests": request.requests}).encode()
                # Without room on the disk cancels and queries go on, and the next count is tried again.
                with contextlib.suppress(OSError):
                    write_atomically(self.plan.run_folder / HOURLY, body)
            case RestartWanted():
                self._restart(request.reason)
            case _:
                super().io(request)

    def _restart(self, reason: str) -> NoReturn:
        logger.error(reason)
        log.finish()
        exit_stuck()
        raise AssertionError

    def _hourly(self) -> tuple[int, int]:
        self._early: list[Call] = []
        try:
            found = json.loads((self.plan.run_folder / HOURLY).read_text())
            return int(found["hour"]), int(found["requests"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0

    def terminate(self, reason: str) -> None:  # noqa: ARG002
        if self._lanes is not None:
            self._lanes.close()
