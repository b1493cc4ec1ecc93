"""What shells say to each other; everything with a meaning for trading is in `trading/messages/`."""

from __future__ import annotations

from attrs import frozen

from supervision.messages import TreeSnapshot
from trading.machine import Incarnation
from trading.messages.control import ChildState, TreeState


@frozen(kw_only=True)
class StoreParked:
    """A host -> main, each second while its store takes no writes, and once when it does again (protocol section 8)."""

    role: str
    incarnation: Incarnation
    parked: bool
    reason: str = ""


def tree_state(snapshot: TreeSnapshot, *, root_alive: bool = True, parked: frozenset[str] = frozenset()) -> TreeState:
    """Supervision's picture in the words that machines hear. parked: roles whose store takes no writes."""
    return TreeState(
        children=tuple(
            ChildState(
                role=row.id,
                supervisor=row.supervisor,
                state="parked" if row.id in parked and row.state == "running" else row.state,
                pid=row.pid,
                incarnation=row.incarnation,
                restarts=row.restarts,
                mailbox_age_s=row.mailbox_age_s,
                rss_bytes=row.rss_bytes,
                uptime_s=row.uptime_s,
                reason=row.reason,
            )
            for row in snapshot.children
        ),
        taken_boot_s=snapshot.taken_s,
        root_alive=root_alive,
    )
