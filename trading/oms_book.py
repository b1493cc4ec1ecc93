"""The book: intents, orders, fills, lots, positions, cooldowns, and what of it must be saved.

Every change goes through a method here, which notes the rows that changed (`changes`), the orders that were touched and
whether the version must rise (`raised`: an intent, a seen or booked fill, an end, a cooldown or ban, a flow, a position
that a person or another hand changed; not an acceptance, not a cancel on its way, not a tightened stop).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal

from attrs import evolve

from trading.ledger import Close, Fill, Folded, fold
from trading.machine import Cell, Row, Rows
from trading.messages.decisions import ExitPlan
from trading.oms_rows import (
    META_KEY,
    ORDER_EXTRAS,
    CloseRow,
    CommandRow,
    CooldownRow,
    Flow,
    LotRow,
    Meta,
    Position,
)
from trading.orders import Intent, Order
from trading.rows import from_row, to_row
from trading.values import ZERO, Purpose, Side, base_currency


class Book:
    """In memory what the rows say. Dicts keep insertion order, so that two runs of the same history are the same."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        # Of orders whose intent in memory has another horizon, since a reboot came between.
        self.as_saved: dict[str, Intent] = {}
        self.working: dict[str, None] = {}
        self.unbooked: dict[str, None] = {}
        self.by_venue_id: dict[str, str] = {}
        self.by_proposal: dict[str, str] = {}
        self.by_intent: dict[str, str] = {}
        self.approvals: set[str] = set()
        self.entry_times: deque[tuple[float, str]] = deque()
        self.reject_times: deque[float] = deque()
        self.positions: dict[str, Position] = {}
        self.open_positions: dict[str, None] = {}
        self.results_n = 0
        self.position_orders: dict[str, dict[str, None]] = {}
        self.fills: dict[str, Fill] = {}
        self.position_fills: dict[str, dict[str, Fill]] = {}
        self.lots: dict[str, LotRow] = {}
        self.closes: dict[str, CloseRow] = {}
        self.cooldowns: dict[str, CooldownRow] = {}
        self.flows: dict[str, Flow] = {}
        self.commands: dict[str, CommandRow] = {}
        self.meta = Meta()
        self.changes: dict[tuple[str, str], Row] = {}
        self.touched: dict[str, None] = {}
        self.raised = False

    # -- rows -----------------------------------------------------------------------------------------------------

    def load(self, rows: Rows) -> None:
        """From the live rows of the store. Raises ValueError that names table and key of a row that cannot be read."""

        def each(table: str) -> Iterator[tuple[str, Row]]:
            yield from rows.get(table, {}).items()

        intents = {row["client_order_id"]: from_row(Intent, row) for _, row in each("intents")}
        states = dict(each("orders"))
        for key, intent in intents.items():
            state = states.get(str(key))
            self._index(Order(intent=intent) if state is None else from_row(Order, state, intent=intent))
        for key, row in each("fills"):
            self._keep_fill(from_row(Fill, row, key=key))
        for order in sorted(self.orders.values(), key=lambda o: o.intent.saved_s):
            self._count(None, order)
        self.positions = {key: from_row(Position, row) for key, row in each("positions")}
        self.open_positions = {key: None for key, position in self.positions.items() if position.closed_s is None}
        self.lots = {key: from_row(LotRow, row) for key, row in each("lots")}
        self.closes = {key: from_row(CloseRow, row) for key, row in each("closes")}
        self.cooldowns = {key: from_row(CooldownRow, row) for key, row in each("cooldowns")}
        self.flows = {key: from_row(Flow, row) for key, row in each("flows")}
        self.commands = {key: from_row(CommandRow, row) for key, row in each("commands")}
        for _, row in each("meta"):
            self.meta = from_row(Meta, row)

    def save(self, table: str, key: str, row: dict[str, Cell], *, live: bool = True) -> None:
        row["live"] = live
        self.changes[table, key] = row

    def save_order(self, order: Order, *, live: bool = True) -> None:
        intent = to_row(order.intent)
        row = {name: intent[name] for name in ORDER_EXTRAS} | to_row(order, skip=("intent",))
        self.save("orders", order.intent.client_order_id, row, live=live)

    # -- orders ---------------------------------------------------------------------------------------------------

    def add(self, order: Order) -> None:
        """A new intent with its order: the reservation, from this commit on."""
        intent = order.intent
        self.save("intents", intent.intent_id, to_row(intent))
        self.put(order)
        self.raised = True
        position = self.positions.get(intent.position_id or "")
        if position is not None and intent.purpose is not Purpose.ENTRY:
            self.put_position(evolve(position, exit_n=position.exit_n + 1))

    def put(self, order: Order) -> None:
        """The order as it is now."""
        key = order.intent.client_order_id
        before = self.orders.get(key)
        if before == order:
            return
        self._index(order)
        self._count(before, order)
        self.save_order(order)
        self.touched[key] = None
        if before is None or order.seen_size > before.seen_size or order.status.terminal != before.status.terminal:
            self.raised = True
        if order.seen_size > ZERO and order.intent.purpose is Purpose.ENTRY and not order.intent.external:
            self._open_position(order)
        pid = order.intent.position_id
        if (
            pid
            and order.status.terminal
            and before is not None
            and not before.status.terminal
            and pid in self.positions
        ):
            ended = f"{order.status}:{order.reason}" if order.reason else str(order.status)
            self.put_position(evolve(self.positions[pid], last_exit_ended=ended))

    def _index(self, order: Order) -> None:
        intent = order.intent
        key = intent.client_order_id
        self.orders[key] = order
        self.by_intent[intent.intent_id] = key
        self.approvals.add(intent.approval_id)
        if intent.proposal_id:
            self.by_proposal[intent.proposal_id] = key
        if order.venue_order_id:
            self.by_venue_id[order.venue_order_id] = key
        position_id = self.position_of(intent)
        if position_id:
            self.position_orders.setdefault(position_id, {})[key] = None
        _mark(self.working, key, not order.status.terminal)
        _mark(self.unbooked, key, order.unbooked_size > ZERO)

    def _count(self, before: Order | None, order: Order) -> None:
        """Admissions (re-quotes exempt) and refusals, for risk's counters."""
        intent = order.intent
        if intent.external:
            return
        if before is None and intent.purpose is Purpose.ENTRY and intent.requote == 0:
            self.entry_times.append((intent.saved_s, intent.product_id))
        if order.refused and (before is None or not before.refused):
            self.reject_times.append(order.ended_s or 0.0)

    @staticmethod
    def position_of(intent: Intent) -> str | None:
        """An entry opens the position of its own intent; an order without a row belongs to none until a person adopts."""
        if intent.external:
            return None
        return intent.intent_id if intent.purpose is Purpose.ENTRY else intent.position_id

    def find(self, client_order_id: str | None, venue_order_id: str | None) -> Order | None:
        order = self.orders.get(client_order_id or "")
        if order is None and venue_order_id:
            order = self.orders.get(self.by_venue_id.get(venue_order_id, ""))
        return order

    def open_orders(self) -> list[Order]:
        """Everything not proved over."""
        return [self.orders[key] for key in self.working]

    def held(self) -> int:
        """How many positions hold something; closed ones stay in the book for a while."""
        return sum(1 for position in self.positions.values() if position.booked_size > ZERO)

    def unknown_products(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(o.intent.product_id for o in self.open_orders() if o.unknown))

    # -- fills and positions --------------------------------------------------------------------------------------

    def _open_position(self, order: Order) -> None:
        intent = order.intent
        if intent.intent_id in self.positions:
            return
        self.put_position(
            Position(
                position_id=intent.intent_id,
                product_id=intent.product_id,
                strategy=intent.strategy,
                opened_s=order.updated_s,
                entry_price=order.seen_price if order.seen_price > ZERO else intent.limit_price,
                stop_pct=intent.stop_pct or ZERO,
                target_pct=intent.target_pct or ZERO,
                trailing_pct=intent.trailing_pct,
                hold_s_max=intent.hold_s_max or 0.0,
            )
        )

    def put_position(self, position: Position) -> None:
        before = self.positions.get(position.position_id)
        if before != position:
            _mark(self.open_positions, position.position_id, position.closed_s is None)
            if before is None or before.outcome != position.outcome:
                self.results_n += 1
            self.positions[position.position_id] = position
            self.save("positions", position.position_id, to_row(position))

    def adopt_position(
        self, position_id: str, product_id: str, plan: ExitPlan, by: str, price: Decimal, at_s: float
    ) -> None:
        """A position that a person gave to the bot; its size comes by an ADOPTED fill."""
        self.put_position(
            Position(
                position_id=position_id,
                product_id=product_id,
                strategy="adopted",
                opened_s=at_s,
                entry_price=price,
                stop_pct=plan.stop_pct,
                target_pct=plan.target_pct,
                trailing_pct=plan.trailing_pct,
                hold_s_max=plan.hold_s_max,
                adopted_by=by,
            )
        )

    def _keep_fill(self, fill: Fill) -> None:
        self.fills[fill.key] = fill
        if fill.position_id:
            self.position_fills.setdefault(fill.position_id, {})[fill.key] = fill

    def book_fill(self, fill: Fill) -> None:
        """A trade that is not booked yet: fact, cash, lots, realised result."""
        self._keep_fill(fill)
        self.save("fills", fill.key, to_row(fill, skip=("key",)))
        self.put_meta(evolve(self.meta, cash_usd=self.meta.cash_usd + fill.cash_usd))
        self.raised = True
        if fill.position_id and fill.position_id in self.positions:
            self.refold(fill.position_id)

    def refold(self, position_id: str) -> None:
        """Fold the position's fills anew: a late fill may change what an earlier sale realised."""
        folded = fold(self.position_fills.get(position_id, {}).values())
        position = self.positions[position_id]
        self.put_position(
            evolve(
                position,
                booked_size=folded.size,
                average_price=folded.average_price,
                cost_usd=folded.cost_usd,
                fees_usd=folded.fees_usd,
                realised_usd=folded.realised_usd,
                bought_size=folded.bought_size,
                sold_size=folded.sold_size,
                short_size=folded.short_size,
            )
        )
        self._save_lots(position, folded)

    def keep_closes(self, position_id: str, product_id: str, closes: Iterable[Close]) -> None:
        """What was realised before this book began counts for the day's and the week's stop."""
        for close in closes:
            self.raised = self._keep_close(position_id, product_id, close) or self.raised

    def _keep_close(self, position_id: str, product_id: str, close: Close) -> bool:
        """Whether it is another one than before."""
        row = CloseRow(
            fill_key=close.fill_key,
            position_id=position_id,
            product_id=product_id,
            base_size=close.base_size,
            realised_usd=close.realised_usd,
            at_s=close.at_s,
        )
        if self.closes.get(row.fill_key) == row:
            return False
        self.results_n += 1
        self.closes[row.fill_key] = row
        self.save("closes", row.fill_key, to_row(row))
        return True

    def _save_lots(self, position: Position, folded: Folded) -> None:
        for lot in folded.lots:
            row = LotRow(
                fill_key=lot.fill_key,
                position_id=position.position_id,
                product_id=position.product_id,
                base_size=lot.base_size,
                left_size=lot.left_size,
                price=lot.price,
                fee_usd=lot.fee_usd,
                at_s=lot.at_s,
            )
            if self.lots.get(row.fill_key) != row:
                self.lots[row.fill_key] = row
                self.save("lots", row.fill_key, to_row(row))
        closes = {close.fill_key for close in folded.closes}
        gone = [
            key for key in self.position_fills.get(position.position_id, {}) if key in self.closes and key not in closes
        ]
        for key in gone:
            self.results_n += 1
            self.save("closes", key, to_row(self.closes.pop(key)), live=False)
        for close in folded.closes:
            self._keep_close(position.position_id, position.product_id, close)

    def seen_sizes(self, position_id: str) -> tuple[Decimal, Decimal]:
        """(bought, sold) base units that the venue showed and that are not booked yet."""
        bought = sold = ZERO
        for key in self.position_orders.get(position_id, {}):
            if key in self.unbooked:
                order = self.orders[key]
                if order.intent.side is Side.BUY:
                    bought += order.unbooked_size
                else:
                    sold += order.unbooked_size
        return bought, sold

    def exits_of(self, position_id: str) -> list[Order]:
        """Exits and flattens of a position that are not proved over."""
        return [
            self.orders[key]
            for key in self.position_orders.get(position_id, {})
            if key in self.working and self.orders[key].intent.side is Side.SELL
        ]

    def booked_by_currency(self) -> dict[str, Decimal]:
        """Base currency -> what our positions hold by booked fills."""
        held: dict[str, Decimal] = {}
        for position in (self.positions[key] for key in self.open_positions):
            if position.booked_size != ZERO:
                currency = base_currency(position.product_id)
                held[currency] = held.get(currency, ZERO) + position.booked_size
        return held

    # -- the rest -------------------------------------------------------------------------------------------------

    def put_cooldown(self, row: CooldownRow) -> None:
        """The longer of two of one kind stands."""
        key = f"{row.product_id}:{row.kind}"
        before = self.cooldowns.get(key)
        if before is not None and before.until_s >= row.until_s and row.kind != "ban":
            return
        self.cooldowns[key] = row
        self.save("cooldowns", key, to_row(row))
        self.raised = True

    def end_cooldown(self, product_id: str, kind: str) -> bool:
        row = self.cooldowns.pop(f"{product_id}:{kind}", None)
        if row is None:
            return False
        self.save("cooldowns", f"{product_id}:{kind}", to_row(row), live=False)
        self.raised = True
        return True

    def put_flow(self, flow: Flow) -> None:
        self.flows[flow.flow_id] = flow
        self.save("flows", flow.flow_id, to_row(flow))
        kind = "adopted_usd" if flow.kind == "adoption" else "flows_usd"
        self.put_meta(evolve(self.meta, **{kind: getattr(self.meta, kind) + flow.usd}))
        self.raised = True

    def put_command(self, row: CommandRow) -> None:
        self.commands[row.command_id] = row
        self.save("commands", row.command_id, to_row(row))

    def put_meta(self, meta: Meta) -> None:
        if meta != self.meta:
            self.meta = meta
            self.save("meta", META_KEY, to_row(meta))

    def begin(self, rebuilt_boot_s: float | None, *, adopting: bool, begun_by: str) -> None:
        """The first row of an empty store: before it nothing has left, so that it tells a new book from a lost one."""
        self.meta = evolve(self.meta, rebuilt_boot_s=rebuilt_boot_s, adopting=adopting, begun_by=begun_by)
        self.save("meta", META_KEY, to_row(self.meta))

    def expected_quote(self) -> Decimal | None:
        """What the quote balance should be: the last accepted one plus the cash of fills booked since."""
        base = self.meta.base_quote_usd
        return None if base is None else base + self.meta.cash_usd - self.meta.base_cash_usd


def _mark(keys: dict[str, None], key: str, present: bool) -> None:
    if present:
        keys[key] = None
    else:
        keys.pop(key, None)
