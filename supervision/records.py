"""The core's vocabulary: what it remembers of a child, and the actions that a shell carries out for it. Pure data."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum, StrEnum
from typing import Any

from attrs import Factory, define, frozen

from supervision.intensity import History
from supervision.spec import ChildSpec

# ---- what the shell must do ----------------------------------------------------------------------------------------


@frozen
class Start:
    """Fork it; report `ready`, `ignored` or `exited`."""

    child_id: str
    spec: ChildSpec


@frozen
class AskStop:
    """Tell it to end in good order; report `exited`."""

    child_id: str


@frozen
class Kill:
    """SIGKILL by pid; report `exited`."""

    child_id: str
    why: str


@frozen
class Wake:
    """Call `woke(key)` at `at_s`; None cancels."""

    key: Hashable
    at_s: float | None


@frozen
class Answer:
    request: Any
    value: Any


@frozen
class Refuse:
    request: Any
    word: str
    detail: Any = None


@frozen
class Began:
    """Every child is up."""


@frozen
class Finish:
    """Every child is gone: end with this exit word. "start_failed" when the start of the whole failed."""

    word: str
    text: str


@frozen
class Changed:
    """Something about this child is new."""

    child_id: str


Action = Start | AskStop | Kill | Wake | Answer | Refuse | Began | Finish | Changed


@frozen
class Exit:
    """How a child ended. Only the words normal and shutdown are not abnormal."""

    word: str
    text: str = ""


class State(StrEnum):
    DOWN = "stopped"
    STARTING = "starting"
    UP = "running"
    STOPPING = "stopping"
    WAITING = "restarting"
    """Due to be restarted: in its backoff, or its group is not stopped yet."""
    PARKED = "parked"


ALIVE = frozenset({State.STARTING, State.UP, State.STOPPING})


@define
class Child:
    spec: ChildSpec
    state: State = State.DOWN
    pid: int | None = None
    anonymous: bool = False
    """A dynamic child without a name: addressed by its pid."""
    stored: bool = True
    """False while its first `start_child` is not over: a refused start leaves nothing."""
    restarting: bool = False
    """This start is a restart, not one that somebody asked for."""
    wished: bool = False
    """Somebody wants it (`WantedChildren`) without waiting for an answer: a first start that fails is tried again."""
    falls_back_to: State = State.DOWN
    """What it is again when a start that somebody asked for fails."""
    history: History = ()
    failures: int = 0
    since_s: float = 0.0
    """When it last became ready."""
    reason: str = ""
    starters: list[Any] = Factory(list)
    stoppers: list[Any] = Factory(list)


class Kind(Enum):
    BOOT = "boot"
    RESTART = "restart"
    SHUTDOWN = "shutdown"


@define
class Round:
    kind: Kind
    stops: list[str]
    starts: list[str]
    not_before_s: float = 0.0
    word: str = "shutdown"
    text: str = ""
