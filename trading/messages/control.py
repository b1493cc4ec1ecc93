"""Permissions, health and people: snapshots that owners repeat, commands that are repeated until acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import field, frozen

from trading.machine import Incarnation
from trading.messages.decisions import Values
from trading.messages.orders import Fees
from trading.product import Product


@frozen(kw_only=True)
class KillSnapshot:
    """kill_switch -> risk, oms, exits, gateway, symbols. Pause is durable too and moves to REDUCING only."""

    n: int
    engaged: bool
    cause: str = ""
    by: str = ""
    at_s: float | None = None
    paused: bool = False
    pause_cause: str = ""
    incarnation: Incarnation = (0, 0)


@frozen(kw_only=True)
class Breaker:
    """One circuit breaker: open means no entries. `measured` false: it has no reading yet, which is a denial at risk."""

    code: str
    open: bool
    measured: bool
    reason: str = ""
    values: Values = ()
    since_boot_s: float | None = None


@frozen(kw_only=True)
class HealthSnapshot:
    """health_monitor -> risk, exits, oms, symbols."""

    n: int
    breakers: tuple[Breaker, ...]
    kill_wanted: bool = False
    incarnation: Incarnation = (0, 0)


@frozen(kw_only=True)
class Latch:
    """A money latch of risk: daily_stop, weekly_stop, rolling_stop, max_drawdown. Only tightens within its window."""

    code: str
    values: Values
    since_s: float
    until_s: float | None = None


@frozen(kw_only=True)
class LatchSnapshot:
    """risk -> oms, exits, symbols, console."""

    n: int
    latches: tuple[Latch, ...]
    nav_usd: Decimal | None = None
    high_water_usd: Decimal | None = None
    drawdown_pct: Decimal | None = None
    incarnation: Incarnation = (0, 0)


@frozen(kw_only=True)
class UniverseEntry:
    """One product as the universe sees it now; `eligible` false closes entries, `reason` says why."""

    product_id: str
    tier: str
    theme: str
    eligible: bool
    size_multiplier: float
    reason: str = ""
    values: Values = ()


@frozen(kw_only=True)
class UniverseSnapshot:
    """universe -> risk, exits, symbols, market_feed."""

    n: int
    entries: tuple[UniverseEntry, ...]
    regime: str
    regime_confidence: float
    regime_values: Values = ()
    incarnation: Incarnation = (0, 0)


@frozen(kw_only=True)
class CatalogSnapshot:
    """catalog -> risk, oms, exits, gateway, universe, symbols. fetched_boot_s: age of the data, not of the message.

    exchange: component states of the status page and channel, worst first; `entries_closed` with its reason when they
    stop entries.
    """

    n: int
    products: tuple[Product, ...]
    fees: Fees | None
    fetched_boot_s: float
    exchange_reason: str = ""
    entries_closed: bool = False
    kill_wanted: bool = False
    incarnation: Incarnation = (0, 0)


@frozen(kw_only=True)
class Measured:
    """Anybody -> health_monitor, each second: (name, value) readings since its start or over its window; names in health_monitor.py."""

    source: str
    n: int
    readings: tuple[tuple[str, float], ...]
    incarnation: Incarnation = (0, 0)


@frozen(kw_only=True)
class Engage:
    """-> kill_switch, a command; the effect is latched. source: file, env, ctl, panic, breaker, root."""

    command_id: str
    name: str
    cause: str
    source: str


@frozen(kw_only=True)
class Rearm:
    command_id: str
    name: str
    cause: str


@frozen(kw_only=True)
class Pause:
    command_id: str
    name: str
    cause: str


@frozen(kw_only=True)
class Resume:
    command_id: str
    name: str
    cause: str


@frozen(kw_only=True)
class OperatorOrder:
    """operator -> oms (exit: exits). verb: ban, unban, cancel, settle, flatten, adopt, exit. args: plain text values."""

    command_id: str
    verb: str
    name: str
    cause: str
    args: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class CommandDone:
    """-> operator: the owner saved the command's effect (or refused it, with a sentence)."""

    command_id: str
    ok: bool
    text: str


@frozen(kw_only=True)
class SweepOrdered:
    """kill_switch, conductor, guardian -> own shell: list and cancel what is ours until twice empty >= 5 s apart."""

    reason: str
    until_boot_s: float


@frozen(kw_only=True)
class SweepReport:
    """The sweep's shell -> its machine: passes so far, what was canceled, whether it is twice empty."""

    clean: bool
    canceled: tuple[str, ...]
    listed: int
    passes: int
    error: str = ""


@frozen(kw_only=True)
class Drain:
    """conductor -> gateway, oms, exits, risk (and to their new incarnations)."""

    run_number: int


@frozen(kw_only=True)
class Drained:
    """clean False: orders of ours may be live at the venue."""

    run_number: int
    role: str
    clean: bool
    canceled: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@frozen(kw_only=True)
class ProductsWanted:
    """universe -> the symbols supervisor (through its shell) and market_feed: which symbols run. A snapshot."""

    version: int
    products: tuple[str, ...]


@frozen(kw_only=True)
class ChildState:
    """One line of a tree snapshot, as supervision reports it."""

    role: str
    supervisor: str
    state: str
    pid: int | None
    incarnation: Incarnation | None
    restarts: int
    mailbox_age_s: float | None
    rss_bytes: int | None
    uptime_s: float | None
    reason: str = ""


@frozen(kw_only=True)
class TreeState:
    """The host of the conductor and of health_monitor -> its machine, each second."""

    children: tuple[ChildState, ...]
    taken_boot_s: float
    root_alive: bool = True


@frozen(kw_only=True)
class Condition:
    """Any -> alerts, console: a level that stands or has gone, never an event. level: info, warning, critical."""

    fingerprint: str
    level: str
    active: bool
    text: str
    values: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Noted:
    """The host -> console and operator: a machine's Note on its way to people; may be lost. config_hash: of the run."""

    at_s: float
    role: str
    kind: str
    values: Mapping[str, Any]
    config_hash: str
