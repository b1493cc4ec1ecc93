"""What risk knows of money: marks, NAV, high water, latches; their rows, their conditions and their snapshot.

A part of the risk machine in a file of its own. It reads the book and the quotes, and decides nothing about a proposal.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from trading.caps import held_size
from trading.data_guards import DataGuardSettings, OutlierGuard
from trading.machine import Effect, Incarnation, Instant, Row, Rows, Save, Send, Table
from trading.messages.book import BookSnapshot, Recovery
from trading.messages.control import CommandDone, Condition, Latch, LatchSnapshot, Rearm
from trading.messages.decisions import Values
from trading.messages.market import Quote
from trading.money import HighWater, realised_of, wanted_latches
from trading.publish import ConditionBoard, Jitter, Publisher
from trading.risk_settings import RiskSettings
from trading.values import ZERO, plain

TABLES = (
    Table(
        "risk_latches",
        columns={"code": "text", "since_s": "real", "until_s": "real", "detail": "text", "cleared_by": "text"},
    ),
    Table(
        "risk_water",
        columns={"high_water_usd": "text", "flows_usd": "text", "saved_s": "real", "set_by": "text", "book": "text"},
    ),
)


class MoneyWatch:
    """marks: product -> believed mid. nav_usd: None while something that is held has no believable price (`unpriced`)."""

    def __init__(
        self, settings: RiskSettings, guards: DataGuardSettings, me: Incarnation, board: ConditionBoard, jitter: Jitter
    ) -> None:
        self._settings = settings
        self._guards = guards
        self._me = me
        self._board = board
        self._publisher = Publisher("risk", jitter=jitter)
        self._jumps: dict[str, OutlierGuard] = {}
        self._latches: dict[str, Latch] = {}
        self._water = HighWater()
        self._drawdown = ZERO
        self._n = 0
        self.quotes: dict[str, Quote] = {}
        self.marks: dict[str, Decimal] = {}
        self.nav_usd: Decimal | None = None
        self._told_nav: Decimal | None = None
        self.unpriced: tuple[str, ...] = ()
        self._held: tuple[str, ...] = ()

    @property
    def latches(self) -> tuple[Latch, ...]:
        return tuple(self._latches.values())

    def recover(self, rows: Rows) -> None:
        for code, row in rows.get("risk_latches", {}).items():
            self._latches[code] = _latch_from(code, row)
        water = rows.get("risk_water", {}).get("water")
        if water is not None:
            self._water = HighWater(
                usd=Decimal(str(water["high_water_usd"])),
                flows_usd=Decimal(str(water["flows_usd"])),
                book=str(water.get("book") or ""),
            )
            self._water.saved(float("-inf"))

    def on_quote(self, quote: Quote, now: Instant) -> None:
        """A crossed or locked book and an unconfirmed jump set no mark."""
        product_id = quote.product_id
        self.quotes[product_id] = quote
        bid, ask = quote.bid, quote.ask
        if bid >= ask or bid <= 0:
            return
        guard = self._jumps.get(product_id)
        if guard is None:
            limits = self._guards
            guard = self._jumps[product_id] = OutlierGuard(
                limits.quote_outlier_pct, limits.outlier_deviations, limits.outlier_confirmations
            )
        if guard.accept((quote.bid_f + quote.ask_f) * 0.5, quote.exchange_s, now.boot_s):
            self.marks[product_id] = (bid + ask) / 2

    def doubted(self, product_id: str) -> bool:
        guard = self._jumps.get(product_id)
        return guard is not None and guard.suspicious

    def value(self, book: BookSnapshot, now: Instant) -> None:
        """NAV = quote currency + what is held at believed marks (domain.md section 11)."""
        total = book.quote_total_usd
        unpriced: list[str] = []
        holdings = [(one.product_id, held_size(one)) for one in book.positions if not one.dust]
        if self._settings.caps.count_foreign:
            holdings += [(f"{one.currency}-USD", one.size) for one in book.foreign]
        for product_id, held in holdings:
            if held <= ZERO:
                continue
            mark = self.marks.get(product_id)
            if mark is None or self._mark_age_s(product_id, now) > self._settings.mark_age_s_max:
                unpriced.append(product_id)
                continue
            total += held * mark
        self.unpriced = tuple(unpriced)
        self._held = tuple(sorted({product_id for product_id, held in holdings if held > ZERO}))
        self.nav_usd = None if unpriced else total

    def _flows_usd(self, book: BookSnapshot) -> Decimal:
        """What moved NAV and is no result; where foreign coins count, an adopted one was in it before."""
        return book.flows_usd + (ZERO if self._settings.caps.count_foreign else book.adopted_usd)

    def _counted_by(self, book: BookSnapshot) -> str:
        """The name of the count that `_flows_usd` is of: by another one nothing has flowed."""
        return f"{book.begun_by}:foreign" if self._settings.caps.count_foreign else book.begun_by

    def _mark_age_s(self, product_id: str, now: Instant) -> float:
        """A mark lives as long as its connection: a quiet product's quote is old and still the newest."""
        quote = self.quotes[product_id]
        return now.boot_s - max(quote.received_boot_s, quote.alive_boot_s)

    def look(self, book: BookSnapshot, now: Instant) -> list[Effect]:
        """High water, realised windows, latches; saves what changed, tells what stands."""
        self.value(book, now)
        nav = self.nav_usd
        if nav is None or not now.trusted or book.recovery is Recovery.RECOVERING:
            return self._lapsed(now)
        # A half-booked fill shows a NAV that is wrong either way: marks are set and drawdowns believed when all is booked.
        settled = (
            book.recovery is Recovery.RECONCILED
            and not book.unbooked
            and book.balances_complete_boot_s is not None
            and all(one.seen_size == one.booked_size for one in book.positions)
        )
        # What may be a withdrawal is no loss yet: caps use the lower NAV at once, losses the one without it until oms is sure.
        nav -= book.quote_unconfirmed_usd
        sure = settled and not book.quote_unconfirmed_usd
        self._water.update(nav, self._flows_usd(book), may_rise=sure, book=self._counted_by(book))
        out: list[Effect] = []
        if self._water.worth_saving(now.boot_s):
            out.append(self._save_water(now, ""))
        if settled:
            self._drawdown = self._water.drawdown_pct(nav)
        changed = False
        for latch in wanted_latches(
            realised_of(book.counters.realised, now.venue_s),
            nav,
            self._drawdown,
            self._water.usd,
            now.venue_s,
            self._settings.stops,
        ):
            standing = self._latches.get(latch.code)
            if standing is not None and (standing.until_s is None or not now.over(standing.until_s)):
                continue
            self._latches[latch.code] = latch
            out.append(_save_latch(latch, live=True))
            changed = True
        out += self._lapsed(now)
        return out + (self.publish(now, changed=True) if changed else [])

    def _lapsed(self, now: Instant) -> list[Effect]:
        """Latches whose window has ended go; conditions of those that stand are repeated."""
        out: list[Effect] = []
        gone = [code for code, latch in self._latches.items() if latch.until_s is not None and now.over(latch.until_s)]
        for code in gone:
            out.append(_save_latch(self._latches.pop(code), live=False))
            out += self._board.gone(f"risk:{code}")
        for code, latch in self._latches.items():
            way_out = "until its window ends" if latch.until_s is not None else "until a person re-arms it by name"
            out += self._board.stand(
                Condition(
                    fingerprint=f"risk:{code}",
                    level="critical",
                    active=True,
                    text=f"{code}: no entries {way_out}",
                    values=dict(latch.values),
                ),
                now,
            )
        return out + (self.publish(now, changed=True) if gone else [])

    def rearm(self, message: Rearm, book: BookSnapshot, now: Instant) -> list[Effect]:
        """A person accepts the drawdown: the mark restarts at today's NAV. Other latches keep to their windows."""
        if "max_drawdown" not in self._latches:
            return []
        if not message.name or not message.cause or self.nav_usd is None:
            text = "re-arming the drawdown latch needs a name, a cause, and a NAV that is known"
            return [Send("operator", CommandDone(command_id=message.command_id, ok=False, text=text))]
        latch = self._latches.pop("max_drawdown")
        self._water = HighWater(usd=self.nav_usd, flows_usd=self._flows_usd(book), book=self._counted_by(book))
        self._drawdown = ZERO
        done = CommandDone(
            command_id=message.command_id, ok=True, text=f"drawdown latch cleared by {message.name}: {message.cause}"
        )
        return [
            _save_latch(latch, live=False, cleared_by=f"{message.name}: {message.cause}"),
            self._save_water(now, message.name),
            *self._board.gone("risk:max_drawdown"),
            *self.publish(now, changed=True),
            Send("operator", done),
        ]

    def _save_water(self, now: Instant, by: str) -> Save:
        assert self._water.usd is not None
        self._water.saved(now.boot_s)
        row: Row = {
            "high_water_usd": plain(self._water.usd),
            "flows_usd": plain(self._water.flows_usd),
            "saved_s": now.venue_s,
            "set_by": by,
            "book": self._water.book,
        }
        return Save("risk_water", "water", row)

    def news(self, now: Instant) -> list[Effect]:
        """NAV moved: people hear it within 2 s."""
        return self.publish(now, changed=False) if self.nav_usd != self._told_nav else []

    def publish(self, now: Instant, *, changed: bool) -> list[Effect]:
        if changed:
            self._n += 1
        snapshot = LatchSnapshot(
            n=self._n,
            latches=self.latches,
            marks=tuple((name, self.marks[name]) for name in self._held if name in self.marks),
            nav_usd=self.nav_usd,
            high_water_usd=self._water.usd,
            drawdown_pct=self._drawdown,
            incarnation=self._me,
        )
        news = self.nav_usd != self._told_nav
        self._told_nav = self.nav_usd
        return self._publisher.effects(snapshot, changed=changed, now=now, slow=("oms", "exits"), news=news)


def _save_latch(latch: Latch, *, live: bool, cleared_by: str = "") -> Save:
    row: dict[str, str | float | bool | None] = {
        "code": latch.code,
        "since_s": latch.since_s,
        "until_s": latch.until_s,
        "detail": "\n".join(f"{name}={text}" for name, text in latch.values),
        "cleared_by": cleared_by,
        "live": live,
    }
    return Save("risk_latches", latch.code, row)


def _latch_from(code: str, row: Mapping[str, object]) -> Latch:
    detail = str(row.get("detail") or "")
    values: Values = tuple(
        (name, text) for name, _, text in (line.partition("=") for line in detail.split("\n")) if name
    )
    until = row.get("until_s")
    return Latch(
        code=code,
        values=values,
        since_s=float(str(row["since_s"])),
        until_s=None if until is None else float(str(until)),
    )
