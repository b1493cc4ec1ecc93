"""Exit codes and the one way a command gives up: a sentence on stderr."""

from __future__ import annotations

OK, FAILED, USAGE, UNSAFE = 0, 1, 2, 3


class UsageError(Exception):
    """Wrong words or configuration: exit 2."""

    code = USAGE


class FailedError(UsageError):
    """A check failed, or orders may be live: exit 1."""

    code = FAILED


class UnsafeError(UsageError):
    """Unsafe to start: exit 3."""

    code = UNSAFE
