"""From a case that no rule denied to an approval with a size, or to the cap that leaves none. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from attrs import evolve

from trading.caps import check_caps, exposures, room_usd, worst_usd
from trading.denied import Denied, measured
from trading.limits import cap_numbers
from trading.messages.decisions import Approved
from trading.rules.case import Case
from trading.sizing import SizingInputs, least_size, size
from trading.tiers import Groups
from trading.values import derived_id


def approve(case: Case, marks: Mapping[str, Decimal], groups: Groups, fee_rate: Decimal) -> Approved | Denied:
    """Size within every room, judged once more by the function that oms asserts. fee_rate: taker, as a fraction."""
    proposal, book, tier, product, quote, entry = (
        case.proposal,
        case.book,
        case.tier,
        case.product,
        case.quote,
        case.entry,
    )
    assert tier is not None
    assert product is not None
    assert quote is not None
    assert entry is not None
    assert case.nav_usd is not None
    caps = cap_numbers(case, marks, groups, fee_rate)
    standing = exposures(book, caps)
    mark = marks.get(proposal.product_id, quote.mid)
    room, rooms = room_usd(proposal.product_id, proposal.strategy, caps, standing)
    tightest, _ = min(rooms, key=lambda row: row[1])
    sized = size(
        SizingInputs(
            nav_usd=case.nav_usd,
            base_pct=tier.base_pct,
            size_factor=decimal_of(proposal.size_factor),
            multiplier=decimal_of(entry.size_multiplier * case.catalog.size_multiplier),
            conviction=decimal_of(proposal.conviction),
            stop_pct=proposal.plan.stop_pct,
            volatility_pct=decimal_of(50.0 if proposal.volatility_pct is None else proposal.volatility_pct),
            notional_usd_max=proposal.notional_usd,
            room_usd=room,
            available_usd=book.quote_available_usd,
            depth_usd=decimal_of(min(quote.depth_bid_usd or 0.0, quote.depth_ask_usd or 0.0)),
            limit_price=proposal.limit_price,
            mark=mark,
            fee_rate=fee_rate,
            product=product,
        ),
        case.settings.sizing,
    )
    if isinstance(sized, Denied):
        values = dict(sized.values)
        if values.get("bound_by") != "caps":
            return sized
        # The cap that has no room for the least order answers in its own name, so that people see which one it was.
        needed = least_size(product, fee_rate, proposal.limit_price, case.settings.sizing)
        least = worst_usd(needed, proposal.limit_price, mark, fee_rate)
        return check_caps(book, proposal.product_id, proposal.strategy, least, caps, standing=standing) or sized
    worst = worst_usd(sized.base_size, proposal.limit_price, mark, fee_rate)
    over = check_caps(book, proposal.product_id, proposal.strategy, worst, caps, standing=standing)
    if over is not None:
        return over
    return Approved(
        approval_id=derived_id(proposal.proposal_id, book.version),
        version=book.version,
        proposal=proposal,
        base_size=sized.base_size,
        limit_price=proposal.limit_price,
        post_only=proposal.post_only,
        worst_usd=worst,
        caps=evolve(
            caps,
            multipliers=measured(
                regime=case.universe.regime,
                multiplier=entry.size_multiplier * case.catalog.size_multiplier,
                conviction=proposal.conviction,
                volatility_pct=proposal.volatility_pct,
                bound_by=f"cap:{tightest}" if sized.binding == "caps" else sized.binding,
            ),
        ),
        decided_boot_s=case.now.boot_s,
    )


def decimal_of(value: float) -> Decimal:
    """A signal's float on its way into money: 8 digits after the point are more than it means."""
    return Decimal(f"{value:.8f}")
