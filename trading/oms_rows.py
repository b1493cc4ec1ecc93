"""What the order manager saves: its tables, and the flat classes that are their rows.

intents    fact     one decision each; the row *is* the exposure reservation until its order is proved over
orders              what became of each intent
fills      fact     each booked trade once, by (entry_id, trade_id)
lots                what is left of each purchase
positions           with their exit plans
closes              what each selling fill realised
cooldowns           per product and kind; bans are of kind "ban"
flows      fact     deposits, withdrawals, external reductions, adoptions
commands   fact     what people ordered, and the answer
meta                fills cursor, cash, flows
"""

from __future__ import annotations

from decimal import Decimal

from attrs import frozen

from trading.ledger import Fill
from trading.machine import Table
from trading.orders import Intent, Order
from trading.rows import columns_of
from trading.values import ZERO


@frozen(kw_only=True)
class Position:
    """One position's books and exit plan. booked_size: by fills; stop_price, peak_price: as tightened so far (zero: not).

    leaving: why it is being left until it is flat, crash_tightened: whether a crash has brought its stop nearer, as exits last said. outcome: "", then win, loss or stop once nothing sellable
    is left. short_size: sold beyond what was bought (an alarm).
    """

    position_id: str
    product_id: str
    strategy: str
    opened_s: float
    booked_size: Decimal = ZERO
    average_price: Decimal = ZERO
    cost_usd: Decimal = ZERO
    fees_usd: Decimal = ZERO
    realised_usd: Decimal = ZERO
    bought_size: Decimal = ZERO
    sold_size: Decimal = ZERO
    short_size: Decimal = ZERO
    entry_price: Decimal = ZERO
    stop_pct: Decimal = ZERO
    target_pct: Decimal = ZERO
    trailing_pct: Decimal | None = None
    hold_s_max: float = 0.0
    tightened_stop_price: Decimal = ZERO
    peak_price: Decimal = ZERO
    exit_n: int = 0
    last_exit_ended: str | None = None
    stopped: bool = False
    outcome: str = ""
    closed_s: float | None = None
    adopted_by: str | None = None
    leaving: str = ""
    crash_tightened: bool = False


@frozen(kw_only=True)
class LotRow:
    """What is left of one purchase."""

    fill_key: str
    position_id: str
    product_id: str
    base_size: Decimal
    left_size: Decimal
    price: Decimal
    fee_usd: Decimal
    at_s: float


@frozen(kw_only=True)
class CloseRow:
    """What one fill realised, net of fees."""

    fill_key: str
    position_id: str
    product_id: str
    base_size: Decimal
    realised_usd: Decimal
    at_s: float


@frozen(kw_only=True)
class CooldownRow:
    product_id: str
    kind: str
    until_s: float
    reason: str
    by: str
    since_s: float


@frozen(kw_only=True)
class Flow:
    """Money or coins that moved by no fill of ours. size: signed, in `currency`; usd: its part in PnL-neutral flows."""

    flow_id: str
    currency: str
    size: Decimal
    usd: Decimal
    kind: str
    cause: str
    at_s: float
    position_id: str | None = None


@frozen(kw_only=True)
class CommandRow:
    command_id: str
    verb: str
    name: str
    cause: str
    args: str
    ok: bool
    text: str
    at_s: float


@frozen(kw_only=True)
class Meta:
    """The one row "oms". cursor_s: fills up to here were read. cash_usd: sum of all booked fills' cash flows so far.

    flows_usd: deposits - withdrawals, coins at what they were worth; adopted_usd: what persons gave to the bot, likewise.
    base_quote_usd, base_cash_usd: quote balance and cash at the last accepted balance pass (None before the first).
    rebuilt_boot_s: when this book was begun in the place of a lost one, while orders of that one may still show up.
    begun_by: run and number of the oms that began this book, which is its name. adopting: what orders of ours bought becomes positions again, until everything has come to light.
    """

    cursor_s: float | None = None
    cash_usd: Decimal = ZERO
    flows_usd: Decimal = ZERO
    adopted_usd: Decimal = ZERO
    base_quote_usd: Decimal | None = None
    base_cash_usd: Decimal = ZERO
    drift_count: int = 0
    rebuilt_boot_s: float | None = None
    adopting: bool = False
    begun_by: str = ""


META_KEY = "oms"

ORDER_EXTRAS = {
    "client_order_id": "text",
    "intent_id": "text",
    "product_id": "text",
    "purpose": "text",
    "side": "text",
    "base_size": "text",
    "limit_price": "text",
}
"""Columns of an order's row that repeat its intent, for people who query."""

TABLES: tuple[Table, ...] = (
    Table("intents", fact=True, columns=columns_of(Intent), unique=("proposal_id", "approval_id")),
    Table("orders", columns={**ORDER_EXTRAS, **columns_of(Order, skip=("intent",))}),
    Table("fills", fact=True, columns=columns_of(Fill, skip=("key",))),
    Table("lots", columns=columns_of(LotRow)),
    Table("positions", columns=columns_of(Position)),
    Table("closes", columns=columns_of(CloseRow)),
    Table("cooldowns", columns=columns_of(CooldownRow)),
    Table("flows", fact=True, columns=columns_of(Flow)),
    Table("commands", fact=True, columns=columns_of(CommandRow)),
    Table("meta", columns=columns_of(Meta)),
)
