"""What supervision costs, measured on real processes.

    python bench/supervision/bench.py [restart|scale|idle|messages|all] [--kills N]

Prints one line per figure. Times are wall clock under whatever else the machine does; the load is printed with them, and the
floor (bare fork and pipe, no actor library) is measured in the same minute, so that the two can be compared.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import supervision
from supervision import ChildSpec, SupervisedActor, SupervisorSpec

ALWAYS = 10**6
WINDOW = 32
"""Messages under way at a time when throughput is measured; a lane holds 64."""


class Echo(SupervisedActor):
    """Answers, relays, counts."""

    def peer_restarted(self, child_id, incarnation):
        self.told = (incarnation, time.perf_counter())

    def receiveMsg_str(self, message, sender):  # noqa: N802
        self.send(sender, os.getpid())

    def receiveMsg_tuple(self, message, sender):  # noqa: N802
        match message:
            case ("ping", peer, rounds):
                self.peer, self.left, self.took_s, self.asker = peer, rounds, [], sender
                self.again()
            case ("life",):
                self.send(sender, self.incarnation)
            case ("told",):
                self.send(sender, self.told)
            case ("stream", peer, count):
                self.peer, self.left, self.asker, self.began_s = peer, count, sender, time.perf_counter()
                self.window()
            case ("pour", peer, count):
                for n in range(count):
                    self.tell(peer, n)
                self.send(sender, (count, self._own_transport.dropped))

    def window(self):
        for n in range(WINDOW):
            self.tell(self.peer, ("item", self.child_id, n))
        self.left -= WINDOW

    def again(self):
        self.sent_s = time.perf_counter()
        self.tell(self.peer, ("there", self.child_id))

    def receive_from(self, sender_id, sender_incarnation, body):
        match body:
            case ("there", back):
                self.tell(back, ("back",))
            case ("back",):
                self.took_s.append(time.perf_counter() - self.sent_s)
                self.left -= 1
                if self.left:
                    self.again()
                else:
                    self.send(self.asker, self.took_s)
            case ("item", back, n) if n == WINDOW - 1:
                self.tell(back, ("got",))
            case ("got",) if self.left > 0:
                self.window()
            case ("got",):
                self.send(self.asker, time.perf_counter() - self.began_s)


def milliseconds(values):
    ordered = sorted(values)

    def pick(share):
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    return f"p50 {pick(0.5):7.2f}   p99 {pick(0.99):7.2f}   max {ordered[-1] * 1000:7.2f} ms   n {len(ordered)}"


def say(what, figure):
    print(f"{what:<58} {figure}   load {os.getloadavg()[0]:.1f}", flush=True)


def children(count):
    return [ChildSpec(f"c{n}", Echo) for n in range(count)]


def plant(spec):
    began_s = time.perf_counter()
    tree = supervision.start(spec)
    return tree, time.perf_counter() - began_s


# ---- restart -----------------------------------------------------------------------------------------------------------


def restart(kills):
    floor(kills)
    for count in (1, 100):
        tree, _ = plant(SupervisorSpec(children=children(count), intensity=ALWAYS, period_s=1))
        took_s, pid = [], tree.ask("c0", "who")
        for _ in range(kills):
            began_s = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            pid = tree.ask("c0", "who", 10)
            took_s.append(time.perf_counter() - began_s)
        tree.stop()
        say(f"kill -9 until the replacement answers, {count} children", milliseconds(took_s))


def peers(kills):
    nested = SupervisorSpec(children=[ChildSpec("below", Echo)])
    tree, _ = plant(SupervisorSpec(children=[*children(2), ChildSpec("sub", nested)], intensity=ALWAYS, period_s=1))
    took_s = []
    for _ in range(kills):
        pid = tree.ask("c0", "who")
        began_s = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        life = tree.ask("c0", ("life",), 10)
        while (told := tree.ask("below", ("told",)))[0] != life:
            time.sleep(0.001)
        took_s.append(told[1] - began_s)
        time.sleep(0.2)  # apart: what follows closely is told together
    tree.stop()
    say("kill -9 until a peer below another supervisor is told", milliseconds(took_s))


def floor(rounds):
    """kill -9, pidfd, fork, first byte: what any Python process costs, with this program's heap."""

    def spawn():
        near, far = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(far, b"!")
            signal.pause()
        os.close(far)
        os.read(near, 1)
        os.close(near)
        return pid, os.pidfd_open(pid)

    took_s = []
    pid, pidfd = spawn()
    for _ in range(rounds):
        began_s = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        select.select([pidfd], [], [])
        os.waitpid(pid, 0)
        os.close(pidfd)
        pid, pidfd = spawn()
        took_s.append(time.perf_counter() - began_s)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(pidfd)
    say("floor: kill -9, pidfd, fork, first byte", milliseconds(took_s))


# ---- scale ---------------------------------------------------------------------------------------------------------------


def scale():
    for count in (100, 400):
        tree, took_s = plant(SupervisorSpec(children=children(count)))
        say(f"start of {count} static children, each ready before the next", f"{took_s:.2f} s")
        began_s = time.perf_counter()
        tree.stop()
        say(f"orderly stop of {count} static children, one after the other", f"{time.perf_counter() - began_s:.2f} s")
        pool = SupervisorSpec(
            strategy="simple_one_for_one", children=[ChildSpec("t", Echo)], intensity=ALWAYS, period_s=1
        )
        tree, _ = plant(SupervisorSpec(children=[ChildSpec("pool", pool)]))
        began_s = time.perf_counter()
        for n in range(count):
            tree.start_child(None, supervisor="pool", id=f"w{n}")
        say(f"start_child of {count} dynamic children, one call each", f"{time.perf_counter() - began_s:.2f} s")
        pids = [row.pid for row in tree.which_children(supervisor="pool")]
        began_s = time.perf_counter()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for n in range(count):
            tree.ask(f"w{n}", "who", 30)
        say(f"kill -9 of all {count} at once until all answer again", f"{time.perf_counter() - began_s:.2f} s")
        began_s = time.perf_counter()
        tree.stop()
        say(f"orderly stop of {count} dynamic children, together", f"{time.perf_counter() - began_s:.2f} s")


# ---- idle ------------------------------------------------------------------------------------------------------------------


def idle():
    count, span_s = 100, 10.0
    tree, _ = plant(SupervisorSpec(children=children(count)))
    pids = [row.pid for row in tree.snapshot().children]
    time.sleep(1)
    before, root_before = sum(map(cpu_s, pids)), cpu_s(tree.root_pid)
    time.sleep(span_s)
    actor = (sum(map(cpu_s, pids)) - before) / count / span_s
    root = (cpu_s(tree.root_pid) - root_before) / span_s
    say(f"idle CPU per actor, {count} actors", f"{100 * actor:.3f} %")
    say(f"idle CPU of root over {count} actors", f"{100 * root:.2f} %")
    say("PSS per actor", f"{sum(map(pss_mb, pids)) / count:.2f} MB")
    say("RSS per actor", f"{sum(row.rss_bytes for row in tree.snapshot().children) / count / (1 << 20):.1f} MB")
    say("PSS of root", f"{pss_mb(tree.root_pid):.2f} MB")
    tree.stop()


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mb(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


# ---- messages --------------------------------------------------------------------------------------------------------------


def messages():
    tree, _ = plant(SupervisorSpec(children=children(3)))
    took_s = tree.ask("c0", ("ping", "c1", 3000), 60)
    say("round trip between two actors", milliseconds(took_s))
    say("one hop (half of it)", milliseconds([each / 2 for each in took_s]))
    took_s = []
    for _ in range(1000):
        began_s = time.perf_counter()
        tree.ask("c0", "who")
        took_s.append(time.perf_counter() - began_s)
    say("Tree.ask from the program (asks root where, then the actor)", milliseconds(took_s))
    count = 1000 * WINDOW
    span_s = tree.ask("c0", ("stream", "c1", count), 120)
    say(f"one sender to one receiver, {WINDOW} under way", f"{count / span_s:,.0f} messages/s, all handled")
    stopped = next(row.pid for row in tree.which_children() if row.id == "c2")
    os.kill(stopped, signal.SIGSTOP)
    tree.ask("c0", ("pour", "c2", 5_000), 60)
    took_s = tree.ask("c0", ("ping", "c1", 1000), 60)
    say("round trip while the sender also writes to a stopped peer", milliseconds(took_s))
    os.kill(stopped, signal.SIGCONT)
    tree.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="all", choices=["restart", "scale", "idle", "messages", "all"])
    parser.add_argument("--kills", type=int, default=500)
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, Linux {os.uname().release}")
    if options.what in ("restart", "all"):
        restart(options.kills)
        peers(options.kills // 10)
    if options.what in ("scale", "all"):
        scale()
    if options.what in ("idle", "all"):
        idle()
    if options.what in ("messages", "all"):
        messages()


if __name__ == "__main__":
    main()
