"""Whatever is sent, the venue answers: nothing but Coinbase's refusals and a bad request leaves the engine."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.simulator.faults import FaultError, Faults
from exchange.simulator.keys import Doorman, UnauthorizedError
from exchange.simulator.matching import Venue
from exchange.simulator.products import make_product
from exchange.simulator.words import BadRequestError, parse_time, plain, rfc3339

NUMBERS = st.one_of(
    st.sampled_from(
        [
            "1",
            "0.1",
            "60000",
            "-1",
            "0",
            "",
            " 1 ",
            "1e5",
            "1E-9",
            "1e999999",
            "NaN",
            "Infinity",
            "0x10",
            "1_0",
            "१",
            None,
            1,
            1.5,
            True,
            [],
            {},
        ]
    ),
    st.text(max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "base_size",
            "quote_size",
            "limit_price",
            "stop_price",
            "stop_trigger_price",
            "stop_direction",
            "end_time",
            "post_only",
        ]
    ),
    st.one_of(
        NUMBERS,
        st.booleans(),
        st.sampled_from(["STOP_DIRECTION_STOP_UP", "1970-01-01T00:10:00Z", "tomorrow", "9999-99-99"]),
    ),
)
KEYS = st.sampled_from(
    [
        "market_market_ioc",
        "sor_limit_ioc",
        "limit_limit_gtc",
        "limit_limit_gtd",
        "limit_limit_fok",
        "stop_limit_stop_limit_gtc",
        "stop_limit_stop_limit_gtd",
        "trigger_bracket_gtc",
        "trigger_bracket_gtd",
        "twap_limit_gtd",
        "nonsense",
    ]
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "client_order_id": st.one_of(st.text(max_size=6), JSON),
        "product_id": st.one_of(st.sampled_from(["BTC-USD", "NOPE"]), JSON),
        "side": st.one_of(st.sampled_from(["BUY", "SELL"]), JSON),
        "order_configuration": st.one_of(st.dictionaries(KEYS, st.one_of(FIELDS, JSON), max_size=2), JSON),
        "attached_order_configuration": JSON,
        "order_id": JSON,
        "price": NUMBERS,
        "size": NUMBERS,
    },
)


NEARLY = st.fixed_dictionaries(
    {
        "client_order_id": st.text(min_size=1, max_size=3),
        "product_id": st.just("BTC-USD"),
        "side": st.sampled_from(["BUY", "SELL"]),
        "order_configuration": st.builds(
            lambda key, fields: {key: fields},
            KEYS,
            st.fixed_dictionaries({"base_size": NUMBERS, "limit_price": NUMBERS}) | FIELDS,
        ),
    }
)


def fresh():
    venue = Venue([make_product("BTC-USD")], {"USD": Decimal(10**6), "BTC": Decimal(10)})
    venue.market_quote("BTC-USD", Decimal(60000), Decimal(60001), Decimal(1), Decimal(1), 0.0)
    return venue


@settings(max_examples=200, deadline=None)
@given(st.lists(BODIES | NEARLY, max_size=4))
def test_no_body_however_broken_escapes_as_anything_but_a_bad_request(bodies):
    venue = fresh()
    for body in bodies:
        for ask in (venue.preview, venue.create_order, venue.edit, venue.edit_preview):
            try:
                answer = ask(body, 1.0)
            except BadRequestError:
                continue
            json.dumps(answer)
        json.dumps(venue.list_orders({}, 1.0))
    wallet = venue.wallets.of("USD")
    assert wallet.available >= 0


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["limit", "cursor", "order_status", "start_date", "end_date", "sort_by", "product_ids", "order_side"]
        ),
        st.lists(st.text(max_size=10), max_size=2),
    )
)
def test_no_filter_however_broken_escapes_as_anything_but_a_bad_request(filters):
    venue = fresh()
    for ask in (venue.list_orders, venue.fills):
        try:
            json.dumps(ask(filters, 1.0))
        except BadRequestError:
            continue


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.binary(max_size=40).map(lambda b: b.hex() + "." + b.hex() + ".x")))
def test_no_token_however_broken_is_believed(token):
    try:
        Doorman({}).check(token, "GET x/y")
    except UnauthorizedError:
        return
    raise AssertionError("believed")


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_no_plan_however_broken_raises_anything_but_its_sentence(plan):
    try:
        Faults().add(plan, 0.0)
    except FaultError as error:
        assert str(error)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=12))
def test_numbers_are_written_plainly_and_exactly(value):
    text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text.upper()
    assert not (text.endswith("0") and "." in text)


@given(st.floats(min_value=0, max_value=4e9))
def test_times_come_back_to_the_microsecond(at_s):
    assert abs(parse_time(rfc3339(at_s)) - at_s) < 2e-6
