"""Rate limits: token buckets per key and per address, told in lower-case x-ratelimit headers."""

from __future__ import annotations

from attrs import define, field

from exchange.simulator.clock import boot_s


@define
class Bucket:
    """Tokens of one key or address: `rate` per second, as many at once."""

    rate: float
    tokens: float
    at_s: float

    def take(self, now_s: float) -> bool:
        self.tokens = min(self.rate, self.tokens + (now_s - self.at_s) * self.rate)
        self.at_s = now_s
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def headers(self) -> dict[str, str]:
        reset = (self.rate - self.tokens) / self.rate
        return {
            "x-ratelimit-limit": str(int(self.rate)),
            "x-ratelimit-remaining": str(int(self.tokens)),
            "x-ratelimit-reset": str(int(reset) + 1),
        }


@define
class Limits:
    """Coinbase's long-standing values: 30 private requests per second and key, 10 public ones and 8 sockets per address."""

    private_per_s: float = 30.0
    public_per_s: float = 10.0
    connections_per_s: float = 8.0
    _buckets: dict[str, Bucket] = field(factory=dict)

    def bucket(self, who: str, rate: float) -> Bucket:
        found = self._buckets.get(who)
        if found is None or found.rate != rate:
            found = self._buckets[who] = Bucket(rate, rate, boot_s())
        return found
