"""News: each purchase, each closed position and each day that is over reaches the channels of news once, whatever crashes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cli.main import app, register
from state.book import Books, traded_since
from state.store import Store
from telemetry.news import digest, news_of, standing
from telemetry.newsroom import Newsroom
from tests.state.test_book import BUY, SELL, T0, book, fill, saves
from tests.support import eventually
from tests.telemetry.test_people import sends
from trading.alerts import AlertsMachine
from trading.machine import Instant, Row, Save, Woke
from trading.money import DAY_S, day_start_s
from trading.news import BACK_S, KEPT_S, LOOK_S, LookForNews, NewsFound, NewsItem, SendNews
from trading.oms_rows import TABLES
from trading.order_states import OrderStatus
from trading.values import Side

DAY0_S = day_start_s(T0)
TODAY_S = DAY0_S + DAY_S


def venue(at_s: float, *, boot_s: float | None = None, speed: float = 1.0, trusted: bool = True) -> Instant:
    return Instant(at_s, trusted, at_s - DAY0_S if boot_s is None else boot_s, speed)


def item(key: str, at_s: float) -> NewsItem:
    return NewsItem(key=key, at_s=at_s, title=key, text=f"text of {key}")


def rows_of(effects: list[object], before: dict[str, Row] | None = None) -> dict[str, Row]:
    """What a store holds after these effects."""
    held = dict(before or {})
    for save in effects:
        if isinstance(save, Save) and save.table == "news":
            held.pop(save.key, None)
            if save.row.get("live", True):
                held[save.key] = save.row
    return held


def told(effects: object) -> list[str]:
    return [message.title for _, message in sends(effects) if isinstance(message, SendNews)]


def looks(effects: object) -> list[LookForNews]:
    return [message for _, message in sends(effects) if isinstance(message, LookForNews)]


def begun(at_s: float = TODAY_S + 3_600.0) -> tuple[AlertsMachine, dict[str, Row]]:
    """A machine that has looked for the first time, and what it saved."""
    machine = AlertsMachine(news=True)
    machine.recover({}, venue(at_s))
    return machine, rows_of(list(machine.handle(Woke("look"), venue(at_s))))


def restarted(held: dict[str, Row], at_s: float) -> AlertsMachine:
    machine = AlertsMachine(news=True)
    machine.recover({"news": held}, venue(at_s))
    return machine


# -- what is told, and how often ---------------------------------------------------------------------------------------


def test_without_a_channel_of_news_nothing_is_looked_for_and_nothing_is_saved() -> None:
    machine = AlertsMachine()
    machine.recover({}, venue(TODAY_S))
    effects = list(machine.handle(Woke("look"), venue(TODAY_S + 1)))
    assert (looks(effects), rows_of(effects)) == ([], {})


def test_the_book_is_looked_at_every_five_seconds_and_never_by_an_untrusted_clock() -> None:
    machine, _ = begun(TODAY_S)
    asked = [s for s in range(1, 21) if looks(machine.handle(Woke("look"), venue(TODAY_S + s)))]
    assert asked == [5, 10, 15, 20]
    assert LOOK_S == 5.0
    assert looks(AlertsMachine(news=True).handle(Woke("look"), venue(TODAY_S, trusted=False))) == []


def test_what_happened_before_the_first_look_is_history_and_not_told() -> None:
    machine, _ = begun(TODAY_S)
    found = NewsFound(items=(item("closed:old", TODAY_S - 1), item("closed:new", TODAY_S + 1)))
    assert told(machine.handle(found, venue(TODAY_S + 5))) == ["closed:new"]


def test_each_piece_is_told_once_also_after_a_restart_and_saved_before_it_is_sent() -> None:
    machine, held = begun(TODAY_S)
    found = NewsFound(items=(item("bought:p", TODAY_S + 1), item("closed:p", TODAY_S + 2)))
    effects = list(machine.handle(found, venue(TODAY_S + 5)))
    assert told(effects) == ["bought:p", "closed:p"]
    assert told(machine.handle(found, venue(TODAY_S + 10))) == []
    again = restarted(rows_of(effects, held), TODAY_S + 20)
    assert told(again.handle(found, venue(TODAY_S + 21))) == []
    later = NewsFound(items=(*found.items, item("closed:q", TODAY_S + 22)))
    assert told(again.handle(later, venue(TODAY_S + 25))) == ["closed:q"]


def test_what_was_traded_while_the_bot_was_down_is_told_when_it_is_back() -> None:
    _, held = begun(TODAY_S)
    machine = restarted(held, TODAY_S + 3 * DAY_S)
    (look,) = looks(machine.handle(Woke("look"), venue(TODAY_S + 3 * DAY_S)))
    assert look.since_s == TODAY_S, "the look reaches back to the time of the fall"
    found = NewsFound(items=(item("closed:while-down", TODAY_S + DAY_S),))
    assert told(machine.handle(found, venue(TODAY_S + 3 * DAY_S + 1))) == ["closed:while-down"]


def test_nothing_that_is_forgotten_is_ever_looked_for_again() -> None:
    machine, held = begun(TODAY_S)
    effects = list(machine.handle(NewsFound(items=(item("closed:p", TODAY_S + 1),)), venue(TODAY_S + 5)))
    held = rows_of(effects, held)
    for day in range(1, 60):
        now = venue(TODAY_S + day * DAY_S + 1.0)
        effects = list(machine.handle(Woke("look"), now))
        held = rows_of(effects, held)
        (look,) = looks(effects)
        assert "closed:p" in held or look.since_s > TODAY_S + 1, "it would be told a second time"
    assert set(held) == {"since"}
    assert KEPT_S > BACK_S + DAY_S


def test_a_position_that_is_sold_after_two_months_is_not_told_as_bought_again() -> None:
    """Its purchase is found with it, and was forgotten as told."""
    machine, held = begun(TODAY_S)
    bought, sold_s = item("bought:p", TODAY_S + 1), TODAY_S + 60 * DAY_S
    held = rows_of(list(machine.handle(NewsFound(items=(bought,)), venue(TODAY_S + 5))), held)
    held = rows_of(list(machine.handle(Woke("look"), venue(sold_s))), held)
    found = NewsFound(items=(bought, item("closed:p", sold_s)))
    assert told(machine.handle(found, venue(sold_s + 5))) == ["closed:p"]
    assert told(restarted(held, sold_s + 6).handle(found, venue(sold_s + 7))) == ["closed:p"]


# -- days --------------------------------------------------------------------------------------------------------------


def days_asked(machine: AlertsMachine, at_s: float, *, speed: float = 1.0) -> list[float | None]:
    return [look.day_s for look in looks(machine.handle(Woke("look"), venue(at_s, speed=speed)))]


def test_a_day_is_told_a_minute_after_midnight_once_and_asked_for_until_it_is_found() -> None:
    machine, held = begun(DAY0_S + 3_600.0)
    assert days_asked(machine, TODAY_S + 59) == [None]
    assert days_asked(machine, TODAY_S + 65) == [DAY0_S]
    assert days_asked(machine, TODAY_S + 71) == [DAY0_S], "the look may have failed"
    day = digest(Books(fills=(), positions={}, intents={}), DAY0_S, [])
    effects = list(machine.handle(NewsFound(items=(day,)), venue(TODAY_S + 72)))
    assert told(effects) == ["2027-01-15: +0.00 USD realised"]
    assert days_asked(machine, TODAY_S + 77) == [None]
    assert days_asked(restarted(rows_of(effects, held), TODAY_S + 80), TODAY_S + 81) == [None]
    assert days_asked(machine, TODAY_S + DAY_S + 65) == [TODAY_S], "and the next one a day later"


def test_the_day_on_whose_morning_the_bot_first_looked_is_not_told_for_the_day_before() -> None:
    machine, _ = begun(TODAY_S + 3_600.0)
    assert days_asked(machine, TODAY_S + 7_200.0) == [None]


def test_at_a_higher_speed_the_fills_of_a_day_have_a_real_minute_to_settle() -> None:
    machine, _ = begun(DAY0_S)
    assert days_asked(machine, TODAY_S + 599, speed=10.0) == [None]
    machine, _ = begun(DAY0_S)
    assert days_asked(machine, TODAY_S + 601, speed=10.0) == [DAY0_S]


# -- what it says ------------------------------------------------------------------------------------------------------


def told_of(folder, since_s: float = T0) -> dict[str, NewsItem]:
    return {one.key: one for one in news_of(traded_since(folder, since_s))}


def test_a_purchase_names_size_price_plan_and_a_sale_its_result_reason_and_time(tmp_path) -> None:
    store = book(tmp_path, BUY, SELL)
    (position,) = [save for save in saves(BUY, SELL) if save.table == "positions"]
    plan = {"stop_pct": "6", "target_pct": "12", "hold_s_max": 172_800.0}
    store.commit([Save("positions", "p1", {**position.row, **plan})])
    store.close()
    found = told_of(tmp_path)
    assert list(found) == ["bought:p1", "closed:p1"]
    bought, sold = found.values()
    assert (bought.title, bought.text) == (
        "SOL-USD bought",
        "2 SOL at 100, 200.00 USD, fees 1.00 USD; momentum; stop 94, target 112, at most 48 h",
    )
    assert sold.title == "SOL-USD sold, +17.90 USD"
    assert sold.text.startswith("+8.95 % after 30 s; ")
    assert sold.text.endswith("2 SOL bought at 100, sold at 110, fees 2.10 USD; momentum")


def entry(status: OrderStatus) -> Save:
    return Save("orders", "c1", {"client_order_id": "c1", "intent_id": "p1", "status": str(status)})


def test_a_purchase_is_told_when_its_order_is_over_not_at_its_first_fill(tmp_path) -> None:
    store = Store(tmp_path / "bulkhead.db", TABLES)
    store.commit([*saves(BUY), entry(OrderStatus.PARTIALLY_FILLED)])
    assert "bought:p1" not in told_of(tmp_path)
    more = fill("b2", Side.BUY, "1", "103", "0.5", 3)
    store.commit([*saves(BUY, more), entry(OrderStatus.CANCELED)])
    store.close()
    assert told_of(tmp_path)["bought:p1"].text.startswith("3 SOL at 101, 303.00 USD, fees 1.50 USD; ")


def test_a_position_that_was_bought_long_ago_is_found_by_its_sale(tmp_path) -> None:
    book(tmp_path, BUY, SELL).close()
    assert list(told_of(tmp_path, T0 + 10)) == ["bought:p1", "closed:p1"], "whole, though only the sale is new"
    assert told_of(tmp_path, T0 + 31) == {}


def standing_with(**said: object) -> list[str]:
    usual = {
        "trading_state": "ACTIVE",
        "causes": [],
        "nav_usd": "1012.5",
        "drawdown_pct": "0.4",
        "positions": [],
        "conditions": [],
    }
    return standing({**usual, **said})


def test_a_day_sums_up_what_was_traded_on_it_alone_and_how_the_bot_stands(tmp_path) -> None:
    book(tmp_path, BUY, SELL).close()
    found = traded_since(tmp_path, DAY0_S)
    held = {"product_id": "BTC-USD", "size": "0.01", "unrealised_usd": "-3.5", "dust": False}
    day = digest(found, DAY0_S, standing_with(positions=[held], conditions=[{}]))
    assert day.title == "2027-01-15: +17.90 USD realised"
    assert day.text.splitlines() == [
        "bought 1, sold 1 (won 1), fees 2.10 USD",
        "SOL-USD +17.90 USD",
        "ACTIVE",
        "NAV 1,012.50 USD, 0.40 % below its highest",
        "held: BTC-USD 0.01 (-3.50 USD)",
        "1 condition stands: see `run.py ctl conditions`",
    ]
    after = digest(found, TODAY_S, standing(None), over=False)
    assert after.title == "2027-01-16 so far: +0.00 USD realised"
    assert after.text.splitlines()[0] == "bought 0, sold 0"
    assert "not known" in after.text, "an operator that does not answer is no quiet one"


# -- the thread that looks ---------------------------------------------------------------------------------------------


def test_a_book_that_is_as_it_was_is_not_read_again_and_one_more_fill_is_seen(tmp_path) -> None:
    store = Store(tmp_path / "bulkhead.db", TABLES)
    store.commit(saves(BUY))
    room = Newsroom(tmp_path, lambda _found: None)
    look = LookForNews(since_s=T0)
    assert [one.key for one in room.read(look).items] == ["bought:p1"]
    assert room.read(look).items == ()
    store.commit(saves(BUY, SELL))
    assert [one.key for one in room.read(look).items] == ["bought:p1", "closed:p1"]
    store.close()


@pytest.mark.parametrize("broken", [False, True], ids=["missing", "damaged"])
def test_a_book_that_cannot_be_read_is_no_news_and_is_read_when_it_can_be(tmp_path, broken) -> None:
    room = Newsroom(tmp_path, lambda _found: None)
    if broken:
        (tmp_path / "bulkhead.db").write_bytes(b"no database" * 100)
    assert room.read(LookForNews(since_s=T0, day_s=DAY0_S)).items == ()
    (tmp_path / "bulkhead.db").unlink(missing_ok=True)
    book(tmp_path, BUY, SELL).close()
    assert [one.key for one in room.read(LookForNews(since_s=T0, day_s=DAY0_S)).items] == [
        "bought:p1",
        "closed:p1",
        "digest:2027-01-15",
    ]


def test_a_row_of_which_nobody_can_make_a_sentence_ends_no_thread_and_is_told_when_it_is_mended(tmp_path) -> None:
    store, heard = Store(tmp_path / "bulkhead.db", TABLES), []
    (position,) = [save for save in saves(BUY) if save.table == "positions"]
    store.commit([*saves(BUY), Save("positions", "p1", {**position.row, "stop_pct": "six"})])
    room = Newsroom(tmp_path, heard.append)
    room.start()
    look = LookForNews(since_s=T0)
    room.look(look)
    eventually(lambda: room._seen)
    store.commit(saves(BUY, SELL))
    eventually(lambda: room.look(look) or heard)
    assert [one.key for one in heard[0].items] == ["bought:p1", "closed:p1"]
    store.close()


# -- ctl ---------------------------------------------------------------------------------------------------------------


def ctl(*words: str):
    register()
    return CliRunner().invoke(app, ["ctl", *words])


def test_ctl_tells_any_day_without_a_bot_and_refuses_what_is_no_day(tmp_path) -> None:
    book(tmp_path, BUY, SELL).close()
    place = ("--data-dir", str(tmp_path))
    answer = json.loads(ctl("digest", "--day", "2026-01-01", *place, "--json").stdout)
    assert (answer["day"], answer["title"]) == ("2026-01-01", "2026-01-01: +0.00 USD realised")
    for day, why in (("yesterday", "2026-11-30"), ("2999-01-01", "has not begun")):
        refused = ctl("digest", "--day", day, *place)
        assert refused.exit_code != 0
        assert why in str(refused.exception)
