"""OTP's supervisors for Thespian: one process per actor, nothing orphaned, nobody deaf. README.md has the semantics."""

from supervision.actor import SupervisedActor
from supervision.backoff import Backoff
from supervision.messages import (
    Answered,
    Call,
    ChildInfo,
    ChildRow,
    CountChildren,
    Counts,
    DeleteChild,
    Envelope,
    GetChildspec,
    Ignore,
    Incarnation,
    RestartChild,
    StartChild,
    TerminateChild,
    TreeSnapshot,
    WantedChildren,
    WhichChildren,
)
from supervision.picture import draw
from supervision.spec import AutoShutdown, ChildSpec, Restart, Strategy, SupervisorSpec
from supervision.tree import SupervisorError, Tree, start

__all__ = [
    "Answered",
    "AutoShutdown",
    "Backoff",
    "Call",
    "ChildInfo",
    "ChildRow",
    "ChildSpec",
    "CountChildren",
    "Counts",
    "DeleteChild",
    "Envelope",
    "GetChildspec",
    "Ignore",
    "Incarnation",
    "Restart",
    "RestartChild",
    "StartChild",
    "Strategy",
    "SupervisedActor",
    "SupervisorError",
    "SupervisorSpec",
    "TerminateChild",
    "Tree",
    "TreeSnapshot",
    "WantedChildren",
    "WhichChildren",
    "draw",
    "start",
]
