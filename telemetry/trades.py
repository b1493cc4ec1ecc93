"""From oms' own rows to trades and to what is still held: positions by what booked fills bought and sold.

A backtest, `ctl trades` and the page read the same rows. What a trade realised is the book's own figure, which also knows of reversals,
adoptions and coins that left by another hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import frozen

from trading.ledger import REVERSAL
from trading.tiers import Groups
from trading.values import ZERO, plain, utc_text

if TYPE_CHECKING:
    from state.book import Books

Row = Mapping[str, Any]


@frozen(kw_only=True)
class Trade:
    """One position from its first fill to flat. Prices are averages; pnl_usd is net of all fees."""

    position_id: str
    product_id: str
    theme: str
    tier: str
    strategy: str
    trigger: str
    exit_reason: str
    opened_s: float
    closed_s: float
    base_size: Decimal
    entry_price: Decimal
    exit_price: Decimal
    fees_usd: Decimal
    pnl_usd: Decimal

    @property
    def pnl_pct(self) -> float:
        cost = self.entry_price * self.base_size
        return float(self.pnl_usd / cost) * 100 if cost else 0.0


@frozen(kw_only=True)
class Holding:
    """A position that is still open at the end. pnl_usd: at the last mid, after the fees paid so far, before those of an exit."""

    position_id: str
    product_id: str
    strategy: str
    opened_s: float
    base_size: Decimal
    entry_price: Decimal
    mark_price: Decimal
    pnl_usd: Decimal


def closed(
    fills: Iterable[Row], positions: Mapping[str, Row], intents: Mapping[str, Row], groups: Groups
) -> list[Trade]:
    """Positions that are over, by the time of their last sale."""
    exits = {str(i.get("position_id")): i for i in intents.values() if i.get("purpose") != "entry"}
    found = []
    for position_id, (buys, sells) in by_position(fills).items():
        position = positions.get(position_id, {})
        bought, paid = summed(buys)
        sold, got = summed(sells)
        if not bought or not sold or not position.get("outcome"):
            continue
        entry = intents.get(position_id, {})
        product = str(buys[0]["product_id"])
        found.append(
            Trade(
                position_id=position_id,
                product_id=product,
                theme=groups.theme(product),
                tier=groups.tier(product) or "",
                strategy=str(entry.get("strategy") or position.get("strategy") or ""),
                trigger=str(entry.get("trigger", "")),
                exit_reason=str(exits[position_id].get("reason", "")) if position_id in exits else "",
                opened_s=min(float(f["at_s"]) for f in buys),
                closed_s=max(float(f["at_s"]) for f in sells),
                base_size=sold,
                entry_price=paid / bought,
                exit_price=got / sold,
                fees_usd=fees_of([*buys, *sells]),
                pnl_usd=Decimal(str(position["realised_usd"])),
            )
        )
    return sorted(found, key=lambda trade: (trade.closed_s, trade.product_id, trade.position_id))


def closed_in(book: Books) -> list[Trade]:
    """The same of the rows of a book on the disk, for people: without theme and tier, which the configuration alone knows."""
    return closed(book.fills, book.positions, book.intents, Groups())


def still_open(
    fills: Iterable[Row], positions: Mapping[str, Row], intents: Mapping[str, Row], marks: Mapping[str, Decimal]
) -> list[Holding]:
    """Positions that the end of the data left open, oldest first, valued at the last mid."""
    found = []
    for position_id, (buys, sells) in by_position(fills).items():
        bought, paid = summed(buys)
        if not bought or positions.get(position_id, {}).get("outcome"):
            continue
        sold, got = summed(sells)
        product = str(buys[0]["product_id"])
        left, mark = bought - sold, marks.get(product, ZERO)
        found.append(
            Holding(
                position_id=position_id,
                product_id=product,
                strategy=str(intents.get(position_id, {}).get("strategy", "")),
                opened_s=min(float(f["at_s"]) for f in buys),
                base_size=left,
                entry_price=paid / bought,
                mark_price=mark,
                pnl_usd=got + left * mark - paid - fees_of([*buys, *sells]),
            )
        )
    return sorted(found, key=lambda holding: (holding.opened_s, holding.product_id, holding.position_id))


def by_position(fills: Iterable[Row]) -> dict[str, tuple[list[Row], list[Row]]]:
    """Position -> (its buys, its sells)."""
    found: dict[str, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for row in fills:
        found[str(row["position_id"])][row["side"] == "SELL"].append(row)
    return found


def summed(fills: list[Row]) -> tuple[Decimal, Decimal]:
    """(size, size x price); a reversal takes away what it undoes."""
    sizes = [_sign(f) * Decimal(str(f["base_size"])) for f in fills]
    return sum(sizes, ZERO), sum((size * Decimal(str(f["price"])) for size, f in zip(sizes, fills, strict=True)), ZERO)


def fees_of(fills: list[Row]) -> Decimal:
    """USD."""
    return sum((_sign(f) * Decimal(str(f["fee_usd"])) for f in fills), ZERO)


def _sign(fill: Row) -> int:
    return -1 if fill.get("kind") == REVERSAL else 1


def trade_row(trade: Trade) -> dict[str, Any]:
    """One closed position; averages are cut to twelve digits, money to a hundredth of a cent."""
    return {
        "position_id": trade.position_id,
        "opened_at": utc_text(trade.opened_s),
        "closed_at": utc_text(trade.closed_s),
        "product_id": trade.product_id,
        "strategy": trade.strategy,
        "base_size": plain(trade.base_size),
        "entry_price": plain(average(trade.entry_price)),
        "exit_price": plain(average(trade.exit_price)),
        "fees_usd": plain(cents(trade.fees_usd)),
        "pnl_usd": plain(cents(trade.pnl_usd)),
        "pnl_pct": round(trade.pnl_pct, 3),
        "exit_reason": trade.exit_reason or None,
        "held_s": round(trade.closed_s - trade.opened_s, 1),
    }


def average(price: Decimal) -> Decimal:
    return Decimal(f"{price:.12g}")


def cents(usd_amount: Decimal) -> Decimal:
    return usd_amount.quantize(Decimal("0.0001"))


def sums(found: Sequence[Trade]) -> dict[str, Any]:
    """What `found` came to."""
    return {
        "trades": len(found),
        "won": sum(trade.pnl_usd > 0 for trade in found),
        "realised_usd": plain(cents(sum((trade.pnl_usd for trade in found), ZERO))),
        "fees_usd": plain(cents(sum((trade.fees_usd for trade in found), ZERO))),
    }


def told(found: Sequence[Trade], shown: int) -> dict[str, Any]:
    """For the page: the newest of `found`, what all of them came to, and how the sum grew: (closed_s, USD so far)."""
    so_far, curve = ZERO, []
    for trade in found:
        so_far += trade.pnl_usd
        curve.append([trade.closed_s, float(so_far)])
    return {"trades": [trade_row(trade) for trade in found[::-1][:shown]], "sums": sums(found), "curve": curve}
