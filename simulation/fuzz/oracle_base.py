"""What every checker stands on: the oracles it reads, how it says what is broken, and what it owes a look later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from attrs import frozen

from exchange.simulator.orders import Order
from simulation.process import Process
from trading.machine import Row
from trading.messages.book import BookSnapshot
from trading.messages.control import (
    CatalogSnapshot,
    HealthSnapshot,
    KillSnapshot,
    OperatorOrder,
    UniverseSnapshot,
)
from trading.messages.decisions import Approved
from trading.messages.orders import QueryKind

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
BOOKED_S = 10.0  # how long after its trade a fill may still be on its way into the book
TOLD_S = 2.8  # two snapshots of oms, the first of them lost or late
LISTING_SLACK_S = 1.5
REQUESTS_PER_S_MAX = 30
QUOTE_AGE_S_MAX = 12.0
OVER = frozenset({"filled", "canceled", "expired", "rejected", "not_placed", "denied"})
PERMISSIONS = (KillSnapshot, HealthSnapshot, UniverseSnapshot, CatalogSnapshot, BookSnapshot)
EPSILON = Decimal("0.000001")


@frozen(kw_only=True)
class Violation:
    invariant: str
    at_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at_s:.3f} s: {self.text}"


class Ground:
    """State of the checkers of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stage = world.stage
        self.venue = world.venue
        self.violations: list[Violation] = []
        self.checks = 0
        self.intents: dict[str, Row] = {}  # by client_order_id
        self.by_intent: dict[str, Row] = {}
        self.forgotten: set[str] = set()  # client order ids that an older copy of the book, put back, knows nothing of
        self.given_before: dict[str, Decimal] = {}  # what a person gave to the bot before an older copy was put back
        self.approvals: dict[str, Approved] = {}
        self.used_approvals: dict[str, str] = {}
        self.exit_ids: dict[str, None] = {}
        self.sold: dict[str, None] = {}  # positions that were left, wholly or in part: their exit was armed
        self.commands: dict[str, OperatorOrder] = {}
        self.posts: dict[str, int] = {}
        self.superseded: dict[str, str] = {}
        self.engaged_since: float | None = None
        self.lost_at: float | None = None
        self.adopted = False
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
        self._committing: Process  # whose commit is being looked at
        self.ready_beat_boot_s = self.stage.boot_s
        self._recent: deque[float] = deque()
        self._obligations: list[tuple[float, int, Callable[[], None]]] = []
        self._n = 0
        self._next_second = self.stage.boot_s + 1.0
        self.stage.failed = self._raised

    def _each_second(self, now: float) -> None:
        raise NotImplementedError

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

    def _since(self, role: str) -> float:
        """Since when `role` has worked without a break; infinity when it does not."""
        process = self.stage.processes.get(role)
        if process is None or not process.works:
            return float("inf")
        return self.works_since.get(role, float("inf"))

    def _since_alive(self, role: str) -> float:
        process = self.stage.processes.get(role)
        return process.started_boot_s if process is not None and process.works else float("inf")

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

    def _has_row(self, coid: str) -> bool:
        """Whether the bot can know that this order is its own: after a lost store its fills are foreign until adopted."""
        row = self.intents.get(coid)
        return row is not None and not row.get("external")

    def _held_with_row(self, product_id: str) -> Decimal:
        """What the bot can know to be its own. What orders without a row have sold came from its positions too: an older copy
        of the book knows nothing of them.
        """
        of_all = self.venue.held_by_fills(product_id)
        return min(self.venue.held_by_fills(product_id, self._has_row), of_all)

    def _left_of(self, coid: str, position_id: str) -> Decimal:
        """What the entry bought minus what exits and flattens of its position sold, by the ledger."""
        left = sum((o.filled_size for o in self.venue.by_client_id(coid)), Decimal(0))
        for other, row in self.intents.items():
            if row.get("position_id") == position_id:
                left -= sum((o.filled_size for o in self.venue.by_client_id(other)), Decimal(0))
        return left
