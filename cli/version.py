"""Which Bulkhead this is."""

from __future__ import annotations

import tomllib

from cli.places import ROOT
from simulation.work_tree import commit


def version() -> str:
    """`Bulkhead 0.1.0 (commit 49f431e)`; without the commit where this is no git work tree."""
    number = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    known = commit(ROOT, short=True) if (ROOT / ".git").exists() else ""  # a work tree further up is somebody else's
    return f"Bulkhead {number}" + (f" (commit {known})" if known else "")
