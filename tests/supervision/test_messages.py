"""Messages across restarts and incarnations; the directory, the timers, the pulses, the transport, in small."""

from __future__ import annotations

import inspect
import os
import signal
import time
from datetime import timedelta

import attrs
import pytest

import supervision
from supervision import SupervisedActor, SupervisorSpec, messages
from supervision.directory import GRAVES_MAX, Directory
from supervision.intensity import add_restart, inside
from supervision.messages import Envelope, Known
from supervision.pulse import Pulses
from supervision.timers import Timers
from supervision.unix_lanes import LANE_MESSAGES_MAX
from supervision.unix_transport import UnixTransport
from supervision.unix_wire import Endpoint, address_at, listen_at
from tests.supervision.conftest import child, pid_of
from tests.support import eventually


def test_messages_are_frozen_and_their_names_are_unique():
    classes = [
        found for _, found in inspect.getmembers(messages, inspect.isclass) if found.__module__ == messages.__name__
    ]
    assert len({found.__name__ for found in classes}) == len(classes) > 25
    for found in classes:
        assert issubclass(found, tuple) or "__setattr__" in vars(found) or not attrs.fields(found), found


def test_mail_from_an_older_incarnation_is_dropped_and_counted(plant):
    tree = plant(child("a"), child("b"))
    old = tree.ask("b", ("who",))[1]
    os.kill(pid_of(tree, "b"), signal.SIGKILL)
    new = tree.ask("b", ("who",))[1]
    eventually(lambda: [row for row in tree.ask("a", ("restarted",)) if row[1] == new])
    a = address_at(tree.snapshot().row("a").path)
    tree._transport.post(a, Envelope("b", old, "late"))
    tree._transport.post(a, Envelope("b", new, "timely"))
    tree._transport.post(a, Envelope("b", (new[0], new[1] + 1), "from the future"))
    tree._transport.post(a, Envelope("b", new, "late by now"))
    seen = eventually(lambda: tree.ask("a", ("seen",)), lambda seen: len(seen) == 2)
    assert [body for _, _, body in seen] == ["timely", "from the future"]
    assert tree.ask("a", ("counts",))[1] == 2


def test_order_between_a_pair_holds_under_load_in_both_directions(plant):
    tree = plant(child("a"), child("b"))
    for n in range(40):
        for one, other in (("a", "b"), ("b", "a")):  # refused until the news of the other has come
            eventually(lambda one=one, other=other, n=n: tree.ask(one, ("tell", other, ("n", n))))
    for name in ("a", "b"):
        seen = eventually(lambda who=name: tree.ask(who, ("seen",)), lambda seen: len(seen) == 40)
        assert [body[1] for _, _, body in seen] == list(range(40))


def test_hears_static_does_not_hear_of_dynamic_children_and_none_hears_nothing(plant):
    pool = SupervisorSpec(strategy="simple_one_for_one", children=[child("t")])
    tree = plant(child("all"), child("static", hears="static"), child("none", hears="none"), child("pool", start=pool))
    tree.start_child(None, supervisor="pool", id="x")
    tree.start_child(child("y"))
    eventually(lambda: {row[0] for row in tree.ask("all", ("restarted",))}, lambda ids: {"x", "y"} <= ids)
    eventually(
        lambda: {row[0] for row in tree.ask("static", ("restarted",))}, lambda ids: "y" in ids and "x" not in ids
    )
    assert tree.ask("none", ("restarted",)) == []
    assert tree.ask("none", ("tell", "main", "hello")) is True
    assert tree.ask("none", ("tell", "x", "hello")) is False
    assert tree.ask("static", ("tell", "x", "hello")) is False
    assert tree.ask("all", ("tell", "x", "hello")) is True


def test_a_restarted_child_and_its_peers_find_each_other_within_moments(plant):
    """Kill to "the peer may write to the new life", seen from the peer; the median, so that a busy machine does not decide."""
    tree = plant(child("a"), child("b"), intensity=100)
    took_s = []
    for _ in range(9):
        killed_s = time.monotonic()
        os.kill(pid_of(tree, "a"), signal.SIGKILL)
        incarnation = tree.ask("a", ("who",))[1]
        row = eventually(
            lambda i=incarnation: [row for row in tree.ask("b", ("restarted",)) if row[1] == i], every_s=0.001
        )[0]
        took_s.append(row[2] - killed_s)
    assert sorted(took_s)[4] < 0.12


def test_mailbox_age_is_seen_by_the_supervisor(plant):
    tree = plant(child("a", hang_deadline_s=2.0))
    with pytest.raises(TimeoutError):
        tree.ask("a", ("hang", 0.8), 0.1)
    with pytest.raises(TimeoutError):
        tree.ask("a", ("echo", 1), 0.1)
    eventually(lambda: tree.snapshot().row("a").mailbox_age_s, lambda age_s: 0.2 < age_s < 2)


# ---- pure parts --------------------------------------------------------------------------------------------------------------


def test_the_directory_keeps_the_newest_incarnation_whatever_the_order():
    directory = Directory([Known("a", (1, 5), "/five")])
    assert directory.merge([Known("a", (1, 4), "/four")]) == []
    assert directory.path("a") == "/five"
    assert directory.merge([Known("a", (2, 1), "/new run")]) == [Known("a", (2, 1), "/new run")]
    assert directory.merge([Known("a", (2, 1), None)]) == []
    assert directory.path("a") is None
    assert not directory.is_current("a", (1, 5))
    assert directory.is_current("a", (2, 1))


def test_an_incarnation_known_from_its_mail_makes_the_old_address_unusable_until_announced():
    directory = Directory([Known("a", (1, 5), "/five")])
    assert directory.is_current("a", (1, 6))
    assert directory.path("a") is None
    assert not directory.is_current("a", (1, 5))
    assert directory.merge([Known("a", (1, 5), "/five")]) == []
    assert directory.path("a") is None
    assert len(directory.merge([Known("a", (1, 6), "/six")])) == 1
    assert directory.path("a") == "/six"


def test_a_complete_announcement_buries_whom_it_does_not_mention_and_graves_are_bounded():
    directory = Directory([Known("a", (1, 1), "/a"), Known("b", (1, 1), "/b")])
    directory.merge([Known("b", (1, 1), "/b")], complete=True)
    assert (directory.path("a"), directory.path("b")) == (None, "/b")
    for n in range(3 * GRAVES_MAX):
        directory.merge([Known(f"x{n}", (1, n), "/x")])
        directory.merge([Known(f"x{n}", (1, n), None)])
        directory.is_current(f"y{n}", (1, n))
    assert len(directory) <= GRAVES_MAX + 1
    assert len(directory._heard) <= GRAVES_MAX


def test_restart_intensity_by_the_numbers():
    history, allowed = (), True
    for at_s in (0, 1, 2):
        history, allowed = add_restart(history, at_s, 3, 5)
        assert allowed
    assert add_restart(history, 5, 3, 5) == ((5, 2, 1, 0), False)
    assert add_restart(history, 5.01, 3, 5) == ((5.01, 2, 1), True)
    assert inside(history, 6.5, 5) == 1


def test_timers_replace_cancel_and_stay_small():
    timers = Timers()
    for n in range(10_000):
        timers.set("again", n)
    assert len(timers._heap) < 200
    timers.set("a", 5)
    timers.set("b", 4)
    timers.cancel("a")
    assert timers.next_s() == 4
    assert timers.due(10) == ["b"]
    assert timers.due(1e9) == ["again"]
    assert timers.next_s() is None


def pulse_at(*times):
    pulses = Pulses({})
    pulses.begin("a", 1.0, 0.0)
    late = []
    for now_s in times:
        late += pulses.tick(now_s)[1]
    return late


def test_a_ping_unanswered_for_its_deadline_is_late():
    steps = [n * 0.25 for n in range(10)]
    assert pulse_at(*steps[:5]) == []
    assert "a" in pulse_at(*steps)


def test_our_own_stall_is_taken_out_of_every_deadline():
    assert pulse_at(0.0, 0.25, 0.5, 60.0, 60.25) == [], "a minute of standing still ourselves"
    assert "a" in pulse_at(0.0, 0.25, 0.5, 60.0, 60.25, 60.5, 60.75, 61.0)


# ---- the transport in one process ---------------------------------------------------------------------------------------------


@pytest.fixture
def transports(tmp_path):
    made = []

    def make(key=b"k" * 32):
        path = f"{tmp_path}/s{len(made)}"
        made.append(UnixTransport(Endpoint(path, listen_at(path), str(tmp_path), key, None)))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def drain(transport):
    found = []
    while hasattr(envelope := transport.run(None, timedelta(seconds=0.05)), "message"):
        found.append(envelope.message)
    return found


def test_a_lane_keeps_the_newest_and_counts_what_it_drops(transports):
    sender, receiver = transports(), transports()
    for n in range(2000):
        assert sender.post(receiver.myAddress, (n, b"x" * 2000))
    assert len(sender.lanes.by_path[receiver.my_path].queue) <= LANE_MESSAGES_MAX
    assert sender.dropped > 0
    got = drain(receiver)
    sender.flush(1)
    got += drain(receiver)
    numbers = [n for n, _ in got]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 1999
    assert len(numbers) + sender.dropped == 2000


def test_another_runs_key_opens_nothing(transports):
    receiver, stranger, friend = transports(), transports(b"other" * 6), transports()
    stranger.post(receiver.myAddress, "from a stranger")
    friend.post(receiver.myAddress, "from a friend")
    assert drain(receiver) == ["from a friend"]
    assert receiver.inbound.refused_connections == 1


def test_a_frame_that_claims_too_much_ends_its_connection(transports):
    sender, receiver = transports(), transports()
    sender.post(receiver.myAddress, "hello")
    assert drain(receiver) == ["hello"]
    sender.lanes.by_path[receiver.my_path].socket.send(b"\xff\xff\xff\xff" + bytes(8))
    drain(receiver)
    assert receiver.inbound.by_fd == {}


def test_an_address_where_nobody_lives_any_more_is_told_and_not_connected(transports):
    sender, receiver = transports(), transports()
    sender.post(receiver.myAddress, "hello")
    receiver.close()
    assert [sender.post(receiver.myAddress, "x") for _ in range(2)] == [False, False]
    assert sender.lanes.by_path == {}
    assert sender.lanes.undeliverable >= 2


def test_a_message_in_pieces_arrives_whole(transports):
    sender, receiver = transports(), transports()
    big = os.urandom(5_000_000)
    sender.post(receiver.myAddress, big)
    got = []
    deadline = time.monotonic() + 10
    while not got and time.monotonic() < deadline:
        sender.flush(0.01)
        got = drain(receiver)
    assert got == [big]


def test_what_cannot_be_read_is_counted_and_the_next_message_arrives(transports):
    sender, receiver = transports(), transports()
    body = b"cno_such_module\nThing\n."
    sender.post(receiver.myAddress, "before")
    sender.post_frame(receiver.my_path, supervision.unix_wire.FRAME.pack(len(body), 0) + body)
    sender.post(receiver.myAddress, "after")
    assert drain(receiver) == ["before", "after"]
    assert receiver.inbound.unreadable == 1


def test_the_supervisors_word_is_heard_in_the_middle_of_a_backlog(tmp_path):
    def transport(name, parent=None):
        path = f"{tmp_path}/{name}"
        return UnixTransport(Endpoint(path, listen_at(path), str(tmp_path), b"k" * 32, parent))

    boss, flood = transport("boss"), transport("flood")
    actor = transport("actor", boss.myAddress)
    for n in range(60):
        flood.post(actor.myAddress, n)
    heard = []

    def slow(envelope):
        heard.append(envelope.message)
        if len(heard) == 3:
            boss.post(actor.myAddress, "stop")
        time.sleep(0.002)  # not a wait: a handler that takes its time
        return True

    actor.run(slow, timedelta(seconds=0.3))
    assert heard.index("stop") < 20
    assert [message for message in heard if message != "stop"] == list(range(60))
    for each in (boss, flood, actor):
        each.close()


def test_an_actor_that_writes_to_itself_still_obeys(plant):
    tree = plant(child("a", start=SelfTalker))
    tree.tell("a", "go")
    assert tree.ask("a", 1) == 1
    assert tree.stop(5) is True


class SelfTalker(SupervisedActor):
    def receive_from(self, sender_id, sender_incarnation, body):
        self.tell("a", "again")

    def receiveMsg_int(self, message, sender):
        self.send(sender, message)


def test_a_hello_that_comes_late_is_heard_even_by_a_busy_receiver(transports, monkeypatch):
    """It connects, loses its processor, and speaks while the receiver works off a backlog without reading others."""
    monkeypatch.setattr(supervision.unix_inbound, "UNPROVED_S", 0.05)
    receiver, sender, flood = transports(), transports(), transports()
    lane = sender.lanes.connect(receiver.my_path)
    for n in range(100):
        flood.post(receiver.myAddress, n)
    heard = []

    def slow(envelope):
        heard.append(envelope.message)
        if len(heard) == 5:
            sender.lanes.flush(lane)
            sender.post(receiver.myAddress, "hello")
        time.sleep(0.006)  # not a wait: a handler that takes its time
        return True

    receiver.run(slow, timedelta(seconds=1.0))
    assert "hello" in heard
    assert [message for message in heard if message != "hello"] == list(range(100))
