"""`run.py check-config`: the effective configuration, its hash, and everything that is wrong with it at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("check-config")(check_config)


def check_config(
    env: Annotated[str, typer.Option(help="staging or production.")] = "staging",
    mode: Annotated[str | None, typer.Option(help="As for run.")] = None,
    config: Annotated[list[Path] | None, typer.Option(help="A further YAML layer.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="key=value")] = None,
    effective: Annotated[bool, typer.Option("--effective", help="Print every effective value.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Check the configuration as run would. Exit 2 with every problem, its numbers, file and line."""
    from cli.plans import load_or_explain
    from config.loader import unstructure

    loaded = load_or_explain(env, mode, config or [], set_ or [])
    values = unstructure(loaded.config)
    if as_json:
        print(json.dumps({"hash": loaded.hash, "env": env, "config": values}, indent=1))
        return
    print(f"{env}: usable, hash {loaded.hash}")
    if effective:
        from io import StringIO

        from ruamel.yaml import YAML

        out = StringIO()
        YAML(typ="safe", pure=True).dump(values, out)
        print(out.getvalue(), end="")
