"""The venue's ledger on disk: SQLite in WAL mode, one writer, committed before anybody is told.

What a client was told is on disk before, in the sense that matters here: `kill -9` of the venue loses no accepted order, no
fill and no balance. A torn tail (a WAL cut anywhere) is cut back by SQLite to the last whole commit. synchronous=OFF: the
kernel keeps what a dead process wrote; only a power cut could lose it, and then the ledger is refused or begun anew.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from exchange.simulator.accounts import Wallet
from exchange.simulator.candles import Candles, LiveBar
from exchange.simulator.execution import Execution
from exchange.simulator.market import Move, move_from_json
from exchange.simulator.rows import fill_from_row, fill_row, order_from_row, order_row

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, number INTEGER, client_order_id TEXT, status TEXT, row TEXT);
CREATE TABLE IF NOT EXISTS fills (number INTEGER PRIMARY KEY, order_id TEXT, row TEXT);
CREATE TABLE IF NOT EXISTS wallets (currency TEXT PRIMARY KEY, total TEXT, hold TEXT, created_s REAL, updated_s REAL);
CREATE TABLE IF NOT EXISTS sides (kind TEXT, currency TEXT, amount TEXT, PRIMARY KEY (kind, currency));
CREATE TABLE IF NOT EXISTS refusals (client_order_id TEXT PRIMARY KEY, at_s REAL, answer TEXT);
CREATE TABLE IF NOT EXISTS bars (product_id TEXT, minute INTEGER, open REAL, high REAL, low REAL, close REAL, volume REAL,
                                 PRIMARY KEY (product_id, minute));
CREATE TABLE IF NOT EXISTS moves (number INTEGER PRIMARY KEY, row TEXT);
CREATE TABLE IF NOT EXISTS requests (number INTEGER PRIMARY KEY, row TEXT);
CREATE TABLE IF NOT EXISTS fault_log (number INTEGER PRIMARY KEY, row TEXT);
"""


class JournalError(Exception):
    """The ledger cannot be used; the text is one sentence for people."""

    code = 3


class Journal:
    def __init__(self, folder: Path) -> None:
        """Open or create `ledger.sqlite` in the folder. Raises JournalError."""
        self.path = folder / "ledger.sqlite"
        try:
            self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=OFF")
            self.db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise JournalError(
                f"the venue's ledger {self.path} cannot be opened: {error}; --fresh makes a new one"
            ) from None
        self.path.chmod(0o600)
        self._fills_saved = 0
        self._refusals_saved: set[str] = set()
        self._requests: dict[int, str] = {}
        self.request_count = int(self._one("SELECT COALESCE(MAX(number), 0) FROM requests"))
        self._faults_saved = 0

    def _one(self, sql: str) -> Any:
        return self.db.execute(sql).fetchone()[0]

    def meta(self, key: str) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def set_meta(self, **values: str) -> None:
        self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    def portfolio_uuid(self) -> str:
        """The account's name: drawn once per ledger, so that a new ledger is another account."""
        known = self.meta("portfolio_uuid")
        if known is None:
            known = str(uuid.uuid4())
            self.set_meta(portfolio_uuid=known)
        return known

    # --- ledger --------------------------------------------------------------------------------------------------------

    def request(self, number: int, row: dict[str, Any]) -> None:
        """Keep one request under its arrival number; written with the next commit, a later row replaces it."""
        self.request_count = max(self.request_count, number)
        self._requests[number] = json.dumps(row)

    def commit(self, venue: Execution, venue_s: float) -> None:
        """Write what changed since the last commit, in one transaction. Nothing changed costs nothing."""
        wallets = venue.wallets
        if not (venue.changed_orders or wallets.changed or self._requests or len(venue.fill_list) > self._fills_saved):
            return
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?)",
                [
                    (order.order_id, order.number, order.client_order_id, order.status, json.dumps(order_row(order)))
                    for order in venue.changed_orders.values()
                ],
            )
            db.executemany(
                "INSERT INTO fills VALUES (?, ?, ?)",
                [(f.number, f.order_id, json.dumps(fill_row(f))) for f in venue.fill_list[self._fills_saved :]],
            )
            for currency in wallets.changed:
                w = wallets.of(currency)
                db.execute(
                    "INSERT OR REPLACE INTO wallets VALUES (?, ?, ?, ?, ?)",
                    (currency, format(w.total, "f"), format(w.hold, "f"), w.created_s, w.updated_s),
                )
                for kind, sums in (("street", wallets.street), ("fees", wallets.fees)):
                    if currency in sums:
                        row = (kind, currency, format(sums[currency], "f"))
                        db.execute("INSERT OR REPLACE INTO sides VALUES (?, ?, ?)", row)
            self._write_refusals(venue)
            db.executemany("INSERT OR REPLACE INTO requests VALUES (?, ?)", list(self._requests.items()))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('venue_s', ?)", (repr(venue_s),))
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        venue.changed_orders.clear()
        wallets.changed.clear()
        self._requests.clear()
        self._fills_saved = len(venue.fill_list)

    def _write_refusals(self, venue: Execution) -> None:
        if venue.settings.forget_refusals:
            return
        for client_id, (at_s, _, answer) in venue.by_client_id.items():
            if answer is not None and client_id not in self._refusals_saved:
                self._refusals_saved.add(client_id)
                self.db.execute(
                    "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?)", (client_id, at_s, json.dumps(answer))
                )

    def resume(self, venue: Execution, now_s: float) -> bool:
        """Give the venue its ledger back; False when there is none yet (the opening balances then stay)."""
        rows = self.db.execute("SELECT currency, total, hold, created_s, updated_s FROM wallets").fetchall()
        if not rows:
            return False
        wallets = venue.wallets
        wallets.by_currency = {
            currency: Wallet(currency, Decimal(total), Decimal(hold), created, updated)
            for currency, total, hold, created, updated in rows
        }
        for kind, currency, amount in self.db.execute("SELECT kind, currency, amount FROM sides"):
            (wallets.street if kind == "street" else wallets.fees)[currency] = Decimal(amount)
        wallets.changed.clear()
        orders = [
            order_from_row(json.loads(row), venue.products)
            for (row,) in self.db.execute("SELECT row FROM orders ORDER BY number")
        ]
        fills = [fill_from_row(json.loads(row)) for (row,) in self.db.execute("SELECT row FROM fills ORDER BY number")]
        venue.restore(orders, fills, now_s)
        for client_id, at_s, answer in self.db.execute("SELECT * FROM refusals"):
            venue.by_client_id.setdefault(client_id, (at_s, "", json.loads(answer)))
            self._refusals_saved.add(client_id)
        self._fills_saved = len(fills)
        venue.changed_orders.clear()
        return True

    # --- market, requests, faults --------------------------------------------------------------------------------------

    def save_bars(self, candles: Candles) -> None:
        rows = []
        for product_id, minute in candles.dirty:
            b = candles.live[product_id][minute]
            rows.append((product_id, minute, b.open, b.high, b.low, b.close, b.volume))
        candles.dirty.clear()
        if rows:
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany("INSERT OR REPLACE INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self.db.execute("COMMIT")

    def load_bars(self, candles: Candles, from_minute: int) -> None:
        for product_id, minute, *values in self.db.execute("SELECT * FROM bars WHERE minute >= ?", (from_minute,)):
            candles.live.setdefault(product_id, {})[minute] = LiveBar(minute * 60, *values)

    def save_moves(self, moves: Iterable[Move]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("DELETE FROM moves")
        self.db.executemany("INSERT INTO moves (row) VALUES (?)", [(json.dumps(move.as_json()),) for move in moves])
        self.db.execute("COMMIT")

    def load_moves(self) -> list[Move]:
        return [move_from_json(json.loads(row)) for (row,) in self.db.execute("SELECT row FROM moves ORDER BY number")]

    def save_fault_log(self, log: list[dict[str, Any]]) -> None:
        new = log[self._faults_saved :]
        self._faults_saved = len(log)
        if new:
            self.db.executemany("INSERT INTO fault_log (row) VALUES (?)", [(json.dumps(row),) for row in new])

    def requests(self, since: int = 0, limit: int = 1_000_000) -> list[dict[str, Any]]:
        """Every request ever, oldest first, as {"number": n, ...}."""
        rows = self.db.execute(
            "SELECT number, row FROM requests WHERE number > ? ORDER BY number LIMIT ?", (since, limit)
        )
        found = dict(rows.fetchall()) | {n: row for n, row in self._requests.items() if n > since}
        return [{"number": number, **json.loads(row)} for number, row in sorted(found.items())]

    def close(self) -> None:
        self.db.close()
