"""The Python API on real processes, sentence by sentence: OTP's answers, exit reasons, limits."""

# ruff: noqa: PTH110, PTH123, RUF043

from __future__ import annotations

import os
import signal
import time

import pytest

import supervision
from supervision import Backoff, ChildSpec, Restart, Strategy, SupervisorError, SupervisorSpec
from supervision.processes import descendants
from tests.supervision.actors import BrokenAtBirth, Obedient
from tests.supervision.conftest import child, pid_of
from tests.support import eventually


def refused(call, *args, **kwargs):
    with pytest.raises(SupervisorError) as refusal:
        call(*args, **kwargs)
    return refusal.value


def pool(**fields):
    template = fields.pop("template", {})
    return SupervisorSpec(strategy="simple_one_for_one", children=[child("template", **template)], **fields)


# ---- specs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (SupervisorSpec(strategy="all_for_one"), ["strategy", "all_for_one"]),
        (SupervisorSpec(intensity=-1), ["intensity", "-1"]),
        (SupervisorSpec(intensity=1.5), ["intensity", "1.5"]),
        (SupervisorSpec(period_s=0), ["period", "0"]),
        (SupervisorSpec(period="5"), ["period", "'5'"]),
        (SupervisorSpec(auto_shutdown="sometimes"), ["auto_shutdown", "sometimes"]),
        (
            SupervisorSpec(strategy="simple_one_for_one", auto_shutdown="any_significant", children=[child("a")]),
            ["auto_shutdown"],
        ),
        (SupervisorSpec(on_exhausted="park", strategy="one_for_all"), ["on_exhausted", "park", "one_for_all"]),
        (SupervisorSpec(on_exhausted="sleep"), ["on_exhausted", "sleep"]),
        (SupervisorSpec(backoff=3), ["backoff", "3"]),
        (SupervisorSpec(backoff=Backoff(2, 1)), ["max_s", "1"]),
        (SupervisorSpec(backoff=Backoff(1, 2, 7)), ["jitter", "7"]),
        (SupervisorSpec(retry_parked_s=0), ["retry_parked_s", "0"]),
        (SupervisorSpec(strategy="simple_one_for_one"), ["children", "template"]),
        (SupervisorSpec(children=[3]), ["children", "3"]),
        (SupervisorSpec(children="abc"), ["children", "abc"]),
        (SupervisorSpec(children=[child("a"), child("a")]), ["id", "'a'"]),
        (SupervisorSpec(children=[child("")]), ["id", "''"]),
        (SupervisorSpec(children=[child("root")]), ["id", "root"]),
        (SupervisorSpec(children=[child("a/b")]), ["id", "a/b"]),
        (SupervisorSpec(children=[child("a", restart="always")]), ["a", "restart", "always"]),
        (SupervisorSpec(children=[child("a", shutdown=-5)]), ["a", "shutdown", "-5"]),
        (SupervisorSpec(children=[child("a", shutdown=0)]), ["a", "shutdown", "0"]),
        (SupervisorSpec(children=[child("a", shutdown=True)]), ["a", "shutdown", "True"]),
        (SupervisorSpec(children=[child("a", shutdown="forever")]), ["a", "shutdown", "forever"]),
        (SupervisorSpec(children=[child("a", type="boss")]), ["a", "type", "boss"]),
        (SupervisorSpec(children=[child("a", significant="yes")]), ["a", "significant", "yes"]),
        (
            SupervisorSpec(children=[child("a", significant=True)], auto_shutdown="any_significant"),
            ["a", "significant", "permanent"],
        ),
        (SupervisorSpec(children=[child("a", significant=True, restart="temporary")]), ["a", "significant", "never"]),
        (SupervisorSpec(children=[child("a", start=int)]), ["a", "start", "int"]),
        (SupervisorSpec(children=[child("a", start="no.such.module.Actor")]), ["a", "start", "no.such.module.Actor"]),
        (SupervisorSpec(children=[child("a", start="tests.supervision.actors.Nobody")]), ["a", "start", "Nobody"]),
        (SupervisorSpec(children=[ChildSpec("a")]), ["a", "start", "None"]),
        (SupervisorSpec(children=[child("a", args=lambda: 0)]), ["a", "args", "lambda"]),
        (SupervisorSpec(children=[child("a", start_limit_s=0)]), ["a", "start_limit_s", "0"]),
        (SupervisorSpec(children=[child("a", hang_deadline_s="x")]), ["a", "hang_deadline_s", "'x'"]),
        (SupervisorSpec(children=[child("a", hears="some")]), ["a", "hears", "some"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_spec_is_refused_with_field_and_value_before_any_process_exists(spec, words, monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a process was started"))
    for wrapped in (
        spec,
        SupervisorSpec(children=[child("x"), ChildSpec("nested", SupervisorSpec(children=[ChildSpec("deep", spec)]))]),
    ):
        with pytest.raises(ValueError) as refusal:
            supervision.start(wrapped)
        assert all(word in str(refusal.value) for word in words), refusal.value


def test_enums_and_words_mean_the_same():
    assert SupervisorSpec(strategy=Strategy.REST_FOR_ONE) == SupervisorSpec(strategy="rest_for_one")
    assert child("a", restart=Restart.TRANSIENT) == child("a", restart="transient")


def test_start_child_checks_its_spec_too(plant):
    tree = plant(child("a"), child("pool", start=pool()))
    with pytest.raises(ValueError, match="restart='always'"):
        tree.start_child(child("b", restart="always"))
    with pytest.raises(ValueError, match="42"):
        tree.start_child(42)
    with pytest.raises(ValueError, match="significant"):
        tree.start_child(child("b", restart="transient", significant=True))
    with pytest.raises(ValueError, match="lambda"):
        tree.start_child(lambda: 0, supervisor="pool")
    assert tree.count_children() == (2, 2, 1, 1)


# ---- start ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", ["refuse", "nonsense", ("exit in init", 0), ("exit in init", 3)])
def test_a_refused_start_of_the_tree_carries_id_and_traceback_and_leaves_no_process(args, tmp_path):
    before = set(descendants(os.getpid()))
    journal = str(tmp_path / "journal")
    spec = SupervisorSpec(
        children=[
            child("first", args=("journal", journal)),
            child(
                "sub",
                start=SupervisorSpec(children=[child("second", args=("journal", journal)), child("bad", args=args)]),
            ),
        ]
    )
    error = refused(supervision.start, spec)
    assert error.word == "start_failed"
    assert "bad" in str(error)
    if args == "refuse":
        assert "RuntimeError: refused on purpose" in error.detail
        assert "actors.py" in error.detail
    if args == "nonsense":
        assert "42" in error.detail
    assert set(descendants(os.getpid())) == before
    with open(journal) as file:
        assert file.read().splitlines()[2:] == ["terminate second shutdown", "terminate first shutdown"]


def test_a_class_that_cannot_be_made_is_a_start_error_with_its_traceback():
    error = refused(supervision.start, SupervisorSpec(children=[child("x", start=BrokenAtBirth)]))
    assert "born broken" in error.detail


def test_start_child_returns_the_pid_or_none_and_refuses_in_otps_words(plant):
    tree = plant(child("a"))
    pid = tree.start_child(child("b", args="hello"))
    assert tree.ask("b", ("who",))[2:] == (pid, "hello")
    assert tree.start_child(child("c", args="ignore")) is None
    assert [tuple(row) for row in tree.which_children()][:2] == [("c", None, "worker"), ("b", pid, "worker")]
    error = refused(tree.start_child, child("b"))
    assert (error.word, error.detail) == ("already_started", pid)
    assert refused(tree.start_child, child("c")).word == "already_present"
    processes = set(descendants(os.getpid()))
    error = refused(tree.start_child, child("d", args="refuse"))
    assert error.word == "start_failed"
    assert "d: " in error.detail
    assert "refused on purpose" in error.detail
    assert set(descendants(os.getpid())) == processes
    assert tree.count_children() == (3, 2, 0, 3)


def test_ids_are_unique_in_the_whole_tree(plant):
    tree = plant(child("a"), child("sub", start=SupervisorSpec(children=[child("c")])))
    assert refused(tree.start_child, child("c")).word == "already_started"
    assert refused(tree.start_child, child("a"), supervisor="sub").word == "already_started"
    nested = child("sub2", start=SupervisorSpec(children=[child("c")]))
    assert refused(tree.start_child, nested).word == "already_started"
    assert isinstance(tree.start_child(child("sub2", start=SupervisorSpec(children=[child("e")]))), int)
    assert tree.ask("e", ("echo", 1)) == 1


def test_terminate_restart_and_delete_on_a_nested_supervisor(plant):
    tree = plant(child("sub", start=SupervisorSpec(children=[child("c"), child("t", restart="temporary")])))
    old = pid_of(tree, "c", "sub")
    assert refused(tree.delete_child, "c", supervisor="sub").word == "running"
    assert refused(tree.restart_child, "c", supervisor="sub").word == "running"
    assert tree.terminate_child("c", supervisor="sub") is None
    assert tree.terminate_child("c", supervisor="sub") is None
    assert pid_of(tree, "c", "sub") is None
    assert refused(tree.ask, "c", ("echo", 1)).word == "noproc"
    assert tree.restart_child("c", supervisor="sub") not in (old, None)
    tree.terminate_child("c", supervisor="sub")
    assert tree.delete_child("c", supervisor="sub") is None
    for call in (tree.delete_child, tree.restart_child, tree.terminate_child, tree.get_childspec):
        assert refused(call, "c", supervisor="sub").word == "not_found"
    tree.terminate_child("t", supervisor="sub")
    assert tree.which_children(supervisor="sub") == []
    assert refused(tree.which_children, supervisor="nobody").word == "noproc"
    assert refused(tree.which_children, supervisor="c").word == "noproc"


def test_get_childspec_gives_what_was_given(plant):
    given = child("a", restart="transient", shutdown=1234, args={"x": [1]})
    tree = plant(given, child("sub", start=SupervisorSpec(children=[child("c")])))
    assert tree.get_childspec("a") == given
    assert tree.get_childspec("a").start is Obedient
    assert tree.get_childspec("sub").type == "supervisor"
    assert tree.get_childspec("sub").shutdown == "infinity"
    assert tree.get_childspec("c", supervisor="sub").shutdown == 5000


def test_dynamic_children_by_pid_and_by_id(plant):
    tree = plant(child("pool", start=pool(template={"args": "default"})))
    pid = tree.start_child("one", supervisor="pool")
    named = tree.start_child({"n": 2}, supervisor="pool", id="x")
    assert tree.ask(pid, ("who",))[3] == "one"
    assert tree.ask("x", ("who",))[3] == {"n": 2}
    assert {tuple(row) for row in tree.which_children(supervisor="pool")} == {
        (None, pid, "worker"),
        ("x", named, "worker"),
    }
    assert tree.count_children(supervisor="pool") == (1, 2, 0, 2)
    assert refused(tree.start_child, None, supervisor="pool", id="x").word == "already_started"
    assert refused(tree.terminate_child, 1, supervisor="pool").word == "not_found"
    tree.terminate_child(pid, supervisor="pool")
    tree.terminate_child("x", supervisor="pool")
    assert tree.count_children(supervisor="pool") == (1, 0, 0, 0)
    third = tree.start_child(supervisor="pool")
    assert tree.ask(third, ("who",))[3] == "default"
    assert refused(tree.start_child, "refuse", supervisor="pool").word == "start_failed"
    assert tree.start_child("ignore", supervisor="pool") is None
    assert tree.count_children(supervisor="pool") == (1, 1, 0, 1)


# ---- exits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "orderly"),
    [
        (("leave", "normal"), True),
        (("leave", "shutdown"), True),
        (("leave", "tired"), False),
        (("exit", 0), False),
        (("exit", 3), False),
        (("sys.exit", 0), False),
        (("raise", "x"), False),
        (("signal", signal.SIGKILL), False),
        (("signal", signal.SIGSEGV), False),
    ],
    ids=str,
)
def test_only_leave_is_not_abnormal_whatever_the_exit_code(plant, how, orderly):
    children = [child(name, restart=name) for name in ("permanent", "transient", "temporary")]
    tree = plant(*children, intensity=3, period_s=60)
    before = {row.id: row.pid for row in tree.which_children()}
    for name in before:
        if how[0] == "leave":
            assert tree.ask(name, how) == "leaving"
        else:
            with pytest.raises(TimeoutError):
                tree.ask(name, how, 5)
    rows = eventually(
        lambda: {row.id: row.pid for row in tree.which_children()},
        lambda rows: "temporary" not in rows and all(rows[i] not in (before[i], "restarting") for i in rows),
    )
    assert isinstance(rows["permanent"], int)
    assert isinstance(rows["transient"], int) is not orderly


def test_an_exception_runs_the_handler_once_and_its_text_is_the_reason(plant, tmp_path):
    tree = plant(child("a", restart="transient", args=("journal", str(tmp_path / "j"))), intensity=5)
    with pytest.raises(TimeoutError):
        tree.ask("a", ("raise", "as told"), 5)
    assert tree.ask("a", ("echo", 1)) == 1
    assert "RuntimeError: as told" in tree.snapshot().row("a").reason
    with open(tmp_path / "j") as file:
        assert file.read().splitlines() == ["init a", "init a"]


def test_terminate_is_called_for_stops_and_for_leave_with_its_word(plant, tmp_path):
    journal = str(tmp_path / "j")
    tree = plant(*(child(name, restart="temporary", args=("journal", journal)) for name in "abc"))
    tree.ask("a", ("leave", "normal"))
    tree.ask("b", ("leave", "shutdown"))
    eventually(tree.which_children, lambda rows: len(rows) == 1)
    tree.stop()
    with open(journal) as file:
        assert sorted(file.read().splitlines()[3:]) == [
            "terminate a normal",
            "terminate b shutdown",
            "terminate c shutdown",
        ]


def test_leaving_within_init_is_an_orderly_end_after_a_good_start(plant):
    tree = plant(child("a", restart="transient", args=("leave at once", "normal")), child("b"))
    eventually(lambda: pid_of(tree, "a"), lambda pid: pid is None)
    assert tree.ask("b", ("echo", 1)) == 1


# ---- limits ----------------------------------------------------------------------------------------------------------------


def test_a_start_that_takes_too_long_is_killed_and_refused(plant):
    tree = plant(child("a"))
    began_s = time.monotonic()
    error = refused(tree.start_child, child("slow", args=("slow", 60), start_limit_s=0.3))
    assert error.word == "start_failed"
    assert "start limit" in error.detail
    assert time.monotonic() - began_s < 2
    assert [row.id for row in tree.which_children()] == ["a"]


@pytest.mark.parametrize("shutdown", [200, "brutal_kill"])
def test_a_child_that_does_not_end_within_its_limit_is_killed(plant, shutdown):
    tree = plant(child("a", args=("slow terminate", 60), shutdown=shutdown))
    began_s = time.monotonic()
    tree.terminate_child("a")
    took_s = time.monotonic() - began_s
    assert (0.19 if shutdown == 200 else 0) < took_s < 1
    assert pid_of(tree, "a") is None


def test_a_terminate_that_hangs_after_leave_is_killed_at_the_shutdown_limit(plant):
    tree = plant(child("a", restart="temporary", args=("slow terminate", 60), shutdown=200))
    tree.ask("a", ("leave", "normal"))
    eventually(tree.which_children, lambda rows: rows == [], patience_s=2)


def test_an_infinite_shutdown_waits(plant):
    tree = plant(child("a", args=("slow terminate", 0.5), shutdown="infinity"))
    began_s = time.monotonic()
    tree.terminate_child("a")
    assert time.monotonic() - began_s >= 0.5


def test_dynamic_children_stop_in_parallel_under_one_deadline(plant):
    tree = plant(child("pool", start=pool(template={"args": ("slow terminate", 60), "shutdown": 300})))
    for _ in range(5):
        tree.start_child(supervisor="pool")
    began_s = time.monotonic()
    assert tree.stop()
    assert 0.29 < time.monotonic() - began_s < 1.2


def test_while_a_child_starts_the_supervisor_serves(plant):
    """Calls from another program of the tree: an actor asks root while main waits for its start."""
    tree = plant(child("a"), intensity=9)
    slow = child("slow", args=("slow", 1.0))
    import pickle

    from supervision.messages import Call, StartChild, WhichChildren
    from supervision.unix_wire import address_at

    root = address_at(tree._root_path)
    tree._transport.post(root, Call(10001, "root", StartChild(pickle.dumps(slow))))
    began_s = time.monotonic()
    eventually(lambda: {row.id for row in tree.which_children()}, lambda ids: "slow" in ids)
    assert tree.ask("a", ("echo", 1)) == 1
    assert refused(tree.start_child, slow).word == "already_started"
    assert refused(tree.restart_child, "slow").word == "running"
    assert tree.root_alive()
    tree._transport.post(root, Call(10002, "root", WhichChildren()))
    tree.terminate_child("slow")
    assert time.monotonic() - began_s < 0.9
    assert tree._answers[10001].word == "start_failed"


def test_a_stop_preempts_a_slow_restart_and_a_backoff(plant):
    tree = plant(child("a"), intensity=9, backoff=Backoff(30, 60, 0))
    os.kill(pid_of(tree, "a"), signal.SIGKILL)
    eventually(lambda: pid_of(tree, "a"), lambda pid: pid == "restarting")
    assert refused(tree.restart_child, "a").word == "restarting"
    assert refused(tree.delete_child, "a").word == "restarting"
    began_s = time.monotonic()
    assert tree.stop()
    assert time.monotonic() - began_s < 1


def test_backoff_waits_then_restarts_and_draining_ends_the_wait(plant):
    tree = plant(child("a"), intensity=9, backoff=Backoff(0.3, 60, 0))
    os.kill(pid_of(tree, "a"), signal.SIGKILL)
    killed_s = time.monotonic()
    tree.ask("a", ("echo", 1))
    assert time.monotonic() - killed_s >= 0.3
    os.kill(pid_of(tree, "a"), signal.SIGKILL)
    eventually(lambda: pid_of(tree, "a"), lambda pid: pid == "restarting")
    tree.set_draining(True)
    assert tree.ask("a", ("echo", 1), 1) == 1


# ---- escalation ----------------------------------------------------------------------------------------------------------------


def test_escalation_restarts_the_nested_supervisor_with_a_fresh_budget_and_ends_the_tree_at_last(plant):
    sub = SupervisorSpec(children=[child("c"), child("d")], intensity=1, period_s=60)
    tree = plant(child("a"), child("sub", start=sub), intensity=1, period_s=60)
    subs, lives = set(), 0
    while tree.alive() and lives < 10:
        try:
            subs.add(pid_of(tree, "sub"))
            pid = tree.ask("c", ("who",), 2)[2]
        except (SupervisorError, TimeoutError):
            continue
        os.kill(pid, signal.SIGKILL)
        lives += 1
        eventually(lambda p=pid: not os.path.exists(f"/proc/{p}"))
    assert lives == 4  # (1 + 1) * (1 + 1)
    assert len({pid for pid in subs if isinstance(pid, int)}) == 2
    eventually(lambda: not tree.alive())
    assert refused(tree.which_children).word == "noproc"
    assert "reached_max_restart_intensity" in tree.reason
    assert "sub" in tree.reason


def test_a_parked_child_stays_listed_with_its_reason_and_comes_back(plant):
    tree = plant(child("a"), child("b"), intensity=1, period_s=60, on_exhausted="park")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            tree.ask("a", ("raise", "no more"), 5)
    eventually(lambda: pid_of(tree, "a"), lambda pid: pid == "parked")
    assert "RuntimeError: no more" in tree.get_childspec("a").reason
    assert tree.snapshot().row("a").state == "parked"
    assert refused(tree.ask, "a", ("echo", 1)).word == "noproc"
    assert isinstance(tree.restart_child("a"), int)
    with pytest.raises(TimeoutError):
        tree.ask("a", ("raise", "fresh budget"), 5)
    assert tree.ask("a", ("echo", 1)) == 1
    assert tree.ask("b", ("echo", 1)) == 1


def test_auto_shutdown_ends_the_tree_when_the_significant_child_has_left(plant):
    tree = plant(child("a"), child("s", restart="transient", significant=True), auto_shutdown="any_significant")
    tree.ask("s", ("leave", "normal"))
    eventually(lambda: not tree.alive())
    assert refused(tree.count_children).word == "noproc"
    assert "significant" in tree.reason


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_strategies_on_real_processes(plant, strategy):
    tree = plant(child("a"), child("b"), child("c"), strategy=strategy)
    before = {row.id: row.pid for row in tree.which_children()}
    os.kill(before["b"], signal.SIGKILL)
    changed = {"one_for_one": {"b"}, "one_for_all": {"a", "b", "c"}, "rest_for_one": {"b", "c"}}[strategy]
    after = eventually(
        lambda: {row.id: row.pid for row in tree.which_children()},
        lambda rows: all(isinstance(pid, int) for pid in rows.values()) and rows["b"] != before["b"],
    )
    assert {name for name in before if before[name] != after[name]} == changed


# ---- ask -------------------------------------------------------------------------------------------------------------------------


def test_a_late_answer_never_reaches_a_later_ask(plant):
    tree = plant(child("a"))
    with pytest.raises(TimeoutError, match="within 0.2"):
        tree.ask("a", ("send late", 0.5, "late"), 0.2)
    assert tree.ask("a", ("echo", "mine")) == "mine"
    assert tree.ask("a", ("echo", "mine too")) == "mine too"


def test_asking_nobody_is_noproc_at_once(plant):
    tree = plant(child("a"))
    began_s = time.monotonic()
    assert refused(tree.ask, "nobody", 1, 5).word == "noproc"
    assert refused(tree.ask, 999999, 1, 5).word == "noproc"
    assert time.monotonic() - began_s < 0.5


def test_one_megabyte_and_more_goes_through_and_too_much_is_refused_in_the_sender(plant):
    tree = plant(child("a"), intensity=9)
    assert len(tree.ask("a", ("size", 3_000_000))) == 3_000_000
    assert len(tree.ask("a", ("echo", "x" * 3_000_000))) == 3_000_000
    with pytest.raises(TimeoutError):
        tree.ask("a", ("size", 9_000_000), 5)
    assert "more than 8388608" in eventually(lambda: tree.snapshot().row("a").reason)
    with pytest.raises(ValueError, match="more than 8388608"):
        tree.ask("a", ("echo", "x" * 9_000_000))
