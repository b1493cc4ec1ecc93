"""What is told of trades to people who did not ask: each purchase and each closed position as a line, and a day as a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from state.book import Books
from telemetry.figures import brief, percent, seconds, short, usd
from telemetry.trades import Trade, average, by_position, cents, closed_in, fees_of, summed, sums
from trading.ledger import ADOPTED
from trading.money import DAY_S
from trading.news import NewsItem, digest_key
from trading.order_states import OrderStatus
from trading.values import base_currency, plain, utc_text

Row = Mapping[str, Any]
NAMED_MAX = 10
"""How many open positions a digest names."""


def news_of(book: Books) -> list[NewsItem]:
    """Purchases that are over and positions that are closed, by their time."""
    trades = closed_in(book)
    items = [*_bought(book), *(_sold(trade) for trade in trades)]
    return sorted(items, key=lambda item: (item.at_s, item.key))


def _bought(book: Books) -> list[NewsItem]:
    found = []
    for position_id, (buys, _) in by_position(book.fills).items():
        position, entry = book.positions[position_id], book.orders.get(position_id)
        if entry is not None and not OrderStatus(entry["status"]).terminal:
            continue  # more of it may come
        size, paid = summed(buys)
        if not size:
            continue
        price = average(paid / size)
        by_hand = position["adopted_by"] or all(f["kind"] == ADOPTED for f in buys)
        product = position["product_id"]
        what = f"{short(plain(size))} {base_currency(product)} at {short(plain(price))}, {usd(plain(size * price))}"
        plan = _plan(position, price)
        if by_hand:
            title, text = f"{product} taken over", f"{what}; given by {position['adopted_by'] or 'hand'}; {plan}"
        else:
            title = f"{product} bought"
            text = f"{what}, fees {usd(plain(fees_of(buys)))}; {position['strategy']}; {plan}"
        found.append(NewsItem(key=f"bought:{position_id}", at_s=float(position["opened_s"]), title=title, text=text))
    return found


def _plan(position: Row, price: Decimal) -> str:
    """Stop and target as they were at the purchase; both move later."""
    stop = price * (1 - Decimal(position["stop_pct"]) / 100)
    target = price * (1 + Decimal(position["target_pct"]) / 100)
    hold = f", at most {position['hold_s_max'] / 3600:g} h" if position["hold_s_max"] else ""
    return f"stop {brief(plain(stop))}, target {brief(plain(target))}{hold}"


def _sold(trade: Trade) -> NewsItem:
    result = usd(plain(cents(trade.pnl_usd)), sign=True)
    text = (
        f"{trade.pnl_pct:+.2f} % after {seconds(trade.closed_s - trade.opened_s)}; "
        f"{trade.exit_reason or 'left by another hand'}; {short(plain(trade.base_size))} "
        f"{base_currency(trade.product_id)} bought at "
        f"{short(plain(average(trade.entry_price)))}, sold at {short(plain(average(trade.exit_price)))}, "
        f"fees {usd(plain(trade.fees_usd))}; {trade.strategy}"
    )
    return NewsItem(
        key=f"closed:{trade.position_id}", at_s=trade.closed_s, title=f"{trade.product_id} sold, {result}", text=text
    )


def digest(book: Books, day_s: float, stands: Sequence[str], *, over: bool = True) -> NewsItem:
    """The day that began at `day_s` (UTC): what was traded, and how the bot stands now (`standing`).

    book: everything that has a fill since `day_s`. over: false while the day goes on.
    """
    until_s = day_s + DAY_S
    trades = [t for t in closed_in(book) if day_s <= t.closed_s < until_s]
    bought = sum(day_s <= float(p["opened_s"]) < until_s for p in book.positions.values())
    total = sums(trades)
    realised = usd(total["realised_usd"], sign=True)
    lines = [f"bought {bought}, sold {total['trades']}"]
    if trades:
        lines[0] += f" (won {total['won']}), fees {usd(total['fees_usd'])}"
        lines += [_extremes(trades)]
    lines += stands
    return NewsItem(
        key=digest_key(day_s),
        at_s=until_s,
        title=f"{utc_text(day_s)[:10]}{'' if over else ' so far'}: {realised} realised",
        text="\n".join(lines),
    )


def _extremes(trades: Sequence[Trade]) -> str:
    ordered = sorted(trades, key=lambda trade: trade.pnl_usd)
    names = [f"{t.product_id} {usd(plain(cents(t.pnl_usd)), sign=True)}" for t in (ordered[-1], ordered[0])]
    return f"best {names[0]}, worst {names[1]}" if len(trades) > 1 else names[0]


def standing(status: Row | None) -> list[str]:
    """How the bot stands by its operator's word. status: None when it did not answer."""
    if status is None:
        return ["how the bot stands now is not known: its operator did not answer"]
    causes = f" ({', '.join(status['causes'])})" if status["causes"] else ""
    lines = [f"{status['trading_state']}{causes}"]
    if status["nav_usd"] is not None:
        fall = status["drawdown_pct"]
        lines.append(f"NAV {usd(status['nav_usd'])}" + (f", {percent(fall)} below its highest" if fall else ""))
    held = [position for position in status["positions"] if not position["dust"]]
    named = [f"{p['product_id']} {short(p['size'])} ({usd(p['unrealised_usd'], sign=True)})" for p in held[:NAMED_MAX]]
    more = [f"{len(held) - NAMED_MAX} more"] if len(held) > NAMED_MAX else []
    lines.append(f"held: {', '.join(named + more)}" if held else "nothing is held")
    if status["conditions"]:
        count = len(status["conditions"])
        lines.append(f"{count} condition{'s stand' if count > 1 else ' stands'}: see `run.py ctl conditions`")
    return lines
