"""What the predecessor left thin or false (domain.md section 20), as far as it concerns decisions: tests that would have caught it."""

from __future__ import annotations

import csv
import json
from decimal import Decimal

import pytest
import typer
from attrs import evolve
from ruamel.yaml import YAML
from typer.testing import CliRunner

from cli.errors import FailedError
from cli.main import app, register
from cli.places import ROOT
from cli.replay_commands import compare
from config.loader import ConfigError, load
from config.schema import Config, load_config
from simulation.backtest.engine import Backtest
from simulation.backtest.report import write
from simulation.compare import compare as compare_records
from simulation.compare import proposals
from telemetry.notify import Notifier, alert_urls
from tests.backtest.test_backtest import LOADED, backtest, stirred
from tests.decisions.build import (
    BOOT0,
    T0,
    D,
    RiskWorld,
    at,
    bar,
    book,
    cooldown,
    entry_order,
    notes,
    position,
    proposal,
    quote,
    said,
    sends,
)
from tests.decisions.test_health import GOOD, tell
from tests.decisions.test_health import monitor as monitor_of
from tests.decisions.test_symbol import rise, symbol
from tests.oms.host import Host, approval, outcome, update
from tests.receiver import Receiver
from tests.support import eventually
from trading.alerts import AlertsMachine, SendAlert
from trading.candles import Candles
from trading.data_guards import BAR_MISALIGNED, BarGuard, DataGuardSettings
from trading.exits import ExitsMachine
from trading.exits_settings import ExitsSettings
from trading.machine import Woke
from trading.messages.book import Counters
from trading.messages.control import Condition, Drain, Drained, HealthSnapshot, KillSnapshot
from trading.messages.decisions import Approved, ExitOrder, Proposal, Verdict
from trading.messages.orders import CancelOrders, CancelsAnswered, OutcomeKind
from trading.money import day_start_s, realised_of, week_start_s
from trading.risk_settings import CapSettings
from trading.strategies.interface import MarketView, Rule, Signal, Strategy, TriggerSettings, strategy
from trading.strategies.registry import StrategySettings
from trading.values import utc_seconds


def run_py(*words: str):
    """A command of run.py and its result, in this process."""
    if "preflight" not in {one.name for one in app.registered_commands}:
        register()
    return CliRunner().invoke(app, [*words])


@pytest.fixture(scope="module")
def played():
    test = backtest(stirred())
    return test, test.run()


def code_of(answer) -> str:
    assert isinstance(answer, Verdict)
    return answer.code


@pytest.mark.parametrize(
    ("source", "reading", "code"),
    [
        ("market_feed", {"frame_age_s": 11.0}, "data_staleness"),
        ("gateway", {"errors_in_a_row": 3.0}, "api_health"),
        ("universe", {"volatility_pct": 160.0}, "realised_volatility"),
        ("universe", {"eligible_missing": 1.0}, "empty_universe"),
        ("universe", {"crash": 1.0}, "volatility_crash"),
    ],
)
def test_seed_2_a_reading_leads_to_risks_denial_and_a_good_one_lifts_it(source, reading, code):
    monitor, w = monitor_of(), RiskWorld()
    w.health = monitor._snapshot()
    w.hear(at(1))
    assert isinstance(w.judge(proposal(now=at(1)), at(1)), Approved)
    w = RiskWorld()
    w.health = sends(tell(monitor, source, 2, **reading), HealthSnapshot, "risk")[-1]
    w.hear(at(2))
    answer = w.judge(proposal(now=at(2)), at(2))
    assert code_of(answer) == code
    assert dict(answer.values)["opens_at"], "with the limit that it crossed"
    for seconds in (3, 40):
        for name in GOOD:
            tell(monitor, name, seconds)
    w.health = monitor._snapshot()
    w.hear(at(40))
    assert isinstance(w.judge(proposal(proposal_id="p2", now=at(40)), at(40)), Approved)


def test_seed_3_a_kill_denies_what_already_waits_and_not_once_a_minute():
    w = RiskWorld()
    w.hear(leave_out="universe")
    assert w.judge() is None
    w.kill = KillSnapshot(n=2, engaged=True, cause="drill")
    w.say(w.kill, at(0.01))
    assert code_of(said(w.say(w.universe, at(0.02)))) == "kill_switch"


def test_seed_4_a_stop_out_cools_the_symbol_in_the_one_store_that_everybody_reads():
    w = RiskWorld()
    w.book = book(cooldowns=(cooldown(kind="stop", left_s=7200.0),))
    w.hear()
    answer = w.judge()
    assert code_of(answer) == "per_symbol_cooldown"
    assert ("kind", "stop") in answer.values
    machine = symbol()
    machine.handle(book(product_id="BTC-USD", cooldowns=(cooldown(kind="stop", left_s=7200.0),)), at())
    assert sends(rise(machine), Proposal) == []


def test_seed_4_a_cooldown_is_over_at_its_time_and_not_before():
    for left_s, wanted in ((0.001, Verdict), (0.0, Approved)):
        w = RiskWorld()
        w.book = book(cooldowns=(cooldown(left_s=left_s),))
        w.hear()
        assert isinstance(w.judge(), wanted)


def test_seed_7_the_week_begins_on_monday_and_resets():
    sunday = utc_seconds("2025-10-12T23:59:59Z")
    monday = utc_seconds("2025-10-13T00:00:01Z")
    assert week_start_s(sunday) == utc_seconds("2025-10-06T00:00:00Z")
    assert week_start_s(monday) == utc_seconds("2025-10-13T00:00:00Z")
    assert day_start_s(monday) == utc_seconds("2025-10-13T00:00:00Z")
    closes = ((sunday - 10, D(-50)),)
    assert realised_of(closes, sunday).week_usd == D(-50)
    assert realised_of(closes, monday).week_usd == 0
    assert realised_of(closes, monday).rolling_usd == D(-50), "the rolling window still remembers"
    assert realised_of(closes, monday + 7 * 86400).rolling_usd == 0


def test_seed_7_only_realised_results_of_fills_stop_the_day():
    w = RiskWorld()
    w.book = book(positions=(position("ETH-USD", "3", price="200"),))  # a paper loss of 300 USD
    w.hear()
    answer = w.judge()
    assert isinstance(answer, Approved) or answer.code not in ("daily_stop", "weekly_stop")


def test_seed_8_a_proposals_id_follows_from_the_decision_and_from_no_clock():
    """The predecessor hashed the minute: two sides of a minute's boundary were two orders."""
    before = symbol()
    after = symbol()
    first = sends(rise(before), Proposal)[0]
    second = sends(rise(after), Proposal)[0]
    assert first.proposal_id == second.proposal_id
    shifted = symbol()
    third = sends(rise(shifted, seconds=9.0), Proposal)[0]
    assert third.proposal_id != first.proposal_id, "another quote is another decision"


def test_seed_10_nothing_is_requoted_while_its_order_lives():
    machine = symbol()
    one = sends(rise(machine), Proposal)[0]
    machine.handle(Verdict(proposal_id=one.proposal_id, product_id="BTC-USD", admitted=True, code="admitted"), at(7))
    alive = entry_order(proposal_id=one.proposal_id, plan_id=one.plan_id)
    for step in range(8, 60):
        effects = machine.handle(book(step, product_id="BTC-USD", orders=(alive,)), at(step))
        assert sends(effects, Proposal) == []


def test_seed_11_no_decision_before_every_seen_fill_is_booked():
    w = RiskWorld()
    w.book = book(unbooked=(("bh-x", 0.4),))
    w.hear()
    assert w.judge() is None
    w.book = book(2)
    assert isinstance(said(w.say(evolve(w.book, taken_boot_s=BOOT0 + 1), at(1))), Approved)


@pytest.mark.parametrize("field", ["exchange_s", "received_boot_s"])
def test_seed_21_either_age_alone_makes_a_quote_stale(field):
    w = RiskWorld()
    w.hear()
    old = quote(100, at())
    setattr(old, field, getattr(old, field) - 5.1)
    w.machine.on_quote(old, at())
    assert code_of(w.judge()) == "quote_stale"


def test_seed_23_a_bar_that_starts_between_its_windows_is_refused():
    guard = BarGuard(300, DataGuardSettings())
    assert guard.admit(bar(100, 300_000)) == ""
    assert guard.admit(bar(100, 300_301)) == BAR_MISALIGNED


def test_seed_23_an_hour_is_made_of_its_own_twelve_bars_and_closes_with_the_last():
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    candles = Candles(view, DataGuardSettings())
    start = int(T0)
    masks = [candles.add(bar(100 + n, start + n * 300, open_=100 + n)) for n in range(13)]
    assert masks[:11] == [2] * 11
    assert masks[11] == 2 | 4
    assert view.signal.last_start_s == start
    assert view.signal.open == 100
    assert view.signal.close == 111
    assert view.signal.volume == 120.0


def test_seed_s1_a_move_is_signed_and_measured_over_true_fifteen_minutes():
    """The predecessor took the largest of four hourly returns and lost its sign."""
    view = MarketView("BTC-USD", TriggerSettings(), (60, 300, 3600))
    candles = Candles(view, DataGuardSettings())
    closes = [100, 100, 100, 100, 99, 98, 97]
    for n, close in enumerate(closes):
        candles.add(bar(close, T0 + n * 300, open_=close))
    view.price = view.move.close
    assert view.change_15m_pct == pytest.approx((97 / 100 - 1) * 100)
    view.price = 96.0
    assert view.change_15m_pct == pytest.approx(-4.0)


def test_seed_dd1_the_high_water_mark_starts_at_the_first_reconciled_nav():
    w = RiskWorld()
    w.book = book(cash="255")
    w.hear()
    w.say(Woke("tick"), at(0.5))
    w.hear(at(0.6))
    answer = w.judge(proposal(now=at(0.6)), at(0.6))
    assert isinstance(answer, Approved), answer


def test_seed_pacing_counts_come_from_the_book_and_survive_a_restart():
    counters = Counters(entry_times_s=tuple((T0 - 100 - n, "ETH-USD") for n in range(5)))
    for me in ((1, 1), (1, 2)):
        w = RiskWorld(me=me)
        w.book = book(counters=counters)
        w.hear()
        assert code_of(w.judge()) == "trades_per_hour"


def test_seed_26_a_cold_start_enters_nothing_before_the_book_is_known_and_arms_every_exit_from_its_first_snapshot():
    w = RiskWorld()
    w.hear(leave_out="oms")
    assert w.judge() is None, "held: nobody knows what is open"
    machine = ExitsMachine(settings=ExitsSettings(), me=(7, 1), caps=CapSettings())
    machine.recover({}, at())
    effects = list(machine.handle(book(positions=(position("BTC-USD"), position("ETH-USD"))), at(0.1)))
    armed = [note["product_id"] for note in notes(effects) if note["code"] == "exit_armed"]
    assert armed == ["BTC-USD", "ETH-USD"]
    machine.handle(KillSnapshot(n=1, engaged=False), at(0.1))
    effects = []
    for step, price in enumerate((98, 95, 93.5)):
        now = at(0.2 + step / 10)
        effects += machine.on_quote(quote(price, now, product_id="ETH-USD"), now)
    assert sends(effects, ExitOrder)[0].reason == "stop"


def test_seed_12_a_stop_accounts_for_the_order_without_a_venue_id_and_believes_no_cancel_that_failed():
    host = Host().active()
    resting = host.accepted_entry("v1")
    nameless = host.admit(approval(host, n=2, product="ETH-USD"))
    host.tell(outcome(nameless, OutcomeKind.UNKNOWN), Drain(run_number=7))
    cancel = host.last(CancelOrders)
    assert cancel.venue_order_ids == ("v1",)
    refused = CancelsAnswered(
        cancel_id=cancel.cancel_id, results=(("v1", False, "INVALID_CANCEL_REQUEST"),), complete=True
    )
    host.tell(refused)
    assert host.status(resting.client_order_id) != "canceled", "a refusal is no cancel"
    host.run(7.0)
    drained = host.last(Drained)
    assert not drained.clean
    assert nameless.client_order_id in drained.unknown
    host.tell(update(resting, "v1", "canceled", "0"), update(nameless, "v2", "open", "0"))
    assert host.last(CancelOrders).venue_order_ids == ("v2",), "found by its client id, and canceled too"
    host.tell(update(nameless, "v2", "canceled", "0"))
    assert host.last(Drained).clean


def test_seed_27_what_two_runs_decided_differently_is_named_and_not_only_written_down(played, tmp_path, capsys):
    _, run = played
    write(run, tmp_path / "shadow")
    other = [dict(one) for one in run.decisions]
    first = next(one for one in other if one["code"] == "proposed" and one["decided_on"] == "quote")
    other.remove(first)
    write(evolve(run, decisions=other), tmp_path / "live")
    with pytest.raises(typer.Exit) as ended:
        compare(tmp_path / "shadow", tmp_path / "live")
    assert ended.value.exit_code == 1
    assert f"only A: {first['product_id']}" in capsys.readouterr().out
    assert compare_records(proposals(run.decisions), proposals(run.decisions)).same


def played_by(one: Strategy):
    """The backtest with `one` as the only strategy that acts, its stop not tightened in a crash."""
    settings = {one.name: StrategySettings(enabled=True, budget_pct=D(20))}
    config = evolve(
        LOADED.config,
        symbol=evolve(LOADED.config.symbol, strategies=settings),
        exits=evolve(LOADED.config.exits, crash_stop_factor=D(1)),
    )
    test = Backtest(
        stirred(), config=config, costs=config.costs, seed=1, config_hash="cafe", facts={}, strategies=(one,)
    )
    return test.run()


def test_seed_28_a_backtest_has_no_trigger_loop_of_its_own():
    """In a market where the usual configuration enters and exits, only the live machines' strategy and rule lead to orders."""
    usual = backtest(stirred()).run()
    assert {one["purpose"] for one in usual.orders} == {"entry", "exit"}
    asked = []

    @strategy("blind", on="signal", rule=Rule(stop_pct=D(3), target_pct=D(6), hold_hours=24), needs_atr=False)
    def blind(view: MarketView) -> Signal | None:
        asked.append(view.product_id)

    assert not played_by(blind).orders
    assert set(asked) == {"BTC-USD", "SOL-USD"}, "it was asked and wanted nothing"

    @strategy("patient", on="move", rule=Rule(stop_pct=D(60), target_pct=D(500), hold_hours=5000), needs_atr=False)
    def patient(_: MarketView) -> Signal:
        return Signal(strength=0.9, confidence=0.9, change_pct=1.0, reason="whatever the market does")

    held = played_by(patient)
    assert {one["purpose"] for one in held.orders} == {"entry"}, "its rule holds on, so nothing is sold"


def test_seed_30_a_backtest_leaves_equity_exposure_and_denials_over_time(played, tmp_path):
    _, run = played
    figures = write(run, tmp_path)
    equity = list(csv.DictReader((tmp_path / "equity.csv").open()))
    exposure = list(csv.DictReader((tmp_path / "exposure.csv").open()))
    assert len(equity) == len(exposure) > 24 * 3
    assert len({row["equity_usd"] for row in equity}) > 5, "a curve"
    hourly = max(float(row["drawdown"]) for row in equity)
    assert 0.0 < hourly <= figures["max_drawdown"] + 1e-5, "the summary also sees falls between two rows"
    assert any(float(row["theme:LAYER1"]) > 0 for row in exposure)
    for row in exposure:
        assert float(row["theme:LAYER1"]) == pytest.approx(float(row["BTC-USD"]) + float(row["SOL-USD"]))
    said = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    denied = [one for one in said if one["code"] in ("per_symbol_cooldown", "pending_buy_exists", "volatility_crash")]
    assert denied, "why not is an artifact too"
    assert all(one["values"] and one["at"] for one in denied), "each with its numbers and its time"
    assert figures["hit_rate"] == pytest.approx(sum(one.pnl_usd > 0 for one in run.trades) / len(run.trades))
    assert sum(one["trades"] for one in figures["per_exit_reason"].values()) == len(run.trades)


def test_seed_34_alerts_are_on_as_shipped_a_test_alert_reaches_its_channel_and_their_secret_stands_in_no_file(
    monkeypatch, tmp_path
):
    machine = AlertsMachine(settings=load_config("production").config.alerts)
    critical = Condition(fingerprint="risk:daily_stop", level="critical", active=True, text="daily_stop: no entries")
    assert sends(machine.handle(critical, at()), SendAlert, "io"), "nothing has to be switched on first"
    file = tmp_path / "own.yaml"
    file.write_text("alerts: {webhook_secret: abc}\n")
    with pytest.raises(ConfigError) as refused:
        load(Config, [file])
    assert "secrets never stand in a file" in str(refused.value.problems[0])
    with Receiver() as good, Receiver(answers=500) as bad:
        monkeypatch.setenv("BULKHEAD_ALERT_URLS", good.url)
        assert run_py("alert-test", "--text", "a drill").exit_code == 0
        assert [(one["title"], one["message"]) for one in good.heard] == [("Bulkhead", "a drill")]
        notifier = Notifier(alert_urls())
        notifier.start()
        notifier.send("critical", "daily_stop", "no entries")
        assert eventually(lambda: good.heard[1:])[0]["type"] == "failure", "the way that the bot's own alerts go"
        notifier.stop(1.0)
        monkeypatch.setenv("BULKHEAD_ALERT_URLS", f"{good.url} {bad.url}")
        answer = run_py("alert-test")
        assert isinstance(answer.exception, FailedError)
        assert [line.split()[0] for line in answer.stdout.splitlines()] == ["ok", "FAIL"]
        assert bad.url.removesuffix("/hook") in answer.stdout, "which channel"
        assert "500" in answer.stdout, "and what it answered"
    monkeypatch.delenv("BULKHEAD_ALERT_URLS")
    assert run_py("alert-test").exit_code != 0, "nobody to tell is no success"


def test_seed_43_the_launch_checklist_is_walked_and_a_missing_gate_or_key_fails_it(monkeypatch):
    for name in ("BULKHEAD_ALERT_URLS", "COINBASE_API_KEY", "COINBASE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    answer = run_py("preflight", "--env", "production", "--json")
    assert answer.exit_code == 1
    looks = {one["name"]: one["ok"] for one in json.loads(answer.stdout.strip().splitlines()[-1])["looks"]}
    assert looks["config"] is True
    assert looks["alerts"] is False, "nobody would be told"
    listed = YAML(typ="safe").load((ROOT / "config" / "launch_checklist.yaml").read_text())
    for row in (*listed["machine"], *listed["person"]):
        assert row["id"] in looks, "each line is checked by a machine or shown to a person"
    for row in listed["machine"]:
        command = row["command"].removeprefix("run.py ").split()[0]
        assert run_py(command, "--help").exit_code == 0, f"{command} can be run"


def test_seed_44_an_anomaly_is_told_and_costs_and_venue_are_modelled_where_the_bot_can_be_run_end_to_end(played):
    monitor = monitor_of()
    tell(monitor, "gateway", 1, rejects_600s=3.0)
    effects = monitor.handle(Woke("tick"), at(3))
    told = [one for one in sends(effects, Condition, "alerts") if one.fingerprint == "breaker:rejection_burst"]
    assert told[0].active
    _, run = played
    fees = {Decimal(fill.fee_usd) / (fill.base_size * fill.price) for fill in run.fills}
    rates = load_config("staging").config.costs
    assert max(fees) <= rates.taker_rate * Decimal("1.02")
    assert min(fees) >= rates.maker_rate * Decimal("0.98")
    filled = sum(fill.base_size for fill in run.fills)
    assert filled == sum(Decimal(str(one["booked_size"])) for one in run.orders), (
        "each fill is booked to an order of ours"
    )
