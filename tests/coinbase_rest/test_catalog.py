"""The catalog: what closes entries and what does not, its questions, its clock, the venue's status page."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import attrs
import pytest

from exchange.coinbase.catalog import CatalogMachine, CatalogSettings
from exchange.coinbase.clock_check import ClockCheck, ClockSettings
from exchange.coinbase.exchange_health import Effect as Health
from exchange.coinbase.exchange_health import ExchangeHealth, ExchangeStatusSettings, judged
from tests.coinbase_rest.made import BTC, ME, NOW, later
from trading.machine import Effect, Instant, PeerRestarted, Save, Send, Wake, Woke
from trading.messages.control import (
    CatalogSnapshot,
    ClockAnchored,
    Condition,
    ExchangeStatus,
    Measured,
    ProductStatusSeen,
    ProductsWanted,
)
from trading.messages.orders import Account, Fees, Page, Query, QueryKind
from trading.product import Allows, allowance
from trading.values import account_tag

ETH = attrs.evolve(BTC, product_id="ETH-USD", base_currency="ETH")
FEES = Fees(maker_rate=Decimal("0.006"), taker_rate=Decimal("0.012"), tier="Intro 1")
ACCOUNT = Account(portfolio_uuid="p-1", can_view=True, can_trade=True, can_transfer=False)


def sent(effects: Iterable[Effect], role: str, kind: type = object) -> list[Any]:
    return [e.message for e in effects if isinstance(e, Send) and e.role == role and isinstance(e.message, kind)]


class Catalog:
    """A machine, its newest snapshot, and the queries that are out."""

    def __init__(self, rows: Any = None, now: Instant = NOW, **facts: Any) -> None:
        self.machine = CatalogMachine(me=ME, **facts)
        self.saved: dict[str, dict[str, Any]] = {}
        self.conditions: dict[str, Condition] = {}
        self.asked: dict[QueryKind, str] = {}
        self.snapshot = CatalogSnapshot(n=0, products=(), fees=None, fetched_boot_s=0.0)
        self.effects: list[Effect] = []
        self._heard(self.machine.recover(rows or {}, now))

    def _heard(self, effects: Iterable[Effect]) -> list[Effect]:
        self.effects = list(effects)
        for effect in self.effects:
            if isinstance(effect, Save):
                self.saved.setdefault(effect.table, {})[effect.key] = effect.row
        for query in sent(self.effects, "gateway", Query):
            self.asked[query.kind] = query.query_id
        for snapshot in sent(self.effects, "risk", CatalogSnapshot):
            self.snapshot = snapshot
        for condition in sent(self.effects, "alerts", Condition):
            self.conditions[condition.fingerprint] = condition
        return self.effects

    def tell(self, message: object, now: Instant = NOW) -> list[Effect]:
        return self._heard(self.machine.handle(message, now))

    def answer(self, kind: QueryKind, *items: Any, now: Instant = NOW, **fields: Any) -> list[Effect]:
        page = Page(
            query_id=self.asked[kind],
            kind=kind,
            items=items,
            **{"complete": True, "asked_boot_s": now.boot_s, "answered_boot_s": now.boot_s, **fields},
        )
        return self.tell(page, now)

    def standing(self) -> list[str]:
        return sorted(name for name, condition in self.conditions.items() if condition.active)


def ready(**facts: Any) -> Catalog:
    catalog = Catalog(**facts)
    catalog.answer(QueryKind.PRODUCTS, BTC, ETH)
    if facts.get("has_key", True):
        catalog.answer(QueryKind.ACCOUNT, ACCOUNT)
        catalog.answer(QueryKind.FEES, FEES)
    return catalog


def test_at_start_it_asks_everything_and_entries_are_closed_until_the_key_is_checked() -> None:
    catalog = Catalog()
    assert set(catalog.asked) == {QueryKind.PRODUCTS, QueryKind.FEES, QueryKind.ACCOUNT, QueryKind.CLOCK}
    assert catalog.snapshot.entries_closed
    assert catalog.snapshot.fetched_boot_s < 0
    catalog.answer(QueryKind.PRODUCTS, BTC)
    assert catalog.snapshot.exchange_reason == "key not checked yet"
    catalog.answer(QueryKind.ACCOUNT, ACCOUNT)
    assert (catalog.snapshot.entries_closed, catalog.snapshot.products) == (False, (BTC,))


@pytest.mark.parametrize(
    ("account", "fingerprint"),
    [
        (attrs.evolve(ACCOUNT, can_transfer=True), "catalog:key_can_transfer"),
        (attrs.evolve(ACCOUNT, can_trade=False), "catalog:key_cannot_trade"),
        (attrs.evolve(ACCOUNT, portfolio_uuid="p-2"), "catalog:other_account"),
    ],
)
def test_a_key_that_can_transfer_or_is_not_ours_closes_entries(account: Account, fingerprint: str) -> None:
    catalog = Catalog(account_tag_expected=account_tag("p-1"))
    catalog.answer(QueryKind.PRODUCTS, BTC)
    assert catalog.snapshot.key_unchecked
    catalog.answer(QueryKind.ACCOUNT, account)
    assert catalog.snapshot.entries_closed
    assert not catalog.snapshot.key_unchecked
    assert catalog.standing() == [fingerprint]
    assert catalog.snapshot.other_account is (fingerprint == "catalog:other_account")
    catalog.tell(Woke("ask:account"), later(3600))
    catalog.answer(QueryKind.ACCOUNT, ACCOUNT, now=later(3600))
    assert not catalog.snapshot.entries_closed
    assert catalog.standing() == []


def test_a_query_without_answer_is_repeated_with_its_id_and_at_once_to_a_new_gateway() -> None:
    catalog = Catalog()
    first = dict(catalog.asked)
    effects = catalog.tell(Woke("ask:products"), later(22.0))
    assert [q.query_id for q in sent(effects, "gateway", Query)] == [first[QueryKind.PRODUCTS]]
    effects = catalog.tell(PeerRestarted("gateway", (7, 9)), later(23.0))
    assert {q.kind for q in sent(effects, "gateway", Query)} == set(first)
    assert sent(effects, "gateway", CatalogSnapshot)


def test_an_answer_to_an_older_question_is_not_believed() -> None:
    catalog = ready()
    catalog.tell(Woke("ask:products"), later(300))
    page = Page(query_id="catalog-products-1000-1", kind=QueryKind.PRODUCTS, complete=True, items=(ETH,))
    catalog.tell(page, later(300))
    assert catalog.snapshot.products == (BTC, ETH)


def test_failures_back_off_and_three_in_a_row_are_told() -> None:
    catalog = Catalog()
    pauses = []
    now = NOW
    for _ in range(7):
        effects = catalog.answer(QueryKind.FEES, complete=False, error="http_503", now=now)
        (wake,) = [e for e in effects if isinstance(e, Wake) and e.key == "ask:fees"]
        pauses.append(wake.at_boot_s - now.boot_s)
        now = later(wake.at_boot_s - NOW.boot_s)
        catalog.tell(Woke("ask:fees"), now)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert catalog.standing() == ["catalog:fees_unanswered"]
    catalog.answer(QueryKind.FEES, FEES, now=now)
    assert catalog.standing() == []
    assert catalog.snapshot.fees == FEES


def test_what_was_saved_is_there_at_once_with_its_true_age() -> None:
    before = ready()
    after = Catalog(rows=before.saved, now=later(1000.0))
    assert after.snapshot.products == (BTC, ETH)
    assert after.snapshot.fees == FEES
    assert after.snapshot.fetched_boot_s == pytest.approx(NOW.boot_s)


@pytest.mark.parametrize("trusted", [True, False])
def test_after_a_reboot_the_age_is_taken_from_trusted_venue_time_or_it_is_stale(trusted: bool) -> None:
    before = ready()
    rebooted = Instant(NOW.venue_s + 100.0, trusted, 30.0)
    after = Catalog(rows=before.saved, now=rebooted)
    assert after.snapshot.fetched_boot_s == (pytest.approx(-70.0) if trusted else -1e18)


def test_stale_metadata_is_told_and_its_age_measured() -> None:
    catalog = ready()
    catalog.tell(Woke("measure"), later(900.0))
    assert catalog.standing() == []
    effects = catalog.tell(Woke("measure"), later(901.0))
    assert catalog.standing() == ["catalog:metadata_stale"]
    (measured,) = sent(effects, "health_monitor", Measured)
    assert dict(measured.readings)["metadata_age_s"] == 901.0


def test_risk_hears_every_half_second_and_others_on_change() -> None:
    catalog = ready()
    effects = catalog.tell(Woke("publish"), later(0.5))
    assert len(sent(effects, "risk", CatalogSnapshot)) == 1
    assert sent(effects, "gateway", CatalogSnapshot) == []
    catalog.tell(Woke("ask:products"), later(300.0))
    effects = catalog.answer(QueryKind.PRODUCTS, attrs.evolve(BTC, cancel_only=True), ETH, now=later(300.0))
    assert len(sent(effects, "gateway", CatalogSnapshot)) == 1
    assert len(sent(effects, "exits", CatalogSnapshot)) == 1


def test_symbols_get_the_slice_of_their_product() -> None:
    catalog = ready()
    effects = catalog.tell(ProductsWanted(version=1, products=("ETH-USD",)))
    (slice_,) = sent(effects, "symbol:ETH-USD", CatalogSnapshot)
    assert slice_.products == (ETH,)


def test_the_usdc_twin_is_the_same_book_and_other_quotes_are_not_ours() -> None:
    twin = attrs.evolve(BTC, product_id="BTC-USDC", quote_currency="USDC", alias="BTC-USD")
    euro = attrs.evolve(BTC, product_id="BTC-EUR", quote_currency="EUR")
    catalog = Catalog()
    catalog.answer(QueryKind.PRODUCTS, twin, euro, BTC)
    assert [p.product_id for p in catalog.snapshot.products] == ["BTC-USD"]


def test_only_wanted_products_are_kept_and_new_wishes_are_asked_for() -> None:
    catalog = Catalog(settings=CatalogSettings(products=("BTC-USD",)))
    catalog.answer(QueryKind.PRODUCTS, BTC, ETH)
    assert catalog.snapshot.products == (BTC,)
    effects = catalog.tell(ProductsWanted(version=2, products=("BTC-USD", "ETH-USD")))
    assert len(sent(effects, "gateway", Query)) == 1
    catalog.answer(QueryKind.PRODUCTS, BTC, ETH)
    assert catalog.snapshot.products == (BTC, ETH)


def test_volumes_that_move_are_not_saved_each_time_and_rules_are() -> None:
    catalog = ready()
    catalog.tell(Woke("ask:products"), later(300.0))
    moved = (attrs.evolve(BTC, volume_24h_quote_usd=9.0), attrs.evolve(ETH, post_only=True))
    effects = catalog.answer(QueryKind.PRODUCTS, *moved, now=later(300.0))
    assert [e.key for e in effects if isinstance(e, Save) and e.table == "catalog_products"] == ["ETH-USD"]
    assert catalog.snapshot.products == moved


def test_a_product_that_is_no_longer_listed_is_no_longer_known() -> None:
    catalog = ready()
    catalog.tell(Woke("ask:products"), later(300.0))
    catalog.answer(QueryKind.PRODUCTS, ETH, now=later(300.0))
    assert catalog.snapshot.products == (ETH,)
    assert catalog.saved["catalog_products"]["BTC-USD"]["live"] is False
    assert allowance(None).entry is Allows.NO
    assert allowance(None).exit is Allows.YES


def test_an_empty_answer_does_not_empty_the_catalog() -> None:
    catalog = ready()
    catalog.tell(Woke("ask:products"), later(300.0))
    catalog.answer(QueryKind.PRODUCTS, now=later(300.0))
    assert catalog.snapshot.products == (BTC, ETH)


def test_the_status_channel_closes_a_product_before_the_next_reading() -> None:
    catalog = ready()
    effects = catalog.tell(ProductStatusSeen(products=(("BTC-USD", "offline", "halt"), ("ETH-USD", "online", ""))))
    assert len(sent(effects, "gateway", Query)) == 1
    shown = {p.product_id: allowance(p).entry for p in catalog.snapshot.products}
    assert shown == {"BTC-USD": Allows.NO, "ETH-USD": Allows.YES}
    assert allowance(catalog.snapshot.products[0]).cancel is Allows.YES
    catalog.answer(QueryKind.PRODUCTS, BTC, ETH)
    assert allowance(catalog.snapshot.products[0]).entry is Allows.YES


def test_an_answer_that_was_asked_before_the_channel_spoke_opens_no_halted_product() -> None:
    """For five minutes, until the next reading, entries went to a halted product."""
    catalog = ready()
    catalog.tell(Woke("ask:products"), later(300.0))
    catalog.tell(ProductStatusSeen(products=(("BTC-USD", "offline", "halt"),)), later(300.5))
    effects = catalog.answer(QueryKind.PRODUCTS, BTC, ETH, now=later(301.0), asked_boot_s=later(300.1).boot_s)
    assert allowance(catalog.snapshot.products[0]).entry is Allows.NO
    again = [one.at_boot_s for one in effects if isinstance(one, Wake) and one.key == "ask:products"]
    assert later(301.0).boot_s < again[0] < later(310.0).boot_s
    catalog.tell(Woke("ask:products"), later(303.0))
    catalog.answer(QueryKind.PRODUCTS, BTC, ETH, now=later(303.5))
    assert allowance(catalog.snapshot.products[0]).entry is Allows.YES


def test_without_a_key_only_public_questions_are_asked_and_nothing_waits_for_the_key() -> None:
    catalog = ready(has_key=False)
    assert set(catalog.asked) == {QueryKind.PRODUCTS, QueryKind.CLOCK}
    assert not catalog.snapshot.entries_closed


# ---- the clock ----


def test_the_first_reading_anchors_an_untrusted_clock() -> None:
    lost = Instant(123.0, False, 50.0)
    catalog = Catalog(now=lost)
    effects = catalog.answer(QueryKind.CLOCK, NOW.venue_s, now=lost, asked_boot_s=49.8, answered_boot_s=50.0)
    (anchor,) = sent(effects, "io", ClockAnchored)
    assert (anchor.venue_s, anchor.boot_s, anchor.trusted) == (NOW.venue_s, 49.9, True)


def test_a_clock_ahead_of_the_venue_is_not_trusted_until_three_readings_agree() -> None:
    """The commonest complaint about 401: a computer clock ahead of the venue's (nbf in the future)."""
    catalog = ready()
    trusted = []
    for number in range(3):
        now = later(60.0 + number)
        if number:
            catalog.tell(Woke("ask:clock"), now)
        effects = catalog.answer(QueryKind.CLOCK, now.venue_s - 0.4, now=now)
        (anchor,) = sent(effects, "io", ClockAnchored)
        trusted.append(anchor.trusted)
        assert ("catalog:clock_drift" in catalog.standing()) == (not anchor.trusted)
    assert trusted == [False, False, True]


@pytest.mark.parametrize(
    ("drift_s", "round_trip_s", "trusted"),
    [(0.14, 0.0, True), (0.16, 0.0, False), (0.24, 0.2, True), (-0.26, 0.2, False)],
)
def test_the_drift_gate_allows_for_half_a_round_trip(drift_s: float, round_trip_s: float, trusted: bool) -> None:
    check = ClockCheck(ClockSettings())
    check.read(NOW.venue_s, NOW.boot_s, NOW.boot_s, NOW)
    now = later(60.0)
    middle = now.boot_s - round_trip_s / 2.0
    anchor = check.read(now.venue_at(middle) + drift_s, now.boot_s - round_trip_s, now.boot_s, now)
    assert anchor is not None
    assert anchor.trusted == trusted


def test_a_reading_that_took_too_long_tells_nothing() -> None:
    assert ClockCheck(ClockSettings()).read(NOW.venue_s, NOW.boot_s - 2.1, NOW.boot_s, NOW) is None


def test_a_fast_venue_has_a_wider_gate() -> None:
    fast = Instant(NOW.venue_s, True, NOW.boot_s, speed=60.0)
    anchor = ClockCheck(ClockSettings()).read(NOW.venue_s + 5.0, NOW.boot_s, NOW.boot_s, fast)
    assert anchor is not None
    assert (anchor.trusted, anchor.speed) == (True, 60.0)


def test_readings_that_disagree_with_each_other_are_never_believed() -> None:
    check = ClockCheck(ClockSettings())
    for number, drift in enumerate([0.4, -3.0, 9.0, 2.0, -7.0]):
        now = later(number)
        anchor = check.read(now.venue_s + drift, now.boot_s, now.boot_s, now)
        assert anchor is not None
        assert not anchor.trusted


# ---- the status page ----


def page(**fields: Any) -> ExchangeStatus:
    return ExchangeStatus(reachable=True, read_boot_s=NOW.boot_s, **fields)


@pytest.mark.parametrize(
    ("status", "effect"),
    [
        (page(), Health.NONE),
        (page(components=(("Advanced Trade API", "operational"),)), Health.NONE),
        (page(components=(("Advanced Trade API", "degraded_performance"),)), Health.CLAMP),
        (page(components=(("Advanced Trade API", "under_maintenance"),)), Health.CLAMP),
        (page(components=(("Advanced Trade API", "partial_outage"),)), Health.STOP),
        (page(components=(("Advanced Trade API", "major_outage"),)), Health.STOP),
        (page(components=(("Advanced Trade API", "on_fire"),)), Health.CLAMP),
        (page(components=(("Coinbase Card", "major_outage"),)), Health.NONE),
        (page(indicator="minor"), Health.NONE),
        (page(indicator="critical"), Health.STOP),
        (page(incidents=(("Trading is down", "critical"),)), Health.STOP),
        (page(incidents=(("Slow e-mail", "minor"),)), Health.NONE),
        (page(maintenances=(("Exchange upgrade", "in_progress"),)), Health.CLAMP),
    ],
)
def test_what_each_word_of_the_status_page_does(status: ExchangeStatus, effect: Health) -> None:
    standing = judged(status, ExchangeStatusSettings())
    assert standing.effect is effect
    assert bool(standing.reasons) == (effect is not Health.NONE)


def test_components_are_configurable_each_with_its_effect() -> None:
    settings = ExchangeStatusSettings(components={"card": "stop", "advanced": "ignore"})
    assert judged(page(components=(("Coinbase Card", "degraded_performance"),)), settings).effect is Health.STOP
    assert judged(page(components=(("Advanced Trade", "major_outage"),)), settings).effect is Health.NONE
    with pytest.raises(ValueError, match="it takes default, clamp, ignore, stop"):
        ExchangeStatusSettings(components={"card": "explode"})


def test_trouble_counts_at_once_and_clears_after_three_healthy_readings() -> None:
    catalog = ready(status_asked=True)
    catalog.tell(page(indicator="critical"), later(1.0))
    assert catalog.snapshot.entries_closed
    assert "global incident" in catalog.snapshot.exchange_reason
    assert not catalog.snapshot.kill_wanted
    for number, closed in enumerate([True, True, False]):
        catalog.tell(page(), later(2.0 + number))
        assert catalog.snapshot.entries_closed == closed
    assert catalog.standing() == []


def test_an_unreachable_page_is_not_health() -> None:
    health = ExchangeHealth(ExchangeStatusSettings(), NOW.boot_s, asked=True)
    health.hear(page(indicator="critical"))
    for _ in range(10):
        health.hear(ExchangeStatus(reachable=False, read_boot_s=NOW.boot_s, error="timeout"))
    assert health.standing(NOW.boot_s).effect is Health.STOP


def test_a_page_silent_for_a_quarter_of_an_hour_clamps() -> None:
    catalog = ready(status_asked=True)
    catalog.tell(Woke("publish"), later(900.0))
    assert catalog.snapshot.size_multiplier == 1.0
    catalog.tell(Woke("publish"), later(901.0))
    assert (catalog.snapshot.size_multiplier, catalog.snapshot.entries_closed) == (0.5, False)


def test_a_global_incident_may_be_configured_to_want_a_kill() -> None:
    settings = CatalogSettings(exchange=ExchangeStatusSettings(on_global_incident="kill"))
    catalog = ready(settings=settings)
    catalog.tell(page(indicator="critical"))
    assert (catalog.snapshot.kill_wanted, catalog.snapshot.entries_closed) == (True, True)
    with pytest.raises(ValueError, match="reducing or kill"):
        ExchangeStatusSettings(on_global_incident="panic")
