"""The live machines over candles: deterministic to the byte, blind to the future, pessimistic inside a bar."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from attrs import evolve
from rich.console import Console

from cli.backtest_commands import show
from config.schema import load_config
from exchange.simulator.market import Bar as Candle
from simulation.backtest import engine
from simulation.backtest.data import Dataset, generated
from simulation.backtest.engine import Backtest
from simulation.backtest.path import corners, price_at
from simulation.backtest.report import max_drawdown, summary, write
from telemetry.terminal import PlainView
from tests.backtest.markets import jumping
from tests.support import shared_data
from trading.messages.market import Bar
from trading.values import utc_text

LOADED = load_config("staging")
DAYS = 3


def stirred(seed: int = 7, days: int = DAYS) -> Dataset:
    """A generated market in which something happens: a rise on heavy volume, then a run to the target or a fall to the stop."""
    dataset = generated(seed, ("BTC-USD", "SOL-USD"), days)
    series = {}
    for number, (product, candles) in enumerate(sorted(dataset.series.items())):
        bent, factor = [], 1.0
        for index, c in enumerate(candles):
            before = factor
            hour = (index + 300 * number) % 720
            heavy = 360 <= hour < 372
            if heavy:
                factor *= 1.0025
            elif 430 <= hour < 520:
                factor *= 1.002 if (index // 720 + number) % 2 else 0.998
            top, low = max(before, factor), min(before, factor)
            bent.append(
                Candle(
                    c.start_s,
                    c.open * before,
                    c.high * top,
                    c.low * low,
                    c.close * factor,
                    c.volume * (40 if heavy else 1),
                )
            )
        series[product] = bent
    return Dataset(name="stirred", series=series, bar_s=dict.fromkeys(series, 60))


def backtest(dataset: Dataset, **changes: object) -> Backtest:
    config = evolve(LOADED.config, **changes) if changes else LOADED.config
    return Backtest(dataset, config=config, costs=config.costs, seed=1, config_hash="cafe", facts={"seed": 1})


@pytest.fixture(scope="module")
def played():
    test = backtest(stirred())
    return test, test.run()


def test_the_market_of_these_tests_leads_to_trades_that_end_by_stop_and_by_target(played) -> None:
    _, run = played
    reasons = {trade.exit_reason for trade in run.trades}
    assert len(run.trades) >= 2
    assert reasons & {"stop", "target"}


def test_the_same_seed_gives_the_same_bytes(played, tmp_path: Path) -> None:
    write(played[1], tmp_path / "a")
    write(backtest(stirred()).run(), tmp_path / "b")
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("share", [0.15, 0.6], ids=["inside the first day", "later"])
def test_another_future_changes_nothing_before_it(played, share: float) -> None:
    """Every price and volume after the cut is different; every decision before it is the same."""
    dataset = stirred()
    cut_s = dataset.start_s + int(DAYS * 86_400 * share) // 60 * 60
    other = {
        product: [
            c
            if c.start_s < cut_s
            else Candle(c.start_s, c.open * 0.7, c.high * 0.7, c.low * 0.6, c.close * 0.65, c.volume * 9)
            for c in candles
        ]
        for product, candles in dataset.series.items()
    }
    run = backtest(Dataset(name="stirred", series=other, bar_s=dataset.bar_s)).run()

    def before(decisions: object) -> list[object]:
        return [d for d in decisions if d["at"] < utc_text(cut_s)]  # type: ignore[attr-defined]

    assert before(run.decisions) == before(played[1].decisions)
    assert len(before(run.decisions)) > 10
    assert run.decisions != played[1].decisions


def test_bars_that_are_skipped_would_have_changed_nothing(played, monkeypatch) -> None:
    monkeypatch.setattr(engine, "NEAR", 1e9)  # not a mock: every bar with a position is walked through
    walked = backtest(stirred()).run()
    assert [(t.opened_s, t.pnl_usd, t.exit_reason) for t in walked.trades] == [
        (t.opened_s, t.pnl_usd, t.exit_reason) for t in played[1].trades
    ]


def test_the_equity_follows_from_the_fills(played) -> None:
    figures = summary(played[1])
    assert figures["fills"] >= 2 * figures["trades"]
    assert float(figures["fees_usd"]) > 0


def test_every_exit_by_stop_lies_between_the_stop_and_the_bars_low_less_tolerance(played) -> None:
    test, run = played
    bars = {p: {c.start_s: c for c in candles} for p, candles in test.dataset.series.items()}
    stops = [trade for trade in run.trades if trade.exit_reason == "stop"]
    assert stops
    for trade in stops:
        bar = bars[trade.product_id][int(trade.closed_s // 60 * 60)]
        stop = float(trade.entry_price) * 0.94
        assert bar.low * 0.99 <= float(trade.exit_price) <= stop


def test_what_the_end_of_the_data_leaves_open_is_listed_valued_and_counted(played, capsys) -> None:
    """The same market, cut in the middle of the first trade."""
    first = played[1].trades[0]
    cut_s = int((first.opened_s + first.closed_s) / 2)
    run = backtest(stirred().between(None, cut_s)).run()
    figures = summary(run)
    assert not run.trades
    (row,) = figures["open_positions"]
    assert (row["product_id"], row["opened_s"]) == (first.product_id, utc_text(first.opened_s))
    gained = run.equity[-1].equity_usd - run.start_cash_usd
    assert float(row["pnl_usd"]) == pytest.approx(float(gained), abs=0.01)
    held_s = run.equity[-1].s - first.opened_s
    assert figures["exposure_time"] == pytest.approx(held_s / (run.equity[-1].s - run.equity[0].s), abs=1e-5)
    show(Console(width=150), {**figures, "data": "stirred", "config_hash": "cafe"})
    assert "still open at the end" in capsys.readouterr().out


def test_a_fall_and_recovery_between_two_full_hours_is_in_the_drawdown() -> None:
    """The equity is kept once an hour; SOL-USD falls by four percent for ten minutes in the middle of one."""
    dip_s = 3 * 3_600 + 1_200

    def bend(after_s: int, c: Candle) -> Candle:
        back = {dip_s: 0.96, dip_s + 600: 1 / 0.96}.get(after_s, 1.0)
        close = c.close * back
        return Candle(c.start_s, c.open, max(c.high, close), min(c.low, close), close, c.volume * 20)

    run = backtest(jumping(60, 26 * 3_600, 1.5, lambda s, c: bend(s, c) if s in (dip_s, dip_s + 600) else c)).run()
    (holding,) = run.open_positions
    value = float(holding.base_size * holding.entry_price) / 10_000
    assert (max_drawdown(run.equity)[0] or 0.0) < 0.03 * value
    assert summary(run)["max_drawdown"] == pytest.approx(0.04 * value, rel=0.25)


@pytest.fixture(scope="module")
def denied():
    """A real run with one trade a day, so that it holds denials, entries and exits."""
    pacing = evolve(LOADED.config.risk.pacing, trades_per_day_max=1)
    return backtest(stirred(), risk=evolve(LOADED.config.risk, pacing=pacing)).run()


def test_the_report_tells_why_nothing_was_bought_as_risk_and_the_symbols_recorded_it(denied, capsys) -> None:
    figures = {**summary(denied), "data": "stirred", "config_hash": "cafe"}
    told = figures["rejects"]
    denials = Counter(d["code"] for d in denied.decisions if d.get("denied") is True)
    assert {code: told[code] for code in denials} == denials and denials["trades_per_day"] > 1
    assert told["no_candidates_from_triggers"] > 1
    assert not {"admitted", "proposed", "eligible", "exit"} & set(told)
    show(Console(), figures)
    shown = capsys.readouterr().out
    assert "why not" in shown
    assert "trades_per_day" in shown


def test_the_terminal_counts_real_decisions(denied, tmp_path: Path) -> None:
    view = PlainView(tmp_path)
    for decision in denied.decisions:
        view._count({**decision, "kind": "decision"})
    assert view.counts["denied"] == sum(d.get("denied") is True for d in denied.decisions) > 1
    assert view.counts["entries"] == sum(d["code"] == "admitted" for d in denied.decisions) > 0
    assert view.counts["exits"] == len(denied.trades) > 0


def test_while_a_position_is_held_the_low_comes_before_the_high() -> None:
    rising = Bar("BTC-USD", 60, 0, 100.0, 110.0, 90.0, 105.0, 1.0)
    falling = Bar("BTC-USD", 60, 0, 105.0, 110.0, 90.0, 100.0, 1.0)
    assert corners(falling, held=True) == (105.0, 90.0, 110.0, 100.0)
    assert corners(falling, held=False) == (105.0, 110.0, 90.0, 100.0)
    assert corners(rising, held=False) == (100.0, 90.0, 110.0, 105.0)
    assert [price_at(rising, at, held=True) for at in (0, 20, 40, 60, 99)] == [100.0, 90.0, 110.0, 105.0, 105.0]


def test_a_machine_that_raises_ends_the_backtest() -> None:
    test = backtest(stirred(days=1))

    def broken(*_: object) -> object:
        raise ZeroDivisionError("a broken rule")

    symbol = test.world.stage.machine("symbol:BTC-USD")
    test.world.stage.run_for(1.0)
    process = test.world.stage.processes["symbol:BTC-USD"]
    process.on_bar = broken  # type: ignore[assignment]
    assert symbol is None or process.machine is not None
    with pytest.raises(ZeroDivisionError):
        test.run()


def test_a_data_set_without_a_traded_product_is_refused() -> None:
    dataset = stirred(days=1)
    unknown = Dataset(name="odd", series={"QQQ-USD": dataset.series["BTC-USD"]}, bar_s={"QQQ-USD": 60})
    with pytest.raises(ValueError, match="none of its products"):
        backtest(unknown)


GOLDEN = Path(__file__).with_name("golden_decisions_2025-10.jsonl")


def test_golden_decisions_on_the_recorded_crash_of_october_2025() -> None:
    """Any change of this file is a reviewed diff. Renew it: delete it and run this test once."""
    from simulation.backtest.data import recorded

    dataset = recorded(shared_data("ohlcv_5m")).between(1_759_017_600, 1_760_400_000)
    run = backtest(dataset).run()
    lines = [
        json.dumps(decision, sort_keys=True, default=str)
        for decision in run.decisions
        if decision["role"] != "universe"
    ]
    if not GOLDEN.exists():
        GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lines == GOLDEN.read_text(encoding="utf-8").splitlines()
    crash = [d for d in run.decisions if "2025-10-10T21" <= d["at"] < "2025-10-11T00" and d.get("code") == "admitted"]
    assert not crash, "an entry in the crash"
