"""What a complete page of balances tells: what is foreign, what has left by another hand, what money came and went."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from attrs import evolve

from trading.messages.orders import Balance, Page
from trading.oms_desk import Balances, Desk, Pass, QuoteDiff
from trading.oms_people import adopt_from_venue
from trading.oms_positions import reduce_externally
from trading.oms_rows import Flow
from trading.order_states import OrderStatus
from trading.reconcile import compare_balances, totals
from trading.values import ZERO, Side, base_currency, derived_id, plain

CENT = Decimal("0.01")


def balances_answered(d: Desk, one: Pass, message: Page) -> None:
    rows = tuple(item for item in message.items if isinstance(item, Balance))
    booked = d.book.booked_by_currency()
    gap = compare_balances(rows, booked, d.book.expected_quote())
    d.balances = Balances(
        asked_at=message.asked_boot_s or one.asked_at,
        answered_at=d.now.boot_s,
        rows=rows,
        totals=totals(rows),
        booked=booked,
        gap=gap,
        cash_usd=d.book.meta.cash_usd,
    )
    d.changed = True
    if d.key_unchecked:
        d.drift_usd = ZERO
        return  # it may be another account's: what is missing there has not left ours
    quiet = not d.book.unbooked and len(d.book.fills) == one.booked_before
    closed_n, closed_usd = _shortfalls(d, gap.short)
    adopt_from_venue(d, to_the_end=one.rebuilding_s == 0.0)
    flows_n = _quote(d, gap.quote_total, gap.quote_diff, quiet=quiet)
    one.differences += closed_n + flows_n
    # Only what two passes agreed on: a fill that happens between two pages must not look like drift. Flows are none either.
    d.drift_usd = closed_usd


def _shortfalls(d: Desk, short: Mapping[str, tuple[Decimal, Decimal]]) -> tuple[int, Decimal]:
    """Less of a coin than we booked, twice, >= 5 s apart, with nothing unknown or unbooked in it, nor a sale that may have
    filled and is listed late: it left by another hand.

    How many were closed by this pass, and what they were worth in USD.
    """
    closed, value = 0, ZERO
    for currency in list(d.shortfalls):
        if currency not in short or _unsettled(d, currency):
            del d.shortfalls[currency]
    for currency, (ours, shows) in short.items():
        if _unsettled(d, currency):
            continue
        before = d.shortfalls.get(currency)
        if before is None or before[0] != (ours, shows):
            d.shortfalls[currency] = ((ours, shows), d.now.boot_s)
        elif d.now.boot_s - before[1] >= d.settings.reduction_apart_s - 0.001:
            value += (ours - shows) * _price_of(d, currency)
            closed += 1
            _reduce(d, currency, ours - shows)
            del d.shortfalls[currency]
            d.book.raised = True
    return closed, value


def _reduce(d: Desk, currency: str, missing: Decimal) -> None:
    """The newest positions first: what a person sold by hand is most likely what was bought last."""
    held = [p for p in d.book.positions.values() if base_currency(p.product_id) == currency and p.booked_size > ZERO]
    for position in sorted(held, key=lambda p: -p.opened_s):
        cut = min(missing, position.booked_size)
        if cut > ZERO:
            cause = "two balance passes show less than was booked"
            reduce_externally(d, position, cut, cause, d.now.venue_s, worth_usd=cut * _price_of(d, currency))
            missing -= cut


def _unsettled(d: Desk, currency: str) -> bool:
    keys = [*d.book.working, *d.book.unbooked]
    return any(
        base_currency(o.intent.product_id) == currency
        and (
            o.unknown
            or o.unbooked_size > ZERO
            or o.status is OrderStatus.SUBMITTED
            or (o.intent.side is Side.SELL and not o.status.terminal)
        )
        for o in (d.book.orders[key] for key in keys)
    )


def _price_of(d: Desk, currency: str) -> Decimal:
    for position in d.book.positions.values():
        if base_currency(position.product_id) == currency:
            return d.marks.get(position.product_id) or position.average_price or position.entry_price
    return ZERO


def _quote(d: Desk, total: Decimal, diff: Decimal | None, *, quiet: bool) -> int:
    """Quote currency that no fill of ours explains is a flow, once two quiet passes >= 5 s apart agree on it. How many it were."""
    book = d.book
    if diff is None:
        if quiet:
            book.put_meta(evolve(book.meta, base_quote_usd=total, base_cash_usd=book.meta.cash_usd))
        return 0
    settled = quiet and not any(o.unknown or o.status is OrderStatus.SUBMITTED for o in book.open_orders())
    if abs(diff) < CENT or not settled:
        d.quote_diff = None
        return 0
    before = d.quote_diff
    if before is None or before.usd != diff:
        d.quote_diff = QuoteDiff(diff, d.now.boot_s, 1 if before is None else before.passes + 1)
        return 0
    if d.now.boot_s - before.seen_at < d.settings.reduction_apart_s - 0.001:
        return 0
    d.quote_diff = None
    book.put_meta(evolve(book.meta, base_quote_usd=total, base_cash_usd=book.meta.cash_usd))
    book.put_flow(
        Flow(
            flow_id=derived_id("flow", plain(total), plain(diff), d.now.venue_s),
            currency="USD",
            size=diff,
            usd=diff,
            kind="deposit" if diff > ZERO else "withdrawal",
            cause="the quote balance moved by no fill of ours",
            at_s=d.now.venue_s,
        )
    )
    d.note("flow", usd=plain(diff))
    return 1
