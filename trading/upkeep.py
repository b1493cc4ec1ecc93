"""When exits look after what is held though nothing of a position's own plan says so, and what they know for it (domain.md section 14)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

from trading.exits_settings import UpkeepSettings
from trading.machine import Instant
from trading.messages.book import BookSnapshot
from trading.messages.control import UniverseSnapshot
from trading.portfolio import Reduction, purges, trims
from trading.risk_settings import CapSettings


class Upkeep:
    """The newest NAV, and since when which held product has been ineligible."""

    def __init__(self, settings: UpkeepSettings, caps: CapSettings) -> None:
        self._settings = settings
        self._caps = caps
        self._unsure = False
        self._nav: Decimal | None = None
        self._ineligible: dict[str, tuple[float, str]] = {}
        self._at = -1e18

    def took_book(self, book: BookSnapshot, held: Collection[str]) -> None:
        """What is bought again later has not been ineligible while it was not held."""
        self._ineligible = {name: since for name, since in self._ineligible.items() if name in held}
        self._unsure = bool(book.quote_unconfirmed_usd)
        self.took_nav(self._nav)

    def took_nav(self, nav_usd: Decimal | None) -> None:
        """What is told while a page misses money lacks it, and is told anew only within ten seconds: it trims nothing."""
        self._nav = None if self._unsure else nav_usd

    def took_universe(self, universe: UniverseSnapshot, held: Collection[str], now: Instant) -> None:
        closed = {one.product_id: one.reason for one in universe.entries if not one.eligible}
        listed = {one.product_id for one in universe.entries}
        for name in held:
            if name in closed or (listed and name not in listed):
                since, _ = self._ineligible.get(name, (now.boot_s, ""))
                self._ineligible[name] = (since, closed.get(name, "not_in_universe"))
            else:
                self._ineligible.pop(name, None)

    def due(self, now: Instant) -> bool:
        return now.boot_s >= self._at + self._settings.spacing_s

    def reductions(
        self, book: BookSnapshot, marks: Mapping[str, Decimal], held: Collection[str], now: Instant
    ) -> list[Reduction]:
        """What is to be sold by this round; half-known facts sell nothing, and are no round."""
        if book.unbooked or book.quote_unconfirmed_usd or len(marks) < len(held):
            return []
        self._at = now.boot_s
        found: list[Reduction] = []
        if self._settings.trim and self._nav is not None:
            found += trims(book, marks, self._nav, self._caps, self._settings)
        if self._settings.purge:
            ages = {name: (now.boot_s - since, why) for name, (since, why) in self._ineligible.items()}
            found += purges(book, marks, ages, self._settings)
        return found
