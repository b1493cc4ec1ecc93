"""Carries out what a machine wants, in the order of the seam: save, then send, then wake. The live half of DESIGN section 1.

Knows nothing of Thespian: `MachineActor`, the main process and the guardian each give it ports. Virtual counterpart:
`simulation/stage.py`; tests/live holds both against the same conversations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import define

from actors.clock import Clock
from actors.ports import MarketPort, StorePort, Thinker
from trading.machine import (
    Effects,
    Instant,
    Note,
    PeerRestarted,
    Save,
    Send,
    Wake,
    Woke,
)


@define
class _Timer:
    generation: int
    at_boot_s: float


class MachineHost:
    """One life of one machine. send: to a role; note: to people; market: None when it declares no products."""

    def __init__(
        self,
        machine: Thinker,
        store: StorePort,
        clock: Clock,
        *,
        send: Callable[[str, object], None],
        note: Callable[[Note, Instant], None],
        market: MarketPort | None = None,
        tap: Callable[[object, tuple[object, ...], Instant], None] | None = None,
    ) -> None:
        self.machine, self.store, self.clock = machine, store, clock
        self._send, self._note, self._market, self._tap = send, note, market, tap
        self._timers: dict[str, _Timer] = {}
        self._generation = 0
        self._products: tuple[str, ...] = ()
        self.counts: Counter[str] = Counter()

    def recover(self) -> None:
        self.clock.expect(self.store.acted_s())
        now = self.clock.now()
        self._carry_out("recover", self.machine.recover(self.store.live_rows(), now), now)
        self.look_at_market()

    def handle(self, message: object) -> None:
        self.look_at_market()
        now = self.clock.now()
        self._carry_out(message, self.machine.handle(message, now), now)

    def peer_restarted(self, role: str, incarnation: tuple[int, int]) -> None:
        self.handle(PeerRestarted(role, incarnation))

    def look_at_market(self) -> None:
        """Bars that closed, in order, then each declared slot that changed, in product order; called before every handle."""
        if self._market is None or not self._products:
            return
        for bar in self._market.bars(self._products):
            now = self.clock.now()
            self._carry_out(bar, self.machine.on_bar(bar, now), now)
        for quote in self._market.quotes(self._products):
            now = self.clock.now()
            self._carry_out(quote, self.machine.on_quote(quote, now), now)

    def wake_due(self) -> None:
        """Hand over every timer that is due, in order of time, then of setting; never early."""
        for key, timer in sorted(self._timers.items(), key=lambda item: (item[1].at_boot_s, item[1].generation)):
            if timer.at_boot_s > self.clock.now().boot_s:
                return
            self.look_at_market()
            # What an earlier one of this round did may have set or cancelled it anew.
            if self._timers.get(key) is timer:
                del self._timers[key]
                now = self.clock.now()
                woke = Woke(key, timer.generation)
                self._carry_out(woke, self.machine.handle(woke, now), now)

    def next_wake_boot_s(self) -> float | None:
        return min((timer.at_boot_s for timer in self._timers.values()), default=None)

    def _carry_out(self, message: object, effects: Effects, now: Instant) -> None:
        done = effects if isinstance(effects, tuple) else tuple(effects)
        if done:
            if self._tap is not None:
                self._tap(message, done, now)
            saves = [effect for effect in done if type(effect) is Save]
            if saves:
                self.store.commit(
                    saves, now.venue_s if now.trusted else None
                )  # raises: then nothing below happens, and this object is thrown away
            for effect in done:
                if type(effect) is Send:
                    self._send(effect.role, effect.message)
            for effect in done:
                if type(effect) is Wake:
                    self._wake(effect)
            for effect in done:
                if type(effect) is Note:  # last: who cannot show it loses no deadline
                    self._note(effect, now)
        products = self.machine.products()
        if products != self._products:
            self._products = tuple(products)
            if self._market is not None:
                self._market.declared(self._products)

    def _wake(self, wake: Wake) -> None:
        if wake.at_boot_s is None:
            self._timers.pop(wake.key, None)
            return
        self._generation += 1
        self._timers[wake.key] = _Timer(self._generation, wake.at_boot_s)
