"""How the virtual stage carries mail, timers, market data and effects; lives and deaths are in stage.py."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from simulation.clockwork import CALL, MAIL, WOKE, Clockwork
from simulation.process import Crash, Process, State
from simulation.store import FactConflictError
from simulation.trace import effect_text, text_of
from trading.machine import Effect, Effects, Instant, Note, Save, Send, Wake, Woke
from trading.messages.control import Condition, Drain, Drained
from trading.messages.market import Bar, Quote

Boundary = Callable[[Process, object, tuple[Effect, ...]], Crash | None]
MailFate = Callable[[Process, str, object], tuple[float, ...]]


class Observer(Protocol):
    """Hears what happened, after it happened; checkers and reports are observers."""

    def committed(self, process: Process, message: object, saves: list[Save], now: Instant) -> None: ...
    def sent(self, process: Process, role: str, message: object, now: Instant) -> None: ...
    def noted(self, process: Process, note: Note, now: Instant) -> None: ...
    def life(self, process: Process, what: str, now: Instant) -> None: ...


class Carrier(Clockwork):
    """Delivers to machines and carries out what they want."""

    def __init__(
        self, *, seed: int, venue_s: float, boot_s: float, speed: float, latency_s: float, trace: bool, bars_kept: int
    ) -> None:
        super().__init__(seed=seed, venue_s=venue_s, boot_s=boot_s, speed=speed)
        self.latency_s = latency_s
        self.trace: list[str] | None = [] if trace else None
        self.counts: Counter[str] = Counter()
        self.deliveries = 0
        self.observers: list[Observer] = []
        self.boundary: Boundary | None = None
        self.mail_fate: MailFate | None = None
        self.failed: Callable[[Process, object, Exception], None] | None = None
        self.save_first = True  # False, and `incarnation_check`: protections that the fault simulation takes out
        self.incarnation_check = True
        self.processes: dict[str, Process] = {}
        self.slots: dict[str, Quote] = {}
        self.bars: dict[str, deque[Bar]] = {}
        self._bars_kept = bars_kept
        self._readers: dict[str, list[Process]] = {}

    def end(self, process: Process, reason: str) -> None:
        raise NotImplementedError

    # -- mail, timers, market -----------------------------------------------------------------------------------

    def post(self, role: str, message: object, delay_s: float = 0.0) -> None:
        """Mail from outside (operator, test) to whatever process the role has when it arrives."""

        def arrive() -> None:
            process = self.processes.get(role)
            if process is None or not process.alive:
                self.counts["mail to nobody"] += 1
            else:
                self._arrive(process, message, None)

        self.after(delay_s, arrive)

    def _arrive(self, process: Process, message: object, sender: object) -> None:
        if not process.alive:
            self.counts["mail to the dead"] += 1
            return
        if process.state is State.PARKED and not process.stopped:
            self.counts["mail to the parked"] += 1
            if isinstance(message, Drain):
                self._send(process, "main", Drained(run_number=message.run_number, role=process.role, clean=False))
            return
        if process.stopped or process.blocked or process.state is not State.RUNNING:
            process.mailbox.append(message)
            return
        if isinstance(sender, Process) and self.incarnation_check:
            known = process.view.get(sender.role)
            if known is not None and known.incarnation > sender.incarnation:
                self.counts["mail of an old incarnation"] += 1
                return
        if process.dirty or process.bars:
            self._market(process)
            if not process.alive:
                self.counts["mail to the dead"] += 1
                return
        self.deliveries += 1
        now = self.now_of(process) if self.distrusted else self.now
        self._guard(process, process.machine.handle, message, now)

    def _ring(self, process: Process, key: str, generation: int) -> None:
        if _stale(process, key, generation):
            return
        if process.stopped or process.blocked:
            process.mailbox.append(Woke(key, generation))
            return
        if process.dirty or process.bars:
            self._market(process)
            if _stale(process, key, generation):  # what the quote did may have set the timer anew
                return
        del process.timers[key]
        self.deliveries += 1
        now = self.now_of(process) if self.distrusted else self.now
        woke = Woke(key, generation)
        self._guard(process, process.machine.handle, woke, now)

    def _drain_mailbox(self, process: Process) -> None:
        while process.mailbox and process.works:
            message = process.mailbox.popleft()
            if isinstance(message, Woke):
                self._ring(process, message.key, message.generation)
            else:
                self._arrive(process, message, None)
        if process.works and process.bell:
            self._market(process)

    def put_quote(self, quote: Quote) -> None:
        """The feed wrote a slot: machines with a bell hear it now, the others before their next handle."""
        self.slots[quote.product_id] = quote
        readers = self._readers.get(quote.product_id)
        if not readers:
            return
        now = self.now
        for process in tuple(readers):
            if process.bell and not process.stopped and not process.dirty and not self.distrusted:
                try:
                    effects = process.on_quote(quote, now)
                except Exception as error:
                    self._raised(process, quote, error)
                    continue
                if effects:
                    self._carry_out(process, quote, effects, now)
            else:
                process.dirty[quote.product_id] = None
                if process.bell and not process.stopped:
                    self._market(process)

    def put_bar(self, bar: Bar) -> None:
        """A closed bar, numbered by the feed; a stopped process gets it when it goes on."""
        if self._bars_kept:
            kept = self.bars.get(bar.product_id)
            if kept is None:
                kept = self.bars[bar.product_id] = deque(maxlen=self._bars_kept)
            kept.append(bar)
        readers = self._readers.get(bar.product_id)
        if not readers:
            return
        now = self.now
        for process in tuple(readers):
            if process.stopped or process.bars or self.distrusted:
                process.bars.append(bar)
                if not process.stopped:
                    self._market(process)
                continue
            try:
                effects = process.on_bar(bar, now)
            except Exception as error:
                self._raised(process, bar, error)
                continue
            if effects:
                self._carry_out(process, bar, effects, now)

    def _market(self, process: Process) -> None:
        """Bars that waited, in order; then each declared slot that changed, in product order."""
        now = self.now_of(process)
        while process.bars and process.works:
            bar = process.bars.popleft()
            self._guard(process, process.machine.on_bar, bar, now)
        for product_id in sorted(process.dirty):
            if not process.works:
                return
            process.dirty.pop(product_id, None)
            quote = self.slots[product_id]
            self._guard(process, process.machine.on_quote, quote, now)

    def _subscribe(self, process: Process) -> None:
        wanted = process.machine.products()
        if wanted is process.products or wanted == process.products:
            return
        self._unsubscribe(process)
        fresh = [product_id for product_id in wanted if product_id not in process.products]
        process.products = tuple(wanted)
        for product_id in process.products:
            self._readers.setdefault(product_id, []).append(process)
        for product_id in fresh:
            if product_id in self.slots:
                process.dirty[product_id] = None

    def _unsubscribe(self, process: Process) -> None:
        for product_id in process.products:
            readers = self._readers.get(product_id, [])
            if process in readers:
                readers.remove(process)

    # -- effects ------------------------------------------------------------------------------------------------

    def _guard(self, process: Process, call: Callable[[Any, Instant], Effects], message: object, now: Instant) -> bool:
        """Run one call of a machine and carry out its effects; False when the process died of it."""
        try:
            effects = call(message, now)
        except Exception as error:
            self._raised(process, message, error)
            return False
        self._carry_out(process, message, effects, now)
        return process.alive

    def _raised(self, process: Process, message: object, error: Exception) -> None:
        if self.failed is None:
            raise error
        self.failed(process, message, error)
        self.end(process, f"raised {error!r}")

    def _carry_out(self, process: Process, message: object, effects: Effects, now: Instant) -> None:
        done = effects if isinstance(effects, tuple) else tuple(effects)
        if self.trace is not None:
            self._write(process, message, done)
        crash = self.boundary(process, message, done) if self.boundary is not None else None
        if crash is not None and not crash.committed:
            if not self.save_first:
                self._send_all(process, [effect for effect in done if type(effect) is Send])
            self.end(process, "crashed before the commit")
            return
        if done:
            saves: list[Save] = []
            sends: list[Send] = []
            wakes: list[Wake] = []
            for effect in done:
                kind = type(effect)
                if kind is Save:
                    saves.append(effect)  # type: ignore[arg-type]
                elif kind is Send:
                    sends.append(effect)  # type: ignore[arg-type]
                elif kind is Wake:
                    wakes.append(effect)  # type: ignore[arg-type]
                elif kind is Note:
                    for observer in self.observers:
                        observer.noted(process, effect, now)  # type: ignore[arg-type]
                else:
                    raise TypeError(f"{process.role} returned {effect!r}, which is none of Save, Send, Wake, Note")
            if not self.save_first:
                self._send_all(process, sends if crash is None else crash.lets_out(sends))
            if saves:
                try:
                    process.store.commit(saves)
                except (OSError, FactConflictError) as error:
                    if process.store.patient and isinstance(error, OSError):
                        self._try_again(process, message, done, error)
                        return
                    if isinstance(error, FactConflictError) and self.failed is not None:
                        self.failed(process, message, error)
                    elif isinstance(error, FactConflictError):
                        raise
                    self.end(process, f"commit failed: {error}")
                    return
                for observer in self.observers:
                    observer.committed(process, message, saves, now)
            if self.save_first:
                self._send_all(process, sends if crash is None else crash.lets_out(sends))
            if crash is None:
                for wake in wakes:
                    self._wake(process, wake)
        if crash is not None:
            self.end(process, "crashed after the commit")
            return
        if process.state is State.RUNNING:
            self._subscribe(process)

    def _try_again(self, process: Process, message: object, effects: tuple[Effect, ...], error: OSError) -> None:
        """A patient store: the process does nothing else until its commit succeeds, and says so each second."""
        process.blocked = True
        text = f"{process.role} cannot save yet: {error}"
        self._send(
            process, "alerts", Condition(fingerprint=f"store:{process.role}", level="critical", active=True, text=text)
        )

        def again() -> None:
            if process.alive:
                process.blocked = False
                self._carry_out(process, message, effects, self.now_of(process))
                if not process.blocked:
                    self._drain_mailbox(process)

        self._push(self.boot_s + 1.0, CALL, None, again, None)

    def _send_all(self, process: Process, sends: list[Send]) -> None:
        for send in sends:
            self._send(process, send.role, send.message)

    def _send(self, process: Process, role: str, message: object) -> None:
        now = self.now
        for observer in self.observers:
            observer.sent(process, role, message, now)
        receiver = process.view.get(role)
        if receiver is not None:
            arrivals = process.arrivals
            for delay_s in (self.latency_s,) if self.mail_fate is None else self.mail_fate(process, role, message):
                arrivals[role] = at = max(self.boot_s + delay_s, arrivals.get(role, 0.0))
                self._push(at, MAIL, receiver, message, process)
        elif role == "io":
            if process.shell is None:
                self.counts["io without a shell"] += 1
            else:
                process.shell.carry_out(process, message, now)
        elif role == "slots":
            self.put_quote(message)  # type: ignore[arg-type]
        elif role == "bars":
            self.put_bar(message)  # type: ignore[arg-type]
        else:
            self.counts["unknown role"] += 1

    def _wake(self, process: Process, wake: Wake) -> None:
        if wake.at_boot_s is None:
            process.timers.pop(wake.key, None)
            return
        process.generation += 1
        process.timers[wake.key] = (process.generation, wake.at_boot_s)
        self._push(wake.at_boot_s, WOKE, process, wake.key, process.generation)

    # -- trace --------------------------------------------------------------------------------------------------

    def _write(self, process: Process, message: object, effects: tuple[Effect, ...]) -> None:
        assert self.trace is not None
        head = f"{self.boot_s:.6f} {process.role}"
        self.trace.append(f"{head} <- {text_of(message)}")
        self.trace.extend(f"{head}    {effect_text(effect)}" for effect in effects)

    def _life(self, process: Process, what: str) -> None:
        self.counts[what.split(" ", maxsplit=1)[0]] += 1
        if self.trace is not None:
            self.trace.append(f"{self.boot_s:.6f} {process.role} == {what}")
        for observer in self.observers:
            observer.life(process, what, self.now)


def _stale(process: Process, key: str, generation: int) -> bool:
    timer = process.timers.get(key)
    return timer is None or timer[0] != generation or not process.alive
