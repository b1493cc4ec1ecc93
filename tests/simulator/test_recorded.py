"""Recorded candles as a market: exactly the recorded prices, and one sentence for what cannot be read."""

from __future__ import annotations

import math

import pytest

from exchange.simulator.candles import Candles
from exchange.simulator.market import Bar
from exchange.simulator.recorded import RecordedMarket, RecordingError, part_of, read_folder
from exchange.simulator.server import main
from exchange.simulator.words import parse_time, rfc3339
from tests.simulator.venue_process import SHARED, needs_shared

HEADER = "ts,open,high,low,close,volume\n"


def write(folder, rows, name="BTC-USD_5m_x.csv", header=HEADER):
    (folder / name).write_text(header + "".join(f"{row}\n" for row in rows))
    return folder


def wavy(start, count, bar_s=300):
    price = 100.0
    for n in range(count):
        close = round(price * (1 + 0.01 * math.sin(n / 7)), 2)
        high, low = round(max(price, close) + 0.5, 2), round(min(price, close) - 0.4, 2)
        yield f"{start + n * bar_s},{price},{high},{low},{close},{10 + n % 7}"
        price = close


def test_a_played_bar_has_exactly_the_recorded_prices(tmp_path):
    write(tmp_path, wavy(1_700_000_100, 6000))
    market = RecordedMarket(tmp_path, 1_700_900_100.0)
    recorded = read_folder(tmp_path)["BTC-USD"].at(market.start_s)
    minutes = market.minute_bars("BTC-USD", recorded.start_s // 60, recorded.start_s // 60 + 4)
    assert len(minutes) == 5
    assert (minutes[0].open, minutes[-1].close) == (recorded.open, recorded.close)
    assert max(bar.high for bar in minutes) == recorded.high
    assert min(bar.low for bar in minutes) == recorded.low
    assert sum(bar.volume for bar in minutes) == pytest.approx(recorded.volume)


def test_a_rising_bar_meets_its_low_first_and_a_falling_one_its_high():
    rising, falling = Bar(0, 100, 110, 90, 105, 1), Bar(0, 105, 110, 90, 100, 1)
    assert part_of(rising, 300, 60, 60).low == 90
    assert part_of(falling, 300, 60, 60).high == 110


def test_live_prints_stay_within_a_tick_of_the_recorded_bar(tmp_path):
    write(tmp_path, wavy(1_700_000_100, 6000))
    market = RecordedMarket(tmp_path, 1_700_900_100.0, step_s=1.0)
    candles = Candles(market)
    start = int(market.start_s)
    for step in range(start, start + 600):
        tick = market.tick("BTC-USD", step)
        for traded in tick.prints:
            candles.trade("BTC-USD", float(traded.price), float(traded.size), float(step))
    for played in candles.bars("BTC-USD", 300, start, start + 599, start + 600.0):
        recorded = market.minute_bars("BTC-USD", played.start_s // 60, played.start_s // 60 + 4)
        assert played.high <= max(bar.high for bar in recorded) + 0.02
        assert played.low >= min(bar.low for bar in recorded) - 0.02
        assert 0.5 < played.volume / sum(bar.volume for bar in recorded) < 1.6


def test_the_market_is_silent_where_bars_are_missing(tmp_path):
    rows = list(wavy(1_700_000_100, 6000))
    del rows[3100:3110]
    market = RecordedMarket(write(tmp_path, rows), 1_700_900_100.0, step_s=1.0)
    hole = 1_700_000_100 + 3105 * 300
    assert market.tick("BTC-USD", hole) is None
    assert market.tick("BTC-USD", hole - 3000) is not None
    assert market.minute_bars("BTC-USD", hole // 60, hole // 60 + 3) == []


@pytest.mark.parametrize(
    ("rows", "line", "why"),
    [
        (["1,2,3"], 2, "3 fields instead of 6"),
        (["0,100,101,99,100,1", "300,100,abc,99,100,1"], 3, "not a number"),
        (["0,100,101,99,100,1", "0,100,101,99,100,1"], 3, "does not come after"),
        (["0,100,101,102,100,1"], 2, "contradict"),
        (["0,100,101,99,100,-1"], 2, "contradict"),
        (["0,100,101,99,nan,1"], 2, "not a number"),
        ([], 1, "no rows"),
    ],
)
def test_a_broken_csv_is_one_sentence_with_file_and_line(tmp_path, rows, line, why):
    write(tmp_path, rows)
    with pytest.raises(RecordingError, match=rf"BTC-USD_5m_x\.csv, line {line}: .*{why}"):
        RecordedMarket(tmp_path)


def test_a_broken_csv_ends_the_process_with_exit_code_two(tmp_path, capsys):
    write(tmp_path, ["0,100,101,99,100,1", "junk"])
    assert main(["--data-dir", str(tmp_path / "d"), "--market", str(tmp_path)]) == 2
    assert "BTC-USD_5m_x.csv, line 3: 1 fields instead of 6" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "why"), [("prices.csv", "does not start with a product"), (None, "no CSV file")])
def test_a_folder_that_is_no_recording_is_named(tmp_path, name, why):
    if name:
        write(tmp_path, ["0,100,101,99,100,1"], name)
    with pytest.raises(RecordingError, match=why):
        RecordedMarket(tmp_path)


@needs_shared
def test_the_recorded_crash_is_where_the_playback_begins_by_itself():
    market = RecordedMarket(SHARED / "ohlcv_5m")
    assert rfc3339(market.start_s)[:13] == "2025-10-10T19"
    assert {product.product_id for product in market.products()} == {"BTC-USD", "SOL-USD"}
    first = int(market.start_s // 60) - 8 * 1440
    assert len(market.minute_bars("SOL-USD", first, int(market.start_s // 60) - 1)) == 8 * 1440
    crash = parse_time("2025-10-10T21:20:00")
    lows = [market.mid("SOL-USD", crash - 3000 + 60 * n) for n in range(120)]
    assert min(lows) < 0.88 * market.mid("SOL-USD", market.start_s)


@needs_shared
@pytest.mark.parametrize("folder", ["ohlcv_1m", "ohlcv_5m", "ohlcv_1m_bidask"])
def test_every_recorded_folder_can_be_played(folder):
    market = RecordedMarket(SHARED / folder)
    for product in market.products():
        ticks = [market.tick(product.product_id, int(market.start_s / market.step_s) + n * 80) for n in range(60)]
        seen = [tick for tick in ticks if tick is not None]
        assert seen
        assert all(0 < tick.bid < tick.ask for tick in seen)
