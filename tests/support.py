"""What the tests share: waiting for a condition with a deadline, never for a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


def eventually(
    look: Callable[[], T], wanted: Callable[[T], object] = bool, patience_s: float = 10.0, every_s: float = 0.01
) -> T:
    """Look again and again until `wanted(look())` is true and return what was seen; fail with the last sight after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while True:
        seen = look()
        if wanted(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s} s; last seen: {seen!r}")
        time.sleep(every_s)


def shared_data(*parts: str) -> Path:
    """A folder of the recorded data beside the clone (or BULKHEAD_SHARED_DATA); skips the test with a reason without it."""
    root = Path(
        os.environ.get("BULKHEAD_SHARED_DATA") or Path(__file__).resolve().parents[1].parent / "shared" / "data"
    )
    folder = root.joinpath(*parts)
    if not folder.exists():
        pytest.skip(f"no recorded data: {folder} is not here")
    return folder
