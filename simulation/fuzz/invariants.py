"""The invariants of DESIGN section 6 as incremental checkers: they run after every event and believe only the oracles.

Oracles: the venue's ledger and request log, the rows that were committed, the files of run/, the processes of the
stage; for I16 the watches of exits. Each check hangs on the event that could break it (a commit, a POST that leaves, an
order that arrives, a life that begins); what has a deadline is an obligation, looked at when its time has come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from attrs import frozen

from exchange.simulator.execution import Filled
from exchange.simulator.orders import Order
from simulation.fuzz.venue import Request
from simulation.process import Process, State
from trading.machine import Instant, Note, Row, Save
from trading.messages.book import BookSnapshot
from trading.messages.control import (
    CatalogSnapshot,
    Condition,
    HealthSnapshot,
    KillSnapshot,
    OperatorOrder,
    UniverseSnapshot,
)
from trading.messages.decisions import Approved, ExitOrder, Verdict
from trading.messages.orders import PlaceOrder, QueryKind
from trading.values import Purpose, is_ours

if TYPE_CHECKING:
    from simulation.fuzz.world import World

KILL_POST_S = 0.5
KILL_CANCEL_S = 2.0
ADOPT_S = 30.0
TELL_S = 30.0
ARM_S = 5.0
STOP_S = 10.0
SEND_BY_S = 2.0
LEASE_S = 2.0
LEASE_SLACK_S = 1.5  # a snapshot is as young as its arrival, and the schedule may have delayed it
RESTING_S = 5.0
PAUSED_S = 11.0  # a snapshot that was lost is repeated within 10 s
GUARDIAN_S = 40.0
REPEAT_S = 13.0
LISTING_SLACK_S = 1.5
REQUESTS_PER_S_MAX = 30
QUOTE_AGE_S_MAX = 12.0
_OVER = frozenset({"filled", "canceled", "expired", "rejected", "not_placed", "denied"})
PERMISSIONS = (KillSnapshot, HealthSnapshot, UniverseSnapshot, CatalogSnapshot, BookSnapshot)
_EPSILON = Decimal("0.000001")


@frozen(kw_only=True)
class Violation:
    invariant: str
    at_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at_s:.3f} s: {self.text}"


class Checkers:
    """Hangs itself on a world. `violations` grows; `look()` after every event."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stage = world.stage
        self.venue = world.venue
        self.violations: list[Violation] = []
        self.checks = 0
        self.intents: dict[str, Row] = {}  # by client_order_id
        self.by_intent: dict[str, Row] = {}
        self.approvals: dict[str, Approved] = {}
        self.used_approvals: dict[str, str] = {}
        self.exit_ids: dict[str, None] = {}
        self.sold: dict[str, None] = {}  # positions that were left, wholly or in part: their exit was armed
        self.commands: dict[str, OperatorOrder] = {}
        self.posts: dict[str, int] = {}
        self.superseded: dict[str, str] = {}
        self.engaged_since: float | None = None
        self.lost_at: float | None = None
        self.cancel_since: dict[str, float] = {}
        self.told: dict[str, float] = {}
        self.latches: dict[str, Row] = {}
        self.position_seen: dict[str, float] = {}
        self.works_since: dict[str, float] = {}
        self.answered: dict[QueryKind, float] = {}
        self.last_cancel: dict[str, float] = {}
        self.booked: dict[tuple[str, str], str] = {}  # (entry id, trade id) -> key of the row that books it
        self.by_proposal: dict[str, str] = {}
        self.author: dict[str, tuple[int, int]] = {}  # which incarnation of oms made an intent
        self.heard: dict[str, float] = {}  # owner of a permission -> when it last told risk
        self.paused_since: float | None = None
        self._committing: Process = self.stage.processes["oms"]
        self.ready_beat_boot_s = self.stage.boot_s
        self._recent: deque[float] = deque()
        self._obligations: list[tuple[float, int, Callable[[], None]]] = []
        self._n = 0
        self._next_second = self.stage.boot_s + 1.0
        self.stage.observers.append(self)
        self.venue.left.append(self._left)
        self.venue.arrived.append(self._arrived)
        self.venue.answered.append(self._answered)
        self.venue.filled.append(self._sold)
        self.stage.failed = self._raised
        world.hooks.append(self._hook)
        self.kill_changed()

    # -- plumbing -----------------------------------------------------------------------------------------------

    def broken(self, invariant: str, text: str) -> None:
        if len(self.violations) < 20:
            violation = Violation(invariant=invariant, at_s=self.stage.boot_s - self.world.t0, text=text)
            self.violations.append(violation)
            self.world.tell(f"VIOLATION {invariant}: {text}")

    def owe(self, at_boot_s: float, look: Callable[[], None]) -> None:
        self._n += 1
        heappush(self._obligations, (at_boot_s, self._n, look))

    def look(self) -> None:
        """After every event: what has come due."""
        now = self.stage.boot_s
        while self._obligations and self._obligations[0][0] <= now:
            heappop(self._obligations)[2]()
        if now >= self._next_second:
            self._next_second = now + 1.0
            self._each_second(now)

    def _raised(self, process: Process, message: object, error: Exception) -> None:
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
        self.broken("RAISED", f"{process.role} raised {error!r} at {place} on {type(message).__name__}")

    def _hook(self, what: str) -> None:
        if what == "kill":
            self.kill_changed()
        elif what == "lost":
            self.lost_at = self.stage.boot_s
            self.booked.clear()
            self.by_proposal.clear()
            self.intents.clear()
            self.by_intent.clear()
        elif what.startswith("left "):
            self.left_main(int(what.split()[1]), self.stage.boot_s)

    def _since(self, role: str) -> float:
        """Since when `role` has worked without a break; infinity when it does not."""
        process = self.stage.processes.get(role)
        if process is None or not process.works:
            return float("inf")
        return self.works_since.get(role, float("inf"))

    # -- observer of the stage ----------------------------------------------------------------------------------

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
            self.approvals[message.approval_id] = message
            self._leases(message, now)
        elif isinstance(message, PlaceOrder) and role == "gateway":
            author = self.author.get(message.client_order_id, process.incarnation)
            if author != process.incarnation:
                self.broken(
                    "I9", f"{process} sends {message.client_order_id} again, which an incarnation before it decided"
                )
        elif isinstance(message, Verdict):
            coid = self.by_proposal.get(message.proposal_id)
            if not message.admitted and coid is not None and coid in self.intents:
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

    def _leases(self, approved: Approved, now: Instant) -> None:
        """Law 4: risk approves on permissions younger than 2 s, whoever is silent."""
        for owner in ("kill_switch", "health_monitor", "universe", "catalog", "oms"):
            age_s = now.boot_s - max(self.heard.get(owner, -1e9), self.works_since.get("risk", 0.0))
            if age_s > LEASE_S + LEASE_SLACK_S + self.stage.latency_s:
                self.broken(
                    "I12", f"{approved.approval_id} is approved while {owner} has been silent for {age_s:.1f} s"
                )

    def _kill_told(self, process: Process, message: KillSnapshot) -> None:
        record = self.world.kill_store.rows("kill").get("record")
        if record is not None and record.get("engaged") and not message.engaged:
            self.broken("I6", f"{process} says not engaged while the record says engaged")

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

    # -- intents ------------------------------------------------------------------------------------------------

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
            held = max(Decimal(0), self.venue.held_by_fills(product, self._has_row))
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
            if total > limit + _EPSILON:
                self.broken(
                    "I3", f"with {coid} {scope} {key or 'account'} stands at {total:.2f} USD, its cap is {limit:.2f}"
                )

    def _judged_version(self) -> tuple[tuple[int, int], int]:
        """The version that this handle found: it raises n once, with the intent."""
        oms: Any = self._committing.machine
        incarnation, n = oms.desk.version
        return incarnation, n - 1

    def _has_row(self, coid: str) -> bool:
        """Whether the bot can know that this order is its own: after a lost store its fills are foreign until adopted."""
        row = self.intents.get(coid)
        return row is not None and not row.get("external")

    # -- the venue's events -------------------------------------------------------------------------------------

    def _arrived(self, order: Order, place: PlaceOrder) -> None:
        self.checks += 1
        coid = order.client_order_id
        if coid not in self.intents and self.lost_at is None:
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
        held = self.venue.held_by_fills(product)
        if working > held + _EPSILON and self.world.foreign:
            self.broken("I14", f"exits of {product} sell {working} of {held} held; {coid} would touch coins of others")

    def _sold(self, filled: Filled) -> None:
        fill = filled.fill
        if (
            fill.side == "SELL"
            and self.lost_at is None
            and not self.venue.taken
            and self.venue.held_by_fills(fill.product_id) < 0
        ):
            self.broken(
                "I14", f"more {fill.product_id} was sold than the bot ever bought: coins of others were touched"
            )

    def _answered(self, kind: QueryKind) -> None:
        self.answered[kind] = self.stage.boot_s

    # -- rows ---------------------------------------------------------------------------------------------------

    def _order_row(self, row: Row, now: Instant) -> None:
        coid = str(row["client_order_id"])
        status = str(row["status"])
        if status in _OVER:
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
        if row is None or str(row["status"]) in _OVER:
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

    # -- kill ---------------------------------------------------------------------------------------------------

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

    # -- what has a deadline ------------------------------------------------------------------------------------

    def _listed_boot_s(self, order: Order) -> float:
        now = self.stage.now
        return now.boot_s - (now.venue_s - order.created_s - self.venue.engine.settings.listing_lag_s) / now.speed

    def _known(self, order: Order) -> bool:
        row: Any = self.stage.store("oms").rows("orders").get(order.client_order_id)
        if row is None:
            row = next(
                (
                    r
                    for r in self.stage.store("oms").rows("orders").values()
                    if r.get("venue_order_id") == order.order_id
                ),
                None,
            )
        return row is not None and (bool(row.get("existed")) or bool(row.get("venue_order_id")))

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

    def _since_alive(self, role: str) -> float:
        process = self.stage.processes.get(role)
        return process.started_boot_s if process is not None and process.works else float("inf")

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
            ):
                continue
            key = str(intent["intent_id"])
            product = str(intent["product_id"])
            held = min(self._left_of(coid, key), self.venue.held_by_fills(product, self._has_row))
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

    def _left_of(self, coid: str, position_id: str) -> Decimal:
        """What the entry bought minus what exits and flattens of its position sold, by the ledger."""
        left = sum((o.filled_size for o in self.venue.by_client_id(coid)), Decimal(0))
        for other, row in self.intents.items():
            if row.get("position_id") == position_id:
                left -= sum((o.filled_size for o in self.venue.by_client_id(other)), Decimal(0))
        return left

    # -- the ends -----------------------------------------------------------------------------------------------

    def left_main(self, code: int, now: float) -> None:
        """run.py has ended: exit 0 promises that nothing of ours rests and none is unknown."""
        if code != 0:
            return
        for order in self.venue.ours_open():
            self.broken("I4", f"exit 0 and {order.client_order_id} rests at the venue")
        for row in self.stage.store("oms").rows("orders").values():
            if str(row["status"]) not in _OVER:
                self.broken("I4", f"exit 0 and {row.get('client_order_id')} is {row['status']} in the book")
        _ = now

    def at_rest(self) -> None:
        """After healing and time enough for every horizon: book and ledger agree to the last digit."""
        rows = self.stage.store("oms").rows("orders")
        for coid, row in rows.items():
            orders = self.venue.by_client_id(coid)
            if str(row["status"]) not in _OVER and not any(not o.terminal for o in orders):
                self.broken("I18", f"{coid} is still {row['status']} in the book long after everything healed")
        booked = self.stage.store("oms").rows("fills")
        if self.lost_at is None:
            for fill in self.venue.engine.fill_list:
                order = self.venue.engine.orders[fill.order_id]
                if is_ours(order.client_order_id, self.venue.tag) and not any(
                    r.get("trade_id") == fill.trade_id for r in booked.values()
                ):
                    self.broken("I8", f"fill {fill.trade_id} of {order.client_order_id} was never booked")
        if self.engaged_since is not None:
            for order in self.venue.ours_open():
                self.broken("I6", f"{order.client_order_id} rests although the kill is engaged")
