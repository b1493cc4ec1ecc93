"""Last words: how a process tells its supervisor why it ended, in a way that survives whatever it did next.

A file beside its socket, in the run's 0700 folder in memory, written before the exit and read at the burial. Words, not exit
codes, decide: only `leave()` or an obeyed stop writes "normal" or "shutdown".
"""

# ruff: noqa: PTH108, PTH123 -- plain paths: this runs in every fork

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections import defaultdict

from attrs import frozen

TEXT_CHARS_MAX = 4000
TAG_CHARS = 8


def child_path(parent_path: str, folder: str) -> str:
    """A fresh address. Its name carries its parent's tag, so that what a dead supervisor's children leave can be found."""
    return f"{folder}/{parent_path.rpartition('/')[2][-TAG_CHARS:]}.{secrets.token_hex(TAG_CHARS // 2)}"


def clear_below(path: str) -> None:
    """Remove sockets and words of every process below the dead one at `path`: they died with it, and nobody buried them."""
    folder, _, name = path.rpartition("/")
    by_parent: dict[str, list[str]] = defaultdict(list)
    for entry in os.listdir(folder):  # noqa: PTH208
        by_parent[entry.partition(".")[0]].append(entry)
    tags = [name[-TAG_CHARS:]]
    while tags:
        for entry in by_parent.pop(tags.pop(), ()):
            tags.append(entry.removesuffix(".words")[-TAG_CHARS:])
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/{entry}")


@frozen
class Words:
    word: str
    """normal, shutdown, ignore or failed."""
    text: str = ""
    ready: bool = False
    """The child had been ready."""


def leave_words(path: str, words: Words) -> None:
    """Write them for the process that lives at `path`. A full disk must not keep a process from ending."""
    body = json.dumps([words.word, words.text[-TEXT_CHARS_MAX:], words.ready])
    with contextlib.suppress(OSError), open(f"{path}.words", "w", encoding="utf-8") as file:
        file.write(body)


def take_words(path: str) -> Words | None:
    """Read and remove what the dead process at `path` left, and its socket. None: it had no time for words."""
    with contextlib.suppress(OSError):
        os.unlink(path)
    name = f"{path}.words"
    try:
        with open(name, encoding="utf-8") as file:
            word, text, ready = json.loads(file.read())
    except (OSError, ValueError, TypeError):
        return None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)
    return Words(str(word), str(text), bool(ready))
