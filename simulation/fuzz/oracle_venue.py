"""Checks of what leaves the host and of what arrives at the venue; and of the kill switch."""

from __future__ import annotations

from decimal import Decimal

from exchange.simulator.execution import Filled
from exchange.simulator.orders import Order
from simulation.fuzz.oracle_base import (
    EPSILON,
    KILL_CANCEL_S,
    KILL_POST_S,
    QUOTE_AGE_S_MAX,
    REQUESTS_PER_S_MAX,
    SEND_BY_S,
    Ground,
)
from simulation.fuzz.venue import Request
from simulation.process import Process, State
from trading.machine import Row
from trading.messages.control import (
    KillSnapshot,
)
from trading.messages.orders import PlaceOrder, QueryKind
from trading.values import Purpose


class VenueChecks(Ground):
    """I1, I2, I5, I6, I9, I12, I13, I14, I17 at each request and arrival."""

    def _arrived(self, order: Order, place: PlaceOrder) -> None:
        self.checks += 1
        coid = order.client_order_id
        if coid not in self.intents and coid not in self.forgotten and self.lost_at is None:
            self.broken("I1", f"{coid} is at the venue and no intent row was committed")
        if len(self.venue.by_client_id(coid)) > 1:
            self.broken("I2", f"two orders of one intent at the venue: {coid}")
        if order.time_in_force != "IMMEDIATE_OR_CANCEL" and order.end_time_s is None:
            self.broken("I5", f"{coid} may rest at the venue for ever: it carries no end_time")
        if coid in self.superseded and not order.terminal:
            self.broken("I2", f"{coid} arrives after {self.superseded[coid]} has replaced it")
        oms_row = self.stage.store("oms").rows("orders").get(coid)
        if (
            oms_row is not None
            and str(oms_row["status"]) == "not_placed"
            and place.purpose is Purpose.ENTRY
            and not order.terminal
        ):
            self.broken("I3", f"{coid} rests at the venue although its reservation was released as NOT_PLACED")

    def _left(self, request: Request) -> None:
        """Bytes leave the host."""
        self.checks += 1
        now = request.at_boot_s
        recent = self._recent
        recent.append(now)
        while recent[0] <= now - 1.0:
            recent.popleft()
        if len(recent) > REQUESTS_PER_S_MAX:
            self.broken("I13", f"{len(recent)} requests left within one second")
        for venue_order_id in request.venue_order_ids:
            self.last_cancel[venue_order_id] = now
        order = request.order
        if order is None:
            return
        coid = order.client_order_id
        self.posts[coid] = self.posts.get(coid, 0) + 1
        if self.posts[coid] > 1:
            self.broken("I2", f"{coid} is posted {self.posts[coid]} times")
        newest = self.stage.processes["gateway"]
        if newest.state is State.RUNNING and request.incarnation < newest.incarnation:
            self.broken("I9", f"an old incarnation of gateway posts {coid}")
        if order.gateway_incarnation != request.incarnation:
            self.broken("I9", f"{coid}, bound to another incarnation of gateway, is posted")
        row = self.intents.get(coid)
        decided = float(row["decided_boot_s"] or now) if row is not None else now
        if now >= decided + SEND_BY_S + 0.005:
            self.broken("I12", f"{coid} leaves {now - decided:.3f} s after its decision: its price is old")
        if order.purpose is not Purpose.FLATTEN:
            since = self.engaged_since
            if since is not None and now > since + KILL_POST_S:
                self.broken("I6", f"{order.purpose} {coid} leaves {now - since:.3f} s after the kill was engaged")
        if order.purpose is Purpose.ENTRY:
            self._entry_leaves(order, now)
        self._approved(order)

    def _entry_leaves(self, order: PlaceOrder, now: float) -> None:
        coid = order.client_order_id
        slot = self.stage.slots.get(order.body.product_id)
        age_s = now - (order.quote_received_boot_s or 0.0)
        if age_s > QUOTE_AGE_S_MAX or slot is None:
            self.broken("I12", f"entry {coid} leaves on a quote of {age_s:.1f} s")
        run = self.stage.processes["gateway"].incarnation[0]
        fences = self.world.files
        if fences.guardian_run >= run or fences.drain_run == run:
            self.broken("I4", f"entry {coid} of run {run} leaves although a fence is closed")
        beat = fences.beat
        if beat is None or now - beat.boot_s > 10.0 + 0.1:
            self.broken("I17", f"entry {coid} leaves although the beat is late")

    def _approved(self, order: PlaceOrder) -> None:
        coid = order.client_order_id
        row = self.intents.get(coid)
        if row is None:
            if self.lost_at is None:
                self.broken("I1", f"{coid} leaves and no intent row was committed")
            return
        approval = str(row["approval_id"])
        if order.purpose is Purpose.ENTRY:
            approved = self.approvals.get(approval)
            if approved is None or order.body.base_size > approved.base_size:
                self.broken("I14", f"entry {coid} is not what risk approved")
        elif order.purpose is Purpose.EXIT and (not row.get("position_id") or row["intent_id"] not in self.exit_ids):
            self.broken("I14", f"exit {coid} was ordered by nobody or reduces no position")
        elif order.purpose is Purpose.FLATTEN and not row.get("by"):
            self.broken("I14", f"flatten {coid} bears no person's name")
        if order.purpose is not Purpose.ENTRY:
            self._reduces(coid, row)

    def _reduces(self, coid: str, row: Row) -> None:
        """What exits may sell in all is what the bot holds by the ledger (foreign coins are never touched)."""
        product = str(row["product_id"])
        working = sum(
            (o.leaves for o in self.venue.ours_open() if o.side == "SELL" and o.product.product_id == product),
            Decimal(0),
        )
        held = self.venue.held_by_fills(product) + self._given(product)
        if working > held + EPSILON and self.world.foreign and not self.venue.taken:
            self.broken("I14", f"exits of {product} sell {working} of {held} held; {coid} would touch coins of others")

    def _sold(self, filled: Filled) -> None:
        fill = filled.fill
        if (
            fill.side == "SELL"
            and self.lost_at is None
            and not self.venue.taken
            and self.venue.held_by_fills(fill.product_id) + self._given(fill.product_id) < 0
        ):
            self.broken(
                "I14", f"more {fill.product_id} was sold than the bot ever bought: coins of others were touched"
            )

    def _given(self, product_id: str) -> Decimal:
        """What a person gave to the bot of the owner's coins (`ctl adopt`), by the book's rows."""
        rows = self.stage.store("oms").rows("fills").values()
        given = (r["base_size"] for r in rows if r["kind"] == "ADOPTED" and r["product_id"] == product_id)
        in_book = sum((Decimal(str(size)) for size in given), Decimal(0))
        return max(in_book, self.given_before.get(product_id, Decimal(0)))

    def _answered(self, kind: QueryKind) -> None:
        self.answered[kind] = self.stage.boot_s

    def kill_changed(self, message: object = None) -> None:
        engaged = self.world.kill_store.engaged
        now = self.stage.boot_s
        if engaged and self.engaged_since is None:
            self.engaged_since = now
            wanted = [o.order_id for o in self.venue.ours_open() if self._listed_boot_s(o) <= now]
            self.owe(now + KILL_CANCEL_S, lambda: self._kill_cancels(now, wanted))
        record = self.world.kill_store.rows("kill").get("record")
        paused = bool(record and record.get("paused"))
        self.paused_since = (self.paused_since or now) if paused else None
        if not engaged and self.engaged_since is not None:
            self.engaged_since = None
            if type(message).__name__ != "Rearm":
                self.broken("I6", f"the kill switch is disarmed by {type(message).__name__}, not by a person")

    def _kill_cancels(self, since: float, wanted: list[str]) -> None:
        if self.engaged_since != since or self._since("kill_switch") > since or self.venue.last_failure_boot_s >= since:
            return
        for venue_order_id in wanted:
            order = self.venue.engine.orders[venue_order_id]
            if not order.terminal and self.last_cancel.get(venue_order_id, -1.0) < since:
                self.broken("I6", f"no cancel of {order.client_order_id} left within {KILL_CANCEL_S} s of the kill")

    def _kill_told(self, process: Process, message: KillSnapshot) -> None:
        record = self.world.kill_store.rows("kill").get("record")
        if record is not None and record.get("engaged") and not message.engaged:
            self.broken("I6", f"{process} says not engaged while the record says engaged")
