"""The book as it lies on the disk, for people: fills with what they realised, and the rows that trades are made of. Only read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from state.db import MAIN_STORE, in_use, lost, reading
from state.store import StoreCorruptError, classified

Row = Mapping[str, Any]
Ask = Callable[[str, tuple[Any, ...]], list[Row]]
T = TypeVar("T")

_FILLS = """
SELECT f.*, i.purpose, i.strategy, i.reason, c.realised_usd
FROM fills f LEFT JOIN intents i ON i.client_order_id = f.client_order_id LEFT JOIN closes c ON c.key = f.key
ORDER BY f.at_s DESC, f.key DESC LIMIT ?
"""


class NoBookError(Exception):
    """No bot has traded in this data dir; the sentence names the file."""


@frozen(kw_only=True)
class Books:
    """Rows of a book: fills in order of their time, positions and intents by their key in order of first save.

    orders: by the intent that they carry out; empty where nobody asked for them.
    """

    fills: tuple[Row, ...]
    positions: Mapping[str, Row]
    intents: Mapping[str, Row]
    orders: Mapping[str, Row] = field(factory=dict)


def fills(data_dir: Path, limit: int = -1) -> list[Row]:
    """The newest fills first (-1: all), each with purpose, strategy and reason of its order (None where no order made it) and
    what it realised. Raises NoBookError, StoreError.
    """
    return _read(data_dir, lambda ask: ask(_FILLS, (limit,)))


def books(data_dir: Path) -> Books:
    """Everything that was ever traded, as of one moment. Raises NoBookError, StoreError."""
    return _read(
        data_dir,
        lambda ask: _books(
            ask("SELECT * FROM fills WHERE position_id IS NOT NULL ORDER BY at_s, key", ()),
            ask("SELECT * FROM positions ORDER BY rowid", ()),
            ask("SELECT * FROM intents ORDER BY rowid", ()),
        ),
    )


def newest_books(data_dir: Path, most: int) -> Books:
    """The same of the positions that were closed last, at most so many: what a page that looks often may cost."""

    def newest(ask: Ask) -> Books:
        return _of(ask, ask("SELECT key FROM positions WHERE outcome <> '' ORDER BY closed_s DESC LIMIT ?", (most,)))

    return _read(data_dir, newest)


def traded_since(data_dir: Path, since_s: float) -> Books:
    """The same of the positions that have a fill at or after `since_s`, with the orders that began them."""

    def traded(ask: Ask) -> Books:
        found = ask(
            "SELECT DISTINCT position_id AS key FROM fills WHERE at_s >= ? AND position_id NOT NULL", (since_s,)
        )
        entries = ask(
            "SELECT * FROM orders WHERE intent_id IN (SELECT value FROM json_each(?)) ORDER BY rowid", (_keys(found),)
        )
        return evolve(_of(ask, found), orders={row["intent_id"]: row for row in entries})

    return _read(data_dir, traded)


def _keys(positions: list[Row]) -> str:
    return json.dumps([row["key"] for row in positions])


def _of(ask: Ask, positions: list[Row]) -> Books:
    """All rows of these positions."""
    keys = (_keys(positions),)
    return _books(
        ask("SELECT * FROM fills WHERE position_id IN (SELECT value FROM json_each(?)) ORDER BY at_s, key", keys),
        ask("SELECT * FROM positions WHERE key IN (SELECT value FROM json_each(?)) ORDER BY rowid", keys),
        ask(
            "SELECT * FROM intents WHERE ifnull(position_id, key) IN (SELECT value FROM json_each(?)) ORDER BY rowid",
            keys,
        ),
    )


def _books(fills_: list[Row], positions: list[Row], intents: list[Row]) -> Books:
    return Books(
        fills=tuple(fills_),
        positions={row["key"]: row for row in positions},
        intents={row["key"]: row for row in intents},
    )


def _read(data_dir: Path, question: Callable[[Ask], T]) -> T:
    path = data_dir / MAIN_STORE
    if sentence := lost(path):
        raise StoreCorruptError(sentence)
    if not path.is_file():
        raise NoBookError(f"{path}: there is no book yet; a bot makes it when it starts")
    alone = not in_use(path)
    try:
        with reading(path, unmarked=True) as db:
            db.row_factory = sqlite3.Row
            db.execute("BEGIN")
            answer = question(lambda sql, values: [dict(row) for row in db.execute(sql, values)])
    except sqlite3.Error as error:
        if alone and in_use(path):
            return _read(data_dir, question)
        raise classified(error, path) from error
    return _read(data_dir, question) if alone and in_use(path) else answer
