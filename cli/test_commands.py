"""`run.py test`: the suite, on two cores where there are as many."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Annotated

import typer

from cli.places import ROOT


def register(app: typer.Typer) -> None:
    app.command(
        "test", context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    )(test)


def test(
    context: typer.Context,
    pytest_args: Annotated[
        list[str] | None, typer.Argument(metavar="[PYTEST ARGS]", help="Passed to pytest as they are.")
    ] = None,
) -> None:
    """Run the test suite (at most 6 minutes on two cores). Arguments go to pytest."""
    arguments = [*(pytest_args or []), *context.args]
    whole = not any(not argument.startswith("-q") for argument in arguments)
    if not any(
        argument.startswith("-n") or argument in ("--collect-only", "--co", "-h", "--help", "--pdb")
        for argument in arguments
    ):
        # One more than cores: the worker that has the real bots waits most of the time.
        workers = min(2, os.cpu_count() or 1) + 1
        arguments = ["-n", str(workers), "--dist", "loadgroup", *arguments]
    if not any(argument == "-m" or "slow" in argument for argument in arguments):
        arguments = ["-m", "not slow", *arguments]
    code = subprocess.call([sys.executable, "-m", "pytest", *arguments], cwd=ROOT)
    if code == 0 and whole:
        from simulation.backtest.gate import write_stamp

        write_stamp(ROOT / "data" / "gate", ROOT, tested_configs())
    raise typer.Exit(code)


def tested_configs() -> dict[str, str]:
    """Environment -> hash of what its files make; one that is not usable here (ENV says another) was not tested."""
    from config.loader import ConfigError
    from config.schema import ENVS, load_config

    found = {}
    for env in ENVS:
        with suppress(ConfigError):
            found[env] = load_config(env).hash
    return found
