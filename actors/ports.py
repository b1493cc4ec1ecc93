"""What a host needs of the world: a store, market data, and a machine to carry effects for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from trading.machine import Effects, Instant, Row, Rows, Save, Table
from trading.messages.market import Bar, Quote


class StorePort(Protocol):
    """What holds a machine's rows. `commit` is all or nothing and durable when it returns."""

    def commit(self, saves: Iterable[Save], acted_s: float | None = None) -> None: ...
    def acted_s(self) -> float: ...
    def live_rows(self) -> Rows: ...
    def probe(self) -> None: ...
    def close(self) -> None: ...


class Thinker(Protocol):
    """A machine as a host sees it: the seam of `trading/machine.py`, read-only."""

    @property
    def role(self) -> str: ...
    @property
    def tables(self) -> Sequence[Table]: ...
    def products(self) -> Sequence[str]: ...
    def recover(self, rows: Rows, now: Instant) -> Effects: ...
    def handle(self, message: object, now: Instant) -> Effects: ...
    def on_quote(self, quote: Any, now: Instant) -> Effects: ...
    def on_bar(self, bar: Any, now: Instant) -> Effects: ...


class NoStore:
    """For machines without tables."""

    def commit(self, saves: Iterable[Save], acted_s: float | None = None) -> None:  # noqa: ARG002
        raise KeyError(f"this machine declared no tables and cannot save {next(iter(saves))!r}")

    def acted_s(self) -> float:
        return 0.0

    def live_rows(self) -> Rows:
        return dict[str, dict[str, Row]]()

    def probe(self) -> None: ...

    def close(self) -> None: ...


class MarketPort(Protocol):
    """Newest quotes of declared products and closed bars that this host has not handed over yet."""

    def quotes(self, products: Iterable[str]) -> Iterable[Quote]: ...
    def bars(self, products: Iterable[str]) -> Iterable[Bar]: ...
    def declared(self, products: tuple[str, ...]) -> None: ...
