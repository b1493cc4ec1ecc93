"""Upkeep of what the bot owns: trimmed above a cap, worst first, once; dust and small change left alone."""

from __future__ import annotations

import pytest

from tests.decisions.build import D, book, position
from trading.exits_settings import UpkeepSettings
from trading.messages.book import Foreign
from trading.portfolio import purges, trims
from trading.risk_settings import CapSettings

NAV = D(10_000)
NAMES = ("BTC", "ETH", "SOL", "DOGE", "LINK", "XRP", "UNI")
MARKS = {f"{name}-USD": D(100) for name in NAMES}


def trimmed(*positions, caps: CapSettings | None = None, marks=None, **changes) -> dict[str, float]:
    """Product -> USD that is to be sold."""
    marks = MARKS if marks is None else marks
    found = trims(book(positions=positions), marks, NAV, caps or CapSettings(), UpkeepSettings(**changes))
    return {one.position_id.removeprefix("pos-"): float(one.size * 100) for one in found}


@pytest.mark.parametrize(("size", "sold"), [("4", {}), ("4.25", {}), ("4.26", {"BTC-USD": 66.0})])
def test_a_quarter_of_a_per_cent_above_the_cap_is_tolerated_and_more_is_sold_to_nine_tenths(size, sold):
    assert trimmed(position("BTC-USD", size)) == sold


def test_above_the_total_the_worst_position_goes_first():
    """Seven of 380 USD are 2,660 against 2,525; down to 2,250: 410 USD, all of the worst and 30 of the next."""
    prices = {"ETH": "130", "SOL": "115"}
    held = [position(f"{name}-USD", "3.8", price=prices.get(name, "90")) for name in NAMES]
    assert trimmed(*held) == {"ETH-USD": 380.0, "SOL-USD": 30.0}


def test_what_is_sold_for_its_own_cap_counts_towards_the_total():
    caps = CapSettings(total_pct=D(8))
    assert trimmed(position("BTC-USD", "6"), position("ETH-USD", "3"), caps=caps) == {"BTC-USD": 240.0}


def test_what_is_on_its_way_out_counts_as_sold():
    assert trimmed(position("BTC-USD", "6", exits_open_size=D(2))) == {}


def test_a_part_below_five_dollars_is_not_worth_an_order():
    small = position("BTC-USD", "0.04", price="200", position_id="pos-small")
    assert trimmed(small, position("BTC-USD", "4.4")) == {"BTC-USD": 84.0}


def test_five_orders_are_the_most_of_a_round():
    held = [position(f"{name}-USD", "6") for name in NAMES]
    assert len(trimmed(*held)) == 5
    assert len(trimmed(*held, trim_orders_max=7)) == 7


def test_nothing_is_trimmed_while_anything_held_has_no_price_and_dust_needs_none():
    held = position("BTC-USD", "6")
    assert trimmed(held, position("ETH-USD", "1"), marks={"BTC-USD": D(100)}) == {}
    dust = position("ETH-USD", "0.001", dust=True)
    assert trimmed(held, dust, marks={"BTC-USD": D(100)}) == {"BTC-USD": 240.0}


def test_foreign_coins_are_neither_counted_nor_sold():
    foreign = (Foreign(currency="BTC", size=D(50)), Foreign(currency="ETH", size=D(900)))
    held = book(positions=(position("BTC-USD", "3"),), foreign=foreign)
    assert trims(held, MARKS, NAV, CapSettings(), UpkeepSettings()) == ()
    gone = {"BTC-USD": (1e6, "volume_low"), "ETH-USD": (1e6, "volume_low")}
    (one,) = purges(held, MARKS, gone, UpkeepSettings())
    assert (one.position_id, one.size) == ("pos-BTC-USD", D(3))


def test_two_of_what_stays_ineligible_go_in_a_round_and_small_change_stays():
    held = book(
        positions=(
            position("XRP-USD", "0.04"),
            position("UNI-USD", "1", exits_open_size=D(1)),
            *(position(f"{name}-USD", "1") for name in ("BTC", "ETH", "SOL")),
        )
    )
    gone = {f"{name}-USD": (30_000.0, "volume_low") for name in NAMES} | {"BTC-USD": (100.0, "spread_wide")}
    found = purges(held, MARKS, gone, UpkeepSettings(purge_orders_max=5))
    assert [one.position_id for one in found] == ["pos-ETH-USD", "pos-SOL-USD"]
    assert len(purges(held, MARKS, gone | {"BTC-USD": (30_000.0, "")}, UpkeepSettings())) == 2
