"""The life of an entry and of its exit, with oms killed at every handle: before its commit, or after it with any prefix of its sends.

The venue's ledger is the judge: one order per intent, nothing sold twice, and in the end both agree.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.oms.host import D
from tests.oms.test_the_ledger_equals_the_venues import START_USD, Street
from trading.messages.book import Recovery
from trading.messages.control import KillSnapshot
from trading.messages.orders import OutcomeKind
from trading.protections import Protections


def entry_by_taking(street: Street) -> None:
    street.propose("BTC-USD", 2, 4, post_only=False)
    street.run(2.0)


def entry_by_resting(street: Street) -> None:
    street.propose("BTC-USD", 2, 0, post_only=True)
    street.run(1.0)
    street.print("BTC-USD", -100, 1, "BUY")
    for update in street.updates:
        street.host.tell(update)
    street.run(25.0)


def entry_without_an_answer(street: Street) -> None:
    street.host.run(0.0)
    street.lose_next.append("lose")  # the next that goes to the gateway is the placement
    entry_by_resting(street)
    assert any(o.kind is OutcomeKind.UNKNOWN for o in street.posted.values()) or street.host.crash_at


def and_its_exit(street: Street) -> None:
    entry_by_taking(street)
    street.leave(0, 4)
    street.run(3.0)


LIVES = (entry_by_taking, entry_by_resting, entry_without_an_answer, and_its_exit)


def lived(
    life: Callable[[Street], None], crash: tuple[int, bool, int] | None, protections: Protections | None = None
) -> Street:
    street = Street(settle_s=0.3, lag_s=0.5, cancel_s=0.2)
    if protections is not None:
        street.host.protections = protections
        street.host.start()
    # The kill switch and risk answer each new oms at once, as their hosts make them.
    begin = street.host.start

    def start_again() -> None:
        begin()
        street.host.tell(KillSnapshot(n=1, engaged=False))

    street.host.start = start_again  # type: ignore[method-assign]
    street.host.tell(KillSnapshot(n=1, engaged=False))
    street.run(1.0)
    assert street.host.book.recovery is Recovery.RECONCILED
    street.host.handles = 0
    street.host.boundaries = []
    street.host.crash_at = crash
    life(street)
    return street


def judge(street: Street) -> None:
    street.host.crash_at = None
    rows_before = set(street.host.store.rows("intents"))
    assert {o.client_order_id for o in street.venue.orders.values()} <= {
        r["client_order_id"] for r in street.host.store.rows("intents").values() if not r.get("external")
    }, "an order without its intent row"
    street.come_to_rest()
    ids = [o.client_order_id for o in street.venue.orders.values()]
    assert len(ids) == len(set(ids)), "one intent, two orders"
    assert set(street.host.store.rows("intents")) == rows_before, "recovery decides nothing new"
    book, wallets = street.host.machine.desk.book, street.venue.wallets.by_currency
    assert not book.working and not book.unbooked
    assert START_USD + book.meta.cash_usd == wallets["USD"].available + wallets["USD"].hold
    assert book.booked_by_currency().get("BTC", D(0)) == wallets["BTC"].available if "BTC" in wallets else True
    assert {f"{f.entry_id}:{f.trade_id}" for f in street.venue.fill_list} == set(book.fills)


def crashes(life: Callable[[Street], None]) -> list[tuple[int, bool, int]]:
    """Every handle that saved or sent: before its commit, and after it with 0, 1, ... all of its sends out."""
    straight = lived(life, None)
    boundaries = list(straight.host.boundaries)
    judge(straight)
    found: list[tuple[int, bool, int]] = []
    for handle, sends in boundaries:
        found.append((handle, False, 0))
        found += [(handle, True, out) for out in sorted({0, 1, 2, sends})]
    return found


@pytest.mark.parametrize("life", LIVES, ids=[life.__name__ for life in LIVES])
def test_a_crash_at_every_boundary_loses_and_doubles_nothing(life: Callable[[Street], None]) -> None:
    plans = crashes(life)
    assert len(plans) > 25
    for plan in plans:
        try:
            judge(lived(life, plan))
        except AssertionError as error:
            raise AssertionError(f"{life.__name__}, crash (handle, committed, sends out) = {plan}: {error}") from error
    print(f"{life.__name__}: {len(plans)} crashes")


def test_sending_before_saving_would_be_noticed() -> None:
    with pytest.raises(AssertionError, match="an order without its intent row"):
        judge(lived(entry_by_taking, (1, False, 9)))


def test_a_fill_booked_twice_would_be_noticed() -> None:
    street = lived(and_its_exit, None)
    street.host.machine.desk.protections = Protections().without("dedupe")
    street.host.machine.desk.ask_pass()
    street.run(2.0)
    with pytest.raises(AssertionError):
        judge(street)
