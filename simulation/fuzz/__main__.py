"""`run.py fuzz`: the deterministic fault simulation on the virtual stage.

    fuzz --seeds N            the traps of every protection, E (quick), N short random schedules, a few long ones
    fuzz --seed K             one schedule again, byte for byte, with its timeline
    fuzz --without NAME       one protection taken out: exits 1 and names the invariant that notices
    fuzz --mode D|E|R|L       one mode only: the traps, exhaustive, random, long; --full: E at every boundary, and in pairs

Exit codes: 0 no violation, 1 an invariant was broken, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simulation.fuzz import campaign
from simulation.fuzz.campaign import Failure, Tally
from simulation.fuzz.play import play
from simulation.fuzz.schedule import Schedule, long, short
from simulation.fuzz.shrink import describe, shrink, timeline
from simulation.work_tree import marked_commit
from trading.protections import PROTECTIONS, Protections


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        protections = Protections().without(*options.without)
    except ValueError as error:
        print(f"--without: {error}", file=sys.stderr)
        return 2
    if options.seeds < 0 or options.jobs < 1:
        print("--seeds must be 0 or more and --jobs 1 or more", file=sys.stderr)
        return 2
    if sentence := _trace_problem(options):
        print(f"--trace {options.trace}: {sentence}", file=sys.stderr)
        return 2
    if options.seed is not None:
        return _one(options, protections)
    campaign.ended.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    tally, at = Tally(), commit()
    for part in _campaigns(options, protections):
        tally.add(part)
        tally.elapsed_s += part.elapsed_s
        if campaign.ended.is_set() or (tally.failures and not options.keep_going):
            break
    _line("")
    return _report(options, protections, tally, at)


def _trace_problem(options: argparse.Namespace) -> str:
    """Why the trace cannot be written, found out before anything is played; "" when it can."""
    if options.trace is None:
        return ""
    if options.seed is None:
        return "it holds one schedule's trace, so it goes with --seed K"
    try:
        options.trace.write_text("")
    except OSError as error:
        return f"cannot be written ({error.strerror}); name a file in a folder that exists"
    return ""


def _end(number: int, _frame: object) -> None:
    """The first signal ends the run with a report of what was played, a second one at once."""
    campaign.ended.set()
    signal.signal(number, signal.SIG_DFL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py fuzz", description="The deterministic fault simulation.")
    parser.add_argument("--seeds", type=int, default=500, metavar="N", help="how many random schedules (default 500)")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, default=None, metavar="K", help="play one seed again and show its timeline")
    parser.add_argument(
        "--without", action="append", default=[], metavar="PROTECTION", help=f"take one out: {', '.join(PROTECTIONS)}"
    )
    parser.add_argument("--mode", choices=("D", "E", "R", "L", "all"), default="all")
    parser.add_argument("--full", action="store_true", help="mode E at every boundary, and every pair of crashes")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument(
        "--for",
        dest="for_s",
        type=float,
        default=None,
        metavar="SECONDS",
        help="begin nothing new after so long, per mode",
    )
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first failure")
    parser.add_argument("--trace", type=Path, default=None, metavar="FILE", help="with --seed: write the whole trace")
    parser.add_argument("--json", action="store_true")
    return parser


def _campaigns(options: argparse.Namespace, protections: Protections) -> Any:
    stop = not options.keep_going
    progress = None if options.json or not sys.stderr.isatty() else _progress
    common = {"jobs": options.jobs, "stop": stop, "for_s": options.for_s, "progress": progress}
    if options.mode in ("D", "all"):
        yield campaign.traps(protections, tuple(options.without), **common)
    if options.mode in ("E", "all"):
        yield campaign.exhaustive(protections, every=options.full, pairs=False, **common)
        if options.full:
            yield campaign.exhaustive(protections, every=False, pairs=True, **common)
    if options.mode in ("R", "all"):
        yield campaign.seeds("R", options.first, options.seeds, protections, **common)
    if options.mode == "L" or (options.mode == "all" and not options.without):
        count = options.seeds if options.mode == "L" else max(1, options.seeds // 500)
        yield campaign.seeds("L", options.first, count, protections, **common)


def _one(options: argparse.Namespace, protections: Protections) -> int:
    schedule = long(options.seed) if options.mode == "L" else short(options.seed)
    played = play(schedule, protections, trace=True)
    if options.trace is not None:
        options.trace.write_text("\n".join(played.trace) + "\n")
    violations = [str(v) for v in played.violations]
    if options.json:
        row = {
            "seed": options.seed, "commit": commit(), "violations": violations, "trace_sha256": played.trace_hash,
            "deliveries": played.deliveries, "exit": int(bool(violations)),
        }  # fmt: skip
        print(json.dumps(row))
        return int(bool(violations))
    print("\n".join(describe(schedule)))
    print()
    print("\n".join(timeline(schedule, protections)))
    print(f"\n{played.deliveries} deliveries, trace sha256 {played.trace_hash}")
    print("\n".join(violations) or "no violation")
    return int(bool(violations))


def _report(options: argparse.Namespace, protections: Protections, tally: Tally, at: str) -> int:
    failure = tally.failures[0] if tally.failures else None
    rate = tally.total / tally.elapsed_s if tally.elapsed_s else 0.0
    row = {
        "commit": at, "without": options.without, "schedules": dict(tally.schedules), "total": tally.total,
        "schedules_per_s": round(rate, 1), "messages_per_s": round(tally.deliveries / max(tally.elapsed_s, 1e-9)),
        "deliveries": tally.deliveries, "checks": tally.checks, "faults": tally.faults, "posts": tally.posts,
        "orders": tally.orders, "fills": tally.fills, "elapsed_s": round(tally.elapsed_s, 1), "failures": len(tally.failures),
        "invariant": failure.invariant if failure else None, "seed": failure.schedule.seed if failure else None,
        "mode": failure.schedule.mode if failure else None, "needed": tally.needed, "interrupted": campaign.ended.is_set(), "exit": int(failure is not None),
    }  # fmt: skip
    if options.json:
        row["coverage"] = {"/".join(key): n for key, n in sorted(tally.coverage.items())}
        row["violations"] = [f"{f.schedule.mode} {f.schedule.seed}: {f.text}" for f in tally.failures[:20]]
        print(json.dumps(row))
        return int(failure is not None)
    modes = ", ".join(f"{n} {mode}" for mode, n in tally.schedules.items())
    print(
        f"{tally.total} schedules ({modes}) in {tally.elapsed_s:.1f} s: {rate:.0f}/s, {row['messages_per_s']} messages/s on {options.jobs} processes"
    )
    print(
        f"{tally.faults} faults, {tally.posts} POSTs, {tally.orders} orders, {tally.fills} fills, {tally.checks} checks"
    )
    if campaign.ended.is_set():
        print("interrupted: this is what was played until then")
    _coverage(tally)
    if options.without and failure is None:
        print(f"without {', '.join(options.without)}: nothing noticed it in {tally.total} schedules")
    if failure is None:
        print("no violation")
        return 0
    _explain(options, protections, tally, failure)
    return 1


def _coverage(tally: Tally) -> None:
    """(machine, message, boundary, fault) combinations: how many there are, and the rarest."""
    if not tally.coverage:
        return
    enough = sum(n >= 100 for n in tally.coverage.values())
    print(
        f"coverage: {len(tally.coverage)} combinations of machine, message, boundary and fault, {enough} of them at least 100 times"
    )
    by_role: dict[str, int] = {}
    for (role, *_), n in tally.coverage.items():
        by_role[role] = by_role.get(role, 0) + n
    print("  " + ", ".join(f"{role} {n}" for role, n in sorted(by_role.items())))


def _explain(options: argparse.Namespace, protections: Protections, tally: Tally, failure: Failure) -> None:
    print(f"\n{failure.text}")
    modes = {"D": "a trap of mode D", "E": "a life of mode E"}
    where = modes.get(failure.schedule.mode, f"seed {failure.schedule.seed}")
    print(
        f"{where}, commit {commit()}, after {tally.needed} schedules"
        + (f", without {', '.join(options.without)}" if options.without else "")
    )
    if failure.schedule.mode not in modes:
        print(
            f"again: run.py fuzz --seed {failure.schedule.seed} --mode {failure.schedule.mode}"
            + "".join(f" --without {w}" for w in options.without)
        )
    smallest: Schedule = shrink(play(failure.schedule, protections), protections).schedule
    print("\nthe smallest schedule found that breaks it:")
    print("\n".join(describe(smallest)))
    print("\nwhat happened:")
    print("\n".join(timeline(smallest, protections)))


def _progress(tally: Tally) -> None:
    rate = tally.total / tally.elapsed_s if tally.elapsed_s else 0.0
    _line(f"{tally.total} schedules, {rate:.0f}/s, {len(tally.failures)} failures")


def _line(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<70}", end="" if text else "\r", file=sys.stderr, flush=True)


def commit() -> str:
    """The commit that plays, with + when the tree differs from it; "unknown" without git."""
    return marked_commit(Path(__file__).parent, mark="+", short=True)


if __name__ == "__main__":
    raise SystemExit(main())
