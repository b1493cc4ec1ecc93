"""What a supervisor is told: its strategy, its children and their temper, in OTP's words.

A spec may be written down wrongly without harm: it is checked whole, nested ones too, by `check_tree` when a tree starts
(and by `check_child` when a child is added), before any process exists. Each complaint is a ValueError that names the
field, the value and the place.
"""

from __future__ import annotations

import importlib
import math
import pickle
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final, Literal

from attrs import Factory, evolve, field, frozen

from supervision.backoff import Backoff


class Strategy(StrEnum):
    """Whom a death takes along."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"


class Restart(StrEnum):
    """Which ends are failures: every one, only abnormal ones, none."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class AutoShutdown(StrEnum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


RESERVED_IDS: Final = frozenset({"main", "root"})
SHUTDOWN_MS: Final = 5000
Shutdown = int | Literal["brutal_kill", "infinity"]


def _type_of(spec: ChildSpec) -> str:
    return "supervisor" if isinstance(spec.start, SupervisorSpec) else "worker"


def _shutdown_of(spec: ChildSpec) -> Shutdown:
    return "infinity" if spec.type == "supervisor" else SHUTDOWN_MS


@frozen
class ChildSpec:
    """One child: who it is and what its death means."""

    id: str
    """Unique in the whole tree; messages are addressed to it."""
    start: Any = field(default=None)
    """A subclass of `SupervisedActor`, a dotted path to one, or a `SupervisorSpec`: a supervisor of its own."""
    args: Any = None
    """Handed to `init(self, args)`; picklable."""
    restart: str = Restart.PERMANENT
    type: str = field(default=Factory(_type_of, takes_self=True))
    shutdown: Shutdown = field(default=Factory(_shutdown_of, takes_self=True))
    """One of "brutal_kill", milliseconds, or "infinity". Default: 5000 for a worker, "infinity" for a supervisor."""
    significant: bool = False
    start_limit_s: float = 30.0
    """Not ready after this long is a failed start; the process is killed. A nested supervisor has no limit of its own."""
    hang_deadline_s: float | None = None
    """A ping unanswered for this long means kill; None: what `supervision.start` was told."""
    hears: str = "all"
    """Of whom the directory tells it: "all", "static" (not of dynamic children) or "none"."""
    reason: str = field(default="", eq=False)
    """Only in answers of `get_childspec`: why the child is parked or down."""


@frozen(init=False)
class SupervisorSpec:
    """One supervisor. `period` is understood as OTP's word for `period_s`."""

    strategy: str
    children: tuple[ChildSpec, ...]
    intensity: int
    period_s: float
    auto_shutdown: str
    backoff: Backoff | None
    """None: OTP's way, restart at once."""
    on_exhausted: str
    """Either "escalate": OTP's way, the supervisor ends. "park": the child does, alone; its counter is its own."""
    retry_parked_s: float | None
    """A parked child is tried again this often; None: only `restart_child` brings it back."""

    def __init__(
        self,
        strategy: str = Strategy.ONE_FOR_ONE,
        children: Iterable[ChildSpec] = (),
        intensity: int = 1,
        period_s: float | None = None,
        auto_shutdown: str = AutoShutdown.NEVER,
        backoff: Backoff | None = None,
        on_exhausted: str = "escalate",
        retry_parked_s: float | None = None,
        *,
        period: float | None = None,
    ) -> None:
        if period_s is None:
            period_s = 5 if period is None else period
        kept: Any = tuple(children) if isinstance(children, list | tuple) else children
        self.__attrs_init__(strategy, kept, intensity, period_s, auto_shutdown, backoff, on_exhausted, retry_parked_s)

    @property
    def dynamic(self) -> bool:
        return self.strategy == Strategy.SIMPLE_ONE_FOR_ONE

    @property
    def parks(self) -> bool:
        return self.on_exhausted == "park"


def _wrong(place: str, name: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{place}: {name}={value!r} is not {wanted}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_word(place: str, name: str, value: object, words: Iterable[str]) -> None:
    known = [str(word) for word in words]
    if not isinstance(value, str) or value not in known:
        raise _wrong(place, name, value, f"one of {', '.join(known)}")


def _check_seconds(place: str, name: str, value: object) -> None:
    if not _is_number(value) or value <= 0:  # type: ignore[operator]
        raise _wrong(place, name, value, "a number of seconds above 0")


def actor_class(start: Any) -> type:
    """The class that `start` means: itself, or what the dotted path ("package.module.Class" or "package.module:Class") names.

    :raises ValueError: the path leads nowhere, or to something that is no `SupervisedActor`.
    """
    from supervision.actor import SupervisedActor

    found: Any = start
    if isinstance(start, str):
        module_name, _, class_name = start.replace(":", ".").rpartition(".")
        try:
            found = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError, ValueError) as problem:
            raise ValueError(f"start={start!r} leads nowhere: {problem}") from None
    if not (isinstance(found, type) and issubclass(found, SupervisedActor)):
        raise ValueError(
            f"start={start!r} is not a subclass of SupervisedActor, a dotted path to one, or a SupervisorSpec"
        )
    return found


def check_child(spec: Any, place: str = "child", parent: SupervisorSpec | None = None) -> None:
    """Refuse a child spec that cannot work. `parent` lets combinations be judged.

    :raises ValueError: the first wrong field, with its value.
    """
    if not isinstance(spec, ChildSpec):
        raise _wrong(place, "children", spec, "a ChildSpec")
    if not isinstance(spec.id, str) or not spec.id:
        raise _wrong(place, "id", spec.id, "a non-empty text")
    place = f"{place} {spec.id!r}"
    if "/" in spec.id or "\0" in spec.id or len(spec.id) > 100:
        raise _wrong(place, "id", spec.id, "at most 100 characters without a slash")
    if spec.id in RESERVED_IDS:
        raise _wrong(place, "id", spec.id, "free: the names main and root belong to the tree itself")
    if isinstance(spec.start, SupervisorSpec):
        if spec.type != "supervisor":
            raise _wrong(place, "type", spec.type, "supervisor, although start is a SupervisorSpec")
    else:
        try:
            actor_class(spec.start)
        except ValueError as problem:
            raise ValueError(f"{place}: {problem}") from None
    _check_word(place, "restart", spec.restart, Restart)
    _check_word(place, "type", spec.type, ("worker", "supervisor"))
    _check_word(place, "hears", spec.hears, ("all", "static", "none"))
    milliseconds = isinstance(spec.shutdown, int) and not isinstance(spec.shutdown, bool) and spec.shutdown > 0
    if not milliseconds and spec.shutdown not in ("brutal_kill", "infinity"):
        raise _wrong(place, "shutdown", spec.shutdown, "brutal_kill, infinity or milliseconds above 0")
    if not isinstance(spec.significant, bool):
        raise _wrong(place, "significant", spec.significant, "True or False")
    if spec.significant and spec.restart == Restart.PERMANENT:
        raise _wrong(place, "significant", True, "possible with restart='permanent': such a child never ends by itself")
    if spec.significant and parent is not None and parent.auto_shutdown == AutoShutdown.NEVER:
        raise _wrong(place, "significant", True, "possible under auto_shutdown='never': nobody would act on it")
    _check_seconds(place, "start_limit_s", spec.start_limit_s)
    if spec.hang_deadline_s is not None:
        _check_seconds(place, "hang_deadline_s", spec.hang_deadline_s)
    try:
        pickle.dumps(spec.args)
    except Exception as problem:  # whatever a stranger's __reduce__ raises
        raise _wrong(place, "args", spec.args, f"picklable ({problem})") from None


def _check_backoff(place: str, backoff: Any) -> None:
    if not isinstance(backoff, Backoff):
        raise _wrong(place, "backoff", backoff, "a Backoff or None")
    _check_seconds(place, "backoff.min_s", backoff.min_s)
    if not _is_number(backoff.max_s) or backoff.max_s < backoff.min_s:
        raise _wrong(place, "backoff.max_s", backoff.max_s, f"a number of seconds from min_s={backoff.min_s} up")
    if not _is_number(backoff.jitter) or not 0 <= backoff.jitter <= 1:
        raise _wrong(place, "backoff.jitter", backoff.jitter, "between 0 and 1")
    if not isinstance(backoff.first_at_once, bool):
        raise _wrong(place, "backoff.first_at_once", backoff.first_at_once, "True or False")


def check_supervisor(spec: Any, place: str = "root") -> None:
    """Refuse a supervisor spec that cannot work, its children and their children included.

    :raises ValueError: the first wrong field, with its value.
    """
    if not isinstance(spec, SupervisorSpec):
        raise _wrong(place, "spec", spec, "a SupervisorSpec")
    _check_word(place, "strategy", spec.strategy, Strategy)
    _check_word(place, "auto_shutdown", spec.auto_shutdown, AutoShutdown)
    _check_word(place, "on_exhausted", spec.on_exhausted, ("escalate", "park"))
    if not isinstance(spec.intensity, int) or isinstance(spec.intensity, bool) or spec.intensity < 0:
        raise _wrong(place, "intensity", spec.intensity, "a whole number from 0 up")
    _check_seconds(place, "period_s", spec.period_s)
    if spec.backoff is not None:
        _check_backoff(place, spec.backoff)
    if spec.retry_parked_s is not None:
        _check_seconds(place, "retry_parked_s", spec.retry_parked_s)
    if spec.parks and spec.strategy in (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE):
        raise _wrong(
            place,
            "on_exhausted",
            "park",
            f"possible with strategy={str(spec.strategy)!r}: siblings would run without it",
        )
    if spec.dynamic and spec.auto_shutdown != AutoShutdown.NEVER:
        raise _wrong(place, "auto_shutdown", spec.auto_shutdown, "possible with strategy='simple_one_for_one'")
    if not isinstance(spec.children, tuple):
        raise _wrong(place, "children", spec.children, "a list or tuple of ChildSpec")
    if spec.dynamic and len(spec.children) != 1:
        raise _wrong(place, "children", spec.children, "exactly one ChildSpec: the template of simple_one_for_one")
    for child in spec.children:
        check_child(child, f"{place}: child", spec)
        if isinstance(child.start, SupervisorSpec):
            if spec.dynamic and any(ids_in(child.start)):
                raise _wrong(
                    f"{place}: child {child.id!r}", "start", child.start, "possible in a template: its ids would repeat"
                )
            check_supervisor(child.start, child.id)


def ids_in(spec: SupervisorSpec) -> Iterator[str]:
    """Every id of the tree below, templates left out (their children get names of their own)."""
    for child in spec.children:
        if not spec.dynamic:
            yield child.id
        if isinstance(child.start, SupervisorSpec):
            yield from ids_in(child.start)


def check_tree(spec: Any) -> None:
    """Everything that must hold before the first process exists.

    :raises ValueError: a wrong field, or an id used twice.
    """
    check_supervisor(spec)
    seen: set[str] = set()
    for child_id in ids_in(spec):
        if child_id in seen:
            raise _wrong("tree", "id", child_id, "unique: it names two children")
        seen.add(child_id)


def named(template: ChildSpec, child_id: str, args: Any) -> ChildSpec:
    """The spec of one dynamic child."""
    return evolve(template, id=child_id, args=template.args if args is None else args)
