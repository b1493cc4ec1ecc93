"""From what happened to what a person reads: figures, artifacts, tables. Pure but for `write`, which writes the files.

Formulas (n trades, r_i net profit of trade i in USD, e_j equity at the end of UTC day j):
hit_rate = share of r_i > 0 · profit_factor = sum of wins / |sum of losses| · expectancy = mean r_i ·
return = e_end / e_start - 1 · max_drawdown = max of 1 - equity / highest equity so far, at bar ends while something is held
(equity.csv holds one point an hour) ·
sharpe, sortino = mean of daily returns / their standard deviation (downside deviation), times sqrt(365), risk-free 0, from
five daily returns on; turnover = traded value / mean equity · exposure_time = share of time with a position.
A figure that has no meaning (no trade, one day) is null, never 0 and never NaN.
"""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

from telemetry.trades import Holding, Trade
from trading.values import ZERO, plain, utc_text

DAY_S = 86_400
RATIO_DAYS_MIN = 5
"""Fewer daily returns say nothing about their spread."""


class InvalidResultError(Exception):
    """The result contradicts itself; nothing of it may be believed. The sentence says where."""


@frozen(kw_only=True)
class EquityPoint:
    """At venue time s: cash, value of holdings at mid, exposure by product (USD)."""

    s: float
    cash_usd: Decimal
    holdings_usd: Decimal
    exposure_usd: Mapping[str, Decimal] = field(factory=dict)

    @property
    def equity_usd(self) -> Decimal:
        return self.cash_usd + self.holdings_usd


@frozen(kw_only=True)
class Fill:
    """A booked fill, for the check that equity reconciles. side BUY or SELL."""

    s: float
    product_id: str
    side: str
    base_size: Decimal
    price: Decimal
    fee_usd: Decimal


@frozen(kw_only=True)
class Run:
    """Everything that a backtest leaves behind. orders and decisions are JSON-able records in order of time.

    deepest: the largest fall of the equity as a fraction, seen at bar ends while something was held, and when.
    warnings: what this data could not show, in sentences.
    """

    facts: Mapping[str, Any]
    start_cash_usd: Decimal
    end_marks: Mapping[str, Decimal]
    trades: Sequence[Trade]
    fills: Sequence[Fill]
    equity: Sequence[EquityPoint]
    orders: Sequence[Mapping[str, Any]]
    decisions: Sequence[Mapping[str, Any]]
    themes: Mapping[str, str]
    open_positions: Sequence[Holding] = ()
    deepest: tuple[float, float] = (0.0, 0.0)
    warnings: Sequence[str] = ()


def check(run: Run) -> None:
    """Raises InvalidResultError for NaN, negative cash, or equity that does not follow from the fills."""
    for point in run.equity:
        if not point.equity_usd.is_finite():
            raise InvalidResultError(f"equity is {point.equity_usd} at {utc_text(point.s)}")
        if point.cash_usd < 0:
            raise InvalidResultError(
                f"cash is {plain(point.cash_usd)} USD at {utc_text(point.s)}: more was spent than there was"
            )
    cash = run.start_cash_usd
    holdings: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for fill in run.fills:
        value = fill.base_size * fill.price
        cash += (-value if fill.side == "BUY" else value) - fill.fee_usd
        holdings[fill.product_id] += fill.base_size if fill.side == "BUY" else -fill.base_size
    short = {product: size for product, size in holdings.items() if size < 0}
    if short:
        raise InvalidResultError(
            f"more was sold than bought: {', '.join(f'{p} {plain(s)}' for p, s in sorted(short.items()))}"
        )
    if run.equity:
        last = run.equity[-1]
        value = sum((size * run.end_marks.get(product, ZERO) for product, size in holdings.items() if size), ZERO)
        if abs(last.cash_usd - cash) > Decimal("0.01"):
            raise InvalidResultError(f"cash is {plain(last.cash_usd)} USD at the end, the fills say {plain(cash)}")
        if abs(last.holdings_usd - value) > Decimal("0.01"):
            raise InvalidResultError(
                f"holdings are {plain(last.holdings_usd)} USD at the end, the fills say {plain(value)}"
            )


def summary(run: Run) -> dict[str, Any]:
    """The figures of summary.json."""
    check(run)
    trades, equity = run.trades, run.equity
    wins = [trade.pnl_usd for trade in trades if trade.pnl_usd > 0]
    losses = [trade.pnl_usd for trade in trades if trade.pnl_usd < 0]
    start = equity[0].equity_usd if equity else run.start_cash_usd
    end = equity[-1].equity_usd if equity else run.start_cash_usd
    fees = sum((fill.fee_usd for fill in run.fills), ZERO)
    traded = sum((fill.base_size * fill.price for fill in run.fills), ZERO)
    mean_equity = sum((point.equity_usd for point in equity), ZERO) / len(equity) if equity else start
    daily = daily_returns(equity)
    depth, depth_at = max_drawdown(equity)
    if depth is not None and run.deepest[0] > depth:
        depth, depth_at = round(run.deepest[0], 6), run.deepest[1]
    held = exposure_time([*trades, *run.open_positions], equity)
    return {
        **run.facts,
        "warnings": list(run.warnings),
        "start": utc_text(equity[0].s) if equity else None,
        "end": utc_text(equity[-1].s) if equity else None,
        "days": round((equity[-1].s - equity[0].s) / DAY_S, 3) if equity else 0,
        "start_equity_usd": plain(start),
        "end_equity_usd": plain(end),
        "return": _ratio(end - start, start),
        "trades": len(trades),
        "hit_rate": _ratio(Decimal(len(wins)), Decimal(len(trades))),
        "profit_factor": _ratio(sum(wins, ZERO), -sum(losses, ZERO)),
        "expectancy_usd": _quotient_text(sum((t.pnl_usd for t in trades), ZERO), len(trades)),
        "average_hold_s": round(sum(t.closed_s - t.opened_s for t in trades) / len(trades), 1) if trades else None,
        "best_trade_pct": round(max(t.pnl_pct for t in trades), 4) if trades else None,
        "worst_trade_pct": round(min(t.pnl_pct for t in trades), 4) if trades else None,
        "max_drawdown": depth,
        "max_drawdown_at": utc_text(depth_at) if depth_at is not None else None,
        "daily_returns": len(daily),
        "sharpe": sharpe(daily),
        "sortino": sortino(daily),
        "fees_usd": plain(fees),
        "traded_usd": plain(traded),
        "turnover": _ratio(traded, mean_equity),
        "exposure_time": held,
        "orders": len(run.orders),
        "fills": len(run.fills),
        "open_positions": [_record(holding) for holding in run.open_positions],
        "rejects": rejects(run.decisions),
        "per_symbol": _grouped(trades, "product_id"),
        "per_exit_reason": _grouped(trades, "exit_reason"),
        "per_strategy": _grouped(trades, "strategy"),
    }


def rejects(decisions: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Why nothing was bought: risk's denials and the symbols' verdicts without a trade, by code, most frequent first.

    A verdict is recorded when it changes. What oms refuses is counted once, as risk's denial with the same code.
    """
    counts: dict[str, int] = defaultdict(int)
    for decision in decisions:
        waits = str(decision.get("role", "")).startswith("symbol:") and decision.get("code") != "proposed"
        if decision.get("denied") or waits:
            counts[str(decision.get("code"))] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def daily_returns(equity: Sequence[EquityPoint]) -> list[float]:
    """Return of each UTC day from the last equity of the day before (the first day: from the start).

    The equity at 00:00 is that of the day which ends there; a day that the run begins or ends in counts as it is.
    """
    if not equity:
        return []
    ends: dict[int, float] = {}
    for point in equity[1:]:
        ends[math.ceil(point.s / DAY_S)] = float(point.equity_usd)
    values = [float(equity[0].equity_usd), *(ends[day] for day in sorted(ends))]
    return [after / before - 1.0 for before, after in pairwise(values) if before > 0]


def sharpe(daily: Sequence[float]) -> float | None:
    if len(daily) < RATIO_DAYS_MIN:
        return None
    mean = sum(daily) / len(daily)
    deviation = math.sqrt(sum((r - mean) ** 2 for r in daily) / (len(daily) - 1))
    return round(mean / deviation * math.sqrt(365), 4) if deviation > 1e-12 else None


def sortino(daily: Sequence[float]) -> float | None:
    if len(daily) < RATIO_DAYS_MIN:
        return None
    mean = sum(daily) / len(daily)
    downside = math.sqrt(sum(min(r, 0.0) ** 2 for r in daily) / len(daily))
    return round(mean / downside * math.sqrt(365), 4) if downside > 1e-12 else None


def max_drawdown(equity: Iterable[EquityPoint]) -> tuple[float | None, float | None]:
    """(largest fall below the highest equity so far as a fraction, its venue time)."""
    high, deepest, at = ZERO, ZERO, None
    seen = False
    for point in equity:
        seen = True
        value = point.equity_usd
        high = max(high, value)
        if high > 0 and (fall := 1 - value / high) > deepest:
            deepest, at = fall, point.s
    return (round(float(deepest), 6) if seen else None), at


def exposure_time(positions: Sequence[Trade | Holding], equity: Sequence[EquityPoint]) -> float | None:
    """Share of the run with at least one position (overlaps counted once); what is still open counts to the end."""
    if len(equity) < 2:
        return None
    total, covered_until, covered = equity[-1].s - equity[0].s, float("-inf"), 0.0
    until_s = equity[-1].s
    for opened, closed in sorted((one.opened_s, getattr(one, "closed_s", until_s)) for one in positions):
        covered += max(0.0, closed - max(opened, covered_until))
        covered_until = max(covered_until, closed)
    return round(covered / total, 6) if total > 0 else None


def _grouped(trades: Sequence[Trade], attribute: str) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Trade]] = defaultdict(list)
    for trade in trades:
        groups[str(getattr(trade, attribute))].append(trade)
    return {
        name: {
            "trades": len(group),
            "pnl_usd": plain(sum((t.pnl_usd for t in group), ZERO)),
            "fees_usd": plain(sum((t.fees_usd for t in group), ZERO)),
            "hit_rate": _ratio(Decimal(sum(t.pnl_usd > 0 for t in group)), Decimal(len(group))),
            "average_pct": round(sum(t.pnl_pct for t in group) / len(group), 4),
            "average_hold_s": round(sum(t.closed_s - t.opened_s for t in group) / len(group), 1),
        }
        for name, group in sorted(groups.items())
    }


def _ratio(top: Decimal, bottom: Decimal) -> float | None:
    return round(float(top / bottom), 6) if bottom > 0 else None


def _quotient_text(total: Decimal, count: int) -> str | None:
    return plain((total / count).quantize(Decimal("0.000001"))) if count else None


def write(run: Run, folder: Path) -> dict[str, Any]:
    """The artifacts of issue 6 into `folder`; equal runs give equal bytes. Returns the summary."""
    figures = summary(run)
    folder.mkdir(parents=True, exist_ok=True)
    _json(folder / "summary.json", figures)
    _json(folder / "trades.json", [_record(trade) | {"pnl_pct": round(trade.pnl_pct, 6)} for trade in run.trades])
    _json(folder / "orders.json", list(run.orders))
    with (folder / "equity.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("time", "equity_usd", "cash_usd", "drawdown"))
        high = ZERO
        for point in run.equity:
            high = max(high, point.equity_usd)
            drawdown = 1 - point.equity_usd / high if high > 0 else ZERO
            rows.writerow(
                (utc_text(point.s), _cents(point.equity_usd), _cents(point.cash_usd), f"{float(drawdown):.6f}")
            )
    with (folder / "exposure.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        products = sorted({product for point in run.equity for product in point.exposure_usd} | set(run.themes))
        themes = sorted({run.themes.get(product, "OTHER") for product in products})
        rows.writerow(("time", *products, *(f"theme:{theme}" for theme in themes)))
        for point in run.equity:
            by_theme: dict[str, Decimal] = defaultdict(lambda: ZERO)
            for product, usd in point.exposure_usd.items():
                by_theme[run.themes.get(product, "OTHER")] += usd
            cells = [_cents(point.exposure_usd.get(product, ZERO)) for product in products]
            rows.writerow((utc_text(point.s), *cells, *(_cents(by_theme[theme]) for theme in themes)))
    with (folder / "decisions.jsonl").open("w", encoding="utf-8") as file:
        for decision in run.decisions:
            file.write(json.dumps(decision, sort_keys=True, separators=(",", ":"), default=str) + "\n")
    return figures


def _cents(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.01")))


def _record(value: Any) -> dict[str, Any]:
    record: dict[str, Any] = asdict(value)
    for key, item in record.items():
        if isinstance(item, Decimal):
            record[key] = plain(item)
        elif key.endswith("_s") and isinstance(item, float):
            record[key] = utc_text(item)
    return record


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, default=str, allow_nan=False) + "\n", encoding="utf-8")
