"""A schedule is data: what the market and people do, and which faults fall when. The same data is the same run.

Every item can be taken out without changing what the others mean, which is what makes shrinking work: chances inside
the run are drawn per purpose from the seed, never from one stream that an item's absence would shift.
"""

from __future__ import annotations

import random
from decimal import Decimal

from attrs import evolve, field, frozen

from exchange.simulator.execution import Settings
from simulation.fuzz.feeds import FRAME_FATES
from simulation.fuzz.venue import Fate

PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
ALL_PRODUCTS = (*PRODUCTS, "DOGE-USD", "AVAX-USD")
KILLABLE = (
    "oms",
    "gateway",
    "risk",
    "exits",
    "kill_switch",
    "health_monitor",
    "trading",
    "venue",
    "safety",
    "symbol:BTC-USD",
    "root",
)


@frozen
class Item:
    """at_s: seconds after the start (0 for what is counted, not timed). args: plain values, as the world reads them."""

    at_s: float
    what: str
    args: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{self.at_s:8.3f} s  {self.what} {' '.join(str(a) for a in self.args)}".rstrip()


@frozen(kw_only=True)
class Quirks:
    """How this venue and this host behave in this schedule (protocol section 3, last paragraph)."""

    pending_s: float = 0.0
    cancel_s: float = 0.0
    settle_s: float = 0.3
    listing_lag_s: float = 0.0
    duplicate_answer: str = "existing"
    dedupe_before_validation: bool = True
    client_id_retention_s: float | None = None
    forget_refusals: bool = True
    there_s: float = 0.02
    mail_s: float = 0.0005
    speed: float = 1.0
    update_chance: float = 1.0  # how many of the user channel's updates arrive
    update_twice: float = 0.0
    update_s: float = 0.05
    market_session: bool = False  # quotes come as frames through a market feed's session, too
    flatten_on_exit: bool = False

    def engine(self) -> Settings:
        return Settings(
            pending_s=self.pending_s,
            cancel_s=self.cancel_s,
            settle_s=self.settle_s,
            listing_lag_s=self.listing_lag_s,
            duplicate_answer=self.duplicate_answer,
            dedupe_before_validation=self.dedupe_before_validation,
            client_id_retention_s=self.client_id_retention_s,
            forget_refusals=self.forget_refusals,
        )


@frozen(kw_only=True)
class Schedule:
    """seed names it. safety_s: how long faults fall; heal_s: how long the healed world is watched (0: not at all)."""

    seed: int
    mode: str
    items: tuple[Item, ...]
    quirks: Quirks = field(factory=Quirks)
    products: tuple[str, ...] = PRODUCTS
    safety_s: float = 6.0
    heal_s: float = 0.0

    def faults(self) -> int:
        return sum(item.what in FAULTS for item in self.items)


AIMED_MAILS = (
    "Proposal", "Approved", "Admitted", "Refused", "Stale", "Verdict", "PlaceOrder", "OrderOutcome", "Withdraw", "CancelOrders",
    "CancelsAnswered", "Hello", "HelloAck", "Query", "Page", "OrderUpdate", "FeedReset", "ExitOrder", "ExitVerdict", "BookSnapshot",
    "KillSnapshot", "HealthSnapshot", "LatchSnapshot", "Drain", "Drained", "CommandDone", "Condition",
)  # fmt: skip
"""Messages that a schedule aims at by kind: counted over all mail, the rare ones would hardly ever be hit."""
AIMED_HANDLES = {
    "oms": ("Approved", "OrderOutcome", "OrderUpdate", "Page", "HelloAck", "CancelsAnswered", "ExitOrder", "FeedReset", "KillSnapshot", "LatchSnapshot", "OperatorOrder", "Drain", "Woke"),
    "gateway": ("PlaceOrder", "Called", "Withdraw", "CancelOrders", "Hello", "KillSnapshot", "Drain"),
    "risk": ("Proposal", "Admitted", "Refused", "Stale", "BookSnapshot", "KillSnapshot", "HealthSnapshot", "CatalogSnapshot", "UniverseSnapshot", "PeerRestarted", "Drain"),
    "exits": ("BookSnapshot", "ExitVerdict", "Quote", "KillSnapshot", "PeerRestarted", "Drain", "Woke"),
    "kill_switch": ("Engage", "Pause", "Resume", "Rearm", "Called", "PeerRestarted", "Woke"),
}  # fmt: skip
"""Role -> what it handles when it dies."""

PUT_BACKS = 0.002
"""Share of the schedules in which an older copy of the book is put back: each lasts six minutes."""

FAULTS = frozenset(
    {"kill", "stop", "crash", "fate", "mail", "disk", "distrust", "deaf", "blackhole", "quiet", "killall", "lose", "adopt", "put_back", "replace", "root_stop", "frame", "mail_of", "crash_on"}
)  # fmt: skip


def _fate(chance: random.Random, kind: str) -> Fate:
    pick = chance.random()
    if kind == "post":
        if pick < 0.35:
            return Fate(
                hold_s=chance.choice((0.2, 1.0, 4.0, 12.0, 45.0, 95.0, 170.0)), lose_reply=chance.random() < 0.6
            )
        if pick < 0.6:
            return Fate(lose_reply=True)
        if pick < 0.7:
            return Fate(error_after=True)
        if pick < 0.8:
            return Fate(refuse_before=chance.choice((429, 500, 503, 408)))
        if pick < 0.9:
            return Fate(no_connection=True)
        return Fate(late_reply_s=chance.choice((0.5, 3.0, 9.0, 15.0)))
    if pick < 0.4:
        return Fate(lose_reply=True)
    if pick < 0.7:
        return Fate(partial=True) if kind == "query" else Fate(error_after=True)
    if pick < 0.85:
        return Fate(refuse_before=chance.choice((429, 500)))
    return Fate(late_reply_s=chance.choice((0.5, 3.0)))


def _quirks(chance: random.Random) -> Quirks:
    lag = chance.choice((0.0, 0.0, 0.0, 0.5, 3.0, 10.0, 29.0))
    return Quirks(
        pending_s=chance.choice((0.0, 0.0, 0.05, 1.0)),
        cancel_s=chance.choice((0.0, 0.0, 0.3, 2.0)),
        settle_s=chance.choice((0.1, 0.3, 1.5)),
        listing_lag_s=lag,
        duplicate_answer=chance.choice(("existing", "reject")),
        dedupe_before_validation=chance.random() < 0.5,
        client_id_retention_s=chance.choice((None, None, 600.0, 0.0)),
        forget_refusals=chance.random() < 0.5,
        there_s=chance.choice((0.005, 0.02, 0.1)),
        mail_s=chance.choice((0.0002, 0.0005, 0.003)),
        speed=chance.choice((1.0, 1.0, 1.0, 10.0)),
        update_chance=chance.choice((1.0, 1.0, 0.7, 0.0)),
        update_twice=chance.choice((0.0, 0.3)),
        update_s=chance.choice((0.01, 0.05, 0.5)),
    )


def short(seed: int, *, heal: bool = False) -> Schedule:
    """Mode R: a few proposals and market moves in some seconds, and one to six faults among them."""
    chance = random.Random(f"short:{seed}")
    quirks = _quirks(chance)
    pick = chance.random()
    safety_s = chance.choice(
        (1.5, 2.0, 2.5) if pick < 0.6 else (4.0, 6.0) if pick < 0.9 else (10.0,) if pick < 0.97 else (30.0, 120.0)
    )
    items = _business(chance, safety_s, chance.randint(2, 5))
    items += _faults(chance, safety_s, chance.randint(1, 6))
    heal = heal or chance.random() < 0.01
    feeds = random.Random(f"feeds:{seed}")
    quirks = evolve(quirks, market_session=feeds.random() < 0.2)
    items += _feed_faults(feeds, safety_s, quirks.market_session)
    items += _aimed(random.Random(f"aimed:{seed}"), safety_s)
    selling = random.Random(f"selling:{seed}")
    if selling.random() < 0.03:
        items, safety_s = items + _lost_exit(selling), max(safety_s, 45.0)
        told, lag = selling.choice((0.0, 0.3, 1.0)), selling.choice((0.0, 3.0, 10.0, 29.0))
        quirks = evolve(quirks, update_chance=told, listing_lag_s=lag, speed=1.0)
    people = random.Random(f"people:{seed}")
    if people.random() < 0.04:
        quirks = evolve(quirks, flatten_on_exit=people.random() < 0.5)
        items += _people(people, safety_s, flatten_on_exit=quirks.flatten_on_exit)
    losses = random.Random(f"losses:{seed}")
    if losses.random() < 0.02:
        items += _lost_book(losses, safety_s)
        heal = heal or losses.random() < 0.3
    copies = random.Random(f"copies:{seed}")
    if copies.random() < PUT_BACKS:
        more, safety_s = _put_back(copies)
        items += more
    return Schedule(
        seed=seed, mode="R", items=tuple(sorted(items, key=lambda i: i.at_s)), quirks=quirks,
        products=PRODUCTS[: chance.choice((1, 2, 2))], safety_s=safety_s, heal_s=300.0 if heal else 0.0,
    )  # fmt: skip


def long(seed: int) -> Schedule:
    """Mode L: a whole day of venue time in an hour of real time, five products, restarts all along; healed at the end."""
    chance = random.Random(f"long:{seed}")
    safety_s = 3600.0
    items = _business(chance, safety_s, 150, ALL_PRODUCTS) + _faults(chance, safety_s, 80)
    feeds = random.Random(f"feeds:{seed}")
    for _ in range(20):
        items += _feed_faults(feeds, safety_s, market=False)
    rearms = [
        Item(round(i.at_s + 30.0, 3), "rearm", (PRODUCTS[0],)) for i in items if i.what in ("engage", "touch_file")
    ]
    return Schedule(
        seed=seed, mode="L", items=tuple(sorted(items + rearms, key=lambda i: i.at_s)), quirks=evolve(_quirks(chance), speed=24.0),
        products=ALL_PRODUCTS, safety_s=safety_s, heal_s=300.0,
    )  # fmt: skip


def _business(chance: random.Random, safety_s: float, n: int, products: tuple[str, ...] = PRODUCTS[:2]) -> list[Item]:
    items: list[Item] = []
    for i in range(n):
        at = round(chance.uniform(0.0, safety_s * 0.8), 3)
        product = chance.choice(products)
        post_only = chance.random() < 0.5
        args = (product, Decimal(chance.choice((50, 300, 500))), post_only, chance.choice((2.0, 5.0, 20.0)), f"{i}")
        items.append(Item(at, "propose", args))
        if chance.random() < 0.15:  # the same decision twice, as after a restart of the symbol
            items.append(Item(round(at + chance.uniform(0.2, 3.0), 3), "propose", args))
    for _ in range(chance.randint(1, 4)):
        at = round(chance.uniform(0.3, safety_s), 3)
        items.append(
            Item(at, "move", (chance.choice(products), chance.choice((-900, -300, -30, -10, 5, 20, 300, 700))))
        )
    for what, likely in (
        ("engage", 0.12),
        ("pause", 0.05),
        ("flatten", 0.06),
        ("ban", 0.04),
        ("sigterm", 0.06),
        ("touch_file", 0.03),
    ):
        if chance.random() < likely:
            items.append(Item(round(chance.uniform(0.5, safety_s), 3), what, (PRODUCTS[0],)))
    if chance.random() < 0.05:
        items.append(Item(round(chance.uniform(0.5, safety_s), 3), "reduce", (PRODUCTS[0], chance.choice((0.5, 1.0)))))
    if chance.random() < 0.08:
        items.append(Item(0.0, "deposit", (PRODUCTS[0], Decimal("0.01"))))
    return items


def _faults(chance: random.Random, safety_s: float, n: int) -> list[Item]:
    items: list[Item] = []
    for _ in range(n):
        at = round(chance.uniform(0.0, safety_s), 3)
        pick = chance.random()
        role = chance.choice(("oms", "oms", "gateway", "gateway", "risk", "exits", "kill_switch"))
        if pick < 0.30:
            committed = chance.random() < 0.7
            nth = chance.randint(1, 12) if chance.random() < 0.6 else chance.randint(1, max(20, int(safety_s * 6)))
            items.append(Item(0.0, "crash", (role, nth, committed, chance.randint(0, 4))))
        elif pick < 0.50:
            kind = chance.choice(("post", "post", "post", "cancel", "query", "query", "sweep"))
            nth = chance.randint(1, 3 if kind == "post" else 8) if safety_s < 300 else chance.randint(1, 60)
            items.append(Item(0.0, "fate", (kind, nth, _fate(chance, kind))))
        elif pick < 0.65:
            items.append(Item(at, "kill", (chance.choice(KILLABLE),)))
        elif pick < 0.73:
            items.append(Item(at, "stop", (chance.choice(KILLABLE[:6]), round(chance.uniform(0.1, 4.0), 2))))
        elif pick < 0.83:
            items.append(Item(0.0, "mail", (chance.randint(1, 60), chance.choice(("lose", "twice", "delay")))))
        elif pick < 0.87:
            items.append(
                Item(
                    at,
                    "disk",
                    (
                        chance.choice(("oms", "risk", "kill_switch")),
                        chance.choice((28, 5)),
                        round(chance.uniform(0.5, 5.0), 2),
                    ),
                )
            )
        elif pick < 0.89:
            items.append(Item(at, "distrust", (role, round(chance.uniform(0.5, 5.0), 2))))
        elif pick < 0.92:
            items.append(Item(at, "deaf", (round(chance.uniform(0.5, 8.0), 2),)))
        elif pick < 0.945:
            items.append(Item(at, "blackhole", (round(chance.uniform(0.5, 12.0), 2),)))
        elif pick < 0.965:
            items.append(Item(at, "quiet", (round(chance.uniform(2.0, 20.0), 2),)))
        elif pick < 0.985:
            items.append(Item(at, "killall", ()))
        elif pick < 0.993:
            items.append(Item(at, "replace", (chance.choice(("oms", "gateway")),)))
        elif pick < 0.997:
            items.append(Item(at, "lose", ("oms",)))
        else:
            items.append(Item(at, "root_stop", (round(chance.uniform(5.0, 60.0), 1),)))
    return items


def _feed_faults(chance: random.Random, safety_s: float, market: bool) -> list[Item]:
    """Half of the schedules: one or two blows to a feed. A stream of its own, so that older seeds keep their other faults."""
    items: list[Item] = []
    for _ in range(chance.choice((0, 0, 1, 2))):
        host = chance.choice(("user", "market")) if market else "user"
        at, pick = round(chance.uniform(0.0, safety_s), 3), chance.random()
        if pick < 0.6:
            nth = chance.randint(1, 6) if safety_s < 20 else chance.randint(1, int(safety_s))
            items.append(Item(0.0, "frame", (host, nth, chance.choice(FRAME_FATES))))
        elif pick < 0.85:
            items.append(Item(at, "kill", (f"{host}_feed",)))
        else:
            items.append(Item(at, "stop", (f"{host}_feed", round(chance.uniform(0.1, 4.0), 2))))
    return items


def _aimed(chance: random.Random, safety_s: float) -> list[Item]:
    """Half of the schedules: one to three blows at a kind of message, and what people do, so that its rare kinds are sent."""
    if chance.random() < 0.5:
        return []
    items: list[Item] = []
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.5:
            what = chance.choice(("lose", "twice", "delay"))
            items.append(Item(0.0, "mail_of", (chance.choice(AIMED_MAILS), chance.randint(1, 3), what)))
        else:
            role = chance.choice(list(AIMED_HANDLES))
            kind, nth = chance.choice(AIMED_HANDLES[role]), chance.randint(1, 3)
            items.append(Item(0.0, "crash_on", (role, kind, nth, chance.random() < 0.6, chance.randint(0, 4))))
    if chance.random() < 0.5:
        doing = chance.choice(("pause", "flatten", "ban", "sigterm", "engage", "propose"))
        at = round(chance.uniform(0.1, safety_s), 3)
        product = PRODUCTS[chance.randint(0, 1)]
        args = (product, Decimal(500), False, 5.0, "aimed") if doing == "propose" else (PRODUCTS[0],)
        items.append(Item(at, doing, args))
    return items


def _lost_book(chance: random.Random, safety_s: float) -> list[Item]:
    """The book is lost: a person starts anew with --adopt-from-venue, or whoever could have told of an order dies beside it."""
    at = round(chance.uniform(0.1, safety_s * 0.8), 3)
    if chance.random() < 0.5:
        return [Item(at, "adopt", ())]
    beside = chance.choice(
        (Item(at, "kill", ("gateway",)), Item(at, "killall", ()), Item(at, "sigterm", (PRODUCTS[0],)))
    )
    near = round(max(0.0, at + chance.uniform(-1.0, 3.0)), 3)
    return [Item(at, "lose", ("oms",)), evolve(beside, at_s=near)]


def _lost_exit(chance: random.Random) -> list[Item]:
    """Something is bought, falls below its stop, and answers to its exits are lost; in half of them beside coins of others."""
    product = PRODUCTS[0]
    items = [
        Item(0.2, "propose", (product, Decimal(500), False, 5.0, "lost-exit")),
        Item(round(chance.uniform(1.5, 9.0), 3), "move", (product, -900)),
    ]
    items += [Item(0.0, "fate", ("post", nth, Fate(lose_reply=True))) for nth in range(2, 6) if chance.random() < 0.6]
    if chance.random() < 0.5:
        items.append(Item(0.0, "deposit", (product, Decimal(chance.choice(("0.003", "0.005", "0.01", "1"))))))
    return items


def _put_back(chance: random.Random) -> tuple[list[Item], float]:
    """(items, seconds): something is bought, the book is copied, more is bought or sold, and the copy is put back; then prices fall."""
    product = PRODUCTS[0]
    copied = round(chance.uniform(0.5, 20.0), 3)
    back = round(copied + chance.uniform(1.0, 30.0), 3)
    items = [
        Item(0.2, "propose", (product, Decimal(300), False, 5.0, "before")),
        Item(copied, "back_up", ()),
        Item(back, "put_back", ()),
        Item(round(back + 300.0 + chance.uniform(0.0, 20.0), 3), "move", (product, -900)),
    ]
    for _ in range(chance.randint(1, 3)):
        at = round(chance.uniform(copied, back), 3)
        what, args = chance.choice(
            (
                ("exit", (product,)), ("flatten", (product,)), ("move", (product, -900)), ("move", (product, 900)),
                ("propose", (product, Decimal(300), chance.random() < 0.5, 5.0, f"after {at}")),
            )
        )  # fmt: skip
        items.append(Item(at, what, args))
    if chance.random() < 0.7:
        items.append(Item(0.0, "deposit", (product, Decimal(chance.choice(("0.003", "0.005", "0.01", "1"))))))
    return items, back + 345.0


def _people(chance: random.Random, safety_s: float, *, flatten_on_exit: bool) -> list[Item]:
    """What people order more rarely: an ordinary exit, all cancels, the owner's coins for the bot, a stop that sells first."""
    product = PRODUCTS[0]
    items = [
        Item(round(chance.uniform(0.5, safety_s), 3), chance.choice(("exit", "cancel_all", "adopt_coins")), (product,))
        for _ in range(chance.randint(1, 2))
    ]
    if flatten_on_exit:
        items.append(Item(round(chance.uniform(1.0, safety_s), 3), "sigterm", (product,)))
    return items
