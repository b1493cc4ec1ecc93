"""The status page, recordings, tokens, endpoints and download files: what is broken is told and never believed."""

from __future__ import annotations

import base64
import json
import os
import zlib

import jwt as pyjwt
import pytest
from coinbase.jwt_generator import build_ws_jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.coinbase.download import ProductReport, _measure, read_file
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.exchange_health import Effect, ExchangeHealth, ExchangeStatusSettings
from exchange.coinbase.exchange_status import StatusReader, read_status_once, read_summary
from exchange.coinbase.feed_records import FeedRecorder, ReadingReport, read_recording
from exchange.coinbase.jwt import ApiKey, ws_token
from tests.coinbase_feeds.scripted_venue import ScriptedVenue
from tests.support import eventually

SUMMARY = {
    "page": {"id": "kr0djjh0jyy9", "name": "Coinbase"},
    "components": [
        {"id": "g1", "name": "Trading", "status": "major_outage", "group": True},
        {"id": "c1", "name": "Advanced Trade API", "status": "degraded_performance", "group": False},
        {"id": "c2", "name": "Website", "status": "operational", "group": False},
    ],
    "incidents": [
        {"name": "Delayed trades", "status": "investigating", "impact": "minor"},
        {"name": "Old", "status": "resolved", "impact": "critical"},
    ],
    "scheduled_maintenances": [
        {"name": "Advanced Trade", "status": "in_progress"},
        {"name": "Later", "status": "scheduled"},
    ],
    "status": {"indicator": "minor", "description": "Minor Service Outage"},
}


def test_a_summary_tells_components_open_incidents_and_running_maintenance():
    status = read_summary(json.dumps(SUMMARY), 5.0)
    assert status.reachable
    assert status.indicator == "minor"
    assert status.components == (("Advanced Trade API", "degraded_performance"), ("Website", "operational"))
    assert status.incidents == (("Delayed trades", "minor"),)
    assert status.maintenances == (("Advanced Trade", "in_progress"),)


@pytest.mark.parametrize("key", ["components", "incidents", "scheduled_maintenances", "status"])
def test_half_a_summary_is_not_health(key):
    half = {name: value for name, value in SUMMARY.items() if name != key}
    assert not read_summary(json.dumps(half), 5.0).reachable
    assert not read_summary(json.dumps({**half, key: None}), 5.0).reachable


def test_a_summary_that_lists_no_component_is_not_health():
    assert not read_summary(json.dumps({**SUMMARY, "components": []}), 5.0).reachable


@settings(max_examples=150)
@given(
    st.one_of(
        st.binary(max_size=100),
        st.recursive(
            st.none() | st.booleans() | st.text(max_size=12),
            lambda leaf: (
                st.lists(leaf, max_size=3)
                | st.dictionaries(st.sampled_from([*SUMMARY, "name", "impact", "indicator", "group"]), leaf, max_size=5)
            ),
            max_leaves=15,
        ).map(json.dumps),
    )
)
def test_no_page_raises_and_none_is_healthy_without_a_component(content):
    status = read_summary(content, 5.0)
    assert not status.reachable or status.components
    assert status.reachable or status.error


@pytest.mark.parametrize("answer", [(503, "{}"), (200, "<html>"), (200, ""), (302, json.dumps(SUMMARY))])
def test_a_page_that_answers_something_else_is_unreachable_and_clears_nothing(tmp_path, answer):
    health = ExchangeHealth(ExchangeStatusSettings(healthy_readings_min=1), 0.0, asked=True)
    health.hear(read_summary(json.dumps(SUMMARY), 1.0))
    assert health.standing(1.0).effect is Effect.CLAMP
    with ScriptedVenue(tmp_path, None) as venue:
        venue.summary = answer
        status = read_status_once(venue.endpoints.status_url, venue.endpoints.ca_file)
    assert not status.reachable
    health.hear(status)
    assert health.standing(2.0).effect is Effect.CLAMP


def test_nobody_there_and_a_strange_certificate_are_unreachable(tmp_path):
    assert not read_status_once("https://127.0.0.1:1/", None, 2.0).reachable
    with ScriptedVenue(tmp_path, None) as venue:
        venue.summary = (200, json.dumps(SUMMARY))
        assert "ertificate" in read_status_once(venue.endpoints.status_url, None).error


def test_the_reader_goes_on_when_its_listener_raises(tmp_path):
    heard = []

    def sink(status):
        heard.append(status)
        raise RuntimeError("a listener's bug")

    with ScriptedVenue(tmp_path, None) as venue:
        venue.summary = (200, json.dumps(SUMMARY))
        reader = StatusReader(venue.endpoints.status_url, venue.endpoints.ca_file, sink, every_s=0.05)
        reader.start()
        eventually(lambda: len(heard) >= 2)
        reader.stop()
    assert heard[0].reachable
    assert reader.sink_errors >= 2


# recordings


def _record(folder, frames, flush_every):
    recorder = FeedRecorder(folder)
    for number, frame in enumerate(frames):
        recorder.take(frame, float(number), 1)
        if number % flush_every == 0:
            recorder.flush()
    recorder.close()
    (path,) = folder.glob("feed-*.jsonl.gz")
    return path


def test_a_recording_comes_back_as_it_was_and_any_gzip_tool_reads_it(tmp_path):
    frames = [json.dumps({"n": n, "text": "ü\n\u2028" * 3}) for n in range(100)]
    path = _record(tmp_path, frames, 7)
    assert [frame.frame for frame in read_recording(tmp_path)] == frames
    import gzip

    assert gzip.decompress(path.read_bytes()).count(b"\n") == 101, "one line a frame, and one that says what it is"


@pytest.mark.parametrize("cut", [1, 10, 50])
def test_a_torn_tail_is_cut_and_everything_before_it_is_read(tmp_path, cut):
    frames = [json.dumps({"n": n}) for n in range(100)]
    path = _record(tmp_path, frames, 10)
    os.truncate(path, path.stat().st_size - cut)
    report = ReadingReport()
    read = [frame.frame for frame in read_recording(tmp_path, report)]
    assert read == frames[: len(read)]
    assert 80 <= len(read) < 100
    assert report.torn_bytes > 0


def test_a_recording_with_a_flipped_bit_stops_there_and_says_so(tmp_path):
    path = _record(tmp_path, [json.dumps({"n": n}) for n in range(100)], 10)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    report = ReadingReport()
    assert 0 < len(list(read_recording(tmp_path, report))) < 100
    assert report.torn_bytes > 0


def test_lines_that_are_no_frames_are_counted(tmp_path):
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    good = json.dumps({"boot_s": 1, "utc_s": 2, "connection": 3, "frame": "{}"})
    data = packer.compress(f"{good}\nnonsense\n[]\n{{}}\n".encode()) + packer.flush()
    (tmp_path / "feed-1.jsonl.gz").write_bytes(data)
    report = ReadingReport()
    assert len(list(read_recording(tmp_path, report))) == 1
    assert report.broken_lines == 3


def test_a_folder_without_recordings_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="holds no recording"):
        list(read_recording(tmp_path))


# tokens and endpoints


def _pem(private, form=serialization.PrivateFormat.PKCS8) -> str:
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ED_RAW = ED.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("secret", "public"),
    [
        (_pem(EC), EC.public_key()),
        (_pem(EC, serialization.PrivateFormat.TraditionalOpenSSL), EC.public_key()),
        (_pem(EC).replace("\n", "\\n"), EC.public_key()),
        (base64.b64encode(ED_RAW).decode(), ED.public_key()),
        (base64.b64encode(ED_RAW + ED_RAW).decode() + "\n", ED.public_key()),
    ],
    ids=["ec pkcs8", "ec sec1", "ec with escaped line ends", "ed25519 32", "ed25519 64"],
)
def test_a_token_has_the_header_and_claims_of_the_sdks(secret, public):
    theirs = build_ws_jwt("organizations/o/apiKeys/k", secret.replace("\\n", "\n"))
    ours = ws_token(ApiKey("organizations/o/apiKeys/k", secret), 1_800_000_000.9)
    header, their_header = pyjwt.get_unverified_header(ours), pyjwt.get_unverified_header(theirs)
    assert {**header, "nonce": ""} == {**their_header, "nonce": ""}
    assert len(header["nonce"]) == len(their_header["nonce"]) == 64
    claims = pyjwt.decode(ours, public, algorithms=[header["alg"]], options={"verify_exp": False, "verify_nbf": False})
    their_claims = pyjwt.decode(theirs, options={"verify_signature": False})
    assert set(claims) == set(their_claims)
    assert (claims["sub"], claims["iss"]) == (their_claims["sub"], their_claims["iss"])
    assert claims["exp"] - claims["nbf"] == their_claims["exp"] - their_claims["nbf"] == 120
    assert claims["nbf"] == 1_800_000_000


def test_two_tokens_are_never_the_same():
    key = ApiKey("k", _pem(EC))
    assert ws_token(key, 1.0) != ws_token(key, 1.0)


@pytest.mark.parametrize(
    "secret", ["", "hello", "-----BEGIN EC PRIVATE KEY-----\nAAAA", base64.b64encode(b"short").decode()]
)
def test_a_key_that_cannot_sign_is_refused_in_a_sentence_that_hides_it(secret):
    with pytest.raises(ValueError, match="API secret") as caught:
        ws_token(ApiKey("k", secret), 1.0)
    assert not secret or secret not in str(caught.value)
    assert not secret or secret not in repr(ApiKey("k", secret))


def test_endpoints_of_a_simulated_venue_come_from_its_line():
    line = {
        "rest": "127.0.0.1:1",
        "ws_market": "wss://a",
        "ws_user": "wss://b",
        "ca": "ca.pem",
        "back_door": "https://x/_sim/",
    }
    endpoints = Endpoints.simulated(line)
    assert (endpoints.rest, endpoints.ws_market, endpoints.ca_file) == ("127.0.0.1:1", "wss://a", "ca.pem")
    assert not endpoints.is_coinbase
    assert Endpoints.coinbase().is_coinbase
    with pytest.raises(ValueError, match="lacks ws_user, ca"):
        Endpoints.simulated({"rest": "x", "ws_market": "y"})


# download files


def test_gaps_are_reported_where_buckets_are_missing(tmp_path):
    report = ProductReport("BTC-USD", tmp_path / "x")
    _measure(report, [(0, ""), (60, ""), (240, "")], 60, 0, 600)
    assert report.gaps == [(120, 240), (300, 600)]
    _measure(report, [], 60, 0, 600)
    assert report.gaps == [(0, 600)]


def test_a_torn_last_line_is_left_out_and_a_strange_file_is_refused(tmp_path):
    path = tmp_path / "BTC-USD_1m.csv"
    head = "ts,open,high,low,close,volume\n"
    path.write_text(head + "60,1,1,1,1,1\n120,1,1,1,1,1\n180,1,1")
    assert [stamp for stamp, _ in read_file(path, 60)] == [60, 120]
    for text, words in (
        ("a,b\n", "line 1"),
        (head + "60,1,1,1,1,1\n60,1,1,1,1,1\n", "line 3"),
        (head + "61,1,1,1,1,1\n", "line 2"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_file(path, 60)
