"""What a rule sees: one proposal against everything risk knows at this instant. Rules only read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from trading.data_guards import DataGuardSettings
from trading.denied import Denied
from trading.light import light
from trading.machine import Instant
from trading.messages.book import BookPosition, BookSnapshot
from trading.messages.control import (
    CatalogSnapshot,
    HealthSnapshot,
    KillSnapshot,
    Latch,
    UniverseEntry,
    UniverseSnapshot,
)
from trading.messages.decisions import Proposal
from trading.messages.market import Quote
from trading.product import Product
from trading.risk_settings import RiskSettings
from trading.strategies.registry import StrategySettings
from trading.tiers import TierSettings
from trading.values import ZERO

LEASES = ("kill_switch", "health_monitor", "universe", "catalog", "oms")
"""Whose snapshots are permissions; each must be younger than the lease."""

HELD_BACK = frozenset({"reconcile_pending", "measuring", "permission_expired", "stale"})
"""Transient codes: they hold a proposal in risk's queue until valid_until; only then is it denied."""


@light(kw_only=True)
class Case:
    """heard_boot_s: role -> boot clock when its snapshot was last heard. nav_usd: None while it cannot be known.

    unpriced: products that are held or on order and have no believable mark.
    """

    proposal: Proposal
    now: Instant
    settings: RiskSettings
    guards: DataGuardSettings
    tiers: Mapping[str, TierSettings]
    strategies: Mapping[str, StrategySettings]
    heard_boot_s: Mapping[str, float]
    book: BookSnapshot
    kill: KillSnapshot
    health: HealthSnapshot
    universe: UniverseSnapshot
    catalog: CatalogSnapshot
    latches: tuple[Latch, ...]
    draining: bool
    quote: Quote | None
    quote_doubted: bool
    nav_usd: Decimal | None
    unpriced: tuple[str, ...]

    @property
    def product(self) -> Product | None:
        return next((one for one in self.catalog.products if one.product_id == self.proposal.product_id), None)

    @property
    def entry(self) -> UniverseEntry | None:
        return next((one for one in self.universe.entries if one.product_id == self.proposal.product_id), None)

    @property
    def tier(self) -> TierSettings | None:
        entry = self.entry
        return self.tiers.get(entry.tier) if entry else None

    @property
    def held(self) -> tuple[BookPosition, ...]:
        return tuple(
            one
            for one in self.book.positions
            if one.product_id == self.proposal.product_id
            and not one.dust
            and max(one.seen_size, one.booked_size) > ZERO
        )

    @property
    def is_requote(self) -> bool:
        return self.proposal.requote > 0


Rule = Callable[[Case], Denied | None]
