"""Exits: every position with its plan, watched on quotes, left when stop, target, trailing stop or maximum hold say so.

Independent of symbols and of everything that only blocks entries. The plan is durable in the book (oms writes it with the
position), so that a restart arms everything again from the first snapshot; only tighter stops travel back (`Tighten`).
An exit is a command with a number: it is repeated until the book shows it, tried again with more tolerance until the
position is flat, and a person is told when it is not. Under HALTED nothing is sold and every position is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from attrs import evolve

from trading.caps import held_size
from trading.exit_prices import ExitPrices, price_of
from trading.exit_rules import (
    STICKY,
    Price,
    crash_stop,
    exit_limit,
    exit_style,
    hold_over,
    price_reason,
    trailed_stop,
    wait_after,
)
from trading.exit_watch import ExitTeller, Watch, note_of
from trading.exits_settings import ExitsSettings
from trading.machine import (
    Effect,
    Effects,
    Incarnation,
    Instant,
    PeerRestarted,
    QuietMachine,
    Rows,
    Send,
    Woke,
)
from trading.messages.book import BookPosition, BookSnapshot, Recovery
from trading.messages.control import (
    CatalogSnapshot,
    CommandDone,
    Drain,
    Drained,
    HealthSnapshot,
    KillSnapshot,
    LatchSnapshot,
    OperatorOrder,
    UniverseSnapshot,
)
from trading.messages.decisions import (
    ExitAdvice,
    ExitOrder,
    ExitRequest,
    ExitVerdict,
    Tighten,
    Values,
)
from trading.messages.market import Quote
from trading.messages.orders import Page, QueryKind
from trading.newest import Newest
from trading.product import Product
from trading.protections import Protections
from trading.publish import ConditionBoard, Jitter, Pace, jitter
from trading.risk_settings import CapSettings
from trading.trading_state import Causes, TradingState, trading_state
from trading.upkeep import Upkeep
from trading.values import ZERO, derived_id

TICK_S = 0.5
SNAPSHOTS = (BookSnapshot, KillSnapshot, UniverseSnapshot, CatalogSnapshot, LatchSnapshot)
UNKNOWN_EXIT_S = 5.0
PARTIAL = ("trim",)
KEPT: Values = (("kept_by", "book"),)


class ExitsMachine(QuietMachine):
    """tells: somebody looks on (operator, console), who hears what each position waits for."""

    role: ClassVar[str] = "exits"
    tables = ()

    def __init__(
        self,
        *,
        settings: ExitsSettings,
        me: Incarnation,
        caps: CapSettings,
        protections: Protections | None = None,
        jitter: Jitter = jitter,
        tells: bool = True,
    ) -> None:
        if protections is not None and not protections.quote_age:
            settings = evolve(settings, feed_alive_s_max=float("inf"), rest_age_s_max=float("inf"))
        self._settings = settings
        self._me = me
        self._book: BookSnapshot | None = None
        self._killed = False
        self._draining = False
        self._regime = ""
        self._regime_known = False
        self._products: dict[str, Product] = {}
        self._watches: dict[str, Watch] = {}
        self._by_product: dict[str, tuple[Watch, ...]] = {}
        self._newest = Newest()
        self._declared: tuple[str, ...] = ()
        self._board = ConditionBoard()
        self._pace = Pace(jitter, self.role, "tick", TICK_S)
        self._prices = ExitPrices(settings, self.role, me[1], self._board)
        self._teller = ExitTeller(settings, me, self._board)
        self._tells = tells
        self._upkeep = Upkeep(settings.upkeep, caps)
        self._requests: dict[str, str] = {}

    # -- the seam ------------------------------------------------------------------------------------------------

    def products(self) -> Sequence[str]:
        return self._declared

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return (self._pace.wake(now),)

    def on_quote(self, quote: Quote, now: Instant) -> Effects:
        watches = self._by_product.get(quote.product_id)
        if watches is None:
            return ()
        mid = self._prices.take(quote, now)
        if mid == 0.0:
            return ()
        top = quote.bid_f
        for watch in watches:
            # The float test is a hair wide on purpose; the decision itself is made in Decimals.
            if (
                mid <= watch.stop_f * 1.000001
                or (watch.target_f and top >= watch.target_f * 0.999999)
                or watch.position.trailing_pct is not None
                or 0.0 < watch.position.hold_until_s <= now.venue_s
                or watch.reason
            ):
                return self._look(watches, price_of(quote), now)
        return ()

    def handle(self, message: object, now: Instant) -> Effects:
        if isinstance(message, SNAPSHOTS) and self._newest.outdated(message):
            return ()
        match message:
            case BookSnapshot() if message.product_id is None:
                return self._took_book(message, now)
            case KillSnapshot():
                self._killed = message.engaged
                return self._halted(now)
            case CatalogSnapshot():
                self._products = {one.product_id: one for one in message.products}
            case UniverseSnapshot():
                return self._took_universe(message, now)
            case LatchSnapshot():
                self._upkeep.took_nav(message.nav_usd)
            case ExitVerdict():
                return self._verdict(message, now)
            case ExitAdvice():
                return self._advice(message, now)
            case ExitRequest():
                return self._requested(message.product_id, message.name, message.cause, message.command_id, now)
            case OperatorOrder(verb="exit"):
                product_id = dict(message.args).get("symbol") or dict(message.args).get("product_id") or ""
                return self._requested(product_id, message.name, message.cause, message.command_id, now)
            case Page() if message.kind is QueryKind.BEST_BID_ASK:
                self._prices.answered(message, now)
                return self._all(now)
            case Woke(key="tick"):
                return self._tick(now)
            case PeerRestarted(role="oms"):
                for watch in self._watches.values():
                    watch.sent_boot_s = -1e18
                return self._all(now)
            case Drain():
                self._draining = True
                return (Send("main", Drained(run_number=message.run_number, role=self.role, clean=True)),)
            case HealthSnapshot() | PeerRestarted() | Woke():
                pass  # breakers block entries only
        return ()

    # -- what is held --------------------------------------------------------------------------------------------

    def _took_book(self, book: BookSnapshot, now: Instant) -> Effects:
        self._book = book
        out: list[Effect] = []
        watches: dict[str, Watch] = {}
        for position in book.positions:
            if position.dust or held_size(position) <= ZERO:
                continue
            watch = self._watches.get(position.position_id)
            if watch is None:
                watch = Watch(position, position.stop_price, position.peak_price, crash_done=position.crash_tightened)
                watch.set_stop(position.stop_price)
                out.append(note_of("exit_armed", watch, (), "armed from the position that was seen"))
                if position.leaving:
                    out += self._start(watch, position.leaving, KEPT, held_size(position), now)
            else:
                out += self._ended(watch, position, now)
            watch.position = position
            watch.peak = max(watch.peak, position.peak_price)
            if position.stop_price > watch.stop:
                watch.set_stop(position.stop_price)
            watch.target_f = float(position.target_price)
            watches[position.position_id] = watch
        for position_id, watch in self._watches.items():
            if position_id not in watches:
                out += self._teller.flat(watch)
        self._watches = watches
        by_product: dict[str, list[Watch]] = {}
        for watch in watches.values():
            by_product.setdefault(watch.position.product_id, []).append(watch)
        self._by_product = {name: tuple(group) for name, group in by_product.items()}
        self._declared = tuple(sorted(by_product))
        self._upkeep.took_book(book, by_product)
        out += self._answer_requests()
        out += self._prices.hold({name: group[0].position.average_price for name, group in self._by_product.items()})
        return [*out, *self._all(now), *self._halted(now)]

    def _ended(self, watch: Watch, position: BookPosition, now: Instant) -> list[Effect]:
        """The book shows an exit that we commanded, or that one has ended without making the position flat."""
        before = watch.position
        if position.exit_n > watch.sent_n:
            watch.sent_n = -1
        ended_now = before.exits_open_size > ZERO and position.exits_open_size == ZERO
        skipped = position.exit_n > before.exit_n and position.exits_open_size == ZERO
        if not (ended_now or skipped):
            return []
        watch.tries += 1
        wait_s = wait_after(position.last_exit_ended, watch.failures, self._settings)
        watch.failures = watch.failures + 1 if wait_s else 0
        if (position.last_exit_ended or "").lower().startswith("filled"):
            # All of it was sold; the position shows it when the fill is booked.
            wait_s = self._settings.booking_s
        watch.not_before_boot_s = now.boot_s + max(wait_s, self._settings.retry_s)
        if watch.reason in PARTIAL and position.seen_size < before.seen_size:
            sold = before.seen_size - position.seen_size
            watch.wanted -= sold
            # A size is worth / price and no multiple of the increment: what is left of it may be nothing that can be sold.
            price = self._prices.last(position.product_id)
            left_usd = watch.wanted * (price.mid if price is not None else position.average_price)
            if left_usd < self._settings.upkeep.value_usd_min:
                return self._stay(watch)
        return []

    def _stay(self, watch: Watch) -> list[Effect]:
        """Nothing more is to be sold: armed again, and what people were told of it is over."""
        watch.reason, watch.values, watch.tries = "", (), 0
        return self._teller.eased(watch)

    def _state(self) -> TradingState:
        book = self._book
        causes = Causes(
            draining=self._draining or (book is not None and book.draining),
            killed=self._killed,
            recovery=book.recovery if book is not None else Recovery.RECOVERING,
            book_writable=book.writable if book is not None else False,
        )
        return trading_state(causes)[0]

    # -- deciding ------------------------------------------------------------------------------------------------

    def _all(self, now: Instant) -> list[Effect]:
        out: list[Effect] = []
        for name, watches in self._by_product.items():
            out += self._look(watches, self._prices.deciding(name, now), now)
        return out

    def _look(self, watches: tuple[Watch, ...], price: Price | None, now: Instant) -> list[Effect]:
        out: list[Effect] = []
        for watch in watches:
            if price is not None:
                self._ratchet(watch, price)
            found = (price_reason(watch.position, watch.stop, price) if price is not None else None) or hold_over(
                watch.position, now
            )
            if found is not None and (not watch.reason or watch.reason in ("target", "trim")):
                if found[0] != watch.reason:
                    out += self._start(watch, found[0], found[1], held_size(watch.position), now)
            elif found is None and watch.reason and watch.reason not in STICKY and watch.sent_n < 0:
                out += self._stay(watch)
            if watch.owed or watch.unkept:
                out += self._tighten(watch, now)
            if watch.reason:
                out += self._leave(watch, price, now)
        return out

    def _start(self, watch: Watch, reason: str, values: Values, size: Decimal, now: Instant) -> list[Effect]:
        watch.reason, watch.values, watch.wanted = reason, values, size
        watch.since_boot_s = now.boot_s
        watch.tries = watch.failures = 0
        watch.not_before_boot_s = now.boot_s
        watch.sent_n, watch.sent_boot_s = -1, -1e18
        return [note_of("exit", watch, values, reason)]

    def _leave(self, watch: Watch, price: Price | None, now: Instant) -> list[Effect]:
        """Command the next exit of this position, unless one is on its way, must wait, or may not go."""
        position, book = watch.position, self._book
        assert book is not None
        if not self._state().exits:
            return []
        settings = self._settings
        # A trim sells its part; everything else leaves wholly, whatever was bought since.
        wanted = held_size(position)
        if watch.reason in PARTIAL:
            wanted = min(watch.wanted, wanted)
        leaves = wanted - position.exits_open_size
        if leaves <= ZERO and position.unknown_exits and now.boot_s >= watch.sent_boot_s + UNKNOWN_EXIT_S:
            # An exit of unknown fate must not lock the door (protocol section 3 rule 7): ask again, oms's rule decides.
            leaves = wanted
        out = self._teller.not_flat(watch, now)
        if leaves <= ZERO or now.boot_s < watch.not_before_boot_s:
            return out
        if watch.sent_n == position.exit_n and now.boot_s < watch.sent_boot_s + settings.repeat_s:
            return out
        if price is None:
            price = self._last_resort(watch)
            if price is None:
                return out
        product = self._products.get(position.product_id)
        style = exit_style(product, position, book, price.mid, settings.dust_usd)
        blocked = {"ioc": "", "gtd": ""}.get(style, style or "no_exit")
        if blocked and blocked != watch.blocked:
            out += self._teller.restricted(watch, style, now)
        elif watch.blocked and not blocked:
            out += self._teller.unrestricted(watch)
        watch.blocked = blocked
        if not style:
            return out
        watch.sent_n, watch.sent_boot_s = position.exit_n, now.boot_s
        order = ExitOrder(
            exit_id=derived_id(position.position_id, watch.reason, position.exit_n),
            position_id=position.position_id,
            product_id=position.product_id,
            reason=watch.reason,
            values=watch.values,
            n=position.exit_n,
            base_size=leaves,
            limit_price=exit_limit(price, style, watch.tries, product, settings),
            style=style,
            quote_exchange_s=price.exchange_s,
            quote_received_boot_s=price.received_boot_s,
            valid_until_boot_s=now.boot_s + min(settings.valid_s, 2.0),
        )
        out.append(Send("oms", order))
        return out

    def _last_resort(self, watch: Watch) -> Price | None:
        """Maximum hold and a person's wish need no deciding quote, only some limit: the newest price there ever was."""
        if watch.reason not in ("max_hold", "operator"):
            return None
        return self._prices.last(watch.position.product_id)

    def _ratchet(self, watch: Watch, price: Price) -> None:
        """Peak, trailing stop and crash tightening: a stop only rises."""
        mid = price.mid
        watch.peak = max(watch.peak, mid)
        stop = max(watch.stop, trailed_stop(watch.position, watch.peak))
        if self._regime == "crash":
            if not watch.crash_done:
                stop = max(stop, crash_stop(stop, mid, self._settings))
                watch.crash_done = True
        elif self._regime_known:
            watch.crash_done = False
        if stop > watch.stop:
            watch.set_stop(stop)
            watch.owed = True

    def _tighten(self, watch: Watch, now: Instant) -> list[Effect]:
        if now.boot_s < watch.tightened_boot_s + self._settings.tighten_spacing_s:
            return []
        watch.owed = False
        watch.tightened_boot_s = now.boot_s
        tighten = Tighten(
            position_id=watch.position.position_id,
            stop_price=watch.stop,
            peak_price=watch.peak,
            leaving=watch.kept_reason,
            crash_tightened=watch.crash_done,
        )
        return [Send("oms", tighten)]

    # -- answers -------------------------------------------------------------------------------------------------

    def _verdict(self, verdict: ExitVerdict, now: Instant) -> Effects:
        watch = self._watches.get(verdict.position_id)
        if watch is None or verdict.admitted or verdict.code == "waiting":
            return ()
        watch.sent_n = -1
        watch.not_before_boot_s = (
            now.boot_s + self._settings.wait_s[min(watch.failures, len(self._settings.wait_s) - 1)]
        )
        watch.failures += 1
        if verdict.code == "dust" and watch.reason in PARTIAL:
            return self._stay(watch)  # what is left of a trim is below the venue's minimum
        if verdict.code == "nothing_to_reduce" and watch.failures < self._settings.told_after_tries:
            return ()  # the exit before this one has just filled, and its snapshot is on its way
        return (note_of(f"exit_refused:{verdict.code}", watch, verdict.values, watch.reason),)

    def _advice(self, advice: ExitAdvice, now: Instant) -> Effects:
        """A symbol may only tighten, and never to a stop at or above the newest price (that would be an order to sell)."""
        out: list[Effect] = []
        price = self._prices.deciding(advice.product_id, now)
        for watch in self._by_product.get(advice.product_id, ()):
            if advice.stop_price > watch.stop and price is not None and advice.stop_price < price.bid:
                watch.set_stop(advice.stop_price)
                watch.owed = True
                out += [note_of("stop_tightened", watch, (), advice.reason), *self._tighten(watch, now)]
        return out

    def _requested(self, product_id: str, name: str, cause: str, command_id: str, now: Instant) -> Effects:
        """Answered when the book has kept it (the operator repeats it until then), so that no death of ours forgets it."""
        watches = self._by_product.get(product_id, ())
        if not watches:
            text = f"the bot holds no {product_id or 'product'}"
            return (Send("operator", CommandDone(command_id=command_id, ok=False, text=text)),)
        out: list[Effect] = []
        for watch in watches:
            if watch.reason != "operator":
                values: Values = (("by", name), ("cause", cause))
                out += self._start(watch, "operator", values, held_size(watch.position), now)
        self._requests[command_id] = product_id
        return [*out, *self._look(watches, self._prices.deciding(product_id, now), now), *self._answer_requests()]

    def _answer_requests(self) -> list[Effect]:
        out: list[Effect] = []
        for command_id, product_id in list(self._requests.items()):
            watches = self._by_product.get(product_id, ())
            if all(watch.position.leaving == "operator" for watch in watches):
                del self._requests[command_id]
                text = f"leaving {len(watches)} position(s) of {product_id}" if watches else f"{product_id} is flat"
                if watches and not self._state().exits:
                    text += (
                        f"; kept, but {self._state().value} lets nothing be sold: it goes when exits are allowed again"
                    )
                out.append(Send("operator", CommandDone(command_id=command_id, ok=True, text=text)))
        return out

    def _took_universe(self, universe: UniverseSnapshot, now: Instant) -> Effects:
        self._regime, self._regime_known = universe.regime, universe.regime_known
        self._upkeep.took_universe(universe, self._by_product, now)
        return self._all(now) if self._regime == "crash" else ()

    # -- the clock -----------------------------------------------------------------------------------------------

    def _tick(self, now: Instant) -> Effects:
        out: list[Effect] = [self._pace.wake(now)]
        if self._watches:
            out = [*self._all(now), *self._prices.ask(self._by_product, now), *self._look_after(now), *out]
        return [*self._halted(now), *self._tell(now), *out, *self._board.repeat(now)]

    def _look_after(self, now: Instant) -> list[Effect]:
        """Trims and purges, when a round is due."""
        book = self._book
        if book is None or not self._upkeep.due(now) or not self._state().exits:
            return []
        prices = ((name, self._prices.deciding(name, now)) for name in self._by_product)
        marks = {name: price.mid for name, price in prices if price is not None}
        out: list[Effect] = []
        for reduction in self._upkeep.reductions(book, marks, self._by_product, now):
            watch = self._watches[reduction.position_id]
            if not watch.reason:
                out += self._start(watch, reduction.reason, reduction.values, reduction.size, now)
                out += self._leave(watch, self._prices.deciding(watch.position.product_id, now), now)
        return out

    def _halted(self, now: Instant) -> list[Effect]:
        return self._teller.unprotected(self._watches.values(), self._prices, now, killed=self._killed)

    def _tell(self, now: Instant) -> list[Effect]:
        if not self._tells:
            return []
        return self._teller.snapshot(self._watches.values(), self._prices, self._state().value, now)
