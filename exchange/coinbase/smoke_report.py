"""What the smoke walk saw, as plain data: one `Check` a question, and the report that a command prints."""

from __future__ import annotations

import json
import statistics
from decimal import Decimal
from typing import Any

from attrs import asdict, define, field, frozen

from trading.messages.orders import Account, Fees
from trading.product import Product


@frozen(kw_only=True)
class Check:
    """One question. ok None: not asked, and `text` says why. latency_ms: real, from the first byte out to the whole answer."""

    name: str
    area: str
    ok: bool | None
    text: str = ""
    latency_ms: float | None = None


@define(kw_only=True)
class SmokeReport:
    """What was seen. `ok`: nothing stops trading. Times in the units of their names."""

    venue: str
    mode: str
    checks: list[Check] = field(factory=list)
    stoppers: list[str] = field(factory=list)
    drift_s: float | None = None
    round_trip_s: float | None = None
    account: Account | None = None
    account_tag: str | None = None
    fees: Fees | None = None
    products: dict[str, Product] = field(factory=dict)
    available: dict[str, Decimal] = field(factory=dict)
    settle_s: list[float] = field(factory=list)
    quote_age_s: list[float] = field(factory=list)
    order: Any = None

    @property
    def ok(self) -> bool:
        return not self.stoppers

    @property
    def latency_ms_p50(self) -> float | None:
        known = [check.latency_ms for check in self.checks if check.latency_ms is not None]
        return statistics.median(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        answer: dict[str, Any] = json.loads(json.dumps({**asdict(self), "ok": self.ok}, default=str))
        return answer
