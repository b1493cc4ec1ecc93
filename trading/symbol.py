"""One symbol: from quotes and closed bars to a proposal with its reason, or a no-trade code (DESIGN section 3).

It decides nothing that concerns money: sizes, caps, stops of loss and every enforcement are risk's. It looks after its
own data (ages, order, jumps), its triggers, its cooldown slice of the book, and the re-quotes of its own ended intents.
Every evaluation ends in a proposal or a code; a record is written when the code changes, counts are kept, and where
people look on (`tells`), the verdict that stands is told again every 10 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan
from typing import Any

from trading.advice import StructureAdvice
from trading.candles import MOVE, SIGNAL, Candles
from trading.code_log import CodeLog
from trading.conviction import boosts_of, conviction_of
from trading.data_guards import (
    BAR_STALE,
    OUTLIER,
    OutlierGuard,
    quote_problem,
    quote_values,
)
from trading.denied import measured
from trading.entries import TakerCost, entry_price, proposal_of, requote_of
from trading.fees import rate_to_assume
from trading.forming import FormingVolume
from trading.machine import (
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
from trading.messages.book import BookOrder, BookSnapshot
from trading.messages.control import CatalogSnapshot, KillSnapshot, UniverseEntry, UniverseSnapshot
from trading.messages.decisions import Proposal, Values, Verdict
from trading.messages.market import Bar, Quote
from trading.messages.orders import Fees
from trading.nearest import nearest
from trading.product import Product
from trading.publish import PEOPLE, SLOW_S, Jitter, Pace, jitter
from trading.strategies.interface import MOVE as ON_MOVE
from trading.strategies.interface import QUOTE as ON_QUOTE
from trading.strategies.interface import SIGNAL as ON_SIGNAL
from trading.strategies.interface import MarketView, Signal, Strategy, signal_problem
from trading.strategies.registry import enabled
from trading.symbol_settings import SymbolSettings
from trading.unfit import DATA_UNAVAILABLE, held_off, orders_of, stale_bars

NO_CANDIDATES = "no_candidates_from_triggers"
NO_PROPOSALS = "rules_engine_no_proposals"
MALFORMED = "signal_malformed"
PROPOSED = "proposed"
REPEAT_S = 0.5
PLANS_KEPT = 32


def _by_score(candidate: tuple[Strategy, Signal]) -> float:
    score = candidate[1].score
    return inf if isnan(score) else -score


class SymbolMachine(QuietMachine):
    """Role `symbol:<product>`. Saves nothing: all it knows comes again from feed, book and universe."""

    role: str
    tables = ()

    def __init__(
        self,
        *,
        product_id: str,
        settings: SymbolSettings,
        me: Incarnation,
        strategies: Sequence[Strategy],
        config_hash: str = "",
        tells: bool = False,
        jitter: Jitter = jitter,
    ) -> None:
        self.role = f"symbol:{product_id}"
        self.product_id = product_id
        self._settings = settings
        self._guards = settings.guards
        self._config_hash = config_hash
        self._me = me
        self.view = MarketView(product_id, settings.triggers, settings.bar_s)
        self._candles = Candles(self.view, settings.guards)
        self._outliers = OutlierGuard(
            settings.guards.quote_outlier_pct, settings.guards.outlier_deviations, settings.guards.outlier_confirmations
        )
        acting = enabled(strategies, settings.strategies)
        self._on_quote = tuple(one for one in acting if ON_QUOTE in one.on)
        self._on_move = tuple(one for one in acting if ON_MOVE in one.on)
        self._on_signal = tuple(one for one in acting if ON_SIGNAL in one.on)
        self._quote: Quote | None = None
        self._product: Product | None = None
        self._fees: Fees | None = None
        self._entry: UniverseEntry | None = None
        self._regime_values: Values = ()
        self._slice: BookSnapshot | None = None
        self._open: Proposal | None = None
        self._plans: dict[str, Proposal] = {}
        self._requoted: set[str] = set()
        self._quiet_until: dict[str, float] = {}
        self._admitted_until = -1e18
        self._last_ids: dict[str, str] = {}
        self._log = CodeLog(product_id)
        self._tells = tells
        self._pace = Pace(jitter, self.role, "standing", SLOW_S)
        self._forming = FormingVolume()
        self._quiet_bars = 0
        self._advice = (
            StructureAdvice(product_id, settings.advise_after_profit_pct) if settings.advise_structure_stop else None
        )

    # -- the seam ------------------------------------------------------------------------------------------------

    def products(self) -> Sequence[str]:
        return (self.product_id,)

    def recover(self, rows: Rows, now: Instant) -> Effects:  # noqa: ARG002
        return self._tell_standing(now)

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Verdict():
                return self._verdict(message, now)
            case BookSnapshot():
                return self._book(message, now)
            case UniverseSnapshot():
                self._entry = next((one for one in message.entries if one.product_id == self.product_id), None)
                self.view.tier = self._entry.tier if self._entry else "T3"
                self.view.set_regime(message.regime, relaxed=self._relaxed())
                self._regime_values = message.regime_values
            case CatalogSnapshot():
                self._product = next((one for one in message.products if one.product_id == self.product_id), None)
                self._fees = message.fees
            case Woke(key="proposal"):
                return self._repeat(now)
            case PeerRestarted(role="risk") if self._open is not None:
                return self._repeat(now)
            case Woke(key="standing"):
                return self._tell_standing(now)
            case PeerRestarted(role=role) if role in PEOPLE:
                return self._tell_standing(now)
            case KillSnapshot() | PeerRestarted() | Woke():
                pass  # permissions are enforced where they act: at risk, oms and gateway
        return ()

    def on_quote(self, quote: Quote, now: Instant) -> Effects:
        self._quote = quote
        problem = quote_problem(quote, now, self._guards)
        if problem:
            if problem is self._log.code:
                self._log.same += 1
                return ()
            return self._log.no_trade(problem, now, quote_values(quote, now))
        bid, ask = quote.bid_f, quote.ask_f
        price = (bid + ask) * 0.5
        if self._outliers.price == 0.0:
            # The first tick after a start may be the bad one: it is held against the newest closed bar.
            self._outliers.price = self.view.fine.close or self.view.move.close
        if not self._outliers.accept(price, quote.exchange_s, now.boot_s):
            return self._suspect(price, now)
        view = self.view
        view.price, view.bid, view.ask = price, bid, ask
        volume = quote.volume_24h_base
        if volume is not None and self._forming.changed(volume):
            expected = view.move.expected_volume_15m
            view.forming_volume_ratio = self._forming.ratio(volume, quote.exchange_s, expected)
        candidates: list[tuple[Strategy, Signal]] | None = None
        for one in self._on_quote:
            signal = one.evaluate(view)
            if signal is not None:
                candidates = [] if candidates is None else candidates
                candidates.append((one, signal))
        if candidates is not None:
            self._quiet_bars = 0
            self._set_fallback()
            return self._candidate(candidates, repr(quote.exchange_s), ON_QUOTE, now)
        if self._log.code is NO_CANDIDATES:
            self._log.same += 1
            return ()
        return self._log.no_trade(NO_CANDIDATES, now, self._nearest)

    def on_bar(self, bar: Bar, now: Instant) -> Effects:
        closed = self._candles.add(bar)
        if not closed:
            if self._candles.refused and not bar.backfill:
                return self._bar_refused(bar, now)
            return ()
        if bar.backfill or not closed & (MOVE | SIGNAL):
            return ()
        return self._evaluate(closed, now)

    # -- evaluation ----------------------------------------------------------------------------------------------

    def _evaluate(self, closed: int, now: Instant) -> Effects:
        view = self.view
        candidates: list[tuple[Strategy, Signal]] | None = None
        end_s = 0
        if closed & MOVE:
            view.price = view.move.close
            end_s = view.move.end_s
            for one in self._on_move:
                signal = one.evaluate(view)
                if signal is not None:
                    candidates = [] if candidates is None else candidates
                    candidates.append((one, signal))
        if closed & SIGNAL and self._on_signal:
            view.price = view.signal.close
            end_s = view.signal.end_s
            candidates = self._hourly(candidates)
        advice = self._advice.effects(self._slice, view.move) if closed & MOVE and self._advice is not None else ()
        if candidates is None:
            if closed & SIGNAL:
                self._quiet_bars += 1
                self._set_fallback()
            effects = self._log.no_trade(NO_CANDIDATES, now, self._nearest)
        else:
            self._quiet_bars = 0
            self._set_fallback()
            effects = self._candidate(candidates, str(end_s), "bar", now)
        return (*advice, *effects) if advice else effects

    def _hourly(self, candidates: list[tuple[Strategy, Signal]] | None) -> list[tuple[Strategy, Signal]] | None:
        view = self.view
        hour = view.signal
        if not hour.ready:
            return candidates
        quiet = hour.atr_ratio < self._settings.triggers.atr_ratio_min.get(view.regime, 0.0)
        for one in self._on_signal:
            if (quiet and one.needs_atr) or view.tier not in one.tiers:
                continue
            signal = one.evaluate(view)
            if signal is not None:
                candidates = [] if candidates is None else candidates
                candidates.append((one, signal))
        return candidates

    def _candidate(
        self, candidates: Sequence[tuple[Strategy, Signal]], stamp: str, decided_on: str, now: Instant
    ) -> Effects:
        """One symbol, one proposal: of the candidates that may ask now, the one with the highest score (domain.md section 6)."""
        if self._open is not None or now.boot_s < self._admitted_until:
            return ()
        view = self.view
        boosts: float | None = None
        first: tuple[str, Values] | None = None
        for one, signal in sorted(candidates, key=_by_score):
            if now.boot_s < self._quiet_until.get(one.name, -1e18):
                continue
            boosts = boosts_of(view, self._settings.conviction) if boosts is None else boosts
            rule = signal.rule or one.rule
            conviction = conviction_of(
                signal, rule.confidence_factor, boosts, self._settings.conviction, regime=view.regime
            )
            problem = signal_problem(signal, rule)
            code, values = (
                (MALFORMED, measured(strategy=one.name, what=problem))
                if problem
                else self._rests(one, signal, conviction)
            )
            if not code:
                break
            first = first or (code, values)
        else:
            return self._log.no_trade(first[0], now, first[1]) if first is not None else ()
        code, values = self._unfit(one, now)
        if code:
            return self._log.no_trade(code, now, values)
        settings, quote, product = self._settings, self._quote, self._product
        assert quote is not None
        assert product is not None
        proposal = proposal_of(
            one,
            signal,
            rule,
            quote,
            product,
            now,
            entry=settings.entry,
            taker=self._taker(),
            conviction=conviction,
            volatility_pct=self.view.signal.volatility_pct,
            wild=abs(self.view.change_60m_pct) > settings.entry.wild_move_60m_pct,
            stamp=stamp,
            decided_on=decided_on,
            config_hash=self._config_hash,
        )
        if self._last_ids.get(one.name) == proposal.proposal_id:
            return ()
        return self._propose(proposal, now)

    def _rests(self, one: Strategy, signal: Signal, conviction: float) -> tuple[str, Values]:
        """What keeps this strategy from asking now; another may ask in its place."""
        settings, regime = self._settings, self.view.regime
        if signal.score < settings.triggers.score_min:
            return NO_PROPOSALS, measured(strategy=one.name, score=signal.score, score_min=settings.triggers.score_min)
        if regime == "crash" or one.name in settings.regime_denies.get(regime, ()):
            code = "volatility_crash" if regime == "crash" else "regime_denies_strategy"
            return code, (*measured(strategy=one.name, regime=regime), *self._regime_values)
        if conviction < settings.conviction.propose_min:
            return NO_PROPOSALS, measured(
                strategy=one.name, conviction=conviction, conviction_min=settings.conviction.propose_min
            )
        return "", ()

    def _unfit(self, one: Strategy, now: Instant) -> tuple[str, Values]:
        """What speaks against proposing now, whoever asks, as far as the symbol itself must know."""
        quote = self._quote
        if quote is None:
            return DATA_UNAVAILABLE, measured(what="quote")
        problem = quote_problem(quote, now, self._guards) or (OUTLIER if self._outliers.suspicious else "")
        if problem:
            return problem, quote_values(quote, now)
        if self._product is None:
            return DATA_UNAVAILABLE, measured(what="product metadata")
        stale = stale_bars(self.view, now, self._guards, hourly=ON_SIGNAL in one.on)
        if stale:
            return BAR_STALE, stale
        return held_off(self._slice, self.product_id, now, pyramiding=self._settings.pyramiding)

    # -- proposals and their answers -------------------------------------------------------------------------------

    def _propose(self, proposal: Proposal, now: Instant) -> Effects:
        self._open = proposal
        self._plans.setdefault(proposal.plan_id, proposal)
        if len(self._plans) > PLANS_KEPT:
            del self._plans[next(iter(self._plans))]
        self._last_ids[proposal.strategy] = proposal.proposal_id
        self._log.became(PROPOSED, now)
        return (
            Send("risk", proposal),
            Wake("proposal", now.boot_s + REPEAT_S),
            Note(
                "decision",
                {
                    "product_id": self.product_id,
                    "code": PROPOSED,
                    "text": proposal.reason,
                    "proposal_id": proposal.proposal_id,
                    "strategy": proposal.strategy,
                    "decided_on": proposal.decided_on,
                    "conviction": round(proposal.conviction, 4),
                    "limit_price": str(proposal.limit_price),
                    "values": dict(proposal.values),
                },
            ),
        )

    def _repeat(self, now: Instant) -> Effects:
        proposal = self._open
        if proposal is None:
            return ()
        # A second past the deadline nobody can still admit it; the book tells should it have been.
        if now.boot_s > proposal.valid_until_boot_s + 1.0:
            self._open = None
            return self._log.no_trade("no_verdict", now, measured(proposal_id=proposal.proposal_id))
        return (Send("risk", proposal), Wake("proposal", now.boot_s + REPEAT_S))

    def _verdict(self, verdict: Verdict, now: Instant) -> Effects:
        proposal = self._open
        if proposal is None or verdict.proposal_id != proposal.proposal_id:
            return ()
        self._open = None
        self._log.became("admitted" if verdict.admitted else verdict.code, now)
        if not verdict.admitted:
            self._quiet_until[proposal.strategy] = now.boot_s + self._settings.entry.retry_after_denial_s
            self._plans.pop(proposal.plan_id, None)
        else:
            # Until the slice shows the order; risk would deny a second one anyway.
            self._admitted_until = now.boot_s + 2.0
        return (Wake("proposal", None),)

    def _book(self, book: BookSnapshot, now: Instant) -> Effects:
        self._slice = book
        orders = orders_of(book, self.product_id)
        if not orders or not self._plans:
            return ()
        for order in orders:
            parent = self._plans.get(order.plan_id)
            if parent is None or order.ended is None or order.intent_id in self._requoted or self._open is not None:
                continue
            again = self._requote(parent, order, now)
            if again is not None:
                self._requoted.add(order.intent_id)
                return self._propose(again, now)
        return ()

    def _requote(self, parent: Proposal, order: BookOrder, now: Instant) -> Proposal | None:
        """The same plan at the newest bid, when its order ended by its own time to live or as a refused post-only."""
        own_end = order.ended_by_ttl or "post_only" in (order.ended or "").lower()
        if not own_end or order.filled_size > 0 or order.requote >= parent.policy.requotes_max:
            return None
        expires = order.plan_expires_boot_s if order.plan_expires_boot_s is not None else parent.plan_expires_boot_s
        if expires is not None and now.boot_s >= expires:
            return None
        quote, product = self._quote, self._product
        if quote is None or product is None or quote_problem(quote, now, self._guards) or self._outliers.suspicious:
            return None
        entry = self._settings.entry
        price = entry_price(quote, product, entry, requote=order.requote + 1, taker=self._taker())
        return requote_of(parent, order, price, quote, now, entry=entry)

    def _taker(self) -> TakerCost:
        account = self._fees.taker_rate if self._fees else None
        budget = self._entry.taker_cost_bps_max if self._entry else None
        return TakerCost(rate_to_assume(self._settings.entry.fee_rate, account), budget)

    # -- what people learn -----------------------------------------------------------------------------------------

    def _tell_standing(self, now: Instant) -> Effects:
        """Whoever begins to listen after the one record of a calm market learns within 10 s what stands, and how often."""
        if not self._tells:
            return ()
        values = self._nearest() if self._log.code == NO_CANDIDATES else self._log.values
        return (*self._log.standing(values), self._pace.wake(now))

    def _nearest(self) -> Values:
        return nearest(self.view, hourly=bool(self._on_signal))

    def _suspect(self, price: float, now: Instant) -> Effects:
        if self._log.code is OUTLIER:
            self._log.same += 1
            return ()
        believed = self._outliers.price
        return self._log.no_trade(
            OUTLIER,
            now,
            measured(
                price=price,
                believed=believed,
                jump_pct=round((price / believed - 1.0) * 100.0, 3),
                jump_pct_max=self._guards.quote_outlier_pct,
                confirmations=f"{self._outliers.seen}/{self._guards.outlier_confirmations}",
            ),
        )

    def _bar_refused(self, bar: Bar, now: Instant) -> Effects:
        return self._log.no_trade(
            self._candles.refused,
            now,
            measured(bar_s=bar.bar_s, start_s=bar.start_s, open=bar.open, high=bar.high, low=bar.low, close=bar.close),
        )

    # -- details ---------------------------------------------------------------------------------------------------

    def _relaxed(self) -> bool:
        after = self._settings.triggers.fallback_after_bars
        return 0 < after <= self._quiet_bars

    def _set_fallback(self) -> None:
        if self._settings.triggers.fallback_after_bars:
            self.view.set_regime(self.view.regime, relaxed=self._relaxed())

    def facts(self) -> dict[str, Any]:
        """What tests and the page may read: counts by code, gaps and refusals of bars."""
        return {"counts": self._log.counts(), "gaps": self._candles.gaps(), "refused": dict(self._candles.refusals)}
