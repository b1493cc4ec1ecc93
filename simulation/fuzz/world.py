"""One run of the fault simulation: the safety machines on the virtual stage, the venue, and a schedule that happens to them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from attrs import evolve

from exchange.coinbase.feed_session import USER_BATCH
from exchange.coinbase.gateway import GatewayMachine, GatewaySettings
from exchange.simulator import frames
from exchange.simulator.execution import Filled, OrderChanged
from exchange.simulator.orders import user_json
from exchange.simulator.products import make_product
from simulation.fuzz.fates import Fates
from simulation.fuzz.feeds import FeedWire, MarketFeed, UserFeed
from simulation.fuzz.happenings import Happenings
from simulation.fuzz.schedule import Item, Schedule
from simulation.fuzz.scripted import Proposer, Publisher, Trigger
from simulation.fuzz.settings import machine_settings
from simulation.fuzz.shells import Files, GuardianShell, MainShell, Sweeping
from simulation.fuzz.tree import tree_of
from simulation.fuzz.venue import FuzzVenue, WireSettings
from simulation.fuzz.wire import GatewayWire
from simulation.process import Process, RestartPolicy
from simulation.stage import VirtualStage
from simulation.store import Copy, KillStore
from trading.conductor import ConductorMachine, ConductorSettings
from trading.exits import ExitsMachine
from trading.guardian import GuardianMachine, GuardianSettings
from trading.health_monitor import HealthMonitorMachine
from trading.kill_switch import KillSwitchMachine, KillSwitchSettings
from trading.machine import Effect, Effects, Incarnation, Instant, QuietMachine, Rows, Send
from trading.messages.book import BookSnapshot
from trading.messages.control import FenceSeen, Leave, RootEnded
from trading.messages.decisions import Approved, Verdict
from trading.messages.market import Quote
from trading.messages.orders import OrderUpdate
from trading.oms import OmsMachine
from trading.product import Product
from trading.protections import Protections
from trading.risk import RiskMachine
from trading.values import account_tag

PORTFOLIO = "00000000-0000-4000-8000-000000000001"
PRICES = {
    "BTC-USD": Decimal(60_000),
    "ETH-USD": Decimal(3_000),
    "SOL-USD": Decimal(150),
    "DOGE-USD": Decimal("0.2"),
    "AVAX-USD": Decimal(30),
}
USD = Decimal(10_000)
QUOTED_USD, SIZE_STEP = Decimal(50_000_000), Decimal("0.0001")
WARM_UP_S = 8.0
SUPERVISORS = ("safety", "venue", "trading", "feeds", "symbols", "ops")


class Supervisor(QuietMachine):
    """Stands for a process that has children and no machine."""

    role: ClassVar[str] = "supervisor"

    def __init__(self, me: object) -> None:
        self.me = me

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return ()

    def handle(self, message: object, now: Instant) -> Effects:  # noqa: ARG002
        return ()


class FallibleRisk(RiskMachine):
    """The real risk, which the schedule may spoil: its arithmetic (`wrong_risk`), or its sight of cooldowns and of what
    was admitted (`blind_risk`), to see whether oms asserts by itself.
    """

    def __init__(self, *, world: World, **rest: Any) -> None:
        super().__init__(**rest)
        self._world = world

    def handle(self, message: object, now: Instant) -> Effects:
        if self._world.risk_blind and isinstance(message, BookSnapshot):
            message = evolve(message, cooldowns=(), admitted_recently=(), orders=())
        effects = super().handle(message, now)
        if self._world.risk_factor == 1:
            return effects
        return tuple(self._spoiled(effect) for effect in effects)

    def _spoiled(self, effect: Effect) -> Effect:
        if isinstance(effect, Send) and isinstance(effect.message, Approved):
            approved = effect.message
            return Send(effect.role, evolve(approved, base_size=approved.base_size * self._world.risk_factor))
        return effect


class World(Happenings):
    """Built from a schedule; `warm_up`, then `step` through it. Checkers read it and hang on its hooks."""

    def __init__(self, schedule: Schedule, protections: Protections | None = None, *, trace: bool = False) -> None:
        self.schedule = schedule
        self.protections = protections or Protections()
        q = schedule.quirks
        policy = RestartPolicy(start_s=0.02, hang_s=3.0)
        self.stage = VirtualStage(seed=schedule.seed, speed=q.speed, latency_s=q.mail_s, policy=policy, trace=trace)
        self.stage.save_first = self.protections.save_then_send
        self.stage.role_lock = self.protections.role_lock
        self.stage.incarnation_check = self.protections.incarnation_check
        self.tag = account_tag(PORTFOLIO)
        self.products = {p: _product(p) for p in schedule.products}
        wire = WireSettings(there_s=q.there_s, back_s=q.there_s, engine=q.engine())
        sim = [make_product(p) for p in schedule.products]
        self.venue = FuzzVenue(self.stage, sim, USD, self.tag, wire)
        self.story: list[tuple[float, str]] = []
        self.coverage: Counter[tuple[str, str, str, str]] = Counter()
        self.fates = Fates(self.tell, self.coverage)
        self.kill_store = KillStore()
        self.files = Files(self.kill_store)
        self.gateway_wire = GatewayWire(self.stage, self.venue, self.fates.of_request)
        self.main_shell = MainShell(self.stage, self.venue, self.files, self.fates.of_request)
        self.main_shell.on_leave = self._left
        self.foreign = any(item.what == "deposit" for item in schedule.items)
        self.main_awake_since = 0.0
        self.hooks: list[Callable[[str], None]] = []  # a checker hears of what no event of the stage tells
        self.guardian_shell = GuardianShell(self.stage, self.venue, self.files, self.fates.of_request, self._kill_run)
        self.kill_shell = Sweeping(self.stage, self.venue, self.files, self.fates.of_request)
        self.prices = {p: PRICES[p] for p in schedule.products}
        self.quiet_until = 0.0
        self.deaf_until = 0.0
        self.fresh_until = -1.0
        self.stop_asked_boot_s: float | None = None
        self.told_fills: dict[str, float] = {}  # client order id -> when oms first heard of a fill
        self.t0 = 0.0
        self._commands = 0
        self._probes = 0
        self._chance = random.Random(f"updates:{schedule.seed}")
        self._main_gone = False
        self.risk_factor = 1
        self.risk_blind = False
        self.lost_book = False
        self.adopting_run = 0
        self.backup: Copy = ({}, {})
        self.next_run_boot_s = 0.0
        self._sequence = 0
        self._settings = machine_settings(self.protections, market_feed=q.market_session)
        self.user_wire = FeedWire(
            self.stage, "user", q.there_s, self._user_opening, self.fates.of_frame,
            lambda: self.stage.boot_s < self.deaf_until or not self.venue.answers,
        )  # fmt: skip
        self.market_wire = FeedWire(
            self.stage, "market", q.there_s, self._market_opening, self.fates.of_frame,
            lambda: self.stage.boot_s < self.quiet_until or not self.venue.answers,
        )  # fmt: skip
        self.venue.changed.append(self._tell_update)
        self.venue.filled.append(self._tell_fill)
        self._build()

    # -- construction -------------------------------------------------------------------------------------------

    def _build(self) -> None:
        stage, s, p, q = self.stage, self._settings, self.protections, self.schedule.quirks
        products = tuple(self.products.values())
        tiers = {p: next(name for name, tier in s.tiers.items() if p in tier.products) for p in self.products}
        stage.add(
            "main",
            lambda me: ConductorMachine(settings=_conductor(q.flatten_on_exit), me=me),
            shell=self.main_shell,
            restart=False,
            start=False,
        )
        stage.add("root", Supervisor, parent="main", restart=False, start=False)
        feeds = ("user_feed", "market_feed") if self.schedule.quirks.market_session else ("user_feed",)
        tree = tree_of(tuple(self.products), feeds)
        stage.keep("root", tree)
        for supervisor in tree.children:
            stage.add(supervisor.id, Supervisor, parent="root", start=False)
            stage.keep(supervisor.id, supervisor.start)
        stage.add(
            "kill_switch",
            lambda me: KillSwitchMachine(settings=KillSwitchSettings(), me=me, products=tuple(self.products), protections=p),
            parent="safety", shell=self.kill_shell, store=self.kill_store, start=False,
        )  # fmt: skip
        stage.add(
            "health_monitor", lambda me: HealthMonitorMachine(settings=s.health, me=me), parent="safety", start=False
        )
        for kind, parent in (("universe", "trading"), ("catalog", "feeds")):
            stage.add(
                kind,
                lambda me, kind=kind: Publisher(me=me, kind=kind, products=products, tiers=tiers, every_s=1.2),  # type: ignore[misc]
                parent=parent,
                start=False,
            )
        stage.add(
            "gateway",
            lambda me: GatewayMachine(me=me, fences=self.files.fences, settings=GatewaySettings(), protections=p),
            parent="venue", shell=self.gateway_wire, start=False,
        )  # fmt: skip
        stage.add(
            "oms",
            lambda me: OmsMachine(
                settings=s.oms,
                me=me,
                tag=self.tag,
                products=tuple(self.products),
                lost_book=self.lost_book,
                adopt_from_venue=self._adopts(me),
                protections=p,
            ),
            parent="trading",
            bell=False,
            start=False,
        )
        stage.add(
            "exits", lambda me: ExitsMachine(settings=s.exits, me=me, caps=s.risk.caps), parent="trading", start=False
        )
        stage.add(
            "risk",
            lambda me: FallibleRisk(world=self, settings=s.risk, me=me, tiers=s.tiers, themes=s.themes, strategies=s.strategies, guards=s.guards),
            parent="trading", bell=False, start=False,
        )  # fmt: skip
        stage.add("user_feed", lambda me: UserFeed(me=me), parent="feeds", shell=self.user_wire, start=False)
        if "market_feed" in feeds:
            stage.add(
                "market_feed",
                lambda me: MarketFeed(me=me, products=tuple(self.products)),
                parent="feeds", shell=self.market_wire, start=False,
            )  # fmt: skip
        for product_id in self.products:
            stage.add(
                f"symbol:{product_id}",
                lambda me, product_id=product_id: Proposer(me=me, product=self.products[product_id]),  # type: ignore[misc]
                parent="symbols",
                start=False,
            )
        stage.add(
            "guardian",
            lambda me: GuardianMachine(settings=GuardianSettings(), me=me, protections=p),
            shell=self.guardian_shell,
        )
        for role in ("alerts", "operator"):
            stage.add(role, Supervisor, parent="ops", start=False)
        stage.start("main")
        self._market()
        self._main_host()

    def _adopts(self, me: Incarnation) -> bool:
        """The run that a person starts with --adopt-from-venue, or the next when that one died before the book had a row."""
        return 0 < self.adopting_run <= me[0] and not self.stage.store("oms").rows("meta")

    def warm_up(self) -> None:
        """Until oms agrees with the venue and risk has heard everybody; then the schedule starts."""
        for item in self.schedule.items:
            if item.what == "deposit" and item.at_s == 0.0:  # coins of others lie there from the beginning
                self._happen(item)
        limit = self.stage.boot_s + WARM_UP_S + 4 * self.schedule.quirks.listing_lag_s
        while self.stage.boot_s < limit and not self.reconciled():
            self.stage.run_for(0.25)
        self.stage.run_for(0.6)
        self.t0 = self.stage.boot_s
        for item in self.schedule.items:
            if not self.fates.arm(item) and not (item.what == "deposit" and item.at_s == 0.0):
                self.stage.at(self.t0 + item.at_s, lambda item=item: self._happen(item))  # type: ignore[misc]
        self.fates.counting = True
        self.stage.boundary = self.fates.of_handle
        self.stage.mail_fate = self._mail_fate if self.fates.of_mails else None

    def recovery(self) -> str:
        """Oms's own word: recovering, orders_known, reconciled; "" while it is down."""
        oms = self.stage.machine("oms")
        return str(oms.desk.recovery) if isinstance(oms, OmsMachine) else ""

    def reconciled(self) -> bool:
        return self.recovery() == "reconciled"

    def handled(self, role: str) -> int:
        """How many handles with effects `role` has had since the schedule began; the next `crash` counts from here."""
        return self.fates.handled(role)

    # -- the schedule -------------------------------------------------------------------------------------------

    def _happen(self, item: Item) -> None:
        self.tell(f"{item.what} {' '.join(str(a) for a in item.args)}".rstrip())
        getattr(self, f"_do_{item.what}")(*item.args)

    def tell(self, text: str) -> None:
        self.story.append((self.stage.boot_s - self.t0, text))

    def _mail_fate(self, process: Process, role: str, message: object) -> tuple[float, ...]:
        delay = self.stage.latency_s
        match self.fates.of_mail(process, role, message):
            case "lose":
                if (
                    isinstance(message, OrderUpdate)
                    and self.told_fills.get(message.client_order_id) == self.stage.boot_s
                ):
                    del self.told_fills[message.client_order_id]
                return ()
            case "twice":
                return (delay, delay)
            case "delay":
                return (delay + 1.2,)
        return (delay,)

    # -- the market and the user channel ------------------------------------------------------------------------

    def _market(self) -> None:
        """A quote of each product twice a second, on the venue and in the slots."""
        for product_id in self.products:
            self._quote(product_id)
        self.stage.after(0.5, self._market)

    def _quote(self, product_id: str) -> None:
        price = self.prices[product_id]
        tick = self.products[product_id].price_increment
        ask = price + max(tick, (price / 5000 // tick) * tick)
        self.venue.quote(product_id, price, ask)
        if self.schedule.quirks.market_session:
            self.market_wire.send("l2_data", self._level2(product_id, price, ask))
            return
        if self.stage.boot_s < self.quiet_until:
            return
        self._sequence += 1
        now = self.stage.now
        self.stage.put_quote(
            Quote(
                product_id,
                price,
                ask,
                Decimal(1000),
                Decimal(1000),
                now.venue_s,
                now.boot_s,
                now.boot_s,
                self._sequence,
                5e7,
                5e7,
                last=price,
            )
        )

    def _level2(self, product_id: str, bid: Decimal, ask: Decimal) -> str:
        size = (QUOTED_USD / bid).quantize(SIZE_STEP)
        return frames.level2_snapshot(product_id, ({bid: size}, {ask: size}), self.venue.now_s)

    def _market_opening(self) -> list[tuple[str, str]]:
        books = ((product_id, self.venue.engine.book(product_id)) for product_id in self.products)
        return [("l2_data", self._level2(p, book.bid, book.ask)) for p, book in books if book.bid and book.ask]

    def _user_opening(self) -> list[tuple[str, str]]:
        """The snapshot in batches of 50 open orders, the last one shorter."""
        orders = self.venue.engine.user_orders()
        batches = range(0, len(orders) + 1, USER_BATCH)
        return [("user", frames.user(orders[at : at + USER_BATCH], "snapshot")) for at in batches]

    def _tell_update(self, changed: OrderChanged) -> None:
        self._update(changed.order)

    def _tell_fill(self, filled: Filled) -> None:
        order = self.venue.engine.orders.get(filled.fill.order_id)
        if order is not None:
            self._update(user_json(order, self.venue.engine.portfolio_uuid))

    def _update(self, order: dict[str, Any]) -> None:
        """The user channel tells an order as it is now, some schedules' venues not always, or once more when it is old."""
        q = self.schedule.quirks
        if self._chance.random() >= q.update_chance:
            return
        text = frames.user([order], "update")
        self.user_wire.send("user", text, q.update_s)
        if self._chance.random() < q.update_twice:
            later = self._chance.choice((0.0, 0.3, 2.0))
            self.stage.after(later, lambda: self.user_wire.send("user", text, q.update_s))

    # -- the host of main ---------------------------------------------------------------------------------------

    def _main_host(self) -> None:
        """Each second: the tree to the conductor, the guardian's fence, and run.py itself when it is gone."""
        stage = self.stage
        main = stage.processes["main"]
        if main.alive:
            root = stage.processes.get("root")
            same_run = root is not None and root.incarnation[0] == main.incarnation[0]
            if root is not None and same_run and not root.alive and stage.restarting:
                stage.post("main", RootEnded(reason=root.reason, gave_up=bool(stage.keepers["root"].gave_up)))
            elif root is not None and root.alive and not root.stopped:
                stage.post("main", stage.tree_state())
            if self.files.guardian_run >= main.incarnation[0]:
                stage.post("main", FenceSeen(fence="guardian", run_number=self.files.guardian_run))
        elif not self._main_gone:
            self._main_gone = True
            stage.after(max(1.0, self.next_run_boot_s - stage.boot_s), self._next_run)
        stage.after(1.0, self._main_host)

    def _left(self, process: Process, leave: Leave) -> None:
        self.tell(f"run {process.incarnation[0]} leaves with {leave.exit_code}: {leave.reason}")
        self._hook(f"left {leave.exit_code}")
        self.stage.after(0.0, lambda: self.stage.end(process, f"exit {leave.exit_code}"))

    def _next_run(self) -> None:
        """Supervisord starts run.py again: a later run number, the same data dir."""
        self._main_gone = False
        self.stage.run_number += 1
        self.stage.restarting = True
        self.stop_asked_boot_s = None
        self.stage.start("main")
        self.stage.after(0.05, lambda: self.stage.start("root"))

    def _kill_run(self, run_number: int) -> None:
        main = self.stage.processes["main"]
        if main.alive and main.incarnation[0] == run_number:
            self.stage.kill("main", reason="killed by the guardian")

    # -- liveness -----------------------------------------------------------------------------------------------

    def probe(self, product_id: str) -> None:
        """A fresh decision, to see whether anything is admitted."""
        self._probes += 1
        trigger = Trigger(stamp=f"probe-{self._probes}", notional_usd=Decimal(50), ttl_s=2.0, requotes_max=0)
        self.stage.post(f"symbol:{product_id}", trigger)

    def verdicts(self) -> list[Verdict]:
        """Those that came since the last call."""
        found: list[Verdict] = []
        for product_id in self.products:
            machine = self.stage.machine(f"symbol:{product_id}")
            if isinstance(machine, Proposer):
                found += machine.verdicts
                machine.verdicts = []
        return found

    def gone_for_s(self) -> float:
        """How long the system may still be away for good reason: a run that ended is started again."""
        return 15.0 if not self.stage.processes["main"].alive or self.stop_asked_boot_s is not None else 0.0

    # -- healing ------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """The faults stop: everything runs, answers, and is heard."""
        self.tell("the faults stop")
        self.fates.clear()
        self.stage.mail_fate = None
        self._light()
        self.quiet_until = self.deaf_until = 0.0
        self.stage.distrusted.clear()
        for spec in self.stage.specs.values():
            spec.store.fail = None
        self.kill_store.record_fails = self.kill_store.file_fails = None
        for process in (*self.stage.processes.values(), *self.stage.lingering):
            self.stage.resume(process)


def _conductor(flatten_on_exit: bool) -> ConductorSettings:
    return ConductorSettings(supervisors=SUPERVISORS, flatten_on_exit=flatten_on_exit)


def _product(product_id: str) -> Product:
    sim = make_product(product_id)
    return Product(
        product_id=product_id, base_currency=sim.base, quote_currency=sim.quote, price_increment=sim.price_increment,
        base_increment=sim.base_increment, quote_increment=sim.quote_increment, base_size_min=sim.base_min_size,
        base_size_max=sim.base_max_size, quote_size_min=sim.quote_min_size, quote_size_max=sim.quote_max_size,
        volume_24h_quote_usd=1e9,
    )  # fmt: skip
