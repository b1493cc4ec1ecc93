"""One product's book: our resting orders in price-time priority, in one queue with the street's liquidity.

The street shows itself as a quote (best bid and ask with sizes) and, only when somebody looks, deeper levels. Our own
orders stand in the same queue: an order joins behind the size shown at its price, prints eat that size before they
reach it, and when the shown size shrinks below what was ahead, the order moves up (cancels are assumed to come from
behind: the cautious choice). Orders that have the same street volume ahead form one group, so that a shrinking level
costs one merge, not a walk over its orders.

Cost: a quote that crosses nothing compares two prices. A product without resting orders stores four numbers.
"""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from attrs import define, field

from exchange.simulator.words import ZERO

if TYPE_CHECKING:
    from exchange.simulator.orders import Order

Levels = list[tuple[Decimal, Decimal]]
Depth = Callable[[], tuple[Levels, Levels]]
"""Levels behind the best, best first: (bids, asks); called only when needed."""


@define
class Group:
    until: Decimal
    """The group is next once the level's `gone` has reached this."""
    orders: dict[str, Order] = field(factory=dict)


@define
class Level:
    """Our orders at one price. `gone`: street volume that left the front of this queue since the level exists."""

    price: Decimal
    gone: Decimal = ZERO
    groups: deque[Group] = field(factory=deque)
    size: Decimal = ZERO
    """Leaves of our orders here."""
    count: int = 0

    def join(self, order: Order, ahead: Decimal) -> None:
        self.bound(ahead)
        until = self.gone + ahead
        if not self.groups or self.groups[-1].until < until:
            self.groups.append(Group(until))
        self.groups[-1].orders[order.order_id] = order
        order.group = self.groups[-1]
        self.size += order.leaves
        self.count += 1

    def bound(self, shown: Decimal) -> None:
        """No more street volume than `shown` can be ahead of anybody."""
        until = self.gone + shown
        groups = self.groups
        if not groups or groups[-1].until <= until:
            return
        suffix = []
        while groups and groups[-1].until > until:
            suffix.append(groups.pop())
        first = suffix.pop()  # each order moves at most once per merge, and a merged group never parts again
        first.until = until
        for group in reversed(suffix):
            for order in group.orders.values():
                order.group = first
            first.orders.update(group.orders)
        groups.append(first)

    @property
    def waiting(self) -> bool:
        return bool(self.groups) and self.groups[-1].until > self.gone

    def ahead_of(self, order: Order) -> Decimal:
        """Street volume ahead of this order."""
        return max(order.group.until - self.gone, ZERO) if order.group else ZERO

    def drop(self, order: Order) -> None:
        group = order.group
        if group is not None and group.orders.pop(order.order_id, None) is not None:
            order.group = None
            self.count -= 1
            while self.groups and not self.groups[0].orders:
                self.groups.popleft()


class Ladder:
    """One side of our resting orders: levels by price, best last."""

    def __init__(self, *, is_bid: bool) -> None:
        self.is_bid = is_bid
        self.levels: dict[Decimal, Level] = {}
        self._keys: list[Decimal] = []  # ascending; a bid's key is its price, an ask's its negative: the best is last
        self._waiting: list[Decimal] = []  # keys of levels with street volume ahead of us

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, price: Decimal) -> Decimal:
        return price if self.is_bid else -price

    def best(self) -> Level | None:
        return self.levels[abs(self._keys[-1])] if self._keys else None

    def from_best(self) -> Iterator[Level]:
        for key in reversed(self._keys):
            yield self.levels[abs(key)]

    def add(self, order: Order, price: Decimal, ahead: Decimal) -> None:
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = Level(price)
            bisect.insort(self._keys, self.key(price))
        level.join(order, ahead)
        if ahead > 0:
            key = self.key(price)
            at = bisect.bisect_left(self._waiting, key)
            if at == len(self._waiting) or self._waiting[at] != key:
                self._waiting.insert(at, key)

    def remove(self, order: Order, price: Decimal) -> None:
        level = self.levels.get(price)
        if level is None or order.group is None:
            return
        level.size -= order.leaves
        level.drop(order)
        if not level.count:
            self._forget(level)

    def _forget(self, level: Level) -> None:
        del self.levels[level.price]
        key = self.key(level.price)
        for keys in (self._keys, self._waiting):
            at = bisect.bisect_left(keys, key)
            if at < len(keys) and keys[at] == key:
                keys.pop(at)

    def street_moved(self, best: Decimal | None, shown: Decimal) -> None:
        """The street's best on our side is now `best` with `shown`: nobody is ahead of us at better prices."""
        waiting = self._waiting
        limit = None if best is None else self.key(best)
        while waiting and (limit is None or waiting[-1] > limit):
            self.levels[abs(waiting.pop())].bound(ZERO)
        if waiting and best is not None and waiting[-1] == limit:
            level = self.levels[best]
            level.bound(shown)
            if not level.waiting:
                waiting.pop()


class Book:
    """The street's quote and our orders of one product (and of its alias)."""

    def __init__(self) -> None:
        self.bids = Ladder(is_bid=True)
        self.asks = Ladder(is_bid=False)
        self.bid: Decimal | None = None
        self.ask: Decimal | None = None
        self.bid_size = ZERO
        self.ask_size = ZERO
        self.last: Decimal | None = None
        self.quoted_s = 0.0
        self._depth: Depth | None = None
        self._street: tuple[list[list[Decimal]], list[list[Decimal]]] | None = None
        self._stops: tuple[list[tuple[Decimal, int, Order]], list[tuple[Decimal, int, Order]]] = ([], [])

    @property
    def idle(self) -> bool:
        return not (self.bids or self.asks)

    def own(self, side: str) -> Ladder:
        return self.bids if side == "BUY" else self.asks

    def set_quote(
        self,
        bid: Decimal | None,
        ask: Decimal | None,
        bid_size: Decimal,
        ask_size: Decimal,
        depth: Depth | None,
        now_s: float,
    ) -> None:
        self.bid, self.ask, self.bid_size, self.ask_size = bid, ask, bid_size, ask_size
        self._depth = depth
        self._street = None
        self.quoted_s = now_s

    def street(self, side: str) -> list[list[Decimal]]:
        """What the street offers on this side, best first, as [price, size]; takers lower the sizes in place."""
        if self._street is None:
            bids = [[self.bid, self.bid_size]] if self.bid is not None and self.bid_size > 0 else []
            asks = [[self.ask, self.ask_size]] if self.ask is not None and self.ask_size > 0 else []
            if self._depth is not None:
                more_bids, more_asks = self._depth()
                bids.extend([price, size] for price, size in more_bids)
                asks.extend([price, size] for price, size in more_asks)
            self._street = (bids, asks)
        return self._street[0] if side == "BUY" else self._street[1]

    def shown_at(self, side: str, price: Decimal) -> Decimal:
        """The street's size at exactly this price (0 when it shows none)."""
        best = self.bid if side == "BUY" else self.ask
        if best is None or (price > best if side == "BUY" else price < best):
            return ZERO
        for level_price, size in self.street(side):
            if level_price == price:
                return size
            if level_price < price if side == "BUY" else level_price > price:
                break
        return ZERO

    def took(self) -> None:
        """Takers lowered sizes in `street`: the best may have changed."""
        if self._street is None:
            return
        for levels, name in zip(self._street, ("bid", "ask"), strict=True):
            while levels and levels[0][1] <= 0:
                levels.pop(0)
            setattr(self, name, levels[0][0] if levels else None)
            setattr(self, name + "_size", levels[0][1] if levels else ZERO)

    def best(self, side: str) -> tuple[Decimal, Decimal] | None:
        """Best price and size on a side, ours and the street's together."""
        price, size = (self.bid, self.bid_size) if side == "BUY" else (self.ask, self.ask_size)
        level = self.own(side).best()
        if level is None:
            return None if price is None else (price, size)
        if price is None or (level.price > price if side == "BUY" else level.price < price):
            return level.price, level.size
        return (price, size + level.size) if level.price == price else (price, size)

    def merged(self, side: str, limit: int | None = None) -> Levels:
        """All that rests on a side, best first: what the level2 channel and product_book show."""
        own = self.own(side)
        street = self.street(side)
        if not own:
            return [(price, size) for price, size in (street if limit is None else street[:limit])]
        sizes: dict[Decimal, Decimal] = {level[0]: level[1] for level in street}
        for price, level in own.levels.items():
            sizes[price] = sizes.get(price, ZERO) + level.size
        ordered = sorted(sizes.items(), reverse=side == "BUY")
        return ordered if limit is None else ordered[:limit]

    # --- stops -----------------------------------------------------------------------------------------------------

    def add_stop(self, order: Order, stop: Decimal, *, up: bool) -> None:
        heapq.heappush(self._stops[0 if up else 1], (stop if up else -stop, order.number, order))

    def triggered(self) -> Iterator[Order]:
        """Orders whose stop the last trade has reached, each told once."""
        if self.last is None:
            return
        for heap, price in ((self._stops[0], self.last), (self._stops[1], -self.last)):
            while heap and heap[0][0] <= price:
                yield heapq.heappop(heap)[2]
