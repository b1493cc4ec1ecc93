"""Latency of every order, stage by stage, and the waits that follow from what was measured.

quote received -> decided -> approved -> saved -> sent -> acknowledged -> first fill -> booked, all on the boot clock. Each
stage is the time since the one before that is known. The Note "latency" carries seconds, ready for histograms.
"""

from __future__ import annotations

from trading.oms_desk import Desk
from trading.orders import Order

KEPT = 200
STAGES = ("decided", "approved", "saved", "sent", "acknowledged", "first_fill", "booked")


def stamps(order: Order) -> dict[str, float | None]:
    """Boot seconds of each stage, quote received first; None: not (yet) known."""
    intent = order.intent
    return {
        "quote_received": intent.quote_received_boot_s,
        "decided": intent.decided_boot_s,
        "approved": intent.approved_boot_s,
        "saved": intent.saved_boot_s,
        "sent": order.sent_boot_s,
        "acknowledged": order.acked_boot_s,
        "first_fill": order.first_fill_boot_s,
        "booked": order.booked_boot_s,
    }


def stages(order: Order) -> dict[str, float]:
    """Seconds of each stage that has both ends."""
    found: dict[str, float] = {}
    before: float | None = None
    for name, at in stamps(order).items():
        if at is None:
            continue
        if before is not None and name in STAGES:
            found[f"{name}_s"] = round(at - before, 6)
        before = at
    return found


def measure(d: Desk, name: str, seconds: float) -> None:
    """Keep one reading of the window that `Measured` tells quantiles of."""
    window = d.latencies.setdefault(name, [])
    window.append(seconds)
    del window[:-KEPT]


def quantile(values: list[float], q: float) -> float:
    """The smallest value with at least the share `q` of all at or below it; 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def note_sent(d: Desk, order: Order) -> None:
    """The gateway told when the request left and was answered."""
    measured = stages(order)
    for name in ("sent_s", "acknowledged_s"):
        if name in measured:
            measure(d, name, measured[name])
    if order.intent.quote_received_boot_s is not None and order.sent_boot_s is not None:
        measure(d, "quote_to_sent_s", order.sent_boot_s - order.intent.quote_received_boot_s)
    tell(d, order)


def note_booked(d: Desk, order: Order, seen_since_boot_s: float | None) -> None:
    """Everything seen of this order is booked."""
    if seen_since_boot_s is not None:
        settle_s = d.now.boot_s - seen_since_boot_s
        d.settle_samples.append(settle_s)
        del d.settle_samples[:-50]
        measure(d, "settle_s", settle_s)
    tell(d, order)


def tell(d: Desk, order: Order) -> None:
    d.note(
        "latency",
        client_order_id=order.intent.client_order_id,
        product_id=order.intent.product_id,
        purpose=str(order.intent.purpose),
        stages=stages(order),
    )


def settle_wait_s(d: Desk) -> float:
    """post_trade_reconcile_wait_s: a little below the quantile of what was observed, so that it can fall again; bounded."""
    settings = d.settings
    wait = settings.post_trade_reconcile_wait_s
    if len(d.settle_samples) >= 5:
        wait = 0.9 * quantile(d.settle_samples, settings.settle_quantile)
    return min(settings.settle_wait_s_max, max(settings.settle_wait_s_min, wait))
