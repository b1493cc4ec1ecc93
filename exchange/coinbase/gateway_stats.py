"""What the gateway measures of its own traffic, pure: windows, quantiles, runs of errors. Sent each second as `Measured`.

Readings (names with units): requests_60s, errors_60s, throttled_60s, unknown_600s, rejects_600s (without refused
post-only limits, which are daily life), post_only_rejects_600s, errors_in_a_row, answer_age_s, error_pct_60s, and per lane
(cancel, order, query) and per kind of question (ask_orders, ask_fills, ...) `<name>_p50_s`, `_p95_s`, `_p99_s` over the
last 200 calls.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from trading.messages.orders import Called, OrderOutcome, OutcomeKind

WINDOW_S = 60.0
LONG_WINDOW_S = 600.0
LATENCIES = 200
_POST_ONLY = "POST_ONLY"

Reading = tuple[str, float]


def quantile(ordered: list[float], q: float) -> float:
    """Nearest-rank quantile of an ascending, non-empty list."""
    return ordered[min(len(ordered) - 1, max(0, round(q * len(ordered) + 0.5) - 1))]


@define
class TrafficStats:
    started_boot_s: float
    calls: deque[tuple[float, int, int, int]] = field(factory=lambda: deque(maxlen=20_000))
    verdicts: deque[tuple[float, str]] = field(factory=lambda: deque(maxlen=20_000))
    latencies: dict[str, deque[tuple[float, float]]] = field(factory=dict)
    errors_in_a_row: int = 0
    answered_boot_s: float | None = None

    def called(self, names: tuple[str, ...], called: Called, took_s: float, now_boot_s: float) -> None:
        """names: of the lane, and of the kind of question. took_s: dispatch to answer; used where the shell reports no latency of its own."""
        self.calls.append((now_boot_s, called.requests, called.errors, called.throttled))
        latency_s = took_s if called.latency_s is None else called.latency_s
        if called.requests:
            for name in names:
                self.latencies.setdefault(name, deque(maxlen=LATENCIES)).append((now_boot_s, latency_s))
        if called.errors:
            self.errors_in_a_row = self.errors_in_a_row + 1 if called.errors >= called.requests else 0
        elif called.requests:
            self.errors_in_a_row = 0
        if called.requests > called.errors:
            self.answered_boot_s = now_boot_s
        if isinstance(called.outcome, OrderOutcome):
            outcome = called.outcome
            if outcome.kind is OutcomeKind.REJECTED:
                self.verdicts.append((now_boot_s, "post_only" if _POST_ONLY in outcome.reason else "reject"))
            elif outcome.kind is OutcomeKind.UNKNOWN:
                self.verdicts.append((now_boot_s, "unknown"))

    def readings(self, now_boot_s: float) -> list[Reading]:
        while self.calls and self.calls[0][0] < now_boot_s - WINDOW_S:
            self.calls.popleft()
        while self.verdicts and self.verdicts[0][0] < now_boot_s - LONG_WINDOW_S:
            self.verdicts.popleft()
        requests = sum(call[1] for call in self.calls)
        errors = sum(call[2] for call in self.calls)
        kinds = [kind for _, kind in self.verdicts]
        since = self.started_boot_s if self.answered_boot_s is None else self.answered_boot_s
        out: list[Reading] = [
            ("requests_60s", float(requests)),
            ("errors_60s", float(errors)),
            ("error_pct_60s", 100.0 * errors / requests if requests else 0.0),
            ("throttled_60s", float(sum(call[3] for call in self.calls))),
            ("errors_in_a_row", float(self.errors_in_a_row)),
            ("unknown_600s", float(kinds.count("unknown"))),
            ("rejects_600s", float(kinds.count("reject"))),
            ("post_only_rejects_600s", float(kinds.count("post_only"))),
            ("answer_age_s", now_boot_s - since),
        ]
        for name, kept in self.latencies.items():
            # By age too: one slow order must not keep its breaker open for as long as no other may be sent.
            ordered = sorted(latency_s for at_s, latency_s in kept if at_s >= now_boot_s - LONG_WINDOW_S)
            if not ordered:
                continue
            out += [(f"{name}_p{round(q * 100)}_s", quantile(ordered, q)) for q in (0.5, 0.95, 0.99)]
        return out
