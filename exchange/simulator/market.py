"""What every market of the simulated venue gives: ticks on a fixed grid, a book behind the quote, bars of the past.

A market is a pure function of (its seed or its files, its moves, venue time): the same venue second always shows the
same prices, so a venue that was killed resumes on the same path, and history joins the live market without a seam.
`Move`s bend a path: opening scenarios, crashes and price paths from the back door. They are data and are journalled.
"""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from typing import Any, Protocol

from attrs import field, frozen

from exchange.simulator.book import Levels
from exchange.simulator.products import Product

MASK = (1 << 64) - 1
SCALE = 1.0 / (1 << 64)


def mix(a: int, b: int, c: int = 0) -> int:
    """64 well-mixed bits of three integers: the market's only source of chance."""
    x = (a * 0x9E3779B97F4A7C15 + b * 0xBF58476D1CE4E5B9 + c * 0x94D049BB133111EB) & MASK
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


@frozen
class Print:
    price: Decimal
    size: Decimal
    maker_side: str


@frozen
class Tick:
    """The street at one step: best prices with sizes, and what was traded since the step before."""

    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal
    prints: tuple[Print, ...]


@frozen
class Bar:
    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@frozen(kw_only=True)
class Move:
    """A bend of one product's path, from `start_s` (venue seconds) on.

    `points`: (seconds after the start, log offset), straight lines between them; the last offset stays.
    While `start_s <= t < start_s + for_s`: volume and depth times their factors, the spread at least `spread_bps`.
    """

    product_id: str
    start_s: float
    points: tuple[tuple[float, float], ...] = ()
    for_s: float = 0.0
    volume_x: float = 1.0
    depth_x: float = 1.0
    spread_bps: float = 0.0

    def offset(self, at_s: float) -> float:
        after = at_s - self.start_s
        if after <= 0 or not self.points:
            return 0.0
        before_s, before = 0.0, 0.0
        for point_s, value in self.points:
            if after < point_s:
                return before + (value - before) * (after - before_s) / (point_s - before_s)
            before_s, before = point_s, value
        return before

    @property
    def end_s(self) -> float:
        """From then on it changes no more; an offset that is not back at 0 stays."""
        return self.start_s + max(self.for_s, self.points[-1][0] if self.points else 0.0)

    def active(self, at_s: float) -> bool:
        return self.start_s <= at_s < self.start_s + self.for_s

    def as_json(self) -> dict[str, Any]:
        return {
            "product_id": self.product_id,
            "start_s": self.start_s,
            "points": [list(point) for point in self.points],
            "for_s": self.for_s,
            "volume_x": self.volume_x,
            "depth_x": self.depth_x,
            "spread_bps": self.spread_bps,
        }


def move_from_json(row: dict[str, Any]) -> Move:
    """A journalled move back. Raises ValueError or KeyError."""
    points = tuple((float(after), float(value)) for after, value in row.get("points", ()))
    if any(later[0] <= earlier[0] for earlier, later in itertools.pairwise(points)):
        raise ValueError("points of a move must rise in time")
    return Move(
        product_id=str(row["product_id"]),
        start_s=float(row["start_s"]),
        points=points,
        for_s=float(row.get("for_s", 0.0)),
        volume_x=float(row.get("volume_x", 1.0)),
        depth_x=float(row.get("depth_x", 1.0)),
        spread_bps=float(row.get("spread_bps", 0.0)),
    )


class Market(Protocol):
    name: str
    step_s: float
    """Venue seconds between two ticks of a product."""

    def products(self) -> list[Product]: ...
    def moves(self) -> list[Move]: ...
    def add_move(self, move: Move) -> None: ...
    def tick(self, product_id: str, step: int) -> Tick | None:
        """The street at venue time step x step_s; None when this market says nothing then (a hole in a recording)."""

    def depth(self, product_id: str, step: int, tick: Tick) -> tuple[Levels, Levels]:
        """Levels behind the best of that tick, best first."""

    def deepen(self, product_id: str, levels: int, tick: Tick) -> None:
        """Put so many more levels on each side of the book."""

    def minute_bars(self, product_id: str, first_minute: int, last_minute: int) -> list[Bar]:
        """One-minute bars of the path; minutes (since 1970) both inclusive; minutes without trades are missing."""

    def hour_bars(self, product_id: str, first_hour: int, last_hour: int) -> list[Bar]: ...


@frozen
class Bends:
    """The moves of one product, summed."""

    moves: list[Move] = field(factory=list)

    def offset(self, at_s: float) -> float:
        total = 0.0
        for move in self.moves:
            total += move.offset(at_s)
        return total

    def factors(self, at_s: float) -> tuple[float, float, float]:
        """(volume factor, depth factor, least spread in bps) at this moment."""
        volume, depth, spread = 1.0, 1.0, 0.0
        for move in self.moves:
            if move.active(at_s):
                volume *= move.volume_x
                depth *= move.depth_x
                spread = max(spread, move.spread_bps)
        return volume, depth, spread


def percent(value: float) -> float:
    """The log offset of a change in percent."""
    return math.log1p(value / 100.0)
