"""What the book says to people: fills with what they realised, positions as trades; read without touching anything."""

from __future__ import annotations

from decimal import Decimal as D
from pathlib import Path

import pytest
from attrs import evolve

from state.book import NoBookError, books, fills, newest_books
from state.store import Store, StoreCorruptError, StoreReadOnlyError
from telemetry.trades import closed, told
from trading.ledger import EXTERNAL, FILL, REVERSAL, Fill, fold
from trading.machine import Save
from trading.oms_rows import TABLES, CloseRow, Position
from trading.rows import to_row
from trading.tiers import Groups
from trading.values import Side

T0 = 1_800_000_000.0


def fill(key: str, side: Side, size: str, price: str, fee: str, at_s: float, kind: str = FILL) -> Fill:
    return Fill(
        key=key,
        entry_id=key,
        trade_id=key,
        venue_order_id=f"v-{side}",
        client_order_id="",
        position_id="p1",
        product_id="SOL-USD",
        side=side,
        price=D(price),
        base_size=D(size),
        fee_usd=D(fee),
        liquidity="MAKER",
        kind=kind,
        at_s=T0 + at_s,
    )


BUY, SELL = fill("b", Side.BUY, "2", "100", "1", 0), fill("s", Side.SELL, "2", "110", "1.1", 30)


def saves(*booked: Fill) -> list[Save]:
    """What oms saves of a position that is over, by the ledger's own fold."""
    folded = fold(booked)
    position = Position(
        position_id="p1",
        product_id="SOL-USD",
        strategy="momentum",
        opened_s=T0,
        realised_usd=folded.realised_usd,
        outcome="win",
        closed_s=T0 + 31,
    )
    closes = [
        CloseRow(
            fill_key=close.fill_key,
            position_id="p1",
            product_id="SOL-USD",
            base_size=close.base_size,
            realised_usd=close.realised_usd,
            at_s=close.at_s,
        )
        for close in folded.closes
    ]
    return [
        *(Save("fills", one.key, to_row(one, skip=("key",))) for one in booked),
        *(Save("closes", one.fill_key, to_row(one)) for one in closes),
        Save("positions", "p1", to_row(position)),
    ]


def book(folder: Path, *booked: Fill) -> Store:
    store = Store(folder / "bulkhead.db", TABLES)
    store.commit(saves(*booked))
    return store


def test_a_closing_fill_carries_what_the_book_realised_and_an_opening_one_nothing(tmp_path):
    book(tmp_path, BUY, SELL).close()
    newest, first = fills(tmp_path)
    assert (newest["key"], newest["realised_usd"]) == ("s", "17.9")
    assert (first["key"], first["realised_usd"]) == ("b", None)
    assert [row["key"] for row in fills(tmp_path, 1)] == ["s"]


def test_reading_makes_no_file_beside_a_book_that_nobody_has_open(tmp_path):
    book(tmp_path, BUY, SELL).close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert len(fills(tmp_path)) == len(books(tmp_path).fills) == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_running_bots_last_commit_is_seen_before_it_reaches_the_file(tmp_path):
    store = book(tmp_path, BUY)
    assert [row["key"] for row in fills(tmp_path)] == ["b"]
    store.commit(saves(BUY, SELL))
    assert [row["key"] for row in fills(tmp_path)] == ["s", "b"]
    store.close()


def test_without_a_book_there_is_a_sentence_and_still_no_file(tmp_path):
    with pytest.raises(NoBookError, match="there is no book yet"):
        fills(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_emptied_or_foreign_book_is_named_not_taken_for_a_quiet_one(tmp_path):
    book(tmp_path, BUY).close()
    (tmp_path / "bulkhead.db").unlink()
    with pytest.raises(StoreCorruptError, match="lost its rows"):
        fills(tmp_path)
    (tmp_path / "bulkhead.db").write_bytes(b"no database" * 100)
    with pytest.raises((StoreCorruptError, StoreReadOnlyError), match="damaged"):
        books(tmp_path)


@pytest.mark.parametrize(
    ("booked", "pnl_usd", "entry_price"),
    [
        ((BUY, SELL), "17.9", "100"),
        # a purchase that the venue took back and repeated at another price
        (
            (
                BUY,
                fill("r", Side.BUY, "2", "100", "1", 1, REVERSAL),
                fill("b2", Side.BUY, "2", "101", "1", 2),
                SELL,
            ),
            "15.9",
            "101",
        ),
        # half of it left by another hand: at cost, without profit
        (
            (BUY, fill("e", Side.SELL, "1", "100", "0", 10, EXTERNAL), fill("s1", Side.SELL, "1", "110", "0", 20)),
            "9.5",
            "100",
        ),
    ],
    ids=["plain", "reversal", "external"],
)
def test_a_trade_realises_what_the_book_says_whatever_kinds_of_fills_it_had(tmp_path, booked, pnl_usd, entry_price):
    book(tmp_path, *booked).close()
    found = books(tmp_path)
    (trade,) = closed(found.fills, found.positions, found.intents, Groups())
    assert (trade.pnl_usd, trade.entry_price) == (D(pnl_usd), D(entry_price))
    assert trade.pnl_usd == sum(D(row["realised_usd"]) for row in fills(tmp_path) if row["realised_usd"])
    assert (trade.strategy, trade.closed_s - trade.opened_s > 0) == ("momentum", True)


def test_the_newest_trades_alone_are_those_of_the_whole_book(tmp_path: Path) -> None:
    store = book(tmp_path, BUY, SELL)
    for number in (2, 3):
        key = f"p{number}"
        pair = [
            evolve(one, key=f"{one.key}{number}", entry_id=f"{one.key}{number}", position_id=key) for one in (BUY, SELL)
        ]
        for save in saves(*pair):
            of_position = {"key": key, "row": {**save.row, "position_id": key, "closed_s": T0 + number}}
            store.commit([evolve(save, **of_position) if save.table == "positions" else save])
    store.close()
    whole, newest = books(tmp_path), newest_books(tmp_path, 2)
    assert set(whole.positions) == {"p1", "p2", "p3"}
    assert set(newest.positions) == {"p1", "p3"}, "p1 was closed last"
    assert newest.fills == tuple(row for row in whole.fills if row["position_id"] in newest.positions)
    trades = told(closed(newest.fills, newest.positions, newest.intents, Groups()), shown=1)
    assert (trades["sums"]["trades"], len(trades["trades"])) == (2, 1)
    assert [point[1] for point in trades["curve"]] == [17.9, 35.8]
