"""The shipped supervisord configuration, under a real supervisord, with a stand-in for the bot that runs a real tree."""

# ruff: noqa: PTH123

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.supervision.test_tree import gone
from tests.support import eventually

REPO = Path(__file__).parents[2]
DEPLOY = REPO / "config" / "deploy"
needs_supervisord = pytest.mark.skipif(
    shutil.which("supervisord") is None, reason="the Debian package supervisor is not installed"
)

STAND_IN = textwrap.dedent(
    """
    import os, signal, sys, time
    sys.path.insert(0, {repo!r})
    with open({starts!r}, "a") as file:
        file.write(str(os.getpid()) + chr(10))
    plan = open({plan!r}).read()
    if plan.isdigit():
        sys.exit(int(plan))
    import supervision
    from supervision import SupervisorSpec
    from tests.supervision.conftest import child
    stop = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    sub = SupervisorSpec(children=[child("b", args=("journal", {journal!r}))])
    tree = supervision.start(SupervisorSpec(children=[child("a", args=("journal", {journal!r})), child("sub", start=sub)]))
    with open({pids!r}, "w") as file:
        file.write(" ".join(map(str, [os.getpid(), tree.admin_pid, tree.root_pid, *[row.pid for row in tree.snapshot().children]])))
    while not stop:
        time.sleep(0.01)  # not a wait: the stand-in bot's own loop
    tree.stop()
    """
)


class Supervisord:
    """The shipped file, with another command for the bot, no guardian, and everything in a folder of the test."""

    def __init__(self, folder, plan, **options):
        self.folder = folder
        self.plan, self.starts, self.pids, self.journal = (
            folder / name for name in ("plan", "starts", "pids", "journal")
        )
        self.plan.write_text(plan)
        script = folder / "bot.py"
        names = {name: str(getattr(self, name)) for name in ("plan", "starts", "pids", "journal")}
        script.write_text(STAND_IN.format(repo=str(REPO), **names))
        conf = read("supervisord.conf")
        conf["unix_http_server"]["file"] = str(folder / "s.sock")
        conf["supervisorctl"]["serverurl"] = f"unix://{folder}/s.sock"
        conf["supervisord"]["logfile"] = str(folder / "log")
        conf["supervisord"]["pidfile"] = str(folder / "pid")
        conf["program:bot"]["command"] = f"{sys.executable} {script}"
        conf["program:bot"]["directory"] = str(folder)
        conf["program:bot"].update(options)
        del conf["program:guardian"]
        with open(folder / "conf", "w") as file:
            conf.write(file)
        self.process = subprocess.Popen(["supervisord", "-n", "-c", str(folder / "conf")], stdout=subprocess.DEVNULL)

    def ctl(self, *words):
        done = subprocess.run(
            ["supervisorctl", "-c", str(self.folder / "conf"), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout

    def state(self):
        words = self.ctl("status", "bot").split()
        return words[1] if len(words) > 1 else ""

    def tree(self):
        """Pids of bot, admin, root and children, once the tree stands."""
        return [int(word) for word in eventually(lambda: self.pids.exists() and self.pids.read_text()).split()]

    def count(self):
        return len(self.starts.read_text().split()) if self.starts.exists() else 0

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(40)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def supervisord(tmp_path):
    started = []

    def start(plan, **options):
        started.append(Supervisord(tmp_path, plan, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


def read(name):
    conf = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";",), comment_prefixes=(";", "#"))
    conf.optionxform = str
    conf.read(DEPLOY / name)
    return conf


@pytest.mark.parametrize("program", ["bot", "guardian"])
def test_the_configuration_stops_groups_waits_long_enough_and_leaves_two_and_three_down(program):
    section = read("supervisord.conf")[f"program:{program}"]
    assert section["stopasgroup"] == section["killasgroup"] == "true"
    assert float(section["stopwaitsecs"]) > 10
    assert section["autorestart"] == "unexpected"
    assert {"2", "3"} <= set(section["exitcodes"].split(","))
    assert section["startsecs"] == "0"
    assert section["stopsignal"] == "TERM"


def test_bot_and_guardian_name_the_same_data_directory():
    conf = read("supervisord.conf")
    named = [
        conf[f"program:{program}"]["command"].split("--data-dir ")[1].split()[0] for program in ("bot", "guardian")
    ]
    assert named[0] == named[1]
    units = [
        (DEPLOY / name).read_text().split("--data-dir ")[1].split()[0]
        for name in ("bulkhead.service", "bulkhead-guardian.service")
    ]
    assert units[0] == units[1]


def test_one_process_that_the_kernel_ends_for_memory_does_not_end_the_bot_under_systemd():
    """systemd's default (OOMPolicy=stop) stops the whole unit for a page that grew too big; our supervisors restart it alone."""
    assert read("bulkhead.service")["Service"]["OOMPolicy"] == "continue"


@pytest.mark.parametrize("name", ["bulkhead.service", "bulkhead-guardian.service"])
def test_the_systemd_units_leave_two_and_three_down_and_wait_long_enough(name):
    service = read(name)["Service"]
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == ["2", "3"]
    assert float(service["TimeoutStopSec"]) > 10
    assert service["KillMode"] == "mixed"


@needs_supervisord
def test_started_killed_restarted_and_stopped_in_order_under_supervisord(supervisord):
    daemon = supervisord("run")
    first = daemon.tree()
    assert eventually(daemon.state, lambda state: state == "RUNNING")
    daemon.pids.unlink()
    os.kill(first[0], signal.SIGKILL)
    second = daemon.tree()
    assert second[0] != first[0]
    assert all(gone(pid) for pid in first)
    assert daemon.count() == 2
    daemon.journal.unlink()
    daemon.ctl("stop", "bot")
    assert daemon.state() == "STOPPED"
    assert all(gone(pid) for pid in second)
    assert daemon.journal.read_text().splitlines() == ["terminate b shutdown", "terminate a shutdown"]
    daemon.pids.unlink()
    daemon.ctl("start", "bot")
    third = daemon.tree()
    daemon.end()
    assert all(gone(pid) for pid in third)


@needs_supervisord
def test_a_bot_that_does_not_obey_is_killed_with_its_whole_group(supervisord):
    daemon = supervisord("run", stopwaitsecs="1")
    pids = daemon.tree()
    daemon.ctl("signal", "STOP", "bot")
    daemon.ctl("stop", "bot")
    assert daemon.state() == "STOPPED"
    eventually(lambda: all(gone(pid) for pid in pids), patience_s=2)


@needs_supervisord
@pytest.mark.parametrize("code", ["2", "3"])
def test_no_restart_after_exit(supervisord, code):
    daemon = supervisord(code)
    eventually(daemon.state, lambda state: state == "EXITED")
    log = eventually((daemon.folder / "log").read_text, lambda text: "exited: bot" in text)
    assert "not expected" not in log
    with pytest.raises(AssertionError):
        eventually(daemon.count, lambda starts: starts > 1, patience_s=2.5)
    assert daemon.state() == "EXITED"


@needs_supervisord
def test_exit_one_is_restarted(supervisord):
    daemon = supervisord("1")
    eventually(daemon.count, lambda starts: starts > 1)
    daemon.plan.write_text("2")
    eventually(daemon.state, lambda state: state == "EXITED")
