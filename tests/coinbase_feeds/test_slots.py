"""Slots and bells across real processes."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import slots as slots_module
from exchange.slots import Bell, BellRinger, SlotReader, SlotWriter, decode, encode
from tests.support import eventually
from trading.messages.market import Quote

ROOT = Path(__file__).parents[2]


def quote(number: int = 1, product: str = "BTC-USD") -> Quote:
    price = Decimal(number)
    return Quote(
        product, price, price + 1, price, price, float(number), float(number), 1.0, last=price, volume_24h_base=2.0
    )


amounts = st.decimals(min_value=0, max_value=10**14, places=10, allow_nan=False).map(lambda d: d)
maybe = st.none() | st.floats(0, 1e15)


@given(
    st.tuples(amounts, amounts, amounts, amounts),
    st.none() | amounts,
    st.tuples(maybe, maybe, maybe),
    st.floats(0, 1e10),
)
def test_a_quote_comes_back_to_the_last_digit(numbers, last, optional, at):
    depth_bid, depth_ask, volume = optional
    sent = Quote("BTC-USD", *numbers, at, at, at, 7, depth_bid, depth_ask, (3, 2**62), last, volume)
    assert decode(encode(sent)) == sent


def test_a_number_too_long_for_its_place_is_refused_with_a_sentence(tmp_path):
    writer, reader = SlotWriter(tmp_path), SlotReader(tmp_path)
    writer.put(quote(1))
    long = quote(2)
    long.bid = Decimal("1." + "1" * 40)
    with pytest.raises(ValueError, match="longer than 32"):
        writer.put(long)
    assert reader.get("BTC-USD").bid == 1


def test_the_newest_quote_wins_and_is_seen_once(tmp_path):
    writer, reader = SlotWriter(tmp_path, (5, 6)), SlotReader(tmp_path)
    assert reader.get("BTC-USD") is None
    assert reader.changed(["BTC-USD"]) == []
    for number in (1, 2, 3):
        writer.put(quote(number))
    writer.put(quote(9, "ETH-USD"))
    seen = reader.changed(["ETH-USD", "BTC-USD", "SOL-USD"])
    assert [(q.product_id, q.bid, q.sequence, q.feed) for q in seen] == [
        ("ETH-USD", 9, 4, (5, 6)),
        ("BTC-USD", 3, 3, (5, 6)),
    ]
    assert reader.changed(["ETH-USD", "BTC-USD"]) == []


def test_a_heartbeat_renews_liveness_and_a_loss_ends_it(tmp_path):
    writer, reader = SlotWriter(tmp_path), SlotReader(tmp_path)
    writer.put(quote(1))
    assert writer.alive(50.0) == ["BTC-USD"]
    assert (reader.get("BTC-USD").alive_boot_s, reader.get("BTC-USD").received_boot_s) == (50.0, 1.0)
    assert writer.lost() == ["BTC-USD"]
    assert reader.get("BTC-USD").alive_boot_s == 0.0
    assert writer.alive(60.0) == [], "a heartbeat of the next connection does not revive a quote of the last one"
    assert reader.get("BTC-USD").bid == 1, "a mark stays readable"


def test_a_new_writer_empties_the_slots_of_the_old_one(tmp_path):
    SlotWriter(tmp_path, (1, 1)).put(quote(1))
    reader = SlotReader(tmp_path)
    assert reader.get("BTC-USD").feed == (1, 1)
    writer = SlotWriter(tmp_path, (1, 2))
    assert reader.get("BTC-USD") is None
    writer.put(quote(2))
    assert reader.changed(["BTC-USD"])[0].feed == (1, 2)


def test_a_quote_from_before_the_last_boot_is_none(tmp_path, monkeypatch):
    SlotWriter(tmp_path).put(quote(1))
    monkeypatch.setattr(slots_module, "_boot_id", lambda: b"another boot id!")
    assert SlotReader(tmp_path).get("BTC-USD") is None


def test_a_writer_killed_midway_leaves_no_quote_and_its_successor_goes_on(tmp_path):
    writer = SlotWriter(tmp_path)
    writer.put(quote(1))
    slot = writer._slots["BTC-USD"]
    slot._sequence_cell[0] = slot._sequence + 1  # as a kill between the two stores leaves it
    reader = SlotReader(tmp_path)
    assert reader.get("BTC-USD") is None
    assert reader.changed(["BTC-USD"]) == []
    SlotWriter(tmp_path).put(quote(2))
    assert reader.get("BTC-USD").bid == 2


def test_a_body_that_does_not_fit_its_checksum_is_not_believed(tmp_path):
    SlotWriter(tmp_path).put(quote(1))
    path = tmp_path / "BTC-USD.slot"
    data = bytearray(path.read_bytes())
    data[80] ^= 1
    path.write_bytes(data)
    assert SlotReader(tmp_path).get("BTC-USD") is None


def test_names_that_are_no_products_give_nothing_and_make_no_file(tmp_path):
    writer, reader = SlotWriter(tmp_path / "slots"), SlotReader(tmp_path / "slots")
    assert reader.get("../BTC-USD") is None
    with pytest.raises(ValueError, match="looks like BTC-USD"):
        writer.put(quote(1, "../../etc/BTC-USD"))
    assert [p.name for p in tmp_path.iterdir()] == ["slots"]


WRITER = """
import sys
from pathlib import Path
from tests.coinbase_feeds.test_slots import quote
from exchange.slots import SlotWriter
writer = SlotWriter(Path(sys.argv[1]))
number = 0
print("up", flush=True)
while True:
    number += 1
    writer.put(quote(number))
"""


def test_no_read_is_torn_while_another_process_writes(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline()
        reader, seen, reads = SlotReader(tmp_path), set(), 0
        eventually(lambda: reader.get("BTC-USD"))
        deadline = time.monotonic() + 15.0
        while len(seen) < 100 and time.monotonic() < deadline:
            got = reader.get("BTC-USD")
            reads += 1
            if got is not None:
                # Every field was derived from one number: a mix of two writes would show.
                assert (
                    got.ask == got.bid + 1 and got.bid_size == got.bid == got.last and got.exchange_s == float(got.bid)
                )
                seen.add(got.bid)
        assert len(seen) == 100, f"{len(seen)} of {reads}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


# bells


def test_a_bell_rings_for_its_products_only(tmp_path):
    ringer = BellRinger(tmp_path)
    btc, every = Bell(tmp_path, "symbol:BTC-USD", ["BTC-USD"]), Bell(tmp_path, "risk")
    eventually(lambda: ringer.ring(["ETH-USD"]))
    assert (btc.drain(), every.drain() > 0) == (0, True)
    assert ringer.ring(["BTC-USD", "ETH-USD"]) == 2
    assert select.select([btc], [], [], 1)[0]
    assert (btc.drain(), every.drain()) == (1, 1)
    btc.want(["SOL-USD"])
    eventually(lambda: ringer.ring(["SOL-USD"]) == 2)


def test_a_full_a_dead_and_a_vanished_receiver_never_block_the_ringer(tmp_path):
    ringer = BellRinger(tmp_path)
    full, dead, gone = Bell(tmp_path, "full"), Bell(tmp_path, "dead"), Bell(tmp_path, "gone")
    eventually(lambda: ringer.ring(["BTC-USD"]) == 3)
    dead.socket.close()
    gone.close()
    begin = time.perf_counter()
    for _ in range(2_000):
        ringer.ring(["BTC-USD"])
    assert time.perf_counter() - begin < 20.0, "one that blocked it would hold it for ever"
    assert ringer.full > 1_000
    assert full.drain() > 5
    again = Bell(tmp_path, "dead")
    eventually(lambda: ringer.ring(["BTC-USD"]) == 2)
    assert again.drain()


def test_a_data_folder_with_a_very_long_path_has_bells_too(tmp_path):
    folder = tmp_path / ("x" * 60) / ("y" * 60)
    folder.mkdir(parents=True)
    ringer, bell = BellRinger(folder), Bell(folder, "exits")
    eventually(lambda: ringer.ring(["BTC-USD"]))
    assert bell.drain()
