"""One schedule per protection: the trap that the protection is for. With all protections nothing breaks (a test holds that);
with that one taken out an invariant does. They are the shortest way for `--without`, before chance is asked.
"""

from __future__ import annotations

from decimal import Decimal

from simulation.fuzz.schedule import Item, Quirks, Schedule
from simulation.fuzz.venue import Fate

BTC, ETH = "BTC-USD", "ETH-USD"


def _propose(
    at_s: float, product: str = BTC, usd: int = 300, *, post_only: bool = True, ttl_s: float = 20.0, stamp: str = "a"
) -> Item:
    return Item(at_s, "propose", (product, Decimal(usd), post_only, ttl_s, stamp))


def _fate(kind: str, nth: int, **what: object) -> Item:
    return Item(0.0, "fate", (kind, nth, Fate(**what)))  # type: ignore[arg-type]


def _crash(role: str, nth: int, *, committed: bool, delivered: int = 0) -> Item:
    return Item(0.0, "crash", (role, nth, committed, delivered))


def _schedule(
    name: str,
    *items: Item,
    safety_s: float,
    heal_s: float = 0.0,
    quirks: Quirks | None = None,
    products: tuple[str, ...] = (BTC,),
) -> Schedule:
    seed = 1000 + len(name)
    return Schedule(
        seed=seed, mode="D", items=items, quirks=quirks or Quirks(), products=products, safety_s=safety_s, heal_s=heal_s
    )  # fmt: skip


def _each_handle(role: str, *, committed: bool, n: int = 12) -> list[Schedule]:
    return [
        _schedule(role, _propose(0.05), _crash(role, nth, committed=committed), safety_s=3.0) for nth in range(1, n)
    ]


SILENT = Quirks(update_chance=0.0)

DIRECTED: dict[str, list[Schedule]] = {
    # the intent was sent and never committed
    "save_then_send": _each_handle("oms", committed=False),
    # a stopped oms is taken for dead, replaced, and continues
    "role_lock": [_schedule("role_lock", Item(0.2, "replace", ("oms",)), safety_s=4.0)],
    # the old gateway's HelloAck arrives when the new one is known: what is bound to the dead is posted by nobody
    "incarnation_check": [
        _schedule(
            "incarnation_check", Item(0.2, "kill", ("oms",)), Item(0.0, "mail", (nth, "delay")), Item(0.3, "kill", ("gateway",)),
            safety_s=4.0, heal_s=100.0,
        )
        for nth in range(4, 30)
    ],
    # the gateway dies mid-POST; its empty successor must not take the order for one that was never sent
    "binding": [
        _schedule("binding", _propose(0.05), _fate("post", 1, hold_s=hold_s, lose_reply=True), Item(kill_s, "kill", ("gateway",)), safety_s=20.0)
        for hold_s in (1.0, 8.0) for kill_s in (0.053, 0.06, 0.2)
    ],
    # the gateway is stopped with the order in its mailbox
    "send_by": [
        _schedule("send_by", Item(0.02, "stop", ("gateway", 2.6)), _propose(0.05, stamp=s), safety_s=6.0) for s in ("a", "b")
    ],
    # people engage while an entry is on its way
    "kill_check": [
        _schedule("kill_check", Item(0.3, "stop", ("kill_switch", 2.5)), Item(0.31, "touch_file", (BTC,)), _propose(at_s), safety_s=6.0)
        for at_s in (1.0, 2.5)
    ],
    # root and main stand still, everybody else runs on: the beat closes entries, then the guardian's fence
    "fences": [_schedule("fences", Item(0.1, "root_stop", (60.0,)), _propose(13.0), safety_s=16.0)],
    "one_post": [
        _schedule("one_post", _propose(0.05), _fate("post", 1, error_after=True), safety_s=6.0, quirks=Quirks(listing_lag_s=3.0)),
        _schedule("one_post", _propose(0.05), _fate("post", 1, refuse_before=503), safety_s=6.0),
    ],
    # oms dies after its commit and before its send: nothing old may leave
    "withdraw": _each_handle("oms", committed=True),
    # oms is replaced while an approval is on its way: the book that risk judged is not the one that admits
    "version_check": [
        _schedule(
            "version_check", _propose(0.05), Item(0.058, "kill", ("oms",)), Item(0.0585, "stop", ("risk", stop_s)), safety_s=3.0,
            quirks=Quirks(mail_s=0.005, there_s=0.002),
        )
        for stop_s in (1.25, 1.35, 1.45, 1.6, 1.8)
    ],
    # the same decision comes again, and risk has forgotten the first
    "unique_proposal": [
        _schedule(
            "unique_proposal", Item(0.01, "blind_risk"), _propose(0.05, usd=100), Item(0.6, "kill", ("risk",)), _propose(2.6, usd=100), safety_s=5.0,
        )
    ],
    # risk's arithmetic is wrong
    "caps_assert": [_schedule("caps_assert", Item(0.01, "wrong_risk", (20,)), _propose(0.05), safety_s=3.0)],
    # what became of the first order is unknown, and a second is proposed
    "unknown_counts": [
        _schedule(
            "unknown_counts", _propose(0.05), _fate("post", 1, hold_s=hold_s, lose_reply=True), Item(0.2, "kill", ("gateway",)),
            _propose(4.0, stamp="b"), safety_s=14.0,
        )
        for hold_s in (9.0, 30.0)
    ],
    # the first listing does not show what is still on its way
    "horizon": [
        _schedule("horizon", _propose(0.05), _fate("post", 1, hold_s=hold_s, lose_reply=True), Item(0.2, "kill", ("gateway",)), safety_s=20.0)
        for hold_s in (4.0, 12.0)
    ],
    # the user channel shows the order before its POST is answered, and the answer is lost
    "existence": [
        _schedule("existence", _propose(0.05), _fate("post", 1, error_after=True), safety_s=4.0, quirks=Quirks(there_s=0.1, update_s=0.001)),
        _schedule("existence", _propose(0.05), _fate("post", 1, lose_reply=True), safety_s=14.0),
    ],
    # a page is missing, and with it the order, which has filled
    "complete_pages": [
        _schedule(
            "complete_pages", _propose(0.05), _fate("post", 1, error_after=True), Item(1.0, "move", (BTC, -5)),
            *(_fate("query", n, partial=True) for n in range(1, 300)), safety_s=160.0, quirks=SILENT,
        )
    ],
    "gtd": [_schedule("gtd", _propose(0.05), safety_s=3.0)],
    # the same trade is told by two listings
    "dedupe": [
        _schedule("dedupe", _propose(0.05, post_only=False), Item(1.5, "deaf", (0.3,)), Item(3.0, "deaf", (0.3,)), safety_s=8.0)
    ],
    # the store is lost while the venue lists with a lag, and people stop the bot
    "lost_book": [
        _schedule(
            "lost_book", _propose(0.05, ttl_s=60.0), Item(1.0, "lose", ("oms",)), Item(2.0, "sigterm", (BTC,)), safety_s=16.0,
            quirks=Quirks(listing_lag_s=29.0, update_chance=0.0),
        )
    ],
    # nobody tells of a fill, and nobody asks
    "reconcile": [
        _schedule("reconcile", _propose(0.05), Item(1.0, "kill", ("oms",)), Item(1.2, "move", (BTC, -5)), safety_s=40.0, heal_s=300.0, quirks=SILENT),
        _schedule("reconcile", _propose(0.05, ttl_s=60.0), Item(1.0, "lose", ("oms",)), safety_s=45.0, quirks=SILENT),
    ],
    # a part is filled and told; the venue lists the trade much later
    "seen": [
        _schedule("seen", _propose(0.05, ttl_s=60.0), Item(1.0, "trade", (BTC, Decimal("0.003"))), safety_s=14.0, quirks=Quirks(settle_s=30.0))
    ],
    # an exit's answer is lost beside coins of others, and exits asks again
    "reduces_only": [
        _schedule(
            "reduces_only", Item(0.0, "deposit", (BTC, Decimal("0.01"))), _propose(0.5, post_only=False), Item(3.0, "move", (BTC, 800)),
            *(_fate("post", n, error_after=True) for n in (2, 3)), safety_s=20.0, quirks=Quirks(settle_s=settle_s, update_chance=chance),
        )
        for settle_s in (0.3, 5.0) for chance in (1.0, 0.0)
    ],
    # risk does not see that the product cools
    "cooldowns": [
        _schedule("cooldowns", Item(0.01, "blind_risk"), _propose(0.05, usd=100, post_only=False), _propose(2.6, usd=100, post_only=False, stamp="b"), safety_s=5.0)
    ],
    "cancel_repeat": [
        _schedule("cancel_repeat", _propose(0.05, ttl_s=2.0), *(_fate("cancel", n, lose_reply=True, no_connection=n == 1) for n in (1,)), safety_s=40.0)
    ],
    "ttl": [_schedule("ttl", _propose(0.05, ttl_s=2.0), safety_s=14.0)],
    "leaving_active": [_schedule("leaving_active", _propose(0.05, ttl_s=60.0), Item(1.0, "hold", (BTC,)), safety_s=24.0)],
    # an owner of a permission is dead, and risk goes on approving
    "lease": [
        _schedule("lease", Item(0.5, "never", (owner,)), _propose(6.0), safety_s=9.0) for owner in ("universe", "health_monitor", "catalog")
    ],
    "quote_age": [_schedule("quote_age", Item(0.1, "quiet", (30.0,)), _propose(16.0), safety_s=19.0)],
    # oms is down, its order rests, and a person engages
    "kill_sweep": [
        _schedule("kill_sweep", _propose(0.05), Item(1.0, "disk", ("oms", 28, 30.0)), Item(1.1, "kill", ("oms",)), Item(2.0, "engage", (BTC,)), safety_s=6.0)
    ],
    # engaged, the file deleted, the role restarted
    "latch": [
        _schedule("latch", Item(0.2, "engage", (BTC,)), Item(1.0, "delete_file", (BTC,)), Item(1.1, "kill", ("kill_switch",)), safety_s=4.0)
    ],
    # everything dies, stays dead, and an order rests
    "guardian": [_schedule("guardian", _propose(0.05, ttl_s=120.0), Item(1.0, "gone", ()), safety_s=90.0)],
}  # fmt: skip
