"""The rule book: a tuple in the order in which rules are judged. The first that denies answers.

Cheap and absolute first, then what concerns all money, then the product, then the pace, last the caps, which the sizing
fills (domain.md section 11 with permissions put before everything). A new rule is one function and one line here.
"""

from __future__ import annotations

from trading.denied import Denied
from trading.rules import market, money, pacing, permissions
from trading.rules.case import Case, Rule

RULES: tuple[Rule, ...] = (
    permissions.draining,
    permissions.leases,
    permissions.kill_switch,
    permissions.book_usable,
    permissions.paused,
    permissions.clock,
    permissions.long_only,
    permissions.reconciled,
    permissions.breakers,
    permissions.exchange_status,
    market.universe_member,
    market.not_banned,
    market.product_status,
    money.latches,
    market.regime,
    pacing.strategy_enabled,
    money.nav_known,
    market.quote_fresh,
    market.spread,
    market.depth,
    market.limit_near_ask,
    market.eligible,
    pacing.global_spacing,
    pacing.trade_counts,
    money.loss_streak,
    pacing.unknown_order,
    pacing.pending_buy,
    pacing.symbol_spacing,
    pacing.pyramiding,
    pacing.symbol_cooldown,
)


def first_denial(case: Case, rules: tuple[Rule, ...] = RULES) -> Denied | None:
    for rule in rules:
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return None
