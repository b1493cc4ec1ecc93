"""Whatever an older copy of the book does not know: once the venue lists all orders, no coin of the owner is sold for it."""

from __future__ import annotations

import random
from copy import deepcopy

import pytest

from exchange.simulator.accounts import flat_fees
from exchange.simulator.execution import Settings
from exchange.simulator.matching import Venue
from exchange.simulator.products import make_product
from tests.oms.host import T0, D
from tests.oms.test_the_ledger_equals_the_venues import PRODUCTS, START_USD, Street, random_steps
from trading.messages.control import KillSnapshot

OWNERS = D(1)
FOUND = (1265, 1271, 1457, 1536, 1560, 1570)
"""Sold once more before their fills were listed, or set against a position before its purchase was booked."""


def street(cancel_s: float) -> Street:
    """The owner has a BTC, too. Orders are listed at once, fills four seconds late."""
    made = Street(settle_s=4.0, lag_s=0.0, cancel_s=cancel_s)
    made.venue = Venue(
        [make_product(p) for p in PRODUCTS],
        {"USD": START_USD, "BTC": OWNERS},
        flat_fees(40, 60),
        settings=Settings(settle_s=4.0, listing_lag_s=0.0, cancel_s=cancel_s),
        now_s=T0,
    )
    for product in PRODUCTS:
        made.quote(product)
    return made


def begin(made: Street) -> None:
    made.host.crash()
    made.host.tell(KillSnapshot(n=1, engaged=False))


def coins(made: Street) -> D:
    wallet = made.venue.wallets.by_currency["BTC"]
    return wallet.available + wallet.hold


@pytest.mark.parametrize("seed", [*FOUND, *range(20)])
def test_no_coin_of_the_owner_is_sold_for_what_an_older_copy_does_not_know(seed: int) -> None:
    chance = random.Random(seed)
    made = street(chance.choice([0.0, 1.0]))
    made.host.tell(KillSnapshot(n=1, engaged=False))
    made.run(1.0)
    copy, restored = None, False
    for number, (name, *args) in enumerate(s for s in random_steps(seed) if "ETH-USD" not in s):
        if copy is None and number > 6 and chance.random() < 0.3:
            copy = deepcopy(made.host.store)
        elif copy is not None and not restored and chance.random() < 0.15:
            restored = True
            made.host.store = copy
            begin(made)
            for _ in range(6):
                made.run(0.4)
                made.leave(0, 4)
        if name == "crash":
            begin(made)
            made.run(0.5)
        elif name == "lose":
            made.lose_next.append(args[0])
        else:
            getattr(made, name)(*args)
        assert coins(made) >= OWNERS
    made.come_to_rest()
    assert made.host.machine.desk.book.booked_by_currency().get("BTC", D(0)) <= coins(made) - OWNERS
