"""What main tells whoever watches it; it listens only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class View(Protocol):
    """What the main process may tell. Nothing of it may raise or block (telemetry/terminal.py has three)."""

    def open(self) -> None: ...
    def event(self, kind: str, text: str, values: Mapping[str, Any] | None = None) -> None: ...
    def tick(self, children: Sequence[Any]) -> None: ...
    def close(self, summary: Mapping[str, Any], lines: Sequence[str]) -> None: ...
