"""The bot on the virtual stage for a backtest: its real machines with the live configuration, and a venue with costs.

Only paces that cost time and decide nothing are changed: how often snapshots are repeated, and the leases on them (no
process dies here). Health is one steady snapshot; what moves with the market (regime, eligibility, guards) is live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from math import ceil
from typing import Any

from attrs import evolve

from exchange.coinbase.fences import Beat, Fences
from exchange.coinbase.gateway import GatewayMachine
from exchange.simulator.accounts import FeeTier
from exchange.simulator.execution import Filled, OrderChanged, Settings
from exchange.simulator.matching import Venue
from exchange.simulator.orders import average_price
from exchange.simulator.products import Product as SimProduct
from exchange.simulator.products import make_product
from simulation.fuzz.venue import ORDINARY, FuzzVenue, WireSettings, words_of
from simulation.fuzz.wire import GatewayWire
from simulation.stage import VirtualStage
from simulation.store import KillStore
from trading.costs import CostSettings
from trading.exits import ExitsMachine
from trading.kill_switch import KillSwitchMachine, KillSwitchSettings
from trading.machine import Effects, Incarnation, Instant, QuietMachine, Rows, Send, Wake, Woke
from trading.messages.control import Breaker, CatalogSnapshot, HealthSnapshot
from trading.messages.market import Quote
from trading.messages.orders import Fees, OrderOutcome, OrderUpdate, PageItem, PlaceOrder, Query, QueryKind
from trading.oms import OmsMachine
from trading.product import Product
from trading.risk import RiskMachine
from trading.strategies.registry import collect
from trading.symbol import SymbolMachine
from trading.tiers import groups_of
from trading.universe import UniverseMachine
from trading.values import Side, account_tag

PORTFOLIO = "00000000-0000-4000-8000-00000000ba57"
CALM_S = 3_600.0
"""How often snapshots are repeated here, instead of each half second."""


class BacktestStage(VirtualStage):
    """The virtual stage with one more thing: venue time may jump while nothing is in flight."""

    def skip_to(self, venue_s: float) -> None:
        """Venue time is `venue_s` from now on; real time (leases, timers) stands still over the jump."""
        if venue_s > self.now.venue_s:
            self._venue_0_s = venue_s - self.boot_s * self.speed
            self._now = None

    def put_inner(self, quote: Quote, *, symbols: bool) -> None:
        """A quote from inside a bar: symbols hear it only while they work an order, so that every strategy decides at bar ends."""
        readers = self._readers.get(quote.product_id, [])
        if symbols or not any(process.role.startswith("symbol:") for process in readers):
            self.put_quote(quote)
            return
        self._readers[quote.product_id] = [process for process in readers if not process.role.startswith("symbol:")]
        try:
            self.put_quote(quote)
        finally:
            self._readers[quote.product_id] = readers


class BacktestVenue(FuzzVenue):
    """The pure matching engine with the account's fee rates and the street worse than the seen quote by the slippage."""

    def __init__(self, stage: VirtualStage, products: list[SimProduct], costs: CostSettings, tag: str) -> None:
        wire = WireSettings(there_s=costs.latency_s, back_s=costs.latency_s, engine=Settings(settle_s=0.2))
        super().__init__(stage, products, costs.start_cash_usd, tag, wire)
        self.before_placing: Callable[[str], None] = lambda _product: None
        self.fees = Fees(maker_rate=costs.maker_rate, taker_rate=costs.taker_rate, tier="backtest")
        tier = FeeTier(name="backtest", from_usd=Decimal(0), maker=costs.maker_rate, taker=costs.taker_rate)
        self.engine = Venue(
            products, {"USD": costs.start_cash_usd}, (tier,), settings=wire.engine, now_s=stage.now.venue_s
        )

    def place(self, order: PlaceOrder, minted_boot_s: float) -> OrderOutcome:
        self.before_placing(order.body.product_id)
        return super().place(order, minted_boot_s)

    def page(self, query: Query) -> tuple[PageItem, ...]:
        if query.kind is QueryKind.FEES:
            return (self.fees,)
        return super().page(query)


class _Frame:
    """What turns a mid into prices of one product: factors in ticks, and the newest mid."""

    __slots__ = (
        "ask_factor",
        "bid_factor",
        "depth_usd",
        "mid",
        "size",
        "street_ask_factor",
        "street_bid_factor",
        "tick",
    )

    def __init__(self, tick: Decimal, half: float, slip: float, depth_usd: float) -> None:
        self.tick = tick
        per_tick = 1.0 / float(tick)
        self.bid_factor, self.ask_factor = per_tick * (1 - half), per_tick * (1 + half)
        self.street_bid_factor, self.street_ask_factor = per_tick * (1 - half - slip), per_tick * (1 + half + slip)
        self.depth_usd = depth_usd
        self.size = Decimal(1)
        self.mid = 0.0

    def price(self, ticks: int) -> Decimal:
        return self.tick * ticks


class SteadyCatalog(QuietMachine):
    """The catalog of a backtest: products do not change, fees are the cost model's, the data is always fresh."""

    role = "catalog"

    def __init__(self, *, me: Incarnation, products: tuple[Product, ...], fees: Fees) -> None:
        self.me = me
        self.known = products
        self.fees = fees
        self.n = 0

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return self._publish(now)

    def handle(self, message: object, now: Instant) -> Effects:
        return self._publish(now) if isinstance(message, Woke) else ()

    def _publish(self, now: Instant) -> Effects:
        self.n += 1
        snapshot = CatalogSnapshot(
            n=self.n, products=self.known, fees=self.fees, fetched_boot_s=now.boot_s, incarnation=self.me
        )
        receivers = ("risk", "oms", "exits", "gateway", "universe", *(f"symbol:{p.product_id}" for p in self.known))
        return [
            *(Send(role, snapshot) for role in receivers),
            Wake("publish", now.boot_s + (1.0 if self.n < 4 else CALM_S)),
        ]


class SteadyHealth(QuietMachine):
    """The health monitor of a backtest: its one breaker is measured and closed; there is no process and no feed to fail."""

    role = "health_monitor"

    def __init__(self, *, me: Incarnation, symbols: tuple[str, ...]) -> None:
        self.me = me
        self.receivers = ("risk", "oms", "exits", *symbols)
        self.n = 0

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return self._publish(now)

    def handle(self, message: object, now: Instant) -> Effects:
        return self._publish(now) if isinstance(message, Woke) else ()

    def _publish(self, now: Instant) -> Effects:
        self.n += 1
        steady = Breaker(code="backtest", open=False, measured=True, since_boot_s=now.boot_s)
        snapshot = HealthSnapshot(n=self.n, breakers=(steady,), incarnation=self.me)
        wait_s = 1.0 if self.n < 4 else CALM_S
        return [*(Send(role, snapshot) for role in self.receivers), Wake("publish", now.boot_s + wait_s)]


class BacktestWorld:
    """Builds the stage; `quote` moves one product's market, `busy` tells whether something is in flight."""

    def __init__(
        self, *, config: Any, costs: CostSettings, products: tuple[str, ...], start_s: float, seed: int, config_hash: str,
        bar_s: tuple[int, int, int], volumes_usd: Mapping[str, float], strategies: tuple[Any, ...] = (),
    ) -> None:  # fmt: skip
        self.costs = costs
        self.config = config
        self.stage = BacktestStage(seed=seed, venue_s=start_s, latency_s=0.0002)
        self.tag = account_tag(PORTFOLIO)
        self.sim = {name: make_product(name) for name in products}
        self.tier_of = groups_of(config.universe.tiers, config.universe.themes)
        self.venue = BacktestVenue(self.stage, list(self.sim.values()), costs, self.tag)
        self.products = tuple(_metadata(self.sim[name], volumes_usd.get(name, 0.0)) for name in products)
        self._frames = {name: self._frame(name) for name in products}
        self.venue.before_placing = self.street
        self._sequence = 0
        self.venue.changed.append(self._changed)
        self.venue.filled.append(self._filled)
        self._build(config, config_hash, bar_s, strategies or collect())

    def _build(self, config: Any, config_hash: str, bar_s: tuple[int, int, int], strategies: tuple[Any, ...]) -> None:
        stage = self.stage
        oms = evolve(config.oms, snapshot_every_s=CALM_S, reconcile_every_s=CALM_S)
        risk = evolve(config.risk, lease_s=float("inf"), metadata_age_s_max=float("inf"))
        symbol = evolve(config.symbol, bar_s=bar_s)
        gateway = evolve(config.gateway, posting=evolve(config.gateway.posting, **_never_stale(config.gateway.posting)))
        stage.add(
            "gateway",
            lambda me: GatewayMachine(me=me, fences=self._fences, settings=gateway),
            shell=GatewayWire(stage, self.venue, lambda *_: ORDINARY),
        )
        kill = KillSwitchSettings()
        stage.add(
            "kill_switch",
            lambda me: KillSwitchMachine(settings=kill, me=me, products=tuple(self.sim)),
            store=KillStore(),
        )
        symbols = tuple(f"symbol:{name}" for name in self.sim)
        stage.add("health_monitor", lambda me: SteadyHealth(me=me, symbols=symbols))
        stage.add("catalog", lambda me: SteadyCatalog(me=me, products=self.products, fees=self.venue.fees))
        stage.add("universe", lambda me: UniverseMachine(settings=config.universe, me=me, guards=config.symbol.guards))
        stage.add("oms", lambda me: OmsMachine(settings=oms, me=me, tag=self.tag), bell=False)
        stage.add("exits", lambda me: ExitsMachine(settings=config.exits, me=me, caps=config.risk.caps))
        stage.add(
            "risk",
            lambda me: RiskMachine(
                settings=risk, me=me, tiers=config.universe.tiers, themes=config.universe.themes,
                strategies=config.symbol.strategies, guards=config.symbol.guards,
            ),
            bell=False,
        )  # fmt: skip
        for name in self.sim:
            stage.add(
                f"symbol:{name}",
                lambda me, name=name: SymbolMachine(  # type: ignore[misc]
                    product_id=name, settings=symbol, me=me, strategies=strategies, config_hash=config_hash
                ),
            )

    def _fences(self) -> Fences:
        beat = Beat(run=1, state="ready", boot_s=self.stage.boot_s)
        return Fences(killed=False, kill_cause="", guardian_run=0, drain_run=0, beat=beat)

    # -- the market -------------------------------------------------------------------------------------------------

    def _frame(self, name: str) -> _Frame:
        row = self.costs.of(self.tier_of.tier(name) or "")
        return _Frame(self.sim[name].price_increment, row.half_spread_bps / 1e4, row.slippage_bps / 1e4, row.depth_usd)

    def quote(self, name: str, mid: float, *, inner: bool = False, symbols: bool = True) -> None:
        """One product's market moves to `mid` at the present venue time: the seen quote, and the street behind it.

        inner: inside a bar; symbols: whether the product's symbol hears it all the same.
        """
        frame = self._frames[name]
        now = self.stage.now
        bid_ticks = int(mid * frame.bid_factor)
        bid = frame.price(bid_ticks)
        ask = frame.price(max(ceil(mid * frame.ask_factor), bid_ticks + 1))
        size = frame.size
        frame.mid = mid
        if not self.venue.engine.books[name].idle:
            self.street(name)
        self._sequence += 1
        depth = frame.depth_usd
        quote = Quote(name, bid, ask, size, size, now.venue_s, now.boot_s, now.boot_s, self._sequence, depth, depth)
        if inner:
            self.stage.put_inner(quote, symbols=symbols)
        else:
            self.stage.put_quote(quote)

    def street(self, name: str) -> None:
        """Tell the venue what `quote` said last: at once while orders rest there, else only when one is about to arrive."""
        frame = self._frames[name]
        bid_ticks = max(1, int(frame.mid * frame.street_bid_factor))
        ask = frame.price(max(ceil(frame.mid * frame.street_ask_factor), bid_ticks + 1))
        self.venue.quote(name, frame.price(bid_ticks), ask, Decimal(repr(round(frame.depth_usd / frame.mid, 8))))

    # -- the user channel ---------------------------------------------------------------------------------------------

    def _changed(self, changed: OrderChanged) -> None:
        self._tell(str(changed.order.get("order_id", "")))

    def _filled(self, filled: Filled) -> None:
        self._tell(filled.fill.order_id)

    def _tell(self, venue_order_id: str) -> None:
        order = self.venue.engine.orders.get(venue_order_id)
        if order is None:
            return
        words = words_of(order)
        update = OrderUpdate(
            venue_order_id=order.order_id, client_order_id=order.client_order_id, product_id=words.product_id,
            side=Side(order.side), status=words.status, cumulative_size=order.filled_size,
            average_price=Decimal(average_price(order)), fees_usd=order.fees, exchange_s=self.venue.now_s,
            received_boot_s=self.stage.boot_s,
        )  # fmt: skip
        self.stage.post("oms", update, self.costs.latency_s)


def _never_stale(posting: Any) -> dict[str, float]:
    """Metadata ages in real time, which stands still over a jump; every other test at the wire stays as it is."""
    return {"metadata_age_s_max": float("inf")} if hasattr(posting, "metadata_age_s_max") else {}


def _metadata(sim: SimProduct, volume_usd: float) -> Product:
    return Product(
        product_id=sim.product_id, base_currency=sim.base, quote_currency=sim.quote, price_increment=sim.price_increment,
        base_increment=sim.base_increment, quote_increment=sim.quote_increment, base_size_min=sim.base_min_size,
        base_size_max=sim.base_max_size, quote_size_min=sim.quote_min_size, quote_size_max=sim.quote_max_size,
        volume_24h_quote_usd=volume_usd,
    )  # fmt: skip
