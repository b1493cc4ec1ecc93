"""Numbered SQL files, applied once each and in order: `state/migrations/<file's stem>/0001_what.sql`.

They make what the `Table` declarations cannot: views for people, conversions of old rows. A file that was applied is
remembered with its digest; a database that knows more than this program is refused instead of guessed at.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from attrs import frozen

MIGRATIONS = Path(__file__).parent / "migrations"


class MigrationError(Exception):
    """Program and database do not fit; the sentence says which is newer."""


@frozen
class Migration:
    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()[:16]


def available(stem: str) -> list[Migration]:
    """The migrations for `<stem>.db` or `<stem>.sqlite`, in order. Raises MigrationError for a gap in the numbers."""
    found = [
        Migration(int(path.name[:4]), path.stem, path.read_text(encoding="utf-8"))
        for path in sorted((MIGRATIONS / stem).glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"the migrations of {stem} are not numbered 1, 2, 3 ...: {[m.name for m in found]}")
    return found


def applied(db: sqlite3.Connection) -> dict[int, tuple[str, str]]:
    """By number, (name, digest) of what this database has seen."""
    exists = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone()
    if exists is None:
        return {}
    return {row[0]: (row[1], row[2]) for row in db.execute("SELECT number, name, digest FROM migrations")}


def pending(db: sqlite3.Connection, path: Path) -> list[Migration]:
    """What is still to be applied. Raises MigrationError when the database is newer, or was changed under its number."""
    known, files = applied(db), available(path.stem)
    if known and max(known) > len(files):
        raise MigrationError(
            f"{path} was made by a newer Bulkhead (migration {max(known)}, this one knows {len(files)}): "
            "start that version, or restore a copy from before it"
        )
    for migration in files:
        if migration.number in known and known[migration.number][1] != migration.digest:
            raise MigrationError(
                f"migration {migration.name} is not the one that {path} has applied: a published file must never change; "
                "add a new number instead"
            )
    return [migration for migration in files if migration.number not in known]


def migrate(db: sqlite3.Connection, path: Path) -> list[str]:
    """Apply what is pending, each in a transaction of its own. Returns the names. Raises MigrationError, sqlite3.Error."""
    todo = pending(db, path)
    if todo:
        db.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, "
            "digest TEXT NOT NULL, applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))"
        )
    for migration in todo:
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements(migration.sql):
                db.execute(statement)
            db.execute(
                "INSERT INTO migrations (number, name, digest) VALUES (?, ?, ?)",
                (migration.number, migration.name, migration.digest),
            )
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    return [migration.name for migration in todo]


def statements(sql: str) -> list[str]:
    """Single statements: `executescript` would commit by itself, and a half-applied file is the one thing not wanted."""
    found, current = [], ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current.strip())
            current = ""
    if any(line.strip() and not line.strip().startswith("--") for line in current.splitlines()):
        raise MigrationError(f"a migration ends in the middle of a statement: {current.strip()[:80]!r}")
    return found
