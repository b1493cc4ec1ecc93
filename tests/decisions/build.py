"""Builders for decision tests: a moment, a market, a book, and a risk machine that hears everybody."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from attrs import evolve

from trading.data_guards import DataGuardSettings
from trading.machine import Instant, Note, Save, Send
from trading.messages.book import BookOrder, BookPosition, BookSnapshot, Cooldown, Counters, Recovery
from trading.messages.control import (
    Breaker,
    CatalogSnapshot,
    HealthSnapshot,
    KillSnapshot,
    UniverseEntry,
    UniverseSnapshot,
)
from trading.messages.decisions import Approved, EntryPolicy, ExitPlan, Proposal, Verdict
from trading.messages.market import Bar, Quote
from trading.messages.orders import Fees
from trading.product import Product
from trading.risk import RiskMachine
from trading.risk_settings import RiskSettings
from trading.strategies.registry import StrategySettings
from trading.tiers import TierSettings, default_themes, default_tiers
from trading.values import Purpose, Side

D = Decimal
T0 = 1_760_000_400.0  # 2025-10-09 09:00:00 UTC, a full hour
BOOT0 = 10_000.0
ME = (1, 1)


def at(seconds: float = 0.0, *, trusted: bool = True, speed: float = 1.0) -> Instant:
    """`seconds` of real time after the start."""
    return Instant(venue_s=T0 + seconds * speed, trusted=trusted, boot_s=BOOT0 + seconds, speed=speed)


def product(product_id: str = "BTC-USD", **changes: Any) -> Product:
    base, quote = product_id.split("-")
    made = Product(
        product_id=product_id,
        base_currency=base,
        quote_currency=quote,
        price_increment=D("0.01"),
        base_increment=D("0.00000001"),
        quote_increment=D("0.01"),
        base_size_min=D("0.00000001"),
        base_size_max=D("100000"),
        quote_size_min=D(1),
        quote_size_max=D(10_000_000),
        volume_24h_quote_usd=50_000_000.0,
    )
    return evolve(made, **changes)


def quote(
    price: float | str = "100",
    now: Instant | None = None,
    *,
    product_id: str = "BTC-USD",
    spread_bps: float = 2.0,
    depth: float | None = 500_000.0,
    age_s: float = 0.0,
    volume: float | None = None,
    alive: bool = True,
) -> Quote:
    now = now or at()
    mid = D(str(price))
    half = mid * D(str(spread_bps)) / 20_000
    return Quote(
        product_id=product_id,
        bid=mid - half,
        ask=mid + half,
        bid_size=D(1),
        ask_size=D(1),
        exchange_s=now.venue_s - age_s * now.speed,
        received_boot_s=now.boot_s - age_s,
        alive_boot_s=now.boot_s if alive else 0.0,
        depth_bid_usd=depth,
        depth_ask_usd=depth,
        volume_24h_base=volume,
    )


def bar(
    close: float,
    start_s: float,
    *,
    bar_s: int = 300,
    open_: float | None = None,
    high: float | None = None,
    low: float | None = None,
    volume: float = 10.0,
    product_id: str = "BTC-USD",
    backfill: bool = False,
) -> Bar:
    open_ = close if open_ is None else open_
    return Bar(
        product_id=product_id,
        bar_s=bar_s,
        start_s=int(start_s),
        open=open_,
        high=max(open_, close) if high is None else high,
        low=min(open_, close) if low is None else low,
        close=close,
        volume=volume,
        backfill=backfill,
    )


def quiet_bars(
    price: float = 100.0, *, bars: int = 300, bar_s: int = 300, end_s: float = T0, product_id: str = "BTC-USD"
) -> list[Bar]:
    """History that hardly moves and ends at `end_s`: a wave of 0.1 %."""
    out = []
    before = price
    for back in range(bars, 0, -1):
        close = price * (1.0 + 0.001 * math.sin(back / 5.0))
        out.append(bar(close, end_s - back * bar_s, bar_s=bar_s, open_=before, product_id=product_id, backfill=True))
        before = close
    return out


def position(
    product_id: str = "BTC-USD",
    size: str | Decimal = "0.1",
    *,
    price: str | Decimal = "100",
    strategy: str = "price_move",
    **changes: Any,
) -> BookPosition:
    size, price = D(size), D(price)
    made = BookPosition(
        position_id=f"pos-{product_id}",
        product_id=product_id,
        strategy=strategy,
        seen_size=size,
        booked_size=size,
        average_price=price,
        cost_usd=size * price,
        fees_usd=D(0),
        opened_s=T0 - 3600,
        stop_price=price * D("0.94"),
        target_price=price * D("1.12"),
        trailing_pct=None,
        peak_price=price,
        hold_until_s=T0 + 48 * 3600,
        exit_n=0,
        exits_open_size=D(0),
    )
    return evolve(made, **changes)


def entry_order(
    product_id: str = "BTC-USD",
    size: str | Decimal = "1",
    limit: str | Decimal = "100",
    *,
    strategy: str = "price_move",
    status: str = "accepted",
    **changes: Any,
) -> BookOrder:
    size, limit = D(size), D(limit)
    made = BookOrder(
        intent_id=f"intent-{product_id}",
        client_order_id=f"bh-test-{product_id}",
        proposal_id=f"prop-{product_id}",
        plan_id=f"prop-{product_id}",
        product_id=product_id,
        side=Side.BUY,
        purpose=Purpose.ENTRY,
        strategy=strategy,
        status=status,
        base_size=size,
        limit_price=limit,
        filled_size=D(0),
        worst_usd=size * limit * D("1.006"),
        saved_s=T0,
    )
    return evolve(made, **changes)


def book(n: int = 1, *, cash: str | Decimal = "10000", **changes: Any) -> BookSnapshot:
    made = BookSnapshot(
        version=((1, 1), n),
        recovery=Recovery.RECONCILED,
        writable=True,
        draining=False,
        orders=(),
        positions=(),
        cooldowns=(),
        counters=Counters(),
        quote_available_usd=D(cash),
        quote_total_usd=D(cash),
        foreign=(),
        unbooked=(),
        admitted_recently=(),
        flows_usd=D(0),
        realised_today_usd=D(0),
        realised_week_usd=D(0),
        balances_complete_boot_s=BOOT0,
        unknown_products=(),
        drift_usd=D(0),
        drift_count=0,
        taken_boot_s=BOOT0,
    )
    return evolve(made, **changes)


def cooldown(product_id: str = "BTC-USD", kind: str = "loss", left_s: float = 600.0, reason: str = "test") -> Cooldown:
    return Cooldown(product_id=product_id, kind=kind, until_s=T0 + left_s, reason=reason)


def proposal(
    product_id: str = "BTC-USD",
    now: Instant | None = None,
    *,
    proposal_id: str = "p1",
    limit: str | Decimal = "100",
    **changes: Any,
) -> Proposal:
    now = now or at()
    made = Proposal(
        proposal_id=proposal_id,
        product_id=product_id,
        strategy="price_move",
        trigger="price_move",
        reason="it rose",
        values=(),
        conviction=0.6,
        notional_usd=D(10_000),
        limit_price=D(limit),
        post_only=True,
        plan=ExitPlan(stop_pct=D(6), target_pct=D(12)),
        policy=EntryPolicy(),
        quote_exchange_s=now.venue_s,
        quote_received_boot_s=now.boot_s,
        decided_boot_s=now.boot_s,
        valid_until_boot_s=now.boot_s + 2.0,
        plan_id=proposal_id,
        volatility_pct=50.0,
    )
    return evolve(made, **changes)


def healthy() -> HealthSnapshot:
    return HealthSnapshot(n=1, breakers=(Breaker(code="api_health", open=False, measured=True),))


def universe_of(
    products: tuple[str, ...], *, multiplier: float = 1.0, regime: str = "chop", **changes: Any
) -> UniverseSnapshot:
    themes = {name: theme for theme, names in default_themes().items() for name in names}
    tiers = {name: tier for tier, row in default_tiers().items() for name in row.products}
    entries = tuple(
        evolve(
            UniverseEntry(
                product_id=name,
                tier=tiers.get(name, "T3"),
                theme=themes.get(name, "OTHER"),
                eligible=True,
                size_multiplier=multiplier,
                taker_cost_bps_max=default_tiers()[tiers.get(name, "T3")].slippage_bps_max,
            ),
            **changes,
        )
        for name in products
    )
    return UniverseSnapshot(n=1, entries=entries, regime=regime, regime_confidence=0.8)


def catalog_of(products: tuple[str, ...], now: Instant, **changes: Any) -> CatalogSnapshot:
    fees = Fees(maker_rate=D("0.004"), taker_rate=D("0.006"), tier="Intro 1")
    made = CatalogSnapshot(
        n=1, products=tuple(product(name) for name in products), fees=fees, fetched_boot_s=now.boot_s
    )
    return evolve(made, **changes)


class RiskWorld:
    """A risk machine with everybody well: `hear()` renews all permissions, `judge()` sends a proposal."""

    def __init__(
        self,
        products: tuple[str, ...] = ("BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD", "LINK-USD", "XRP-USD"),
        *,
        settings: RiskSettings | None = None,
        tiers: dict[str, TierSettings] | None = None,
        strategies: dict[str, StrategySettings] | None = None,
        rows: Any = None,
        me: tuple[int, int] = ME,
    ) -> None:
        self.names = products
        self.effects: list[Any] = []
        self.kill = KillSnapshot(n=1, engaged=False)
        self.health = healthy()
        self.universe = universe_of(products)
        self.catalog = catalog_of(products, at())
        self.book = book()
        self.prices: dict[str, float] = dict.fromkeys(products, 100.0)
        self.machine = RiskMachine(
            settings=settings or RiskSettings(),
            me=me,
            tiers=tiers or default_tiers(),
            themes=default_themes(),
            strategies=strategies or {"price_move": StrategySettings(enabled=True, budget_pct=D(15))},
            guards=DataGuardSettings(),
        )
        self.take(self.machine.recover(rows or {}, at()))

    def take(self, effects: Any) -> list[Any]:
        effects = list(effects)
        self.effects += effects
        return effects

    def say(self, message: Any, now: Instant | None = None) -> list[Any]:
        return self.take(self.machine.handle(message, now or at()))

    def quotes(self, now: Instant | None = None, **changes: Any) -> None:
        now = now or at()
        for name in self.names:
            self.machine.on_quote(quote(self.prices[name], now, product_id=name, **changes), now)

    def hear(self, now: Instant | None = None, *, leave_out: str = "") -> None:
        now = now or at()
        self.quotes(now)
        for role, message in (
            ("kill_switch", self.kill),
            ("health_monitor", self.health),
            ("universe", self.universe),
            ("catalog", self.catalog),
            ("oms", evolve(self.book, taken_boot_s=now.boot_s)),
        ):
            if role != leave_out:
                self.say(message, now)

    def judge(self, one: Proposal | None = None, now: Instant | None = None) -> Approved | Verdict | None:
        """What risk says at once: Approved (to oms), Verdict (to the symbol), or None while it holds."""
        now = now or at()
        return said(self.say(one or proposal(now=now), now))


def said(effects: list[Any]) -> Approved | Verdict | None:
    for effect in effects:
        if isinstance(effect, Send) and isinstance(effect.message, Approved | Verdict):
            return effect.message
    return None


def sends(effects: Any, kind: type, role: str | None = None) -> list[Any]:
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, kind) and role in (None, effect.role)
    ]


def notes(effects: Any, kind: str = "decision") -> list[Any]:
    return [effect.values for effect in effects if isinstance(effect, Note) and effect.kind == kind]


def saves(effects: Any, table: str | None = None) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, Save) and table in (None, effect.table)]


def rows_of(effects: Any) -> dict[str, dict[str, Any]]:
    """What a store would give back to `recover` after these effects were committed."""
    tables: dict[str, dict[str, Any]] = {}
    for effect in effects:
        if isinstance(effect, Save):
            tables.setdefault(effect.table, {})[effect.key] = effect.row
    return {table: {key: row for key, row in rows.items() if row.get("live", True)} for table, rows in tables.items()}
