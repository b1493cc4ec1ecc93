"""What actors, supervisors and the main program say to each other. Frozen, picklable, one class name each.

Three kinds: the life of a child (supervisor <-> child), administration (anyone -> supervisor), and what the tree knows about
itself (upwards as reports, downwards as the directory).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from attrs import field, frozen

Incarnation = tuple[int, int]
"""(run number, CLOCK_BOOTTIME in ns when its supervisor started it): one life of an id; later lives compare greater."""


# ---- the life of a child -------------------------------------------------------------------------------------------


@frozen
class Init:
    """A child's first letter. Inherited through the fork, never pickled, so it cannot be lost or overtaken."""

    child_id: str
    incarnation: Incarnation
    supervisor_id: str
    supervisor: Any
    """Address of the supervisor."""
    args: Any
    directory: Any
    """A `Directory` filled with what the supervisor knew at the fork."""
    hears: str
    lock_path: str
    lock_limit_s: float
    settings: Any
    """The tree's `Settings`."""


@frozen
class Ready:
    """The child holds its lock, its `init` has returned and its mailbox is served."""

    incarnation: Incarnation


@frozen
class StopChild:
    """End in good order: `terminate("shutdown")`, then leave. Obeyed by the incarnation it names only."""

    incarnation: Incarnation


@frozen
class Leaving:
    """The child has called `leave` and is about to run `terminate`; from now on its shutdown limit counts, not pings."""

    incarnation: Incarnation


@frozen
class Ping:
    """Are you there? Answered from the actor's own loop."""

    incarnation: Incarnation
    sent_s: float


@frozen
class Pong:
    incarnation: Incarnation
    sent_s: float
    mailbox_age_s: float
    """The longest that a message waited in the mailbox since the last Pong."""
    rss_bytes: int
    dropped: int
    """Messages that its peers did not take in time, since it started."""


@frozen
class Ignore:
    """Returned by `init`: there is nothing to do; the child stays in the list without a process."""


@frozen
class Envelope:
    """A message between ids. Receivers drop what an incarnation older than the newest they know has sent."""

    sender_id: str
    sender_incarnation: Incarnation
    body: Any


# ---- administration -------------------------------------------------------------------------------------------------


@frozen
class StartChild:
    """Answered with the pid, or None after `Ignore`. Carries a pickle, so that what cannot be read is refused, not lost."""

    pickled: bytes
    """Of a `ChildSpec` for static supervisors, of the args for dynamic ones."""
    child_id: str | None = None
    """A name for a dynamic child."""


@frozen
class TerminateChild:
    child: str | int


@frozen
class RestartChild:
    child: str | int


@frozen
class DeleteChild:
    child: str | int


@frozen
class GetChildspec:
    child: str | int


@frozen
class WhichChildren:
    pass


@frozen
class CountChildren:
    pass


Question = StartChild | TerminateChild | RestartChild | DeleteChild | GetChildspec | WhichChildren | CountChildren


@frozen
class Call:
    """A question to the supervisor `supervisor_id`; asked of root it is passed on. Answered with `Answered`."""

    request: int
    supervisor_id: str
    question: Question
    reply_to: Any = None
    """Whom to answer; None: the sender."""


@frozen
class Answered:
    request: int
    value: Any = None
    word: str | None = None
    """OTP's word of refusal; None: granted."""
    detail: Any = None


@frozen
class Relay:
    """A nested supervisor's answer on its way up to root, behind its reports, so that root knows first what it tells."""

    reply_to: Any
    answer: Answered


@frozen
class WantedChildren:
    """Which children a dynamic supervisor should have: a snapshot, the newest wins, repeating it does no harm."""

    version: int
    children: Mapping[str, Any]
    """Id to args."""


class ChildInfo(NamedTuple):
    """One line of `which_children`."""

    id: str | None
    pid: int | str | None
    """The process, None, "restarting" or "parked"."""
    type: str


class Counts(NamedTuple):
    """The answer of `count_children`."""

    specs: int
    active: int
    supervisors: int
    workers: int


# ---- what the tree knows about itself -------------------------------------------------------------------------------


@frozen
class ChildRow:
    """One child as its supervisor sees it."""

    id: str
    supervisor: str
    type: str
    state: str
    """running, starting, restarting, stopped or parked."""
    pid: int | None
    incarnation: Incarnation | None
    restarts: int
    """Restarts of this child inside its supervisor's window."""
    mailbox_age_s: float
    rss_bytes: int
    dropped: int
    """Messages it could not hand over in time, since it started: a receiver that does not read shows at its senders."""
    uptime_s: float
    reason: str
    """Why it last ended, or why it is parked: the last lines."""
    dynamic: bool = False
    path: str | None = None
    """Its address while it may be written to."""


@frozen
class Report:
    """Upwards: rows that are new or changed, ids that are gone."""

    rows: tuple[ChildRow, ...]
    gone: tuple[str, ...] = ()
    news: bool = True
    """False for the repetition of every second."""


@frozen
class TreeSnapshot:
    """The whole tree at one instant, in order of start; repeated every second and on change to `listeners`."""

    version: int
    taken_s: float
    """CLOCK_BOOTTIME in seconds."""
    children: tuple[ChildRow, ...] = field(repr=False)

    def row(self, child_id: str) -> ChildRow | None:
        return next((row for row in self.children if row.id == child_id), None)


@frozen
class Known:
    """What the directory says about one id. Without a path it cannot be written to now."""

    id: str
    incarnation: Incarnation
    path: str | None
    dynamic: bool = False


@frozen
class Announced:
    """Downwards: what has changed in the directory, or all of it."""

    version: int
    """Counts root's announcements."""
    complete: bool
    entries: tuple[Known, ...]


@frozen
class Where:
    """Main asks root how to reach an id (or the pid of a dynamic child). Answered when that is clear: not while it starts."""

    request: int
    child: str | int
    wait: bool = True
    """False: answer at once, whatever the state."""
    supervisor_id: str | None = None
    """Only if this is its supervisor."""


@frozen
class Found:
    """Answer to `Where`. `state` is None for an id that does not exist."""

    request: int
    state: str | None
    id: str | None = None
    path: str | None = None


@frozen
class GiveSnapshot:
    request: int


@frozen
class Snapshot:
    request: int
    snapshot: TreeSnapshot


@frozen
class SetDraining:
    on: bool


@frozen
class AreYouThere:
    """Main's ping to root."""

    request: int


@frozen
class RootBorn:
    """Root to main, before it starts anybody."""

    pid: int


@frozen
class RootReady:
    """Root to main: the tree stands."""

    pid: int


@frozen
class ProcessEnded:
    """From a process's own reaper to its actor, never over a socket: a child process is dead and buried."""

    pid: int
    status: int
    """As `waitpid` gives it."""
