"""A walk through everything the bot needs of the venue, read-only: every endpoint, both feeds, the status page.

`smoke(...)` returns a `SmokeReport` that a command prints: what answered and how fast, clock drift, the key's permissions,
fees, how late the last 20 fills were settled, and *what would stop trading*, each in a sentence. Without a key only the
public half is walked. `smoke_order` (another file) sends orders; nothing here does: the order preview is a question.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from exchange.coinbase import wire, wire_pages
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.exchange_health import Effect, ExchangeStatusSettings, judged
from exchange.coinbase.exchange_status import read_status_once
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.smoke_feeds import market_feed, user_feed
from exchange.coinbase.smoke_report import Check, SmokeReport
from exchange.coinbase.transport import Guard, Reply, VenueSession, boot_s
from trading.messages.orders import OrderBody, OrderStyle
from trading.product import Allows, allowance, set_flags
from trading.values import Side, account_tag, ceil_to_increment

__all__ = ["Check", "SmokeReport", "smoke"]

T = TypeVar("T")
REQUEST_S_MAX = 10.0
THROTTLED_S_MAX = 5.0
DRIFT_S_MAX = 0.15
FILLS_LOOKED_AT = 20


class _Walk:
    """One session, one question at a time; each becomes a Check."""

    def __init__(
        self,
        endpoints: Endpoints,
        key: ApiKey | None,
        report: SmokeReport,
        pace_s: float,
        told: Callable[[Check], None],
    ) -> None:
        self.key, self.report, self._pace_s, self._told = key, report, pace_s, told
        self._session = VenueSession(endpoints, key)
        self._guard = Guard()

    def close(self) -> None:
        self._guard.close()
        self._session.close()

    def note(self, check: Check) -> None:
        self.report.checks.append(check)
        self._told(check)

    def ask(
        self,
        name: str,
        path: str,
        read: Callable[[bytes], T],
        params: dict[str, Any] | None = None,
        *,
        private: bool = False,
        body: dict[str, Any] | None = None,
        describe: Callable[[Any], str] = lambda _answer: "",
    ) -> tuple[T | None, Reply | None]:
        """The answer as `read` believes it, or None; whatever happens, one Check."""
        area = "private" if private else "public"
        if private and self.key is None:
            self.note(Check(name=name, area=area, ok=None, text="no key"))
            return None, None
        method = "GET" if body is None else "POST"
        for _ in range(2):
            time.sleep(self._pace_s)
            deadline = boot_s() + REQUEST_S_MAX
            self._guard.watch(self._session, deadline)
            reply = self._session.send(method, path, params=params, body=body, deadline_boot_s=deadline)
            self._guard.forget(self._session)
            if reply.status != 429:
                break
            # Others use this address or key as well; being asked to wait once is no failure.
            time.sleep(min(reply.retry_after_s or 1.0, THROTTLED_S_MAX))
        latency_ms = None if reply.latency_s is None or reply.status is None else reply.latency_s * 1000.0
        answer: T | None = None
        if reply.status == 200:
            try:
                answer = read(reply.content)
                text, ok = describe(answer), True
            except wire.Unreadable as error:
                text, ok = f"unreadable: {error}", False
        elif reply.status is None:
            text, ok = reply.error, False
        else:
            text, ok = f"HTTP {reply.status}: {wire.shortened(wire.as_text(reply.content))}", False
        self.note(Check(name=name, area=area, ok=ok, text=text, latency_ms=latency_ms))
        return answer, reply


def _object(content: bytes) -> dict[str, Any]:
    return wire.read_json(content)


def _count(name: str) -> Callable[[bytes], int]:
    return lambda content: len(wire.rows(wire.read_json(content), name))


def smoke(
    endpoints: Endpoints,
    key: ApiKey | None,
    *,
    mode: str = "paper",
    products: Sequence[str] = ("BTC-USD",),
    venue_clock: Callable[[], float] = time.time,
    speed: float = 1.0,
    pace_s: float = 0.12,
    told: Callable[[Check], None] = lambda _check: None,
) -> SmokeReport:
    """The whole walk, about 10 to 20 s. venue_clock: this computer's idea of venue time; speed: venue seconds a real second;
    pace_s: between two requests, so that fewer than 10 a second leave whatever the latency.

    Nothing raises: what goes wrong is a Check that is not ok, and a stopper when trading would stop.
    """
    report = SmokeReport(venue=endpoints.rest, mode=mode)
    walk = _Walk(endpoints, key, report, pace_s, told)
    try:
        _clock(walk, venue_clock, speed)
        _public(walk, products)
        _private(walk, products)
    finally:
        walk.close()
    _status_page(endpoints, walk)
    market_feed(endpoints, products, report, walk.note, venue_clock, speed)
    if key is not None:
        user_feed(endpoints, key, report, walk.note, venue_clock)
    else:
        walk.note(Check(name="user feed", area="feed", ok=None, text="no key"))
    _what_stops(report, mode, products, key)
    return report


def _clock(walk: _Walk, venue_clock: Callable[[], float], speed: float) -> None:
    readings = []
    for _ in range(3):
        server_s, reply = walk.ask("time", "/time", wire_pages.server_time_s)
        now_s = venue_clock()
        if server_s is not None and reply is not None and reply.sent_boot_s is not None:
            late_s = boot_s() - (reply.sent_boot_s + reply.answered_boot_s) / 2.0
            readings.append((reply.answered_boot_s - reply.sent_boot_s, now_s - late_s * speed - server_s))
    if readings:
        # The quickest round trip bounds the error best: half of it.
        walk.report.round_trip_s, walk.report.drift_s = min(readings)


def _public(walk: _Walk, products: Sequence[str]) -> None:
    found, _ = walk.ask(
        "products",
        "/market/products",
        wire_pages.product_page,
        {"product_type": "SPOT", "product_ids": list(products)},
        describe=lambda page: f"{len(page[0].items)} readable of {page[1]}",
    )
    if found is not None:
        walk.report.products = {
            product.product_id: product for product in found[0].items if product.product_id in products
        }
    first, now_s = products[0], int(time.time())
    end = str(now_s)
    walk.ask("product", f"/market/products/{first}", wire_pages.product)
    walk.ask("product book", "/market/product_book", _object, {"product_id": first, "limit": "10"})
    walk.ask(
        "market trades",
        f"/market/products/{first}/ticker",
        _count("trades"),
        {"limit": "10"},
        describe=lambda n: f"{n} trades",
    )
    window = {"start": str(now_s - 86_400), "end": end, "granularity": "FIVE_MINUTE", "limit": 300}
    walk.ask(
        "candles",
        f"/market/products/{first}/candles",
        wire_pages.candles,
        window,
        describe=lambda rows: f"{len(rows)} candles",
    )


def _private(walk: _Walk, products: Sequence[str]) -> None:
    report, first = walk.report, products[0]
    report.account, _ = walk.ask(
        "key permissions",
        "/key_permissions",
        wire_pages.account,
        private=True,
        describe=lambda a: f"view {a.can_view}, trade {a.can_trade}, transfer {a.can_transfer}",
    )
    if report.account is not None:
        report.account_tag = account_tag(report.account.portfolio_uuid)
    walk.ask("portfolios", "/portfolios", _count("portfolios"), private=True, describe=lambda n: f"{n} portfolios")
    balances, _ = walk.ask("accounts", "/accounts", wire_pages.account_page, {"limit": 250}, private=True)
    if balances is not None:
        report.available = {row.currency: row.available for row in wire_pages.summed(tuple(balances.items))}
    walk.ask("products (private)", "/products", _count("products"), {"product_ids": list(products)}, private=True)
    walk.ask("best bid ask", "/best_bid_ask", wire_pages.best_bid_ask, {"product_ids": list(products)}, private=True)
    walk.ask("product book (private)", "/product_book", _object, {"product_id": first, "limit": "10"}, private=True)
    report.fees, _ = walk.ask(
        "fees",
        "/transaction_summary",
        wire_pages.fees,
        {"product_type": "SPOT"},
        private=True,
        describe=lambda f: f"{f.tier}: maker {f.maker_rate * 100:f} %, taker {f.taker_rate * 100:f} %",
    )
    for name, filters in (("open orders", {"order_status": ["OPEN"]}), ("all orders", {})):
        walk.ask(
            name,
            "/orders/historical/batch",
            wire_pages.order_page,
            {"limit": 50, **filters},
            private=True,
            describe=lambda page: f"{len(page.items)} on the first page",
        )
    settled, _ = walk.ask(
        "fills",
        "/orders/historical/fills",
        _settle_times,
        {"limit": FILLS_LOOKED_AT},
        private=True,
        describe=lambda found: f"{len(found)} looked at",
    )
    report.settle_s = settled or []
    product = report.products.get(first)
    if product is not None:
        # A limit one increment above zero can never fill, and a preview places nothing anyway.
        size = max(
            product.base_size_min,
            ceil_to_increment(product.quote_size_min / product.price_increment, product.base_increment),
        )
        body = OrderBody(
            product_id=first,
            side=Side.BUY,
            style=OrderStyle.LIMIT_GTC,
            base_size=size,
            limit_price=product.price_increment,
        )
        walk.ask("order preview", "/orders/preview", _object, private=True, body=wire.preview_request(body))


def _settle_times(content: bytes) -> list[float]:
    """Seconds from trade to settlement of each fill that tells both (`trade_time`, `sequence_timestamp`)."""
    found = []
    for row in wire.rows(wire.read_json(content), "fills")[:FILLS_LOOKED_AT]:
        traded_s, settled_s = wire.seconds(row, "trade_time"), wire.seconds(row, "sequence_timestamp")
        if traded_s is not None and settled_s is not None:
            found.append(max(0.0, settled_s - traded_s))
    return found


def _status_page(endpoints: Endpoints, walk: _Walk) -> None:
    if endpoints.status_url is None:
        walk.note(Check(name="status page", area="status", ok=None, text="this venue has none"))
        return
    begin = time.monotonic()
    status = read_status_once(endpoints.status_url, endpoints.ca_file)
    latency_ms = (time.monotonic() - begin) * 1000.0
    if not status.reachable:
        walk.note(Check(name="status page", area="status", ok=False, text=status.error))
        return
    standing = judged(status, ExchangeStatusSettings())
    text = "; ".join(standing.reasons) or f"{len(status.components)} components, indicator {status.indicator}"
    walk.note(
        Check(name="status page", area="status", ok=standing.effect is Effect.NONE, text=text, latency_ms=latency_ms)
    )
    if standing.effect >= Effect.STOP:
        walk.report.stoppers.append(f"the exchange's status stops entries: {text}")


def _what_stops(report: SmokeReport, mode: str, products: Sequence[str], key: ApiKey | None) -> None:
    stop = report.stoppers.append
    failed = [check for check in report.checks if check.ok is False and check.area in ("public", "private")]
    for check in failed:
        stop(f"{check.name} ({check.area}) fails: {check.text}")
    if report.drift_s is not None and report.round_trip_s is not None:
        bound_s = DRIFT_S_MAX + report.round_trip_s / 2.0
        if abs(report.drift_s) > bound_s:
            stop(
                f"this computer's clock is {report.drift_s:+.3f} s off the venue's (bound {bound_s:.3f} s); set it, by NTP for instance"
            )
    account = report.account
    if account is not None:
        if account.can_transfer:
            stop("the key can transfer money out; make one with view and trade only")
        if mode == "live" and not (account.can_trade and account.can_view):
            stop("the key may not view and trade; give it both permissions, and no other")
    elif mode == "live" and key is None:
        stop("live trading needs a key (COINBASE_API_KEY and COINBASE_API_SECRET, or a key file)")
    for product_id in products:
        product = report.products.get(product_id)
        allowed = allowance(product)
        if allowed.entry is Allows.NO:
            why = "the venue does not list it" if product is None else ", ".join(set_flags(product)) or product.status
            stop(f"{product_id} takes no entries: {why}")
    ages = report.quote_age_s
    if ages and statistics.median(ages) > 5.0:
        stop(f"quotes are {statistics.median(ages):.1f} s old when they arrive (median); entries need 5 s")
