"""Which commit the code is that runs: what git says of a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

GIT_S_MAX = 10.0


def commit(root: Path, *, short: bool = False) -> str:
    """The commit checked out at `root`; "" without git."""
    return _git(root, "rev-parse", *(["--short"] if short else []), "HEAD") or ""


def marked_commit(root: Path, *, mark: str, short: bool = False) -> str:
    """As `commit`, with `mark` behind it when the tree differs from it; "unknown" without git."""
    head, changed = commit(root, short=short), _git(root, "status", "--porcelain", "--untracked-files=no")
    if not head or changed is None:
        return "unknown"
    return head + (mark if changed else "")


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=GIT_S_MAX, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
