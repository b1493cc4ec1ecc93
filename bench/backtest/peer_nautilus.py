"""Backtest throughput of NautilusTrader: bars/s of CPU time and peak memory of one run over one data file.

    PEER_PYTHON bench/backtest/peer_nautilus.py v1|v2 DATA_FILE

Runs in the interpreter that has nautilus_trader (nothing of this project is imported); `bench.backtest.against_peer`
makes the file and starts it. "v1" is the documented engine (Cython), "v2" the one in Rust of the same wheel. Measured is
the CPU time of `engine.run` alone (user + system, all threads); reading the file, building bars and engine, and the
statistics after the run are left out. One venue, a cash account, risk engine and taker fees on, logging off. (With bars
alone the peer's risk engine finds no price for a market order: of its checks those of value and balance do nothing.)

The strategy, the same Python code for both: at the close of a bar that is 2 % or more above the close 60 bars ago, on
more than twice the mean volume of the last 60 bars, buy at market for 2 % of equity if the symbol is not held; sell at
market at the first close 5 % above or 3 % below the price paid, or after 24 hours.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import pickle
import resource
import sys
import time
from array import array
from collections import deque
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

START_USD, MAKER_RATE, TAKER_RATE = 10_000, Decimal("0.004"), Decimal("0.006")
LOOKBACK, RISE, VOLUME_FACTOR = 60, 1.02, 2.0
SHARE_OF_EQUITY, TARGET, STOP, HOLD_NS = 0.02, 1.05, 0.97, 24 * 3_600 * 1_000_000_000
PRICE_DIGITS, SIZE_DIGITS = 6, 8
BAR_NS = 60 * 1_000_000_000


class Watch:
    """What the strategy knows of one symbol."""

    __slots__ = ("closes", "held", "instrument", "last", "paid", "since_ns", "unfilled", "volume_sum", "volumes")

    def __init__(self, instrument: Any) -> None:
        self.instrument = instrument
        self.closes: deque[float] = deque(maxlen=LOOKBACK)
        self.volumes: deque[float] = deque(maxlen=LOOKBACK)
        self.volume_sum = self.last = self.held = self.paid = self.unfilled = 0.0
        self.since_ns = 0

    def wish(self, now_ns: int, close: float, volume: float) -> str:
        """What to do at this close: "buy", "sell" or nothing."""
        full = len(self.closes) == LOOKBACK
        wish = ""
        if self.unfilled:
            pass
        elif self.held:
            if close >= self.paid * TARGET or close <= self.paid * STOP or now_ns - self.since_ns >= HOLD_NS:
                wish = "sell"
        elif full and close >= self.closes[0] * RISE and volume > VOLUME_FACTOR * self.volume_sum / LOOKBACK:
            wish = "buy"
        if full:
            self.volume_sum -= self.volumes[0]
        self.closes.append(close)
        self.volumes.append(volume)
        self.volume_sum += volume
        self.last = close
        return wish


class Rules:
    """The strategy's callbacks; both APIs call them and answer them by the same names."""

    def on_start(self: Any) -> None:
        for bar_type in self.bar_types:
            self.subscribe_bars(bar_type)

    def on_bar(self: Any, bar: Any) -> None:
        watch = self.watches[bar.bar_type.instrument_id]
        wish = watch.wish(bar.ts_event, bar.close.as_double(), bar.volume.as_double())
        if wish:
            self.send(watch, wish)

    def send(self: Any, watch: Watch, wish: str) -> None:
        self.sent += 1
        if wish == "buy":
            equity = self.portfolio.account(self.api.venue).balance_total(self.api.usd).as_double()
            equity += sum(one.held * one.last for one in self.watches.values())
            side, size = self.api.OrderSide.BUY, SHARE_OF_EQUITY * equity / watch.last
        else:
            side, size = self.api.OrderSide.SELL, watch.held
        quantity = watch.instrument.make_qty(size)
        watch.unfilled = quantity.as_double()
        self.submit_order(self.order_factory.market(watch.instrument.id, side, quantity))

    def on_order_filled(self: Any, event: Any) -> None:
        watch = self.watches[event.instrument_id]
        size = event.last_qty.as_double()
        watch.unfilled = without(watch.unfilled, size)
        if event.order_side == self.api.OrderSide.BUY:
            cost = watch.held * watch.paid + size * event.last_px.as_double()
            watch.held += size
            watch.paid, watch.since_ns = cost / watch.held, event.ts_event
            return
        watch.held = without(watch.held, size)
        if not watch.held:
            self.trades += 1

    def on_order_denied(self: Any, event: Any) -> None:
        self.failed.append(str(event))  # raising is no use: v2 swallows what a callback raises

    on_order_rejected = on_order_canceled = on_order_expired = on_order_denied


def without(size: float, part: float) -> float:
    rest = size - part
    return rest if rest > 0.5 * 10**-SIZE_DIGITS else 0.0


def types_of(*modules: Any) -> dict[str, Any]:
    return {name: value for module in modules for name, value in vars(module).items() if name[0].isupper()}


def v1() -> Any:
    """The documented API by the names used here, an engine, and a strategy."""
    from nautilus_trader.backtest import models
    from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.config import LoggingConfig, StrategyConfig
    from nautilus_trader.model import currencies, data, enums, identifiers, instruments, objects
    from nautilus_trader.trading.strategy import Strategy

    class RulesV1(Rules, Strategy):  # type: ignore[misc]
        pass

    return SimpleNamespace(
        **types_of(models, data, enums, identifiers, instruments, objects),
        usd=currencies.USD,
        engine=BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)),
        strategy=RulesV1(StrategyConfig(strategy_id="RULES-001", log_events=False, log_commands=False)),
    )


def v2() -> Any:
    """The same of the Rust API."""
    from nautilus_trader.core import nautilus_pyo3 as rust

    class RulesV2(Rules, rust.trading.Strategy):  # type: ignore[misc]
        pass

    quiet = rust.LoggerConfig(stdout_level=rust.LogLevel.OFF, bypass_logging=True)
    config = rust.backtest.BacktestEngineConfig(bypass_logging=True, logging=quiet, run_analysis=False)
    strategy_config = rust.trading.StrategyConfig(
        strategy_id=rust.StrategyId("RULES-001"), log_events=False, log_commands=False
    )
    return SimpleNamespace(
        **types_of(rust),
        usd=rust.Currency.from_str("USD"),
        engine=rust.backtest.BacktestEngine(config),
        strategy=RulesV2(strategy_config),
    )


def prepared(api: Any, series: dict[str, list[array[Any]]]) -> int:
    """The engine filled with venue, instruments, bars and strategy; answers how many bars."""
    api.venue = api.Venue("SIM")
    api.engine.add_venue(
        venue=api.venue,
        oms_type=api.OmsType.NETTING,
        account_type=api.AccountType.CASH,
        starting_balances=[api.Money(START_USD, api.usd)],
        fee_model=api.MakerTakerFeeModel(),
    )
    strategy, bars = api.strategy, []
    strategy.api, strategy.bar_types, strategy.watches = api, [], {}
    strategy.sent, strategy.trades, strategy.failed = 0, 0, []
    for symbol, columns in series.items():
        base = api.Currency(symbol.split("-")[0], SIZE_DIGITS, 0, symbol, api.CurrencyType.CRYPTO)
        api.Currency.register(base)
        instrument = api.CurrencyPair(
            instrument_id=api.InstrumentId.from_str(f"{symbol}.SIM"),
            raw_symbol=api.Symbol(symbol),
            base_currency=base,
            quote_currency=api.usd,
            price_precision=PRICE_DIGITS,
            size_precision=SIZE_DIGITS,
            price_increment=api.Price(10**-PRICE_DIGITS, PRICE_DIGITS),
            size_increment=api.Quantity(10**-SIZE_DIGITS, SIZE_DIGITS),
            ts_event=0,
            ts_init=0,
            maker_fee=MAKER_RATE,
            taker_fee=TAKER_RATE,
        )
        api.engine.add_instrument(instrument)
        bar_type = api.BarType.from_str(f"{symbol}.SIM-1-MINUTE-LAST-EXTERNAL")
        strategy.bar_types.append(bar_type)
        strategy.watches[instrument.id] = Watch(instrument)
        for start_s, *prices, volume in zip(*columns, strict=True):
            end_ns = start_s * 1_000_000_000 + BAR_NS
            ohlc = (api.Price(round(price, PRICE_DIGITS), PRICE_DIGITS) for price in prices)
            bars.append(api.Bar(bar_type, *ohlc, api.Quantity(volume, SIZE_DIGITS), end_ns, end_ns))
    bars.sort(key=lambda bar: bar.ts_init)
    api.engine.add_data(bars)
    api.engine.add_strategy(strategy)
    return len(bars)


def doubts(api: Any, bars: int) -> list[str]:
    """Why the run was not what it should have been: both engines stop or go on without a word when something fails."""
    strategy = api.strategy
    watches = strategy.watches.values()
    filled = 2 * strategy.trades + sum(1 for watch in watches if watch.held)
    found = [*strategy.failed[:1]]
    if api.engine.iteration != bars:
        found.append(f"the engine played {api.engine.iteration} of {bars} bars")
    if not all(watch.last for watch in watches):
        found.append("the strategy saw no bar of some symbol")
    if strategy.sent != filled:
        found.append(f"{strategy.sent} orders were sent and {filled} filled")
    return found


def main() -> None:
    _, name, path = sys.argv
    api = {"v1": v1, "v2": v2}[name]()
    bars = prepared(api, pickle.loads(Path(path).read_bytes()))
    began = time.process_time()
    api.engine.run()
    took = time.process_time() - began
    if wrong := doubts(api, bars):
        sys.exit(f"{name} did not run as meant: {'; '.join(wrong)}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    said = {
        "bars": bars,
        "cpu_s": round(took, 3),
        "bars_per_s": round(bars / took),
        "trades": api.strategy.trades,
        "rss_peak_mb": round(peak_mb),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
