"""`run.py ctl`: the words of all its commands and the one way to ask. Everything goes through the operator's socket.

The questions stand in `ctl_questions`, the orders in `ctl_orders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import USAGE, FailedError, UsageError
from cli.places import running_data_dir
from state.locks import instance_holder
from telemetry.client import NobodyThereError, OperatorClient, RefusedError

app = typer.Typer(help="Ask or steer the running bot.", no_args_is_help=True, add_completion=False)

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The bot's data dir; default: the one that runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
Symbol = Annotated[str, typer.Argument(metavar="SYMBOL")]
Role = Annotated[str, typer.Argument(metavar="ROLE")]
Words = Annotated[list[str], typer.Argument(metavar="CAUSE...", help="Why; it is kept. Several words need no quotes.")]
Name = Annotated[str | None, typer.Option("--name", help="Who orders this; default: the login name.")]
Cause = Annotated[str | None, typer.Option("--cause", help="Why; it is kept with the order.")]


def ask(
    data_dir: Path | None, command: str, args: Mapping[str, str] | None = None, timeout_s: float = 10.0
) -> dict[str, Any]:
    """One question; the bot's absence or refusal becomes exit 1 with its sentence, wrong words exit 2."""
    folder = running_data_dir(data_dir)
    try:
        return OperatorClient(folder).ask(command, args, timeout_s)
    except RefusedError as error:
        raise (UsageError if error.code == USAGE else FailedError)(str(error)) from error
    except NobodyThereError as error:
        raise FailedError(str(error) if instance_holder(folder) is not None else nobody(folder)) from error


def nobody(folder: Path) -> str:
    return (
        f"the bot of {folder} is not running; what it traded: `run.py ctl fills|trades`, why it ended: "
        f"{folder / 'logs' / 'main.jsonl'}, what may rest at the venue: `run.py panic`"
    )
