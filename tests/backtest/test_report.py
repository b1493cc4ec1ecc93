"""Figures follow from what happened; a result that contradicts itself is refused."""

from __future__ import annotations

import csv
import json
from decimal import Decimal as D

import pytest
from attrs import evolve

from cli.backtest_commands import rows_of
from simulation.backtest.report import (
    DAY_S,
    EquityPoint,
    Fill,
    InvalidResultError,
    Run,
    Trade,
    daily_returns,
    exposure_time,
    max_drawdown,
    sharpe,
    sortino,
    summary,
    write,
)

T0 = 1_760_054_400.0  # a UTC midnight


def trade(
    pnl: str, opened: float = T0, closed: float = T0 + 3600, product: str = "BTC-USD", reason: str = "target"
) -> Trade:
    return Trade(
        position_id="p",
        product_id=product,
        theme="LAYER1",
        tier="T1",
        strategy="price_move",
        trigger="price_move",
        exit_reason=reason,
        opened_s=opened,
        closed_s=closed,
        base_size=D(1),
        entry_price=D(100),
        exit_price=D(100) + D(pnl),
        fees_usd=D(0),
        pnl_usd=D(pnl),
    )


def run(**changes: object) -> Run:
    values: dict[str, object] = {
        "facts": {"seed": 1},
        "start_cash_usd": D(1000),
        "end_marks": {"BTC-USD": D(110)},
        "trades": [trade("10"), trade("-5", reason="stop")],
        "fills": [Fill(s=T0, product_id="BTC-USD", side="BUY", base_size=D(1), price=D(100), fee_usd=D("0.6"))],
        "equity": [
            EquityPoint(s=T0, cash_usd=D(1000), holdings_usd=D(0)),
            EquityPoint(s=T0 + DAY_S, cash_usd=D("899.4"), holdings_usd=D(110), exposure_usd={"BTC-USD": D(110)}),
        ],
        "orders": [],
        "decisions": [
            {"role": "risk", "code": "theme_cap", "denied": True},
            {"role": "risk", "code": "theme_cap", "denied": True},
            {"role": "risk", "code": "admitted", "denied": False},
            {"role": "symbol:BTC-USD", "code": "proposed"},
        ],
        "themes": {"BTC-USD": "LAYER1"},
    }
    return Run(**{**values, **changes})  # type: ignore[arg-type]


def test_the_summary_says_what_the_formulas_say() -> None:
    figures = summary(run())
    assert figures["trades"] == 2
    assert figures["hit_rate"] == 0.5
    assert figures["profit_factor"] == 2.0
    assert figures["expectancy_usd"] == "2.500000"
    assert figures["return"] == 0.0094
    assert figures["turnover"] == round(100 / 1004.7, 6), "of the mean equity"
    assert figures["rejects"] == {"theme_cap": 2}
    assert figures["per_exit_reason"]["stop"]["trades"] == 1


def test_a_figure_without_meaning_is_null_and_never_nan() -> None:
    figures = summary(run(trades=[], fills=[], equity=[]))
    for key in ("hit_rate", "profit_factor", "sharpe", "sortino", "max_drawdown", "exposure_time"):
        assert figures[key] is None, key
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"equity": [EquityPoint(s=T0, cash_usd=D("NaN"), holdings_usd=D(0))]}, "equity is NaN"),
        ({"equity": [EquityPoint(s=T0, cash_usd=D(-1), holdings_usd=D(0))]}, "more was spent"),
        ({"equity": [EquityPoint(s=T0, cash_usd=D(900), holdings_usd=D(110))]}, "the fills say 899.4"),
        ({"equity": [EquityPoint(s=T0, cash_usd=D("899.4"), holdings_usd=D(111))]}, "the fills say 110"),
        (
            {"fills": [Fill(s=T0, product_id="BTC-USD", side="SELL", base_size=D(1), price=D(1), fee_usd=D(0))]},
            "more was sold",
        ),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidResultError, match=sentence):
        summary(run(**changes))


def test_drawdown_is_measured_from_the_highest_equity_before() -> None:
    points = [
        EquityPoint(s=float(i), cash_usd=D(value), holdings_usd=D(0))
        for i, value in enumerate((100, 120, 90, 130, 110))
    ]
    assert max_drawdown(points) == (0.25, 2.0)


def test_overlapping_positions_count_once_in_exposure_time() -> None:
    points = [
        EquityPoint(s=T0, cash_usd=D(1), holdings_usd=D(0)),
        EquityPoint(s=T0 + 10, cash_usd=D(1), holdings_usd=D(0)),
    ]
    trades = [trade("1", T0, T0 + 4), trade("1", T0 + 2, T0 + 5), trade("1", T0 + 8, T0 + 9)]
    assert exposure_time(trades, points) == 0.6


def test_ratios_of_daily_returns() -> None:
    assert sharpe([0.01] * 5) is None
    assert sharpe([0.02, 0.0] * 3) == pytest.approx(0.01 / (0.0006 / 5) ** 0.5 * 365**0.5, rel=1e-3)
    assert sortino([0.02, -0.01] * 3) == pytest.approx(0.005 / (0.0001 / 2) ** 0.5 * 365**0.5, rel=1e-3)
    assert sortino([0.02, 0.01] * 3) is None


def hourly(days: float, usd_an_hour: float = 4.0) -> list[EquityPoint]:
    points = [
        EquityPoint(s=T0 + 3600 * h, cash_usd=D(10_000 + usd_an_hour * h), holdings_usd=D(0))
        for h in range(int(days * 24) + 1)
    ]
    return [EquityPoint(s=T0 + 5, cash_usd=D(10_000), holdings_usd=D(0)), *points[1:]]


def test_the_equity_at_midnight_belongs_to_the_day_that_ends_there() -> None:
    assert daily_returns(hourly(1)) == [pytest.approx(0.0096)]
    assert len(daily_returns(hourly(3))) == 3
    assert len(daily_returns(hourly(3.5))) == 4
    assert daily_returns([]) == []


def test_fewer_than_five_days_have_no_ratio_and_the_report_says_why() -> None:
    for days, known in ((1, False), (4, False), (5, True)):
        equity = [evolve(p, cash_usd=p.cash_usd + int(p.s // DAY_S) % 3) for p in hourly(days)]
        figures = summary(run(trades=[], fills=[], start_cash_usd=equity[-1].cash_usd, equity=equity))
        assert (figures["sharpe"] is not None) is known, days
        assert figures["daily_returns"] == days
        (shown,) = (text for label, text in rows_of({**figures, "data": "", "config_hash": ""}) if "Sharpe" in label)
        assert ("at least 5 are needed" in shown) is not known


def test_the_largest_fall_between_two_points_of_equity_counts() -> None:
    assert summary(run())["max_drawdown"] == 0.0
    figures = summary(run(deepest=(0.0123, T0 + 900)))
    assert (figures["max_drawdown"], figures["max_drawdown_at"]) == (0.0123, "2025-10-10T00:15:00.000000Z")


def test_equal_runs_write_equal_bytes_and_all_artifacts(tmp_path) -> None:
    for name in ("a", "b"):
        write(run(), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["decisions.jsonl", "equity.csv", "exposure.csv", "orders.json", "summary.json", "trades.json"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = list(csv.DictReader((tmp_path / "a" / "exposure.csv").open()))
    assert rows[-1]["theme:LAYER1"] == rows[-1]["BTC-USD"] == "110.00"
