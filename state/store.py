"""A machine's saved rows in SQLite: one writer, one transaction per handle, and the errors named by what to do about them.

WAL, synchronous=FULL: a commit that returned has reached the disk. Tables come from the machine's `Table` declarations
(a new column of a later version is added, nothing is ever dropped); views for people come from numbered migrations.

    store = Store(path, machine.tables)     opens, checks, makes tables, migrates; raises StoreError
    store.commit(saves)                     all or nothing; raises StoreError, after which the store is used up
    store.live_rows()                       what `recover` gets: every declared column, absent ones None, booleans as 0 and 1

After a StoreError the process ends: nothing is retried on a handle whose fsync failed. The next process `probe`s first.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from state.files import write_durably
from state.migrate import migrate
from trading.machine import Cell, Row, Rows, Save, Table

PROBE_BYTES = 65_536
_TYPES: Mapping[str, tuple[type, ...]] = {"text": (str,), "integer": (int, bool), "real": (float, int)}
_ACTED = (
    "INSERT INTO store_clock VALUES ('acted', ?) "
    "ON CONFLICT (key) DO UPDATE SET venue_s = max(venue_s, excluded.venue_s)"
)
_WHOLE_ROW = "row"  # the one column of a table that declares none


class StoreError(Exception):
    """The store cannot be used now; the sentence names the file and the way out."""


class StoreFullError(StoreError):
    """No space: free some; a parked role goes on by itself."""


class StoreReadOnlyError(StoreError):
    """The file or its folder refuses writing."""


class StoreBrokenError(StoreError):
    """The disk reported an error (EIO). The cache is not to be trusted any more."""


class StoreCorruptError(StoreError):
    """What is stored is damaged: a person decides (`db check`, `db backup`, `run --adopt-from-venue`)."""


class FactConflictError(Exception):
    """A fact or a unique column would be contradicted; nothing of the transaction was saved."""


def classified(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error as one of ours, with its sentence."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFullError(f"the disk of {path} is full; free some space, it goes on by itself")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return StoreReadOnlyError(f"{path} cannot be written ({error}); make the file and its folder writable")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorruptError(corrupt_sentence(path, str(error)))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBrokenError(f"{path} is locked by another program that writes to it; only one may: close it")
    return StoreBrokenError(f"{path} failed: {error} ({getattr(error, 'sqlite_errorname', 'unknown code')})")


def corrupt_sentence(path: Path, finding: str) -> str:
    return (
        f"{path} is damaged ({finding}): look with `run.py db check`, restore a copy made by `run.py db backup`, "
        "or start with `run.py run --adopt-from-venue`, which sets it aside and takes orders and fills from the venue"
    )


def begun(path: Path) -> Path:
    """The file that says: this store has held rows. Without it an emptied or deleted store would look like a first start.
    It lies in run/, so that whoever clears away `bulkhead.db*` does not clear it away as well.
    """
    return path.parent / "run" / f"{path.name}.begun"


def mark_begun(path: Path) -> None:
    if not begun(path).exists():
        try:
            begun(path).parent.mkdir(exist_ok=True, mode=0o700)
            write_durably(begun(path), b"rows were saved\n")
        except OSError as error:
            raise StoreReadOnlyError(f"{begun(path)} cannot be made: {error.strerror}") from error


def lost_sentence(path: Path) -> str:
    return (
        f"{path} has lost its rows (it held some before): restore a copy made by `run.py db backup`, or start with "
        "`run.py run --adopt-from-venue`, which takes orders and fills from the venue"
    )


class Store:
    """See the module. `synchronous` FULL, or NORMAL for what may be lost (universe). Used from one thread. begin_anew: a person
    knows that its rows are lost (`run --adopt-from-venue`); without it a store that held rows and holds none is refused.
    """

    def __init__(
        self, path: Path, tables: Sequence[Table], *, synchronous: str = "FULL", begin_anew: bool = False
    ) -> None:
        self.path = path
        self._tables = {table.name: table for table in tables}
        self._upserts = {table.name: _upsert(table) for table in tables}
        # Names come from `Table` declarations in the source, never from outside; values are always bound.
        self._by_key = {table.name: f'SELECT * FROM "{table.name}" WHERE key = ?' for table in tables}  # noqa: S608
        self.commits = 0
        try:
            self._db = connect(path, synchronous)
            finding = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if finding != "ok":
                raise StoreCorruptError(corrupt_sentence(path, finding))
            self._make_tables(tables)
            migrate(self._db, path)
            if (
                not begin_anew
                and begun(path).exists()
                and not self._db.execute("SELECT count(*) FROM store_clock").fetchone()[0]
            ):
                raise StoreCorruptError(lost_sentence(path))
        except sqlite3.Error as error:
            raise classified(error, path) from error
        except OSError as error:
            raise StoreReadOnlyError(f"{path} cannot be made: {error.strerror}; choose another --data-dir") from error

    def _make_tables(self, tables: Sequence[Table]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE IF NOT EXISTS store_probe (key TEXT PRIMARY KEY, body BLOB)")
        db.execute("CREATE TABLE IF NOT EXISTS store_clock (key TEXT PRIMARY KEY, venue_s REAL NOT NULL)")
        for table in tables:
            columns = _columns(table)
            body = "".join(f', "{name}" {kind.upper()}' for name, kind in columns.items())
            db.execute(
                f'CREATE TABLE IF NOT EXISTS "{table.name}" '
                f"(key TEXT PRIMARY KEY NOT NULL{body}, live INTEGER NOT NULL DEFAULT 1)"
            )
            known = {row[1] for row in db.execute(f'PRAGMA table_info("{table.name}")')}
            for name, kind in columns.items():
                if name not in known:
                    db.execute(f'ALTER TABLE "{table.name}" ADD COLUMN "{name}" {kind.upper()}')
            for name in table.unique:
                db.execute(
                    f'CREATE UNIQUE INDEX IF NOT EXISTS "{table.name}_unique_{name}" ON "{table.name}" ("{name}")'
                )
            db.execute(f'CREATE INDEX IF NOT EXISTS "{table.name}_live" ON "{table.name}" (live) WHERE live = 1')
        db.execute("COMMIT")

    def commit(self, saves: Iterable[Save], acted_s: float | None = None) -> None:
        """All rows in one transaction, on the disk when it returns. acted_s: the (trusted) venue time acted on, kept at its
        highest. Raises StoreError or FactConflictError; KeyError for what was not declared, ValueError for a cell of another type.
        """
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                for save in saves:
                    self._save(save)
                if acted_s is not None:
                    db.execute(_ACTED, (acted_s,))
                if self.commits == 0:
                    db.execute("INSERT OR IGNORE INTO store_clock VALUES ('begun', 0.0)")
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise FactConflictError(f"{self.path.name}: {error}; the rows were not saved") from error
        except sqlite3.Error as error:
            raise classified(error, self.path) from error
        if self.commits == 0:
            mark_begun(self.path)
        self.commits += 1

    def _save(self, save: Save) -> None:
        table = self._tables.get(save.table)
        if table is None:
            raise KeyError(f"{self.path.name} has no table {save.table!r}: the machine must declare it in `tables`")
        cells = _cells(table, save.row)
        if table.fact:
            known = self._db.execute(self._by_key[table.name], (save.key,)).fetchone()
            if known is not None:
                for name, cell in cells.items():
                    if name != "live" and known[name] != cell:
                        raise FactConflictError(
                            f"{self.path.name}: fact {table.name}/{save.key} has {name} = {known[name]!r} "
                            f"and must not become {cell!r}"
                        )
        self._db.execute(self._upserts[table.name], (save.key, *cells.values()))

    def acted_s(self) -> float:
        """The highest venue time that any commit acted on; a clock below it is not to be trusted. 0.0 before the first."""
        found = self._db.execute("SELECT venue_s FROM store_clock WHERE key = 'acted'").fetchone()
        return float(found[0]) if found else 0.0

    def live_rows(self) -> Rows:
        """By table and key, the live rows, in order of first save."""
        try:
            return {name: self._live_rows(table) for name, table in self._tables.items()}
        except sqlite3.Error as error:
            raise classified(error, self.path) from error

    def _live_rows(self, table: Table) -> dict[str, Row]:
        found = self._db.execute(f'SELECT * FROM "{table.name}" WHERE live = 1 ORDER BY rowid')  # noqa: S608
        if not table.columns:
            return {row["key"]: {**json.loads(row[_WHOLE_ROW]), "live": 1} for row in found}
        names = (*table.columns, "live")
        return {row["key"]: {name: row[name] for name in names} for row in found}

    def probe(self) -> None:
        """Write and sync more than a handle does, then take it away. Raises StoreError while commits would fail."""
        try:
            self._db.execute("INSERT OR REPLACE INTO store_probe VALUES ('probe', zeroblob(?))", (PROBE_BYTES,))
            self._db.execute("DELETE FROM store_probe")
        except sqlite3.Error as error:
            raise classified(error, self.path) from error

    def close(self) -> None:
        self._db.close()


def connect(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    """The writer's connection. Raises sqlite3.Error or OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # trades are nobody else's business
    db = sqlite3.connect(path, isolation_level=None, timeout=2.0)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA journal_size_limit = 67108864")
    return db


def _columns(table: Table) -> Mapping[str, str]:
    return table.columns or {_WHOLE_ROW: "text"}


def _upsert(table: Table) -> str:
    names = (*_columns(table), "live")
    listed = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join("?" for _ in names)
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in names)
    return f'INSERT INTO "{table.name}" (key, {listed}) VALUES (?, {marks}) ON CONFLICT (key) DO UPDATE SET {changes}'  # noqa: S608


def _cells(table: Table, row: Row) -> dict[str, Cell]:
    live = 1 if row.get("live", True) else 0
    if not table.columns:
        body = {name: int(c) if isinstance(c, bool) else c for name, c in row.items() if name != "live"}
        return {_WHOLE_ROW: json.dumps(body, sort_keys=True), "live": live}
    if strange := [name for name in row if name != "live" and name not in table.columns]:
        raise KeyError(f"table {table.name!r} does not declare the columns {strange}")
    cells: dict[str, Cell] = {}
    for name, kind in table.columns.items():
        cell = row.get(name)
        if cell is not None and not isinstance(cell, _TYPES[kind]):
            raise ValueError(f"{table.name}.{name} holds {kind}, not {cell!r}")
        cells[name] = int(cell) if isinstance(cell, bool) else cell
    cells["live"] = live
    return cells
