"""Checks of what oms and risk commit: intents, orders, fills, positions, latches."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from simulation.fuzz.oracle_base import EPSILON, LISTING_SLACK_S, OVER, TELL_S, Ground
from trading.machine import Instant, Row, Save
from trading.messages.decisions import Approved
from trading.messages.orders import QueryKind


class BookChecks(Ground):
    """I1, I2, I3, I5, I7, I8, I10, I11, I14, I15 at each commit."""

    def _intent(self, row: Row, now: Instant) -> None:
        coid = str(row["client_order_id"])
        if coid in self.intents:
            return
        self.intents[coid] = row
        self.author[coid] = self._committing.incarnation
        self.by_intent[str(row["intent_id"])] = row
        if row.get("external"):
            return
        if row.get("proposal_id"):
            self.by_proposal[str(row["proposal_id"])] = coid
        approval = str(row["approval_id"])
        if approval in self.used_approvals:
            self.broken("I14", f"approval {approval} stands behind {self.used_approvals[approval]} and {coid}")
        self.used_approvals[approval] = coid
        replaced = row.get("replaces")
        if replaced and row["purpose"] == "entry":
            old = self.by_intent.get(str(replaced))
            if old is not None:
                old_coid = str(old["client_order_id"])
                self.superseded[old_coid] = coid
                if any(not order.terminal for order in self.venue.by_client_id(old_coid)):
                    self.broken("I2", f"{coid} replaces {old_coid}, which still works at the venue")
        if row["purpose"] == "entry":
            self._entry(coid, row, now)

    def _entry(self, coid: str, row: Row, now: Instant) -> None:
        product = str(row["product_id"])
        approved = self.approvals.get(str(row["approval_id"]))
        if approved is None:
            self.broken("I14", f"entry {coid} has no approval of risk")
        else:
            self._caps(coid, approved)
            if approved.version != self._judged_version():
                self.broken(
                    "I3",
                    f"{coid} is admitted on version {approved.version} of the book, which is at {self._judged_version()}",
                )
        for key, cooldown in self.stage.store("oms").rows("cooldowns").items():
            # Rows of this very transaction are there already; a cooldown that begins now is no breach of itself.
            until_s = float(cooldown["until_s"] or 0.0)
            if cooldown["product_id"] == product and cooldown.get("live", True) and until_s > now.venue_s:
                self.broken("I7", f"{product} is entered while {key} stands for {until_s - now.venue_s:.1f} s more")
        started = self._committing.started_boot_s
        for order in self.venue.ours_open():
            listed_boot_s = self._listed_boot_s(order)
            if listed_boot_s + LISTING_SLACK_S < started and not self._known(order):
                self.broken(
                    "I5", f"{coid} is made while {order.client_order_id}, listed before this oms began, is not adopted"
                )
        if self.lost_at is not None:
            for kind in (QueryKind.ORDERS, QueryKind.BALANCES):
                if self.answered.get(kind, -1.0) < self.lost_at:
                    self.broken("I11", f"{coid} is made after the store was lost and before {kind} was answered")

    def _caps(self, coid: str, approved: Approved) -> None:
        """I3 by the ledger: what is held, works, is unknown or under way, and this one, within every cap of the approval."""
        caps = approved.caps
        marks = dict(caps.marks)
        theme = {p: (t, r) for p, t, r in caps.groups}
        usd: dict[str, Decimal] = {}
        for product in self.venue.engine.products:
            held = max(Decimal(0), self._held_with_row(product))
            usd[product] = held * marks.get(product, Decimal(0))
        now_s, boot_s = self.venue.now_s, self.stage.boot_s
        for other, intent in self.intents.items():
            if intent["purpose"] != "entry" or intent.get("external"):
                continue
            product = str(intent["product_id"])
            size, limit = Decimal(str(intent["base_size"])), Decimal(str(intent["limit_price"]))
            orders = self.venue.by_client_id(other)
            if other == coid:
                leaves = size
            elif orders:
                leaves = sum((o.leaves for o in orders if not o.terminal), Decimal(0))
            else:
                end_s = float(intent["end_time_s"] or 0.0)
                arrival = self.venue.in_flight.get(other)
                arrives = arrival is not None and (not end_s or now_s + (arrival - boot_s) * self.stage.speed < end_s)
                leaves = size if arrives else Decimal(0)
            price = max(limit, marks.get(product, limit))
            usd[product] = usd.get(product, Decimal(0)) + leaves * price * (1 + caps.fee_rate)
        for scope, key, limit in caps.caps_usd:
            if scope == "symbol":
                total = usd.get(key, Decimal(0))
            elif scope == "theme":
                total = sum((v for p, v in usd.items() if theme.get(p, ("", ""))[0] == key), Decimal(0))
            elif scope == "tier":
                total = sum((v for p, v in usd.items() if theme.get(p, ("", ""))[1] == key), Decimal(0))
            else:
                total = sum(usd.values(), Decimal(0))
            if total > limit + EPSILON:
                self.broken(
                    "I3", f"with {coid} {scope} {key or 'account'} stands at {total:.2f} USD, its cap is {limit:.2f}"
                )

    def _judged_version(self) -> tuple[tuple[int, int], int]:
        """The version that this handle found: it raises n once, with the intent."""
        oms: Any = self._committing.machine
        incarnation, n = oms.desk.version
        return incarnation, n - 1

    def _order_row(self, row: Row, now: Instant) -> None:
        coid = str(row["client_order_id"])
        status = str(row["status"])
        if status in OVER:
            self._released(coid, status)
        elif coid not in self.cancel_since and row.get("cancel_reason") and row.get("venue_order_id"):
            self.cancel_since[coid] = now.boot_s
            self.owe(now.boot_s + TELL_S + 0.5, lambda: self._cancel_due(coid))

    def _released(self, coid: str, status: str) -> None:
        """A reservation is released by a proved end only: nothing of it works at the venue or is on its way there."""
        for order in self.venue.by_client_id(coid):
            if not order.terminal:
                self.broken("I3", f"{coid} is {status} in the book, its reservation released, and works at the venue")
            elif order.filled_size and status in ("not_placed", "rejected"):
                self.broken("I8", f"{coid} is {status} in the book and filled {order.filled_size} at the venue")
        arrival = self.venue.in_flight.get(coid)
        row = self.intents.get(coid)
        if arrival is None or row is None or arrival not in self.venue.will_place:
            return
        end_s = float(row["end_time_s"] or 0.0)
        arrives_s = self.venue.now_s + (arrival - self.stage.boot_s) * self.stage.speed
        if end_s and arrives_s < end_s:
            self.broken("I3", f"{coid} is {status} in the book and its request is still on its way to the venue")

    def _cancel_due(self, coid: str) -> None:
        row = self.stage.store("oms").rows("orders").get(coid)
        if row is None or str(row["status"]) in OVER:
            return
        told = any(coid in fingerprint for fingerprint in self.told)
        if told:
            return
        since = self._since("oms")
        wait = max(self.cancel_since[coid], since) + TELL_S + 0.5
        if since == float("inf") or wait > self.stage.boot_s:
            # A person cannot be told by what is down: the 30 s count from when it works.
            self.owe(
                max(self.stage.boot_s + 1.0, min(wait, self.stage.boot_s + TELL_S)), lambda: self._cancel_due(coid)
            )
            return
        self.broken(
            "I15",
            f"cancel of {coid} was asked {self.stage.boot_s - self.cancel_since[coid]:.0f} s ago; not over, nobody told",
        )

    def _fill_row(self, key: str, row: Row) -> None:
        kind = str(row.get("kind") or "FILL")
        if kind not in ("FILL", "REVERSAL", "CORRECTION"):
            return
        fills = [
            f
            for f in self.venue.engine.fill_list
            if f.entry_id == row.get("entry_id") and f.trade_id == row.get("trade_id")
        ]
        trade = (str(row.get("entry_id")), str(row.get("trade_id")))
        other = self.booked.setdefault(trade, key)
        if other != key:
            self.broken("I8", f"trade {trade[1]} is booked twice, as {other} and as {key}")
        if len(fills) != 1:
            self.broken("I8", f"fill {key} is booked and the ledger has {len(fills)} of it")
        elif fills[0].size != Decimal(str(row["base_size"])) or fills[0].price != Decimal(str(row["price"])):
            self.broken(
                "I8",
                f"fill {key} is booked as {row['base_size']} at {row['price']}, the ledger says {fills[0].size} at {fills[0].price}",
            )

    def _positions(self, saves: list[Save]) -> None:
        """A position is the sum of its booked fills, each once."""
        for save in saves:
            if save.table != "positions":
                continue
            total = Decimal(0)
            for row in self.stage.store("oms").rows("fills").values():
                if row.get("position_id") == save.key:
                    size = Decimal(str(row["base_size"]))
                    total += size if row["side"] == "BUY" else -size
            booked = Decimal(str(save.row["booked_size"]))
            if booked != total:
                self.broken("I8", f"position {save.key} is booked as {booked}, its fills sum up to {total}")

    def _latch(self, code: str, row: Row, now: Instant) -> None:
        before = self.latches.get(code)
        self.latches[code] = row
        if before is None or not before.get("live", True):
            return
        until = before.get("until_s")
        if until is not None and now.venue_s >= float(until):
            return
        loosened = not row.get("live", True) or (
            row.get("until_s") is not None and until is not None and float(row["until_s"] or 0) < float(until)
        )
        if loosened and not row.get("cleared_by"):
            self.broken("I10", f"latch {code} is loosened within its window")
