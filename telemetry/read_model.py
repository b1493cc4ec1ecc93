"""What people ask, answered from what the roles told: a fold over snapshots, without a decision in it.

The operator (for `ctl`) and the console (for page and metrics) each own one. An answer is a JSON-able dict; money is
plain text. What was never told is null, not zero.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import attrs

from trading.messages.book import BookOrder, BookPosition, BookSnapshot, Recovery
from trading.messages.control import (
    CatalogSnapshot,
    Condition,
    HealthSnapshot,
    KillSnapshot,
    LatchSnapshot,
    Noted,
    TreeState,
    UniverseSnapshot,
)
from trading.messages.decisions import ExitsSnapshot
from trading.messages.market import Quote
from trading.newest import rank
from trading.product import set_flags
from trading.trading_state import Causes, trading_state
from trading.values import ZERO, Purpose, plain, utc_text

DECISIONS_KEPT = 200
WHY_KEPT = 20
LATENCIES_KEPT = 500
EVENTS_KEPT = 1_000
EVENT_KINDS = ("decision", "order", "fill", "recovery", "kill", "condition", "command", "breaker", "reconcile")

UNTRADED = ("denied", "not_placed", "rejected", "canceled", "expired")
"""How an order ends that did not do what it was admitted for: who asks why nothing was traded wants to know."""

Answer = dict[str, Any]


class NotNowError(Exception):
    """The question was right, and there is no answer now; the sentence says why."""


class ReadModel:
    """Folds messages (`fold`) and answers questions (`answer`). `quotes` reads the newest quotes, `pids` is the tree's."""

    def __init__(
        self,
        *,
        config_hash: str,
        env: str,
        mode: str,
        market: str,
        quotes: Callable[[], Mapping[str, Quote]] = dict,
        boot_clock: Callable[[], float] | None = None,
        effective_config: Any = None,
    ) -> None:
        self.facts = {"config_hash": config_hash, "env": env, "mode": mode, "market": market}
        self.effective_config = effective_config
        self.quotes = quotes
        self.boot_clock = boot_clock or (lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
        self.book: BookSnapshot | None = None
        self.kill: KillSnapshot | None = None
        self.health: HealthSnapshot | None = None
        self.latch: LatchSnapshot | None = None
        self.universe: UniverseSnapshot | None = None
        self.catalog: CatalogSnapshot | None = None
        self.exits: ExitsSnapshot | None = None
        self.tree: TreeState | None = None
        self.conditions: dict[str, Condition] = {}
        self.decisions: deque[Answer] = deque(maxlen=DECISIONS_KEPT)
        self.why: dict[str, deque[Answer]] = {}
        self.standing: dict[str, Answer] = {}
        self.recoveries: deque[Answer] = deque(maxlen=20)
        self.no_trade_counts: Counter[str] = Counter()
        self.latencies: dict[str, deque[float]] = {}
        self.events: deque[tuple[int, Answer]] = deque(maxlen=EVENTS_KEPT)
        self.events_seen = 0

    def fold(self, role: str, message: object) -> None:
        """Take one message that `role` sent. Older snapshots than the one held are ignored; unknown kinds too."""
        match message:
            case BookSnapshot():
                if message.product_id is None and (self.book is None or message.version >= self.book.version):
                    self.book = message
            case KillSnapshot():
                self.kill = _newer(self.kill, message)
            case HealthSnapshot():
                self.health = _newer(self.health, message)
            case LatchSnapshot():
                self.latch = _newer(self.latch, message)
            case UniverseSnapshot():
                self.universe = _newer(self.universe, message)
            case CatalogSnapshot():
                self.catalog = _newer(self.catalog, message)
            case ExitsSnapshot():
                self.exits = _newer(self.exits, message)
            case TreeState():
                self.tree = message
            case Condition():
                self._condition(role, message)
            case Noted():
                self._noted(role, message)

    def _condition(self, role: str, condition: Condition) -> None:
        known = self.conditions.get(condition.fingerprint)
        if condition.active:
            self.conditions[condition.fingerprint] = condition
        else:
            self.conditions.pop(condition.fingerprint, None)
        if (known is None) == condition.active:  # its start and its end are events; repeats are not
            text = condition.text if condition.active else f"over: {condition.text}"
            record = {"kind": "condition", "role": role, "level": condition.level, "text": text}
            self._event({**record, "active": condition.active})

    def _event(self, record: Answer) -> None:
        self.events_seen += 1
        self.events.append((self.events_seen, record))

    def _noted(self, role: str, note: Noted) -> None:
        record = {"at": utc_text(note.at_s), "role": note.role or role, **note.values, "config_hash": note.config_hash}
        if note.kind in EVENT_KINDS:
            self._event({**record, "kind": note.kind})
        match note.kind:
            case "decision":
                self.no_trade_counts[str(note.values.get("code", ""))] += 1
                self._keep(record)
            case "order" if note.values.get("to") in UNTRADED:
                self._keep(order_ending(record))
            case "standing":
                self.standing[str(note.values.get("product_id", ""))] = record
            case "recovery":
                self.recoveries.append(record)
            case "latency":
                for stage, took_s in (note.values.get("stages") or {}).items():
                    key = f"{note.values.get('purpose', note.role)}.{str(stage).removesuffix('_s')}"
                    self.latencies.setdefault(key, deque(maxlen=LATENCIES_KEPT)).append(float(took_s))

    def _keep(self, record: Answer) -> None:
        self.decisions.append(record)
        self.why.setdefault(str(record.get("product_id", "")), deque(maxlen=WHY_KEPT)).append(record)

    # ---- answers -------------------------------------------------------------------------------------------------

    def answer(self, command: str, args: Mapping[str, str] | None = None) -> Answer:
        """One of the read commands of DESIGN section 8. Raises KeyError for an unknown one, ValueError for a bad
        argument, NotNowError.
        """
        questions: dict[str, Callable[[Mapping[str, str]], Answer]] = {
            "status": lambda _: self.status(),
            "tree": lambda _: self.tree_answer(),
            "symbols": lambda _: {"symbols": self.symbols()},
            "orders": lambda _: {"orders": self.orders()},
            "positions": lambda _: {"positions": self.positions()},
            "balance": lambda _: self.balance(),
            "exposure": lambda _: self.exposure(),
            "breakers": lambda _: {"breakers": self.breakers(), "latches": self.latches()},
            "why": self.why_answer,
            "latency": lambda _: {"latency": [_quantiles(stage, took) for stage, took in self.latencies.items()]},
            "config": lambda _: {**self.facts, "config": self.effective_config},
            "pid": self.pid,
            "decisions": lambda _: {"decisions": list(self.decisions)},
            "conditions": lambda _: {"conditions": self.conditions_answer()},
            "events": self.events_answer,
            "picture": self.picture,
        }
        return questions[command](args or {})

    def state(self) -> tuple[str, tuple[str, ...]]:
        """(trading state, its causes) from what was told; before the book spoke: HALTED, starting."""
        if self.book is None:
            return "HALTED", ("starting",)
        state, causes = trading_state(
            Causes(
                draining=self.book.draining,
                killed=bool(self.kill and self.kill.engaged),
                recovery=self.book.recovery,
                book_writable=self.book.writable and "store:oms" not in self.conditions,
                paused=bool(self.kill and self.kill.paused),
                breakers_open=tuple(b.code for b in self.health.breakers if b.open and b.measured)
                if self.health
                else (),
                latches=tuple(latch.code for latch in self.latch.latches) if self.latch else (),
                global_incident=self.catalog.exchange_reason if self.catalog and self.catalog.entries_closed else "",
            )
        )
        return state.value, causes

    def status(self) -> Answer:
        """Everything that must be the same after kill -9 of everything and a restart, and what surrounds it."""
        state, causes = self.state()
        book = self.book
        return {
            **self.facts,
            "trading_state": state,
            "causes": list(causes),
            "recovery": book.recovery.value if book else Recovery.RECOVERING.value,
            "nav_usd": _text(self.latch.nav_usd) if self.latch else None,
            "high_water_usd": _text(self.latch.high_water_usd) if self.latch else None,
            "drawdown_pct": _text(self.latch.drawdown_pct) if self.latch else None,
            "realised_today_usd": _text(book.realised_today_usd) if book else None,
            "realised_week_usd": _text(book.realised_week_usd) if book else None,
            "quote_total_usd": _text(book.quote_total_usd) if book else None,
            "kill": {
                "engaged": bool(self.kill and self.kill.engaged),
                "cause": self.kill.cause if self.kill else "",
                "by": self.kill.by if self.kill else "",
                "paused": bool(self.kill and self.kill.paused),
            }
            if self.kill
            else None,
            "latches": self.latches(),
            "breakers_open": [b["code"] for b in self.breakers() if b["open"]],
            "positions": self.positions(),
            "orders": self.orders(),
            "cooldowns": self.cooldowns(),
            "unbooked": [list(item) for item in book.unbooked] if book else [],
            "drift": {"usd": _text(book.drift_usd), "count": book.drift_count} if book else None,
            "conditions": self.conditions_answer(),
            "regime": self.universe.regime if self.universe else None,
            "regime_values": dict(self.universe.regime_values) if self.universe else {},
        }

    def events_answer(self, args: Mapping[str, str]) -> Answer:
        """Events after number `since`; `last` is the newest number, to ask from next time."""
        since = int(args.get("since", "0"))
        return {"last": self.events_seen, "events": [record for number, record in self.events if number > since]}

    def picture(self, args: Mapping[str, str]) -> Answer:
        """All that the live view draws, in one answer."""
        return {
            "status": self.status(),
            "tree": self.tree_answer()["children"],
            "symbols": self.symbols(),
            "decisions": folded(self.decisions)[-12:],
            "recoveries": list(self.recoveries),
            **self.events_answer(args),
        }

    def tree_answer(self) -> Answer:
        return {"children": [_child(child) for child in self.tree.children] if self.tree else []}

    def pid(self, args: Mapping[str, str]) -> Answer:
        role = args.get("role", "")
        if self.tree is None:
            raise NotNowError("the operator has just started and has not heard of the tree yet: ask again in a second")
        for child in self.tree.children:
            if child.role == role:
                if child.pid is None:
                    raise NotNowError(f"{role} has no process now: it is {child.state}")
                return {"role": role, "pid": child.pid}
        roles = ", ".join(child.role for child in self.tree.children)
        raise ValueError(f"no role is named {role!r}; there are: {roles}")

    def symbols(self) -> list[Answer]:
        now = self.boot_clock()
        quotes = self.quotes()
        entries = {entry.product_id: entry for entry in self.universe.entries} if self.universe else {}
        catalog = {product.product_id: product for product in self.catalog.products} if self.catalog else {}
        rows = []
        for product_id in sorted(set(entries) | set(quotes)):
            quote, entry, product = quotes.get(product_id), entries.get(product_id), catalog.get(product_id)
            last = self.why.get(product_id)
            rows.append(
                {
                    "product_id": product_id,
                    "bid": _text(quote.bid) if quote else None,
                    "ask": _text(quote.ask) if quote else None,
                    "spread_bps": round(quote.spread_bps, 2) if quote else None,
                    "quote_age_s": round(max(0.0, now - quote.received_boot_s), 3) if quote else None,
                    "depth_bid_usd": quote.depth_bid_usd if quote else None,
                    "depth_ask_usd": quote.depth_ask_usd if quote else None,
                    "tier": entry.tier if entry else None,
                    "theme": entry.theme if entry else None,
                    "eligible": entry.eligible if entry else None,
                    "reason": entry.reason if entry else "not in the universe",
                    "flags": list(set_flags(product)) if product else None,
                    "last": dict(last[-1]) if last else None,
                }
            )
        return rows

    def orders(self) -> list[Answer]:
        return [_order(order) for order in self.book.orders if order.ended is None] if self.book else []

    def positions(self) -> list[Answer]:
        quotes = self.quotes()
        armed = {one.position_id: one.state for one in self.exits.armed} if self.exits else {}
        return [
            {**_position(position, quotes.get(position.product_id)), "exit": armed.get(position.position_id)}
            for position in (self.book.positions if self.book else ())
        ]

    def cooldowns(self) -> list[Answer]:
        return [
            {"product_id": c.product_id, "kind": c.kind, "until": utc_text(c.until_s), "reason": c.reason, "by": c.by}
            for c in (self.book.cooldowns if self.book else ())
        ]

    def balance(self) -> Answer:
        if self.book is None:
            return {"quote_total_usd": None, "quote_available_usd": None, "foreign": [], "flows_usd": None}
        return {
            "quote_total_usd": _text(self.book.quote_total_usd),
            "quote_available_usd": _text(self.book.quote_available_usd),
            "foreign": [{"currency": item.currency, "size": _text(item.size)} for item in self.book.foreign],
            "flows_usd": _text(self.book.flows_usd),
        }

    def exposure(self) -> Answer:
        """USD at worst case: positions at the newest bid (else their cost), open and unknown entries as reserved."""
        quotes = self.quotes()
        by_product: dict[str, dict[str, Decimal]] = {}
        for position in self.book.positions if self.book else ():
            quote = quotes.get(position.product_id)
            row = by_product.setdefault(position.product_id, {"position_usd": ZERO, "entries_usd": ZERO})
            row["position_usd"] += position.seen_size * (quote.bid if quote else position.average_price)
        for order in self.book.orders if self.book else ():
            if order.purpose is Purpose.ENTRY and order.ended is None:
                row = by_product.setdefault(order.product_id, {"position_usd": ZERO, "entries_usd": ZERO})
                row["entries_usd"] += order.worst_usd
        total = sum((sum(row.values(), ZERO) for row in by_product.values()), ZERO)
        return {
            "total_usd": _text(total),
            "nav_usd": _text(self.latch.nav_usd) if self.latch else None,
            "caps": (self.effective_config or {}).get("risk", {}).get("caps", {}),
            "by_product": {
                key: {name: _text(usd) for name, usd in row.items()} for key, row in sorted(by_product.items())
            },
        }

    def breakers(self) -> list[Answer]:
        now = self.boot_clock()
        return [
            {
                "code": b.code,
                "open": b.open,
                "measured": b.measured,
                "reason": b.reason,
                "values": dict(b.values),
                "for_s": round(now - b.since_boot_s, 1) if b.since_boot_s is not None else None,
            }
            for b in (self.health.breakers if self.health else ())
        ]

    def latches(self) -> list[Answer]:
        return [
            {
                "code": latch.code,
                "values": dict(latch.values),
                "since": utc_text(latch.since_s),
                "until": utc_text(latch.until_s) if latch.until_s is not None else None,
            }
            for latch in (self.latch.latches if self.latch else ())
        ]

    def why_answer(self, args: Mapping[str, str]) -> Answer:
        product = args.get("symbol", "")
        entries = {entry.product_id: entry for entry in self.universe.entries} if self.universe else {}
        if product not in self.why and product not in entries:
            if not entries:
                raise NotNowError(
                    "the operator has just started and does not know the symbols yet: ask again in a second"
                )
            raise ValueError(f"{product!r} is not a symbol of this bot; it has: {', '.join(sorted(entries))}")
        decisions, standing = list(self.why.get(product, ())), self.standing.get(product)
        entry = entries.get(product)
        facts = {
            "product_id": product,
            "eligible": entry.eligible if entry else None,
            "reason": entry.reason if entry else "not in the universe",
        }
        if standing is None:
            return {**facts, "decisions": decisions, "standing": None, "counts": {}}
        counts = standing["counts"]
        often = ", ".join(f"{code} {n}" for code, n in sorted(counts.items(), key=lambda one: -one[1]))
        now_so = {**standing, "text": f"stands; evaluations so far: {often}"}
        return {**facts, "decisions": [*decisions, now_so], "standing": standing, "counts": counts}

    def conditions_answer(self) -> list[Answer]:
        return [
            {"fingerprint": c.fingerprint, "level": c.level, "text": c.text, "values": jsonable(c.values)}
            for c in sorted(self.conditions.values(), key=lambda c: (c.level != "critical", c.fingerprint))
        ]


def order_ending(record: Answer) -> Answer:
    """An order's end as one of the decisions about its product, as in order_rejected with the venue's word for it."""
    kept = ("at", "role", "product_id", "config_hash")
    return {
        **{key: record[key] for key in kept if key in record},
        "code": f"order_{record['to']}",
        "text": str(record.get("reason", "")),
        "values": {"client_order_id": record.get("client_order_id", "")},
    }


def folded(decisions: Iterable[Answer]) -> list[Answer]:
    """Each verdict about a product once, by its newest record, with how often it came: what repeats each quarter of a minute
    would push all else off a screen.
    """
    found: dict[tuple[Any, Any], Answer] = {}
    for record in decisions:
        key = (record.get("product_id"), record.get("code"))
        before = found.pop(key, None)
        found[key] = {**record, "times": 1 if before is None else before["times"] + 1}
    return list(found.values())


def jsonable(value: Any) -> Any:
    """Decimals to plain text, tuples and sets to lists, attrs objects to dicts: for `--json`, page and log."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if attrs.has(type(value)):
        return {field.name: jsonable(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    return str(value)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _newer(old: Any, new: Any) -> Any:
    return new if old is None or rank(new) >= rank(old) else old


def _order(order: BookOrder) -> Answer:
    return {
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id,
        "product_id": order.product_id,
        "side": order.side.value,
        "purpose": order.purpose.value,
        "status": order.status,
        "base_size": _text(order.base_size),
        "filled_size": _text(order.filled_size),
        "limit_price": _text(order.limit_price),
        "worst_usd": _text(order.worst_usd),
        "post_only": order.post_only,
        "saved_at": utc_text(order.saved_s),
        "strategy": order.strategy,
    }


def _position(position: BookPosition, quote: Quote | None) -> Answer:
    bid = quote.bid if quote else None
    pnl = (bid - position.average_price) * position.seen_size if bid is not None else None
    return {
        "position_id": position.position_id,
        "product_id": position.product_id,
        "size": _text(position.seen_size),
        "booked_size": _text(position.booked_size),
        "average_price": _text(position.average_price),
        "stop_price": _text(position.stop_price),
        "target_price": _text(position.target_price),
        "trailing_pct": _text(position.trailing_pct),
        "hold_until": utc_text(position.hold_until_s),
        "opened_at": utc_text(position.opened_s),
        "bid": _text(bid),
        "unrealised_usd": _text(pnl.quantize(Decimal("0.0001"))) if pnl is not None else None,
        "strategy": position.strategy,
        "adopted_by": position.adopted_by,
        "dust": position.dust,
    }


def _quantiles(stage: str, took_s: Iterable[float]) -> Answer:
    """Stage of an order's life in milliseconds over the newest orders: median, 95th percentile, largest."""
    ordered = sorted(took_s)
    return {
        "stage": stage,
        "orders": len(ordered),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000, 2),
        "max_ms": round(ordered[-1] * 1000, 2),
    }


def _child(child: Any) -> Answer:
    record = attrs.asdict(child)
    record["incarnation"] = list(child.incarnation) if child.incarnation else None
    return record
