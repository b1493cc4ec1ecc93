"""Money is conserved to the last digit, whatever is asked in whatever order."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext

import pytest

from exchange.simulator.matching import Settings, Venue
from exchange.simulator.products import make_product, with_usdc_twin
from exchange.simulator.words import EXACT, ZERO, BadRequestError

PRODUCTS = ("BTC-USD", "DOGE-USD")
OPENING = {"USD": Decimal("10000.37"), "USDC": Decimal(500), "BTC": Decimal("0.25"), "DOGE": Decimal("12345.6")}


def venue_of(rng: random.Random) -> Venue:
    settings = Settings(
        pending_s=rng.choice([0.0, 0.0, 0.3]),
        cancel_s=rng.choice([0.0, 0.5]),
        match_size_max=rng.choice([None, None, Decimal("0.01")]),
    )
    products = [row for product_id in PRODUCTS for row in with_usdc_twin(make_product(product_id))]
    return Venue(products, OPENING, settings=settings, now_s=1000.0)


def judge(venue: Venue) -> None:
    """Recomputed from the opening balances and the fills alone, then compared with wallets, holds, street and fees."""
    with localcontext(EXACT):
        owned = dict(OPENING)
        fees: dict[str, Decimal] = {}
        for fill in venue.fill_list:
            base, _, quote = fill.product_id.partition("-")
            sign = 1 if fill.side == "BUY" else -1
            owned[base] = owned.get(base, ZERO) + sign * fill.size
            owned[quote] = owned.get(quote, ZERO) - sign * fill.price * fill.size - fill.commission
            fees[quote] = fees.get(quote, ZERO) + fill.commission
        holds: dict[str, Decimal] = {}
        for order in venue.orders.values():
            filled = venue.fills_by_order.get(order.order_id, [])
            assert order.filled_size == sum((fill.size for fill in filled), ZERO)
            assert order.filled_value == sum((fill.size * fill.price for fill in filled), ZERO)
            assert order.fees == sum((fill.commission for fill in filled), ZERO)
            assert (order.order_id in venue.open_orders) == (not order.terminal)
            if order.terminal:
                assert order.hold == 0
                assert order.resting_at is None
            holds[order.hold_currency] = holds.get(order.hold_currency, ZERO) + order.hold
            if order.base_size is not None:
                assert order.filled_size <= order.base_size
        for currency, wallet in venue.wallets.by_currency.items():
            assert wallet.total == owned.get(currency, ZERO), currency
            assert wallet.hold == holds.get(currency, ZERO), currency
            assert wallet.available >= 0, currency
            street = venue.wallets.street.get(currency, ZERO)
            fee = venue.wallets.fees.get(currency, ZERO)
            assert wallet.total + street + fee == OPENING.get(currency, ZERO), currency
            assert fee == fees.get(currency, ZERO)
    for book in venue.books.values():
        bid, ask = book.best("BUY"), book.best("SELL")
        resting = [order for order in venue.open_orders.values() if venue.books[order.product.book_id] is book]
        assert sum(level.count for side in (book.bids, book.asks) for level in side.levels.values()) == sum(
            order.resting_at is not None for order in resting
        )
        for side in (book.bids, book.asks):
            for level in side.levels.values():
                assert level.size == sum((o.leaves for g in level.groups for o in g.orders.values()), ZERO)
        own_bid, own_ask = book.bids.best(), book.asks.best()
        if own_bid and own_ask:
            assert own_bid.price < own_ask.price, "our own orders crossed"
        del bid, ask


class Player:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.venue = venue_of(self.rng)
        self.now = 1000.0
        self.mid = {"BTC-USD": 60_000.0, "DOGE-USD": 0.2}
        self.ids: list[str] = []
        self.n = 0

    def step(self) -> None:
        rng = self.rng
        self.now += rng.choice([0.0, 0.05, 0.2, 3.0])
        choice = rng.random()
        if choice < 0.35:
            self.quote(rng.choice(PRODUCTS))
        elif choice < 0.5:
            self.print(rng.choice(PRODUCTS))
        elif choice < 0.85:
            self.create()
        elif choice < 0.93 and self.ids:
            self.venue.cancel(rng.sample(self.ids, min(len(self.ids), 2)), self.now)
        elif self.ids:
            order = self.venue.orders[rng.choice(self.ids)]
            price, size = self.price(order.product.book_id), self.size(order.product.book_id)
            self.venue.edit({"order_id": order.order_id, "price": price, "size": size}, self.now)

    def tick(self, product: str) -> Decimal:
        return self.venue.products[product].price_increment

    def price(self, product: str) -> str:
        ticks = int(self.mid[product] * (1 + self.rng.gauss(0, 0.002)) / float(self.tick(product)))
        return format(ticks * self.tick(product), "f")

    def size(self, product: str) -> str:
        usd = self.rng.choice([0.5, 5, 50, 400, 3000])
        step = self.venue.products[product].base_increment
        return format(int(usd / self.mid[product] / float(step)) * step, "f")

    def quote(self, product: str) -> None:
        rng = self.rng
        self.mid[product] *= 1 + rng.gauss(0, 0.002)
        tick = self.tick(product)
        bid = int(self.mid[product] / float(tick)) * tick
        ask = bid + rng.randint(1, 5) * tick
        size = Decimal(self.size(product)) + Decimal("0.1")

        def depth():
            return (
                [(bid - i * tick, size * i) for i in range(1, 6)],
                [(ask + i * tick, size * i) for i in range(1, 6)],
            )

        shown_bid = bid if rng.random() < 0.97 else None
        self.venue.market_quote(product, shown_bid, ask, size, size, self.now, rng.choice([None, depth]))

    def print(self, product: str) -> None:
        price, size = Decimal(self.price(product)), Decimal(self.size(product)) + Decimal("0.1")
        self.venue.market_trade(product, price, size, self.rng.choice(["BUY", "SELL"]), self.now)

    def create(self) -> None:
        rng = self.rng
        product = rng.choice(["BTC-USD", "DOGE-USD", "DOGE-USD", "BTC-USDC"])
        book = self.venue.products[product].book_id
        side = rng.choice(["BUY", "SELL"])
        limit = {"base_size": self.size(book), "limit_price": self.price(book)}
        end = {"end_time": f"1970-01-01T00:{int(self.now // 60) + 1:02d}:30Z"}
        config = rng.choice(
            [
                {"limit_limit_gtc": limit | {"post_only": rng.random() < 0.5}},
                {"limit_limit_gtc": limit | {"post_only": False}},
                {"limit_limit_gtd": limit | end | {"post_only": rng.random() < 0.5}},
                {"sor_limit_ioc": limit},
                {"limit_limit_fok": limit},
                {"market_market_ioc": {"base_size": self.size(book)}},
                {"market_market_ioc": {"quote_size": rng.choice(["20", "333.33", "2500"])}},
                {
                    "stop_limit_stop_limit_gtc": limit
                    | {"stop_price": self.price(book), "stop_direction": "STOP_DIRECTION_STOP_UP"}
                },
                {"trigger_bracket_gtc": limit | {"stop_trigger_price": self.price(book)}},
            ]
        )
        self.n += 1
        body = {"client_order_id": f"c{self.n}", "product_id": product, "side": side, "order_configuration": config}
        self.venue.preview(body, self.now)
        try:
            answer = self.venue.create_order(body, self.now)
        except BadRequestError:  # the hour ran over in end_time
            return
        if answer["success"]:
            self.ids = [*self.ids[-40:], answer["success_response"]["order_id"]]


def play(seed: int, actions: int, every: int) -> Player:
    player = Player(seed)
    for n in range(actions):
        player.step()
        if n % every == 0:
            judge(player.venue)
    judge(player.venue)
    return player


@pytest.mark.parametrize("seed", range(4))
def test_money_is_conserved_to_the_last_digit_over_a_thousand_random_actions(seed):
    print("seed", seed)
    player = play(seed, 250, 5)
    assert len(player.venue.fill_list) > 10
    assert {order.status for order in player.venue.orders.values()} >= {"FILLED", "CANCELLED"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_money_is_conserved_over_a_hundred_thousand_random_actions(seed):
    print("seed", seed)
    play(seed, 2500, 100)


def test_the_same_actions_give_the_same_ids_and_fills():
    first, second = play(7, 200, 50).venue, play(7, 200, 50).venue
    assert list(first.orders) == list(second.orders)
    assert first.fill_list == second.fill_list
