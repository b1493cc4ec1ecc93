"""Who is let in: every rule about a token, and what a stranger is told."""

from __future__ import annotations

import time

import jwt
import pytest
import requests
from coinbase import jwt_generator

from exchange.simulator.keys import Doorman, UnauthorizedError, load_keys, server_tls
from tests.simulator.test_contract_rest import PREFIX

URI = "GET 127.0.0.1:4444/api/v3/brokerage/accounts"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return load_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture()
def doorman(keys):
    return Doorman({key.name: key for key in keys})


def token(key, kid=None, signer=None, algorithm="ES256", **claims):
    now = int(time.time())
    body = {"sub": key.name, "iss": "cdp", "nbf": now, "exp": now + 120, "uri": URI} | claims
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(body, (signer or key).secret, algorithm=algorithm, headers={"kid": kid or key.name, "nonce": "1"})


@pytest.mark.parametrize("issuer", ["cdp", "coinbase-cloud"])
def test_a_good_token_is_believed(doorman, keys, issuer):
    assert doorman.check(token(keys[0], iss=issuer), URI) is keys[0]


def test_the_sdk_signs_with_both_kinds_of_key(doorman, keys):
    for key in (keys[0], keys[2]):
        made = jwt_generator.build_rest_jwt("GET 127.0.0.1:4444/api/v3/brokerage/accounts", key.name, key.secret)
        assert doorman.check(made, URI) is key


def test_a_token_may_be_used_again_within_its_time(doorman, keys):
    made = token(keys[0])
    assert doorman.check(made, URI) is doorman.check(made, URI)


def test_the_audience_is_not_checked(doorman, keys):
    assert doorman.check(token(keys[0], aud=["somebody else"]), URI) is keys[0]


def test_a_socket_token_has_no_uri(doorman, keys):
    assert doorman.check(token(keys[0], uri=None), None) is keys[0]


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"nbf": +60, "exp": +120}, "ahead"),
        ({"nbf": -200, "exp": -80}, "expired"),
        ({"nbf": 0, "exp": +3600}, "longer"),
        ({"nbf": None}, "missing"),
        ({"exp": None}, "missing"),
        ({"iss": "somebody"}, "issuer"),
        ({"sub": "another"}, "subject"),
        ({"uri": "POST 127.0.0.1:4444/api/v3/brokerage/accounts"}, "uri"),
        ({"uri": "GET api.coinbase.com/api/v3/brokerage/accounts"}, "uri"),
        ({"uri": None}, "uri"),
    ],
)
def test_a_token_that_breaks_one_rule_is_not(doorman, keys, claims, why):
    now = int(time.time())
    claims = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
    with pytest.raises(UnauthorizedError, match=why):
        doorman.check(token(keys[0], **claims), URI)


def test_a_strange_or_forged_signature_is_not(doorman, keys):
    with pytest.raises(UnauthorizedError, match="unknown"):
        doorman.check(token(keys[0], kid="nobody"), URI)
    with pytest.raises(UnauthorizedError, match="ignature"):
        doorman.check(token(keys[0], signer=keys[1]), URI)
    for junk in (
        "",
        "a.b.c",
        "x",
        token(keys[0])[:-4],
        jwt.encode({"sub": keys[0].name}, "s" * 32, "HS256", {"kid": keys[0].name}),
    ):
        with pytest.raises(UnauthorizedError):
            doorman.check(junk, URI)


def test_keys_and_authority_stay_and_are_for_the_owner_only(tmp_path):
    first, again = load_keys(tmp_path), load_keys(tmp_path)
    assert first == again
    _, cert = server_tls(tmp_path)
    text = cert.read_bytes()
    server_tls(tmp_path)
    assert cert.read_bytes() == text
    for name in ("ca.key", "ca.pem", "api_keys.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_stranger_is_told_unauthorized_as_text(venue):
    answer = requests.get(f"https://{venue.line['rest']}{PREFIX}/accounts", verify=venue.line["ca"], timeout=5)
    assert (answer.status_code, answer.text) == (401, "Unauthorized\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_public_paths_take_a_token_too(venue):
    assert venue.client().get_public_product("BTC-USD").product_id == "BTC-USD"


def test_a_view_only_key_cannot_trade_and_a_transfer_key_says_so(venue):
    view = venue.client(4)
    assert view.get_api_key_permissions().can_trade is False
    with pytest.raises(requests.HTTPError, match="Missing Required Scopes"):
        view.market_order_buy("x", "BTC-USD", quote_size="10")
    assert venue.client(3).get_api_key_permissions().can_transfer is True


def test_the_guardians_key_may_cancel_the_bots_order(venue):
    order_id = (
        venue.client(0)
        .limit_order_gtc_buy(f"guard-{time.time_ns()}", "DOGE-USD", base_size="100", limit_price="0.02")
        .success_response["order_id"]
    )
    assert venue.client(1).cancel_orders([order_id]).results[0].success is True
