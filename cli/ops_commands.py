"""`run.py init`, `doctor`, `preflight`, `alert-test`: is this machine, and is this bot, fit to trade?"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import frozen

from cli.errors import FAILED, OK, FailedError, UsageError
from cli.places import ROOT, data_dir_of, meant_data_dir

TEMPLATE = """# A layer of your own: python3 run.py run --config {name}
# Say only what differs; `run.py check-config --config {name} --effective` shows what is in force.

universe:
  # Products that are never traded. A list replaces the default one (stablecoins, some memes): copy from --effective what
  # you want to keep. What stands in it may stand in no tier; take it out of universe.tiers first.
  # never: [PUMP-USD, TRUMP-USD]

risk:
  caps:
    positions_max: 3
"""
DISK_FREE_MIN = 1 << 30
FILES_MIN = 1024


def register(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command("doctor")(doctor)
    app.command("preflight")(preflight)
    app.command("alert-test")(alert_test)


@frozen(kw_only=True)
class Look:
    """One thing looked at. ok None: only a person can tell."""

    name: str
    ok: bool | None
    text: str


def init(file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("bulkhead.yaml")) -> None:
    """Write a small configuration to start from. A file that exists is never overwritten."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE.format(name=file))
    except FileExistsError as error:
        raise UsageError(f"{file} is there already and is not overwritten") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    print(f"{file} written; start with: python3 run.py run --config {file}")


def doctor(
    data_dir: Annotated[Path | None, typer.Option(help="The bot's data dir; default: of the one that runs.")] = None,
    env: Annotated[str | None, typer.Option(help="staging or production.")] = None,
    market: Annotated[str | None, typer.Option(help="As given to run.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """What would keep a bot from running well here. It looks at the machine and at the data dir."""
    report(list(machine_looks(doctored(data_dir, env, market))), as_json)


def doctored(data_dir: Path | None, env: str | None, market: str | None) -> Path:
    """The data dir to look at; unlike elsewhere it may be one that is still to be made."""
    if data_dir is not None:
        return data_dir_of(env or "staging", market or "synthetic", data_dir)
    return meant_data_dir(None, env, market)


def preflight(
    env: Annotated[str, typer.Option()] = "production",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Go through the launch checklist before real money. What a machine can check is checked; the rest of config/launch_checklist.yaml is listed."""
    from ruamel.yaml import YAML

    from cli.plans import load_or_explain
    from simulation.backtest.gate import pass_problem

    looks = list(machine_looks(data_dir_of(env, "coinbase")))
    try:
        loaded = load_or_explain(env, None, [], [])
        looks.append(Look(name="config", ok=True, text=f"usable, hash {loaded.hash}"))
        problem = pass_problem(ROOT / "data" / "gate", ROOT, loaded.hash, time.time(), env)
        looks.append(Look(name="gate", ok=not problem, text=problem or "open"))
    except UsageError as error:
        looks.append(Look(name="config", ok=False, text=str(error)))
    looks.append(key_look())
    looks.append(alert_look())
    checklist = YAML(typ="safe").load((ROOT / "config" / "launch_checklist.yaml").read_text(encoding="utf-8"))
    done = {look.name for look in looks}
    for row in checklist["machine"]:
        if row["id"] not in done:
            command = row["command"].replace("--env production", f"--env {env}")
            looks.append(Look(name=row["id"], ok=None, text=f"{row['what']}: python3 {command}"))
    looks += [Look(name=row["id"], ok=None, text=row["what"]) for row in checklist["person"]]
    report(looks, as_json)


def machine_looks(folder: Path) -> Iterator[Look]:
    yield Look(name="python", ok=True, text=sys.version.split()[0])
    yield guarded("disk", lambda: disk_look(folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Look(
        name="open files", ok=hard >= FILES_MIN, text=f"limit {soft} (may rise to {hard}); a bot wants {FILES_MIN}"
    )
    yield guarded("shared memory", shm_look)
    yield guarded("clock", clock_look)
    if folder.is_dir():
        yield guarded("data dir", lambda: data_look(folder))
        yield guarded("stores", lambda: store_look(folder))


def guarded(name: str, look: Callable[[], Look]) -> Look:
    """A look that fails is a finding, not a traceback."""
    try:
        return look()
    except Exception as error:
        return Look(name=name, ok=False, text=f"cannot be looked at: {error}")


def disk_look(folder: Path) -> Look:
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    return Look(name="disk", ok=free >= DISK_FREE_MIN, text=f"{free / 1e9:.1f} GB free at {place}")


def shm_look() -> Look:
    probe = Path("/dev/shm") / f"bulkhead-doctor-{os.getpid()}"  # noqa: S108 -- only to see whether it can be written
    probe.write_bytes(b"x")
    probe.unlink()
    return Look(name="shared memory", ok=True, text=f"{probe.parent} can be written")


def clock_look() -> Look:
    """The kernel's own word on whether the clock is disciplined (adjtimex), as `timedatectl` reads it."""
    import ctypes

    buffer = ctypes.create_string_buffer(512)
    state = ctypes.CDLL(None).adjtimex(buffer)
    synchronised = state != 5  # TIME_ERROR: the clock is not synchronised
    text = (
        "synchronised" if synchronised else "not synchronised by NTP; Coinbase refuses tokens of a clock that is ahead"
    )
    return Look(name="clock", ok=True if synchronised else None, text=text)


def data_look(folder: Path) -> Look:
    loose = folder.stat().st_mode & 0o077
    text = f"{folder}, mode {folder.stat().st_mode & 0o777:o}"
    return Look(name="data dir", ok=os.access(folder, os.W_OK) and not loose & 0o022, text=text)


def store_look(folder: Path) -> Look:
    from state.db import check, store_files

    findings = [check(path, thorough=False) for path in store_files(folder)]
    bad = [problem for finding in findings for problem in finding.problems]
    return Look(name="stores", ok=not bad, text="; ".join(bad) or f"{len(findings)} whole")


def key_look() -> Look:
    missing = [name for name in ("COINBASE_API_KEY", "COINBASE_API_SECRET") if not os.environ.get(name)]
    return Look(
        name="key",
        ok=not missing,
        text=f"not set: {', '.join(missing)}" if missing else "set; run.py smoke shows its permissions",
    )


def alert_look() -> Look:
    from telemetry.notify import URLS_ENV, alert_urls, news_urls

    count = len(alert_urls())
    news = f"; {len(news_urls())} more for news" if news_urls() else ""
    return Look(
        name="alerts",
        ok=count > 0,
        text=f"{count} channels{news}; run.py alert-test" if count else f"{URLS_ENV} is not set: nobody would be told",
    )


def report(looks: list[Look], as_json: bool) -> None:
    passed = all(look.ok is not False for look in looks)
    if as_json:
        rows: list[dict[str, Any]] = [{"name": look.name, "ok": look.ok, "text": look.text} for look in looks]
        print(json.dumps({"passed": passed, "looks": rows}))
    else:
        for look in looks:
            mark = {True: "ok  ", False: "FAIL", None: "you "}[look.ok]
            print(f"{mark}  {look.name:<14} {look.text}")
    raise typer.Exit(OK if passed else FAILED)


def alert_test(text: Annotated[str, typer.Option(help="What to say.")] = "a test alert: nothing is wrong") -> None:
    """Send one alert to every channel, also those of news. Tells what each answered."""
    from telemetry.notify import URLS_ENV, alert_urls, ask_each, news_urls

    urls = (*alert_urls(), *news_urls())
    if not urls:
        raise UsageError(
            f"{URLS_ENV} is not set, so nobody would be told. Put one or more apprise addresses there, separated by blanks, "
            f'as in {URLS_ENV}="tgram://BOT_TOKEN/CHAT_ID mailto://USER:PASSWORD@example.org"; '
            "https://github.com/caronc/apprise lists all forms"
        )
    answers = ask_each(urls, "info", "Bulkhead", text)
    for number, answer in enumerate(answers, 1):
        print(f"{'ok  ' if answer.sent else 'FAIL'}  {number}  {answer.channel}  {answer.text}".rstrip())
    refused = sum(not answer.sent for answer in answers)
    if refused:
        raise FailedError(f"{refused} of {len(answers)} channels did not take the alert")
