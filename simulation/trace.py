"""One stable text for every message and effect: compared between the stages, hashed for replay, read by people.

Default values and what has no place in a repr are left out, Decimals and enums are plain, nothing depends on memory addresses or hash order.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum

import attrs

from trading.machine import Effect, Note, Save, Send, Wake


def text_of(value: object) -> str:
    """`Name(field=value, ...)` for attrs objects, plain text for everything else."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return repr(round(value, 9))
    if isinstance(value, str):
        return value if value and " " not in value else repr(value)
    if value is None or isinstance(value, int | bytes):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text_of(k)}: {text_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(text_of(item) for item in value) + ")"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(text_of(item) for item in value)) + "}"
    if attrs.has(type(value)):
        shown = []
        for attribute in attrs.fields(type(value)):  # type: ignore[arg-type]
            cell = getattr(value, attribute.name)
            if not attribute.repr or (attribute.default is not attrs.NOTHING and cell == attribute.default):
                continue
            shown.append(f"{attribute.name}={text_of(cell)}")
        return f"{type(value).__name__}({', '.join(shown)})"
    return type(value).__name__


def effect_text(effect: Effect) -> str:
    """One line for one effect; the form both stages are compared by."""
    if isinstance(effect, Save):
        return f"save {effect.table} {effect.key} {text_of(effect.row)}"
    if isinstance(effect, Send):
        return f"send {effect.role} {text_of(effect.message)}"
    if isinstance(effect, Wake):
        at = "never" if effect.at_boot_s is None else f"{effect.at_boot_s:.6f}"
        return f"wake {effect.key} {at}"
    if isinstance(effect, Note):
        return f"note {effect.kind} {text_of(effect.values)}"
    raise TypeError(f"{effect!r} is none of the four effects Save, Send, Wake, Note")
