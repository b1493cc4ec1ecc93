"""What must hold, judged by the simulated venue's own ledger and the book on disk, never by the bot's view.

Pure: two pictures in, sentences out. Each sentence begins with the invariant's id of DESIGN section 6.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from attrs import frozen

OVER = frozenset({"CANCELED", "FILLED", "EXPIRED", "REJECTED", "NOT_PLACED", "DENIED"})
LIVE = frozenset({"OPEN", "PENDING", "QUEUED", "CANCEL_QUEUED"})
Ledger = Mapping[str, Any]
"""The back door's `state`: orders, fills, accounts in Coinbase's field names."""


@frozen(kw_only=True)
class Book:
    """What `bulkhead.db` holds. intents: client_order_id -> venue seconds of the save. fills: (order id, trade id)."""

    intents: Mapping[str, float]
    statuses: Mapping[str, str]
    fills: Sequence[tuple[str, str]]
    held: Mapping[str, Decimal]


def ours(ledger: Ledger, tag: str) -> list[Mapping[str, Any]]:
    return [order for order in ledger["orders"] if str(order["client_order_id"]).startswith(f"bh-{tag}-")]


def resting(ledger: Ledger, tag: str) -> list[Mapping[str, Any]]:
    return [order for order in ours(ledger, tag) if order["status"] in LIVE]


PRODUCT_PCT, TOTAL_PCT = Decimal(4), Decimal(25)
"""The caps of the shipped configuration, percent of net asset value."""
CAP_SLACK = Decimal("1.3")
"""The ledger knows what coins cost, the bot caps what they are worth: after a fall there is room for more at the old cost."""


def exposure_usd(ledger: Ledger, tag: str) -> dict[str, Decimal]:
    """Product -> what our coins cost (average cost, fees included) and what our resting buys may still cost, by the ledger."""
    mine = {order["order_id"]: order for order in ours(ledger, tag)}
    size: dict[str, Decimal] = defaultdict(Decimal)
    cost: dict[str, Decimal] = defaultdict(Decimal)
    for fill in ledger["fills"]:
        if fill["order_id"] not in mine:
            continue
        product, amount = fill["product_id"], Decimal(fill["size"])
        if fill["side"] == "BUY":
            size[product] += amount
            cost[product] += amount * Decimal(fill["price"]) + Decimal(fill["commission"])
        elif size[product] > 0:
            cost[product] -= cost[product] * min(amount, size[product]) / size[product]
            size[product] -= min(amount, size[product])
    for order in mine.values():
        if order["status"] in LIVE and order["side"] == "BUY":
            asked = next(iter(order["order_configuration"].values()))
            leaves = Decimal(asked["base_size"]) - Decimal(order["filled_size"])
            cost[order["product_id"]] += leaves * Decimal(asked["limit_price"])
    return dict(cost)


def judge_caps(ledger: Ledger, tag: str) -> list[str]:
    """I3, roughly (the fault simulation has it to the digit): a second entry beside one of unknown fate would pass it."""
    found = []
    by_product = exposure_usd(ledger, tag)
    cash = sum(
        (
            Decimal(account[part]["value"])
            for account in ledger["accounts"]
            if account["currency"] in ("USD", "USDC")
            for part in ("available_balance", "hold")
        ),
        Decimal(0),
    )
    nav = cash + sum(by_product.values(), Decimal(0))
    for product, usd in by_product.items():
        if usd > nav * PRODUCT_PCT / 100 * CAP_SLACK:
            found.append(f"I3 {product}: {usd:.2f} USD of {nav:.2f} are above the cap of {PRODUCT_PCT} %")
    total = sum(by_product.values(), Decimal(0))
    if total > nav * TOTAL_PCT / 100 * CAP_SLACK:
        found.append(f"I3 all products: {total:.2f} USD of {nav:.2f} are above the cap of {TOTAL_PCT} %")
    return found


def judge_always(ledger: Ledger, book: Book | None, tag: str, known_before: Iterable[str]) -> list[str]:
    """What holds at every instant. known_before: client ids that stood in the book before the ledger was read."""
    found = []
    by_id = Counter(order["client_order_id"] for order in ours(ledger, tag))
    found += [f"I2 {client_id} has {count} orders at the venue" for client_id, count in by_id.items() if count > 1]
    if book is not None:
        known = set(known_before) | set(book.intents)
        found += [f"I1 {client_id} is at the venue and has no intent" for client_id in by_id if client_id not in known]
        twice = [key for key, count in Counter(book.fills).items() if count > 1]
        found += [f"I8 fill {order} {trade} is booked twice" for order, trade in twice]
    return found


def judge_settled(ledger: Ledger, book: Book, tag: str) -> list[str]:
    """What holds when nothing is on its way: the books are equal to the last digit."""
    found = []
    mine = {order["order_id"] for order in ours(ledger, tag)}
    venue_fills = {(fill["order_id"], fill["trade_id"]) for fill in ledger["fills"] if fill["order_id"] in mine}
    booked = set(book.fills)
    found += [f"I8 fill {order} {trade} of the venue is not booked" for order, trade in sorted(venue_fills - booked)]
    found += [
        f"I8 fill {order} {trade} is booked and the venue has no such" for order, trade in sorted(booked - venue_fills)
    ]
    held: dict[str, Decimal] = defaultdict(Decimal)
    for fill in ledger["fills"]:
        if fill["order_id"] in mine:
            held[fill["product_id"]] += Decimal(fill["size"]) * (1 if fill["side"] == "BUY" else -1)
    for product in sorted(set(held) | set(book.held)):
        there, here = held.get(product, Decimal(0)), book.held.get(product, Decimal(0))
        if there != here:
            found.append(f"I8 {product}: the venue's fills hold {there}, the book {here}")
    live = {order["client_order_id"] for order in resting(ledger, tag)}
    unknown = [c for c in live if not book.statuses.get(c) or book.statuses[c] in OVER]
    found += [
        f"I5 {client_id} rests at the venue, the book says {book.statuses.get(client_id) or 'nothing'}"
        for client_id in unknown
    ]
    return found


def judge_stopped(ledger: Ledger, tag: str, exit_code: int, left: Mapping[int, str], took_s: float) -> list[str]:
    """After SIGTERM (I4, I17): nothing of ours rests, no process is left, exit 0, within 10 s; else it says so by exit 1."""
    found = []
    if exit_code == 0:
        found += [f"I4 {order['client_order_id']} rests at the venue after exit 0" for order in resting(ledger, tag)]
    if exit_code not in (0, 1):
        found.append(f"I4 exit {exit_code} after SIGTERM")
    if took_s > 10.5:
        found.append(f"I4 the stop took {took_s:.1f} s")
    found += [f"I17 process {pid} is left: {line[:80]}" for pid, line in left.items()]
    return found
