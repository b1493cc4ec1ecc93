"""Permissions, health and people: snapshots that owners repeat, commands that are repeated until acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import field

from trading.light import light
from trading.machine import Incarnation
from trading.messages.decisions import Values
from trading.messages.orders import Fees
from trading.product import Product


@light(kw_only=True)
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


@light(kw_only=True)
class Breaker:
    """One circuit breaker: open means no entries. `measured` false: it has no reading yet, which is a denial at risk."""

    code: str
    open: bool
    measured: bool
    reason: str = ""
    values: Values = ()
    since_boot_s: float | None = None


@light(kw_only=True)
class HealthSnapshot:
    """health_monitor -> risk, exits, oms, symbols."""

    n: int
    breakers: tuple[Breaker, ...]
    kill_wanted: bool = False
    incarnation: Incarnation = (0, 0)


@light(kw_only=True)
class Latch:
    """A money latch of risk: daily_stop, weekly_stop, rolling_stop, max_drawdown. Only tightens within its window."""

    code: str
    values: Values
    since_s: float
    until_s: float | None = None


@light(kw_only=True)
class LatchSnapshot:
    """risk -> oms, exits, symbols, console. marks: believed prices of what is held."""

    n: int
    latches: tuple[Latch, ...]
    marks: tuple[tuple[str, Decimal], ...] = ()
    nav_usd: Decimal | None = None
    high_water_usd: Decimal | None = None
    drawdown_pct: Decimal | None = None
    incarnation: Incarnation = (0, 0)


@light(kw_only=True)
class UniverseEntry:
    """One product as the universe sees it now; `eligible` false closes entries, `reason` says why.

    taker_cost_bps_max: the tier's budget for half the spread and the taker fee together; None: not known, nothing crosses.
    """

    product_id: str
    tier: str
    theme: str
    eligible: bool
    size_multiplier: float
    reason: str = ""
    values: Values = ()
    taker_cost_bps_max: float | None = None


@light(kw_only=True)
class UniverseSnapshot:
    """universe -> risk, exits, symbols, market_feed. regime_known: False while there are too few bars to measure one."""

    n: int
    entries: tuple[UniverseEntry, ...]
    regime: str
    regime_confidence: float
    regime_values: Values = ()
    regime_known: bool = True
    incarnation: Incarnation = (0, 0)


@light(kw_only=True)
class CatalogSnapshot:
    """catalog -> risk, oms, exits, gateway, universe, symbols. fetched_boot_s: age of the data, not of the message.

    exchange: component states of the status page and channel, worst first; `entries_closed` with its reason when they
    stop entries; `size_multiplier` below 1 when they only clamp. other_account: the key is of another account than the data
    dir, so that nothing the venue says or sells is about this book; key_unchecked: the venue has not told yet.
    """

    n: int
    products: tuple[Product, ...]
    fees: Fees | None
    fetched_boot_s: float
    exchange_reason: str = ""
    entries_closed: bool = False
    kill_wanted: bool = False
    incarnation: Incarnation = (0, 0)
    size_multiplier: float = 1.0
    other_account: bool = False
    key_unchecked: bool = False


@light(kw_only=True)
class ExchangeStatus:
    """Who reads the venue's status page -> catalog. reachable False: nothing was learned (`error` says why).

    In the page's own words: indicator none, minor, major, critical; components (name, operational |
    degraded_performance | partial_outage | major_outage | under_maintenance); incidents (name, impact) unresolved;
    maintenances (name, status) of those in progress.
    """

    reachable: bool
    read_boot_s: float
    indicator: str = "none"
    components: tuple[tuple[str, str], ...] = ()
    incidents: tuple[tuple[str, str], ...] = ()
    maintenances: tuple[tuple[str, str], ...] = ()
    error: str = ""


@light(kw_only=True)
class ProductStatusSeen:
    """market_feed -> catalog: (product_id, status, message) from the `status` channel, between two readings of the metadata."""

    products: tuple[tuple[str, str, str], ...]


@light(kw_only=True)
class ClockAnchored:
    """catalog -> own shell: write `run/anchor.json`. Venue time was `venue_s` when the boot clock read `boot_s`.

    drift_s: measured minus expected. trusted False: the drift check fails, and no durable deadline may be judged.
    """

    venue_s: float
    boot_s: float
    speed: float
    trusted: bool
    drift_s: float


@light(kw_only=True)
class Measured:
    """Anybody -> health_monitor, each second: (name, value) readings since its start or over its window; names in health_monitor.py."""

    source: str
    n: int
    readings: tuple[tuple[str, float], ...]
    incarnation: Incarnation = (0, 0)


@light(kw_only=True)
class Engage:
    """-> kill_switch, a command; the effect is latched. source: file, env, ctl, panic, breaker, root."""

    command_id: str
    name: str
    cause: str
    source: str


@light(kw_only=True)
class Rearm:
    command_id: str
    name: str
    cause: str


@light(kw_only=True)
class Pause:
    command_id: str
    name: str
    cause: str


@light(kw_only=True)
class Resume:
    command_id: str
    name: str
    cause: str


@light(kw_only=True)
class OperatorOrder:
    """operator -> oms (exit: exits). verb: ban, unban, cancel, settle, flatten, adopt, exit. args: plain text values."""

    command_id: str
    verb: str
    name: str
    cause: str
    args: tuple[tuple[str, str], ...] = ()


ON_EXIT = "flatten-on-exit:"
"""Begins the command ids of `--flatten-on-exit`: they come from main, which repeats them until it hears that nothing is left."""


@light(kw_only=True)
class CommandDone:
    """-> operator: the owner saved the command's effect (or refused it, with a sentence). misworded: it names what is not there."""

    command_id: str
    ok: bool
    text: str
    misworded: bool = False


@light(kw_only=True)
class SweepOrdered:
    """kill_switch, conductor, guardian -> own shell: list and cancel what is ours until twice empty >= 5 s apart."""

    reason: str
    until_boot_s: float


@light(kw_only=True)
class SweepReport:
    """The sweep's shell -> its machine: passes so far, what was canceled, whether it is twice empty."""

    clean: bool
    canceled: tuple[str, ...]
    listed: int
    passes: int
    error: str = ""


@light(kw_only=True)
class Drain:
    """conductor -> gateway, oms, exits, risk (and to their new incarnations)."""

    run_number: int


@light(kw_only=True)
class Drained:
    """clean False: orders of ours may be live at the venue."""

    run_number: int
    role: str
    clean: bool
    canceled: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@light(kw_only=True)
class ProductsWanted:
    """universe -> the symbols supervisor (through its shell) and market_feed: which symbols run. A snapshot."""

    version: int
    products: tuple[str, ...]


@light(kw_only=True)
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


@light(kw_only=True)
class TreeState:
    """The host of the conductor and of health_monitor -> its machine, each second."""

    children: tuple[ChildState, ...]
    taken_boot_s: float
    root_alive: bool = True


@light(kw_only=True)
class Condition:
    """Any -> alerts, console: a level that stands or has gone, never an event. level: info, warning, critical."""

    fingerprint: str
    level: str
    active: bool
    text: str
    values: Mapping[str, Any] = field(factory=dict)


@light(kw_only=True)
class Noted:
    """The host -> console and operator: a machine's Note on its way to people; may be lost. config_hash: of the run."""

    at_s: float
    role: str
    kind: str
    values: Mapping[str, Any]
    config_hash: str


# ---- conductor, guardian and kill_switch with their own shells (role `io`); protocol sections 5 to 7 ----------------


@light(kw_only=True)
class WriteBeat:
    """conductor -> own shell, each second: rewrite `run/beat` in place. state: starting, ready, parked, draining, stopped."""

    run_number: int
    state: str
    boot_s: float


@light(kw_only=True)
class WriteFence:
    """conductor ("drain") and guardian ("guardian") -> own shell: write the fence durably, then answer FenceWritten."""

    fence: str
    run_number: int


@light(kw_only=True)
class FenceWritten:
    """The shell's answer; error "" when the fence is durable. A fence that failed is ordered again each second."""

    fence: str
    run_number: int
    error: str = ""


@light(kw_only=True)
class FenceSeen:
    """The host of the conductor -> conductor: the guardian's fence closes runs <= run_number (read each second)."""

    fence: str
    run_number: int


@light(kw_only=True)
class StopAsked:
    """The host -> conductor: SIGTERM, SIGINT, `ctl stop` or the end of --for. Repeats change nothing.

    failed: it is main's own failure that ends the run, so that the exit is non-zero however clean the stop was.
    """

    reason: str
    failed: bool = False


@light(kw_only=True)
class RootEnded:
    """The host -> conductor: root has given up or died without being asked. The venue is swept and the exit is non-zero.

    gave_up: by restart intensity; this alone also engages the kill switch (a person must look before anything trades).
    """

    reason: str
    gave_up: bool = False


@light(kw_only=True)
class StopTree:
    """conductor -> own shell: stop root in good order; what still lives at `kill_at_boot_s` gets SIGKILL. Answered by TreeStopped."""

    reason: str
    kill_at_boot_s: float


@light(kw_only=True)
class TreeStopped:
    """left_pids: processes of ours that live even after SIGKILL (should be none)."""

    left_pids: tuple[int, ...] = ()


@light(kw_only=True)
class ListOurs:
    """conductor -> own shell: list what is ours at the venue with a connection of its own; answered by OursListed."""

    deadline_boot_s: float


@light(kw_only=True)
class OursListed:
    """complete False: no answer. orders: client order ids of ours that are open, pending or queued."""

    complete: bool
    orders: tuple[str, ...] = ()
    error: str = ""


@light(kw_only=True)
class EngageKillFile:
    """conductor -> own shell, when root gives up: engage by file and record, since the role may be gone."""

    cause: str


@light(kw_only=True)
class AlertPeople:
    """conductor and guardian -> own shell: an alert that this process itself sends (the alerts role may be gone)."""

    level: str
    title: str
    text: str


@light(kw_only=True)
class HandOver:
    """conductor -> own shell: tell the guardian to take over at once (exit 1 with orders that may live)."""

    run_number: int


@light(kw_only=True)
class Leave:
    """conductor, guardian -> own shell: end this process with `exit_code`. live_possible: orders of ours may be live."""

    exit_code: int
    reason: str
    live_possible: bool = False
    canceled: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()


@light(kw_only=True)
class ReadBeat:
    """guardian -> own shell, each second: read `run/beat` and look for the process that writes it; answered by BeatSeen."""


@light(kw_only=True)
class BeatSeen:
    """run_number 0: no beat that can be believed. handed_over: the run asked the guardian to take over at once."""

    run_number: int
    state: str
    boot_s: float
    handed_over: bool = False


@light(kw_only=True)
class KillRun:
    """guardian -> own shell: SIGKILL run.py, only if pid, start time and run number are those of `run_number`."""

    run_number: int


@light(kw_only=True)
class StopSweep:
    """guardian, kill_switch -> own shell: the sweep that is under way ends after its present request."""

    reason: str
