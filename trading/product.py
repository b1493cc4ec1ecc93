"""What a product is and what it allows: one table with three columns, entry, exit, cancel."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from attrs import frozen


class Allows(StrEnum):
    """How an order of one purpose may be sent."""

    YES = "yes"
    LIMIT_IOC = "limit_ioc"  # limit_only: no market orders, but a limit IOC goes
    POST_ONLY = "post_only"  # only post-only at the touch, and a person is alerted
    NO = "no"


@frozen(kw_only=True)
class Product:
    """Metadata of one product as the catalog knows it. Sizes in base or quote units as named; fees are not here."""

    product_id: str
    base_currency: str
    quote_currency: str
    price_increment: Decimal
    base_increment: Decimal
    quote_increment: Decimal
    base_size_min: Decimal
    base_size_max: Decimal
    quote_size_min: Decimal
    quote_size_max: Decimal
    status: str = "online"
    trading_disabled: bool = False
    is_disabled: bool = False
    cancel_only: bool = False
    limit_only: bool = False
    post_only: bool = False
    auction_mode: bool = False
    view_only: bool = False
    alias: str = ""
    volume_24h_quote_usd: float | None = None
    new_at_s: float | None = None


@frozen
class Allowance:
    entry: Allows
    exit: Allows
    cancel: Allows


EVERYTHING = Allowance(Allows.YES, Allows.YES, Allows.YES)

_Y, _N, _IOC, _PO = Allows.YES, Allows.NO, Allows.LIMIT_IOC, Allows.POST_ONLY

FLAGS: dict[str, Allowance] = {
    # flag                        entry  exit   cancel
    "trading_disabled": Allowance(_N, _N, _Y),
    "is_disabled": Allowance(_N, _N, _Y),
    "view_only": Allowance(_N, _N, _Y),
    "auction_mode": Allowance(_N, _N, _Y),
    "cancel_only": Allowance(_N, _N, _Y),
    "post_only": Allowance(_PO, _PO, _Y),
    "limit_only": Allowance(_Y, _IOC, _Y),
}
"""One row a flag; with several flags set the stricter cell wins (NO, then POST_ONLY, then LIMIT_IOC, then YES)."""

_STRICTNESS = (Allows.NO, Allows.POST_ONLY, Allows.LIMIT_IOC, Allows.YES)


def allowance(product: Product | None) -> Allowance:
    """What `product` allows now. No metadata: no entry; exits and cancels go on (fail closed, exits never locked by ignorance)."""
    if product is None:
        return Allowance(Allows.NO, Allows.YES, Allows.YES)
    rows = [cells for flag, cells in FLAGS.items() if getattr(product, flag)]
    if product.status not in ("online", ""):
        rows.append(FLAGS["trading_disabled"])
    if not rows:
        return EVERYTHING

    def strictest(*cells: Allows) -> Allows:
        return min(cells, key=_STRICTNESS.index)

    return Allowance(
        entry=strictest(Allows.YES, *(row.entry for row in rows)),
        exit=strictest(Allows.YES, *(row.exit for row in rows)),
        cancel=strictest(Allows.YES, *(row.cancel for row in rows)),
    )


def set_flags(product: Product) -> tuple[str, ...]:
    """The flags that stand on `product`, for reasons and the page."""
    return tuple(flag for flag in FLAGS if getattr(product, flag))
