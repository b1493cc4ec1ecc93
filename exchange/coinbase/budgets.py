"""How many requests may leave: token buckets, pure. What the venue punishes is prevented here (I13).

Four classes, each with a bucket of its own, planned to stay at half of the venue's long-standing limits (30
requests a second per user, 10 per address): `public`, `private` (queries), `orders`, `cancels`. Rules:

- The last tokens of a bucket are a *reserve* for what must not wait: exits and flattens among orders, settling
  questions among queries. Everything else pauses before exhaustion, at the reserve.
- After a restart the buckets are empty, so that a storm of restarts earns nothing; the cancels' bucket is full.
- A 429 pauses its class for Retry-After (without one: 1 s, doubling to 60 s until a request succeeds), and always
  the less urgent requests of all classes of the same user. Exhausted `x-ratelimit` headers pause until their reset.
- An endpoint may have a limit of its own below its class's (`endpoints`, by the kind of question), so that one asker in
  a loop cannot eat the class. Those buckets start full: it is the class that makes restarts earn nothing.
- The hour counts too: from `hourly_pause_fraction` of `requests_per_h_max` on, only exits, cancels and settling go.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import define, field, frozen


class RateClass(StrEnum):
    PUBLIC = "public"
    PRIVATE = "private"
    ORDERS = "orders"
    CANCELS = "cancels"


@frozen(kw_only=True)
class Rate:
    """per_s: refill; burst: capacity; reserve: tokens that only urgent requests may take."""

    per_s: float
    burst: float
    reserve: float = 0.0


@frozen(kw_only=True)
class BudgetSettings:
    """Defaults sum up to 15 private requests a second at most (the venue's long-standing limit is 30) and 5 public."""

    public: Rate = Rate(per_s=5.0, burst=5.0)
    private: Rate = Rate(per_s=8.0, burst=10.0, reserve=3.0)
    orders: Rate = Rate(per_s=4.0, burst=8.0, reserve=3.0)
    cancels: Rate = Rate(per_s=3.0, burst=10.0)
    endpoints: dict[str, Rate] = field(
        factory=lambda: {
            "products": Rate(per_s=0.2, burst=3.0),
            "fees": Rate(per_s=0.1, burst=2.0),
            "account": Rate(per_s=0.1, burst=2.0),
            "clock": Rate(per_s=1.0, burst=3.0),
            "candles": Rate(per_s=4.0, burst=5.0),
            "best_bid_ask": Rate(per_s=2.0, burst=4.0),
        }
    )
    requests_per_h_max: int = 10_000
    hourly_pause_fraction: float = 0.9
    throttle_s: float = 1.0
    throttle_s_max: float = 60.0

    def rate(self, rate_class: RateClass) -> Rate:
        found: Rate = getattr(self, rate_class.value)
        return found


_ROUNDING = 1e-6
"""So that a wake at exactly the ready time finds its token, whatever float arithmetic did."""


@define
class TokenBucket:
    """Tokens grow with boot time up to `burst`. May be in debt: what was used beyond is paid back before the next."""

    rate: Rate
    tokens: float = 0.0
    at_boot_s: float = 0.0

    def available(self, now_boot_s: float) -> float:
        grown = max(0.0, now_boot_s - self.at_boot_s) * self.rate.per_s
        return min(self.rate.burst, self.tokens + grown)

    def take(self, now_boot_s: float, *, urgent: bool) -> bool:
        """One token, unless that would touch the reserve and the request is not urgent."""
        available = self.available(now_boot_s)
        if available + _ROUNDING < 1.0 + (0.0 if urgent else self.rate.reserve):
            return False
        self.tokens, self.at_boot_s = available - 1.0, max(now_boot_s, self.at_boot_s)
        return True

    def charge(self, now_boot_s: float, requests: int) -> None:
        """Requests that were made without asking (pages, retries). Debt is bounded by one burst."""
        self.tokens = max(-self.rate.burst, self.available(now_boot_s) - requests)
        self.at_boot_s = max(now_boot_s, self.at_boot_s)

    def ready_boot_s(self, now_boot_s: float, *, urgent: bool) -> float:
        """When `take` will succeed, if nobody else takes."""
        lacking = 1.0 + (0.0 if urgent else self.rate.reserve) - self.available(now_boot_s)
        return now_boot_s if lacking <= 0.0 else now_boot_s + lacking / self.rate.per_s

    def used_fraction(self, now_boot_s: float) -> float:
        return 1.0 - max(0.0, self.available(now_boot_s)) / self.rate.burst


@define
class _Pause:
    until_boot_s: float = 0.0
    in_a_row: int = 0


@define
class Budgets:
    """One per gateway incarnation. `hour` and `hour_requests`: what the shell read from its file (boot hours)."""

    settings: BudgetSettings
    started_boot_s: float
    hour: int = 0
    hour_requests: int = 0
    buckets: dict[RateClass, TokenBucket] = field(init=False)
    pauses: dict[RateClass, _Pause] = field(init=False)
    endpoints: dict[str, TokenBucket] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.endpoints = {
            name: TokenBucket(rate, rate.burst, self.started_boot_s) for name, rate in self.settings.endpoints.items()
        }
        self.buckets = {
            kind: TokenBucket(self.settings.rate(kind), at_boot_s=self.started_boot_s) for kind in RateClass
        }
        self.buckets[RateClass.CANCELS].tokens = self.settings.cancels.burst
        self.pauses = {kind: _Pause() for kind in RateClass}

    def take(self, rate_class: RateClass, now_boot_s: float, *, urgent: bool, endpoint: str = "") -> bool:
        """True: one request may leave now, and is counted. endpoint: the kind of question, for its own limit."""
        own = self.endpoints.get(endpoint)
        if own is not None and own.ready_boot_s(now_boot_s, urgent=True) > now_boot_s + _ROUNDING:
            return False
        if now_boot_s < self._paused_until(rate_class, urgent=urgent):
            return False
        if not urgent and self.hour_used_fraction(now_boot_s) >= self.settings.hourly_pause_fraction:
            return False
        if not self.buckets[rate_class].take(now_boot_s, urgent=urgent):
            return False
        if own is not None:
            own.charge(now_boot_s, 1)
        self._count(now_boot_s, 1)
        return True

    def ready_boot_s(self, rate_class: RateClass, now_boot_s: float, *, urgent: bool, endpoint: str = "") -> float:
        """When to ask again after `take` said no."""
        ready = max(
            self._paused_until(rate_class, urgent=urgent),
            self.buckets[rate_class].ready_boot_s(now_boot_s, urgent=urgent),
        )
        if endpoint in self.endpoints:
            ready = max(ready, self.endpoints[endpoint].ready_boot_s(now_boot_s, urgent=True))
        if not urgent and self.hour_used_fraction(now_boot_s) >= self.settings.hourly_pause_fraction:
            ready = max(ready, (int(now_boot_s // 3600) + 1) * 3600.0)
        return ready

    def charge(self, rate_class: RateClass, now_boot_s: float, requests: int) -> None:
        if requests > 0:
            self.buckets[rate_class].charge(now_boot_s, requests)
            self._count(now_boot_s, requests)

    def throttled(self, rate_class: RateClass, now_boot_s: float, retry_after_s: float | None) -> None:
        """The venue answered 429."""
        pause = self.pauses[rate_class]
        wait_s = min(self.settings.throttle_s_max, self.settings.throttle_s * 2.0 ** min(pause.in_a_row, 16))
        if retry_after_s is not None and retry_after_s >= 0.0:
            wait_s = retry_after_s
        pause.in_a_row += 1
        pause.until_boot_s = max(pause.until_boot_s, now_boot_s + wait_s)

    def succeeded(self, rate_class: RateClass) -> None:
        self.pauses[rate_class].in_a_row = 0

    def headers(self, rate_class: RateClass, now_boot_s: float, remaining: int | None, reset_s: float | None) -> None:
        """`x-ratelimit-remaining` and `-reset` (seconds from now). Optional at the venue; obeyed when there."""
        if remaining is None or remaining > 0:
            return
        wait_s = self.settings.throttle_s if reset_s is None else min(max(reset_s, 0.0), self.settings.throttle_s_max)
        pause = self.pauses[rate_class]
        pause.until_boot_s = max(pause.until_boot_s, now_boot_s + wait_s)

    def hour_used_fraction(self, now_boot_s: float) -> float:
        if int(now_boot_s // 3600) != self.hour:
            return 0.0
        return self.hour_requests / self.settings.requests_per_h_max

    def _count(self, now_boot_s: float, requests: int) -> None:
        hour = int(now_boot_s // 3600)
        if hour != self.hour:
            self.hour, self.hour_requests = hour, 0
        self.hour_requests += requests

    def _paused_until(self, rate_class: RateClass, *, urgent: bool) -> float:
        own = self.pauses[rate_class].until_boot_s
        if urgent or rate_class is RateClass.PUBLIC:
            return own
        # One user has one limit at the venue: what can wait yields to what cannot.
        return max(pause.until_boot_s for kind, pause in self.pauses.items() if kind is not RateClass.PUBLIC)
