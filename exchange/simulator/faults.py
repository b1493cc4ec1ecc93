"""Fault plans as data: what goes wrong, where, how often, decided by a seed, written down when it happens.

    {"seed": 7, "faults": [{"kind": "hold", "method": "POST", "path": "/orders", "seconds": 30, "count": 1}, ...]}

Which request, connection or moment a fault meets (all optional): `method`, `path` (a part of the path), `match` (a part
of the body, or of the query), `host` (market | user), `channel`; `skip` the first n, at most `count` times, with `chance`,
from `after_s` on for `for_s` (real seconds since the plan was posted). The kinds, by where they act:

    a request   hold {seconds, at: arrival|effect}  processed later, even when its connection died
                delay {seconds}                     the reply is late, the effect is not
                drop_request                        the connection is reset, nothing happened
                drop_reply                          it happened, the connection is reset
                status {status, body: json|html|text|truncated|empty, effect: bool, retry_after_s}
                truncate · html · trickle {seconds} the effect, then a reply cut in half, as HTML, a byte at a time
                refuse {reason}                     HTTP 200, success false
                (a WebSocket handshake is a GET of /ws_market or /ws_user: offline, drop_request, status)
    a socket    disconnect {code; 1006 = abort} · silence {for_s} · duplicate · reorder · gap · garbage · bad_tick {factor}
    the venue   setting {name, value}               settings.Settings, e.g. listing_lag_s, cancel_s; public_per_s, ...
                product {product_id, flags}         e.g. {"cancel_only": true}
                status_page {component, status, indicator, incident}
                offline                             every connection is reset

Faults of the venue last `for_s` (for ever without) and are undone by DELETE faults. Two plans compose: each keeps its own
rules, random numbers and counts. This module decides; gate, sockets and the running venue carry out.
"""

from __future__ import annotations

import random
from typing import Any

from attrs import define, field

REQUEST_KINDS = frozenset(
    ["hold", "delay", "drop_request", "drop_reply", "status", "truncate", "html", "trickle", "refuse", "offline"]
)  # fmt: skip
SOCKET_KINDS = frozenset(["disconnect", "silence", "duplicate", "reorder", "gap", "garbage", "bad_tick"])
VENUE_KINDS = frozenset(["setting", "product", "status_page"])
KINDS = REQUEST_KINDS | SOCKET_KINDS | VENUE_KINDS
NUMBERS = ("seconds", "after_s", "for_s", "chance", "count", "skip", "status", "code", "factor", "retry_after_s")
WORDS = frozenset(
    [
        "kind",
        "id",
        "method",
        "path",
        "match",
        "host",
        "channel",
        "at",
        "body",
        "effect",
        "reason",
        "name",
        "value",
        "product_id",
        "flags",
        "component",
        "indicator",
        "incident",
        "percent",
    ]
)


class FaultError(ValueError):
    """The plan is not usable; the text is one sentence that names the fault and the field."""


@define
class Rule:
    fault_id: str
    kind: str
    spec: dict[str, Any]
    from_s: float
    until_s: float
    rng: random.Random
    left: float = float("inf")
    skip: int = 0
    undo: list[tuple[str, Any]] = field(factory=list)
    applied: bool = False

    def active(self, now_s: float) -> bool:
        return self.from_s <= now_s < self.until_s and self.left > 0

    def draw(self) -> bool:
        """Something meets the rule's place: does the fault happen now?"""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.rng.random() >= float(self.spec.get("chance", 1.0)):
            return False
        self.left -= 1
        return True


@define
class Faults:
    """All rules in force and the log of what was injected. `now_s` is real time (boot clock)."""

    rules: list[Rule] = field(factory=list)
    log: list[dict[str, Any]] = field(factory=list)
    plans: int = 0

    def add(self, plan: Any, now_s: float) -> list[str]:
        """Take a plan in; the ids of its faults. Raises FaultError and then changes nothing."""
        if isinstance(plan, list):
            plan = {"faults": plan}
        if not isinstance(plan, dict) or not isinstance(plan.get("faults", [plan]), list):
            raise FaultError('a fault plan is {"seed": ..., "faults": [...]}')
        rows = plan.get("faults", [plan])
        number = self.plans + 1
        rules = [self._rule(row, f"{number}.{n}", plan.get("seed", 0), now_s) for n, row in enumerate(rows, 1)]
        self.plans = number
        self.rules.extend(rules)
        return [rule.fault_id for rule in rules]

    @staticmethod
    def _rule(row: Any, name: str, seed: Any, now_s: float) -> Rule:
        if not isinstance(row, dict) or row.get("kind") not in KINDS:
            kind = row.get("kind") if isinstance(row, dict) else row
            raise FaultError(f"fault {name}: kind {kind!r} is unknown; there are {', '.join(sorted(KINDS))}")
        for key, value in row.items():
            if key in NUMBERS:
                if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
                    raise FaultError(f"fault {name} ({row['kind']}): {key} = {value!r} is not a number >= 0")
            elif key not in WORDS:
                raise FaultError(f"fault {name} ({row['kind']}): {key!r} is not a field of a fault")
        from_s = now_s + float(row.get("after_s") or 0.0)
        lasting = row.get("for_s")
        # Without for_s a silence would never end by itself; that is what for_s absent means everywhere.
        until_s = from_s + float(lasting) if lasting is not None else float("inf")
        return Rule(
            fault_id=str(row.get("id", name)),
            kind=row["kind"],
            spec=row,
            from_s=from_s,
            until_s=until_s,
            rng=random.Random(f"{seed}:{name}"),
            left=float(row["count"]) if row.get("count") is not None else float("inf"),
            skip=int(row.get("skip") or 0),
        )

    def request(self, method: str, path: str, text: str, now_s: float) -> list[Rule]:
        """The faults this request meets, in the plan's order."""
        return [
            rule
            for rule in self.rules
            if rule.kind in REQUEST_KINDS
            and rule.active(now_s)
            and str(rule.spec.get("method", method)).upper() == method
            and str(rule.spec.get("path", "")) in path
            and str(rule.spec.get("match", "")) in text
            and rule.draw()
        ]

    def socket(self, host: str, channel: str, now_s: float, kinds: frozenset[str] = SOCKET_KINDS) -> list[Rule]:
        """The faults that a frame of this channel on a connection of this host meets."""
        if not self.rules:
            return []
        return [
            rule
            for rule in self.rules
            if rule.kind in kinds
            and rule.active(now_s)
            and rule.spec.get("host", host) == host
            and rule.spec.get("channel", channel) == channel
            and rule.draw()
        ]

    def due(self, now_s: float) -> tuple[list[Rule], list[Rule]]:
        """Faults of the venue that begin and that end by now."""
        begin = [rule for rule in self.rules if rule.kind in VENUE_KINDS and not rule.applied and rule.active(now_s)]
        end = [rule for rule in self.rules if rule.applied and now_s >= rule.until_s]
        return begin, end

    def tidy(self, now_s: float) -> None:
        """Forget rules that can do nothing any more."""
        self.rules = [rule for rule in self.rules if (rule.until_s > now_s and rule.left > 0) or rule.applied]

    def note(self, rule: Rule, at_s: float, real_s: float, detail: str) -> None:
        self.log.append({"fault": rule.fault_id, "kind": rule.kind, "at": at_s, "boot_s": real_s, "detail": detail})

    def as_json(self, now_s: float) -> dict[str, Any]:
        return {
            "faults": [
                {**rule.spec, "id": rule.fault_id, "active": rule.active(now_s) or rule.applied} for rule in self.rules
            ],
            "log": list(self.log),
        }
