"""Tiny machines that make the stage's promises visible."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from attrs import frozen

from trading.machine import (
    Effects,
    Incarnation,
    Instant,
    Note,
    PeerRestarted,
    QuietMachine,
    Rows,
    Save,
    Send,
    Table,
    Wake,
    Woke,
)
from trading.messages.market import Bar, Quote


@frozen
class Ask:
    n: int


@frozen
class Told:
    n: int
    by: Incarnation


def quote(product_id: str = "BTC-USD", price: str = "100", n: int = 0) -> Quote:
    p = Decimal(price)
    return Quote(product_id, p, p + 1, Decimal(1), Decimal(1), 0.0, 0.0, 0.0, n)


def bar(number: int, product_id: str = "BTC-USD") -> Bar:
    return Bar(product_id, 60, number * 60, 1.0, 1.0, 1.0, 1.0, 1.0, number)


class Scripted(QuietMachine):
    """Answers what the script says and remembers everything it was called with."""

    role: ClassVar[str] = "scripted"
    tables = (Table("rows"), Table("facts", fact=True))

    def __init__(
        self,
        me: Incarnation,
        script: Callable[[object, Instant], Effects],
        seen: list[Any],
        wanted: tuple[str, ...] = (),
    ) -> None:
        self.me, self.script, self.seen, self.wanted = me, script, seen, wanted

    def products(self) -> tuple[str, ...]:
        return self.wanted

    def recover(self, rows: Rows, now: Instant) -> Effects:
        self.seen.append(("recover", rows))
        return self.script("recover", now)

    def handle(self, message: object, now: Instant) -> Effects:
        self.seen.append(message)
        return self.script(message, now)

    def on_quote(self, q: Any, now: Instant) -> Effects:
        self.seen.append(q)
        return self.script(q, now)

    def on_bar(self, b: Any, now: Instant) -> Effects:
        self.seen.append(b)
        return self.script(b, now)


class Counter(QuietMachine):
    """Counts its asks durably, answers each, repeats by timer; the smallest honest machine."""

    role: ClassVar[str] = "counter"
    tables = (Table("count"),)

    def __init__(self, me: Incarnation) -> None:
        self.me = me
        self.n = 0

    def recover(self, rows: Rows, now: Instant) -> Effects:
        row = rows["count"].get("n")
        self.n = int(row["n"] or 0) if row else 0
        return (Wake("tick", now.boot_s + 1.0),)

    def handle(self, message: object, now: Instant) -> Effects:
        match message:
            case Ask():
                self.n += 1
                return (
                    Save("count", "n", {"n": self.n}),
                    Send("asker", Told(self.n, self.me)),
                    Note("metric", {"n": self.n}),
                )
            case Woke("tick"):
                return (Send("asker", Told(self.n, self.me)), Wake("tick", now.boot_s + 1.0))
            case PeerRestarted():
                return ()
        raise AssertionError(message)
