"""The bot on the virtual stage for a backtest: its real machines with the live configuration, and a venue with costs.

Only paces that cost time and decide nothing are changed: how often snapshots are repeated, how many looks the universe takes
at what changes each two hours, and the leases on snapshots (no process dies here). What moves with the market (regime,
eligibility, guards, the breakers that the universe measures) is live.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import ceil, floor
from typing import Any

from attrs import evolve

from exchange.coinbase.fences import Beat, Fences
from exchange.coinbase.gateway import GatewayMachine
from exchange.simulator.accounts import FeeTier
from exchange.simulator.book import Book
from exchange.simulator.execution import Filled, OrderChanged, Settings
from exchange.simulator.matching import Venue
from exchange.simulator.orders import average_price
from exchange.simulator.products import Product as SimProduct
from exchange.simulator.products import make_product
from simulation.backtest.stage import CALM_S, PACE_S, BacktestStage
from simulation.backtest.volumes import Volumes
from simulation.fuzz.venue import ORDINARY, FuzzVenue, WireSettings, words_of
from simulation.fuzz.wire import GatewayWire
from simulation.store import KillStore
from trading.breakers import BreakerRule, BreakerState
from trading.costs import CostSettings, TierCosts
from trading.exits import ExitsMachine
from trading.health_monitor import breaker_rules
from trading.kill_switch import KillSwitchMachine, KillSwitchSettings
from trading.machine import NO_INCARNATION, Effect, Effects, Incarnation, Instant, QuietMachine, Rows, Send, Wake, Woke
from trading.messages.control import Breaker, CatalogSnapshot, HealthSnapshot, Measured
from trading.messages.market import Bar, Quote
from trading.messages.orders import Fees, OrderOutcome, OrderUpdate, PageItem, PlaceOrder, Query, QueryKind
from trading.oms import OmsMachine
from trading.product import Product
from trading.risk import RiskMachine
from trading.strategies.registry import collect
from trading.symbol import SymbolMachine
from trading.tiers import groups_of
from trading.universe import UniverseMachine
from trading.values import ZERO, Side, account_tag

PORTFOLIO = "00000000-0000-4000-8000-00000000ba57"


REPEAT_S = 3_600.0
"""How often symbols hear an unchanged slice of the book: no mail is lost here, and the clock jumps over live's ten seconds."""
LOOK_S = 0.01
"""Between new volumes, the universe's look at them, and what it tells health: each hears the one before."""


class BacktestVenue(FuzzVenue):
    """The pure matching engine with the account's fee rates; a taker finds the street worse than the seen quote."""

    def __init__(self, stage: BacktestStage, products: list[SimProduct], costs: CostSettings, tag: str) -> None:
        wire = WireSettings(there_s=costs.latency_s, back_s=costs.latency_s, engine=Settings(settle_s=0.2))
        super().__init__(stage, products, costs.start_cash_usd, tag, wire)
        self.street: Callable[[str, Decimal], None] = lambda _product, _taken: None
        self.fees = Fees(maker_rate=costs.maker_rate, taker_rate=costs.taker_rate, tier="backtest")
        tier = FeeTier(name="backtest", from_usd=Decimal(0), maker=costs.maker_rate, taker=costs.taker_rate)
        self.engine = Venue(
            products, {"USD": costs.start_cash_usd}, (tier,), settings=wire.engine, now_s=stage.now.venue_s
        )

    def place(self, order: PlaceOrder, minted_boot_s: float) -> OrderOutcome:
        body = order.body
        if body.post_only:
            self.street(body.product_id, ZERO)
            return super().place(order, minted_boot_s)
        self.street(body.product_id, body.base_size)
        outcome = super().place(order, minted_boot_s)
        self.street(body.product_id, ZERO)
        return outcome

    def page(self, query: Query) -> tuple[PageItem, ...]:
        if query.kind is QueryKind.FEES:
            return (self.fees,)
        return super().page(query)


class _Frame:
    """What turns a mid into prices of one product: factors in ticks, and the newest mid."""

    __slots__ = (
        "ask_factor",
        "bid_factor",
        "book",
        "depth_usd",
        "mid",
        "per_tick",
        "size",
        "tick",
        "tick_ratio",
        "tier",
        "watched",
    )

    def __init__(self, tick: Decimal, tier: str, costs: TierCosts, book: Book) -> None:
        self.tick = tick
        self.tier = tier
        self.tick_ratio = tick.as_integer_ratio()
        self.per_tick = 1.0 / float(tick)
        half = costs.half_spread_bps / 1e4
        self.bid_factor, self.ask_factor = self.per_tick * (1 - half), self.per_tick * (1 + half)
        self.depth_usd = costs.depth_usd
        self.size = Decimal(1)
        self.mid = 0.0
        self.book = book
        self.watched = False
        """Whether an order was placed since the venue's book of this product was last seen empty."""

    def quote(self, name: str, mid: float, venue_s: float, boot_s: float, sequence: int) -> Quote:
        """The seen quote around `mid`, on the product's ticks and at least one of them wide."""
        bid_ticks, ask_ticks = floor(mid * self.bid_factor), ceil(mid * self.ask_factor)
        if ask_ticks <= bid_ticks:
            ask_ticks = bid_ticks + 1
        tick, size, depth = self.tick, self.size, self.depth_usd
        per, of = self.tick_ratio  # whole numbers, so that the floats are exactly those of the Decimals
        return Quote(
            name, tick * bid_ticks, tick * ask_ticks, size, size, venue_s, boot_s, boot_s, sequence, depth, depth,
            NO_INCARNATION, None, None, bid_ticks * per / of, ask_ticks * per / of,
        )  # fmt: skip


class SteadyCatalog(QuietMachine):
    """The catalog of a backtest: fees are the cost model's, the data is always fresh, and of the products only the volume moves."""

    role = "catalog"

    def __init__(self, *, me: Incarnation, products: tuple[Product, ...], fees: Fees) -> None:
        self.me = me
        self.known = products
        self.fees = fees
        self.n = 0

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return self._publish(now)

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Volumes(usd=usd):
                self.known = tuple(evolve(p, volume_24h_quote_usd=usd.get(p.product_id)) for p in self.known)
                self.n += 1
                return (Send("universe", self._snapshot(now)),)  # nobody else asks for volumes
            case Woke():
                return self._publish(now)
        return ()

    def _snapshot(self, now: Instant) -> CatalogSnapshot:
        return CatalogSnapshot(
            n=self.n, products=self.known, fees=self.fees, fetched_boot_s=now.boot_s, incarnation=self.me
        )

    def _publish(self, now: Instant) -> Effects:
        self.n += 1
        snapshot = self._snapshot(now)
        receivers = ("risk", "oms", "exits", "gateway", "universe", *(f"symbol:{p.product_id}" for p in self.known))
        return [
            *(Send(role, snapshot) for role in receivers),
            Wake("publish", now.boot_s + (1.0 if self.n < 4 else CALM_S)),
        ]


class MarketHealth(QuietMachine):
    """The health monitor of a backtest: the breakers that the universe measures, by the live rules; no process and no feed
    can fail here. A market with too few products for `empty_universe` ever to close is played without it, and warned of.
    """

    role = "health_monitor"

    def __init__(self, *, me: Incarnation, symbols: tuple[str, ...], rules: tuple[BreakerRule, ...]) -> None:
        self.me = me
        self.receivers = ("risk", "oms", "exits", *symbols)
        self.states = tuple(BreakerState(rule, measured=True) for rule in rules)
        self.readings: dict[str, float] = {}
        self.n = 0

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return self._publish(now)

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Measured(source="universe"):
                self.readings = dict(message.readings)
                return self._read(now)
            case Woke(key="hold"):
                return self._read(now)
            case Woke():
                return self._publish(now)
        return ()

    def _read(self, now: Instant) -> list[Effect]:
        """All breakers against the newest readings; again when an open one has been well for as long as it must."""
        changed = [one.read(self.readings.get(one.rule.reading), now.boot_s) for one in self.states]
        holds = [one.good_since + one.rule.hold_s for one in self.states if one.open and one.good_since is not None]
        # Further ahead than a pace, so that it rings after the next jump instead of standing aside.
        again = Wake("hold", max(min(holds), now.boot_s + 2 * PACE_S) if holds else None)
        return [*(self._tell() if any(changed) else ()), again]

    def _tell(self) -> list[Effect]:
        self.n += 1
        steady = Breaker(code="backtest", open=False, measured=True, since_boot_s=0.0)
        breakers = (steady, *(state.snapshot() for state in self.states))
        snapshot = HealthSnapshot(n=self.n, breakers=breakers, incarnation=self.me)
        return [Send(role, snapshot) for role in self.receivers]

    def _publish(self, now: Instant) -> list[Effect]:
        wait_s = 1.0 if self.n < 3 else CALM_S
        return [*self._tell(), Wake("publish", now.boot_s + wait_s)]


class BacktestWorld:
    """Builds the stage; `quote` moves one product's market, `busy` tells whether something is in flight."""

    def __init__(
        self, *, config: Any, costs: CostSettings, products: tuple[str, ...], start_s: float, seed: int, config_hash: str,
        bar_s: tuple[int, int, int], strategies: tuple[Any, ...] = (),
    ) -> None:  # fmt: skip
        self.costs = costs
        self.config = config
        self.stage = BacktestStage(seed=seed, venue_s=start_s, latency_s=0.0002)
        self.tag = account_tag(PORTFOLIO)
        self.sim = {name: make_product(name) for name in products}
        self.tier_of = groups_of(config.universe.tiers, config.universe.themes)
        self.venue = BacktestVenue(self.stage, list(self.sim.values()), costs, self.tag)
        self.products = tuple(_metadata(self.sim[name]) for name in products)
        self._frames = {name: self._frame(name) for name in products}
        self.venue.street = self.street
        self._sequence = 0
        self.venue.changed.append(self._changed)
        self.venue.filled.append(self._filled)
        self._build(config, config_hash, bar_s, strategies or collect())

    def _build(self, config: Any, config_hash: str, bar_s: tuple[int, int, int], strategies: tuple[Any, ...]) -> None:
        stage = self.stage
        oms = evolve(config.oms, snapshot_every_s=CALM_S, reconcile_every_s=CALM_S)
        # Volumes change each two hours here, spreads and depths never: a second look would only see the same again.
        universe = evolve(config.universe, ineligible_grace=1, eligible_grace=1)
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
        rules = tuple(
            rule
            for rule in breaker_rules(config.health_monitor)
            if rule.source == "universe"
            and not (rule.code == "empty_universe" and len(self.sim) < universe.eligible_min)
        )
        stage.add("health_monitor", lambda me: MarketHealth(me=me, symbols=symbols, rules=rules))
        stage.add("catalog", lambda me: SteadyCatalog(me=me, products=self.products, fees=self.venue.fees))
        stage.add(
            "universe",
            lambda me: UniverseMachine(settings=universe, me=me, guards=config.symbol.guards),
            bell=False,
        )
        stage.add("oms", lambda me: OmsMachine(settings=oms, me=me, tag=self.tag, repeat_s=REPEAT_S), bell=False)
        stage.add("exits", lambda me: ExitsMachine(settings=config.exits, me=me, caps=config.risk.caps, tells=False))
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
        tier = self.tier_of.tier(name) or ""
        return _Frame(self.sim[name].price_increment, tier, self.costs.of(tier), self.venue.engine.books[name])

    def quote(self, name: str, mid: float, *, symbols: bool = True) -> None:
        """One product's market moves to `mid` at the present venue time: the seen quote, and the street behind it.

        symbols: whether its symbol hears it. Inside a bar it does only while it works an order, so that every strategy
        decides at bar ends.
        """
        frame = self._frames[name]
        stage = self.stage
        now = stage._now or stage.now
        frame.mid = mid
        if frame.watched:
            self._watch(name, frame)
        self._sequence += 1
        stage.show(frame.quote(name, mid, now.venue_s, now.boot_s, self._sequence), symbols=symbols)

    def close(self, bars: list[Bar]) -> None:
        """These bars end now: to each product its quote at the close, then its bar. As `quote` does, in one go."""
        stage, frames = self.stage, self._frames
        lanes, slots, carry_out = stage._lanes, stage.slots, stage._carry_out
        now = stage.now
        venue_s, boot_s, sequence = now.venue_s, now.boot_s, self._sequence
        for bar in bars:
            name, mid = bar.product_id, bar.close
            frame = frames[name]
            frame.mid = mid
            if frame.watched:
                self._watch(name, frame)
            sequence += 1
            slots[name] = quote = frame.quote(name, mid, venue_s, boot_s, sequence)
            lane = lanes.get(name) or stage._lane(name)
            for dirty in lane.lazy:
                dirty[name] = None
            for process in lane.bells:
                if process.dirty:
                    process.dirty[name] = None
                    stage._market(process)
                    lane = lanes.get(name) or stage._lane(name)
                elif effects := process.on_quote(quote, now):
                    carry_out(process, quote, effects, now)
                    lane = lanes.get(name) or stage._lane(name)
            for process in lane.bars:
                if effects := process.on_bar(bar, now):
                    carry_out(process, bar, effects, now)
        self._sequence = sequence

    def renew(self, volumes: Volumes | None) -> None:
        """The universe measures; before that, when there are new volumes, the catalog hears them and the universe looks.

        At a bar's end, when no quote is old.
        """
        if volumes is not None:
            self.stage.post("catalog", volumes)
            self.stage.post("universe", Woke("review"), LOOK_S)
        self.stage.post("universe", Woke("measure"), 2 * LOOK_S)

    def mark(self, name: str) -> float:
        return self._frames[name].mid

    def marks(self) -> dict[str, float]:
        """The newest mid of every product that was quoted."""
        return {name: frame.mid for name, frame in self._frames.items() if frame.mid > 0.0}

    def _watch(self, name: str, frame: _Frame) -> None:
        """The street follows the quote as long as an order of ours rests there."""
        if frame.book.idle:
            frame.watched = False
        else:
            self.street(name)

    def street(self, name: str, taken: Decimal = ZERO) -> None:
        """Tell the venue what `quote` said last: at once while orders rest there, else only when one is about to arrive.

        taken: base units that an arriving taker wants; the street is worse for it by the slippage of its size. What rests
        waits for the seen quote itself: a maker pays no slippage.
        """
        frame = self._frames[name]
        frame.watched = True
        tick, mid = frame.tick, frame.mid
        slip = frame.per_tick * self.costs.slippage_bps(frame.tier, float(taken) * mid) / 1e4 if taken else 0.0
        bid_ticks = max(1, int(mid * (frame.bid_factor - slip)))
        ask_ticks = max(ceil(mid * (frame.ask_factor + slip)), bid_ticks + 1)
        size = Decimal(repr(round(frame.depth_usd / mid, 8)))
        self.venue.quote(name, tick * bid_ticks, tick * ask_ticks, size)

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
    """Metadata is never renewed here; every other test at the wire stays as it is."""
    return {"metadata_age_s_max": float("inf")} if hasattr(posting, "metadata_age_s_max") else {}


def _metadata(sim: SimProduct) -> Product:
    return Product(
        product_id=sim.product_id, base_currency=sim.base, quote_currency=sim.quote, price_increment=sim.price_increment,
        base_increment=sim.base_increment, quote_increment=sim.quote_increment, base_size_min=sim.base_min_size,
        base_size_max=sim.base_max_size, quote_size_min=sim.quote_min_size, quote_size_max=sim.quote_max_size,
    )  # fmt: skip
