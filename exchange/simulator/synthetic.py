"""A market that moves by itself: seeded, correlated, with volatility that changes, jumps, spreads, depth and volume.

The path of a product: log price = log(base) + a reverting walk over days, calm enough that no week of it is a crash to the
bot (whoever wants one adds moves), filled in by a bridge of 1,440 minutes per day (common factor and own noise, jumps, a
daily rhythm), filled in again within a minute by a bridge of six sine terms. Each day and each minute draws from its own
seed, so any moment of the past costs one day's bridge and nothing else.
"""

from __future__ import annotations

import math
import random
from array import array
from collections import OrderedDict

from attrs import define, frozen

from exchange.simulator.book import Levels
from exchange.simulator.market import Bar, Bends, Move, Tick, mix
from exchange.simulator.products import DEFAULT_PRODUCTS, Product, make_product
from exchange.simulator.street import Street, Style

FIRST_DAY = 18_262  # 2020-01-01: the walk over days starts here
DAY_MINUTES = 1440
DAYS_CACHED = 40
MINUTES_PER_YEAR = 525_600


@frozen(kw_only=True)
class Character:
    """What a product is like."""

    price: float
    volatility: float
    """Per year, e.g. 0.5."""
    volume_usd: float
    """Per day."""
    level_usd: float
    level_bps: float
    spread_more: float
    prints_per_s: float


CHARACTERS = {
    "BTC-USD": Character(
        price=79_000, volatility=0.5, volume_usd=5e8, level_usd=10_700, level_bps=0.073, spread_more=0.1, prints_per_s=5
    ),
    "ETH-USD": Character(
        price=2_600, volatility=0.65, volume_usd=2.5e8, level_usd=7_000, level_bps=0.15, spread_more=0.4, prints_per_s=4
    ),
    "SOL-USD": Character(
        price=112, volatility=0.8, volume_usd=1.2e8, level_usd=11_000, level_bps=0.9, spread_more=0.2, prints_per_s=3
    ),
    "DOGE-USD": Character(
        price=0.142, volatility=0.9, volume_usd=6e7, level_usd=5_000, level_bps=0.8, spread_more=0.3, prints_per_s=2
    ),
    "AVAX-USD": Character(
        price=16.4, volatility=0.85, volume_usd=3e7, level_usd=15_000, level_bps=6.0, spread_more=0.1, prints_per_s=1.5
    ),
}
OTHER = Character(
    price=10.0, volatility=0.9, volume_usd=2e7, level_usd=4_000, level_bps=4.0, spread_more=0.3, prints_per_s=1
)
COMMON = 0.8  # share of the common factor in a product's noise
KEPT_A_DAY, STEP_A_DAY = 0.9, 0.3
"""Of the walk over days: what is left of its distance a day later, and its step as a share of a day's volatility. With 0.97
and 0.6 the week's return was below -10 % at one hour in sixty: whoever started on such a day saw a bot that never entered.
"""


@define
class Day:
    """One day's minutes: 1,441 log prices at the boundaries, 1,440 volumes (base), and the day's minute volatility."""

    log_price: array[float]
    volume: array[float]
    sigma: float


class Path:
    """One product's price as a function of venue time."""

    def __init__(self, seed: int, number: int, character: Character, common: CommonFactor) -> None:
        self.seed = mix(seed, number, 11)
        self.character = character
        self.common = common
        self.sigma = character.volatility / math.sqrt(MINUTES_PER_YEAR)
        self._anchors: list[float] = [math.log(character.price)]
        self._anchor_rng = random.Random(mix(self.seed, 1))
        self._days: OrderedDict[int, Day] = OrderedDict()
        self._bridge: tuple[int, tuple[float, ...]] = (-1, ())
        self._base_minute_volume = character.volume_usd / character.price / DAY_MINUTES

    def anchor(self, day: int) -> float:
        """Log price at the start of a day (days before the first stand still)."""
        index = max(0, day - FIRST_DAY)
        base = math.log(self.character.price)
        own = math.sqrt(1 - COMMON**2)
        while len(self._anchors) <= index:
            at = len(self._anchors)
            noise = COMMON * self.common.day_noise(at) + own * self._anchor_rng.gauss(0, 1)
            step = self.sigma * math.sqrt(DAY_MINUTES) * noise
            self._anchors.append(base + (self._anchors[-1] - base) * KEPT_A_DAY + step * STEP_A_DAY)
        return self._anchors[index]

    def day(self, day: int) -> Day:
        found = self._days.get(day)
        if found is None:
            found = self._days[day] = self._make_day(day)
            while len(self._days) > DAYS_CACHED:
                self._days.popitem(last=False)
        return found

    def _make_day(self, day: int) -> Day:
        rng = random.Random(mix(self.seed, day, 2))
        gauss, chance = rng.gauss, rng.random
        common = self.common.minutes(day)
        own = math.sqrt(1 - COMMON**2)
        sigma = self.sigma * math.exp(rng.gauss(0, 0.25))
        rhythm = self.common.rhythm
        walk, volumes = [0.0], array("d")
        level = 0.0
        base_volume = self._base_minute_volume * math.exp(rng.gauss(0, 0.2))
        for minute in range(DAY_MINUTES):
            noise = COMMON * common[minute] + own * gauss(0.0, 1.0)
            u = chance()
            if u < 0.0006:
                noise *= 8.0  # a jump
            busy = rhythm[minute]
            level += sigma * busy * noise
            walk.append(level)
            volumes.append(base_volume * busy * (0.25 + 0.9 * u * u + 0.45 * abs(noise)))
        start, end = self.anchor(day), self.anchor(day + 1)
        slope = (end - start - level) / DAY_MINUTES
        prices = array("d", [start + value + slope * n for n, value in enumerate(walk)])
        return Day(prices, volumes, sigma)

    def log_price(self, at_s: float) -> float:
        minute, within = divmod(at_s, 60.0)
        number = int(minute)
        day, index = divmod(number, DAY_MINUTES)
        minutes = self.day(day)
        share = within / 60.0
        before, after = minutes.log_price[index], minutes.log_price[index + 1]
        if self._bridge[0] != number:
            rng = random.Random(mix(self.seed, number, 3))
            self._bridge = (number, tuple(rng.gauss(0, 1) * math.sqrt(2) / (j * math.pi) for j in range(1, 7)))
        turn = math.pi * share
        bend = sum(weight * math.sin((j + 1) * turn) for j, weight in enumerate(self._bridge[1]))
        return before + (after - before) * share + minutes.sigma * bend

    def volume_per_s(self, at_s: float) -> float:
        day, index = divmod(int(at_s // 60), DAY_MINUTES)
        return self.day(day).volume[index] / 60.0


class CommonFactor:
    """The noise that all products share."""

    def __init__(self, seed: int) -> None:
        self.seed = mix(seed, 5)
        self._rng = random.Random(mix(self.seed, 1))
        self._days: list[float] = [0.0]
        self._minutes: OrderedDict[int, array[float]] = OrderedDict()
        # Busier when Europe and America trade: 0.75 at 04:00 UTC, 1.25 at 16:00.
        self.rhythm = [1.0 + 0.25 * math.sin(2 * math.pi * (n / DAY_MINUTES - 10 / 24)) for n in range(DAY_MINUTES)]

    def day_noise(self, index: int) -> float:
        while len(self._days) <= index:
            self._days.append(self._rng.gauss(0, 1))
        return self._days[index]

    def minutes(self, day: int) -> array[float]:
        found = self._minutes.get(day)
        if found is None:
            gauss = random.Random(mix(self.seed, day, 2)).gauss
            found = self._minutes[day] = array("d", [gauss(0.0, 1.0) for _ in range(DAY_MINUTES)])
            while len(self._minutes) > DAYS_CACHED:
                self._minutes.popitem(last=False)
        return found


class SyntheticMarket:
    name = "synthetic"

    def __init__(
        self,
        seed: int = 1,
        product_ids: tuple[str, ...] = DEFAULT_PRODUCTS,
        *,
        step_s: float = 0.125,
        depth_x: float = 1.0,
    ) -> None:
        self.seed = seed
        self.step_s = step_s
        common = CommonFactor(seed)
        self._products = {product_id: make_product(product_id) for product_id in product_ids}
        self._bends = {product_id: Bends() for product_id in product_ids}
        self._paths: dict[str, Path] = {}
        self._streets: dict[str, Street] = {}
        self._last: dict[str, tuple[int, float]] = {}
        self._hours: dict[tuple[str, int], list[Bar]] = {}
        for product_id in product_ids:
            number = mix(*(int.from_bytes(product_id.encode()[:8], "big"), 1))
            character = CHARACTERS.get(product_id, OTHER)
            self._paths[product_id] = Path(seed, number, character, common)
            style = Style(
                seed=mix(seed, number, 23),
                level_usd=character.level_usd * depth_x,
                level_bps=character.level_bps,
                spread_more=character.spread_more,
                prints_per_s=character.prints_per_s,
            )
            self._streets[product_id] = Street(self._products[product_id], style, character.price)

    def products(self) -> list[Product]:
        return list(self._products.values())

    def moves(self) -> list[Move]:
        return [move for bends in self._bends.values() for move in bends.moves]

    def add_move(self, move: Move) -> None:
        self._bends[move.product_id].moves.append(move)
        self._hours.clear()

    def mid(self, product_id: str, at_s: float) -> float:
        return math.exp(self._paths[product_id].log_price(at_s) + self._bends[product_id].offset(at_s))

    def tick(self, product_id: str, step: int) -> Tick | None:
        at_s = step * self.step_s
        mid = self.mid(product_id, at_s)
        last_step, before = self._last.get(product_id, (-1, mid))
        if last_step != step - 1:
            before = self.mid(product_id, at_s - self.step_s)
        self._last[product_id] = (step, mid)
        volume = self._paths[product_id].volume_per_s(at_s)
        return self._streets[product_id].tick(mid, before, step, self.step_s, volume, self._bends[product_id])

    def depth(self, product_id: str, step: int, tick: Tick) -> tuple[Levels, Levels]:
        return self._streets[product_id].depth(tick, step * self.step_s, self._bends[product_id])

    def deepen(self, product_id: str, levels: int, tick: Tick) -> None:
        self._streets[product_id].deepen(levels, tick)

    def minute_bars(self, product_id: str, first_minute: int, last_minute: int) -> list[Bar]:
        path, bends = self._paths[product_id], self._bends[product_id]
        tick = self._streets[product_id].tick_size
        found: list[Bar] = []
        minute = first_minute
        while minute <= last_minute:
            number, index = divmod(minute, DAY_MINUTES)
            day = path.day(number)
            for at in range(index, min(DAY_MINUTES, index + last_minute - minute + 1)):
                start = (number * DAY_MINUTES + at) * 60
                bend, after = (bends.offset(start), bends.offset(start + 60)) if bends.moves else (0.0, 0.0)
                opened, closed = math.exp(day.log_price[at] + bend), math.exp(day.log_price[at + 1] + after)
                bits = mix(path.seed, start)
                wick_up, wick_down = (bits & 1023) / 1024, (bits >> 10 & 1023) / 1024
                high = max(opened, closed) * (1 + day.sigma * wick_up * 0.8)
                low = min(opened, closed) * (1 - day.sigma * wick_down * 0.8)
                found.append(
                    Bar(
                        start,
                        round(opened / tick) * tick,
                        math.ceil(high / tick - 0.5) * tick,
                        math.floor(low / tick + 0.5) * tick,
                        round(closed / tick) * tick,
                        day.volume[at],
                    )
                )
            minute = (number + 1) * DAY_MINUTES
        return found

    def hour_bars(self, product_id: str, first_hour: int, last_hour: int) -> list[Bar]:
        found: list[Bar] = []
        for day in range(first_hour // 24, last_hour // 24 + 1):
            hours = self._hours.get((product_id, day))
            if hours is None:
                minutes = self.minute_bars(product_id, day * DAY_MINUTES, (day + 1) * DAY_MINUTES - 1)
                hours = [merge(minutes[n * 60 : (n + 1) * 60], (day * 24 + n) * 3600) for n in range(24)]
                self._hours[product_id, day] = hours
            found.extend(bar for bar in hours if first_hour <= bar.start_s // 3600 <= last_hour)
        return found


def merge(bars: list[Bar], start_s: int) -> Bar:
    """One bar from smaller ones in time order."""
    return Bar(
        start_s,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum(bar.volume for bar in bars),
    )
