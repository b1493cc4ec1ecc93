"""What a rule says when it says no: a code of domain.md section 11 and the numbers that led to it."""

from __future__ import annotations

from decimal import Decimal

from attrs import frozen

from trading.messages.decisions import Values
from trading.values import plain


@frozen
class Denied:
    """A refusal of ours (the venue's are called rejections). values: (name with unit, text), measured and limit."""

    code: str
    values: Values = ()

    def sentence(self) -> str:
        """`theme_cap: theme LAYER1, current_usd 90.00, ...` for logs and `ctl why`."""
        return self.code + (": " + ", ".join(f"{name} {text}" for name, text in self.values) if self.values else "")


def text_of(value: object) -> str:
    """One value as people read it: money with 2 decimals where that loses nothing that matters, floats with 4 digits."""
    if isinstance(value, Decimal):
        cents = value.quantize(Decimal("0.01"))
        return plain(cents if cents == value or abs(value) >= 1 else value.normalize())
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def measured(**values: object) -> Values:
    """Keyword arguments in reading order as `Values`."""
    return tuple((name, text_of(value)) for name, value in values.items())


def denied(code: str, **values: object) -> Denied:
    return Denied(code, measured(**values))
