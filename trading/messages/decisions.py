"""From a symbol's idea to risk's approval, and the exits' side of the same road (protocol section 1)."""

from __future__ import annotations

from decimal import Decimal

from trading.light import light
from trading.machine import Incarnation
from trading.values import Side

BookVersion = tuple[Incarnation, int]
"""(oms incarnation, n)."""

Values = tuple[tuple[str, str], ...]
"""Measured values beside a code, as (name with unit, text) pairs in reading order."""


@light(kw_only=True)
class ExitPlan:
    """How a position will be left. Percentages of the average entry price, as positive Decimals (8 = 8 %)."""

    stop_pct: Decimal
    target_pct: Decimal
    trailing_pct: Decimal | None = None
    hold_s_max: float = 172_800.0


@light(kw_only=True)
class EntryPolicy:
    """How an entry works its way in: post-only first, re-quoted at most `requotes_max` times, the last time perhaps an IOC.

    price_decay: each re-quote leaves this share of the spread between its limit and the ask.
    """

    ttl_s: float = 20.0
    requotes_max: int = 1
    price_decay: Decimal = Decimal("0.7")
    ioc_fallback: bool = False
    taker_cost_bps_max: Decimal = Decimal(60)


@light(kw_only=True)
class Proposal:
    """symbol -> risk, a command repeated until its verdict. Long only: an entry is always a BUY.

    notional_usd: the most it may spend before fees; risk decides the size. size_factor: of the rule (domain.md section 8). plan_id: the id of the first
    proposal of a chain of re-quotes; `requote` counts them; `replaces` is the intent it follows.
    """

    proposal_id: str
    product_id: str
    strategy: str
    trigger: str
    reason: str
    values: Values
    conviction: float
    notional_usd: Decimal
    limit_price: Decimal
    post_only: bool
    plan: ExitPlan
    policy: EntryPolicy
    quote_exchange_s: float
    quote_received_boot_s: float
    decided_boot_s: float
    valid_until_boot_s: float
    plan_id: str
    plan_expires_boot_s: float | None = None
    requote: int = 0
    replaces: str | None = None
    side: Side = Side.BUY
    config_hash: str = ""
    spread_bps: float | None = None
    depth_usd: float | None = None
    volatility_pct: float | None = None
    decided_on: str = ""
    size_factor: float = 1.0


@light(kw_only=True)
class CapNumbers:
    """The numbers a verdict rests on, so that OMS can assert the same caps with the same function.

    nav_usd: net asset value at the marks. caps_usd: (scope, key) -> limit in USD, scopes symbol, theme, tier, strategy,
    total. marks: product -> price. groups: product -> (theme, tier). fee_rate: taker fee as a fraction.
    """

    nav_usd: Decimal
    caps_usd: tuple[tuple[str, str, Decimal], ...]
    marks: tuple[tuple[str, Decimal], ...]
    groups: tuple[tuple[str, str, str], ...]
    fee_rate: Decimal
    multipliers: Values = ()
    positions_max: int = 8
    counted_foreign: bool = False


@light(kw_only=True)
class Approved:
    """risk -> oms, a command; approval_id = uuid5(proposal, version). Admitted only while `version` is current."""

    approval_id: str
    version: BookVersion
    proposal: Proposal
    base_size: Decimal
    limit_price: Decimal
    post_only: bool
    worst_usd: Decimal
    caps: CapNumbers
    decided_boot_s: float


@light(kw_only=True)
class Admitted:
    """oms -> risk: the intent row stands."""

    proposal_id: str
    approval_id: str
    intent_id: str
    version: BookVersion


@light(kw_only=True)
class Stale:
    """oms -> risk: judged on an old version; the newer BookSnapshot went before this."""

    proposal_id: str
    approval_id: str
    version: BookVersion


@light(kw_only=True)
class Refused:
    """oms -> risk: an assertion of oms failed; denied and alerted."""

    proposal_id: str
    approval_id: str
    code: str
    values: Values = ()


@light(kw_only=True)
class Verdict:
    """risk -> symbol, the last word on a proposal."""

    proposal_id: str
    product_id: str
    admitted: bool
    code: str
    values: Values = ()


@light(kw_only=True)
class ExitOrder:
    """exits -> oms, a command. exit_id = uuid5(position, reason, n); a repeat of the id replaces price and size.

    style: "ioc" (limit IOC), "gtd" (limit good-till-date), "post_only" (the product takes nothing else).
    """

    exit_id: str
    position_id: str
    product_id: str
    reason: str
    values: Values
    n: int
    base_size: Decimal
    limit_price: Decimal
    style: str
    quote_exchange_s: float
    quote_received_boot_s: float
    valid_until_boot_s: float


@light(kw_only=True)
class ExitVerdict:
    """oms -> exits: what became of the command; code "admitted", "waiting", or why not."""

    exit_id: str
    position_id: str
    admitted: bool
    code: str
    values: Values = ()


@light(kw_only=True)
class ExitAdvice:
    """symbol -> exits, a snapshot that can only tighten: a stop price proposed for a position's product."""

    product_id: str
    stop_price: Decimal
    reason: str
    n: int


@light(kw_only=True)
class Tighten:
    """exits -> oms, a snapshot: only the tighter is kept; raises no version; at most one a second. leaving: the reason for which
    the position is being left until it is flat, which outlives exits; "" keeps what is known. crash_tightened: the crash that is
    on has brought the stop nearer, once.
    """

    position_id: str
    stop_price: Decimal
    peak_price: Decimal
    leaving: str = ""
    crash_tightened: bool = False


@light(kw_only=True)
class ExitRequest:
    """operator -> exits through oms' answer path: a person wants the position of a product left now, by the ordinary exit."""

    command_id: str
    product_id: str
    name: str
    cause: str


@light(kw_only=True)
class ArmedExit:
    """One position as exits watches it. state: armed, leaving, blocked; `reason` of the last two.

    price: newest believed mid, None while there is none; distance_to_stop_pct: of that price, negative beyond the stop.
    """

    position_id: str
    product_id: str
    state: str
    reason: str
    stop_price: Decimal
    target_price: Decimal
    hold_until_s: float
    seen_size: Decimal
    attempts: int = 0
    price: Decimal | None = None
    distance_to_stop_pct: float | None = None


@light(kw_only=True)
class ExitsSnapshot:
    """exits -> console, operator: what is armed, since when, and what cannot be left."""

    n: int
    armed: tuple[ArmedExit, ...]
    trading_state: str
    incarnation: Incarnation = (0, 0)
