"""The order manager's desk: the book, what is being asked and repeated, and the effects of the handle under way.

The modules oms_*.py are plain functions over one `Desk`; nothing here or there survives the process but the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import define, evolve, field, frozen

from trading.fees import rate_to_assume
from trading.ledger import Fill
from trading.machine import Effect, Incarnation, Instant, Note, Send, Wake
from trading.messages.book import BookOrder, Recovery
from trading.messages.control import (
    CatalogSnapshot,
    Condition,
    HealthSnapshot,
    KillSnapshot,
    LatchSnapshot,
    OperatorOrder,
)
from trading.messages.decisions import Admitted, ExitOrder, Stale
from trading.messages.orders import Balance, CancelOrders, Query, QueryKind
from trading.money import Realised
from trading.oms_book import Book
from trading.oms_settings import OmsSettings
from trading.orders import Order
from trading.product import Product
from trading.protections import Protections
from trading.publish import SLOW_S, ConditionBoard, Jitter, jitter
from trading.reconcile import BalancesGap
from trading.settle import Inquiry
from trading.trading_state import Causes, TradingState, trading_state

ROLE = "oms"


@define
class Task:
    """What is repeated for one order, in memory. `_at` and `_since` are boot seconds; 0: at once."""

    place_at: float = 0.0
    withdrawing: bool = False
    withdraw_answered: bool = False
    cancel_at: float = 0.0
    cancel_n: int = 0
    cancel_since: float | None = None
    ask_now: bool = False
    inquiry: Inquiry | None = None
    fills_at: float = 0.0
    fills_n: int = 0
    fills_since: float | None = None
    fills_query: str | None = None
    fills_asked_at: float = 0.0


@define
class Asked:
    """A Query that is out. what: "ask", "fills", "pass", "flatten"."""

    what: str
    key: str
    asked_at: float


@define
class WaitingExit:
    """An exit that waits for our own buys to be gone: in memory only, its intent is saved when PlaceOrder goes."""

    order: ExitOrder
    since: float


@define
class Pass:
    """One reconcile pass: orders, then fills, then balances; only complete pages advance it. rebuilding_s: at its start."""

    n: int
    stage: str
    started_s: float
    started_at: float
    rebuilding_s: float
    query_id: str | None = None
    asked_at: float = 0.0
    tries: int = 0
    differences: int = 0
    again: bool = False
    booked_before: int = 0


@define
class Balances:
    """The last complete balance pass. booked: by currency, what our positions held then by booked fills; cash_usd: what those moved."""

    asked_at: float
    answered_at: float
    rows: tuple[Balance, ...]
    totals: Mapping[str, Decimal]
    booked: Mapping[str, Decimal]
    gap: BalancesGap
    cash_usd: Decimal


@frozen
class QuoteDiff:
    """Quote currency that no fill of ours explains. passes: balance passes in a row that differed, agreeing or not."""

    usd: Decimal
    seen_at: float
    passes: int = 1


@define
class Flattened:
    """What a flatten sells, and what stays: kept for now (another flatten may sell it), closed by the venue."""

    sent: list[str] = field(factory=list)
    kept: list[str] = field(factory=list)
    closed: list[str] = field(factory=list)


@define(slots=False)
class Desk:
    """me: this incarnation. tag: of the account.
    fresh: nothing was read from the venue yet, or an order of a lost book may still come to light.
    """

    settings: OmsSettings
    protections: Protections
    me: Incarnation
    tag: str
    config_hash: str = ""
    fresh: bool = False
    book: Book = field(factory=Book)
    now: Instant = field(factory=lambda: Instant(0.0, trusted=False, boot_s=0.0))
    n: int = 0
    gateway: Incarnation | None = None
    hello_at: float = 0.0
    greeting: bool = True
    recovery: Recovery = Recovery.RECOVERING
    kill: KillSnapshot | None = None
    health: HealthSnapshot | None = None
    latches: LatchSnapshot | None = None
    catalog: CatalogSnapshot | None = None
    products: dict[str, Product] = field(factory=dict)
    jitter: Jitter = jitter
    repeat_s: float = SLOW_S
    drain_run: int | None = None
    drain_at: float = 0.0
    drain_answered: bool | None = None
    leaving: bool = False
    tasks: dict[str, Task] = field(factory=dict)
    queries: dict[str, Asked] = field(factory=dict)
    waiting: dict[str, WaitingExit] = field(factory=dict)
    flattens: dict[str, tuple[OperatorOrder, str]] = field(factory=dict)
    flattened: dict[str, Flattened] = field(factory=dict)
    flatten_orders: dict[str, OperatorOrder] = field(factory=dict)
    adoptions: dict[str, OperatorOrder] = field(factory=dict)
    rowless: dict[str, list[Fill]] = field(factory=dict)
    used_ids: set[str] = field(factory=set)
    pass_: Pass | None = None
    pass_n: int = 0
    pass_at: float = 0.0
    pass_done_at: float | None = None
    balances: Balances | None = None
    shortfalls: dict[str, tuple[tuple[Decimal, Decimal], float]] = field(factory=dict)
    quote_diff: QuoteDiff | None = None
    drift_count: int = 0
    drift_usd: Decimal = Decimal(0)
    settle_samples: list[float] = field(factory=list)
    latencies: dict[str, list[float]] = field(factory=dict)
    board: ConditionBoard = field(factory=ConditionBoard)
    conditions: dict[str, Condition] = field(factory=dict)
    expires: dict[str, float] = field(factory=dict)
    marks: dict[str, Decimal] = field(factory=dict)
    sends: list[Effect] = field(factory=list)
    answers: list[Send] = field(factory=list)
    wakes: dict[str, float | None] = field(factory=dict)
    armed: dict[str, float] = field(factory=dict)
    notes: list[Effect] = field(factory=list)
    cancels: dict[str, None] = field(factory=dict)
    query_n: int = 0
    changed: bool = False
    # what others have heard
    recent: dict[str, None] = field(factory=dict)
    order_views: dict[str, tuple[Order, BookOrder]] = field(factory=dict)
    results: tuple[int, tuple[tuple[float, Decimal], ...], int, float | None] | None = None
    realised: tuple[tuple[int, float], Realised] | None = None
    admitted: dict[str, float] = field(factory=dict)
    symbols: dict[str, None] = field(factory=dict)
    dirty_products: dict[str, None] = field(factory=dict)
    owed: bool = False
    snapshot_at: float = 0.0
    snapshot_sent_at: float = -1.0
    slow_at: float = 0.0
    slow_n: int = 0
    people_owed: bool = False
    people_at: float = 0.0
    measured_n: int = 0

    # -- effects --------------------------------------------------------------------------------------------------

    def send(self, role: str, message: object) -> None:
        self.sends.append(Send(role, message))

    def answer(self, role: str, message: object) -> None:
        """Leaves after the snapshot that it rests on."""
        self.answers.append(Send(role, message))

    def wake(self, key: str, at_boot_s: float | None) -> None:
        self.wakes[key] = at_boot_s

    def note(self, kind: str, /, **values: Any) -> None:
        self.notes.append(Note(kind, values))

    def stand(self, fingerprint: str, level: str, text: str, *, for_s: float | None = None, **values: Any) -> None:
        """A condition stands until `gone`, or for `for_s` when it tells of something that happened; the beat repeats it."""
        if for_s is not None:
            self.expires[fingerprint] = self.now.boot_s + for_s
        condition = Condition(fingerprint=f"oms:{fingerprint}", level=level, active=True, text=text, values=values)
        self.conditions[fingerprint] = condition
        self.sends += self.board.stand(condition, self.now)

    def gone(self, fingerprint: str) -> None:
        self.expires.pop(fingerprint, None)
        if self.conditions.pop(fingerprint, None) is not None:
            self.sends += self.board.gone(f"oms:{fingerprint}")

    def rebuilding_s(self) -> float:
        """How much longer an order of a lost book may come to light: nobody alive need know of it, the venue may be about to
        take it from the wire, and then to list it late. 0.0 when no book was lost.
        """
        began = self.book.meta.rebuilt_boot_s
        if began is None or not self.protections.lost_book:
            return 0.0
        return max(0.0, began + self.settings.settle.last_word_s - self.now.boot_s)

    def query(self, what: str, key: str, kind: QueryKind, **what_of: Any) -> str:
        """Ask the gateway; the Page comes back under the id that is returned."""
        self.query_n += 1
        query_id = f"{ROLE}:{self.me[0]}:{self.me[1]}:{self.query_n}"
        self.queries[query_id] = Asked(what, key, self.now.boot_s)
        self.send("gateway", Query(query_id=query_id, reply_to=ROLE, kind=kind, **what_of))
        return query_id

    @property
    def key_unchecked(self) -> bool:
        """Whether the venue has not told yet whose key it is: its balances may be another account's."""
        return self.catalog is not None and self.catalog.key_unchecked

    def ask_pass(self) -> None:
        """A reconcile pass at once, or again as soon as the one under way is through."""
        if self.pass_ is not None:
            self.pass_.again = True
        else:
            self.pass_at = self.now.boot_s

    def take(self) -> list[Effect]:
        """Everything that this handle wants, in the seam's order; the desk is empty afterwards."""
        if self.cancels:
            self.query_n += 1
            cancel_id = f"cancel:{self.me[0]}:{self.me[1]}:{self.query_n}"
            self.sends.insert(
                0, Send("gateway", CancelOrders(cancel_id=cancel_id, venue_order_ids=tuple(self.cancels)))
            )
        wakes = [Wake(key, at) for key, at in self.wakes.items() if self._news(key, at)]
        answers = [Send(a.role, _rests_on(a.message, self.version)) for a in self.answers]
        effects = [*self.sends, *answers, *wakes, *self.notes]
        self.sends, self.answers, self.notes = [], [], []
        self.wakes.clear()
        self.cancels.clear()
        return effects

    def _news(self, key: str, at: float | None) -> bool:
        if at is None:
            return self.armed.pop(key, None) is not None
        if self.armed.get(key) == at:
            return False
        self.armed[key] = at
        return True

    # -- views ----------------------------------------------------------------------------------------------------

    def task(self, key: str) -> Task:
        found = self.tasks.get(key)
        if found is None:
            found = self.tasks[key] = Task()
        return found

    def state(self) -> tuple[TradingState, tuple[str, ...]]:
        """What may happen now, as far as this machine has heard. A breaker that was not measured yet is risk's denial, no state."""
        breakers = self.health.breakers if self.health else ()
        return trading_state(
            Causes(
                draining=self.drain_run is not None,
                killed=bool(self.kill and self.kill.engaged and self.protections.kill_check),
                recovery=self.recovery,
                paused=bool(self.kill and self.kill.paused),
                leaving=self.leaving,
                breakers_open=tuple(b.code for b in breakers if b.open and b.measured),
                latches=tuple(latch.code for latch in self.latches.latches) if self.latches else (),
                global_incident=self.catalog.exchange_reason if self.catalog and self.catalog.entries_closed else "",
            )
        )

    @property
    def killed(self) -> bool:
        return bool(self.kill and self.kill.engaged and self.protections.kill_check)

    @property
    def fee_rate(self) -> Decimal:
        """Taker fee to assume, as a fraction: max(configured, account)."""
        fees = self.catalog.fees if self.catalog else None
        return rate_to_assume(self.settings.fee_rate, fees.taker_rate if fees else None)

    @property
    def version(self) -> tuple[Incarnation, int]:
        return self.me, self.n


def _rests_on(message: object, version: tuple[Incarnation, int]) -> object:
    """A verdict names the version after its handle, which the snapshot before it carries."""
    return evolve(message, version=version) if isinstance(message, (Admitted, Stale)) else message
