"""The tree from outside: `start`, and the handle that the starting program holds.

Any thread may call a `Tree`. The thread that called `start` must live as long as the tree: its processes die with that thread.
"""

# ruff: noqa: PTH103 -- plain paths: this runs in every fork

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from thespian.actors import WatchMessage
from thespian.system.transport import ReceiveEnvelope

from supervision.directory import Directory
from supervision.folders import Folder
from supervision.messages import (
    Answered,
    AreYouThere,
    Call,
    ChildInfo,
    CountChildren,
    Counts,
    DeleteChild,
    Envelope,
    Found,
    GetChildspec,
    GiveSnapshot,
    Init,
    Known,
    Question,
    RestartChild,
    RootBorn,
    RootReady,
    SetDraining,
    Snapshot,
    StartChild,
    StopChild,
    TerminateChild,
    TreeSnapshot,
    Where,
    WhichChildren,
)
from supervision.processes import descendants, has_ended, kill_for_sure
from supervision.relations import Settings
from supervision.spec import ChildSpec, SupervisorSpec, check_child, check_tree
from supervision.unix_base import MainTransport, UnixBase, fill_streams
from supervision.unix_lanes import LaneEnded
from supervision.unix_wire import address_at, listens_at, path_of
from supervision.words import take_words

ROOT_CLASS: Final = "supervision.supervisor.Supervisor"
CALL_LIMIT_S: Final = 60.0
ROOT_LOCK_LIMIT_S: Final = 10.0
"""How long a new root waits for one of an earlier run, in the same lock folder, to be gone."""
DESCRIPTORS_WANTED: Final = 65536


class SupervisorError(Exception):
    """A refusal in OTP's words: already_started, already_present, not_found, running, restarting, start_failed, noproc."""

    def __init__(self, word: str, detail: Any = None) -> None:
        super().__init__(word, detail)
        self.word = word
        self.detail = detail

    def __str__(self) -> str:
        return self.word if self.detail is None else f"{self.word}: {self.detail}"


class Tree:
    """A running tree. Made by `start`."""

    def __init__(
        self,
        spec: SupervisorSpec,
        folder: Folder,
        settings: Callable[[Any], Settings],
        keep_fds: frozenset[int],
        output: str,
    ) -> None:
        self.spec = spec
        self.folder = str(folder.path)
        self.root_pid: int | None = None
        self.reason = ""
        """Why root ended, once it has."""
        self._folder = folder
        self._root_fd: int | None = None
        self._root_path = ""
        self._ready = False
        self._stopped = False
        self._admin_buried = False
        self._requests = 0
        self._answers: dict[int, Any] = {}
        self._mail: list[tuple[str, Any]] = []
        self._lock = threading.Lock()
        self._in_line = 0
        """Threads that wait for their turn at the transport."""
        self._boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

        def letters(main: Any) -> dict[str, Any]:
            told = settings(main)
            self._run_number = told.run_number
            self._incarnation = (told.run_number, self._boot_ns)
            known = Directory([Known("main", (told.run_number, 0), path_of(main))])
            lock_path = f"{told.lock_folder}/root.lock"
            return {
                ROOT_CLASS: Init(
                    "root", self._incarnation, "main", main, spec, known, "all", lock_path, ROOT_LOCK_LIMIT_S, told
                )
            }

        self._base = UnixBase(self.folder, letters, keep_fds, output)
        self._transport: MainTransport = self._base.transport
        self._transport.on_bell = lambda: self._transport.deliver(None)  # ends the turn of the thread that receives
        self.admin_pid = self._base.admin_pid

    # ---- start and end --------------------------------------------------------------------------------------------------------

    def _await_boot(self) -> None:
        address = self._base.newPrimaryActor(ROOT_CLASS, None, None)
        self._root_path = path_of(address)
        self._wait(lambda: self._ready or self._root_ended(), None)
        if not self._ready:
            raise SupervisorError("start_failed", self.reason)

    def _root_ended(self) -> bool:
        """Whether root's process is no more; its last words become `reason`."""
        if self._root_fd is not None:
            if not has_ended(self._root_fd):
                return False
        elif not self._admin_buried and not has_died(self.admin_pid) and listens_at(self._root_path):
            return False
        if not self.reason:
            words = take_words(self._root_path)
            self.reason = "killed" if words is None else words.text.strip() or words.word
        return True

    def alive(self) -> bool:
        """Whether root's process lives."""
        if self._stopped or self._root_fd is None:
            return False
        if not has_ended(self._root_fd):
            return True
        self._bury_admin(os.WNOHANG)
        return False

    def _bury_admin(self, flags: int = 0) -> None:
        """The admin is our own child, and ends with root: take its body away, or it stays a zombie."""
        if not self._admin_buried:
            try:
                self._admin_buried = os.waitpid(self.admin_pid, flags)[0] != 0
            except ChildProcessError:  # the program has waited for it itself
                self._admin_buried = True

    def root_alive(self, limit_s: float = 2.0) -> bool:
        """Whether root answers within `limit_s`: alive, and its loop turns."""
        try:
            self._request(AreYouThere, limit_s=limit_s)
        except (SupervisorError, TimeoutError):
            return False
        return True

    def stop(self, limit_s: float = CALL_LIMIT_S) -> bool:
        """Stop in order: children in reverse, each within its limit. After `limit_s` everybody is killed.

        Returns whether the order held. Calling it again is harmless.
        """
        if self._stopped:
            return True
        orderly = True
        if self.alive():
            self._post(address_at(self._root_path), StopChild(self._incarnation))
            self._wait(self._root_ended, limit_s)
            orderly = self._root_ended()
        self.kill_all()
        return orderly

    def kill_all(self) -> None:
        """SIGKILL every process of the tree, by pid, and wait until they are gone."""
        if self._stopped:
            return
        self._stopped = True
        if not self._admin_buried:
            # The admin first: everybody dies with their parent, so nobody can restart anybody meanwhile.
            kill_for_sure([self.admin_pid, *descendants(self.admin_pid)])
            self._bury_admin()
        if self._root_fd is not None:
            if not self.reason:
                self._root_ended()
            os.close(self._root_fd)
            self._root_fd = None
        with self._my_turn():
            self._transport.close()
        self._folder.remove()

    def set_draining(self, on: bool) -> None:
        """While draining no restart waits in a backoff."""
        if self.alive():
            self._post(address_at(self._root_path), SetDraining(on))

    # ---- administration -----------------------------------------------------------------------------------------------------------

    def start_child(
        self,
        spec_or_args: Any = None,
        supervisor: str = "root",
        id: str | None = None,  # noqa: A002 -- OTP's word for it
        limit_s: float = CALL_LIMIT_S,
    ) -> int | None:
        """Add and start a child; for a dynamic supervisor give the args (and perhaps an id). Returns its pid, None after Ignore.

        :raises ValueError: a spec that cannot work. :raises SupervisorError: already_started, already_present, start_failed, noproc.
        """
        if isinstance(spec_or_args, ChildSpec):
            check_child(spec_or_args)
            if isinstance(spec_or_args.start, SupervisorSpec):
                check_tree(SupervisorSpec(children=(spec_or_args,)))
            limit_s = max(limit_s, spec_or_args.start_limit_s + 10)
        try:
            pickled = pickle.dumps(spec_or_args)
        except Exception as problem:  # whatever a stranger's __reduce__ raises
            raise ValueError(f"args={spec_or_args!r} is not picklable: {problem}") from None
        pid: int | None = self._call(StartChild(pickled, id), supervisor, limit_s)
        return pid

    def terminate_child(self, id_or_pid: str | int, supervisor: str = "root", limit_s: float = CALL_LIMIT_S) -> None:
        """Stop a child in order; its spec stays, unless it is temporary or dynamic. Twice is harmless."""
        self._call(TerminateChild(id_or_pid), supervisor, limit_s)

    def restart_child(
        self, id_or_pid: str | int, supervisor: str = "root", limit_s: float = CALL_LIMIT_S
    ) -> int | None:
        """Start a child that is down or parked; a fresh budget. Returns its pid, None after Ignore."""
        pid: int | None = self._call(RestartChild(id_or_pid), supervisor, limit_s)
        return pid

    def delete_child(self, id_or_pid: str | int, supervisor: str = "root", limit_s: float = CALL_LIMIT_S) -> None:
        """Forget a child that is down."""
        self._call(DeleteChild(id_or_pid), supervisor, limit_s)

    def which_children(self, supervisor: str = "root", limit_s: float = CALL_LIMIT_S) -> list[ChildInfo]:
        """(id, pid or None or "restarting" or "parked", type), newest first."""
        rows: list[ChildInfo] = self._call(WhichChildren(), supervisor, limit_s)
        return rows

    def count_children(self, supervisor: str = "root", limit_s: float = CALL_LIMIT_S) -> Counts:
        """(specs, active, supervisors, workers)."""
        counts: Counts = self._call(CountChildren(), supervisor, limit_s)
        return counts

    def get_childspec(self, id_or_pid: str | int, supervisor: str = "root", limit_s: float = CALL_LIMIT_S) -> ChildSpec:
        """The spec of a child; its `reason` says why it is down or parked."""
        spec: ChildSpec = self._call(GetChildspec(id_or_pid), supervisor, limit_s)
        return spec

    def _call(self, question: Question, supervisor: str, limit_s: float) -> Any:
        answer: Answered = self._request(lambda request: Call(request, supervisor, question), limit_s=limit_s)
        if answer.word == "bad_spec":
            raise ValueError(answer.detail)
        if answer.word is not None:
            raise SupervisorError(answer.word, answer.detail)
        return answer.value

    # ---- messages -------------------------------------------------------------------------------------------------------------------

    def ask(self, child: str | int, message: Any, timeout_s: float = 5.0, supervisor: str | None = None) -> Any:
        """Send `message` to a child (by id, or a dynamic one by pid) and return what its handler sends back.

        A child that is being started or restarted is waited for. :raises TimeoutError: no answer in time, or the child ended
        before it answered. :raises SupervisorError: noproc, there is no such child, or it is down.
        """
        deadline = time.monotonic() + timeout_s
        self._check_alive()
        asker = self._transport.external_transport_clone()  # an address of its own: a late answer finds nobody
        try:
            asker.lanes.tells_ends = True
            while True:
                self._post_to(child, supervisor, message, deadline, asker)
                envelope = self._await_answer(asker, deadline)
                if envelope is None:
                    raise TimeoutError(f"{child} did not answer {type(message).__name__} within {timeout_s} s")
                answer = envelope.message
                if not isinstance(answer, LaneEnded):
                    return answer
                if not answer.unread:  # else it died without having read the question: ask its successor
                    raise TimeoutError(f"{child} ended before it answered {type(message).__name__}")
        finally:
            asker.close()

    def _await_answer(self, asker: MainTransport, deadline: float) -> ReceiveEnvelope | None:
        """The first message that comes to `asker` (a `LaneEnded` when the peer has ended); None when the time is up."""
        assert self._root_fd is not None
        asker.set_watch([self._root_fd])
        while (left_s := deadline - time.monotonic()) > 0:
            got = asker.run(None, timedelta(seconds=left_s))
            if isinstance(got, ReceiveEnvelope):
                if not isinstance(got.message, WatchMessage):
                    return got
                asker.set_watch([])
                self._check_alive()
        return None

    def tell(self, child: str | int, message: Any, supervisor: str | None = None) -> bool:
        """Send to a child as "main"; it arrives in `receive_from`. False when there is no such child now."""
        try:
            found = self._where(child, 2.0, supervisor, wait=False)
        except (SupervisorError, TimeoutError):
            return False
        return found.path is not None and self._post(address_at(found.path), self._enveloped(message))

    def messages(self) -> list[tuple[str, Any]]:
        """What actors have sent to "main" since the last call: (sender id, body), oldest first."""
        if not self._stopped:
            self._wait(lambda: False, 0.0)
        mail, self._mail = self._mail, []
        return mail

    def snapshot(self, limit_s: float = 5.0) -> TreeSnapshot:
        """The tree now; rows of nested supervisors are at most a second old."""
        answer: Snapshot = self._request(GiveSnapshot, limit_s=limit_s)
        return answer.snapshot

    def _enveloped(self, message: Any) -> Envelope:
        return Envelope("main", (self._run_number, 0), message)

    def _where(self, child: str | int, limit_s: float, supervisor: str | None = None, *, wait: bool = True) -> Found:
        found: Found = self._request(lambda request: Where(request, child, wait, supervisor), limit_s=limit_s)
        return found

    def _post_to(
        self, child: str | int, supervisor: str | None, message: Any, deadline: float, asker: MainTransport
    ) -> None:
        while (left_s := deadline - time.monotonic()) > 0:
            found = self._where(child, left_s, supervisor)
            if found.state in (None, "stopped", "parked"):
                raise SupervisorError("noproc", f"{child} is {found.state or 'not known in this tree'}")
            if found.path is not None and asker.post(address_at(found.path), message):
                return
            # It had just died, and root does not know it yet.
            self._wait(lambda: False, min(left_s, 0.0005))
        raise TimeoutError(f"{child} was not up within the time to answer {type(message).__name__}")

    # ---- conversation with root --------------------------------------------------------------------------------------------------------

    def _check_alive(self) -> None:
        if not self.alive():
            self._root_ended() if not self._stopped else None
            raise SupervisorError("noproc", f"the tree has ended: {self.reason or 'stopped'}")

    def _request(self, make: Callable[[int], Any], *, limit_s: float) -> Any:
        self._check_alive()
        with self._my_turn():
            self._requests += 1
            number = self._requests
        if not self._post(address_at(self._root_path), make(number)):
            self._wait(self._root_ended, 0.5)
            self._check_alive()
        self._wait(lambda: number in self._answers or self._root_ended(), limit_s)
        if number in self._answers:
            return self._answers.pop(number)
        self._check_alive()
        raise TimeoutError(f"root did not answer within {limit_s} s")

    def _wait(self, over: Callable[[], bool], limit_s: float | None) -> None:
        """Take mail in until `over()` or the time is up."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while True:
            if over():
                return
            left_s = 0.25 if deadline is None else min(0.25, max(0.0, deadline - time.monotonic()))
            with self._my_turn():
                if over() or self._transport.closed:  # another thread has received it, or ended it all, meanwhile
                    return
                got = self._transport.run(None, timedelta(seconds=left_s))
                if isinstance(got, ReceiveEnvelope):
                    self._take(got.message)
            if self._in_line:
                time.sleep(0.0002)  # a lock is not fair by itself
            if isinstance(got, ReceiveEnvelope):
                continue
            if deadline is not None and time.monotonic() >= deadline:
                return

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        """The transport is one thread's at a time; whoever waits wakes the one that sits in it."""
        self._in_line += 1
        try:
            if not self._lock.acquire(blocking=False):
                self._transport.interrupt_wait()
                self._lock.acquire()
        finally:
            self._in_line -= 1
        try:
            yield
        finally:
            self._lock.release()

    def _post(self, address: Any, message: Any) -> bool:
        with self._my_turn():
            return not self._transport.closed and self._transport.post(address, message)

    def _take(self, message: Any) -> None:
        match message:
            case RootBorn(pid):
                self.root_pid, self._root_fd = pid, os.pidfd_open(pid)
                self._transport.set_watch([self._root_fd])
            case RootReady():
                self._ready = True
            case Envelope(sender_id, _incarnation, body):
                self._mail.append((sender_id, body))
            case WatchMessage():
                self._transport.set_watch([])  # root has ended; who waits looks for itself
            case Answered() | Found() | Snapshot() | AreYouThere():
                self._answers[message.request] = message
                if len(self._answers) > 1000:  # answers that came after their questioner had given up
                    del self._answers[next(iter(self._answers))]


def has_died(pid: int) -> bool:
    """Whether our own child `pid` is dead; it stays for `waitpid`."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def start(
    spec: SupervisorSpec,
    *,
    folder: str | os.PathLike[str] | None = None,
    lock_folder: str | os.PathLike[str] | None = None,
    hang_deadline_s: float = 10.0,
    run_number: int = 0,
    listeners: Iterable[str] = (),
    keep_fds: Iterable[int] = (),
    output: str | os.PathLike[str] = "",
) -> Tree:
    """Start a tree; every child is ready when this returns.

    - folder: where sockets live (0700); default: a fresh one in memory. Removed when the tree stops.
    - lock_folder: where each id's lock file is; default: inside `folder`. Name a lasting one to hold ids across runs.
    - hang_deadline_s: a handler that keeps its actor from answering a ping for this long gets it killed.
    - run_number: first half of every incarnation.
    - listeners: child ids that get a `TreeSnapshot` every second and on change.
    - keep_fds: descriptors that every process of the tree inherits, for instance of an instance lock.
    - output: a file for what processes of the tree print, dying words among it; default: where this program prints.

    :raises ValueError: a spec or option that cannot work, before any process exists.
    :raises SupervisorError: start_failed, with the child's id and its traceback; nothing is left running.
    """
    check_tree(spec)
    if not isinstance(hang_deadline_s, int | float) or hang_deadline_s <= 0:
        raise ValueError(f"hang_deadline_s={hang_deadline_s!r} is not a number of seconds above 0")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    fill_streams()
    home = Folder(folder)
    locks = str(lock_folder) if lock_folder is not None else f"{home.path}/locks"
    os.makedirs(locks, mode=0o700, exist_ok=True)

    def settings(main: Any) -> Settings:
        return Settings(str(home.path), locks, float(hang_deadline_s), run_number, tuple(listeners), main)

    tree = None
    try:
        tree = Tree(spec, home, settings, frozenset(keep_fds), os.fspath(output))
        tree._await_boot()
    except BaseException:  # also a Ctrl-C meanwhile: nothing may stay behind
        if tree is not None:
            tree.kill_all()
        else:
            home.remove()
        raise
    return tree
