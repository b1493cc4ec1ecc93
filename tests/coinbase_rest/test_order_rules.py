"""An order built by any path satisfies its product; rounding is directed and fee-aware."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.coinbase_rest.made import BTC, GTD
from trading.denied import Denied
from trading.messages.orders import OrderBody, OrderStyle
from trading.order_rules import build_body, round_price, size_for_spend, size_min, violation
from trading.product import Product
from trading.values import Side, is_multiple

DATA = Path(os.environ.get("BULKHEAD_SHARED_DATA") or Path(__file__).parents[2].parent / "shared" / "data")

increments = st.integers(0, 8).map(lambda n: Decimal(1).scaleb(-n))
products = st.builds(
    lambda tick, lot, minimum, quote_min: attrs.evolve(
        BTC, price_increment=tick, base_increment=lot, base_size_min=minimum * lot, quote_size_min=quote_min
    ),
    increments,
    increments,
    st.integers(1, 100),
    st.decimals("0.1", "20", places=2),
)
amounts = st.decimals("0.00000001", "100000", places=8)


@given(products, st.sampled_from(list(Side)), amounts, amounts, st.decimals(0, "0.02", places=4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_an_order_built_by_any_path_satisfies_its_product_and_is_never_worse_than_asked(
    product: Product, side: Side, size: Decimal, price: Decimal, fee: Decimal, rest: bool
) -> None:
    style = OrderStyle.LIMIT_GTD if rest else OrderStyle.LIMIT_IOC
    body = build_body(product, side, size, price, style=style, end_time_s=1 if rest else None, fee_rate=fee)
    if isinstance(body, Denied):
        return
    assert violation(product, body) == ""
    assert body.base_size <= size
    assert body.limit_price <= price if side is Side.BUY else body.limit_price >= price
    assert body.base_size * body.limit_price * (1 - fee) >= product.quote_size_min


@given(products, amounts, amounts, st.decimals(0, "0.02", places=4))
@settings(max_examples=150, deadline=None)
def test_a_spend_is_never_exceeded_fee_included(product: Product, spend: Decimal, price: Decimal, fee: Decimal) -> None:
    size = size_for_spend(product, spend, price, fee)
    assert size * price * (1 + fee) <= spend
    assert size == 0 or is_multiple(size, product.base_increment)


@given(products, amounts, st.decimals(0, "0.02", places=4))
@settings(max_examples=150, deadline=None)
def test_a_size_may_rise_to_the_minimum_and_no_further(product: Product, price: Decimal, fee: Decimal) -> None:
    limit = round_price(product, Side.BUY, price)
    assume(limit > 0)
    least = size_min(product, limit, fee)
    assume(least * limit <= product.quote_size_max and product.base_increment < least <= product.base_size_max)
    risen = build_body(product, Side.BUY, product.base_increment, price, end_time_s=1, fee_rate=fee, size_max=least)
    assert isinstance(risen, OrderBody)
    assert risen.base_size == least
    refused = build_body(
        product, Side.BUY, product.base_increment, price, end_time_s=1, fee_rate=fee,
        size_max=least - product.base_increment,
    )  # fmt: skip
    assert isinstance(refused, Denied)
    assert refused.code == "position_size_too_small"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (attrs.evolve(GTD, product_id="ETH-USD"), "other_product"),
        (attrs.evolve(GTD, base_size=Decimal(0)), "non_positive_request"),
        (attrs.evolve(GTD, base_size=Decimal("NaN")), "non_positive_request"),
        (attrs.evolve(GTD, limit_price=Decimal("0.001")), "position_size_too_small"),
        (attrs.evolve(GTD, limit_price=Decimal("1e40")), "position_size_too_large"),
        (attrs.evolve(GTD, style=OrderStyle.LIMIT_IOC), "post_only_must_rest"),
        (attrs.evolve(GTD, end_time_s=None), "end_time_missing"),
        (GTD, ""),
    ],
)
def test_what_the_gateway_refuses_again(body: OrderBody, code: str) -> None:
    assert violation(BTC, body) == code


def test_price_increment_counts_and_not_quote_increment() -> None:
    """They differ on some products (SHIB); the wrong one is answered with INVALID_PRICE_PRECISION."""
    shib = attrs.evolve(
        BTC, price_increment=Decimal("0.00000001"), quote_increment=Decimal("0.01"), base_size_max=Decimal(10**12)
    )
    body = build_body(shib, Side.BUY, Decimal(1000000), Decimal("0.000012345"), style=OrderStyle.LIMIT_IOC)
    assert isinstance(body, OrderBody)
    assert body.limit_price == Decimal("0.00001234")


def test_real_ticks_and_lots_of_720_products_can_all_be_built() -> None:
    path = DATA / "products" / "exchange_products_2025-08-27.json"
    if not path.exists():
        pytest.skip(f"{path} is not there (set BULKHEAD_SHARED_DATA)")
    rows = json.loads(path.read_text())
    built = 0
    for row in rows:
        product = attrs.evolve(
            BTC,
            product_id=row["id"],
            price_increment=Decimal(row["quote_increment"]),
            base_increment=Decimal(row["base_increment"]),
            base_size_min=Decimal(row["base_increment"]),
            quote_size_min=Decimal(row["min_market_funds"]),
            base_size_max=Decimal(10) ** 15,
            quote_size_max=Decimal(10) ** 15,
        )
        price = Decimal("1.23456789") if product.price_increment < 1 else Decimal(1234)
        body = build_body(
            product,
            Side.SELL,
            size_min(product, price) * 3,
            price,
            style=OrderStyle.LIMIT_IOC,
            fee_rate=Decimal("0.012"),
        )
        assert isinstance(body, OrderBody), (row["id"], body)
        built += 1
    assert built == len(rows)
