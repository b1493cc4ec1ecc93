"""A smaller sample of random plans on real processes, against the same second writing of OTP's rules."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import supervision
from supervision import SupervisorError, SupervisorSpec
from tests.supervision.conftest import child
from tests.supervision.otp_model import Ended, OtpModel
from tests.support import eventually

NAMES = "abcd"
names = st.sampled_from(NAMES)
restarts = st.sampled_from(["permanent", "transient", "temporary"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("exit"), names, st.sampled_from(["normal", "shutdown", "raise", "kill", "exit 0"])),
        st.tuples(st.just("start"), names, restarts),
        st.tuples(st.just("terminate"), names),
        st.tuples(st.just("restart"), names),
        st.tuples(st.just("delete"), names),
        st.tuples(st.just("refuse"), names),
        st.tuples(st.just("accept")),
    ),
    min_size=3,
    max_size=10,
)


def run(folder, strategy, intensity, kinds, plan):
    for old in folder.iterdir():
        old.unlink()

    def one(name, restart):
        return child(name, restart=restart, args=("refuse while exists", str(folder / name)))

    specs = [one(name, restart) for name, restart in zip(NAMES, kinds, strict=False)]
    model = OtpModel(specs, strategy, intensity, 3600)
    tree = supervision.start(SupervisorSpec(strategy=strategy, children=specs, intensity=intensity, period_s=3600))
    try:
        model.boot()
        for step in plan:
            perform(tree, model, folder, one, step)
            wanted = dict(model.up)
            eventually(lambda: seen(tree), lambda rows, wanted=wanted: rows == wanted)
            assert [row.id for row in tree.which_children()] == list(reversed(model.specs))
    except Ended:
        eventually(lambda: not tree.alive())
    else:
        assert tree.alive()
    finally:
        tree.stop()


def seen(tree):
    return {row.id: "restarting" if row.pid == "restarting" else row.pid is not None for row in tree.which_children()}


def perform(tree, model, folder, one, step):
    match step:
        case ("exit", name, how):
            if model.up.get(name):
                end(tree, name, how)
                model.exit(name, how in ("normal", "shutdown"))
        case ("start", name, restart):
            spec = one(name, restart)
            assert told(tree.start_child, spec) == model.start_child(spec)
        case ("terminate", name):
            assert told(tree.terminate_child, name) == model.terminate_child(name)
        case ("restart", name):
            assert told(tree.restart_child, name) == model.restart_child(name)
        case ("delete", name):
            assert told(tree.delete_child, name) == model.delete_child(name)
        case ("refuse", name):
            model.refusing.add(name)
            (folder / name).touch()
        case ("accept",):
            model.refusing.clear()
            for path in folder.iterdir():
                path.unlink()


def told(call, *args):
    try:
        answer = call(*args)
    except SupervisorError as refusal:
        return refusal.word
    return True if isinstance(answer, int) else answer


def end(tree, name, how):
    pid = next(row.pid for row in tree.which_children() if row.id == name)
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
    else:
        message = {"raise": ("raise", "as told"), "exit 0": ("exit", 0)}.get(how, ("leave", how))
        with contextlib.suppress(TimeoutError, SupervisorError):
            tree.ask(name, message)
    with contextlib.suppress(SupervisorError):
        eventually(lambda: [row.pid for row in tree.which_children() if row.id == name], lambda pids: pid not in pids)


ARGUMENTS = (
    st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    st.integers(0, 3),
    st.lists(restarts, min_size=1, max_size=3),
    steps,
)
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
@given(*ARGUMENTS)
def test_real_processes_do_what_otps_rules_say(tmp_path, strategy, intensity, kinds, plan):
    run(tmp_path, strategy, intensity, kinds, plan)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=300, deadline=None, suppress_health_check=QUIET)
@given(*ARGUMENTS)
def test_real_processes_do_what_otps_rules_say_at_length(tmp_path, strategy, intensity, kinds, plan):
    run(tmp_path, strategy, intensity, kinds, plan)
