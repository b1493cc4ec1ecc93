"""Risk: judges proposals on a version of the book, one approval outstanding, and remembers losses (DESIGN sections 4, 5).

It stores no reservation: the intent row that oms inserts is the reservation, and oms admits only on the version that was
judged. Proposals wait in order of arrival; what is transient holds a proposal until its deadline; permissions expire
after 2 s of silence. The rules stand in `rules/book.py`, the caps in `caps.py` (which oms asserts again with exactly the
numbers in `Approved`), the size in `sizing.py`, the money in `money.py`. Durable are latches and the high-water mark.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import ClassVar

from attrs import define, evolve

from trading.approve import approve
from trading.data_guards import DataGuardSettings
from trading.dead_zones import dead_zones
from trading.denied import Denied, denied
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
    Wake,
    Woke,
)
from trading.messages.book import BookSnapshot, Counters, Recovery
from trading.messages.control import (
    CatalogSnapshot,
    Condition,
    Drain,
    Drained,
    HealthSnapshot,
    KillSnapshot,
    Rearm,
    UniverseSnapshot,
)
from trading.messages.decisions import Admitted, Approved, Proposal, Refused, Stale, Verdict
from trading.messages.market import Quote
from trading.money_watch import TABLES, MoneyWatch
from trading.newest import Newest
from trading.protections import Protections
from trading.publish import WAKE_KEY, ConditionBoard, Jitter, Pace, jitter
from trading.risk_settings import RiskSettings
from trading.rules.book import first_denial
from trading.rules.case import HELD_BACK, Case
from trading.strategies.registry import StrategySettings
from trading.tiers import TierSettings, groups_of
from trading.values import ZERO, plain

TICK_S = 0.5
VERDICTS_KEPT = 2048
SNAPSHOTS = (BookSnapshot, KillSnapshot, HealthSnapshot, UniverseSnapshot, CatalogSnapshot)

EMPTY_BOOK = BookSnapshot(
    version=((0, 0), 0),
    recovery=Recovery.RECOVERING,
    writable=True,
    draining=False,
    orders=(),
    positions=(),
    cooldowns=(),
    counters=Counters(),
    quote_available_usd=ZERO,
    quote_total_usd=ZERO,
    foreign=(),
    unbooked=(),
    admitted_recently=(),
    flows_usd=ZERO,
    realised_today_usd=ZERO,
    realised_week_usd=ZERO,
    balances_complete_boot_s=None,
    unknown_products=(),
    drift_usd=ZERO,
    drift_count=0,
    taken_boot_s=-1e18,
    cooldowns_complete=False,
)
"""Before oms was heard; the lease rule denies long before anybody reads it."""


@define
class Waiting:
    """A proposal in the queue. stale_on: the version it lost on; it is judged again on a newer one only."""

    proposal: Proposal
    stale_n: int = 0
    stale_on: object = None
    held: Denied | None = None


PASSING_REFUSALS = frozenset(
    {
        "kill_switch_unknown",
        "not_active",
        "gateway_unknown",
        "late",
        "clock_untrusted",
        "unknown_order",
        "reconcile_pending",
    }
)
"""What oms may answer when the world moved between verdict and admission. Anything else is a contradiction, and alerted."""


class RiskMachine(QuietMachine):
    role: ClassVar[str] = "risk"
    tables = TABLES

    def __init__(
        self,
        *,
        settings: RiskSettings,
        me: Incarnation,
        tiers: Mapping[str, TierSettings],
        themes: Mapping[str, tuple[str, ...]],
        strategies: Mapping[str, StrategySettings],
        guards: DataGuardSettings,
        protections: Protections | None = None,
        jitter: Jitter = jitter,
    ) -> None:
        protections = protections or Protections()
        if not protections.lease:
            settings = evolve(settings, lease_s=float("inf"))
        if not protections.quote_age:
            settings = evolve(settings, quote_age_s_max=float("inf"), mark_age_s_max=float("inf"))
            guards = evolve(guards, quote_age_decision_s=float("inf"), feed_alive_age_s_max=float("inf"))
        self._settings = settings
        self._me = me
        self._tiers = dict(tiers)
        self._themes = dict(themes)
        self._groups = groups_of(self._tiers, self._themes)
        self._strategies = strategies
        self._guards = guards
        self._heard: dict[str, float] = {}
        self._book = EMPTY_BOOK
        self._kill = KillSnapshot(n=0, engaged=True, cause="kill_switch was never heard")
        self._health = HealthSnapshot(n=0, breakers=())
        self._universe = UniverseSnapshot(n=0, entries=(), regime="chop", regime_confidence=0.0)
        self._catalog = CatalogSnapshot(n=0, products=(), fees=None, fetched_boot_s=-1e18)
        self._draining = False
        self._declared: tuple[str, ...] | None = None
        self._newest = Newest()
        self._queue: OrderedDict[str, Waiting] = OrderedDict()
        self._outstanding: tuple[Waiting, Approved] | None = None
        self._behind_version: object = None
        self._verdicts: OrderedDict[str, Verdict] = OrderedDict()
        self._board = ConditionBoard()
        self._pace = Pace(jitter, self.role, "tick", TICK_S)
        self._zoned_at: Decimal | None = None
        self._money = MoneyWatch(settings, guards, me, self._board, jitter)

    # -- the seam ------------------------------------------------------------------------------------------------

    def products(self) -> Sequence[str]:
        """Everything that is held, on order or may be proposed: NAV needs all of it, in product order."""
        if self._declared is None:
            names = {entry.product_id for entry in self._universe.entries}
            names.update(one.product_id for one in self._book.positions)
            names.update(one.product_id for one in self._book.orders)
            if self._settings.caps.count_foreign:
                names.update(f"{one.currency}-USD" for one in self._book.foreign)
            self._declared = tuple(sorted(names))
        return self._declared

    def recover(self, rows: Rows, now: Instant) -> Effects:
        self._money.recover(rows)
        return (*self._money.publish(now, changed=True), self._pace.wake(now))

    def on_quote(self, quote: Quote, now: Instant) -> Effects:
        """Marks only: risk judges at proposals and looks at NAV every 0.5 s."""
        self._money.on_quote(quote, now)
        return ()

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Proposal():
                return self._proposal(message, now)
            case BookSnapshot(product_id=str()):
                return ()  # a slice is for symbols
            case snapshot if isinstance(snapshot, SNAPSHOTS) and self._newest.outdated(snapshot):
                return ()
            case BookSnapshot():
                return self._hear("oms", now, self._took_book(message, now))
            case KillSnapshot():
                self._kill = message
                return self._hear("kill_switch", now)
            case HealthSnapshot():
                self._health = message
                return self._hear("health_monitor", now)
            case UniverseSnapshot():
                self._universe, self._declared = message, None
                return self._hear("universe", now)
            case CatalogSnapshot():
                self._catalog = message
                return self._hear("catalog", now)
            case Admitted():
                return self._admitted(message, now)
            case Stale():
                return self._stale(message, now)
            case Refused():
                return self._refused(message, now)
            case Woke(key="tick"):
                return self._tick(now)
            case Woke(key=key) if key == WAKE_KEY:
                return self._money.publish(now, changed=False)
            case PeerRestarted(role="oms") if self._outstanding is not None:
                return (Send("oms", self._outstanding[1]),)
            case Rearm():
                return self._money.rearm(message, self._book, now)
            case Drain():
                self._draining = True
                done = Drained(run_number=message.run_number, role=self.role, clean=True)
                return (*self._judge(now), Send("main", done))
        return ()

    def _hear(self, role: str, now: Instant, effects: list[Effect] | None = None) -> Effects:
        self._heard[role] = now.boot_s
        if not self._queue or self._outstanding is not None:
            return effects or ()
        return [*(effects or ()), *self._judge(now)]

    # -- the road of a proposal ----------------------------------------------------------------------------------

    def _proposal(self, proposal: Proposal, now: Instant) -> Effects:
        known = self._verdicts.get(proposal.proposal_id)
        # A denial does not stand against the book: what oms admitted after all lives, and must be told so.
        if known is not None and (known.admitted or not self._listed(proposal.proposal_id)):
            return (Send(f"symbol:{proposal.product_id}", known),)
        outstanding = self._outstanding
        if outstanding is not None and outstanding[1].proposal.proposal_id == proposal.proposal_id:
            return ()
        if proposal.proposal_id not in self._queue:
            self._queue[proposal.proposal_id] = Waiting(proposal)
        return self._judge(now)

    def _listed(self, proposal_id: str) -> bool:
        """What lives must not be denied: the book lists open intents and all admissions of the last 60 s."""
        book = self._book
        return proposal_id in book.admitted_recently or any(one.proposal_id == proposal_id for one in book.orders)

    def _judge(self, now: Instant) -> list[Effect]:
        """Take proposals in order of arrival until one is approved; held ones keep their place."""
        out: list[Effect] = []
        if self._outstanding is not None:
            return out
        for proposal_id, waiting in list(self._queue.items()):
            proposal = waiting.proposal
            if self._listed(proposal_id):
                out += self._answer(proposal, None)
                continue
            verdict = self._view(waiting, now)
            if isinstance(verdict, Approved):
                del self._queue[proposal_id]
                self._outstanding = (waiting, verdict)
                out += [Send("oms", verdict), Wake("repeat", now.boot_s + TICK_S)]
                return out
            if verdict.code in HELD_BACK and now.boot_s < proposal.valid_until_boot_s and not self._draining:
                waiting.held = verdict
                continue
            out += self._answer(proposal, verdict)
        return out

    def _view(self, waiting: Waiting, now: Instant) -> Approved | Denied:
        proposal, book = waiting.proposal, self._book
        if now.boot_s >= proposal.valid_until_boot_s:
            return waiting.held or denied(
                "proposal_expired",
                late_s=round(now.boot_s - proposal.valid_until_boot_s, 3),
                waited_behind=len(self._queue) - 1,
            )
        if waiting.stale_on is not None and book.version == waiting.stale_on:
            return denied("stale", version_n=book.version[1])
        if self._behind_version is not None and book.version < self._behind_version:  # type: ignore[operator]
            return denied("stale", waiting_for="the snapshot of the last admission")
        self._money.value(book, now)
        case = Case(
            proposal=proposal,
            now=now,
            settings=self._settings,
            guards=self._guards,
            tiers=self._tiers,
            strategies=self._strategies,
            heard_boot_s=self._heard,
            book=book,
            kill=self._kill,
            health=self._health,
            universe=self._universe,
            catalog=self._catalog,
            latches=self._money.latches,
            draining=self._draining,
            quote=self._money.quotes.get(proposal.product_id),
            quote_doubted=self._money.doubted(proposal.product_id),
            nav_usd=self._money.nav_usd,
            unpriced=self._money.unpriced,
        )
        no = first_denial(case)
        return no if no is not None else approve(case, self._money.marks, self._groups, self._fee_rate())

    def _fee_rate(self) -> Decimal:
        """Taker: max(configured, account), so that a maker order that crosses after all is still within its caps."""
        fees = self._catalog.fees
        fallback = self._settings.fee_rate_fallback
        return fallback if fees is None else max(fallback, fees.taker_rate)

    def _admitted(self, message: Admitted, now: Instant) -> Effects:
        outstanding = self._outstanding
        if outstanding is None or outstanding[1].proposal.proposal_id != message.proposal_id:
            return ()
        self._outstanding = None
        self._behind_version = message.version if self._book.version < message.version else None
        return [
            *self._answer(outstanding[1].proposal, None, outstanding[1]),
            Wake("repeat", None),
            *self._judge(now),
        ]

    def _stale(self, message: Stale, now: Instant) -> Effects:
        outstanding = self._outstanding
        if outstanding is None or outstanding[1].approval_id != message.approval_id:
            return ()
        waiting, approved = outstanding
        self._outstanding = None
        waiting.stale_n += 1
        waiting.stale_on = approved.version
        if waiting.stale_n > self._settings.stale_retries_max:
            no = denied("book_busy", versions=waiting.stale_n, limit=self._settings.stale_retries_max)
            return [*self._answer(waiting.proposal, no), Wake("repeat", None), *self._judge(now)]
        self._queue[waiting.proposal.proposal_id] = waiting
        self._queue.move_to_end(waiting.proposal.proposal_id, last=False)
        return [Wake("repeat", None), *self._judge(now)]

    def _refused(self, message: Refused, now: Instant) -> Effects:
        outstanding = self._outstanding
        if outstanding is None or outstanding[1].approval_id != message.approval_id:
            return ()
        self._outstanding = None
        no = Denied(message.code, message.values)
        if message.code in PASSING_REFUSALS:
            return [*self._answer(outstanding[1].proposal, no), Wake("repeat", None), *self._judge(now)]
        text = f"oms refused an approval of risk for {outstanding[1].proposal.product_id}: {message.code}"
        condition = Condition(
            fingerprint=f"risk:refused:{message.code}",
            level="critical",
            active=True,
            text=text,
            values=dict(message.values),
        )
        told = self._board.stand(condition, now)
        return [*told, *self._answer(outstanding[1].proposal, no), Wake("repeat", None), *self._judge(now)]

    def _answer(self, proposal: Proposal, no: Denied | None, approved: Approved | None = None) -> list[Effect]:
        """The last word on a proposal, and its record. None: it lives."""
        self._queue.pop(proposal.proposal_id, None)
        verdict = Verdict(
            proposal_id=proposal.proposal_id,
            product_id=proposal.product_id,
            admitted=no is None,
            code="admitted" if no is None else no.code,
            values=() if no is None else no.values,
        )
        self._verdicts[proposal.proposal_id] = verdict
        if len(self._verdicts) > VERDICTS_KEPT:
            self._verdicts.popitem(last=False)
        extra: dict[str, object] = {}
        if approved is not None:
            extra = {
                "base_size": plain(approved.base_size),
                "limit_price": plain(approved.limit_price),
                "worst_usd": plain(approved.worst_usd.quantize(Decimal("0.01"))),
                **dict(approved.caps.multipliers),
            }
        note = Note(
            "decision",
            {
                "product_id": proposal.product_id,
                "code": verdict.code,
                "text": proposal.reason,
                "proposal_id": proposal.proposal_id,
                "strategy": proposal.strategy,
                "denied": no is not None,
                "values": {**dict(verdict.values), **extra},
            },
        )
        return [Send(f"symbol:{proposal.product_id}", verdict), note]

    # -- the clock -----------------------------------------------------------------------------------------------

    def _tick(self, now: Instant) -> Effects:
        out: list[Effect] = [
            *self._money.look(self._book, now),
            *self._money.news(now),
            *self._zones(now),
            *self._late(now),
            *self._judge(now),
            *self._board.repeat(now),
        ]
        out.append(self._pace.wake(now))
        return out

    def _zones(self, now: Instant) -> list[Effect]:
        """At the first NAV, and when it moved by a tenth: are there tiers in which no size can pass (domain.md section 17)?"""
        nav, before = self._money.nav_usd, self._zoned_at
        known = self._book.recovery is Recovery.RECONCILED and self._book.balances_complete_boot_s is not None
        if nav is None or not known or (before is not None and abs(nav - before) * 10 < before):
            return []
        self._zoned_at = nav
        zones = dead_zones(nav, self._settings, self._tiers, self._strategies, self._themes)
        standing = {f"risk:dead_zone:{zone.tier}": zone.condition(nav) for zone in zones}
        out = [effect for condition in standing.values() for effect in self._board.stand(condition, now)]
        for name in self._tiers:
            if f"risk:dead_zone:{name}" not in standing:
                out += self._board.gone(f"risk:dead_zone:{name}")
        return out

    def _late(self, now: Instant) -> list[Effect]:
        """Repeat an unanswered approval; past its deadline the book tells what became of it."""
        if self._outstanding is None:
            return []
        _, approved = self._outstanding
        proposal = approved.proposal
        if self._listed(proposal.proposal_id):
            self._outstanding = None
            return self._answer(proposal, None, approved)
        if now.boot_s < proposal.valid_until_boot_s:
            return [Send("oms", approved)]
        if self._book.taken_boot_s > proposal.valid_until_boot_s or now.boot_s > proposal.valid_until_boot_s + 2.0:
            self._outstanding = None
            no = denied(
                "permission_expired", what="no answer from oms", waited_s=round(now.boot_s - approved.decided_boot_s, 2)
            )
            return self._answer(proposal, no)
        return []

    def _took_book(self, book: BookSnapshot, now: Instant) -> list[Effect]:
        self._book, self._declared = book, None
        if self._behind_version is not None and book.version >= self._behind_version:  # type: ignore[operator]
            self._behind_version = None
        out: list[Effect] = []
        if self._outstanding is not None and self._listed(self._outstanding[1].proposal.proposal_id):
            _, approved = self._outstanding
            self._outstanding = None
            out = self._answer(approved.proposal, None, approved)
        return [*out, *self._money.look(self._book, now)]
