"""`run.py chaos` and `run.py fuzz`: the two machines that try to break the bot, on real and on simulated processes."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import FAILED, OK
from cli.places import made_folder


def register(app: typer.Typer) -> None:
    app.command("chaos")(chaos)
    app.command(
        "fuzz", context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    )(fuzz)


def chaos(
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for", min=0.0, help="How long to strike (default 120); with --storm: at most (1800).", metavar="SECONDS"
        ),
    ] = None,
    storm: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many orders through lost, late and refused answers, with kills.", metavar="ORDERS"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeat a run's blows; default: drawn, and printed.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the bot lives; default: a new folder that is removed when all was well.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Real processes, real kills, against the simulated venue. Exit 1 names what did not hold."""
    from simulation.chaos.run import Chaos
    from simulation.chaos.storm import Storm

    drawn = seed if seed is not None else secrets.randbelow(1_000_000)
    folder = made_folder(data_dir, "--data-dir") if data_dir else Path(tempfile.mkdtemp(prefix="bulkhead-chaos-"))
    began = time.monotonic()

    def tell(text: str) -> None:
        if not as_json:
            print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    if storm is None:
        run = Chaos(folder, drawn, seconds or 120.0, tell)
    else:
        run = Storm(folder, drawn, seconds or 1800.0, tell, orders_wanted=storm)
    run.run()
    report = run.report()
    if as_json:
        print(json.dumps({**report, "data_dir": str(folder)}))
    else:
        blows = ", ".join(f"{name} {count}" for name, count in sorted(report["blows"].items()))
        print(
            f"{blows or 'no blow'}; {report['checks']} checks, {report['orders']} orders, {report['fills']} fills, at most {report['exposure_usd_max']} USD in one product; slowest recovery {report['slowest_recovery_s']} s"
        )
        for violation in report["violations"]:
            print(f"VIOLATED {violation}")
        print(
            "all invariants held"
            if not report["violations"]
            else f"repeat with --seed {drawn}; everything is kept in {folder}"
        )
    if not report["violations"] and data_dir is None:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(FAILED if report["violations"] else OK)


def fuzz(context: typer.Context) -> None:
    """The deterministic fault simulation on the virtual stage. --help lists its options."""
    from simulation.fuzz.__main__ import main

    raise typer.Exit(main(context.args))
