"""Bars and quotes reach machines without the heap."""

from __future__ import annotations

from typing import ClassVar

from simulation.stage import VirtualStage
from tests.stage.machines import bar, quote
from trading.machine import QuietMachine


class Idle(QuietMachine):
    role: ClassVar[str] = "idle"

    def __init__(self, me) -> None:
        self.bars = 0
        self.quotes = 0

    def products(self):
        return ("BTC-USD",)

    def recover(self, rows, now):
        return ()

    def handle(self, message, now):
        return ()

    def on_bar(self, b, now):
        self.bars += 1
        return ()

    def on_quote(self, q, now):
        self.quotes += 1
        return ()


def test_market_data_takes_no_heap_entry():
    stage = VirtualStage()
    stage.add("symbol:a", Idle)
    stage.run_for(1)
    before = stage.next_at()
    for n in range(10):
        stage.put_bar(bar(n))
        stage.put_quote(quote(n=n))
    assert stage.next_at() == before
    assert (stage.machine("symbol:a").bars, stage.machine("symbol:a").quotes) == (10, 10)
