"""The loop of a backtest: bars in, the bot's machines on the virtual stage, and everything that happened out.

Between two bar ends, in this order: the market walks through the bars that end now (`path.py`), filling what rests and
moving what is held; then the bars close, the quotes stand at their closes, and the strategies decide. So a decision
never sees a price later than its bar's end, and its order meets the *next* bar. While nothing is in flight and nothing
is held, the walk is skipped: nobody could notice it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import inf
from typing import Any

from attrs import define, field

from simulation.backtest.data import Dataset
from simulation.backtest.fitness import warnings
from simulation.backtest.path import corner_times, points, price_at
from simulation.backtest.report import EquityPoint, Fill, Run
from simulation.backtest.volumes import FIRST_S, RENEWED_S, RollingVolumes, Volumes
from simulation.backtest.world import BacktestWorld
from simulation.process import Process
from telemetry.trades import closed, still_open
from trading.costs import CostSettings
from trading.machine import Instant, Note, Save
from trading.messages.book import BookPosition, BookSnapshot
from trading.messages.market import Bar
from trading.values import ZERO, plain, utc_text

STEP_S = 2.0
"""How often the market moves while an order is open: inside every quote-age limit."""
TURN_S = 0.6
"""How much of a step runs in real time: each pace has its turn, what is on its way arrives; the rest is jumped over."""
SETTLE_S, NEAR_S = 0.3, 0.05
"""How long a conversation at a bar's end may take in real seconds before the next bar, and in what steps it is looked at."""
EQUITY_EVERY_S = 3_600.0
BREATH_S = 0.6
"""Once an hour each pace gets its turn, so that risk and exits look at their marks also while nothing happens."""
NEAR = 1.02
"""How near a price must come to a stop or target, as a factor, for the bar to be walked through."""
JUMP_PARTS = 10.0
"""A walked step is so many times smaller than the jump that exits would doubt; a bar that spans half of it is walked."""
QUIET_WARM_UP_S = 5.0
CASH = ("USD", "USDC")


@define
class Recorder:
    """Observer of the stage: keeps the newest book, decisions, and what oms saved.

    From the book: unsettled (an order or a fill is open), working (products with an open order), watched (product -> per
    position the low at or under which, the high at or over which, and the time at which a bar must be walked).
    """

    config_hash: str
    book: BookSnapshot | None = None
    unsettled: bool = True
    working: frozenset[str] = frozenset()
    watched: dict[str, list[tuple[float, float, float]]] = field(factory=dict)
    decisions: list[dict[str, Any]] = field(factory=list)
    intents: dict[str, Mapping[str, Any]] = field(factory=dict)
    orders: dict[str, dict[str, Any]] = field(factory=dict)
    fills: dict[str, Mapping[str, Any]] = field(factory=dict)
    positions: dict[str, Mapping[str, Any]] = field(factory=dict)

    def committed(self, process: Process, message: object, saves: list[Save], now: Instant) -> None:  # noqa: ARG002
        if process.role != "oms":
            return
        for save in saves:
            match save.table:
                case "intents":
                    self.intents[save.key] = save.row
                case "orders":
                    self.orders[save.key] = {**save.row, "intent_id": save.key, "saved": utc_text(now.venue_s)}
                case "fills":
                    self.fills[save.key] = save.row
                case "positions":
                    self.positions[save.key] = save.row

    def sent(self, process: Process, role: str, message: object, now: Instant) -> None:  # noqa: ARG002
        if role == "risk" and isinstance(message, BookSnapshot):
            self.book = message
            self.working = frozenset(order.product_id for order in message.orders if order.ended is None)
            self.unsettled = bool(message.unbooked or self.working)
            watched = self.watched = {}
            for position in message.positions:
                if not position.dust:
                    watched.setdefault(position.product_id, []).append(_limits(position))

    def noted(self, process: Process, note: Note, now: Instant) -> None:
        if note.kind == "decision":
            self.decisions.append(
                {
                    "at": utc_text(now.venue_s),
                    "role": process.role,
                    **_plain(note.values),
                    "config_hash": self.config_hash,
                }
            )

    def life(self, process: Process, what: str, now: Instant) -> None: ...


def _limits(position: BookPosition) -> tuple[float, float, float]:
    """(low, high, time): a bar beyond one of them comes near the position's stop, target or maximum hold."""
    if position.trailing_pct is not None:
        return inf, inf, inf  # its stop moves with every price
    target = float(position.target_price)
    low, hold_s = float(position.stop_price) * NEAR, position.hold_until_s
    return low, target / NEAR if target else inf, hold_s if hold_s > 0.0 else inf


class Backtest:
    """One run. `run` plays the data set and returns what happened; `progress(share)` hears how far it is."""

    def __init__(
        self, dataset: Dataset, *, config: Any, costs: CostSettings, seed: int, config_hash: str, facts: Mapping[str, Any],
        strategies: tuple[Any, ...] = (), record_quiet: bool = True,
    ) -> None:  # fmt: skip
        self.dataset = dataset
        self.facts = dict(facts)
        shortest = min(dataset.bar_s.values())
        bar_s = (shortest, max(300, shortest), max(3_600, shortest))
        groups = config.universe
        products = tuple(p for tier in groups.tiers.values() for p in tier.products if p in dataset.series)
        if not products:
            raise ValueError(
                f"{dataset.name}: none of its products ({', '.join(sorted(dataset.series))}) is in a tier of the universe"
            )
        self.products = products
        self.world = BacktestWorld(
            config=config, costs=costs, products=products, start_s=float(dataset.start_s), seed=seed, config_hash=config_hash,
            bar_s=bar_s, strategies=strategies,
        )  # fmt: skip
        self.recorder = Recorder(config_hash)
        self.world.stage.observers.append(self.recorder)
        self.volumes = RollingVolumes(dataset, products)
        self.next_volumes_s = min(dataset.series[product].start_s[0] for product in products) + FIRST_S
        self.record_quiet = record_quiet
        jump_share = config.exits.outlier_pct / 100.0
        self.step_share, self.calm_ratio = jump_share / JUMP_PARTS, 1.0 + jump_share / 2.0
        self.equity: list[EquityPoint] = []
        self.next_equity_s = 0.0
        self.high_usd = 0.0
        self.deepest: tuple[float, float] = (0.0, 0.0)
        self.fills_seen, self.cash_usd = -1, 0.0
        self.sizes: list[tuple[str, float]] = []
        self.played = 0

    def run(self, progress: Callable[[float], None] | None = None) -> Run:
        """Play everything. Raises whatever a machine raises: a backtest with a broken machine proves nothing."""
        world, stage = self.world, self.world.stage
        total = sum(len(self.dataset.series[p]) for p in self.products)
        told = 0
        started, end_s = False, float(self.dataset.start_s)
        for bars in self.dataset.groups(self.products):
            if not started:
                started = True
                self._warm_up(bars)
            end_s = float(bars[0].end_s)
            if self._busy() or (self.recorder.watched and self._touched(bars)):
                self._walk(bars, end_s)
            stage.skip_to(end_s)
            world.close(bars)
            self._settle()
            if self.recorder.watched:
                self._drawdown(end_s)
            if end_s >= self.next_equity_s:
                world.renew(self._volumes(end_s))
                stage.run_for(BREATH_S)
                self._equity(end_s)
                self.next_equity_s = end_s - end_s % EQUITY_EVERY_S + EQUITY_EVERY_S
            self.played += len(bars)
            if progress is not None and self.played - told > total / 200:
                told = self.played
                progress(self.played / total)
        self._equity(end_s)
        if progress is not None:
            progress(1.0)
        return self._result()

    # -- time -----------------------------------------------------------------------------------------------------

    def _volumes(self, end_s: float) -> Volumes | None:
        """New volumes when it is time for them; before the first ones nothing is eligible."""
        if end_s < self.next_volumes_s:
            return None
        self.next_volumes_s = end_s + RENEWED_S
        return self.volumes.at(end_s)

    def _warm_up(self, bars: list[Bar]) -> None:
        """The roles find each other and the book is reconciled before the first decision."""
        for bar in bars:
            self.world.quote(bar.product_id, bar.open)
        self.world.stage.run_for(QUIET_WARM_UP_S)
        self._equity(self.world.stage.now.venue_s)

    def _near(self) -> bool:
        """Whether mail, not only a timer, is about to arrive."""
        return self.world.stage.mail_within(NEAR_S)

    def _settle(self) -> None:
        """What the bars' end has set in motion goes on until nobody has anything to say, or `SETTLE_S` are over."""
        stage = self.world.stage
        until = stage.boot_s + SETTLE_S
        while self._near() and stage.boot_s < until:
            stage.run_for(NEAR_S)

    def _busy(self) -> bool:
        """Whether an order may be at the venue or on its way, or a fill is not booked yet."""
        return self.recorder.unsettled or self._near()

    def _touched(self, bars: list[Bar]) -> bool:
        """Whether a bar comes near anything that an exit waits for; a bar that does not may be skipped to its close.

        A necessary condition with a wide margin, never a decision: stop, target and hold are judged by exits alone.
        """
        watched, calm_ratio = self.recorder.watched, self.calm_ratio
        for bar in bars:
            if bar.product_id in watched:
                for low, high, hold_until_s in watched[bar.product_id]:
                    if bar.low <= low or bar.high >= high or hold_until_s <= bar.end_s:
                        return True
                if bar.high > bar.low * calm_ratio:
                    return True
        return False

    def _walk(self, bars: list[Bar], end_s: float) -> None:
        """From the present to `end_s` along the bars' paths: in small steps while orders are open, in `points` where
        something held is touched, else corner by corner.
        """
        stage, recorder = self.world.stage, self.recorder
        before = held = self._held()
        times = self._times(bars, before, held)
        while times:
            now_s = stage.now.venue_s
            if held != (held := self._held()):
                times = self._times(bars, before, held)  # bought inside this bar: from here on its price is watched
            while times and times[0] <= now_s:
                times.popleft()
            if not times:
                break
            busy = self._busy()
            until = min(times[0], now_s + STEP_S, end_s) if busy else min(times[0], end_s)
            if busy:
                stage.skip_to(until - TURN_S)
                stage.run_until_venue(until)
            else:
                stage.skip_to(until)
            for bar in bars:
                product = bar.product_id
                # Inside a bar only what works or is held needs its price: nobody else decides before the bar's end.
                if bar.start_s <= until and (until >= end_s or product in held or product in recorder.working):
                    price = price_at(bar, until, held=product in before)
                    self.world.quote(product, price, symbols=until >= end_s or product in recorder.working)
            if self._near():
                stage.run_for(0.01)

    def _held(self) -> frozenset[str]:
        book = self.recorder.book
        return frozenset(p.product_id for p in book.positions) if book else frozenset()

    def _times(self, bars: list[Bar], before: frozenset[str], held: frozenset[str]) -> deque[float]:
        """When to look while walking. before: held at the bar's start, which decides its path; held: now."""
        found: set[float] = set()
        for bar in bars:
            found.update(corner_times(bar))
            if bar.product_id in held and self._touched([bar]):
                found.update(points(bar, held=bar.product_id in before, step_share=self.step_share))
        return deque(sorted(found))

    # -- the record -------------------------------------------------------------------------------------------------

    def _equity(self, at_s: float) -> None:
        wallets = self.world.venue.engine.wallets.by_currency
        cash = sum((w.total for c, w in wallets.items() if c in CASH), ZERO)
        exposure = {}
        marks = self.world.marks()
        for product in self.products:
            wallet = wallets.get(self.world.sim[product].base)
            if wallet is not None and wallet.total and product in marks:
                exposure[product] = wallet.total * Decimal(repr(marks[product]))
        point = EquityPoint(s=at_s, cash_usd=cash, holdings_usd=sum(exposure.values(), ZERO), exposure_usd=exposure)
        self.high_usd = max(self.high_usd, float(point.equity_usd))
        if self.equity and self.equity[-1].s == at_s:
            self.equity[-1] = point
        else:
            self.equity.append(point)

    def _drawdown(self, at_s: float) -> None:
        """The equity at a bar's end, only compared with the highest and never kept: for the largest fall between two points."""
        engine, world = self.world.venue.engine, self.world
        if len(engine.fill_list) != self.fills_seen:
            self.fills_seen = len(engine.fill_list)
            wallets = engine.wallets.by_currency
            self.cash_usd = float(sum(wallets[c].total for c in CASH if c in wallets))
            bases = ((name, wallets.get(world.sim[name].base)) for name in self.products)
            self.sizes = [(name, float(wallet.total)) for name, wallet in bases if wallet is not None and wallet.total]
        value = self.cash_usd
        for name, size in self.sizes:
            value += size * world.mark(name)
        if value >= self.high_usd:
            self.high_usd = value
        elif (fall := 1.0 - value / self.high_usd) > self.deepest[0]:
            self.deepest = fall, at_s

    def _result(self) -> Run:
        engine = self.world.venue.engine
        fills = [
            Fill(s=f.at_s, product_id=f.product_id, side=f.side, base_size=f.size, price=f.price, fee_usd=f.commission)
            for f in sorted(engine.fill_list, key=lambda f: (f.at_s, f.trade_id))
        ]
        recorder, groups = self.recorder, self.world.tier_of
        marks = {product: Decimal(repr(mark)) for product, mark in self.world.marks().items()}
        booked = list(recorder.fills.values())
        return Run(
            facts=self.facts,
            start_cash_usd=self.world.costs.start_cash_usd,
            end_marks=marks,
            trades=closed(booked, recorder.positions, recorder.intents, groups),
            open_positions=still_open(booked, recorder.positions, recorder.intents, marks),
            fills=fills,
            equity=self.equity,
            deepest=self.deepest,
            orders=[{**_plain(recorder.intents.get(key, {})), **_plain(row)} for key, row in recorder.orders.items()],
            decisions=recorder.decisions,
            themes={product: groups.theme(product) for product in self.products},
            warnings=warnings(self.products, self.world.config, min(self.dataset.bar_s.values())),
        )


def _plain(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _plain(value) for key, value in values.items()}
    if isinstance(values, Decimal):
        return plain(values)
    if isinstance(values, tuple | list):
        return [_plain(value) for value in values]
    return values if isinstance(values, str | int | float | bool) or values is None else str(values)
