"""kill_switch's store: the file KILL_SWITCH and the record beside it; either says "engaged", both must say "not".

Rows of its one table: `record` (all columns, as JSON in `run/kill.json`) and `file` (there while KILL_SWITCH exists).
What closes trading (an engagement, a pause) succeeds when either file took it, and is repeated by `retry` until both have;
the machine goes on meanwhile, since closing needs nobody's leave. What opens (re-arm, resume) must be durable in
full, the record first and then the file's removal, else StoreError and nothing is sent.

The functions that engage and clear the file belong to who knows its layout (`exchange/coinbase/fences.py`); the shell hands
them over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from state.files import remove_durably, write_durably
from state.store import StoreBrokenError
from trading.machine import Row, Rows, Save

TABLE, RECORD, FILE = "kill", "record", "file"
_FLAGS = ("engaged", "paused")


class TwoFileStore:
    """file_path: KILL_SWITCH. record_path: run/kill.json. engage: (cause, name, source), makes the file durably, or OSError."""

    def __init__(self, file_path: Path, record_path: Path, engage: Callable[[str, str, str], None]) -> None:
        self._file, self._record, self._engage = file_path, record_path, engage
        self._owed: dict[str, Row] = {}
        self.trouble = ""

    def live_rows(self) -> Rows:
        """The record when there is one; what cannot be read counts as engaged. The file when it exists."""
        rows: dict[str, Row] = {}
        try:
            rows[RECORD] = {**_row(json.loads(self._record.read_text())), "live": 1}
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            rows[RECORD] = {"engaged": 1, "cause": f"the kill record cannot be read: {error}", "live": 1}
        try:
            self._file.stat()
        except FileNotFoundError:
            pass
        except OSError as error:
            rows[FILE] = {"engaged": 1, "cause": f"KILL_SWITCH cannot be looked at: {error.strerror}", "live": 1}
        else:
            rows[FILE] = {**self.said_in_file(), "engaged": 1, "live": 1}
        return {TABLE: rows}

    def said_in_file(self) -> dict[str, str]:
        """Cause, name and source as far as the file holds them."""
        try:
            said = json.loads(self._file.read_text())
            return {name: said[name] for name in ("cause", "name", "source") if isinstance(said.get(name), str)}
        except (OSError, ValueError, AttributeError):
            return {}  # a person made it with `touch`: that it exists is all it says

    def commit(self, saves: Iterable[Save], acted_s: float | None = None) -> None:  # noqa: ARG002
        """See the module. Raises StoreError for what opens and is not durable; KeyError for another table."""
        rows: dict[str, Row] = {}
        for save in saves:
            if save.table != TABLE or save.key not in (RECORD, FILE):
                raise KeyError(f"the kill switch has no row {save.table}/{save.key}")
            rows[save.key] = save.row
        record = rows.get(RECORD)
        rearms = FILE in rows and not rows[FILE].get("live", True)
        closes = not rearms and bool(record and (record.get("engaged") or record.get("paused")))
        self._owed = {**self._owed, **rows}
        if self.retry() or closes:
            return
        self._owed = {}
        raise StoreBrokenError(f"neither re-armed nor resumed: {self.trouble}; make room and order it again")

    def retry(self) -> bool:
        """Write what is still owed; True when both files agree with the last row. `trouble` says what failed."""
        self.trouble = ""
        engaged = bool((self._owed.get(FILE) or {}).get("live", False))
        # Engaging: the file first. Re-arming: the record first. In between, one of them says engaged.
        for key in [FILE, RECORD] if engaged else [RECORD, FILE]:
            row = self._owed.get(key)
            if row is None:
                continue
            try:
                self._write(key, row)
                del self._owed[key]
            except OSError as error:
                self.trouble = f"{error.filename or self._record}: {error.strerror or error}"
                if not engaged:
                    break  # a file that is removed before its record says so would re-arm by itself
        return not self._owed

    def _write(self, key: str, row: Row) -> None:
        if key == RECORD:
            body: dict[str, Any] = {name: value for name, value in row.items() if name != "live"}
            body |= {name: bool(row.get(name)) for name in _FLAGS}
            write_durably(self._record, json.dumps(body).encode())
        elif row.get("live", True):
            self._engage(str(row.get("cause") or ""), str(row.get("name") or ""), str(row.get("source") or ""))
        else:
            remove_durably(self._file)

    def acted_s(self) -> float:
        return 0.0

    def probe(self) -> None:
        """Never fails: the role is never parked."""

    def close(self) -> None: ...


def _row(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise ValueError("it is no JSON object")
    row = {name: value for name, value in said.items() if value is None or isinstance(value, str | int | float)}
    if not isinstance(said.get("engaged"), bool):
        raise ValueError("it does not say whether the kill switch is engaged")
    return {name: int(value) if isinstance(value, bool) else value for name, value in row.items()}
