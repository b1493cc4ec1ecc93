"""The store port of the virtual stage: dict tables with exactly the promises of the seam.

One transaction per handle, upsert by key, a fact table refuses a different row under a known key (`live` aside), a
unique column refuses a second row with its value, undeclared tables and columns are refused. `recover` gets live rows
only, as SQLite would give them back: every declared column, absent ones None, booleans as 0 and 1. A store belongs to a role and outlives its processes. `fail` makes every commit and
probe raise that errno (ENOSPC, EIO) until it is None again; a failed commit changes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy

from trading.machine import Cell, Row, Rows, Save, Table

Copy = tuple[dict[str, dict[str, dict[str, Cell]]], dict[tuple[str, str], dict[Cell, str]]]


class FactConflictError(Exception):
    """A fact or unique column would be contradicted; the transaction is refused and the host ends the process."""


class MemoryStore:
    """table -> key -> row of one role. patient: the host repeats a failed commit instead of ending the process."""

    patient = False

    def __init__(self, role: str) -> None:
        self.role = role
        self.fail: int | None = None
        self.commits = 0
        self._tables: dict[str, dict[str, dict[str, Cell]]] = {}
        self._declared: dict[str, Table] = {}
        self._owners: dict[tuple[str, str], dict[Cell, str]] = {}

    def open(self, tables: Sequence[Table]) -> None:
        """Make the tables that are missing; rows of known tables stay."""
        for table in tables:
            self._tables.setdefault(table.name, {})
            self._declared[table.name] = table
            for column in table.unique:
                self._owners.setdefault((table.name, column), {})

    def probe(self) -> None:
        """Raise OSError while commits would fail."""
        if self.fail is not None:
            raise OSError(self.fail, os.strerror(self.fail), f"store of {self.role}")

    def commit(self, saves: Iterable[Save]) -> None:
        """All or nothing. Raises OSError (injected), FactConflictError, or KeyError for a table that was not declared."""
        self.probe()
        changes: list[tuple[str, str, dict[str, Cell]]] = []
        facts: dict[tuple[str, str], dict[str, Cell]] = {}
        owners: dict[tuple[str, str, Cell], str] = {}
        for save in saves:
            declared = self._declared.get(save.table)
            if declared is None:
                raise KeyError(f"{self.role} saves to table {save.table!r}, which it did not declare")
            row = dict(save.row)
            if declared.columns and (strange := [c for c in row if c != "live" and c not in declared.columns]):
                raise KeyError(
                    f"{self.role} saves columns {strange} to table {save.table!r}, which does not declare them"
                )
            if declared.fact:
                known = facts.get((save.table, save.key)) or self._tables[save.table].get(save.key)
                if known is not None and _fact(known) != _fact(row):
                    raise FactConflictError(
                        f"{self.role}: fact {save.table}/{save.key} is {_fact(known)} and must not become {_fact(row)}"
                    )
                facts[save.table, save.key] = row
            for column in declared.unique:
                value = row.get(column)
                if value is None:
                    continue
                owner = owners.get((save.table, column, value)) or self._owners[save.table, column].get(value)
                if owner is not None and owner != save.key:
                    raise FactConflictError(
                        f"{self.role}: {save.table}.{column} = {value!r} belongs to {owner} and cannot be {save.key}'s too"
                    )
                owners[save.table, column, value] = save.key
            changes.append((save.table, save.key, row))
        for table, key, row in changes:
            self._tables[table][key] = row
        for (table, column, value), key in owners.items():
            self._owners[table, column][value] = key
        self.commits += 1

    def live_rows(self) -> Rows:
        """What `recover` gets: copies, so that no machine holds the store's own rows."""
        return {
            name: {key: _read(row, self._declared[name]) for key, row in rows.items() if row.get("live", True)}
            for name, rows in self._tables.items()
        }

    def rows(self, table: str) -> Mapping[str, Row]:
        """Every row of `table`, live or not; for oracles."""
        return self._tables.get(table, {})

    def lose(self) -> None:
        """The file is gone: the next process finds empty tables."""
        for rows in self._tables.values():
            rows.clear()
        for owners in self._owners.values():
            owners.clear()

    def copy(self) -> Copy:
        """The file as it is now, for `put_back`."""
        return deepcopy((self._tables, self._owners))

    def put_back(self, copy: Copy) -> None:
        """A person puts an older copy in the place of the file, while no process has it open."""
        self._tables, self._owners = deepcopy(copy)

    def fingerprint(self) -> tuple[object, ...]:
        """Hashable content, in order of first save."""
        return tuple(
            (name, tuple((k, tuple(r.items())) for k, r in rows.items())) for name, rows in self._tables.items()
        )


class KillStore(MemoryStore):
    """kill_switch's port: the rows `file` and `record` of table `kill` are two files, each of which may fail.

    An engagement is saved when either took it, a re-arming when both did. `patient`: the host tries again each second
    instead of ending the process. People may make and delete the file.
    """

    patient = True

    def __init__(self, role: str = "kill_switch") -> None:
        super().__init__(role)
        self.file_fails: int | None = None
        self.record_fails: int | None = None

    def probe(self) -> None:
        """Always willing: kill_switch is never parked."""

    def commit(self, saves: Iterable[Save]) -> None:
        kept: list[Save] = []
        lost: list[Save] = []
        for save in saves:
            failing = self.file_fails if save.key == "file" else self.record_fails
            (kept if failing is None else lost).append(save)
        engages = any(save.key == "file" and save.row.get("live") for save in (*kept, *lost))
        if lost and not (engages and kept):
            code = self.record_fails or self.file_fails or errno.EIO
            raise OSError(code, os.strerror(code), f"{'file' if self.file_fails else 'record'} of {self.role}")
        super().commit(kept)

    @property
    def engaged(self) -> bool:
        """What a lane sees that reads both."""
        rows = self.rows("kill")
        file, record = rows.get("file"), rows.get("record")
        return bool((file and file.get("live")) or (record and record.get("engaged")))

    def touch_file(self, cause: str = "") -> None:
        super().commit([Save("kill", "file", {"engaged": True, "cause": cause, "live": True})])

    def delete_file(self) -> None:
        self._tables["kill"].pop("file", None)


def _read(row: Mapping[str, Cell], table: Table) -> dict[str, Cell]:
    names = (*table.columns, "live") if table.columns else tuple(row)
    cells = {name: row.get(name, True if name == "live" else None) for name in names}
    return {name: int(cell) if isinstance(cell, bool) else cell for name, cell in cells.items()}


def _fact(row: Mapping[str, Cell]) -> dict[str, Cell]:
    return {name: cell for name, cell in row.items() if name != "live"}


NO_SPACE, BROKEN = errno.ENOSPC, errno.EIO
