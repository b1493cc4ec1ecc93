"""`@light`: frozen for mypy, plain when it runs. For what is made at every message: messages, effects, instants, orders.

Making an object that is frozen at run time costs three times as much, and nobody gains: mypy reads all of the code and
refuses an assignment ("Property ... is read-only"). Equality, hash and slots are those of `attrs.frozen`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attrs import frozen as light
else:
    from attrs import define

    def light(cls: type | None = None, **options: Any) -> Any:
        return define(cls, unsafe_hash=True, **options)


__all__ = ["light"]
