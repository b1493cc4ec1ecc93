#!/usr/bin/env python3
"""Bulkhead's only door: makes or repairs .venv from the hashed lock, then hands over to cli/. Standard library only.

    python3 run.py run      trade on paper, on an embedded simulated Coinbase
    python3 run.py test     the test suite

This file must load on any Python 3, so that an old one gets a sentence instead of a syntax error.
"""

import os
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
SUPPORTED = ((3, 11), (3, 12), (3, 13))
TESTERS = ("test", "gate")  # these need the tests' own packages too


def give_up(sentence):
    sys.stderr.write("run.py: %s\n" % sentence)
    sys.exit(2)


def main():
    if sys.version_info[:2] not in SUPPORTED:
        give_up("needs Python 3.11, 3.12 or 3.13, this is %d.%d (%s)" % (sys.version_info[:2] + (sys.executable,)))
    sys.path[0] = ROOT
    from cli.bootstrap import VENV, CannotInstallError, ensure

    tests = sys.argv[1:2] and sys.argv[1] in TESTERS
    try:
        python = ensure(["requirements-dev.lock"] if tests else ["requirements.lock", "requirements-dev.lock"])
    except CannotInstallError as error:
        give_up(error)
    if os.path.realpath(sys.prefix) != os.path.realpath(str(VENV)):
        os.execv(str(python), [str(python), os.path.abspath(__file__)] + sys.argv[1:])
    from cli.main import main as command_line

    sys.exit(command_line())


if __name__ == "__main__":
    main()
