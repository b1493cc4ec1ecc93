"""OTP's supervisors for Thespian: one process per actor, nothing orphaned, nobody deaf. README.md has the semantics."""

from supervision.actor import SupervisedActor
from supervision.backoff import Backoff
from supervision.messages import (
    Answered,
    Call,
    ChildInfo,
    ChildRow,
    Counts,
    Envelope,
    Ignore,
    Incarnation,
    TreeSnapshot,
    WantedChildren,
)
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
    "Counts",
    "Envelope",
    "Ignore",
    "Incarnation",
    "Restart",
    "Strategy",
    "SupervisedActor",
    "SupervisorError",
    "SupervisorSpec",
    "Tree",
    "TreeSnapshot",
    "WantedChildren",
    "start",
]
