"""By which clock requests are signed: this computer's, until the venue refuses it and tells its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchange.coinbase.transport import VenueClock, boot_s

DATE, DATE_S = "Tue, 01 Dec 2026 01:00:00 GMT", 1_796_086_800.0


def asked(clock: VenueClock, *, right: bool, date: str | None = DATE) -> bool:
    """One request; whether the venue takes it. right: this computer's clock is, else the venue's Date alone is."""
    signed_by_it = clock.now_s() is not None
    taken = right != signed_by_it
    clock.answered(date, boot_s(), signed_by_it=signed_by_it, refused=not taken)
    return taken


def test_while_the_venue_takes_what_the_sdk_signs_its_date_is_not_signed_by():
    clock = VenueClock()
    assert all(asked(clock, right=True) for _ in range(5))
    assert clock.now_s() is None


def test_a_refusal_tells_the_time_that_the_next_request_is_signed_by():
    clock = VenueClock()
    assert [asked(clock, right=False) for _ in range(4)] == [False, True, True, True]
    now_s = clock.now_s()
    assert now_s is not None
    assert DATE_S <= now_s < DATE_S + 5.0, "runs on with the boot clock, never ahead of the venue's"


def test_a_date_that_is_refused_itself_is_left_again():
    clock = VenueClock()
    assert [asked(clock, right=False), asked(clock, right=True), asked(clock, right=True)] == [False, False, True]


def test_an_answer_without_a_date_or_with_an_odd_one_is_signed_by_this_computers_clock():
    beyond = ("Tue, 01 Dec 99999999999999999999 01:00:00 GMT", "Tue, 01 Dec 2026 01:00:00 +99999999999999999999")
    for odd in (None, "", "yesterday", "Tue, 99 Dec 2026 01:00:00 GMT", *beyond):
        clock = VenueClock()
        asked(clock, right=False, date=odd)
        assert clock.now_s() is None


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_sessions_that_are_refused_at_once_turn_to_the_other_clock_together(refused_together):
    clock = VenueClock()
    for _ in refused_together:  # all were signed before the first of them was answered
        clock.answered(DATE, boot_s(), signed_by_it=False, refused=True)
    assert clock.now_s() is not None
