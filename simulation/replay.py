"""What a live machine was told, told again to a fresh one: it must want the same, call by call.

The recording (`actors/told.py`) is read by an unpickler that makes values and our own attrs classes, nothing else: no
function of anybody is ever called by a file. Compared are the effects' texts (`simulation/trace.py`) in their order.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
from attrs import define, field, frozen

from simulation.trace import effect_text, text_of
from state.frames import TOLD, FramesError, read_frames
from trading.machine import Effect, Incarnation, Instant, Machine, Note

SUFFIX = ".told"
OURS = ("trading", "config")
OUR_MODULES = frozenset({"actors.plan", "exchange.coinbase.endpoints"})
OURS_OF_SETTINGS = ("exchange", "simulation", "telemetry")
"""Packages whose settings are part of a configuration: of them only frozen values without a constructor's code are made."""
PLAIN = frozenset(
    {
        ("builtins", "set"), ("builtins", "frozenset"), ("collections", "OrderedDict"), ("collections", "Counter"),
        ("datetime", "datetime"), ("datetime", "date"), ("datetime", "time"), ("datetime", "timedelta"),
        ("datetime", "timezone"), ("decimal", "Decimal"), ("pathlib", "PosixPath"), ("pathlib", "PurePosixPath"),
    }
)  # fmt: skip
CALLS = ("recover", "handle", "on_quote", "on_bar")

Factory = Callable[[str, Incarnation, Any], Machine]
"""(role, incarnation, plan) -> a fresh machine of that role; raises KeyError for a role that it does not know."""


class ReplayError(Exception):
    """The recording cannot be replayed; one sentence."""


class SafeUnpickler(pickle.Unpickler):
    """Makes attrs classes and enums of ours, and a few plain types. Everything else is refused by name."""

    def find_class(self, module: str, name: str) -> Any:
        module = "pathlib" if module == "pathlib._local" else module  # where 3.13 has moved it
        if (module, name) in PLAIN:
            return getattr(importlib.import_module(module), name)
        package = module.partition(".")[0]
        if package in OURS or module in OUR_MODULES or package in OURS_OF_SETTINGS:
            try:
                found = getattr(importlib.import_module(module), name, None)
            except ImportError:
                found = None
            # Defined there (not merely imported there), and a class of values: to make one has no effect on the world.
            defined = isinstance(found, type) and found.__module__ == module
            if defined and (_is_value(found) if package in OURS_OF_SETTINGS else _is_data(found)):
                return found
        raise ReplayError(f"the recording asks for {module}.{name}, which is no message or value of this bot: refused")


def _is_data(found: Any) -> bool:
    return attrs.has(found) or issubclass(found, Enum)


def _is_value(found: Any) -> bool:
    """A frozen attrs class whose construction runs nothing of its own (settings check themselves)."""
    frozen_class = attrs.has(found) and found.__setattr__ is _Frozen.__setattr__
    return frozen_class and (found.__name__.endswith("Settings") or not hasattr(found, "__attrs_post_init__"))


@frozen
class _Frozen:
    """Any frozen class: all share one `__setattr__`."""


@frozen
class Call:
    """One call of a machine: which, with what, when, what it wanted, and what it raised ("" for nothing)."""

    name: str
    argument: Any
    now: Instant
    effects: tuple[Effect, ...]
    error: str


@define
class Recording:
    """One life of one machine. `calls` can be read once."""

    path: Path
    role: str
    incarnation: Incarnation
    plan: Any
    calls: Iterator[Call]


def recordings(path: Path) -> list[Path]:
    """The files that a path names: itself, or all of a folder (or of its `told` folder). Raises ReplayError."""
    if path.is_file():
        return [path]
    folder = path / "told" if (path / "told").is_dir() else path
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if not found:
        raise ReplayError(f"{path}: no recording (*{SUFFIX}) is there; make one with: python3 run.py run --record")
    return found


def open_recording(path: Path) -> Recording:
    """Reads the header. Raises ReplayError, also later from `calls`, with a sentence that names the file."""
    entries = _entries(path)
    header = next(entries, None)
    if not (isinstance(header, tuple) and len(header) == 4 and header[0] == "header"):
        raise ReplayError(f"{path}: there is no header; the run ended before anything was written")
    _, role, incarnation, plan = header
    return Recording(path, str(role), (int(incarnation[0]), int(incarnation[1])), plan, _calls(path, entries))


def _entries(path: Path) -> Iterator[Any]:
    try:
        for raw in read_frames(path, TOLD):
            yield SafeUnpickler(io.BytesIO(raw)).load()
    except FramesError as error:
        raise ReplayError(str(error)) from error
    except ReplayError as error:
        raise ReplayError(f"{path}: {error}") from error
    except Exception as error:  # a pickle of a stranger may raise whatever it likes
        raise ReplayError(f"{path}: an entry cannot be read ({type(error).__name__}: {error}): refused") from error


def _calls(path: Path, entries: Iterator[Any]) -> Iterator[Call]:
    for entry in entries:
        if not (isinstance(entry, tuple) and len(entry) == 5 and entry[0] in CALLS and isinstance(entry[2], Instant)):
            raise ReplayError(f"{path}: an entry is no call of a machine: refused")
        yield Call(*entry)


@frozen
class Difference:
    """The first call after which the two machines want different things."""

    number: int
    told: str
    at: Instant
    before: tuple[str, ...]
    after: tuple[str, ...]


@define
class Replayed:
    """role's life: how many calls, how many effects, its decisions (instant, values), and the first difference."""

    role: str
    calls: int = 0
    effects: int = 0
    decisions: list[tuple[Instant, Note]] = field(factory=list)
    difference: Difference | None = None


def replay(recording: Recording, factory: Factory) -> Replayed:
    """Tell a fresh machine everything again, up to the first difference. Raises ReplayError."""
    try:
        machine: Any = factory(recording.role, recording.incarnation, recording.plan)
    except KeyError:
        raise ReplayError(f"{recording.path}: {recording.role!r} is no role that only thinks") from None
    result = Replayed(recording.role)
    for call in recording.calls:
        result.calls += 1
        error = ""
        effects: tuple[Effect, ...] = ()
        try:
            effects = tuple(getattr(machine, call.name)(call.argument, call.now))
            machine.products()  # hosts ask after each call, and machines may remember what they answered
        except Exception as raised:  # whatever it raised live, it must raise again
            error = repr(raised)
        result.effects += len(effects)
        result.decisions += [
            (call.now, effect) for effect in effects if isinstance(effect, Note) and effect.kind == "decision"
        ]
        if effects == call.effects and error == call.error:
            continue
        before, after = _texts(call.effects, call.error), _texts(effects, error)
        if before != after:
            told = f"{call.name} {text_of(call.argument)}"
            result.difference = Difference(result.calls, told, call.now, before, after)
            return result
    return result


def _texts(effects: tuple[Effect, ...], error: str) -> tuple[str, ...]:
    return (*(effect_text(effect) for effect in effects), *((f"raised {error}",) if error else ()))
