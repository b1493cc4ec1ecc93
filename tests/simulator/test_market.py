"""The markets: pure functions of time, as deep as the recording, with a past that joins the present."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from decimal import Decimal
from itertools import pairwise

import pytest

from exchange.simulator.candles import GRANULARITIES_S, Candles
from exchange.simulator.market import Move, move_from_json, percent
from exchange.simulator.scenarios import SCENARIOS, scenario_moves
from exchange.simulator.synthetic import SyntheticMarket
from tests.simulator.venue_process import SHARED, needs_shared
from trading.bars import SignalSeries
from trading.regime import classify
from trading.universe_settings import RegimeSettings

NOW = 1_795_500_000.0


def steps(market, seconds, start=NOW):
    return range(int(start / market.step_s), int((start + seconds) / market.step_s))


def mid(tick):
    return float(tick.bid + tick.ask) / 2


def test_the_same_seed_and_second_always_show_the_same_market():
    one, other = SyntheticMarket(3), SyntheticMarket(3)
    other.tick("BTC-USD", int(NOW / other.step_s) + 5000)  # asked in another order
    for step in steps(one, 2):
        for product in ("BTC-USD", "DOGE-USD"):
            assert one.tick(product, step) == other.tick(product, step)
            assert one.depth(product, step, one.tick(product, step)) == other.depth(
                product, step, other.tick(product, step)
            )
    assert SyntheticMarket(4).tick("BTC-USD", steps(one, 1)[0]) != one.tick("BTC-USD", steps(one, 1)[0])


@pytest.mark.parametrize("product", ["BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD", "AVAX-USD"])
def test_no_book_is_ever_crossed_and_every_number_fits_the_product(product):
    market = SyntheticMarket(1)
    listed = next(row for row in market.products() if row.product_id == product)
    for step in steps(market, 60):
        tick = market.tick(product, step)
        assert 0 < tick.bid < tick.ask
        bids, asks = market.depth(product, step, tick)
        prices = [tick.bid, *(price for price, _ in bids)]
        assert prices == sorted(set(prices), reverse=True)
        prices = [tick.ask, *(price for price, _ in asks)]
        assert prices == sorted(set(prices))
        sizes = [tick.bid_size, tick.ask_size, *(size for _, size in bids + asks), *(p.size for p in tick.prints)]
        assert all(size > 0 and size % listed.base_increment == 0 for size in sizes)
        assert all(price % listed.price_increment == 0 for price in prices)
        assert all(p.price in (tick.bid, tick.ask) for p in tick.prints)


def quantiles(values):
    ordered = sorted(values)
    return [ordered[int(len(ordered) * share)] for share in (0.25, 0.5, 0.75, 0.9)]


@needs_shared
def test_spread_and_depth_of_bitcoin_lie_within_a_factor_of_two_of_the_recorded_book():
    first = (SHARED / "ws_raw" / "advanced_trade_l2_BTC-USD_2026-08-24.jsonl").read_text().splitlines()[0]
    rows = [
        (row["side"], float(row["price_level"]), float(row["new_quantity"]))
        for row in json.loads(first)["events"][0]["updates"]
    ]
    bid = max(price for side, price, _ in rows if side == "bid")
    ask = min(price for side, price, _ in rows if side == "offer")
    recorded_mid = (bid + ask) / 2
    within_bps = 0.6  # the snapshot's bids end at 0.65 bps
    recorded_sizes = [size * recorded_mid for _, _, size in rows]
    recorded_depth = [
        sum(
            size * price
            for side, price, size in rows
            if side == wanted and abs(price / recorded_mid - 1) * 1e4 <= within_bps
        )
        for wanted in ("bid", "offer")
    ]
    market = SyntheticMarket(1)
    spreads, sizes, depths, counts = [], [], [], []
    for step in list(steps(market, 600))[::16]:
        tick = market.tick("BTC-USD", step)
        spreads.append(float(tick.ask - tick.bid))
        for best, levels in zip(
            ((tick.bid, tick.bid_size), (tick.ask, tick.ask_size)), market.depth("BTC-USD", step, tick), strict=True
        ):
            near = [
                (float(p), float(s)) for p, s in [best, *levels] if abs(float(p) / mid(tick) - 1) * 1e4 <= within_bps
            ]
            depths.append(sum(price * size for price, size in near))
            counts.append(len(near))
            sizes += [price * size for price, size in [(float(p), float(s)) for p, s in [best, *levels][:15]]]
    print("spread", quantiles(spreads), "recorded", ask - bid)
    print("size of a level, USD", quantiles(sizes), "recorded", quantiles(recorded_sizes))
    print("depth within 0.6 bps, USD", quantiles(depths), "recorded", recorded_depth)
    assert quantiles(spreads)[1] == pytest.approx(ask - bid)
    for ours, theirs in zip(quantiles(sizes), quantiles(recorded_sizes), strict=True):
        assert 0.5 < ours / theirs < 2
    mean_depth = sum(recorded_depth) / 2
    assert all(0.5 < ours / mean_depth < 2 for ours in quantiles(depths)[:3])


def test_volatility_is_what_the_character_says_and_symbols_move_together():
    market = SyntheticMarket(5)
    first = int(NOW // 3600) - 24 * 60
    returns = {}
    for product in ("BTC-USD", "ETH-USD"):
        closes = [bar.close for bar in market.hour_bars(product, first, first + 24 * 60)]
        returns[product] = [math.log(b / a) for a, b in pairwise(closes)]
    volatility = {name: math.sqrt(sum(r * r for r in rows) / len(rows) * 24 * 365) for name, rows in returns.items()}
    assert 0.3 < volatility["BTC-USD"] < 0.9
    assert volatility["ETH-USD"] > volatility["BTC-USD"]
    a, b = returns.values()
    together = sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    assert 0.4 < together < 0.95
    assert max(abs(r) for r in a) > 3 * math.sqrt(sum(r * r for r in a) / len(a)), "no jump in sixty days"


def test_no_day_of_the_coming_season_is_a_crash_by_the_calendar_alone():
    """Whoever starts the bot for the first time meets the market of that day: it must be one that it may enter."""
    market, hours, settings = SyntheticMarket(1, ("BTC-USD",)), SignalSeries(), RegimeSettings()
    first = int(time.time() // 3600) - 24 * 8
    found = Counter()
    for bar in market.hour_bars("BTC-USD", first, first + 24 * 128):
        hours.update(bar.start_s, bar.open, bar.high, bar.low, bar.close, bar.volume)
        if hours.warm_168:
            found[classify(hours.return_168_pct, hours.volatility_pct, settings).name] += 1
            assert bar.low / bar.open > 1 + settings.crash_fall_60m_pct / 100
    print(found, "from hour", first)
    assert found["chop"] > 10 * found["bear"]
    assert not found["crash"]


def test_printed_volume_is_the_paths_volume():
    market = SyntheticMarket(1)
    printed = sum(float(p.size) for step in steps(market, 600) for p in market.tick("SOL-USD", step).prints)
    path = sum(bar.volume for bar in market.minute_bars("SOL-USD", int(NOW // 60), int(NOW // 60) + 9))
    assert 0.8 < printed / path < 1.25


def play(market, candles, seconds):
    for step in steps(market, seconds):
        for product in ("BTC-USD", "SOL-USD"):
            for traded in market.tick(product, step).prints:
                candles.trade(product, float(traded.price), float(traded.size), step * market.step_s)
    return NOW + seconds


def test_history_joins_the_live_path():
    market = SyntheticMarket(1)
    candles = Candles(market)
    now = play(market, candles, 130)
    bars = candles.bars("BTC-USD", 60, NOW - 600, now, now)
    starts = [bar.start_s for bar in bars]
    assert starts == list(range(int(NOW // 60) * 60 - 600, int(now // 60) * 60 + 60, 60))
    for before, after in pairwise(bars):
        assert abs(before.close / after.open - 1) < 0.0005
    live = SyntheticMarket(1).minute_bars("BTC-USD", starts[-2] // 60, starts[-2] // 60)[0]
    assert abs(bars[-2].close / live.close - 1) < 0.0002


@pytest.mark.parametrize("name", GRANULARITIES_S)
def test_at_least_three_hundred_candles_of_every_granularity_and_they_agree(name):
    market = SyntheticMarket(1, ("SOL-USD",))
    candles = Candles(market)
    length = GRANULARITIES_S[name]
    start = NOW // length * length - 300 * length
    bars = candles.bars("SOL-USD", length, start, NOW // length * length - length, NOW)
    assert [bar.start_s for bar in bars] == [int(start) + n * length for n in range(300)]
    sample = bars[150]
    minutes = market.minute_bars("SOL-USD", sample.start_s // 60, (sample.start_s + length) // 60 - 1)
    assert (sample.open, sample.close) == (minutes[0].open, minutes[-1].close)
    assert (sample.high, sample.low) == (max(m.high for m in minutes), min(m.low for m in minutes))
    assert sample.volume == pytest.approx(sum(m.volume for m in minutes))


def test_no_candle_tells_the_future():
    candles = Candles(SyntheticMarket(1))
    now = NOW + 25.0
    assert max(bar.start_s for bar in candles.bars("BTC-USD", 60, NOW - 300, NOW + 9999, now)) < NOW
    hour = candles.bars("BTC-USD", 3600, NOW - 7200, NOW + 9999, now)[-1]
    minutes = candles.bars("BTC-USD", 60, hour.start_s, NOW + 9999, now)
    assert hour.high == max(bar.high for bar in minutes)


def test_the_opening_leads_to_a_rise_a_denial_and_an_exit_within_thirty_seconds():
    market = SyntheticMarket(1)
    before = mid(market.tick("SOL-USD", int(NOW / market.step_s)))
    hourly = sum(bar.volume for bar in market.hour_bars("SOL-USD", int(NOW // 3600) - 24, int(NOW // 3600) - 1)) / 24
    for move in scenario_moves("opening", NOW, 1.0, {"SOL-USD", "DOGE-USD"}):
        market.add_move(move)

    def at(product, after_s):
        return market.tick(product, int((NOW + after_s) / market.step_s))

    assert mid(at("SOL-USD", 7.5)) == pytest.approx(before, rel=0.002)
    assert mid(at("SOL-USD", 9.5)) / before > 1.02
    printed = sum(float(p.size) for step in steps(market, 14) for p in market.tick("SOL-USD", step).prints)
    assert printed > hourly, "a volume confirmation needs volume"
    plateau = [mid(market.tick("SOL-USD", step)) for step in steps(market, 5, NOW + 13.5)]
    assert max(plateau) / min(plateau) < 1.02
    assert any(later < earlier for earlier, later in pairwise(plateau)), "resting bids must be reachable"
    assert max(mid(at("SOL-USD", after)) for after in range(20, 30)) / max(plateau) > 1.12
    denied = at("DOGE-USD", 17)
    assert float(denied.ask - denied.bid) / mid(denied) * 1e4 > 80
    depth = market.depth("DOGE-USD", int((NOW + 17) / market.step_s), denied)
    assert sum(float(p * s) for p, s in depth[0] if float(p) > mid(denied) * 0.998) < 10_000


def end_of_entry(ticks, at, trip, run):
    """What becomes of an entry decided on the quote of step `at`: post-only at its bid, `trip` steps to the venue, and a second try
    on the quote after the refusal, as the bot does. `run`: the step at which the price leaves."""
    for _ in range(2):
        bid, arrives = ticks[at].bid, at + trip
        if ticks[arrives].ask > bid:
            return "filled" if any(ticks[step].ask <= bid for step in range(arrives + 1, run)) else "left behind"
        at = arrives + 1
    return "refused"


@pytest.mark.parametrize("trip_s", [0.125, 0.25, 0.5, 1.0])
def test_an_entry_decided_within_twelve_seconds_of_the_openings_rise_is_filled_before_the_run(trip_s):
    ends = Counter()
    for begins_s in (NOW + 13_711 * n for n in range(8)):
        market = SyntheticMarket(1, ("SOL-USD",))
        for move in scenario_moves("opening", begins_s, 1.0, {"SOL-USD"}):
            market.add_move(move)
        ticks = {step: market.tick("SOL-USD", step) for step in steps(market, 16, begins_s + 8.0)}
        first, run = min(ticks) + 1, min(ticks) + int(14.2 / market.step_s)
        ends.update(end_of_entry(ticks, at, int(trip_s / market.step_s), run) for at in range(first, first + 96))
    assert set(ends) == {"filled"}, ends


def test_the_opening_ends_where_the_market_is_without_it_ten_minutes_later():
    plain, opened = SyntheticMarket(1), SyntheticMarket(1)
    for move in scenario_moves("opening", NOW, 1.0, {"SOL-USD", "DOGE-USD"}):
        opened.add_move(move)
    for product in ("SOL-USD", "DOGE-USD"):
        for after_s in (611, 900, 3600):
            assert opened.mid(product, NOW + after_s) == plain.mid(product, NOW + after_s)


def test_every_scenario_is_usable_and_an_unknown_one_is_a_sentence():
    for name in SCENARIOS:
        scenario_moves(name, NOW, 2.0, {"SOL-USD"})
    with pytest.raises(ValueError, match="no such scenario; there are quiet, opening"):
        scenario_moves("nonsense", NOW, 1.0, set())


def test_a_move_is_data_and_bends_path_bars_and_volume_alike():
    move = move_from_json(
        json.loads(
            json.dumps(Move(product_id="BTC-USD", start_s=NOW, points=((10.0, percent(-20)),), for_s=10.0).as_json())
        )
    )
    market = SyntheticMarket(1)
    plain = market.mid("BTC-USD", NOW + 60)
    market.add_move(move)
    assert market.mid("BTC-USD", NOW) == pytest.approx(SyntheticMarket(1).mid("BTC-USD", NOW))
    assert market.mid("BTC-USD", NOW + 60) == pytest.approx(plain * 0.8)
    assert market.minute_bars("BTC-USD", int(NOW // 60) + 1, int(NOW // 60) + 1)[0].open == pytest.approx(
        plain * 0.8, rel=0.001
    )
    with pytest.raises(ValueError, match="rise in time"):
        move_from_json({"product_id": "BTC-USD", "start_s": 0, "points": [[5, 1], [5, 2]]})


def test_prices_are_exact_multiples_in_text():
    market = SyntheticMarket(1)
    tick = market.tick("DOGE-USD", int(NOW / market.step_s))
    assert tick.bid % Decimal("0.00001") == 0


def test_midnight_is_no_seam():
    market = SyntheticMarket(1)
    for day in range(int(NOW // 86_400) - 30, int(NOW // 86_400)):
        last, first = market.minute_bars("SOL-USD", day * 1440 - 1, day * 1440)
        assert abs(last.close / first.open - 1) < 0.0002
        before, after = market.mid("SOL-USD", day * 86_400 - 0.001), market.mid("SOL-USD", day * 86_400 + 0.001)
        assert abs(before / after - 1) < 0.0002
