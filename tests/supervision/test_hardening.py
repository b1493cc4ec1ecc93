"""What is done to a tree from outside and inside: kills, hangs, stops by signal, floods, foreign hands. Real processes."""

# ruff: noqa: PTH101, PTH110, PTH115, PTH116, PTH123, PTH208, SIM105

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import supervision
from supervision import SupervisorSpec
from supervision.processes import descendants
from tests.supervision.conftest import child, pid_of
from tests.supervision.test_tree import gone
from tests.support import eventually

REPO = Path(__file__).parents[2]


# ---- hangs ---------------------------------------------------------------------------------------------------------------


def test_a_hung_handler_is_killed_and_its_successor_answers(plant):
    tree = plant(child("a", hang_deadline_s=0.4), child("b"), intensity=3)
    pid = pid_of(tree, "a")
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        tree.ask("a", ("hang", 60), 5)
    assert 0.4 < time.monotonic() - began_s < 2
    assert tree.ask("a", ("who",))[2] != pid
    assert "hung" in tree.snapshot().row("a").reason


def test_a_stopped_process_is_killed_and_replaced_and_can_not_come_back(plant, tmp_path):
    tree = plant(child("a", hang_deadline_s=0.4), intensity=3, options={"lock_folder": tmp_path})
    pid = pid_of(tree, "a")
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: pid_of(tree, "a"), lambda now: now not in (pid, "restarting")) != pid
    assert gone(pid)


def test_nothing_outside_blocks_on_a_hung_actor(plant):
    tree = plant(child("a"), child("b"))
    os.kill(pid_of(tree, "a"), signal.SIGSTOP)
    began_s = time.monotonic()
    assert tree.tell("a", "x") is True
    assert tree.ask("b", ("tell", "a", "y")) is True
    assert tree.ask("b", ("echo", 1)) == 1
    tree.snapshot()
    with pytest.raises(TimeoutError):
        tree.ask("a", ("echo", 1), 0.2)
    assert time.monotonic() - began_s < 1
    os.kill(pid_of(tree, "a"), signal.SIGCONT)
    assert tree.ask("a", ("echo", 1)) == 1


def test_a_suspended_machine_kills_nobody(plant):
    """The whole tree stands still for longer than the deadline, as under SIGSTOP to the group or a suspended machine."""
    tree = plant(
        child("a"),
        child("b"),
        child("sub", start=SupervisorSpec(children=[child("c")])),
        options={"hang_deadline_s": 0.6},
    )
    everybody = [tree.admin_pid, *descendants(tree.admin_pid)]
    before = {row.id: row.pid for row in tree.snapshot().children}
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1.5)  # not a wait: the suspension itself
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.0)  # not a wait: more than a deadline in which nobody must be found late
    assert {row.id: row.pid for row in tree.snapshot().children} == before
    assert all(row.restarts == 0 for row in tree.snapshot().children)


def test_a_stopped_supervisor_does_not_kill_its_children_when_it_wakes(plant):
    tree = plant(child("sub", start=SupervisorSpec(children=[child("c", hang_deadline_s=0.5)])))
    before = pid_of(tree, "c", "sub")
    with pytest.raises(TimeoutError):
        tree.ask("c", ("hang", 0.4), 0.2)  # so that a ping is on its way when the supervisor stands still
    os.kill(pid_of(tree, "sub"), signal.SIGSTOP)
    time.sleep(1.2)  # not a wait: the stall itself
    os.kill(pid_of(tree, "sub"), signal.SIGCONT)
    time.sleep(0.8)  # not a wait: the span in which nothing may happen
    assert pid_of(tree, "c", "sub") == before


def test_a_hung_nested_supervisor_is_killed_and_restarted_with_its_children(plant):
    sub = SupervisorSpec(children=[child("c"), child("d")])
    tree = plant(child("sub", start=sub, hang_deadline_s=0.5), intensity=3)
    old = {row.id: row.pid for row in tree.snapshot().children}
    os.kill(old["sub"], signal.SIGSTOP)
    new = eventually(
        lambda: {row.id: row.pid for row in tree.snapshot().children},
        lambda rows: len(rows) == 3 and all(isinstance(rows[i], int) and rows[i] != old[i] for i in old),
    )
    assert len(new) == 3
    assert all(gone(pid) for pid in old.values())


# ---- no orphans ------------------------------------------------------------------------------------------------------------


PROGRAM = textwrap.dedent(
    """
    import os, signal, sys, time
    sys.path.insert(0, {repo!r})
    import supervision
    from supervision import SupervisorSpec
    from tests.supervision.conftest import child
    sub = SupervisorSpec(children=[child("c"), child("d")])
    tree = supervision.start(SupervisorSpec(children=[child("a"), child("sub", start=sub)]), lock_folder={locks!r})
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stop.append(number))
    out = open({out!r}, "w") if {out!r} else sys.stdout
    print(*[tree.admin_pid, tree.root_pid, *[row.pid for row in tree.snapshot().children]], file=out, flush=True)
    while not stop:
        time.sleep(0.01)  # not a wait: the program's own loop
    tree.stop()
    """
)


@pytest.fixture
def program(tmp_path):
    """Start a program that runs a tree; returns (process, pids of the tree)."""
    started = []

    def start(**options):
        text = PROGRAM.format(repo=str(REPO), locks=str(tmp_path / "locks"), out="")
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, **options)
        started.append(process)
        return process, [int(word) for word in process.stdout.readline().split()]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_kill_dash_nine_of_the_program_leaves_nobody_and_the_next_start_is_undisturbed(program):
    for _ in range(3):
        process, pids = program()
        assert len(pids) == 6
        process.kill()
        eventually(lambda p=pids: all(gone(pid) for pid in p), patience_s=2)
    base = Path("/dev/shm") if not Path(f"/run/user/{os.getuid()}").is_dir() else Path(f"/run/user/{os.getuid()}")
    process, pids = program()
    mine = [folder for folder in base.glob("supervision-*") if folder.name.split("-")[1] == str(process.pid)]
    assert len(mine) == 1
    dead = [folder for folder in base.glob("supervision-*") if gone(int(folder.name.split("-")[1]))]
    assert dead == [], "folders of killed trees are cleared by the next start"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_to_the_whole_group_is_the_programs_to_handle(program, number):
    process, pids = program(start_new_session=True)
    os.killpg(process.pid, number)
    assert process.wait(10) == 0
    assert all(gone(pid) for pid in pids)


def test_actors_ignore_signals_that_only_the_program_may_obey(plant):
    tree = plant(child("a"), child("sub", start=SupervisorSpec(children=[child("c")])))
    before = {row.id: row.pid for row in tree.snapshot().children}
    for pid in [tree.admin_pid, tree.root_pid, *before.values()]:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            os.kill(pid, number)
    assert tree.ask("a", ("echo", 1)) == 1
    assert tree.ask("c", ("echo", 1)) == 1
    assert {row.id: row.pid for row in tree.snapshot().children} == before


def test_a_tree_without_terminal_and_without_streams_works(tmp_path):
    text = PROGRAM.format(repo=str(REPO), locks=str(tmp_path / "locks"), out=str(tmp_path / "pids"))
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, text], start_new_session=True
    )
    try:
        pids = [
            int(word)
            for word in eventually(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text()).split()
        ]
        assert len(pids) == 6
        process.terminate()
        assert process.wait(10) == 0
        assert all(gone(pid) for pid in pids)
    finally:
        process.kill()
        process.wait()


def test_under_a_terminal_that_closes_the_program_decides(tmp_path):
    import pty

    text = PROGRAM.format(repo=str(REPO), locks=str(tmp_path / "locks"), out="")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", text])
    words = b""
    while b"\n" not in words:
        words += os.read(terminal, 1000)
    pids = [int(word) for word in words.split()]
    os.close(terminal)  # SIGHUP to the program; whoever writes to the terminal gets EIO
    status = eventually(lambda: os.waitpid(pid, os.WNOHANG), lambda done: done[0])[1]
    assert os.waitstatus_to_exitcode(status) == 0
    assert all(gone(each) for each in pids)


# ---- foreign hands ------------------------------------------------------------------------------------------------------------


class Marker:
    """A pickle that makes a file when somebody loads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def attacks(path, evil):
    """What somebody without the run's key may send to a socket."""
    frame = pickle.dumps(evil)
    thespian = pickle.dumps((None, evil))
    yield "raw pickle", frame
    yield "thespian's own frame", b"%d>" % len(thespian) + thespian
    yield "negative length", b"-5>"
    yield "garbage", os.urandom(4096)
    yield "zeros", bytes(4096)
    yield (
        "right shape, wrong token",
        struct.pack("<16sH", os.urandom(16), 4) + b"/tmp" + struct.pack("<IQ", len(frame), 0) + frame,
    )
    yield "huge", struct.pack("<16sH", bytes(16), 65535) + bytes(1 << 20)
    yield "half a hello", bytes(7)
    yield "nothing", b""


def sockets_of(tree):
    return [f"{tree.folder}/{name}" for name in os.listdir(tree.folder) if Path(tree.folder, name).is_socket()]


def test_nobody_without_the_key_has_anything_unpickled_or_delivered(plant, tmp_path):
    tree = plant(child("a"), child("sub", start=SupervisorSpec(children=[child("c")])))
    before = {row.id: row.pid for row in tree.snapshot().children}
    evil = str(tmp_path / "evil")
    held = []
    for path in sockets_of(tree):
        for _name, data in attacks(path, Marker(evil)):
            attacker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            attacker.settimeout(2)
            attacker.connect(path)
            try:
                attacker.sendall(data)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                pass
            held.append(attacker)
    assert tree.ask("a", ("echo", 1)) == 1
    assert tree.ask("c", ("echo", 1)) == 1
    assert not os.path.exists(evil)
    assert tree.ask("a", ("seen",)) == []
    assert {row.id: row.pid for row in tree.snapshot().children} == before
    for attacker in held:
        attacker.close()


def test_silent_connections_are_thrown_out_and_cost_nobody_anything(plant):
    tree = plant(child("a"))
    path = tree.snapshot().row("a").path
    descriptors = len(tree.ask("a", ("fds",)))
    held = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(400)]
    for attacker in held:
        attacker.connect(path)
    took_s = []
    for n in range(50):
        began_s = time.monotonic()
        assert tree.ask("a", ("echo", n)) == n
        took_s.append(time.monotonic() - began_s)
    assert sorted(took_s)[25] < 0.02
    assert len(tree.ask("a", ("fds",))) < descriptors + 80
    eventually(lambda: len(tree.ask("a", ("fds",))), lambda now: now <= descriptors + 3)
    for attacker in held:
        attacker.close()


@pytest.mark.skipif(os.getuid() != 0, reason="another user can only be impersonated by root")
def test_another_user_cannot_even_connect(plant):
    tree = plant(child("a"))
    assert os.stat(tree.folder).st_mode & 0o777 == 0o700
    path = tree.snapshot().row("a").path
    assert as_nobody(lambda: visit(path)) == 13
    os.chmod(tree.folder, 0o777)
    os.chmod(path, 0o777)
    assert as_nobody(lambda: visit(path)) == 14
    assert tree.ask("a", ("echo", 1)) == 1


def visit(path):
    visitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    visitor.settimeout(0.7)  # sooner than those are thrown out who only say nothing
    try:
        visitor.connect(path)
    except PermissionError:
        return 13
    return 14 if visitor.recv(1) == b"" else 15


def as_nobody(act):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_no_secret_is_on_a_command_line_or_in_an_environment(plant):
    tree = plant(child("a"))
    key = tree._transport.endpoint.key
    for pid in [os.getpid(), *descendants(os.getpid())]:
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                text = file.read()
            assert key not in text
            assert key.hex().encode() not in text


# ---- floods ------------------------------------------------------------------------------------------------------------------------


def test_a_sender_to_a_stopped_receiver_goes_on_serving_others_and_its_queue_is_bounded(plant):
    tree = plant(child("a"), child("stopped"), child("b"))
    os.kill(pid_of(tree, "stopped"), signal.SIGSTOP)
    rss = lambda: int(Path(f"/proc/{pid_of(tree, 'a')}/statm").read_text().split()[1]) * 4096
    before = rss()
    assert tree.ask("a", ("tell many", "stopped", "x" * 1000, 20_000), 20) == 20_000
    began_s = time.monotonic()
    assert tree.ask("a", ("echo", 1)) == 1
    assert tree.ask("a", ("tell", "b", "hello")) is True
    assert time.monotonic() - began_s < 0.5
    eventually(lambda: tree.ask("b", ("seen",)))
    assert tree.ask("a", ("counts",))[2] > 19_000, "dropped and counted"
    assert rss() - before < 4_000_000
    os.kill(pid_of(tree, "stopped"), signal.SIGCONT)


def test_a_flood_to_one_actor_takes_down_no_other_and_shows_as_mailbox_age(plant):
    tree = plant(child("victim"), child("f1"), child("f2"), child("b"), intensity=0, options={"hang_deadline_s": 2.0})
    root = lambda: int(Path(f"/proc/{pid_of(tree, 'victim')}/statm").read_text().split()[1]) * 4096
    before = root()
    for _ in range(5):
        for name in ("f1", "f2"):
            tree.ask(name, ("tell many", "victim", ("slow", "x" * 500), 5_000), 20)
        assert tree.ask("b", ("echo", 1), 1) == 1
    assert tree.ask("victim", ("echo", 1), 10) == 1
    assert tree.alive()
    assert all(row.restarts == 0 for row in tree.snapshot().children)
    assert root() - before < 60_000_000  # it keeps what it has seen; the mailbox itself is the kernel's


# ---- months ---------------------------------------------------------------------------------------------------------------------------


def vitals(tree, pid):
    with open(f"/proc/{pid}/statm") as file:
        pages = int(file.read().split()[1])
    return len(os.listdir(f"/proc/{pid}/fd")), pages * 4096


@pytest.mark.parametrize("rounds", [150, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_restarts_leak_no_descriptor_no_memory_no_file_no_address(plant, rounds):
    tree = plant(child("a"), child("b"), intensity=100, period_s=0.01)
    warm = min(100, rounds // 3)
    before = None
    for n in range(rounds):
        if n == warm:
            before = (
                vitals(tree, tree.root_pid),
                vitals(tree, tree.admin_pid),
                len(os.listdir("/proc/self/fd")),
                len(os.listdir(tree.folder)),
            )
        _, _, pid, _ = tree.ask("a", ("who",))
        os.kill(pid, signal.SIGKILL)
    tree.ask("a", ("who",))
    # The replacement answers before root has taken the dead one's address out of the folder.
    eventually(lambda: len(os.listdir(tree.folder)), lambda files: files <= before[3], patience_s=5.0)
    after = (
        vitals(tree, tree.root_pid),
        vitals(tree, tree.admin_pid),
        len(os.listdir("/proc/self/fd")),
        len(os.listdir(tree.folder)),
    )
    assert after[0][0] <= before[0][0] + 1
    assert after[1][0] == before[1][0]
    assert after[2] <= before[2]
    assert after[0][1] - before[0][1] < 1_000_000
    assert after[1][1] - before[1][1] < 500_000
    assert len(tree.ask("b", ("fds",))) < 15


def test_children_inherit_no_descriptor_but_those_named(plant, tmp_path):
    with open(tmp_path / "kept", "w") as kept, open(tmp_path / "other", "w"):
        tree = plant(child("a"), child("b"), options={"keep_fds": [kept.fileno()]})
        fds = tree.ask("b", ("fds",))
        links = [
            os.readlink(f"/proc/{pid_of(tree, 'b')}/fd/{fd}")
            for fd in fds
            if os.path.exists(f"/proc/{pid_of(tree, 'b')}/fd/{fd}")
        ]
        assert str(tmp_path / "kept") in links
        assert str(tmp_path / "other") not in links


# ---- scale ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_many_dynamic_children_start_answer_and_stop(plant, count):
    pool = SupervisorSpec(strategy="simple_one_for_one", children=[child("t")], intensity=count, period_s=5)
    tree = plant(child("boss"), child("pool", start=pool))
    wish = {f"w{n}": n for n in range(count)}
    assert tree.ask("boss", ("want", "pool", 1, wish))
    eventually(
        lambda: [row.state for row in tree.snapshot().children].count("running"),
        lambda up: up == count + 2,
        patience_s=60,
        every_s=0.1,
    )
    assert [tree.ask(f"w{n}", ("who",))[3] for n in range(0, count, 7)] == list(range(0, count, 7))
    pids = [row.pid for row in tree.which_children(supervisor="pool")]
    for pid in pids[: count // 2]:
        os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: {row.pid for row in tree.which_children(supervisor="pool")},
        lambda now: "restarting" not in now and not now & set(pids[: count // 2]),
        patience_s=30,
    )
    assert tree.stop()
    assert all(gone(pid) for pid in pids)


def test_two_trees_in_one_program_do_not_meet(plant):
    one, two = plant(child("a", args=1)), plant(child("a", args=2))
    assert (one.ask("a", ("who",))[3], two.ask("a", ("who",))[3]) == (1, 2)
    one.stop()
    assert two.ask("a", ("echo", 1)) == 1
    with pytest.raises(ValueError, match="in use by another tree"):
        supervision.start(SupervisorSpec(), folder=two.folder)


def test_a_root_that_cannot_have_its_lock_is_a_start_that_failed(plant, tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(supervision.tree, "ROOT_LOCK_LIMIT_S", 0.3)
    with open(tmp_path / "root.lock", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        with pytest.raises(supervision.SupervisorError, match=r"root\.lock is held by another process"):
            supervision.start(SupervisorSpec(), lock_folder=tmp_path)


def test_a_nested_supervisor_that_is_still_starting_stops_its_children_in_order(plant, tmp_path):
    import pickle as pickles

    from supervision.messages import Call, StartChild

    journal = str(tmp_path / "j")
    slow = child("slow", args=("slow", 30))
    nested = child("sub", start=SupervisorSpec(children=[child("c", args=("journal", journal)), slow]))
    tree = plant(child("a"))
    tree._post(
        supervision.unix_wire.address_at(tree._root_path), Call(10_000, "root", StartChild(pickles.dumps(nested)))
    )
    eventually(lambda: tree.snapshot().row("slow"))
    began_s = time.monotonic()
    tree.terminate_child("sub")
    assert time.monotonic() - began_s < 2
    assert Path(journal).read_text().splitlines() == ["init c", "terminate c shutdown"]
    assert [row.id for row in tree.which_children()] == ["a"]


def test_a_fork_that_fails_is_a_start_that_failed_and_is_tried_again(plant, monkeypatch, tmp_path):
    from supervision.unix_base import Parent

    original, full = Parent.fork_actor, tmp_path / "full"

    def without_room(self, actor_class, name, letter=None):
        if name == "b" and full.exists():
            raise OSError(11, "Resource temporarily unavailable")
        return original(self, actor_class, name, letter)

    monkeypatch.setattr(Parent, "fork_actor", without_room)
    tree = plant(child("a"), intensity=9, backoff=supervision.Backoff(0.05, 0.05, 0))
    full.touch()
    with pytest.raises(supervision.SupervisorError, match="cannot fork"):
        tree.start_child(child("b"))
    full.unlink()
    pid = tree.start_child(child("b"))
    full.touch()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: "cannot fork" in tree.get_childspec("b").reason)
    full.unlink()
    assert tree.ask("b", ("echo", 1)) == 1
    full.touch()
    os.kill(pid_of(tree, "b"), signal.SIGKILL)
    assert tree.stop() is True


def test_a_folder_may_be_named_and_is_checked_before_anything_is_made(plant, tmp_path):
    tree = plant(child("a"), options={"folder": tmp_path / "run"})
    assert tree.folder == str(tmp_path / "run")
    assert os.stat(tree.folder).st_mode & 0o777 == 0o700
    assert tree.ask("a", ("echo", 1)) == 1
    tree.stop()
    assert not (tmp_path / "run").exists()
    long = tmp_path / ("x" * 100)
    with pytest.raises(ValueError, match="too long for sockets"):
        supervision.start(SupervisorSpec(), folder=long)
    assert not long.exists()
