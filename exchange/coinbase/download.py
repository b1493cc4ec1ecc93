"""Candles from the venue's public endpoints into the CSVs that backtest, replay and `--market DIR` read.

One file a product and bar length, `<folder>/BTC-USD_5m.csv`, columns `ts,open,high,low,close,volume`, oldest first. A run
that was interrupted goes on where the file ends; a file whose beginning is later than asked for is completed in front.
Only closed candles are written. Buckets without trades are missing at the venue too; what is missing is reported, never
invented. Requests keep to the public budget and are repeated with backoff; a window that stays unanswered ends that
product's download with a sentence, and everything before it is kept.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from attrs import define, field

from exchange.coinbase.asking import GRANULARITIES, Asker, SharedBudgets, answer
from exchange.coinbase.bars import refusal
from exchange.coinbase.budgets import Budgets, BudgetSettings
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.transport import VenueSession, boot_s
from trading.messages.orders import Candle, Page, Query, QueryKind
from trading.values import plain

HEADER = "ts,open,high,low,close,volume"
CANDLES_PER_REQUEST = 300
ANSWER_S_MAX = 30.0
BAR_NAMES = {
    60: "1m",
    300: "5m",
    900: "15m",
    1800: "30m",
    3600: "1h",
    7200: "2h",
    14400: "4h",
    21600: "6h",
    86400: "1d",
}

Told = Callable[[str, int, int], None]
"""(product, buckets done, buckets in all)"""


@define
class ProductReport:
    """What one file holds now. gaps: [start_s, end_s) without candles inside what was asked. error: why it ended early."""

    product_id: str
    path: Path
    rows: int = 0
    fetched: int = 0
    first_s: int | None = None
    last_s: int | None = None
    gaps: list[tuple[int, int]] = field(factory=list)
    refused: int = 0
    error: str = ""


class PublicVenue:
    """Public questions without a key: candles, products, the server's time. One thread at a time."""

    def __init__(self, endpoints: Endpoints, stop: threading.Event | None = None) -> None:
        self._session = VenueSession(endpoints, None)
        self._budgets = SharedBudgets(Budgets(BudgetSettings(), started_boot_s=boot_s()))
        self._stop = stop or threading.Event()
        self._asked = 0

    def ask(self, query: Query, limit_s: float = ANSWER_S_MAX) -> Page:
        asker = Asker(
            session=self._session,
            budgets=self._budgets,
            deadline_boot_s=boot_s() + limit_s,
            stop=self._stop,
            private=False,
            urgent=False,
        )
        return answer(query, asker)

    def candles(
        self, product_id: str, bar_s: int, start_s: int, end_s: int, limit_s: float = ANSWER_S_MAX
    ) -> list[Candle] | str:
        """All candles that start in [start_s, end_s), oldest first; or why they could not be had."""
        self._asked += 1
        query = Query(
            query_id=f"candles-{self._asked}",
            reply_to="",
            kind=QueryKind.CANDLES,
            product_id=product_id,
            bar_s=bar_s,
            since_s=start_s,
            until_s=end_s,
        )
        page = self.ask(query, limit_s)
        return [item for item in page.items if isinstance(item, Candle)] if page.complete else page.error

    def server_time_s(self) -> float | str:
        page = self.ask(Query(query_id="time", reply_to="", kind=QueryKind.CLOCK))
        times = [item for item in page.items if isinstance(item, float)]
        return times[0] if page.complete and times else page.error or "no time in the answer"

    def close(self) -> None:
        self._session.close()


def file_of(folder: Path, product_id: str, bar_s: int) -> Path:
    """ValueError for a bar length that the venue does not have."""
    if bar_s not in BAR_NAMES:
        raise ValueError(f"the venue has no {bar_s} s candles; it has {', '.join(map(str, GRANULARITIES))} (seconds)")
    return folder / f"{product_id}_{BAR_NAMES[bar_s]}.csv"


def read_file(path: Path, bar_s: int) -> list[tuple[int, str]]:
    """(ts, line) of a file of ours; a torn last line is left out. ValueError names file and line when it is something else."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    if lines[0].strip() != HEADER:
        raise ValueError(
            f"{path}, line 1: expected {HEADER}, found {lines[0][:60]!r}; move it away or choose another folder"
        )
    lines = lines[1:-1]  # what follows the last line end is nothing, or torn
    rows: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=2):
        fields = line.split(",")
        stamp = int(fields[0]) if fields[0].isdecimal() else -1
        if len(fields) != 6 or stamp % bar_s or (rows and stamp <= rows[-1][0]):
            raise ValueError(
                f"{path}, line {number}: no {bar_s} s candle after the one before: {line[:60]!r}; move the file away"
            )
        rows.append((stamp, line))
    return rows


def _line(candle: Candle) -> str:
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return ",".join([str(candle.start_s), *(plain(Decimal(repr(value))) for value in values)])


def _write(path: Path, rows: Sequence[tuple[int, str]]) -> None:
    fresh = path.with_suffix(".csv.new")
    fresh.write_text("\n".join([HEADER, *(line for _, line in rows)]) + "\n")
    fresh.replace(path)


def download_product(
    venue: PublicVenue,
    product_id: str,
    bar_s: int,
    start_s: int,
    end_s: int,
    folder: Path,
    *,
    told: Told = lambda _product, _done, _all: None,
    stop: threading.Event | None = None,
) -> ProductReport:
    """Bring one file to [start_s, end_s). Raises ValueError for a file that is not ours; whatever the venue does is reported."""
    path = file_of(folder, product_id, bar_s)
    folder.mkdir(parents=True, exist_ok=True)
    report = ProductReport(product_id, path)
    start_s, end_s = -(-start_s // bar_s) * bar_s, end_s // bar_s * bar_s
    rows = read_file(path, bar_s)
    first_s = rows[0][0] if rows else end_s
    after_s = rows[-1][0] + bar_s if rows else end_s
    todo = [(start_s, min(first_s, end_s)), (max(after_s, start_s), end_s)]
    buckets = sum(max(0, end - begin) for begin, end in todo) // bar_s
    done = 0
    told(product_id, 0, buckets)
    if path.exists():
        _write(path, rows)  # without its torn tail
    for part, (begin, end) in enumerate(todo):
        fresh: list[tuple[int, str]] = []
        for window_s in range(begin, end, CANDLES_PER_REQUEST * bar_s):
            until_s = min(window_s + CANDLES_PER_REQUEST * bar_s, end)
            if stop is not None and stop.is_set():
                report.error = report.error or "stopped; run it again to go on"
            found = [] if report.error else venue.candles(product_id, bar_s, window_s, until_s)
            if isinstance(found, str):
                report.error = (
                    f"{product_id}: no answer for the candles from {window_s} on: {found}; run it again to go on"
                )
            if report.error:
                break
            good = [candle for candle in found if isinstance(candle, Candle) and refusal(candle, bar_s, end_s) is None]
            report.refused += len(found) - len(good)
            lines = [(candle.start_s, _line(candle)) for candle in good]
            report.fetched += len(lines)
            if part == 1 and lines:
                # At the end of the file each window is kept at once; in front it takes a whole new file.
                if not path.exists():
                    _write(path, [])
                with path.open("a") as file:
                    file.write("\n".join(line for _, line in lines) + "\n")
            fresh += lines
            done += (until_s - window_s) // bar_s
            told(product_id, done, buckets)
        if part == 0 and fresh and not report.error:
            rows = fresh + rows
            _write(path, rows)
        elif part == 0 and report.error and not rows:
            rows = fresh  # no file yet: what came is a good beginning
            if rows:
                _write(path, rows)
        elif part == 1:
            rows += fresh
    if path.exists():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    _measure(report, rows, bar_s, start_s, end_s)
    return report


def _measure(report: ProductReport, rows: Sequence[tuple[int, str]], bar_s: int, start_s: int, end_s: int) -> None:
    stamps = [stamp for stamp, _ in rows if start_s <= stamp < end_s]
    report.rows = len(rows)
    if not stamps:
        report.gaps = [(start_s, end_s)] if end_s > start_s else []
        return
    report.first_s, report.last_s = stamps[0], stamps[-1]
    edges = [start_s - bar_s, *stamps, end_s]
    report.gaps = [(a + bar_s, b) for a, b in itertools.pairwise(edges) if b > a + bar_s]


def download(
    endpoints: Endpoints,
    products: Sequence[str],
    bar_s: int,
    start_s: int,
    end_s: int | None,
    folder: Path,
    *,
    told: Told = lambda _product, _done, _all: None,
    stop: threading.Event | None = None,
) -> list[ProductReport]:
    """All products, one after another. end_s None: until now, by the venue's clock. ValueError in a sentence for bad input."""
    venue = PublicVenue(endpoints, stop)
    try:
        if end_s is None:
            now = venue.server_time_s()
            if isinstance(now, str):
                raise ValueError(f"the venue at {endpoints.rest} does not tell its time: {now}")
            end_s = int(now)
        if start_s >= end_s:
            raise ValueError(f"nothing to download: from {start_s} is not before to {end_s} (seconds UTC)")
        return [
            download_product(venue, product_id, bar_s, start_s, end_s, folder, told=told, stop=stop)
            for product_id in products
        ]
    finally:
        venue.close()


def download_shown(
    endpoints: Endpoints, products: Sequence[str], bar_s: int, start_s: int, end_s: int | None, folder: Path
) -> list[ProductReport]:
    """The same with a progress bar on standard error; Ctrl-C keeps what has come."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {name: progress.add_task(f"{name} {BAR_NAMES.get(bar_s, bar_s)}", total=None) for name in products}

        def told(name: str, done: int, total: int) -> None:
            progress.update(tasks[name], completed=done, total=max(total, 1))

        return download(endpoints, products, bar_s, start_s, end_s, folder, told=told)
