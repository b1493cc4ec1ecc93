"""A host for one OmsMachine with everything in the test's hands: rows, time, what it sends, and where it dies."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from simulation.store import MemoryStore
from trading.caps import CODES
from trading.machine import Instant, Save, Send, Wake, Woke
from trading.messages.book import BookSnapshot, Recovery
from trading.messages.control import Condition, KillSnapshot
from trading.messages.decisions import Approved, CapNumbers, EntryPolicy, ExitOrder, ExitPlan, Proposal
from trading.messages.orders import (
    Balance,
    Hello,
    HelloAck,
    OrderOutcome,
    OrderUpdate,
    OutcomeKind,
    Page,
    PlaceOrder,
    Query,
    QueryKind,
    VenueFill,
    VenueOrder,
)
from trading.oms import OmsMachine
from trading.oms_settings import OmsSettings
from trading.protections import Protections
from trading.values import derived_id

T = TypeVar("T")
D = Decimal
GATEWAY = (1, 50)
T0 = 1_790_000_000.0


class Host:
    """Time stands still until `run`. `sent` holds what left, newest last; `rows` outlive `crash`."""

    def __init__(
        self,
        *,
        settings: OmsSettings | None = None,
        protections: Protections | None = None,
        boot_s: float = 1_000.0,
        speed: float = 1.0,
        tag: str = "abcd",
        lost_book: bool = False,
        adopt: bool = False,
    ) -> None:
        self.settings = settings or OmsSettings()
        self.protections = protections or Protections()
        self.boot_s = boot_s
        self.speed = speed
        self.zero_s = boot_s
        self.tag = tag
        self.lost_book, self.adopt = lost_book, adopt
        self.run_number = 1
        self.lives = 0
        self.store = MemoryStore("oms")
        self.store.open(OmsMachine.tables)
        self.sent: list[Send] = []
        self.timers: dict[str, float] = {}
        self.notes: list[Any] = []
        self.trusted = True
        self.versions: list[tuple[Any, int]] = []
        self.handles = 0
        self.answered = 0
        self.crash_at: tuple[int, bool, int] | None = None  # (handle, after its commit?, how many of its sends got out)
        self.boundaries: list[
            tuple[int, int]
        ] = []  # (handle, its sends) of each handle that saved or spoke to the gateway
        self.start()

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.lives += 1
        self.timers = {}
        self.machine = OmsMachine(
            settings=self.settings,
            me=(self.run_number, 100 + self.lives),
            tag=self.tag,
            lost_book=self.lost_book,
            adopt_from_venue=self.adopt,
            protections=self.protections,
        )
        self._carry(self.machine.recover(self.store.live_rows(), self.now))

    def crash(self) -> None:
        """kill -9 between two handles, and the next life."""
        self.start()

    @property
    def now(self) -> Instant:
        return Instant(T0 + (self.boot_s - self.zero_s) * self.speed, self.trusted, self.boot_s, self.speed)

    def tell(self, *messages: object) -> list[Send]:
        """Hand over messages; what left because of them."""
        before = len(self.sent)
        for message in messages:
            self._handle(message)
        return self.sent[before:]

    def _handle(self, message: object) -> None:
        self.handles += 1
        effects = list(self.machine.handle(message, self.now))
        sends = sum(1 for e in effects if isinstance(e, Send))
        if any(isinstance(e, Save) or (isinstance(e, Send) and e.role == "gateway") for e in effects):
            self.boundaries.append((self.handles, sends))
        if self.crash_at is not None and self.crash_at[0] == self.handles:
            _, committed, out = self.crash_at
            if committed:
                self.store.commit(e for e in effects if isinstance(e, Save))
            self.sent += [e for e in effects if isinstance(e, Send)][:out]
            self.start()
        else:
            self._carry(effects)

    def _carry(self, effects: Any) -> None:
        effects = list(effects)
        self.store.commit(e for e in effects if isinstance(e, Save))
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append(effect)
                if isinstance(effect.message, BookSnapshot) and effect.role == "risk":
                    self.versions.append(effect.message.version)
            elif isinstance(effect, Wake):
                if effect.at_boot_s is None:
                    self.timers.pop(effect.key, None)
                else:
                    self.timers[effect.key] = effect.at_boot_s
            elif not isinstance(effect, Save):
                self.notes.append(effect)

    def run(self, seconds: float, answer: Callable[[Send], list[object]] | None = None) -> list[Send]:
        """Let time pass; `answer` may reply to each send that no `answer` has seen yet, at once."""
        before = len(self.sent)
        end = self.boot_s + seconds
        while True:
            while answer is not None and self.answered < len(self.sent):
                send = self.sent[self.answered]
                self.answered += 1
                for reply in answer(send):
                    self.tell(reply)
            due = [(at, key) for key, at in self.timers.items() if at <= end]
            if not due:
                break
            at, key = min(due)
            self.boot_s = max(self.boot_s, at)
            del self.timers[key]
            self._handle(Woke(key))
        self.boot_s = end
        return self.sent[before:]

    # -- looking --------------------------------------------------------------------------------------------------

    def all(self, kind: type[T], since: int = 0) -> list[T]:
        return [s.message for s in self.sent[since:] if isinstance(s.message, kind)]

    def last(self, kind: type[T]) -> T:
        found = self.all(kind)
        assert found, f"no {kind.__name__} was sent"
        return found[-1]

    def queries(self, kind: QueryKind, since: int = 0) -> list[Query]:
        return [q for q in self.all(Query, since) if q.kind is kind]

    @property
    def book(self) -> BookSnapshot:
        """The newest full snapshot that risk was sent; one that is owed (at most each 20 ms) is waited for."""
        if "snapshot" in self.timers:
            self.run(max(0.0, self.timers["snapshot"] - self.boot_s))
        return [s.message for s in self.sent if isinstance(s.message, BookSnapshot) and s.role == "risk"][-1]

    def status(self, client_order_id: str) -> str:
        return str(self.machine.desk.book.orders[client_order_id].status)

    def conditions(self) -> list[str]:
        """Fingerprints that stand."""
        standing: dict[str, bool] = {}
        for condition in self.all(Condition):
            standing[condition.fingerprint] = condition.active
        return [f for f, active in standing.items() if active]

    # -- the usual talk -------------------------------------------------------------------------------------------

    def greet(self, gateway: tuple[int, int] = GATEWAY) -> None:
        hello = self.last(Hello)
        self.tell(HelloAck(oms_incarnation=hello.oms_incarnation, gateway_incarnation=gateway))

    def answer_query(self, kind: QueryKind, *items: object, complete: bool = True) -> None:
        """Answer the newest query of `kind` that is still out."""
        out = [q for q in self.queries(kind) if q.query_id in self.machine.desk.queries]
        assert out, f"no open query {kind}"
        self.tell(page_of(out[-1], *items, complete=complete, now=self.boot_s))

    def reconcile(
        self,
        orders: tuple[VenueOrder, ...] = (),
        fills: tuple[VenueFill, ...] = (),
        balances: tuple[Balance, ...] = (Balance(currency="USD", available=D(10_000), hold=D(0)),),
    ) -> None:
        self.answer_query(QueryKind.ORDERS, *orders)
        self.answer_query(QueryKind.FILLS, *fills)
        self.answer_query(QueryKind.BALANCES, *balances)

    def active(self) -> Host:
        """Greeted, not killed, reconciled."""
        self.greet()
        self.tell(KillSnapshot(n=1, engaged=False))
        self.reconcile()
        assert self.book.recovery is Recovery.RECONCILED
        return self

    def admit(self, approved: Approved) -> PlaceOrder:
        self.tell(approved)
        return self.last(PlaceOrder)

    def accepted_entry(self, venue_order_id: str = "v1", **kwargs: Any) -> PlaceOrder:
        place = self.admit(approval(self, **kwargs))
        self.tell(outcome(place, OutcomeKind.ACCEPTED, venue_order_id))
        return place

    def bought(self, size: str = "1", price: str = "100", venue_order_id: str = "v1", **kwargs: Any) -> PlaceOrder:
        """A position: entry accepted, filled, booked."""
        place = self.accepted_entry(venue_order_id, size=size, price=price, **kwargs)
        self.tell(update(place, venue_order_id, "filled", size, price))
        self.run(1.0)
        self.answer_query(QueryKind.FILLS, fill(place, venue_order_id, "e1" + venue_order_id, size, price))
        return place


def approval(host: Host, **kwargs: Any) -> Approved:
    """An approval as risk would give it now, on the newest version that it was sent."""
    return approved_for(host, **kwargs)


def approved_for(
    host: Host,
    *,
    n: int = 1,
    product: str = "BTC-USD",
    size: str = "1",
    price: str = "100",
    post_only: bool = True,
    version: Any = None,
    caps_usd: str = "100000",
    symbol_cap: str | None = None,
    ttl_s: float = 20.0,
    requotes_max: int = 1,
    replaces: str | None = None,
    requote: int = 0,
    strategy: str = "breakout",
    plan_id: str = "",
    mark: str | None = None,
) -> Approved:
    proposal = Proposal(
        proposal_id=derived_id(product, "BUY", "test", n),
        product_id=product,
        strategy=strategy,
        trigger="test",
        reason="because",
        values=(),
        conviction=0.5,
        notional_usd=D(size) * D(price),
        limit_price=D(price),
        post_only=post_only,
        plan=ExitPlan(stop_pct=D(8), target_pct=D(12)),
        policy=EntryPolicy(ttl_s=ttl_s, requotes_max=requotes_max),
        quote_exchange_s=host.now.venue_s,
        quote_received_boot_s=host.boot_s - 0.01,
        decided_boot_s=host.boot_s - 0.005,
        valid_until_boot_s=host.boot_s + 1.9,
        plan_id=plan_id or derived_id(product, "BUY", "test", n),
        requote=requote,
        replaces=replaces,
    )
    version = version or host.book.version
    limit = D(caps_usd)
    scopes = (("theme", "L1"), ("tier", "T1"), ("strategy", strategy), ("total", ""))
    caps = (
        *((scope, key, limit) for scope, key in scopes),
        ("symbol", product, D(symbol_cap) if symbol_cap else limit),
    )
    assert set(CODES) == {scope for scope, _, _ in caps}
    return Approved(
        approval_id=derived_id(proposal.proposal_id, version),
        version=version,
        proposal=proposal,
        base_size=D(size),
        limit_price=D(price),
        post_only=post_only,
        worst_usd=D(size) * D(price) * D("1.006"),
        caps=CapNumbers(
            nav_usd=D(10_000),
            caps_usd=caps,
            marks=(("BTC-USD", D(mark or price)), ("ETH-USD", D(mark or price))),
            groups=(("BTC-USD", "L1", "T1"), ("ETH-USD", "L1", "T1")),
            fee_rate=D("0.006"),
        ),
        decided_boot_s=host.boot_s - 0.001,
    )


def outcome(place: PlaceOrder, kind: OutcomeKind, venue_order_id: str | None = None, reason: str = "") -> OrderOutcome:
    return OrderOutcome(
        client_order_id=place.client_order_id,
        kind=kind,
        gateway_incarnation=GATEWAY,
        venue_order_id=venue_order_id,
        reason=reason,
    )


def update(place: PlaceOrder, venue_order_id: str, status: str, filled: str, price: str = "100") -> OrderUpdate:
    return OrderUpdate(
        venue_order_id=venue_order_id,
        client_order_id=place.client_order_id,
        product_id=place.body.product_id,
        side=place.body.side,
        status=status,
        cumulative_size=D(filled),
        average_price=D(price),
        fees_usd=D(0),
        exchange_s=0.0,
        received_boot_s=0.0,
    )


def fill(
    place: PlaceOrder,
    venue_order_id: str,
    entry_id: str,
    size: str,
    price: str,
    *,
    fee: str = "0.5",
    at_s: float = T0,
    kind: str = "FILL",
) -> VenueFill:
    return VenueFill(
        entry_id=entry_id,
        trade_id="t" + entry_id,
        venue_order_id=venue_order_id,
        product_id=place.body.product_id,
        side=place.body.side,
        price=D(price),
        base_size=D(size),
        fee_usd=D(fee),
        liquidity="MAKER",
        trade_time_s=at_s,
        kind=kind,
    )


def listing(
    place: PlaceOrder, venue_order_id: str, status: str, filled: str = "0", client_order_id: str | None = None
) -> VenueOrder:
    return VenueOrder(
        venue_order_id=venue_order_id,
        client_order_id=client_order_id or place.client_order_id,
        product_id=place.body.product_id,
        side=place.body.side,
        status=status,
        base_size=place.body.base_size,
        limit_price=place.body.limit_price,
        filled_size=D(filled),
        average_price=place.body.limit_price,
        filled_value_usd=D(filled) * place.body.limit_price,
        fees_usd=D(0),
        created_s=None,
    )


def page_of(query: Query, *items: object, complete: bool = True, now: float = 0.0) -> Page:
    return Page(
        query_id=query.query_id,
        kind=query.kind,
        complete=complete,
        items=tuple(items),
        asked_boot_s=now,
        answered_boot_s=now,
    )


def exit_order(
    host: Host,
    position_id: str,
    size: str = "1",
    price: str = "90",
    *,
    n: int = 0,
    style: str = "ioc",
    reason: str = "stop",
) -> ExitOrder:
    return ExitOrder(
        exit_id=derived_id(position_id, reason, n),
        position_id=position_id,
        product_id=host.machine.desk.book.positions[position_id].product_id,
        reason=reason,
        values=(),
        n=n,
        base_size=D(size),
        limit_price=D(price),
        style=style,
        quote_exchange_s=host.now.venue_s,
        quote_received_boot_s=host.boot_s,
        valid_until_boot_s=host.boot_s + 2.0,
    )
