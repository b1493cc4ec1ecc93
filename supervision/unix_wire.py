"""What two processes agree on: addresses, sockets, the hello that proves a sender, and the frame of a message."""

# ruff: noqa: PTH119 -- plain paths: this runs in every fork

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import socket
import struct
import time
from typing import Any, Final

from thespian.actors import ActorAddress

FRAME_BYTES_MAX: Final = 8 << 20
PATH_BYTES_MAX: Final = 107
"""sun_path of Linux without its final zero."""
TOKEN_BYTES: Final = 16
HELLO: Final = struct.Struct(f"<{TOKEN_BYTES}sH")
FRAME: Final = struct.Struct("<IQ")
"""Length of the pickle; CLOCK_MONOTONIC in ns when it was handed over, which makes the age of a mailbox visible."""


class UnixAddress:
    """A socket's path. Unlike a port it is never used again."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnixAddress) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __str__(self) -> str:
        return f"(U|{os.path.basename(self.path)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return UnixAddress, (self.path,)


def address_at(path: str) -> Any:
    return ActorAddress(UnixAddress(path))


def path_of(address: Any) -> str:
    path: str = address.addressDetails.path
    return path


def listen_at(path: str) -> socket.socket:
    """A listening socket; made by the parent before the fork, so that mail for a child is taken from its first instant."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(path)
    listener.listen(4096)
    return listener


def listens_at(path: str) -> bool:
    """Whether a process still holds the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        return probe.connect_ex(path) in (0, errno.EAGAIN)


def token_for(key: bytes, receiver: str, sender: str) -> bytes:
    return hashlib.blake2b(f"{receiver}\0{sender}".encode(), key=key, digest_size=TOKEN_BYTES).digest()


def framed(message: object) -> bytes:
    """One message as bytes.

    :raises ValueError: it is larger than FRAME_BYTES_MAX.
    """
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(
            f"message {type(message).__name__} has {len(body)} bytes, more than {FRAME_BYTES_MAX}: send less, or a path"
        )
    return FRAME.pack(len(body), time.monotonic_ns()) + body


class Endpoint:
    """What a process needs to speak: its own socket and the run's key. `letter` is its first message."""

    def __init__(
        self, path: str, listener: socket.socket, folder: str, key: bytes, parent: Any, letter: Any = None
    ) -> None:
        self.path = path
        self.listener = listener
        self.folder = folder
        self.key = key
        self.parent = parent
        self.letter = letter
