"""The command line: one file per group, wired here. Prints and exit codes, nothing else.

Exit codes: 0 ok, 1 a check failed or orders may be live, 2 usage or configuration, 3 unsafe to start.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from cli import ctl
from cli.errors import USAGE, UsageError

INTERRUPTED = 130
WrongWordsError = typer.BadParameter.__mro__[2]
"""typer's base of every complaint about the words of a command; typer gives it no public name."""

app = typer.Typer(
    name="run.py",
    help="Bulkhead: a supervised Coinbase spot trading bot. Start with: python3 run.py run",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(ctl.app, name="ctl")


def tell_version(wanted: bool) -> None:
    if wanted:
        from cli.version import version

        print(version())
        raise typer.Exit


@app.callback()
def before(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="Which Bulkhead this is.")
    ] = False,
) -> None:
    del version


def register() -> None:
    """Each group adds its own commands; a command imports what it runs only when it runs."""
    from cli import (
        backtest_commands,
        chaos_commands,
        config_commands,
        ctl_book,
        ctl_orders,
        ctl_questions,
        gate_commands,
        log_commands,
        ops_commands,
        replay_commands,
        run_commands,
        state_commands,
        test_commands,
        venue_commands,
    )

    for group in (
        run_commands,
        backtest_commands,
        replay_commands,
        chaos_commands,
        config_commands,
        state_commands,
        venue_commands,
        test_commands,
        gate_commands,
        ops_commands,
        log_commands,
    ):
        group.register(app)
    for group in (ctl_questions, ctl_book, ctl_orders):
        group.register(ctl.app)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit code; every refusal is one sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an old terminal has no ≥: it is shown as a number, nothing fails
            stream.reconfigure(errors="backslashreplace")
    register()
    try:
        code = app(args=argv, prog_name="run.py", standalone_mode=False)
    except UsageError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return error.code
    except typer.Exit as error:
        return error.exit_code
    except WrongWordsError as error:  # type: ignore[misc]
        error.show()
        return USAGE
    except (KeyboardInterrupt, EOFError, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    return code if isinstance(code, int) else 0
