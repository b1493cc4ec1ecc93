"""Budgets: below the venue's limits in every storm, and never empty for cancels and exits (I13)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.coinbase.budgets import Budgets, BudgetSettings, Rate, RateClass, TokenBucket


def fresh(now_boot_s: float = 0.0, **changes: object) -> Budgets:
    return Budgets(BudgetSettings(**changes), now_boot_s)  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.floats(0.0, 2.0), st.booleans()), min_size=1, max_size=200),
    st.floats(0.5, 20.0),
    st.floats(1.0, 20.0),
)
@settings(max_examples=100, deadline=None)
def test_no_window_ever_holds_more_than_burst_plus_rate(
    asks: list[tuple[float, bool]], per_s: float, burst: float
) -> None:
    bucket = TokenBucket(Rate(per_s=per_s, burst=burst))
    now = 0.0
    taken: list[float] = []
    for pause, urgent in asks:
        now += pause
        if bucket.take(now, urgent=urgent):
            taken.append(now)
    for i, start in enumerate(taken):
        for j, end in enumerate(taken[i:], start=i):
            assert j - i + 1 <= burst + per_s * (end - start) + 1e-3


def test_a_storm_of_restarts_earns_nothing() -> None:
    """A gateway restarted every 100 ms, asking as fast as it can, sends no question and no entry at all."""
    sent = 0
    for restart in range(100):
        budgets = fresh(restart * 0.1)
        for tick in range(10):
            now = restart * 0.1 + tick * 0.01
            sent += budgets.take(RateClass.PRIVATE, now, urgent=False)
            sent += budgets.take(RateClass.ORDERS, now, urgent=False)
    assert sent == 0


def test_cancels_are_ready_at_once_after_a_restart() -> None:
    budgets = fresh()
    assert sum(budgets.take(RateClass.CANCELS, 0.0, urgent=True) for _ in range(20)) == 10


@given(st.sampled_from(list(RateClass)), st.booleans(), st.floats(0.0, 1e6))
def test_at_the_ready_time_the_token_is_there(rate_class: RateClass, urgent: bool, start: float) -> None:
    budgets = fresh(start)
    for _ in range(30):
        now = budgets.ready_boot_s(rate_class, start, urgent=urgent)
        assert budgets.take(rate_class, now, urgent=urgent)
        start = now


def test_429_without_retry_after_doubles_and_success_forgets() -> None:
    budgets = fresh(-100.0)
    waits = []
    now = 0.0
    for _ in range(8):
        budgets.throttled(RateClass.PRIVATE, now, None)
        ready = budgets.ready_boot_s(RateClass.PRIVATE, now, urgent=True)
        waits.append(ready - now)
        now = ready
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    budgets.succeeded(RateClass.PRIVATE)
    budgets.throttled(RateClass.PRIVATE, now, None)
    assert budgets.ready_boot_s(RateClass.PRIVATE, now, urgent=True) - now == 1.0


def test_retry_after_is_obeyed_to_the_second() -> None:
    budgets = fresh(-100.0)
    budgets.throttled(RateClass.CANCELS, 0.0, 7.0)
    assert not budgets.take(RateClass.CANCELS, 6.99, urgent=True)
    assert budgets.take(RateClass.CANCELS, 7.0, urgent=True)


def test_exhausted_headers_pause_until_their_reset_and_absent_ones_do_not() -> None:
    budgets = fresh(-100.0)
    budgets.headers(RateClass.PRIVATE, 0.0, None, None)
    budgets.headers(RateClass.PRIVATE, 0.0, 3, 5.0)
    assert budgets.take(RateClass.PRIVATE, 0.0, urgent=False)
    budgets.headers(RateClass.PRIVATE, 0.0, 0, 5.0)
    assert not budgets.take(RateClass.PRIVATE, 4.9, urgent=True)
    assert budgets.take(RateClass.PRIVATE, 5.0, urgent=True)


def test_public_trouble_does_not_stop_orders() -> None:
    budgets = fresh(-100.0)
    budgets.throttled(RateClass.PUBLIC, 0.0, 60.0)
    assert budgets.take(RateClass.ORDERS, 0.0, urgent=False)
    assert not budgets.take(RateClass.PUBLIC, 0.0, urgent=False)


def test_pages_that_were_read_are_paid_back() -> None:
    budgets = fresh(-100.0)
    budgets.charge(RateClass.PRIVATE, 0.0, 1000)
    assert budgets.ready_boot_s(RateClass.PRIVATE, 0.0, urgent=True) == (10.0 + 1.0) / 8.0


def test_the_hours_count_starts_again_with_the_hour_and_survives_a_restart() -> None:
    used = Budgets(BudgetSettings(requests_per_h_max=10), 3500.0, hour=0, hour_requests=9)
    assert not used.take(RateClass.PRIVATE, 3590.0, urgent=False)
    assert used.take(RateClass.PRIVATE, 3590.0, urgent=True)
    assert used.take(RateClass.PRIVATE, 3600.0, urgent=False)
    assert (used.hour, used.hour_requests) == (1, 1)


def test_the_defaults_stay_below_half_of_the_venues_limits() -> None:
    settings = BudgetSettings()
    assert settings.private.per_s + settings.orders.per_s + settings.cancels.per_s <= 15.0
    assert settings.public.per_s <= 5.0


def test_one_asker_in_a_loop_cannot_eat_its_class() -> None:
    budgets = fresh(-100.0)
    asked = sum(budgets.take(RateClass.PRIVATE, 0.0, urgent=False, endpoint="products") for _ in range(50))
    assert asked == 3
    assert budgets.ready_boot_s(RateClass.PRIVATE, 0.0, urgent=False, endpoint="products") == 5.0
    assert budgets.take(RateClass.PRIVATE, 5.0, urgent=False, endpoint="products")
    assert budgets.take(RateClass.PRIVATE, 0.0, urgent=False, endpoint="orders")
