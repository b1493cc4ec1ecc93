"""The catalog's thinking: what each product is and allows, what trading costs, whose key this is, what time it is. Pure.

It asks the gateway (PRODUCTS, FEES, ACCOUNT, CLOCK) at start and periodically, keeps what it learned in its tables, and
tells it by `CatalogSnapshot`: to risk every 0.5 s, to the others on change. Entries close, each with its reason, when

- the metadata is older than `metadata_age_s_max` or was never read (its age stands in the snapshot; risk judges it too),
- the key could transfer money out: such a key is refused, and so is one that may not trade or is of another account,
- the venue's status page or its `status` channel says so (exchange_health.py).

What stops here never stops cancels; exits stop only at a product's own flags (trading/product.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from attrs import evolve, field, frozen

from exchange.coinbase.clock_check import ClockCheck, ClockSettings
from exchange.coinbase.exchange_health import Effect as ExchangeEffect
from exchange.coinbase.exchange_health import ExchangeHealth, ExchangeStatusSettings
from exchange.coinbase.key_check import FINGERPRINTS, NOT_CHECKED, OTHER_ACCOUNT, KeyFault, key_faults
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
    Wake,
    Woke,
)
from trading.messages.control import (
    CatalogSnapshot,
    Condition,
    ExchangeStatus,
    Measured,
    ProductStatusSeen,
    ProductsWanted,
    UniverseSnapshot,
)
from trading.messages.orders import Account, Fees, Page, PageItem, Query, QueryKind
from trading.product import Product, set_flags
from trading.publish import WAKE_KEY, ConditionBoard, Publisher, jitter
from trading.rows import columns_of, from_row, to_row

PRODUCTS_TABLE = Table("catalog_products", columns=columns_of(Product))
FACTS_TABLE = Table(
    "catalog_facts",
    columns={"fetched_s": "real", "maker_rate": "text", "taker_rate": "text", "tier": "text"},
)
NEVER_BOOT_S = -1e18
FIRST_ANSWERS_N = 2
"""So many looks, a second apart, pass before people hear that the venue has told nothing yet; risk denies from the start."""
READERS = ("oms", "exits", "gateway", "universe", "health_monitor", "kill_switch")


@frozen(kw_only=True)
class CatalogSettings:
    """How often each question is asked, real seconds; what is not answered is asked again after `retry_s`, doubling.

    products: of interest; () for every USD product of the venue. metadata_saved_s: how often what moves all the time
    (volumes) is saved.
    """

    products: tuple[str, ...] = ()
    products_s: float = 300.0
    fees_s: float = 3600.0
    account_s: float = 3600.0
    clock_s: float = 60.0
    retry_s: float = 2.0
    retry_s_max: float = 60.0
    metadata_age_s_max: float = 900.0
    metadata_saved_s: float = 3600.0
    clock: ClockSettings = field(factory=ClockSettings)
    exchange: ExchangeStatusSettings = field(factory=ExchangeStatusSettings)

    def every_s(self, kind: QueryKind) -> float:
        return {
            QueryKind.PRODUCTS: self.products_s,
            QueryKind.FEES: self.fees_s,
            QueryKind.ACCOUNT: self.account_s,
            QueryKind.CLOCK: self.clock_s,
        }[kind]


class CatalogMachine(QuietMachine):
    """See the module. account_tag_expected: of `run/account`, "" when not known yet. has_key False: only public questions
    are asked. status_asked: somebody reads a status page and sends `ExchangeStatus`.
    """

    role: ClassVar[str] = "catalog"
    tables = (PRODUCTS_TABLE, FACTS_TABLE)

    def __init__(
        self,
        *,
        me: Incarnation,
        settings: CatalogSettings | None = None,
        account_tag_expected: str = "",
        has_key: bool = True,
        status_asked: bool = False,
    ) -> None:
        self.me = me
        self.settings = settings or CatalogSettings()
        self._tag = account_tag_expected
        self._kinds = (QueryKind.CLOCK, QueryKind.PRODUCTS) + ((QueryKind.ACCOUNT, QueryKind.FEES) if has_key else ())
        self._has_key = has_key
        self._status_asked = status_asked
        self._wanted: frozenset[str] = frozenset(self.settings.products)
        self._products: dict[str, Product] = {}
        self._saved_boot_s = NEVER_BOOT_S
        self._fetched_boot_s = NEVER_BOOT_S
        self._fees: Fees | None = None
        self._account: Account | None = None
        self._overrides: dict[str, tuple[str, float]] = {}
        self._symbols: dict[str, None] = {}
        self._asked: dict[QueryKind, str] = {}
        self._failures: dict[QueryKind, int] = {}
        self._asks = 0
        self._clock = ClockCheck(self.settings.clock)
        self._health = ExchangeHealth(self.settings.exchange, 0.0, asked=status_asked)
        self._publisher = Publisher(self.role, fast=("risk",))
        self._board = ConditionBoard()
        self._snapshot = CatalogSnapshot(n=0, products=(), fees=None, fetched_boot_s=NEVER_BOOT_S, incarnation=me)
        self._measured = 0

    # ---- the seam ----

    def recover(self, rows: Rows, now: Instant) -> Effects:
        for row in rows.get(PRODUCTS_TABLE.name, {}).values():
            product = from_row(Product, row)
            self._products[product.product_id] = product
        facts = rows.get(FACTS_TABLE.name, {}).get("facts")
        if facts:
            self._recover_facts(facts, now)
        self._health = ExchangeHealth(self.settings.exchange, now.boot_s, asked=self._status_asked)
        effects: list[Effect] = []
        for kind in self._kinds:
            effects += self._ask(kind, now)
        return [*effects, self._next_measure(now), *self._publish(now)]

    def _recover_facts(self, facts: Row, now: Instant) -> None:
        """The boot clock may be another one by now, so the age of what was saved is taken from venue time, if that is trusted."""
        if now.trusted and isinstance(facts["fetched_s"], float):
            age_s = (now.venue_s - facts["fetched_s"]) / now.speed
            if age_s >= 0.0:
                self._fetched_boot_s = now.boot_s - age_s
        if facts["maker_rate"] is not None:
            self._fees = from_row(Fees, facts)

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Page():
                return [*self._page(message, now), *self._publish(now)]
            case ExchangeStatus():
                self._health.hear(message)
                return self._publish(now)
            case ProductStatusSeen():
                return [*self._channel(message, now), *self._publish(now)]
            case ProductsWanted(products=products):
                return [*self._want(products, now), *self._hear_symbols(products), *self._publish(now)]
            case UniverseSnapshot(entries=entries):
                return self._hear_symbols(tuple(entry.product_id for entry in entries))
            case PeerRestarted(role=role):
                return [*self._told(role), *(self._ask_again(now) if role == "gateway" else ())]
            case Woke(key=key):
                return self._woke(key, now)
            case _:
                return ()

    def _woke(self, key: str, now: Instant) -> Effects:
        if key == WAKE_KEY:
            return self._publish(now)
        if key == "measure":
            return [*self._measure(now), self._next_measure(now)]
        kind = QueryKind(key.removeprefix("ask:"))
        if kind in self._asked:
            self._failures[kind] = self._failures.get(kind, 0) + 1
        return self._ask(kind, now)

    # ---- asking ----

    def _ask(self, kind: QueryKind, now: Instant) -> list[Effect]:
        """A command, repeated with doubling pauses until its Page comes: it, or the gateway, may be lost on the way."""
        query_id = self._asked.get(kind)
        if query_id is None:
            self._asks += 1
            query_id = f"catalog-{kind}-{self.me[1]}-{self._asks}"
            self._asked[kind] = query_id
        query = Query(query_id=query_id, reply_to=self.role, kind=kind)
        return [Send("gateway", query), Wake(f"ask:{kind}", now.boot_s + self._retry_s(kind) + 20.0)]

    def _retry_s(self, kind: QueryKind) -> float:
        return min(self.settings.retry_s_max, self.settings.retry_s * 2.0 ** min(self._failures.get(kind, 0), 10))

    def _page(self, page: Page, now: Instant) -> Iterator[Effect]:
        if self._asked.get(page.kind) != page.query_id:
            return
        del self._asked[page.kind]
        fingerprint = f"catalog:{page.kind}_unanswered"
        if page.complete and page.items:
            self._failures.pop(page.kind, None)
            yield from self._board.gone(fingerprint)
            yield from self._learn(page.kind, page, now)
            again_s = self.settings.every_s(page.kind)
            if page.kind is QueryKind.CLOCK and self._clock.doubted:
                again_s = 1.0
            if page.kind is QueryKind.PRODUCTS and self._overrides:
                again_s = self.settings.retry_s
            self._asks += 1
            again_s *= jitter(f"{self.role}:{page.kind}", self._asks)
        else:
            again_s = self._retry_s(page.kind)
            self._failures[page.kind] = self._failures.get(page.kind, 0) + 1
            if self._failures[page.kind] >= 3:
                text = f"the venue does not answer {page.kind}: {page.error or 'an empty answer'}"
                yield from self._board.stand(
                    Condition(fingerprint=fingerprint, level="warning", active=True, text=text), now
                )
        yield Wake(f"ask:{page.kind}", now.boot_s + again_s)

    def _learn(self, kind: QueryKind, page: Page, now: Instant) -> Iterator[Effect]:
        first = page.items[0]
        if kind is QueryKind.PRODUCTS:
            yield from self._learn_products(page.items, page.asked_boot_s, now)
        elif isinstance(first, Fees):
            self._fees = first
            yield self._save_facts(now)
        elif isinstance(first, Account):
            self._account = first
        elif isinstance(first, float):
            anchor = self._clock.read(first, page.asked_boot_s, page.answered_boot_s, now)
            if anchor is not None:
                yield Send("io", anchor)
                yield from self._clock_condition(anchor.trusted, anchor.drift_s, now)

    def _learn_products(self, items: tuple[PageItem, ...], asked_boot_s: float, now: Instant) -> Iterator[Effect]:
        # A product with an alias is the same book under another quote currency; inside, symbols are canonical.
        found = {
            item.product_id: item
            for item in items
            if isinstance(item, Product)
            and not item.alias
            and item.quote_currency == "USD"
            and (not self._wanted or item.product_id in self._wanted)
        }
        if not found:
            return
        save_all = now.boot_s - self._saved_boot_s >= self.settings.metadata_saved_s
        for product_id, product in found.items():
            known = self._products.get(product_id)
            if save_all or known is None or _rules(known) != _rules(product):
                yield Save(PRODUCTS_TABLE.name, product_id, to_row(product))
            if known is not None and (known.status, set_flags(known)) != (product.status, set_flags(product)):
                text = f"{product_id} is now {product.status} {' '.join(set_flags(product)) or 'without flags'}"
                yield Note("recovery", {"product_id": product_id, "text": text})
        # What the venue no longer lists is no longer known: entries close, exits go on.
        for product_id in self._products.keys() - found.keys():
            yield Save(PRODUCTS_TABLE.name, product_id, {**to_row(self._products[product_id]), "live": False})
        if save_all:
            self._saved_boot_s = now.boot_s
        self._products = found
        # What the channel told after this was asked is newer than it.
        self._overrides = {key: told for key, told in self._overrides.items() if told[1] > asked_boot_s}
        self._fetched_boot_s = asked_boot_s
        yield self._save_facts(now)

    def _save_facts(self, now: Instant) -> Save:
        fetched_s = None if self._fetched_boot_s == NEVER_BOOT_S else now.venue_at(self._fetched_boot_s)
        fees: Row = to_row(self._fees) if self._fees else {"maker_rate": None, "taker_rate": None, "tier": None}
        return Save(FACTS_TABLE.name, "facts", {"fetched_s": fetched_s, **fees})

    def _channel(self, seen: ProductStatusSeen, now: Instant) -> list[Effect]:
        """The status channel is faster than the next reading: what is not online closes now, and the metadata is asked."""
        changed = False
        for product_id, status, _ in seen.products:
            known = self._products.get(product_id)
            if known is None or self._overrides.get(product_id, (known.status, 0.0))[0] == status:
                continue
            self._overrides[product_id] = status, now.boot_s
            changed = True
        return self._ask(QueryKind.PRODUCTS, now) if changed else []

    def _want(self, products: tuple[str, ...], now: Instant) -> list[Effect]:
        if not self.settings.products:
            return []
        new = frozenset(products) - self._wanted
        self._wanted |= new
        return self._ask(QueryKind.PRODUCTS, now) if new else []

    # ---- telling ----

    def _hear_symbols(self, products: tuple[str, ...]) -> list[Effect]:
        fresh = [product_id for product_id in products if product_id not in self._symbols]
        self._symbols.update(dict.fromkeys(fresh))
        return [effect for product_id in fresh for effect in self._told(f"symbol:{product_id}")]

    def _told(self, role: str) -> list[Effect]:
        """The snapshot for one role; a symbol gets the slice of its product."""
        if role.startswith("symbol:"):
            return [Send(role, self._slice(role.removeprefix("symbol:")))]
        return [Send(role, self._snapshot)] if role in (*READERS, "risk") else []

    def _slice(self, product_id: str) -> CatalogSnapshot:
        return evolve(self._snapshot, products=tuple(p for p in self._snapshot.products if p.product_id == product_id))

    def _ask_again(self, now: Instant) -> list[Effect]:
        return [effect for kind in list(self._asked) for effect in self._ask(kind, now)]

    def _publish(self, now: Instant) -> list[Effect]:
        standing = self._health.standing(now.boot_s)
        faults = key_faults(self._account, self._tag) if self._has_key else ()
        refusals = [text for _, text in faults]
        closed = bool(refusals) or standing.effect >= ExchangeEffect.STOP
        clamped = standing.effect == ExchangeEffect.CLAMP
        new = evolve(
            self._snapshot,
            products=self._shown(),
            fees=self._fees,
            fetched_boot_s=self._fetched_boot_s,
            exchange_reason="; ".join((*refusals, *standing.reasons)),
            entries_closed=closed,
            kill_wanted=standing.effect is ExchangeEffect.KILL,
            size_multiplier=self.settings.exchange.clamp_multiplier if clamped else 1.0,
            other_account=any(fingerprint == OTHER_ACCOUNT for fingerprint, _ in faults),
            key_unchecked=any(fingerprint == NOT_CHECKED for fingerprint, _ in faults),
        )
        changed = new != self._snapshot or self._snapshot.n == 0
        if changed:
            self._snapshot = evolve(new, n=self._snapshot.n + 1)
        effects = self._publisher.effects(self._snapshot, changed=changed, now=now, slow=READERS)
        if changed:
            effects += [effect for product_id in self._symbols for effect in self._told(f"symbol:{product_id}")]
        effects += self._key_conditions(faults, now)
        effects += self._status_condition(standing.effect, standing.reasons, now)
        return effects

    def _shown(self) -> tuple[Product, ...]:
        if not self._overrides:
            return tuple(self._products.values())
        return tuple(
            evolve(product, status=self._overrides.get(key, (product.status,))[0])
            for key, product in self._products.items()
        )

    def _key_conditions(self, faults: tuple[KeyFault, ...], now: Instant) -> Iterator[Effect]:
        for fingerprint, text in faults:
            if fingerprint != NOT_CHECKED:
                condition = Condition(fingerprint=fingerprint, level="critical", active=True, text=text)
                yield from self._board.stand(condition, now)
        standing = {fingerprint for fingerprint, _ in faults}
        for fingerprint in FINGERPRINTS:
            if fingerprint not in standing:
                yield from self._board.gone(fingerprint)

    def _status_condition(self, effect: ExchangeEffect, reasons: tuple[str, ...], now: Instant) -> Iterator[Effect]:
        if effect is ExchangeEffect.NONE:
            yield from self._board.gone("catalog:exchange_status")
            return
        level = "critical" if effect >= ExchangeEffect.STOP else "warning"
        text = f"exchange status {effect.name.lower()}: {'; '.join(reasons)}"
        condition = Condition(fingerprint="catalog:exchange_status", level=level, active=True, text=text)
        yield from self._board.stand(condition, now)

    def _clock_condition(self, trusted: bool, drift_s: float, now: Instant) -> Iterator[Effect]:
        if trusted:
            yield from self._board.gone("catalog:clock_drift")
            return
        text = (
            f"this computer's clock and the venue's differ by {drift_s:+.3f} s "
            f"(limit {self.settings.clock.drift_s_max} s): no durable deadline is judged; check its time service"
        )
        condition = Condition(
            fingerprint="catalog:clock_drift", level="critical", active=True, text=text, values={"drift_s": drift_s}
        )
        yield from self._board.stand(condition, now)

    def _next_measure(self, now: Instant) -> Wake:
        self._measured += 1
        return Wake("measure", now.boot_s + jitter(f"{self.role}{self.me}", self._measured))

    def _measure(self, now: Instant) -> Iterator[Effect]:
        readings: list[tuple[str, float]] = [
            ("metadata_age_s", min(1e9, now.boot_s - self._fetched_boot_s)),
            ("products", float(len(self._products))),
            ("exchange_effect", float(self._health.standing(now.boot_s).effect)),
        ]
        if self._clock.drift_s is not None and self._clock.read_boot_s is not None:
            readings += [
                ("clock_drift_s", self._clock.drift_s),
                ("clock_round_trip_s", self._clock.round_trip_s or 0.0),
                ("clock_age_s", now.boot_s - self._clock.read_boot_s),
            ]
        yield Send(
            "health_monitor",
            Measured(source=self.role, n=self._measured, readings=tuple(readings), incarnation=self.me),
        )
        age_s = now.boot_s - self._fetched_boot_s
        if age_s > 1e9 and self._measured <= FIRST_ANSWERS_N:
            return
        if age_s > self.settings.metadata_age_s_max:
            text = (
                f"product metadata is {'missing' if age_s > 1e9 else f'{age_s:.0f} s old'}: no entries until it is read"
            )
            condition = Condition(fingerprint="catalog:metadata_stale", level="warning", active=True, text=text)
            yield from self._board.stand(condition, now)
        else:
            yield from self._board.gone("catalog:metadata_stale")


def _rules(product: Product) -> Product:
    """What of a product decides about orders; volumes move with each reading and need no Save."""
    return evolve(product, volume_24h_quote_usd=None)
