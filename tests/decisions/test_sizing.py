"""Sizing: monotone in every limit, inside all of them, fee-aware; caps at worst case; dead zones."""

from __future__ import annotations

from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decisions.build import D, book, entry_order, position, product
from trading.caps import check_caps, exposures, room_usd, worst_usd
from trading.dead_zones import dead_zones
from trading.denied import Denied
from trading.messages.book import Foreign
from trading.messages.decisions import CapNumbers
from trading.risk_settings import CapSettings, RiskSettings
from trading.sizing import Sized, SizingInputs, SizingSettings, size, wish_usd
from trading.strategies.registry import StrategySettings
from trading.tiers import default_themes, default_tiers
from trading.values import ZERO, is_multiple


def inputs(**changes) -> SizingInputs:
    made = SizingInputs(
        nav_usd=D(10_000),
        base_pct=D(3),
        size_factor=D(1),
        multiplier=D("0.8"),
        conviction=D("0.6"),
        stop_pct=D(6),
        volatility_pct=D(50),
        notional_usd_max=D(10_000),
        room_usd=D(400),
        available_usd=D(9_000),
        depth_usd=D(500_000),
        limit_price=D(100),
        mark=D(100),
        fee_rate=D("0.006"),
        product=product(),
    )
    return evolve(made, **changes)


def base_of(found: Sized | Denied) -> Decimal:
    return found.base_size if isinstance(found, Sized) else ZERO


def test_the_size_is_tier_times_factors_times_conviction():
    found = size(inputs(), SizingSettings())
    assert found.notional_usd == D("144")
    assert found.binding == "tier_base"


@pytest.mark.parametrize(
    ("change", "binding"),
    [
        ({"room_usd": D(50)}, "caps"),
        ({"available_usd": D(50)}, "available_balance"),
        ({"depth_usd": D(500)}, "depth"),
        ({"notional_usd_max": D(50)}, "proposal"),
        ({"stop_pct": D(80)}, "risk_per_trade"),
        ({"volatility_pct": D(100)}, "volatility"),
        ({"product": product(base_size_max=D("0.5"))}, "base_size_max"),
    ],
)
def test_the_binding_limit_is_named(change, binding):
    assert size(inputs(**change), SizingSettings()).binding == binding


def test_below_a_volatility_of_ten_the_risk_per_trade_rises_no_further():
    tight = SizingSettings(risk_per_trade_pct=D("0.01"), order_usd_min=D(1))
    sizes = [size(inputs(volatility_pct=D(one)), tight).notional_usd for one in (50, 10, 2)]
    assert sizes[1] > 4 * sizes[0]
    assert sizes[2] == sizes[1]


@pytest.mark.parametrize(
    ("volatility", "usd"),
    [(5, 144), (50, 144), (60, 120), (100, 72), (200, 36)],
    ids=["calm", "at the reference", "a little more", "twice", "the most that is measured"],
)
def test_a_wild_product_gets_a_smaller_order_with_the_shipped_settings_and_a_calm_one_no_larger(volatility, usd):
    assert size(inputs(volatility_pct=D(volatility)), SizingSettings()).notional_usd == D(usd)


def test_no_order_is_larger_than_the_largest_order():
    assert size(inputs(), SizingSettings(order_usd_max=D(50))).notional_usd == D(50)


def test_caps_and_balance_are_for_size_and_fee_together():
    found = size(inputs(room_usd=D("100.6"), available_usd=D("100.6")), SizingSettings())
    assert found.base_size == D(1)
    assert worst_usd(found.base_size, D(100), D(100), D("0.006")) == D("100.600")


def test_a_mark_above_the_limit_is_the_worst_case():
    assert size(inputs(room_usd=D("100.6"), mark=D(200)), SizingSettings()).base_size == D("0.5")


def test_a_small_wish_is_raised_to_the_minimum_only_where_every_limit_takes_it():
    small = inputs(nav_usd=D(100))
    assert size(small, SizingSettings()).binding == "bumped_to_min"
    assert size(small, SizingSettings()).notional_usd >= D("5.03")
    assert size(small, SizingSettings(bump_to_min=False)).code == "position_size_too_small"
    assert size(evolve(small, room_usd=D(4)), SizingSettings()).code == "below_min_after_caps"
    assert size(evolve(small, room_usd=D(0)), SizingSettings()).code == "no_capacity"


def test_the_venues_own_smallest_and_largest_orders_bind():
    coarse = evolve(inputs().product, base_size_min=D("0.2"))
    small = size(inputs(nav_usd=D(100), product=coarse), SizingSettings())
    assert small.notional_usd >= D(20) / (1 - D("0.006")), "0.2 at 100, after fee"
    narrow = evolve(inputs().product, quote_size_max=D(50))
    assert size(inputs(product=narrow), SizingSettings()).notional_usd == D(50)


def test_a_zero_multiplier_sizes_nothing():
    assert size(inputs(multiplier=ZERO), SizingSettings()).code == "non_positive_request"


money = st.decimals(min_value=0, max_value=100_000, places=2)
positive = st.decimals(min_value=D("0.01"), max_value=100_000, places=2)
share = st.decimals(min_value=D("0.01"), max_value=1, places=4)

drawn = st.builds(
    inputs,
    nav_usd=positive,
    base_pct=st.decimals(min_value=D("0.1"), max_value=10, places=2),
    size_factor=share,
    multiplier=st.sampled_from([D("0.5"), D("0.8"), D("1.2")]),
    conviction=share,
    stop_pct=st.decimals(min_value=1, max_value=20, places=1),
    volatility_pct=st.decimals(min_value=1, max_value=200, places=1),
    notional_usd_max=money,
    room_usd=money,
    available_usd=money,
    depth_usd=money,
    limit_price=positive,
    mark=positive,
    product=st.builds(
        product,
        base_increment=st.sampled_from([D("0.00000001"), D("0.001"), D(1)]),
        quote_size_min=st.sampled_from([D(1), D(10)]),
    ),
)
RAISED = (
    "nav_usd",
    "base_pct",
    "size_factor",
    "conviction",
    "notional_usd_max",
    "room_usd",
    "available_usd",
    "depth_usd",
)


def monotone(one: SizingInputs, name: str, more: Decimal, *, bump: bool) -> None:
    limits = SizingSettings(bump_to_min=bump)
    before = base_of(size(one, limits))
    after = base_of(size(evolve(one, **{name: getattr(one, name) + more}), limits))
    assert after >= before, (name, before, after)


def monotone_in_settings(one: SizingInputs, more: Decimal, *, bump: bool) -> None:
    limits = SizingSettings(bump_to_min=bump)
    before = base_of(size(one, limits))
    for name in ("order_usd_max", "risk_per_trade_pct", "volatility_reference_pct"):
        assert base_of(size(one, evolve(limits, **{name: getattr(limits, name) + more}))) >= before
    for name, floor in (("order_usd_min", D("0.01")), ("depth_multiple", D("0.1"))):
        less = max(floor, getattr(limits, name) - more)
        if name == "order_usd_min" and bump:
            continue  # a lower minimum may be wished for instead of the raised one: smaller, and meant
        assert base_of(size(one, evolve(limits, **{name: less}))) >= before


def within_all(one: SizingInputs) -> None:
    found = size(one, SizingSettings())
    if not isinstance(found, Sized):
        return
    assert is_multiple(found.base_size, one.product.base_increment)
    assert worst_usd(found.base_size, one.limit_price, one.mark, one.fee_rate) <= one.room_usd
    assert found.notional_usd * (1 + one.fee_rate) <= one.available_usd
    assert found.notional_usd <= one.notional_usd_max
    assert found.notional_usd * 10 <= one.depth_usd
    assert found.notional_usd >= max(D(5), one.product.quote_size_min)
    assert found.notional_usd <= wish_usd(one, SizingSettings())[0] or found.binding not in {"tier_base", "volatility"}


@settings(deadline=None)
@given(drawn, st.sampled_from(RAISED), positive, st.booleans())
def test_raising_any_limit_never_shrinks_the_size(one, name, more, bump):
    monotone(one, name, more, bump=bump)


@settings(deadline=None)
@given(drawn, positive, st.booleans())
def test_loosening_any_setting_never_shrinks_the_size(one, more, bump):
    monotone_in_settings(one, more, bump=bump)


@settings(deadline=None)
@given(drawn)
def test_a_size_is_within_every_limit(one):
    within_all(one)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=20_000, deadline=None)
@given(drawn, st.sampled_from(RAISED), positive, st.booleans())
def test_sizing_full_counts(one, name, more, bump):
    monotone(one, name, more, bump=bump)
    monotone_in_settings(one, more, bump=bump)
    within_all(one)


# -- caps ------------------------------------------------------------------------------------------------------


def numbers(**limits: int) -> CapNumbers:
    caps = {"symbol": 400, "theme": 1000, "tier": 4000, "strategy": 1500, "total": 2500} | limits
    keys = {"symbol": "BTC-USD", "theme": "LAYER1", "tier": "T1", "strategy": "price_move", "total": ""}
    return CapNumbers(
        nav_usd=D(10_000),
        caps_usd=tuple((scope, keys[scope], D(usd)) for scope, usd in caps.items()),
        marks=(("BTC-USD", D(100)), ("ETH-USD", D(100)), ("DOGE-USD", D(100))),
        groups=(("BTC-USD", "LAYER1", "T1"), ("ETH-USD", "LAYER1", "T1"), ("DOGE-USD", "MEME", "T2")),
        fee_rate=D("0.006"),
    )


def test_exposure_counts_positions_open_orders_and_what_is_seen():
    held = position(size="1", seen_size=D("1.5"))
    half = entry_order("ETH-USD", "2", "110", filled_size=D(1), worst_usd=D("110.66"))
    found = exposures(book(positions=(held,), orders=(half,)), numbers())
    assert found.usd("symbol", "BTC-USD") == D(150)
    assert found.usd("symbol", "ETH-USD") == D("110.66")
    assert found.usd("theme", "LAYER1") == found.usd("total") == D("260.66")
    assert found.open_products == {"BTC-USD", "ETH-USD"}


def test_an_order_counts_at_the_mark_when_that_has_risen_above_its_limit():
    found = exposures(book(orders=(entry_order("BTC-USD", "1", "90", worst_usd=D("90.54")),)), numbers())
    assert found.usd("total") == D("100.6")


def test_exactly_at_a_cap_is_fine_and_a_cent_above_is_not():
    assert check_caps(book(), "BTC-USD", "price_move", D(400), numbers()) is None
    assert check_caps(book(), "BTC-USD", "price_move", D("400.01"), numbers()).code == "position_size_with_pending"


@pytest.mark.parametrize(
    ("scope", "code"),
    [("theme", "theme_cap"), ("tier", "tier_cap"), ("strategy", "strategy_cap"), ("total", "exposure_cap")],
)
def test_each_scope_denies_with_its_code_and_numbers(scope, code):
    found = check_caps(
        book(positions=(position("ETH-USD", "3"),)), "BTC-USD", "price_move", D(10), numbers(**{scope: 305})
    )
    assert found.code == code
    assert dict(found.values)["current_usd"] == "300.00"
    assert dict(found.values)["limit_usd"] == "305.00"


def test_a_missing_cap_denies():
    caps = evolve(numbers(), caps_usd=numbers().caps_usd[:-1])
    assert check_caps(book(), "BTC-USD", "price_move", D(1), caps).code == "cap_missing"


def test_what_cannot_be_valued_denies():
    assert (
        check_caps(book(positions=(position("XRP-USD"),)), "BTC-USD", "price_move", D(1), numbers()).code
        == "data_unavailable"
    )


def test_foreign_holdings_count_by_policy_only():
    held = book(foreign=(Foreign(currency="BTC", size=D(3)),))
    assert check_caps(held, "BTC-USD", "price_move", D(200), numbers()) is None
    assert (
        check_caps(held, "BTC-USD", "price_move", D(200), evolve(numbers(), counted_foreign=True)).code
        == "position_size_with_pending"
    )


def test_room_is_what_a_candidate_may_still_be():
    room, rooms = room_usd(
        "BTC-USD", "price_move", numbers(), exposures(book(positions=(position("ETH-USD", "9"),)), numbers())
    )
    assert room == D(100)
    assert dict(rooms)["theme"] == D(100)


def test_dead_zones_name_the_tier_the_limit_and_both_numbers():
    strategies = {"price_move": StrategySettings(enabled=True, budget_pct=D(15))}
    zones = dead_zones(D(100), RiskSettings(), default_tiers(), strategies, default_themes())
    assert [zone.tier for zone in zones] == ["T1", "T2"]
    assert "risk.caps.per_asset_pct allows 3.98 USD, the least order is 5.03 USD" in zones[0].sentence(D(100))
    assert dead_zones(D(10_000), RiskSettings(), default_tiers(), strategies, default_themes()) == ()
    strict = evolve(RiskSettings(), sizing=SizingSettings(bump_to_min=False))
    assert "least conviction" in dead_zones(D(255), strict, default_tiers(), strategies, default_themes())[0].bound_by


def zones_of(**changes) -> list[tuple[str, str]]:
    """(tier, what binds) at a NAV of 1,000 USD, where nothing binds by default."""
    given = {
        "risk": RiskSettings(),
        "strategies": {"price_move": StrategySettings(enabled=True, budget_pct=D(15))},
    } | changes
    found = dead_zones(D(1_000), given["risk"], default_tiers(), given["strategies"], default_themes())
    return [(zone.tier, zone.bound_by) for zone in found]


def test_a_dead_zone_looks_at_the_themes_of_its_products_and_at_the_largest_budget():
    assert zones_of() == []
    themes = {"LAYER1": D("0.4"), "LAYER2": D(6), "DEFI": D("0.4"), "MEME": D("0.4"), "OTHER": D("0.6")}
    narrow = RiskSettings(caps=CapSettings(theme_pct=themes))
    assert zones_of(risk=narrow) == [("T1", "risk.caps.theme_pct")], "T2 has products without a theme, and those 6 USD"
    small = {
        "price_move": StrategySettings(enabled=True, budget_pct=D("0.4")),
        "momentum": StrategySettings(budget_pct=D(9)),
    }
    assert zones_of(strategies=small) == [("T1", "the strategies' budgets"), ("T2", "the strategies' budgets")]
