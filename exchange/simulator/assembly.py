"""Putting a venue together from its data dir: ledger, clock, market, keys, ports. What is kept there, and what is drawn once.

<data-dir>/ledger.sqlite   orders, fills, balances, requests, bars, moves, clock (journal.py)
ca.pem, ca.key  the certificate authority          api_keys.json   the account's keys (all keys 0600)
ports.json      the ports of the last run          endpoint.json   the contract line, when ready
venue.lock      held by the one venue that runs here
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from argparse import Namespace
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import asdict, define

from exchange.simulator.candles import Candles
from exchange.simulator.clock import VenueClock, boot_s
from exchange.simulator.journal import Journal
from exchange.simulator.keys import load_keys
from exchange.simulator.market import Market, Move
from exchange.simulator.matching import Settings, Venue
from exchange.simulator.products import DEFAULT_PRODUCTS, with_usdc_twin
from exchange.simulator.recorded import NAME, RecordedMarket, RecordingError
from exchange.simulator.running import Running
from exchange.simulator.scenarios import scenario_moves
from exchange.simulator.words import parse_time

REAL_STEP_S = 0.125
SETTLE_S, CANCEL_S = 0.5, 0.03
"""Real seconds until a fill is listed, and from an accepted cancel to its end: both are later at Coinbase too."""
PORTS = ("rest", "ws_market", "ws_user", "back_door")
MOVES_KEPT_S = 2 * 86_400.0


class UsageError(Exception):
    """The venue cannot start as asked; the text is one sentence that names the way out."""

    code = 2


@define
class Assembled:
    running: Running
    resumed: bool
    scenario: str
    lock: int


def lock_folder(folder: Path) -> int:
    """Be the only venue of this data dir, as long as the descriptor lives. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "venue.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"--data-dir {folder} cannot be written: {error.strerror}; choose another") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "?"
        os.close(descriptor)
        raise UsageError(f"--data-dir {folder} is in use by a venue with pid {holder}; choose another") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def make_market(args: Namespace) -> tuple[Market, float | None]:
    """The market asked for and, when recorded, where it begins. Raises UsageError."""
    step_s = REAL_STEP_S * args.speed
    if args.market == "synthetic":
        from exchange.simulator.synthetic import SyntheticMarket

        if args.start:
            raise UsageError("--from is for a recorded market; the synthetic one begins now")
        names = tuple(dict.fromkeys(filter(None, args.products.split(",")))) or DEFAULT_PRODUCTS
        if bad := [name for name in names if not NAME.fullmatch(name)]:
            raise UsageError(f"--products {args.products}: {bad[0]!r} is not a product such as BTC-USD")
        return SyntheticMarket(args.seed, names, step_s=step_s), None
    try:
        start = parse_time(args.start) if args.start else None
    except ValueError:
        raise UsageError(f"--from {args.start}: not a time such as 2025-10-10T18:00") from None
    try:
        market = RecordedMarket(Path(args.market), start, step_s=step_s, seed=args.seed)
    except RecordingError as error:
        raise UsageError(str(error)) from None
    return market, market.start_s


def assemble(args: Namespace) -> Assembled:
    """Everything but the sockets. Raises UsageError or JournalError, and then holds nothing."""
    folder = Path(args.data_dir)
    lock = lock_folder(folder)
    try:
        return _assemble(args, folder, lock)
    except BaseException:
        os.close(lock)
        raise


def _assemble(args: Namespace, folder: Path, lock: int) -> Assembled:
    market, begins_s = make_market(args)
    journal = Journal(folder)
    market_name = "synthetic" if begins_s is None else str(Path(args.market).resolve())
    belongs = journal.meta("market")
    if belongs not in (None, market_name):
        raise UsageError(f"--data-dir {folder} belongs to the market {belongs}; choose another for {args.market}")
    saved = journal.meta("venue_s")
    saved_s = float(saved) if saved is not None else None
    if begins_s is None:
        # Wall time is read once, as an anchor; from there on only the boot clock counts.
        now_s = max(time.time(), saved_s or 0.0)
    else:
        now_s = saved_s if saved_s is not None and not args.start else begins_s
        now_s = max(now_s, saved_s or 0.0)
    clock = VenueClock(now_s, boot_s(), args.speed)
    products = [row for product in market.products() for row in with_usdc_twin(product)]
    quotes = dict.fromkeys(product.quote for product in market.products())
    venue = Venue(
        products,
        dict.fromkeys(quotes, Decimal(args.cash)),
        portfolio_uuid=journal.portfolio_uuid(),
        settings=Settings(settle_s=SETTLE_S * args.speed, cancel_s=CANCEL_S * args.speed),
        now_s=now_s,
    )
    kept = [row for row in journal.load_moves() if row.product_id in venue.products and not forgotten(row, now_s)]
    opens = (
        begins_s is None and args.scenario is not None and opens_again(journal.meta("stopped"), kept, saved_s, now_s)
    )
    for row in kept:
        if not opens or row.start_s <= (saved_s or 0.0):
            market.add_move(row)
    resumed = journal.resume(venue, now_s)
    if not resumed:
        venue.wallets.changed.update(venue.wallets.by_currency)
    candles = Candles(market)
    journal.load_bars(candles, int(now_s // 60) - 9 * 1440)
    running = Running(market=market, clock=clock, venue=venue, candles=candles, journal=journal, keys=load_keys(folder))
    moves: list[Move] = []
    if opens:
        try:
            moves = scenario_moves(args.scenario, now_s, args.speed, set(running.street_ids))
        except (ValueError, KeyError, OSError) as error:
            raise UsageError(str(error)) from None
        for move in moves:
            market.add_move(move)
    journal.save_moves(market.moves())
    journal.set_meta(market=market_name, stopped="no")
    journal.commit(venue, now_s)
    return Assembled(running, resumed, args.scenario if opens else "", lock)


def forgotten(move: Move, now_s: float) -> bool:
    """It is back at 0, and no candle that anybody asks for shows it."""
    return bool(move.points) and move.points[-1][1] == 0.0 and move.end_s < now_s - MOVES_KEPT_S


def opens_again(stopped: str | None, moves: Sequence[Move], saved_s: float | None, now_s: float) -> bool:
    """Whether a start plays its scenario. `stopped`: "yes" or "no" as the ledger says it, None: a new one.

    A venue that was killed goes on where it stood. One that was stopped goes on too while what moved the market then is
    under way: openings on top of each other would carry a price ever further from its path. What had not begun when it
    was stopped nobody has seen: the new opening takes its place.
    """
    under_way = any(move.start_s <= (saved_s or 0.0) and now_s < move.end_s for move in moves)
    return stopped != "no" and not under_way


def bind(folder: Path, chosen: int) -> dict[str, socket.socket]:
    """Listening sockets on 127.0.0.1: the chosen REST port (0: the last run's or a free one), the others likewise.

    Raises UsageError when a port the user chose is taken.
    """
    path = folder / "ports.json"
    last: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        last = json.loads(path.read_text())
    found: dict[str, socket.socket] = {}
    for name in PORTS:
        wanted = [chosen] if name == "rest" and chosen else [int(last.get(name, 0)), 0]
        for port in wanted:
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                made.bind(("127.0.0.1", port))
                made.listen(256)
            except OSError as error:
                made.close()
                if port == chosen and chosen:
                    raise UsageError(f"--port {port}: {error.strerror}; choose another, or leave it out") from None
                continue
            found[name] = made
            break
    path.write_text(json.dumps({name: made.getsockname()[1] for name, made in found.items()}))
    return found


def contract_line(assembled: Assembled, ports: dict[str, int], ca: Path) -> dict[str, Any]:
    """What a client needs to know: DESIGN section 8's line, and the clock, account and products besides."""
    running = assembled.running
    bot, guardian = running.keys[0], running.keys[1]
    return {
        "rest": f"127.0.0.1:{ports['rest']}",
        "ws_market": f"wss://127.0.0.1:{ports['ws_market']}",
        "ws_user": f"wss://127.0.0.1:{ports['ws_user']}",
        "ca": str(ca.resolve()),
        "api_key": bot.name,
        "api_secret": bot.secret,
        "back_door": f"https://127.0.0.1:{ports['back_door']}/_sim/",
        "status_page": f"https://127.0.0.1:{ports['rest']}/api/v2/summary.json",
        "t0": running.clock.t0_s,
        "boot_s": running.clock.boot0_s,
        "speed": running.clock.speed,
        "portfolio_uuid": running.venue.portfolio_uuid,
        "products": running.street_ids,
        "market": running.market.name,
        "market_ends": getattr(running.market, "end_s", None),
        "scenario": assembled.scenario,
        "resumed": assembled.resumed,
        "pid": os.getpid(),
        "guardian_api_key": guardian.name,
        "guardian_api_secret": guardian.secret,
        "keys": [asdict(key) for key in running.keys],
    }
