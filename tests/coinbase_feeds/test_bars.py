"""Closed bars: complete or asked for, in order of time, none twice."""

from __future__ import annotations

import os
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.bar_cache import BarReader, BarWriter
from exchange.coinbase.bar_desk import BarDesk
from exchange.coinbase.bars import Backfill, BarBuilder, BarGap, refusal
from exchange.coinbase.feed_words import Acknowledged, CandleSeen, Disconnected, Heartbeat, Malformed, Trade
from tests.support import eventually
from trading.messages.market import Bar
from trading.messages.orders import Candle

T0 = 1_800_000_000  # a full hour
assert T0 % 3600 == 0


def trade(at: float, price: str = "10", size: str = "1", number: int | None = None) -> Trade:
    return Trade(
        "BTC-USD", str(number if number is not None else int(at * 1000)), Decimal(price), Decimal(size), "BUY", at
    )


def candle(start: int, close: float = 10.0, volume: float = 1.0) -> Candle:
    return Candle(start_s=start, open=10.0, high=max(10.0, close), low=min(10.0, close), close=close, volume=volume)


def running(at: float = T0, **settings) -> BarBuilder:
    """A builder whose history has been answered (empty) and whose trades are known from `at` on."""
    builder = BarBuilder(**settings)
    builder.start("BTC-USD", at)
    builder.clock(at + 4)
    for request in builder.wanted():
        builder.answered(request, [])
    builder.known(["BTC-USD"], at)
    return builder


def bars_of(out, bar_s=60):
    return [item for item in out if isinstance(item, Bar) and item.bar_s == bar_s]


def test_a_minute_closes_only_after_its_end_and_the_grace():
    builder = running()
    builder.trade(trade(T0 + 5, "10"))
    builder.trade(trade(T0 + 20, "12", "2"))
    builder.trade(trade(T0 + 40, "9"))
    builder.trade(trade(T0 + 61, "99"))
    assert builder.clock(T0 + 61.4) == []
    (bar,) = builder.clock(T0 + 61.6)
    assert (bar.start_s, bar.open, bar.high, bar.low, bar.close, bar.volume) == (T0, 10.0, 12.0, 9.0, 9.0, 4.0)
    assert not bar.backfill


def test_a_minute_without_trades_is_nothing_as_at_the_venue():
    builder = running()
    assert builder.clock(T0 + 200) == []
    assert builder.wanted() == []


def test_a_late_trade_never_changes_a_closed_bar():
    builder = running()
    builder.trade(trade(T0 + 5))
    (bar,) = builder.clock(T0 + 62)
    builder.trade(trade(T0 + 59, "99"))
    builder.clock(T0 + 122)
    assert bar.close == 10.0
    assert builder.counts["trades_late"] == 1


def test_a_trade_told_twice_is_counted_once():
    builder = running()
    builder.trade(trade(T0 + 5, number=1))
    builder.trade(trade(T0 + 5, number=1))
    assert builder.clock(T0 + 62)[0].volume == 1.0


def test_wider_bars_are_made_of_minutes():
    builder = running()
    out = []
    for minute in range(60):
        builder.trade(trade(T0 + 60 * minute + 1, str(10 + minute)))
        out += builder.clock(T0 + 60 * minute + 62)
    assert [len(bars_of(out, width)) for width in (60, 300, 900, 3600)] == [60, 12, 4, 1]
    (hour,) = bars_of(out, 3600)
    assert (hour.open, hour.high, hour.low, hour.close, hour.volume) == (10.0, 69.0, 10.0, 69.0, 60.0)


def test_a_minute_with_a_disconnect_in_it_is_asked_for_and_later_ones_wait():
    builder = running()
    builder.trade(trade(T0 + 5))
    builder.lost()
    builder.known(["BTC-USD"], T0 + 30)
    builder.trade(trade(T0 + 70, "11"))
    assert builder.clock(T0 + 122) == [], "the second minute is complete, but may not overtake the first"
    (request,) = builder.wanted()
    assert request == Backfill("BTC-USD", 60, T0, T0 + 60)
    out = builder.answered(request, [candle(T0, 10.5, 7.0)])
    assert [(bar.start_s, bar.volume) for bar in bars_of(out)] == [(T0, 7.0), (T0 + 60, 1.0)]


def test_an_answer_without_the_candle_of_a_minute_that_traded_is_asked_again():
    builder = running()
    builder.trade(trade(T0 + 5))
    builder.lost()
    builder.clock(T0 + 64)
    (request,) = builder.wanted()
    assert builder.answered(request, []) == []
    builder.clock(T0 + 85)
    (again,) = builder.wanted()
    assert [bar.start_s for bar in bars_of(builder.answered(again, [candle(T0)]))] == [T0]


def test_an_unanswered_hole_becomes_an_explicit_gap_and_time_goes_on():
    builder = running(patience_s=60.0)
    builder.lost()
    builder.clock(T0 + 62)
    builder.known(["BTC-USD"], T0 + 62)
    builder.trade(trade(T0 + 121))
    out = builder.clock(T0 + 130) + builder.clock(T0 + 182) + builder.clock(T0 + 250) + builder.clock(T0 + 310)
    assert BarGap("BTC-USD", 60, T0, T0 + 60) in out
    assert [bar.start_s for bar in bars_of(out)] == [T0 + 120]
    assert BarGap("BTC-USD", 300, T0, T0 + 300) in out, "five minutes with an unknown minute in them are not known"


def test_the_candles_channel_fills_a_five_minute_bucket_that_has_a_hole():
    builder = running(patience_s=60.0)
    builder.lost()
    builder.clock(T0 + 62)
    builder.known(["BTC-USD"], T0 + 62)
    for start in (T0, T0 + 300):
        builder.candle_seen(CandleSeen("BTC-USD", start, 10.0, 13.0, 9.0, 12.0, 5.0))
    out = builder.clock(T0 + 130) + builder.clock(T0 + 250) + builder.clock(T0 + 310)
    assert [(bar.start_s, bar.high) for bar in bars_of(out, 300)] == [(T0, 13.0)]


def test_history_comes_first_and_marked_as_such():
    builder = BarBuilder(history_bars=3)
    builder.start("BTC-USD", T0 + 30)
    builder.known(["BTC-USD"], T0)
    builder.trade(trade(T0 + 40))
    builder.clock(T0 + 62)
    requests = {request.bar_s: request for request in builder.wanted()}
    assert set(requests) == {60, 300, 900, 3600}
    assert requests[60] == Backfill("BTC-USD", 60, T0 - 180, T0)
    out = builder.answered(requests[60], [candle(T0 - 60), candle(T0 - 180)])
    assert [(bar.start_s, bar.backfill) for bar in out] == [(T0 - 180, True), (T0 - 60, False), (T0, False)]
    (hours,) = builder.answered(requests[3600], [candle(T0 - 3600)])
    assert (hours.start_s, hours.backfill) == (T0 - 3600, False)
    assert builder.answered(requests[3600], [candle(T0 - 3600)]) == [], "one answer counts once"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (candle(T0 + 1), "bar_misaligned"),
        (Candle(start_s=T0, open=1.0, high=float("nan"), low=1.0, close=1.0, volume=0.0), "bar_not_finite"),
        (Candle(start_s=T0, open=1.0, high=2.0, low=1.5, close=1.6, volume=0.0), "bar_inconsistent"),
        (Candle(start_s=T0, open=1.0, high=1.0, low=1.0, close=1.0, volume=-1.0), "bar_inconsistent"),
        (candle(T0 + 60), "bar_open"),
        (candle(T0), None),
    ],
)
def test_a_candle_is_refused_with_a_code(bad, code):
    assert refusal(bad, 60, T0 + 60) == code


def test_a_misaligned_candle_never_becomes_a_bar():
    builder = BarBuilder(history_bars=3)
    builder.start("BTC-USD", T0)
    builder.clock(T0 + 10)
    request = next(request for request in builder.wanted() if request.bar_s == 60)
    assert builder.answered(request, [candle(T0 - 59)]) == []
    assert builder.counts["bar_misaligned"] == 1


def test_a_leap_of_the_clock_begins_again_instead_of_asking_for_ages():
    builder = running()
    out = builder.clock(T0 + 30 * 86_400)
    assert [type(item) for item in out] == [BarGap]
    builder.clock(T0 + 30 * 86_400 + 4)
    assert all(request.start_s > T0 + 15 * 86_400 for request in builder.wanted())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("trade"), st.integers(0, 900)),
            st.tuples(st.just("clock"), st.integers(0, 900)),
            st.tuples(st.sampled_from(["lost", "known", "answer", "refuse"]), st.just(0)),
        ),
        max_size=120,
    )
)
def test_whatever_happens_bars_come_in_order_of_time_and_none_twice(steps):
    builder = BarBuilder(history_bars=5, patience_s=120.0)
    builder.start("BTC-USD", T0)
    told, now = [], float(T0)
    for number, (kind, offset) in enumerate(steps):
        if kind == "trade":
            builder.trade(trade(T0 + offset, number=number))
        elif kind == "clock":
            now = max(now, T0 + offset)
            told += builder.clock(now)
        elif kind == "lost":
            builder.lost()
        elif kind == "known":
            builder.known(["BTC-USD"], now)
        else:
            for request in builder.wanted():
                told += builder.answered(request, [candle(request.start_s)] if kind == "answer" else [])
    told += builder.clock(T0 + 5000)
    for width in (60, 300, 900, 3600):
        starts = [bar.start_s for bar in bars_of(told, width)]
        assert starts == sorted(set(starts))
    assert all(bar.start_s % bar.bar_s == 0 and bar.low <= bar.open <= bar.high for bar in told if isinstance(bar, Bar))


# the cache


def bar(start: int, bar_s: int = 60) -> Bar:
    return Bar("BTC-USD", bar_s, start, 1.0, 2.0, 0.5, 1.5, 3.0)


def test_every_reader_keeps_its_own_place_and_loses_none(tmp_path):
    writer, reader = BarWriter(tmp_path), BarReader(tmp_path)
    assert reader.since("BTC-USD", 60, 0) == []
    writer.append([bar(T0), bar(T0 + 60)])
    first = reader.since("BTC-USD", 60, 0)
    assert [(b.number, b.start_s) for b in first] == [(1, T0), (2, T0 + 60)]
    writer.append([bar(T0 + 120), bar(T0, 300)])
    assert [b.number for b in reader.since("BTC-USD", 60, 2)] == [3]
    assert [b.number for b in reader.since("BTC-USD", 300, 0)] == [1]
    assert [b.start_s for b in reader.newest("BTC-USD", 60, 2, as_history=True)] == [T0 + 60, T0 + 120]


def test_a_restart_goes_on_numbering_and_tells_nothing_twice(tmp_path):
    writer = BarWriter(tmp_path)
    writer.append([bar(T0), bar(T0 + 60)])
    writer.close()
    writer = BarWriter(tmp_path)
    assert writer.last("BTC-USD", 60).number == 2
    assert [b.number for b in writer.append([bar(T0 + 60), bar(T0 + 120)])] == [3]
    assert [b.start_s for b in BarReader(tmp_path).since("BTC-USD", 60, 0)] == [T0, T0 + 60, T0 + 120]


def test_a_torn_tail_is_not_read_and_cut_on_opening(tmp_path):
    writer = BarWriter(tmp_path)
    writer.append([bar(T0), bar(T0 + 60)])
    writer.close()
    path = tmp_path / "BTC-USD.60.bars"
    os.truncate(path, path.stat().st_size - 5)
    assert [b.number for b in BarReader(tmp_path).since("BTC-USD", 60, 0)] == [1]
    writer = BarWriter(tmp_path)
    writer.append([bar(T0 + 60)])
    assert [b.number for b in BarReader(tmp_path).since("BTC-USD", 60, 0)] == [1, 2]


def test_a_record_that_does_not_fit_its_checksum_ends_what_is_read(tmp_path):
    BarWriter(tmp_path).append([bar(T0), bar(T0 + 60)])
    path = tmp_path / "BTC-USD.60.bars"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert [b.number for b in BarReader(tmp_path).since("BTC-USD", 60, 0)] == [1]


def test_the_file_is_cut_to_its_newest_records_while_readers_go_on(tmp_path):
    writer, reader = BarWriter(tmp_path), BarReader(tmp_path)
    writer.append([bar(T0 + 60 * n) for n in range(9_999)])
    assert [b.number for b in reader.since("BTC-USD", 60, 9_998)] == [9_999]
    writer.append([bar(T0 + 60 * 9_999)])
    writer.append([bar(T0 + 60 * 10_000)])
    assert [b.number for b in reader.since("BTC-USD", 60, 9_999)] == [10_000, 10_001]
    assert len(reader.since("BTC-USD", 60, 0)) == 5_001
    assert [b.number for b in reader.newest("BTC-USD", 60, 3)] == [9_999, 10_000, 10_001]
    writer.close()
    assert BarWriter(tmp_path).last("BTC-USD", 60).number == 10_001


def test_forgetting_a_series_keeps_its_numbers_rising(tmp_path):
    writer, reader = BarWriter(tmp_path), BarReader(tmp_path)
    writer.append([bar(T0), bar(T0 + 60)])
    writer.forget("BTC-USD", 60)
    assert reader.since("BTC-USD", 60, 0) == []
    writer.append([bar(T0 - 600)])
    assert [b.number for b in reader.since("BTC-USD", 60, 2)] == [3]
    writer.close()
    assert BarWriter(tmp_path).append([bar(T0)])[0].number == 4


# the desk


def test_the_desk_fetches_history_builds_minutes_and_numbers_them(tmp_path):
    told: list[Bar] = []
    desk = BarDesk(
        BarBuilder(history_bars=5),
        BarWriter(tmp_path),
        lambda request: [candle(start) for start in range(request.start_s, request.end_s, request.bar_s)],
        lambda bars, gaps: told.extend(bars),
    )
    desk.set_products(["BTC-USD"])
    desk.take([Heartbeat(T0, 0.0, ""), Acknowledged({"market_trades": ("BTC-USD",)}), Heartbeat(T0 + 4, 0.0, "")])
    eventually(lambda: len(desk._answers) == 4)
    desk.take([Heartbeat(T0 + 5, 0.0, "")])
    assert len(told) == 20
    desk.take([trade(T0 + 61), trade(T0 + 65), Heartbeat(T0 + 122, 0.0, "")])
    eventually(lambda: desk._answers)
    desk.take([Heartbeat(T0 + 123, 0.0, "")])
    assert [b.start_s for b in BarReader(tmp_path).newest("BTC-USD", 60, 2)] == [T0, T0 + 60]
    desk.close()


def test_a_trades_frame_that_cannot_be_read_makes_its_minute_a_hole(tmp_path):
    asked = []

    def fetch(request):
        asked.append(request)
        return []

    desk = BarDesk(BarBuilder(history_bars=5), BarWriter(tmp_path), fetch)
    desk.set_products(["BTC-USD"])
    desk.take([Heartbeat(T0, 0.0, ""), Acknowledged({"market_trades": ("BTC-USD",)}), Heartbeat(T0 + 4, 0.0, "")])
    eventually(lambda: len(desk._answers) == 4)
    desk.take([Malformed("candles: KeyError"), Heartbeat(T0 + 125, 0.0, "")])
    assert Backfill("BTC-USD", 60, T0 + 60, T0 + 120) not in asked
    desk.take(
        [Malformed("market_trades: KeyError 'price'"), Heartbeat(T0 + 140, 0.0, ""), Heartbeat(T0 + 190, 0.0, "")]
    )
    eventually(lambda: Backfill("BTC-USD", 60, T0 + 120, T0 + 180) in asked)
    desk.close()


def test_a_fetch_that_raises_is_asked_again(tmp_path):
    calls = []

    def fetch(request):
        calls.append(request)
        if len(calls) <= 4:
            raise OSError("no network")
        return []

    desk = BarDesk(BarBuilder(history_bars=5), BarWriter(tmp_path), fetch)
    desk.set_products(["BTC-USD"])
    desk.take([Heartbeat(T0, 0.0, ""), Heartbeat(T0 + 4, 0.0, "")])
    eventually(lambda: desk.fetch_errors == 4)
    desk.take([Heartbeat(T0 + 20, 0.0, "")])
    eventually(lambda: len(desk._answers) == 4)
    desk.close()


def test_bars_of_the_future_are_forgotten(tmp_path):
    writer = BarWriter(tmp_path)
    writer.append([bar(T0 + 86_400)])
    desk = BarDesk(BarBuilder(), writer, lambda request: None)
    desk.set_products(["BTC-USD"])
    desk.take([Heartbeat(T0, 0.0, "")])
    assert BarReader(tmp_path).since("BTC-USD", 60, 0) == []
    desk.take([Disconnected(1, "", 0.0)])
    desk.close()
