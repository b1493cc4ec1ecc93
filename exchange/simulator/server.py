"""The venue as a process: TLS sites, the beat of the market, signals, and leaving by itself.

    python -m exchange.simulator --json --data-dir DIR [--market synthetic|DIR] [--speed N] [--port N] [--from TIME] ...

With --watch-lock FILE the venue belongs to a bot: it ignores INT and HUP, and leaves when that file's flock has been free
for 60 s. Without it, Ctrl-C ends it. SIGTERM ends it always, with exit code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import gc
import json
import os
import signal
import sys
import traceback
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from exchange.simulator.assembly import Assembled, UsageError, assemble, bind, contract_line
from exchange.simulator.backdoor import BackDoor
from exchange.simulator.clock import boot_s
from exchange.simulator.gate import IDLE_CLOSE_S, Gate
from exchange.simulator.journal import JournalError
from exchange.simulator.keys import server_tls, write_private
from exchange.simulator.scenarios import SCENARIOS
from exchange.simulator.sockets import Hub

WATCH_FREE_S = 60.0
SHUTDOWN_S = 0.3


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="run.py simulator", description="A simulated venue that speaks Coinbase Advanced Trade."
    )
    found.add_argument("--port", type=int, default=0, help="REST port (default: the last run's, or a free one)")
    found.add_argument("--data-dir", default="data/simulator", help="ledger, keys, CA, clock, ports")
    found.add_argument("--market", default="synthetic", help='"synthetic", or a folder of candle CSVs')
    found.add_argument("--speed", type=float, default=1.0, help="venue seconds per real second")
    found.add_argument("--from", dest="start", default="", help="where a recording begins, e.g. 2025-10-10T18:00")
    found.add_argument(
        "--seed", type=int, default=1, help="of the synthetic market, and of the street around a recording"
    )
    found.add_argument("--scenario", default="opening", help=f"{', '.join(SCENARIOS)}, or a .json file")
    found.add_argument("--products", default="", help="of the synthetic market, e.g. BTC-USD,XRP-USD (default: five)")
    found.add_argument("--cash", default="10000", help="opening balance in each quote currency")
    found.add_argument("--json", action="store_true", help="one JSON line when ready")
    found.add_argument("--watch-lock", default="", help="leave when this file's lock has been free for 60 s")
    found.add_argument("--watch-free-s", type=float, default=WATCH_FREE_S, help="how long that is, in seconds")
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the venue until it is told to stop. Exit codes: 0 stopped, 1 broken, 2 not usable as asked, 3 its ledger is damaged."""
    args = parser().parse_args(argv)
    try:
        if args.speed <= 0:
            raise UsageError(f"--speed {args.speed:g}: must be above 0")
        try:
            cash_ok = float(args.cash) >= 0
        except ValueError:
            cash_ok = False
        if not cash_ok:
            raise UsageError(f"--cash {args.cash}: not an amount such as 10000")
        if not 0 <= args.port <= 65_535:
            raise UsageError(f"--port {args.port}: not a port")
        assembled = assemble(args)
        try:
            sockets = bind(Path(args.data_dir), args.port)
        except UsageError:
            os.close(assembled.lock)
            raise
    except (UsageError, JournalError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return error.code
    try:
        return asyncio.run(Process(args, assembled).run(sockets))
    finally:
        os.close(assembled.lock)


class Process:
    def __init__(self, args: Namespace, assembled: Assembled) -> None:
        self.args = args
        self.assembled = assembled
        self.running = assembled.running
        self.hub = Hub(self.running)
        self.stop = asyncio.Event()
        self.broken = False

    async def run(self, sockets: dict[str, Any]) -> int:
        self._signals()
        folder = Path(self.args.data_dir)
        tls, ca = server_tls(folder)
        runners = []
        for name, app in self._apps().items():
            runner = web.AppRunner(
                app, access_log=None, keepalive_timeout=IDLE_CLOSE_S, shutdown_timeout=SHUTDOWN_S, handle_signals=False
            )
            await runner.setup()
            await web.SockSite(runner, sockets[name], ssl_context=tls, backlog=256).start()
            runners.append(runner)
        self.running.backfill_trades()
        self.running.pulse()
        line = contract_line(self.assembled, {name: made.getsockname()[1] for name, made in sockets.items()}, ca)
        write_private(folder / "endpoint.json", json.dumps(line).encode())
        self._say(line)
        gc.collect()
        gc.freeze()
        tasks = [asyncio.create_task(self._beat())]
        if self.args.watch_lock:
            tasks.append(asyncio.create_task(self._watch(Path(self.args.watch_lock))))
        await self.stop.wait()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(OSError):
            (folder / "endpoint.json").unlink()
        await self.hub.close()
        await asyncio.gather(*(runner.cleanup() for runner in runners), return_exceptions=True)
        self._save()
        return 1 if self.broken else 0

    def _apps(self) -> dict[str, web.Application]:
        apps = {
            name: web.Application(client_max_size=1 << 20) for name in ("rest", "ws_market", "ws_user", "back_door")
        }
        apps["rest"].add_routes(Gate(self.running).routes())
        apps["back_door"].add_routes(BackDoor(self.running).routes())
        for host in ("market", "user"):
            serve = partial(self._serve, host=host)
            apps[f"ws_{host}"].router.add_get("/{path:.*}", serve)
        return apps

    async def _serve(self, request: web.Request, host: str) -> web.StreamResponse:
        return await self.hub.serve(request, host)

    def _save(self) -> None:
        running = self.running
        running.journal.commit(running.venue, running.now())
        running.journal.save_bars(running.candles)
        running.journal.save_fault_log(running.faults.log)
        running.journal.set_meta(venue_s=repr(running.now()), stopped="no" if self.broken else "yes")
        running.journal.close()

    async def _beat(self) -> None:
        """The market moves; a fault in here is a bug and ends the process loudly."""
        loop = asyncio.get_running_loop()
        following = loop.time()
        try:
            while True:
                self.running.pulse()
                self.hub.pulse()
                period = self.running.market.step_s / self.running.clock.speed
                following = max(following + period, loop.time())
                await asyncio.sleep(following - loop.time())
        except asyncio.CancelledError:
            raise
        except BaseException:
            traceback.print_exc()
            self.broken = True
            self.stop.set()

    async def _watch(self, path: Path) -> None:
        """Leave when nobody has held the bot's instance lock for a minute."""
        free_since: float | None = None
        while True:
            if lock_is_free(path):
                free_since = free_since if free_since is not None else boot_s()
                if boot_s() - free_since >= self.args.watch_free_s:
                    self.stop.set()
                    return
            else:
                free_since = None
            await asyncio.sleep(1.0)

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        if self.args.watch_lock:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        else:
            loop.add_signal_handler(signal.SIGINT, self.stop.set)

    def _say(self, line: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            if self.args.json:
                print(json.dumps(line), flush=True)
                return
            print(
                f"simulated venue ready: market {line['market']}, speed {line['speed']:g}, "
                f"scenario {line['scenario'] or 'none'}, {'resumed' if line['resumed'] else 'new'} account\n"
                f"  REST       https://{line['rest']}/api/v3/brokerage\n"
                f"  market     {line['ws_market']}\n  user       {line['ws_user']}\n"
                f"  back door  {line['back_door']}state\n  CA         {line['ca']}\n"
                f"  keys and all of this as JSON: {Path(self.args.data_dir) / 'endpoint.json'}",
                flush=True,
            )


def lock_is_free(path: Path) -> bool:
    """Nobody holds an flock on the file (a missing file is held by nobody)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        # Shared and at once given back: the bot's own attempt can only meet it within these microseconds.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
