"""Operational breakers: what machines measure of themselves becomes permission, with reasons (DESIGN section 4).

Readings it listens to, each second in `Measured` (names as their owners send them; more are welcome and ignored):

    gateway      errors_in_a_row, error_pct_60s, requests_60s, throttled_60s, rejects_600s, budget_hour_used_pct,
                 order_p95_s (absent until an order was sent), unknown_600s
    market_feed  connected, frame_age_s, drift_s (venue seconds), reconnects
    user_feed    connected, frame_age_s
    oms          drift_usd (what balances and book disagree by), recover and settle figures
    universe     crash (1 in regime crash), volatility_pct (BTC, 24 h, annualised), eligible_missing (products)
    exchange     entries_closed, from the catalog's snapshot (1 when the exchange's status stops entries)

Only health_monitor opens and closes breakers; a breaker blocks entries and nothing else, exits go on. It also reads the
supervisors' tree: a core role that is down, parked or deaf opens `supervision`, one that dies again and again `restart_storm`; what
parks (a symbol, the console, alerts) closes no entries.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from attrs import evolve, frozen

from trading.breakers import BreakerRule, BreakerState
from trading.machine import (
    Effect,
    Effects,
    Incarnation,
    Instant,
    Note,
    PeerRestarted,
    QuietMachine,
    Rows,
    Send,
    Woke,
)
from trading.messages.control import (
    Breaker,
    CatalogSnapshot,
    ChildState,
    Condition,
    Engage,
    HealthSnapshot,
    Measured,
    TreeState,
)
from trading.publish import WAKE_KEY, ConditionBoard, Jitter, Pace, Publisher, jitter
from trading.values import derived_id

TICK_S = 0.5
CORE = ("kill_switch", "gateway", "oms", "exits", "risk", "universe", "catalog", "market_feed", "user_feed")
RUNNING = ("running", "up", "ready")
WINDOW_S = 600.0
TOLD_AFTER_S = 2.0
"""A breaker denies from the moment it opens; people hear of one that stays open, not of the first second of every run."""


@frozen(kw_only=True)
class HealthMonitorSettings:
    """Thresholds as (opens at, closes at); hold_s: how long all must be well before a breaker closes.

    measured_age_s_max: a source silent for longer is unmeasured. error_requests_min: fewer requests make no error rate.
    off: breakers by code that are not used. kill_on: breakers that engage the kill switch when they open (none by
    default). start_s: how long roles may take to come up before they count as down (leases deny meanwhile). tree_needed: whether the supervisors' tree must be seen (a virtual stage has none).
    """

    hold_s: float = 30.0
    measured_age_s_max: float = 5.0
    api_errors_in_a_row: tuple[float, float] = (3.0, 0.0)
    error_pct: tuple[float, float] = (25.0, 5.0)
    error_requests_min: float = 10.0
    throttled_60s: tuple[float, float] = (3.0, 0.0)
    throttled_hold_s: float = 60.0
    hour_budget_used_pct: tuple[float, float] = (90.0, 80.0)
    rejects_600s: tuple[float, float] = (3.0, 1.0)
    order_p95_s: tuple[float, float] = (2.0, 1.5)
    feed_frame_age_s: tuple[float, float] = (10.0, 5.0)
    user_frame_age_s: tuple[float, float] = (20.0, 10.0)
    feed_reconnects_600s: tuple[float, float] = (6.0, 3.0)
    clock_drift_s: tuple[float, float] = (1.0, 0.5)
    reconcile_drift_usd: tuple[float, float] = (5.0, 1.0)
    volatility_pct: tuple[float, float] = (150.0, 120.0)
    mailbox_age_s: tuple[float, float] = (10.0, 2.0)
    restarts_600s: tuple[float, float] = (5.0, 2.0)
    start_s: float = 10.0
    off: tuple[str, ...] = ()
    kill_on: tuple[str, ...] = ()
    tree_needed: bool = False


def breaker_rules(settings: HealthMonitorSettings) -> tuple[BreakerRule, ...]:
    """The table: one row a breaker. Codes are reject codes of domain.md section 11 where it has one."""

    def row(code: str, source: str, reading: str, limits: tuple[float, float], text: str, **more: Any) -> BreakerRule:
        made = BreakerRule(
            code=code,
            source=source,
            reading=reading,
            opens_at=limits[0],
            closes_at=limits[1],
            hold_s=settings.hold_s,
            text=text,
        )
        return evolve(made, **more)

    rows = (
        row("api_health", "gateway", "errors_in_a_row", settings.api_errors_in_a_row, "REST requests fail in a row", level="critical"),
        row("api_errors", "gateway", "error_pct_60s", settings.error_pct, "too many REST requests fail"),
        row("rate_limit_cooldown", "gateway", "throttled_60s", settings.throttled_60s, "the venue throttles us (429)", hold_s=settings.throttled_hold_s),
        row("rate_budget", "gateway", "budget_hour_used_pct", settings.hour_budget_used_pct, "the hourly request budget is nearly used up", required=False),
        row("rejection_burst", "gateway", "rejects_600s", settings.rejects_600s, "the venue rejects order after order", level="critical"),
        row("latency_budget", "gateway", "order_p95_s", settings.order_p95_s, "orders are answered too slowly", required=False),
        row("market_feed_down", "market_feed", "connected", (0.5, 1.0), "the market data connection is down", above=False),
        row("data_staleness", "market_feed", "frame_age_s", settings.feed_frame_age_s, "market data has fallen silent", level="critical"),
        row("feed_flaps", "market_feed", "reconnects_600s", settings.feed_reconnects_600s, "market data reconnects again and again", required=False),
        row("clock_drift", "market_feed", "drift_abs_s", settings.clock_drift_s, "our clock and the venue's disagree", required=False, scaled=True, level="critical"),
        row("user_feed_down", "user_feed", "connected", (0.5, 1.0), "the user channel is down", above=False),
        row("user_feed_stale", "user_feed", "frame_age_s", settings.user_frame_age_s, "the user channel has fallen silent"),
        row("reconcile_drift", "oms", "drift_usd", settings.reconcile_drift_usd, "balances and book disagree", required=False, level="critical"),
        row("reconcile_stale", "oms", "reconcile_age_s", (180.0, 60.0), "the venue's orders, fills and balances cannot be read to their end", required=False, level="critical"),  # six passes
        row("volatility_crash", "universe", "crash", (1.0, 0.0), "BTC is in regime crash", required=False, hold_s=5.0),
        row("realised_volatility", "universe", "volatility_pct", settings.volatility_pct, "BTC has moved too wildly for a day", required=False),
        row("empty_universe", "universe", "eligible_missing", (1.0, 0.0), "too few products are eligible", required=False, hold_s=5.0),
        row("exchange_status", "exchange", "entries_closed", (1.0, 0.0), "the exchange's status stops entries", required=False, hold_s=0.0),  # catalog holds
        row("supervision", "tree", "core_down", (1.0, 0.0), "a core role is down or deaf", required=settings.tree_needed, hold_s=0.0),
        row("restart_storm", "tree", "restarts_600s", settings.restarts_600s, "a core role restarts again and again", required=False),
    )  # fmt: skip
    return tuple(rule for rule in rows if rule.code not in settings.off)


@frozen
class Heard:
    readings: dict[str, float]
    boot_s: float
    incarnation: Incarnation


class Rate:
    """Turns a counter since a role's start into a count of the last 600 s, across restarts of the role."""

    __slots__ = ("_last", "_rises")

    def __init__(self) -> None:
        self._last: float | None = None
        self._rises: deque[tuple[float, float]] = deque()

    def add(self, boot_s: float, value: float) -> float:
        """The rises of `value` within 600 s; a fall means that the counter began anew, at zero."""
        last = self._last
        if last is not None and value != last:
            self._rises.append((boot_s, value - last if value > last else value))
        self._last = value
        while self._rises and self._rises[0][0] < boot_s - WINDOW_S:
            self._rises.popleft()
        return sum(rise for _, rise in self._rises)


class Lives:
    """A role's restarts of the last 600 s, by the incarnations that the tree shows."""

    __slots__ = ("_last", "_n", "_rate")

    def __init__(self) -> None:
        self._last: Incarnation | None = None
        self._n = 0
        self._rate = Rate()

    def add(self, boot_s: float, life: Incarnation | None) -> float:
        if life is not None and life != self._last:
            self._n += self._last is not None
            self._last = life
        return self._rate.add(boot_s, float(self._n))


class HealthMonitorMachine(QuietMachine):
    role: ClassVar[str] = "health_monitor"
    tables = ()

    def __init__(self, *, settings: HealthMonitorSettings, me: Incarnation, jitter: Jitter = jitter) -> None:
        self._settings = settings
        self._me = me
        self._states = tuple(BreakerState(rule, measured=not rule.required) for rule in breaker_rules(settings))
        self._heard: dict[str, Heard] = {}
        self._reconnects = Rate()
        self._lives: dict[str, Lives] = {}
        self._publisher = Publisher(self.role, fast=("risk",), jitter=jitter)
        self._board = ConditionBoard()
        self._pace = Pace(jitter, self.role, "tick", TICK_S)
        self._n = 0
        self._noted: dict[str, tuple[bool, bool]] = {}
        self._engaged: dict[str, Engage] = {}
        self._started_boot_s = 0.0

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        self._started_boot_s = now.boot_s
        return (*self._publish(now, changed=True), self._pace.wake(now))

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Measured():
                return self._measured(message, now)
            case TreeState():
                return self._tree(message, now)
            case CatalogSnapshot():
                readings = {"entries_closed": float(message.entries_closed)}
                self._heard["exchange"] = Heard(readings, now.boot_s, message.incarnation)
                return self._apply(now, "exchange")
            case Woke(key="tick"):
                out = [*self._apply(now), *self._conditions(now)]
                return [*out, self._pace.wake(now)]
            case Woke(key=key) if key == WAKE_KEY:
                return self._publish(now, changed=False)
            case PeerRestarted(role="risk"):
                return (Send("risk", self._snapshot()),)
            case PeerRestarted(role="kill_switch"):
                return [Send("kill_switch", engage) for engage in self._engaged.values()]
        return ()

    def _measured(self, message: Measured, now: Instant) -> Effects:
        before = self._heard.get(message.source)
        if before is not None and message.incarnation < before.incarnation:
            return ()
        readings = dict(message.readings)
        if message.source == "gateway" and readings.get("requests_60s", 0.0) < self._settings.error_requests_min:
            readings["error_pct_60s"] = 0.0
        if message.source == "oms" and "drift_usd" in readings:
            readings["drift_usd"] = abs(readings["drift_usd"])
        if message.source == "market_feed":
            if "drift_s" in readings:
                readings["drift_abs_s"] = abs(readings["drift_s"])
            if "reconnects" in readings:
                readings["reconnects_600s"] = self._reconnects.add(now.boot_s, readings["reconnects"])
        self._heard[message.source] = Heard(readings, now.boot_s, message.incarnation)
        return self._apply(now, message.source)

    def _tree(self, tree: TreeState, now: Instant) -> Effects:
        starting = now.boot_s < self._started_boot_s + self._settings.start_s
        core = [child for child in tree.children if child.role in CORE]
        bad = [] if starting else [child for child in core if self._down(child)]
        lives = (self._lives.setdefault(child.role, Lives()).add(now.boot_s, child.incarnation) for child in core)
        readings = {"core_down": float(len(bad)), "restarts_600s": max(lives, default=0.0)}
        self._heard["tree"] = Heard(readings, now.boot_s, (0, 0))
        return self._apply(now, "tree")

    def _down(self, child: ChildState) -> bool:
        deaf = child.mailbox_age_s is not None and child.mailbox_age_s > self._settings.mailbox_age_s[0]
        return child.state not in RUNNING or deaf

    def _apply(self, now: Instant, source: str | None = None) -> list[Effect]:
        """Every breaker of `source` (None: all) against what was last heard, and against silence."""
        changed = False
        for state in self._states:
            rule = state.rule
            if source is not None and rule.source != source:
                continue
            heard = self._heard.get(rule.source)
            if heard is None or now.boot_s - heard.boot_s > self._settings.measured_age_s_max:
                # A source that never spoke (or fell silent) leaves optional breakers as they are: risk's leases, and
                # the required ones, already say no.
                changed |= state.silent() if rule.required else state.read(None, now.boot_s)
            elif source is not None:
                changed |= state.read(heard.readings.get(rule.reading), now.boot_s, speed=now.speed)
        if not changed:
            return []
        out = self._notes()
        out += self._kill()
        return [*out, *self._publish(now, changed=True), *self._conditions(now)]

    def _notes(self) -> list[Effect]:
        out: list[Effect] = []
        for state in self._states:
            now_is = (state.open, state.measured)
            if self._noted.get(state.rule.code, (False, False)) == now_is:
                continue
            self._noted[state.rule.code] = now_is
            breaker = state.snapshot()
            word = "unmeasured" if not state.measured else "open" if state.open else "closed"
            values = {"breaker": breaker.code, "state": word, "reason": breaker.reason, **dict(breaker.values)}
            out.append(Note("metric", {"name": "breaker", **values}))
        return out

    def _kill(self) -> list[Effect]:
        out: list[Effect] = []
        for state in self._states:
            code = state.rule.code
            if code not in self._settings.kill_on:
                continue
            if state.open and state.measured and code not in self._engaged:
                command_id = derived_id("engage", code, self._me, state.since_boot_s)
                cause = f"breaker {code}: {state.rule.text}"
                engage = Engage(command_id=command_id, name="health_monitor", cause=cause, source="breaker")
                self._engaged[code] = engage
                out.append(Send("kill_switch", engage))
            elif not state.open:
                self._engaged.pop(code, None)
        return out

    def _conditions(self, now: Instant) -> list[Effect]:
        out: list[Effect] = []
        for state in self._states:
            rule = state.rule
            fingerprint = f"breaker:{rule.code}"
            if state.open and state.measured:
                if state.since_boot_s is None or now.boot_s < state.since_boot_s + TOLD_AFTER_S:
                    continue  # the next tick looks again
                breaker = state.snapshot()
                text = f"{rule.code}: {rule.text} ({rule.source}.{rule.reading} {breaker_value(breaker)}, opens at {rule.opens_at:g}); no entries"
                out += self._board.stand(
                    Condition(
                        fingerprint=fingerprint, level=rule.level, active=True, text=text, values=dict(breaker.values)
                    ),
                    now,
                )
            else:
                out += self._board.gone(fingerprint)
        return out

    def _snapshot(self) -> HealthSnapshot:
        return HealthSnapshot(
            n=self._n,
            breakers=tuple(state.snapshot() for state in self._states),
            kill_wanted=bool(self._engaged),
            incarnation=self._me,
        )

    def _publish(self, now: Instant, *, changed: bool) -> list[Effect]:
        if changed:
            self._n += 1
        return self._publisher.effects(self._snapshot(), changed=changed, now=now, slow=("oms", "exits", "kill_switch"))


def breaker_value(breaker: Breaker) -> str:
    return dict(breaker.values).get("value", "?")
