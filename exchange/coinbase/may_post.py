"""May this order leave now? One pure function, asked twice: when the machine dispatches, and by the worker directly
before the bytes leave (protocol section 2).

    closed for   by
    entry        kill, guardian fence, root's beat older than 10 s, drain, product (its metadata and the venue's state too)
    exit         kill, drain, product
    flatten      drain, product; and it is an IOC

All of them: bound to this gateway incarnation, now < send_by, a key of this data dir's account, and a body that cannot rest
for ever nor break its product's increments and minima. Entries: a quote that is young enough. The budget is the machine's to
spend, at dispatch.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from exchange.coinbase.fences import OPEN_FENCES, Fences
from trading.machine import Incarnation
from trading.messages.orders import OrderBody, OrderStyle, OutcomeKind, PlaceOrder
from trading.order_rules import violation
from trading.product import Allows, Product, allowance, set_flags
from trading.protections import Protections
from trading.values import Purpose

IN_FORCE = Protections()


@frozen(kw_only=True)
class PostingSettings:
    """quote_age_entry_s_max: what risk accepts (5 s) plus the 2 s that an order may wait; metadata likewise (900 s)."""

    quote_age_entry_s_max: float = 7.0
    beat_age_s_max: float = 10.0
    metadata_age_s_max: float = 902.0


@frozen
class VenueFacts:
    """The newest catalog snapshot as the gateway keeps it. fetched_boot_s None: none has come yet."""

    products: Mapping[str, Product] = field(factory=dict)
    fetched_boot_s: float | None = None
    entries_closed: str = ""
    other_account: bool = False


@frozen(kw_only=True)
class PostFacts:
    """Everything that is judged by, of one instant. killed: the Kill snapshot says so (the fences may as well).

    placing_closed: why this run places no orders at all ("" when it may): mode, environment, or host.
    """

    me: Incarnation
    now_boot_s: float
    fences: Fences = OPEN_FENCES
    killed: bool = False
    draining: bool = False
    placing_closed: str = ""
    venue: VenueFacts = VenueFacts()


@frozen
class Refusal:
    """Why not. kind: NOT_SENT, or NOT_MINE when the order is bound to another incarnation."""

    kind: OutcomeKind
    reason: str
    detail: str = ""


def may_post(
    order: PlaceOrder,
    facts: PostFacts,
    settings: PostingSettings = PostingSettings(),  # noqa: B008 -- frozen
    protections: Protections = IN_FORCE,
) -> Refusal | None:
    """None: it may leave. The absolute tests come first."""
    if protections.binding and order.gateway_incarnation != facts.me:
        return Refusal(OutcomeKind.NOT_MINE, "bound_to_other_incarnation")
    late_s = facts.now_boot_s - order.send_by_boot_s
    if protections.send_by and late_s >= 0.0:
        return _no("late", f"{late_s:.3f} s after its send-by")
    if facts.placing_closed:
        return _no(facts.placing_closed)
    if facts.venue.other_account:
        return _no("other_account", "the key is of another account than this data dir")
    return (
        _fenced(order, facts, settings, protections)
        or _unfit(order, protections)
        or _product(order, facts, settings, protections)
        or _quote(order, facts, settings, protections)
    )


def _no(reason: str, detail: str = "") -> Refusal:
    return Refusal(OutcomeKind.NOT_SENT, reason, detail)


def _fenced(order: PlaceOrder, facts: PostFacts, settings: PostingSettings, protections: Protections) -> Refusal | None:
    run = facts.me[0]
    if protections.fences and (facts.draining or facts.fences.draining(run)):
        return _no("fenced:drain")
    if protections.kill_check and order.purpose is not Purpose.FLATTEN and (facts.killed or facts.fences.killed):
        return _no("fenced:kill", facts.fences.kill_cause)
    if protections.fences and order.purpose is Purpose.ENTRY:
        code = facts.fences.closed_for_entry(run, facts.now_boot_s, settings.beat_age_s_max)
        if code:
            return _no(code)
    return None


_DIES_BY_ITSELF = frozenset({OrderStyle.LIMIT_IOC, OrderStyle.LIMIT_FOK})


def _unfit(order: PlaceOrder, protections: Protections) -> Refusal | None:
    """Every body carries its own death, and a limit price."""
    body = order.body
    if body.style is OrderStyle.LIMIT_GTD:
        if body.end_time_s is None and protections.gtd:
            return _no("end_time_missing", "what may rest must be good till a date")
    elif body.style not in _DIES_BY_ITSELF:
        return _no("style_not_allowed", f"{body.style} has no limit or no end")
    if order.purpose is Purpose.FLATTEN and body.style is not OrderStyle.LIMIT_IOC:
        return _no("flatten_must_be_ioc")
    return None


def _product(
    order: PlaceOrder, facts: PostFacts, settings: PostingSettings, protections: Protections
) -> Refusal | None:
    product = facts.venue.products.get(order.body.product_id)
    allows = allowance(product)
    if order.purpose is Purpose.ENTRY:
        fetched = facts.venue.fetched_boot_s
        if fetched is None:
            return _no("metadata_missing")
        age_s = facts.now_boot_s - fetched
        if age_s > settings.metadata_age_s_max:
            return _no("metadata_stale", f"{age_s:.0f} s old")
        if facts.venue.entries_closed:
            return _no("exchange_status", facts.venue.entries_closed)
        how = allows.entry
    else:
        how = allows.exit
    flags = "" if product is None else ",".join(set_flags(product)) or product.status
    if how is Allows.NO:
        return _no("exchange_product_status", flags or "no metadata")
    if how is Allows.POST_ONLY and not order.body.post_only:
        return _no("exchange_product_status", f"{flags}: only post-only")
    if product is None:
        return None
    return _violated(product, order.body, protections)


def _violated(product: Product, body: OrderBody, protections: Protections) -> Refusal | None:
    code = violation(product, body)
    if code == "end_time_missing" and not protections.gtd:
        return None
    return _no(f"product_rules:{code}") if code else None


def _quote(order: PlaceOrder, facts: PostFacts, settings: PostingSettings, protections: Protections) -> Refusal | None:
    # An exit's quote may be old on a quiet market; whether its feed lives was judged by exits (protocol section 2).
    if order.purpose is not Purpose.ENTRY or not protections.quote_age:
        return None
    if order.quote_received_boot_s is None:
        return _no("data_unavailable", "no quote time")
    age_s = facts.now_boot_s - order.quote_received_boot_s
    if age_s > settings.quote_age_entry_s_max:
        return _no("quote_stale", f"{age_s:.1f} s old")
    return None


def placing_refusal(*, env: str, mode: str, venue_is_simulated: bool) -> str:
    """Why a run of this environment and mode may place no orders at this venue; "" when it may.

    Only production and live together reach a real venue; everything else places at the simulated venue or nowhere.
    """
    if mode in ("dry_run", "shadow"):
        return f"mode:{mode}"
    if venue_is_simulated:
        return "mode:live_at_simulated_venue" if (env, mode) == ("production", "live") else ""
    if env != "production":
        return f"env:{env}"
    return "" if mode == "live" else f"mode:{mode}"
