"""Makes or repairs .venv from the hashed lock. Standard library only: it runs before anything is installed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
ATTEMPTS = 3


class CannotInstallError(Exception):
    """One sentence: what is missing and the way out."""


def ensure(locks: list[str]) -> Path:
    """The interpreter of a .venv that holds one of `locks` complete; the first is installed when none is. Raises CannotInstallError."""
    if installed(locks):
        return PYTHON
    with (ROOT / "run.py").open("rb") as door:
        fcntl.flock(door, fcntl.LOCK_EX)  # two first starts at once: the second waits and finds it done
        if not installed(locks):
            try:
                install(ROOT / locks[0])
            except KeyboardInterrupt:
                raise CannotInstallError("interrupted while installing; the next call goes on") from None
            except OSError as error:
                raise CannotInstallError(f"cannot write {VENV}: {error.strerror}") from error
    return PYTHON


def stamp(lock: Path) -> str:
    return f"{lock.name} {hashlib.sha256(lock.read_bytes()).hexdigest()}"


def installed(locks: list[str]) -> bool:
    try:
        return os.access(PYTHON, os.X_OK) and STAMP.read_text() in [stamp(ROOT / lock) for lock in locks]
    except OSError:
        return False


def install(lock: Path) -> None:
    """A failed try leaves no stamp, so the next call repairs it."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise CannotInstallError(
            "this Python has no venv module; install it (Debian: apt install python3-venv) and run the same command again"
        ) from None
    total = sum("==" in line and not line.startswith((" ", "#")) for line in lock.read_text().splitlines())
    say(f"Bulkhead: installing up to {total} pinned packages into .venv (first start only)\n")
    STAMP.unlink(missing_ok=True)
    if not os.access(PYTHON, os.X_OK) or subprocess.call([PYTHON, "-c", "import pip"], stderr=subprocess.DEVNULL):
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False
        )
        if made.returncode:
            reason = (made.stderr or made.stdout).strip().splitlines() or ["no reason given"]
            raise CannotInstallError(f"cannot make {VENV}: {reason[-1]}")
    for attempt in range(1, ATTEMPTS + 1):  # an index may be out of breath for a moment
        lines = pip(lock, total)
        if lines is None:
            STAMP.write_text(stamp(lock))
            say(("\r\033[K" if sys.stderr.isatty() else "") + "  installed\n")
            return
        say(f"\n  attempt {attempt} of {ATTEMPTS} failed\n")
    reasons = [line for line in lines or () if "ERROR" in line] or lines or ["pip said nothing"]
    raise CannotInstallError(
        f"the packages of {lock.name} could not be installed (is a package index reachable?): {reasons[-1]}"
    )


def pip(lock: Path, total: int) -> list[str] | None:
    """None when all is installed, else what pip said."""
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--require-hashes",
        "--disable-pip-version-check",
        "--no-input",
        "-r",
        str(lock),
    ]
    lines: list[str] = []
    seen = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line.rstrip())
            if line.startswith(("Collecting ", "Requirement already")):
                seen += 1
                name = line.split()[1 if line.startswith("C") else 3].split("==")[0]
                if sys.stderr.isatty():
                    say(f"\r\033[K  {seen}/{total}  {name}")
                elif seen % 10 == 0:
                    say(f"  {seen}/{total}  {name}\n")
    return lines if running.returncode else None


def say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
