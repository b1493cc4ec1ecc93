"""From YAML files to one frozen configuration, or to all problems at once, each with its file and line.

Layers, the later wins: base.yaml, <env>.yaml, --config FILE, --set key=value. Every leaf remembers where it was said.
Rules: an unknown key is refused with its nearest match; money is text in quotes ("100.00"), a float there is refused;
a secret in a file is refused; a key that is absent keeps the default of its class.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from attrs import frozen
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from trading.values import money, plain

T = TypeVar("T")
Path_ = tuple[str, ...]
LISTS = (tuple, list, set, frozenset)
SECRET_WORDS = ("secret", "private_key", "password", "token", "api_key")


@frozen(order=True)
class Problem:
    """One thing that is wrong, where it was said, and what would be right."""

    where: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.where} line {self.line}" if self.line else self.where
        return f"{place}  {self.key}: {self.text}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds every reason."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems)
        count = len(self.problems)
        super().__init__(
            f"the configuration is not usable ({count} problem{'s' if count != 1 else ''}):\n"
            + "\n".join(f"  {problem}" for problem in self.problems)
        )


@frozen
class Said:
    """One value of one layer with its place."""

    value: Any
    where: str
    line: int


@frozen
class Loaded:
    """The effective configuration: `config` structured, `said` every leaf's place, `hash` over the effective values."""

    config: Any
    said: Mapping[Path_, Said]
    hash: str

    def problem(self, key: str, text: str) -> Problem:
        """A problem of a later check (sanity) at the line where `key` (dotted) or something of it was said, or at the default."""
        path = tuple(key.split("."))
        for length in range(len(path), 0, -1):
            if (said := self.said.get(path[:length])) is not None:
                return Problem(said.where, said.line, key, text)
        said = _said_below(path, self.said) or Said(None, "default", 0)
        return Problem(said.where, said.line, key, text)


def load(schema: type[T], files: Iterable[Path], overrides: Iterable[str] = ()) -> Loaded:
    """Read the layers into `schema`. Raises ConfigError with all problems."""
    problems: list[Problem] = []
    said: dict[Path_, Said] = {}
    for file in files:
        _read_file(file, said, problems)
    for override in overrides:
        _read_override(override, schema, said, problems)
    tree = _as_tree(said)
    _check_keys(schema, tree, (), said, problems)
    config = None
    if not problems:
        try:
            config = converter().structure(tree, schema)
        except Exception as error:  # cattrs groups every problem of every depth into one exception
            problems.extend(_explain(error, said, schema))
    if problems:
        raise ConfigError(problems)
    return Loaded(config=config, said=said, hash=config_hash(config))


def config_hash(config: object) -> str:
    """First 16 hex of sha256 over the effective values as sorted JSON: equal configurations, equal hash."""
    text = json.dumps(unstructure(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unstructure(config: object) -> Any:
    """Plain dicts, lists and text, as `check-config --effective` shows them."""
    return converter().unstructure(config)


def converter() -> cattrs.Converter:
    """Structures money from text only, tuples from lists, and refuses what would be guessed."""
    made = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=False)
    made.register_structure_hook(Decimal, _decimal)
    made.register_unstructure_hook(Decimal, plain)
    made.register_structure_hook(float, _float)
    made.register_structure_hook(int, _int)
    made.register_structure_hook(bool, _bool)
    made.register_structure_hook(str, _str)
    return made


class _Typed(str):
    """A number typed after --set: its text is kept, so that money loses no digit."""

    __slots__ = ()


def _decimal(value: Any, _: type) -> Decimal:
    if value is None:
        raise _wrong(value, "is not an amount")
    if isinstance(value, bool | float):
        raise ValueError(f'money is text, not {value!r}: write "{value}" in quotes')
    return money(value)


def _wrong(value: Any, what: str) -> ValueError:
    """A key without a value is None in YAML, a word that nobody wrote."""
    return ValueError("has no value; write one or take the key out" if value is None else f"{value!r} {what}")


def _float(value: Any, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | _Typed):
        raise _wrong(value, "is not a number")
    return float(value)


def _int(value: Any, _: type) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, "is not a whole number")
    return value


def _bool(value: Any, _: type) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, "is neither true nor false")
    return value


def _str(value: Any, _: type) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "is not text: put it in quotes")
    return value


def _read_file(file: Path, said: dict[Path_, Said], problems: list[Problem]) -> None:
    name = _short(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(name, 0, "(file)", f"cannot be read: {getattr(error, 'strerror', None) or error}"))
        return
    yaml = YAML(typ="rt")
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        line = (error.problem_mark.line + 1) if error.problem_mark else 0
        problems.append(Problem(name, line, "(yaml)", str(error.problem or "not readable as YAML")))
        return
    except Exception as error:  # ruamel raises plain errors for odd documents; the user gets the sentence
        problems.append(Problem(name, 0, "(yaml)", str(error).splitlines()[0]))
        return
    if tree is None:
        return
    if not isinstance(tree, CommentedMap):
        problems.append(Problem(name, 1, "(yaml)", "a configuration is a mapping of sections (name: value)"))
        return
    _flatten(tree, (), name, said, problems)


def _flatten(node: CommentedMap, path: Path_, name: str, said: dict[Path_, Said], problems: list[Problem]) -> None:
    for key, value in node.items():
        line = node.lc.key(key)[0] + 1
        here = (*path, str(key))
        if any(word in str(key).lower() for word in SECRET_WORDS) and isinstance(value, str) and value:
            problems.append(
                Problem(name, line, ".".join(here), "secrets never stand in a file; set them in the environment")
            )
        if isinstance(value, CommentedMap) and value:
            _flatten(value, here, name, said, problems)
        else:
            said[here] = Said(_plain(value), name, line)


def _plain(value: Any) -> Any:
    if isinstance(value, CommentedMap):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, CommentedSeq | list):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


def _read_override(text: str, schema: Any, said: dict[Path_, Said], problems: list[Problem]) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        problems.append(Problem("--set", 0, text, "is not key=value, as in --set risk.caps.positions_max=3"))
        return
    yaml = YAML(typ="safe")
    try:
        value = yaml.load(raw) if raw else ""
    except Exception:
        value = raw
    if isinstance(value, float):
        value = _Typed(raw.strip())
    path = tuple(key.strip().split("."))
    _keep_the_rest(path, schema, said)
    said[path] = Said(value, "--set", 0)


def _keep_the_rest(path: Path_, schema: Any, said: dict[Path_, Said]) -> None:
    """--set of one entry of a table (tiers, strategies, caps by theme) changes that entry; the defaults of the others are said
    first, unless a file has written the table, which then is the whole table.
    """
    for depth, key in enumerate(path[:-1], 1):
        attribute = attrs.fields_dict(schema).get(key) if attrs.has(schema) else None
        if attribute is None:
            return
        hint = _without_none(typing.get_type_hints(schema)[key])
        if typing.get_origin(hint) in (dict, Mapping):
            table = path[:depth]
            made = getattr(attribute.default, "factory", None)
            if made is not None and not any(known[:depth] == table for known in said):
                for below, value in _leaves(unstructure(made())):
                    said[table + below] = Said(value, "default", 0)
            return
        schema = hint


def _leaves(tree: Any) -> Iterable[tuple[Path_, Any]]:
    if isinstance(tree, dict) and tree:
        for key, below in tree.items():
            for path, value in _leaves(below):
                yield (str(key), *path), value
    else:
        yield (), list(tree) if isinstance(tree, tuple) else tree


def _as_tree(said: Mapping[Path_, Said]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, leaf in said.items():
        node = tree
        for key in path[:-1]:
            below = node.get(key)
            if not isinstance(below, dict):
                below = {}
                node[key] = below
            node = below
        node[path[-1]] = leaf.value
    return tree


def _check_keys(schema: Any, tree: Any, path: Path_, said: Mapping[Path_, Said], problems: list[Problem]) -> None:
    schema = _without_none(schema)
    if attrs.has(schema):
        if not isinstance(tree, dict):
            where = _place(path, said)
            problems.append(Problem(where.where, where.line, ".".join(path), f"is a section with keys, not {tree!r}"))
            return
        hints = typing.get_type_hints(schema)
        known = {attribute.name: hints[attribute.name] for attribute in attrs.fields(schema)}
        for key, below in list(tree.items()):
            here = (*path, key)
            if below is None and key in known and attrs.has(_without_none(known[key])):
                del tree[key]  # a section whose every line is a comment says nothing
            elif key not in known:
                near = difflib.get_close_matches(key, known, 1, 0.5)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
                where = _place(here, said)
                problems.append(Problem(where.where, where.line, ".".join(here), f"unknown key; {hint}"))
            else:
                _check_keys(known[key], below, here, said, problems)
    elif typing.get_origin(schema) in (dict, Mapping, types.MappingProxyType):
        arguments = typing.get_args(schema)
        if isinstance(tree, dict) and len(arguments) == 2:
            for key, below in tree.items():
                _check_keys(arguments[1], below, (*path, key), said, problems)
    elif typing.get_origin(schema) in LISTS and not isinstance(tree, list | tuple):
        # A text is a sequence too: left alone, "DOGE-USD" becomes eight products of one letter each.
        where = _place(path, said)
        problems.append(
            Problem(where.where, where.line, ".".join(path), f"is a list, not {tree!r}: write [{_shown(tree)}]")
        )


def _shown(tree: Any) -> str:
    return "" if tree is None else str(tree)


def _without_none(schema: Any) -> Any:
    if typing.get_origin(schema) in (types.UnionType, typing.Union):
        left = [part for part in typing.get_args(schema) if part is not type(None)]
        return left[0] if len(left) == 1 else schema
    return schema


def _place(path: Path_, said: Mapping[Path_, Said]) -> Said:
    if path in said:
        return said[path]
    if (below := _said_below(path, said)) is not None:
        return below
    return _place(path[:-1], said) if path else Said(None, "default", 0)


def _said_below(path: Path_, said: Mapping[Path_, Said]) -> Said | None:
    """The first thing that was said of a section or of an entry of a table; a default only when nobody said anything."""
    below = [leaf for key, leaf in said.items() if key[: len(path)] == path]
    return min(below, key=lambda leaf: (leaf.where == "default", leaf.line), default=None)


def _explain(error: BaseException, said: Mapping[Path_, Said], schema: Any, path: Path_ = ()) -> list[Problem]:
    """Cattrs' tree of exceptions, each leaf at the line that caused it."""
    if isinstance(error, cattrs.BaseValidationError):
        problems: list[Problem] = []
        for inner in error.exceptions:
            step = path
            for note in getattr(inner, "__notes__", ()):
                name = getattr(note, "name", None)
                index = getattr(note, "index", None)
                if name is not None:
                    step = (*path, str(name))
                elif index is not None:
                    step = (*path, str(index))
            problems.extend(_explain(inner, said, schema, step))
        return problems
    where = _place(path, said)
    text = str(error)
    if isinstance(error, KeyError):
        path = (*path, str(error.args[0])) if path[-1:] != (str(error.args[0]),) else path
        text = "required, missing"
    elif isinstance(error, ValueError) and "is not a valid" in text:
        enum = next((kind for kind in Enum.__subclasses__() if kind.__name__ in text), None)
        text = text + (f"; one of {', '.join(str(member.value) for member in enum)}" if enum else "")
    return [Problem(where.where, where.line, ".".join(path), text)]


def _short(file: Path) -> str:
    try:
        return str(file.resolve().relative_to(Path(__file__).resolve().parent.parent))
    except ValueError:
        return str(file)
