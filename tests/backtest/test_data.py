"""Candles in columns: read like lists, cut without copies of objects, streamed in order of their ends."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from exchange.simulator.market import Bar as Candle
from exchange.simulator.recorded import RecordingError
from simulation.backtest.data import Columns, Dataset, generated, recorded
from simulation.backtest.engine import Backtest
from tests.backtest.test_backtest import LOADED


def flat(start_s: int, bar_s: int, number: int, price: float = 100.0) -> list[Candle]:
    return [Candle(start_s + n * bar_s, price, price, price, price, 1.0) for n in range(number)]


def csv(folder: Path, name: str, candles: list[Candle]) -> None:
    rows = [f"{c.start_s},{c.open},{c.high},{c.low},{c.close},{c.volume}" for c in candles]
    (folder / name).write_text("ts,open,high,low,close,volume\n" + "\n".join(rows) + "\n", encoding="utf-8")


def test_columns_read_like_the_list_they_were_made_of() -> None:
    candles = flat(600, 60, 5)
    columns = Columns(candles)
    assert list(columns) == candles
    assert columns[2] == candles[2]
    assert list(columns[1:3]) == candles[1:3]
    assert len(columns) == 5


def test_bars_of_different_lengths_come_by_their_end_and_each_product_is_numbered() -> None:
    data = Dataset(
        name="two", series={"A-USD": flat(0, 300, 2), "B-USD": flat(0, 60, 10)}, bar_s={"A-USD": 300, "B-USD": 60}
    )
    groups = list(data.groups())
    assert [bars[0].end_s for bars in groups] == list(range(60, 601, 60))
    assert [bar.product_id for bar in groups[4]] == ["A-USD", "B-USD"]
    assert [bar.number for bar in data.stream(["A-USD"])] == [1, 2]


def test_only_whole_candles_inside_the_chosen_time_are_played() -> None:
    data = Dataset(name="one", series={"A-USD": flat(0, 60, 10)}, bar_s={"A-USD": 60})
    part = data.between(60, 359)
    assert (part.start_s, part.end_s) == (60, 300)
    with pytest.raises(RecordingError, match="no candle"):
        data.between(10_000, None)


def test_several_files_of_a_product_are_one_series_and_the_later_file_counts_where_they_overlap(tmp_path: Path) -> None:
    csv(tmp_path, "BTC-USD_a.csv", flat(0, 60, 6, 100.0))
    csv(tmp_path, "BTC-USD_b.csv", flat(300, 60, 6, 200.0))
    (columns,) = recorded(tmp_path).series.values()
    assert list(columns.start_s) == list(range(0, 660, 60))
    assert list(columns.close) == [100.0] * 5 + [200.0] * 6


@pytest.mark.parametrize("bar_s", [1, 60, 3_600, 86_400])
def test_candles_from_a_second_to_a_day_backtest(tmp_path: Path, bar_s: int) -> None:
    csv(tmp_path, "BTC-USD.csv", flat(1_760_054_400, bar_s, 30))
    data = recorded(tmp_path)
    config = LOADED.config
    run = Backtest(data, config=config, costs=config.costs, seed=1, config_hash="cafe", facts={}).run()
    assert data.bar_s == {"BTC-USD": bar_s}
    assert run.equity[-1].cash_usd == config.costs.start_cash_usd


def test_lengths_that_cannot_be_and_folders_without_candles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no CSV file"):
        recorded(tmp_path)
    csv(tmp_path, "BTC-USD.csv", flat(0, 7, 5))
    with pytest.raises(RecordingError, match="bars of 7 s are not supported"):
        recorded(tmp_path)


def test_a_candle_held_costs_no_more_than_its_six_numbers() -> None:
    tracemalloc.start()
    try:
        data = generated(1, ("BTC-USD",), 7)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data.bars == 7 * 1_440
    # 48 bytes and the columns' room to grow, beside what the market itself remembers of seven days.
    columns = next(iter(data.series.values()))
    sizes = sum(getattr(columns, name).buffer_info()[1] * 8 for name in Columns.__slots__)
    assert sizes == data.bars * 48
    assert held < data.bars * 48 + 3_000_000


def test_the_cost_of_a_run_grows_with_its_bars_and_not_faster() -> None:
    """Deliveries, not seconds: nothing that is done again for everything that was done before."""
    from tests.backtest.test_backtest import backtest, stirred

    few, many = backtest(stirred(days=2)), backtest(stirred(days=6))
    few.run()
    many.run()
    assert many.world.stage.deliveries < 3 * 1.5 * few.world.stage.deliveries
    assert len(many.world.stage._heap) < 200
