"""What a symbol advises exits: a winner's stop may rise to the lowest low of 36 five-minute bars. It can only tighten."""

from __future__ import annotations

from decimal import Decimal

from trading.bars import MoveSeries
from trading.machine import Effect, Send
from trading.messages.book import BookSnapshot
from trading.messages.decisions import ExitAdvice
from trading.values import ZERO

BARS = 36


class StructureAdvice:
    """One symbol's; remembers which stop it last advised for which position, so that none is said twice."""

    def __init__(self, product_id: str, after_profit_pct: float) -> None:
        self._product_id = product_id
        self._after_profit_pct = Decimal(str(after_profit_pct))
        self._n = 0
        self._advised: tuple[str, Decimal] = ("", ZERO)

    def effects(self, book: BookSnapshot | None, move: MoveSeries) -> tuple[Effect, ...]:
        """After a closed five-minute bar."""
        if book is None or move.count < BARS:
            return ()
        floor = Decimal(f"{move.lowest_36:.8f}")
        for position in book.positions:
            if position.product_id != self._product_id or position.average_price <= 0:
                continue
            profit_pct = (Decimal(f"{move.close:.8f}") / position.average_price - 1) * 100
            if profit_pct < self._after_profit_pct or floor <= position.stop_price:
                continue
            advised_id, advised = self._advised
            if advised_id != position.position_id or floor > advised:
                self._advised = (position.position_id, floor)
                self._n += 1
                advice = ExitAdvice(product_id=self._product_id, stop_price=floor, reason="structure_low_36", n=self._n)
                return (Send("exits", advice),)
        return ()
