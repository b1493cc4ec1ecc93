"""Read model, view, metrics and page show what was told, and nothing that was not."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from attrs import evolve
from rich.console import Console

from actors.notes import People
from actors.plan import RunPlan
from cli.ctl_questions import undecided
from telemetry.client import page_of
from telemetry.log import redact
from telemetry.metrics import exposition
from telemetry.page import make_app, serve
from telemetry.read_model import NotNowError, ReadModel
from telemetry.terminal import JsonView, LiveView, PlainView, record_text
from telemetry.view import Local, decision_text, draw
from tests.telemetry.samples import NOW_S, book, everything, order, quote
from trading.machine import Instant, Note
from trading.messages.book import Recovery
from trading.messages.control import Condition, KillSnapshot, Noted, UniverseEntry, UniverseSnapshot


def told(*more: tuple[str, object]) -> ReadModel:
    model = ReadModel(
        config_hash="cafe",
        env="staging",
        mode="paper",
        market="synthetic",
        quotes=lambda: {"BTC-USD": quote()},
        boot_clock=lambda: 100.0,
    )
    for role, message in (*everything(), *more):
        model.fold(role, message)
    return model


def screen(model: ReadModel | None, width: int, height: int) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    local = Local(scenario="opening", data_dir="data/x", operator="up")
    console.print(draw(model.picture({}) if model else None, local, height, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_before_anything_is_told_the_bot_is_halted_and_says_starting() -> None:
    model = ReadModel(config_hash="", env="staging", mode="paper", market="synthetic")
    assert model.status()["trading_state"] == "HALTED"
    assert model.status()["causes"] == ["starting"]
    assert model.status()["nav_usd"] is None


def test_every_answer_is_json() -> None:
    model = told()
    for command in (
        "status",
        "tree",
        "symbols",
        "orders",
        "positions",
        "balance",
        "exposure",
        "breakers",
        "latency",
        "config",
        "decisions",
        "picture",
    ):
        json.dumps(model.answer(command))
    json.dumps(model.answer("why", {"symbol": "SOL-USD"}))
    assert model.answer("pid", {"role": "oms"}) == {"role": "oms", "pid": 12}


def test_why_ends_with_the_verdict_that_stands_and_its_counts() -> None:
    counts = {"no_candidates_from_triggers": 5321, "stale_quote": 2}
    values = {
        "product_id": "SOL-USD",
        "code": "no_candidates_from_triggers",
        "text": "",
        "values": {"change_15m_pct": "0.31", "threshold_15m_pct": "1.5"},
        "seen": 5321,
        "counts": counts,
    }
    note = Noted(at_s=NOW_S, role="symbol:SOL-USD", kind="standing", values=values, config_hash="cafe")
    model = told(("symbol:SOL-USD", note), ("symbol:SOL-USD", note))
    answer = model.answer("why", {"symbol": "SOL-USD"})
    assert answer["counts"] == counts
    last = answer["decisions"][-1]
    assert (last["code"], last["values"]["change_15m_pct"]) == ("no_candidates_from_triggers", "0.31")
    assert "no_candidates_from_triggers 5321" in last["text"]
    assert len(answer["decisions"]) == 1 + len(told().answer("why", {"symbol": "SOL-USD"})["decisions"])


def test_why_tells_of_a_product_that_is_out_of_the_universe_why_it_is_never_looked_at() -> None:
    out = UniverseEntry(
        product_id="XRP-USD", tier="T2", theme="OTHER", eligible=False, reason="metadata_missing", size_multiplier=0.0
    )
    snapshot = UniverseSnapshot(n=2, entries=(out,), regime="chop", regime_confidence=0.8)
    answer = told(("universe", snapshot)).answer("why", {"symbol": "XRP-USD"})
    assert (answer["decisions"], answer["eligible"], answer["reason"]) == ([], False, "metadata_missing")
    assert undecided(answer) == "ineligible: metadata_missing"


def test_a_standing_verdict_goes_to_those_who_look_on_and_to_no_file(tmp_path) -> None:
    heard: list[tuple[str, object]] = []
    people = People(
        RunPlan(data_dir=tmp_path, env="staging", mode="paper"), "symbol:BTC-USD", lambda *one: heard.append(one)
    )
    people.note(Note("standing", {"product_id": "BTC-USD", "code": "x", "values": {}}), Instant(NOW_S, True, 1.0))
    assert [role for role, _ in heard] == ["operator", "console"]
    assert list(tmp_path.rglob("*")) == []
    people.note(Note("decision", {"product_id": "BTC-USD", "code": "x", "values": {}}), Instant(NOW_S, True, 1.0))
    assert [one.name for one in tmp_path.rglob("*.jsonl")] == ["symbol_BTC-USD.jsonl"]


def test_an_older_book_never_replaces_a_newer_one() -> None:
    model = told(("oms", book(n=5, realised_today_usd=D(5))), ("oms", book(n=4, realised_today_usd=D(4))))
    assert model.status()["realised_today_usd"] == "5"


def test_a_slice_of_the_book_is_not_the_book() -> None:
    model = told(("oms", book(n=9, product_id="BTC-USD", orders=())))
    assert model.status()["orders"]


def test_the_state_is_the_one_function_of_the_design() -> None:
    assert told().status()["trading_state"] == "ACTIVE"
    assert told(("oms", book(n=2, recovery=Recovery.ORDERS_KNOWN))).status()["trading_state"] == "REDUCING"
    killed = told(("kill_switch", KillSnapshot(n=2, engaged=True, cause="x", by="me")))
    assert (killed.status()["trading_state"], killed.status()["causes"]) == ("HALTED", ["kill_switch"])


def test_an_unknown_role_is_refused_with_the_roles_there_are() -> None:
    with pytest.raises(ValueError, match="no role is named 'omx'; there are: root, trading, oms"):
        told().answer("pid", {"role": "omx"})


@pytest.mark.parametrize("question", [("pid", {"role": "oms"}), ("why", {"symbol": "SOL-USD"})], ids=["pid", "why"])
def test_an_operator_that_has_heard_nothing_yet_blames_nobodys_words(question) -> None:
    """They ended `ctl restart operator` with a usage error, when the new one was asked before it had seen the tree."""
    new = ReadModel(config_hash="abc", env="staging", mode="paper", market="synthetic")
    with pytest.raises(NotNowError, match="ask again in a second"):
        new.answer(*question)


def test_a_condition_is_one_event_when_it_begins_and_one_when_it_ends() -> None:
    on = Condition(fingerprint="f", level="critical", active=True, text="orders may be live")
    off = Condition(fingerprint="f", level="critical", active=False, text="orders may be live")
    model = told(("oms", on), ("oms", on), ("oms", on))
    assert model.status()["conditions"][0]["text"] == "orders may be live"
    model.fold("oms", off)
    assert model.status()["conditions"] == []
    kinds = [
        record["text"] for record in model.answer("events", {"since": "0"})["events"] if record["kind"] == "condition"
    ]
    assert kinds == ["orders may be live", "over: orders may be live"]


def test_what_is_over_does_not_read_like_an_alarm() -> None:
    begin = Condition(fingerprint="f", level="critical", active=True, text="orders may be live")
    model = told(("oms", begin), ("oms", evolve(begin, active=False)))
    told_lines = [record_text(one) for one in model.answer("events", {})["events"] if one["kind"] == "condition"]
    assert told_lines == ["critical: orders may be live", "over: orders may be live"]


def test_a_stop_is_told_once_to_people(tmp_path, capfd) -> None:
    note = {"kind": "decision", "role": "main", "code": "stop", "text": "stopping: ctl stop by ann", "values": {}}
    for view, count in ((PlainView(tmp_path), 1), (JsonView(tmp_path), 4)):
        view.event("stopping", "stopping in order: ctl stop by ann")
        view.event("decision", note["text"], {"code": "stop", "text": note["text"]})
        view.on_record(note)
        view.close({}, [])
        assert capfd.readouterr().out.count("ctl stop by ann") == count


def test_a_verdict_that_repeats_is_shown_once_with_its_newest_numbers_and_pushes_nothing_off_the_screen() -> None:
    def noted(at_s: float, product_id: str, code: str, **values: object) -> tuple[str, object]:
        record = {"product_id": product_id, "code": code, "values": values}
        return "risk", Noted(at_s=NOW_S + at_s, role="risk", kind="decision", values=record, config_hash="cafe")

    repeats = [noted(second, "SOL-USD", "per_symbol_spacing", since_s=second) for second in range(1, 101)]
    model = told(noted(0, "DOGE-USD", "admitted"), *repeats)
    shown = model.picture({})["decisions"][-2:]
    assert [(one["code"], one["times"]) for one in shown] == [("admitted", 1), ("per_symbol_spacing", 100)]
    assert shown[-1]["values"] == {"since_s": 100}
    for width, height in ((80, 24), (140, 40)):
        text = screen(model, width, height)
        assert "per_symbol_spacing ×100" in text
        assert "admitted" in text


def test_why_tells_that_the_venue_refused_what_was_admitted() -> None:
    """A first run whose entries were all rejected showed "admitted" and no trade, and nowhere why."""

    def ended(to: str, **more: object) -> tuple[str, object]:
        values = {"product_id": "SOL-USD", "client_order_id": "bh-1", "from": "submitted", "to": to, **more}
        return "oms", Noted(at_s=NOW_S, role="oms", kind="order", values=values, config_hash="cafe")

    model = told(ended("accepted"), ended("rejected", reason="PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY"), ended("filled"))
    found = model.answer("why", {"symbol": "SOL-USD"})["decisions"]
    (record,) = [one for one in found if one["code"].startswith("order_")]
    assert (record["code"], record["text"]) == ("order_rejected", "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY")
    assert decision_text(record).endswith("client_order_id=bh-1")
    assert "order_rejected" in screen(model, 140, 40)
    assert not any(code.startswith("order_") for code in model.no_trade_counts)


def test_a_narrow_screen_cuts_the_ids_of_a_decision_not_its_prices() -> None:
    record = {"values": {"position_id": "f9235528-1e6d", "size": "0.4", "stop_price": "104.7"}, "text": "target"}
    assert decision_text(record) == "size=0.4  stop_price=104.7  target  position_id=f9235528-1e6d"


def test_events_are_given_once_by_number() -> None:
    model = told()
    first = model.answer("events", {"since": "0"})
    assert len(first["events"]) == first["last"] == 2
    assert model.answer("events", {"since": str(first["last"])})["events"] == []


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24), (200, 60), (40, 12), (30, 4), (20, 1)])
def test_the_view_draws_at_any_size_and_never_raises(width: int, height: int) -> None:
    assert len(screen(told(), width, height).splitlines()) <= height
    screen(None, width, height)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 20), (100, 50), (200, 24), (60, 14)])
def test_a_small_terminal_shows_the_important_first_one_line_each_and_how_to_end_it(width: int, height: int) -> None:
    standing = Condition(fingerprint="drift", level="critical", active=True, text="books differ by 3 USD")
    lines = screen(told(("oms", standing)), width, height).rstrip("\n").splitlines()
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert "ACTIVE" in lines[0] and "NAV 10,010.00 USD" in lines[1]
    assert "critical: books differ by 3 USD" in lines[3]
    assert "processes run" in lines[-2] and "kill -9 $(python3 run.py ctl pid oms)" in lines[-1]
    assert any(line.startswith("BTC-USD") and "55460" in line for line in lines), "the position with its stop"
    if width >= 80:
        assert "Ctrl-C ends it" in lines[-1]


def test_the_view_shows_position_stop_order_denial_with_values_and_how_to_break_it() -> None:
    shown = screen(told(), 160, 44)
    for expected in (
        "ACTIVE",
        "10,010.00 USD",
        "BTC-USD",
        "55460",
        "0.1/0.5",
        "theme_cap",
        "limit_usd=600",
        "kill -9 $(python3 run.py ctl pid oms)",
        "opening",
    ):
        assert expected in shown, expected


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
@pytest.mark.parametrize(
    ("mode", "hint"),
    [
        ("paper", "kill -9 $(python3 run.py ctl pid oms --data-dir /tmp/x)"),
        ("live", "run.py ctl status --data-dir /tmp/x"),
    ],
)
def test_the_hint_finds_this_bot_and_with_real_money_asks_nobody_to_break_it(
    width: int, height: int, mode: str, hint: str
) -> None:
    model = told()
    model.facts["mode"] = mode
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(draw(model.picture({}), Local(operator="up", named=" --data-dir /tmp/x"), height, width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert (hint in shown, "break it" in shown) == (True, mode != "live")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
def test_while_the_bot_stops_the_view_says_so_and_calls_no_part_of_it_restarted(
    width: int, height: int, tmp_path
) -> None:
    view = LiveView(tmp_path)
    view.on_event("stopping", "stopping in order: SIGINT", {})
    view.picture, view.local.operator = told().picture({}), "being restarted"
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(draw(view.picture, view.local, height, width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "stopping in order: SIGINT" in shown
    assert "being restarted" not in shown


def test_the_view_names_the_scenario_that_the_venue_plays_and_none_where_its_market_goes_on(tmp_path) -> None:
    view = LiveView(tmp_path)
    for scenario in ("opening", ""):
        view.event("venue", "the simulated venue is ready", {"rest": "x", "scenario": scenario})
        view.event("tree", "starting the tree of run 1")
        console = Console(file=io.StringIO(), width=160, height=44, color_system=None)
        console.print(draw(told().picture({}), view.local, 44, 160))
        assert ("scenario: opening" in console.file.getvalue()) == bool(scenario)  # type: ignore[attr-defined]


def test_an_unknown_order_is_shown_as_unknown() -> None:
    assert "unknown" in screen(told(("oms", book(n=2, orders=(order("UNKNOWN"),)))), 160, 44)


def test_the_metrics_carry_state_exposure_and_roles() -> None:
    text = exposition(told()).decode()
    assert 'bulkhead_trading_state{state="ACTIVE"} 1.0' in text
    assert 'bulkhead_exposure_usd{kind="entries",product_id="ETH-USD"} 1214.4' in text
    assert 'bulkhead_role_restarts{role="oms"} 1.0' in text
    assert "bulkhead_nav_usd 10010.0" in text


def test_every_metric_that_the_runbook_names_is_in_the_exposition() -> None:
    runbook = (Path(__file__).parents[2] / "docs" / "RUNBOOK.md").read_text(encoding="utf-8")
    named = set(re.findall(r"bulkhead_[a-z_]+", runbook))
    assert len(named) > 10
    told_now = told(("alerts", Condition(fingerprint="f", level="warning", active=True, text="t")))
    text = exposition(told_now).decode()
    assert [name for name in sorted(named) if not re.search(rf"^{name}[ {{]", text, re.MULTILINE)] == []


def test_known_secrets_pem_blocks_and_tokens_are_cut_out(monkeypatch) -> None:
    monkeypatch.setenv("COINBASE_API_SECRET", "s3cr3t-value\nof two lines")
    pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA\n-----END EC PRIVATE KEY-----"
    text = redact(
        f"a s3cr3t-value\\nof two lines b {pem} c Bearer abc.def d eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln e given",
        ("givenX",),
    )
    for gone in ("s3cr3t", "MHcCAQ", "abc.def", "eyJhbGci"):
        assert gone not in text


@pytest.mark.parametrize("variable", ["BULKHEAD_ALERT_URLS", "BULKHEAD_NEWS_URLS"])
def test_the_address_of_a_channel_is_cut_out(variable, monkeypatch) -> None:
    monkeypatch.setenv(variable, "tgram://123:abcdef/456")
    assert redact("no answer of tgram://123:abcdef/456") == "no answer of [hidden]"


async def _page_answers() -> None:
    async with TestClient(TestServer(make_app(told(), Path("nowhere")))) as client:
        page = await client.get("/")
        assert page.status == 200
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        picture = await (await client.get("/api/picture")).json()
        assert picture["status"]["positions"][0]["stop_price"] == "55460"
        trades = await (await client.get("/api/trades")).json()
        assert (trades["trades"], trades["sums"]["trades"]) == ([], 0), "no book is no trade, not an error"
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/metrics")).status == 200
        assert (await client.get("/", headers={"Host": "evil.example"})).status == 403
        assert (await client.post("/api/picture")).status == 405


def test_the_page_reads_only_and_answers_to_local_names_only() -> None:
    asyncio.run(_page_answers())


async def _served(data_dir: Path, wanted: int) -> dict[str, Any]:
    runner = await serve(make_app(told(), data_dir), data_dir, wanted)
    found = page_of(data_dir)
    assert found is not None
    async with ClientSession() as session, session.get(f"{found['url']}metrics") as answer:
        assert "bulkhead_nav_usd" in await answer.text()
    await runner.cleanup()
    return found


def test_a_taken_port_costs_the_page_its_address_only_and_the_note_says_why(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        found = asyncio.run(_served(tmp_path, wanted))
    assert found["port"] != wanted
    assert found["note"] == f"port {wanted} cannot be used: Address already in use"
    assert asyncio.run(_served(tmp_path, wanted)) == {"url": f"http://127.0.0.1:{wanted}/", "port": wanted, "note": ""}


def test_a_page_on_any_free_port_comes_back_on_the_same_one_after_a_restart(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    assert asyncio.run(_served(tmp_path, 0)) == asyncio.run(_served(tmp_path, 0))


def test_the_age_of_a_quote_is_by_receive_time() -> None:
    assert told().symbols()[0]["quote_age_s"] == 0.5
    assert NOW_S > 0
