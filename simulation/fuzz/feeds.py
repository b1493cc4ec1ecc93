"""The feeds in the fault simulation: the real `FeedSession` as a process of the stage, behind a connection that may stall,
skip frames, garble and repeat them, or end. Frames are the venue's JSON text, as the simulated venue writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from attrs import define, evolve, frozen

from exchange.coinbase.feed_session import USER_CHANNELS, FeedSession, SessionLimits
from exchange.coinbase.feed_words import (
    BookLost,
    Connected,
    Disconnected,
    Gap,
    Happening,
    QuoteEnded,
    Reconnect,
    Resubscribe,
)
from exchange.coinbase.user_socket import feed_reset
from exchange.simulator import frames
from exchange.simulator.words import rfc3339
from simulation.process import Process
from simulation.stage import VirtualStage
from trading.machine import Effect, Effects, Incarnation, Instant, QuietMachine, Rows, Send, Wake, Woke
from trading.messages.control import Measured
from trading.messages.market import Quote
from trading.messages.orders import OrderUpdate

RETRY_S = 0.5
TICK_S = 0.5
MEASURE_S = 1.0
BEAT_S = 1.0
FRAME_FATES = ("lose", "garble", "twice", "cut")


@frozen
class Connect:
    """A feed -> its wire: open connection number `epoch`."""

    epoch: int


@frozen
class Hangup:
    """A feed -> its wire: this connection is worth nothing any more."""

    epoch: int


@frozen
class Opened:
    epoch: int


@frozen
class Closed:
    epoch: int
    reason: str


@frozen
class FrameCame:
    epoch: int
    text: str


class FeedRole(QuietMachine):
    """What the feed's socket and its actor do around a session: connect, obey what it wants, relay, measure."""

    role: ClassVar[str] = "feed"
    channels: tuple[str, ...]
    limits: SessionLimits

    def __init__(self, *, me: Incarnation, products: tuple[str, ...] = ()) -> None:
        self.me = me
        self.wanted = products
        self.session: FeedSession | None = None
        self.epoch = 0
        self.reconnects = 0
        self._measured = 0

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return [self._connect(), Wake("tick", now.boot_s + TICK_S), Wake("measure", now.boot_s + MEASURE_S)]

    def handle(self, message: object, now: Instant) -> Effects:
        session = self.session
        match message:
            case FrameCame(epoch=self.epoch, text=text) if session is not None:
                return self._act(session.receive(text, now.boot_s), now)
            case Opened(epoch=self.epoch):
                self.session = FeedSession(
                    self.wanted, self.channels, opened_boot_s=now.boot_s, epoch=self.epoch, limits=self.limits
                )
                return self.take(Connected(self.epoch), now)
            case Closed(epoch=self.epoch, reason=reason):
                return self._over(reason, now)
            case Woke(key="tick"):
                out = self._act(session.tick(now.boot_s), now) if session is not None else []
                return [*out, Wake("tick", now.boot_s + TICK_S)]
            case Woke(key="connect"):
                return (self._connect(),)
            case Woke(key="measure"):
                self._measured += 1
                told = Measured(source=self.role, n=self._measured, readings=self._readings(now), incarnation=self.me)
                return (Send("health_monitor", told), Wake("measure", now.boot_s + MEASURE_S))
        return ()

    def take(self, happening: Happening, now: Instant) -> list[Effect]:
        """What others must hear of one happening."""
        raise NotImplementedError

    def _connect(self) -> Send:
        self.epoch += 1
        return Send("io", Connect(self.epoch))

    def _act(self, happenings: list[Happening], now: Instant) -> list[Effect]:
        out: list[Effect] = []
        for happening in happenings:
            if isinstance(happening, Reconnect):
                return [*out, Send("io", Hangup(self.epoch)), *self._over(happening.reason, now)]
            if isinstance(happening, Resubscribe):
                out.append(Send("io", happening))
            else:
                out += self.take(happening, now)
        return out

    def _over(self, reason: str, now: Instant) -> list[Effect]:
        was_open, self.session = self.session is not None, None
        self.reconnects += was_open
        gone = self.take(Disconnected(self.epoch, reason, RETRY_S), now) if was_open else []
        return [*gone, Wake("connect", now.boot_s + RETRY_S)]

    def _readings(self, now: Instant) -> tuple[tuple[str, float], ...]:
        readings = [("connected", float(self.session is not None)), ("reconnects", float(self.reconnects))]
        if self.session is not None:
            readings.append(("frame_age_s", now.boot_s - self.session.alive_boot_s))
        return tuple(readings)


class UserFeed(FeedRole):
    role = "user_feed"
    channels = USER_CHANNELS
    limits = SessionLimits(silence_s_max=10.0)

    def take(self, happening: Happening, now: Instant) -> list[Effect]:  # noqa: ARG002
        told = happening if isinstance(happening, OrderUpdate) else feed_reset(happening, self.epoch)
        return [] if told is None else [Send("oms", told)]


class MarketFeed(FeedRole):
    """Quotes from level2 alone; candles, trades and the status channel are no matter of the orders' safety."""

    role = "market_feed"
    channels = ("heartbeats", "level2")
    limits = SessionLimits()

    def __init__(self, *, me: Incarnation, products: tuple[str, ...] = ()) -> None:
        super().__init__(me=me, products=products)
        self._quotes: dict[str, Quote] = {}

    def take(self, happening: Happening, now: Instant) -> list[Effect]:  # noqa: ARG002
        if isinstance(happening, Quote):
            self._quotes[happening.product_id] = happening
            return [Send("slots", happening)]
        if isinstance(
            happening, Gap | Disconnected | BookLost | QuoteEnded
        ):  # as `SlotWriter.lost`: prices stay, none of them counts as alive
            names = [happening.product_id] if isinstance(happening, BookLost | QuoteEnded) else list(self._quotes)
            lost = [evolve(self._quotes.pop(name), alive_boot_s=0.0) for name in names if name in self._quotes]
            return [Send("slots", quote) for quote in lost]
        return []


@define
class _Connection:
    process: Process
    epoch: int
    sequence: int = 0
    newest_boot_s: float = 0.0


class FeedWire:
    """The venue's end of one feed. opening: (channel, events) that a new connection gets; fate: of the next frame, or "";
    silent: whether nothing arrives now. What is not heard has its number all the same, so the next frame shows a gap.
    """

    def __init__(
        self, stage: VirtualStage, name: str, there_s: float, opening: Callable[[], Iterable[tuple[str, str]]],
        fate: Callable[[str], str], silent: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.stage, self.name, self.there_s = stage, name, there_s
        self._opening, self._fate, self._silent = opening, fate, silent
        self._connection: _Connection | None = None

    def carry_out(self, process: Process, request: object, now: Instant) -> None:  # noqa: ARG002
        match request:
            case Connect(epoch=epoch):
                self.stage.after(2 * self.there_s, lambda: self._open(process, epoch))
            case Hangup(epoch=epoch):
                if self._connection is not None and self._connection.epoch == epoch:
                    self._connection = None
            case Resubscribe():
                self._open_with()
            case _:
                raise TypeError(f"{process.role} asked its wire for {request!r}")

    def send(self, channel: str, events: str, delay_s: float = 0.0) -> None:
        """One frame to whoever is connected."""
        connection = self._connection
        if connection is None:
            return
        process, number = connection.process, connection.sequence
        if not process.alive:
            self._connection = None
            return
        connection.sequence += 1
        if self._silent():
            return
        fate = self._fate(self.name)
        if fate == "lose":
            return
        if fate == "cut":
            self._connection = None
            self.stage.answer(process, Closed(connection.epoch, "the connection was cut"))
            return
        client = '"client_id":"",' if self.name == "user" else ""
        stamp = rfc3339(self.stage.now.venue_s, 9)
        text = f'{{"channel":"{channel}",{client}"timestamp":"{stamp}","sequence_num":{number},"events":{events}}}'
        if fate == "garble":
            text = text[: len(text) // 2]
        # One connection keeps the order of its frames, however late one of them is.
        at = connection.newest_boot_s = max(self.stage.boot_s + delay_s, connection.newest_boot_s)
        for _ in range(2 if fate == "twice" else 1):
            self.stage.answer(process, FrameCame(connection.epoch, text), at)

    def _open(self, process: Process, epoch: int) -> None:
        if not process.alive:
            return
        if self._silent():
            self.stage.answer(process, Closed(epoch, "no answer"))
            return
        self._connection = _Connection(process, epoch)
        self.stage.answer(process, Opened(epoch))
        self._open_with()
        self._beat(self._connection)

    def _open_with(self) -> None:
        for channel, events in self._opening():
            self.send(channel, events)

    def _beat(self, connection: _Connection) -> None:
        if self._connection is connection:
            self.send("heartbeats", frames.heartbeat(self.stage.now.venue_s, self.stage.boot_s, user_host=True))
            self.stage.after(BEAT_S, lambda: self._beat(connection))
