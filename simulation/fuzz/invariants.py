"""The invariants of DESIGN section 6 as incremental checkers: they run after every event and believe only the oracles.

Oracles: the venue's ledger and request log, the rows that were committed, the files of run/, the processes of the
stage; for I16 the watches of exits. Each check hangs on the event that could break it (a commit, a POST that leaves, an
order that arrives, a life that begins); what has a deadline is an obligation, looked at when its time has come.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from simulation.process import Process, State
from trading.machine import Instant, Note, Save
from trading.messages.control import (
    Condition,
    KillSnapshot,
)
from trading.messages.decisions import Approved, ExitOrder, Verdict
from trading.messages.orders import OrderUpdate, PlaceOrder
from trading.values import base_currency, is_ours

if TYPE_CHECKING:
    from simulation.fuzz.world import World

from simulation.fuzz.oracle_base import BOOKED_S, EPSILON, OVER, PERMISSIONS, TOLD_S, Violation
from simulation.fuzz.oracle_book import BookChecks
from simulation.fuzz.oracle_time import TimeChecks
from simulation.fuzz.oracle_venue import VenueChecks

CASH = ("USD", "USDC")

__all__ = ["Checkers", "Violation"]


class Checkers(BookChecks, VenueChecks, TimeChecks):
    """Hangs itself on a world. `violations` grows; `look()` after every event."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.stage.observers.append(self)
        self.venue.left.append(self._left)
        self.venue.arrived.append(self._arrived)
        self.venue.answered.append(self._answered)
        self.venue.filled.append(self._sold)
        world.hooks.append(self._hook)
        self.kill_changed()

    def _hook(self, what: str) -> None:
        if what == "kill":
            self.kill_changed()
        elif what in ("lost", "adopted"):
            self.adopted = what == "adopted"
            self.lost_at = self.stage.boot_s
            self.booked.clear()
            self.by_proposal.clear()
            self.intents.clear()
            self.by_intent.clear()
        elif what == "putting back":
            self.given_before = {product: self._given(product) for product in self.world.products}
        elif what == "put back":
            self._forget_what_came_after()
        elif what.startswith("left "):
            self.left_main(int(what.split()[1]), self.stage.boot_s)

    def _forget_what_came_after(self) -> None:
        """An older copy of the book was put back: what it does not know is an order of ours without a row."""
        store = self.stage.store("oms")
        intents, fills = store.rows("intents"), set(store.rows("fills"))
        self.by_intent = {key: row for key, row in self.by_intent.items() if key in intents}
        self.forgotten |= {coid for coid, row in self.intents.items() if str(row["intent_id"]) not in intents}
        self.intents = {coid: row for coid, row in self.intents.items() if str(row["intent_id"]) in intents}
        self.by_proposal = {key: coid for key, coid in self.by_proposal.items() if coid in self.intents}
        self.used_approvals = {key: coid for key, coid in self.used_approvals.items() if coid in self.intents}
        self.booked = {trade: key for trade, key in self.booked.items() if key in fills}
        self.posts = {coid: n for coid, n in self.posts.items() if coid not in self.forgotten}

    def life(self, process: Process, what: str, now: Instant) -> None:
        role = process.role
        if what in ("ready", "continued"):
            self.works_since[role] = now.boot_s
        else:
            self.works_since.pop(role, None)
        if what == "ready":
            self.checks += 1
            others = [
                p for p in self.stage.lingering if p.role == role and p is not process and p.state is State.RUNNING
            ]
            if others:
                self.broken("I9", f"{process} is ready while {others[0]} lives")
        if what.startswith("dead"):
            children = [p for p in self.stage.processes.values() if self.stage.specs[p.role].parent == role and p.alive]
            for child in children:
                self.owe(now.boot_s + 2.0, lambda child=child: self._orphan(child, role))  # type: ignore[misc]

    def _orphan(self, child: Process, parent: str) -> None:
        if child.alive:
            self.broken("I17", f"{child} outlives its supervisor {parent} by 2 s")

    def sent(self, process: Process, role: str, message: object, now: Instant) -> None:
        if isinstance(message, Approved):
            if message.approval_id not in self.approvals:  # its repeats were judged before
                self._leases(message, now)
            # A new risk may approve the same again with a smaller size, while the first is being admitted: both are approvals.
            known = self.approvals.get(message.approval_id)
            if known is None or message.base_size >= known.base_size:
                self.approvals[message.approval_id] = message
        elif isinstance(message, PlaceOrder) and role == "gateway":
            author = self.author.get(message.client_order_id, process.incarnation)
            if author != process.incarnation:
                self.broken(
                    "I9", f"{process} sends {message.client_order_id} again, which an incarnation before it decided"
                )
        elif isinstance(message, OrderUpdate):
            oms = self.stage.processes.get("oms")
            if message.cumulative_size and oms is not None and oms.works:
                self.world.told_fills.setdefault(message.client_order_id, now.boot_s)
        elif isinstance(message, Verdict):
            coid = self.by_proposal.get(message.proposal_id)
            row = self.intents.get(coid or "")
            # What was admitted in the last moment may still be on its way to risk; what it has been told it must not deny.
            told = row is not None and now.boot_s - max(float(row["saved_boot_s"] or 0.0), self._since("oms")) > TOLD_S
            if not message.admitted and told:
                self.broken(
                    "I14", f"risk denies {message.proposal_id} ({message.code}), whose intent {coid} stands in the book"
                )
        elif isinstance(message, PERMISSIONS):
            if role == "risk":
                self.heard[process.role] = now.boot_s
            if isinstance(message, KillSnapshot):
                self._kill_told(process, message)
        elif isinstance(message, ExitOrder):
            self.sold[message.position_id] = None
            self.exit_ids[message.exit_id] = None
        elif isinstance(message, Condition) and role == "alerts" and message.active:
            self.told.setdefault(message.fingerprint, now.boot_s)

    def noted(self, process: Process, note: Note, now: Instant) -> None:
        pass

    def committed(self, process: Process, message: object, saves: list[Save], now: Instant) -> None:
        self.checks += 1
        role = process.role
        self._committing = process
        if role == "oms":
            positions = False
            for save in saves:
                if save.table == "intents":
                    self._intent(save.row, now)
                elif save.table == "orders":
                    self._order_row(save.row, now)
                elif save.table == "fills":
                    self._fill_row(save.key, save.row)
                    positions = True
                elif save.table == "positions":
                    positions = True
            if positions:
                self._positions(saves)
        elif role == "kill_switch":
            self.kill_changed(message)
        elif role == "risk":
            for save in saves:
                if save.table == "risk_latches":
                    self._latch(save.key, save.row, now)

    def left_main(self, code: int, now: float) -> None:
        """run.py has ended: exit 0 promises that nothing of ours rests and none is unknown."""
        if code != 0:
            return
        for order in self.venue.ours_open():
            self.broken("I4", f"exit 0 and {order.client_order_id} rests at the venue")
        for row in self.stage.store("oms").rows("orders").values():
            if str(row["status"]) not in OVER:
                self.broken("I4", f"exit 0 and {row.get('client_order_id')} is {row['status']} in the book")
        _ = now

    def at_rest(self) -> None:
        """After healing and time enough for every horizon: book and ledger agree to the last digit."""
        rows = self.stage.store("oms").rows("orders")
        for coid, row in rows.items():
            orders = self.venue.by_client_id(coid)
            if str(row["status"]) not in OVER and not any(not o.terminal for o in orders):
                self.broken("I18", f"{coid} is still {row['status']} in the book long after everything healed")
        booked = self.stage.store("oms").rows("fills")
        if self.lost_at is None:
            for fill in self.venue.engine.fill_list:
                if (self.stage.now.venue_s - fill.at_s) / self.stage.speed < BOOKED_S:
                    continue  # an exit by its maximum hold, say, in the last moment
                order = self.venue.engine.orders[fill.order_id]
                if is_ours(order.client_order_id, self.venue.tag) and not any(
                    r.get("trade_id") == fill.trade_id for r in booked.values()
                ):
                    self.broken("I8", f"fill {fill.trade_id} of {order.client_order_id} was never booked")
        if self.adopted and not self.world.foreign:
            self._nobodys_coins()
        if self.engaged_since is not None:
            for order in self.venue.ours_open():
                self.broken("I6", f"{order.client_order_id} rests although the kill is engaged")

    def _nobodys_coins(self) -> None:
        """After --adopt-from-venue whatever orders of ours bought is a position again, which exits can watch."""
        left = {currency: wallet.total for currency, wallet in self.venue.engine.wallets.by_currency.items()}
        for row in self.stage.store("oms").rows("positions").values():
            left[base_currency(str(row["product_id"]))] -= Decimal(str(row["booked_size"]))
        for currency, size in left.items():
            if currency not in CASH and size > EPSILON:
                self.broken("I16", f"{size} {currency} of ours are nobody's after the book was taken from the venue")
