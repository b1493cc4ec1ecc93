"""What the fault simulation has found, each as the smallest scenario that showed it."""

from __future__ import annotations

from exchange.coinbase.gateway_stats import LONG_WINDOW_S, TrafficStats
from trading.messages.orders import Called


def test_one_slow_order_does_not_close_entries_for_as_long_as_no_other_may_be_sent():
    """Its latency opened `latency_budget`; no order could leave to bring the quantile down again, for ever."""
    stats = TrafficStats(0.0)
    stats.called(("order",), Called(call_id="order-1", outcome=None, errors=1), 10.0, 10.0)
    assert dict(stats.readings(11.0))["order_p95_s"] == 10.0
    assert "order_p95_s" not in dict(stats.readings(10.0 + LONG_WINDOW_S + 1.0))
