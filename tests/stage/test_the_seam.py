"""The virtual stage keeps every promise of the seam (DESIGN section 1)."""

from __future__ import annotations

from typing import Any

import pytest

from simulation.process import BEFORE_COMMIT, Crash, State
from simulation.stage import VirtualStage
from simulation.store import BROKEN, NO_SPACE, FactConflictError, MemoryStore
from tests.stage.machines import Ask, Counter, Scripted, Told, bar, quote
from trading.machine import PeerRestarted, Save, Send, Table, Wake, Woke
from trading.messages.control import Condition, Drain, Drained


def silent(message: object, now: Any) -> tuple[()]:
    return ()


def listener(stage: VirtualStage, role: str, script=silent, wanted=(), **options) -> list[Any]:
    seen: list[Any] = []
    stage.add(role, lambda me: Scripted(me, script, seen, wanted), **options)
    return seen


def mail(seen: list[Any]) -> list[Any]:
    """What came, without `recover` and without the host's news of peers."""
    return [m for m in seen if not isinstance(m, tuple | PeerRestarted)]


def two() -> tuple[VirtualStage, list[Any]]:
    stage = VirtualStage(trace=True)
    seen = listener(stage, "asker")
    stage.add("counter", Counter)
    stage.run_for(0.5)
    return stage, seen


def test_saves_are_committed_before_anything_is_sent_and_survive_the_process():
    stage, seen = two()
    stage.post("counter", Ask(1))
    stage.run_for(0.1)
    assert [m.n for m in mail(seen)] == [1]
    stage.kill("counter")
    stage.run_for(0.1)
    stage.post("counter", Ask(2))
    stage.run_for(0.1)
    told = mail(seen)
    assert [m.n for m in told if isinstance(m, Told)] == [1, 2]
    assert told[0].by < told[-1].by
    assert PeerRestarted("counter", told[-1].by) in seen


def test_a_crash_before_the_commit_leaves_neither_row_nor_mail():
    stage, seen = two()
    stage.boundary = lambda p, m, e: BEFORE_COMMIT if isinstance(m, Ask) and m.n == 1 else None
    stage.post("counter", Ask(1))
    stage.run_for(0.5)
    assert not [m for m in mail(seen) if isinstance(m, Told)]
    assert not stage.store("counter").rows("count")
    assert stage.machine("counter") is not None  # it is back


@pytest.mark.parametrize("delivered", [0, 1, 2, 3])
def test_a_crash_after_the_commit_lets_out_any_prefix(delivered):
    stage = VirtualStage()
    seen = listener(stage, "asker")

    def script(message, now):
        return (Save("rows", "k", {"v": 1}), *(Send("asker", Ask(i)) for i in range(3))) if message == Ask(9) else ()

    listener(stage, "other", script)
    stage.run_for(0.5)
    stage.boundary = lambda p, m, e: Crash(True, delivered) if m == Ask(9) else None
    stage.post("other", Ask(9))
    stage.run_for(0.01)
    assert mail(seen) == [Ask(i) for i in range(delivered)]
    assert stage.store("other").rows("rows") == {"k": {"v": 1}}


def test_a_crash_after_the_commit_may_let_out_different_prefixes_per_receiver():
    stage = VirtualStage()
    a, b = listener(stage, "a"), listener(stage, "b")
    sends = (Send("a", Ask(1)), Send("b", Ask(2)), Send("a", Ask(3)), Send("b", Ask(4)))
    listener(stage, "other", lambda m, now: sends if m == Ask(9) else ())
    stage.run_for(0.5)
    stage.boundary = lambda p, m, e: Crash(True, {"a": 1, "b": 2}) if m == Ask(9) else None
    stage.post("other", Ask(9))
    stage.run_for(0.01)
    assert (mail(a), mail(b)) == ([Ask(1)], [Ask(2), Ask(4)])


def test_mail_is_first_in_first_out_per_receiver_whatever_the_delays():
    stage = VirtualStage(seed=3)
    seen = listener(stage, "asker")
    burst = tuple(Send("asker", Ask(i)) for i in range(50))
    listener(stage, "other", lambda m, now: burst if m == Ask(99) else ())
    stage.run_for(0.5)
    stage.mail_fate = lambda process, role, message: (stage.random.random(),)
    stage.post("other", Ask(99))
    stage.run_for(3)
    assert mail(seen) == [Ask(i) for i in range(50)]


def test_an_unknown_role_is_dropped_and_counted():
    stage = VirtualStage()
    listener(stage, "other", lambda m, now: (Send("nobody", Ask(1)),) if m == Ask(1) else ())
    stage.run_for(0.5)
    stage.post("other", Ask(1))
    stage.run_for(0.5)
    assert stage.counts["unknown role"] == 1


def test_a_timer_set_again_replaces_the_first_and_none_cancels_it():
    stage = VirtualStage()

    def script(message, now):
        if message == Ask(1):
            return (
                Wake("k", now.boot_s + 1),
                Wake("gone", now.boot_s + 1),
                Wake("k", now.boot_s + 2),
                Wake("gone", None),
            )
        return ()

    seen = listener(stage, "other", script)
    stage.run_for(0.5)
    stage.post("other", Ask(1))
    stage.run_for(1.5)
    assert mail(seen) == [Ask(1)]
    stage.run_for(1.5)
    assert [m.key for m in mail(seen)[1:]] == ["k"]


def test_a_timer_never_comes_early_and_dies_with_its_process():
    stage = VirtualStage()
    woken: list[float] = []

    def script(message, now):
        if message == Ask(1):
            return (Wake("k", now.boot_s + 1.0),)
        if isinstance(message, Woke):
            woken.append(now.boot_s)
        return ()

    listener(stage, "other", script)
    stage.run_for(0.5)
    stage.post("other", Ask(1))
    due = stage.boot_s + 1.0
    stage.run_for(2)
    assert len(woken) == 1 and woken[0] >= due
    stage.post("other", Ask(1))
    stage.run_for(0.5)
    stage.kill("other")
    stage.run_for(3)
    assert len(woken) == 1


def test_a_timer_that_a_quote_replaced_is_stale():
    stage = VirtualStage()
    asked = []

    def script(message, now):
        if message == "recover":
            return (Wake("k", now.boot_s + 1.0),)
        if getattr(message, "sequence", None) == 7:
            return (Wake("k", now.boot_s + 5.0),)
        if isinstance(message, Woke):
            asked.append(now.boot_s)
        return ()

    listener(stage, "other", script, ("BTC-USD",), bell=False)
    stage.run_for(0.5)
    stage.put_quote(quote(n=7))
    stage.run_for(2.0)
    assert asked == []
    stage.run_for(5.0)
    assert len(asked) == 1


def test_mail_from_an_incarnation_older_than_known_is_dropped():
    stage = VirtualStage()
    seen = listener(stage, "asker")
    listener(stage, "other", lambda m, now: (Send("asker", Ask(5)),) if m == Ask(1) else ())
    stage.run_for(0.5)
    stage.mail_fate = lambda process, role, message: (2.0,)
    stage.post("other", Ask(1))
    stage.run_for(0.1)
    stage.kill("other")
    stage.run_for(5)
    assert Ask(5) not in mail(seen)
    assert stage.counts["mail of an old incarnation"] == 1


def test_a_death_loses_the_mailbox_and_takes_the_children():
    stage = VirtualStage()
    listener(stage, "parent")
    seen = listener(stage, "child", parent="parent")
    stage.run_for(0.5)
    stage.stop("child")
    stage.post("child", Ask(1))
    stage.run_for(0.1)
    stage.kill("parent")
    assert not stage.processes["child"].alive
    stage.run_for(1.0)
    assert stage.processes["child"].state is State.RUNNING
    assert mail(seen) == []


def test_a_replacement_is_not_ready_before_the_old_one_is_dead():
    stage = VirtualStage()
    listener(stage, "other")
    stage.run_for(0.5)
    old = stage.processes["other"]
    stage.stop("other")
    stage.replace("other")
    stage.run_for(1.0)
    assert stage.processes["other"].state is State.LOCKED
    stage.end(old, "killed at last")
    stage.run_for(0.2)
    assert stage.processes["other"].state is State.RUNNING


def test_without_the_role_lock_both_live():
    stage = VirtualStage()
    stage.role_lock = False
    listener(stage, "other")
    stage.run_for(0.5)
    old = stage.processes["other"]
    stage.stop("other")
    stage.replace("other")
    stage.run_for(0.2)
    stage.resume(old)
    assert old.works and stage.processes["other"].works


def test_a_stopped_process_is_killed_as_hung_and_what_waited_is_handled_when_continued_in_time():
    stage = VirtualStage()
    seen = listener(stage, "other")
    stage.run_for(0.5)
    stage.stop("other")
    stage.post("other", Ask(1))
    stage.run_for(1.0)
    assert mail(seen) == []
    stage.cont("other")
    assert mail(seen) == [Ask(1)]
    stage.stop("other")
    stage.run_for(10)
    assert stage.counts["dead"] == 1 and stage.processes["other"].works


def test_a_failed_commit_sends_nothing_and_parks_the_role_until_the_store_takes_writes():
    stage, seen = two()
    conditions = listener(stage, "alerts")
    main = listener(stage, "main")
    stage.run_for(0.5)
    told = len([m for m in mail(seen) if isinstance(m, Told)])
    stage.store("counter").fail = NO_SPACE
    stage.post("counter", Ask(1))
    stage.run_for(2.5)
    assert stage.processes["counter"].state is State.PARKED
    assert len([m for m in mail(seen) if isinstance(m, Told)]) <= told + 1
    assert any(isinstance(m, Condition) and m.active for m in conditions)
    stage.post("counter", Drain(run_number=1))
    stage.run_for(0.5)
    assert [m for m in main if isinstance(m, Drained)] == [Drained(run_number=1, role="counter", clean=False)]
    stage.store("counter").fail = None
    stage.run_for(2)
    assert stage.processes["counter"].state is State.RUNNING
    assert any(isinstance(m, Condition) and not m.active for m in conditions)


def test_a_fact_table_refuses_a_different_row_and_the_transaction_is_whole_or_nothing():
    store = MemoryStore("r")
    store.open((Table("rows"), Table("facts", fact=True)))
    store.commit([Save("facts", "f", {"v": 1, "live": True})])
    store.commit([Save("facts", "f", {"v": 1, "live": False})])
    with pytest.raises(FactConflictError, match="must not become"):
        store.commit([Save("rows", "a", {"v": 1}), Save("facts", "f", {"v": 2})])
    assert not store.rows("rows")
    assert store.live_rows() == {"rows": {}, "facts": {}}
    store.fail = BROKEN
    with pytest.raises(OSError, match="Input/output"):
        store.commit([Save("rows", "a", {"v": 1})])
    with pytest.raises(KeyError, match="did not declare"):
        store.fail = None
        store.commit([Save("elsewhere", "a", {"v": 1})])


def test_a_unique_column_refuses_a_second_owner_and_undeclared_columns_are_refused():
    store = MemoryStore("r")
    store.open((Table("intents", columns={"proposal_id": "text", "held": "integer"}, unique=("proposal_id",)),))
    store.commit([Save("intents", "a", {"proposal_id": "p1", "held": True})])
    store.commit([Save("intents", "a", {"proposal_id": "p1"})])
    store.commit([Save("intents", "b", {}), Save("intents", "c", {})])
    with pytest.raises(FactConflictError, match="belongs to a"):
        store.commit([Save("intents", "d", {"proposal_id": "p1"})])
    with pytest.raises(KeyError, match="does not declare"):
        store.commit([Save("intents", "d", {"color": "red"})])
    assert store.live_rows()["intents"]["b"] == {"proposal_id": None, "held": None, "live": 1}


def test_recover_gets_live_rows_only():
    stage = VirtualStage()
    saves = (
        Save("rows", "a", {"v": 1, "live": True}),
        Save("rows", "b", {"v": 2, "live": False}),
        Save("rows", "c", {"v": 3}),
    )
    seen = listener(stage, "other", lambda m, now: saves if m == Ask(1) else ())
    stage.run_for(0.5)
    stage.post("other", Ask(1))
    stage.run_for(0.1)
    stage.kill("other")
    stage.run_for(0.5)
    rows = [m for m in seen if isinstance(m, tuple)][-1][1]
    assert sorted(rows["rows"]) == ["a", "c"]


def test_io_in_flight_outlives_its_process_but_its_answer_does_not_find_the_next():
    stage = VirtualStage()
    effects_outside: list[float] = []

    class Slow:
        def carry_out(self, process, request, now):
            stage.at(now.boot_s + 100.0, lambda: effects_outside.append(stage.boot_s))
            stage.answer(process, Ask(7), now.boot_s + 100.0)

    seen = listener(stage, "other", lambda m, now: (Send("io", Ask(2)),) if m == Ask(1) else (), shell=Slow())
    stage.run_for(0.5)
    stage.post("other", Ask(1))
    stage.run_for(1)
    stage.kill("other")
    stage.run_for(200)
    assert len(effects_outside) == 1
    assert Ask(7) not in mail(seen)


def test_changed_slots_come_before_the_message_in_product_order_and_only_the_newest():
    stage = VirtualStage()
    seen = listener(stage, "risk", wanted=("ETH-USD", "BTC-USD"), bell=False)
    stage.run_for(0.5)
    for n in range(5):
        stage.put_quote(quote("ETH-USD", n=n))
        stage.put_quote(quote("BTC-USD", n=n))
    assert mail(seen) == []
    stage.post("risk", Ask(1))
    stage.run_for(0.1)
    got = mail(seen)
    assert [(q.product_id, q.sequence) for q in got[:2]] == [("BTC-USD", 4), ("ETH-USD", 4)]
    assert got[2] == Ask(1)


def test_bars_reach_a_stopped_reader_later_and_none_is_lost():
    stage = VirtualStage(bars_kept=3)
    seen = listener(stage, "symbol", wanted=("BTC-USD",))
    stage.run_for(0.5)
    stage.put_bar(bar(1))
    stage.stop("symbol")
    stage.put_bar(bar(2))
    stage.put_bar(bar(3))
    assert [b.number for b in mail(seen)] == [1]
    stage.cont("symbol")
    assert [b.number for b in mail(seen)] == [1, 2, 3]
    stage.kill("symbol")
    stage.put_bar(bar(4))
    stage.run_for(0.5)
    assert [(b.number, b.backfill) for b in mail(seen)[3:]] == [(2, True), (3, True), (4, True)]


def test_the_same_seed_gives_the_same_trace_byte_for_byte():
    def play(seed: int) -> str:
        stage = VirtualStage(seed=seed, trace=True)
        listener(stage, "asker")
        stage.add("counter", Counter)
        stage.mail_fate = lambda p, r, m: (stage.random.random() * 0.1,) * (1 + (stage.random.random() < 0.2))
        stage.boundary = lambda p, m, e: Crash(True, 0) if stage.random.random() < 0.05 else None
        for i in range(100):
            stage.post("counter", Ask(i), i * 0.1)
        stage.run_for(15)
        return "\n".join(stage.trace or ())

    assert play(5) == play(5)
    assert play(5) != play(6)


def test_a_machine_that_raises_dies_once_and_loudly():
    stage = VirtualStage()
    failures: list[str] = []
    stage.failed = lambda process, message, error: failures.append(repr(error))

    def script(message, now):
        if message == Ask(1):
            raise ValueError("poison")
        return ()

    seen = listener(stage, "other", script)
    stage.run_for(0.5)
    stage.post("other", Ask(1))
    stage.post("other", Ask(2), 0.5)
    stage.run_for(1)
    assert failures == ["ValueError('poison')"]
    assert mail(seen) == [Ask(1), Ask(2)]
