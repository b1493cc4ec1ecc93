"""A lost store means more caution, never less. Each trap has the name that protocol.md gives it."""

from __future__ import annotations

from tests.oms.host import (
    D,
    approval,
)
from tests.oms.talk import (
    HELD,
    lost_store,
    quiet_venue,
)
from trading.messages.decisions import Refused
from trading.messages.orders import (
    QueryKind,
)


def test_a_lost_store_means_more_caution_never_less() -> None:
    host, shown, made = lost_store()
    since = host.queries(QueryKind.ORDERS)[-1].since_s
    assert since is not None and since <= host.now.venue_s - 7_200.0
    host.reconcile(orders=shown, balances=HELD)
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, *made)
    assert host.book.positions == ()
    assert [(f.currency, f.size) for f in host.book.foreign] == [("BTC", D(1))]
    host.tell(approval(host))
    assert host.last(Refused).code == "per_symbol_cooldown"


def test_adopt_from_venue_rebuilds_positions_from_our_own_fills_once() -> None:
    host, shown, made = lost_store(adopt=True)
    host.reconcile(orders=shown, balances=HELD)
    host.run(2.0)
    host.answer_query(QueryKind.FILLS, *made)
    host.run(32.0, answer=quiet_venue(host, *HELD))
    position = host.book.positions[0]
    assert (position.booked_size, position.average_price, position.stop_price) == (D(1), D(100), D(90))
    assert host.book.foreign == ()
    host.run(100.0, answer=quiet_venue(host, *HELD))
    assert len(host.book.positions) == 1
    assert host.book.flows_usd == 0 and host.book.drift_usd == 0
