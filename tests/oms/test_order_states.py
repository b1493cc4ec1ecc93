"""The table, every pair of it; and the fold of sightings, in every order."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oms.host import D
from trading.messages.orders import OrderStyle, VenueStatus
from trading.order_states import (
    EVENT_TYPES,
    TIMERS,
    TRANSITIONS,
    WORDS,
    IllegalTransitionError,
    OrderAbsent,
    OrderEvent,
    OrderNotSent,
    OrderRejected,
    OrderStatus,
    OrderUnknown,
    document,
    next_status,
)
from trading.orders import Intent, Order, Sighting, apply, not_there, observe
from trading.values import Purpose, Side

S = OrderStatus
PAIRS = list(itertools.product(OrderStatus, EVENT_TYPES))


@pytest.mark.parametrize(("status", "kind"), PAIRS, ids=[f"{s.name}-{k.__name__}" for s, k in PAIRS])
def test_every_pair_is_either_in_the_table_or_refused(status: OrderStatus, kind: type[OrderEvent]) -> None:
    if kind in TRANSITIONS[status]:
        assert next_status(status, kind) is TRANSITIONS[status][kind]
    else:
        with pytest.raises(
            IllegalTransitionError, match=f"is {status.name} and cannot have {kind.__name__}; it allows"
        ):
            next_status(status, kind)


def test_every_status_has_a_row_words_and_every_living_one_a_timer() -> None:
    assert set(TRANSITIONS) == set(OrderStatus) == set(WORDS)
    assert set(TIMERS) == {s for s in OrderStatus if not s.terminal}


def test_what_is_proved_to_exist_is_never_taken_back() -> None:
    for status in (S.ACCEPTED, S.PARTIALLY_FILLED, S.PENDING_CANCEL, S.FILLED, S.CANCELED, S.EXPIRED):
        for kind in (OrderNotSent, OrderUnknown, OrderAbsent):
            assert kind not in TRANSITIONS[status]


def test_every_living_status_can_come_to_an_end() -> None:
    for status in OrderStatus:
        reached, before = {status}, set()
        while reached != before:
            before = set(reached)
            reached |= {after for one in before for after in TRANSITIONS[one].values()}
        assert any(one.terminal for one in reached), status


def test_the_diagram_in_docs_is_drawn_from_the_table() -> None:
    assert (Path(__file__).parents[2] / "docs" / "order_states.md").read_text(encoding="utf-8") == document()


def order(status: OrderStatus = S.SUBMITTED, size: str = "3", filled: str = "0") -> Order:
    intent = Intent(
        intent_id="i",
        client_order_id="bh-abcd-x",
        purpose=Purpose.ENTRY,
        product_id="BTC-USD",
        side=Side.BUY,
        style=OrderStyle.LIMIT_GTD,
        base_size=D(size),
        limit_price=D(100),
        post_only=True,
        end_time_s=100,
        approval_id="a",
        gateway_incarnation=(1, 1),
        saved_s=0.0,
        saved_boot_s=0.0,
        send_by_boot_s=2.0,
        horizon_boot_s=182.0,
    )
    return Order(intent=intent, status=status, seen_size=D(filled), existed=status.resting)


SIGHTINGS = st.builds(
    Sighting,
    venue_order_id=st.just("v"),
    status=st.sampled_from(list(VenueStatus)),
    filled_size=st.sampled_from([D(0), D(1), D(2), D(3)]),
    average_price=st.just(D(100)),
)


@given(
    start=st.sampled_from([s for s in OrderStatus if s not in (S.INITIALIZED, S.DENIED)]),
    seen=st.lists(SIGHTINGS, max_size=8),
)
@settings(max_examples=400, deadline=None)
def test_any_sightings_in_any_order_are_taken_by_the_table(start: OrderStatus, seen: list[Sighting]) -> None:
    now = order(start)
    for one in seen:
        before = now
        for event in observe(now, one, 1.0):
            now = apply(now, event, 1.0)
        assert observe(now, one, 1.0) == (), "the same sighting twice is no news"
        assert now.seen_size >= before.seen_size
        if before.status.terminal and before.status not in (S.NOT_PLACED, S.REJECTED):
            assert now.status.terminal, "what is over stays over"


def lives() -> st.SearchStrategy[list[Sighting]]:
    """What a venue shows of one order along its life: growing fills, then one end."""

    def life(fills: list[int], end: VenueStatus, accepted: bool) -> list[Sighting]:
        shown = [Sighting(venue_order_id="v", status=VenueStatus.PENDING, filled_size=D(0))] if accepted else []
        total = 0
        for step in fills:
            total = min(3, total + step)
            shown.append(Sighting(venue_order_id="v", status=VenueStatus.OPEN, filled_size=D(total)))
        if total == 3:
            end = VenueStatus.FILLED
        elif end is VenueStatus.FILLED:
            total = 3
        shown.append(Sighting(venue_order_id="v", status=end, filled_size=D(total)))
        return shown

    ends = st.sampled_from([VenueStatus.FILLED, VenueStatus.CANCELED, VenueStatus.EXPIRED])
    return st.builds(life, st.lists(st.integers(0, 2), max_size=4), ends, st.booleans())


@given(life=lives(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_one_life_told_in_any_order_with_duplicates_ends_in_the_same_order(
    life: list[Sighting], data: st.DataObject
) -> None:
    def told(seen: list[Sighting]) -> Order:
        now = order()
        for one in seen:
            for event in observe(now, one, 1.0):
                now = apply(now, event, 1.0)
        return now

    straight = told(life)
    shuffled = told(data.draw(st.permutations([*life, *life[: len(life) // 2]])))
    assert (shuffled.status, shuffled.seen_size) == (straight.status, straight.seen_size)
    assert straight.status.terminal


@pytest.mark.parametrize("kind", [OrderNotSent, OrderRejected, OrderUnknown])
def test_not_sent_and_rejected_after_proof_of_existence_change_nothing_and_alert(kind: type[OrderEvent]) -> None:
    for status in (S.ACCEPTED, S.PARTIALLY_FILLED, S.PENDING_CANCEL):
        answer = not_there(order(status), kind, "late", 1.0)
        assert answer.event is None
        assert bool(answer.alert) is (kind is not OrderUnknown)


def test_not_sent_moves_only_submitted_and_rejected_also_what_is_unknown() -> None:
    assert not_there(order(S.SUBMITTED), OrderNotSent, "", 1.0).event is not None
    assert not_there(order(S.UNKNOWN), OrderNotSent, "", 1.0).event is None
    assert not_there(order(S.UNKNOWN), OrderRejected, "", 1.0).event is not None
    assert not_there(order(S.NOT_PLACED), OrderRejected, "", 1.0).event is None
