"""Actors that the tests start. Everything they are told to do, they do."""

# ruff: noqa: PTH110, PTH123, PTH208
from __future__ import annotations

import os
import signal
import socket
import time

from supervision import Ignore, SupervisedActor


def dead(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Obedient(SupervisedActor):
    """Does what a message says: ("echo", x), ("exit", n), ("leave", word), ("raise", text), ("hang", s), ("tell", id, x), ..."""

    def init(self, args):
        self.seen = []
        self.restarted = []
        self.given = args
        match args:
            case "refuse":
                raise RuntimeError("refused on purpose")
            case "ignore":
                return Ignore()
            case "nonsense":
                return 42
            case ("slow", seconds):
                time.sleep(seconds)  # not a wait: the actor was told to take this long
            case ("refuse while exists", path):
                if os.path.exists(path):
                    raise RuntimeError(f"{path} is there")
            case ("exit in init", code):
                os._exit(code)
            case ("journal", path):
                self.note(path, f"init {self.child_id}")
            case ("alone", path):
                with open(path, "a+") as file:
                    file.seek(0)
                    lives = file.read().split()
                    file.write(f"{os.getpid()}\n" if not lives or dead(lives[-1]) else f"{lives[-1]} is alive\n")
            case ("leave at once", word):
                self.leave(word)
        return None

    def note(self, path, line):
        with open(path, "a") as file:
            file.write(line + "\n")

    def terminate(self, reason):
        match self.given:
            case ("journal", path):
                self.note(path, f"terminate {self.child_id} {reason}")
            case ("slow terminate", seconds):
                time.sleep(seconds)  # not a wait: the actor was told to take this long
            case ("raise in terminate",):
                raise RuntimeError("terminate failed on purpose")

    def receive_from(self, sender_id, sender_incarnation, body):
        self.seen.append((sender_id, sender_incarnation, body))
        if body == "report to main":
            self.tell("main", ("here is", self.child_id))

    def peer_restarted(self, child_id, incarnation):
        self.restarted.append((child_id, incarnation, time.monotonic()))

    def woke(self, key):
        self.seen.append(("woke", key, time.monotonic()))

    def receiveMsg_int(self, message, sender):
        self.send(sender, message)

    def receiveMsg_tuple(self, message, sender):
        match message:
            case ("echo", x):
                self.send(sender, x)
            case ("who",):
                self.send(sender, (self.child_id, self.incarnation, os.getpid(), self.args))
            case ("seen",):
                self.send(sender, list(self.seen))
            case ("restarted",):
                self.send(sender, list(self.restarted))
            case ("counts",):
                self.send(
                    sender,
                    (
                        self.undelivered,
                        self.stale,
                        self._own_transport.dropped,
                        self._own_transport.lanes.undeliverable,
                    ),
                )
            case ("exit", code):
                os._exit(code)
            case ("sys.exit", code):
                raise SystemExit(code)
            case ("leave", word):
                self.send(sender, "leaving")
                self.leave(word)
            case ("raise", text):
                raise RuntimeError(text)
            case ("signal", number):
                os.kill(os.getpid(), number)
                signal.pause()
            case ("hang", seconds):
                time.sleep(seconds)  # not a wait: the actor was told to take this long
                self.send(sender, "awake")
            case ("tell", child_id, body):
                self.send(sender, self.tell(child_id, body))
            case ("tell many", child_id, body, count):
                self.send(sender, sum(self.tell(child_id, body) for _ in range(count)))
            case ("send late", seconds, x):
                time.sleep(seconds)  # not a wait: the actor was told to take this long
                self.send(sender, x)
            case ("wake", *timers):
                now = time.monotonic()
                for key, seconds in timers:
                    self.wake_in(key, seconds)
                self.send(sender, now)
            case ("cancel", key):
                self.wake_cancel(key)
                self.send(sender, "cancelled")
            case ("watch",):
                self.near, self.far = socket.socketpair()
                self.near.setblocking(False)
                self.watch(self.near, lambda: self.seen.append(("read", self.near.recv(100))))
                self.send(sender, "watching")
            case ("feed", data):
                self.far.send(data)
                self.send(sender, "fed")
            case ("unwatch",):
                self.unwatch(self.near)
                self.send(sender, "unwatched")
            case ("want", supervisor_id, version, children):
                self.send(sender, self.wanted_children(supervisor_id, version, children))
            case ("fds",):
                self.send(sender, sorted(int(name) for name in os.listdir("/proc/self/fd")))
            case ("size", count):
                self.send(sender, "x" * count)
            case _:
                self.send(sender, ("unknown", message))


class Listener(Obedient):
    """Keeps the newest snapshot that it was sent."""

    def receive_from(self, sender_id, sender_incarnation, body):
        self.seen.append((sender_id, body.version, {row.id: row.state for row in body.children}))


class BrokenAtBirth(SupervisedActor):
    def __init__(self):
        raise RuntimeError("born broken")
