"""Any sequence of venue events, in any order, with duplicates, losses and crashes, ends in the venue's own ledger, to the cent.

The venue is the simulator's matching engine, read through the real wire code; what stands between (the network and the
gateway) is a few lines here that lose, repeat, delay and reorder as hypothesis likes.
"""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exchange.coinbase.user_rows import read_order
from exchange.coinbase.wire import order_request
from exchange.coinbase.wire_pages import account_page, fill_page, order_page
from exchange.simulator.accounts import flat_fees
from exchange.simulator.execution import Filled, OrderChanged
from exchange.simulator.execution import Settings as VenueSettings
from exchange.simulator.matching import Venue
from exchange.simulator.products import make_product
from tests.oms.host import T0, D, Host, approved_for, exit_order
from trading.ledger import ADOPTED, EXTERNAL, Fill, fold
from trading.machine import Send
from trading.messages.book import Recovery
from trading.messages.control import KillSnapshot
from trading.messages.orders import (
    CancelOrders,
    Hello,
    HelloAck,
    OrderOutcome,
    OutcomeKind,
    Page,
    PlaceOrder,
    Query,
    QueryKind,
    Withdraw,
)
from trading.oms_settings import OmsSettings, OutcomeCooldowns
from trading.values import Side

PRODUCTS = ("BTC-USD", "ETH-USD")
PRICE = {"BTC-USD": D(60_000), "ETH-USD": D(3_000)}
NO_COOLDOWNS = OutcomeCooldowns(fill_s=0.0, win_s=0.0, loss_s=0.0, stop_s=0.0, failed_s=0.0)
START_USD = D(100_000)


class Street:
    """One venue, one order manager, and everything that is under way between them."""

    def __init__(self, *, settle_s: float, lag_s: float, cancel_s: float) -> None:
        self.venue = Venue(
            [make_product(p) for p in PRODUCTS],
            {"USD": START_USD},
            flat_fees(40, 60),
            settings=VenueSettings(settle_s=settle_s, listing_lag_s=lag_s, cancel_s=cancel_s),
            now_s=T0,
        )
        self.host = Host(settings=OmsSettings(cooldowns=NO_COOLDOWNS))
        self.prices = dict(PRICE)
        self.updates: list[Any] = []
        self.posted: dict[str, OrderOutcome] = {}
        self.lose_next: list[str] = []
        self.quiet = False
        self.n = 0
        for product in PRODUCTS:
            self.quote(product)

    @property
    def now_s(self) -> float:
        return self.host.now.venue_s

    def quote(self, product: str) -> None:
        bid = self.prices[product]
        self.venue.market_quote(product, bid, bid + D("0.02"), D(50), D(50), self.now_s)
        self.hear()

    def hear(self) -> None:
        for event in self.venue.events():
            if isinstance(event, OrderChanged):
                self.updates.append(read_order(event.order, event.at_s, self.host.boot_s, 1))
            else:
                assert isinstance(event, Filled)

    # -- the network and a gateway that posts each id once ---------------------------------------------------------

    def answer(self, send: Send) -> list[object]:
        if send.role != "gateway":
            return []
        fate = self.lose_next.pop() if self.lose_next and not self.quiet else ""
        match send.message:
            case Hello() as hello:
                return [HelloAck(oms_incarnation=hello.oms_incarnation, gateway_incarnation=(1, 50))]
            case Withdraw() as withdraw:
                return [self.posted.get(key, self._outcome(key, OutcomeKind.NOT_SENT)) for key, _ in withdraw.orders]
            case PlaceOrder() as place:
                told = self._post(place)
                if fate == "lose" and told.kind is OutcomeKind.ACCEPTED:
                    self.posted[place.client_order_id] = self._outcome(place.client_order_id, OutcomeKind.UNKNOWN)
                    return [self.posted[place.client_order_id]]
                return [told, told] if fate == "twice" else [told]
            case CancelOrders() as cancel:
                if fate != "lose":
                    self.venue.cancel(cancel.venue_order_ids, self.now_s)
                    self.hear()
                return []
            case Query() as query:
                if fate == "lose":
                    return [self._page(query, complete=False)]
                page = self._page(query)
                return [page, page] if fate == "twice" else [page]
        return []

    def _outcome(
        self, key: str, kind: OutcomeKind, venue_order_id: str | None = None, reason: str = ""
    ) -> OrderOutcome:
        return OrderOutcome(
            client_order_id=key, kind=kind, gateway_incarnation=(1, 50), venue_order_id=venue_order_id, reason=reason
        )

    def _post(self, place: PlaceOrder) -> OrderOutcome:
        key = place.client_order_id
        if key not in self.posted:
            answer = self.venue.create_order(order_request(key, place.body), self.now_s)
            self.hear()
            if answer["success"]:
                self.posted[key] = self._outcome(key, OutcomeKind.ACCEPTED, answer["success_response"]["order_id"])
            else:
                self.posted[key] = self._outcome(key, OutcomeKind.REJECTED, reason=answer["error_response"]["error"])
        return self.posted[key]

    def _page(self, query: Query, *, complete: bool = True) -> Page:
        self.venue.advance(self.now_s)
        items: tuple[Any, ...] = ()
        if query.kind is QueryKind.BALANCES:
            items = account_page(json.dumps(self.venue.accounts(limit=250))).items
        elif query.kind is QueryKind.FILLS:
            filters = {"order_ids": list(query.venue_order_ids), "limit": ["1000"]}
            items = fill_page(json.dumps(self.venue.fills(filters, self.now_s))).items
        elif query.kind in (QueryKind.ORDERS, QueryKind.ORDER):
            listed = order_page(json.dumps(self.venue.list_orders({"limit": ["1000"]}, self.now_s))).items
            wanted = query.venue_order_ids
            items = tuple(o for o in listed if not wanted or o.venue_order_id in wanted)
        self.hear()
        return Page(
            query_id=query.query_id,
            kind=query.kind,
            complete=complete,
            items=items if complete else items[: len(items) // 2],
            asked_boot_s=self.host.boot_s,
        )

    # -- steps -----------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Time passes, answered; the venue's own timers too."""
        end = self.host.boot_s + seconds
        while self.host.boot_s < end:
            self.host.run(min(0.25, end - self.host.boot_s), answer=self.answer)
            self.venue.advance(self.now_s)
            self.hear()

    def propose(self, product: str, size: int, offset: int, post_only: bool) -> None:
        self.n += 1
        price = self.prices[product] + D(offset) / 100 if not post_only else self.prices[product]
        base = {"BTC-USD": D("0.01"), "ETH-USD": D("0.2")}[product] * size
        approval = approved_for(
            self.host,
            n=self.n,
            product=product,
            size=str(base),
            price=str(price),
            post_only=post_only,
            caps_usd="1000000",
        )
        self.host.tell(approval)
        self.run(0.05)

    def print(self, product: str, cents: int, size: int, side: str) -> None:
        self.prices[product] += D(cents) / 100
        base = {"BTC-USD": D("0.007"), "ETH-USD": D("0.13")}[product] * size
        self.venue.market_trade(product, self.prices[product], base, side, self.now_s)
        self.hear()
        self.quote(product)

    def leave(self, which: int, part: int) -> None:
        held = [p for p in self.host.book.positions if p.seen_size > 0]
        if not held:
            return
        one = held[which % len(held)]
        size = (one.seen_size * part / 4).quantize(D("0.00000001"))
        if size > 0:
            bid = self.prices[one.product_id] - 5
            self.host.tell(exit_order(self.host, one.position_id, str(size), str(bid), n=one.exit_n, reason="target"))
            self.run(0.05)

    def deliver(self, which: int, times: int) -> None:
        if self.updates:
            update = self.updates[which % len(self.updates)]
            for _ in range(times):
                self.host.tell(update)

    def come_to_rest(self) -> None:
        """All is told, also once more what was told before; nothing is lost any more."""
        self.quiet = True
        self.lose_next = []
        for update in [*self.updates, *reversed(self.updates)]:
            self.host.tell(update)
        book = self.host.machine.desk.book
        end = self.host.boot_s + 330.0
        while self.host.boot_s < end and (book.working or book.unbooked):
            self.run(5.0)
        self.run(40.0)  # one more pass


def random_steps(seed: int) -> list[tuple[Any, ...]]:
    """40 steps of a lively account: mostly trades, some trouble."""
    chance = random.Random(seed)
    products = PRODUCTS if chance.random() < 0.5 else PRODUCTS[:1]

    def one() -> tuple[Any, ...]:
        product = chance.choice(products)
        side = chance.choice(["BUY", "BUY", "SELL"])
        match chance.choices(range(8), weights=[6, 5, 4, 6, 6, 2, 2, 1])[0]:
            case 0:
                return ("propose", product, chance.randint(1, 4), chance.randint(2, 6), chance.random() < 0.5)
            case 1:
                return ("print", product, chance.randint(-300, 300), chance.randint(1, 5), side)
            case 2:
                return ("leave", chance.randint(0, 3), chance.randint(1, 4))
            case 3:
                return ("run", chance.choice([0.3, 1.0, 2.0, 7.0]))
            case 4:
                return ("deliver", chance.randint(0, 50), chance.randint(1, 2))
            case 5:
                return ("lose", chance.choice(["lose", "twice"]))
            case 6:
                return ("run", chance.choice([0.1, 30.0]))
        return ("crash",)

    return [one() for _ in range(40)]


LIFE = [
    ("propose", "BTC-USD", 2, 0, True),
    ("print", "BTC-USD", -100, 1, "BUY"),
    ("deliver", 3, 2),
    ("crash",),
    ("run", 1.0),
    ("lose", "lose"),
    ("leave", 0, 2),
    ("run", 7.0),
]


@given(
    steps=st.integers(0, 10**9).map(random_steps),
    settle_s=st.sampled_from([0.0, 0.5, 4.0]),
    lag_s=st.sampled_from([0.0, 3.0, 20.0]),
    cancel_s=st.sampled_from([0.0, 1.0]),
)
@example(steps=random_steps(752), settle_s=4.0, lag_s=20.0, cancel_s=0.0)  # a lost exit sold another position's coins
@example(steps=random_steps(918172742), settle_s=0.0, lag_s=20.0, cancel_s=0.0)  # ... while a purchase hid the drop
@example(steps=LIFE, settle_s=4.0, lag_s=3.0, cancel_s=1.0)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_of_events_ends_in_the_venues_own_ledger_to_the_cent(
    steps: list[tuple[Any, ...]], settle_s: float, lag_s: float, cancel_s: float
) -> None:
    street = Street(settle_s=settle_s, lag_s=lag_s, cancel_s=cancel_s)
    street.host.tell(KillSnapshot(n=1, engaged=False))
    street.run(1.0)
    assert street.host.book.recovery is Recovery.RECONCILED
    for name, *args in steps:
        if name == "crash":
            street.host.crash()
            street.host.tell(KillSnapshot(n=1, engaged=False))
            street.run(0.5)
        elif name == "lose":
            street.lose_next.append(args[0])
        else:
            getattr(street, name)(*args)
    street.come_to_rest()

    host, venue = street.host, street.venue
    book = host.machine.desk.book
    assert not book.working and not book.unbooked, [o for o in book.orders.values() if not o.status.terminal]
    by_hand = [f for f in book.fills.values() if f.kind in (ADOPTED, EXTERNAL)]
    assert {f"{f.entry_id}:{f.trade_id}" for f in venue.fill_list} == set(book.fills) - {f.key for f in by_hand}
    assert sum((f.signed_size for f in by_hand), D(0)) == 0, "coins move between our own positions only"
    wallets = venue.wallets.by_currency
    assert START_USD + book.meta.cash_usd == wallets["USD"].available + wallets["USD"].hold
    held = book.booked_by_currency()
    for product in PRODUCTS:
        currency = product.partition("-")[0]
        wallet = wallets.get(currency)
        assert held.get(currency, D(0)) == (wallet.available + wallet.hold if wallet else D(0))
    realised = sum((c.realised_usd for c in book.closes.values()), D(0))
    invested = sum((p.cost_usd + p.fees_usd for p in book.positions.values()), D(0))
    assert abs(realised - invested - book.meta.cash_usd) < D("1e-15")
    assert host.book.drift_usd == 0 and host.book.flows_usd == 0
    assert sum(1 for o in venue.orders.values()) == len({o.client_order_id for o in venue.orders.values()})


# -- the fold itself -------------------------------------------------------------------------------------------------


PLAIN = st.just("FILL")


def fills(kinds: st.SearchStrategy[str] = PLAIN) -> st.SearchStrategy[list[Fill]]:
    def build(rows: list[tuple[bool, int, int, int, str]]) -> list[Fill]:
        made = []
        for number, (buys, size, price, at_s, kind) in enumerate(rows):
            made.append(
                Fill(
                    key=f"e{number}:t",
                    entry_id=f"e{number}",
                    trade_id="t",
                    venue_order_id="v",
                    client_order_id="c",
                    position_id="p",
                    product_id="BTC-USD",
                    side=Side.BUY if buys else Side.SELL,
                    price=D(price) / 100,
                    base_size=D(size) / 1000,
                    fee_usd=D(size * price) / 10_000_000,
                    liquidity="MAKER",
                    kind=kind,
                    at_s=float(at_s),
                )
            )
        return made

    row = st.tuples(st.booleans(), st.integers(1, 5000), st.integers(100, 9_000_000), st.integers(0, 6), kinds)
    return st.lists(row, max_size=12).map(build)


@given(made=fills(st.sampled_from(["FILL", "FILL", "FILL", "REVERSAL", "CORRECTION"])), data=st.data())
@settings(max_examples=300, deadline=None)
def test_the_books_do_not_depend_on_the_order_or_number_of_tellings(made: list[Fill], data: st.DataObject) -> None:
    assert fold(data.draw(st.permutations([*made, *made[::2]]))) == fold(made)


@given(made=fills())
@settings(max_examples=300, deadline=None)
def test_realised_less_what_is_still_invested_is_the_cash_that_moved(made: list[Fill]) -> None:
    books = fold(made)
    cash = sum((f.cash_usd for f in made), D(0))
    size = sum((f.signed_size for f in made), D(0))
    assert books.size == size
    if books.short_size == 0:
        assert abs(books.realised_usd - books.cost_usd - books.fees_usd - cash) < D("1e-12")
        assert sum((lot.left_size for lot in books.lots), D(0)) == size
    assert books.realised_usd == sum((c.realised_usd for c in books.closes), Decimal(0))
