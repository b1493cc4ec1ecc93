"""The gateway's table, its fences, lanes and budgets, on plain calls: no clock, no thread (protocol section 2)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import attrs
import pytest

from exchange.coinbase.budgets import BudgetSettings, Rate
from exchange.coinbase.fences import Beat, Fences
from exchange.coinbase.gateway import GatewayMachine, GatewaySettings
from exchange.coinbase.may_post import PostFacts, PostingSettings, VenueFacts, may_post, placing_refusal
from tests.coinbase_rest.made import BTC, GTD, IOC, ME, NOW, catalog, fences_at, later, machine, order, query
from trading.machine import Effect, Instant, Send, Wake, Woke
from trading.messages.control import Condition, Drain, Drained, KillSnapshot, Measured
from trading.messages.orders import (
    Call,
    Called,
    CancelOrders,
    CancelsAnswered,
    Hello,
    HelloAck,
    HourlyCount,
    OrderOutcome,
    OrderStyle,
    OutcomeKind,
    Page,
    PlaceOrder,
    QueryKind,
    RestartWanted,
    Withdraw,
)
from trading.protections import Protections
from trading.values import Purpose

OTHER = (6, 999)
OMS = (7, 2_000)


def sends(effects: Iterable[Effect], role: str | None = None) -> list[Any]:
    return [e.message for e in effects if isinstance(e, Send) and role in (None, e.role)]


def calls(effects: Iterable[Effect]) -> list[Call]:
    return [message for message in sends(effects, "io") if isinstance(message, Call)]


def outcomes(effects: Iterable[Effect]) -> list[tuple[str, str]]:
    return [(m.kind.value, m.reason) for m in sends(effects, "oms") if isinstance(m, OrderOutcome)]


def accepted(call: Call) -> Called:
    return Called(call_id=call.call_id, outcome=outcome(call, OutcomeKind.ACCEPTED, venue_order_id="v1"))


def outcome(call: Call, kind: OutcomeKind, **fields: Any) -> OrderOutcome:
    return OrderOutcome(client_order_id=call.request.client_order_id, kind=kind, gateway_incarnation=ME, **fields)


# ---- the table ----


def test_an_order_is_posted_at_most_once_ever() -> None:
    gateway = machine()
    (call,) = calls(gateway.handle(order(), NOW))
    assert gateway.handle(order(), later(1.0)) == []  # POSTING: no answer, it follows
    assert outcomes(gateway.handle(accepted(call), later(1.1))) == [("accepted", "")]
    for second in range(2, 100):
        again = gateway.handle(order(now_boot_s=NOW.boot_s + second), later(second))
        assert outcomes(again) == [("accepted", "")]
        assert calls(again) == []


@pytest.mark.parametrize("kind", [OutcomeKind.UNKNOWN, OutcomeKind.REJECTED, OutcomeKind.NOT_SENT])
def test_no_outcome_makes_an_id_new_again(kind: OutcomeKind) -> None:
    gateway = machine()
    (call,) = calls(gateway.handle(order(), NOW))
    gateway.handle(Called(call_id=call.call_id, outcome=outcome(call, kind)), later(0.5))
    again = gateway.handle(order(now_boot_s=NOW.boot_s + 1), later(1.0))
    assert (outcomes(again), calls(again)) == ([(kind.value, "")], [])


def test_the_gateway_crashes_mid_post_and_the_new_one_must_answer_not_mine() -> None:
    first = machine()
    calls(first.handle(order(), NOW))
    second = GatewayMachine(me=(ME[0], ME[1] + 5), fences=lambda: fences_at(NOW))
    second.recover({}, later(0.1))
    second.handle(catalog(), later(0.1))
    again = second.handle(order(), later(0.2))
    assert outcomes(again) == [("not_mine", "bound_to_other_incarnation")]
    assert calls(again) == []


def test_oms_is_stopped_with_a_place_order_in_its_socket_replaced_and_continued() -> None:
    gateway = machine()
    answers = gateway.handle(Withdraw(oms_incarnation=OMS, orders=(("bh-test-1", ME),)), NOW)
    assert outcomes(answers) == [("not_sent", "withdrawn")]
    late = gateway.handle(order(), later(0.5))  # from the old oms' socket
    assert outcomes(late) == [("not_sent", "withdrawn")]
    assert calls(late) == []


def test_withdraw_is_answered_at_once_with_one_state_per_id() -> None:
    gateway = machine(settings=GatewaySettings(workers_order=1))
    (posting,) = calls(gateway.handle(order("bh-posting", Purpose.EXIT), NOW))
    gateway.handle(order("bh-queued", Purpose.EXIT), NOW)
    withdraw = Withdraw(
        oms_incarnation=OMS,
        orders=(("bh-posting", ME), ("bh-queued", ME), ("bh-unknown", ME), ("bh-older", OTHER)),
    )
    answers = gateway.handle(withdraw, later(0.1))
    assert outcomes(answers) == [
        ("in_flight", "posting"),
        ("not_sent", "withdrawn"),
        ("not_sent", "withdrawn"),
        ("not_mine", "bound_to_other_incarnation"),
    ]
    assert outcomes(gateway.handle(accepted(posting), later(0.2))) == [("accepted", "")]
    assert outcomes(gateway.handle(withdraw, later(0.3)))[0] == ("accepted", "")


def test_a_withdrawal_of_an_older_oms_is_not_heard() -> None:
    gateway = machine()
    ack = gateway.handle(Hello(oms_incarnation=OMS), NOW)
    assert sends(ack, "oms") == [HelloAck(oms_incarnation=OMS, gateway_incarnation=ME)]
    assert gateway.handle(Withdraw(oms_incarnation=(7, 1), orders=(("bh-test-1", ME),)), NOW) == []
    assert len(calls(gateway.handle(order(), NOW))) == 1


def test_the_table_survives_any_interleaving() -> None:
    """Random commands and answers: each id is dispatched at most once, and never after a withdrawal was answered."""
    seed = random.randrange(10**9)
    dice = random.Random(seed)
    gateway = machine(settings=GatewaySettings(workers_order=2))
    out: list[Call] = []
    dispatched: list[str] = []
    withdrawn: set[str] = set()
    for step in range(3_000):
        now = later(step * 0.05)
        gateway._fences = lambda now=now: fences_at(now)
        gateway.handle(attrs.evolve(catalog(now), n=step + 2), now)
        name = f"bh-test-{dice.randrange(200)}"
        match dice.randrange(4):
            case 0 | 1:
                effects = gateway.handle(order(name, dice.choice(list(Purpose)), now_boot_s=now.boot_s), now)
            case 2:
                effects = gateway.handle(Withdraw(oms_incarnation=OMS, orders=((name, ME),)), now)
                withdrawn |= {m.client_order_id for m in sends(effects, "oms") if m.reason == "withdrawn"}
            case _ if out:
                call = out.pop(dice.randrange(len(out)))
                kind = dice.choice([OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN, OutcomeKind.REJECTED])
                effects = gateway.handle(Called(call_id=call.call_id, outcome=outcome(call, kind)), now)
            case _:
                effects = gateway.handle(Woke("order"), now)
        for call in calls(effects):
            assert call.request.client_order_id not in withdrawn, f"seed {seed}, step {step}"
            dispatched.append(call.request.client_order_id)
            out.append(call)
    assert len(dispatched) == len(set(dispatched)), f"seed {seed}"
    assert len(dispatched) > 50, f"seed {seed}"


# ---- may_post: the table of section 2 ----

CLOSINGS: dict[str, tuple[dict[str, Any], set[Purpose]]] = {
    "kill switch file or record": ({"fences": fences_at(NOW, killed=True)}, {Purpose.ENTRY, Purpose.EXIT}),
    "kill snapshot": ({"killed": True}, {Purpose.ENTRY, Purpose.EXIT}),
    "guardian fence of this run": ({"fences": fences_at(NOW, guardian_run=ME[0])}, {Purpose.ENTRY}),
    "guardian fence of a later run": ({"fences": fences_at(NOW, guardian_run=ME[0] + 1)}, {Purpose.ENTRY}),
    "guardian fence of an earlier run": ({"fences": fences_at(NOW, guardian_run=ME[0] - 1)}, set()),
    "beat 9.9 s old": ({"fences": Fences(beat=Beat(ME[0], "ready", NOW.boot_s - 9.9))}, set()),
    "beat 10.1 s old": ({"fences": Fences(beat=Beat(ME[0], "ready", NOW.boot_s - 10.1))}, {Purpose.ENTRY}),
    "no beat": ({"fences": Fences()}, {Purpose.ENTRY}),
    "beat of another run": ({"fences": Fences(beat=Beat(ME[0] + 1, "ready", NOW.boot_s))}, {Purpose.ENTRY}),
    "drain fence of this run": ({"fences": fences_at(NOW, drain_run=ME[0])}, set(Purpose)),
    "drain fence of another run": ({"fences": fences_at(NOW, drain_run=ME[0] - 1)}, set()),
    "Drain heard": ({"draining": True}, set(Purpose)),
    "dry run": ({"placing_closed": "mode:dry_run"}, set(Purpose)),
    "no metadata": ({"venue": VenueFacts()}, {Purpose.ENTRY}),
    "old metadata": ({"venue": VenueFacts({"BTC-USD": BTC}, NOW.boot_s - 903.0)}, {Purpose.ENTRY}),
    "unknown product": ({"venue": VenueFacts({}, NOW.boot_s)}, {Purpose.ENTRY}),
    "another account": ({"venue": VenueFacts({"BTC-USD": BTC}, NOW.boot_s, other_account=True)}, set(Purpose)),
    "exchange incident": ({"venue": VenueFacts({"BTC-USD": BTC}, NOW.boot_s, "incident")}, {Purpose.ENTRY}),
    **{
        flag: ({"venue": VenueFacts({"BTC-USD": attrs.evolve(BTC, **{flag: True})}, NOW.boot_s)}, set(Purpose))
        for flag in ("trading_disabled", "is_disabled", "cancel_only", "auction_mode", "view_only")
    },
    "limit_only": ({"venue": VenueFacts({"BTC-USD": attrs.evolve(BTC, limit_only=True)}, NOW.boot_s)}, set()),
    "post_only": (
        {"venue": VenueFacts({"BTC-USD": attrs.evolve(BTC, post_only=True)}, NOW.boot_s)},
        {Purpose.EXIT, Purpose.FLATTEN},
    ),
    "delisted": ({"venue": VenueFacts({"BTC-USD": attrs.evolve(BTC, status="delisted")}, NOW.boot_s)}, set(Purpose)),
    "nothing": ({}, set()),
}


def facts(**changes: Any) -> PostFacts:
    good: dict[str, Any] = {
        "me": ME,
        "now_boot_s": NOW.boot_s,
        "fences": fences_at(NOW),
        "venue": VenueFacts({"BTC-USD": BTC}, NOW.boot_s),
    }
    return PostFacts(**{**good, **changes})


@pytest.mark.parametrize(("closing", "purpose"), list(itertools.product(CLOSINGS, Purpose)))
def test_what_closes_what(closing: str, purpose: Purpose) -> None:
    changes, closed = CLOSINGS[closing]
    refusal = may_post(order(purpose=purpose), facts(**changes))
    assert (refusal is not None) == (purpose in closed), refusal
    if refusal is not None:
        assert refusal.kind is OutcomeKind.NOT_SENT


@pytest.mark.parametrize("purpose", list(Purpose))
def test_the_binding_is_the_first_question(purpose: Purpose) -> None:
    refusal = may_post(order(purpose=purpose, gateway_incarnation=OTHER), facts(fences=fences_at(NOW, killed=True)))
    assert refusal is not None
    assert refusal.kind is OutcomeKind.NOT_MINE


@pytest.mark.parametrize(("age_s", "open_"), [(1.999, True), (2.0, False), (10_000.0, False)])
def test_intent_committed_killed_three_hours_down_the_old_price_must_not_leave(age_s: float, open_: bool) -> None:
    refusal = may_post(order(purpose=Purpose.EXIT), facts(now_boot_s=NOW.boot_s + age_s))
    assert (refusal is None) == open_


@pytest.mark.parametrize(("age_s", "open_"), [(7.0, True), (7.1, False), (None, False)])
def test_an_entry_leaves_on_no_stale_or_missing_quote(age_s: float | None, open_: bool) -> None:
    received = None if age_s is None else NOW.boot_s - age_s
    refusal = may_post(order(quote_received_boot_s=received), facts(), PostingSettings(quote_age_entry_s_max=7.0))
    assert (refusal is None) == open_


BODIES = [
    ("end_time_missing", attrs.evolve(GTD, end_time_s=None)),
    ("style_not_allowed", attrs.evolve(GTD, style=OrderStyle.LIMIT_GTC)),
    ("style_not_allowed", attrs.evolve(GTD, style=OrderStyle.MARKET_IOC)),
    ("product_rules:price_increment", attrs.evolve(GTD, limit_price=GTD.limit_price + BTC.price_increment / 2)),
    ("product_rules:base_increment", attrs.evolve(GTD, base_size=GTD.base_size / 3)),
    ("product_rules:position_size_too_small", attrs.evolve(GTD, base_size=BTC.base_increment)),
    ("product_rules:position_size_too_large", attrs.evolve(GTD, base_size=BTC.base_size_max + 1)),
]


@pytest.mark.parametrize(("reason", "body"), BODIES, ids=[f"{b[0]}-{i}" for i, b in enumerate(BODIES)])
def test_the_gateway_refuses_again_by_itself_what_breaks_its_product_or_could_rest_for_ever(
    reason: str, body: Any
) -> None:
    refusal = may_post(order(body=body), facts())
    assert refusal is not None
    assert refusal.reason == reason


def test_a_flatten_is_an_ioc() -> None:
    refusal = may_post(order(purpose=Purpose.FLATTEN, body=GTD), facts())
    assert refusal is not None
    assert refusal.reason == "flatten_must_be_ioc"


PLACES = [
    ("production", "live", False, True),
    ("staging", "live", False, False),
    ("production", "paper", False, False),
    ("staging", "paper", True, True),
    ("staging", "live", True, True),
    ("production", "paper", True, True),
    ("production", "live", True, False),
    ("production", "dry_run", False, False),
    ("staging", "dry_run", True, False),
    ("production", "shadow", True, False),
]


@pytest.mark.parametrize(("env", "mode", "simulated", "may"), PLACES)
def test_staging_never_reaches_a_real_venue(env: str, mode: str, simulated: bool, may: bool) -> None:
    assert (placing_refusal(env=env, mode=mode, venue_is_simulated=simulated) == "") == may


@pytest.mark.parametrize(
    ("protection", "changes", "late_s"),
    [
        ("binding", {"me": OTHER, "fences": fences_at(NOW, beat=Beat(OTHER[0], "ready", NOW.boot_s))}, 0.0),
        ("send_by", {}, 3.0),
        ("kill_check", {"killed": True}, 0.0),
        ("fences", {"fences": fences_at(NOW, guardian_run=99)}, 0.0),
        ("quote_age", {}, -900.0),
    ],
)
def test_each_protection_can_be_taken_out_and_is_then_missed(
    protection: str, changes: dict[str, Any], late_s: float
) -> None:
    asked = order(quote_received_boot_s=NOW.boot_s - 900.0) if protection == "quote_age" else order()
    given = facts(**changes, **({"now_boot_s": NOW.boot_s + late_s} if late_s > 0 else {}))
    if late_s > 0:
        given = attrs.evolve(given, fences=fences_at(later(late_s)))
    assert may_post(asked, given) is not None
    assert may_post(asked, given, protections=Protections().without(protection)) is None


# ---- lanes and queues ----


def test_dispatch_only_to_an_idle_worker_and_what_waits_too_long_is_not_sent() -> None:
    gateway = machine(settings=GatewaySettings(workers_order=2))
    names = [f"bh-test-{n}" for n in range(4)]
    out = [call for name in names for call in calls(gateway.handle(order(name, Purpose.EXIT), NOW))]
    assert [call.request.client_order_id for call in out] == names[:2]
    freed = gateway.handle(accepted(out[0]), later(0.5))
    assert [call.request.client_order_id for call in calls(freed)] == names[2:3]
    assert outcomes(gateway.handle(Woke("order"), later(2.0))) == [("not_sent", "late")]


def test_a_waiting_order_asks_to_be_woken_at_its_send_by() -> None:
    gateway = machine(settings=GatewaySettings(workers_order=1))
    gateway.handle(order("bh-1", Purpose.EXIT), NOW)
    effects = gateway.handle(order("bh-2", Purpose.EXIT), NOW)
    assert Wake("order", NOW.boot_s + 2.0) in effects


def test_exits_go_before_entries() -> None:
    gateway = machine(settings=GatewaySettings(workers_order=1))
    (first,) = calls(gateway.handle(order("bh-0", Purpose.EXIT), NOW))
    gateway.handle(order("bh-entry"), NOW)
    gateway.handle(order("bh-exit", Purpose.EXIT), NOW)
    (second,) = calls(gateway.handle(accepted(first), later(0.1)))
    assert second.request.client_order_id == "bh-exit"


def test_the_kill_switchs_cancels_do_not_wait_behind_sixteen_hung_posts() -> None:
    gateway = machine(settings=GatewaySettings(workers_order=16))
    for number in range(16):
        gateway.handle(order(f"bh-{number}", Purpose.EXIT), NOW)
    (cancel,) = calls(gateway.handle(CancelOrders(cancel_id="c", venue_order_ids=("v1",)), NOW))
    assert cancel.lane == "cancel"


def test_a_kill_refuses_what_is_queued_and_cancels_go_on() -> None:
    gateway = machine(settings=GatewaySettings(workers_order=1))
    gateway.handle(order("bh-0", Purpose.EXIT), NOW)
    gateway.handle(order("bh-1", Purpose.EXIT), NOW)
    gateway.handle(order("bh-2", Purpose.FLATTEN), NOW)
    killed = gateway.handle(KillSnapshot(n=1, engaged=True, cause="test"), NOW)
    assert outcomes(killed) == [("not_sent", "fenced:kill")]
    assert len(calls(gateway.handle(CancelOrders(cancel_id="c", venue_order_ids=("v1",)), NOW))) == 1


def test_an_older_kill_snapshot_does_not_rearm() -> None:
    gateway = machine()
    gateway.handle(KillSnapshot(n=5, engaged=True, incarnation=(7, 2)), NOW)
    gateway.handle(KillSnapshot(n=9, engaged=False, incarnation=(7, 1)), NOW)
    assert outcomes(gateway.handle(order(), NOW)) == [("not_sent", "fenced:kill")]


# ---- cancels ----


def test_cancels_are_batched_to_a_hundred_and_answered_to_who_asked() -> None:
    gateway = machine(settings=GatewaySettings(workers_cancel=1))
    (first,) = calls(gateway.handle(CancelOrders(cancel_id="a", venue_order_ids=("v0",)), NOW))
    for number in range(150):
        gateway.handle(CancelOrders(cancel_id=f"c{number}", venue_order_ids=(f"v{number}",)), NOW)
    answer = CancelsAnswered(cancel_id="x", results=(("v0", True, ""),), complete=True)
    back = gateway.handle(Called(call_id=first.call_id, outcome=answer), NOW)
    told = [m for m in sends(back, "oms") if isinstance(m, CancelsAnswered)]
    assert [(m.cancel_id, m.results, m.complete) for m in told] == [
        ("a", (("v0", True, ""),), True),
        ("c0", (("v0", True, ""),), True),
    ]
    (batch,) = calls(back)
    assert len(batch.request.venue_order_ids) == 100


def test_a_repeated_cancel_is_not_sent_twice_at_once() -> None:
    gateway = machine()
    (first,) = calls(gateway.handle(CancelOrders(cancel_id="a", venue_order_ids=("v1",)), NOW))
    assert calls(gateway.handle(CancelOrders(cancel_id="a", venue_order_ids=("v1",)), later(0.5))) == []
    failed = CancelsAnswered(cancel_id="x", results=(), complete=False)
    back = gateway.handle(Called(call_id=first.call_id, outcome=failed), later(1.0))
    assert [m.complete for m in sends(back, "oms")] == [False]
    assert len(calls(gateway.handle(CancelOrders(cancel_id="a", venue_order_ids=("v1",)), later(1.5)))) == 1


def test_an_empty_order_id_is_never_sent_to_the_venue() -> None:
    gateway = machine()
    effects = gateway.handle(CancelOrders(cancel_id="a", venue_order_ids=("",)), NOW)
    assert calls(effects) == []
    assert sends(effects, "oms")[0].results == (("", False, "empty_order_id"),)


# ---- queries ----


def test_a_query_is_answered_to_reply_to_and_settling_goes_first() -> None:
    gateway = machine(settings=GatewaySettings(workers_query=1))
    (first,) = calls(gateway.handle(attrs.evolve(query(QueryKind.FEES), reply_to="catalog"), NOW))
    gateway.handle(attrs.evolve(query(QueryKind.PRODUCTS), query_id="q2", reply_to="catalog"), NOW)
    gateway.handle(attrs.evolve(query(QueryKind.ORDERS), query_id="q3"), NOW)
    page = Page(query_id="q1", kind=QueryKind.FEES, complete=True)
    effects = gateway.handle(Called(call_id=first.call_id, outcome=page), NOW)
    assert sends(effects, "catalog") == [page]
    assert [call.request.query_id for call in calls(effects)] == ["q3"]


def test_a_repeated_query_is_asked_once() -> None:
    gateway = machine()
    assert len(calls(gateway.handle(query(QueryKind.ORDERS), NOW))) == 1
    assert calls(gateway.handle(query(QueryKind.ORDERS), later(1.0))) == []


def test_a_query_that_waits_too_long_is_answered_as_no_answer() -> None:
    gateway = machine(settings=GatewaySettings(workers_query=1))
    gateway.handle(query(QueryKind.ORDERS), NOW)
    gateway.handle(attrs.evolve(query(QueryKind.FILLS), query_id="q2"), NOW)
    (page,) = sends(gateway.handle(Woke("query"), later(30.0)), "oms")
    assert (page.query_id, page.complete, page.error) == ("q2", False, "waited_too_long")


def test_backfill_leaves_workers_for_settling() -> None:
    gateway = machine(settings=GatewaySettings(workers_query=4, workers_backfill_max=2))
    out = [
        call
        for number in range(4)
        for call in calls(gateway.handle(attrs.evolve(query(QueryKind.CANDLES), query_id=f"b{number}"), NOW))
    ]
    assert len(out) == 2
    assert len(calls(gateway.handle(query(QueryKind.ORDERS), NOW))) == 1


def test_without_a_key_private_questions_have_no_answer() -> None:
    gateway = machine(has_key=False)
    (page,) = sends(gateway.handle(query(QueryKind.BALANCES), NOW), "oms")
    assert page.error == "no_api_key"
    assert len(calls(gateway.handle(query(QueryKind.CLOCK), NOW))) == 1


# ---- budgets ----


def test_after_a_restart_entries_wait_and_cancels_go_at_once() -> None:
    gateway = machine(full=False)
    effects = gateway.handle(order(), NOW)
    assert calls(effects) == []
    (wake,) = [e for e in effects if isinstance(e, Wake)]
    assert wake.at_boot_s == NOW.boot_s + 1.0  # (1 + reserve 3) / 4 a second
    assert len(calls(gateway.handle(CancelOrders(cancel_id="a", venue_order_ids=("v1",)), NOW))) == 1
    assert len(calls(gateway.handle(Woke("order"), later(1.0)))) == 1


def test_exits_take_from_the_reserve_that_entries_may_not_touch() -> None:
    gateway = machine(settings=GatewaySettings(workers_order=50))
    entries = sum(len(calls(gateway.handle(order(f"bh-e{n}"), NOW))) for n in range(20))
    exits = sum(len(calls(gateway.handle(order(f"bh-x{n}", Purpose.EXIT), NOW))) for n in range(20))
    assert (entries, exits) == (5, 3)


def test_retry_after_pauses_entries_at_once_and_cancels_go_on() -> None:
    gateway = machine()
    (asked,) = calls(gateway.handle(query(QueryKind.ORDERS), NOW))
    page = Page(query_id="q1", kind=QueryKind.ORDERS, complete=False)
    gateway.handle(Called(call_id=asked.call_id, outcome=page, throttled=1, errors=1, retry_after_s=1.5), NOW)
    assert calls(gateway.handle(order(), NOW)) == []
    assert calls(gateway.handle(attrs.evolve(query(QueryKind.ORDERS), query_id="q2"), NOW)) == []
    assert len(calls(gateway.handle(order("bh-exit", Purpose.EXIT), NOW))) == 1
    assert len(calls(gateway.handle(CancelOrders(cancel_id="a", venue_order_ids=("v1",)), NOW))) == 1
    gateway._fences = lambda: fences_at(later(1.5))
    assert len(calls(gateway.handle(Woke("order"), later(1.5)))) == 1


def test_the_hourly_count_goes_to_the_file_and_stops_entries_at_nine_tenths() -> None:
    budgets = BudgetSettings(requests_per_h_max=100, orders=Rate(per_s=100.0, burst=100.0))
    hour = int(NOW.boot_s // 3600)
    gateway = machine(settings=GatewaySettings(workers_order=99, budgets=budgets), hourly=(hour, 88))
    sent = sum(len(calls(gateway.handle(order(f"bh-{n}"), NOW))) for n in range(5))
    assert sent == 2
    assert len(calls(gateway.handle(order("bh-exit", Purpose.EXIT), NOW))) == 1
    effects = gateway.handle(Woke("measure"), NOW)
    assert HourlyCount(hour=hour, requests=91) in sends(effects, "io")
    assert [c.fingerprint for c in sends(effects, "alerts")] == ["gateway:hourly_budget"]


# ---- drain, stuck, measured ----


def test_drain_refuses_everything_and_is_clean_when_no_post_is_out() -> None:
    gateway = machine(settings=GatewaySettings(workers_order=1))
    (posting,) = calls(gateway.handle(order("bh-0", Purpose.EXIT), NOW))
    gateway.handle(order("bh-1", Purpose.FLATTEN), NOW)
    effects = gateway.handle(Drain(run_number=ME[0]), NOW)
    assert outcomes(effects) == [("not_sent", "fenced:drain")]
    assert sends(effects, "main") == [Drained(run_number=ME[0], role="gateway", clean=False, unknown=("bh-0",))]
    done = gateway.handle(accepted(posting), later(1.0))
    assert sends(done, "main") == [Drained(run_number=ME[0], role="gateway", clean=True)]


def test_another_runs_drain_is_not_ours() -> None:
    gateway = machine()
    assert gateway.handle(Drain(run_number=ME[0] - 1), NOW) == ()
    assert len(calls(gateway.handle(order(), NOW))) == 1


def test_only_a_worker_that_is_not_back_five_seconds_after_its_deadline_restarts_the_gateway() -> None:
    gateway = machine()
    (out,) = calls(gateway.handle(order(), NOW))
    assert out.deadline_boot_s == NOW.boot_s + 10.0
    for second in range(1, 15):
        effects = gateway.handle(Woke("measure"), later(second))
        assert not [m for m in sends(effects, "io") if isinstance(m, RestartWanted)], second
    effects = gateway.handle(Woke("measure"), later(15.0))
    assert len([m for m in sends(effects, "io") if isinstance(m, RestartWanted)]) == 1
    assert [c.fingerprint for c in sends(effects, "alerts") if isinstance(c, Condition)] == ["gateway:stuck"]


def test_the_venue_is_a_black_hole_for_ten_minutes_and_nothing_restarts() -> None:
    """Every call comes back Unknown at its deadline, as lanes promise: 600 s of that never ask for a restart."""
    gateway = machine()
    out: list[Call] = []
    for tick in range(600):
        now = Instant(NOW.venue_s + tick, True, NOW.boot_s + tick)
        gateway._fences = lambda now=now: fences_at(now)
        effects = list(gateway.handle(order(f"bh-{tick}", Purpose.EXIT, now_boot_s=now.boot_s), now))
        due = [call for call in out if now.boot_s >= call.deadline_boot_s]
        out = [call for call in out if now.boot_s < call.deadline_boot_s]
        for call in due:
            effects += gateway.handle(
                Called(call_id=call.call_id, outcome=outcome(call, OutcomeKind.UNKNOWN), errors=1), now
            )
        effects += gateway.handle(Woke("measure"), now)
        out += calls(effects)
        assert not [m for m in sends(effects, "io") if isinstance(m, RestartWanted)]


def test_what_the_shell_cannot_tell_is_unknown() -> None:
    gateway = machine()
    (out,) = calls(gateway.handle(order(), NOW))
    assert outcomes(gateway.handle(Called(call_id=out.call_id, outcome=None), NOW)) == [("unknown", "")]


def test_measured_tells_errors_rejections_and_quantiles() -> None:
    gateway = machine()
    for number in range(4):
        (out,) = calls(gateway.handle(order(f"bh-{number}", Purpose.EXIT), NOW))
        kind, reason = (
            (OutcomeKind.REJECTED, "INVALID_LIMIT_PRICE_POST_ONLY") if number == 3 else (OutcomeKind.REJECTED, "X")
        )
        answered = Called(call_id=out.call_id, outcome=outcome(out, kind, reason=reason), latency_s=0.1 * (number + 1))
        gateway.handle(answered, NOW)
    (told,) = [
        m for m in sends(gateway.handle(Woke("measure"), later(1.0)), "health_monitor") if isinstance(m, Measured)
    ]
    readings = dict(told.readings)
    assert (readings["rejects_600s"], readings["post_only_rejects_600s"]) == (3.0, 1.0)
    assert readings["order_p50_s"] == pytest.approx(0.2)
    assert readings["order_p99_s"] == pytest.approx(0.4)
    assert (readings["requests_60s"], readings["errors_60s"]) == (4.0, 0.0)


def test_questions_are_measured_by_kind_and_apart_from_orders() -> None:
    gateway = machine()
    (out,) = calls(gateway.handle(query(QueryKind.ORDER), NOW))
    page = Page(query_id="q1", kind=QueryKind.ORDER, complete=True)
    gateway.handle(Called(call_id=out.call_id, outcome=page, latency_s=3.0), NOW)
    (told,) = [
        m for m in sends(gateway.handle(Woke("measure"), later(1.0)), "health_monitor") if isinstance(m, Measured)
    ]
    readings = dict(told.readings)
    assert (readings["query_p95_s"], readings["ask_order_p95_s"]) == (3.0, 3.0)
    assert "order_p95_s" not in readings


def test_the_type_of_message_does_not_matter_to_a_stranger() -> None:
    assert machine().handle(object(), NOW) == ()
    assert isinstance(order(), PlaceOrder)
    assert IOC.style is OrderStyle.LIMIT_IOC
