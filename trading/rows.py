"""Flat attrs classes to rows and back: Decimals as plain text, enums as their value, an incarnation as "run:counter".

`columns_of(cls)` gives the columns for a `Table` declaration from the same annotations, so that class and table cannot
drift apart. Fields whose type is none of the flat ones are left to the caller (`skip`).
"""

from __future__ import annotations

import types
import typing
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, TypeVar

import attrs

from trading.machine import Cell, Row
from trading.values import plain

T = TypeVar("T")


def to_row(obj: Any, skip: tuple[str, ...] = ()) -> dict[str, Cell]:
    """`obj` as a flat row. Raises TypeError, with the field's name, for what is not flat."""
    row: dict[str, Cell] = {}
    cls: Any = type(obj)
    for name in _hints(cls):
        if name not in skip:
            row[name] = _cell(getattr(obj, name), cls, name)
    return row


def from_row(cls: type[T], row: Row, **given: Any) -> T:
    """A `cls` from `row`; `given` fields come from the caller; columns that `cls` does not have are ignored,
    and an empty one is the field's default where it has one.

    Raises ValueError that names class, field and value when a cell cannot be read.
    """
    hints = _hints(typing.cast("Any", cls))
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        if name in given:
            values[name] = given[name]
        elif row.get(name) is not None:
            values[name] = _value(row[name], hint, cls, name)
        elif name in row and not _filled_in(typing.cast("Any", cls), name):
            values[name] = _value(None, hint, cls, name)
    return cls(**values)


def columns_of(cls: type, skip: tuple[str, ...] = ()) -> dict[str, str]:
    """The flat fields of `cls` as columns: name -> "text" | "integer" | "real"."""
    return {name: _column(hint) for name, hint in _hints(cls).items() if name not in skip}


def _cell(value: Any, cls: type, name: str) -> Cell:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, int) for part in value):
        return f"{value[0]}:{value[1]}"
    raise TypeError(
        f"{cls.__name__}.{name} is {value!r}, which is not flat: a row holds text, numbers, booleans and None"
    )


def _value(cell: Cell, hint: Any, cls: type, name: str) -> Any:
    kind, optional = _kind(hint)
    if cell is None:
        if optional:
            return None
        raise ValueError(f"{cls.__name__}.{name} is empty in its row and must not be")
    try:
        if kind is bool:
            return bool(cell)
        if kind is float:
            return float(cell)
        if kind is int:
            return int(cell)
        if kind is tuple:
            run, counter = str(cell).split(":")
            return int(run), int(counter)
        return kind(cell)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"{cls.__name__}.{name} is {cell!r} in its row, which is no {kind.__name__}") from error


def _column(hint: Any) -> str:
    kind, _ = _kind(hint)
    return {bool: "integer", int: "integer", float: "real"}.get(kind, "text")


def _kind(hint: Any) -> tuple[Any, bool]:
    """(the class that reads a cell, whether None is allowed)."""
    optional = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = len(parts) < len(typing.get_args(hint))
        hint = parts[0]
    return (tuple if typing.get_origin(hint) is tuple else hint), optional


@cache
def _filled_in(cls: Any, name: str) -> bool:
    """Whether an empty cell means the field's default: a column that was added later is empty in older rows."""
    return getattr(attrs.fields(cls), name).default is not attrs.NOTHING


@cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {a.name: hints[a.name] for a in attrs.fields(cls)}
