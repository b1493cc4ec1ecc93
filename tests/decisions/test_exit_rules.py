"""When a position is left and at which limit: the pure functions of exits, each number at its edge."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.decisions.build import T0, D, at, book, position, product
from trading.exit_rules import Price, exit_limit, exit_style, price_reason, wait_after
from trading.exits_settings import ExitsSettings, UpkeepSettings
from trading.messages.book import Foreign
from trading.portfolio import purges

SETTINGS = ExitsSettings()


def price(bid: str, ask: str | None = None) -> Price:
    return Price(bid=D(bid), ask=D(ask or bid), exchange_s=T0, received_boot_s=at().boot_s)


@pytest.mark.parametrize(
    ("trailing", "stop", "mid", "reason"),
    [("5", "97", "96", "stop"), ("5", "103", "102", "trailing_stop"), (None, "103", "102", "stop")],
    ids=["before it was ever in profit", "above the entry", "raised by something else"],
)
def test_a_stop_is_a_trailing_one_only_above_the_entry(trailing, stop, mid, reason):
    """A stop-out cools a product for longest, whatever it is called; people read the name."""
    one = position(trailing_pct=None if trailing is None else D(trailing))
    found = price_reason(one, D(stop), price(mid))
    assert found is not None and found[0] == reason


@pytest.mark.parametrize(
    ("tries", "limit"),
    [(0, "99"), (1, "98"), (4, "95"), (5, "95"), (40, "95")],
    ids=["1 %", "2 %", "5 %", "no more", "ever"],
)
def test_each_try_gives_one_per_cent_more_and_never_more_than_five(tries, limit):
    assert exit_limit(price("100", "100.1"), "ioc", tries, product(), SETTINGS) == D(limit)


def test_a_limit_is_never_zero_and_without_metadata_it_has_the_digits_of_the_price():
    coarse = product(price_increment=D("0.01"))
    assert exit_limit(price("0.01", "0.02"), "ioc", 0, coarse, SETTINGS) == D("0.01")
    assert exit_limit(price("0.00012345", "0.00012346"), "ioc", 0, None, SETTINGS) == D("0.00012221")


@pytest.mark.parametrize(
    ("foreign", "mid", "style"),
    [("0.005", "100", "ioc"), ("0.02", "100", "gtd"), ("0.005", None, "gtd"), ("0", None, "ioc")],
    ids=["50 cents", "2 USD", "of unknown worth", "none"],
)
def test_dust_of_others_does_not_slow_an_exit_down(foreign, mid, style):
    beside = book(foreign=(Foreign(currency="BTC", size=D(foreign)), Foreign(currency="ETH", size=D(9))))
    assert exit_style(product(), position(), beside, mid and D(mid), SETTINGS.dust_usd) == style


@pytest.mark.parametrize(
    ("ended", "wait_s"),
    [
        (None, 0.0),
        ("canceled", 0.0),
        ("filled", 0.0),
        ("expired", 0.0),
        ("denied:killed", 2.0),
        ("not_placed:late", 2.0),
        ("rejected:INSUFFICIENT_FUND", 2.0),
        ("canceled:refused", 2.0),
    ],
)
def test_only_an_exit_that_never_worked_is_waited_for(ended, wait_s):
    assert wait_after(ended, 1, SETTINGS) == wait_s


def test_what_stays_ineligible_is_left_with_all_that_was_seen():
    seen = evolve(position(size="1"), seen_size=D(2))
    [one] = purges(book(positions=(seen,)), {"BTC-USD": D(100)}, {"BTC-USD": (1e6, "volume_low")}, UpkeepSettings())
    assert one.size == 2
