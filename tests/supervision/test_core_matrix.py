"""strategy x restart type x exit reason, as OTP's supervisor_SUITE names them; the pure core, in virtual time."""

from __future__ import annotations

import itertools

import pytest

from supervision.records import Exit
from tests.supervision.harness import ABNORMAL, NORMAL, SHUTDOWN, Shell, spec

REASONS = {
    "normal": NORMAL,
    "shutdown": SHUTDOWN,
    "abnormal": ABNORMAL,
    "killed": Exit("abnormal", "killed by signal 9"),
}
RESTARTS = ("permanent", "transient", "temporary")


def restarts(restart, reason):
    return restart == "permanent" or (restart == "transient" and reason in ("abnormal", "killed"))


@pytest.mark.parametrize(("restart", "reason"), list(itertools.product(RESTARTS, REASONS)))
def test_one_for_one_restarts_exactly_the_child_that_failed(restart, reason):
    shell = Shell(spec("a"), spec("b", restart=restart), spec("c"), strategy="one_for_one", intensity=1).begin()
    shell.took()
    shell.exit("b", REASONS[reason])
    assert shell.took() == ([("start", "b")] if restarts(restart, reason) else [])
    assert shell.finished is None
    known = [row.id for row in shell.which()]
    assert known == (["c", "a"] if restart == "temporary" else ["c", "b", "a"])
    assert shell.up() == ({"a", "b", "c"} if restarts(restart, reason) else {"a", "c"})


@pytest.mark.parametrize(("restart", "reason"), list(itertools.product(RESTARTS, REASONS)))
def test_one_for_all_stops_the_others_in_reverse_and_starts_all_in_order(restart, reason):
    shell = Shell(spec("a"), spec("b", restart=restart), spec("c"), strategy="one_for_all", intensity=1).begin()
    shell.took()
    shell.exit("b", REASONS[reason])
    if restarts(restart, reason):
        assert shell.took() == [("stop", "c"), ("stop", "a"), ("start", "a"), ("start", "b"), ("start", "c")]
        assert shell.up() == {"a", "b", "c"}
    else:
        assert shell.took() == []
        assert shell.up() == {"a", "c"}


@pytest.mark.parametrize(("restart", "reason"), list(itertools.product(RESTARTS, REASONS)))
def test_rest_for_one_takes_the_later_ones_along(restart, reason):
    children = (spec("a"), spec("b", restart=restart), spec("c"), spec("d"))
    shell = Shell(*children, strategy="rest_for_one", intensity=1).begin()
    shell.took()
    shell.exit("b", REASONS[reason])
    if restarts(restart, reason):
        assert shell.took() == [("stop", "d"), ("stop", "c"), ("start", "b"), ("start", "c"), ("start", "d")]
        assert shell.up() == {"a", "b", "c", "d"}
    else:
        assert shell.took() == []
        assert shell.up() == {"a", "c", "d"}


@pytest.mark.parametrize(("restart", "reason"), list(itertools.product(RESTARTS, REASONS)))
def test_simple_one_for_one_restarts_with_the_same_args_or_forgets(restart, reason):
    shell = Shell(spec("t", restart=restart), strategy="simple_one_for_one", intensity=1).begin()
    pid, other = shell.start_child({"n": 1}), shell.start_child({"n": 2})
    child_id = next(name for name, known in shell.pids.items() if known == pid)
    shell.exit(child_id, REASONS[reason])
    if restarts(restart, reason):
        assert [row.id for row in shell.which()] == [None, None]
        assert {shell.childspec(row.pid).args["n"] for row in shell.which()} == {1, 2}
        assert shell.count() == (1, 2, 0, 2)
    else:
        assert [row.pid for row in shell.which()] == [other]
        assert shell.count() == (1, 1, 0, 1)


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"])
def test_escalation_after_more_than_intensity_restarts_ends_in_reverse_order_with_shutdown(strategy):
    if strategy == "simple_one_for_one":
        shell = Shell(spec("t"), strategy=strategy, intensity=2, period_s=10).begin()
        for name in "abc":
            shell.start_child(None, name)
    else:
        shell = Shell(spec("a"), spec("b"), spec("c"), strategy=strategy, intensity=2, period_s=10).begin()
    for _ in range(2):
        shell.exit("b")
        assert shell.finished is None
    shell.took()
    shell.exit("b")
    assert shell.took() == [("stop", "c"), ("stop", "a")]
    assert shell.finished[0] == "shutdown"
    assert "reached_max_restart_intensity" in shell.finished[1]
    assert "b: it broke" in shell.finished[1]


def test_the_window_slides_and_its_edge_still_counts():
    shell = Shell(spec("a"), intensity=1, period_s=5).begin()
    shell.exit("a")
    shell.advance(5.001)
    shell.exit("a")
    assert shell.finished is None
    shell.advance(5)
    shell.exit("a")
    assert shell.finished is not None


def test_the_window_may_have_fractions_of_a_second():
    shell = Shell(spec("a"), intensity=1, period_s=0.25).begin()
    shell.exit("a")
    shell.advance(0.26)
    shell.exit("a")
    assert shell.finished is None
    shell.advance(0.2)
    shell.exit("a")
    assert shell.finished is not None


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_counts_once(strategy):
    shell = Shell(*(spec(name) for name in "abcd"), strategy=strategy, intensity=1, period_s=5).begin()
    shell.exit("a")
    assert shell.finished is None
    assert shell.up() == set("abcd")


def test_intensity_zero_never_restarts():
    shell = Shell(spec("a"), spec("b"), intensity=0).begin()
    shell.exit("a")
    assert shell.finished[0] == "shutdown"


def test_normal_ends_administration_and_temporary_deaths_do_not_count():
    children = (spec("a", restart="transient"), spec("b", restart="temporary"), spec("c"))
    shell = Shell(*children, intensity=0).begin()
    shell.exit("a", NORMAL)
    shell.exit("b", ABNORMAL)
    shell.terminate("c")
    shell.restart("c")
    shell.restart("a")
    assert shell.finished is None
    assert shell.up() == {"a", "c"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_group_restarts_forget_temporary_siblings_and_start_those_that_were_down(strategy):
    children = (
        spec("a"),
        spec("down", restart="transient"),
        spec("gone"),
        spec("temp", restart="temporary"),
        spec("z"),
    )
    shell = Shell(*children, strategy=strategy, intensity=1).begin()
    shell.exit("down", NORMAL)
    shell.terminate("gone")
    shell.took()
    shell.exit("a")
    assert shell.took() == [
        ("stop", "z"),
        ("stop", "temp"),
        *(("start", name) for name in ("a", "down", "gone", "z")),
    ]
    assert [row.id for row in shell.which()] == ["z", "gone", "down", "a"]


@pytest.mark.parametrize("strategy", ["one_for_one", "simple_one_for_one"])
def test_a_restart_that_fails_counts_and_is_tried_until_the_intensity_is_reached(strategy):
    shell = Shell(spec("a"), strategy=strategy, intensity=4).begin()
    if strategy == "simple_one_for_one":
        shell.start_child(None, "a")
    shell.refusing.add("a")
    shell.took()
    shell.exit("a")
    assert shell.took() == [("start", "a")] * 4
    assert shell.finished[0] == "shutdown"
    assert "a: refused" in shell.finished[1]


def test_rest_for_one_tries_again_from_the_one_that_failed_to_start():
    shell = Shell(*(spec(name) for name in "abcd"), strategy="rest_for_one", intensity=5, instant=False).begin()
    shell.settle()
    shell.took()
    shell.refusing.add("c")
    shell.exit("b")
    for _ in range(4):  # stop d, stop c, start b, start c (fails)
        shell.do()
    shell.refusing.clear()
    shell.settle()
    assert shell.took() == [
        ("stop", "d"),
        ("stop", "c"),
        ("start", "b"),
        ("start", "c"),
        ("start", "c"),
        ("start", "d"),
    ]
    assert shell.up() == set("abcd")
    assert len(shell.core.history) == 2


def test_one_for_all_tears_down_again_what_it_had_started_when_a_later_one_fails():
    shell = Shell(*(spec(name) for name in "abc"), strategy="one_for_all", intensity=5, instant=False).begin()
    shell.settle()
    shell.took()
    shell.refusing.add("c")
    shell.exit("a")
    for _ in range(5):  # stop c, stop b, start a, start b, start c (fails)
        shell.do()
    shell.refusing.clear()
    shell.settle()
    assert shell.took() == [
        ("stop", "c"),
        ("stop", "b"),
        *(("start", name) for name in "abc"),
        ("stop", "b"),
        ("stop", "a"),
        *(("start", name) for name in "abc"),
    ]
    assert len(shell.core.history) == 2


def test_a_started_sibling_that_dies_during_a_group_restart_begins_it_anew():
    shell = Shell(*(spec(name) for name in "abc"), strategy="one_for_all", intensity=5, instant=False).begin()
    shell.settle()
    shell.took()
    shell.exit("b")
    for _ in range(3):  # stop c, stop a, start a
        shell.do()
    shell.exit("a")  # while b is starting
    shell.settle()
    assert shell.up() == set("abc")
    assert len(shell.core.history) == 2


# ---- start and stop -------------------------------------------------------------------------------------------------


def test_start_is_left_to_right_and_each_is_ready_before_the_next():
    shell = Shell(*(spec(name) for name in "abc"), instant=False).begin()
    for name in "abc":
        assert shell.took() == [("start", name)]
        assert not shell.began
        shell.do()
    assert shell.began


def test_a_failing_start_stops_those_already_up_in_reverse():
    shell = Shell(*(spec(name) for name in "abcd"), instant=False)
    shell.refusing.add("c")
    shell.begin()
    shell.settle()
    assert shell.took() == [("start", "a"), ("start", "b"), ("start", "c"), ("stop", "b"), ("stop", "a")]
    assert not shell.began
    assert shell.finished == ("start_failed", "c: refused")


def test_a_death_during_the_start_of_the_whole_is_looked_after_when_everybody_has_started():
    shell = Shell(*(spec(name) for name in "abc"), instant=False).begin()
    shell.do()
    shell.exit("a")
    shell.settle()
    assert shell.began
    assert shell.took() == [("start", name) for name in "abca"]
    assert shell.up() == set("abc")


def test_ignore_keeps_the_child_without_a_process_unless_it_is_temporary():
    shell = Shell(spec("a"), spec("b", restart="temporary"), spec("c"))
    shell.ignoring |= {"a", "b"}
    shell.begin()
    assert shell.began
    assert [(row.id, row.pid is None) for row in shell.which()] == [("c", False), ("a", True)]
    assert shell.count() == (2, 1, 0, 2)
    shell.ignoring.clear()
    assert isinstance(shell.restart("a"), int)


def test_stop_is_reverse_and_one_after_the_other():
    shell = Shell(*(spec(name) for name in "abc"), instant=False).begin()
    shell.settle()
    shell.took()
    shell.stop()
    for name in "cba":
        assert shell.took() == [("stop", name)]
        shell.do()
    assert shell.finished == ("shutdown", "")


def test_each_shutdown_limit_counts_for_itself_and_then_kills():
    children = (
        spec("a", shutdown=100),
        spec("b", shutdown="brutal_kill"),
        spec("c", shutdown=300),
        spec("d", shutdown="infinity"),
    )
    shell = Shell(*children)
    shell.stubborn |= {"a", "c", "d"}
    shell.begin()
    shell.took()
    shell.stop()
    shell.advance(3600)
    assert shell.took() == [("stop", "d")]
    shell.exit("d", SHUTDOWN)
    shell.advance(0.299)
    assert shell.took() == [("stop", "c")]
    shell.advance(0.002)
    assert shell.took() == [("kill", "c"), ("kill", "b"), ("stop", "a")]
    shell.advance(0.1)
    assert shell.took() == [("kill", "a")]
    assert shell.finished == ("shutdown", "")


def test_dynamic_children_stop_together_under_one_deadline():
    shell = Shell(spec("t", shutdown=200), strategy="simple_one_for_one")
    shell.begin()
    for name in "abc":
        shell.start_child(None, name)
    shell.stubborn |= set("abc")
    shell.took()
    shell.stop()
    assert shell.took() == [("stop", name) for name in "cba"]
    shell.advance(0.199)
    assert shell.took() == []
    shell.advance(0.002)
    assert sorted(shell.took()) == [("kill", name) for name in "abc"]
    assert shell.finished == ("shutdown", "")


def test_stop_preempts_a_start_a_group_restart_and_a_backoff():
    from supervision import Backoff

    shell = Shell(*(spec(name) for name in "abc"), instant=False).begin()
    shell.do()
    shell.stop()
    shell.settle()
    assert shell.took() == [("start", "a"), ("start", "b"), ("kill", "b"), ("stop", "a")]
    assert shell.finished[0] == "shutdown"

    shell = Shell(*(spec(name) for name in "abc"), strategy="one_for_all", intensity=9, instant=False).begin()
    shell.settle()
    shell.exit("a")
    shell.do()
    shell.stop()
    shell.settle()
    assert shell.finished[0] == "shutdown"

    shell = Shell(spec("a"), intensity=9, backoff=Backoff(10, 100, 0)).begin()
    shell.exit("a")
    assert shell.which()[0].pid == "restarting"
    shell.stop()
    assert shell.finished[0] == "shutdown"


def test_a_child_that_dies_while_its_group_stops_is_buried_once():
    shell = Shell(*(spec(name) for name in "abc"), strategy="one_for_all", intensity=5, instant=False).begin()
    shell.settle()
    shell.exit("a")
    shell.exit("b")  # had not been asked yet
    shell.settle()
    assert shell.up() == set("abc")
    assert len(shell.pids) == 3


# ---- significant children -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auto", "ends", "finished"),
    [
        ("any_significant", ["s1"], True),
        ("any_significant", ["plain"], False),
        ("all_significant", ["s1"], False),
        ("all_significant", ["s1", "s2"], True),
    ],
)
def test_auto_shutdown(auto, ends, finished):
    children = (spec("s1", restart="transient", significant=True), spec("s2", restart="temporary", significant=True))
    shell = Shell(*children, spec("plain", restart="transient"), auto_shutdown=auto).begin()
    for name in ends:
        shell.exit(name, NORMAL)
    assert (shell.finished is not None) is finished
    if finished:
        assert shell.finished[0] == "shutdown"


def test_significant_children_end_the_whole_only_by_themselves():
    children = (
        spec("s", restart="transient", significant=True),
        spec("t", restart="temporary", significant=True),
        spec("p"),
    )
    shell = Shell(*children, strategy="one_for_all", auto_shutdown="any_significant", intensity=3).begin()
    shell.terminate("s")
    assert shell.finished is None
    shell.restart("s")
    shell.exit("p")
    assert shell.finished is None, "t was stopped as a bystander"
    shell.exit("s", ABNORMAL)
    assert shell.finished is None, "s was restarted"
    shell.exit("s", SHUTDOWN)
    assert shell.finished[0] == "shutdown"
