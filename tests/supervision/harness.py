"""A shell for the pure core whose processes are entries of a dict: virtual time, every step under the test's control."""

from __future__ import annotations

import pickle

from supervision import ChildSpec, SupervisorSpec
from supervision.core import Core
from supervision.messages import (
    CountChildren,
    DeleteChild,
    GetChildspec,
    RestartChild,
    StartChild,
    TerminateChild,
    WantedChildren,
    WhichChildren,
)
from supervision.records import Answer, AskStop, Began, Exit, Finish, Kill, Refuse, Start, Wake
from tests.supervision.actors import Obedient

NORMAL, SHUTDOWN, ABNORMAL = Exit("normal"), Exit("shutdown"), Exit("abnormal", "it broke")


def spec(child_id, **fields):
    return ChildSpec(child_id, Obedient, **fields)


class Shell:
    """`instant`: starts and stops are over as soon as they are asked for; else the test picks from `todo`."""

    def __init__(self, *children, instant=True, supervisor_id="sup", **fields):
        self.core = Core(supervisor_id, SupervisorSpec(children=children, **fields))
        self.instant = instant
        self.now_s = 1000.0
        self.pids = {}
        self.next_pid = 100
        self.todo = []
        """Things that the outside world still has to do: ("start", id, pid) or ("obey", id, pid) or ("die", id, pid)."""
        self.timers = {}
        self.log = []
        self.answers = {}
        self.requests = 0
        self.began = False
        self.finished = None
        self.refusing = set()
        self.ignoring = set()
        self.stubborn = set()

    # -- the outside world --

    def perform(self, actions):
        for action in actions:
            assert self.finished is None, f"{action} after Finish"
            match action:
                case Start(child_id, _):
                    assert child_id not in self.pids, f"second process for {child_id}"
                    self.next_pid += 1
                    self.pids[child_id] = self.next_pid
                    self.core.forked(child_id, self.next_pid)
                    self.log.append(("start", child_id))
                    self.todo.append(("start", child_id, self.next_pid))
                case AskStop(child_id):
                    self.log.append(("stop", child_id))
                    if child_id not in self.stubborn:
                        self.todo.append(("obey", child_id, self.pids[child_id]))
                case Kill(child_id, _):
                    self.log.append(("kill", child_id))
                    self.todo.append(("die", child_id, self.pids[child_id]))
                case Wake(key, at_s):
                    self.timers.pop(key, None)
                    if at_s is not None:
                        self.timers[key] = at_s
                case Answer(request, value):
                    assert request not in self.answers
                    self.answers[request] = value
                case Refuse(request, word, detail):
                    assert request not in self.answers
                    self.answers[request] = (word, detail)
                case Began():
                    self.began = True
                case Finish(word, text):
                    assert not self.pids, f"finished with {self.pids} alive"
                    self.finished = (word, text)
        if self.instant:
            self.settle()

    def do(self, index=0):
        """Let one thing of `todo` happen."""
        what, child_id, pid = self.todo.pop(index)
        if self.pids.get(child_id) != pid:
            return
        if what == "start" and child_id in self.ignoring:
            del self.pids[child_id]
            self.perform(self.core.ignored(child_id, self.now_s))
        elif what == "start" and child_id not in self.refusing:
            self.perform(self.core.ready(child_id, self.now_s))
        else:
            how = {"start": Exit("abnormal", "refused"), "obey": SHUTDOWN, "die": Exit("abnormal", "killed")}[what]
            self.exit(child_id, how)

    def settle(self):
        while self.todo:
            self.do()

    def exit(self, child_id, how=ABNORMAL):
        del self.pids[child_id]
        self.perform(self.core.exited(child_id, how, self.now_s, 0.5))

    def advance(self, seconds):
        until_s = self.now_s + seconds
        while due := sorted((at_s, str(key), key) for key, at_s in self.timers.items() if at_s <= until_s):
            at_s, _, key = due[0]
            self.now_s = max(self.now_s, at_s)
            del self.timers[key]
            self.perform(self.core.woke(key, self.now_s))
        self.now_s = until_s

    # -- what people do --

    def begin(self):
        self.perform(self.core.begin(self.now_s))
        return self

    def stop(self):
        self.perform(self.core.stop(self.now_s))

    def call(self, question):
        self.requests += 1
        self.perform(self.core.call(self.requests, question, self.now_s))
        return self.answers.get(self.requests, "no answer yet")

    def start_child(self, given, child_id=None):
        return self.call(StartChild(pickle.dumps(given), child_id))

    def terminate(self, key):
        return self.call(TerminateChild(key))

    def restart(self, key):
        return self.call(RestartChild(key))

    def delete(self, key):
        return self.call(DeleteChild(key))

    def childspec(self, key):
        return self.call(GetChildspec(key))

    def which(self):
        return self.call(WhichChildren())

    def count(self):
        return tuple(self.call(CountChildren()))

    def want(self, version, children):
        self.perform(self.core.wanted(version, WantedChildren(version, children), self.now_s))

    def up(self):
        return {row.id for row in self.which() if isinstance(row.pid, int)}

    def took(self):
        log, self.log = self.log, []
        return log
