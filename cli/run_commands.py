"""`run.py run` and what stands beside a run: panic, the simulated venue alone, the guardian alone."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.places import DATA, data_dir_of, login_name, meant_data_dir


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("panic")(panic)
    app.command(
        "simulator",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    )(simulator)
    app.command("guardian")(guardian)


def run(
    env: Annotated[str, typer.Option(help="staging or production; the ENV variable must agree.")] = "staging",
    mode: Annotated[
        str | None, typer.Option(help="dry_run, paper, shadow or live; default: the configuration's (paper).")
    ] = None,
    market: Annotated[
        str,
        typer.Option(
            help="synthetic, a folder of candle CSVs, or coinbase (public feeds, no key).",
            metavar="synthetic|DIR|coinbase",
        ),
    ] = "synthetic",
    speed: Annotated[float, typer.Option(help="How fast a simulated venue's clock runs.")] = 1.0,
    config: Annotated[list[Path] | None, typer.Option(help="A further YAML layer; may be given several times.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="One value, as in --set risk.caps.positions_max=3.", metavar="key=value"),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where this bot lives; default data/<env>-<market>.")] = None,
    for_: Annotated[
        float | None, typer.Option("--for", help="Stop in order after so many seconds.", metavar="SECONDS")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the live view.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines; the last one is the summary.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget this data dir's account and start anew (simulated venues only).")
    ] = False,
    adopt_from_venue: Annotated[
        bool, typer.Option("--adopt-from-venue", help="Start with a lost or damaged book: rebuild it from the venue.")
    ] = False,
    flatten_on_exit: Annotated[
        bool, typer.Option("--flatten-on-exit", help="Sell the bot's positions when it is stopped.")
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Where a recorded market begins, e.g. 2025-10-10T18:00.", metavar="TIME"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the synthetic market.")] = None,
    venue_line: Annotated[
        Path | None,
        typer.Option(hidden=True, help="With --market coinbase: a simulated venue's contract line to follow instead."),
    ] = None,
    strategies: Annotated[Path | None, typer.Option(help="A folder with further strategy files.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write down what every machine is told, for run.py replay.")
    ] = False,
    external_guardian: Annotated[
        bool, typer.Option("--external-guardian", help="The guardian runs as a service of its own.")
    ] = False,
    page_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the status page and /metrics on 127.0.0.1; 0: any free one.")
    ] = 0,
) -> None:
    """Start the bot. Without options: staging, paper, on an embedded simulated Coinbase with a synthetic market."""
    from cli.plans import make_plan

    plan = make_plan(
        env=env,
        mode=mode,
        market=market,
        speed=speed,
        config=config or [],
        overrides=set_ or [],
        data_dir=data_dir,
        run_for_s=for_,
        fresh=fresh,
        adopt_from_venue=adopt_from_venue,
        flatten_on_exit=flatten_on_exit,
        start=from_,
        seed=seed,
        with_guardian=not external_guardian,
        venue_line=venue_line,
        record=record,
        strategies=strategies,
        page_port=page_port,
    )
    from actors.bot import run_bot
    from telemetry.terminal import choose_view

    named = "" if plan.data_dir.parent == DATA else f" --data-dir {shlex.quote(str(plan.data_dir))}"
    view = choose_view(plan.data_dir, plain=plain, as_json=as_json, named=named)
    raise typer.Exit(run_bot(plan, view))


def panic(
    data_dir: Annotated[Path | None, typer.Option(help="The bot's data dir; default: of the one that runs.")] = None,
    env: Annotated[str | None, typer.Option(help="staging or production.")] = None,
    market: Annotated[str | None, typer.Option(help="As given to run.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "panic",
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of text.")] = False,
) -> None:
    """Engage the kill switch, cancel every order of ours. No bot needed; it goes on until the venue lists none twice."""
    from cli.panic import engage_and_sweep

    raise typer.Exit(engage_and_sweep(meant_data_dir(data_dir, env, market), login_name(), reason, as_json))


def simulator(context: typer.Context) -> None:
    """The simulated venue alone. When ready it tells its addresses (--json: one line). --help lists its options."""
    from exchange.simulator.server import main

    raise typer.Exit(main(context.args))


def guardian(
    data_dir: Annotated[Path | None, typer.Option(help="The bot's data dir.")] = None,
    env: Annotated[str, typer.Option(help="staging or production.")] = "staging",
    market: Annotated[str, typer.Option(help="As given to run.")] = "synthetic",
) -> None:
    """The dead man's switch as a service of its own. It cancels what is ours when the bot's beat stops, and does nothing else."""
    folder = data_dir_of(env, market, data_dir)
    try:  # it may be started before the bot's first run, and then waits for it
        (folder / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from error
    from actors.guardian_main import main

    raise typer.Exit(main(["--data-dir", str(folder), "--stays"]))


def emit(record: object, as_json: bool, text: str) -> None:
    """One result, as JSON or as text."""
    print(json.dumps(record) if as_json else text, file=sys.stdout)
