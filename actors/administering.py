"""What a person orders of main itself: a role's restart, a new reading of the configuration. Answered to operator."""

from __future__ import annotations

import os
import signal

from supervision import SupervisorError, Tree
from trading.messages.control import CommandDone
from trading.operator import ReloadRequested, RestartRequested

PICTURE_S_MAX, STOP_S_MAX, START_S_MAX = 1.0, 3.0, 6.0
"""Main's loop stands still meanwhile, and its beat must not."""


class NoSuchRoleError(Exception):
    """The words of the order are wrong: its role is none of the tree."""


def administer(tree: Tree, order: RestartRequested | ReloadRequested) -> CommandDone:
    """Carried out when it returns; never raises."""
    ok = misworded = False
    text = "this run keeps the configuration it was started with; stop it and start it again"
    if isinstance(order, RestartRequested):
        try:
            ok, text = True, _restart(tree, order.role)
        except NoSuchRoleError as error:
            misworded, text = True, str(error)
        except (SupervisorError, TimeoutError) as error:
            text = f"{order.role} was not restarted: {error}"
    return CommandDone(command_id=order.command_id, ok=ok, text=text, misworded=misworded)


def _restart(tree: Tree, role: str) -> str:
    snapshot = tree.snapshot(PICTURE_S_MAX)
    row = snapshot.row(role)
    if row is None:
        raise NoSuchRoleError(
            f"no role is named {role!r}; there are: {', '.join(known.id for known in snapshot.children)}"
        )
    if row.dynamic and row.pid:
        os.kill(row.pid, signal.SIGKILL)  # its supervisor wants it, and starts the next life by itself
        return f"{role} was killed and comes back"
    if row.state in ("running", "starting"):
        tree.terminate_child(role, row.supervisor, STOP_S_MAX)
    pid = tree.restart_child(role, row.supervisor, START_S_MAX)
    return f"{role} was restarted (pid {pid})"
