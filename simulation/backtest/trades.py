"""From oms' own rows to trades and to what is still held: positions by what booked fills bought and sold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from simulation.backtest.report import Holding, Trade
from trading.tiers import Groups
from trading.values import ZERO

Row = Mapping[str, Any]


def closed(
    fills: Iterable[Row], positions: Mapping[str, Row], intents: Mapping[str, Row], groups: Groups
) -> list[Trade]:
    """Positions that are over, by the time of their last sale."""
    found = []
    for position_id, (buys, sells) in _by_position(fills).items():
        if not buys or not sells or not positions.get(position_id, {}).get("outcome"):
            continue
        entry = intents.get(position_id, {})
        exits = [i for i in intents.values() if i.get("position_id") == position_id and i.get("purpose") != "entry"]
        bought, paid = _sum(buys)
        sold, got = _sum(sells)
        fees = _fees([*buys, *sells])
        product = str(buys[0]["product_id"])
        found.append(
            Trade(
                position_id=position_id,
                product_id=product,
                theme=groups.theme(product),
                tier=groups.tier(product) or "",
                strategy=str(entry.get("strategy", "")),
                trigger=str(entry.get("trigger", "")),
                exit_reason=str(exits[-1].get("reason", "")) if exits else "",
                opened_s=min(float(f["at_s"]) for f in buys),
                closed_s=max(float(f["at_s"]) for f in sells),
                base_size=sold,
                entry_price=paid / bought,
                exit_price=got / sold,
                fees_usd=fees,
                pnl_usd=got - paid * sold / bought - fees,
            )
        )
    return sorted(found, key=lambda trade: (trade.closed_s, trade.product_id, trade.position_id))


def still_open(
    fills: Iterable[Row], positions: Mapping[str, Row], intents: Mapping[str, Row], marks: Mapping[str, Decimal]
) -> list[Holding]:
    """Positions that the end of the data left open, oldest first, valued at the last mid."""
    found = []
    for position_id, (buys, sells) in _by_position(fills).items():
        if not buys or positions.get(position_id, {}).get("outcome"):
            continue
        bought, paid = _sum(buys)
        sold, got = _sum(sells)
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
                pnl_usd=got + left * mark - paid - _fees([*buys, *sells]),
            )
        )
    return sorted(found, key=lambda holding: (holding.opened_s, holding.product_id, holding.position_id))


def _by_position(fills: Iterable[Row]) -> dict[str, tuple[list[Row], list[Row]]]:
    """Position -> (its buys, its sells)."""
    found: dict[str, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for row in fills:
        found[str(row["position_id"])][row["side"] == "SELL"].append(row)
    return found


def _sum(fills: list[Row]) -> tuple[Decimal, Decimal]:
    sizes = [Decimal(str(f["base_size"])) for f in fills]
    return sum(sizes, ZERO), sum((size * Decimal(str(f["price"])) for size, f in zip(sizes, fills, strict=True)), ZERO)


def _fees(fills: list[Row]) -> Decimal:
    return sum((Decimal(str(f["fee_usd"])) for f in fills), ZERO)
