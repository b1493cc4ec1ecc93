"""Logs for people: loguru to a rotated JSON file per role and, on request, short lines on stderr. Secrets are cut out.

The journal of record is the database and the audit chain; a lost log line loses nothing.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from loguru import Record

SECRET_ENV = (
    "COINBASE_API_KEY",
    "COINBASE_API_SECRET",
    "BULKHEAD_GUARDIAN_API_KEY",
    "BULKHEAD_GUARDIAN_API_SECRET",
    "BULKHEAD_ALERT_URLS",
)
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+|Bearer\s+\S+",
    re.DOTALL,
)
HIDDEN = "[hidden]"
FILE_BYTES = 20_000_000


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` without key material: known values (of the environment and given), PEM blocks, tokens."""
    for value in (*secrets, *(os.environ.get(name, "") for name in SECRET_ENV)):
        if len(value) >= 6:
            text = text.replace(value, HIDDEN).replace(value.replace("\n", "\\n"), HIDDEN)
    return _SHAPES.sub(HIDDEN, text)


def set_up(folder: Path | None, role: str, *, stderr: bool = False, secrets: tuple[str, ...] = ()) -> None:
    """Route this process's logs to `folder`/<role>.jsonl (20 MB, 10 kept, compressed, 90 days). A full disk loses lines, never a role."""
    logger.remove()

    def clean(record: Record) -> None:
        record["message"] = redact(record["message"], secrets)
        if record["exception"] is not None:
            record["extra"]["traceback"] = redact(_traceback(record["exception"]), secrets)
            record["exception"] = None

    logger.configure(patcher=clean, extra={"role": role})
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            logger.add(
                folder / f"{role.replace(':', '_')}.jsonl",
                serialize=True,
                rotation=FILE_BYTES,
                retention="90 days",
                compression=_compress_beside,
                catch=True,
                diagnose=False,  # it would print the values of variables, keys among them
                backtrace=False,
            )
        except OSError as error:
            print(f"logs of {role} cannot be written to {folder}: {error}", file=sys.stderr)
    if stderr:
        logger.add(
            sys.stderr,
            format="{time:HH:mm:ss} {level:<7} {extra[role]}  {message}",
            diagnose=False,
            backtrace=False,
            catch=True,
        )


def _compress_beside(path: str) -> None:
    """In a thread: compressing a whole file takes more than a second, and whoever logged the line that filled it may hold a stop."""
    threading.Thread(target=_compress, args=(path,), name="compress", daemon=True).start()


def _compress(path: str) -> None:
    """A process that ends midway leaves the plain file; both go with their age."""
    unfinished = f"{path}.gz.part"
    try:
        with open(path, "rb") as plain, gzip.open(unfinished, "wb") as packed:  # noqa: PTH123 -- loguru gives a text
            shutil.copyfileobj(plain, packed)
        Path(unfinished).replace(f"{path}.gz")
        Path(path).unlink()
    except OSError:  # no room: the plain file stays
        Path(unfinished).unlink(missing_ok=True)


def _traceback(exception: Any) -> str:
    import traceback

    kind, value, trace = exception
    return "".join(traceback.format_exception(kind, value, trace, limit=20))
