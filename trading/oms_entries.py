"""Admission: an approved entry becomes an intent row, or not, in one handle (protocol section 1 rules 2, 3, 6, 7).

The checks are a tuple; each gives None or why not. Only then is the intent saved, the version raised and PlaceOrder sent.
"""

from __future__ import annotations

from collections.abc import Callable

from trading.caps import check_caps, worst_usd
from trading.denied import Denied, denied
from trading.messages.book import BookSnapshot
from trading.messages.decisions import Admitted, Approved, Refused, Stale
from trading.messages.orders import OrderStyle
from trading.oms_desk import Desk
from trading.oms_orders import note_submitted
from trading.oms_view import full_snapshot
from trading.orders import Intent, Order
from trading.settle import end_time_s
from trading.values import ZERO, Purpose, client_order_id, derived_id

ADMITTED_RECENTLY_S = 60.0


def approved(d: Desk, message: Approved) -> None:
    """Admitted, Stale or Refused; the same answer again when the same approval or proposal comes again."""
    proposal = message.proposal
    known = d.book.by_proposal.get(proposal.proposal_id) if d.protections.unique_proposal else None
    if known is not None:
        _admitted(d, message, d.book.orders[known].intent)
        return
    if message.version != d.version and d.protections.version_check:
        d.changed = True  # the newer snapshot goes first
        d.answer(
            "risk",
            Stale(proposal_id=proposal.proposal_id, approval_id=message.approval_id, version=d.version),
        )
        return
    refusal = next((found for check in CHECKS if (found := check(d, message)) is not None), None)
    if refusal is not None:
        d.answer(
            "risk",
            Refused(
                proposal_id=proposal.proposal_id,
                approval_id=message.approval_id,
                code=refusal.code,
                values=refusal.values,
            ),
        )
        d.note(
            "decision",
            product_id=proposal.product_id,
            code=refusal.code,
            text=f"oms: {refusal.sentence()}",
            values=dict(refusal.values),
        )
        return
    intent = _intent(d, message)
    d.book.add(Order(intent=intent, updated_s=d.now.venue_s))
    _admitted(d, message, intent)
    note_submitted(d, intent)


def _admitted(d: Desk, message: Approved, intent: Intent) -> None:
    proposal_id = message.proposal.proposal_id
    # The version that the answer names is the one after this handle; the desk fills it in when it is known.
    d.answer(
        "risk",
        Admitted(
            proposal_id=proposal_id, approval_id=message.approval_id, intent_id=intent.intent_id, version=d.version
        ),
    )


def _intent(d: Desk, message: Approved) -> Intent:
    proposal = message.proposal
    now = d.now
    send_by = proposal.decided_boot_s + d.settings.send_by_s
    ttl_s = proposal.policy.ttl_s
    rests = message.post_only  # what may cross pays its fee now or is gone: never a crossing order that then rests
    expires = proposal.plan_expires_boot_s
    if expires is None:
        expires = send_by + (proposal.policy.requotes_max + 1) * (ttl_s + 5.0) / now.speed
    intent_id = derived_id("intent", proposal.proposal_id)
    if not d.protections.unique_proposal:
        intent_id = derived_id("intent", proposal.proposal_id, message.approval_id)
    end = end_time_s(now.venue_at(send_by), ttl_s, now.speed, d.settings.settle) if rests else None
    return Intent(
        intent_id=intent_id,
        client_order_id=client_order_id(d.tag, intent_id),
        purpose=Purpose.ENTRY,
        product_id=proposal.product_id,
        side=proposal.side,
        style=OrderStyle.LIMIT_GTD if rests else OrderStyle.LIMIT_IOC,
        base_size=message.base_size,
        limit_price=message.limit_price,
        post_only=message.post_only,
        end_time_s=end if d.protections.gtd else None,
        approval_id=message.approval_id,
        gateway_incarnation=d.gateway or (0, 0),
        saved_s=now.venue_s,
        saved_boot_s=now.boot_s,
        send_by_boot_s=send_by if d.protections.send_by else now.boot_s + 1e9,
        horizon_boot_s=send_by + d.settings.settle.ioc_horizon_s,
        cancel_after_s=now.venue_s + ttl_s if rests else None,
        proposal_id=proposal.proposal_id,
        plan_id=proposal.plan_id,
        strategy=proposal.strategy,
        trigger=proposal.trigger,
        reason=proposal.reason,
        config_hash=proposal.config_hash or d.config_hash,
        requote=proposal.requote,
        replaces=proposal.replaces,
        plan_expires_boot_s=expires,
        worst_usd=message.worst_usd,
        stop_pct=proposal.plan.stop_pct,
        target_pct=proposal.plan.target_pct,
        trailing_pct=proposal.plan.trailing_pct,
        hold_s_max=proposal.plan.hold_s_max,
        quote_received_boot_s=proposal.quote_received_boot_s,
        decided_boot_s=proposal.decided_boot_s,
        approved_boot_s=message.decided_boot_s,
    )


# -- why not ---------------------------------------------------------------------------------------------------------


def _state(d: Desk, message: Approved) -> Denied | None:  # noqa: ARG001 -- the checks have one shape
    if d.kill is None and d.protections.kill_check:
        return denied("kill_switch_unknown", what="no kill snapshot since this start")
    state, codes = d.state()
    if not state.entries:
        return denied("not_active", state=str(state), causes=" ".join(codes))
    if d.gateway is None:
        return denied("gateway_unknown", what="Hello is not acknowledged")
    return None


def _late(d: Desk, message: Approved) -> Denied | None:
    proposal = message.proposal
    late_at = min(proposal.valid_until_boot_s, proposal.decided_boot_s + d.settings.send_by_s)
    if d.now.boot_s >= late_at and d.protections.send_by:
        return denied("late", late_s=d.now.boot_s - late_at)
    if not d.now.trusted:
        return denied("clock_untrusted", what="venue time")
    return None


def _known_approval(d: Desk, message: Approved) -> Denied | None:
    if message.approval_id in d.book.approvals:
        return denied("approval_used", approval_id=message.approval_id)
    return None


def _unknown(d: Desk, message: Approved) -> Denied | None:
    product_id = message.proposal.product_id
    if d.protections.unknown_counts and product_id in d.book.unknown_products():
        return denied("unknown_order", product_id=product_id)
    return None


def _unbooked(d: Desk, message: Approved) -> Denied | None:  # noqa: ARG001 -- the checks have one shape
    if d.book.unbooked and d.protections.seen:
        return denied("reconcile_pending", orders=len(d.book.unbooked))
    return None


def _cooling(d: Desk, message: Approved) -> Denied | None:
    """A cooldown is over if and only if venue time is trusted and has reached it; nobody is exempt."""
    if not d.protections.cooldowns:
        return None
    for row in d.book.cooldowns.values():
        if row.product_id == message.proposal.product_id and not d.now.over(row.until_s):
            code = "red_flag" if row.kind == "ban" else "per_symbol_cooldown"
            return denied(code, kind=row.kind, left_s=row.until_s - d.now.venue_s, why=row.reason)
    return None


def _parent(d: Desk, message: Approved) -> Denied | None:
    """A re-quote is made after the old order is over, without a fill (I2)."""
    replaces = message.proposal.replaces
    if replaces is None:
        return None
    parent = d.book.orders.get(d.book.by_intent.get(replaces, ""))
    if parent is None or not parent.status.terminal or parent.seen_size > ZERO:
        return denied("parent_not_over", replaces=replaces, status="unknown" if parent is None else str(parent.status))
    return None


def _size(d: Desk, message: Approved) -> Denied | None:  # noqa: ARG001 -- the checks have one shape
    if message.base_size <= ZERO or message.limit_price <= ZERO:
        return denied("non_positive_request", base_size=message.base_size, limit_price=message.limit_price)
    return None


def _caps(d: Desk, message: Approved) -> Denied | None:
    """Risk's own function, on our book, with exactly the numbers of the approval."""
    if not d.protections.caps_assert:
        return None
    proposal = message.proposal
    marks = dict(message.caps.marks)
    worst = worst_usd(message.base_size, message.limit_price, marks.get(proposal.product_id), message.caps.fee_rate)
    book: BookSnapshot = full_snapshot(d)
    found = check_caps(book, proposal.product_id, proposal.strategy, max(worst, message.worst_usd), message.caps)
    if found is not None:
        d.stand(
            f"caps_asserted:{proposal.product_id}",
            "critical",
            f"{proposal.product_id}: risk approved what the book does not allow; refused. {found.sentence()}",
            for_s=600.0,
        )
    return found


Check = Callable[[Desk, Approved], Denied | None]
CHECKS: tuple[Check, ...] = (_known_approval, _state, _late, _size, _unknown, _unbooked, _cooling, _parent, _caps)
