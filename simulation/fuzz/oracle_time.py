"""Checks that have a deadline rather than an event: looked at each second."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from simulation.fuzz.oracle_base import (
    ADOPT_S,
    ARM_S,
    GUARDIAN_S,
    LEASE_S,
    LEASE_SLACK_S,
    PAUSED_S,
    REPEAT_S,
    RESTING_S,
    STOP_S,
    Ground,
)
from trading.machine import Instant
from trading.messages.decisions import Approved


class TimeChecks(Ground):
    """I4, I5, I12, I15, I16 each second."""

    def _each_second(self, now: float) -> None:
        self.checks += 1
        quiet_since = max(self.venue.last_failure_boot_s, self._since("oms"), self._since("gateway"), self.world.t0)
        if now - quiet_since > ADOPT_S:
            for order in self.venue.ours_open():
                if now - max(self._listed_boot_s(order), quiet_since) > ADOPT_S and not self._known(order):
                    self.broken(
                        "I5", f"{order.client_order_id} is listed for {ADOPT_S:.0f} s and neither adopted nor cancelled"
                    )
        self._armed(now)
        self._resting(now)
        asked = self.world.stop_asked_boot_s
        if (
            asked is not None
            and STOP_S < now - asked < STOP_S + 2.0
            and self._since("main") <= asked
            and self.world.main_awake_since <= asked
        ):
            self.broken("I4", f"not gone {now - asked:.1f} s after the stop was asked")

    def _resting(self, now: float) -> None:
        """Entries that should have been asked away: past their time to live, or since entries are no longer allowed."""
        since = self._since("oms")
        beat = self.world.files.beat
        if beat is not None and beat.state == "ready":
            self.ready_beat_boot_s = max(self.ready_beat_boot_s, beat.boot_s)
        silent_s = now - max(self.ready_beat_boot_s, self.venue.last_failure_boot_s, self._since_alive("guardian"))
        for order in self.venue.ours_open():
            coid = order.client_order_id
            row = self.stage.store("oms").rows("orders").get(coid)
            intent = self.intents.get(coid)
            if (
                silent_s > GUARDIAN_S
                and self.last_cancel.get(order.order_id, -1e9) < now - GUARDIAN_S
                and now > self._listed_boot_s(order) + GUARDIAN_S
            ):
                self.broken("I5", f"{coid} rests and nobody cancels it, {silent_s:.0f} s after the last ready beat")
            asked = self.cancel_since.get(coid)
            quiet = max(since, self._since("gateway"), self.venue.last_failure_boot_s)
            if asked is not None and now - max(asked, quiet, self.last_cancel.get(order.order_id, 0.0)) > REPEAT_S:
                self.broken("I15", f"the cancel of {coid} is not repeated for {REPEAT_S:.0f} s while it works")
            if (
                row is None
                or intent is None
                or order.side != "BUY"
                or row.get("cancel_reason")
                or not self._known(order)
            ):
                continue
            patience = max(since, self.venue.last_failure_boot_s) + RESTING_S
            after_s = intent.get("cancel_after_s")
            trusted = self.stage.trusted and "oms" not in self.stage.distrusted
            if (
                after_s is not None
                and trusted
                and now > patience
                and self.venue.now_s > float(after_s) + RESTING_S * self.stage.speed
            ):
                self.broken("I15", f"no cancel of {coid} was asked although its time to live is over")
            if (
                self.paused_since is not None
                and now > max(self.paused_since, self._since("kill_switch")) + PAUSED_S
                and now > patience + PAUSED_S
            ):
                self.broken("I15", f"{coid} still rests, uncancelled, since entries are paused")

    def _armed(self, now: float) -> None:
        exits: Any = self.stage.machine("exits")
        oms: Any = self.stage.machine("oms")
        if exits is None or oms is None or self.engaged_since is not None:
            return
        since = max(self._since("oms"), self._since("exits"))
        for coid, told in self.world.told_fills.items():
            intent = self.intents.get(coid)
            if (
                intent is None
                or intent.get("external")
                or intent["purpose"] != "entry"
                or now - max(told, since) <= ARM_S + 1.5
                or (told < self._since("oms") and not self._saw(coid))
            ):
                continue
            if str(intent["product_id"]) in self.venue.taken or self.forgotten:
                continue  # which position a sale by another hand, or one without a row, has cut is the book's to say
            key = str(intent["intent_id"])
            product = str(intent["product_id"])
            held = min(self._left_of(coid, key), self._held_with_row(product))
            if (
                held * self.world.prices[product] > 5
                and key not in exits._watches
                and key not in self.sold
                and self.world.reconciled()
            ):
                self.broken(
                    "I16", f"the fill of {coid} was told {now - told:.1f} s ago and its position has no exit armed"
                )
        for key, row in self.stage.store("oms").rows("positions").items():
            size = Decimal(str(row["booked_size"]))
            if not row.get("live", True) or size <= 0:
                continue
            price = self.world.prices.get(str(row["product_id"]))
            if price is None or size * price < 5:
                continue
            seen = self.position_seen.setdefault(key, now)
            if now - max(seen, since) > ARM_S + 1.5 and key not in exits._watches and self.world.reconciled():
                self.broken(
                    "I16",
                    f"position {key} of {size} {row['product_id']} has no exit armed for {now - max(seen, since):.1f} s",
                )

    def _saw(self, coid: str) -> bool:
        """Whether oms has kept that it saw a fill: one that died with it in its mailbox is seen when the venue lists it."""
        row = self.stage.store("oms").rows("orders").get(coid)
        return row is not None and Decimal(str(row["seen_size"] or 0)) > 0

    def _leases(self, approved: Approved, now: Instant) -> None:
        """Law 4: risk approves on permissions younger than 2 s, whoever is silent."""
        for owner in ("kill_switch", "health_monitor", "universe", "catalog", "oms"):
            age_s = now.boot_s - max(self.heard.get(owner, -1e9), self.works_since.get("risk", 0.0))
            if age_s > LEASE_S + LEASE_SLACK_S + self.stage.latency_s:
                self.broken(
                    "I12", f"{approved.approval_id} is approved while {owner} has been silent for {age_s:.1f} s"
                )
