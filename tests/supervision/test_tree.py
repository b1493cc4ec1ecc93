"""A tree of real processes: what the README promises of the handle and of the actors."""

# ruff: noqa: PTH110, PTH118, PTH120, PTH123, PLW0108
from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import supervision
from supervision import (
    ChildSpec,
    RestartChild,
    SupervisedActor,
    SupervisorError,
    SupervisorSpec,
    TerminateChild,
    WhichChildren,
)
from tests.supervision.actors import Listener, Obedient
from tests.supervision.conftest import child, pid_of
from tests.support import eventually

NESTED = SupervisorSpec(children=[child("c"), child("d")])


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def test_children_of_every_level_answer_once_start_has_returned(plant):
    tree = plant(child("a", args={"n": 1}), child("sub", start=NESTED))
    assert tree.ask("a", ("echo", "x")) == "x"
    assert tree.ask("a", ("echo", None)) is None
    assert tree.ask("a", ("who",))[3] == {"n": 1}
    assert tree.ask("d", ("who",))[0] == "d"
    assert [row.id for row in tree.which_children()] == ["sub", "a"]
    assert [row.type for row in tree.which_children()] == ["supervisor", "worker"]
    assert [row.id for row in tree.which_children(supervisor="sub")] == ["d", "c"]
    assert tree.count_children() == (2, 2, 1, 1)


def test_a_killed_child_is_replaced_under_a_greater_incarnation(plant):
    tree = plant(child("a"), options={"run_number": 7})
    _, before, pid, _ = tree.ask("a", ("who",))
    os.kill(pid, signal.SIGKILL)
    _, after, new_pid, _ = tree.ask("a", ("who",))
    assert new_pid != pid
    assert before[0] == after[0] == 7
    assert after > before


def test_peers_know_a_restarted_child_soon_and_only_its_new_incarnation(plant):
    tree = plant(child("a"), child("b"), child("sub", start=SupervisorSpec(children=[child("c")])))
    assert tree.ask("b", ("tell", "a", "one")) is True
    pid = pid_of(tree, "a")
    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    incarnation = tree.ask("a", ("who",))[1]
    for peer in ("b", "c"):
        seen = eventually(lambda p=peer: [row for row in tree.ask(p, ("restarted",)) if row[:2] == ("a", incarnation)])
        assert len(seen) == 1
        assert seen[0][2] - killed_s < 1.0
    assert tree.ask("b", ("tell", "a", "two")) is True
    assert eventually(lambda: tree.ask("a", ("seen",))) == [("b", tree.ask("b", ("who",))[1], "two")]


def test_a_fresh_child_knows_its_peers_from_its_first_instant(plant):
    tree = plant(child("a"), child("b"))
    tree.start_child(child("c"))
    assert tree.ask("c", ("tell", "a", "hello")) is True


def test_tell_to_an_unknown_or_stopped_id_is_false_and_counted(plant):
    tree = plant(child("a"), child("b"))
    assert tree.ask("a", ("tell", "nobody", 1)) is False
    assert tree.ask("a", ("counts",))[0] == 1
    tree.terminate_child("b")
    assert eventually(lambda: tree.ask("a", ("tell", "b", 1)), lambda sent: sent is False) is False


def test_main_and_actors_write_to_each_other(plant):
    tree = plant(child("a"), options={"run_number": 3})
    assert tree.tell("a", "report to main") is True
    assert tree.tell("nobody", "x") is False
    assert eventually(tree.messages) == [("a", ("here is", "a"))]
    assert tree.ask("a", ("seen",)) == [("main", (3, 0), "report to main")]
    assert tree.messages() == []


def test_timers_come_once_in_order_and_never_early(plant):
    tree = plant(child("a"))
    asked_s = tree.ask("a", ("wake", ("late", 0.08), ("soon", 0.02), ("never", 0.01), ("never", 30), ("off", 0.05)))
    tree.ask("a", ("cancel", "off"))
    woken = eventually(lambda: tree.ask("a", ("seen",)), lambda seen: len(seen) == 2)
    assert [row[1] for row in woken] == ["soon", "late"]
    assert woken[0][2] - asked_s >= 0.02
    assert woken[1][2] - asked_s >= 0.08


def test_a_watch_survives_other_messages_and_ends_with_unwatch(plant):
    tree = plant(child("a"))
    tree.ask("a", ("watch",))
    assert tree.ask("a", ("echo", 1)) == 1
    tree.ask("a", ("feed", b"one"))
    assert eventually(lambda: tree.ask("a", ("seen",))) == [("read", b"one")]
    tree.ask("a", ("unwatch",))
    tree.ask("a", ("feed", b"two"))
    assert tree.ask("a", ("seen",)) == [("read", b"one")]


def test_wanted_children_are_started_and_the_others_stopped(plant):
    dynamic = SupervisorSpec(strategy="simple_one_for_one", children=[child("template")])
    tree = plant(child("boss"), child("pool", start=dynamic))
    tree.ask("boss", ("want", "pool", 1, {"w:1": "one", "w:2": "two"}))
    eventually(lambda: {row.id for row in tree.which_children(supervisor="pool")}, lambda ids: ids == {"w:1", "w:2"})
    pid = pid_of(tree, "w:2", "pool")
    assert tree.ask("w:1", ("who",))[3] == "one"
    tree.ask("boss", ("want", "pool", 2, {"w:2": "two", "w:3": None}))
    tree.ask("boss", ("want", "pool", 1, {"w:9": "an old wish"}))
    tree.ask("boss", ("want", "pool", 2, {"w:2": "two", "w:3": None}))
    eventually(lambda: {row.id for row in tree.which_children(supervisor="pool")}, lambda ids: ids == {"w:2", "w:3"})
    assert pid_of(tree, "w:2", "pool") == pid


def test_listeners_hear_of_every_change(plant):
    tree = plant(child("a", restart="temporary"), child("ear", start=Listener), options={"listeners": ["ear"]})
    os.kill(pid_of(tree, "a"), signal.SIGKILL)
    eventually(
        lambda: [states for _, _, states in tree.ask("ear", ("seen",))], lambda seen: seen and "a" not in seen[-1]
    )


def test_the_snapshot_shows_every_level_with_its_numbers(plant):
    tree = plant(child("a"), child("sub", start=NESTED), intensity=5, options={"hang_deadline_s": 0.4})
    os.kill(pid_of(tree, "a"), signal.SIGKILL)
    tree.ask("a", ("echo", 1))
    snapshot = eventually(tree.snapshot, lambda s: all(row.rss_bytes > 0 for row in s.children))
    assert [row.id for row in snapshot.children] == ["a", "sub", "c", "d"]
    row = snapshot.row("a")
    assert (row.state, row.supervisor, row.pid, row.restarts) == ("running", "root", pid_of(tree, "a"), 1)
    assert "SIGKILL" in row.reason
    assert row.uptime_s > 0
    assert row.incarnation == tree.ask("a", ("who",))[1]


def test_stop_is_orderly_and_idempotent_and_leaves_nothing(plant, tmp_path):
    journal = str(tmp_path / "journal")
    sub = SupervisorSpec(children=[child("b", args=("journal", journal)), child("c", args=("journal", journal))])
    tree = plant(child("a", args=("journal", journal)), child("sub", start=sub), child("d", args=("journal", journal)))
    pids = [row.pid for row in tree.snapshot().children]
    assert tree.stop() is True
    assert tree.stop() is True
    assert not tree.alive()
    assert not tree.root_alive()
    with open(journal) as file:
        lines = file.read().splitlines()
    assert lines[4:] == [f"terminate {name} shutdown" for name in "dcba"]
    assert all(gone(pid) for pid in [*pids, tree.root_pid, tree.admin_pid])
    assert not os.path.exists(tree.folder)


def test_an_ended_tree_answers_noproc_to_every_call_within_a_second(plant):
    tree = plant(child("a"))
    os.kill(tree.root_pid, signal.SIGKILL)
    eventually(lambda: not tree.alive())
    calls = [
        lambda: tree.which_children(),
        lambda: tree.count_children(),
        lambda: tree.get_childspec("a"),
        lambda: tree.start_child(child("b")),
        lambda: tree.terminate_child("a"),
        lambda: tree.restart_child("a"),
        lambda: tree.delete_child("a"),
        lambda: tree.ask("a", 1, 5),
        lambda: tree.snapshot(),
    ]
    for stopped in (False, True):
        for call in calls:
            began_s = time.monotonic()
            with pytest.raises(SupervisorError) as refusal:
                call()
            assert refusal.value.word == "noproc"
            assert time.monotonic() - began_s < 1
        if not stopped:
            tree.stop()


@pytest.mark.parametrize("victim", ["root", "admin", "sub"])
def test_no_descendant_outlives_a_killed_parent(plant, victim):
    tree = plant(child("a"), child("sub", start=NESTED), intensity=0)
    rows = {row.id: row.pid for row in tree.snapshot().children}
    os.kill({"root": tree.root_pid, "admin": tree.admin_pid, "sub": rows["sub"]}[victim], signal.SIGKILL)
    eventually(lambda: all(gone(pid) for pid in rows.values()), patience_s=2)
    eventually(lambda: not tree.alive(), patience_s=2)
    eventually(lambda: not tree.alive() and not os.path.exists(f"/proc/{tree.admin_pid}"), patience_s=2)


def test_a_child_that_holds_an_ids_lock_keeps_the_next_one_waiting(plant, tmp_path):
    with open(tmp_path / "x_1.lock", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        with pytest.raises(SupervisorError) as refusal:
            plant(child("y"), child("x:1", start_limit_s=0.3), options={"lock_folder": tmp_path})
        assert refusal.value.word == "start_failed"
        assert "x:1" in refusal.value.detail
    tree = plant(child("y"), child("x:1"), options={"lock_folder": tmp_path})
    with open(tmp_path / "x_1.lock", "w") as file, pytest.raises(BlockingIOError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert tree.ask("x:1", ("echo", 1)) == 1


def test_the_example_of_the_readme_runs(plant):
    with open(os.path.join(os.path.dirname(supervision.__file__), "README.md")) as file:
        example = file.read().split("```python")[1].split("```")[0]
    assert len([line for line in example.strip().splitlines() if line.strip()]) <= 10
    names: dict = {"__name__": __name__}
    exec(compile(example, "README.md", "exec"), names)
    assert names["answer"] == "hello"


def test_dotted_paths_name_actors_too(plant):
    tree = plant(
        ChildSpec("a", "tests.supervision.actors.Obedient"), ChildSpec("b", "tests.supervision.actors:Obedient")
    )
    assert tree.ask("a", ("echo", 1)) == tree.ask("b", ("echo", 1)) == 1
    assert Obedient.__module__ == "tests.supervision.actors"


def test_several_threads_use_one_tree(plant):
    tree = plant(child("a"), child("b"), intensity=9)
    with ThreadPoolExecutor(8) as threads:
        slow = threads.submit(tree.start_child, child("slow", args=("slow", 1.0)))
        began_s = time.monotonic()
        assert list(threads.map(lambda n: tree.ask("ab"[n % 2], ("echo", n)), range(40))) == list(range(40))
        assert refused(tree.start_child, child("slow", args=("slow", 1.0))) == "already_started"
        assert refused(tree.delete_child, "slow") == "running"
        assert time.monotonic() - began_s < 0.9, "nobody waited for the slow start"
        assert isinstance(slow.result(5), int)
        other = threads.submit(tree.start_child, child("slow2", args=("slow", 30)))
        eventually(lambda: [row for row in tree.which_children() if row.id == "slow2"])
        began_s = time.monotonic()
        assert tree.stop() is True
        assert time.monotonic() - began_s < 2
        assert other.exception(5).word in ("noproc", "start_failed")


def refused(call, *args):
    with pytest.raises(SupervisorError) as refusal:
        call(*args)
    return refusal.value.word


class Operator(SupervisedActor):
    """Administers the tree from within."""

    def init(self, args):
        self.answers = {}

    def administered(self, answer):
        self.answers[answer.request] = answer

    def receiveMsg_tuple(self, message, sender):
        match message:
            case ("do", supervisor_id, question):
                self.send(sender, self.administer(supervisor_id, question))
            case ("answer", number):
                self.send(sender, self.answers.get(number))


def test_an_actor_administers_supervisors_of_every_level(plant):
    tree = plant(child("op", start=Operator), child("sub", start=NESTED))

    def do(supervisor_id, question):
        number = tree.ask("op", ("do", supervisor_id, question))
        return eventually(lambda: tree.ask("op", ("answer", number)))

    assert do("sub", RestartChild("c")).word == "running"
    assert do("sub", TerminateChild("c")).word is None
    assert do("sub", RestartChild("c")).value == pid_of(tree, "c", "sub")
    assert [row.id for row in do("root", WhichChildren()).value] == ["sub", "op"]
    assert do("nobody", WhichChildren()).word == "noproc"


def test_the_tree_as_a_picture_shows_every_childs_numbers(plant):
    tree = plant(child("a"), child("sub", start=NESTED), intensity=3)
    os.kill(pid_of(tree, "a"), signal.SIGKILL)
    tree.ask("a", ("echo", 1))
    picture = supervision.draw(tree.snapshot()).splitlines()
    assert [line.split()[0] for line in picture] == ["state", "root", "├─", "└─", "├─", "└─"]
    assert picture[2].split()[1:4] == ["a", "running", str(pid_of(tree, "a"))]
    assert "SIGKILL" in picture[2]
    assert picture[5].startswith("   └─ d")


def test_two_lives_of_one_id_never_overlap_however_its_supervisor_dies(plant, tmp_path):
    """Each life notes itself in `init` and looks for the one before. c is stopped when its supervisor is killed, and continued."""
    record = str(tmp_path / "lives")
    sub = SupervisorSpec(children=[child("c", args=("alone", record))])
    tree = plant(child("sub", start=sub), intensity=100, period_s=1)
    for _ in range(15):
        pid, old = pid_of(tree, "sub"), tree.ask("c", ("who",))[2]
        os.kill(old, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(old, signal.SIGCONT)
        eventually(lambda was=pid: pid_of(tree, "sub"), lambda now, was=pid: now not in (was, "restarting"))
    tree.ask("c", ("who",))
    with open(record) as file:
        lines = file.read().splitlines()
    assert len(lines) == 16
    assert not [line for line in lines if "alive" in line]


def test_the_dead_leave_no_files_behind(plant):
    pool = SupervisorSpec(strategy="simple_one_for_one", children=[child("t", restart="temporary")])
    tree = plant(
        child("sub", start=SupervisorSpec(children=[child("c"), child("pool", start=pool)])), intensity=100, period_s=1
    )

    def files():
        return sorted(path.relative_to(tree.folder).as_posix() for path in Path(tree.folder).rglob("*"))

    tree.start_child(supervisor="pool")
    before = len(files())
    for _ in range(5):
        pid = pid_of(tree, "sub")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda was=pid: pid_of(tree, "sub"), lambda now, was=pid: now not in (was, "restarting"))
        pid = tree.start_child(supervisor="pool")
        tree.ask(pid, ("leave", "normal"))
        eventually(lambda: tree.which_children(supervisor="pool"), lambda rows: rows == [])
        tree.start_child(supervisor="pool")
    eventually(lambda: len(files()), lambda now: now <= before + 1)
