"""From a signal to a `Proposal`: price, plan, policy, ids, reason. Pure functions; the symbol machine calls them."""

from __future__ import annotations

from decimal import Decimal

from attrs import evolve, frozen

from trading.machine import Instant
from trading.messages.book import BookOrder
from trading.messages.decisions import EntryPolicy, ExitPlan, Proposal
from trading.messages.market import Quote
from trading.product import Product
from trading.strategies.interface import Rule, Signal, Strategy
from trading.symbol_settings import MARKETABLE, EntrySettings
from trading.values import Side, ceil_to_increment, derived_id, floor_to_increment

TAKER_TOLERANCE_BPS = 2.0


@frozen
class EntryPrice:
    limit: Decimal
    post_only: bool


@frozen
class TakerCost:
    """What taking may cost and does: fee_rate as a fraction, bps_max of the product's tier (None: not known, nothing crosses)."""

    fee_rate: Decimal
    bps_max: float | None

    def fits(self, quote: Quote) -> bool:
        """Half the spread (what crossing costs against mid) and the fee are within the budget (domain.md section 12)."""
        if self.bps_max is None:
            return False
        return quote.spread_bps / 2 + float(self.fee_rate) * 10_000 <= self.bps_max + TAKER_TOLERANCE_BPS


def entry_price(quote: Quote, product: Product, entry: EntrySettings, *, requote: int, taker: TakerCost) -> EntryPrice:
    """The limit of a buy. Maker joins the best bid; marketable pays the ask and at most the tolerance on top.

    Each re-quote of a maker plan goes further into the spread, at most to a tick below the ask; the last try is
    marketable when `ioc_fallback` says so and its cost fits.
    """
    tick = product.price_increment
    crossing = entry.style == MARKETABLE
    if requote >= entry.requotes_max and entry.ioc_fallback and not crossing:
        crossing = taker.fits(quote)
    if crossing:
        tolerance = Decimal(1) + Decimal(f"{entry.marketable_tolerance_bps:.4f}") / 10_000
        # Never below the ask: a coarse tick must not turn a crossing order into a resting one.
        limit = max(floor_to_increment(quote.ask * tolerance, tick), ceil_to_increment(quote.ask, tick))
        return EntryPrice(limit, post_only=False)
    wished = quote.ask - (quote.ask - quote.bid) * entry.price_decay**requote
    limit = max(quote.bid, min(wished, quote.ask - tick))
    return EntryPrice(floor_to_increment(limit, tick), post_only=True)


def proposal_of(
    one: Strategy,
    signal: Signal,
    rule: Rule,
    quote: Quote,
    product: Product,
    now: Instant,
    *,
    entry: EntrySettings,
    taker: TakerCost,
    conviction: float,
    volatility_pct: float,
    wild: bool,
    stamp: str,
    decided_on: str,
    config_hash: str,
) -> Proposal:
    """stamp: bar end or quote's exchange time: the same decision twice is one proposal (protocol section 1 rule 1)."""
    trigger = signal.trigger or one.name
    proposal_id = derived_id(product.product_id, Side.BUY.value, trigger, stamp)
    price = entry_price(quote, product, entry, requote=0, taker=taker)
    life_s = (entry.requotes_max + 1) * (entry.ttl_s / now.speed + 5.0)
    return Proposal(
        proposal_id=proposal_id,
        product_id=product.product_id,
        strategy=one.name,
        trigger=trigger,
        reason=signal.reason,
        values=signal.values,
        conviction=conviction,
        notional_usd=entry.notional_usd_max,
        limit_price=price.limit,
        post_only=price.post_only,
        plan=ExitPlan(
            stop_pct=rule.stop_pct,
            target_pct=rule.target_pct,
            trailing_pct=rule.trailing_pct,
            hold_s_max=rule.hold_hours * 3600.0,
        ),
        policy=EntryPolicy(
            ttl_s=entry.ttl_s,
            requotes_max=entry.requotes_max,
            price_decay=entry.price_decay,
            ioc_fallback=entry.ioc_fallback,
            taker_cost_bps_max=Decimal(f"{taker.bps_max or 0.0:.4f}"),
        ),
        quote_exchange_s=quote.exchange_s,
        quote_received_boot_s=quote.received_boot_s,
        decided_boot_s=now.boot_s,
        valid_until_boot_s=now.boot_s + min(entry.valid_s, 2.0),
        plan_id=proposal_id,
        plan_expires_boot_s=now.boot_s + min(entry.valid_s, 2.0) + life_s,
        config_hash=config_hash,
        spread_bps=quote.spread_bps,
        depth_usd=depth_usd(quote),
        volatility_pct=volatility_pct,
        decided_on=decided_on,
        size_factor=rule.size_factor * (entry.wild_size_factor if wild else 1.0),
    )


def depth_usd(quote: Quote) -> float | None:
    """USD resting within 20 bps of mid on the thinner side; None when the book is not known (then nothing is guessed)."""
    if quote.depth_bid_usd is None or quote.depth_ask_usd is None:
        return None
    return min(quote.depth_bid_usd, quote.depth_ask_usd)


def requote_of(
    parent: Proposal, order: BookOrder, price: EntryPrice, quote: Quote, now: Instant, *, entry: EntrySettings
) -> Proposal | None:
    """The next try of a plan: a new intent, made after the old order is terminal; None when the price ran away."""
    k = order.requote + 1
    ceiling = parent.limit_price * (1 + Decimal(f"{entry.chase_bps_max * k:.4f}") / 10_000)
    if price.limit > ceiling:
        return None
    return evolve(
        parent,
        proposal_id=derived_id(parent.plan_id, "requote", k),
        limit_price=price.limit,
        post_only=price.post_only,
        quote_exchange_s=quote.exchange_s,
        quote_received_boot_s=quote.received_boot_s,
        decided_boot_s=now.boot_s,
        valid_until_boot_s=now.boot_s + min(entry.valid_s, 2.0),
        requote=k,
        replaces=order.intent_id,
        spread_bps=quote.spread_bps,
        depth_usd=depth_usd(quote),
        decided_on="requote",
    )
