"""Administration in OTP's words, backoff, parking and wishes; the pure core, in virtual time."""

from __future__ import annotations

import pytest

from supervision import Backoff, SupervisorSpec
from supervision.messages import StartChild
from tests.supervision.harness import ABNORMAL, NORMAL, Shell, spec


def dynamic(**fields):
    return Shell(spec("t", **fields.pop("template", {})), strategy="simple_one_for_one", **fields).begin()


# ---- OTP's answers ------------------------------------------------------------------------------------------------------


def test_start_child_adds_at_the_end_and_which_children_is_newest_first():
    shell = Shell(spec("a")).begin()
    pid = shell.start_child(spec("b"))
    assert [tuple(row) for row in shell.which()] == [("b", pid, "worker"), ("a", 101, "worker")]
    assert shell.count() == (2, 2, 0, 2)


def test_start_child_refuses_an_id_that_is_there():
    shell = Shell(spec("a"), spec("b", restart="transient")).begin()
    assert shell.start_child(spec("a")) == ("already_started", 101)
    shell.exit("b", NORMAL)
    assert shell.start_child(spec("b"))[0] == "already_present"


def test_start_child_refuses_an_id_that_lives_elsewhere_in_the_tree():
    import pickle

    shell = Shell(spec("a")).begin()
    shell.perform(shell.core.call("r", StartChild(pickle.dumps(spec("x"))), shell.now_s, {"x": object()}))
    assert shell.answers["r"][0] == "already_started"
    nested = spec("sup2")
    nested = type(nested)("sup2", SupervisorSpec(children=[spec("x")]))
    shell.perform(shell.core.call("s", StartChild(pickle.dumps(nested)), shell.now_s, {"x": object()}))
    assert shell.answers["s"][0] == "already_started"


def test_a_start_child_that_fails_leaves_nothing():
    shell = Shell(spec("a")).begin()
    shell.refusing.add("b")
    word, detail = shell.start_child(spec("b"))
    assert word == "start_failed"
    assert detail == "b: refused"
    assert [row.id for row in shell.which()] == ["a"]
    assert shell.finished is None
    shell.refusing.clear()
    assert isinstance(shell.start_child(spec("b")), int)


def test_start_child_with_ignore_answers_none_and_keeps_the_spec_unless_temporary_or_dynamic():
    shell = Shell().begin()
    shell.ignoring |= {"a", "b"}
    assert shell.start_child(spec("a")) is None
    assert shell.start_child(spec("b", restart="temporary")) is None
    assert [tuple(row) for row in shell.which()] == [("a", None, "worker")]
    pool = dynamic()
    pool.ignoring.add("x")
    assert pool.start_child(None, "x") is None
    assert pool.which() == []


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_terminate_child_stops_keeps_the_spec_unless_temporary_and_is_idempotent(restart):
    shell = Shell(spec("a", restart=restart)).begin()
    assert shell.terminate("a") is None
    assert shell.up() == set()
    if restart == "temporary":
        assert shell.terminate("a")[0] == "not_found"
        assert shell.count() == (0, 0, 0, 0)
    else:
        assert shell.terminate("a") is None
        assert shell.count() == (1, 0, 0, 1)
        assert [tuple(row) for row in shell.which()] == [("a", None, "worker")]


def test_restart_child_says_running_not_found_and_gives_a_new_pid():
    shell = Shell(spec("a")).begin()
    assert shell.restart("a")[0] == "running"
    assert shell.restart("b")[0] == "not_found"
    shell.terminate("a")
    assert shell.restart("a") == 102


def test_a_restart_child_that_fails_leaves_it_down():
    shell = Shell(spec("a")).begin()
    shell.terminate("a")
    shell.refusing.add("a")
    assert shell.restart("a") == ("start_failed", "a: refused")
    assert shell.which()[0].pid is None
    assert shell.finished is None


def test_delete_child_needs_a_child_that_is_down():
    shell = Shell(spec("a"), spec("b")).begin()
    assert shell.delete("a")[0] == "running"
    assert shell.delete("x")[0] == "not_found"
    shell.terminate("a")
    assert shell.delete("a") is None
    assert shell.delete("a")[0] == "not_found"
    assert [row.id for row in shell.which()] == ["b"]


def test_get_childspec_gives_the_spec_back():
    given = spec("a", restart="transient", shutdown=7)
    shell = Shell(given).begin()
    assert shell.childspec("a") == given
    assert shell.childspec("b")[0] == "not_found"


def test_a_child_that_waits_for_its_restart_is_restarting_for_every_call():
    shell = Shell(spec("a"), intensity=9, backoff=Backoff(1, 10, 0)).begin()
    shell.exit("a")
    assert [tuple(row) for row in shell.which()] == [("a", "restarting", "worker")]
    assert shell.count() == (1, 0, 0, 1)
    assert shell.restart("a")[0] == "restarting"
    assert shell.delete("a")[0] == "restarting"
    assert shell.start_child(spec("a"))[0] == "already_present"
    assert shell.terminate("a") is None
    assert shell.which()[0].pid is None
    shell.advance(100)
    assert shell.which()[0].pid is None, "terminate ends a restart loop"


def test_while_a_child_starts_questions_stops_and_calls_about_it_are_answered_at_once():
    shell = Shell(spec("a"), instant=False).begin()
    shell.settle()
    assert shell.start_child(spec("slow")) == "no answer yet"
    waiting = shell.requests
    assert {row.id for row in shell.which()} == {"a", "slow"}
    assert shell.count()[0] == 2
    assert shell.childspec("slow").id == "slow"
    assert shell.start_child(spec("slow"))[0] == "already_started"
    assert shell.restart("slow")[0] == "running"
    assert shell.delete("slow")[0] == "running"
    assert shell.terminate("slow") == "no answer yet"
    shell.do(1)  # the kill, before the start is over
    assert shell.answers[shell.requests] is None
    assert shell.answers[waiting][0] == "start_failed"
    assert [row.id for row in shell.which()] == ["a"]
    assert shell.start_child(spec("slow")) == "no answer yet"
    waiting = shell.requests
    shell.stop()
    shell.settle()
    assert shell.answers[waiting][0] in ("start_failed", "noproc")
    assert shell.finished[0] == "shutdown"


def test_other_starts_wait_for_a_group_restart_and_then_happen():
    shell = Shell(spec("a"), spec("b"), strategy="one_for_all", intensity=9, instant=False).begin()
    shell.settle()
    shell.exit("a")
    assert shell.start_child(spec("c")) == "no answer yet"
    waiting = shell.requests
    assert shell.restart("b") != "no answer yet"
    shell.settle()
    assert isinstance(shell.answers[waiting], int)
    assert shell.up() == {"a", "b", "c"}


def test_terminate_child_within_a_group_restart_leaves_it_down():
    shell = Shell(*(spec(name) for name in "abc"), strategy="one_for_all", intensity=9, instant=False).begin()
    shell.settle()
    shell.exit("a")
    shell.terminate("b")
    shell.settle()
    assert shell.up() == {"a", "c"}
    assert shell.answers[1] is None
    shell.exit("c")
    shell.settle()
    assert shell.up() == {"a", "b", "c"}, "a later group restart starts siblings that were down"


def test_calls_to_one_that_is_ending_are_refused():
    shell = Shell(spec("a"), instant=False).begin()
    shell.settle()
    shell.stop()
    assert shell.start_child(spec("b"))[0] == "noproc"
    assert shell.restart("a")[0] == "noproc"
    assert shell.which()[0].id == "a"


def test_dynamic_children_are_addressed_by_pid_or_by_the_id_they_got():
    shell = dynamic()
    pid = shell.start_child("args")
    named = shell.start_child("other", "x")
    assert {tuple(row) for row in shell.which()} == {(None, pid, "worker"), ("x", named, "worker")}
    assert shell.count() == (1, 2, 0, 2)
    assert shell.childspec(pid).args == "args"
    assert shell.childspec("x").args == "other"
    assert shell.start_child("again", "x") == ("already_started", named)
    assert shell.restart(pid)[0] == "running"
    assert shell.delete(pid)[0] == "running"
    assert shell.terminate(pid) is None
    assert shell.terminate(pid)[0] == "not_found"
    assert shell.terminate("x") is None
    assert shell.restart("x")[0] == "not_found"
    assert shell.count() == (1, 0, 0, 0)


def test_a_dynamic_start_that_fails_leaves_nothing():
    shell = dynamic()
    shell.refusing.add("x")
    assert shell.start_child(None, "x")[0] == "start_failed"
    assert shell.which() == []


def test_args_of_the_template_hold_when_none_are_given():
    shell = dynamic(template={"args": "default"})
    shell.start_child(None, "x")
    assert shell.childspec("x").args == "default"


# ---- backoff --------------------------------------------------------------------------------------------------------------


def starts(shell):
    return [entry for entry in shell.took() if entry[0] == "start"]


def test_backoff_doubles_up_to_its_maximum_and_every_attempt_counts():
    shell = Shell(spec("a"), intensity=5, period_s=1000, backoff=Backoff(1, 5, 0)).begin()
    shell.refusing.add("a")
    shell.took()
    shell.exit("a")
    for wait_s in (1, 2, 4, 5, 5):
        shell.advance(wait_s - 0.01)
        assert starts(shell) == []
        assert shell.which()[0].pid == "restarting"
        shell.advance(0.02)
        assert starts(shell) == [("start", "a")]
        shell.now_s -= 0.01
    assert shell.finished[0] == "shutdown"


def test_backoff_starts_over_after_a_quiet_spell():
    shell = Shell(spec("a"), intensity=99, period_s=1, backoff=Backoff(1, 5, 0)).begin()
    for wait_s, lived_s in ((1, 2.9), (2, 2.9), (4, 3.0), (1, 0)):
        shell.exit("a")
        shell.took()
        shell.advance(wait_s - 0.01)
        assert starts(shell) == []
        shell.advance(0.01)
        assert starts(shell) == [("start", "a")]
        shell.advance(lived_s)


def test_the_first_restart_may_come_at_once():
    shell = Shell(spec("a"), intensity=99, backoff=Backoff(1, 5, 0, first_at_once=True)).begin()
    shell.took()
    shell.exit("a")
    assert starts(shell) == [("start", "a")]
    shell.exit("a")
    assert starts(shell) == []
    shell.advance(1)
    assert starts(shell) == [("start", "a")]


def test_jitter_only_lengthens():
    assert [Backoff(1, 8, 0.5).delay_s(2, chance) for chance in (0, 0.5, 0.999999)] == pytest.approx(
        [4, 5, 6], rel=1e-5
    )
    assert Backoff(1, 8, 0.5).delay_s(2000, 0) == 8


def test_a_group_waits_stopped_for_the_backoff_of_the_one_that_failed():
    shell = Shell(spec("a"), spec("b"), strategy="one_for_all", intensity=9, backoff=Backoff(2, 9, 0)).begin()
    shell.took()
    shell.exit("a")
    assert shell.took() == [("stop", "b")]
    assert [(row.id, row.pid) for row in shell.which()] == [("b", None), ("a", "restarting")]
    shell.advance(2)
    assert shell.took() == [("start", "a"), ("start", "b")]


def test_while_draining_nobody_waits():
    shell = Shell(spec("a"), spec("b"), intensity=99, backoff=Backoff(5, 50, 0)).begin()
    shell.exit("a")
    shell.took()
    shell.perform(shell.core.drain(True, shell.now_s))
    assert shell.took() == [("start", "a")]
    shell.exit("b")
    assert shell.took() == [("start", "b")]
    group = Shell(spec("a"), spec("b"), strategy="rest_for_one", intensity=99, backoff=Backoff(5, 50, 0)).begin()
    group.exit("a")
    group.took()
    group.perform(group.core.drain(True, group.now_s))
    assert group.took() == [("start", "a"), ("start", "b")]


# ---- parking ----------------------------------------------------------------------------------------------------------------


def parked(**fields):
    shell = Shell(spec("a"), spec("b"), intensity=2, period_s=100, on_exhausted="park", **fields).begin()
    for _ in range(3):
        shell.exit("a")
    return shell


def test_a_child_that_exhausts_its_own_counter_parks_alone_with_its_reason():
    shell = parked()
    assert shell.finished is None
    assert [tuple(row)[:2] for row in shell.which()] == [("b", 102), ("a", "parked")]
    assert shell.childspec("a").reason == "it broke"
    for _ in range(2):
        shell.exit("b")
    assert shell.up() == {"b"}, "its counter is its own"
    shell.advance(1000)
    assert shell.up() == {"b"}


def test_restart_child_gives_a_parked_child_a_fresh_budget():
    shell = parked()
    assert isinstance(shell.restart("a"), int)
    for _ in range(2):
        shell.exit("a")
    assert shell.up() == {"a", "b"}
    shell.exit("a")
    assert shell.up() == {"b"}
    shell.refusing.add("a")
    assert shell.restart("a")[0] == "start_failed"
    assert shell.which()[1].pid == "parked"
    assert shell.delete("a") is None


def test_a_parked_child_is_tried_again_at_its_interval_and_parks_again_at_the_first_failure():
    shell = parked(retry_parked_s=10)
    shell.took()
    shell.refusing.add("a")
    for _ in range(3):
        shell.advance(10)
        assert shell.took() == [("start", "a")]
        assert shell.which()[1].pid == "parked"
    shell.refusing.clear()
    shell.advance(10)
    assert shell.up() == {"a", "b"}
    shell.exit("a")
    assert shell.which()[1].pid == "parked"
    assert shell.terminate("a") is None
    shell.took()
    shell.advance(100)
    assert shell.took() == []


def test_dynamic_children_park_too():
    shell = dynamic(intensity=0, on_exhausted="park")
    shell.start_child(None, "x")
    shell.start_child(None, "y")
    shell.exit("x")
    assert {(row.id, row.pid if row.pid == "parked" else "up") for row in shell.which()} == {
        ("x", "parked"),
        ("y", "up"),
    }
    assert isinstance(shell.restart("x"), int)
    assert shell.up() == {"x", "y"}


# ---- wishes ------------------------------------------------------------------------------------------------------------------


def test_a_wish_starts_what_is_missing_stops_what_is_too_much_and_can_be_repeated():
    shell = dynamic()
    shell.want(1, {"a": 1, "b": 2})
    assert shell.up() == {"a", "b"}
    shell.took()
    shell.want(1, {"a": 1, "b": 2})
    assert shell.took() == []
    shell.want(2, {"b": 2, "c": 3})
    assert shell.up() == {"b", "c"}
    shell.took()
    shell.want(1, {"a": 1})
    assert shell.took() == []


def test_a_wished_child_that_fails_to_start_is_tried_again_and_parks():
    shell = dynamic(intensity=2, period_s=100, on_exhausted="park")
    shell.refusing.add("a")
    shell.want(1, {"a": 1, "b": 2})
    assert [entry for entry in shell.took() if entry[1] == "a"] == [("start", "a")] * 3
    assert shell.up() == {"b"}
    assert shell.childspec("a").reason == "refused"
    shell.want(2, {"a": 1, "b": 2})
    assert shell.up() == {"b"}
    shell.want(3, {"b": 2})
    assert [row.id for row in shell.which()] == ["b"]


def test_a_child_wished_again_while_it_stops_comes_back():
    shell = Shell(spec("t"), strategy="simple_one_for_one", instant=False).begin()
    shell.want(1, {"a": 1})
    shell.settle()
    shell.want(2, {})
    shell.want(3, {"a": 2})
    shell.settle()
    assert shell.up() == {"a"}
    assert shell.childspec("a").args == 2


def test_changed_args_count_from_the_next_life_on():
    shell = dynamic(intensity=5)
    shell.want(1, {"a": 1})
    shell.took()
    shell.want(2, {"a": 2})
    assert shell.took() == []
    shell.exit("a")
    assert shell.childspec("a").args == 2


def test_a_wished_child_that_left_by_itself_comes_back_with_the_next_wish():
    shell = dynamic(template={"restart": "transient"})
    shell.want(1, {"a": 1})
    shell.exit("a", NORMAL)
    assert shell.up() == set()
    shell.want(1, {"a": 1})
    assert shell.up() == {"a"}
    shell.exit("a", ABNORMAL)
    assert shell.up() == {"a"}
