"""The order manager: the book and its only writer. This file is its mailbox; what it does is in the oms_*.py beside it.

    oms_entries   admission of approved entries            oms_exits    exits by `reduces_only`, flattens
    oms_orders    what is learned of orders                oms_service  place, cancel, ask, read fills
    oms_fills     booking                                  oms_measure  latency
    oms_positions their ends, outcomes, other hands        oms_rowless  orders of ours without a row
    oms_passes    Hello, Withdraw, reconcile, recovery     oms_people   what people order
    oms_view      snapshots and who hears them             oms_book     the rows
    oms_balances  what a page of balances tells            oms_retire   what is over for long
    oms_desk      everything in memory

Each handle: the message changes the book; every order that changed is served (what is due is sent, its timer armed); the
version rises at most once; then go the rows, the sends, the snapshots, and last the answers that rest on them.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve

from trading.machine import Effects, Incarnation, Instant, PeerRestarted, QuietMachine, Rows, Save, Woke
from trading.messages.book import Recovery
from trading.messages.control import (
    CatalogSnapshot,
    Drain,
    Drained,
    HealthSnapshot,
    KillSnapshot,
    LatchSnapshot,
    OperatorOrder,
)
from trading.messages.decisions import Approved, ExitOrder, Tighten
from trading.messages.orders import CancelsAnswered, FeedReset, HelloAck, OrderOutcome, OrderUpdate, Page
from trading.newest import Newest
from trading.oms_desk import Desk
from trading.oms_entries import approved
from trading.oms_exits import exit_ordered, tighten, try_waiting
from trading.oms_orders import outcome, unwanted, update, want_cancel
from trading.oms_passes import advance, begin_withdraw, gateway_restarted, greet, hello_acknowledged, page
from trading.oms_people import adoption_id, flattened, ordered
from trading.oms_positions import judge_after
from trading.oms_retire import retire
from trading.oms_rowless import recall_rowless
from trading.oms_rows import TABLES
from trading.oms_service import cancels_answered, service
from trading.oms_settings import OmsSettings
from trading.oms_view import ADMITTED_RECENTLY_S, measured, publish
from trading.protections import Protections
from trading.publish import SLOW_S, Jitter, jitter
from trading.settle import after_reboot

RETIRE_S = 60.0
WHOLE = (
    "--adopt-from-venue did nothing: the book of this data dir is whole; `ctl adopt SYMBOL SIZE` gives the bot coins"
)
DRAIN_LOOK_S = 0.1
PERMISSIONS = (KillSnapshot, HealthSnapshot, LatchSnapshot, CatalogSnapshot)


class OmsMachine(QuietMachine):
    """tag: of the account (`values.account_tag`). products: symbols that hear their slice from the start.

    adopt_from_venue: the store was lost and a person said `run --adopt-from-venue`: positions are rebuilt from the fills of
    our own orders. Without it their coins are foreign until `ctl adopt`, and their products cool.
    lost_book: an empty store is not the first one; so is one that was set aside for `--adopt-from-venue`.
    repeat_s: how often symbols hear an unchanged slice again, since mail may be lost.
    """

    role: ClassVar[str] = "oms"
    tables = TABLES

    def __init__(
        self,
        *,
        settings: OmsSettings,
        me: Incarnation,
        tag: str,
        config_hash: str = "",
        products: tuple[str, ...] = (),
        adopt_from_venue: bool = False,
        lost_book: bool = False,
        protections: Protections = Protections(),  # noqa: B008 -- frozen
        jitter: Jitter = jitter,
        repeat_s: float = SLOW_S,
    ) -> None:
        self.desk = Desk(
            settings=settings,
            protections=protections,
            me=me,
            tag=tag,
            config_hash=config_hash,
            jitter=jitter,
            repeat_s=repeat_s,
        )
        self.desk.symbols = dict.fromkeys(products)
        self._lost_book = lost_book or adopt_from_venue
        self._adopt = adopt_from_venue
        self._newest = Newest()
        self._beats = 0
        self._measure_at = 0.0
        self._retire_at = 0.0

    # -- the seam -------------------------------------------------------------------------------------------------

    def recover(self, rows: Rows, now: Instant) -> Effects:
        """Rows, then Hello and Withdraw; agreement with the venue is a state that follows."""
        d = self.desk
        d.now = now
        d.book.load(rows)
        recall_rowless(d)
        self._begin_book(rows)
        for key, order in list(d.book.orders.items()):
            if not order.status.terminal:
                self._revive(key)
            elif (order.ended_s or 0.0) >= now.venue_s - 60.0 * now.speed:
                d.recent[key] = None
            if order.intent.proposal_id and 0.0 <= now.boot_s - order.intent.saved_boot_s <= ADMITTED_RECENTLY_S:
                d.admitted[order.intent.proposal_id] = order.intent.saved_boot_s
        for key in d.book.unbooked:
            d.book.touched[key] = None
        d.note(
            "recovery",
            state=str(Recovery.RECOVERING),
            orders=len(d.book.orders),
            orders_open=len(d.book.working),
            positions=d.book.held(),
            fills=len(d.book.fills),
        )
        begin_withdraw(d)
        d.changed = True
        return self._finish(at_once=True)

    def _begin_book(self, rows: Rows) -> None:
        d = self.desk
        began = d.book.meta.rebuilt_boot_s
        if not rows.get("meta"):
            lost_boot_s = d.now.boot_s if self._lost_book else None
            d.book.begin(lost_boot_s, adopting=self._adopt, begun_by=f"{d.me[0]}:{d.me[1]}")
        elif began is not None and began > d.now.boot_s:  # a reboot: what was on the wire then begins its time anew
            d.book.put_meta(evolve(d.book.meta, rebuilt_boot_s=d.now.boot_s))
        if self._adopt and not d.book.meta.adopting and adoption_id(d) not in d.book.commands:
            d.stand("adoption", "warning", WHOLE, for_s=60.0)
        d.fresh = d.book.meta.cursor_s is None or d.book.meta.rebuilt_boot_s is not None

    def _revive(self, key: str) -> None:
        """An order that is not over: asking begins anew; after a reboot so does the horizon of an IOC."""
        d = self.desk
        order = d.book.orders[key]
        intent = order.intent
        horizon = after_reboot(intent.horizon_boot_s, intent.saved_boot_s, d.now)
        if horizon != intent.horizon_boot_s:
            # In memory only: the intent's row is a fact. A further restart begins it anew once more, which is late enough.
            d.book.as_saved[key] = intent
            order = evolve(order, intent=evolve(intent, horizon_boot_s=horizon, saved_boot_s=d.now.boot_s))
            d.book.orders[key] = order
        if order.unknown and (order.unknown_since_boot_s or 0.0) > d.now.boot_s:
            d.book.put(evolve(order, unknown_since_boot_s=d.now.boot_s))
        d.book.touched[key] = None

    def handle(self, message: object, now: Instant) -> Effects:
        d = self.desk
        d.now = now
        at_once = False
        match message:
            case Woke():
                self._woke(message.key)
            case Approved():
                d.marks.update(message.caps.marks)
                before = len(d.book.by_proposal)
                approved(d, message)
                if len(d.book.by_proposal) > before:
                    d.admitted[message.proposal.proposal_id] = now.boot_s
            case ExitOrder():
                exit_ordered(d, message)
            case OrderOutcome():
                outcome(d, message)
            case OrderUpdate():
                update(d, message)
            case Page():
                page(d, message)
            case CancelsAnswered():
                cancels_answered(d, message)
            case Tighten():
                tighten(d, message)
            case HelloAck():
                hello_acknowledged(d, message)
            case snapshot if isinstance(snapshot, PERMISSIONS) and self._newest.outdated(snapshot):
                return ()
            case LatchSnapshot(latches=latches) if d.latches is not None and latches == d.latches.latches:
                d.marks.update(message.marks)
                return ()  # nothing of it permits or forbids
            case KillSnapshot():
                self._permission("kill", message)
            case HealthSnapshot():
                self._permission("health", message)
            case LatchSnapshot():
                d.marks.update(message.marks)
                self._permission("latches", message)
            case CatalogSnapshot():
                d.products = {p.product_id: p for p in message.products}
                if d.key_unchecked and not message.key_unchecked:
                    d.ask_pass()
                self._permission("catalog", message)
            case FeedReset():
                d.ask_pass()
            case OperatorOrder():
                ordered(d, message)
            case Drain():
                self._drain(message)
            case PeerRestarted():
                at_once = self._peer(message.role)
            case _:
                return ()
        return self._finish(at_once=at_once)

    # -- what only the mailbox knows ------------------------------------------------------------------------------

    def _woke(self, key: str) -> None:
        d = self.desk
        d.armed.pop(key, None)
        kind, _, name = key.partition(":")
        if kind == "order":
            d.book.touched[name] = None
        elif kind == "hello":
            d.hello_at = 0.0
        elif kind == "exit" and name in d.waiting:
            try_waiting(d, name)
        elif kind == "beat":
            self._beat()

    def _beat(self) -> None:
        """Each 0.5 s, jittered by +- 10 %: the snapshot, repeats for people, measurements, what has been over for long."""
        d = self.desk
        now_boot_s = d.now.boot_s
        self._beats += 1
        d.wake("beat", now_boot_s + d.settings.snapshot_every_s * d.jitter(f"{d.tag}:beat", self._beats))
        d.snapshot_at = 0.0
        for fingerprint, at in list(d.expires.items()):
            if now_boot_s >= at:
                d.gone(fingerprint)
        for condition in d.conditions.values():
            d.sends += d.board.stand(condition, d.now)
        if now_boot_s >= self._measure_at:
            self._measure_at = now_boot_s + 1.0
            measured(d)
            self._tell_unbooked()
        if now_boot_s >= self._retire_at and d.now.trusted and not d.book.meta.adopting:
            self._retire_at = now_boot_s + RETIRE_S
            retire(d.book, d.now.venue_s, d.settings.retain_s, d.settings.retain_realised_s)
            d.order_views = {key: view for key, view in d.order_views.items() if key in d.recent}
        if d.recovery is not Recovery.RECONCILED and d.pass_n and d.pass_ and now_boot_s - d.pass_.started_at > 30.0:
            d.stand(
                "recovering", "warning", f"the venue did not answer completely yet: {d.recovery}, stage {d.pass_.stage}"
            )
        elif d.recovery is Recovery.RECONCILED:
            d.gone("recovering")
        if d.drain_run is not None:
            self._answer_drain()

    def _tell_unbooked(self) -> None:
        d = self.desk
        for key in d.book.unbooked:
            since = d.task(key).fills_since
            if since is not None and d.now.boot_s - since >= d.settings.unbooked_tell_s:
                order = d.book.orders[key]
                d.stand(
                    f"unbooked:{key}",
                    "warning",
                    f"{order.intent.product_id}: {order.unbooked_size} of order {key} are seen as filled and not listed as fills "
                    f"since {d.now.boot_s - since:.0f} s; no entry is approved meanwhile",
                )

    def _permission(self, name: str, message: object) -> None:
        """A permission was told; on leaving ACTIVE every resting entry goes, on a kill the exits too."""
        d = self.desk
        setattr(d, name, message)
        for order in d.book.open_orders():
            why = unwanted(d, order.intent)
            if why and not order.cancel_reason:
                want_cancel(d, order, why)

    def _peer(self, role: str) -> bool:
        d = self.desk
        if role == "gateway":
            gateway_restarted(d)
            return False
        if role.startswith("symbol:"):
            d.symbols[role.partition(":")[2]] = None
            d.dirty_products[role.partition(":")[2]] = None
            d.changed = True
            return False
        if role in ("operator", "console"):
            d.people_owed, d.people_at = True, 0.0
            return True
        if role == "user_feed":
            d.ask_pass()
        return role in ("risk", "exits")

    def _drain(self, message: Drain) -> None:
        """Cancel everything, settle, answer clean or, after a while, that orders may be live."""
        d = self.desk
        if d.drain_run is None:
            d.drain_at = d.now.boot_s
            d.waiting.clear()
        d.drain_run = message.run_number
        d.changed = True
        for order in d.book.open_orders():
            want_cancel(d, order, "drain")
        d.drain_answered = None

    def _answer_drain(self) -> None:
        """Clean when nothing of ours can be live any more; `live_possible` once `drain_wait_s` is over; again when it changes."""
        d = self.desk
        living = d.book.open_orders()
        known = d.recovery is not Recovery.RECOVERING and d.rebuilding_s() == 0.0  # before that nobody knows what lives
        clean = known and not living and not d.book.unbooked
        if not clean and d.now.boot_s < d.drain_at + d.settings.drain_wait_s:
            return
        clean = known and not living
        if d.drain_answered is clean:
            return
        d.drain_answered = clean
        unknown = [o for o in living if o.unknown or o.status == "submitted"]
        over = [o for o in d.book.orders.values() if o.status.terminal and o.cancel_reason == "drain"]
        d.answer(
            "main",
            Drained(
                run_number=d.drain_run or 0,
                role=self.role,
                clean=clean,
                canceled=tuple(o.intent.client_order_id for o in over),
                kept=tuple(o.intent.client_order_id for o in living if o not in unknown),
                unknown=tuple(o.intent.client_order_id for o in unknown),
            ),
        )

    # -- the end of every handle ----------------------------------------------------------------------------------

    def _finish(self, *, at_once: bool) -> Effects:
        d = self.desk
        greet(d)
        advance(d)
        if d.flattened:
            flattened(d)
        self._serve()
        if d.drain_run is not None:
            self._answer_drain()
            if d.armed.get("beat", 0.0) > d.now.boot_s + DRAIN_LOOK_S:
                d.wake("beat", d.now.boot_s + DRAIN_LOOK_S)
        book = d.book
        changed = d.changed or bool(book.changes)
        if book.raised:
            d.n += 1
            book.raised = False
        d.changed = False
        self._dirty_products()
        publish(d, changed=changed, at_once=at_once or bool(d.answers))
        if "beat" not in d.armed:
            d.wake("beat", d.now.boot_s + d.settings.snapshot_every_s)
        saves = [Save(table, key, row) for (table, key), row in book.changes.items()]
        book.changes = {}
        return [*saves, *d.take()]

    def _serve(self) -> None:
        """Serve what changed until nothing changes any more; a waiting exit goes when our own buys are gone."""
        d = self.desk
        served: dict[str, int] = {}
        while d.book.touched:
            key = next(iter(d.book.touched))
            del d.book.touched[key]
            served[key] = served.get(key, 0) + 1
            if served[key] > 8:
                raise RuntimeError(f"order {key} does not come to rest within one handle")
            order = d.book.orders.get(key)
            if order is not None:
                d.recent[key] = None
                judge_after(d, order)
            service(d, key)
            for exit_id in list(d.waiting):
                try_waiting(d, exit_id)

    def _dirty_products(self) -> None:
        d = self.desk
        for table, key in d.book.changes:
            row = d.book.changes[table, key]
            product_id = row.get("product_id")
            if table in ("orders", "positions", "cooldowns") and isinstance(product_id, str):
                d.dirty_products[product_id] = None
        if d.recovery is not self._told_recovery:
            self._told_recovery = d.recovery
            d.dirty_products.update(d.symbols)

    _told_recovery: Recovery | None = None
