"""Fees, the exit rule, rows, settling: pure functions with their edges."""

from __future__ import annotations

from decimal import Decimal

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from tests.oms.host import D
from tests.oms.test_order_states import order
from trading.fees import (
    estimate_fee,
    min_gross_size,
    rate_to_assume,
    sellable_size,
    size_after_fees,
    size_to_achieve_net,
)
from trading.machine import Instant
from trading.messages.orders import OrderStyle
from trading.oms_rows import TABLES, CommandRow, Flow, Position
from trading.orders import Intent, Order
from trading.product import Product
from trading.protections import Protections
from trading.reduces_only import Holdings, StandingExit, counts, reducible_size, too_many_unknown
from trading.rows import from_row, to_row
from trading.settle import Inquiry, SettleSettings, after_reboot, ask_at, dead, end_time_s
from trading.values import is_multiple

BTC = Product(
    product_id="BTC-USD",
    base_currency="BTC",
    quote_currency="USD",
    price_increment=D("0.01"),
    base_increment=D("0.00000001"),
    quote_increment=D("0.01"),
    base_size_min=D("0.0001"),
    base_size_max=D(100),
    quote_size_min=D(1),
    quote_size_max=D(1_000_000),
)
RATES = st.decimals(min_value="0", max_value="0.02", places=4)


@given(rate=RATES, price=st.decimals(min_value="0.5", max_value="200000", places=2))
def test_the_least_order_is_still_above_both_minima_after_its_fee(rate: Decimal, price: Decimal) -> None:
    size = min_gross_size(BTC, price, rate)
    assert is_multiple(size, BTC.base_increment)
    assert size * (1 - rate) >= BTC.base_size_min
    assert size * (1 - rate) * price >= BTC.quote_size_min
    assert sellable_size(BTC, size, price, rate) == size
    less = size - 2 * BTC.base_increment
    assert less * (1 - rate) < BTC.base_size_min or less * (1 - rate) * price < BTC.quote_size_min


@given(net=st.decimals(min_value="0.01", max_value="100000", places=2), rate=RATES)
def test_what_is_asked_to_be_left_after_the_fee_is_left(net: Decimal, rate: Decimal) -> None:
    gross = size_to_achieve_net(net, rate, D("0.01"))
    assert size_after_fees(gross, rate, D("0.01")) >= net
    assert size_after_fees(gross - D("0.02"), rate, D("0.01")) < net


def test_a_fee_is_estimated_to_our_cost_with_the_higher_rate() -> None:
    assert estimate_fee(D("100.01"), D("0.006")) == D("0.61")
    assert rate_to_assume(D("0.004"), D("0.006")) == D("0.006")
    assert rate_to_assume(D("0.004"), None) == D("0.004")
    with pytest.raises(ValueError, match=r"60 bps is 0\.006"):
        estimate_fee(D(1), D(60))


def test_what_is_worth_less_than_the_minimum_after_fee_is_dust() -> None:
    assert sellable_size(BTC, D("0.00009999"), D(100_000), D(0)) == 0
    assert sellable_size(BTC, D("0.0001"), D(10_000), D("0.006")) == 0  # worth 1.00, 0.994 after its fee
    assert sellable_size(BTC, D("0.000100619"), D(10_000), D("0.006")) == D("0.00010061")


# -- reduces_only ----------------------------------------------------------------------------------------------------


def standing(leaves: str = "1", unknown: float | None = None, **kwargs: object) -> StandingExit:
    return StandingExit(
        leaves_size=D(leaves),
        unknown_since_boot_s=unknown,
        made_boot_s=0.0,
        rests=bool(kwargs.pop("rests", False)),
        balance_before=kwargs.pop("balance_before", D(3)),  # type: ignore[arg-type]
        alone=bool(kwargs.pop("alone", True)),
        **kwargs,  # type: ignore[arg-type]
    )


OURS = Holdings(foreign_is_dust=True, total=D(3), asked_boot_s=50.0)
THEIRS = Holdings(foreign_is_dust=False, total=D(3), asked_boot_s=50.0)


def test_an_exit_never_sells_more_than_what_no_other_exit_sells() -> None:
    assert reducible_size(D(3), [standing("1"), standing("0.5")], OURS, 10.0) == D("1.5")
    assert reducible_size(D(1), [standing("2")], OURS, 10.0) == 0


@pytest.mark.parametrize(("at", "counts_"), [(4.99, True), (5.0, False)])
def test_an_unknown_exit_stops_counting_after_five_seconds_when_all_coins_are_ours(at: float, counts_: bool) -> None:
    assert counts(standing(unknown=0.0), OURS, at) is counts_
    assert counts(standing(unknown=0.0, balance_before=None), OURS, 1e9), "no page older than the exit, no such right"
    assert counts(standing(unknown=0.0), None, 1e9)
    assert counts(standing(unknown=0.0, alone=False), OURS, 1e9), (
        "what it may have sold unseen makes the owner's look like ours"
    )


def test_beside_coins_of_others_it_counts_until_it_is_dead_absent_and_the_balance_has_not_dropped() -> None:
    assert counts(standing(unknown=0.0), THEIRS, 1e9), "an IOC has no death that a listing could show"
    assert counts(standing(unknown=0.0, rests=True), THEIRS, 1e9)
    assert not counts(standing(unknown=0.0, rests=True, absent_after_death_boot_s=40.0), THEIRS, 60.0)
    assert counts(standing(unknown=0.0, rests=True, absent_after_death_boot_s=55.0), THEIRS, 60.0), "that page is older"
    risen = Holdings(foreign_is_dust=False, total=D("3.1"), asked_boot_s=50.0)
    assert counts(standing(unknown=0.0, rests=True, absent_after_death_boot_s=40.0), risen, 60.0), (
        "a deposit hides a drop"
    )
    dropped = Holdings(foreign_is_dust=False, total=D("2.9"), asked_boot_s=50.0)
    assert counts(standing(unknown=0.0, rests=True, absent_after_death_boot_s=40.0), dropped, 60.0)


def test_a_fourth_unknown_exit_waits_for_an_answered_ask() -> None:
    three = [standing(unknown=0.0) for _ in range(3)]
    assert not too_many_unknown(three[:2])
    assert too_many_unknown(three)
    assert not too_many_unknown([*three[:2], standing(unknown=0.0, asked_boot_s=1.0)])


# -- settling --------------------------------------------------------------------------------------------------------

RULES = SettleSettings()


def test_it_is_asked_at_0_3_1_3_10_and_then_every_ten_seconds() -> None:
    assert [ask_at(100.0, n) for n in range(7)] == [100.3, 101.0, 103.0, 110.0, 120.0, 130.0, 140.0]


@pytest.mark.parametrize(("ttl", "speed", "end"), [(20, 1.0, 1_050), (0.5, 1.0, 1_031), (20, 60.0, 1_120)])
def test_good_till_date_is_time_to_live_and_margin_up_to_the_second(ttl: float, speed: float, end: int) -> None:
    assert end_time_s(1_000.0, ttl, speed, RULES) == end
    assert end_time_s(1_000.6, ttl, speed, RULES) == end + 1


def at(boot_s: float, venue_s: float = 0.0, *, trusted: bool = True) -> Instant:
    return Instant(venue_s, trusted, boot_s)


def test_the_horizon_of_what_may_rest_is_venue_time_and_needs_a_trusted_clock() -> None:
    intent = order().intent  # end_time 100
    assert not dead(intent, at(0.0, 104.9), RULES)
    assert dead(intent, at(0.0, 105.0), RULES)
    assert not dead(intent, at(0.0, 1e9, trusted=False), RULES)
    assert not dead(intent, at(0.0, 134.0), RULES, extra_s=30.0)


def ioc() -> Intent:
    return from_row(Intent, {**to_row(order().intent), "style": OrderStyle.LIMIT_IOC.value, "end_time_s": None})


def test_the_horizon_of_an_ioc_is_its_last_requests_death_and_starts_anew_after_a_reboot() -> None:
    assert not dead(ioc(), at(181.9), RULES)
    assert dead(ioc(), at(182.0), RULES)
    assert after_reboot(182.0, 0.0, at(50.0)) == 182.0
    assert after_reboot(9_180.0, 9_000.0, at(10.0)) == 190.0


def test_two_absent_asks_count_only_when_made_after_the_horizon_and_five_seconds_apart() -> None:
    inquiry = Inquiry(kind="orders", since_boot_s=0.0)

    def ask(when: float) -> bool:
        inquiry.ask("q", at(when))
        inquiry.answered(ioc(), absent=True, now=at(when + 1.0), settings=RULES)
        return inquiry.proved_absent(RULES)

    assert not ask(181.0), "answered after the horizon, made before"
    assert not ask(211.9), "the listing may lag"
    assert not ask(212.0)
    assert not ask(216.9), "too soon after the other"
    assert ask(217.0)


def test_a_sighting_between_two_absent_asks_begins_the_proof_anew() -> None:
    inquiry = Inquiry(kind="orders", since_boot_s=0.0)
    for when, absent in ((300.0, True), (306.0, False), (312.0, True)):
        inquiry.ask("q", at(when))
        inquiry.answered(ioc(), absent=absent, now=at(when), settings=RULES)
    assert not inquiry.proved_absent(RULES)


# -- rows ------------------------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back_as_it_was() -> None:
    intent = order().intent
    assert from_row(Intent, to_row(intent)) == intent
    one = order(filled="1.50")
    assert from_row(Order, to_row(one, skip=("intent",)), intent=intent) == one
    position = Position(position_id="p", product_id="BTC-USD", strategy="s", opened_s=1.5, trailing_pct=D("2.5"))
    assert from_row(Position, to_row(position)) == position
    flow = Flow(flow_id="f", currency="USD", size=D("-1E+2"), usd=D("-100"), kind="withdrawal", cause="c", at_s=1.0)
    assert to_row(flow)["size"] == "-100"
    command = CommandRow(command_id="c", verb="ban", name="n", cause="c", args="", ok=True, text="t", at_s=1.0)
    assert from_row(CommandRow, {**to_row(command), "ok": 1}) == command


def test_a_column_that_was_added_later_reads_as_its_default() -> None:
    row = to_row(Position(position_id="p", product_id="BTC-USD", strategy="s", opened_s=1.5))
    old = {name: None if name in ("peak_price", "exit_n", "closed_s") else cell for name, cell in row.items()}
    assert from_row(Position, old) == from_row(Position, row)


def test_a_row_that_cannot_be_read_says_which_cell() -> None:
    with pytest.raises(ValueError, match=r"Intent\.base_size is 'many' in its row"):
        from_row(Intent, {**to_row(order().intent), "base_size": "many"})
    with pytest.raises(ValueError, match=r"Intent\.saved_s is empty in its row"):
        from_row(Intent, {**to_row(order().intent), "saved_s": None})

    @frozen
    class Deep:
        inner: tuple[str, ...]

    with pytest.raises(TypeError, match=r"Deep\.inner"):
        to_row(Deep(("a",)))


def test_every_row_that_is_saved_has_exactly_the_columns_that_its_table_declares() -> None:
    from tests.oms.host import Host, exit_order

    host = Host().active()
    host.bought("1", "100")
    host.tell(exit_order(host, host.book.positions[0].position_id))
    for table in TABLES:
        for key, row in host.store.rows(table.name).items():
            assert set(row) - {"live"} == set(table.columns), (table.name, key)


def test_an_unknown_protection_is_refused_by_name() -> None:
    assert not Protections().without("horizon").horizon
    with pytest.raises(ValueError, match="'horizn' is not a protection; there are save_then_send"):
        Protections().without("horizn")
