"""Which Bulkhead this is."""

from __future__ import annotations

import subprocess
import tomllib

from cli.places import ROOT

GIT_S_MAX = 5.0


def version() -> str:
    """`Bulkhead 0.1.0 (commit 49f431e)`; without the commit where this is no git work tree."""
    number = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    known = commit()
    return f"Bulkhead {number}" + (f" (commit {known})" if known else "")


def commit() -> str:
    """The commit checked out here; "" where nobody knows. A work tree further up is somebody else's."""
    if not (ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=GIT_S_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
