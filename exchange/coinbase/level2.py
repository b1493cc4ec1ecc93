"""One product's level2 book: best bid and ask, their sizes, and the USD resting within 20 bps of mid, kept incrementally.

Each side is a dict from price to (price text, size text) beside a sorted list whose *end* is the best price, so that the
usual change, near the touch, moves few elements. The depth of a side is a running sum over the window
[mid * (1 - 20 bps), best]: a change inside adds or subtracts, a moving mid adds or subtracts the levels it crosses.
Running float sums drift, so the sum is taken anew from time to time (`_EXACT_EVERY`).

Texts stay texts: the best price and size leave as the venue wrote them. Sizes are absolute, "0" removes; removing a level
that never was is routine and tolerated. Values are checked by `feed_session` before they come here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

DEPTH_BPS = 20.0
_EXACT_EVERY = 4096


class _BookSide:
    """One side, keyed so that the best level sorts last: bids by price, asks by the negative price."""

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._levels: dict[float, tuple[str, str]] = {}
        self._keys: list[float] = []
        self._edge: float | None = None  # window: keys >= edge
        self._depth = 0.0
        self._changes = 0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def best(self) -> tuple[str, str] | None:
        """(price text, size text) of the touch."""
        return self._levels[self._keys[-1]] if self._keys else None

    @property
    def best_price(self) -> float | None:
        return self._keys[-1] * self._sign if self._keys else None

    def levels(self, count: int) -> list[tuple[str, str]]:
        """The `count` best levels as (price text, size text), best first. May be called from another thread than the one
        that updates: a level that goes in between is left out.
        """
        found = (self._levels.get(key) for key in reversed(self._keys[-count:]))
        return [level for level in found if level is not None]

    def load(self, prices: Sequence[str], sizes: Sequence[str]) -> None:
        sign = self._sign
        self._levels = {
            float(price) * sign: (price, size) for price, size in zip(prices, sizes, strict=True) if float(size) > 0.0
        }
        self._keys = sorted(self._levels)
        self._edge = None

    def set(self, price: str, size: str) -> None:
        key = float(price) * self._sign
        amount = float(size)
        known = self._levels.get(key)
        if amount > 0.0:
            self._levels[key] = (price, size)
            if known is None:
                insort(self._keys, key)
        elif known is None:
            return  # a removal of what was never published
        else:
            del self._levels[key]
            del self._keys[bisect_left(self._keys, key)]
        if self._edge is not None and key >= self._edge:
            self._depth += key * self._sign * (amount - (float(known[1]) if known else 0.0))
            self._changes += 1

    def depth_usd(self, mid: float) -> float:
        """Quote currency resting from the touch to 20 bps beyond `mid`. Cost: the levels between the old edge and the new."""
        edge = (mid - self._sign * mid * DEPTH_BPS / 10_000.0) * self._sign
        old = self._edge
        if old is None or self._changes > _EXACT_EVERY:
            self._depth = self._sum(edge, None)
            self._changes = 0
        elif edge < old:
            self._depth += self._sum(edge, old)
            self._changes += 1
        elif edge > old:
            self._depth -= self._sum(old, edge)
            self._changes += 1
        self._edge = edge
        return max(0.0, self._depth)

    def _sum(self, low: float, high: float | None) -> float:
        keys, levels = self._keys, self._levels
        start = bisect_left(keys, low)
        stop = len(keys) if high is None else bisect_left(keys, high)
        return sum(key * float(levels[key][1]) for key in keys[start:stop]) * self._sign


class Level2Book:
    """`snapshot` replaces everything, `update` changes levels. A book without snapshot is not known."""

    def __init__(self) -> None:
        self.known = False
        self.bids = _BookSide(1.0)
        self.asks = _BookSide(-1.0)

    def snapshot(self, sides: Sequence[str], prices: Sequence[str], sizes: Sequence[str]) -> None:
        """Full depth: sides `bid` or `offer`, prices and sizes as decimal texts."""
        bid = [index for index, side in enumerate(sides) if side == "bid"]
        ask = [index for index, side in enumerate(sides) if side == "offer"]
        self.bids.load([prices[i] for i in bid], [sizes[i] for i in bid])
        self.asks.load([prices[i] for i in ask], [sizes[i] for i in ask])
        self.known = True

    def update(self, sides: Sequence[str], prices: Sequence[str], sizes: Sequence[str]) -> None:
        bids, asks = self.bids, self.asks
        for side, price, size in zip(sides, prices, sizes, strict=True):
            (bids if side == "bid" else asks).set(price, size)

    def forget(self) -> None:
        """Something was lost: what is here is fiction until the next snapshot."""
        self.known = False
        self.bids = _BookSide(1.0)
        self.asks = _BookSide(-1.0)

    @property
    def crossed(self) -> bool:
        bid, ask = self.bids.best_price, self.asks.best_price
        return bid is not None and ask is not None and bid >= ask

    def depth_usd(self) -> tuple[float, float] | None:
        """(bids, asks): USD within 20 bps of mid on each side; None while a side is empty."""
        bid, ask = self.bids.best_price, self.asks.best_price
        if bid is None or ask is None:
            return None
        mid = (bid + ask) / 2.0
        return self.bids.depth_usd(mid), self.asks.depth_usd(mid)
