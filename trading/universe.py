"""The universe: who may be traded and in which market (domain.md sections 5 and 9; DESIGN section 4).

Tiers and themes come from the configuration; eligibility is measured, with hysteresis and grace; red flags and bans
exclude at once; the regime is BTC's and multiplies sizes by one table. Which symbols run does not depend on eligibility:
a symbol that may not be entered still watches, and a held product is never without its symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import define

from trading.bars import FINE_S, MOVE_S, SIGNAL_S
from trading.candles import MOVE, SIGNAL, Candles
from trading.data_guards import DataGuardSettings
from trading.denied import measured
from trading.eligibility import Look, look_at
from trading.machine import (
    Effect,
    Effects,
    Incarnation,
    Instant,
    Note,
    PeerRestarted,
    QuietMachine,
    Row,
    Rows,
    Save,
    Send,
    Table,
    Woke,
)
from trading.messages.book import BookSnapshot, Cooldown
from trading.messages.control import (
    CatalogSnapshot,
    Condition,
    Measured,
    OperatorOrder,
    ProductsWanted,
    UniverseEntry,
    UniverseSnapshot,
)
from trading.messages.decisions import Values
from trading.messages.market import Bar, Quote
from trading.product import Product
from trading.publish import WAKE_KEY, ConditionBoard, Jitter, Pace, Publisher, jitter
from trading.regime import TOO_LITTLE, RegimeWatch
from trading.strategies.interface import MarketView, TriggerSettings
from trading.tiers import groups_of
from trading.universe_settings import UniverseSettings
from trading.values import derived_id

MEASURE_S = 1.0
FIRST_LOOKS_S = 0.5
PATIENCE_S = 15.0


@define
class Standing:
    """One product's eligibility. streak: looks in a row that disagree with `eligible`. decided: looked at once."""

    product_id: str
    tier: str
    theme: str
    eligible: bool = False
    decided: bool = False
    streak: int = 0
    reason: str = "measuring"
    values: Values = ()


class UniverseMachine(QuietMachine):
    role: ClassVar[str] = "universe"
    tables = (Table("universe_eligibility", columns={"eligible": "integer", "reason": "text", "changed_s": "real"}),)

    def __init__(
        self,
        *,
        settings: UniverseSettings,
        me: Incarnation,
        guards: DataGuardSettings | None = None,
        jitter: Jitter = jitter,
    ) -> None:
        self._settings = settings
        self._me = me
        groups = groups_of(settings.tiers, settings.themes)
        names = [name for tier in settings.tiers.values() for name in tier.products if name not in settings.never][
            : settings.products_max
        ]
        self._standings = {name: Standing(name, groups.tier_of[name], groups.theme(name)) for name in names}
        self._declared = tuple(sorted({*names, settings.regime.product_id}))
        self._products: dict[str, Product] = {}
        self._quotes: dict[str, Quote] = {}
        self._bans: dict[str, Cooldown] = {}
        self._held: tuple[str, ...] = ()
        self._view = MarketView(settings.regime.product_id, TriggerSettings(), (FINE_S, MOVE_S, SIGNAL_S))
        self._candles = Candles(self._view, guards or DataGuardSettings())
        self._regime = RegimeWatch(settings.regime)
        self._shown = self._regime.now
        self._told_regime = self._shown.name
        self._in_history = False
        self._publisher = Publisher(self.role, fast=("risk",), jitter=jitter)
        self._board = ConditionBoard()
        self._review_pace = Pace(jitter, self.role, "review", settings.review_s)
        self._measure_pace = Pace(jitter, self.role, "measure", MEASURE_S)
        self._n = 0
        self._measured_n = 0
        self._started_boot_s = 0.0
        self._turn_boot_s = -1e18
        self._in_turn = True
        self._wanted: tuple[str, ...] = ()
        self._wanted_version = 0
        self._banned_by_config: set[str] = set()

    # -- the seam ------------------------------------------------------------------------------------------------

    def products(self) -> Sequence[str]:
        return self._declared

    def recover(self, rows: Rows, now: Instant) -> Effects:
        self._started_boot_s = now.boot_s
        for name, row in rows.get("universe_eligibility", {}).items():
            standing = self._standings.get(name)
            if standing is not None:
                # Remembered, so that a restart does not skip the grace; the next look still measures it.
                standing.eligible, standing.decided = bool(row["eligible"]), True
                standing.reason = "" if standing.eligible else str(row["reason"])
        return [
            *self._want(),
            *self._publish(now, changed=True),
            *self._ban_flagged(),
            self._review_pace.wake(now, FIRST_LOOKS_S),
            self._measure_pace.wake(now),
        ]

    def on_quote(self, quote: Quote, now: Instant) -> Effects:  # noqa: ARG002
        self._quotes[quote.product_id] = quote
        return ()

    def on_bar(self, bar: Bar, now: Instant) -> Effects:
        """BTC's bars carry the regime; other products' bars are the symbols' business."""
        if bar.product_id != self._settings.regime.product_id:
            return ()
        closed = self._candles.add(bar)
        if not closed & (MOVE | SIGNAL):
            return ()
        if closed & MOVE:
            self._regime.fall(self._view.move)
        if closed & SIGNAL:
            self._regime.update(self._view.signal)
        self._in_history = bar.backfill
        if bar.backfill and bar.end_s + bar.bar_s <= now.venue_s:
            return ()  # a crash of last week is over: what history says on its way to the present is nobody's regime
        told = () if bar.backfill else self._tell_regime()  # history is no news, where it ends is
        return [*told, *self._show(now)]

    def _show(self, now: Instant) -> list[Effect]:
        """The regime that was found becomes the one that holds: for snapshots, floors and readings."""
        changed = self._regime.now.name != self._shown.name
        self._shown = self._regime.now
        return self._publish(now, changed=True) if changed else []

    def _tell_regime(self) -> tuple[Note, ...]:
        """A record when the regime is another than the one last told."""
        before, after = self._told_regime, self._regime.now
        if after.name == before:
            return ()
        self._told_regime = after.name
        return (
            Note(
                "decision",
                {
                    "product_id": self._settings.regime.product_id,
                    "code": "regime",
                    "text": f"regime {before} -> {after.name}",
                    "values": dict(after.values),
                },
            ),
        )

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case CatalogSnapshot():
                self._products = {one.product_id: one for one in message.products}
                return self._review(now)
            case BookSnapshot():
                return self._book(message, now)
            case Woke(key="review"):
                undecided = any(not one.decided for one in self._standings.values())
                wait_s = FIRST_LOOKS_S if undecided else self._settings.review_s
                return [*self._review(now, in_turn=True), *self._ban_flagged(), self._review_pace.wake(now, wait_s)]
            case Woke(key="measure"):
                told = () if self._in_history else (*self._tell_regime(), *self._show(now))
                self._in_history = False
                return [*told, *self._measure(now), self._measure_pace.wake(now)]
            case Woke(key=key) if key == WAKE_KEY:
                return self._publish(now, changed=False)
            case PeerRestarted(role="oms"):
                self._banned_by_config.clear()
                return self._ban_flagged()
            case PeerRestarted():
                return self._greet(message.role)
        return ()

    # -- eligibility ---------------------------------------------------------------------------------------------

    def _review(self, now: Instant, *, in_turn: bool = False) -> list[Effect]:
        """Looks out of turn (a catalog's change, a ban) act on hard reasons; only those in turn count towards a grace."""
        self._in_turn = in_turn and now.boot_s >= self._turn_boot_s + self._settings.review_s - 0.25
        if self._in_turn:
            self._turn_boot_s = now.boot_s
        changed = [one for one in self._standings.values() if self._judge(one, now)]
        out: list[Effect] = []
        for standing in changed:
            row: Row = {"eligible": standing.eligible, "reason": standing.reason, "changed_s": now.venue_s}
            out.append(Save("universe_eligibility", standing.product_id, row))
            if standing.reason == "metadata_missing":
                continue
            out.append(
                Note(
                    "decision",
                    {
                        "product_id": standing.product_id,
                        "code": "eligible" if standing.eligible else f"ineligible:{standing.reason}",
                        "text": f"tier {standing.tier}, theme {standing.theme}",
                        "values": dict(standing.values),
                    },
                )
            )
        unlisted = [one.product_id for one in changed if one.reason == "metadata_missing"]
        if unlisted:  # one record for all: a venue that lists few products is nothing to repeat line by line
            text = f"{len(unlisted)} products of the tiers have no metadata at this venue: {', '.join(unlisted)}"
            out.append(
                Note("decision", {"product_id": "", "code": "ineligible:metadata_missing", "text": text, "values": {}})
            )
        out += self._too_small(now)
        return [*out, *self._publish(now, changed=True)] if changed else out

    def _judge(self, standing: Standing, now: Instant) -> bool:
        """One look at one product; True when its eligibility (or its hard reason) changed."""
        look = self._look(standing, now)
        was = (standing.eligible, standing.reason if not standing.eligible else "")
        wish = not look.reason
        if look.hard:
            if look.missing and not standing.decided and now.boot_s < self._started_boot_s + PATIENCE_S:
                return False  # the catalog has not spoken yet: nothing is decided, nothing may be entered
            standing.eligible, standing.decided, standing.streak = False, True, 0
            standing.reason, standing.values = look.reason, look.values
        elif not standing.decided:
            if look.missing and now.boot_s < self._started_boot_s + PATIENCE_S:
                return False
            standing.eligible, standing.decided, standing.streak = wish, True, 0
            standing.reason, standing.values = look.reason, look.values
        elif wish == standing.eligible:
            standing.streak = 0
            if not standing.eligible:
                standing.reason, standing.values = look.reason, look.values
                return False
        elif not self._in_turn:
            return False
        else:
            standing.streak += 1
            grace = self._settings.eligible_grace if wish else self._settings.ineligible_grace
            if standing.streak < grace:
                return False
            standing.eligible, standing.streak = wish, 0
            standing.reason, standing.values = look.reason, look.values
        return was != (standing.eligible, standing.reason if not standing.eligible else "")

    def _look(self, standing: Standing, now: Instant) -> Look:
        name, settings = standing.product_id, self._settings
        if name in settings.flags:
            return Look("red_flag", measured(flag=settings.flags[name], source="configuration"), hard=True)
        ban = self._bans.get(name)
        if ban is not None and not now.over(ban.until_s):
            return Look(
                "red_flag", measured(reason=ban.reason, by=ban.by, left_s=round(ban.until_s - now.venue_s)), hard=True
            )
        return look_at(
            self._products.get(name),
            self._quotes.get(name),
            settings.tiers[standing.tier],
            now,
            settings,
            volume_factor=settings.regime.volume_floor_factor.get(self._shown.name, 1.0),
            was_eligible=standing.eligible,
        )

    def _too_small(self, now: Instant) -> list[Effect]:
        eligible = sum(1 for one in self._standings.values() if one.eligible)
        undecided = sum(1 for one in self._standings.values() if not one.decided)
        if eligible >= self._settings.eligible_min or (undecided and now.boot_s < self._started_boot_s + PATIENCE_S):
            return self._board.gone("universe:small")
        reasons = ", ".join(f"{one.product_id} {one.reason}" for one in self._standings.values() if not one.eligible)
        condition = Condition(
            fingerprint="universe:small",
            level="warning",
            active=True,
            text=f"only {eligible} of {len(self._standings)} products are eligible, {self._settings.eligible_min} are needed: {reasons}",
            values={"eligible": eligible, "eligible_min": self._settings.eligible_min},
        )
        return self._board.stand(condition, now)

    # -- bans ----------------------------------------------------------------------------------------------------

    def _book(self, book: BookSnapshot, now: Instant) -> Effects:
        """Bans live in the book; held products keep their symbol."""
        if book.product_id is not None:
            return ()
        bans = {row.product_id: row for row in book.cooldowns if row.kind == "ban" and not now.over(row.until_s)}
        held = tuple(sorted({one.product_id for one in book.positions if not one.dust}))
        out: list[Effect] = []
        if held != self._held:
            self._held = held
            out += self._want()
        if bans != self._bans:
            self._bans = bans
            out += self._review(now)
        return out

    def _ban_flagged(self) -> list[Effect]:
        """A red flag of the configuration becomes a ban in the book, once: its id is that of product and flag."""
        out: list[Effect] = []
        for name, flag in sorted(self._settings.flags.items()):
            ban = self._bans.get(name)
            if ban is not None or name in self._banned_by_config:
                continue
            self._banned_by_config.add(name)
            args = (("symbol", name), ("flag", flag), ("seconds", f"{self._settings.temporary_ban_hours * 3600.0:g}"))
            order = OperatorOrder(
                command_id=derived_id("ban", name, flag), verb="ban", name="configuration", cause=flag, args=args
            )
            out.append(Send("oms", order))
        return out

    # -- telling -------------------------------------------------------------------------------------------------

    def _want(self) -> list[Effect]:
        """Which symbols run: all of the tiers, and what is held."""
        wanted = tuple(sorted({*self._standings, *self._held}))
        if wanted == self._wanted:
            return []
        self._wanted = wanted
        self._wanted_version += 1
        message = ProductsWanted(version=self._wanted_version, products=wanted)
        return [Send(role, message) for role in WANTED_READERS]

    def _greet(self, role: str) -> list[Effect]:
        """A peer that just started hears at once what it would else wait 10 s for."""
        out: list[Effect] = []
        if role in WANTED_READERS and self._wanted:
            out.append(Send(role, ProductsWanted(version=self._wanted_version, products=self._wanted)))
        if role == "risk" or role in READERS or role.startswith("symbol:"):
            out.append(Send(role, self._snapshot()))
        return out

    def _snapshot(self) -> UniverseSnapshot:
        regime = self._shown
        multiplier = self._settings.regime.multiplier.get(regime.name, 0.0)
        return UniverseSnapshot(
            n=self._n,
            entries=tuple(
                UniverseEntry(
                    product_id=one.product_id,
                    tier=one.tier,
                    theme=one.theme,
                    eligible=one.eligible,
                    size_multiplier=multiplier,
                    reason=one.reason,
                    values=one.values,
                    taker_cost_bps_max=self._settings.tiers[one.tier].slippage_bps_max,
                )
                for one in self._standings.values()
            ),
            regime=regime.name,
            regime_confidence=regime.confidence,
            regime_values=regime.values,
            regime_known=regime is not TOO_LITTLE,
            incarnation=self._me,
        )

    def _publish(self, now: Instant, *, changed: bool) -> list[Effect]:
        if changed:
            self._n += 1
        slow = (*READERS, *(f"symbol:{name}" for name in self._wanted))
        out = self._publisher.effects(self._snapshot(), changed=changed, now=now, slow=slow)
        # ProductsWanted rides along with each slow repeat, since any message may be lost.
        if any(isinstance(effect, Send) and effect.role == READERS[0] for effect in out) and self._wanted:
            wanted = ProductsWanted(version=self._wanted_version, products=self._wanted)
            out = [*(Send(role, wanted) for role in WANTED_READERS), *out]
        return out

    def _measure(self, now: Instant) -> list[Effect]:
        self._measured_n += 1
        standings = self._standings.values()
        readings = [
            ("crash", float(self._shown.name == "crash")),
            ("products", float(len(self._standings))),
            ("eligible", float(sum(1 for one in standings if one.eligible))),
        ]
        volatility_pct = self._view.signal.volatility_24_pct
        if volatility_pct is not None:
            readings.append(("volatility_pct", volatility_pct))
        if all(one.decided for one in standings) or now.boot_s > self._started_boot_s + PATIENCE_S:
            readings.append(("eligible_missing", max(0.0, self._settings.eligible_min - readings[2][1])))
        message = Measured(source=self.role, n=self._measured_n, readings=tuple(readings), incarnation=self._me)
        return [Send("health_monitor", message)]


READERS = ("exits", "oms", "kill_switch", "catalog")
WANTED_READERS = ("symbols", "market_feed", "catalog", "kill_switch")
