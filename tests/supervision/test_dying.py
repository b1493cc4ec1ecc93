"""A process that was killed and does not end (it waits for a disk that stalls) is not shown as running."""

from __future__ import annotations

from supervision.core import Core
from supervision.records import State
from supervision.relations import Body
from supervision.spec import ChildSpec, SupervisorSpec
from supervision.supervisor import Supervisor


def test_a_child_that_was_killed_as_hung_counts_as_restarting_until_it_is_gone() -> None:
    root = Supervisor()
    root.child_id = "root"
    root.spec = SupervisorSpec(children=(ChildSpec("a", Supervisor),))
    root.core = Core("root", root.spec)
    root.core.children["a"].state = State.UP
    root.bodies = {"a": Body("a", 17, "/x", (1, 5), 0.0)}
    assert (root.row("a").state, root.row("a").path) == ("running", "/x")
    root.bodies["a"].killed = "hung: no answer to a ping for 3.0 s"
    row = root.row("a")
    assert (row.state, row.path, row.reason) == ("restarting", None, "hung: no answer to a ping for 3.0 s")
