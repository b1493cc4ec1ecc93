"""user_feed's shell: what the venue tells about our orders goes to oms, and every moment in which something may have been missed."""

from __future__ import annotations

import time

from actors.feeding import FeedActor, feed_readings
from exchange.coinbase.feed_words import Connected, Disconnected, Happening, Heartbeat
from exchange.coinbase.user_socket import UserSocket, feed_reset
from trading.messages.orders import OrderUpdate


class UserFeedActor(FeedActor):
    _socket: UserSocket | None = None
    _epoch: int = 0

    def started(self) -> None:
        key = self.plan.key()
        if key is None:
            return  # public data, simulated fills: there is no account to hear of
        clock = self.clock
        # A token's times are real time, which never scales; Coinbase's own clock is real time, a simulated one may not be.
        real_clock = time.time if self.plan.venue is not None else lambda: clock.now().venue_s

        def sink(happenings: list[Happening]) -> None:
            for happening in happenings:
                self.happened.put(happening)

        self._socket = UserSocket(self.plan.where(), key, sink, venue_clock=real_clock)
        self.begin(self._socket)

    def take(self, happening: Happening) -> None:
        if isinstance(happening, OrderUpdate):
            self.tell("oms", happening)
            return
        if isinstance(happening, Connected | Disconnected):
            self._epoch = happening.epoch
        elif isinstance(happening, Heartbeat):
            self.measure_drift(happening)
        reset = feed_reset(happening, self._epoch)
        if reset is not None:
            self.tell("oms", reset)

    def readings(self) -> tuple[tuple[str, float], ...]:
        return () if self._socket is None else feed_readings(self._socket.health(), self.drift_s)
