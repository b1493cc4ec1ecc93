"""The venue as a process: it keeps its ledger whatever happens to it, and leaves when it should."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from decimal import Decimal as D

import pytest

from exchange.simulator.journal import Journal
from exchange.simulator.matching import Venue
from exchange.simulator.products import make_product
from exchange.simulator.server import main
from tests.simulator.venue_process import SHARED, VenueProcess, needs_shared
from tests.support import eventually


def money(venue):
    return {
        row["currency"]: (row["available_balance"]["value"], row["hold"]["value"]) for row in venue.state()["accounts"]
    }


def test_kill_nine_loses_no_accepted_order_no_fill_and_no_balance(tmp_path):
    with VenueProcess(tmp_path, scenario="quiet") as first:
        assert first.line["scenario"] == "quiet"
        client = first.client()
        accepted = []
        for n in range(10):
            answer = client.limit_order_gtc_buy(f"k{n}", "BTC-USD", base_size="0.001", limit_price=str(20_000 + n))
            accepted.append(answer.success_response["order_id"])
        client.cancel_orders(accepted[:2])
        client.market_order_buy("m", "ETH-USD", quote_size="100")
        before = eventually(first.state, lambda got: not any(row["pending_cancel"] for row in got["orders"]))
        line = first.line
        held = money(first)
        first.kill()
    with VenueProcess(tmp_path, scenario="quiet") as second:
        after = second.state()
        assert second.line["scenario"] == "", "after a kill the market goes on; only a clean stop may open again"
        assert second.line["resumed"] is True
        for name in ("rest", "ws_market", "ws_user", "back_door", "api_key", "api_secret", "portfolio_uuid"):
            assert second.line[name] == line[name], name
        by_id = {row["order_id"]: row for row in after["orders"]}
        assert by_id == {row["order_id"]: row for row in before["orders"]}
        assert after["fills"] == before["fills"]
        assert money(second) == held
        assert second.line["t0"] >= before["now"]
        assert len(after["requests"]) >= 12
        client = second.client()
        assert len(client.list_orders(order_status=["OPEN"]).orders) == 8
        again = client.limit_order_gtc_buy("k5", "BTC-USD", base_size="0.001", limit_price="20005")
        assert again.success_response["order_id"] == accepted[5], "the id is remembered across the kill"
        assert client.cancel_orders(accepted[2:]).results[0].success is True
        assert second.stop() == 0
    with VenueProcess(tmp_path, scenario="quiet") as third:
        assert third.line["scenario"] == "quiet"
        assert third.state()["fills"] == before["fills"]


def test_an_order_that_was_answered_is_in_the_ledger_at_every_kill(tmp_path):
    """Orders as fast as they go, killed in the middle, again and again over one ledger."""
    answered = []
    for round_ in range(2):
        with VenueProcess(tmp_path) as venue:
            venue.unlimited()
            client = venue.client()
            for n in range(25 + round_):
                answer = client.limit_order_gtc_buy(f"r{round_}-{n}", "DOGE-USD", base_size="10", limit_price="0.11")
                answered.append(answer.success_response["order_id"])
            venue.kill()
    with VenueProcess(tmp_path) as venue:
        assert [row["order_id"] for row in venue.state()["orders"]] == answered


def test_a_torn_tail_is_cut_to_the_last_whole_commit(tmp_path):
    journal = Journal(tmp_path)
    venue = Venue([make_product("BTC-USD")], {"USD": D(100_000)}, now_s=0.0)
    for n in range(40):
        body = {"base_size": "0.01", "limit_price": "1000"}
        venue.create_order(
            {
                "client_order_id": f"t{n}",
                "product_id": "BTC-USD",
                "side": "BUY",
                "order_configuration": {"limit_limit_gtc": body},
            },
            float(n),
        )
        journal.commit(venue, float(n))
    # A copy as a kill would leave it: database and write-ahead log, the log cut in the middle of a frame.
    torn = tmp_path / "torn"
    torn.mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        (torn / name).write_bytes((tmp_path / name).read_bytes())
    log = torn / "ledger.sqlite-wal"
    size = log.stat().st_size
    assert size > 4096 * 20
    with log.open("r+b") as file:
        file.truncate(size - 4096 * 6 - 1234)
    resumed = Venue([make_product("BTC-USD")], {"USD": D(100_000)}, now_s=0.0)
    assert Journal(torn).resume(resumed, 40.0)
    kept = len(resumed.orders)
    print("orders kept", kept)
    assert 0 < kept < 40
    assert list(resumed.orders) == list(venue.orders)[:kept]
    wallet = resumed.wallets.of("USD")
    assert wallet.hold == kept * D(10) * D("1.012"), "orders and balances are of one commit"


def test_a_new_ledger_is_a_new_account(tmp_path):
    uuids = []
    for name in ("a", "a", "b"):
        (tmp_path / name).mkdir(exist_ok=True)
        journal = Journal(tmp_path / name)
        uuids.append(journal.portfolio_uuid())
        journal.close()
    assert uuids[0] == uuids[1] != uuids[2]


def test_the_contract_line_has_what_design_promises_and_is_kept_for_the_owner(shared_venue):
    venue = shared_venue
    wanted = [
        "rest",
        "ws_market",
        "ws_user",
        "ca",
        "api_key",
        "api_secret",
        "back_door",
        "t0",
        "boot_s",
        "speed",
        "portfolio_uuid",
        "products",
    ]
    assert set(wanted) <= set(venue.line)
    assert venue.line["back_door"].startswith("https://127.0.0.1:")
    assert venue.line["back_door"].endswith("/_sim/")
    endpoint = venue.folder / "endpoint.json"
    assert json.loads(endpoint.read_text()) == venue.line
    assert endpoint.stat().st_mode & 0o777 == 0o600


def test_a_client_computes_the_venues_clock_from_the_contract_line(tmp_path):
    with VenueProcess(tmp_path, "--speed", "30") as venue:
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        now = venue.line["t0"] + (boot - venue.line["boot_s"]) * venue.line["speed"]
        assert abs(venue.door("GET", "clock")["now"] - now) < 30 * 0.5
        assert (tmp_path / "endpoint.json").exists()
        venue.process.send_signal(signal.SIGINT)
        assert venue.process.wait(5) == 0, "without a lock to watch, Ctrl-C ends it"
        assert not (tmp_path / "endpoint.json").exists()


def test_it_listens_with_its_whole_history_from_the_first_moment(tmp_path):
    with VenueProcess(tmp_path / "new") as venue:
        now = int(time.time())
        assert len(venue.client().get_candles("SOL-USD", str(now - 18_000), str(now), "ONE_MINUTE").candles) >= 299


def test_sigterm_ends_it_with_zero_also_with_open_connections_and_held_requests(tmp_path):
    with VenueProcess(tmp_path) as venue:
        venue.faults({"kind": "hold", "seconds": 180, "path": "/time"})
        context = socket.create_connection(tuple(venue.line["rest"].split(":")))
        begin = time.monotonic()
        assert venue.stop() == 0
        assert time.monotonic() - begin < 3
        context.close()


def test_with_a_lock_to_watch_it_ignores_int_and_hup_and_leaves_when_the_lock_was_free_long_enough(tmp_path):
    lock = tmp_path / "instance.lock"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with VenueProcess(tmp_path / "v", "--watch-lock", str(lock), "--watch-free-s", "1.0") as venue:
        venue.process.send_signal(signal.SIGINT)
        venue.process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            venue.process.wait(1.5)
        os.close(descriptor)
        begin = time.monotonic()
        assert venue.process.wait(8) == 0
        assert time.monotonic() - begin > 0.9


def test_a_taken_port_a_busy_data_dir_and_a_foreign_market_are_one_sentence_and_exit_two(
    tmp_path, shared_venue, capsys
):
    port = shared_venue.line["rest"].split(":")[1]
    csv = tmp_path / "m"
    csv.mkdir()
    rows = "".join(f"{n * 300},100,101,99,100,1\n" for n in range(100))
    (csv / "BTC-USD_5m.csv").write_text("ts,open,high,low,close,volume\n" + rows)
    for arguments, words in (
        (["--data-dir", str(tmp_path / "b"), "--port", port], f"--port {port}: Address already in use"),
        (["--data-dir", str(shared_venue.folder)], f"is in use by a venue with pid {shared_venue.process.pid}"),
        (["--data-dir", str(tmp_path / "b"), "--market", str(csv)], "belongs to the market synthetic"),
        (["--data-dir", str(csv / "BTC-USD_5m.csv")], "cannot be written"),
        (["--data-dir", str(tmp_path / "c"), "--speed", "0"], "--speed 0: must be above 0"),
        (["--data-dir", str(tmp_path / "c"), "--cash", "lots"], "--cash lots: not an amount"),
        (["--data-dir", str(tmp_path / "c"), "--from", "2025-01-01"], "--from is for a recorded market"),
    ):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1


def test_a_damaged_ledger_is_refused_with_a_sentence(tmp_path, capsys):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all" * 500)
    assert main(["--data-dir", str(tmp_path)]) == 3
    assert "ledger.sqlite cannot be opened" in capsys.readouterr().err


@needs_shared
def test_a_recording_plays_at_its_speed_and_resumes_where_it_stood(tmp_path):
    arguments = ("--market", str(SHARED / "ohlcv_5m"), "--speed", "600", "--from", "2025-10-10T20:00")
    with VenueProcess(tmp_path, *arguments) as venue:
        assert venue.line["products"] == ["BTC-USD", "SOL-USD"]
        assert venue.line["t0"] == 1_760_126_400.0
        client = venue.client()
        start = str(1_760_126_400 - 300 * 300)
        candles = client.get_candles("BTC-USD", start, "1760126400", "FIVE_MINUTE").candles
        assert len(candles) >= 299
        eventually(lambda: venue.door("GET", "clock")["now"] > 1_760_126_400 + 900, patience_s=5)
        played = {
            row.start: row for row in client.get_candles("SOL-USD", "1760126400", "1760127000", "FIVE_MINUTE").candles
        }
        assert abs(D(played["1760126400"].close) - D("205.94")) < 3
        stood = venue.door("GET", "clock")["now"]
        venue.kill()
    with VenueProcess(tmp_path, *arguments[:-2]) as venue:
        assert stood - 2 * 600 <= venue.line["t0"] <= stood + 2 * 600


def test_the_ledger_is_a_database_that_people_can_query(tmp_path):
    with VenueProcess(tmp_path) as venue:
        venue.client().limit_order_gtc_buy("q", "DOGE-USD", base_size="100", limit_price="0.02")
        venue.stop()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        assert db.execute("SELECT client_order_id, status FROM orders").fetchall() == [("q", "OPEN")]
