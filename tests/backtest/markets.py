"""Made-up markets for backtests: three quiet products, of which SOL-USD jumps on heavy volume so that the bot buys it."""

from __future__ import annotations

import random
from collections.abc import Callable

from exchange.simulator.market import Bar as Candle
from simulation.backtest.data import Dataset

T0_S = 1_760_054_400  # 2025-10-10 00:00 UTC
PRICES = {"BTC-USD": 100_000.0, "ETH-USD": 4_000.0, "SOL-USD": 200.0}
DAY_USD = 5e8


def jumping(
    bar_s: int,
    jump_s: int,
    days: float,
    bend: Callable[[int, Candle], Candle] = lambda _after_s, candle: candle,
    products: tuple[str, ...] = tuple(PRICES),
    day_usd: float = DAY_USD,
) -> Dataset:
    """SOL-USD rises by 3.5 % within 15 minutes (or one bar) from `jump_s` on. bend(seconds since the jump, candle)."""
    steps = max(1, 900 // bar_s)
    series = {}
    for product in products:
        drawn, price = random.Random(product), PRICES[product]
        base = day_usd / 86_400 * bar_s / price
        candles = []
        for start_s in range(0, int(days * 86_400), bar_s):
            open_, volume = price, base
            if product == "SOL-USD" and jump_s <= start_s < jump_s + steps * bar_s:
                price, volume = price * (1 + 0.035 / steps), base * 6
            else:
                price *= 1 + drawn.gauss(0, 0.0002)
            high, low = max(open_, price) * 1.0001, min(open_, price) * 0.9999
            candle = Candle(T0_S + start_s, open_, high, low, price, volume)
            if product == "SOL-USD":
                candle = bend(start_s - jump_s, candle)
                price = candle.close
            candles.append(candle)
        series[product] = candles
    return Dataset(name="jumping", series=series, bar_s=dict.fromkeys(products, bar_s))
