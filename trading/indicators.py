"""Incremental indicators: O(1) work and no growth per bar, floats only (never money).

Each has `update(...)` and plain attributes to read; `ready` tells that its window is full. Sums that are kept by adding
and subtracting drift, so each is computed afresh once per window length, which costs O(1) per bar on average.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import sqrt


class Ema:
    """Exponential mean with alpha = 2 / (n + 1), seeded with the first value."""

    __slots__ = ("_alpha", "_length", "count", "value")

    def __init__(self, length: int) -> None:
        self._alpha = 2.0 / (length + 1)
        self._length = length
        self.count = 0
        self.value = 0.0

    def update(self, value: float) -> None:
        if self.count:
            self.value += self._alpha * (value - self.value)
        else:
            self.value = value
        self.count += 1

    @property
    def ready(self) -> bool:
        return self.count >= self._length


class Atr:
    """Wilder's average true range: the mean of the first n, then (value x (n - 1) + true range) / n."""

    __slots__ = ("_length", "_previous_close", "count", "value")

    def __init__(self, length: int = 14) -> None:
        self._length = length
        self._previous_close = 0.0
        self.count = 0
        self.value = 0.0

    def update(self, high: float, low: float, close: float) -> None:
        reach = high - low
        if self.count:
            previous = self._previous_close
            reach = max(reach, high - previous)
            reach = max(reach, previous - low)
        self._previous_close = close
        length = self.count + 1 if self.count < self._length else self._length
        self.value += (reach - self.value) / length
        self.count += 1

    @property
    def ready(self) -> bool:
        return self.count >= self._length


class Rsi:
    """Wilder's relative strength index, 0 to 100; 50 until it has seen a move. `previous` is the value one bar before."""

    __slots__ = ("_down", "_last", "_length", "_up", "count", "previous", "value")

    def __init__(self, length: int = 14) -> None:
        self._length = length
        self._up = 0.0
        self._down = 0.0
        self._last = 0.0
        self.count = 0
        self.value = 50.0
        self.previous = 50.0

    def update(self, close: float) -> None:
        if self.count:
            change = close - self._last
            length = min(self._length, self.count)
            if change >= 0.0:
                self._up += (change - self._up) / length
                self._down -= self._down / length
            else:
                self._up -= self._up / length
                self._down += (-change - self._down) / length
            self.previous = self.value
            both = self._up + self._down
            self.value = 100.0 * self._up / both if both > 0.0 else 50.0
        self._last = close
        self.count += 1

    @property
    def ready(self) -> bool:
        return self.count > self._length


class RollingStats:
    """Mean and sample standard deviation of the last `size` values."""

    __slots__ = ("_at", "_full", "_squares", "_sum", "_values", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._values = [0.0] * size
        self._at = 0
        self._full = False
        self._sum = 0.0
        self._squares = 0.0

    def update(self, value: float) -> None:
        values = self._values
        at = self._at
        gone = values[at]
        values[at] = value
        self._sum += value - gone
        self._squares += value * value - gone * gone
        at += 1
        if at == self.size:
            at = 0
            self._full = True
            self._sum = sum(values)
            self._squares = sum([one * one for one in values])
        self._at = at

    @property
    def count(self) -> int:
        return self.size if self._full else self._at

    @property
    def total(self) -> float:
        return self._sum

    @property
    def mean(self) -> float:
        count = self.count
        return self._sum / count if count else 0.0

    @property
    def std(self) -> float:
        """Sample standard deviation (n - 1); 0.0 with fewer than two values."""
        count = self.count
        if count < 2:
            return 0.0
        variance = (self._squares - self._sum * self._sum / count) / (count - 1)
        return sqrt(variance) if variance > 0.0 else 0.0

    @property
    def ready(self) -> bool:
        return self._full


class RollingSum:
    """Sum of the last `size` values; for volumes, where no deviation is wanted."""

    __slots__ = ("_at", "_full", "_values", "size", "total")

    def __init__(self, size: int) -> None:
        self.size = size
        self._values = [0.0] * size
        self._at = 0
        self._full = False
        self.total = 0.0

    def update(self, value: float) -> None:
        values = self._values
        at = self._at
        self.total += value - values[at]
        values[at] = value
        at += 1
        if at == self.size:
            at = 0
            self._full = True
            self.total = sum(values)
        self._at = at

    @property
    def count(self) -> int:
        return self.size if self._full else self._at

    @property
    def ready(self) -> bool:
        return self._full


class RollingMax:
    """Maximum of the last `size` values by a monotone queue (for a minimum, feed negated values)."""

    __slots__ = ("_at", "_queue", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._at = 0
        self._queue: deque[tuple[int, float]] = deque()

    def update(self, value: float) -> None:
        queue = self._queue
        while queue and queue[-1][1] <= value:
            queue.pop()
        queue.append((self._at, value))
        if queue[0][0] <= self._at - self.size:
            queue.popleft()
        self._at += 1

    @property
    def value(self) -> float:
        return self._queue[0][1] if self._queue else 0.0

    @property
    def ready(self) -> bool:
        return self._at >= self.size


class RollingMedian:
    """Median of the last `size` values, kept sorted: O(log n) comparisons and a short memmove."""

    __slots__ = ("_order", "_sorted", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def update(self, value: float) -> None:
        if len(self._order) == self.size:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        self._order.append(value)
        insort(self._sorted, value)

    @property
    def count(self) -> int:
        return len(self._sorted)

    @property
    def value(self) -> float:
        count = len(self._sorted)
        if not count:
            return 0.0
        middle = count // 2
        return self._sorted[middle] if count % 2 else (self._sorted[middle - 1] + self._sorted[middle]) / 2.0


class Vwap:
    """Volume-weighted mean of typical price (high + low + close) / 3 over the last `size` bars; 0.0 without volume."""

    __slots__ = ("_at", "_size", "_value_sum", "_values", "_volume_sum", "_volumes")

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0
        self._values = [0.0] * size
        self._volumes = [0.0] * size
        self._value_sum = 0.0
        self._volume_sum = 0.0

    def update(self, high: float, low: float, close: float, volume: float) -> None:
        values, volumes, at = self._values, self._volumes, self._at
        traded = (high + low + close) / 3.0 * volume
        self._value_sum += traded - values[at]
        self._volume_sum += volume - volumes[at]
        values[at] = traded
        volumes[at] = volume
        at += 1
        if at == self._size:
            at = 0
            self._value_sum = sum(values)
            self._volume_sum = sum(volumes)
        self._at = at

    @property
    def value(self) -> float:
        return self._value_sum / self._volume_sum if self._volume_sum > 0.0 else 0.0
