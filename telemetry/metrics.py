"""The read model as Prometheus metrics: a collector that reads it at scrape time, nothing counted twice.

Names follow the predecessor's dashboards where they meant the same; all start with bulkhead_.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telemetry.read_model import ReadModel

STATES = ("ACTIVE", "REDUCING", "HALTED", "DRAINING")


class ReadModelCollector(Collector):
    def __init__(self, model: ReadModel) -> None:
        self.model = model

    def collect(self) -> Iterator[Metric]:
        model = self.model
        status = model.status()
        state = GaugeMetricFamily("bulkhead_trading_state", "1 for the state the bot is in", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(status["trading_state"] == name))
        yield state
        for key, text in (
            ("nav_usd", "Net asset value"),
            ("high_water_usd", "Flow-neutral high-water mark"),
            ("drawdown_pct", "Drawdown below the high-water mark"),
            ("realised_today_usd", "Realised PnL of the UTC day, net of fees"),
            ("realised_week_usd", "Realised PnL of the ISO week, net of fees"),
            ("quote_total_usd", "Cash"),
        ):
            yield from _gauge(f"bulkhead_{key}", text, status[key])
        yield from _gauge("bulkhead_open_positions", "Positions of the bot", len(status["positions"]))
        yield from _gauge("bulkhead_open_orders", "Orders that are not proved terminal", len(status["orders"]))
        yield from _gauge(
            "bulkhead_unknown_orders",
            "Orders whose outcome is unknown",
            sum(o["status"] == "UNKNOWN" for o in status["orders"]),
        )
        yield from _gauge("bulkhead_unbooked_fills", "Orders with a fill seen but not booked", len(status["unbooked"]))
        yield from _gauge(
            "bulkhead_kill_switch_engaged", "1 when engaged", float(bool(status["kill"] and status["kill"]["engaged"]))
        )
        if status["drift"] is not None:
            yield from _gauge(
                "bulkhead_reconcile_drift_usd", "Last reconcile: what did not agree, in USD", status["drift"]["usd"]
            )
            yield from _gauge(
                "bulkhead_reconcile_drift_count",
                "Last reconcile: how many things did not agree",
                status["drift"]["count"],
            )
        exposure = GaugeMetricFamily("bulkhead_exposure_usd", "Worst-case exposure", labels=["product_id", "kind"])
        for product, row in model.exposure()["by_product"].items():
            for kind, usd in row.items():
                exposure.add_metric([product, kind.removesuffix("_usd")], float(usd or 0))
        yield exposure
        age = GaugeMetricFamily(
            "bulkhead_quote_age_seconds", "Age of the newest quote by receive time", labels=["product_id"]
        )
        for row in model.symbols():
            if row["quote_age_s"] is not None:
                age.add_metric([row["product_id"]], row["quote_age_s"])
        yield age
        breakers = GaugeMetricFamily("bulkhead_circuit_breaker_open", "1 when open or not measured", labels=["breaker"])
        for breaker in model.breakers():
            breakers.add_metric([breaker["code"]], float(breaker["open"] or not breaker["measured"]))
        yield breakers
        verdicts = CounterMetricFamily(
            "bulkhead_decisions", "Decisions by code since this process started", labels=["code"]
        )
        for code, count in sorted(model.no_trade_counts.items()):
            verdicts.add_metric([code], count)
        yield verdicts
        up = GaugeMetricFamily("bulkhead_role_up", "1 while the role runs", labels=["role"])
        restarts = GaugeMetricFamily("bulkhead_role_restarts", "Restarts in the supervisor's window", labels=["role"])
        rss = GaugeMetricFamily("bulkhead_role_rss_bytes", "Resident memory of the role's process", labels=["role"])
        mailbox = GaugeMetricFamily(
            "bulkhead_role_mailbox_age_seconds", "Age of the mailbox at the last ping", labels=["role"]
        )
        for child in model.tree_answer()["children"]:
            up.add_metric([child["role"]], float(child["state"] == "running"))
            restarts.add_metric([child["role"]], float(child["restarts"]))
            if child["rss_bytes"] is not None:
                rss.add_metric([child["role"]], float(child["rss_bytes"]))
            if child["mailbox_age_s"] is not None:
                mailbox.add_metric([child["role"]], float(child["mailbox_age_s"]))
        yield from (up, restarts, rss, mailbox)
        conditions = GaugeMetricFamily(
            "bulkhead_condition_active", "Conditions that stand", labels=["fingerprint", "level"]
        )
        for condition in status["conditions"]:
            conditions.add_metric([condition["fingerprint"], condition["level"]], 1.0)
        yield conditions
        info = GaugeMetricFamily("bulkhead_info", "What runs", labels=["env", "mode", "market", "config_hash"])
        info.add_metric([str(status[key]) for key in ("env", "mode", "market", "config_hash")], 1.0)
        yield info


def _gauge(name: str, text: str, value: Any) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(name, text, value=float(value))


def exposition(model: ReadModel) -> bytes:
    """The text that a scrape gets."""
    registry = CollectorRegistry()
    registry.register(ReadModelCollector(model))
    return generate_latest(registry)
