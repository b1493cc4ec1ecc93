"""The seam between thinking and carrying mail: what a machine is given, and the only four things it can want.

A *machine* is a plain object without I/O, clock or randomness. Two hosts run it: the live stage (`actors/`, one process
per role) and the virtual stage (`simulation/stage.py`, one thread, simulated time). Both give it the same calls:

    recover(rows, now)    once, first: the live rows this machine saved; there is no other way to start
    handle(message, now)  a snapshot, a command, `Woke` or `PeerRestarted`
    on_quote(quote, now)  before every handle: each declared slot that changed, in product order
    on_bar(bar, now)      each closed bar, numbered, none twice

and carry out what it returns in the same order: all Saves in one transaction, then the Sends in list order (first in,
first out per receiver), then the Wakes; Notes whenever. When the commit fails nothing is sent and the object is thrown
away. A crash happens before the commit, or after it with any per-receiver prefix of the Sends delivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from trading.light import light

Incarnation = tuple[int, int]
"""(run number, counter): strictly increasing over the lives of a role; the counter is the boot clock in ns at its start."""

NO_INCARNATION: Incarnation = (0, 0)

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
"""One saved row. `live` (bool, default true) tells whether `recover` gets it again."""

Rows = Mapping[str, Mapping[str, Row]]
"""table -> key -> row, live rows only."""


@light
class Instant:
    """One moment on both clocks of DESIGN section 7.

    venue_s: venue time, seconds since 1970 UTC; never goes back. trusted: false before the process's first anchor and
    while the drift check fails. boot_s: CLOCK_BOOTTIME in seconds, real time, never scaled. speed: venue seconds per
    real second (1 but for a simulated venue).
    """

    venue_s: float
    trusted: bool
    boot_s: float
    speed: float = 1.0

    @property
    def utc(self) -> datetime:
        """Venue time as aware UTC."""
        return datetime.fromtimestamp(self.venue_s, UTC)

    def over(self, deadline_venue_s: float) -> bool:
        """A durable venue deadline is over if and only if the clock is trusted and has reached it."""
        return self.trusted and self.venue_s >= deadline_venue_s

    def boot_at(self, venue_s: float) -> float:
        """The boot clock's reading when venue time will be `venue_s` (for `Wake`; check `over` again when woken)."""
        return self.boot_s + max(0.0, venue_s - self.venue_s) / self.speed

    def venue_at(self, boot_s: float) -> float:
        """Venue time when the boot clock reads `boot_s`."""
        return self.venue_s + (boot_s - self.boot_s) * self.speed


@light
class Save:
    """Upsert `row` under `key`. A fact table refuses a different row under a known key (`live` aside)."""

    table: str
    key: str
    row: Row


@light
class Send:
    """To a logical role; an unknown role is dropped and counted. Role `io` is the machine's own shell."""

    role: str
    message: object


@light
class Wake:
    """One timer per key: setting replaces, None cancels. Comes back as `Woke(key, generation)`, never early."""

    key: str
    at_boot_s: float | None


@light
class Note:
    """A decision, metric or condition for people; may be lost. `kind` names it, `values` are plain and JSON-able."""

    kind: str
    values: Mapping[str, Any] = field(factory=dict)


Effect = Save | Send | Wake | Note
Effects = Iterable[Effect]


@light
class Woke:
    """The timer `key` is due. Stages drop stale generations and old incarnations before the machine sees them."""

    key: str
    generation: int = 0


@light
class PeerRestarted:
    """The directory shows a new incarnation of `role`: repeat outstanding commands to it at once."""

    role: str
    incarnation: Incarnation = NO_INCARNATION


@frozen
class Table:
    """A table that a machine saves to. `fact`: a known key never gets a different row (fills, approvals).

    columns: name -> "text" | "integer" | "real", in reading order; `key` (text, primary) and `live` (integer) are the
    store's own and come with each table. A saved row holds these columns and no others; an absent one is NULL. Decimals are text.
    unique: columns of which no two rows may hold the same value (NULLs aside); the store refuses the transaction.
    """

    name: str
    fact: bool = False
    columns: Mapping[str, str] = field(factory=dict, hash=False)
    unique: tuple[str, ...] = ()


@runtime_checkable
class Machine(Protocol):
    """What both stages host. Class attributes `role` and `tables`; a new object for each incarnation."""

    role: str
    tables: Sequence[Table]

    def products(self) -> Sequence[str]:
        """Products whose quotes and bars this machine wants; () for most. Asked again after each call."""
        ...

    def recover(self, rows: Rows, now: Instant) -> Effects: ...

    def handle(self, message: object, now: Instant) -> Effects: ...

    def on_quote(self, quote: Any, now: Instant) -> Effects: ...

    def on_bar(self, bar: Any, now: Instant) -> Effects: ...


class QuietMachine:
    """Base for machines that want no market data."""

    tables: Sequence[Table] = ()

    def products(self) -> Sequence[str]:
        return ()

    def on_quote(self, quote: Any, now: Instant) -> Effects:  # noqa: ARG002
        return ()

    def on_bar(self, bar: Any, now: Instant) -> Effects:  # noqa: ARG002
        return ()
