"""The street around a mid price: spread, sizes, prints, and the ladder of levels behind the best.

Shared by the synthetic and the recorded market. Everything is derived by `mix` from (product seed, price cell, epoch), so
that it is a pure function of time and mid. Sizes per level follow the quantiles of the level2 snapshot that was recorded
from Coinbase on 2026-08-24 (30 levels of BTC-USD; test_market holds them within a factor of two).
"""

from __future__ import annotations

import itertools
import math
import random
from decimal import Decimal

from attrs import define

from exchange.simulator.book import Levels
from exchange.simulator.market import SCALE, Bends, Print, Tick, mix
from exchange.simulator.products import Product
from exchange.simulator.words import floor_to

_QUANTILES = (
    # share of levels, size relative to the mean size of a level (0.136 BTC in the recording)
    (0.0, 0.0002),
    (0.1, 0.006),
    (0.25, 0.08),
    (0.5, 0.65),
    (0.75, 1.75),
    (0.9, 2.1),
    (1.0, 4.1),
)


def _relative_size(share: float) -> float:
    for (x0, y0), (x1, y1) in itertools.pairwise(_QUANTILES):
        if share <= x1:
            return y0 + (y1 - y0) * (share - x0) / (x1 - x0)
    return _QUANTILES[-1][1]


SIZES = tuple(_relative_size((n + 0.5) / 1024) for n in range(1024))
ZONES = ((1, 40), (12, 30), (120, 20))  # (width in cells, levels per side): fine near the best, coarse far away


@define(kw_only=True)
class Style:
    """How deep and busy one product is."""

    seed: int
    level_usd: float
    """Mean value of one level."""
    level_bps: float
    """Mean distance of two levels."""
    spread_more: float = 0.2
    """Chance that the spread is one tick wider, again and again (geometric)."""
    prints_per_s: float = 2.0


class Street:
    def __init__(self, product: Product, style: Style, base_price: float) -> None:
        self.product = product
        self.style = style
        self.tick_size = float(product.price_increment)
        self.cell = max(1, round(base_price * style.level_bps / 10_000 / self.tick_size))
        # A cell of one tick may be wider than the wanted distance: then a level carries accordingly more.
        widen = max(1.0, self.cell * self.tick_size / (base_price * style.level_bps / 10_000))
        self.level_base = style.level_usd * widen / base_price
        self._deep: tuple[Levels, Levels] = ([], [])
        self._step = float(product.base_increment)
        self._digits = max(0, -int(product.base_increment.normalize().as_tuple().exponent))

    def size(self, base: float) -> Decimal:
        """A size on the product's increment, at least one."""
        text = f"{max(base, self._step):.{self._digits}f}"
        size = Decimal(text)
        return size if self._step == 10**-self._digits else floor_to(size, self.product.base_increment)

    def price(self, ticks: int) -> Decimal:
        return ticks * self.product.price_increment

    def tick(self, mid: float, before: float, step: int, step_s: float, volume_per_s: float, bends: Bends) -> Tick:
        """Quote and prints of one step. `before`: the mid one step earlier; `volume_per_s` in base."""
        at_s = step * step_s
        rng = random.Random(mix(self.style.seed, step))
        volume_x, depth_x, spread_bps = bends.factors(at_s)
        width = 1
        while rng.random() < self.style.spread_more and width < 12:
            width += 1
        if spread_bps:
            width = max(width, round(mid * spread_bps / 10_000 / self.tick_size))
        bid = max(1, math.floor(mid / self.tick_size - width / 2 + 0.5))
        ask = bid + width
        tops = [self._level_size(side, bid if side else ask, mix(int(at_s * 2), 7), depth_x) for side in (1, 0)]
        prints = self._prints(rng, bid, ask, mid > before, volume_per_s * volume_x * step_s, step_s, volume_x)
        return Tick(self.price(bid), self.price(ask), self.size(tops[0]), self.size(tops[1]), prints)

    def _prints(
        self, rng: random.Random, bid: int, ask: int, rising: bool, volume: float, step_s: float, volume_x: float
    ) -> tuple[Print, ...]:
        expected = self.style.prints_per_s * min(volume_x, 4.0) * step_s
        count, left = 0, math.exp(-min(expected, 20.0))
        chance = rng.random()
        while chance > left and count < 12:
            count += 1
            chance *= rng.random()
        if not count or volume <= 0:
            return ()
        # The printed volume of a step is the wanted one on average: steps without a print are made up for.
        wanted = volume / max(1e-9, 1.0 - math.exp(-min(expected, 20.0)))
        shares = [rng.expovariate(1.0) for _ in range(count)]
        scale = wanted * rng.uniform(0.6, 1.4) / sum(shares)
        found = []
        for share in shares:
            lifted = rng.random() < (0.62 if rising else 0.38)
            price = self.price(ask if lifted else bid)
            found.append(Print(price, self.size(share * scale), "SELL" if lifted else "BUY"))
        return tuple(found)

    def _level_size(self, side: int, key: int, epoch: int, depth_x: float) -> float:
        share = mix(self.style.seed + side, key, epoch) >> 54
        return SIZES[share] * self.level_base * depth_x

    def depth(self, tick: Tick, at_s: float, bends: Bends) -> tuple[Levels, Levels]:
        """The ladder behind the best of `tick`."""
        _, depth_x, _ = bends.factors(at_s)
        inc = self.product.price_increment
        bids, asks = (
            self._ladder(int(tick.bid / inc), -1, at_s, depth_x),
            self._ladder(int(tick.ask / inc), 1, at_s, depth_x),
        )
        if self._deep[0]:
            last_bid, last_ask = bids[-1][0] if bids else tick.bid, asks[-1][0] if asks else tick.ask
            bids += [level for level in self._deep[0] if level[0] < last_bid]
            asks += [level for level in self._deep[1] if level[0] > last_ask]
        return bids, asks

    def deepen(self, levels: int, tick: Tick) -> None:
        """So many more levels on each side, far from the price and at rest: a book as large as Coinbase's (5 MB)."""
        inc = self.product.price_increment
        found: tuple[Levels, Levels] = ([], [])
        for side, (price, direction) in enumerate(((tick.bid, -1), (tick.ask, 1))):
            best = int(price / inc)
            start, step = best + direction * max(1, best // 25), max(1, best * 9 // 10 // max(levels, 1))
            for n in range(levels):
                ticks = start + direction * n * step
                if ticks > 0:
                    found[side].append((self.price(ticks), self.size(self._level_size(side, ticks, 1, 1.0))))
        self._deep = found

    def _ladder(self, best: int, direction: int, at_s: float, depth_x: float) -> Levels:
        found: Levels = []
        edge = best
        side = 1 if direction < 0 else 0
        for zone, (cells, levels) in enumerate(ZONES):
            width = self.cell * cells
            index = edge // width
            for _ in range(levels):
                bits = mix(self.style.seed ^ (zone << 8), index, 3)
                ticks = index * width + bits % width
                if (ticks < edge if direction < 0 else ticks > edge) and ticks > 0 and (bits >> 40) % 100 < 92:
                    life_s = 1.5 + (bits >> 20) % 16
                    epoch = int(at_s / life_s + (bits & 0xFF) * SCALE)
                    size = self._level_size(side, index * 4 + zone, epoch, depth_x) * cells
                    found.append((self.price(ticks), self.size(size)))
                index += direction
            edge = (index + 1) * width if direction < 0 else index * width - 1
        return found
