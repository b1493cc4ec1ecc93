#!/usr/bin/env python3
"""Bulkhead's only door: makes or repairs .venv from the hashed lock, then hands over to cli/. Standard library only.

    python3 run.py run      trade on paper, on an embedded simulated Coinbase
    python3 run.py test     the test suite

It must load on any Python 3, so that an old one gets a sentence instead of a syntax error.
"""

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
SUPPORTED = ((3, 11), (3, 12), (3, 13))
DEVELOPERS = ("test", "gate")  # these need the tests' own packages too


def give_up(sentence):
    sys.stderr.write("run.py: " + sentence + "\n")
    sys.exit(2)


def stamp(lock):
    with open(os.path.join(ROOT, lock), "rb") as file:
        return lock + " " + hashlib.sha256(file.read()).hexdigest()


def installed(locks):
    """Whether one of `locks`, as it is now, stands complete in a .venv whose interpreter still runs."""
    try:
        with open(os.path.join(VENV, "installed"), encoding="utf-8") as file:
            return os.access(PYTHON, os.X_OK) and file.read() in [stamp(lock) for lock in locks]
    except OSError:
        return False


def install(lock):
    """Make .venv anew or bring it up to date; a failed try leaves no stamp, so the next call repairs it."""
    try:
        import venv  # noqa: F401
        import ensurepip  # noqa: F401
    except ImportError:
        give_up("this Python has no venv module; install it (Debian: apt install python3-venv) and run the same command again")
    with open(os.path.join(ROOT, lock), encoding="utf-8") as file:
        total = sum("==" in line and not line.startswith((" ", "#")) for line in file)
    sys.stderr.write("Bulkhead: installing up to %d pinned packages into .venv (first start only)\n" % total)
    if not os.access(PYTHON, os.X_OK) or subprocess.call([PYTHON, "-c", "import pip"], stderr=subprocess.DEVNULL):
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], stderr=subprocess.PIPE, universal_newlines=True)
        if made.returncode:
            give_up("cannot make %s: %s" % (VENV, (made.stderr.strip() or "unknown reason").splitlines()[-1]))
    pip = [PYTHON, "-m", "pip", "install", "--require-hashes", "--disable-pip-version-check", "--no-input", "-r", os.path.join(ROOT, lock)]
    for attempt in range(3):  # an index may be out of breath for a moment
        lines, seen = [], 0
        running = subprocess.Popen(pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        for line in running.stdout:
            lines.append(line.rstrip())
            if line.startswith(("Collecting ", "Requirement already")):
                seen += 1
                name = line.split()[1 if line.startswith("C") else 3].split("==")[0]
                if sys.stderr.isatty():
                    sys.stderr.write("\r\033[K  %d/%d  %s" % (seen, total, name))
                elif seen % 10 == 0:
                    sys.stderr.write("  %d/%d  %s\n" % (seen, total, name))
                sys.stderr.flush()
        if running.wait() == 0:
            with open(os.path.join(VENV, "installed"), "w", encoding="utf-8") as file:
                file.write(stamp(lock))
            sys.stderr.write("%s  installed\n" % ("\r\033[K" if sys.stderr.isatty() else ""))
            return
        sys.stderr.write("\n  attempt %d of 3 failed\n" % (attempt + 1))
    give_up("the packages of %s could not be installed (is a package index reachable?): %s" % (lock, ([li for li in lines if "ERROR" in li] or lines or ["pip said nothing"])[-1]))


def main():
    if sys.version_info[:2] not in SUPPORTED:
        give_up("needs Python 3.11, 3.12 or 3.13, this is %d.%d (%s)" % (sys.version_info[0], sys.version_info[1], sys.executable))
    wanted = ["requirements-dev.lock"] if sys.argv[1:2] and sys.argv[1] in DEVELOPERS else ["requirements.lock", "requirements-dev.lock"]
    if not installed(wanted):
        import fcntl

        with open(os.path.abspath(__file__), "rb") as me:
            fcntl.flock(me, fcntl.LOCK_EX)  # two first starts at once: the second waits and finds it done
            if not installed(wanted):
                try:
                    install(wanted[0])
                except KeyboardInterrupt:
                    give_up("interrupted while installing; the next call goes on")
                except OSError as error:
                    give_up("cannot write %s: %s" % (VENV, error.strerror))
    if os.path.realpath(sys.prefix) != os.path.realpath(VENV):
        os.execv(PYTHON, [PYTHON, os.path.abspath(__file__)] + sys.argv[1:])
    sys.path[0] = ROOT
    from cli.main import main as command_line

    sys.exit(command_line())


if __name__ == "__main__":
    main()
