"""The venue while it runs: engine, market, candles, journal and faults around one clock.

`pulse` moves the street step by step and is all the market there is; requests arrive between two pulses and call the
engine through `act`, which commits what changed before the answer leaves. Sockets listen through the `Listener` port.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import fields

from exchange.simulator.candles import Candles
from exchange.simulator.clock import VenueClock, boot_s
from exchange.simulator.faults import Faults, Rule
from exchange.simulator.journal import Journal
from exchange.simulator.keys import ApiKey, Doorman
from exchange.simulator.limits import Limits
from exchange.simulator.market import Market, Tick
from exchange.simulator.matching import Venue
from exchange.simulator.products import FLAGS
from exchange.simulator.settings import Filled, OrderChanged, Settings
from exchange.simulator.status_page import StatusPage
from exchange.simulator.words import plain, rfc3339, rounded

T = TypeVar("T")
STEPS_CAUGHT_UP = 16
"""A late pulse makes up for at most so many steps; what was missed beyond is the path's own bars."""
TRADES_KEPT = 1000
BACKFILL_STEPS = 200
BACKFILL_TICKS_MAX = 2000
STATS_FRESH_S = 5.0
SETTINGS = tuple(attribute.name for attribute in fields(Settings))
REAL_TIME = ("pending_s", "cancel_s", "settle_s", "listing_lag_s", "client_id_retention_s")
LIMITS = ("private_per_s", "public_per_s", "connections_per_s")


class Listener(Protocol):
    """Who tells the sockets."""

    def traded(self, product_id: str, trades: list[dict[str, str]]) -> None: ...
    def order_changed(self, order: dict[str, Any]) -> None: ...
    def products_changed(self) -> None: ...


class Running:
    def __init__(
        self, *, market: Market, clock: VenueClock, venue: Venue, candles: Candles, journal: Journal, keys: list[ApiKey]
    ) -> None:
        self.market = market
        self.clock = clock
        self.venue = venue
        self.candles = candles
        self.journal = journal
        self.keys = keys
        self.doorman = Doorman({key.name: key for key in keys})
        self.faults = Faults()
        self.limits = Limits()
        self.status_page = StatusPage()
        self.listener: Listener | None = None
        self.street_ids = [product.product_id for product in market.products()]
        self.trades: dict[str, deque[dict[str, str]]] = {name: deque(maxlen=TRADES_KEPT) for name in self.street_ids}
        self.ticks: dict[str, Tick] = {}
        self.in_flight: dict[int, dict[str, Any]] = {}
        self.arrivals = journal.request_count
        self.started_boot_s = boot_s()
        self._stepped = 0
        self._trade_number = int(clock.t0_s * 100)
        self._stats: dict[str, tuple[float, dict[str, str]]] = {}
        self._saved_s = 0.0

    def now(self) -> float:
        return self.clock.now()

    def backfill_trades(self) -> None:
        """The last prints before the venue began, so that nobody meets a market that never traded."""
        steps = min(BACKFILL_STEPS, BACKFILL_TICKS_MAX // max(1, len(self.street_ids)))
        now = int(self.now() / self.market.step_s)
        for product_id in self.street_ids:
            book = self.venue.books[product_id]
            for step in range(now - steps, now):
                tick = self.market.tick(product_id, step)
                for traded in tick.prints if tick is not None else ():
                    at_s = step * self.market.step_s
                    self.trades[product_id].append(
                        self._row(product_id, traded.price, traded.size, traded.maker_side, at_s)
                    )
                    book.last = traded.price

    # --- market --------------------------------------------------------------------------------------------------------

    def pulse(self) -> None:
        """Bring street and engine up to venue time; tell the sockets; commit."""
        now_s = self.now()
        self.apply_faults()
        self._market_to(now_s)
        self.journal.commit(self.venue, now_s)
        if abs(now_s - self._saved_s) > self.clock.speed:
            self._saved_s = now_s
            self.journal.set_meta(venue_s=repr(now_s))
            self.journal.save_bars(self.candles)
            self.journal.save_fault_log(self.faults.log)

    def _market_to(self, now_s: float) -> None:
        """Let the street take every step up to now, so that nothing is matched in the past of what it meets."""
        target = int(now_s / self.market.step_s)
        if target > self._stepped:
            for step in range(max(self._stepped + 1, target - STEPS_CAUGHT_UP), target + 1):
                for product_id in self.street_ids:
                    self._step(product_id, step)
            self._stepped = target
        self.venue.advance(now_s)
        self.drain(prints=True)

    def _step(self, product_id: str, step: int) -> None:
        venue = self.venue
        # A halted product is silent: no prints, and its last quote stands.
        tick = None if venue.products[product_id].halted else self.market.tick(product_id, step)
        if tick is None:
            return
        at_s = step * self.market.step_s
        told = []
        for traded in tick.prints:
            venue.market_trade(product_id, traded.price, traded.size, traded.maker_side, at_s)
            told.append(self._trade(product_id, traded.price, traded.size, traded.maker_side, at_s))
        if told:
            self.drain(prints=False)
            if self.listener:
                self.listener.traded(product_id, told)
        depth = partial(self.market.depth, product_id, step, tick)
        venue.market_quote(product_id, tick.bid, tick.ask, tick.bid_size, tick.ask_size, at_s, depth)
        self.ticks[product_id] = tick

    def _trade(self, product_id: str, price: Decimal, size: Decimal, side: str, at_s: float) -> dict[str, str]:
        self.candles.trade(product_id, float(price), float(size), at_s)
        row = self._row(product_id, price, size, side, at_s)
        self.trades[product_id].append(row)
        return row

    def _row(self, product_id: str, price: Decimal, size: Decimal, side: str, at_s: float) -> dict[str, str]:
        self._trade_number += 1
        return {
            "trade_id": str(self._trade_number),
            "product_id": product_id,
            "price": plain(price),
            "size": plain(size),
            "time": rfc3339(at_s),
            "side": side,
        }

    def drain(self, *, prints: bool) -> None:
        """Pass the engine's events on. `prints`: our fills are trades of their own (they did not answer a street print)."""
        for event in self.venue.events():
            if isinstance(event, OrderChanged):
                if self.listener:
                    self.listener.order_changed(event.order)
            elif isinstance(event, Filled) and prints:
                fill = event.fill
                book_id = self.venue.products[fill.product_id].book_id
                self.venue.books[book_id].last = fill.price
                row = self._trade(book_id, fill.price, fill.size, event.maker_side, event.at_s)
                if self.listener:
                    self.listener.traded(book_id, [row])

    def act(self, what: Callable[[float], T]) -> T:
        """Ask the engine something at venue time and commit what it changed before the answer leaves."""
        now_s = self.now()
        self._market_to(now_s)
        answer = what(now_s)
        self.drain(prints=True)
        self.journal.commit(self.venue, now_s)
        return answer

    # --- what products say ---------------------------------------------------------------------------------------------

    def last_price(self, product_id: str) -> Decimal | None:
        book = self.venue.book(product_id)
        return book.last if book.last is not None else book.bid

    def stats(self, product_id: str) -> dict[str, str]:
        """Price and 24-hour numbers of a product as text; the numbers are at most 5 real seconds old."""
        book_id = self.venue.products[product_id].book_id
        real = boot_s()
        known = self._stats.get(book_id)
        if known is None or real - known[0] > STATS_FRESH_S:
            known = self._stats[book_id] = (real, self._day_stats(book_id))
        last = self.last_price(product_id)
        price = plain(last) if last is not None else ""
        found = {**known[1], "price": price}
        if price and float(found["open_24h"]):
            change = (float(price) / float(found["open_24h"]) - 1) * 100
            found["price_percentage_change_24h"] = f"{change:.14f}"
            for name, worse in (("high_24h", max), ("low_24h", min)):
                found[name] = plain(worse(Decimal(found[name]), Decimal(price)))
        return found

    def _day_stats(self, book_id: str) -> dict[str, str]:
        now_s = self.now()
        opened, high, low, volume = self.candles.day(book_id, now_s)
        product = self.venue.products[book_id]
        digits = max(0, -int(product.price_increment.normalize().as_tuple().exponent))
        mid = (high + low) / 2

        def money(value: float) -> str:
            return rounded(Decimal(repr(value)), digits)

        return {
            "open_24h": money(opened),
            "high_24h": money(high),
            "low_24h": money(low),
            "volume_24h": rounded(Decimal(repr(volume)), 8),
            "volume_percentage_change_24h": "0",
            "approximate_quote_24h_volume": rounded(Decimal(repr(volume * mid)), 2),
        }

    # --- faults of the venue -------------------------------------------------------------------------------------------

    def apply_faults(self) -> None:
        """Begin and end the faults that change the venue itself."""
        if not self.faults.rules:
            return
        real = boot_s()
        begin, end = self.faults.due(real)
        for rule in end:
            self._undo(rule)
            self.faults.note(rule, self.now(), real, "ended")
        for rule in begin:
            self._apply(rule)
            self.faults.note(rule, self.now(), real, "began")
        if end or begin:
            self.faults.tidy(real)

    def _apply(self, rule: Rule) -> None:
        spec = rule.spec
        rule.applied = True
        if rule.kind == "setting":
            owner = self._owner(spec["name"])
            rule.undo = [(spec["name"], getattr(owner, spec["name"]))]
            setattr(owner, spec["name"], self._scaled(spec["name"], setting_value(spec["name"], spec["value"])))
        elif rule.kind == "product":
            product = self.venue.products[spec["product_id"]]
            for name, value in spec["flags"].items():
                rule.undo.append((name, getattr(product, name)))
                setattr(product, name, value)
            self._products_changed()
        else:
            rule.undo = [("page", self.status_page.change(spec, self.now()))]

    def _undo(self, rule: Rule) -> None:
        rule.applied = False
        rule.left = 0
        for name, value in rule.undo:
            if rule.kind == "setting":
                setattr(self._owner(name), name, value)
            elif rule.kind == "product":
                setattr(self.venue.products[rule.spec["product_id"]], name, value)
            else:
                self.status_page.restore(value)
        if rule.kind == "product":
            self._products_changed()

    def _products_changed(self) -> None:
        if self.listener:
            self.listener.products_changed()

    def _owner(self, name: str) -> Settings | Limits:
        return self.limits if name in LIMITS else self.venue.settings

    def _scaled(self, name: str, value: Any) -> Any:
        """Settings are told in real seconds and kept in venue seconds."""
        return value * self.clock.speed if name in REAL_TIME and value is not None else value

    def change_clock(self, *, advance_s: float = 0.0, speed: float | None = None) -> None:
        """Jump ahead or change the speed; real-time settings stay what they are in real seconds. Raises ValueError."""
        before = self.clock.speed
        self.clock.change(advance_s=advance_s, speed=speed)
        for name in REAL_TIME:
            value = getattr(self.venue.settings, name)
            if value is not None:
                setattr(self.venue.settings, name, value * self.clock.speed / before)
        self.pulse()

    def clear_faults(self) -> None:
        for rule in reversed(self.faults.rules):  # the latest first, so that each finds what it replaced
            if rule.applied:
                self._undo(rule)
        self.faults.rules.clear()

    def check_plan(self, plan: Any) -> None:
        """Names that only the running venue knows. Raises ValueError with a sentence."""
        rows = plan.get("faults", [plan]) if isinstance(plan, dict) else plan
        for row in rows if isinstance(rows, list) else []:
            if not isinstance(row, dict):
                continue
            if row.get("kind") == "setting":
                if row.get("name") not in (*SETTINGS, *LIMITS):
                    names = ", ".join((*SETTINGS, *LIMITS))
                    raise ValueError(f"setting {row.get('name')!r} is unknown; there are {names}")
                setting_value(row["name"], row.get("value"))
            if row.get("kind") == "product":
                if row.get("product_id") not in self.venue.products:
                    raise ValueError(f"product {row.get('product_id')!r} is not listed here")
                if unknown := set(row.get("flags") or {"": 0}) - set(FLAGS) - {"status"}:
                    raise ValueError(f"flags {sorted(unknown)} are unknown; there are {', '.join(FLAGS)}, status")


def setting_value(name: str, value: Any) -> Any:
    """The value of a matching.Settings field from JSON. Raises ValueError."""
    if name == "match_size_max":
        return None if value is None else Decimal(str(value))
    if name in ("dedupe_before_validation", "forget_refusals"):
        if not isinstance(value, bool):
            raise ValueError(f"setting {name} = {value!r} is neither true nor false")
        return value
    if name == "duplicate_answer":
        if value not in ("existing", "reject"):
            raise ValueError(f'setting {name} = {value!r} is neither "existing" nor "reject"')
        return value
    if name == "fail_reason":
        if not isinstance(value, str):
            raise ValueError(f"setting {name} = {value!r} is not a reject_reason")
        return value
    if value is None and name in ("client_id_retention_s", "open_orders_max"):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"setting {name} = {value!r} is not a number >= 0")
    return int(value) if name == "open_orders_max" else float(value)
