"""Random exits, administration and stops: the core against a second, sequential writing of OTP's rules, and its invariants
when starts and stops take their time and happen in any order."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervision import Backoff
from supervision.records import Kind
from tests.supervision.harness import ABNORMAL, NORMAL, SHUTDOWN, Shell, spec
from tests.supervision.otp_model import Ended, OtpModel

NAMES = "abcd"
EXTRA = "ef"
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
names = st.sampled_from(NAMES + EXTRA)
restarts = st.sampled_from(["permanent", "transient", "temporary"])


@st.composite
def specs(draw, auto):
    found = []
    for name in NAMES[: draw(st.integers(1, 4))]:
        restart = draw(restarts)
        significant = auto != "never" and restart != "permanent" and draw(st.booleans())
        found.append(spec(name, restart=restart, significant=significant))
    return found


steps = st.lists(
    st.one_of(
        st.tuples(st.just("exit"), names, st.sampled_from([NORMAL, SHUTDOWN, ABNORMAL])),
        st.tuples(st.just("start"), st.sampled_from(EXTRA + NAMES), restarts),
        st.tuples(st.just("terminate"), names),
        st.tuples(st.just("restart"), names),
        st.tuples(st.just("delete"), names),
        st.tuples(st.just("refuse"), names),
        st.tuples(st.just("ignore"), names),
        st.tuples(st.just("accept")),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1, 2, 5])),
    ),
    max_size=30,
)


def word(answer):
    return answer[0] if isinstance(answer, tuple) else (True if isinstance(answer, int) else answer)


def expected(answer):
    return None if answer is False else answer


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.data(),
    st.sampled_from(STRATEGIES),
    st.integers(0, 3),
    st.sampled_from(["never", "any_significant", "all_significant"]),
    steps,
)
def test_the_core_does_what_otps_rules_say(data, strategy, intensity, auto, plan):
    children = data.draw(specs(auto))
    shell = Shell(*children, strategy=strategy, intensity=intensity, period_s=2, auto_shutdown=auto)
    model = OtpModel(children, strategy, intensity, 2, auto)
    model.now = shell.now_s
    shell.refusing, shell.ignoring = model.refusing, model.ignoring
    try:
        shell.begin()
        model.boot()
        for step in plan:
            perform(shell, model, step)
            assert shell.finished is None
            assert {name for name, known in model.up.items() if known} == set(shell.pids)
            assert list(reversed(model.specs)) == [row.id for row in shell.which()]
            assert shell.count() == (len(model.specs), len(shell.pids), 0, len(model.specs))
    except Ended:
        assert shell.finished is not None
        assert shell.finished[0] == model.ended
        assert shell.pids == {}
    else:
        shell.took()
        running = [row.id for row in shell.which() if row.pid is not None]
        shell.stop()
        assert shell.took() == [("stop", name) for name in running]
        assert shell.finished[0] == "shutdown"


def perform(shell, model, step):
    match step:
        case ("exit", name, how):
            if name in shell.pids:
                shell.exit(name, how)
                model.exit(name, how.word != "abnormal")
        case ("start", name, restart):
            new = spec(name, restart=restart)
            assert word(shell.start_child(new)) == expected(model.start_child(new))
        case ("terminate", name):
            assert word(shell.terminate(name)) == model.terminate_child(name)
        case ("restart", name):
            assert word(shell.restart(name)) == expected(model.restart_child(name))
        case ("delete", name):
            assert word(shell.delete(name)) == model.delete_child(name)
        case ("refuse", name):
            model.refusing.add(name)
        case ("ignore", name):
            model.ignoring.add(name)
        case ("accept",):
            model.refusing.clear()
            model.ignoring.clear()
        case ("wait", seconds):
            shell.advance(seconds)
            model.now = shell.now_s


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.data(),
    st.sampled_from([*STRATEGIES, "simple_one_for_one"]),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from([None, Backoff(0.5, 4, 0.3)]),
    st.lists(st.integers(0, 1 << 30), max_size=60),
)
def test_whatever_the_order_of_events_it_stays_sound_and_ends_when_told(data, strategy, intensity, park, backoff, plan):
    """The harness itself asserts: no second process for an id, every request answered at most once, nothing after the end."""
    dynamic = strategy == "simple_one_for_one"
    parks = park and strategy in ("one_for_one", "simple_one_for_one")
    children = [spec("t", restart=data.draw(restarts))] if dynamic else data.draw(specs("never"))
    shell = Shell(
        *children,
        strategy=strategy,
        intensity=intensity,
        period_s=2,
        backoff=backoff,
        on_exhausted="park" if parks else "escalate",
        retry_parked_s=3 if parks else None,
        instant=False,
    )
    shell.begin()
    for number in plan:
        if shell.finished is not None:
            break
        something(shell, number, dynamic)
    if shell.finished is None:
        shell.refusing.clear()
        shell.settle()
        if shell.finished is None:
            assert shell.core.round is None or shell.core.round.kind is Kind.RESTART
            shell.stop()
            shell.settle()
            shell.advance(10)
            shell.settle()
    assert shell.finished is not None
    assert shell.pids == {}
    assert set(shell.answers) == set(range(1, shell.requests + 1)), "every request is answered"


def something(shell, number, dynamic):
    kind, rest = number % 12, number // 12
    name = (NAMES + EXTRA)[rest % 6]
    alive = sorted(shell.pids)
    match kind:
        case 0 | 1 | 2 | 3 if shell.todo:
            shell.do(rest % len(shell.todo))
        case 4 | 5 if alive:
            victim = alive[rest % len(alive)]
            shell.exit(victim, (NORMAL, SHUTDOWN, ABNORMAL)[rest % 3])
        case 6:
            shell.start_child(None if dynamic else spec(name), name if dynamic else None)
        case 7:
            shell.terminate(name)
        case 8:
            shell.restart(name)
        case 9:
            shell.delete(name)
        case 10:
            (shell.refusing.add if rest % 2 else shell.refusing.discard)(name)
            if dynamic and rest % 3 == 0:
                shell.want(rest, dict.fromkeys(NAMES[: rest % 4]))
        case 11:
            shell.advance((rest % 50) / 10)


@pytest.mark.slow
@settings(max_examples=20000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.data(),
    st.sampled_from(STRATEGIES),
    st.integers(0, 3),
    st.sampled_from(["never", "any_significant", "all_significant"]),
    steps,
)
def test_the_core_does_what_otps_rules_say_at_length(data, strategy, intensity, auto, plan):
    test_the_core_does_what_otps_rules_say.hypothesis.inner_test(data, strategy, intensity, auto, plan)
