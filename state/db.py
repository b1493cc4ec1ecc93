"""What `run.py db` does: check every store of a data dir, copy them while the bot runs, show what is not migrated yet."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from attrs import frozen

from state.migrate import MigrationError, migrate, pending
from state.store import (
    StoreCorruptError,
    StoreError,
    StoreReadOnlyError,
    begun,
    classified,
    connect,
    corrupt_sentence,
    lost_sentence,
)
from trading.values import begins_ours, tag_of

MAIN_STORE = "bulkhead.db"


@frozen(kw_only=True)
class Finding:
    """One store: `problems` empty means whole. rows: table -> count. fits: False when it is whole, and another version's."""

    path: Path
    problems: tuple[str, ...]
    rows: dict[str, int]
    size_bytes: int
    pending: tuple[str, ...] = ()
    fits: bool = True


def store_files(data_dir: Path) -> list[Path]:
    """Every store that a data dir has or has had, the book first: one that is gone must be missed, not overlooked."""
    had = {data_dir / mark.name.removesuffix(".begun") for mark in data_dir.glob("run/*.begun")}
    book, others = data_dir / MAIN_STORE, had | set(data_dir.glob("*.sqlite"))
    return [path for path in (book, *sorted(others - {book})) if path.exists() or path in had]


def check(path: Path, *, thorough: bool = True) -> Finding:
    """Integrity by SQLite's own check (`quick_check` when not thorough), and whether its rows are still there; read-only:
    safe while the bot runs.
    """
    if not path.exists():
        return Finding(path=path, problems=(lost_sentence(path),), rows={}, size_bytes=0)
    problems: list[str] = []
    rows: dict[str, int] = {}
    todo: tuple[str, ...] = ()
    fits = True
    try:
        with reading(path) as db:
            pragma = "integrity_check" if thorough else "quick_check"
            findings = [row[0] for row in db.execute(f"PRAGMA {pragma}(20)")]
            problems += [corrupt_sentence(path, finding) for finding in findings if finding != "ok"]
            if not problems and thorough:
                names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for name in sorted(names):
                    rows[name] = db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608
            if not problems:
                todo = tuple(migration.name for migration in pending(db, path))
    except MigrationError as error:
        fits = False
        problems.append(str(error))
    except sqlite3.Error as error:
        problems.append(str(classified(error, path)))
    if not problems and (sentence := lost(path)):
        problems.append(sentence)
    return Finding(
        path=path, problems=tuple(problems), rows=rows, size_bytes=path.stat().st_size, pending=todo, fits=fits
    )


def lost(path: Path) -> str:
    """A sentence when `path` has held rows and holds none now (deleted, emptied, its WAL taken away); "" when all is well."""
    if not begun(path).exists():
        return ""
    try:
        if path.exists():
            with reading(path, unmarked=True) as db:
                if db.execute("SELECT count(*) FROM store_clock").fetchone()[0]:
                    return ""
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
            return ""  # damaged or not readable, which `check` names; only "no such table" is an emptied store
    return lost_sentence(path)


def backup(data_dir: Path, target: Path) -> list[Path]:
    """A consistent copy of every store into the folder `target`, by SQLite's backup API: never a copy of the raw file,
    which would miss what is still in the WAL. Raises OSError, StoreError; StoreCorruptError for a lost or damaged store when
    all others are copied: the API copies damage as it is, and an earlier whole copy must not go for it. A data dir is no target:
    a bot that has the store open would go on writing into the file that the copy replaced.
    """
    if (target / "run").is_dir():
        raise StoreReadOnlyError(
            f"{target} is a bot's data dir: a copy there would replace its stores; name another folder"
        )
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    copies = []
    sentences = []
    for path in store_files(data_dir):
        if sentence := lost(path):
            sentences.append(sentence)
            continue
        copy = target / path.name
        fresh = copy.with_name(f".{copy.name}.new")
        fresh.unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_CREAT | os.O_WRONLY, 0o600))  # a copy tells as much as the store
        try:
            with reading(path) as source, closing(sqlite3.connect(fresh)) as db:
                source.backup(db)
                db.execute("PRAGMA journal_mode = DELETE")
                finding = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            fresh.unlink(missing_ok=True)
            known = classified(error, path)
            if not isinstance(known, StoreCorruptError):
                raise known from error
            finding = str(error)
        if finding != "ok":
            fresh.unlink(missing_ok=True)
            sentences.append(corrupt_sentence(path, finding))
            continue
        descriptor = os.open(fresh, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        fresh.replace(copy)
        copies.append(copy)
    if sentences:
        raise StoreCorruptError("; ".join(sentences))
    return copies


def migrate_store(path: Path) -> list[str]:
    """Apply pending migrations to a store whose bot is stopped (a start does the same). Returns their names. Raises StoreError."""
    try:
        with closing(connect(path)) as db:
            return migrate(db, path)
    except MigrationError as error:
        raise StoreError(str(error)) from error
    except sqlite3.Error as error:
        raise classified(error, path) from error


def positions(data_dir: Path) -> list[str]:
    """What the book holds, as "1.2 SOL-USD", for people; empty when it cannot be read now."""
    try:
        with reading(data_dir / MAIN_STORE) as db:
            rows = db.execute("SELECT booked_size, product_id FROM positions WHERE live = 1 ORDER BY product_id")
            return [f"{size} {product}" for size, product in rows if float(size or 0) > 0]
    except (sqlite3.Error, ValueError):
        return []


def other_account(data_dir: Path, tag: str) -> str:
    """The tag of an order in the book that is not of the account `tag`; "" when all are, or nothing can be read."""
    sql = "SELECT client_order_id FROM intents WHERE client_order_id NOT LIKE ? LIMIT 1"
    try:
        with reading(data_dir / MAIN_STORE) as db:
            found = db.execute(sql, (f"{begins_ours(tag)}%",)).fetchone()
    except sqlite3.Error:
        return ""
    return "" if found is None else tag_of(str(found[0]))


def set_aside(path: Path) -> Path:
    """Move a damaged store (and its WAL) out of the way, keeping it: `run --adopt-from-venue`. Returns the new name. It stays
    known that it held rows: a run that dies before it has saved some must not let the next one take the data dir for new.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = path.with_name(f"{path.name}.damaged-{stamp}")
    if not path.exists():
        return kept
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + suffix))
    path.rename(kept)
    return kept


def in_use(path: Path) -> bool:
    """Whether somebody has the store open, or was killed while he had: part of it may stand in its WAL."""
    return path.with_name(path.name + "-wal").exists()


@contextmanager
def reading(path: Path, *, unmarked: bool = False) -> Iterator[sqlite3.Connection]:
    """A reader beside a running bot or without one. Raises sqlite3.Error.

    On a store that nobody has open SQLite makes a WAL and its index and leaves both there, in this reader's name. unmarked: no
    file is made; what a bot that starts meanwhile writes may be seen in part, so the reading is short, or looks again.
    """
    options = "mode=ro&immutable=1" if unmarked and not in_use(path) else "mode=ro"
    db = sqlite3.connect(f"file:{quote(path.absolute().as_posix())}?{options}", uri=True, timeout=2.0)
    try:
        yield db
    finally:
        db.close()
