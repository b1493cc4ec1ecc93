"""The worker threads on a real TLS server that behaves badly: each trap of protocol.md section 2, each failure of
coinbase.md sections 0, 1, 2.12, 6 and 8 that a REST client can meet.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import attrs
import pytest

from exchange.coinbase.budgets import Budgets, BudgetSettings, RateClass
from exchange.coinbase.fences import Beat, Fences, engage_kill_file, read_fences, write_beat
from exchange.coinbase.gateway import GatewayMachine, GatewaySettings
from exchange.coinbase.jwt import ApiKey
from exchange.coinbase.may_post import Refusal
from exchange.coinbase.resolver import Resolver
from exchange.coinbase.transport import TransportSettings, boot_s
from tests.coinbase_rest.made import ME, back, call, catalog, done, lanes_at, order, query
from tests.coinbase_rest.venue import KEY_NAME, KEY_SECRET, OTHER_CA, Answer, Request, Venue, accepted, refused
from tests.support import eventually
from trading.machine import Instant, Send
from trading.messages.orders import (
    Called,
    CancelOrders,
    CancelsAnswered,
    OrderOutcome,
    OutcomeKind,
    Page,
    PlaceOrder,
    QueryKind,
)
from trading.values import Purpose


def outcome(called: Called) -> OrderOutcome:
    assert isinstance(called.outcome, OrderOutcome)
    return called.outcome


def place(venue: Venue, deadline_s: float = 5.0, **kept: Any) -> OrderOutcome:
    return outcome(done(venue, order(now_boot_s=boot_s()), deadline_s, **kept))


def good(request: Request, answer: Answer) -> None:
    answer.json(accepted(request))


# ---- placements: one request, and what its answer proves ----


def test_an_accepted_order_comes_back_with_its_venue_order_id() -> None:
    with Venue(good) as venue:
        found = place(venue)
        assert (found.kind, found.venue_order_id, found.gateway_incarnation) == (OutcomeKind.ACCEPTED, "venue-1", ME)
        (request,) = venue.requests
    assert (request.method, request.path) == ("POST", "/api/v3/brokerage/orders")
    assert request.headers["authorization"].startswith("Bearer eyJ")
    assert request.json["client_order_id"] == "bh-test-1"


def test_a_rejection_with_http_200_is_a_rejection() -> None:
    with Venue(lambda request, answer: answer.json(refused("INSUFFICIENT_FUND"))) as venue:
        found = place(venue)
    assert (found.kind, found.reason) == (OutcomeKind.REJECTED, "INSUFFICIENT_FUND")


def test_unauthorized_as_text_is_a_rejection_not_an_exception() -> None:
    with Venue(lambda request, answer: answer.text(401, "Unauthorized\n", {"Content-Type": "text/plain"})) as venue:
        found = place(venue)
    assert (found.kind, found.reason, found.detail) == (OutcomeKind.REJECTED, "http_401", "Unauthorized")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_placement_is_never_retried_whatever_the_status(status: int) -> None:
    with Venue(lambda request, answer: answer.text(status, "<html>sorry</html>")) as venue:
        found = place(venue)
        assert found.kind is OutcomeKind.UNKNOWN
        assert len(venue.posts()) == 1


def test_429_on_a_placement_is_told_with_its_retry_after() -> None:
    def throttle(request: Request, answer: Answer) -> None:
        answer.text(
            429, '{"errors":[{"id":"rate_limit_exceeded"}]}', {"Retry-After": "7", "x-ratelimit-remaining": "0"}
        )

    with Venue(throttle) as venue:
        called = done(venue, order(now_boot_s=boot_s()))
    assert outcome(called).kind is OutcomeKind.REJECTED
    assert (called.throttled, called.retry_after_s, called.limit_remaining) == (1, 7.0, 0)


@pytest.mark.parametrize("header", ["86400", "Wed, 21 Oct 2082 07:28:00 GMT"])
def test_nobody_can_pause_exits_and_cancels_for_a_day(header: str) -> None:
    """A proxy's Retry-After, or a date read with a wrong computer clock: it is asked again within the minute."""

    def throttle(request: Request, answer: Answer) -> None:
        answer.text(429, "", {"Retry-After": header})

    with Venue(throttle) as venue:
        called = done(venue, order(now_boot_s=boot_s()))
    budgets = Budgets(BudgetSettings(), 0.0)
    budgets.throttled(RateClass.CANCELS, 1000.0, called.retry_after_s)
    assert budgets.take(RateClass.CANCELS, 1060.0, urgent=True)


def test_a_redirect_is_not_followed() -> None:
    """Following a 307 would post the order a second time, elsewhere."""
    with Venue(lambda request, answer: answer.text(307, "", {"Location": "https://127.0.0.1:1/"})) as venue:
        found = place(venue)
        assert found.kind is OutcomeKind.UNKNOWN
        assert len(venue.requests) == 1


def test_a_connection_reset_after_the_request_is_unknown() -> None:
    with Venue(lambda request, answer: answer.reset()) as venue:
        assert place(venue).kind is OutcomeKind.UNKNOWN
        assert len(venue.posts()) == 1


def test_a_refused_connection_is_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Venue(good) as venue:
        found = place(venue, endpoints=attrs.evolve(venue.endpoints, rest=f"127.0.0.1:{port}"))
    assert (found.kind, found.reason) == (OutcomeKind.NOT_SENT, "no_connection")


def test_a_wrong_certificate_is_not_sent() -> None:
    """The SDK's own WebSocket would not even look at it; the REST side must."""
    with Venue(good, cert=OTHER_CA.issue_cert("127.0.0.1")) as venue:
        found = place(venue)
        assert (found.kind, found.reason) == (OutcomeKind.NOT_SENT, "no_connection")
        assert venue.requests == []


def test_a_tls_handshake_that_never_ends_is_not_sent_at_the_deadline() -> None:
    def drip(sock: socket.socket) -> None:
        with sock:
            sock.sendall(b"\x16\x03\x03\x40\x00")
            for _ in range(200):
                sock.sendall(b"\x02")
                if venue.closed.wait(0.05):
                    return

    with Venue(good, greet=drip) as venue:
        started = boot_s()
        found = place(venue, 0.6)
    assert found.kind is OutcomeKind.NOT_SENT
    assert boot_s() - started < 2.0


def test_a_server_sends_one_byte_a_second_and_the_total_deadline_holds() -> None:
    """The SDK's timeout is per read; each byte would renew it."""

    def drip(request: Request, answer: Answer) -> None:
        answer.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")
        for _ in range(100):
            answer.raw(b" ")
            if answer.venue.closed.wait(0.2):
                return

    with Venue(drip) as venue:
        started = boot_s()
        found = place(venue, 0.6)
        assert found.kind is OutcomeKind.UNKNOWN
        assert 0.5 < boot_s() - started < 1.6


def test_the_venue_is_a_black_hole_and_every_call_comes_back_at_its_deadline() -> None:
    """Nothing is accepted: the listener's backlog swallows connections."""
    with Venue(good) as venue, socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        port = hole.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        endpoints = attrs.evolve(venue.endpoints, rest=f"127.0.0.1:{port}")
        with lanes_at(venue, endpoints=endpoints) as lanes:
            started = boot_s()
            for number in range(3):
                lanes.submit(call(order(f"bh-{number}", now_boot_s=boot_s()), 1.0, call_id=f"c{number}"))
            lanes.submit(call(query(QueryKind.ORDERS), 1.0, call_id="q"))
            lanes.submit(call(CancelOrders(cancel_id="x", venue_order_ids=("v",)), 1.0, call_id="x"))
            found = back(lanes, 5)
            assert boot_s() - started < 2.5
        for filler in fillers:
            filler.close()
    kinds = [c.outcome.kind for c in found if isinstance(c.outcome, OrderOutcome)]
    assert len(kinds) == 3
    assert set(kinds) <= {OutcomeKind.NOT_SENT, OutcomeKind.UNKNOWN}
    assert not any(c.outcome.complete for c in found if isinstance(c.outcome, Page | CancelsAnswered))


def test_a_name_that_never_resolves_holds_nobody_beyond_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """`getaddrinfo` has no timeout; a resolver that hangs for minutes must not look like a stuck worker."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(30) and [])
    with Venue(good) as venue:
        started = boot_s()
        found = place(venue, 0.5, endpoints=attrs.evolve(venue.endpoints, rest="venue.example"))
        release.set()
    assert (found.kind, found.reason) == (OutcomeKind.NOT_SENT, "no_connection")
    assert boot_s() - started < 2.0


def test_known_addresses_outlive_a_resolver_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [["address"], OSError("no network")]

    def resolve(*_: Any, **__: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("exchange.coinbase.resolver.RESOLVED_S", 0.0)
    resolver = Resolver()
    assert resolver.addresses("venue.example", 443, 1.0) == ["address"]
    assert resolver.addresses("venue.example", 443, 1.0) == ["address"]
    assert answers == []


def test_a_name_server_that_hangs_costs_a_cancel_nothing_while_the_address_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cancel has 5 s in all: waiting for a dead name server until they are over is the same as having no address."""
    release = threading.Event()
    resolver = Resolver()
    real = socket.getaddrinfo("127.0.0.1", 443, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: real)
    assert resolver.addresses("venue.example", 443, 1.0) == real
    monkeypatch.setattr("exchange.coinbase.resolver.RESOLVED_S", 0.0)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(30) and real)
    began = boot_s()
    found = [resolver.addresses("venue.example", 443, 5.0) for _ in range(2)]
    release.set()
    assert found == [real, real]
    assert boot_s() - began < 2.5


def test_an_answer_that_stops_in_the_middle_is_unknown() -> None:
    def half(request: Request, answer: Answer) -> None:
        answer.raw(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 400\r\n\r\n{"error":"INVALID')
        answer.reset()

    with Venue(half) as venue:
        assert place(venue).kind is OutcomeKind.UNKNOWN


def test_a_refusal_without_a_marked_end_is_not_believed() -> None:
    def unframed(request: Request, answer: Answer) -> None:
        answer.raw(b'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{"error":"INVALID_ARGUMENT"}')
        answer.sock.close()

    with Venue(unframed) as venue:
        assert place(venue).kind is OutcomeKind.UNKNOWN


def test_an_answer_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.coinbase.transport.ANSWER_BYTES_MAX", 1_000_000)

    def flood(request: Request, answer: Answer) -> None:
        answer.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not answer.venue.closed.is_set():
            answer.raw(b"10000\r\n" + b" " * 65_536 + b"\r\n")

    with Venue(flood) as venue:
        found = place(venue)
    assert found.kind is OutcomeKind.UNKNOWN
    assert "longer than" in found.detail


def test_a_key_that_cannot_sign_is_not_sent_and_not_shown() -> None:
    with Venue(good) as venue:
        found = place(venue, key_secret="not-a-key-9f8e7d")
        assert found.kind is OutcomeKind.NOT_SENT
        assert "9f8e7d" not in repr(found)
        assert venue.requests == []


# ---- the gate directly before the bytes ----


def test_what_the_worker_may_not_post_is_not_sent_although_the_connection_stands() -> None:
    with Venue(good) as venue:
        refusal = Refusal(OutcomeKind.NOT_SENT, "fenced:kill")
        found = place(venue, may_post=lambda _: refusal)
        assert (found.kind, found.reason) == (OutcomeKind.NOT_SENT, "fenced:kill")
        assert venue.requests == []


def test_a_kill_engaged_while_the_worker_connects_stops_the_order() -> None:
    """The machine's check passed long ago; the fence is read again after TLS stands."""
    killed = threading.Event()
    kill = Refusal(OutcomeKind.NOT_SENT, "fenced:kill")
    with Venue(good, connected=killed.set) as venue:
        found = place(venue, may_post=lambda _: kill if killed.is_set() else None)
        assert (found.reason, venue.connections) == ("fenced:kill", 1)
        assert venue.requests == []


def test_the_fence_files_are_read_at_the_wire(tmp_path: Path) -> None:
    """The machine saw open fences; the file appears before the bytes leave."""
    run = tmp_path / "run"
    run.mkdir()
    write_beat(run, Beat(ME[0], "ready", boot_s()))
    gateway = GatewayMachine(me=ME, fences=lambda: read_fences(run))
    gateway.recover({}, Instant(1_790_000_000.0, True, boot_s() - 60.0))
    now = Instant(1_790_000_000.0, True, boot_s())
    gateway.handle(catalog(now), now)
    (sent,) = [e for e in gateway.handle(order(now_boot_s=now.boot_s), now) if isinstance(e, Send)]

    def engage() -> None:
        engage_kill_file(run, cause="test", name="ann", source="file")

    with (
        Venue(good, connected=engage) as venue,
        lanes_at(venue, may_post=lambda asked: gateway.refusal_at_the_wire(asked, boot_s())) as lanes,
    ):
        lanes.submit(sent.message)  # type: ignore[arg-type]
        (called,) = back(lanes)
        assert (outcome(called).kind, outcome(called).reason) == (OutcomeKind.NOT_SENT, "fenced:kill")
        assert venue.requests == []


def test_a_check_that_raises_is_a_check_that_failed() -> None:
    def broken(_: PlaceOrder) -> Refusal | None:
        raise OSError("EIO")

    with Venue(good) as venue:
        found = place(venue, may_post=broken)
        assert (found.kind, found.reason) == (OutcomeKind.NOT_SENT, "check_failed")
        assert venue.requests == []


def test_check_then_posting_is_atomic_while_other_threads_close_the_fences() -> None:
    """Real threads: fences flip while orders leave. Whatever the venue got had been allowed at the wire, once; and what
    was told NotSent never arrived.
    """
    from tests.coinbase_rest.made import machine

    killed = threading.Event()
    allowed: list[str] = []

    def fences() -> Fences:
        return Fences(killed=killed.is_set(), beat=Beat(ME[0], "ready", boot_s()))

    now = Instant(1_790_000_000.0, True, boot_s())
    gateway = machine(fences, settings=GatewaySettings(workers_order=8))
    gateway.recover({}, Instant(now.venue_s, True, now.boot_s - 60))
    gateway.handle(attrs.evolve(catalog(now), n=2), now)

    def at_the_wire(asked: PlaceOrder) -> Refusal | None:
        refusal = gateway.refusal_at_the_wire(asked, boot_s())
        if refusal is None:
            allowed.append(asked.client_order_id)
        return refusal

    outcomes: dict[str, OutcomeKind] = {}
    with (
        Venue(good) as venue,
        lanes_at(venue, may_post=at_the_wire, settings=GatewaySettings(workers_order=8)) as lanes,
    ):
        stop = threading.Event()

        def flip() -> None:
            while not stop.wait(0.003):
                killed.clear() if killed.is_set() else killed.set()

        flipper = threading.Thread(target=flip)
        flipper.start()
        until = boot_s() + 1.0
        number = 0
        while boot_s() < until or len(outcomes) < number:
            now = Instant(1_790_000_000.0, True, boot_s())
            effects: list[Any] = []
            if boot_s() < until and number - len(outcomes) < 8:
                number += 1
                effects += gateway.handle(order(f"bh-{number}", Purpose.EXIT, now_boot_s=now.boot_s), now)
                gateway._desk.budgets.buckets["orders"].tokens = 8.0
            for called in lanes.results():
                effects += gateway.handle(called, now)
            for effect in effects:
                if isinstance(effect, Send) and effect.role == "io":
                    lanes.submit(effect.message)
                elif isinstance(effect, Send) and isinstance(effect.message, OrderOutcome):
                    outcomes[effect.message.client_order_id] = effect.message.kind
            assert boot_s() < until + 10.0, "did not settle"
        stop.set()
        flipper.join()
        arrived = [request.json["client_order_id"] for request in venue.posts()]
    assert len(arrived) == len(set(arrived))
    assert set(arrived) <= set(allowed)
    not_sent = {name for name, kind in outcomes.items() if kind is OutcomeKind.NOT_SENT}
    assert not not_sent & set(arrived)
    assert {name for name, kind in outcomes.items() if kind is OutcomeKind.ACCEPTED} == set(arrived)
    assert arrived
    assert not_sent


# ---- sockets ----


def test_an_idle_connection_is_not_reused_for_a_post() -> None:
    settings = TransportSettings(connect_s=2.0, read_s=2.0, idle_s_max=0.2)
    with Venue(good) as venue, lanes_at(venue, transport=settings, settings=GatewaySettings(workers_order=1)) as lanes:
        for number, pause_s in enumerate((0.0, 0.0, 0.4)):
            due = time.monotonic() + pause_s
            eventually(lambda due=due: time.monotonic() >= due)
            lanes.submit(call(order(f"bh-{number}", now_boot_s=boot_s())))
            assert outcome(back(lanes)[0]).kind is OutcomeKind.ACCEPTED
        assert [request.connection for request in venue.posts()] == [1, 1, 2]


def test_order_sockets_have_linger_zero_and_a_user_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[bytes, int]] = []

    def look(request: Request, answer: Answer) -> None:
        for entry in list(Path("/proc/self/fd").iterdir()):
            try:
                sock = socket.socket(fileno=os.dup(int(entry.name)))
            except OSError:
                continue
            with sock:
                try:
                    if sock.getpeername()[1] == venue.listener.getsockname()[1]:
                        linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
                        held.append((linger, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)))
                except (OSError, IndexError, TypeError):
                    continue
        answer.json(accepted(request))

    with Venue(look) as venue:
        place(venue)
    assert held
    assert set(held) == {(b"\x01\0\0\0\0\0\0\0", 5000)}


@pytest.mark.parametrize("linger", [True, False])
def test_a_killed_processs_unsent_bytes_do_not_arrive(linger: bool) -> None:
    """2.8 MB written to a venue that does not read, then kill -9: with SO_LINGER(1, 0) only what the kernel of the
    receiver had already taken arrives; without it, everything. Both are run, so that the test shows the difference.
    """
    size = 2_800_000
    gate = threading.Event()
    arrived = bytearray()
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                gate.wait(20)
                try:
                    while more := sock.recv(65_536):
                        arrived.extend(more)
                except OSError:
                    pass
            over.set()

        threading.Thread(target=serve, daemon=True).start()
        program = f"""
            import signal, socket
            from exchange.coinbase.transport import TransportSettings, _socket_options
            sock = socket.socket()
            for option in _socket_options(TransportSettings()):
                if {linger} or option[1] != socket.SO_LINGER:
                    sock.setsockopt(*option)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
            sock.connect(("127.0.0.1", {listener.getsockname()[1]}))
            sock.setblocking(False)
            sent = 0
            data = b"x" * {size}
            while sent < {size}:
                try:
                    sent += sock.send(data[sent:])
                except BlockingIOError:
                    break
            print(sent, flush=True)
            signal.pause()
        """
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        try:
            assert child.stdout is not None
            written = int(child.stdout.readline())
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        gate.set()
        assert over.wait(20)
    if linger:
        assert len(arrived) < written
    else:
        assert len(arrived) == written


# ---- lanes ----


def test_hung_posts_do_not_delay_cancels_or_questions() -> None:
    def hang_posts(request: Request, answer: Answer) -> None:
        if request.path.endswith("/orders"):
            answer.silence()
        elif request.path.endswith("/batch_cancel"):
            answer.json({"results": [{"success": True, "failure_reason": "", "order_id": "v1"}]})
        else:
            answer.json({"orders": [], "has_next": False})

    with Venue(hang_posts) as venue, lanes_at(venue, settings=GatewaySettings(workers_order=16)) as lanes:
        for number in range(16):
            lanes.submit(call(order(f"bh-{number}", now_boot_s=boot_s()), 8.0, call_id=f"p{number}"))
        eventually(lambda: len(venue.posts()) == 16)
        started = boot_s()
        lanes.submit(call(CancelOrders(cancel_id="c", venue_order_ids=("v1",)), call_id="c"))
        lanes.submit(call(query(QueryKind.ORDERS), call_id="q"))
        found = {called.call_id: called for called in back(lanes, 2)}
        assert boot_s() - started < 2.0
        assert isinstance(found["c"].outcome, CancelsAnswered)
        assert found["c"].outcome.results == (("v1", True, ""),)
        assert isinstance(found["q"].outcome, Page)
        assert found["q"].outcome.complete


def test_a_result_wakes_whoever_watches_the_socket() -> None:
    import select

    with Venue(good) as venue, lanes_at(venue) as lanes:
        assert select.select([lanes.fileno()], [], [], 0.0)[0] == []
        lanes.submit(call(order(now_boot_s=boot_s())))
        assert select.select([lanes.fileno()], [], [], 5.0)[0] == [lanes.fileno()]
        assert len(lanes.results()) == 1
        assert select.select([lanes.fileno()], [], [], 0.0)[0] == []


def test_the_same_call_twice_is_one_post_and_the_second_proves_nothing() -> None:
    with Venue(good) as venue, lanes_at(venue) as lanes:
        for number in range(2):
            lanes.submit(call(order(now_boot_s=boot_s()), call_id=f"c{number}"))
        kinds = sorted(outcome(called).kind for called in back(lanes, 2))
        assert kinds == [OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN]
        assert len(venue.posts()) == 1


def test_an_unknown_lane_is_named() -> None:
    with Venue(good) as venue, lanes_at(venue) as lanes, pytest.raises(ValueError, match="no lane 'fast'"):
        lanes.submit(attrs.evolve(call(order(now_boot_s=boot_s())), lane="fast"))


def test_closed_lanes_end_their_threads() -> None:
    with Venue(good) as venue, lanes_at(venue) as lanes:
        lanes.close()
        assert lanes.join(5.0)


def test_cancel_success_means_accepted_and_a_failure_is_told() -> None:
    def answer_cancels(request: Request, answer: Answer) -> None:
        answer.json(
            {
                "results": [
                    {"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON", "order_id": "v1"},
                    {"success": False, "failure_reason": "UNKNOWN_CANCEL_ORDER", "order_id": "v2"},
                ]
            }
        )

    with Venue(answer_cancels) as venue:
        called = done(venue, CancelOrders(cancel_id="c", venue_order_ids=("v1", "v2")))
    assert called.outcome == CancelsAnswered(
        cancel_id="c", results=(("v1", True, ""), ("v2", False, "UNKNOWN_CANCEL_ORDER")), complete=True
    )


@pytest.mark.parametrize("body", ["<html>", '{"results":null}', '{"results":[]}', "{}"])
def test_a_cancel_answer_that_cannot_be_read_is_not_complete(body: str) -> None:
    with Venue(lambda request, answer: answer.text(200, body)) as venue:
        called = done(venue, CancelOrders(cancel_id="c", venue_order_ids=("v1",)))
    assert called.outcome == CancelsAnswered(cancel_id="c", results=(), complete=False)


def test_batch_cancel_502_is_not_complete_and_not_repeated_here() -> None:
    with Venue(lambda request, answer: answer.text(502, "<html>")) as venue:
        called = done(venue, CancelOrders(cancel_id="c", venue_order_ids=("v1",)))
        assert len(venue.posts()) == 1
    assert called.errors == 1


# ---- secrets (I19) ----


def test_no_secret_appears_in_logs_errors_tracebacks_or_reprs() -> None:
    """A venue that echoes what it was sent is the hardest case: its answers end up in reasons and logs."""

    def echo(request: Request, answer: Answer) -> None:
        answer.text(400, f"you sent {request.headers['authorization']} and {KEY_SECRET}")

    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        with Venue(echo) as venue, lanes_at(venue) as lanes:
            lanes.submit(call(order(now_boot_s=boot_s()), call_id="p"))
            lanes.submit(call(query(QueryKind.ORDERS), call_id="q"))
            lanes.submit(call(CancelOrders(cancel_id="c", venue_order_ids=("v",)), call_id="c"))
            found = back(lanes, 3)
            token = venue.requests[0].headers["authorization"].removeprefix("Bearer ")
            print(repr(found), repr(lanes), repr(ApiKey(KEY_NAME, KEY_SECRET)), file=shown)
            for frame in sys._current_frames().values():
                print("".join(traceback.format_stack(frame)), file=shown)
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(logging.WARNING)
    text = shown.getvalue()
    assert "http_400" in text
    secret_lines = [line for line in KEY_SECRET.splitlines() if len(line) > 20]
    assert token not in text
    assert not [line for line in secret_lines if line in text]
