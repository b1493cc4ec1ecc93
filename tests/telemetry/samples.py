"""One book as oms would tell it, for the parts that only listen."""

from __future__ import annotations

from decimal import Decimal as D

from trading.messages.book import BookOrder, BookPosition, BookSnapshot, Cooldown, Counters, Foreign, Recovery
from trading.messages.control import (
    Breaker,
    ChildState,
    HealthSnapshot,
    KillSnapshot,
    LatchSnapshot,
    Noted,
    TreeState,
    UniverseEntry,
    UniverseSnapshot,
)
from trading.messages.market import Quote
from trading.values import Purpose, Side

NOW_S = 1_800_000_000.0


def quote(product_id: str = "BTC-USD", bid: str = "60000", ask: str = "60001", received_boot_s: float = 99.5) -> Quote:
    return Quote(product_id, D(bid), D(ask), D(1), D(1), NOW_S, received_boot_s, received_boot_s, 1, 50_000.0, 60_000.0)


def order(status: str = "ACCEPTED", **changes: object) -> BookOrder:
    values: dict[str, object] = {
        "intent_id": "i1",
        "client_order_id": "bh-abcd-1",
        "proposal_id": "p1",
        "plan_id": "p1",
        "product_id": "ETH-USD",
        "side": Side.BUY,
        "purpose": Purpose.ENTRY,
        "strategy": "price_move",
        "status": status,
        "base_size": D("0.5"),
        "limit_price": D("3000.00"),
        "filled_size": D("0.1"),
        "worst_usd": D("1214.40"),
        "saved_s": NOW_S,
    }
    return BookOrder(**{**values, **changes})  # type: ignore[arg-type]


def position() -> BookPosition:
    return BookPosition(
        position_id="i0",
        product_id="BTC-USD",
        strategy="price_move",
        seen_size=D("0.01"),
        booked_size=D("0.01"),
        average_price=D(59000),
        cost_usd=D(590),
        fees_usd=D("3.54"),
        opened_s=NOW_S - 60,
        stop_price=D(55460),
        target_price=D(66080),
        trailing_pct=None,
        peak_price=D(60000),
        hold_until_s=NOW_S + 1000,
        exit_n=0,
        exits_open_size=D(0),
    )


def book(n: int = 1, **changes: object) -> BookSnapshot:
    values: dict[str, object] = {
        "version": ((1, 5), n),
        "recovery": Recovery.RECONCILED,
        "writable": True,
        "draining": False,
        "orders": (order(),),
        "positions": (position(),),
        "cooldowns": (Cooldown(product_id="SOL-USD", kind="stop", until_s=NOW_S + 7200, reason="stop-out"),),
        "counters": Counters(),
        "quote_available_usd": D(8000),
        "quote_total_usd": D(9410),
        "foreign": (Foreign(currency="ADA", size=D(12)),),
        "unbooked": (),
        "admitted_recently": (),
        "flows_usd": D(0),
        "realised_today_usd": D("-12.34"),
        "realised_week_usd": D("55.00"),
        "balances_complete_boot_s": 99.0,
        "unknown_products": (),
        "drift_usd": D(0),
        "drift_count": 0,
        "taken_boot_s": 99.9,
    }
    return BookSnapshot(**{**values, **changes})  # type: ignore[arg-type]


def everything() -> list[tuple[str, object]]:
    """(role, message) pairs that make a whole picture."""
    return [
        ("oms", book()),
        ("kill_switch", KillSnapshot(n=1, engaged=False)),
        ("health_monitor", HealthSnapshot(n=1, breakers=(Breaker(code="api_errors", open=False, measured=True),))),
        (
            "risk",
            LatchSnapshot(n=1, latches=(), nav_usd=D("10010.00"), high_water_usd=D(10020), drawdown_pct=D("0.1")),
        ),
        (
            "universe",
            UniverseSnapshot(
                n=1,
                entries=(
                    UniverseEntry(product_id="BTC-USD", tier="T1", theme="LAYER1", eligible=True, size_multiplier=1.0),
                ),
                regime="chop",
                regime_confidence=0.8,
            ),
        ),
        (
            "main",
            TreeState(
                children=(
                    ChildState(
                        role="root",
                        supervisor="",
                        state="running",
                        pid=10,
                        incarnation=(1, 1),
                        restarts=0,
                        mailbox_age_s=0.0,
                        rss_bytes=1,
                        uptime_s=5.0,
                    ),
                    ChildState(
                        role="trading",
                        supervisor="root",
                        state="running",
                        pid=11,
                        incarnation=(1, 2),
                        restarts=0,
                        mailbox_age_s=0.0,
                        rss_bytes=1,
                        uptime_s=5.0,
                    ),
                    ChildState(
                        role="oms",
                        supervisor="trading",
                        state="running",
                        pid=12,
                        incarnation=(1, 3),
                        restarts=1,
                        mailbox_age_s=0.001,
                        rss_bytes=31_000_000,
                        uptime_s=5.0,
                    ),
                ),
                taken_boot_s=99.0,
            ),
        ),
        (
            "risk",
            Noted(
                at_s=NOW_S,
                role="risk",
                kind="decision",
                values={
                    "product_id": "SOL-USD",
                    "code": "theme_cap",
                    "text": "denied",
                    "values": {"theme_usd": "612", "limit_usd": "600"},
                },
                config_hash="cafe",
            ),
        ),
        (
            "oms",
            Noted(
                at_s=NOW_S,
                role="oms",
                kind="fill",
                values={"product_id": "BTC-USD", "side": "BUY", "base_size": "0.01", "price": "59000"},
                config_hash="cafe",
            ),
        ),
    ]
