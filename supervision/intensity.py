"""Restart intensity: OTP's sliding window as one pure function (`add_restart/3` of supervisor.erl)."""

from __future__ import annotations

History = tuple[float, ...]
"""Times of restarts in seconds, newest first. Only those still inside the window are kept."""


def add_restart(history: History, now_s: float, intensity: int, period_s: float) -> tuple[History, bool]:
    """Count one restart at `now_s`; return the new history and whether the restart is allowed.

    OTP's rule: stamps at least as young as `now_s - period_s` stay (the edge included), the new one is put in front, and more
    than `intensity` of them is one too many. Unlike OTP the stamps are not cut to whole seconds, so the window is exact.
    """
    edge = now_s - period_s
    kept = (now_s, *(stamp for stamp in history if stamp >= edge))
    return kept, len(kept) <= intensity


def inside(history: History, now_s: float, period_s: float) -> int:
    """How many restarts of `history` still lie in the window that ends at `now_s`."""
    edge = now_s - period_s
    return sum(1 for stamp in history if stamp >= edge)
