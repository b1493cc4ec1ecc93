"""What both feeds' shells share: no machine, a socket with a thread, happenings over a bridge, readings each second."""

from __future__ import annotations

from collections.abc import Hashable

from actors.bridge import Bridge
from actors.clock import boot_s
from actors.machine_actor import MachineActor
from actors.ports import Thinker
from exchange.coinbase.feed_socket import FeedHealth, FeedSocket
from exchange.coinbase.feed_words import Happening, Heartbeat
from exchange.slots import BellRinger
from trading.machine import Effects, Instant, QuietMachine, Rows
from trading.messages.control import Measured

MEASURE_S = 1.0
FIRST_S_MAX = 10.0
_MEASURE = "measure"
Readings = tuple[tuple[str, float], ...]


class _NoMachine(QuietMachine):
    """Feeds conflate and relay; gaps, silence and resubscription are decided by `feed_session.py` on the socket's thread."""

    role = "feed"

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return ()

    def handle(self, message: object, now: Instant) -> Effects:  # noqa: ARG002
        return ()


class FeedActor(MachineActor):
    """Subclasses make their socket in `started` and call `begin(socket)`."""

    drift_s: float | None = None
    """Venue's clock minus ours when its last heartbeat arrived, in venue seconds; None before the first."""
    _measured: int = 0
    _begun: FeedSocket | None = None
    _begun_s: float = 0.0
    _settled: bool = False

    def make_machine(self) -> Thinker:
        self.happened = Bridge(limit=50_000)
        return _NoMachine()

    def begin(self, socket: FeedSocket) -> None:
        self._begun, self._begun_s = socket, boot_s()
        self.watch(self.happened, self._drain)
        socket.start()
        self.wake_in(_MEASURE, MEASURE_S)

    def take(self, happening: Happening) -> None:
        raise NotImplementedError

    def readings(self) -> Readings:
        raise NotImplementedError

    def _drain(self) -> None:
        for happening in self.happened.drain():
            self.take(happening)

    def measure_drift(self, beat: Heartbeat) -> None:
        now = self.clock.now()
        if now.trusted:
            self.drift_s = beat.venue_s - now.venue_at(beat.received_boot_s)

    def woke(self, key: Hashable) -> None:
        if key != _MEASURE:
            super().woke(key)
            return
        self.wake_in(_MEASURE, MEASURE_S)
        # While the first connection is being made there is nothing to measure, and that is what health_monitor must hear.
        health = self._begun.health() if self._begun is not None else None
        self._settled = self._settled or bool(health and health.connected) or boot_s() - self._begun_s > FIRST_S_MAX
        self._measured += 1
        measured = Measured(
            source=self.child_id,
            n=self._measured,
            readings=self.readings() if self._settled else (),
            incarnation=self.incarnation,
        )
        self.tell("health_monitor", measured)

    def terminate(self, reason: str) -> None:  # noqa: ARG002
        if self._begun is not None:
            self._begun.stop(patience_s=0.2)


def feed_readings(health: FeedHealth, drift_s: float | None) -> Readings:
    """Ages in real seconds; what was never measured is left out, and the health monitor then says so."""
    out = [("connected", float(health.connected)), ("reconnects", float(health.reconnects))]
    if health.frame_age_s is not None:
        out.append(("frame_age_s", health.frame_age_s))
    if drift_s is not None:
        out.append(("drift_s", drift_s))
    out += [(f"{name}_count", float(number)) for name, number in sorted(health.counts.items())]
    return tuple(out)


def market_readings(health: FeedHealth, quotes: int, ringer: BellRinger, drift_s: float | None) -> Readings:
    books = [("books_known", float(health.books_known)), ("products", float(health.products))]
    rings = [("quotes", float(quotes)), ("rings", float(ringer.rung)), ("rings_refused", float(ringer.refused))]
    return (*feed_readings(health, drift_s), *books, *rings)
