"""Fills to lots, average cost and realised PnL net of fees: one pure fold, the same in whatever order fills were learned.

`fold(fills)` sorts by trade time (buys before sells at the same instant, then by key), so that late, repeated and
reordered reports end in the same books; duplicates are taken out by key. Average cost values what is sold; lots record,
first in first out, which purchase it came from. Cash is exact: over a closed position, the realised sum equals the sum
of all its cash flows, because the last sale takes whatever cost is left.

Kinds: FILL, CORRECTION and SYNTHETIC as they stand; REVERSAL undoes a trade (its side turned, its fee given back); ADOPTED is a
person's adoption at a stated price; EXTERNAL takes coins out that left by another hand, at cost, without PnL.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from attrs import define, field, frozen

from trading.values import ZERO, Side

ADOPTED, EXTERNAL, FILL, REVERSAL = "ADOPTED", "EXTERNAL", "FILL", "REVERSAL"
UNDOING = (REVERSAL, "CORRECTION")
"""Kinds that set a trade right and are no trade of their own."""


@frozen(kw_only=True)
class Fill:
    """One booked trade. key: "entry_id:trade_id". Sizes in base, price and fee in quote units; at_s venue seconds."""

    key: str
    entry_id: str
    trade_id: str
    venue_order_id: str
    client_order_id: str
    position_id: str | None
    product_id: str
    side: Side
    price: Decimal
    base_size: Decimal
    fee_usd: Decimal
    liquidity: str
    kind: str
    at_s: float

    @property
    def signed_size(self) -> Decimal:
        """Base units that came (positive) or went."""
        sign = 1 if self.side is Side.BUY else -1
        return self.base_size * (-sign if self.kind == REVERSAL else sign)

    @property
    def cash_usd(self) -> Decimal:
        """Quote units that came (positive) or went, fee included; a person's adoption or loss moved no cash of ours."""
        if self.kind in (ADOPTED, EXTERNAL):
            return ZERO
        fee = -self.fee_usd if self.kind == REVERSAL else self.fee_usd
        return -self.signed_size * self.price - fee


@frozen(kw_only=True)
class Lot:
    """What is left of one purchase. cost_usd excludes, fee_usd is, the share of its fee that is still carried."""

    fill_key: str
    base_size: Decimal
    left_size: Decimal
    price: Decimal
    fee_usd: Decimal
    at_s: float


@frozen(kw_only=True)
class Close:
    """One fill that realised something. realised_usd: net of its own fee and of its share of the purchases' fees."""

    fill_key: str
    base_size: Decimal
    realised_usd: Decimal
    at_s: float


@frozen(kw_only=True)
class Folded:
    """A position's books. size = bought - sold; cost_usd: of what is held, without fees; fees_usd: carried purchase fees.

    realised_usd: net, so far. average_price: cost_usd / size; the last known when nothing is held. short_size: sold
    beyond what was bought, until a late purchase covers it (zero in healthy books).
    """

    size: Decimal = ZERO
    cost_usd: Decimal = ZERO
    fees_usd: Decimal = ZERO
    average_price: Decimal = ZERO
    realised_usd: Decimal = ZERO
    fees_total_usd: Decimal = ZERO
    short_size: Decimal = ZERO
    bought_size: Decimal = ZERO
    sold_size: Decimal = ZERO
    lots: tuple[Lot, ...] = ()
    closes: tuple[Close, ...] = ()
    last_s: float = 0.0


@define
class _Lot:
    key: str
    size: Decimal
    left: Decimal
    price: Decimal
    fee: Decimal
    at_s: float


@define
class _Books:
    size: Decimal = ZERO
    cost: Decimal = ZERO
    fees: Decimal = ZERO
    average: Decimal = ZERO
    realised: Decimal = ZERO
    fees_total: Decimal = ZERO
    short: Decimal = ZERO
    short_proceeds: Decimal = ZERO
    bought: Decimal = ZERO
    sold: Decimal = ZERO
    lots: list[_Lot] = field(factory=list)
    closes: list[Close] = field(factory=list)


def fold(fills: Iterable[Fill]) -> Folded:
    """The books of one position from its fills, in whatever order and however often they are given."""
    unique = {fill.key: fill for fill in fills}
    books = _Books()
    last_s = 0.0
    _undo(unique, books)
    for fill in sorted(unique.values(), key=lambda f: (f.at_s, f.signed_size < ZERO, f.key)):
        last_s = max(last_s, fill.at_s)
        fee = -fill.fee_usd if fill.kind == REVERSAL else fill.fee_usd
        books.fees_total += fee
        if fill.signed_size >= ZERO:
            _bought(books, fill, fill.signed_size, fee)
        else:
            _sold(books, fill, -fill.signed_size, fee)
    return Folded(
        size=books.size - books.short,
        cost_usd=books.cost,
        fees_usd=books.fees,
        average_price=books.average,
        realised_usd=books.realised,
        fees_total_usd=books.fees_total,
        short_size=books.short,
        bought_size=books.bought,
        sold_size=books.sold,
        lots=tuple(
            Lot(
                fill_key=lot.key,
                base_size=lot.size,
                left_size=lot.left,
                price=lot.price,
                fee_usd=lot.fee,
                at_s=lot.at_s,
            )
            for lot in books.lots
        ),
        closes=tuple(books.closes),
        last_s=last_s,
    )


def _undo(fills: dict[str, Fill], books: _Books) -> None:
    """Take out each REVERSAL together with the trade it undoes; one whose trade is not known stays, as its opposite trade.

    A fee that was not given back whole stays with us as a realised cost.
    """
    for key, undone in sorted(fills.items()):
        if undone.kind != REVERSAL:
            continue
        wanted = (undone.venue_order_id, undone.side, undone.price, undone.base_size)
        match = min(
            (
                (other.at_s, other.key)
                for other in fills.values()
                if other.kind != REVERSAL and (other.venue_order_id, other.side, other.price, other.base_size) == wanted
            ),
            default=None,
        )
        if match is None:
            continue
        trade = fills.pop(match[1])
        del fills[key]
        if trade.fee_usd != undone.fee_usd:
            books.fees_total += trade.fee_usd - undone.fee_usd
            _realise(books, undone, ZERO, undone.fee_usd - trade.fee_usd)


def _bought(books: _Books, fill: Fill, size: Decimal, fee: Decimal) -> None:
    books.bought += size
    if books.short > ZERO and size > ZERO:
        # The sale was told before its purchase: realise it now, against this price.
        covered = min(size, books.short)
        proceeds = books.short_proceeds if covered == books.short else books.short_proceeds * covered / books.short
        fee_share = fee if covered == size else fee * covered / size
        _realise(books, fill, covered, proceeds - covered * fill.price - fee_share)
        books.short -= covered
        books.short_proceeds -= proceeds
        size, fee = size - covered, fee - fee_share
    books.size += size
    books.cost += size * fill.price
    books.fees += fee
    if books.size > ZERO:
        books.average = books.cost / books.size
    books.lots.append(_Lot(fill.key, fill.base_size, size, fill.price, fee, fill.at_s))


def _sold(books: _Books, fill: Fill, size: Decimal, fee: Decimal) -> None:
    books.sold += size
    closed = min(size, books.size)
    all_of_it = closed == books.size
    cost = books.cost if all_of_it else books.cost * closed / books.size
    carried = books.fees if all_of_it else books.fees * closed / books.size
    fee_share = fee if closed == size else fee * closed / size
    # By another hand at what it cost: exactly nothing, not the last digits of two divisions.
    gained = ZERO if fill.kind == EXTERNAL else closed * fill.price - cost - carried
    _realise(books, fill, closed, gained - fee_share)
    books.size -= closed
    books.cost -= cost
    books.fees -= carried
    if closed < size:
        books.short += size - closed
        books.short_proceeds += (size - closed) * fill.price - (fee - fee_share)
    _take_from_lots(books.lots, closed)


def _realise(books: _Books, fill: Fill, size: Decimal, usd: Decimal) -> None:
    books.realised += usd
    books.closes.append(Close(fill_key=fill.key, base_size=size, realised_usd=usd, at_s=fill.at_s))


def _take_from_lots(lots: list[_Lot], size: Decimal) -> None:
    for lot in lots:
        if size <= ZERO:
            return
        taken = min(size, lot.left)
        lot.left -= taken
        size -= taken
