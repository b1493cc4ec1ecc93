"""What a schedule lets happen to a world: people, the market, and the faults that have a time. One method an item (`_do_<what>`)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from simulation.fuzz.scripted import Trigger
from simulation.fuzz.venue import FuzzVenue
from simulation.stage import VirtualStage
from simulation.store import Copy, KillStore
from trading.messages.control import Engage, OperatorOrder, Pause, Rearm, Resume, StopAsked
from trading.product import Product
from trading.values import base_currency

PERSON = "fuzz"
PUT_BACK_S = 230.0
"""How long a person takes to put an older copy of the book in its place: the runbook asks for four minutes."""


class Happenings:
    """The world's half that is driven by items; `World` declares and fills what is used here."""

    stage: VirtualStage
    venue: FuzzVenue
    kill_store: KillStore
    products: dict[str, Product]
    prices: dict[str, Decimal]
    hooks: list[Callable[[str], None]]
    deaf_until: float
    quiet_until: float
    main_awake_since: float
    stop_asked_boot_s: float | None
    risk_factor: int
    risk_blind: bool
    lost_book: bool
    adopting_run: int
    backup: Copy
    next_run_boot_s: float
    _commands: int
    _main_gone: bool

    def _quote(self, product_id: str) -> None:
        raise NotImplementedError

    def _do_propose(self, product: str, notional: Decimal, post_only: bool, ttl_s: float, stamp: str) -> None:
        if product in self.products:
            trigger = Trigger(stamp=stamp, notional_usd=notional, post_only=post_only, ttl_s=ttl_s)
            self.stage.post(f"symbol:{product}", trigger)

    def _do_move(self, product: str, bps: int) -> None:
        if product in self.prices:
            tick = self.products[product].price_increment
            moved = self.prices[product] * (10_000 + bps) / 10_000
            self.prices[product] = (moved // tick) * tick
            self._quote(product)

    def _do_kill(self, role: str) -> None:
        self.stage.kill(role)

    def _do_stop(self, role: str, seconds: float) -> None:
        process = self.stage.processes.get(role)
        if process is not None:
            self.stage.stop(role)
            self.stage.after(seconds, lambda: self.stage.resume(process))

    def _do_replace(self, role: str) -> None:
        """A supervisor takes a stopped process for dead and starts another: the role lock must hold it back."""
        old = self.stage.processes.get(role)
        if old is not None and old.works:
            self.stage.stop(role)
            self.stage.replace(role)
            self.stage.after(1.5, lambda: self.stage.resume(old))
            self.stage.after(2.5, lambda: self.stage.end(old, "killed at last"))

    def _do_root_stop(self, seconds: float) -> None:
        """SIGSTOP to root and main: everybody else runs on."""
        for role in ("main", "root"):
            process = self.stage.processes.get(role)
            if process is not None and process.alive:
                process.stopped = True
                self.main_awake_since = self.stage.boot_s + seconds
                self.stage.after(seconds, lambda process=process: self.stage.resume(process))  # type: ignore[misc]

    def _do_disk(self, role: str, code: int, seconds: float) -> None:
        if role == "kill_switch":
            self.kill_store.record_fails = code
        else:
            self.stage.store(role).fail = code
        self.stage.after(seconds, lambda: self._heal_disk(role))

    def _heal_disk(self, role: str) -> None:
        self.stage.store(role).fail = None
        self.kill_store.record_fails = self.kill_store.file_fails = None

    def _do_lose(self, role: str) -> None:
        self._forget(role)
        self._hook("lost")

    def _do_adopt(self) -> None:
        """The whole bot dies with its book, and a person starts the next run with --adopt-from-venue."""
        self.stage.kill("main", reason="dies with its book")
        self._forget("oms")
        self.adopting_run = self.stage.run_number + 1
        self._hook("adopted")

    def _do_back_up(self) -> None:
        self.backup = self.stage.store("oms").copy()

    def _do_put_back(self) -> None:
        """The whole bot dies, a person puts a copy of the book in its place and starts again when nothing can be on its way."""
        self.stage.kill("main", reason="an older copy of its book is put back")
        self._end_lingering("oms", "its store is replaced")
        self._hook("putting back")
        self.stage.store("oms").put_back(self.backup)
        self.next_run_boot_s = self.stage.boot_s + PUT_BACK_S
        self._hook("put back")

    def _forget(self, role: str) -> None:
        self._end_lingering(role, "its store is lost")
        self.stage.kill(role, reason="its store is lost")
        self.stage.store(role).lose()
        self.lost_book = True

    def _end_lingering(self, role: str, reason: str) -> None:
        """Else it would write what it remembers into a file that another has put there."""
        for old in [p for p in self.stage.lingering if p.role == role]:
            self.stage.end(old, reason)

    def _do_distrust(self, role: str, seconds: float) -> None:
        self.stage.distrusted[role] = True
        self.stage.after(seconds, lambda: self._trust(role))

    def _trust(self, role: str) -> None:
        self.stage.distrusted.pop(role, None)

    def _do_deaf(self, seconds: float) -> None:
        """The user channel's connection stays open and nothing arrives; its session must notice."""
        self.deaf_until = self.stage.boot_s + seconds

    def _do_blackhole(self, seconds: float) -> None:
        self.venue.answers = False
        self.stage.after(seconds, self._light)

    def _light(self) -> None:
        self.venue.answers = True
        self.venue.last_failure_boot_s = self.stage.boot_s

    def _do_quiet(self, seconds: float) -> None:
        self.quiet_until = self.stage.boot_s + seconds

    def _do_killall(self) -> None:
        self.stage.kill("guardian")
        self.stage.kill("main")

    def _do_sigterm(self, _: object = None) -> None:
        self.stop_asked_boot_s = self.stage.boot_s
        self.stage.post("main", StopAsked(reason="SIGTERM"))

    def _command(self) -> str:
        self._commands += 1
        return f"command-{self._commands}"

    def _hook(self, what: str) -> None:
        for hear in self.hooks:
            hear(what)

    def _do_engage(self, _: object = None) -> None:
        self.stage.post("kill_switch", Engage(command_id=self._command(), name=PERSON, cause="drill", source="ctl"))

    def _do_rearm(self, _: object = None) -> None:
        self.stage.post("kill_switch", Rearm(command_id=self._command(), name=PERSON, cause="checked"))

    def _do_touch_file(self, _: object = None) -> None:
        """Somebody makes the file; inotify tells the role, if it lives."""
        self.kill_store.touch_file("by hand")
        self._hook("kill")
        self.stage.post(
            "kill_switch", Engage(command_id=self._command(), name="", cause="file KILL_SWITCH", source="file"), 0.05
        )

    def _do_delete_file(self, _: object = None) -> None:
        self.kill_store.delete_file()
        self._hook("kill")

    def _do_pause(self, _: object = None) -> None:
        self.stage.post("kill_switch", Pause(command_id=self._command(), name=PERSON, cause="lunch"))
        self.stage.post("kill_switch", Resume(command_id=self._command(), name=PERSON, cause="back"), 3.0)

    def _do_flatten(self, _: object = None) -> None:
        self._order("flatten", ())

    def _do_ban(self, product: str) -> None:
        self._order("ban", (("symbol", product), ("flag", "fuzz")))

    def _do_exit(self, product: str) -> None:
        self._order("exit", (("symbol", product),), owner="exits")

    def _do_cancel_all(self, _: object = None) -> None:
        self._order("cancel", (("id", "all"),))

    def _do_adopt_coins(self, product: str) -> None:
        self._order("adopt", (("symbol", product), ("size", "0.004")))

    def _order(self, verb: str, args: tuple[tuple[str, str], ...], owner: str = "oms") -> None:
        self.stage.post(
            owner, OperatorOrder(command_id=self._command(), verb=verb, name=PERSON, cause="fuzz", args=args)
        )

    def _do_reduce(self, product: str, part: float) -> None:
        """Another hand sells or withdraws a part of the coins."""
        wallets = self.venue.engine.wallets
        base = base_currency(product)
        if base in wallets.by_currency:
            wallet = wallets.by_currency[base]
            size = wallet.available * Decimal(str(part))
            wallet.total -= size
            self.venue.taken[product] = self.venue.taken.get(product, Decimal(0)) + size

    def _do_trade(self, product: str, size: Decimal) -> None:
        """The street sells so much into the bids: what rests of ours is filled in part."""
        if product in self.prices:
            self.venue.trade(product, self.prices[product] * Decimal("0.999"), size, "BUY")

    def _do_wrong_risk(self, factor: int) -> None:
        """Risk's arithmetic is wrong from now on: what it approves is so many times too large."""
        self.risk_factor = factor

    def _do_blind_risk(self) -> None:
        self.risk_blind = True

    def _do_gone(self) -> None:
        """The whole bot dies and nobody starts it again; the guardian, a program of its own, lives."""
        self._main_gone = True
        self.stage.kill("main")

    def _do_hold(self, _: object = None) -> None:
        """A pause that lasts."""
        self.stage.post("kill_switch", Pause(command_id=self._command(), name=PERSON, cause="lunch"))

    def _do_never(self, role: str) -> None:
        """A role that dies and is not started again (its supervisor's doing, not ours to judge here)."""
        self.stage.specs[role].restart = False
        self.stage.kill(role)

    def _do_deposit(self, product: str, size: Decimal) -> None:
        self.venue.engine.wallets.deposit(base_currency(product), size, self.venue.now_s)
