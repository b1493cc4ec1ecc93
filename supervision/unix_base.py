"""Thespian's system base of our own: how processes come into being, how they are tied to their parent, how they are buried.

What differs from `multiprocTCPBase`: no port and no second fork, every process dies with its parent (PDEATHSIG), a child's socket
and first letter exist before the fork, children inherit no descriptor, there is no log director and no signal handler that
spins, and a death is one `waitpid` away, with its status. The rest (admin, actor manager, addresses) is Thespian's.

It rests on private names of Thespian 4.0.1; `tests/supervision/test_thespian_source.py` fails when their source changes.
"""

# ruff: noqa: PTH108, PTH110, PTH123 -- plain paths: this runs in every fork

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import logging
import os
import secrets
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

os.environ.setdefault(
    "THESPLOG_FILE_MAXSIZE", "0"
)  # read at the first import of thespian: no log file with messages in it
os.environ.setdefault("THESPLOG_THRESHOLD", "CRITICAL")

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    InvalidActorAddress,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.messages.multiproc import EndpointConnected
from thespian.system.multiprocCommon import MultiProcAdmin, MultiProcManager, multiprocessCommon
from thespian.system.transport import ExternalInterfaceTransportInit
from thespian.system.utilis import actualActorClass, thesplog_control

from supervision.messages import ProcessEnded
from supervision.unix_transport import UnixTransport
from supervision.unix_wire import Endpoint, address_at, listen_at, path_of
from supervision.words import Words, child_path, leave_words

EXIT_FAILED: Final = 70
"""A handler, `init` or `terminate` raised."""
EXIT_ORPHAN: Final = 71
"""The parent was gone before the child could tie itself to it."""

DEATHS_PER_TURN: Final = 8
PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
_libc = ctypes.CDLL(None, use_errno=True)
_kept_alive: list[Any] = []
"""Inherited objects that must not be collected in a child: their destructors would flush or close what is not theirs."""


def tie_to_parent(parent_pid: int) -> None:
    """From now on this process dies with the thread that forked it; if the parent is dead already, it ends here."""
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != parent_pid:
        os._exit(EXIT_ORPHAN)


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor above 2 except `kept`."""
    low = 3
    for fd in sorted(fd for fd in kept if fd > 2):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, max(low, os.sysconf("SC_OPEN_MAX")))


def own_signals() -> None:
    """Once, in the admin; children inherit it. Native crashes crash, and only the root orders a stop."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)  # a Python-level SIGSEGV handler spins for ever
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable(2)


def own_streams(output: str) -> None:
    """Plain text streams on descriptors 1 and 2, whatever the starting program had put in their place.

    - output: a file that takes both; "": where the starting program writes. Its terminal may be stopped, and then hold up who dies.
    """
    if output:
        try:
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            file = os.open(os.devnull, os.O_WRONLY)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
    _kept_alive.extend((sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
    for name, fd in (("stdout", 1), ("stderr", 2)):
        try:
            stream = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 -- lives as long as the process
        except OSError:  # started without it
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def birth(kept: set[int], parent_pid: int, name: str) -> None:
    """The first things a new process does."""
    tie_to_parent(parent_pid)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    close_all_but(kept)


class Parent:
    """What admin and actor managers share: forking a child process and burying it."""

    transport: UnixTransport
    capabilities: dict[str, Any]
    _adminAddr: Any  # noqa: N815 -- Thespian's name
    keep_fds: frozenset[int] = frozenset()

    def init_parent(self, keep_fds: frozenset[int]) -> None:
        self.keep_fds = keep_fds
        self._bodies: dict[int, Any] = {}
        """pid -> what to say when it ends: None for a supervised process, its address for Thespian's own children."""
        self._listens_for_deaths = False

    def fork_actor(self, actor_class: Any, name: str, letter: Any = None) -> tuple[int, str]:
        """Start a process that hosts `actor_class` and finds `letter` as its first message. Returns (pid, path).

        :raises OSError: the system has no room for another process or socket.
        """
        endpoint = self.transport.endpoint
        path = child_path(endpoint.path, endpoint.folder)
        listener = listen_at(path)
        mine = Endpoint(path, listener, endpoint.folder, endpoint.key, self.transport.myAddress, letter)
        if not self._listens_for_deaths:
            signal.signal(signal.SIGCHLD, _nothing)
            signal.set_wakeup_fd(self.transport.bell_fd(), warn_on_full_buffer=False)
            self.transport.on_bell = self.bury
            self._listens_for_deaths = True
        me = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            listener.close()
            os.unlink(path)
            raise
        if pid == 0:
            live(self, actor_class, name, mine, me)
        listener.close()
        self._bodies[pid] = None
        return pid, path

    def bury(self) -> None:
        """Collect children that have ended; each is told once. After many at a time others get a word in first."""
        for _ in range(DEATHS_PER_TURN):
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            if (
                pid not in self._bodies
            ):  # somebody else's, a subprocess of the actor: leave it, look for ours one by one
                self._bury_known()
                return
            self._told(pid, os.waitpid(pid, 0)[1])
        self.transport.interrupt_wait()

    def _bury_known(self) -> None:
        for pid in list(self._bodies):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self._told(pid, status)

    def _told(self, pid: int, status: int) -> None:
        address = self._bodies.pop(pid)
        self.transport.deliver(ProcessEnded(pid, status) if address is None else ChildActorExited(address))

    # Thespian's own way to children (`createActor`), through the same fork.
    def _startChildActor(  # noqa: N802
        self,
        childAddr: Any,  # noqa: N803
        childClass: Any,  # noqa: N803
        globalName: Any,  # noqa: ARG002, N803
        parentAddr: Any,  # noqa: ARG002, N803
        notifyAddr: Any,  # noqa: ARG002, N803
        childRequirements: Any = None,  # noqa: ARG002, N803
        sourceHash: Any = None,  # noqa: ARG002, N803
        sourceToLoad: Any = None,  # noqa: ARG002, N803
    ) -> None:
        letter = self.letters.pop(childClass, None) if isinstance(childClass, str) else None
        pid, path = self.fork_actor(actualActorClass(childClass, None), "actor", letter)
        address = address_at(path)
        self._bodies[pid] = address
        self._pendingActorReady(childAddr.addressDetails.addressInstanceNum, address)  # type: ignore[attr-defined]

    letters: dict[str, Any] = {}  # noqa: RUF012 -- set once, in the admin

    @staticmethod
    def _childExited(childAddr: Any) -> None:  # noqa: N802, N803
        """Thespian looks for liveness here; `bury` has."""


def _nothing(_number: int, _frame: Any) -> None:
    """A Python-level handler must exist, or the wakeup descriptor is not written."""


class UnixAdmin(Parent, MultiProcAdmin):  # type: ignore[misc]
    """Thespian's admin: parent of the root, and nothing else. It ends with it."""

    def _told(self, pid: int, status: int) -> None:
        super()._told(pid, status)
        if not self._bodies:
            self.transport.flush(0.5)
            leave(0)


_FOR_THE_ACTOR = (ActorExitRequest, WakeupMessage, WatchMessage)
"""Of Thespian's own messages, those that an actor of ours handles alone; it ends its process by itself."""


class UnixManager(Parent, MultiProcManager):  # type: ignore[misc]
    """Thespian's host of one actor, without its detours on the way of a message."""

    def _createInstance(self) -> None:  # noqa: N802
        try:
            self.actorInst = self._actorClass()
        except BaseException:  # a start error like any other: with its traceback
            leave_words(self.transport.my_path, Words("failed", traceback.format_exc(limit=-20)))
            raise
        self.actorInst._myRef = self

    def actor_send(self, targetAddr: Any, msg: Any) -> None:  # noqa: N803
        try:
            self.transport.post(targetAddr, msg)
        except AttributeError:  # an address that only Thespian's table can translate, from createActor
            super().actor_send(targetAddr, msg)

    def handleMessages(self, envelope: Any) -> Any:  # noqa: N802
        message = envelope.message
        if type(message).__module__.startswith("thespian.") and not isinstance(message, _FOR_THE_ACTOR):
            return super().handleMessages(envelope)
        result = self.actorInst.receiveMessage(message, envelope.sender)
        self.transport.set_watch(result.filenos if result is not None and hasattr(result, "filenos") else [])
        return True


def live(parent: Parent, actor_class: Any, name: str, endpoint: Endpoint, parent_pid: int) -> None:
    """The whole life of an actor's process. Never returns."""
    status = EXIT_FAILED
    try:
        parent.transport.forget()
        birth({endpoint.listener.fileno(), *parent.keep_fds}, parent_pid, name)
        transport = UnixTransport(endpoint)
        manager = UnixManager(
            actor_class,
            None,
            transport,
            None,
            None,
            endpoint.parent,
            parent._adminAddr,
            None,
            parent.capabilities,
            None,
            None,
        )
        manager.asLogger = address_at(
            f"{endpoint.folder}/.no-logger"
        )  # Thespian holds everything back until it knows one
        manager.init_parent(parent.keep_fds)
        manager.run()
        status = 0
    except BaseException:  # whatever it is, this process ends here and never runs its parent's code
        traceback.print_exc()
    finally:
        leave(status)


def leave(status: int) -> None:
    """End this process now, with its output written."""
    flush_streams()
    os._exit(status)


def flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()


def fill_streams() -> None:
    """A program started without standard streams gets null ones, or a socket would become somebody's stderr."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def run_admin(base: UnixBase, starter: Any, endpoint: Endpoint, parent_pid: int) -> None:
    """The life of the admin's process. Never returns."""
    status = EXIT_FAILED
    try:
        base.transport.forget()
        birth({endpoint.listener.fileno(), *base.keep_fds}, parent_pid, "admin")
        own_streams(base.output)
        own_signals()
        gc.freeze()  # what is inherited stays where it is, in pages that are shared
        transport = UnixTransport(endpoint)
        admin = UnixAdmin(transport, transport.myAddress, base.capabilities, None, None)
        admin.addrOfStarter, admin.asLogger = starter, address_at(f"{endpoint.folder}/.no-logger")
        admin.init_parent(base.keep_fds)
        admin.letters = base.letters
        transport.post(starter, EndpointConnected(0))
        admin.run()
        status = 0
    except BaseException:  # as in live()
        traceback.print_exc()
    finally:
        leave(status)


class MainTransport(UnixTransport):
    """The end of the program outside: as `UnixTransport`, and it can be cloned for a conversation of its own."""

    admin_path: str

    def external_transport_clone(self) -> MainTransport:
        endpoint = self.endpoint
        path = f"{endpoint.folder}/{secrets.token_hex(6)}"
        clone = MainTransport(Endpoint(path, listen_at(path), endpoint.folder, endpoint.key, None))
        clone.admin_path = self.admin_path
        return clone

    def getAdminAddr(self, capabilities: Any) -> Any:  # noqa: ARG002, N802
        return address_at(self.admin_path)

    @staticmethod
    def probeAdmin(address: Any) -> bool:  # noqa: N802
        return os.path.exists(path_of(address))


class UnixBase(multiprocessCommon):  # type: ignore[misc]
    """One actor system in `folder` (0700, ours alone). `letters` makes, from main's address, the first messages: dotted class -> letter."""

    def __init__(
        self, folder: str, letters: Callable[[Any], dict[str, Any]], keep_fds: frozenset[int], output: str
    ) -> None:
        thesplog_control(logging.CRITICAL + 1, False, 0)
        self.keep_fds = keep_fds
        self.output = output
        self.admin_pid = 0
        key = secrets.token_bytes(32)
        path = f"{folder}/{secrets.token_hex(6)}"
        endpoint = Endpoint(path, listen_at(path), folder, key, None)
        self.letters = letters(address_at(path))

        def make_transport(_init: ExternalInterfaceTransportInit, *_args: Any) -> MainTransport:
            transport = MainTransport(endpoint)
            transport.admin_path = f"{folder}/admin"
            return transport

        self.transportType = make_transport
        self.capabilities = {
            "Thespian ActorSystem Name": "unix",
            "Thespian ActorSystem Version": 3,
            "Thespian Watch Supported": True,
            "Process Startup Method": "fork",
        }
        try:
            super().__init__(self)
        except BaseException:  # also a Ctrl-C: an admin that was born must not stay
            if self.admin_pid:
                os.kill(self.admin_pid, signal.SIGKILL)
                os.waitpid(self.admin_pid, 0)
            raise

    def _startAdmin(self, adminAddr: Any, addrOfStarter: Any, capabilities: Any, logDefs: Any) -> None:  # noqa: ARG002, N802, N803
        mine = self.transport.endpoint
        path = path_of(adminAddr)
        endpoint = Endpoint(path, listen_at(path), mine.folder, mine.key, addrOfStarter)
        me = os.getpid()
        flush_streams()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # threads of the program stay behind; the child uses none of them
            pid = os.fork()
        if pid == 0:
            run_admin(self, addrOfStarter, endpoint, me)
        endpoint.listener.close()
        self.admin_pid = pid
        answer = self.transport.run(None, timedelta(seconds=5))
        if not isinstance(getattr(answer, "message", None), EndpointConnected):
            raise InvalidActorAddress(adminAddr, "not started")


__all__ = ["EXIT_FAILED", "ActorAddress", "UnixBase", "leave"]
