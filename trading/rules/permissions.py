"""May anything be entered at all: permissions, the trading state's causes, breakers (domain.md section 11, 1 to 4)."""

from __future__ import annotations

from trading.denied import Denied, denied
from trading.messages.book import Recovery
from trading.rules.case import LEASES, Case
from trading.values import Side


def leases(case: Case) -> Denied | None:
    """Silence means no: each owner of a permission was heard within the lease."""
    for role in LEASES:
        age_s = case.now.boot_s - case.heard_boot_s.get(role, -1e18)
        if age_s > case.settings.lease_s:
            return denied(
                "permission_expired",
                role=role,
                age_s=round(age_s, 3) if age_s < 1e9 else "never heard",
                lease_s=case.settings.lease_s,
            )
    return None


def draining(case: Case) -> Denied | None:
    return denied("draining") if case.draining or case.book.draining else None


def kill_switch(case: Case) -> Denied | None:
    if not case.kill.engaged:
        return None
    return denied("kill_switch", cause=case.kill.cause, by=case.kill.by)


def paused(case: Case) -> Denied | None:
    return denied("paused", cause=case.kill.pause_cause) if case.kill.paused else None


def clock(case: Case) -> Denied | None:
    """Cooldowns, spacing and loss windows are judged by venue time: without it there is no entry."""
    return None if case.now.trusted else denied("clock_untrusted", venue_s=case.now.venue_s)


def long_only(case: Case) -> Denied | None:
    return None if case.proposal.side is Side.BUY else denied("shorting_disallowed", side=case.proposal.side.value)


def book_usable(case: Case) -> Denied | None:
    if not case.book.writable:
        return denied("book_not_writable")
    return None


def reconciled(case: Case) -> Denied | None:
    """Orders, fills and balances agree with the venue, and every fill that was seen is booked."""
    book = case.book
    if book.recovery is not Recovery.RECONCILED:
        return denied("reconcile_pending", recovery=book.recovery.value)
    if book.unbooked:
        oldest_s = max(age_s for _, age_s in book.unbooked)
        return denied("reconcile_pending", unbooked_orders=len(book.unbooked), oldest_s=round(oldest_s, 2))
    if book.balances_complete_boot_s is None:
        return denied("reconcile_pending", balances="never complete")
    return None


def breakers(case: Case) -> Denied | None:
    """An open breaker denies with its own code, reason and values; one without a reading denies as `measuring`."""
    if not case.health.breakers:
        return denied("measuring", breakers="none measured yet")
    for breaker in case.health.breakers:
        if breaker.open and breaker.measured:
            return Denied(breaker.code, (("reason", breaker.reason), *breaker.values))
    for breaker in case.health.breakers:
        if not breaker.measured:
            return denied("measuring", breaker=breaker.code, reason=breaker.reason)
    return None


def exchange_status(case: Case) -> Denied | None:
    if case.catalog.entries_closed:
        return denied("exchange_status", reason=case.catalog.exchange_reason)
    return None
