"""Figures as people read them, the same on terminal, in `ctl` and on channels. What was never told is a dash."""

from __future__ import annotations


def usd(text: str | None, *, sign: bool = False) -> str:
    if text is None:
        return "-"
    return f"{float(text):{'+' if sign else ''},.2f} USD"


def percent(text: str | None) -> str:
    return "-" if text is None else f"{float(text):.2f} %"


def short(text: str | None) -> str:
    """At most 8 decimals shown, trailing zeros cut."""
    if text is None:
        return "-"
    whole, dot, fraction = text.partition(".")
    fraction = fraction[:8].rstrip("0")
    return f"{whole}.{fraction}" if dot and fraction else whole


def brief(text: str | None) -> str:
    """At most 7 significant digits, for columns that are narrow; `ctl` shows all of them."""
    if text is None:
        return "-"
    return (
        short(text)
        if len(short(text)) <= 8
        else short(f"{float(text):.7g}" if abs(float(text)) >= 1e-4 else short(text))
    )


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 100:
        return f"{value:.0f} s"
    if value < 6_000:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"
