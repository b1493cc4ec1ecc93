"""What surrounds the safety machines in the fault simulation: a proposer per product, and the roles that only publish."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from attrs import evolve, frozen

from trading.machine import Effect, Effects, Incarnation, Instant, PeerRestarted, QuietMachine, Rows, Send, Wake, Woke
from trading.messages.book import BookSnapshot
from trading.messages.control import CatalogSnapshot, HealthSnapshot, UniverseSnapshot
from trading.messages.decisions import EntryPolicy, ExitPlan, Proposal, Verdict
from trading.messages.market import Quote
from trading.messages.orders import Fees
from trading.product import Product
from trading.values import Side, derived_id


@frozen(kw_only=True)
class Trigger:
    """The world -> a proposer: propose now. stamp: what the decision rests on; the same stamp is the same proposal."""

    stamp: str
    notional_usd: Decimal
    post_only: bool = True
    ttl_s: float = 20.0
    requotes_max: int = 1
    offset_bps: int = 0


class Proposer(QuietMachine):
    """A symbol that proposes when told: one open proposal, repeated until its verdict; re-quotes as the protocol says."""

    role: ClassVar[str] = "symbol"

    def __init__(self, *, me: Incarnation, product: Product) -> None:
        self.me = me
        self.product = product
        self.quote: Quote | None = None
        self.open: Proposal | None = None
        self.plans: dict[str, Proposal] = {}
        self.verdicts: list[Verdict] = []
        self.repeats = 0

    def products(self) -> tuple[str, ...]:
        return (self.product.product_id,)

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return ()

    def on_quote(self, quote: Quote, now: Instant) -> Effects:  # noqa: ARG002
        self.quote = quote
        return ()

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Trigger():
                return self._propose(message, now)
            case Verdict():
                self.verdicts.append(message)
                if self.open is not None and message.proposal_id == self.open.proposal_id:
                    self.open = None
                    return (Wake("repeat", None),)
            case Woke(key="repeat") if self.open is not None:
                if now.boot_s >= self.open.valid_until_boot_s + 0.5:
                    self.open = None
                    return ()
                self.repeats += 1
                return (Send("risk", self.open), Wake("repeat", now.boot_s + 0.5))
            case PeerRestarted(role="risk") if self.open is not None and now.boot_s < self.open.valid_until_boot_s:
                return (Send("risk", self.open),)
            case BookSnapshot():
                return self._requote(message, now)
        return ()

    def _propose(self, trigger: Trigger, now: Instant) -> Effects:
        quote = self.quote
        if quote is None or self.open is not None:
            return ()
        tick = self.product.price_increment
        price = quote.bid if trigger.post_only else quote.ask
        limit = (price * (10_000 + trigger.offset_bps) / 10_000 // tick) * tick
        proposal_id = derived_id(self.product.product_id, Side.BUY.value, "fuzz", trigger.stamp)
        valid = now.boot_s + 2.0
        life = (trigger.requotes_max + 1) * (trigger.ttl_s / now.speed + 5.0)
        proposal = Proposal(
            proposal_id=proposal_id, product_id=self.product.product_id, strategy="price_move", trigger="fuzz",
            reason="told to", values=(), conviction=1.0, notional_usd=trigger.notional_usd, limit_price=limit,
            post_only=trigger.post_only, plan=ExitPlan(stop_pct=Decimal(8), target_pct=Decimal(6), hold_s_max=3600.0),
            policy=EntryPolicy(ttl_s=trigger.ttl_s, requotes_max=trigger.requotes_max), quote_exchange_s=quote.exchange_s,
            quote_received_boot_s=quote.received_boot_s, decided_boot_s=now.boot_s, valid_until_boot_s=valid,
            plan_id=proposal_id, plan_expires_boot_s=valid + life, spread_bps=quote.spread_bps, depth_usd=1e6,
            volatility_pct=50.0, decided_on="trigger",
        )  # fmt: skip
        return self._send(proposal, now)

    def _send(self, proposal: Proposal, now: Instant) -> Effects:
        self.open = proposal
        self.plans[proposal.proposal_id] = proposal
        return (Send("risk", proposal), Wake("repeat", now.boot_s + 0.5))

    def _requote(self, book: BookSnapshot, now: Instant) -> Effects:
        if self.open is not None or self.quote is None:
            return ()
        for order in book.orders:
            parent = self.plans.get(order.proposal_id)
            if parent is None or not order.ended_by_ttl or order.product_id != self.product.product_id:
                continue
            k = order.requote + 1
            proposal_id = derived_id(parent.plan_id, "requote", k)
            over = parent.plan_expires_boot_s is not None and now.boot_s >= parent.plan_expires_boot_s
            if k > parent.policy.requotes_max or over or proposal_id in self.plans:
                continue
            again = evolve(
                parent, proposal_id=proposal_id, limit_price=self.quote.bid, requote=k, replaces=order.intent_id,
                quote_exchange_s=self.quote.exchange_s, quote_received_boot_s=self.quote.received_boot_s,
                decided_boot_s=now.boot_s, valid_until_boot_s=now.boot_s + 2.0,
            )  # fmt: skip
            return self._send(again, now)
        return ()


class Publisher(QuietMachine):
    """universe, catalog or a health monitor that has measured everything: the snapshot each `every_s`, to whom it goes."""

    role: ClassVar[str] = "publisher"

    def __init__(
        self, *, me: Incarnation, kind: str, products: tuple[Product, ...], tiers: dict[str, str], every_s: float
    ) -> None:
        self.me = me
        self.kind = kind
        self.catalog = products
        self.tiers = tiers
        self.every_s = every_s
        self.n = 0

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return self._publish(now)

    def handle(self, message: object, now: Instant) -> Effects:
        if isinstance(message, PeerRestarted):
            return (Send(message.role, self._snapshot(now)),)
        if isinstance(message, tuple):  # the world changed the products
            self.catalog = message
        elif not isinstance(message, Woke):
            return ()
        return self._publish(now)

    def _publish(self, now: Instant) -> Effects:
        self.n += 1
        snapshot = self._snapshot(now)
        to = ("risk",) if self.n % 8 != 1 else ("risk", "oms", "exits", "gateway")
        out: list[Effect] = [Send(role, snapshot) for role in to]
        return (*out, Wake("publish", now.boot_s + self.every_s))

    def _snapshot(self, now: Instant) -> object:
        from trading.messages.control import UniverseEntry

        if self.kind == "universe":
            entries = tuple(
                UniverseEntry(
                    product_id=p.product_id,
                    tier=self.tiers[p.product_id],
                    theme="LAYER1",
                    eligible=True,
                    size_multiplier=1.0,
                )
                for p in self.catalog
            )
            return UniverseSnapshot(
                n=self.n, entries=entries, regime="bull", regime_confidence=1.0, incarnation=self.me
            )
        if self.kind == "catalog":
            fees = Fees(maker_rate=Decimal("0.004"), taker_rate=Decimal("0.006"), tier="fuzz")
            return CatalogSnapshot(
                n=self.n, products=self.catalog, fees=fees, fetched_boot_s=now.boot_s, incarnation=self.me
            )
        return HealthSnapshot(n=self.n, breakers=(), incarnation=self.me)
