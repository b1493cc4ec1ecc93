"""Market data as a host's port: slots and the bar cache below `run/`, read-only, and the bell that says "look again"."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from exchange.bar_cache import BarReader
from exchange.coinbase.bars import WIDTHS_S
from exchange.slots import Bell, SlotReader
from trading.messages.market import Bar, Quote

SLOTS, BARS, BELLS = "slots", "bars", "bells"
HISTORY_BARS = 400
LOOK_S = 1.0
"""A ring may be lost (its owner's queue was full), and some have no bell: bars are looked for this often in any case."""


class MarketReader:
    """Bars are handed over once each, those of the first look as history; quotes whenever their slot changed.

    wants_bars False: only quotes (risk's marks). The bell rings for the declared products; without one, changes wait
    for the next handle.
    """

    def __init__(self, run_folder: Path, role: str, *, wants_bars: bool, bell: bool) -> None:
        self._slots = SlotReader(run_folder / SLOTS)
        self._bars = BarReader(run_folder / BARS) if wants_bars else None
        self.bell = Bell(run_folder / BELLS, role, ()) if bell else None
        self._seen: dict[tuple[str, int], int] = {}
        self._fresh = True
        self._looked_s = 0.0
        self._unsaid: tuple[str, ...] | None = None

    def declared(self, products: tuple[str, ...]) -> None:
        """Without room on the disk the bell stays as it was: each handle looks at the slots, and the next look says it again."""
        if self.bell is not None:
            self._unsaid = None
            try:
                self.bell.want(products)
            except OSError:
                self._unsaid = products

    def rung(self) -> None:
        if self.bell is not None:
            self.bell.drain()
        self._fresh = True

    def quotes(self, products: Iterable[str]) -> Iterable[Quote]:
        return self._slots.changed(sorted(products))

    def bars(self, products: Iterable[str]) -> Iterable[Bar]:
        """After a ring, since whoever writes bars rings, and each second."""
        now_s = time.monotonic()
        if self._bars is None or not (self._fresh or now_s - self._looked_s >= LOOK_S):
            return ()
        self._fresh, self._looked_s = False, now_s
        if self._unsaid is not None:
            self.declared(self._unsaid)
        found: list[Bar] = []
        for product_id in products:
            for bar_s in WIDTHS_S:
                key = (product_id, bar_s)
                seen = self._seen.get(key)
                if seen is None:
                    bars = self._bars.newest(product_id, bar_s, HISTORY_BARS, as_history=True)
                else:
                    bars = self._bars.since(product_id, bar_s, seen)
                if bars:
                    self._seen[key] = bars[-1].number
                    found += bars
        found.sort(key=lambda bar: (bar.end_s, bar.bar_s, bar.product_id))
        return found

    def close(self) -> None:
        if self.bell is not None:
            self.bell.close()
